"""Destinations that fail at a chosen call, before it does anything or after it did everything."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from attrs import frozen

from quantumio.errors import DestinationError, ErrorKind
from quantumio.ports import (
    LoadedRows,
    ManagedDestination,
    Placement,
    StoredObject,
    TableDestination,
)

if TYPE_CHECKING:
    from quantumio.model import DatasetRef

__all__ = ["Fault", "FaultyDestination", "FaultyTableDestination"]

T = TypeVar("T")


@frozen(kw_only=True)
class Fault:
    """What goes wrong, and when.

    Attributes
    ----------
    at
        Number of the call that fails, the first being 1; calls before and after it succeed. 0: none.
    lost_reply
        The call does its work and then fails, as if the answer had been lost on its way.
    kind
        Of the error.
    forever
        All calls from ``at`` on fail.
    """

    at: int
    lost_reply: bool = False
    kind: ErrorKind = ErrorKind.UNREACHABLE
    forever: bool = False


class _Counter:
    def __init__(self, name: str, fault: Fault) -> None:
        self._name = name
        self._fault = fault
        self._lock = threading.Lock()
        self.calls = 0

    def run(self, what: str, call: Callable[[], T]) -> T:
        with self._lock:
            self.calls += 1
            number = self.calls
        fault = self._fault
        fails = number == fault.at or (fault.forever and 0 < fault.at <= number)
        if fails and not fault.lost_reply:
            raise self._error(what, number, "did nothing")
        result = call()
        if fails:
            raise self._error(what, number, "lost its answer")
        return result

    def _error(self, what: str, number: int, how: str) -> DestinationError:
        return DestinationError(
            f"destination {self._name!r}: {what} (call {number}) {how}, as planned",
            hint="retry",
            kind=self._fault.kind,
        )


class FaultyDestination:
    """An object destination whose n-th call fails.

    Try every n: a caller is right if nothing is lost, doubled or visible too early whichever call fails.

    Parameters
    ----------
    inner
        Does the work.
    fault
        What goes wrong. `calls` counts, so that a test knows where to stop.
    """

    def __init__(self, inner: ManagedDestination, fault: Fault) -> None:
        self._inner = inner
        self._counter = _Counter(inner.name, fault)

    @property
    def calls(self) -> int:
        """How many calls there were; those that look after the store, ``close`` and ``url`` do not count."""
        return self._counter.calls

    @property
    def name(self) -> str:
        """Name in the policy."""
        return self._inner.name

    @property
    def kind(self) -> str:
        """Kind in the policy."""
        return self._inner.kind

    @property
    def parallelism(self) -> int:
        """How many calls may usefully run at the same time."""
        return self._inner.parallelism

    @property
    def is_local(self) -> bool:
        """Whether reads need no network."""
        return self._inner.is_local

    def close(self) -> None:
        """Close the inner one."""
        self._inner.close()

    def place(self, placements: Sequence[Placement]) -> list[StoredObject]:
        """Write all, or fail."""
        return self._counter.run("place", lambda: self._inner.place(placements))

    def read(self, path: str, byte_range: tuple[int, int] | None = None) -> bytes:
        """Read, or fail."""
        return self._counter.run("read", lambda: self._inner.read(path, byte_range))

    def stat(self, path: str) -> StoredObject | None:
        """Tell of one object, or fail."""
        return self._counter.run("stat", lambda: self._inner.stat(path))

    def remove(self, paths: Sequence[str]) -> None:
        """Remove, or fail."""
        self._counter.run("remove", lambda: self._inner.remove(paths))

    def objects(self) -> Iterator[StoredObject]:
        """List, or fail."""
        return self._counter.run("objects", self._inner.objects)

    def url(self, path: str) -> str:
        """Return where an object is."""
        return self._inner.url(path)

    def adopt(self, source: str, path: str, transfer: str) -> StoredObject:
        """Take over a file, or fail."""
        return self._counter.run("adopt", lambda: self._inner.adopt(source, path, transfer))

    @property
    def store_id(self) -> UUID | None:
        """Which store the inner one places objects in."""
        return self._inner.store_id

    def identity(self) -> UUID | None:
        """Look which store it is."""
        return self._inner.identity()

    def clock_ns(self) -> int | None:
        """Return the time of the store."""
        return self._inner.clock_ns()

    def note_session(self, session: UUID) -> None:
        """Note who writes."""
        self._inner.note_session(session)

    def sessions(self) -> Iterator[UUID]:
        """List who has written."""
        return self._inner.sessions()

    def remains(self) -> Iterator[StoredObject]:
        """List what was left under temporary names."""
        return self._inner.remains()

    def remove_remains(self, paths: Sequence[str]) -> None:
        """Remove some of it."""
        self._inner.remove_remains(paths)

    def uploads(self) -> Iterator[StoredObject]:
        """List uploads that were begun."""
        return self._inner.uploads()


class FaultyTableDestination:
    """A table destination whose n-th call fails; as `FaultyDestination`.

    Parameters
    ----------
    inner
        Does the work.
    fault
        What goes wrong.
    """

    def __init__(self, inner: TableDestination, fault: Fault) -> None:
        self._inner = inner
        self._counter = _Counter(inner.name, fault)

    @property
    def calls(self) -> int:
        """How many calls there were, without ``check``, ``close``, ``url`` and properties."""
        return self._counter.calls

    @property
    def name(self) -> str:
        """Name in the policy."""
        return self._inner.name

    @property
    def kind(self) -> str:
        """Kind in the policy."""
        return self._inner.kind

    @property
    def parallelism(self) -> int:
        """How many calls may usefully run at the same time."""
        return self._inner.parallelism

    def close(self) -> None:
        """Close the inner one."""
        self._inner.close()

    def check(self, table: str, rows: object) -> None:
        """Refuse what the inner one refuses."""
        self._inner.check(table, rows)

    def load(self, table: str, rows: object, load_id: UUID) -> LoadedRows:
        """Load rows, or fail."""
        return self._counter.run("load", lambda: self._inner.load(table, rows, load_id))

    def reveal(self, table: str, load_id: UUID, ref: DatasetRef) -> None:
        """Reveal rows, or fail."""
        self._counter.run("reveal", lambda: self._inner.reveal(table, load_id, ref))

    def read(self, table: str, load_id: UUID, columns: Sequence[str] | None = None) -> object:
        """Read rows, or fail."""
        return self._counter.run("read", lambda: self._inner.read(table, load_id, columns))

    def remove_load(self, table: str, load_id: UUID) -> None:
        """Remove rows, or fail."""
        self._counter.run("remove_load", lambda: self._inner.remove_load(table, load_id))

    def url(self, table: str) -> str:
        """Return where the table is."""
        return self._inner.url(table)
