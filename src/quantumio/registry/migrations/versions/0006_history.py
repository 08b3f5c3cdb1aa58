"""History and scale: when everything happened, lives of names, snapshots, and rows stored by their keys.

The tables of dataset types and dimensions are described here as this revision makes them, whatever
becomes of them later. All is one transaction; a million datasets take some ten seconds.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from quantumio.errors import InvalidInputError
from quantumio.model import Region
from quantumio.registry._dialect import BIG_INTEGER as INTEGER
from quantumio.registry._dialect import BINARY, TEXT, VALUE_TYPES, identifier
from quantumio.registry._dialect import BINARY_UUID as UUID
from quantumio.registry._sky_cover import covered, fitting_level

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_LIVE = sa.text("removed_seq IS NULL")
_BATCH = 10_000


def upgrade() -> None:
    """Add the tables of history, then make the tables of the repository's own dimensions anew."""
    _history()
    connection = op.get_bind()
    universe = connection.execute(
        sa.select(sa.column("universe")).select_from(sa.table("repository"))
    ).scalar()
    if universe is None:
        return  # this registry is being made
    elements = {element["name"]: element for element in json.loads(universe)["elements"]}
    for dimensions in _groups(connection):
        _group(elements, dimensions)
    for element in elements.values():
        _records(element)


