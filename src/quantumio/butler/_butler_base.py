"""What the sides of a Butler share: its session."""

from __future__ import annotations

from quantumio.butler._repository import Repository
from quantumio.butler._session import Session

__all__ = ["ButlerBase"]


class ButlerBase:
    """Holds the session that every side of a Butler works on."""

    _session: Session

    @property
    def _first(self) -> Repository:
        self._session.check_open()
        return self._session.repositories[0]
