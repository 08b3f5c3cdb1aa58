"""What SQLite and PostgreSQL do differently, all in one place: types, names, sets of rows, patterns."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID, SafeUUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.operators import custom_op

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "BIG_INTEGER",
    "BINARY",
    "BINARY_UUID",
    "FLAG",
    "REAL",
    "STRICT",
    "TEXT",
    "VALUE_TYPES",
    "PostgresqlRules",
    "Rules",
    "SqliteRules",
    "bound",
    "identifier",
    "raw",
    "rules_for",
]


class _BinaryUuid(sa.types.TypeDecorator[UUID]):
    """A UUID in 16 bytes: BLOB on SQLite, UUID on PostgreSQL; both keep the order of version 7."""

    impl: sa.types.TypeEngine[Any] | type[sa.types.TypeEngine[Any]] = sa.LargeBinary
    cache_ok: bool | None = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.UUID(as_uuid=True))
        return dialect.type_descriptor(sa.LargeBinary(16))

    def process_bind_param(self, value: UUID | None, dialect: sa.Dialect) -> Any:
        return value if value is None or dialect.name == "postgresql" else value.bytes

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> UUID | None:
        return value if value is None or dialect.name == "postgresql" else UUID(bytes=value)


# SQLite's STRICT tables know INTEGER, REAL, TEXT and BLOB only. Texts compare by their bytes on both.
BINARY_UUID: sa.types.TypeEngine[UUID] = _BinaryUuid()
BIG_INTEGER: sa.types.TypeEngine[int] = sa.BigInteger().with_variant(sa.INTEGER(), "sqlite")
REAL: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
BINARY: sa.types.TypeEngine[bytes] = sa.LargeBinary()
TEXT: sa.types.TypeEngine[str] = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
FLAG: sa.types.TypeEngine[bool] = sa.Boolean().with_variant(sa.INTEGER(), "sqlite")
VALUE_TYPES: Mapping[str, sa.types.TypeEngine[Any]] = {
    "int": BIG_INTEGER,
    "str": TEXT,
    "float": REAL,
    "bool": FLAG,
}
STRICT: Mapping[str, Any] = {"sqlite_strict": True}

_SCHEMA = "SELECT version_num FROM alembic_version"
_slots: Final[Any] = UUID
_set_int, _set_is_safe = _slots.int.__set__, _slots.is_safe.__set__
_UNKNOWN: Final = SafeUUID.unknown  # an enumeration takes its time to tell a member
_NAME_BYTES = 63  # PostgreSQL cuts longer names
_LIKE_SPECIAL = re.compile(r"([\\%_])")


def raw(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return a column whose values are left as the driver gives and takes them."""
    return sa.type_coerce(column, sa.types.NullType())


def bound(value: Any, kind: sa.types.TypeEngine[Any]) -> sa.ColumnElement[Any]:
    """Return a value as a parameter, if it is none yet."""
    return value if isinstance(value, sa.ColumnElement) else sa.literal(value, kind)


def identifier(prefix: str, name: str) -> str:
    """Return the name of a table or column for a user's name, unique on both databases.

    SQLite does not tell upper from lower case and PostgreSQL cuts long names: both get a digest.
    """
    plain = prefix + name
    if plain == plain.lower() and len(plain) <= _NAME_BYTES:
        return plain
    digest = hashlib.sha256(name.encode()).hexdigest()[:10]
    return f"{plain.lower()[: _NAME_BYTES - 11]}_{digest}"


