"""Idle connections of readers, kept without any lock."""

from __future__ import annotations

from collections import deque
from typing import Any

from sqlalchemy.pool import ConnectionPoolEntry, Pool

__all__ = ["ReaderPool"]


class ReaderPool(Pool):
    """Keeps some idle connections; a reader never waits for one.

    SQLAlchemy's own pools keep theirs in a queue with a lock. An interrupt (Ctrl-C in a notebook) that
    arrives just after the lock was taken leaves it taken for ever. The operations of a deque are atomic.

    Parameters
    ----------
    keep
        Idle connections that are kept at most; what more comes back is closed.
    """

    def __init__(self, creator: Any, *, keep: int, **options: Any) -> None:
        super().__init__(creator, **options)
        self._creator_given = creator
        self._keep = keep
        self._idle: deque[ConnectionPoolEntry] = deque()

    def _do_get(self) -> ConnectionPoolEntry:
        try:
            return self._idle.pop()
        except IndexError:
            return self._create_connection()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        if len(self._idle) < self._keep:
            self._idle.append(record)
        else:
            record.close()

    def recreate(self) -> ReaderPool:
        """Return a new, empty pool of the same kind."""
        return ReaderPool(
            self._creator_given,
            keep=self._keep,
            echo=self.echo,
            logging_name=self._orig_logging_name,
            reset_on_return=self._reset_on_return,
            _dispatch=self.dispatch,
            dialect=self._dialect,
        )

    def dispose(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()

    def status(self) -> str:
        """Tell how many connections are idle."""
        return f"{len(self._idle)} idle connections"
