"""The tables of the registry: the fixed ones, and those made for dimension groups and dimensions.

The fixed tables are those of the current schema; the migrations make them (a test compares the two).
Rows that people edit (tags, chains, calibrations, dimension records) are never deleted: ``added_seq`` and
``removed_seq`` say in which commits they came and went, so that every earlier moment can be asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from quantumio.model import Dimension, DimensionUniverse
from quantumio.registry._dialect import (
    BIG_INTEGER,
    BINARY_UUID,
    STRICT,
    TEXT,
    VALUE_TYPES,
    identifier,
)

__all__ = [
    "ARTIFACT",
    "CHAIN",
    "CLOCK",
    "COLLECTION",
    "DATASET",
    "DATASET_TYPE",
    "FIXED",
    "OBJECT",
    "REPOSITORY",
    "TXN",
    "TXN_INPUT",
    "GroupTables",
    "RecordTable",
    "Tables",
]

FIXED = sa.MetaData()


def _column(
    name: str, kind: sa.types.TypeEngine[Any], *constraints: sa.ForeignKey, **options: bool
) -> sa.Column[object]:
    options.setdefault("nullable", bool(options.get("nullable", False)))
    return sa.Column(name, kind, *constraints, **options)  # type: ignore[arg-type]


REPOSITORY = sa.Table(
    "repository",
    FIXED,
    _column("id", BIG_INTEGER, primary_key=True, autoincrement=False),
    _column("repository_id", BINARY_UUID),
    _column("universe", TEXT),  # its wire form (JSON)
    _column("created_ns", BIG_INTEGER),
    **STRICT,
)
CLOCK = sa.Table(
    "clock",
    FIXED,
    _column("id", BIG_INTEGER, primary_key=True, autoincrement=False),
    _column("seq", BIG_INTEGER),  # of the last commit or edit; every write takes this row first
    _column(
        "edits", BIG_INTEGER
    ),  # grows whenever names (types, collections, chains) change: caches watch it
    _column("decided_ns", BIG_INTEGER),
    **STRICT,
)
TXN = sa.Table(
    "txn",
    FIXED,
    _column("txid", BINARY_UUID, primary_key=True),
    _column("run", TEXT),
    _column("state", TEXT),
    _column("reason", TEXT, nullable=True),
    _column("epoch", BIG_INTEGER),
    _column("gen", BIG_INTEGER),
    _column("owner", BINARY_UUID, nullable=True),
    _column("lease_until", BIG_INTEGER, nullable=True),
    _column("key", TEXT, nullable=True),
    _column("content_digest", TEXT, nullable=True),
    _column("manifest", TEXT, nullable=True),
    _column("commit_seq", BIG_INTEGER, nullable=True),
    _column("removed_seq", BIG_INTEGER, nullable=True),
    _column("created_at", BIG_INTEGER),
    _column("decided_at", BIG_INTEGER, nullable=True),
    sa.CheckConstraint("state IN ('PREPARING','COMMITTED','ABORTED','QUARANTINED')", name="txn_state"),
    sa.UniqueConstraint("commit_seq", name="txn_commit_seq"),
    **STRICT,
)
sa.Index(
    "txn_key",
    TXN.c.run,
    TXN.c.key,
    unique=True,
    sqlite_where=sa.text("key IS NOT NULL AND state = 'COMMITTED' AND removed_seq IS NULL"),
    postgresql_where=sa.text("key IS NOT NULL AND state = 'COMMITTED' AND removed_seq IS NULL"),
)
TXN_REQUIRES = sa.Table(
    "txn_requires",
    FIXED,
    _column("txid", BINARY_UUID, sa.ForeignKey("txn.txid"), primary_key=True),
    _column("upstream", BINARY_UUID, primary_key=True),
    sqlite_with_rowid=False,
    **STRICT,
)
TXN_INPUT = sa.Table(
    "txn_input",
    FIXED,
    _column("txid", BINARY_UUID, sa.ForeignKey("txn.txid"), primary_key=True),
    _column("dataset_id", BINARY_UUID, primary_key=True),  # temporaries included: no foreign key
    sqlite_with_rowid=False,
    **STRICT,
)
sa.Index("txn_input_dataset", TXN_INPUT.c.dataset_id)
DATASET_TYPE = sa.Table(
    "dataset_type",
    FIXED,
    _column("id", BIG_INTEGER, primary_key=True, autoincrement=False),
    _column("name", TEXT),
    _column("dimensions", TEXT),  # JSON list, complete and in universe order
    _column("storage_class", TEXT),
    _column("added_seq", BIG_INTEGER),
    sa.UniqueConstraint("name", name="dataset_type_name"),
    **STRICT,
)
COLLECTION = sa.Table(
    "collection",
    FIXED,
    _column("id", BIG_INTEGER, primary_key=True, autoincrement=False),
    _column("name", TEXT),
    _column("kind", TEXT),
    _column("added_seq", BIG_INTEGER),
    sa.CheckConstraint("kind IN ('RUN','TAGGED','CHAINED','CALIBRATION')", name="collection_kind"),
    sa.UniqueConstraint("name", name="collection_name"),
    **STRICT,
)
CHAIN = sa.Table(
    "chain",
    FIXED,
    _column("collection_id", BIG_INTEGER, sa.ForeignKey("collection.id"), primary_key=True),
    _column("added_seq", BIG_INTEGER, primary_key=True, autoincrement=False),
    _column("position", BIG_INTEGER, primary_key=True, autoincrement=False),
    _column("child_id", BIG_INTEGER, sa.ForeignKey("collection.id")),
    _column("removed_seq", BIG_INTEGER, nullable=True),
    **STRICT,
)
DATASET = sa.Table(  # lean: which dimension group holds the row of an id
    "dataset",
    FIXED,
    _column("id", BINARY_UUID, primary_key=True),
    _column("type_id", BIG_INTEGER, sa.ForeignKey("dataset_type.id")),
    sqlite_with_rowid=False,
    **STRICT,
)
OBJECT = sa.Table(
    "object",
    FIXED,
    sa.Column("id", BIG_INTEGER, primary_key=True, autoincrement=True),
    _column("store", TEXT),
    _column("path", TEXT),
    _column("txid", BINARY_UUID, sa.ForeignKey("txn.txid")),
    _column("gen", BIG_INTEGER),
    _column("sha256", TEXT),
    _column("nbytes", BIG_INTEGER),
    sa.UniqueConstraint("store", "path", name="object_path"),
    **STRICT,
)
ARTIFACT = sa.Table(
    "artifact",
    FIXED,
    _column("dataset_id", BINARY_UUID, sa.ForeignKey("dataset.id"), primary_key=True),
    _column("store", TEXT, primary_key=True),
    _column("position", BIG_INTEGER),  # in the order in which they were planned
    _column("object_id", BIG_INTEGER, sa.ForeignKey("object.id"), nullable=True),
    _column("table_name", TEXT, nullable=True),  # rows in a database are no object
    _column("member", TEXT, nullable=True),
    _column("offset", BIG_INTEGER, nullable=True),
    _column("length", BIG_INTEGER, nullable=True),
    _column("format", TEXT),
    _column("digest", TEXT),
    _column("nbytes", BIG_INTEGER),
    _column("load_id", BINARY_UUID, nullable=True),
    _column("state", TEXT),
    sa.CheckConstraint("state IN ('ok','pending','missing','corrupt')", name="artifact_state"),
    sa.CheckConstraint("(object_id IS NULL) <> (table_name IS NULL)", name="artifact_place"),
    sqlite_with_rowid=False,
    **STRICT,
)
OUTBOX = sa.Table(
    "outbox",
    FIXED,
    sa.Column("id", BIG_INTEGER, primary_key=True, autoincrement=True),
    _column("txid", BINARY_UUID, sa.ForeignKey("txn.txid")),
    _column("kind", TEXT),
    _column("payload", TEXT),
    _column("attempts", BIG_INTEGER),
    _column("not_before", BIG_INTEGER),
    _column("claimed_by", BINARY_UUID, nullable=True),
    _column("claimed_until", BIG_INTEGER, nullable=True),
    _column("done_at", BIG_INTEGER, nullable=True),
    sa.CheckConstraint("kind IN ('replicate','export','flip_table','notify','clean')", name="outbox_kind"),
    **STRICT,
)
TRASH = sa.Table(
    "trash",
    FIXED,
    _column("store", TEXT, primary_key=True),
    _column("path", TEXT, primary_key=True),
    _column("removed_seq", BIG_INTEGER),
    _column("removed_at", BIG_INTEGER),
    **STRICT,
)
GC_CANDIDATE = sa.Table(
    "gc_candidate",
    FIXED,
    _column("store", TEXT, primary_key=True),
    _column("path", TEXT, primary_key=True),
    _column("mark", TEXT),  # etag or modification time
    _column("first_seen", BIG_INTEGER),
    **STRICT,
)
SESSION = sa.Table(
    "session",
    FIXED,
    _column("id", BINARY_UUID, primary_key=True),
    _column("store", TEXT),
    _column("created_at", BIG_INTEGER),
    **STRICT,
)
OWNER = sa.Table(
    "owner",
    FIXED,
    _column("id", BINARY_UUID, primary_key=True),
    _column("host", TEXT),
    _column("boot_id", TEXT),
    _column("heartbeat_at", BIG_INTEGER),
    **STRICT,
)


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
    return [_column(identifier("d_", name), VALUE_TYPES[universe[name].key or "str"]) for name in names]


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

    for table in (COLLECTION, DATASET_TYPE, DATASET, TXN):
        table.to_metadata(metadata)
    dataset = sa.Table(
        f"dataset_{suffix}",
        metadata,
        _column("id", BINARY_UUID, sa.ForeignKey("dataset.id")),
        _column("run_id", BIG_INTEGER, sa.ForeignKey("collection.id")),
        _column("type_id", BIG_INTEGER, sa.ForeignKey("dataset_type.id")),
        *keys(),
        _column("v", BIG_INTEGER),
        _column("txid", BINARY_UUID, sa.ForeignKey("txn.txid")),
        _column("n", BIG_INTEGER),
        _column("commit_seq", BIG_INTEGER),
        _column("removed_seq", BIG_INTEGER, nullable=True),
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
        _column("collection_id", BIG_INTEGER, sa.ForeignKey("collection.id")),
        _column("type_id", BIG_INTEGER, sa.ForeignKey("dataset_type.id")),
        *keys,
        *(_column(end, BIG_INTEGER) for end in span),
        _column("dataset_id", BINARY_UUID, sa.ForeignKey("dataset.id")),
        _column("added_seq", BIG_INTEGER),
        _column("removed_seq", BIG_INTEGER, nullable=True),
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
            _column(fields[key], VALUE_TYPES[kind], nullable=key not in element.record_keys)
            for key, kind in kinds.items()
        ),
        *(
            (_column(end, BIG_INTEGER, nullable=True) for end in ("begin_ns", "end_ns"))
            if element.temporal
            else ()
        ),
        *((_column("region", TEXT, nullable=True),) if element.spatial else ()),
        _column("added_seq", BIG_INTEGER),
        _column("removed_seq", BIG_INTEGER, nullable=True),
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
