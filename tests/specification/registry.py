"""The registry of the specification: what each of its transactions does, as functions from state to state.

What the product decides in Python (`Verdicts`) is called; what it decides in SQL is written again, and
`test_conformance` compares each transition with the real one. Transactions and owners are small numbers.
"""

from functools import cache
from typing import NamedTuple

from attrs import evolve, frozen

from quantumio.model import (
    CommitOutcome,
    Committed,
    DataId,
    DatasetRef,
    FollowUp,
    TransactionRecord,
    TransactionState,
    default_universe,
)
from quantumio.ports import LEASE_OVER, REUSED, CollectionKind
from quantumio.registry._names import Collection, Edit, Names, TypeEntry
from quantumio.registry._universe_schema import Tables
from quantumio.registry._verdict import Standing, Verdicts, Version
from tests.specification.plans import CLEAN, COPY, OWNERS, RUN, TXIDS, TYPES, Plan, transaction, uuid

PREPARING, COMMITTED, ABORTED = (TransactionState[n] for n in ("PREPARING", "COMMITTED", "ABORTED"))


@frozen(cache_hash=True)
class Row:
    """A transaction, as the registry has it; `planned` is the generation that its manifest names."""

    state: TransactionState
    epoch: int
    gen: int
    owner: int | None
    planned: int
    journaled: bool
    reason: str | None = None


class Visible(NamedTuple):
    """One dataset: which part of which generation it names, and what it became by the flip."""

    tx: int
    gen: int
    part: int
    version: int
    seq: int


class Entry(NamedTuple):
    """An entry of the outbox."""

    tx: int
    what: FollowUp
    claimed_by: int | None


@frozen(cache_hash=True)
class Registry:
    plans: tuple[Plan, ...]
    rows: tuple[Row | None, ...]
    visible: tuple[Visible, ...] = ()  # in the order of commits
    outbox: frozenset[Entry] = frozenset()
    silent: frozenset[int] = frozenset()  # owners not heard of for longer than their lease
    seq: int = 0

    def put(self, tx, row, **changes):
        return evolve(self, rows=(*self.rows[:tx], row, *self.rows[tx + 1 :]), **changes)

    def at_epoch(self, tx, epoch):
        row = self.rows[tx]
        return row is not None and row.epoch == epoch


def empty(*plans: Plan) -> Registry:
    return Registry(plans, (None,) * len(plans))


# -- looking
@cache
def record(registry: Registry, tx: int) -> TransactionRecord | None:
    """Return what the product's decisions are given."""
    if (row := registry.rows[tx]) is None:
        return None
    return TransactionRecord(
        txid=TXIDS[tx],
        state=row.state,
        epoch=row.epoch,
        generation=row.gen,
        transaction=transaction(registry.plans[tx], tx, row.epoch, row.gen, row.journaled),
        reason=row.reason,
        owner=None if row.owner is None else OWNERS[row.owner],
        lease_over=row.owner in registry.silent,
    )


def outcome(registry: Registry, tx: int) -> Committed | None:
    row = registry.rows[tx]
    if row is not None and row.state is ABORTED and row.reason == REUSED:
        key = registry.plans[tx].key
        (winner,) = {one.tx for one in registry.visible if registry.plans[one.tx].key == key}
        return evolve(outcome(registry, winner), txid=TXIDS[tx], reused=True)
    if row is None or row.state is not COMMITTED:
        return None
    mine = [one for one in registry.visible if one.tx == tx]
    refs = tuple(DatasetRef(uuid(3 + tx, v.part), TYPES[v.part], DataId({}), RUN, v.version) for v in mine)
    return Committed(txid=TXIDS[tx], refs=refs, commit_seq=mine[0].seq)


# -- one transaction each
@cache
def prepare(registry: Registry, tx: int, owner: int, epoch: int, gen: int, journaled: bool) -> Registry:
    row = registry.rows[tx]
    if row is None:
        return registry.put(tx, Row(PREPARING, epoch, gen, owner, gen, journaled))
    if registry.at_epoch(tx, epoch) and row.state is PREPARING and row.owner == owner:
        return registry.put(tx, evolve(row, planned=gen, journaled=journaled))
    return registry


