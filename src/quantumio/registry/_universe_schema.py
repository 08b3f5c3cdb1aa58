"""The tables that depend on dimensions: datasets and members by dimension group, and records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence, Set
from itertools import takewhile

import sqlalchemy as sa
from attrs import frozen

from quantumio.model import Dimension, DimensionUniverse
from quantumio.registry._dialect import (
    BIG_INTEGER,
    BINARY,
    BINARY_UUID,
    STRICT,
    TEXT,
    VALUE_TYPES,
    identifier,
)
from quantumio.registry._schema import COLLECTION, DATASET, DATASET_TYPE, TXN, new_column, reference

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
    key
        These columns in the order of the keys of the tables, in which rows of one run and type are stored.
    by_place
        Columns of places and times, in the order of another index of datasets: detector, or tract and patch,
        come first, where the key begins with a time. Empty where there is no such index.
    dataset, tag, calibration
        Rows of datasets; members of TAGGED and of CALIBRATION collections.
    """

    dimensions: tuple[str, ...]
    types: dict[str, str]
    columns: dict[str, str]
    key: tuple[str, ...]
    by_place: tuple[str, ...]
    dataset: sa.Table
    tag: sa.Table
    calibration: sa.Table

    def found_by(self, names: Set[str]) -> tuple[str, ...]:
        """Return the columns by which a database finds datasets with one value of each of these dimensions.

        They are the first of the key; or, where it does not begin with any and all places are given, of the
        index by place, in which the datasets of one place are in the order of the key.
        """
        given = {self.columns[name] for name in names if name in self.columns}
        first = tuple(takewhile(given.__contains__, self.key))
        by_place = tuple(takewhile(given.__contains__, self.by_place))
        places = tuple(takewhile(lambda column: column != self.key[0], self.by_place))
        return by_place if not first and len(by_place) >= len(places) else first

    @property
    def asks_by_place(self) -> sa.ColumnElement[bool]:
        """A condition that all datasets meet. Without it SQLite does not look at the index by place.

        It would do so for all of a run, as the index is smaller than the table, and sort them for each page.
        """
        return self.dataset.c.v > sa.literal_column("0")


def _dimension_columns(universe: DimensionUniverse, names: Sequence[str]) -> list[sa.Column[object]]:
    return [new_column(identifier("d_", name), VALUE_TYPES[universe[name].key or "str"]) for name in names]


