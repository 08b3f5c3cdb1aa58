"""Moments to look back to: numbers of edits, times, names of snapshots."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, Final

import sqlalchemy as sa

from quantumio.errors import ErrorKind, InvalidInputError, NotFoundError
from quantumio.registry._arguments import check_time, is_text
from quantumio.registry._clock import Clock
from quantumio.registry._engine import Database
from quantumio.registry._names import Names
from quantumio.registry._past_names import PastNames
from quantumio.registry._planning import check_past
from quantumio.registry._schema import CLOCK, SNAPSHOT
from quantumio.registry._universe_schema import Tables

__all__ = ["Moments"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_JD: Final = Fraction(4881175, 2)
_DAY_NS: Final = 86_400 * 10**9


class Moments:
    """Resolves what people say to the number of a commit or edit, and tells the names of then."""

    def __init__(self, database: Database, tables: Tables, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._past = PastNames(tables)

    def seq(self, as_of: object) -> int:
        """Return the number of the last commit or edit that is seen.

        Raises
        ------
        InvalidInputError
            It is no moment of this registry.
        NotFoundError
            There is no snapshot of this name.
        """
        if isinstance(as_of, str):
            return self._snapshot(as_of)
        if (time_ns := _time_ns(as_of)) is not None:
            return self._clock.moment(check_time(time_ns))
        return check_past(as_of, self._database.read(_seq))

    def names(self, seq: int) -> Names:
        """Return the names as they were after a commit or edit."""
        check_past(seq, self._database.read(_seq))
        return self._database.read(lambda connection: self._past.load(connection, seq))

    def _snapshot(self, name: str) -> int:
        def read(connection: sa.Connection) -> int | None:
            return connection.execute(
                sa.select(SNAPSHOT.c.seq).where(SNAPSHOT.c.name == name, SNAPSHOT.c.removed_seq.is_(None))
            ).scalar_one_or_none()

        seq = self._database.read(read) if is_text(name) else None
        if seq is None:
            raise NotFoundError(
                f"there is no snapshot {name!r:.80}",
                hint="give the name of a snapshot, a Time, or the number of a commit",
                kind=ErrorKind.MOMENT,
            )
        return seq


def _seq(connection: sa.Connection) -> int:
    return int(connection.execute(sa.select(CLOCK.c.seq).where(CLOCK.c.id == 1)).scalar_one())


def _time_ns(moment: Any) -> int | None:
    """Return nanoseconds since 1970-01-01 UTC of an astropy Time or a datetime; None if it is neither."""
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise InvalidInputError(
                f"as_of = {moment!r} has no time zone", hint="give one: tzinfo=UTC", kind=ErrorKind.MOMENT
            )
        passed = moment - _EPOCH
        return ((passed.days * 86_400 + passed.seconds) * 10**6 + passed.microseconds) * 1000
    utc = getattr(moment, "utc", None)
    if utc is None or not getattr(utc, "isscalar", False):
        return None
    return round((Fraction(float(utc.jd1)) - _EPOCH_JD + Fraction(float(utc.jd2))) * _DAY_NS)
