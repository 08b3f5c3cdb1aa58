"""The runtime: started once, drained at the end, and never brought down by what it carries."""

import sys
import threading
import types
from importlib.metadata import EntryPoint

import anyio
import numpy as np
import pytest

from quantumio import Butler
from quantumio.butler._context import DataContext
from quantumio.butler._handles import as_async_ticket
from quantumio.destinations import _kinds
from quantumio.destinations.memory import MemoryDestination
from quantumio.engine import ContextState, PlanScope
from quantumio.errors import (
    CommitFailedError,
    CommitUnknownError,
    DestinationError,
    ErrorKind,
    InternalError,
    NotFoundError,
    QuantumioError,
    StateError,
)
from quantumio.model import CommitFailed, CommitParked, Committed, CommitUnknown
from tests.unit.engine.conftest import Gate, WrappedCatalog

pytestmark = pytest.mark.on_disk


def stats(ctx, visit=1, **options):
    return ctx.put({"visit": visit}, "stats", visit=visit, **options)


def runtime_threads():
    return [thread for thread in threading.enumerate() if thread.name == "quantumio-runtime"]


# ---------------------------------------------------------------------------- life


def test_many_threads_that_use_it_first_start_it_once(place):
    barrier = threading.Barrier(16)

    def commit(visit):
        barrier.wait()
        with place.butler.context() as ctx:
            stats(ctx, visit)

    threads = [threading.Thread(target=commit, args=(visit,)) for visit in range(16)]
    before = len(runtime_threads())
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(runtime_threads()) == before + 1
    assert place.butler.query("stats").count() == 16


def test_reading_and_aborting_start_nothing(place):
    before = len(runtime_threads())
    ctx = place.butler.context()
    stats(ctx)
    assert ctx.get("stats", visit=1) == {"visit": 1}
    ctx.abort()
    assert place.butler.query("stats").count() == 0
    assert len(runtime_threads()) == before


def test_close_waits_for_what_was_committed(place, tmp_path):
    gate = place.install(Gate("a"))
    ctx = place.butler.context()
    stats(ctx)
    ticket = ctx.commit("buffered")
    closing = threading.Thread(target=place.butler.close)
    closing.start()
    assert gate.reached.wait(20)
    closing.join(0.1)
    assert closing.is_alive()
    gate.opened.set()
    closing.join(20)
    assert not closing.is_alive()
    assert isinstance(ticket.outcome, Committed)


def test_close_gives_up_after_its_timeout_and_says_what(place):
    gate = place.install(Gate("a"))
    ctx = place.butler.context()
    stats(ctx)
    ticket = ctx.commit("buffered")
    assert gate.reached.wait(20)
    threading.Timer(1.0, gate.opened.set).start()  # the call that runs cannot be stopped, only waited for
    with pytest.raises(ExceptionGroup) as caught:
        place.butler.close(timeout=0.1)
    (error,) = caught.value.exceptions
    assert "in the journal" in str(error)
    assert str(ctx.txid) in error.__notes__[0]
    assert isinstance(ticket.outcome, CommitParked)
    with Butler(place.repository.root, run="r", instrument="ST8") as butler:
        assert [item.action for item in butler.recover().items] in (["committed"], [])
        assert isinstance(butler.ticket(ctx.txid), Committed)


def test_closed_runtime_refuses_everything_that_would_never_be_done(place):
    ctx = place.butler.context()
    stats(ctx)
    with place.butler.context() as other:
        stats(other, 2)
    runtime = place.runtime
    place.butler.close()
    for call in (lambda: stats(ctx, 3), ctx.commit, runtime.check_usable):
        with pytest.raises(StateError):
            call()
    ctx.abort()
    assert runtime.budget.used_bytes == 0
    runtime.close(1)


def test_drain_that_takes_too_long_names_the_transaction(place):
    gate = place.install(Gate("a"))
    ctx = place.butler.context()
    stats(ctx)
    ctx.commit("buffered")
    with pytest.raises(StateError, match=str(ctx.txid)) as caught:
        place.butler.drain(timeout=0.05)
    assert caught.value.kind is ErrorKind.TIMEOUT
    gate.opened.set()
    place.butler.drain(timeout=20)


