"""The clock of a registry: the first thing that every write takes, and the order of all of them."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from quantumio.registry._dialect import Rules
from quantumio.registry._engine import Database
from quantumio.registry._names import Edit
from quantumio.registry._prepared import Fetch
from quantumio.registry._schema import CLOCK, MOMENT
from quantumio.system import environment

__all__ = ["Clock"]

_GREATEST: Final = (1 << 63) - 1


class Clock:
    """Gives each commit and edit its number. Its one row is the one lock that writers need: no deadlocks."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._advance = database.prepare(_advance, database.rules)
        self._note = database.prepare(_note)
        self._last_until = database.prepare(_last_until)

    def advance(self, connection: sa.Connection, *, steps: int = 1, names: bool = False) -> Edit:
        """Take the clock for this transaction.

        Parameters
        ----------
        connection
            In a write transaction.
        steps
            How many numbers to take; the last of them is returned.
        names
            Whether names change, so that every cache must be read again.
        """
        now = environment.now_ns()
        (row,) = self._database.ask(
            connection, self._advance, {"steps": steps, "edited": int(names), "now": now}
        )
        if steps:
            self._database.execute_many(connection, self._note, [(row.seq, row.decided_ns)])
        return Edit(row.seq, row.edits, row.decided_ns)

    def moment(self, time_ns: int) -> int:
        """Return the number of the last commit or edit at a time or before it; 0 where there is none."""

        def search(fetch: Fetch) -> int:
            low, high, found = 0, _GREATEST, 0
            while low < high:
                middle = (low + high + 1) // 2
                rows = fetch(self._last_until, {"seq": middle})
                if rows and rows[0][1] > time_ns:
                    high = rows[0][0] - 1
                else:
                    low, found = middle, rows[0][0] if rows else 0
            return found

        return self._database.snapshot(search)


def _note() -> sa.Insert:
    return sa.insert(MOMENT).values(seq=sa.bindparam("seq"), decided_ns=sa.bindparam("decided_ns"))


def _last_until() -> sa.Select[tuple[int, int]]:
    return (
        sa.select(MOMENT.c.seq, MOMENT.c.decided_ns)
        .where(MOMENT.c.seq <= sa.bindparam("seq"))
        .order_by(MOMENT.c.seq.desc())
        .limit(sa.literal_column("1"))
    )


def _advance(rules: Rules) -> sa.Executable:
    now = sa.bindparam("now", type_=CLOCK.c.decided_ns.type)
    return (
        sa.update(CLOCK)
        .where(CLOCK.c.id == 1)
        .values(
            seq=CLOCK.c.seq + sa.bindparam("steps", type_=CLOCK.c.seq.type),
            edits=CLOCK.c.edits + sa.bindparam("edited", type_=CLOCK.c.edits.type),
            decided_ns=rules.greatest(CLOCK.c.decided_ns, now),
        )
        .returning(CLOCK.c.seq, CLOCK.c.edits, CLOCK.c.decided_ns)
    )
