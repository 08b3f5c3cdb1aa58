"""Ports to the places where outputs go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable
from uuid import UUID

from attrs import frozen

from quantumio.ports._format import Chunks

if TYPE_CHECKING:
    from quantumio.model import DataId, DatasetRef

__all__ = [
    "Destination",
    "Destinations",
    "ExportingDestination",
    "LoadListing",
    "LoadedRows",
    "ManagedDestination",
    "ObjectDestination",
    "Placement",
    "RegistryTables",
    "StoredObject",
    "TableDestination",
    "Workspaces",
]


@frozen(kw_only=True)
class Placement:
    """Bytes to be placed under a name that nobody else uses.

    Attributes
    ----------
    path
        Relative to the destination's root, ``/`` between encoded components.
    chunks
        The bytes, in pieces.
    nbytes, digest
        Their number, and their SHA-256 in hexadecimal.
    """

    path: str
    chunks: Chunks
    nbytes: int
    digest: str


@frozen(kw_only=True)
class StoredObject:
    """What a destination tells of one of its objects.

    Attributes
    ----------
    path
        Relative to the destination's root.
    nbytes
        Size in bytes.
    modified_ns
        By the destination's own clock, ns since 1970-01-01 UTC; None if it does not tell.
    etag
        Its own mark of the content, None if it has none.
    digest
        SHA-256 of the bytes that were written, hexadecimal; None where they were not looked at.
    """

    path: str
    nbytes: int
    modified_ns: int | None = None
    etag: str | None = None
    digest: str | None = None


@frozen(kw_only=True)
class LoadedRows:
    """What a table destination tells of a verified load.

    Attributes
    ----------
    rows
        Number of rows.
    nbytes
        Approximate size of them, bytes.
    checksum
        Independent of the order of the rows.
    """

    rows: int
    nbytes: int
    checksum: str


class Destination(Protocol):
    """What every destination has. Calls block, are thread-safe, and carry their own deadlines."""

    @property
    def name(self) -> str:
        """Name in the policy."""

    @property
    def kind(self) -> str:
        """Kind in the policy, e.g. ``files``."""

    @property
    def parallelism(self) -> int:
        """How many calls may usefully run at the same time."""

    def close(self) -> None:
        """Give up connections; idempotent."""


@runtime_checkable
class ObjectDestination(Destination, Protocol):
    """A managed store of immutable objects under unique names."""

    @property
    def is_local(self) -> bool:
        """Whether reads need no network (they are preferred)."""

    def place(self, placements: Sequence[Placement]) -> list[StoredObject]:
        """Write all, durable and verified when it returns.

        A name that exists with the same size and digest counts as written (a retry).

        Raises
        ------
        DestinationError
            One could not be written. ``kind`` tells a full disk, a permission, an unreachable store or other
            bytes under the name (``corrupt``). Some of the others may be there.
        """

    def read(self, path: str, byte_range: tuple[int, int] | None = None) -> bytes:
        """Return an object, or ``(offset, length)`` of it.

        Raises
        ------
        NotFoundError
            There is no such object (``kind="no_file"``).
        DestinationError
            It cannot be read now.
        """

    def stat(self, path: str) -> StoredObject | None:
        """Tell of one object; None if it is certain that there is none."""

    def remove(self, paths: Sequence[str]) -> None:
        """Remove objects; those that are not there are no error."""

    def objects(self) -> Iterator[StoredObject]:
        """List all objects."""

    def url(self, path: str) -> str:
        """Return where the object is, for people and other programs; never with a secret."""

    def adopt(self, source: str, path: str, transfer: str) -> StoredObject:
        """Take over a local file by ``copy``, ``link`` or ``move`` under a new name, durable when it returns.

        Raises
        ------
        DestinationError
            It could not; the source is as it was.
        InvalidInputError
            This destination cannot do this transfer.
        """


@runtime_checkable
class ManagedDestination(ObjectDestination, Protocol):
    """A store that belongs to one registry alone, so that what is dead in it may be removed.

    Calls raise `DestinationError` when the store cannot be reached or refuses; those that change something
    raise `StateError` (``kind="read_only"``) where it was opened for reading alone.
    """

    def identity(self) -> UUID | None:
        """Look again which store it is, the same under every name; None if nothing was ever written there.

        Raises
        ------
        DestinationError
            It belongs to another repository now, or its identity is damaged.
        """

    @property
    def store_id(self) -> UUID | None:
        """Which store it places objects in, without a look at it; None until `note_session` has looked.

        A process notes itself in each store before it places the first object there.
        """

    def clock_ns(self) -> int | None:
        """Return the time by the clock that gives objects their times; None if it does not tell.

        It is learned from the time that the store gives to a small object, which is removed again.
        """

    def note_session(self, session: UUID) -> None:
        """Write down, durably, that a process places objects here; idempotent.

        From then on it places them in the store that is there now, where that was begun anew because the
        former one is lost.
        """

    def sessions(self) -> Iterator[UUID]:
        """List the processes that have noted themselves."""

    def remains(self) -> Iterator[StoredObject]:
        """List what writing that was broken off has left under temporary names."""

    def remove_remains(self, paths: Sequence[str]) -> None:
        """Remove some of it; what is not there is no error, and what has no temporary name is refused."""

    def uploads(self) -> Iterator[StoredObject]:
        """List uploads in parts that were begun and not finished; nobody sees them, and they cost space."""


@runtime_checkable
class TableDestination(Destination, Protocol):
    """A Level 3 database: table datasets become rows, tagged with a load id.

    Rows of a load are invisible in the view ``<table>`` until `reveal`; the base table is ``<table>_rows``.
    """

    def check(self, table: str, rows: object) -> None:
        """Refuse rows (a `pyarrow.Table`) that the table cannot take, by names and types.

        Raises
        ------
        InvalidInputError
            A column's name is no identifier, or its type fits no column; the message names it.
        """

    def load(self, table: str, rows: object, load_id: UUID) -> LoadedRows:
        """Write the rows of a `pyarrow.Table`, tagged and verified; creates the table where there is none.

        Again with the same ``load_id`` it completes what an earlier attempt left.

        Raises
        ------
        DestinationError
            It could not; the rows of the load are not visible.
        InvalidInputError
            A value does not fit its column (``kind="value"``).
        """

    def reveal(self, table: str, load_id: UUID, ref: DatasetRef) -> None:
        """Make the rows of a load visible in the view, with dataset id, version and data ID; idempotent."""

    def read(self, table: str, load_id: UUID, columns: Sequence[str] | None = None) -> object:
        """Return the rows of a load as a `pyarrow.Table` with the schema (and metadata) that was loaded.

        Raises
        ------
        NotFoundError
            There is no such load; ``kind="unreachable"`` where there is no database at all.
        InvalidInputError
            There is no such column.
        """

    def remove_load(self, table: str, load_id: UUID) -> None:
        """Remove the rows of a load that nobody refers to; none is no error."""

    def url(self, table: str) -> str:
        """Return where the table is, for people; never with a secret."""


@runtime_checkable
class LoadListing(Protocol):
    """A table destination that tells which rows nobody sees."""

    def hidden_loads(self) -> Iterator[tuple[str, UUID]]:
        """List table and load id of the rows that were not revealed."""


@runtime_checkable
class RegistryTables(Protocol):
    """What a table destination in the registry's own database has beside: the flip itself reveals its rows.

    `Destinations.is_in_registry` tells which ones these are.
    """

    def make_ready(self, table: str, data_id: DataId) -> None:
        """Change the table so that a flip can reveal a load of it, and need not change any table itself."""

    def reveal_in(self, transaction: object, revealed: Sequence[tuple[str, UUID, DatasetRef]]) -> None:
        """Make the rows of loads visible within a transaction of the registry, which the caller ends.

        Parameters
        ----------
        transaction
            The registry's connection (of SQLAlchemy).
        revealed
            Table, load and dataset (with its version) of each.

        Raises
        ------
        DestinationError
            A load is not there whole (``kind="corrupt"``).
        """


@runtime_checkable
class ExportingDestination(Protocol):
    """A destination that has, beside its managed store, a tree of names for people."""

    def export(self, path: str, human_path: str) -> None:
        """Show a committed object under a name for people; idempotent, durable when it returns.

        Parameters
        ----------
        path
            Of the object, as it was placed.
        human_path
            ``<run>/<dataset type>/<encoded data ID>.v<version><extension>``, of encoded components.

        Raises
        ------
        ConflictError
            Another file has the name (``kind="exists"``); it was not touched.
        NotFoundError
            There is no such object.
        DestinationError
            It could not be made.
        """

    def export_url(self, human_path: str) -> str:
        """Return where the exported name is, for people; never with a secret."""


class Workspaces(Protocol):
    """Who has a store of their own at a destination, as the registry remembers."""

    def may_have_workspace(self, store: str, user: str) -> bool:
        """Whether a user has one, or nobody is known to have one."""

    def note_workspace(self, store: str, user: str) -> None:
        """Remember that a user has one; idempotent."""


class Destinations(Protocol):
    """The destinations of one repository, opened at first use."""

    def names(self) -> tuple[str, ...]:
        """Names of all configured destinations."""

    def get(self, name: str) -> ObjectDestination | TableDestination:
        """Return the destination of this name, opened.

        Raises
        ------
        InvalidInputError
            There is none of this name; lists those that there are.
        DestinationError
            It cannot be opened.
        MissingExtraError
            Its library is not installed.
        """

    def begin_anew(self, name: str) -> None:
        """Make the store of a destination where it is not, though the registry has objects there.

        Otherwise such a destination is refused, since its disk may only not be mounted. A store that is there
        stays as it is.
        """

    def is_table(self, name: str) -> bool:
        """Whether it is a table destination, without opening it."""

    def takes_packs(self, name: str) -> bool:
        """Whether one object there may hold several small outputs, without opening it."""

    def is_in_registry(self, name: str) -> bool:
        """Whether it is a table destination in the registry's database, and has `RegistryTables`, too."""

    def user_of(self, name: str) -> str | None:
        """Return whose store it opens, where each user has one of their own; None where all share one."""

    def close(self) -> None:
        """Close those that are open."""
