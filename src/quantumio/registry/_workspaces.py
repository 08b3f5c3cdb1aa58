"""Which users have a store of their own at a destination."""

from __future__ import annotations

import sqlalchemy as sa

from quantumio.registry._engine import Database
from quantumio.registry._schema import OBJECT, WORKSPACE

__all__ = ["Workspaces"]


class Workspaces:
    """Remembers whose stores were made, and in whose an object is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def may_have(self, store: str, user: str) -> bool:
        """Return whether a user has a store there, or nobody is known to have one."""
        known = sa.select(WORKSPACE.c.user_name).where(WORKSPACE.c.store == store)

        def read(connection: sa.Connection) -> bool:
            is_known = connection.execute(known.where(WORKSPACE.c.user_name == user)).first() is not None
            return is_known or connection.execute(known.limit(1)).first() is None

        return self._database.read(read)

    def note(self, store: str, user: str) -> None:
        """Remember that a user has one; who is remembered already needs no turn among the writers."""
        row = {"store": store, "user_name": user}
        known = sa.select(WORKSPACE.c.store).filter_by(**row)
        if self._database.read(lambda connection: connection.execute(known).first()) is not None:
            return
        insert = self._database.rules.insert(WORKSPACE).values(row)
        with self._database.edit("noting who has a store") as connection:
            connection.execute(insert.on_conflict_do_nothing())

    def user_of_object(self, store: str, path: str) -> str | None:
        """Return in whose store an object is, None where nobody knows: an older quantumio did not note it."""
        user = sa.select(OBJECT.c.user_name).where(OBJECT.c.store == store, OBJECT.c.path == path)
        return self._database.read(lambda connection: connection.execute(user).scalar())