def _history() -> None:
    op.create_table(
        "moment",
        sa.Column("seq", INTEGER, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("decided_ns", INTEGER, nullable=False),
        sqlite_strict=True,
    )
    # Only commits were timed until now: an edit of names, tags or records counts as of the commit after it.
    op.execute(
        "INSERT INTO moment (seq, decided_ns) "
        "SELECT commit_seq, decided_at FROM txn WHERE commit_seq IS NOT NULL"
    )
    op.execute(
        "INSERT INTO moment (seq, decided_ns) SELECT seq, decided_ns FROM clock "
        "WHERE seq > 0 AND NOT EXISTS (SELECT 1 FROM moment WHERE moment.seq = clock.seq)"
    )
    op.create_table(
        "snapshot",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("seq", INTEGER, nullable=False),
        sa.Column("note", TEXT, nullable=False),
        sa.Column("created_ns", INTEGER, nullable=False),
        sa.Column("added_seq", INTEGER, nullable=False),
        sa.Column("removed_seq", INTEGER),
        sa.PrimaryKeyConstraint("name", "added_seq"),
        sqlite_strict=True,
    )
    op.create_index(
        "snapshot_live", "snapshot", ["name"], unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE
    )
    op.add_column("collection", sa.Column("removed_seq", INTEGER))
    op.create_table(
        "collection_life",
        sa.Column("collection_id", INTEGER, sa.ForeignKey("collection.id"), nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("added_seq", INTEGER, nullable=False),
        sa.Column("removed_seq", INTEGER, nullable=False),
        sa.PrimaryKeyConstraint("collection_id", "added_seq"),
        sqlite_strict=True,
    )
    op.create_table(
        "cover_level",
        sa.Column("element", TEXT, primary_key=True, nullable=False),
        sa.Column("level", INTEGER, nullable=False),
        sqlite_strict=True,
    )


def _groups(connection: sa.Connection) -> list[tuple[str, ...]]:
    """Return the dimensions of the registered dataset types, each combination once."""
    names: Any = connection.execute(sa.select(sa.column("dimensions")).select_from(sa.table("dataset_type")))
    return sorted({tuple(json.loads(dimensions)) for dimensions in names.scalars()})


# -- tables of a dimension group


def _group(elements: Mapping[str, Mapping[str, Any]], dimensions: tuple[str, ...]) -> None:
    """Store rows by their keys, in which the dimension that the fewest rows share comes first."""
    digest = hashlib.sha256(json.dumps(dimensions).encode()).hexdigest()[:8]
    suffix = f"{'_'.join(dimensions).lower()[:36]}_{digest}"

    def rank(name: str) -> int:
        return 0 if elements[name]["temporal"] else 1 if elements[name]["requires"] else 2

    columns = {identifier("d_", name): VALUE_TYPES[elements[name]["key"]] for name in dimensions}
    key = tuple(identifier("d_", name) for name in sorted(dimensions, key=rank))
    dataset = f"dataset_{suffix}"
    _rekey(
        dataset,
        [
            sa.Column("id", UUID, sa.ForeignKey("dataset.id"), nullable=False),
            sa.Column("run_id", INTEGER, sa.ForeignKey("collection.id"), nullable=False),
            sa.Column("type_id", INTEGER, sa.ForeignKey("dataset_type.id"), nullable=False),
            *(sa.Column(name, kind, nullable=False) for name, kind in columns.items()),
            sa.Column("v", INTEGER, nullable=False),
            sa.Column("txid", UUID, sa.ForeignKey("txn.txid"), nullable=False),
            sa.Column("n", INTEGER, nullable=False),
            sa.Column("commit_seq", INTEGER, nullable=False),
            sa.Column("removed_seq", INTEGER),
        ],
        ("run_id", "type_id", *key, "v"),
        sa.UniqueConstraint("id", name=f"dataset_id_{suffix}"),
    )
    if _is_sqlite():
        op.create_index(f"dataset_txid_{suffix}", dataset, ["txid"])
    _members(f"tag_{suffix}", columns, key, ())
    _members(f"calibration_{suffix}", columns, key, ("begin_ns", "end_ns"))


def _members(
    name: str,
    columns: Mapping[str, sa.types.TypeEngine[Any]],
    key: tuple[str, ...],
    span: tuple[str, ...],
) -> None:
    live = ("collection_id", "type_id", *key, *span[:1])
    if not _is_sqlite():
        op.drop_index(identifier("live_", name), name)
    _rekey(
        name,
        [
            sa.Column("collection_id", INTEGER, sa.ForeignKey("collection.id"), nullable=False),
            sa.Column("type_id", INTEGER, sa.ForeignKey("dataset_type.id"), nullable=False),
            *(sa.Column(column, kind, nullable=False) for column, kind in columns.items()),
            *(sa.Column(end, INTEGER, nullable=False) for end in span),
            sa.Column("dataset_id", UUID, sa.ForeignKey("dataset.id"), nullable=False),
            sa.Column("added_seq", INTEGER, nullable=False),
            sa.Column("removed_seq", INTEGER),
        ],
        (*live, "added_seq"),
    )
    if _is_sqlite():
        op.create_index(identifier("of_", name), name, ["dataset_id"])
    op.create_index(
        identifier("live_", name), name, live, unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE
    )


def _rekey(
    name: str, columns: Sequence[sa.Column[Any]], key: Sequence[str], *constraints: sa.UniqueConstraint
) -> None:
    """Give a table another primary key; on SQLite its rows are written anew, in the order of the key."""
    if not _is_sqlite():
        there = sa.inspect(op.get_bind()).get_pk_constraint(name)["name"]
        op.drop_constraint(str(there), name)
        op.create_primary_key(str(there), name, list(key))
        return
    new = op.create_table(
        f"new_{name}",
        *columns,
        sa.PrimaryKeyConstraint(*key),
        *constraints,
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    names = [column.name for column in columns]
    old = sa.table(name, *(sa.column(column) for column in names))
    rows = sa.select(*old.c).order_by(*(old.c[column] for column in key))
    op.execute(sa.insert(new).from_select(names, rows))
    op.drop_table(name)
    op.rename_table(f"new_{name}", name)


# -- tables of records


def _records(element: Mapping[str, Any]) -> None:
    name = identifier("record_", element["name"])
    if element["temporal"]:
        op.create_index(identifier("span_", name), name, ["begin_ns", "end_ns"])
    if element["spatial"]:
        _number(name)
        cover = op.create_table(
            identifier("cover_", element["name"]),
            sa.Column("cell", INTEGER, nullable=False),
            sa.Column("record_id", INTEGER, nullable=False),
            sa.PrimaryKeyConstraint("cell", "record_id"),
            sqlite_with_rowid=False,
            sqlite_strict=True,
        )
        _fill(element["name"], name, cover)


def _number(name: str) -> None:
    """Give each record a number. On SQLite the column keeps its default, which no record ever has."""
    op.add_column(name, sa.Column("geometry", BINARY))
    op.add_column(name, sa.Column("record_id", INTEGER, nullable=False, server_default="0"))
    record_id = sa.column("record_id", INTEGER)
    if _is_sqlite():
        op.execute(sa.update(sa.table(name, record_id)).values(record_id=sa.column("rowid")))
    else:
        here = sa.table(name, sa.column("ctid"), record_id)
        rows = sa.table(name, sa.column("ctid")).alias("rows")
        number = sa.func.row_number().over(order_by=rows.c.ctid)
        numbered = sa.select(rows.c.ctid, number.label("number")).subquery("numbered")
        op.execute(sa.update(here).values(record_id=numbered.c.number).where(here.c.ctid == numbered.c.ctid))
        op.alter_column(name, "record_id", server_default=None)
    op.create_index(identifier("id_", name), name, ["record_id"], unique=True)


def _fill(element: str, name: str, cover: sa.Table) -> None:
    """Write the regions in bytes, and the cells that they meet. One that is not convex has neither."""
    connection = op.get_bind()
    columns = (sa.column("record_id", INTEGER), sa.column("region", TEXT), sa.column("geometry", BINARY))
    table = sa.table(name, *columns)
    write = (
        sa.update(table)
        .where(table.c.record_id == sa.bindparam("of_record"))
        .values(geometry=sa.bindparam("encoded", type_=BINARY))
    )
    level = None
    for batch in _batches(connection, table):
        regions = {number: data for number, text in batch if (data := _encoded(text)) is not None}
        if not regions:
            continue
        numbers, encoded = list(regions), list(regions.values())
        if level is None:
            level = fitting_level(encoded)
            levels = sa.table("cover_level", sa.column("element", TEXT), sa.column("level", INTEGER))
            connection.execute(sa.insert(levels), {"element": element, "level": level})
        where, cells = covered(encoded, level)
        connection.execute(
            write, [{"of_record": number, "encoded": data} for number, data in regions.items()]
        )
        connection.execute(
            sa.insert(cover),
            [
                {"cell": cell, "record_id": numbers[position]}
                for position, cell in zip(where.tolist(), cells.tolist(), strict=True)
            ],
        )


def _encoded(text: str) -> bytes | None:
    """Return a region in bytes; None for one that earlier versions took and that overlaps nothing."""
    try:
        return Region.make(text).encode()
    except InvalidInputError:
        return None


def _batches(connection: sa.Connection, table: sa.TableClause) -> Iterator[list[tuple[int, str]]]:
    """Yield the records that have a region, by number."""
    regions = sa.select(table.c.record_id, table.c.region).where(table.c.region.is_not(None))
    last = 0
    while True:
        page = regions.where(table.c.record_id > last).order_by(table.c.record_id).limit(_BATCH)
        batch: list[tuple[int, str]] = [(number, region) for number, region in connection.execute(page)]
        if not batch:
            return
        yield batch
        last = batch[-1][0]


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"
