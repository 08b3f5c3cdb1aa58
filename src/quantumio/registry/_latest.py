"""The latest versions of keys, asked for under the clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from quantumio.registry._dialect import Rules
from quantumio.registry._engine import Database
from quantumio.registry._names import Names, TypeEntry
from quantumio.registry._universe_schema import GroupTables
from quantumio.registry._verdict import Key, Version

__all__ = ["LatestVersions"]


class LatestVersions:
    """Asks for the latest versions of any number of keys, one statement per dimension group."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(
        self, connection: sa.Connection, names: Names, keys: Mapping[Key, TypeEntry]
    ) -> dict[Key, Version]:
        """Return the versions of those keys that have any."""
        groups: dict[tuple[str, ...], tuple[GroupTables, list[Key]]] = {}
        # A run that was removed has numbers that are not given again.
        runs = {run: names.collections.get(run) or names.once(run) for run in {key[0] for key in keys}}
        for key, entry in keys.items():
            if runs[key[0]] is not None:
                groups.setdefault(entry.group.dimensions, (entry.group, []))[1].append(key)
        found: dict[Key, Version] = {}
        ids = {run: entry.id for run, entry in runs.items() if entry is not None}
        for group, wanted in groups.values():
            statement, types = self._database.prepare(_statement, self._database.rules, group), _types(group)
            rows = (
                [index, ids[run], type_id, *values] for index, (run, type_id, values) in enumerate(wanted)
            )
            value = self._database.rules.rows_value(rows, types)
            for index, version, txid, removed in self._database.ask(connection, statement, {"wanted": value}):
                if version is not None:
                    run, *rest = wanted[index]
                    found[wanted[index]] = self._version(
                        connection, group, (ids[run], *rest), version, txid, removed
                    )
        return found

    def _version(
        self,
        connection: sa.Connection,
        group: GroupTables,
        key: tuple[int, int, tuple[Any, ...]],
        top: int,
        txid: Any,
        removed: Any,
    ) -> Version:
        if removed is None:
            return Version(top, top, self._database.rules.uuid_out(txid))
        run_id, type_id, values = key
        table = group.dataset
        here = zip(group.columns.values(), values, strict=True)
        row = connection.execute(
            sa.select(table.c.v, table.c.txid)
            .where(
                table.c.run_id == run_id,
                table.c.type_id == type_id,
                *(table.c[column] == value for column, value in here),
                table.c.removed_seq.is_(None),
            )
            .order_by(table.c.v.desc())
            .limit(1)
        ).first()
        return Version(top, 0, None) if row is None else Version(top, row.v, row.txid)


def _types(group: GroupTables) -> dict[str, str]:
    """Return the columns of the keys that are looked for, and what they hold."""
    types = {"i": "int", "run_id": "int", "type_id": "int"}
    return types | {group.columns[name]: kind for name, kind in group.types.items()}


def _statement(rules: Rules, group: GroupTables) -> sa.Select[Any]:
    wanted = rules.rows("wanted", _types(group))
    table, other = group.dataset, group.dataset.alias("other")
    columns = ("run_id", "type_id", *group.columns.values())
    top = (
        sa.select(sa.func.max(other.c.v))
        .where(*(other.c[column] == wanted.c[column] for column in columns))
        .correlate(wanted)
        .scalar_subquery()
    )
    same = sa.and_(*(table.c[column] == wanted.c[column] for column in columns), table.c.v == top)
    # An outer join: the few wanted keys are looked up, never the many rows scanned.
    return sa.select(wanted.c.i, table.c.v, table.c.txid, table.c.removed_seq).select_from(
        wanted.outerjoin(table, same)
    )