def test_waiting_on_its_own_thread_is_refused(place):
    gate = place.install(Gate("a"))
    ctx = place.butler.context()
    receipt = stats(ctx)
    ticket = ctx.commit("buffered")
    for call in (
        lambda: ticket.wait(timeout=1),
        lambda: receipt.wait("durable", timeout=1),
        lambda: place.butler.drain(timeout=1),
        lambda: place.runtime.close(1),
    ):
        with pytest.raises(StateError) as caught:
            place.run_on_loop(call)
        assert caught.value.kind is ErrorKind.RUNTIME_THREAD
    gate.opened.set()
    ticket.wait(timeout=20)


def test_aborting_placed_outputs_on_its_own_thread_is_refused_too(make_place):
    """It would wait for itself: removing what was placed is a job of this very thread."""
    place = make_place({"rules": [{"to": "a", "mode": "immediate"}]})
    ctx = place.butler.context()
    stats(ctx)
    with pytest.raises(StateError) as caught:
        place.run_on_loop(ctx.abort)
    assert caught.value.kind is ErrorKind.RUNTIME_THREAD
    ctx.abort()
    assert place.objects("a") == []


# ---------------------------------------------------------------------------- cancelling


def test_cancelled_before_it_is_visible_removes_what_was_placed(place):
    gate = place.install(Gate("a"))
    ctx = place.butler.context()
    stats(ctx)
    ticket = ctx.commit("buffered")
    assert gate.reached.wait(20)
    ctx.give_up()
    place.run_on_loop(lambda: None)  # the cancellation has been seen
    gate.opened.set()
    with pytest.raises(CommitFailedError) as caught:
        ticket.wait(timeout=20)
    assert caught.value.kind is ErrorKind.CANCELLED
    place.butler.drain()
    assert place.objects("a", "b") == []
    assert place.butler.query("stats").count() == 0
    place.assert_idle_and_empty()


def test_cancelled_while_it_becomes_visible_is_committed(place):
    reached, go_on = threading.Event(), threading.Event()

    def flip(real, group, owner=None):
        reached.set()
        assert go_on.wait(20)
        return real(group)

    place.runtime.catalog = WrappedCatalog(place.repository.catalog, flip=flip)
    ctx = place.butler.context()
    stats(ctx)
    ticket = ctx.commit("buffered")
    assert reached.wait(20)
    ctx.give_up()
    place.run_on_loop(lambda: None)
    go_on.set()
    assert isinstance(ticket.wait(timeout=20), Committed)
    assert place.butler.get("stats", visit=1) == {"visit": 1}


def test_cancelling_what_was_decided_does_nothing(place):
    with place.butler.context() as ctx:
        stats(ctx)
    place.butler.drain()
    ctx.give_up()
    place.run_on_loop(lambda: None)
    assert isinstance(ctx.ticket.outcome, Committed)


# ---------------------------------------------------------------------------- bugs elsewhere


class Buggy(MemoryDestination):
    """Raises what no destination may raise, at chosen calls."""

    def __init__(self, name, *calls):
        super().__init__(name)
        self._calls = set(calls)

    def _maybe(self, call):
        if call in self._calls:
            raise KeyError(f"a bug in {call}")

    def place(self, placements):
        self._maybe("place")
        return super().place(placements)

    def remove(self, paths):
        self._maybe("remove")
        return super().remove(paths)

    def export(self, path, human_path):
        self._maybe("export")

    def export_url(self, human_path):
        return human_path

    @property
    def parallelism(self):
        self._maybe("parallelism")
        return 1


def goes_on(place):
    """Hold that the runtime still carries outputs, at another destination."""
    done = []

    def commit():
        with place.butler.context() as ctx:
            stats(ctx, 99, to="b")
        done.append(ctx.ticket.outcome)

    thread = threading.Thread(target=commit, daemon=True)
    thread.start()
    thread.join(20)
    assert done, "the runtime carries nothing any more"
    assert isinstance(done[0], Committed)


