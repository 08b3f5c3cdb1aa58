"""A night of puts, commits, faults, deaths and recoveries, step by step against a model of a dictionary."""

import contextlib
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from quantumio import (
    Butler,
    CommitConflictError,
    CommitParkedError,
    Committed,
    ConflictError,
    DatasetType,
    ErrorKind,
)
from quantumio.engine import _recoverer
from quantumio.model import ArtifactState
from quantumio.system import failpoints
from quantumio.testing import Fault, FaultyDestination

pytestmark = pytest.mark.timeout(900)  # long, and longer beside other work

NIGHTS = int(os.environ.get("QUANTUMIO_NIGHTS", "100"))
STEPS = 30
SEED = int(os.environ.get("QUANTUMIO_NIGHTS_SEED", "0"))
PARTS = 5  # which several processes may live through at the same time

VISITS = range(1, 5)
CONFIG = {
    "destinations": {"second": {"kind": "files", "root": "second"}},
    "rules": [{"to": ["local", "second?"]}],
    "runtime": {"allow_volatile_journal": True},  # nobody cuts the power
}
RUN = "r"
_template = Path(tempfile.mkdtemp(prefix="qio-machine-")) / "template"


def opened(root):
    return Butler(root, run=RUN, instrument="ST8")


class Night(RuleBasedStateMachine):
    """Drives one repository; ``versions`` is what must be visible, ``parked`` what must still come."""

    contexts = Bundle("contexts")
    lived = steps = 0  # of all that were made

    def __init__(self):
        super().__init__()
        if not _template.exists():
            with Butler.create(_template, CONFIG) as butler:
                butler.register_dataset_type(
                    DatasetType("stats", dimensions=["visit"], storage_class="Mapping")
                )
        self.directory = Path(tempfile.mkdtemp(prefix="qio-machine-"))
        self.root = self.directory / "night"
        shutil.copytree(_template, self.root)
        self.butler = opened(self.root)
        self.versions = {visit: [] for visit in VISITS}
        self.parked = []
        self.whole = {}
        self.labels = 0
        self.looks = 0

    def teardown(self):
        type(self).lived += 1
        type(self).steps += self.looks - 1  # the first look comes before the first step
        self.mend()
        self.butler.errors(acknowledge=True)
        with contextlib.suppress(ExceptionGroup):
            self.butler.close()
        shutil.rmtree(self.directory)

    # -- contexts
    @rule(target=contexts)
    def open_context(self):
        return self.butler.context(), {}

    @rule(
        context=contexts,
        visit=st.sampled_from(VISITS),
        expect=st.sampled_from([None, None, "create", "latest", "wrong"]),
    )
    def put(self, context, visit, expect):
        ctx, puts = context
        if not ctx.is_open:
            return
        self.labels += 1
        latest = len(self.versions[visit])
        wanted = {"create": 0, "latest": latest, "wrong": latest + 3}.get(expect)
        try:
            ctx.put({"label": self.labels}, "stats", visit=visit, expect=wanted)
        except ConflictError:
            assert visit in puts
        else:
            assert visit not in puts
            puts[visit] = (self.labels, wanted)
        assert ctx.get("stats", visit=visit) == {"label": puts[visit][0]}

    @rule(context=consumes(contexts), ack=st.sampled_from(["buffered", "journaled", "committed", "settled"]))
    def commit(self, context, ack):
        ctx, puts = context
        if not ctx.is_open:
            return
        try:
            ticket = ctx.commit(ack)
            self.drain()
            outcome = ticket.outcome
        except CommitConflictError:
            assert not self.may_commit(puts)
            return
        except CommitParkedError as error:
            outcome = error.outcome
        if self.whole and puts:
            assert not isinstance(outcome, Committed)
            self.parked.append((ctx.txid, puts))
        elif self.may_commit(puts):
            assert isinstance(outcome, Committed)
            self.show(puts)
        else:
            assert not isinstance(outcome, Committed)

    @rule(context=consumes(contexts))
    def abort(self, context):
        context[0].abort()

    def may_commit(self, puts):
        return all(wanted in (None, len(self.versions[visit])) for visit, (_, wanted) in puts.items())

    def show(self, puts):
        for visit, (label, _) in puts.items():
            self.versions[visit].append(label)

    def drain(self):
        with contextlib.suppress(ExceptionGroup):
            self.butler.drain()

    # -- faults
    @precondition(lambda self: not self.whole)
    @rule(name=st.sampled_from(["local"]))
    def break_store(self, name):
        opened_ = self.butler._session.repositories[0].destinations
        self.whole[name] = opened_.get(name)
        fault = Fault(at=1, forever=True, kind=ErrorKind.UNREACHABLE)
        opened_._open[name] = FaultyDestination(self.whole[name], fault)

    @rule()
    def mend(self):
        opened_ = self.butler._session.repositories[0].destinations
        for name, destination in self.whole.items():
            opened_._open[name] = destination
        self.whole.clear()

    @rule()
    def recover(self):
        self.butler.recover()
        if not self.whole:
            self.settle_parked()
            assert self.butler.recover().items == []
        self.butler.errors(acknowledge=True)

    def settle_parked(self):
        """Take into the model what recovery has brought, in the order of the commits."""
        committed = []
        for txid, puts in self.parked:
            outcome = self.catalog.outcome(txid)
            if isinstance(outcome, Committed):
                committed.append((outcome.commit_seq, puts))
        for _, puts in sorted(committed, key=lambda one: one[0]):
            assert self.may_commit(puts)
            self.show(puts)
        self.parked.clear()

    # -- the process
    @rule()
    def reopen(self):
        self.mend()
        self.drain()
        self.butler.errors(acknowledge=True)
        self.butler.close()
        self.butler = opened(self.root)
        self.butler.recover()
        self.settle_parked()

    @rule(
        visits=st.sets(st.sampled_from(VISITS), min_size=1),
        point=st.integers(1, 120),
        ack=st.sampled_from(["journaled", "committed"]),
    )
    def die(self, visits, point, ack):
        """Another process commits, and is killed at one of its points; then somebody recovers."""
        self.reopen()
        self.butler.close()
        self.labels += 1
        child = os.fork()
        if child == 0:
            code = 1
            try:
                signal.alarm(60)
                self.commit_and_die(visits, point, ack)
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.WIFEXITED(status) or os.WTERMSIG(status) == signal.SIGKILL
        self.butler = opened(self.root)
        self.butler.recover()
        visible = [self.labels in self.labels_of(visit) for visit in sorted(visits)]
        assert len(set(visible)) == 1, "a part of a context"
        assert visible[0] or not os.WIFEXITED(status) or os.WEXITSTATUS(status) != 0
        if visible[0]:
            self.show(dict.fromkeys(visits, (self.labels, None)))
        self.butler.errors(acknowledge=True)

    def commit_and_die(self, visits, point, ack):
        reached = iter(range(1, point))

        def kill(name):
            if next(reached, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        with failpoints.watched(kill), opened(self.root) as butler, butler.context(ack=ack) as ctx:
            for visit in visits:
                ctx.put({"label": self.labels}, "stats", visit=visit)

    # -- what must be true
    @property
    def catalog(self):
        return self.butler._session.repositories[0].catalog

    def labels_of(self, visit):
        stored = self.butler.versions("stats", visit=visit, run=RUN)
        assert [one.ref.version for one in stored] == list(range(1, len(stored) + 1))
        return [self.butler.get(one.ref)["label"] for one in stored]

    @invariant()
    def everybody_sees_what_was_committed(self):
        self.looks += 1
        if not self.whole and not self.parked:
            for visit, labels in self.versions.items():
                assert self.labels_of(visit) == labels

    @precondition(lambda self: not self.whole and not self.parked)
    @rule()
    def check(self):
        self.drain()
        self.butler.recover()
        assert self.butler.fsck(2).is_whole
        for ref in self.butler.query("stats", versions="all"):
            assert {one.state for one in self.butler.where_is(ref)} == {ArtifactState.OK}
        assert self.catalog.outbox() == []


@pytest.fixture(autouse=True)
def _no_second_thoughts(monkeypatch):
    """Nothing is tried again behind the machine's back."""
    monkeypatch.setattr(_recoverer, "_TRY_AGAIN_S", 3600.0)


@pytest.mark.parametrize("part", range(PARTS))
def test_nights(part):
    """Hypothesis makes the nights: the same ones every time, and others in a campaign."""

    class Part(Night):
        lived = steps = 0

    run_state_machine_as_test(
        seed(PARTS * SEED + part)(Part),
        settings=settings(
            max_examples=-(-NIGHTS * 13 // 10 // PARTS),  # some are shorter
            database=None,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{Part.lived} nights, {Part.steps} steps")
    assert PARTS * Part.lived >= NIGHTS
    assert PARTS * Part.steps >= NIGHTS * STEPS
