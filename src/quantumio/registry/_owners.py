"""Owners of transactions: processes that say, by the database's clock, that they live."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa

from quantumio.errors import InvalidInputError, StateError
from quantumio.registry._arguments import check_uuid, is_text
from quantumio.registry._engine import Database
from quantumio.registry._schema import OWNER

__all__ = ["Owners"]


class Owners:
    """Registers owners and hears of them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known = database.prepare(_known)

    def register(self, owner: UUID, host: str, boot_id: str) -> None:
        """Make an owner known, or hear of it again."""
        check_uuid(owner, "owner")
        for name, value in (("host", host), ("boot_id", boot_id)):
            if not is_text(value):
                raise InvalidInputError(
                    f"{name} = {value!r:.80} is no text", hint="give valid Unicode without NUL"
                )
        now = self._database.rules.now()
        insert = self._database.rules.insert(OWNER).values(
            id=owner, host=host, boot_id=boot_id, heartbeat_at=now
        )
        with self._database.edit("registering an owner") as connection:
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["id"],
                    set_={name: insert.excluded[name] for name in ("host", "boot_id", "heartbeat_at")},
                )
            )

    def renew(self, owner: UUID) -> bool:
        """Hear of an owner; False if it is not known."""
        check_uuid(owner, "owner")
        update = sa.update(OWNER).where(OWNER.c.id == owner)
        with self._database.edit("renewing a lease") as connection:
            heard = connection.execute(update.values(heartbeat_at=self._database.rules.now()))
            return heard.rowcount > 0

    def check(self, connection: sa.Connection, owner: UUID) -> None:
        """Refuse an owner that is not known: nobody could tell whether its lease is over.

        Raises
        ------
        StateError
            It is not known.
        """
        if not self._database.ask(connection, self._known, {"id": self._database.rules.uuid_in(owner)}):
            raise StateError(
                f"the registry at {self._database.place} does not know the owner {owner}",
                hint="register it first; a registry that was put back from a backup knows only older ones",
            )


def _known() -> sa.Select[Any]:
    return sa.select(OWNER.c.id).where(OWNER.c.id == sa.bindparam("id"))
