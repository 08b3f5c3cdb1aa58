"""The universe of a repository in its wire form, as the registry keeps it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from quantumio.errors import ErrorKind, InvalidInputError, StateError
from quantumio.model import Dimension, DimensionUniverse, default_universe
from quantumio.ports import DATASET_COLUMNS
from quantumio.registry._dataset_fields import DATASET_FIELDS
from quantumio.registry._expression import KEYWORDS
from quantumio.registry._observed import OBSERVED

__all__ = ["make_universe", "universe_from_wire", "universe_to_wire"]

_WIRE_VERSION = 1
_RECORD_FIELDS = ("timespan", "region")
_TAKEN = frozenset((*DATASET_COLUMNS, *DATASET_FIELDS, *OBSERVED))
"""What tables and expressions say of a dataset besides its data ID."""


def make_universe(tables: Mapping[str, Mapping[str, object]] | None) -> DimensionUniverse:
    """Return the default universe with a repository's own dimensions.

    Raises
    ------
    InvalidInputError
        A table is wrong; the message names the dimension and the key.
    """
    universe = default_universe().extended(tables or {})
    for name in tables or {}:
        if name in _TAKEN or name.upper() in KEYWORDS:
            what = "a column of datasets" if name in _TAKEN else "a word of expressions"
            raise InvalidInputError(
                f"a dimension cannot be called {name!r}: that is {what}",
                hint="give it another name",
                kind=ErrorKind.NAME,
            )
    for dimension in universe.values():
        for column in (*dimension.metadata, dimension.name):
            if column in _RECORD_FIELDS:
                raise InvalidInputError(
                    f"dimension {dimension.name!r}: {column!r} is what records call their {column}",
                    hint="give it another name",
                    kind=ErrorKind.DIMENSION,
                )
    return universe


def universe_to_wire(universe: DimensionUniverse) -> str:
    """Return a JSON text that `universe_from_wire` reads in this and later versions."""
    elements = [
        {
            "name": element.name,
            "key": element.key,
            "requires": list(element.requires),
            "implies": list(element.implies),
            "metadata": dict(element.metadata),
            "unique": list(element.unique),
            "temporal": element.temporal,
            "spatial": element.spatial,
        }
        for element in universe.values()
    ]
    return json.dumps({"version": _WIRE_VERSION, "elements": elements})


def universe_from_wire(text: str) -> DimensionUniverse:
    """Read what `universe_to_wire` wrote.

    Raises
    ------
    StateError
        It was written by a newer version (``kind="newer_schema"``).
    """
    wire: dict[str, Any] = json.loads(text)
    if wire["version"] != _WIRE_VERSION:
        raise StateError(
            f"the dimensions of this repository have wire version {wire['version']}; "
            f"this quantumio reads {_WIRE_VERSION}",
            hint="upgrade quantumio",
            kind=ErrorKind.NEWER_SCHEMA,
        )
    return DimensionUniverse(
        Dimension(
            name=element["name"],
            key=element["key"],
            requires=tuple(element["requires"]),
            implies=tuple(element["implies"]),
            metadata=element["metadata"],
            unique=tuple(element["unique"]),
            temporal=element["temporal"],
            spatial=element["spatial"],
        )
        for element in wire["elements"]
    )
