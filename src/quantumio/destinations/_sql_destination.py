"""Tables of datasets in a database: loaded in chunks, verified, invisible until revealed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from quantumio.destinations._failures import read_only
from quantumio.destinations._row_checksum import RowChecksum
from quantumio.destinations._sql_columns import StoredColumn, stored_columns
from quantumio.destinations._sql_engine import Database
from quantumio.destinations._sql_tables import (
    CHUNKS,
    FLOATS,
    LOADED,
    LOADS,
    ROW,
    VISIBLE,
    Tables,
    check_beside_registry,
    check_table_name,
    rows_table,
)
from quantumio.destinations._sql_values import check_values, decode, encode
from quantumio.errors import ConflictError, DestinationError, ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import DataId, DatasetRef, check_identifier
from quantumio.ports import LoadedRows

__all__ = ["DatabaseDestination"]

_CHUNK_ROWS: Final = 10_000
_CHUNK_BYTES: Final = 16 << 20
_LOADING: Final = "loading"


class DatabaseDestination:
    """Rows of table datasets in a database, tagged with a load id (`quantumio.ports.TableDestination`).

    Parameters
    ----------
    name
        In the policy.
    database
        Where they are.
    readonly
        Whether changes are refused.
    schema
        Of PostgreSQL, where it is made with the first table.
    in_registry
        Whether the registry has its tables in the same database (`quantumio.ports.RegistryTables`).

    Notes
    -----
    A table ``t`` has the base table ``t_rows`` with the rows of all loads, and the view ``t`` over the
    revealed ones, with ``dataset_id``, ``version``, ``run`` and the dimensions of the data ID. Where the
    rows have a column of such a name, ours is called ``qio_<name>``. How Arrow types are kept is told in
    `quantumio.destinations._sql_columns`. SQLite keeps neither NaN nor the sign of zero: they are kept
    beside the rows, in ``qio_floats``, and given back by `read`; plain SQL sees NULL and 0.
    """

    kind: Final = "database"

    def __init__(
        self,
        name: str,
        database: Database,
        *,
        readonly: bool = False,
        schema: str | None = None,
        in_registry: bool = False,
    ) -> None:
        self._name = name
        self._database = database
        self._readonly = readonly
        self._tables = Tables(database, schema=schema)
        self._shares_names = in_registry and schema is None

    @property
    def name(self) -> str:
        """Name in the policy."""
        return self._name

    @property
    def parallelism(self) -> int:
        """How many calls may usefully run at the same time: SQLite has one writer."""
        return 1 if self._database.is_sqlite else 4

    def close(self) -> None:
        """Close connections; idempotent."""
        self._database.close()

    def url(self, table: str) -> str:
        """Return where the table is, without user and secrets."""
        return f"{self._database.url()}#{check_table_name(table)}"

    # -- writing

    def check(self, table: str, rows: object) -> None:
        """Refuse rows that the table cannot take; see `quantumio.ports.TableDestination.check`.

        A database that cannot be reached now is no reason to refuse: `load` compares again.
        """
        columns = stored_columns(self._check_name(table), _arrow(rows).schema)
        if self._tables.lacks(table, columns) and self._database.exists():
            try:
                with self._database.read(f"reading the columns of {table}") as connection:
                    if not self._tables.look(connection, table):
                        self._tables.check_schema(connection)
            except DestinationError:
                pass
        self._tables.compare(table, columns, self._tables.known(table))

    def load(self, table: str, rows: object, load_id: UUID) -> LoadedRows:
        """Write rows, tagged and verified; see `quantumio.ports.TableDestination.load`."""
        self._refuse_if_readonly("loading rows")
        arrow = _arrow(rows)
        columns = stored_columns(self._check_name(table), arrow.schema)
        check_values(table, arrow, columns)
        self._tables.ensure(table, columns)
        chunk_rows = max(1, min(_CHUNK_ROWS, _CHUNK_BYTES * arrow.num_rows // max(1, arrow.nbytes)))
        checksum = RowChecksum()
        for _, values in _chunks(arrow, columns, chunk_rows):
            checksum.add(columns, values)
        state, chunk_rows = self._begin(table, arrow, load_id, chunk_rows, checksum.hexadecimal())
        if state != LOADED:
            done = self._finished_chunks(load_id)
            for number, values in _chunks(arrow, columns, chunk_rows):
                if number not in done:
                    self._load_chunk(table, columns, load_id, number, number * chunk_rows, values)
            self._verify(table, columns, load_id, checksum)
        return LoadedRows(rows=arrow.num_rows, nbytes=arrow.nbytes, checksum=checksum.hexadecimal())

    def reveal(self, table: str, load_id: UUID, ref: DatasetRef) -> None:
        """Make the rows of a load visible; see `quantumio.ports.TableDestination.reveal`.

        Raises
        ------
        NotFoundError
            There is no complete load of this id.
        ConflictError
            It was revealed as another dataset.
        """
        self._refuse_if_readonly("revealing rows")
        check_table_name(table)
        if ref.version is None:
            raise InvalidInputError(f"{ref} has no version yet", hint="commit it first")
        values = {"dataset_id": ref.id, "version": ref.version}
        if not self._database.exists():
            raise self._no_load(table, load_id)
        with self._database.read(f"looking for rows of {table}") as connection:
            self._complete_load(connection, table, load_id)
        self.make_ready(table, ref.data_id)
        with self._database.write(f"revealing {table}") as connection:
            there = connection.execute(sa.select(VISIBLE).where(VISIBLE.c.qio_load == load_id)).one_or_none()
            if there is not None:
                if {name: getattr(there, name) for name in values} != values:
                    raise ConflictError(
                        f"the rows {load_id} of table {table!r} are visible as {there.dataset_id} "
                        f"v{there.version}, not as {ref.id} v{ref.version}",
                        hint="a load belongs to one dataset",
                    )
                return
            row = {"qio_load": load_id, "table_name": table, "run": ref.run, **values}
            self._tables.show(connection, row, ref.data_id)

    def make_ready(self, table: str, data_id: DataId) -> None:
        """Let the table show the dimensions; see `quantumio.ports.RegistryTables.make_ready`."""
        self._refuse_if_readonly("changing a table")
        for dimension in data_id:
            check_identifier(dimension, "dimension")
        self._tables.know_dimensions(table, data_id)

    def reveal_in(self, transaction: object, revealed: Sequence[tuple[str, UUID, DatasetRef]]) -> None:
        """Reveal in a transaction of the registry; see `quantumio.ports.RegistryTables.reveal_in`."""
        self._refuse_if_readonly("revealing rows")
        assert isinstance(transaction, sa.Connection)
        if not self._tables.are_loaded(transaction, {load_id for _, load_id, _ in revealed}):
            names = ", ".join(sorted({table for table, _, _ in revealed}))
            raise DestinationError(
                f"destination {self._name!r}: rows of {names} that were loaded are not there any more",
                hint="find out who changes quantumio's tables",
                kind=ErrorKind.CORRUPT,
            )
        for table, load_id, ref in revealed:
            row = {
                "qio_load": load_id,
                "table_name": table,
                "dataset_id": ref.id,
                "version": ref.version,
                "run": ref.run,
            }
            self._tables.show(transaction, row, ref.data_id)

    def remove_load(self, table: str, load_id: UUID) -> None:
        """Remove the rows of a load, visible or not; none is no error."""
        self._refuse_if_readonly("removing rows")
        check_table_name(table)
        if not self._database.exists():
            return
        with self._database.write(f"removing rows of {table}") as connection:
            if not self._tables.look(connection, table):
                return
            rows = sa.table(rows_table(table), sa.column("qio_load", LOADS.c.qio_load.type))
            for part in (rows, VISIBLE, CHUNKS, LOADS):  # the order of the view: no deadlock with its changes
                connection.execute(sa.delete(part).where(part.c.qio_load == load_id))

    def hidden_loads(self) -> Iterator[tuple[str, UUID]]:
        """List table and load id of the rows that were not revealed."""
        if not self._database.exists():
            return
        seen = sa.select(VISIBLE.c.qio_load).where(VISIBLE.c.qio_load == LOADS.c.qio_load).exists()
        statement = sa.select(LOADS.c.table_name, LOADS.c.qio_load).where(~seen).order_by(LOADS.c.qio_load)
        with self._database.read("looking for rows that nobody sees") as connection:
            has_loads = sa.inspect(connection).has_table(LOADS.name)
            rows = connection.execute(statement).all() if has_loads else []
        yield from ((row.table_name, row.qio_load) for row in rows)

    # -- reading

    def read(self, table: str, load_id: UUID, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of a load as they were loaded; see `quantumio.ports.TableDestination.read`.

        Raises
        ------
        DestinationError
            Rows were changed or lost since (``kind="corrupt"``).
        """
        check_table_name(table)
        if not self._database.exists():
            raise self._no_database(table)
        with self._database.read(f"reading {table}") as connection:
            found = self._complete_load(connection, table, load_id)
            schema = pa.ipc.read_schema(pa.py_buffer(found.arrow_schema))
            stored = stored_columns(table, schema)
            wanted = _selection(table, schema, columns)
            checksum = RowChecksum()
            fields = [schema.field(index) for index in wanted]
            chosen = [stored[index] for index in wanted]
            parts: list[list[pa.Array]] = [[] for _ in wanted]
            for values in self._fetch(connection, table, stored, load_id, chosen):
                checksum.add(chosen, values)
                for part, sequence, column, field in zip(parts, values, chosen, fields, strict=True):
                    part.append(decode(sequence, column, field.type))
        whole = columns is None  # a part of the columns has no checksum of its own
        if checksum.rows != found.row_count or (whole and checksum.hexadecimal() != found.checksum):
            raise self._changed(table, load_id)
        arrays = [pa.chunked_array(part, field.type) for part, field in zip(parts, fields, strict=True)]
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields, schema.metadata))

    # -- inside

    def _check_name(self, table: str) -> str:
        check_table_name(table)
        return check_beside_registry(table) if self._shares_names else table

    def _begin(
        self, table: str, rows: pa.Table, load_id: UUID, chunk_rows: int, checksum: str
    ) -> tuple[str, int]:
        """Note the load, or find it noted; return its state and the size of its chunks."""
        with self._database.write(f"loading {table}") as connection:
            note = self._insert_new(LOADS).values(
                qio_load=load_id,
                table_name=table,
                row_count=rows.num_rows,
                chunk_rows=chunk_rows,
                arrow_schema=rows.schema.serialize().to_pybytes(),
                checksum=checksum,
                state=_LOADING,
            )
            connection.execute(note)  # another attempt may have been first
            found = connection.execute(sa.select(LOADS).where(LOADS.c.qio_load == load_id)).one()
            if (found.table_name, found.row_count, found.checksum) != (table, rows.num_rows, checksum):
                raise DestinationError(
                    f"destination {self._name!r}: the load {load_id} is there with other rows",
                    hint="a load id is used for one output only",
                    kind=ErrorKind.CORRUPT,
                )
            return found.state, found.chunk_rows

    def _insert_new(self, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
        """Return the insertion of a row unless its key is there."""
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        return insert(table).on_conflict_do_nothing()

    def _finished_chunks(self, load_id: UUID) -> set[int]:
        with self._database.read("reading chunks") as connection:
            return set(
                connection.execute(sa.select(CHUNKS.c.chunk).where(CHUNKS.c.qio_load == load_id)).scalars()
            )

    def _load_chunk(
        self,
        table: str,
        columns: Sequence[StoredColumn],
        load_id: UUID,
        number: int,
        first_row: int,
        values: list[list[Any]],
    ) -> None:
        """Write a chunk and its key in one transaction; a chunk that is there is left alone."""
        with self._database.write(f"loading {table}") as connection:
            chunk = self._insert_new(CHUNKS).values(qio_load=load_id, chunk=number)
            if connection.execute(chunk.returning(CHUNKS.c.chunk)).first() is None:
                return  # another attempt was faster
            row_numbers = range(first_row, first_row + len(values[0]))
            raw = connection.connection.driver_connection
            if self._database.is_sqlite:
                self._insert(raw, table, columns, load_id, row_numbers, values)
            else:
                self._copy(raw, table, columns, load_id, row_numbers, values)

    def _insert(
        self,
        raw: Any,
        table: str,
        columns: Sequence[StoredColumn],
        load_id: UUID,
        row_numbers: range,
        values: list[list[Any]],
    ) -> None:
        names = ", ".join(map(self._database.quote, ("qio_load", ROW, FLOATS, *(c.name for c in columns))))
        marks = ", ".join("?" * (len(columns) + 3))
        tag = load_id.bytes
        plain = [
            [None if day is None else day.isoformat() for day in sequence]
            if column.shape == "date"
            else sequence
            for column, sequence in zip(columns, values, strict=True)
        ]
        rows = zip(row_numbers, _unkeepable(columns, values), *plain, strict=True)
        statement = f"INSERT INTO {self._database.quote(rows_table(table))} ({names}) VALUES ({marks})"  # noqa: S608 - identifiers, quoted by the dialect
        raw.executemany(statement, ((tag, *row) for row in rows))

    def _copy(
        self,
        raw: Any,
        table: str,
        columns: Sequence[StoredColumn],
        load_id: UUID,
        row_numbers: range,
        values: list[list[Any]],
    ) -> None:
        names = ", ".join(map(self._database.quote, ("qio_load", ROW, *(c.name for c in columns))))
        statement = f"COPY {self._database.quote(rows_table(table))} ({names}) FROM STDIN (FORMAT BINARY)"
        with raw.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(["uuid", "int8", *(column.copy_type for column in columns)])
            for row in zip(row_numbers, *values, strict=True):
                copy.write_row((load_id, *row))

    def _verify(
        self, table: str, columns: Sequence[StoredColumn], load_id: UUID, expected: RowChecksum
    ) -> None:
        """Read all rows back, compare, and note the load as complete."""
        actual = RowChecksum()
        with self._database.read(f"verifying {table}") as connection:
            for values in self._fetch(connection, table, columns, load_id, columns):
                actual.add(columns, values)
        if (actual.rows, actual.hexadecimal()) != (expected.rows, expected.hexadecimal()):
            raise self._changed(table, load_id)
        with self._database.write(f"loading {table}") as connection:
            connection.execute(sa.update(LOADS).where(LOADS.c.qio_load == load_id).values(state=LOADED))

    def _fetch(
        self,
        connection: sa.Connection,
        table: str,
        stored: Sequence[StoredColumn],
        load_id: UUID,
        chosen: Sequence[StoredColumn],
    ) -> Iterator[list[Any]]:
        """Yield chosen columns of rows in their order, in chunks of one sequence for each column."""
        rows = sa.table(
            rows_table(table),
            sa.column("qio_load", LOADS.c.qio_load.type),
            *(sa.column(name) for name in (ROW, FLOATS)),
            *(sa.column(column.name) for column in stored),
        )
        flags = rows.c[FLOATS] if self._database.is_sqlite else sa.null()
        query = (
            sa.select(flags, *(rows.c[column.name] for column in chosen))
            .where(rows.c.qio_load == load_id)
            .order_by(rows.c[ROW])
        )
        result = connection.execution_options(stream_results=True, max_row_buffer=_CHUNK_ROWS).execute(query)
        for partition in result.partitions(_CHUNK_ROWS):
            bitmaps, *values = (list(sequence) for sequence in zip(*partition, strict=True))
            _restore(stored, chosen, bitmaps, values)
            yield values

    def _complete_load(self, connection: sa.Connection, table: str, load_id: UUID) -> sa.Row[Any]:
        if self._tables.known(table) or self._tables.look(connection, table):
            query = sa.select(LOADS).where(
                LOADS.c.qio_load == load_id, LOADS.c.table_name == table, LOADS.c.state == LOADED
            )
            found = connection.execute(query).one_or_none()
            if found is not None:
                return found
        raise self._no_load(table, load_id)

    def _no_load(self, table: str, load_id: UUID) -> NotFoundError:
        return NotFoundError(
            f"destination {self._name!r} has no complete load {load_id} of table {table!r}",
            hint="look who removes rows there",
            kind=ErrorKind.NO_FILE,
        )

    def _no_database(self, table: str) -> NotFoundError:
        return NotFoundError(
            f"destination {self._name!r} has no table {table!r}: there is no {self._database.url()}",
            hint="nothing was loaded yet, or its disk is not mounted",
            kind=ErrorKind.UNREACHABLE,
        )

    def _changed(self, table: str, load_id: UUID) -> DestinationError:
        return DestinationError(
            f"destination {self._name!r}: the rows {load_id} of table {table!r} are not as they were loaded",
            hint="find out who changes rows of the base table",
            kind=ErrorKind.CORRUPT,
        )

    def _refuse_if_readonly(self, doing: str) -> None:
        if self._readonly:
            raise read_only(self._name, doing)


def _arrow(rows: object) -> pa.Table:
    if isinstance(rows, pa.Table):
        return rows
    raise InvalidInputError(
        f"{type(rows).__name__} is no table for a database",
        hint="give a pyarrow.Table",
        kind=ErrorKind.PYTHON_TYPE,
    )


def _selection(table: str, schema: pa.Schema, columns: Sequence[str] | None) -> list[int]:
    if columns is None:
        return list(range(len(schema)))
    unknown = [name for name in columns if name not in schema.names]
    if unknown:
        raise InvalidInputError(
            f"table {table!r} has no column {', '.join(map(repr, unknown))}",
            hint=f"it has {', '.join(schema.names)}",
        )
    return [schema.get_field_index(name) for name in columns]


def _chunks(
    rows: pa.Table, columns: Sequence[StoredColumn], chunk_rows: int
) -> Iterator[tuple[int, list[list[Any]]]]:
    for number, first in enumerate(range(0, rows.num_rows, chunk_rows)):
        yield number, encode(rows.slice(first, chunk_rows), columns)


def _float_matrix(columns: Sequence[StoredColumn], values: Iterable[Sequence[Any]]) -> np.ndarray | None:
    """Return which values SQLite cannot keep, by row: first whether NaN, then whether -0.0."""
    floats = [
        np.array([0.0 if value is None else value for value in sequence], np.float64)
        for column, sequence in zip(columns, values, strict=True)
        if column.is_float
    ]
    if not floats:
        return None
    matrix = np.column_stack(floats)
    return np.hstack([np.isnan(matrix), (matrix == 0) & np.signbit(matrix)])


def _unkeepable(columns: Sequence[StoredColumn], values: list[list[Any]]) -> list[bytes | None]:
    """Return for each row the bitmap of its values that SQLite cannot keep, None where it keeps all."""
    matrix = _float_matrix(columns, values)
    flags: list[bytes | None] = [None] * len(values[0])
    if matrix is not None:
        packed = np.packbits(matrix, axis=1)
        for index in np.flatnonzero(matrix.any(axis=1)):
            flags[index] = packed[index].tobytes()
    return flags


def _restore(
    stored: Sequence[StoredColumn],
    chosen: Sequence[StoredColumn],
    bitmaps: Sequence[bytes | None],
    values: list[list[Any]],
) -> None:
    """Put back what SQLite could not keep, where it was."""
    floats = [column for column in stored if column.is_float]
    targets = [values[chosen.index(column)] if column in chosen else None for column in floats]
    for row, bitmap in enumerate(bitmaps):
        if bitmap is None:
            continue
        for place in np.flatnonzero(np.unpackbits(np.frombuffer(bitmap, np.uint8), count=2 * len(floats))):
            target = targets[place % len(floats)]
            if target is not None:
                target[row] = math.nan if place < len(floats) else -0.0
