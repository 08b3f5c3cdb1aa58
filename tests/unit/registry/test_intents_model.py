"""Any order of calls on an intent ends as the port says."""

import attrs
from hypothesis import example, given
from hypothesis import strategies as st

from quantumio.model import (
    CommitFailed,
    CommitParked,
    Committed,
    Transaction,
)
from quantumio.ports import LEASE_OVER
from quantumio.registry import SqlCatalog
from tests.unit.registry.conftest import CALEXP, NOTE, make_transaction, until, visit
from tests.unit.registry.intents import (
    LONG_S,
    known,
    new_owner,
    prepare,
)

# -- any order of calls

BRIEF, LONG = 0, 1  # owners, by the leases that they ask for; that of the first is over at once
Calls = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "prepare",
                "flip",
                "take_over",
                "abort",
                "reap",
                "reap",
                "reopen",
                "reopen",
                "quarantine",
                "drop",
            ]
        ),
        st.sampled_from([0, 0, 0, 1]),  # which transaction
        st.sampled_from([BRIEF, LONG]),
        st.sampled_from([0, 0, 0, 0, -1, 1]),  # how wrong the caller is about the epoch
    ),
    min_size=6,
    max_size=14,
).map(lambda calls: [("prepare", 0, calls[0][2], 0), *calls])


LONG_LIFE = [
    ("reap", 0, BRIEF, 0),
    ("flip", 0, BRIEF, 0),
    ("reopen", 0, LONG, 1),
    ("reopen", 0, LONG, 0),
    ("abort", 0, LONG, -1),
    ("reap", 0, LONG, 0),
    ("reopen", 0, LONG, 0),
    ("prepare", 0, LONG, 0),
    ("reap", 0, BRIEF, 0),
    ("take_over", 0, BRIEF, 0),
    ("flip", 0, LONG, -1),
    ("flip", 0, BRIEF, 0),
    ("take_over", 0, LONG, 0),
]


@attrs.define
class Expected:
    """What the registry should say of one transaction."""

    state: str | None = None
    reason: str | None = None
    epoch: int = 0
    generation: int = 0
    owner: int | None = None
    lease: int | None = None

    def call(self, name: str, who: int, epoch: int) -> object:
        """Do what the port says; return what the call returns."""
        at_epoch = self.state == "PREPARING" and self.epoch == epoch
        match name:
            case "prepare" if self.state is None:
                self.state, self.epoch, self.owner, self.lease = "PREPARING", epoch, who, who
            case "prepare" if at_epoch and self.owner == who:
                self.lease = who
            case "flip" if self.state is None or at_epoch:
                if self.state is None:
                    self.epoch = epoch
                self.state, self.owner = "COMMITTED", None
            case "take_over" if at_epoch:
                self.epoch, self.owner = epoch + 1, who
            case "abort" if at_epoch:
                self.state, self.reason, self.owner = "ABORTED", "user", None
                return True
            case "reap" if at_epoch and self.lease == BRIEF:
                self.state, self.reason, self.owner = "ABORTED", LEASE_OVER, None
                return True
            case "reopen" if self.epoch == epoch and self.reason == LEASE_OVER and self.state == "ABORTED":
                self.state, self.reason, self.owner = "PREPARING", None, who
                self.epoch, self.generation = epoch + 1, self.generation + 1
            case "drop" if self.state == "QUARANTINED":
                self.state, self.reason = "ABORTED", "user"
                return True
            case "quarantine" if self.state == "PREPARING":
                self.state, self.owner = "QUARANTINED", None
                self.reason = "the registry was put back from a backup"
        return False

    def outcome(self) -> type:
        """What a flip tells now."""
        if self.state == "COMMITTED":
            return Committed
        return CommitFailed if self.reason == "user" else CommitParked


def test_any_order_of_calls_ends_as_the_port_says(sqlite_catalog: SqlCatalog) -> None:
    catalog, owners = sqlite_catalog, [new_owner(sqlite_catalog), new_owner(sqlite_catalog)]
    probe = make_transaction(NOTE, [{}])
    prepare(catalog, probe, owners[LONG], 0)
    until(lambda: known(catalog, probe.txid).lease_over)  # both have been silent for a moment

    def run(one: Transaction, name: str, who: int) -> object:
        match name:
            case "prepare":
                return catalog.prepare([one], owners[who], 0 if who == BRIEF else LONG_S)
            case "flip":
                return catalog.flip([one], owners[who])[0]
            case "take_over" | "reopen":
                return getattr(catalog, name)(one.txid, owners[who], one.epoch)
            case "abort":
                return catalog.abort(one.txid, one.epoch, "user")
            case "reap":
                return catalog.reap(one.txid, one.epoch)
            case "drop":
                return catalog.drop(one.txid, "user")
            case _:
                return catalog.quarantine()

    @example([("prepare", 0, BRIEF, 0), ("take_over", 0, LONG, 0), ("reap", 0, LONG, 0), *LONG_LIFE])
    @example([("prepare", 0, BRIEF, 0), ("take_over", 0, LONG, 0), ("prepare", 0, LONG, 0), *LONG_LIFE])
    @given(Calls)
    def check(calls: list[tuple[str, int, int, int]]) -> None:
        group = [make_transaction(CALEXP, [visit(number)]) for number in range(2)]
        model = [Expected() for _ in group]
        for name, index, who, wrong in calls:
            epoch = max(0, model[index].epoch + wrong)
            result = run(attrs.evolve(group[index], epoch=epoch), name, who)
            expected = [
                one.call(name, who, epoch) for one in (model if name == "quarantine" else [model[index]])
            ]
            if name in ("abort", "reap", "drop"):
                assert result is expected[0]
            if name == "flip":
                assert type(result) is model[index].outcome()
            for one, should in zip(group, model, strict=True):
                record = catalog.transaction(one.txid)
                if should.state is None:
                    assert record is None
                    continue
                assert record is not None
                owner = None if should.owner is None else owners[should.owner]
                assert (str(record.state), record.reason, record.epoch, record.generation, record.owner) == (
                    should.state,
                    should.reason,
                    should.epoch,
                    should.generation,
                    owner,
                )

    check()
