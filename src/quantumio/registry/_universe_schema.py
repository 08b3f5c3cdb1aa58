"""The tables that depend on dimensions: datasets and members by dimension group, and records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import sqlalchemy as sa
from attrs import frozen

from quantumio.model import Dimension, DimensionUniverse
from quantumio.registry._dialect import BIG_INTEGER, BINARY_UUID, STRICT, TEXT, VALUE_TYPES, identifier
from quantumio.registry._schema import COLLECTION, DATASET, DATASET_TYPE, TXN, new_column

__all__ = ["GroupTables", "RecordTable", "Tables"]


@frozen(eq=False)
class GroupTables:
    """The tables of all dataset types over the same dimensions.

    Attributes
    ----------
    dimensions
        Complete and in universe order.
    columns
        Name of the column of each.
    dataset, tag, calibration
        Rows of datasets; members of TAGGED and of CALIBRATION collections.
    """

    dimensions: tuple[str, ...]
    types: dict[str, str]
    columns: dict[str, str]
    dataset: sa.Table
    tag: sa.Table
    calibration: sa.Table


def _dimension_columns(universe: DimensionUniverse, names: Sequence[str]) -> list[sa.Column[object]]:
    return [new_column(identifier("d_", name), VALUE_TYPES[universe[name].key or "str"]) for name in names]


class Tables:
    """The tables of one universe, described when first asked for (not made in the database)."""

    def __init__(self, universe: DimensionUniverse) -> None:
        self.universe = universe
        self._groups: dict[tuple[str, ...], GroupTables] = {}
        self._records: dict[str, RecordTable] = {}

    def group(self, dimensions: tuple[str, ...]) -> GroupTables:
        """Return the tables of a dimension group."""
        if dimensions not in self._groups:
            self._groups[dimensions] = _group_tables(self.universe, dimensions)
        return self._groups[dimensions]

    def record(self, element: str) -> RecordTable:
        """Return the table of the records of a dimension or relation."""
        if element not in self._records:
            self._records[element] = _record_table(self.universe, element)
        return self._records[element]


def _group_tables(universe: DimensionUniverse, dimensions: tuple[str, ...]) -> GroupTables:
    metadata = sa.MetaData()
    digest = hashlib.sha256(json.dumps(dimensions).encode()).hexdigest()[:8]
    suffix = f"{'_'.join(dimensions).lower()[:36]}_{digest}"
    columns = {name: identifier("d_", name) for name in dimensions}

    def keys() -> list[sa.Column[object]]:
        return _dimension_columns(universe, dimensions)

    dataset = sa.Table(
        f"dataset_{suffix}",
        metadata,
        new_column("id", BINARY_UUID, sa.ForeignKey(DATASET.c.id)),
        new_column("run_id", BIG_INTEGER, sa.ForeignKey(COLLECTION.c.id)),
        new_column("type_id", BIG_INTEGER, sa.ForeignKey(DATASET_TYPE.c.id)),
        *keys(),
        new_column("v", BIG_INTEGER),
        new_column("txid", BINARY_UUID, sa.ForeignKey(TXN.c.txid)),
        new_column("n", BIG_INTEGER),
        new_column("commit_seq", BIG_INTEGER),
        new_column("removed_seq", BIG_INTEGER, nullable=True),
        sa.PrimaryKeyConstraint("run_id", "type_id", *columns.values(), "v"),
        sa.UniqueConstraint("id", name=f"dataset_id_{suffix}"),
        sa.Index(f"dataset_txid_{suffix}", "txid"),
        **STRICT,
    )
    tag = _member_table(f"tag_{suffix}", metadata, keys(), ())
    calibration = _member_table(f"calibration_{suffix}", metadata, keys(), ("begin_ns", "end_ns"))
    _live_index(tag, ("collection_id", "type_id", *columns.values()))
    _live_index(calibration, ("collection_id", "type_id", *columns.values(), "begin_ns"))
    return GroupTables(
        dimensions,
        {name: universe[name].key or "str" for name in dimensions},
        columns,
        dataset,
        tag,
        calibration,
    )


def _member_table(
    name: str, metadata: sa.MetaData, keys: list[sa.Column[object]], span: tuple[str, ...]
) -> sa.Table:
    key_names = [column.name for column in keys]
    return sa.Table(
        name,
        metadata,
        new_column("collection_id", BIG_INTEGER, sa.ForeignKey(COLLECTION.c.id)),
        new_column("type_id", BIG_INTEGER, sa.ForeignKey(DATASET_TYPE.c.id)),
        *keys,
        *(new_column(end, BIG_INTEGER) for end in span),
        new_column("dataset_id", BINARY_UUID, sa.ForeignKey(DATASET.c.id)),
        new_column("added_seq", BIG_INTEGER),
        new_column("removed_seq", BIG_INTEGER, nullable=True),
        sa.PrimaryKeyConstraint("collection_id", "type_id", *key_names, *span[:1], "added_seq"),
        sa.Index(identifier("of_", name), "dataset_id"),
        **STRICT,
    )


def _live_index(table: sa.Table, columns: Sequence[str]) -> None:
    live = sa.text("removed_seq IS NULL")
    sa.Index(
        identifier("live_", table.name),
        *(table.c[name] for name in columns),
        unique=True,
        sqlite_where=live,
        postgresql_where=live,
    )


@frozen(eq=False)
class RecordTable:
    """The table of the records of a dimension or relation, and the columns of its fields."""

    element: Dimension
    table: sa.Table
    fields: dict[str, str]  # keys, implied dimensions and metadata: name to column name
    kinds: dict[str, str]  # the same: name to int, str, float, bool


def _record_table(universe: DimensionUniverse, name: str) -> RecordTable:
    element = universe[name]
    kinds = {key: str(universe[key].key) for key in (*element.record_keys, *element.implies)}
    fields = {key: identifier("d_", key) for key in kinds}
    # A metadata column may have the name of a dimension: the dimension is meant by that name.
    fields |= {key: identifier("m_", key) for key in element.metadata if key not in kinds}
    kinds |= {key: kind for key, kind in element.metadata.items() if key not in kinds}
    table = sa.Table(
        identifier("record_", name),
        sa.MetaData(),
        *(
            new_column(fields[key], VALUE_TYPES[kind], nullable=key not in element.record_keys)
            for key, kind in kinds.items()
        ),
        *(
            (new_column(end, BIG_INTEGER, nullable=True) for end in ("begin_ns", "end_ns"))
            if element.temporal
            else ()
        ),
        *((new_column("region", TEXT, nullable=True),) if element.spatial else ()),
        new_column("added_seq", BIG_INTEGER),
        new_column("removed_seq", BIG_INTEGER, nullable=True),
        sa.PrimaryKeyConstraint(*(fields[key] for key in element.record_keys), "added_seq"),
        **STRICT,
    )
    _live_index(table, [fields[key] for key in element.record_keys])
    for field in element.unique:
        live = sa.text("removed_seq IS NULL")
        sa.Index(
            identifier(f"unique_{field[:20]}_", table.name),
            *(table.c[fields[key]] for key in element.requires),
            table.c[fields[field]],
            unique=True,
            sqlite_where=live,
            postgresql_where=live,
        )
    return RecordTable(element, table, fields, kinds)
