"""An end to waiting for the server of a database, also where its machine still answers for it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from quantumio.system import environment

__all__ = ["ending_connection"]


def ending_connection(base: type[Any], error: type[Exception], deadline_s: float) -> type[Any]:
    """Return a kind of connection of psycopg that waits for no answer longer than a deadline.

    The limits of TCP end the waiting for a machine that is gone, and those of the server the work of a server
    that is well. A server that was stopped, or a proxy that lost it, breaks neither: its system acknowledges
    each byte, and no answer ever comes.

    Parameters
    ----------
    base
        ``psycopg.Connection``.
    error
        What is raised at the deadline: ``psycopg.OperationalError``. The connection is closed then, since its
        answer may still come.
    deadline_s
        For one statement, or one COMMIT.
    """

    class EndingConnection(base):  # type: ignore[misc]  # this room knows no library, and its caller one alone
        def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **options: Any) -> Any:
            return super().wait(self._until(gen, environment.monotonic() + deadline_s), *arguments, **options)

        def _until(self, waiting: Generator[Any, Any, Any], deadline: float) -> Generator[Any, Any, Any]:
            try:
                wanted = next(waiting)
                while True:
                    # psycopg comes back every tenth of a second, with nothing where there is nothing
                    is_ready = yield wanted
                    if not is_ready and environment.monotonic() > deadline:
                        self.close()
                        raise error(f"the server gave no answer within {deadline_s:g} s")
                    wanted = waiting.send(is_ready)
            except StopIteration as end:
                return end.value

    return EndingConnection
