"""The SQLite databases that a process has open: a child of a fork must open none of them.

SQLite keeps in memory which locks the process holds on a file, for POSIX locks are the process's own. A fork
copies that memory but not the locks. A connection that the child opens to the same file believes in locks
that nobody holds: others remove the write-ahead log beneath it, and what it commits is lost. So the child is
refused. Nor does it end the connections that it has inherited: memory of theirs is shared with the parent.
"""

from __future__ import annotations

import functools
import sqlite3
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, cast

from quantumio.errors import ErrorKind, StateError
from quantumio.system import files, forks

__all__ = ["START_ANEW", "check_not_inherited", "connection_to"]

START_ANEW: Final = "start workers by 'spawn', or close the Butler before the fork"
"""What to do instead, for people."""


class _Connection(sqlite3.Connection):
    def __init__(self, *arguments: Any, file: Path, **options: Any) -> None:
        check_not_inherited(file)
        self.file = file
        _open.add(self)  # first: a fork may come while it is being opened
        super().__init__(*arguments, **options)

    def close(self) -> None:
        """Close it, unless it is the parent's."""
        if self not in _inherited:
            super().close()
            _open.discard(self)

    def rollback(self) -> None:
        """Roll back, unless the transaction is the parent's."""
        if self not in _inherited:
            super().rollback()


_open: weakref.WeakSet[_Connection] = weakref.WeakSet()
_inherited: set[_Connection] = set()


def connection_to(file: Path) -> type[sqlite3.Connection]:
    """Return the ``factory`` for `sqlite3.connect` to a file; it refuses what `check_not_inherited` does."""
    return cast("type[sqlite3.Connection]", functools.partial(_Connection, file=file))


def check_not_inherited(file: Path) -> None:
    """Refuse a database that was open when this process was forked from another one.

    Raises
    ------
    StateError
        It was (``kind="forked"``).
    """
    if any(files.is_same(file, connection.file) for connection in _inherited):
        raise StateError(
            f"the SQLite database {file} was open when this process was forked: it cannot be used here",
            hint=START_ANEW,
            kind=ErrorKind.FORKED,
        )


def _leave_to_parent() -> Iterable[_Connection]:
    inherited = list(_open)
    _inherited.update(inherited)
    _open.clear()
    return inherited


forks.keep_in_child(_leave_to_parent)
