"""What kind a destination is of, told at once: asking a protocol takes as long as encoding a small output."""

from __future__ import annotations

from typing_extensions import TypeIs

from quantumio.ports._destination import ExportingDestination, ManagedDestination, TableDestination

__all__ = ["is_exporting", "is_managed", "is_table"]

_known: dict[tuple[type, type], bool] = {}


def is_table(destination: object) -> TypeIs[TableDestination]:
    """Whether it takes rows; all of one class do, or none."""
    return _fulfils(destination, TableDestination)


def is_managed(destination: object) -> TypeIs[ManagedDestination]:
    """Whether it belongs to one registry alone; all of one class do, or none."""
    return _fulfils(destination, ManagedDestination)


def is_exporting(destination: object) -> TypeIs[ExportingDestination]:
    """Whether it has names for people; all of one class do, or none."""
    return _fulfils(destination, ExportingDestination)


def _fulfils(destination: object, protocol: type) -> bool:
    asked = (type(destination), protocol)
    if (known := _known.get(asked)) is None:
        known = _known[asked] = isinstance(destination, protocol)
    return known
