"""The verdict on each member of a group: pure decisions over what was read under the clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from attrs import evolve, frozen

from quantumio.errors import ErrorKind
from quantumio.model import (
    CommitConflict,
    CommitFailed,
    CommitOutcome,
    CommitParked,
    Committed,
    DataIdValue,
    DatasetRef,
    OutputRecord,
    Transaction,
    TransactionState,
)
from quantumio.ports import LEASE_OVER, CollectionKind
from quantumio.registry._arguments import is_text
from quantumio.registry._engine import Database
from quantumio.registry._names import Collection, Edit, Names, TypeEntry
from quantumio.registry._prepared import Prepared
from quantumio.registry._universe_schema import GroupTables

__all__ = [
    "REUSED",
    "Accepted",
    "Key",
    "KnownTransaction",
    "LatestVersions",
    "Verdicts",
    "Version",
    "has_good_key",
]

CONFLICT = "conflict"
FAILED = "failed"
REUSED = "reused"
"""Reasons of transactions that a flip ends."""

_MOST_KEY_BYTES = 1024
Key = tuple[str, int, tuple[DataIdValue, ...]]
"""Run, dataset type, and values of the data ID."""


@frozen
class Version:
    """The highest version of a key ever given, the latest that is still there, and who made that."""

    top: int
    live: int
    txid: UUID | None


_NONE = Version(0, 0, None)


def has_good_key(transaction: Transaction) -> bool:
    """Whether its idempotency key (None: it has none) is one that every database takes and can index."""
    return transaction.key is None or is_text(transaction.key, _MOST_KEY_BYTES)


@frozen(eq=False)
class Accepted:
    """One output that becomes visible."""

    output: OutputRecord
    entry: TypeEntry
    key: Key
    version: int
    place: int
    txid: UUID
    seq: int


@frozen
class KnownTransaction:
    """What the registry has of a transaction: a member of the group, or what a member requires."""

    state: TransactionState
    epoch: int
    reason: str | None


class _Refused(Exception):
    def __init__(self, outcome: CommitOutcome) -> None:
        super().__init__()
        self.outcome = outcome


class Verdicts:
    """Decides members in order; each sees the versions that those before it made."""

    def __init__(self, names: Names, edit: Edit, *, first_seq: int) -> None:
        self._names = names
        self._next_seq = first_seq
        self.edit = edit
        self.winners: dict[tuple[str, str], Committed] = {}
        self.settled: dict[UUID, Committed] = {}
        self.taken: set[int] = set()  # ids as integers: cheaper to hash
        self.latest: dict[Key, Version] = {}
        self.new_runs: dict[str, Collection] = {}
        self.accepted: list[Accepted] = []
        self.transactions: list[tuple[Transaction, int]] = []
        self.known: dict[UUID, KnownTransaction] = {}
        self.ended: list[tuple[Transaction, str]] = []
        self._keys: dict[int, tuple[TypeEntry, Key]] = {}

    # -- keys
    def keys(self, group: Sequence[Transaction]) -> dict[Key, TypeEntry]:
        """Return every key whose latest version matters; what is wrong with a ref shows in its verdict."""
        wanted: dict[Key, TypeEntry] = {}
        for transaction in group:
            for ref in (*(output.ref for output in transaction.outputs), *transaction.unchanged):
                try:
                    entry, key = self._key(transaction, ref)
                except _Refused:
                    continue
                wanted[key] = entry
        return wanted

    def _key(self, transaction: Transaction, ref: DatasetRef) -> tuple[TypeEntry, Key]:
        if (known := self._keys.get(ref.id.int)) is not None:
            return known
        wanted = ref.dataset_type
        entry = self._names.types.get(wanted.name)
        if entry is None or not (entry.type is wanted or entry.type == wanted):
            message = f"{ref}: dataset type {wanted.name!r} is not registered as it is used"
            raise _Refused(
                CommitFailed(txid=transaction.txid, kind=ErrorKind.DATASET_TYPE, message=message, ref=ref)
            )
        try:
            values = tuple([ref.data_id[name] for name in entry.group.dimensions])
        except KeyError as error:
            message = f"{ref}: the data ID lacks {error}"
            raise _Refused(
                CommitFailed(txid=transaction.txid, kind=ErrorKind.DATA_ID, message=message, ref=ref)
            ) from None
        made = entry, (ref.run, entry.id, values)
        self._keys[ref.id.int] = made
        return made

    # -- verdicts
    def decide(self, transaction: Transaction) -> CommitOutcome:
        """Decide one member; what it makes visible is in `accepted` afterwards, why it is not in `ended`."""
        if (settled := self.settled.get(transaction.txid)) is not None:
            return settled
        if (stopped := self._stopped(transaction)) is not None:
            return stopped
        outcome = self._judge(transaction)
        if isinstance(outcome, CommitConflict):
            self.ended.append((transaction, CONFLICT))
        elif isinstance(outcome, CommitFailed):
            self.ended.append((transaction, FAILED))
        elif isinstance(outcome, Committed) and outcome.reused:
            self.ended.append((transaction, REUSED))
        return outcome

    def _stopped(self, transaction: Transaction) -> CommitOutcome | None:
        """Return the outcome of a member whose intent does not allow its commit (any more)."""
        txid = transaction.txid
        known = self.known.get(txid)
        if known is None:
            return None  # it has placed nothing that an intent would have to name
        if known.state is TransactionState.ABORTED and known.reason != LEASE_OVER:
            return CommitFailed(txid=txid, kind=ErrorKind.ABORTED, message=f"it was ended: {known.reason}")
        if known.state is not TransactionState.PREPARING or known.epoch != transaction.epoch:
            why = known.reason or f"somebody else has taken it over ({known.state}, epoch {known.epoch})"
            return CommitParked(txid=txid, reason=f"it may not become visible as it is: {why}")
        return None

    def _check_upstream(self, transaction: Transaction) -> CommitOutcome | None:
        """Return the outcome of a member that requires what is not visible."""
        for upstream in transaction.requires:
            known = self.known.get(upstream)
            if upstream in self.settled or (
                known is not None and (known.state is TransactionState.COMMITTED or known.reason == REUSED)
            ):
                continue
            what = f"an input comes from transaction {upstream}"
            if known is not None and known.state is not TransactionState.ABORTED:
                return CommitParked(txid=transaction.txid, reason=f"{what}, which is not decided yet")
            if known is not None and known.reason == LEASE_OVER:
                return CommitParked(txid=transaction.txid, reason=f"{what}, which may be opened again")
            message = f"{what}, which did not commit"
            return CommitFailed(txid=transaction.txid, kind=ErrorKind.UPSTREAM, message=message)
        return None

    def _judge(self, transaction: Transaction) -> CommitOutcome:
        if (missing := self._check_upstream(transaction)) is not None:
            return missing
        if not has_good_key(transaction):
            message = (
                f"key = {transaction.key!r:.80} is no key: "
                f"give a text of at most {_MOST_KEY_BYTES} bytes of UTF-8 without NUL"
            )
            return CommitFailed(txid=transaction.txid, kind=ErrorKind.NAME, message=message)
        key = None if transaction.key is None else (transaction.run, transaction.key)
        if key is not None and (winner := self.winners.get(key)) is not None:
            return evolve(winner, txid=transaction.txid, reused=True)
        try:
            committed = self._accept(transaction)
        except _Refused as refused:
            return refused.outcome
        self.settled[transaction.txid] = committed
        if key is not None:
            self.winners[key] = committed
        return committed

    def _accept(self, transaction: Transaction) -> Committed:
        for ref in transaction.unchanged:
            self._check_unchanged(transaction, ref)
        changed: dict[Key, Version] = {}
        accepted = [
            self._check_output(transaction, place, output, changed)
            for place, output in enumerate(transaction.outputs)
        ]
        runs = {output.ref.run for output in transaction.outputs}
        self._check_runs(transaction, runs)
        self._next_seq += 1
        self.latest |= changed
        self.taken.update(output.ref.id.int for output in transaction.outputs)
        self.accepted += accepted
        self.transactions.append((transaction, self._next_seq - 1))
        refs = tuple(
            [
                DatasetRef(one.output.ref.id, one.entry.type, one.output.ref.data_id, one.key[0], one.version)
                for one in accepted
            ]
        )
        return Committed(txid=transaction.txid, refs=refs, commit_seq=self._next_seq - 1 if refs else None)

    def _check_unchanged(self, transaction: Transaction, ref: DatasetRef) -> None:
        _, key = self._key(transaction, ref)
        now = self.latest.get(key, _NONE)
        if now.live != ref.version:
            raise _Refused(
                _conflict(transaction, ref, now, f"version {ref.version} was read", ErrorKind.INPUT_CHANGED)
            )

    def _check_output(
        self, transaction: Transaction, place: int, output: OutputRecord, changed: dict[Key, Version]
    ) -> Accepted:
        ref = output.ref
        entry, key = self._key(transaction, ref)
        now = changed.get(key) or self.latest.get(key, _NONE)
        if output.expect is not None and now.live != output.expect:
            wanted = f"version {output.expect} was expected" if output.expect else "none was expected"
            raise _Refused(_conflict(transaction, ref, now, wanted, ErrorKind.VERSION))
        if ref.id.int in self.taken:
            raise _Refused(
                _conflict(transaction, ref, now, f"its id {ref.id} is committed already", ErrorKind.EXISTS)
            )
        version = now.top + 1
        changed[key] = Version(version, version, transaction.txid)
        return Accepted(output, entry, key, version, place, transaction.txid, self._next_seq)

    def _check_runs(self, transaction: Transaction, runs: Iterable[str]) -> None:
        missing = []
        for run in runs:
            collection = self._names.collections.get(run) or self.new_runs.get(run)
            if collection is None:
                missing.append(run)
            elif collection.kind is not CollectionKind.RUN:
                message = f"{run!r} is a {collection.kind} collection; outputs go to a RUN"
                raise _Refused(
                    CommitFailed(txid=transaction.txid, kind=ErrorKind.COLLECTION, message=message)
                )
        for run in sorted(missing):
            number = max(self._names.collections_by_id, default=0) + len(self.new_runs) + 1
            self.new_runs[run] = Collection(number, run, CollectionKind.RUN)

    def run_id(self, run: str) -> int:
        """Return the number of a run that is there or is being made."""
        collection = self._names.collections.get(run) or self.new_runs[run]
        return collection.id


def _conflict(
    transaction: Transaction, ref: DatasetRef, now: Version, wanted: str, kind: ErrorKind
) -> CommitConflict:
    there = (
        f"the latest version is {now.live} (transaction {now.txid})" if now.live else "there is no version"
    )
    return CommitConflict(
        txid=transaction.txid,
        message=f"{ref}: {wanted}, and {there}",
        ref=ref,
        winner_txid=now.txid,
        winner_version=now.live or None,
        kind=kind,
    )


class LatestVersions:
    """Asks for the latest versions of any number of keys, one statement per dimension group."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._statements: dict[tuple[str, ...], tuple[Prepared, dict[str, str]]] = {}

    def ask(
        self, connection: sa.Connection, names: Names, keys: Mapping[Key, TypeEntry]
    ) -> dict[Key, Version]:
        """Return the versions of those keys that have any."""
        groups: dict[tuple[str, ...], tuple[GroupTables, list[Key]]] = {}
        for key, entry in keys.items():
            if key[0] in names.collections:  # a run that is not there has no versions
                groups.setdefault(entry.group.dimensions, (entry.group, []))[1].append(key)
        found: dict[Key, Version] = {}
        for group, wanted in groups.values():
            statement, types = self._statement(group)
            rows = (
                [index, names.collections[run].id, type_id, *values]
                for index, (run, type_id, values) in enumerate(wanted)
            )
            value = self._database.rules.rows_value(rows, types)
            result = connection.exec_driver_sql(statement.sql, statement.values({"wanted": value})).all()
            for index, version, txid, removed in result:
                if version is not None:
                    found[wanted[index]] = self._version(
                        connection, names, group, wanted[index], version, txid, removed
                    )
        return found

    def _version(
        self,
        connection: sa.Connection,
        names: Names,
        group: GroupTables,
        key: Key,
        top: int,
        txid: Any,
        removed: Any,
    ) -> Version:
        if removed is None:
            return Version(top, top, self._database.rules.uuid_out(txid))
        run, type_id, values = key
        table = group.dataset
        here = zip(group.columns.values(), values, strict=True)
        row = connection.execute(
            sa.select(table.c.v, table.c.txid)
            .where(
                table.c.run_id == names.collections[run].id,
                table.c.type_id == type_id,
                *(table.c[column] == value for column, value in here),
                table.c.removed_seq.is_(None),
            )
            .order_by(table.c.v.desc())
            .limit(1)
        ).first()
        return Version(top, 0, None) if row is None else Version(top, row.v, row.txid)

    def _statement(self, group: GroupTables) -> tuple[Prepared, dict[str, str]]:
        if (known := self._statements.get(group.dimensions)) is None:
            types = {"i": "int", "run_id": "int", "type_id": "int"}
            types |= {group.columns[name]: kind for name, kind in group.types.items()}
            known = self._statements[group.dimensions] = self._make(group, types), types
        return known

    def _make(self, group: GroupTables, types: Mapping[str, str]) -> Prepared:
        wanted = self._database.rules.rows("wanted", types)
        table, other = group.dataset, group.dataset.alias("other")
        columns = ("run_id", "type_id", *group.columns.values())
        top = (
            sa.select(sa.func.max(other.c.v))
            .where(*(other.c[column] == wanted.c[column] for column in columns))
            .correlate(wanted)
            .scalar_subquery()
        )
        same = sa.and_(*(table.c[column] == wanted.c[column] for column in columns), table.c.v == top)
        # An outer join: the few wanted keys are looked up, never the many rows scanned.
        return self._database.prepare(
            sa.select(wanted.c.i, table.c.v, table.c.txid, table.c.removed_seq).select_from(
                wanted.outerjoin(table, same)
            )
        )
