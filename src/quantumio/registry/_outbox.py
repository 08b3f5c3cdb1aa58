"""The outbox: what is to follow a decision, remembered until it is done."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from quantumio.model import FollowUp, FollowUpKind, OutboxEntry
from quantumio.registry._arguments import check_limit, check_number, check_seconds, check_uuid
from quantumio.registry._dialect import Rules
from quantumio.registry._engine import Database
from quantumio.registry._schema import OUTBOX, OWNER

__all__ = ["Outbox"]

_CLAIM_OF_WRITER_NS = 60_000_000_000
"""How long what is to follow a commit is left to who has committed, which does it at once."""


class Outbox:
    """Follow-ups of transactions. An entry is due from ``not_before`` on, by the database's clock."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._now = database.rules.now()
        self._entries = _entries(database.rules)

    def add(
        self,
        connection: sa.Connection,
        follow_ups: Mapping[UUID, Collection[FollowUp]],
        owner: UUID | None,
    ) -> None:
        """Add entries in a write transaction, claimed by the owner where there is one."""
        rows = [
            {"txid": txid, "kind": str(one.kind), "destination": one.destination, "claimed_by": owner}
            for txid, wanted in follow_ups.items()
            for one in dict.fromkeys(wanted)
        ]
        if not rows:
            return
        connection.execute(_insert(self._database.rules, 0 if owner is None else _CLAIM_OF_WRITER_NS), rows)

    def claim(self, owner: UUID, limit: int, claim_s: float) -> list[OutboxEntry]:
        """Claim entries that are due, the oldest first."""
        check_uuid(owner, "owner")
        most, claim_ns = check_limit(limit), check_seconds(claim_s, "claim_s")
        due = (
            sa.select(OUTBOX.c.id)
            .where(OUTBOX.c.not_before <= self._now)
            .order_by(OUTBOX.c.id)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        claimed = (
            sa.update(OUTBOX)
            .where(OUTBOX.c.id.in_(due))
            .values(claimed_by=owner, not_before=self._now + claim_ns)
            .returning(OUTBOX.c.id)
        )
        with self._database.edit("claiming what is to follow commits") as connection:
            ids = connection.execute(claimed).scalars().all()
            rows = connection.execute(self._entries.where(OUTBOX.c.id.in_(ids))).all()
        return [_entry(row) for row in rows]

    def release_claims(self, owner: UUID) -> None:
        """Make due what an owner has claimed."""
        check_uuid(owner, "owner")
        statement = (
            sa.update(OUTBOX)
            .where(OUTBOX.c.claimed_by == owner)
            .values(claimed_by=None, not_before=self._now)
        )
        with self._database.edit("releasing the claims of a dead owner") as connection:
            connection.execute(statement)

    def hasten(self) -> None:
        """Make due what was postponed."""
        statement = (
            sa.update(OUTBOX)
            .where(OUTBOX.c.claimed_by.is_(None), OUTBOX.c.not_before > self._now)
            .values(not_before=self._now)
        )
        with self._database.edit("making due what was postponed") as connection:
            connection.execute(statement)

    def finish(self, done: Mapping[UUID, Collection[FollowUp]]) -> None:
        """Remove entries: they are done."""
        rows = [
            {
                "wanted_txid": check_uuid(txid, "transaction"),
                "wanted_kind": str(one.kind),
                "wanted_destination": one.destination,
            }
            for txid, follow_ups in done.items()
            for one in follow_ups
        ]
        self._database.check_writable()
        if not rows:
            return
        # In one order everywhere: two processes that note the same ones do not wait for each other.
        rows.sort(key=lambda row: (row["wanted_txid"], row["wanted_kind"], row["wanted_destination"]))
        statement = sa.delete(OUTBOX).where(
            OUTBOX.c.txid == sa.bindparam("wanted_txid"),
            OUTBOX.c.kind == sa.bindparam("wanted_kind"),
            OUTBOX.c.destination == sa.bindparam("wanted_destination"),
        )
        with self._database.edit("noting what followed commits") as connection:
            connection.execute(statement, rows)

    def postpone(self, entry_id: int, delay_s: float) -> None:
        """Give a claim up; due again after the delay."""
        delay_ns = check_seconds(delay_s, "delay_s")
        statement = (
            sa.update(OUTBOX)
            .where(OUTBOX.c.id == check_number(entry_id, "entry_id"))
            .values(
                claimed_by=None,
                attempts=OUTBOX.c.attempts + 1,
                not_before=self._now + delay_ns,
            )
        )
        with self._database.edit("postponing what is to follow a commit") as connection:
            connection.execute(statement)

    def entries(self, txid: UUID | None) -> list[OutboxEntry]:
        """Return what is not done, the oldest first."""
        statement = self._entries
        if txid is not None:
            statement = statement.where(OUTBOX.c.txid == check_uuid(txid, "transaction"))
        self._database.prove_durable()

        def read(connection: sa.Connection) -> Sequence[Any]:
            return connection.execute(statement).all()

        return [_entry(row) for row in self._database.read(read)]


@functools.cache
def _entries(rules: Rules) -> sa.Select[Any]:
    now = rules.now()
    return (
        sa.select(
            OUTBOX.c.id,
            OUTBOX.c.txid,
            OUTBOX.c.kind,
            OUTBOX.c.destination,
            OUTBOX.c.attempts,
            (now - OUTBOX.c.created_at).label("age_ns"),
            (OUTBOX.c.not_before <= now).label("is_due"),
            OUTBOX.c.claimed_by,
            OWNER.c.host,
            OWNER.c.boot_id,
        )
        .select_from(OUTBOX.outerjoin(OWNER, OWNER.c.id == OUTBOX.c.claimed_by))
        .order_by(OUTBOX.c.id)
    )


@functools.cache
def _insert(rules: Rules, due_ns: int) -> sa.Insert:
    columns = ("txid", "kind", "destination", "claimed_by")
    insert: Any = rules.insert(OUTBOX).values({name: sa.bindparam(name) for name in columns})
    times = {"attempts": 0, "created_at": rules.now(), "not_before": rules.now() + due_ns}
    return insert.values(times).on_conflict_do_nothing()  # type: ignore[no-any-return]


def _entry(row: Any) -> OutboxEntry:
    return OutboxEntry(
        id=row.id,
        txid=row.txid,
        follow_up=FollowUp(kind=FollowUpKind(row.kind), destination=row.destination),
        attempts=row.attempts,
        age_s=max(0, row.age_ns) / 1e9,
        is_due=bool(row.is_due),
        claimed_by=row.claimed_by,
        owner_host=row.host,
        owner_boot_id=row.boot_id,
    )
