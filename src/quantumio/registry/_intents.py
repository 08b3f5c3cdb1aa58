"""Intents: transactions that are on their way, who carries them, and how they end before they are visible.

All that decides about a transaction (taking it over, ending it, opening it again) takes the clock first, as
the flip does: it waits until a flip that is under way has ended, also one whose client has lost it, and also
where the registry has no row of the transaction yet. To prepare takes no clock: it changes only what its own
owner carries, and locks rows in the order of their ids, so that processes prepare side by side.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from attrs import evolve

from quantumio.errors import DestinationError, ErrorKind, InvalidInputError
from quantumio.model import FollowUp, Transaction, TransactionRecord, TransactionState
from quantumio.ports import LEASE_OVER
from quantumio.registry._any_ids import any_of, parts_of
from quantumio.registry._arguments import check_number, check_seconds, check_uuid, is_text
from quantumio.registry._clock import Clock
from quantumio.registry._dialect import Rules
from quantumio.registry._engine import Database
from quantumio.registry._outbox import Outbox
from quantumio.registry._owners import Owners
from quantumio.registry._schema import OWNER, TXN
from quantumio.registry._verdict import has_good_key
from quantumio.system import environment

__all__ = ["Intents"]

_PREPARING = TXN.c.state == sa.literal_column("'PREPARING'")  # spelled out: the index is partial
_REPLACED = ("run", "key", "lease_ns", "manifest")


class Intents:
    """The rows of transactions before their commit. Every change is one statement that names its epoch."""

    def __init__(self, database: Database, clock: Clock, owners: Owners, outbox: Outbox) -> None:
        self._database = database
        self._clock = clock
        self._owners = owners
        self._outbox = outbox
        self._is_over = _is_over(database.rules)
        records = _standings(database.rules).add_columns(TXN.c.manifest)
        self._records = records.order_by(TXN.c.created_at, TXN.c.txid)

    # -- before the first byte
    def prepare(self, group: Sequence[Transaction], owner: UUID, lease_s: float) -> list[TransactionRecord]:
        """Write the intents of a group."""
        check_uuid(owner, "owner")
        lease_ns = check_seconds(lease_s, "lease_s")
        self._database.check_writable()
        if not group:
            return []
        created, uuid_in = environment.now_ns(), self._database.rules.uuid_in
        carrier = uuid_in(owner)
        rows = [
            {
                "txid": uuid_in(one.txid),
                "run": one.run,
                "epoch": one.epoch,
                "gen": one.generation,
                "key": one.key if has_good_key(one) else None,  # the flip refuses it, and names it
                "manifest": one.to_json(),
                "owner": carrier,
                "lease_ns": lease_ns,
                "created_at": created,
                "state": "PREPARING",
            }
            for one in sorted(group, key=lambda one: one.txid)  # one order of locks for everybody
        ]
        with self._database.edit(f"preparing {len(group)} contexts") as connection:
            self._owners.check(connection, owner)
            insert = self._database.prepare(_insert, self._database.rules, tuple(rows[0]))
            self._database.execute_many(connection, insert, [insert.values(row) for row in rows])
            found = self._found(connection, {one.txid: one for one in group}, owner)
        return [found[one.txid] for one in group]

    def _found(
        self, connection: sa.Connection, group: Mapping[UUID, Transaction], owner: UUID
    ) -> dict[UUID, TransactionRecord]:
        """Return the records of a group; manifests that this owner has just given are not read again."""
        rules = self._database.rules
        given_now = (TransactionState.PREPARING, rules.uuid_in(owner))
        found = {}
        for size, values in parts_of(list(group), rules.uuid_in):
            statement = self._database.prepare(_standings_of, rules, size)
            for row in self._database.ask(connection, statement, values):
                txid = rules.uuid_out(row.txid)
                given = group[txid]
                if (row.state, row.owner) == given_now and row.epoch == given.epoch:
                    record = _record(row, evolve(given, generation=row.gen))
                    found[txid] = evolve(record, txid=txid, owner=owner)
                else:
                    (found[txid],) = self._select(connection, self._records.where(TXN.c.txid == txid))
        return found

    # -- who carries it
    def take_over(self, txid: UUID, owner: UUID, epoch: int) -> TransactionRecord | None:
        """Own a transaction that is PREPARING at this epoch."""
        return self._own(txid, owner, epoch, _PREPARING, {})

    def reopen(self, txid: UUID, owner: UUID, epoch: int) -> TransactionRecord | None:
        """Open a transaction again that was ended over the silence of its owner."""
        ended = sa.and_(TXN.c.state == TransactionState.ABORTED, TXN.c.reason == LEASE_OVER)
        opened = {
            "gen": TXN.c.gen + 1,
            "state": TransactionState.PREPARING,
            "reason": None,
            "decided_at": None,
        }
        return self._own(txid, owner, epoch, ended, opened)

    def _own(
        self, txid: UUID, owner: UUID, epoch: int, where: sa.ColumnElement[bool], changes: dict[str, Any]
    ) -> TransactionRecord | None:
        check_uuid(owner, "owner")
        statement = _at_epoch(txid, epoch).where(where).values(owner=owner, epoch=TXN.c.epoch + 1, **changes)
        with self._database.edit(f"taking transaction {txid} over") as connection:
            self._clock.advance(connection, steps=0)
            self._owners.check(connection, owner)
            connection.execute(statement)
            records = self._select(connection, self._records.where(TXN.c.txid == txid))
        return records[0] if records else None

    # -- the end
    def abort(self, txid: UUID, epoch: int, reason: str, follow_ups: Sequence[FollowUp]) -> bool:
        """End a transaction that is PREPARING at this epoch."""
        _check_reason(reason)
        return self._end(txid, epoch, reason, follow_ups, sa.true())

    def reap(self, txid: UUID, epoch: int, follow_ups: Sequence[FollowUp]) -> bool:
        """End it if its lease is over."""
        silent = sa.select(OWNER.c.id).where(OWNER.c.id == TXN.c.owner, self._is_over).exists()
        return self._end(txid, epoch, LEASE_OVER, follow_ups, silent)

    def _end(
        self,
        txid: UUID,
        epoch: int,
        reason: str,
        follow_ups: Sequence[FollowUp],
        also: sa.ColumnElement[bool],
    ) -> bool:
        return self._abort(txid, _at_epoch(txid, epoch).where(_PREPARING, also), reason, follow_ups)

    def drop(self, txid: UUID, reason: str, follow_ups: Sequence[FollowUp]) -> bool:
        """End a transaction that is QUARANTINED."""
        check_uuid(txid, "transaction")
        _check_reason(reason)
        in_quarantine = TXN.c.state == TransactionState.QUARANTINED
        statement = sa.update(TXN).where(TXN.c.txid == txid, in_quarantine)
        return self._abort(txid, statement, reason, follow_ups)

    def _abort(self, txid: UUID, statement: sa.Update, reason: str, follow_ups: Sequence[FollowUp]) -> bool:
        with self._database.edit(f"ending transaction {txid}") as connection:
            edit = self._clock.advance(connection, steps=0)
            aborted = statement.values(
                state=TransactionState.ABORTED, reason=reason, owner=None, decided_at=edit.decided_ns
            )
            ended = bool(connection.execute(aborted).rowcount)
            if ended:
                self._outbox.add(connection, {txid: follow_ups}, None)
        return ended

    def quarantine(self) -> int:
        """Set all aside that are on their way."""
        statement = (
            sa.update(TXN)
            .where(_PREPARING)
            .values(
                state=TransactionState.QUARANTINED,
                reason="the registry was put back from a backup",
                owner=None,
            )
        )
        with self._database.edit("setting transactions aside") as connection:
            self._clock.advance(connection, steps=0)
            return int(connection.execute(statement).rowcount)

    # -- looking
    def transaction(self, txid: UUID) -> TransactionRecord | None:
        """Return what is known of a transaction for certain."""
        check_uuid(txid, "transaction")
        records = self._read(self._records.where(TXN.c.txid == txid))
        return records[0] if records else None

    def preparing(self) -> list[TransactionRecord]:
        """Return all that are on their way; one with a damaged manifest says so, and hides no other."""
        return self._read(self._records.where(_PREPARING), _record_or_damage)

    def quarantined(self) -> list[TransactionRecord]:
        """Return all that were set aside; as `preparing`."""
        return self._read(self._records.where(TXN.c.state == TransactionState.QUARANTINED), _record_or_damage)

    def _read(
        self,
        statement: sa.Select[Any],
        record: Callable[[Any], TransactionRecord] = lambda row: _record(row, _transaction(row)),
    ) -> list[TransactionRecord]:
        self._database.prove_durable()
        return self._database.read(lambda connection: [record(row) for row in connection.execute(statement)])

    @staticmethod
    def _select(connection: sa.Connection, statement: sa.Select[Any]) -> list[TransactionRecord]:
        return [_record(row, _transaction(row)) for row in connection.execute(statement)]


def _check_reason(reason: object) -> None:
    if not is_text(reason):
        raise InvalidInputError(f"reason = {reason!r:.80} is no reason", hint="give a text")


@functools.cache
def _is_over(rules: Rules) -> sa.ColumnElement[bool]:
    return OWNER.c.heartbeat_at + TXN.c.lease_ns < rules.now()


@functools.cache
def _standings(rules: Rules) -> sa.Select[Any]:
    columns: list[Any] = [
        *(TXN.c[name] for name in ("txid", "state", "epoch", "gen", "reason", "owner")),
        *(OWNER.c[name] for name in ("host", "boot_id")),
        _is_over(rules).label("lease_over"),
    ]
    return sa.select(*columns).select_from(TXN.outerjoin(OWNER, OWNER.c.id == TXN.c.owner))


def _standings_of(rules: Rules, size: int) -> sa.Select[Any]:
    return _standings(rules).where(any_of(TXN.c.txid, size))


def _insert(rules: Rules, columns: tuple[str, ...]) -> sa.Insert:
    insert: Any = rules.insert(TXN).values({name: sa.bindparam(name) for name in columns})
    new = insert.excluded
    return insert.on_conflict_do_update(  # type: ignore[no-any-return]
        index_elements=["txid"],
        set_={name: new[name] for name in _REPLACED},
        where=sa.and_(_PREPARING, TXN.c.owner == new.owner, TXN.c.epoch == new.epoch),
    )


def _at_epoch(txid: UUID, epoch: int) -> sa.Update:
    check_uuid(txid, "transaction")
    return sa.update(TXN).where(TXN.c.txid == txid, TXN.c.epoch == check_number(epoch, "epoch"))


def _record(row: Any, transaction: Transaction | None) -> TransactionRecord:
    return TransactionRecord(
        txid=row.txid,
        state=TransactionState(row.state),
        epoch=row.epoch,
        generation=row.gen,
        transaction=transaction,
        reason=row.reason,
        owner=row.owner,
        owner_host=row.host,
        owner_boot_id=row.boot_id,
        lease_over=bool(row.lease_over),
    )


def _record_or_damage(row: Any) -> TransactionRecord:
    try:
        return _record(row, _transaction(row))
    except DestinationError as error:
        return evolve(_record(row, None), damage=str(error))


def _transaction(row: Any) -> Transaction | None:
    if row.manifest is None:
        return None
    try:
        transaction = Transaction.from_wire(json.loads(row.manifest))
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise DestinationError(
            f"the manifest of transaction {row.txid} in the registry is damaged: {error!r}",
            hint="restore the registry from a backup",
            kind=ErrorKind.CORRUPT,
        ) from error
    return evolve(transaction, epoch=row.epoch, generation=row.gen)