class Rules(Protocol):
    """What the rest of the room must know of a database."""

    name: str
    begin_snapshot: str
    """Begins a transaction that only reads, always the same moment."""
    begin_write: str
    """Run at the begin of a write transaction; may be empty."""
    exclude: str
    """Run by who changes the schema: waits for those who have asked for it, and lets nobody else ask."""
    copies: bool
    """Whether the driver has COPY for rows that are new."""
    most_dimensions: int | None
    """Of a dataset type: as many as fit into the keys of its tables. None is as many as one likes."""

    def __hash__(self) -> int:
        """Return the hash: statements are cached by them."""

    def schema(self, cursor: Any, begin: str) -> str:
        """Begin a transaction, and return the schema in it, which nobody changes until it ends."""

    def cursor(self, connection: Any) -> Any:
        """Return a cursor of the driver for one statement, which gives values in their quickest form."""

    def uuid_in(self, value: UUID) -> Any:
        """Return what the driver takes for a UUID."""

    def uuids_in(self, values: Sequence[bytes]) -> Sequence[Any]:
        """Return what the driver takes for UUIDs of 16 bytes each."""

    def uuid_out(self, value: Any) -> UUID:
        """Return the UUID of what the driver gives."""

    def greatest(self, one: sa.ColumnElement[int], other: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
        """Return the greater of two numbers, as SQL."""

    def latest(
        self,
        columns: Sequence[sa.ColumnElement[Any]],
        keys: Sequence[sa.ColumnElement[Any]],
        version: sa.ColumnElement[Any],
    ) -> sa.Select[Any]:
        """Return a SELECT that leaves of the rows with equal keys the one with the greatest version.

        The version, the column ``v``, is among the columns. Conditions that are added hold for the rows
        before that.
        """

    def gathered(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """Return all values of a column of a subquery, none of them NULL, as one; see `spread`.

        Those of several columns of the same subquery come in the same order.
        """

    def spread(self, value: Any, kind: sa.types.TypeEngine[Any]) -> Any:
        """Return the values that were gathered: an Arrow array of integers or texts, or digits of UUIDs."""

    def filtered(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """Return a column to compare with a value that no index is asked for."""

    def joined(self, column: sa.ColumnElement[str], separator: str) -> sa.ColumnElement[str]:
        """Return the texts of a column, in any order, as one; NULL where there is none."""

    def in_page_order(
        self, statement: sa.Select[Any], ordered: Callable[[sa.Select[Any]], sa.Select[Any]]
    ) -> Sequence[sa.ColumnElement[Any]]:
        """Return the columns of a statement to gather, which joins others to an ordered page, in its order.

        ``ordered`` orders the statement so.
        """

    def now(self) -> sa.ColumnElement[int]:
        """Return the time by the database's own clock, ns since 1970-01-01 UTC, as SQL.

        It is evaluated once in a statement, so that an index can be asked with it.
        """

    def insert(self, table: sa.Table) -> Any:
        """Return an INSERT that knows ``ON CONFLICT``."""

    def new_ids(self, connection: sa.Connection, column: sa.Column[Any], count: int) -> Sequence[int]:
        """Return so many numbers for new rows of a key that counts by itself, in a write transaction."""

    def rows(self, name: str, types: Mapping[str, str], value: str | None = None) -> sa.Subquery:
        """Return a table made of the one parameter ``name``, filled by `rows_value` (here, or when it runs).

        Its columns are those of ``types`` (``int`` and ``str``).
        """

    def broken_references(self, connection: sa.Connection, tables: Iterable[sa.Table]) -> list[str]:
        """Return, for people, which tables have rows that name others that are not there.

        ``tables`` are those whose references the database may not check by itself.
        """

    def rows_value(self, rows: Iterable[Sequence[Any]], types: Mapping[str, str]) -> str:
        """Return the parameter of `rows`: a set of any size, in one statement that never changes."""

    def glob(self, column: sa.ColumnElement[str], pattern: str) -> sa.ColumnElement[bool]:
        """Match ``*``, ``?`` and ``[...]``, case-sensitive."""

    def like(self, column: sa.ColumnElement[str], pattern: str) -> sa.ColumnElement[bool]:
        r"""Match ``%`` and ``_``, case-sensitive; a backslash takes the next character as it is."""


def _texts(value: str) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.split_pattern(pa.array([value]), "\0").flatten()


def _only(row: tuple[Any] | None) -> str:
    return str(row[0]) if row is not None else ""  # the schema of nobody


def _broken(table: str, parent: str, number: int) -> str:
    return f"{number} rows of the table {table} name rows of {parent} that are not there"


def _once(expression: str) -> sa.ColumnElement[int]:
    return sa.select(sa.literal_column(expression, BIG_INTEGER)).scalar_subquery()


def _parameter(name: str, value: str | None) -> sa.BindParameter[str]:
    if value is None:
        return sa.bindparam(name, type_=sa.Text())
    return sa.bindparam(name, value, type_=sa.Text(), unique=True)


def _like_parts(pattern: str) -> list[tuple[str, bool]]:
    """Return characters with whether each is a wildcard."""
    parts: list[tuple[str, bool]] = []
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            parts.append((next(characters, "\\"), False))
        else:
            parts.append((character, character in "%_"))
    return parts


class SqliteRules:
    """SQLite, as an embedded registry."""

    name = "sqlite"
    begin_snapshot = "BEGIN"
    begin_write = ""
    copies = False
    most_dimensions: int | None = None
    exclude = ""  # there is one writer at a time, and a reader sees one moment

    def schema(self, cursor: Any, begin: str) -> str:
        if begin:
            cursor.execute(begin)
        return _only(cursor.execute(_SCHEMA).fetchone())

    def cursor(self, connection: Any) -> Any:
        return connection.cursor()

    def uuid_in(self, value: UUID) -> Any:
        return value.bytes

    def uuids_in(self, values: Sequence[bytes]) -> Sequence[Any]:
        return values

    def uuid_out(self, value: Any) -> UUID:
        # What UUID(bytes=value) does but for its checks, which take longer than all else of a ref.
        made = object.__new__(UUID)
        _set_int(made, int.from_bytes(value))
        _set_is_safe(made, _UNKNOWN)
        return made

    def greatest(self, one: sa.ColumnElement[int], other: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
        return sa.func.max(one, other, type_=BIG_INTEGER)

    def latest(
        self,
        columns: Sequence[sa.ColumnElement[Any]],
        keys: Sequence[sa.ColumnElement[Any]],
        version: sa.ColumnElement[Any],
    ) -> sa.Select[Any]:
        # SQLite promises that the other columns are those of the row that has the maximum.
        greatest = sa.func.max(version).label("v")
        selected = [greatest if column is version else column for column in columns]
        return sa.select(*selected).group_by(*keys)

    def gathered(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        if isinstance(column.type, sa.types.NullType):
            # SQLite joins bytes as they are, and one call of hex is quicker than one for each row.
            return sa.func.hex(sa.func.group_concat(column, ""))
        if isinstance(column.type, sa.types.Integer):
            return sa.func.group_concat(column)
        return sa.func.group_concat(column, sa.func.char(0))  # no text in a registry has a NUL

    def spread(self, value: Any, kind: sa.types.TypeEngine[Any]) -> Any:
        import pyarrow as pa

        if isinstance(kind, sa.types.NullType):
            return value.lower()
        if isinstance(kind, sa.types.Integer):
            return pa.array(np.fromstring(value, np.int64, sep=","))
        return _texts(value)

    def filtered(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        # Where a part of a key is constant but not the parts before it, SQLite does not see that rows come in
        # the order of the key, and sorts all of them for each page.
        return sa.UnaryExpression(column, operator=custom_op("+"), type_=column.type)

    def joined(self, column: sa.ColumnElement[str], separator: str) -> sa.ColumnElement[str]:
        return sa.func.group_concat(column, separator, type_=TEXT)

    def in_page_order(
        self, statement: sa.Select[Any], ordered: Callable[[sa.Select[Any]], sa.Select[Any]]
    ) -> Sequence[sa.ColumnElement[Any]]:
        del (
            ordered
        )  # SQLite joins row by row, so that the order is that of the page; it would sort them again
        return list(statement.subquery("joined").c)

    def now(self) -> sa.ColumnElement[int]:
        # to the millisecond; unixepoch('subsec') is not known to every SQLite that Python brings
        return _once("CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000000")

    def insert(self, table: sa.Table) -> Any:
        return sqlite.insert(table)

    def new_ids(self, connection: sa.Connection, column: sa.Column[Any], count: int) -> Sequence[int]:
        # as SQLite itself counts; nobody else writes meanwhile
        last = connection.execute(sa.select(sa.func.max(column))).scalar() or 0
        return range(last + 1, last + 1 + count)

    def rows(self, name: str, types: Mapping[str, str], value: str | None = None) -> sa.Subquery:
        each = sa.func.json_each(_parameter(name, value)).table_valued("value", name=f"{name}_json")
        columns = [
            sa.func.json_extract(
                each.c.value, sa.literal_column(f"'$[{index}]'"), type_=VALUE_TYPES[kind]
            ).label(key)
            for index, (key, kind) in enumerate(types.items())
        ]
        return sa.select(*columns).subquery(name)

    def broken_references(self, connection: sa.Connection, tables: Iterable[sa.Table]) -> list[str]:
        del tables  # it looks at all
        statement = (
            'SELECT "table", parent, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2 ORDER BY 1, 2'
        )
        return [_broken(*found) for found in connection.exec_driver_sql(statement)]

    def rows_value(self, rows: Iterable[Sequence[Any]], types: Mapping[str, str]) -> str:
        return json.dumps([list(row) for row in rows])

    def glob(self, column: sa.ColumnElement[str], pattern: str) -> sa.ColumnElement[bool]:
        return column.op("GLOB", is_comparison=True)(sa.literal(pattern, sa.Text()))

    def like(self, column: sa.ColumnElement[str], pattern: str) -> sa.ColumnElement[bool]:
        # SQLite's LIKE ignores the case of ASCII letters; its GLOB does not.
        signs = {"%": "*", "_": "?"}
        glob = "".join(
            signs[character] if wild else f"[{character}]" if character in "*?[" else character
            for character, wild in _like_parts(pattern)
        )
        return self.glob(column, glob)


class PostgresqlRules:
    """PostgreSQL, as a shared registry."""

    name = "postgresql"
    begin_snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    # Who stands still is ended before those who wait for it give up; 5 s ended processes that were only busy.
    begin_write = (
        "SET LOCAL synchronous_commit = on; "
        "SET LOCAL lock_timeout = '30s'; "
        "SET LOCAL idle_in_transaction_session_timeout = '20s'"
    )
    copies = True
    most_dimensions: int | None = 28  # a key has at most 32 columns
    exclude = "LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE"

    def schema(self, cursor: Any, begin: str) -> str:
        # One message to the server. The lock comes first: a snapshot that was taken before it could be of the
        # old schema, and its tables those of the new one.
        cursor.execute(f"{begin}; LOCK TABLE alembic_version IN ACCESS SHARE MODE; {_SCHEMA}")
        while cursor.nextset():
            pass
        return _only(cursor.fetchone())

    def cursor(self, connection: Any) -> Any:
        return connection.cursor(binary=True)  # as texts, values take server and driver longer

    def uuid_in(self, value: UUID) -> Any:
        return value

    def uuids_in(self, values: Sequence[bytes]) -> Sequence[Any]:
        return [UUID(bytes=value) for value in values]

    def uuid_out(self, value: Any) -> UUID:
        return value if isinstance(value, UUID) else UUID(value)

    def greatest(self, one: sa.ColumnElement[int], other: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
        return sa.func.greatest(one, other, type_=BIG_INTEGER)

    def latest(
        self,
        columns: Sequence[sa.ColumnElement[Any]],
        keys: Sequence[sa.ColumnElement[Any]],
        version: sa.ColumnElement[Any],
    ) -> sa.Select[Any]:
        return sa.select(*columns).ext(postgresql.distinct_on(*keys)).order_by(*keys, version.desc())

    def gathered(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        if isinstance(column.type, sa.types.NullType):
            return sa.func.string_agg(sa.func.uuid_send(column), sa.literal(b"", BINARY))
        if isinstance(column.type, sa.types.Integer):
            return sa.func.string_agg(sa.func.int8send(column), sa.literal(b"", BINARY))
        # no text in a registry has a NUL
        return sa.func.string_agg(sa.func.convert_to(column, "UTF8"), sa.literal(b"\0", BINARY))

    def spread(self, value: Any, kind: sa.types.TypeEngine[Any]) -> Any:
        import pyarrow as pa

        if isinstance(kind, sa.types.NullType):
            return value.hex()
        if isinstance(kind, sa.types.Integer):
            return pa.array(np.frombuffer(value, ">i8").astype(np.int64))
        return _texts(value.decode())

    def filtered(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return column

    def joined(self, column: sa.ColumnElement[str], separator: str) -> sa.ColumnElement[str]:
        return sa.func.string_agg(column, separator, type_=TEXT)

    def in_page_order(
        self, statement: sa.Select[Any], ordered: Callable[[sa.Select[Any]], sa.Select[Any]]
    ) -> Sequence[sa.ColumnElement[Any]]:
        return list(ordered(statement).subquery("joined").c)

    def now(self) -> sa.ColumnElement[int]:
        # clock_timestamp, not now(): that stands still within a transaction, which may have waited for a lock
        return _once("CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) * 1000")

    def insert(self, table: sa.Table) -> Any:
        return postgresql.insert(table)

    def new_ids(self, connection: sa.Connection, column: sa.Column[Any], count: int) -> Sequence[int]:
        sequence = sa.func.pg_get_serial_sequence(column.table.name, column.name)
        each = sa.func.generate_series(1, count).table_valued("number", name="numbers")
        return connection.execute(sa.select(sa.func.nextval(sequence)).select_from(each)).scalars().all()

    def rows(self, name: str, types: Mapping[str, str], value: str | None = None) -> sa.Subquery:
        json_value = sa.cast(_parameter(name, value), postgresql.JSONB)
        columns = [
            sa.column(key, sa.BigInteger() if kind == "int" else sa.Text()) for key, kind in types.items()
        ]
        record = (
            sa.func.jsonb_to_recordset(json_value)
            .table_valued(*columns)
            .render_derived(name=f"{name}_json", with_types=True)
        )
        return sa.select(*(record.c[key] for key in types)).subquery(name)

    def broken_references(self, connection: sa.Connection, tables: Iterable[sa.Table]) -> list[str]:
        broken = []
        for table in tables:
            for constraint in sorted(table.foreign_key_constraints, key=lambda one: list(one.column_keys)):
                if not constraint.info:
                    continue  # PostgreSQL sees to it, whoever writes
                (element,) = constraint.elements
                there = sa.exists().where(element.column == element.parent)
                statement = sa.select(sa.func.count()).select_from(table).where(~there)
                if number := connection.execute(statement).scalar_one():
                    broken.append(_broken(table.name, element.column.table.name, number))
        return broken

    def rows_value(self, rows: Iterable[Sequence[Any]], types: Mapping[str, str]) -> str:
        keys = tuple(types)
        return json.dumps([dict(zip(keys, row, strict=True)) for row in rows])

    def glob(self, column: sa.ColumnElement[str], pattern: str) -> sa.ColumnElement[bool]:
        return column.op("~", is_comparison=True)(sa.literal(_regular_expression(pattern), sa.Text()))

    def like(self, column: sa.ColumnElement[str], pattern: str) -> sa.ColumnElement[bool]:
        like = "".join(
            character if wild else _LIKE_SPECIAL.sub(r"\\\1", character)
            for character, wild in _like_parts(pattern)
        )
        return column.like(sa.literal(like, sa.Text()), escape="\\")


def _regular_expression(glob: str) -> str:
    """Translate a glob to a POSIX regular expression of PostgreSQL (newlines are ordinary characters)."""
    out, index = [], 0
    while index < len(glob):
        character = glob[index]
        close = glob.find("]", index + 2) if character == "[" else -1
        if close > 0:
            inside = glob[index + 1 : close].replace("\\", "\\\\")
            out.append(f"[{inside}]")
            index = close
        else:
            out.append({"*": ".*", "?": "."}.get(character) or re.sub(r"(\W)", r"\\\1", character))
        index += 1
    return f"^{''.join(out)}$"


_RULES: Mapping[str, Rules] = {"postgresql": PostgresqlRules(), "sqlite": SqliteRules()}


def rules_for(name: str) -> Rules:
    """Return the rules of a dialect by SQLAlchemy's name of it (checked when the URL was read)."""
    return _RULES[name]
