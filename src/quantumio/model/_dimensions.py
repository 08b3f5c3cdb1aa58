"""Dimensions: the axes of data IDs, and how they depend on each other."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Literal

from attrs import evolve, field, frozen

from quantumio.errors import ErrorKind, InvalidInputError, shown
from quantumio.model._names import check_identifier

__all__ = ["RESERVED_NAMES", "Dimension", "DimensionUniverse", "default_universe"]

KeyType = Literal["int", "str"]
RESERVED_NAMES = frozenset(
    (
        *("ack", "after", "as_", "as_of", "bind", "calibrations", "collections", "columns", "component"),
        *("config", "data_id", "dataset_types"),
        *("dataset_type", "dataset_type_or_ref", "datasets", "depth", "digest", "dimensions", "direction"),
        *("element", "expect", "files", "format", "key", "limit", "obj", "order_by", "own", "page_size"),
        *("policy", "progress", "readonly", "registry", "replace", "root", "run", "self", "size", "timeout"),
        *("to", "token", "transfer", "uri", "version", "versions", "where"),
        *(
            "change",
            "collection",
            "level",
            "matches",
            "of",
            "timespan_begin",
            "timespan_end",
            "txid",
            "via",
            "what",
        ),
    )
)
"""Parameters of methods that take data IDs as keywords, and columns of tables that list data IDs.