@pytest.mark.parametrize("call", ["place", "parallelism"])
def test_bug_in_a_destination_fails_the_commit_and_nothing_else(place, call):
    place.install(Buggy("a", call))
    ctx = place.butler.context()
    stats(ctx)
    with pytest.raises(CommitFailedError) as caught:
        ctx.commit().wait(timeout=20)
    assert caught.value.kind is ErrorKind.INTERNAL
    assert "KeyError" in str(caught.value)
    assert place.butler.errors()[0].destination == "a"
    assert place.objects("b") == []
    goes_on(place)
    place.assert_idle_and_empty()


@pytest.mark.parametrize("call", ["place", "parallelism"])
def test_bug_in_a_destination_is_told_by_an_immediate_put(make_place, call):
    place = make_place({"rules": [{"to": ["a", "b"], "mode": "immediate"}]})
    place.install(Buggy("a", call))
    ctx, results = place.butler.context(), []

    def put():
        try:
            stats(ctx)
        except Exception as error:  # noqa: BLE001  whatever it is belongs to the test
            results.append(error)

    thread = threading.Thread(target=put, daemon=True)
    thread.start()
    thread.join(10)
    assert results, "the put waits for ever"
    assert isinstance(results[0], InternalError)
    assert ctx.refs == ()
    goes_on(place)
    assert len(place.objects("b")) == 1
    ctx.abort()
    place.assert_idle_and_empty()


def test_bug_while_removing_is_told_and_nothing_else(place):
    place.install(Buggy("a", "remove"))
    ctx = place.butler.context()
    stats(ctx, expect=7)
    with pytest.raises(QuantumioError):
        ctx.commit()
    assert [entry.destination for entry in place.butler.errors()].count("a") == 1
    goes_on(place)


def test_bug_after_the_commit_is_told_and_the_commit_stands(place):
    place.install(Buggy("a", "export"))
    with place.butler.context() as ctx:
        stats(ctx)
    with pytest.raises(ExceptionGroup) as caught:
        place.butler.drain()
    assert caught.value.exceptions[0].kind is ErrorKind.INTERNAL
    assert isinstance(ctx.ticket.outcome, Committed)
    assert not ctx.ticket.reached("settled")
    goes_on(place)


@pytest.fixture
def buggy_kind(monkeypatch):
    """A kind of destination, of an installed package, that cannot be opened because of a bug."""
    module = types.ModuleType("buggy_plugin")

    def open_destination(settings, opening):
        raise KeyError("a bug at opening")

    module.open_destination = open_destination
    monkeypatch.setitem(sys.modules, "buggy_plugin", module)
    points = [EntryPoint("buggy", "buggy_plugin:open_destination", "quantumio.destinations")]
    monkeypatch.setattr(_kinds, "entry_points", lambda group: points)


def test_bug_at_opening_a_destination_fails_the_commit_and_nothing_else(buggy_kind, make_place):
    place = make_place({"destinations": {"mine": {"kind": "buggy"}}, "rules": [{"to": ["mine", "b"]}]})
    ctx = place.butler.context()
    stats(ctx)
    with pytest.raises(CommitFailedError) as caught:
        ctx.commit().wait(timeout=20)
    assert caught.value.kind is ErrorKind.INTERNAL
    assert place.objects("b") == []
    goes_on(place)


def test_bug_at_opening_a_destination_is_told_by_an_immediate_put(buggy_kind, make_place):
    place = make_place(
        {
            "destinations": {"mine": {"kind": "buggy"}},
            "rules": [{"to": ["mine", "b"], "mode": "immediate"}],
        }
    )
    ctx, results = place.butler.context(), []

    def put():
        try:
            stats(ctx)
        except Exception as error:  # noqa: BLE001  whatever it is belongs to the test
            results.append(error)

    thread = threading.Thread(target=put, daemon=True)
    thread.start()
    thread.join(10)
    assert results, "the put waits for ever"
    assert isinstance(results[0], QuantumioError)
    goes_on(place)
    ctx.abort()


