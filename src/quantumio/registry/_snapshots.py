"""Snapshots: moments that have a name."""

from __future__ import annotations

import sqlalchemy as sa

from quantumio.errors import ConflictError, ErrorKind, InvalidInputError, NotFoundError, shown
from quantumio.model import check_run
from quantumio.ports import SnapshotRecord
from quantumio.registry._arguments import check_name, check_number, is_text
from quantumio.registry._clock import Clock
from quantumio.registry._engine import Database
from quantumio.registry._schema import SNAPSHOT

__all__ = ["Snapshots", "live_snapshots"]

_LIVE = SNAPSHOT.c.removed_seq.is_(None)


class Snapshots:
    """Names moments."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def create(self, name: str, seq: int | None, note: str) -> SnapshotRecord:
        """Name a moment; None: this one."""
        check_run(name, "snapshot")
        if not is_text(note):
            raise InvalidInputError(f"note = {shown(note)} is no text", hint="give a text without NUL")
        if seq is not None:
            seq = check_number(seq, "moment")
        with self._database.edit(f"making the snapshot {name}") as connection:
            edit = self._clock.advance(connection)
            if seq is not None and seq > edit.seq:
                raise InvalidInputError(
                    f"moment {seq} has not come yet: the last one is {edit.seq - 1}",
                    hint="give the number of a commit, or nothing for now",
                )
            there = sa.select(SNAPSHOT.c.seq).where(SNAPSHOT.c.name == name, _LIVE)
            if (known := connection.execute(there).scalar()) is not None:
                raise ConflictError(
                    f"there is a snapshot {name!r} already, of moment {known}",
                    hint="use another name, or remove that one",
                )
            made = SnapshotRecord(
                name=name, seq=edit.seq if seq is None else seq, note=note, created_ns=edit.decided_ns
            )
            row = {"name": name, "seq": made.seq, "note": note, "created_ns": made.created_ns}
            connection.execute(sa.insert(SNAPSHOT).values(**row, added_seq=edit.seq))
        return made

    def remove(self, name: str) -> None:
        """Give up a snapshot; the moment itself can still be asked for."""
        check_name(name, "snapshot", ErrorKind.NAME)
        with self._database.edit(f"removing the snapshot {name}") as connection:
            edit = self._clock.advance(connection)
            here = sa.update(SNAPSHOT).where(SNAPSHOT.c.name == name, _LIVE)
            if not connection.execute(here.values(removed_seq=edit.seq)).rowcount:
                raise NotFoundError(
                    f"there is no snapshot {name!r}",
                    hint="look at the list of snapshots",
                    kind=ErrorKind.NO_SNAPSHOT,
                )

    def all(self) -> list[SnapshotRecord]:
        """Return them by name."""
        columns = (SNAPSHOT.c.name, SNAPSHOT.c.seq, SNAPSHOT.c.note, SNAPSHOT.c.created_ns)
        statement = sa.select(*columns).where(_LIVE).order_by(SNAPSHOT.c.name)
        rows = self._database.read(lambda connection: connection.execute(statement).all())
        made = (SnapshotRecord(name=n, seq=s, note=note, created_ns=ns) for n, s, note, ns in rows)
        return sorted(made, key=lambda one: one.name)  # PostgreSQL may have another order of texts


def live_snapshots(connection: sa.Connection) -> list[tuple[str, int]]:
    """Return the names of all snapshots, in order, and the last commit or edit of each."""
    statement = sa.select(SNAPSHOT.c.name, SNAPSHOT.c.seq).where(_LIVE).order_by(SNAPSHOT.c.name)
    return [(name, seq) for name, seq in connection.execute(statement)]