@cache
def take_over(registry: Registry, tx: int, owner: int, epoch: int) -> Registry:
    row = registry.rows[tx]
    if not (registry.at_epoch(tx, epoch) and row.state is PREPARING):
        return registry
    return registry.put(tx, evolve(row, owner=owner, epoch=epoch + 1))


@cache
def reopen(registry: Registry, tx: int, owner: int, epoch: int) -> Registry:
    row = registry.rows[tx]
    if not (registry.at_epoch(tx, epoch) and row.state is ABORTED and row.reason == LEASE_OVER):
        return registry
    return registry.put(
        tx, evolve(row, state=PREPARING, owner=owner, epoch=epoch + 1, gen=row.gen + 1, reason=None)
    )


@cache
def abort(registry: Registry, tx: int, epoch: int, reason: str) -> Registry:
    row = registry.rows[tx]
    if not (registry.at_epoch(tx, epoch) and row.state is PREPARING):
        return registry
    return _end(registry, tx, reason, None)


def reap(registry: Registry, tx: int, epoch: int) -> Registry:  # not remembered: tests replace `abort`
    row = registry.rows[tx]
    return abort(registry, tx, epoch, LEASE_OVER) if row and row.owner in registry.silent else registry


def _end(registry, tx, reason, claimed_by):
    row = evolve(registry.rows[tx], state=ABORTED, owner=None, reason=reason)
    return registry.put(tx, row, outbox=add(registry.outbox, tx, CLEAN, claimed_by))


def add(outbox, tx, what, owner):
    """An entry that is there already stays as it is."""
    if any((one.tx, one.what) == (tx, what) for one in outbox):
        return outbox
    return outbox | {Entry(tx, what, owner)}


@cache
def flip(
    registry: Registry, tx: int, owner: int, epoch: int, gen: int, journaled: bool
) -> tuple[Registry, CommitOutcome]:
    """D.4: the verdict is the product's own; what it says is written down."""
    wanted = transaction(registry.plans[tx], tx, epoch, gen, journaled)
    verdicts = Verdicts(_names(), Edit(registry.seq + 1, 0, 0), [wanted], first_seq=registry.seq + 1)
    verdicts.standings = {
        TXIDS[n]: Standing(row.state, row.epoch, row.reason) for n, row in enumerate(registry.rows) if row
    }
    known = {
        n: done for n in range(len(registry.plans)) if (done := outcome(registry, n)) and not done.reused
    }
    verdicts.winners = {(RUN, key): done for n, done in known.items() if (key := registry.plans[n].key)}
    verdicts.outcomes = {TXIDS[tx]: known[tx]} if tx in known else {}
    verdicts.latest = {
        key: Version(one.version, one.version, TXIDS[one.tx])
        for key in verdicts.keys([wanted])
        for one in registry.visible
        if key[1] == one.part
    }
    result = verdicts.decide(wanted)
    for _, reason in verdicts.ended:
        registry = _end(registry, tx, reason, owner)
    for _ in verdicts.transactions:
        row = registry.rows[tx] or Row(PREPARING, epoch, gen, None, gen, journaled)
        new = [Visible(tx, gen, one.entry.id, one.version, one.seq) for one in verdicts.accepted]
        outbox = registry.outbox
        if registry.plans[tx].copy:
            outbox = add(outbox, tx, COPY, owner)
        row = evolve(row, state=COMMITTED, owner=None)
        registry = registry.put(
            tx, row, visible=(*registry.visible, *new), outbox=outbox, seq=registry.seq + 1
        )  # the numbers that refused ones take are gaps: of no interest
    return registry, result


@cache
def _names() -> Names:
    group = Tables(default_universe()).group(())
    types = {one.name: TypeEntry(n, one, group) for n, one in enumerate(TYPES)}
    run = Collection(1, RUN, CollectionKind.RUN)
    return Names(0, types, {one.id: one for one in types.values()}, {RUN: run}, {1: run})


# -- the outbox
def claim(registry: Registry, owner: int, entry: Entry) -> Registry:
    claimed = entry._replace(claimed_by=owner)
    return evolve(registry, outbox=registry.outbox - {entry} | {claimed})


def finish(registry: Registry, tx: int, what: FollowUp) -> Registry:
    left = frozenset(one for one in registry.outbox if (one.tx, one.what) != (tx, what))
    return evolve(registry, outbox=left)