def test_bug_in_the_registry_while_artifacts_are_recorded_is_told(make_place):
    place = make_place({"rules": [{"to": ["a", "b?"]}]})

    def record_artifacts(real, artifacts):
        raise KeyError("a bug")

    place.runtime.catalog = WrappedCatalog(place.repository.catalog, record_artifacts=record_artifacts)
    with place.butler.context() as ctx:
        stats(ctx)
    with pytest.raises(ExceptionGroup) as caught:
        place.butler.drain()
    assert caught.value.exceptions[0].kind is ErrorKind.INTERNAL
    assert isinstance(ctx.ticket.outcome, Committed)
    goes_on(place)


def test_unknown_outcome_deletes_nothing_and_stays_known(place):
    """A registry with a bug that cannot even be asked: it may be visible."""
    calls = []

    def flip(real, group, owner=None):
        calls.append(real(group))
        raise KeyError("a bug")

    def outcome(real, txid):
        raise QuantumioError("the registry is away", kind=ErrorKind.REGISTRY)

    place.runtime.catalog = WrappedCatalog(place.repository.catalog, flip=flip, outcome=outcome)
    ctx = place.butler.context()
    stats(ctx)
    with pytest.raises(CommitUnknownError, match="may or may not be visible"):
        ctx.commit()
    assert isinstance(ctx.ticket.outcome, CommitUnknown)
    assert len(place.objects("a", "b")) == 2
    assert isinstance(place.butler.ticket(ctx.txid), CommitUnknown)
    assert place.butler.errors()[0].txid == ctx.txid
    place.butler.drain()


# ---------------------------------------------------------------------------- plans


@pytest.fixture
def planned(place):
    plan = PlanScope()

    def open_context():
        repository, context = place.butler._open_context("r", None, "committed", plan=plan)
        return DataContext(place.butler._session, repository, context)

    return open_context


def test_output_of_a_plan_is_read_once_it_is_sealed_and_not_before(place, planned):
    gate = place.install(Gate("a"))
    upstream, downstream, stranger = planned(), planned(), place.butler.context()
    stats(upstream)
    with pytest.raises(NotFoundError):
        downstream.get("stats", visit=1)
    upstream.commit("buffered")
    assert downstream.get("stats", visit=1) == {"visit": 1}
    with pytest.raises(NotFoundError) as caught:
        stranger.get("stats", visit=1)
    assert caught.value.kind is ErrorKind.PENDING
    gate.opened.set()
    for ctx in (downstream, stranger):
        ctx.abort()
    place.butler.drain()


def test_dependent_commits_never_become_visible_before_what_they_read(place, planned):
    gate = place.install(Gate("a"))
    first, second, third = planned(), planned(), planned()
    stats(first, 1, to="a")
    first.commit("buffered")
    assert second.get("stats", visit=1)
    stats(second, 2, to="b")
    second.commit("buffered")
    assert third.get("stats", visit=2)
    stats(third, 3, to="b")
    last = third.commit("buffered")
    assert gate.reached.wait(20)
    place.run_on_loop(lambda: None)
    assert place.butler.query("stats").count() == 0  # only the first one is held up
    assert last.outcome is None
    gate.opened.set()
    last.wait(timeout=20)
    seqs = [ctx.ticket.outcome.commit_seq for ctx in (first, second, third)]
    assert seqs == sorted(set(seqs))


