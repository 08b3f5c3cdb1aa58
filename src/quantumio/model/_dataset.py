"""Dataset types, references to datasets, and where their bytes are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from attrs import field, frozen

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model._data_id import DataId
from quantumio.model._names import check_identifier, check_run

if TYPE_CHECKING:
    from quantumio.model._dimensions import DimensionUniverse

__all__ = [
    "Artifact",
    "ArtifactState",
    "DatasetRef",
    "DatasetType",
    "StorageClass",
    "StoredDataset",
    "trusted_ref",
]

_WIRE_VERSION = 1


@frozen(kw_only=True)
class StorageClass:
    """The Python type of a dataset, its components, and the formats that can hold it.

    Attributes
    ----------
    name
        Identifier, such as ``CCDData``.
    python_type
        Fully qualified name of the type that ``get`` returns, e.g. ``astropy.nddata.CCDData``.
    components
        Parts that can be had on their own: name to storage class, or to the Python type of what has none.
    formats
        Names of the formats that hold it, the preferred one first.
    forms
        Values that ``as_=`` takes for it, ``native`` first.
    """

    name: str
    python_type: str
    components: Mapping[str, str] = field(factory=dict, hash=False)
    formats: tuple[str, ...]
    forms: tuple[str, ...] = ("native",)


def _dimension_names(names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise InvalidInputError(
            f"dimensions = {names!r} is a text", hint=f"write [{names!r}]", kind=ErrorKind.DIMENSION
        )
    return tuple(check_identifier(name, "dimension") for name in names)


@frozen(cache_hash=True)  # every put looks its policy up by it
class DatasetType:
    """A kind of dataset: a name, the dimensions of its data IDs, and its storage class.

    Attributes
    ----------
    name
        Identifier.
    dimensions
        Names as given; `normalised` completes and sorts them.
    storage_class
        Name of a storage class.

    Examples
    --------
    >>> DatasetType("calexp", dimensions=["instrument", "visit", "detector"], storage_class="CCDData").name
    'calexp'
    """

    name: str = field()
    dimensions: tuple[str, ...] = field(kw_only=True, converter=_dimension_names)
    storage_class: str = field(kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_identifier(self.name, "dataset type")
        check_identifier(self.storage_class, "storage class")

    def normalised(self, universe: DimensionUniverse) -> DatasetType:
        """Return it with required dimensions completed and sorted (detector brings instrument)."""
        return DatasetType(
            self.name, dimensions=universe.required(self.dimensions), storage_class=self.storage_class
        )

    def to_wire(self) -> dict[str, object]:
        """Return a JSON-able mapping that `from_wire` reads in this and later versions."""
        return {
            "version": _WIRE_VERSION,
            "name": self.name,
            "dimensions": list(self.dimensions),
            "storage_class": self.storage_class,
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, object]) -> DatasetType:
        """Read what `to_wire` wrote.

        Raises
        ------
        InvalidInputError
            It was written by a newer version.
        """
        check_wire_version(wire, "dataset type")
        dimensions = wire["dimensions"]
        assert isinstance(dimensions, list)
        return cls(str(wire["name"]), dimensions=dimensions, storage_class=str(wire["storage_class"]))


def check_wire_version(wire: Mapping[str, object], what: str, newest: int = _WIRE_VERSION) -> None:
    """Refuse a wire form that a newer quantumio wrote."""
    version = wire.get("version")
    if not isinstance(version, int) or not 1 <= version <= newest:
        raise InvalidInputError(
            f"this {what} has wire version {version!r}; this quantumio reads 1 to {newest}",
            hint="upgrade quantumio",
            kind=ErrorKind.VALUE,
        )


@frozen(eq=False)
class DatasetRef:
    """Identity of one dataset. Two refs are equal if their UUIDs are.

    Attributes
    ----------
    id
        UUIDv7, made when the output was put or predicted.
    dataset_type, data_id, run
        What it is and where it belongs.
    version
        1, 2, ... per (run, dataset type, data ID) once committed; None before, and for temporaries.
    """

    id: UUID
    dataset_type: DatasetType
    data_id: DataId
    run: str
    version: int | None = None

    def __attrs_post_init__(self) -> None:
        check_run(self.run)

    def __eq__(self, other: object) -> bool:
        return self.id == other.id if isinstance(other, DatasetRef) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        version = "" if self.version is None else f" v{self.version}"
        return f"{self.dataset_type.name}({self.data_id}) in {self.run}{version}"

    def to_wire(self) -> dict[str, object]:
        """Return a JSON-able mapping that `from_wire` reads in this and later versions."""
        return {
            "version": _WIRE_VERSION,
            "id": str(self.id),
            "dataset_type": self.dataset_type.to_wire(),
            "data_id": self.data_id.to_wire(),
            "run": self.run,
            "dataset_version": self.version,
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, object]) -> DatasetRef:
        """Read what `to_wire` wrote.

        Raises
        ------
        InvalidInputError
            It was written by a newer version.
        """
        check_wire_version(wire, "dataset ref")
        dataset_type, data_id, version = wire["dataset_type"], wire["data_id"], wire["dataset_version"]
        assert isinstance(dataset_type, dict)
        assert isinstance(data_id, dict)
        assert version is None or isinstance(version, int)
        return cls(
            UUID(str(wire["id"])),
            DatasetType.from_wire(dataset_type),
            DataId(data_id),
            str(wire["run"]),
            version,
        )


_SETTERS = tuple(
    DatasetRef.__dict__[name].__set__ for name in ("id", "dataset_type", "data_id", "run", "version")
)


def trusted_ref(
    id_: UUID, dataset_type: DatasetType, data_id: DataId, run: str, version: int | None
) -> DatasetRef:
    """Make the ref of a row of a registry, which checked it when it came: in half the time."""
    made = object.__new__(DatasetRef)
    set_id, set_type, set_data_id, set_run, set_version = _SETTERS
    set_id(made, id_)
    set_type(made, dataset_type)
    set_data_id(made, data_id)
    set_run(made, run)
    set_version(made, version)
    return made


class ArtifactState(StrEnum):
    """What is known of the bytes of a dataset at one destination."""

    OK = "ok"
    PENDING = "pending"
    MISSING = "missing"
    CORRUPT = "corrupt"


@frozen(kw_only=True)
class Artifact:
    """The bytes (or rows) of one dataset at one destination.

    Attributes
    ----------
    destination
        Name of the destination; ``direct`` for files that stay where they were when ingested.
    path
        Of the object, relative to the destination's root (``direct``: an absolute URL; rows: the table).
    format
        Name of the format; ``rows`` at a table destination.
    digest
        SHA-256 of the bytes, hexadecimal; of rows the checksum that was verified. Empty where nobody knows
        it: of files that were ingested in place without reading them.
    nbytes
        Size in bytes.
    load_id
        Tag of the rows at a table destination, else None.
    state
        What is known of it.
    member, offset
        Where the object is a pack that holds several datasets: the name of this one in it, and where its
        bytes begin; else None.
    """

    destination: str
    path: str
    format: str
    digest: str
    nbytes: int
    load_id: UUID | None = None
    state: ArtifactState = ArtifactState.OK
    member: str | None = None
    offset: int | None = None

    @property
    def byte_range(self) -> tuple[int, int] | None:
        """Offset and length of the bytes within the object; None if they are all of it."""
        return None if self.offset is None else (self.offset, self.nbytes)

    def matches(self, data: bytes) -> bool:
        """Whether these are its bytes; where nobody knows its digest, whether they are as many."""
        if not self.digest:
            return len(data) == self.nbytes
        return hashlib.sha256(data).hexdigest() == self.digest

    def to_wire(self) -> dict[str, object]:
        """Return a JSON-able mapping that `from_wire` reads in this and later versions."""
        return {
            "destination": self.destination,
            "path": self.path,
            "format": self.format,
            "digest": self.digest,
            "nbytes": self.nbytes,
            "load_id": None if self.load_id is None else str(self.load_id),
            "state": str(self.state),
            "member": self.member,
            "offset": self.offset,
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Artifact:
        """Read what `to_wire` wrote."""
        load_id = wire["load_id"]
        return cls(
            destination=wire["destination"],
            path=wire["path"],
            format=wire["format"],
            digest=wire["digest"],
            nbytes=wire["nbytes"],
            load_id=None if load_id is None else UUID(load_id),
            state=ArtifactState(wire["state"]),
            member=wire.get("member"),
            offset=wire.get("offset"),
        )


@frozen(kw_only=True)
class StoredDataset:
    """One committed dataset as the registry knows it.

    Attributes
    ----------
    ref
        With its version.
    artifacts
        Where its bytes are, in the order in which they were planned.
    txid
        The transaction that made it visible.
    commit_seq
        Its place in the order of all commits.
    committed_ns
        When, ns since 1970-01-01 UTC.
    """

    ref: DatasetRef
    artifacts: tuple[Artifact, ...]
    txid: UUID
    commit_seq: int
    committed_ns: int

    @property
    def nbytes(self) -> int:
        """Size of the dataset in bytes, as the first artifact that is there holds it."""
        there = (one.nbytes for one in self.artifacts if one.state is not ArtifactState.PENDING)
        return next(there, 0)
