"""The tables of a Level 3 database: quantumio's own, those of rows, and the views over them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from typing_extensions import override

from quantumio.destinations._sql_columns import StoredColumn, check_width
from quantumio.destinations._sql_engine import Database
from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DataId

__all__ = [
    "CHUNKS",
    "COLUMNS",
    "FLOATS",
    "LOADED",
    "LOADS",
    "ROW",
    "VISIBLE",
    "Tables",
    "check_beside_registry",
    "check_table_name",
]


class _Uuid(sa.types.TypeDecorator[UUID]):
    """A UUID: ``uuid`` on PostgreSQL; on SQLite 16 bytes, or as people write it where they join with it.

    Parameters
    ----------
    readable
        Whether people join with it.
    """

    impl: sa.types.TypeEngine[Any] | type[sa.types.TypeEngine[Any]] = sa.LargeBinary
    cache_ok: bool | None = True

    def __init__(self, readable: bool = False) -> None:
        super().__init__()
        self.readable = readable

    @override
    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(sa.Uuid())
        return dialect.type_descriptor(sa.String(36) if self.readable else sa.LargeBinary(16))

    @override
    def process_bind_param(self, value: UUID | None, dialect: sa.Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return str(value) if self.readable else value.bytes

    @override
    def process_result_value(self, value: Any, dialect: sa.Dialect) -> UUID | None:
        if value is None or isinstance(value, UUID):
            return value
        return UUID(bytes=value) if isinstance(value, bytes) else UUID(value)


_metadata = sa.MetaData()

LOADS: Final = sa.Table(
    "qio_loads",
    _metadata,
    sa.Column("qio_load", _Uuid, primary_key=True),
    sa.Column("table_name", sa.String(63), nullable=False),
    sa.Column("row_count", sa.BigInteger, nullable=False),
    sa.Column("chunk_rows", sa.BigInteger, nullable=False),
    sa.Column("arrow_schema", sa.LargeBinary, nullable=False),
    sa.Column("checksum", sa.String(32), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
)
CHUNKS: Final = sa.Table(
    "qio_chunks",
    _metadata,
    sa.Column("qio_load", _Uuid, primary_key=True),
    sa.Column("chunk", sa.BigInteger, primary_key=True, autoincrement=False),
)
VISIBLE: Final = sa.Table(
    "qio_visible",
    _metadata,
    sa.Column("qio_load", _Uuid, primary_key=True),
    sa.Column("table_name", sa.String(63), nullable=False),
    sa.Column("dataset_id", _Uuid(readable=True), nullable=False, unique=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("data_id", sa.Text, nullable=False),
)
COLUMNS: Final = sa.Table(
    "qio_columns",
    _metadata,
    sa.Column("table_name", sa.String(63), primary_key=True),
    sa.Column("column_name", sa.String(63), primary_key=True),
    sa.Column("place", sa.BigInteger, nullable=False),
    sa.Column("shape", sa.String(16), nullable=False),
    sa.Column("type", sa.Text, nullable=False),
)
_TABLES: Final = sa.Table(
    "qio_tables",
    _metadata,
    sa.Column("table_name", sa.String(63), primary_key=True),
    sa.Column("dimensions", sa.Text, nullable=False),  # JSON: name to "int" or "str"
)

ROW: Final = "qio_row"
LOADED: Final = "loaded"
"""State of a load that is there whole."""

FLOATS: Final = "qio_floats"
_DIMENSION_TYPES: Final[dict[str, sa.types.TypeEngine[Any]]] = {"int": sa.BigInteger(), "str": sa.Text()}
_LONGEST_NAME: Final = 58  # "_rows" must still fit in the 63 bytes of PostgreSQL
_MADE_BY_US: Final = "it is not quantumio's: rename it, or the dataset type"


def check_table_name(name: str) -> str:
    """Return the name of a dataset type if a table and a view can have it.

    Raises
    ------
    InvalidInputError
        It is too long, or reserved.
    """
    lower = name.lower()
    reserved = lower.startswith(("qio_", "sqlite_", "pg_")) or lower.endswith("_rows")
    plain = name.isascii() and name.replace("_", "a").isalnum() and not name[:1].isdigit()
    if plain and len(name) <= _LONGEST_NAME and not reserved:
        return name
    raise InvalidInputError(
        f"{name!r} cannot be a table of a database",
        hint=f"use at most {_LONGEST_NAME} letters, digits and '_', not beginning with qio_, sqlite_ or pg_ "
        "and not ending with _rows",
        kind=ErrorKind.NAME,
    )


_REGISTRY_PREFIXES: Final = ("calibration_", "dataset_", "record_", "registry_", "tag_")
"""Of tables that a registry makes as it grows, or is upgraded. Those that are there are seen anyhow."""


def check_beside_registry(name: str) -> str:
    """Return the name of a table that is to stand beside the tables of a registry.

    Raises
    ------
    InvalidInputError
        The registry may come to have a table of this name.
    """
    if name.lower().startswith(_REGISTRY_PREFIXES):
        raise InvalidInputError(
            f"{name!r} cannot be a table in the registry's database: the registry has such names",
            hint="choose another name for the dataset type, or another database",
            kind=ErrorKind.NAME,
        )
    return name


def rows_table(table: str) -> str:
    """Return the name of the base table, which holds the rows of all loads."""
    return f"{table}_rows"


class Tables:
    """What tables there are in a database, and changes of them.

    Parameters
    ----------
    database
        Where they are.
    schema
        Of PostgreSQL, made with the first table; None: it is there, and all connections look there alone.
    """

    def __init__(self, database: Database, *, schema: str | None = None) -> None:
        self._database = database
        self._schema = schema
        self._known: dict[str, dict[str, StoredColumn]] = {}
        self._shown: dict[str, dict[str, str]] = {}

    def known(self, table: str) -> Mapping[str, StoredColumn]:
        """Return the columns of a table as they were last seen, by lower-case name."""
        return self._known.get(table, {})

    def look(self, connection: sa.Connection, table: str) -> Mapping[str, StoredColumn]:
        """Read the columns of a table; there are none if there is no table."""
        if not sa.inspect(connection).has_table(COLUMNS.name):
            return {}
        found = connection.execute(
            sa.select(COLUMNS).where(COLUMNS.c.table_name == table).order_by(COLUMNS.c.place)
        )
        columns = {
            row.column_name.lower(): StoredColumn(name=row.column_name, shape=row.shape, type=row.type)
            for row in found
        }
        self._known[table] = columns
        return columns

    def check_schema(self, connection: sa.Connection) -> None:
        """Refuse a schema that is to be there, and is not; PostgreSQL itself tells only when a table is made.

        Raises
        ------
        InvalidInputError
            It does not exist, or is out of reach.
        """
        if self._database.is_sqlite or self._schema is not None:
            return
        if connection.execute(sa.select(sa.func.current_schema())).scalar_one() is not None:
            return
        schema = connection.execute(sa.select(sa.func.current_setting("search_path"))).scalar_one()
        raise InvalidInputError(
            f"destination {self._database.name!r}: there is no schema {schema} in {self._database.url()}, "
            "or its user may not use it",
            hint=f"CREATE SCHEMA {schema}, or GRANT USAGE on it, or write schema = one that is there",
            kind=ErrorKind.POLICY,
        )

    def lacks(self, table: str, columns: Sequence[StoredColumn]) -> bool:
        """Whether the table, as last seen, has not all of these columns."""
        known = self.known(table)
        return any(known.get(column.name.lower()) != column for column in columns)

    def compare(
        self, table: str, columns: Sequence[StoredColumn], known: Mapping[str, StoredColumn]
    ) -> list[StoredColumn]:
        """Return the columns that the table lacks.

        Raises
        ------
        InvalidInputError
            A column is there with another type, or in other case, or the table gets too wide.
        """
        missing = []
        for column in columns:
            there = known.get(column.name.lower())
            if there is None:
                missing.append(column)
            elif there.name != column.name:
                raise InvalidInputError(
                    f"column {column.name!r} of table {table!r} is called {there.name!r} in the database",
                    hint="a database may take them for one: use the same name",
                    kind=ErrorKind.NAME,
                )
            elif (there.shape, there.type) != (column.shape, column.type):
                raise InvalidInputError(
                    f"column {column.name!r} of table {table!r} is {column.type}, there {there.type}",
                    hint="cast it, or give it another name",
                    kind=ErrorKind.VALUE,
                )
        check_width(table, columns, len(known) + len(missing), is_sqlite=self._database.is_sqlite)
        return missing

    def ensure(self, table: str, columns: Sequence[StoredColumn]) -> None:
        """Make the table, or add the columns that it lacks (they are NULL in earlier rows)."""
        if self.known(table) and not self.lacks(table, columns):
            return
        if self._database.exists():
            with self._database.read(f"reading the columns of {table}") as connection:
                known = self.look(connection, table)
                if not known:
                    self.check_schema(connection)
            if known and not self.compare(table, columns, known):
                return
        with self._database.write(f"making table {table}") as connection:
            self._database.lock_tables(connection)
            if self._schema is not None:
                connection.exec_driver_sql(
                    f"CREATE SCHEMA IF NOT EXISTS {self._database.quote(self._schema)}"
                )
            _metadata.create_all(connection)
            known = self.look(connection, table)
            missing = self.compare(table, columns, known)
            if not known:
                self._create(connection, table)
            elif missing:
                self._lock_view(connection, table)
            for place, column in enumerate(missing, len(known)):
                self._add(connection, table, column, place)
            if missing:
                self._make_view(connection, table)
            self.look(connection, table)

    def know_dimensions(self, table: str, data_id: DataId) -> None:
        """Let ``qio_visible`` hold, and the view show, the dimensions of a data ID."""
        wanted = {name: "int" if isinstance(value, int) else "str" for name, value in data_id.items()}
        if wanted.items() <= self._shown.get(table, {}).items():
            return
        with self._database.write(f"changing the view {table}") as connection:
            self._database.lock_tables(connection)
            known = self._dimensions(connection, table)
            if not wanted.items() <= known.items():
                self._lock_view(connection, table)
                self._add_dimensions(connection, wanted)
                known = {**known, **wanted}
                connection.execute(
                    sa.update(_TABLES)
                    .where(_TABLES.c.table_name == table)
                    .values(dimensions=json.dumps(known, sort_keys=True))
                )
                self._make_view(connection, table)
        self._shown[table] = known

    def show(self, connection: sa.Connection, values: Mapping[str, Any], data_id: DataId) -> None:
        """Make a load visible, under the dimensions of its data ID too, which are known.

        Parameters
        ----------
        connection
            In a transaction that writes, of whatever database user: the schema is named.
        values
            Columns of ``qio_visible``.
        data_id
            What the rows are of.
        """
        dimensions = {_dimension_column(name): value for name, value in data_id.items()}
        columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in dimensions]
        row = {**values, "data_id": json.dumps(dict(data_id)), **dimensions}
        visible = sa.table(VISIBLE.name, *map(_unbound, VISIBLE.c), *columns, schema=self._schema)
        connection.execute(sa.insert(visible).values(row))

    def are_loaded(self, connection: sa.Connection, load_ids: Collection[UUID]) -> bool:
        """Whether all these loads are there whole."""
        loads = sa.table(LOADS.name, *map(_unbound, LOADS.c), schema=self._schema)
        count = sa.select(sa.func.count()).where(loads.c.qio_load.in_(load_ids), loads.c.state == LOADED)
        return int(connection.execute(count).scalar_one()) == len(load_ids)

    # -- changes of tables

    def _lock_view(self, connection: sa.Connection, table: str) -> None:
        """Lock the view and what is below it in the order in which its readers do: no deadlock with them."""
        if not self._database.is_sqlite and table in sa.inspect(connection).get_view_names():
            connection.exec_driver_sql(f"LOCK TABLE {self._database.quote(table)} IN ACCESS EXCLUSIVE MODE")

    def _add_dimensions(self, connection: sa.Connection, wanted: Mapping[str, str]) -> None:
        there = {column["name"].lower() for column in sa.inspect(connection).get_columns(VISIBLE.name)}
        for name, python_type in wanted.items():
            if _dimension_column(name).lower() not in there:
                sql_type = _DIMENSION_TYPES[python_type].compile(connection.dialect)
                quoted = self._database.quote(_dimension_column(name))
                connection.exec_driver_sql(f"ALTER TABLE {VISIBLE.name} ADD COLUMN {quoted} {sql_type}")

    def _create(self, connection: sa.Connection, table: str) -> None:
        inspector = sa.inspect(connection)
        wanted = {table.lower(), rows_table(table).lower()}
        for name in (*inspector.get_table_names(), *inspector.get_view_names()):
            if name.lower() in wanted:
                raise InvalidInputError(
                    f"the database has a table or view {name!r} already, and {table!r} needs the name",
                    hint=_MADE_BY_US,
                    kind=ErrorKind.NAME,
                )
        rows = sa.Table(
            rows_table(table),
            sa.MetaData(),
            sa.Column("qio_load", _Uuid, primary_key=True),
            sa.Column(ROW, sa.BigInteger, primary_key=True, autoincrement=False),
            *([sa.Column(FLOATS, sa.LargeBinary)] if self._database.is_sqlite else []),
        )
        rows.create(connection)
        connection.execute(sa.insert(_TABLES).values(table_name=table, dimensions="{}"))

    def _add(self, connection: sa.Connection, table: str, column: StoredColumn, place: int) -> None:
        sql_type = column.sql_type.compile(connection.dialect)
        quoted_table, name = self._database.quote(rows_table(table)), self._database.quote(column.name)
        connection.exec_driver_sql(f"ALTER TABLE {quoted_table} ADD COLUMN {name} {sql_type}")
        connection.execute(
            sa.insert(COLUMNS).values(
                table_name=table, column_name=column.name, place=place, shape=column.shape, type=column.type
            )
        )

    def _dimensions(self, connection: sa.Connection, table: str) -> dict[str, str]:
        text = connection.execute(
            sa.select(_TABLES.c.dimensions).where(_TABLES.c.table_name == table)
        ).scalar_one()
        found: dict[str, str] = json.loads(text)
        return found

    def _make_view(self, connection: sa.Connection, table: str) -> None:
        """Make the view, with its columns where they were: PostgreSQL only lets new ones be appended."""
        inspector = sa.inspect(connection)
        there: list[str] = []
        if table in inspector.get_view_names():
            there = [column["name"] for column in inspector.get_columns(table)]
        stored = self.look(connection, table)
        names = (column.name for column in stored.values())
        rows = sa.table(rows_table(table), sa.column("qio_load"), *(sa.column(name) for name in names))
        dimensions = self._dimensions(connection, table)
        visible = sa.table(
            VISIBLE.name, *map(_unbound, VISIBLE.c), *map(sa.column, map(_dimension_column, dimensions))
        )
        columns = _view_columns(dimensions, stored, rows, visible)
        moved = [name for name in columns if name.startswith("qio_") and name not in there]
        order = [
            *(name for name in there if name in columns),
            *(name for name in columns if name not in there),
        ]
        statement = sa.select(*(columns[name].label(name) for name in order)).select_from(
            rows.join(visible, visible.c.qio_load == rows.c.qio_load)
        )
        sql = statement.compile(connection.engine, compile_kwargs={"literal_binds": True})
        view = self._database.quote(table)
        replaces = not self._database.is_sqlite and not moved
        if there and not replaces:
            connection.exec_driver_sql(f"DROP VIEW {view}")
        connection.exec_driver_sql(f"CREATE {'OR REPLACE ' if replaces else ''}VIEW {view} AS {sql}")


def _dimension_column(dimension: str) -> str:
    return f"dim_{dimension}"[:63]


def _unbound(column: sa.Column[Any]) -> sa.ColumnClause[Any]:
    """Return a column without its table, to stand in another view of the same table."""
    return sa.column(column.name, column.type)


def _view_columns(
    dimensions: Iterable[str],
    stored: Mapping[str, StoredColumn],
    rows: sa.TableClause,
    visible: sa.TableClause,
) -> dict[str, sa.ColumnElement[Any]]:
    """Return the columns of the view; ours gets ``qio_`` in front where the rows have one of its name."""
    ours: dict[str, sa.ColumnElement[Any]] = {
        name: visible.c[name] for name in ("dataset_id", "version", "run")
    }
    for name in dimensions:
        ours.setdefault(name, visible.c[_dimension_column(name)])
    named = {f"qio_{name}" if name.lower() in stored else name: column for name, column in ours.items()}
    return {**named, **{column.name: rows.c[column.name] for column in stored.values()}}