@pytest.mark.parametrize("how", ["destination", "cancelled", "conflict"])
def test_failure_of_an_input_fails_all_that_depend_on_it(place, planned, how):
    gate = place.install(Gate("a", fails=how == "destination"))
    first, second, third, apart = planned(), planned(), planned(), planned()
    stats(first, 1, to="a", expect=7 if how == "conflict" else None)
    first.commit("buffered")
    second.get("stats", visit=1)
    stats(second, 2, to="b")
    second.commit("buffered")
    third.get("stats", visit=2)
    stats(third, 3, to="b")
    third.commit("buffered")
    stats(apart, 4, to="b")
    apart.commit("buffered")
    assert gate.reached.wait(20)
    if how == "cancelled":
        first.give_up()
        place.run_on_loop(lambda: None)
    gate.opened.set()
    with pytest.raises(ExceptionGroup):
        place.butler.drain(timeout=20)
    for ctx in (second, third):
        outcome = ctx.ticket.outcome
        assert isinstance(outcome, CommitFailed)
        assert outcome.kind is ErrorKind.UPSTREAM
    assert str(first.txid) in second.ticket.outcome.message
    assert isinstance(apart.ticket.outcome, Committed)
    assert place.objects("a") == []
    assert len(place.objects("b")) == 1
    assert {entry.txid for entry in place.butler.errors()} == {first.txid, second.txid, third.txid}


def test_commit_waits_for_the_input_before_it_writes_anything(place, planned):
    """What depends on a failed input never reaches a destination."""
    gate = place.install(Gate("a"))
    first, second = planned(), planned()
    stats(first, 1, to="a")
    first.commit("buffered")
    second.get("stats", visit=1)
    stats(second, 2, to="b")
    second.commit("buffered")
    assert gate.reached.wait(20)
    place.run_on_loop(lambda: None)
    first.give_up()
    place.run_on_loop(lambda: None)
    gate.opened.set()
    with pytest.raises(ExceptionGroup):
        place.butler.drain(timeout=20)
    assert place.objects("a", "b") == []


# ---------------------------------------------------------------------------- temporaries


def test_temporary_is_seen_from_its_commit_on_and_never_if_it_was_aborted(place):
    butler = place.butler
    aborted = butler.context()
    stats(aborted, 1, to="temporary")
    aborted.abort()
    with pytest.raises(NotFoundError):
        butler.get("stats", visit=1)
    ctx = butler.context()
    stats(ctx, 1, to="temporary")
    with pytest.raises(NotFoundError):
        butler.get("stats", visit=1)
    ctx.commit()
    assert butler.get("stats", visit=1) == {"visit": 1}
    assert butler.query("stats").count() == 0
    assert ctx.refs[0].version is None
    assert butler.status()[0].temporaries == 1


def test_temporaries_of_a_failed_commit_are_gone(place):
    place.install(Buggy("a", "place"))
    ctx = place.butler.context()
    stats(ctx, 1, to="temporary")
    stats(ctx, 2, to="a")
    with pytest.raises(CommitFailedError):
        ctx.commit()
    with pytest.raises(NotFoundError):
        place.butler.get("stats", visit=1)
    place.assert_idle_and_empty()


def test_memory_of_a_temporary_is_charged_until_it_is_forgotten_or_replaced(place):
    butler, budget = place.butler, place.runtime.budget
    array = np.zeros(1000)
    for _ in range(3):
        with butler.context() as ctx:
            ctx.put(array, "pixels", visit=1, detector=0, to="temporary")
        butler.drain()
        assert array.nbytes <= budget.used_bytes < 2 * array.nbytes
    assert butler.status()[0].temporaries == 1
    assert butler.forget(ctx.refs[0])
    assert not butler.forget(ctx.refs[0])
    assert budget.used_bytes == 0
    with pytest.raises(NotFoundError):
        butler.get(ctx.refs[0])


def test_one_of_several_temporaries_is_forgotten_and_the_others_stay(place):
    with place.butler.context() as ctx:
        for visit in (1, 2, 3):
            stats(ctx, visit, to="temporary")
    assert place.butler.forget(ctx.refs[1])
    assert place.butler.get("stats", visit=3) == {"visit": 3}
    with pytest.raises(NotFoundError):
        place.butler.get("stats", visit=2)
    assert place.butler.status()[0].temporaries == 2


def test_replacement_by_another_run_leaves_the_first_one(place):
    for run in ("r1", "r2"):
        with place.butler.context(run=run) as ctx:
            ctx.put({"run": run}, "stats", visit=1, to="temporary")
    for run in ("r1", "r2"):
        assert place.butler.get("stats", visit=1, collections=run) == {"run": run}