def _orders(universe: DimensionUniverse, dimensions: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return dimensions in the order of keys, and those of the index by place in its order (or none).

    What the fewest rows share comes first. People ask for a visit, an exposure or a tract far more often than
    for one detector of all of them, and rows come in the order of time, so that they are written where the
    last ones were. The index is for one detector, or one patch, of all visits.
    """
    times = [name for name in dimensions if universe[name].temporal]
    places = [name for name in dimensions if name not in times and universe[name].requires]
    others = [name for name in dimensions if name not in (*times, *places)]
    return [*times, *places, *others], [*places, *times] if times and places else []


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
    key, by_place = (tuple(columns[name] for name in order) for order in _orders(universe, dimensions))

    def keys() -> list[sa.Column[object]]:
        return _dimension_columns(universe, dimensions)

    dataset = sa.Table(
        f"dataset_{suffix}",
        metadata,
        new_column("id", BINARY_UUID, sa.ForeignKey(DATASET.c.id)),
        new_column("run_id", BIG_INTEGER),
        new_column("type_id", BIG_INTEGER),
        *keys(),
        new_column("v", BIG_INTEGER),
        new_column("txid", BINARY_UUID),
        new_column("n", BIG_INTEGER),
        new_column("commit_seq", BIG_INTEGER),
        new_column("removed_seq", BIG_INTEGER, nullable=True),
        sa.PrimaryKeyConstraint("run_id", "type_id", *key, "v"),
        sa.UniqueConstraint("id", name=f"dataset_id_{suffix}"),
        sa.Index(f"dataset_txid_{suffix}", "txid"),
        reference("run_id", COLLECTION.c.id),
        reference("type_id", DATASET_TYPE.c.id),
        reference("txid", TXN.c.txid),
        sqlite_with_rowid=False,  # all of a run, and each range of its key, is read from one place
        **STRICT,
    )
    if by_place:
        _index_by_place(f"place_{suffix}", dataset, by_place, key)
    tag = _member_table(f"tag_{suffix}", metadata, keys(), key, ())
    calibration = _member_table(f"calibration_{suffix}", metadata, keys(), key, ("begin_ns", "end_ns"))
    _live_index(tag, ("collection_id", "type_id", *key))
    _live_index(calibration, ("collection_id", "type_id", *key, "begin_ns"))
    return GroupTables(
        dimensions,
        {name: universe[name].key or "str" for name in dimensions},
        columns,
        key,
        by_place,
        dataset,
        tag,
        calibration,
    )


def _index_by_place(name: str, dataset: sa.Table, by_place: Sequence[str], key: Sequence[str]) -> None:
    """Index datasets by place, for each database as it reads an index.

    That of SQLite has all that a ref tells, so that it does not look up the rows. PostgreSQL does so anyway;
    there it has fewer columns than the primary key, as what fits into an index is limited.
    """
    columns = ["run_id", "type_id", *by_place]
    told = [*(column for column in key if column not in by_place), "v", "commit_seq", "removed_seq", "id"]
    sa.Index(
        name,
        *(dataset.c[column] for column in (*columns, *told)),
        sqlite_where=sa.text("v > 0"),  # `GroupTables.asks_by_place`
    ).ddl_if(dialect="sqlite")
    sa.Index(name, *(dataset.c[column] for column in columns)).ddl_if(dialect="postgresql")


def _member_table(
    name: str,
    metadata: sa.MetaData,
    columns: list[sa.Column[object]],
    key: tuple[str, ...],
    span: tuple[str, ...],
) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        new_column("collection_id", BIG_INTEGER, sa.ForeignKey(COLLECTION.c.id)),
        new_column("type_id", BIG_INTEGER, sa.ForeignKey(DATASET_TYPE.c.id)),
        *columns,
        *(new_column(end, BIG_INTEGER) for end in span),
        new_column("dataset_id", BINARY_UUID, sa.ForeignKey(DATASET.c.id)),
        new_column("added_seq", BIG_INTEGER),
        new_column("removed_seq", BIG_INTEGER, nullable=True),
        sa.PrimaryKeyConstraint("collection_id", "type_id", *key, *span[:1], "added_seq"),
        sa.Index(identifier("of_", name), "dataset_id"),
        sqlite_with_rowid=False,
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
    """The table of the records of a dimension or relation, and the columns of its fields.

    Records of a spatial one have, beside the text of their region, its bytes as ``geometry`` and a
    ``record_id``, by which ``cover`` tells the cells of an index that the region touches.
    """

    element: Dimension
    table: sa.Table
    cover: sa.Table | None
    fields: dict[str, str]  # keys, implied dimensions and metadata: name to column name
    kinds: dict[str, str]  # the same: name to int, str, float, bool


def _record_table(universe: DimensionUniverse, name: str) -> RecordTable:
    element = universe[name]
    kinds = {key: str(universe[key].key) for key in (*element.record_keys, *element.implies)}
    fields = {key: identifier("d_", key) for key in kinds}
    # A metadata column may have the name of a dimension: the dimension is meant by that name.
    fields |= {key: identifier("m_", key) for key in element.metadata if key not in kinds}
    kinds |= {key: kind for key, kind in element.metadata.items() if key not in kinds}
    metadata = sa.MetaData()
    table = sa.Table(
        identifier("record_", name),
        metadata,
        *(
            new_column(fields[key], VALUE_TYPES[kind], nullable=key not in element.record_keys)
            for key, kind in kinds.items()
        ),
        *(
            (new_column(end, BIG_INTEGER, nullable=True) for end in ("begin_ns", "end_ns"))
            if element.temporal
            else ()
        ),
        *(_region_columns() if element.spatial else ()),
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
    if element.temporal:
        sa.Index(identifier("span_", table.name), table.c.begin_ns, table.c.end_ns)
    cover = None
    if element.spatial:
        sa.Index(identifier("id_", table.name), table.c.record_id, unique=True)
        cover = sa.Table(
            identifier("cover_", name),
            metadata,
            new_column("cell", BIG_INTEGER, primary_key=True, autoincrement=False),
            new_column("record_id", BIG_INTEGER, primary_key=True, autoincrement=False),
            sqlite_with_rowid=False,
            **STRICT,
        )
    return RecordTable(element, table, cover, fields, kinds)


def _region_columns() -> tuple[sa.Column[object], ...]:
    return (
        new_column("region", TEXT, nullable=True),
        new_column("geometry", BINARY, nullable=True),
        new_column("record_id", BIG_INTEGER),
    )