No dimension of such a name could be given there.
"""
_METADATA_TYPES = ("int", "str", "float", "bool")
_TABLE_KEYS = {"key", "requires", "implies", "metadata", "unique", "temporal", "spatial"}


@frozen(kw_only=True)
class Dimension:
    """One axis of data IDs, or (``key`` None) a relation: records about a combination of dimensions.

    Attributes
    ----------
    name
        Identifier.
    key
        Type of its value in a data ID; None for a relation.
    requires
        Dimensions that identify a record together with its own value, in universe order.
    implies
        Dimensions whose values follow from the record.
    metadata
        Further columns of its records: name to type (``int``, ``str``, ``float``, ``bool``).
    unique
        Metadata that identifies a record as well as the key does.
    temporal
        Whether its records carry a timespan.
    spatial
        Family of its regions, None where its records carry none.
    """

    name: str
    key: KeyType | None
    requires: tuple[str, ...] = ()
    implies: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(factory=dict, hash=False)
    unique: tuple[str, ...] = ()
    temporal: bool = False
    spatial: str | None = None

    @property
    def is_relation(self) -> bool:
        """Whether it only relates dimensions and is no axis itself."""
        return self.key is None

    @property
    def record_keys(self) -> tuple[str, ...]:
        """Dimensions that identify one of its records."""
        return self.requires if self.is_relation else (*self.requires, self.name)


class DimensionUniverse(Mapping[str, Dimension]):
    """All dimensions (and relations) that a repository knows, in a fixed order.

    Parameters
    ----------
    dimensions
        In an order in which each comes after those it requires or implies.

    Raises
    ------
    InvalidInputError
        A name is no identifier or is there twice, or a dimension refers to one that does not come before.
    """

    def __init__(self, dimensions: Iterable[Dimension]) -> None:
        self._dimensions: dict[str, Dimension] = {}
        for dimension in dimensions:
            self._add(dimension)
        self._order = {name: index for index, name in enumerate(self._dimensions)}

    def _add(self, dimension: Dimension) -> None:
        check_identifier(dimension.name, "dimension")
        if dimension.name in self._dimensions:
            raise InvalidInputError(
                f"dimension {dimension.name!r} is defined twice",
                hint="give the added dimension another name",
                kind=ErrorKind.DIMENSION,
            )
        for other in (*dimension.requires, *dimension.implies):
            if other not in self._dimensions or self._dimensions[other].is_relation:
                raise InvalidInputError(
                    f"dimension {dimension.name!r} refers to {other!r}, which is none defined before it",
                    hint=f"dimensions so far: {', '.join(self.names)}",
                    kind=ErrorKind.DIMENSION,
                )
        closure = {other for name in dimension.requires for other in self._dimensions[name].requires}
        requires = [name for name in self._dimensions if name in closure or name in dimension.requires]
        self._dimensions[dimension.name] = evolve(dimension, requires=tuple(requires))

    def __getitem__(self, name: str) -> Dimension:
        return self._dimensions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._dimensions)

    def __len__(self) -> int:
        return len(self._dimensions)

    def __repr__(self) -> str:
        return f"DimensionUniverse({', '.join(self.names)})"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the dimensions, without the relations, in universe order."""
        return tuple(name for name, dimension in self._dimensions.items() if not dimension.is_relation)

    def element(self, name: str) -> Dimension:
        """Return the dimension or relation of this name.

        Raises
        ------
        InvalidInputError
            There is none.
        """
        try:
            return self._dimensions[name]
        except (KeyError, TypeError):
            raise InvalidInputError(
                f"{shown(name)} is no dimension of this repository",
                hint=f"it knows {', '.join(self._dimensions)}",
                kind=ErrorKind.DIMENSION,
            ) from None

    def sort(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the names in universe order, each once."""
        return tuple(sorted(set(names), key=self._order.__getitem__))

    def required(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the dimensions that a data ID over ``names`` must name, in universe order.

        Raises
        ------
        InvalidInputError
            A name is no dimension.
        """
        closure: set[str] = set()
        for name in names:
            dimension = self.element(name)
            if dimension.is_relation:
                raise InvalidInputError(
                    f"{name!r} relates dimensions and is none itself",
                    hint=f"use {', '.join(dimension.requires)}",
                    kind=ErrorKind.DIMENSION,
                )
            closure.update(dimension.requires, (name,))
        return self.sort(closure)

    def implied(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the dimensions whose values follow from records of ``names``, in universe order."""
        required = set(self.required(names))
        implied: set[str] = set()
        todo = list(required)
        while todo:
            new = set(self._dimensions[todo.pop()].implies) - implied
            implied |= new
            todo.extend(new)
        return self.sort(implied - required)

    def extended(
        self, tables: Mapping[str, Mapping[str, object]], *, relations: bool = False
    ) -> DimensionUniverse:
        """Return a universe with further dimensions, given as tables like those of the TOML file.

        Raises
        ------
        InvalidInputError
            A table is wrong; the message names the dimension and the key.
        """
        if taken := sorted(RESERVED_NAMES.intersection(tables)):
            raise InvalidInputError(
                f"a dimension cannot be called {taken[0]!r}: a parameter beside data IDs, or a "
                "column of tables that list them, has this name",
                hint="give it another name",
                kind=ErrorKind.NAME,
            )
        added = [_from_table(name, table, relations) for name, table in tables.items()]
        return DimensionUniverse([*self._dimensions.values(), *added])


def _from_table(name: str, table: Mapping[str, object], is_relation: bool) -> Dimension:
    def wrong(what: str, hint: str) -> InvalidInputError:
        return InvalidInputError(f"dimension {name!r}: {what}", hint=hint, kind=ErrorKind.DIMENSION)

    if unknown := set(table) - _TABLE_KEYS:
        raise wrong(f"unknown keys {sorted(unknown)}", f"known are {sorted(_TABLE_KEYS)}")
    key = table.get("key")
    if is_relation != (key is None) or key not in (None, "int", "str"):
        raise wrong(f"key = {key!r}", "a dimension has key = 'int' or 'str', a relation has none")
    metadata = table.get("metadata", {})
    if not isinstance(metadata, Mapping) or not set(metadata.values()) <= set(_METADATA_TYPES):
        raise wrong(f"metadata = {metadata!r}", f"give a type of {_METADATA_TYPES} for each name")
    for column in metadata:
        check_identifier(column, "metadata column")
    unique = _names(table.get("unique", ()), wrong)
    if missing := [column for column in unique if column not in metadata]:
        raise wrong(
            f"unique names {missing[0]!r}", f"it is none of its metadata: {', '.join(metadata) or 'none'}"
        )
    temporal = table.get("temporal", False)
    if not isinstance(temporal, bool):
        raise wrong(f"temporal = {temporal!r}", "write true or false")
    spatial = table.get("spatial")
    return Dimension(
        name=name,
        key=key,
        requires=_names(table.get("requires", ()), wrong),
        implies=_names(table.get("implies", ()), wrong),
        metadata=dict(metadata),
        unique=unique,
        temporal=temporal,
        spatial=None if spatial is None else check_identifier(spatial, "spatial family"),
    )


def _names(value: object, wrong: Callable[[str, str], InvalidInputError]) -> tuple[str, ...]:
    if isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise wrong(f"{value!r} is no list of names", 'write ["instrument", ...]')


@lru_cache(maxsize=1)
def default_universe() -> DimensionUniverse:
    """Return the universe that every repository starts with (``default_dimensions.toml``)."""
    tables = tomllib.loads((files("quantumio.model") / "default_dimensions.toml").read_text(encoding="utf-8"))
    universe = DimensionUniverse(()).extended(tables["dimensions"])
    return universe.extended(tables["relations"], relations=True)