def test_promoted_temporary_is_a_dataset_like_any_other(place):
    with place.butler.context() as ctx:
        stats(ctx, 1, to="temporary")
    ref = place.butler.promote(ctx.refs[0], to="a")
    assert ref.version == 1
    place.butler.forget(ctx.refs[0])
    assert place.butler.get("stats", visit=1) == {"visit": 1}
    with pytest.raises(NotFoundError):
        place.butler.promote(ctx.refs[0])


# ---------------------------------------------------------------------------- telling


def test_failure_that_a_waiter_was_told_is_not_raised_again(place):
    ctx = place.butler.context()
    stats(ctx, expect=7)
    with pytest.raises(QuantumioError):
        ctx.commit()
    place.butler.drain()
    place.butler.close()


def test_failure_that_nobody_waited_for_is_raised_by_close(place):
    ctx = place.butler.context()
    stats(ctx, expect=7)
    ctx.commit("buffered")
    with pytest.raises(ExceptionGroup) as caught:
        place.butler.close()
    assert caught.value.exceptions[0].kind is ErrorKind.VERSION
    assert "stats" in caught.value.exceptions[0].__notes__[0]


def test_acknowledged_failure_is_gone(place):
    ctx = place.butler.context()
    stats(ctx, expect=7)
    ctx.commit("buffered")
    place.runtime.wait_idle(20)
    (entry,) = place.butler.errors(acknowledge=True)
    assert (entry.txid, entry.kind) == (ctx.txid, ErrorKind.VERSION)
    assert place.butler.errors() == []
    place.butler.close()


def test_tickets_are_found_by_their_transaction_in_every_state(place):
    gate = place.install(Gate("a"))
    ctx, gone = place.butler.context(), place.butler.context()
    for one in (ctx, gone):
        stats(one)
    assert place.butler.ticket(ctx.txid).txid == ctx.txid
    ctx.commit("buffered")
    assert place.butler.ticket(str(ctx.txid)).outcome is None
    assert [ticket.txid for ticket in place.butler.pending()] == [ctx.txid]
    gone.abort()
    assert place.butler.ticket(gone.txid).kind is ErrorKind.ABORTED
    gate.opened.set()
    place.butler.drain()
    assert isinstance(place.butler.ticket(ctx.txid), Committed)
    assert place.butler.pending() == []
    with pytest.raises(NotFoundError) as caught:
        place.butler.ticket("018f0000-0000-7000-8000-000000000001")
    assert caught.value.kind is ErrorKind.NO_TICKET


def test_puts_from_many_threads_race_with_an_abort_and_leave_nothing(place):
    ctx = place.butler.context()
    barrier = threading.Barrier(5)

    def put(number):
        barrier.wait()
        for step in range(20):
            try:
                stats(ctx, number * 100 + step)
            except StateError:
                return

    threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    barrier.wait()
    ctx.abort()
    for thread in threads:
        thread.join()
    place.assert_idle_and_empty()
    assert place.butler.query("stats").count() == 0


def test_put_that_waits_for_memory_wakes_when_another_context_commits(make_place):
    place = make_place(
        {"runtime": {"max_buffer_bytes": "1 MiB", "put_timeout_s": 30}, "rules": [{"to": "a"}]}
    )
    gate = place.install(Gate("a"))
    first, second = place.butler.context(), place.butler.context()
    first.put(np.zeros(100_000), "pixels", visit=1, detector=0)
    first.commit("buffered")
    done = threading.Event()

    def put():
        second.put(np.zeros(100_000), "pixels", visit=2, detector=0)
        done.set()

    thread = threading.Thread(target=put)
    thread.start()
    assert gate.reached.wait(20)
    assert not done.wait(0.1)
    gate.opened.set()
    assert done.wait(20)
    thread.join()
    second.commit()
    assert place.butler.status()[0].put_waited_s > 0.05


