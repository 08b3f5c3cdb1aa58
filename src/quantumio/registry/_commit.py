"""The flip: a group of transactions becomes visible in one short database transaction.

The order is that of the commit protocol: the clock first (one lock, no deadlock, no skipped numbers), then
one question per table for all that the group must know, then each member's own verdict, then one executemany
per table for those that pass, and for the rows of those that end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from attrs import evolve

from quantumio.errors import CommitUnknownError, DestinationError
from quantumio.model import (
    CommitOutcome,
    Committed,
    CommitUnknown,
    DataId,
    DatasetRef,
    Transaction,
    TransactionState,
)
from quantumio.ports import REUSED
from quantumio.registry._any_ids import any_of, parts_of
from quantumio.registry._arguments import check_uuid
from quantumio.registry._clock import Clock
from quantumio.registry._commit_rows import ArtifactWriter, Inserts
from quantumio.registry._engine import Database
from quantumio.registry._failures import CommitLost
from quantumio.registry._latest import LatestVersions
from quantumio.registry._names import Names, NamesCache
from quantumio.registry._outbox import Outbox
from quantumio.registry._schema import DATASET, TXN
from quantumio.registry._verdict import Standing, Verdicts, has_good_key

__all__ = ["Commits"]

_CHUNK = 500


class Commits:
    """Makes transactions visible, and tells what became of them."""

    def __init__(
        self,
        database: Database,
        cache: NamesCache,
        clock: Clock,
        outbox: Outbox,
        artifacts: ArtifactWriter,
    ) -> None:
        self._database = database
        self._cache = cache
        self._clock = clock
        self._inserts = Inserts(database, outbox, artifacts)
        self._latest = LatestVersions(database)

    def flip(self, group: Sequence[Transaction], owner: UUID | None) -> list[CommitOutcome]:
        """Decide a group; the owner has claimed what is to follow."""
        if owner is not None:
            check_uuid(owner, "owner")
        if not group:
            return []
        try:
            return self._attempt(group, owner, thorough=False)
        except DestinationError as error:
            if not self._database.is_refused(error):
                raise
        # A dataset of the group was committed by another transaction before (a plan that ran twice). That is
        # rare: only then is it worth asking for every id.
        return self._attempt(group, owner, thorough=True)

    def _attempt(
        self, group: Sequence[Transaction], owner: UUID | None, *, thorough: bool
    ) -> list[CommitOutcome]:
        doing = f"committing {len(group)} context{'s' if len(group) > 1 else ''}"
        try:
            with self._database.write(doing) as connection:
                edit = self._clock.advance(connection, steps=len(group))
                names = self._cache.within(connection, edit)
                verdicts = Verdicts(names, edit, group, first_seq=edit.seq - len(group) + 1)
                self._ask(connection, names, verdicts, group, thorough=thorough)
                outcomes = [verdicts.decide(transaction) for transaction in group]
                if verdicts.new_runs:
                    edit = self._clock.advance(connection, steps=0, names=True)
                self._inserts.write(connection, verdicts, owner)
        except CommitLost as lost:
            raise CommitUnknownError(
                f"the registry failed in the commit of {len(group)} contexts: {lost}",
                hint="take each over, or ask for its outcome, before writing again",
                outcome=CommitUnknown(txid=group[0].txid, reason=str(lost)),
            ) from lost
        if verdicts.new_runs:
            self._cache.learn(names.with_collections(verdicts.new_runs.values(), edit.edits))
        return outcomes

    def _ask(
        self,
        connection: sa.Connection,
        names: Names,
        verdicts: Verdicts,
        group: Sequence[Transaction],
        *,
        thorough: bool,
    ) -> None:
        """Read all that the verdicts need, under the clock."""
        wanted = {txid for one in group for txid in (one.txid, *one.requires)}
        verdicts.standings = standings = self._standings(connection, wanted)
        committed_before = [
            one.txid
            for one in group
            if one.txid in standings and standings[one.txid].state == TransactionState.COMMITTED
        ]
        verdicts.outcomes.update(self._committed(connection, names, committed_before))
        keyed = {
            (transaction.run, transaction.key)
            for transaction in group
            if transaction.key is not None and has_good_key(transaction)
        }
        if keyed:
            winners = self._winners(connection, keyed)
            committed = self._committed(connection, names, winners.values())
            verdicts.winners = {key: committed[txid] for key, txid in winners.items()}
        if thorough:
            ids = [output.ref.id for transaction in group for output in transaction.outputs]
            verdicts.taken = {id_.int for id_ in _existing(connection, ids)}
        verdicts.latest = self._latest.ask(connection, names, verdicts.keys(group))

    def _standings(self, connection: sa.Connection, txids: Collection[UUID]) -> dict[UUID, Standing]:
        rules = self._database.rules
        found: dict[UUID, Standing] = {}
        for size, values in parts_of(sorted(txids), rules.uuid_in):
            statement = self._database.prepare(_standings_of, size)
            for txid, state, epoch, reason in self._database.ask(connection, statement, values):
                found[rules.uuid_out(txid)] = Standing(state, epoch, reason)
        return found

    def _winners(
        self, connection: sa.Connection, keyed: Iterable[tuple[str, str | None]]
    ) -> dict[tuple[str, str], UUID]:
        types = {"run": "str", "key": "str"}
        wanted = self._database.rules.rows("wanted", types)
        statement = sa.select(TXN.c.run, TXN.c.key, TXN.c.txid).select_from(
            wanted.join(TXN, sa.and_(TXN.c.run == wanted.c.run, TXN.c.key == wanted.c.key))
        )
        statement = statement.where(TXN.c.key.is_not(None), _VISIBLE)
        value = self._database.rules.rows_value(keyed, types)
        return {(run, key): txid for run, key, txid in connection.execute(statement, {"wanted": value})}

    # -- what became of a transaction
    def outcome(self, txid: UUID) -> CommitOutcome | None:
        """Return `Committed`, also where its outputs were deleted since, or None if it is not committed.

        What was ended because an earlier attempt under its key had committed stands for that one, for as
        long as nothing of that is deleted.
        """
        check_uuid(txid, "transaction")
        self._database.prove_durable()

        def read(connection: sa.Connection) -> Committed | None:
            names = self._cache.load(connection)
            known = self._committed(connection, names, [txid], which=_COMMITTED).get(txid)
            if known is not None or (winner := _stands_for(connection, txid)) is None:
                return known
            first = self._committed(connection, names, [winner], which=_COMMITTED)[winner]
            return evolve(first, txid=txid, reused=True)

        return self._database.read(read)

    def _committed(
        self,
        connection: sa.Connection,
        names: Names,
        txids: Iterable[UUID],
        *,
        which: sa.ColumnElement[bool] | None = None,
    ) -> dict[UUID, Committed]:
        which = _VISIBLE if which is None else which
        found: dict[UUID, Committed] = {}
        wanted = list(dict.fromkeys(txids))
        for start in range(0, len(wanted), _CHUNK):
            part = wanted[start : start + _CHUNK]
            statement = sa.select(TXN.c.txid, TXN.c.commit_seq).where(TXN.c.txid.in_(part), which)
            sequence: dict[UUID, int] = {row.txid: row.commit_seq for row in connection.execute(statement)}
            refs = _refs(connection, names, list(sequence))
            for txid, seq in sequence.items():
                made = tuple(ref for _, ref in sorted(refs.get(txid, ()), key=lambda placed: placed[0]))
                found[txid] = Committed(txid=txid, refs=made, commit_seq=seq if made else None)
        return found


def _standings_of(size: int) -> sa.Select[Any]:
    # Whoever decides takes the clock first; the rows are locked against a `prepare`, in its order.
    columns = (TXN.c.txid, TXN.c.state, TXN.c.epoch, TXN.c.reason)
    return sa.select(*columns).where(any_of(TXN.c.txid, size)).order_by(TXN.c.txid).with_for_update()


_COMMITTED = TXN.c.state == sa.literal_column("'COMMITTED'")
_VISIBLE = sa.and_(_COMMITTED, TXN.c.removed_seq.is_(None))
_ENDED = TXN.alias("ended")
_SAME_KEY = sa.and_(
    TXN.c.run == _ENDED.c.run,
    TXN.c.key == _ENDED.c.key,
    TXN.c.key.is_not(None),
    TXN.c.decided_at <= _ENDED.c.decided_at,  # a deletion frees the key: another may have taken it since
    _VISIBLE,
)
_EARLIER = (
    sa.select(TXN.c.txid)
    .select_from(_ENDED.join(TXN, _SAME_KEY))
    .where(_ENDED.c.state == TransactionState.ABORTED, _ENDED.c.reason == REUSED)
)


def _stands_for(connection: sa.Connection, txid: UUID) -> UUID | None:
    """Return which transaction had committed under the key of one that was ended for that."""
    return connection.execute(_EARLIER.where(_ENDED.c.txid == txid)).scalar()


def _refs(
    connection: sa.Connection, names: Names, txids: Sequence[UUID]
) -> dict[UUID, list[tuple[int, DatasetRef]]]:
    """Return the outputs of transactions with their places in the order of the puts."""
    found: dict[UUID, list[tuple[int, DatasetRef]]] = {}
    groups = {entry.group.dimensions: entry.group for entry in names.types.values()}
    for group in groups.values():
        table = group.dataset
        columns = (table.c[column] for column in group.columns.values())
        statement = sa.select(
            table.c.txid, table.c.n, table.c.id, table.c.type_id, table.c.run_id, table.c.v, *columns
        ).where(table.c.txid.in_(txids))
        for txid, n, id_, type_id, run_id, version, *values in connection.execute(statement):
            ref = DatasetRef(
                id_,
                names.types_by_id[type_id].type,
                DataId(dict(zip(group.dimensions, values, strict=True))),
                names.collections_by_id[run_id].name,
                version,
            )
            found.setdefault(txid, []).append((n, ref))
    return found


def _existing(connection: sa.Connection, ids: Sequence[UUID]) -> set[UUID]:
    found: set[UUID] = set()
    for start in range(0, len(ids), _CHUNK):
        part = ids[start : start + _CHUNK]
        found.update(connection.execute(sa.select(DATASET.c.id).where(DATASET.c.id.in_(part))).scalars())
    return found
