"""Dimension records: inserted in bulk, all or none, and never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa

from quantumio.errors import ConflictError, ErrorKind, InvalidInputError
from quantumio.model import DataId, DataIdValue, Timespan
from quantumio.ports import RecordComparison
from quantumio.registry._clock import Clock
from quantumio.registry._dialect import Rules
from quantumio.registry._engine import Database
from quantumio.registry._record_values import check_metadata, from_row, to_rows
from quantumio.registry._schema import COVER_LEVEL
from quantumio.registry._sky_cover import covered, fitting_level
from quantumio.registry._universe_schema import RecordTable, Tables

__all__ = ["DimensionRecords"]

_BATCH: Final = 2_000


class DimensionRecords:
    """Inserts records, and reads timespans from them."""

    def __init__(self, database: Database, tables: Tables, clock: Clock) -> None:
        self._database = database
        self._tables = tables
        self._clock = clock

    def insert(self, element: str, records: Sequence[Mapping[str, object]]) -> int:
        """Insert records; return how many were new."""
        table, rows = self._rows(element, records)
        self._database.check_writable()
        if not rows:
            return 0
        cells = self._cells(table, rows)
        with self._database.edit(f"inserting records of {element}") as connection:
            edit = self._clock.advance(connection)
            new, _, conflicts = self._new(connection, table, rows)
            if conflicts:
                raise conflicts[0]
            if new and table.element.spatial:
                _number(connection, table, new)
            # In parts: a session of PostgreSQL that is silent for seconds is ended.
            insert = self._database.prepare(_insert_statement, table.table)
            in_order = itemgetter(*insert.order)
            for row in new:
                row["added_seq"] = edit.seq
            for start in range(0, len(new), _BATCH):
                part = list(map(in_order, new[start : start + _BATCH]))
                self._database.execute_many(connection, insert, part)
            if table.cover is not None:
                _list_under(connection, table.cover, [(rows[at], cell) for at, cell in cells])
        return len(new)

    def compare(self, element: str, records: Sequence[Mapping[str, object]]) -> RecordComparison:
        """Return what would become of records."""
        table, rows = self._rows(element, records)
        new, there, conflicts = self._database.read(lambda connection: self._new(connection, table, rows))
        messages = tuple(conflict.message for conflict in conflicts)
        return RecordComparison(new=len(new), there=there, conflicts=messages)

    def _rows(self, element: str, records: object) -> tuple[RecordTable, list[dict[str, Any]]]:
        """Return the table of an element, and its rows of records, checked."""
        universe = self._tables.universe
        universe.element(element)
        table = self._tables.record(element)
        if isinstance(records, (str, bytes, Mapping)) or not isinstance(records, Iterable):
            raise InvalidInputError(
                f"records of {element} are given as {type(records).__name__}", hint="give a list of mappings"
            )
        return table, to_rows(universe, table, records)

    def _cells(self, table: RecordTable, rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
        """Return positions of rows that have regions, and the cells that these meet.

        They are found before the transaction, which nobody should have to wait for.
        """
        here = [number for number, row in enumerate(rows) if row.get("geometry") is not None]
        if not here:
            return []
        regions = [rows[number]["geometry"] for number in here]
        element = table.element.name
        statement = sa.select(COVER_LEVEL.c.level).where(COVER_LEVEL.c.element == element)
        level = self._database.read(lambda connection: connection.execute(statement).scalar())
        if level is None:
            insert = self._database.rules.insert(COVER_LEVEL).on_conflict_do_nothing()
            with self._database.write(f"choosing cells for {element}") as connection:
                connection.execute(insert, {"element": element, "level": fitting_level(regions)})
                level = connection.execute(statement).scalar_one()
        where, cells = covered(regions, level)
        return [(here[at], cell) for at, cell in zip(where.tolist(), cells.tolist(), strict=True)]

    def _new(
        self, connection: sa.Connection, table: RecordTable, rows: Sequence[dict[str, Any]]
    ) -> tuple[list[dict[str, Any]], int, list[ConflictError]]:
        """Return the rows that are not there yet, how many are, and what contradicts."""
        keys = [table.fields[key] for key in table.element.record_keys]
        there = self._there(connection, table, table.element.record_keys, rows)
        key_of = _values_of(keys)
        known = {key_of(row): row for row in there}
        new: list[dict[str, Any]] = []
        conflicts: list[ConflictError] = []
        for key, row in zip(map(key_of, rows), rows, strict=True):
            if (other := known.setdefault(key, row)) is row:
                new.append(row)
            elif (conflict := _difference(table, row, other)) is not None:
                conflicts.append(conflict)
        same = len(rows) - len(new) - len(conflicts)
        twins: set[int] = set()
        for field in table.element.unique:
            for number, conflict in self._twins(connection, table, field, new):
                twins.add(number)
                conflicts.append(conflict)
        return [row for number, row in enumerate(new) if number not in twins], same, conflicts

    def _twins(
        self, connection: sa.Connection, table: RecordTable, field: str, new: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[int, ConflictError]]:
        """Yield the places of rows whose value of an identifying field belongs to another record, and why."""
        fields = (*table.element.requires, field)
        columns = [table.fields[key] for key in fields]
        given = {number: row for number, row in enumerate(new) if row[columns[-1]] is not None}
        key_of = _values_of(columns)
        known = {key_of(row): row for row in self._there(connection, table, fields, list(given.values()))}
        for number, row in given.items():
            if (other := known.setdefault(key_of(row), row)) is not row:
                yield (
                    number,
                    ConflictError(
                        f"{field} {row[columns[-1]]!r} of {table.element.name} ({_key_text(table, row)}) "
                        f"belongs to ({_key_text(table, other)})",
                        hint=f"{field} identifies a record of {table.element.name}; nothing was inserted",
                    ),
                )

    def _there(
        self,
        connection: sa.Connection,
        table: RecordTable,
        fields: Sequence[str],
        rows: Sequence[Mapping[str, Any]],
    ) -> list[Mapping[str, Any]]:
        """Return the rows there are under the same values of some fields."""
        types = {table.fields[field]: table.kinds[field] for field in fields}
        wanted = self._database.rules.rows("wanted", types)
        same = sa.and_(*(table.table.c[column] == wanted.c[column] for column in types))
        statement = (
            sa.select(table.table)
            .select_from(wanted.join(table.table, same))
            .where(table.table.c.removed_seq.is_(None))
        )
        keys = dict.fromkeys(map(_values_of(list(types)), rows))
        value = self._database.rules.rows_value(keys, types)
        return list(connection.execute(statement, {"wanted": value}).mappings())  # type: ignore[arg-type]

    # -- keys
    def key(
        self, element: str, field: str, required: Mapping[str, DataIdValue], value: object
    ) -> DataIdValue | None:
        """Return the key of the record whose identifying metadata has a value."""
        table = self._tables.record(element)
        values = {table.fields[name]: required[name] for name in table.element.requires}
        values["value"] = check_metadata(table.kinds[field], value)
        rows = self._database.fetch(self._database.prepare(_key_statement, table, field), values)
        return rows[0][0] if rows else None

    # -- timespans
    def timespan(self, data_id: DataId) -> Timespan | None:
        """Return the timespan that the most specific temporal record of a data ID has."""
        for element in reversed(tuple(self._tables.universe.values())):
            if element.temporal and all(key in data_id for key in element.record_keys):
                table = self._tables.record(element.name)
                values = {table.fields[key]: data_id[key] for key in element.record_keys}
                for begin, end in self._database.fetch(
                    self._database.prepare(_span_statement, table), values
                ):
                    return Timespan(begin, end)
        return None

    def timespans(self, data_ids: Sequence[DataId]) -> list[Timespan | None]:
        """Return the `timespan` of each of many data IDs."""
        found: list[Timespan | None] = [None] * len(data_ids)
        rules = self._database.rules
        for element in reversed(tuple(self._tables.universe.values())):
            if not element.temporal:
                continue
            keys = {
                place: tuple([data_id[key] for key in element.record_keys])
                for place, data_id in enumerate(data_ids)
                if found[place] is None and all(key in data_id for key in element.record_keys)
            }
            if keys:
                table = self._tables.record(element.name)
                statement = self._database.prepare(_spans_statement, table, rules)
                asked = rules.rows_value(dict.fromkeys(keys.values()), _key_types(table))
                rows = self._database.fetch(statement, {"asked": asked})
                spans = {tuple(key): Timespan(begin, end) for begin, end, *key in rows}
                for place, key in keys.items():
                    found[place] = spans.get(key)
        return found


def _number(connection: sa.Connection, table: RecordTable, new: Sequence[dict[str, Any]]) -> None:
    """Give each new record a number of its own, under the clock."""
    greatest = connection.execute(sa.select(sa.func.max(table.table.c.record_id))).scalar_one()
    for number, row in enumerate(new, start=(greatest or 0) + 1):
        row["record_id"] = number


def _list_under(
    connection: sa.Connection, cover: sa.Table, cells: Sequence[tuple[Mapping[str, Any], int]]
) -> None:
    """List records under their cells: those that have got a number, which are new."""
    listed = [{"cell": cell, "record_id": row["record_id"]} for row, cell in cells if "record_id" in row]
    for start in range(0, len(listed), _BATCH):
        connection.execute(sa.insert(cover), listed[start : start + _BATCH])


def _values_of(columns: Sequence[str]) -> Callable[[Mapping[Any, Any]], tuple[Any, ...]]:
    """Return what takes the values of columns, in order, from a row."""
    if len(columns) > 1:
        return itemgetter(*columns)
    (column,) = columns
    return lambda row: (row[column],)


def _insert_statement(table: sa.Table) -> sa.Insert:
    columns = [column for column in table.c if column.name != "removed_seq"]
    return sa.insert(table).values(
        {column: sa.bindparam(column.name, type_=column.type) for column in columns}
    )


def _key_statement(table: RecordTable, field: str) -> sa.Select[Any]:
    columns, fields = table.table.c, table.fields
    return sa.select(columns[fields[table.element.name]]).where(
        *(columns[fields[key]] == sa.bindparam(fields[key]) for key in table.element.requires),
        columns[fields[field]] == sa.bindparam("value"),
        columns.removed_seq.is_(None),
    )


def _span_statement(table: RecordTable) -> sa.Select[Any]:
    columns = table.table.c
    return sa.select(columns.begin_ns, columns.end_ns).where(
        *(columns[table.fields[key]] == sa.bindparam(table.fields[key]) for key in table.element.record_keys),
        columns.removed_seq.is_(None),
        columns.begin_ns.is_not(None),
    )


def _key_types(table: RecordTable) -> dict[str, str]:
    return {table.fields[key]: table.kinds[key] for key in table.element.record_keys}


def _spans_statement(table: RecordTable, rules: Rules) -> sa.Select[Any]:
    columns, types = table.table.c, _key_types(table)
    asked = rules.rows("asked", types)
    same = sa.and_(*(columns[name] == asked.c[name] for name in types))
    return (
        sa.select(columns.begin_ns, columns.end_ns, *(columns[name] for name in types))
        .join(asked, same)
        .where(columns.removed_seq.is_(None), columns.begin_ns.is_not(None))
    )


def _key_text(table: RecordTable, row: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={row[table.fields[key]]!r}" for key in table.element.record_keys)


def _difference(table: RecordTable, row: Mapping[str, Any], other: Mapping[str, Any]) -> ConflictError | None:
    """Return what contradicts in two records under one key; None where nothing does."""
    given, there = from_row(table, row), from_row(table, other)
    for field, value in given.items():
        if there[field] != value:
            return ConflictError(
                f"{table.element.name} ({_key_text(table, row)}) is there "
                f"with {field}={_text(there[field])}, not {_text(value)}",
                hint="records are never changed; nothing was inserted",
                kind=ErrorKind.EXISTS,
            )
    return None


def _text(value: object) -> str:
    return str(value) if isinstance(value, Timespan) else repr(value)
