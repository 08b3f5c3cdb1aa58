"""Connections to a real SQLite database that lose the answer of a COMMIT, or the way to the database."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantumio.testing._simulation import Simulation

__all__ = ["connection_class"]

_EPOCH_DAY = 2440587.5
_DAY_S = 86400.0


def connection_class(simulation: Simulation) -> type[sqlite3.Connection]:
    """Return the class of the connections of one simulation."""

    class SimulatedConnection(sqlite3.Connection):
        """Real but for its clock and its failures."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._is_closed = False
            self.create_function("julianday", 1, _day)
            simulation.opened(self)

        def close(self) -> None:
            """Close it."""
            self._is_closed = True
            super().close()

        def rollback(self) -> None:
            """Roll back; what its process had open when it was killed is rolled back already."""
            if not self._is_closed:
                super().rollback()

        def cursor(self, *arguments: Any) -> Any:
            """Return a cursor, unless the database cannot be reached."""
            if simulation.registry_is_away():
                raise sqlite3.OperationalError("disk I/O error: the registry cannot be reached")
            return super().cursor(*arguments)

        def commit(self) -> None:
            """Commit, and perhaps say nothing of it."""
            fate = simulation.fate_of_commit() if self.in_transaction else None
            if fate == "undone":
                self.rollback()
            else:
                super().commit()
            if fate == "done":
                simulation.committed()
            if fate is not None:
                raise sqlite3.OperationalError("disk I/O error: the answer of COMMIT was lost")

    def _day(moment: object) -> float:
        return simulation.now_ns() / 1e9 / _DAY_S + _EPOCH_DAY

    return SimulatedConnection