@pytest.mark.anyio
async def test_ticket_is_awaited_while_another_thread_commits(place):
    gate = place.install(Gate("a"))
    ctx = place.butler.context()
    stats(ctx)
    ticket = as_async_ticket(ctx.commit("buffered"))
    with anyio.move_on_after(0.05) as scope:
        await ticket.wait()
    assert scope.cancelled_caught  # the waiting ended, the commit did not
    with pytest.raises(StateError) as caught:
        await ticket.wait(timeout=0.05)
    assert caught.value.kind is ErrorKind.TIMEOUT
    gate.opened.set()
    assert isinstance(await ticket.wait(timeout=20), Committed)
    await ticket.wait("settled", timeout=20)


def test_context_without_persistent_outputs_commits_without_the_registry(place):
    place.runtime.catalog = WrappedCatalog(place.repository.catalog, flip=None)
    with place.butler.context() as empty:
        pass
    assert isinstance(empty.ticket.outcome, Committed)
    assert empty.ticket.outcome.refs == ()
    with place.butler.context() as ctx:
        stats(ctx, 1, to="temporary")
    assert ctx.ticket.outcome.commit_seq is None


def test_context_that_leaves_the_queue_while_somebody_looks_is_seen(place, monkeypatch):
    ctx = place.butler.context()
    context = ctx._context

    def taken_meanwhile(owner):
        owner.state = ContextState.CARRIED  # what the loop does before a context leaves its queue
        return False

    monkeypatch.setattr(place.runtime._loop, "holds", taken_meanwhile)
    assert place.runtime.has(context)
    monkeypatch.undo()
    context.state = ContextState.OPEN
    ctx.abort()


def test_commit_after_the_loop_has_ended_fails_and_removes_what_was_placed(place):
    ctx = place.butler.context()
    stats(ctx)
    with place.butler.context() as first:
        stats(first, 2)
    context = ctx._context
    context.seal()
    place.runtime._loop.stop(20)
    place.runtime.submit(context)
    assert isinstance(ctx.ticket.outcome, CommitFailed)
    assert ctx.ticket.outcome.kind is ErrorKind.CLOSED
    assert place.runtime.budget.used_bytes == 0


class RefusesOne(Gate):
    """Refuses every call that brings one object, once the gate is open."""

    def place(self, placements):
        self.reached.set()
        assert self.opened.wait(60)
        if any(b"poison" in bytes(chunk) for placement in placements for chunk in placement.chunks):
            raise DestinationError(f"destination {self.name!r} is full", kind=ErrorKind.DISK_FULL)
        return MemoryDestination.place(self, placements)


def test_failing_output_does_not_fail_the_contexts_that_travel_with_it(place):
    gate = place.install(RefusesOne("a"))
    contexts = [place.butler.context() for _ in range(8)]
    for visit, ctx in enumerate(contexts):
        ctx.put("poison" if visit == 5 else "text", "log", visit=visit, to="a")
        ctx.put({"visit": visit}, "stats", visit=visit, to="a")
    for ctx in contexts:
        ctx.commit("buffered")
    assert gate.reached.wait(20)
    place.run_on_loop(lambda: None)
    gate.opened.set()
    with pytest.raises(ExceptionGroup):
        place.butler.drain(timeout=20)
    outcomes = [type(ctx.ticket.outcome) for ctx in contexts]
    assert outcomes == [CommitFailed if visit == 5 else Committed for visit in range(8)]
    assert len(place.objects("a")) == 14
    [entry] = place.butler.errors()
    assert (entry.txid, entry.kind) == (contexts[5].txid, ErrorKind.DISK_FULL)
    place.assert_idle_and_empty()


def test_flush_waits_no_longer_than_it_is_told(make_place):
    place = make_place({"rules": [{"to": "a"}]})
    gate = place.install(Gate("a"))
    with place.butler.context(ack="buffered") as ctx:
        ctx.put({"a": 1}, "stats", visit=1)
    assert gate.reached.wait(60)
    assert [one.action for one in place.butler.flush(0)] == ["preparing"]
    gate.opened.set()
    assert place.butler.flush() == []
    assert isinstance(ctx.ticket.outcome, Committed)
