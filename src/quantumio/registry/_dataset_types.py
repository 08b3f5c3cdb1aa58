"""Dataset types: registered once, with the tables of their dimensions made in the same transaction."""

from __future__ import annotations

import json

import sqlalchemy as sa

from quantumio.errors import ConflictError, ErrorKind, InvalidInputError
from quantumio.model import DatasetType
from quantumio.registry._arguments import check_name
from quantumio.registry._clock import Clock
from quantumio.registry._engine import Database
from quantumio.registry._names import NamesCache, TypeEntry
from quantumio.registry._schema import DATASET_TYPE
from quantumio.registry._universe_schema import Tables

__all__ = ["DatasetTypes"]


class DatasetTypes:
    """Registration and look-up of dataset types."""

    def __init__(self, database: Database, tables: Tables, names: NamesCache, clock: Clock) -> None:
        self._database = database
        self._tables = tables
        self._names = names
        self._clock = clock

    def register(self, dataset_type: DatasetType) -> bool:
        """Register a dataset type; False if it was registered already."""
        if not isinstance(dataset_type, DatasetType):
            raise InvalidInputError(
                f"{dataset_type!r} ({type(dataset_type).__name__}) is no dataset type",
                hint="give a DatasetType",
            )
        self._database.check_writable()
        wanted = dataset_type.normalised(self._tables.universe)
        if (entry := self._names.current().types.get(wanted.name)) is not None:
            return _already(entry, wanted)
        most = self._database.rules.most_dimensions
        if most is not None and len(wanted.dimensions) > most:
            raise InvalidInputError(
                f"dataset type {wanted.name!r} has {len(wanted.dimensions)} dimensions; "
                f"a registry on {self._database.rules.name} takes {most}",
                hint="leave out those that follow from others, or use a registry on SQLite",
                kind=ErrorKind.DATASET_TYPE,
            )
        with self._database.edit(f"registering {wanted.name}") as connection:
            edit = self._clock.advance(connection, names=True)
            names = self._names.load(connection)
            if (entry := names.types.get(wanted.name)) is not None:
                return _already(entry, wanted)
            group = self._tables.group(wanted.dimensions)
            for table in (group.dataset, group.tag, group.calibration):
                table.create(connection, checkfirst=True)
            connection.execute(
                sa.insert(DATASET_TYPE),
                {
                    "id": max(names.types_by_id, default=0) + 1,
                    "name": wanted.name,
                    "dimensions": json.dumps(wanted.dimensions),
                    "storage_class": wanted.storage_class,
                    "added_seq": edit.seq,
                },
            )
        return True

    def get(self, name: str) -> DatasetType:
        """Return a dataset type."""
        try:
            return self._names.last.types[name].type  # they are never changed: what is known stays right
        except (KeyError, TypeError):
            check_name(name, "dataset type", ErrorKind.DATASET_TYPE)
        return self._names.current().type(name).type

    def all(self) -> list[DatasetType]:
        """Return all, by name."""
        types = self._names.current().types
        return [types[name].type for name in sorted(types)]


def _already(entry: TypeEntry, wanted: DatasetType) -> bool:
    if entry.type == wanted:
        return False
    there = entry.type
    raise ConflictError(
        f"dataset type {wanted.name!r} is registered with dimensions "
        f"{', '.join(there.dimensions) or '(none)'} and storage class {there.storage_class}, "
        f"not {', '.join(wanted.dimensions) or '(none)'} and {wanted.storage_class}",
        hint="use the definition that is registered, or another name",
    )
