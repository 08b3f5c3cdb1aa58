"""Intents: transactions that are on their way, who carries them, and how they end before they are visible."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from attrs import evolve

from quantumio.errors import DestinationError, ErrorKind, InvalidInputError
from quantumio.model import FollowUp, Transaction, TransactionRecord, TransactionState
from quantumio.ports import LEASE_OVER
from quantumio.registry._engine import Database
from quantumio.registry._outbox import Outbox
from quantumio.registry._schema import OWNER, TXN
from quantumio.system import environment

__all__ = ["Intents"]

_PREPARING = TXN.c.state == sa.literal_column("'PREPARING'")


class Intents:
    """The rows of transactions before their commit. Every change is one statement that names its epoch."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox
        self._now = database.rules.now()
        self._is_over = sa.and_(OWNER.c.heartbeat_at + TXN.c.lease_ns < self._now)
        self._records = (
            sa.select(
                TXN.c.txid,
                TXN.c.state,
                TXN.c.epoch,
                TXN.c.gen,
                TXN.c.manifest,
                TXN.c.reason,
                TXN.c.owner,
                OWNER.c.host,
                OWNER.c.boot_id,
                self._is_over.label("lease_over"),
            )
            .select_from(TXN.outerjoin(OWNER, OWNER.c.id == TXN.c.owner))
            .order_by(TXN.c.created_at, TXN.c.txid)
        )
        self._standing = sa.select(TXN.c.txid, TXN.c.state, TXN.c.epoch, TXN.c.gen, TXN.c.owner)

    # -- owners
    def register_owner(self, owner: UUID, host: str, boot_id: str) -> None:
        """Make an owner known; again it renews its lease."""
        statement = self._database.rules.insert(OWNER).values(
            id=owner, host=host, boot_id=boot_id, heartbeat_at=self._now
        )
        statement = statement.on_conflict_do_update(
            index_elements=["id"], set_={"heartbeat_at": statement.excluded.heartbeat_at}
        )
        with self._database.edit("registering an owner of transactions") as connection:
            connection.execute(statement)

    def renew_lease(self, owner: UUID) -> bool:
        """Say that an owner lives."""
        statement = sa.update(OWNER).where(OWNER.c.id == owner).values(heartbeat_at=self._now)
        with self._database.edit("renewing a lease") as connection:
            return bool(connection.execute(statement).rowcount)

    # -- intents
    def prepare(self, group: Sequence[Transaction], owner: UUID, lease_s: float) -> list[TransactionRecord]:
        """Write the intents of a group."""
        if not group:
            return []
        created = environment.now_ns()
        rows = [
            {
                "txid": one.txid,
                "run": one.run,
                "epoch": one.epoch,
                "gen": one.generation,
                "key": one.key,
                "manifest": one.to_json(),
                "owner": owner,
                "lease_ns": round(lease_s * 1e9),
                "created_at": created,
                "state": "PREPARING",
            }
            for one in sorted(group, key=lambda one: one.txid)  # one order of locks for everybody
        ]
        insert = self._database.rules.insert(TXN)
        insert = insert.values({name: sa.bindparam(name) for name in rows[0]})
        insert = insert.on_conflict_do_update(
            index_elements=["txid"],
            set_={"manifest": insert.excluded.manifest, "lease_ns": insert.excluded.lease_ns},
            where=sa.and_(_PREPARING, TXN.c.owner == owner, TXN.c.epoch == insert.excluded.epoch),
        )
        by_txid = {one.txid: one for one in group}
        with self._database.edit(f"preparing {len(group)} contexts") as connection:
            connection.execute(insert, rows)
            standing = list(connection.execute(self._standing.where(TXN.c.txid.in_(by_txid))))
            taken = {
                row.txid: TransactionRecord(
                    txid=row.txid,
                    state=TransactionState.PREPARING,
                    epoch=row.epoch,
                    generation=row.gen,
                    transaction=evolve(by_txid[row.txid], generation=row.gen),
                    owner=owner,
                )
                for row in standing
                if (row.state, row.owner, row.epoch) == ("PREPARING", owner, by_txid[row.txid].epoch)
            }
            if others := by_txid.keys() - taken.keys():
                for record in self._select(connection, self._records.where(TXN.c.txid.in_(others))):
                    taken[record.txid] = record
        return [taken[one.txid] for one in group]

    def take_over(self, txid: UUID, owner: UUID, epoch: int) -> TransactionRecord | None:
        """Own a transaction that is PREPARING at this epoch."""
        where = sa.and_(_PREPARING, TXN.c.epoch == epoch)
        return self._own(txid, owner, where, {"epoch": epoch + 1})

    def reopen(self, txid: UUID, owner: UUID, epoch: int) -> TransactionRecord | None:
        """Open a transaction again that was ended over the silence of its owner."""
        where = sa.and_(TXN.c.state == "ABORTED", TXN.c.reason == LEASE_OVER, TXN.c.epoch == epoch)
        changes = {
            "epoch": epoch + 1,
            "gen": TXN.c.gen + 1,
            "state": "PREPARING",
            "reason": None,
            "decided_at": None,
        }
        return self._own(txid, owner, where, changes)

    def _own(
        self, txid: UUID, owner: UUID, where: sa.ColumnElement[bool], changes: dict[str, Any]
    ) -> TransactionRecord | None:
        statement = sa.update(TXN).where(TXN.c.txid == txid, where).values(owner=owner, **changes)
        with self._database.edit(f"taking transaction {txid} over") as connection:
            connection.execute(statement)
            records = self._select(connection, self._records.where(TXN.c.txid == txid))
        return records[0] if records else None

    def abort(self, txid: UUID, epoch: int, reason: str, follow_ups: Sequence[FollowUp]) -> bool:
        """End a transaction that is PREPARING at this epoch."""
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
        statement = (
            sa.update(TXN)
            .where(TXN.c.txid == txid, _PREPARING, TXN.c.epoch == epoch, also)
            .values(state="ABORTED", reason=reason, owner=None, decided_at=environment.now_ns())
        )
        with self._database.edit(f"ending transaction {txid}") as connection:
            ended = bool(connection.execute(statement).rowcount)
            if ended:
                self._outbox.add(connection, {txid: follow_ups}, None)
        return ended

    def quarantine(self) -> int:
        """Set all aside that are on their way."""
        statement = (
            sa.update(TXN)
            .where(_PREPARING)
            .values(state="QUARANTINED", reason="the registry was put back from a backup", owner=None)
        )
        with self._database.edit("setting transactions aside") as connection:
            return int(connection.execute(statement).rowcount)

    # -- looking
    def transaction(self, txid: UUID) -> TransactionRecord | None:
        """Return what is known of a transaction for certain."""
        if not isinstance(txid, UUID):
            raise InvalidInputError(f"{txid!r:.80} is no transaction", hint="give its UUID")
        self._database.prove_durable()
        records = self._read(self._records.where(TXN.c.txid == txid))
        return records[0] if records else None

    def preparing(self) -> list[TransactionRecord]:
        """Return all that are on their way."""
        return self._read(self._records.where(_PREPARING))

    def _read(self, statement: sa.Select[Any]) -> list[TransactionRecord]:
        return self._database.read(lambda connection: self._select(connection, statement))

    @staticmethod
    def _select(connection: sa.Connection, statement: sa.Select[Any]) -> list[TransactionRecord]:
        return [_record(row) for row in connection.execute(statement)]


def _record(row: Any) -> TransactionRecord:
    return TransactionRecord(
        txid=row.txid,
        state=TransactionState(row.state),
        epoch=row.epoch,
        generation=row.gen,
        transaction=None if row.manifest is None else _transaction(row),
        reason=row.reason,
        owner=row.owner,
        owner_host=row.host,
        owner_boot_id=row.boot_id,
        lease_over=bool(row.lease_over),
    )


def _transaction(row: Any) -> Transaction:
    try:
        transaction = Transaction.from_wire(json.loads(row.manifest))
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise DestinationError(
            f"the manifest of transaction {row.txid} in the registry is damaged: {error!r}",
            hint="restore the registry from a backup",
            kind=ErrorKind.CORRUPT,
        ) from error
    return evolve(transaction, epoch=row.epoch, generation=row.gen)
