"""The statement of a query for one dataset type: which rows, in which collections, at which moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from itertools import takewhile
from typing import Any, TypeVar

import sqlalchemy as sa
from attrs import frozen

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.ports import CollectionKind, DatasetQuery
from quantumio.registry._dataset_fields import DATASET_FIELDS, dataset_field, names_fields
from quantumio.registry._dialect import BIG_INTEGER, REAL, TEXT, Rules, bound, raw
from quantumio.registry._names import Collection, TypeEntry
from quantumio.registry._pages import OrderKey, ordered
from quantumio.registry._record_join import DatasetRows
from quantumio.registry._schema import TXN
from quantumio.registry._scope import Scope, Unknown
from quantumio.registry._tree import Expression, equated, names_of
from quantumio.registry._universe_schema import GroupTables, Tables
from quantumio.registry._where import Where, data_id_condition

__all__ = ["Moment", "Source", "dataset_rows", "of_keys"]

_UUIDS = ("id", "txid")
_HEAD = ("id", "run_id", "type_id", "v", "txid", "commit_seq")
_LEAST_INTEGER = -(1 << 63)
_MOST_APART = 32
_T = TypeVar("_T")
_NO, _YES = sa.literal(0, BIG_INTEGER), sa.literal(1, BIG_INTEGER)
_WHERE_NONE: Mapping[str, sa.ColumnElement[Any]] = {
    "int": _NO,
    "time": _NO,
    "float": sa.literal(0.0, REAL),
    "str": sa.literal("", TEXT),
}


@frozen(eq=False)
class Moment:
    """Where a query looks, and when: what came later is not seen by any of its pages.

    Attributes
    ----------
    collections
        In search order.
    find_first
        Whether the first collection that has a data ID decides.
    seq
        The last commit that is seen, or the parameter that says so.
    earlier
        Collections before these: with ``find_first`` what they have is not looked for here.
    """

    collections: tuple[Collection, ...]
    find_first: bool
    seq: int | sa.BindParameter[int]
    earlier: tuple[Collection, ...] = ()

    @property
    def only_run(self) -> str | None:
        """The run that is looked into, if that is all."""
        (first, *others) = self.collections or (None,)
        return first.name if first and not others and first.kind is CollectionKind.RUN else None

    def apart(self) -> list[Moment]:
        """Return one for each collection, where their matches are the matches of all of them together.

        One collection at a time reads ranges of the primary key; all in one statement sorts them together.
        """
        together = self.find_first or all(one.kind is CollectionKind.RUN for one in self.collections)
        if not together or not 1 < len(self.collections) <= _MOST_APART:
            return [self]
        return [
            Moment((collection,), self.find_first, self.seq, self.collections[:index])
            for index, collection in enumerate(self.collections)
        ]


class Source:
    """The matches of a query for one dataset type, in an order of words with whether each descends.

    Attributes
    ----------
    keys
        What orders the matches, and tells them apart: the words first.
    run
        Whose datasets the matches are; None where there are several.
    given
        Dimensions of all matches that the data ID says, with their values or the parameters for these.
    finds_latest
        Whether the statement itself finds the latest version of each key, among rows of several.

    Raises
    ------
    InvalidInputError
        The dataset type does not have what the query asks for.
    """

    def __init__(
        self,
        tables: Tables,
        rules: Rules,
        query: DatasetQuery,
        expression: Expression | None,
        entry: TypeEntry,
        moment: Moment,
        order_by: Sequence[tuple[str, bool]],
    ) -> None:
        self._rules = rules
        self._entry = entry
        self.run = moment.only_run
        group = entry.group
        # In the order of the key the latest versions are found page by page, each page in a range of the
        # key: then conditions may depend on the key alone. In any other order they are all found first.
        words = [None if descending else group.columns.get(word) for word, descending in order_by]
        by_key = words == list(group.key[: len(words)])
        by_key = by_key and not (expression and names_fields(names_of(expression), entry.type.name))
        self.given = own = {name: value for name, value in query.data_id.items() if name in group.columns}
        implied = {name: value for name, value in query.data_id.items() if name not in own}
        compared = equated(expression) if expression else set()
        first = group.found_by(own.keys() | compared)
        self._key = _telling_apart(group, own.keys(), first) or group.key[:1] or ("run_id",)
        self._rows, self._conditions, rank = _Rows(rules, entry, moment, query.versions, own, first).made(
            by_key=by_key
        )
        self.finds_latest = query.versions == "latest" and self._rows is group.dataset
        columns: dict[str, Any] = {
            name: rules.filtered(self._rows.c[column])
            if name in compared and column not in first
            else self._rows.c[column]
            for name, column in group.columns.items()
        }
        self._scope = Scope(
            tables,
            columns,
            datasets={entry.type.name: self._rows},
            what=f"a data ID of {entry.type.name}",
            as_of=None if query.as_of is None else moment.seq,
        )
        self._conditions += data_id_condition(tables, self._scope, implied)
        if expression is not None:
            where = Where(query.where or "", query.bind, rules, self._scope)
            self._conditions.append(where.condition(expression))
        tail: list[sa.ColumnElement[Any]] = [
            self._rows.c[column] for column in self._key if column not in words
        ]
        if not self.finds_latest:  # otherwise a key has one row
            tail += [*([] if rank is None else [rank]), self._rows.c.v, raw(self._rows.c.id)]
        self.keys = [
            *(OrderKey(key, descending) for word, descending in order_by for key in self._order(word)),
            *map(OrderKey, tail),
        ]

        self._made: dict[Any, Any] = {}

    def once(self, key: object, make: Callable[[], _T]) -> _T:
        """Return what was made of this source under a key, now or when it was last planned."""
        if key not in self._made:
            self._made[key] = make()
        made: _T = self._made[key]
        return made

    @property
    def entry(self) -> TypeEntry:
        """The dataset type."""
        return self._entry

    def statement(self, head: Sequence[str] = _HEAD) -> sa.Select[Any]:
        """Return the statement: head and dimensions; UUIDs as the driver gives them."""
        return self._selected(self._columns(head, self._entry.group.columns))

    def select(
        self,
        head: Sequence[str],
        dimensions: Sequence[str],
        *,
        every_version: bool = False,
    ) -> tuple[sa.Select[Any], list[int | None]]:
        """Return the statement of some columns, and which of them each key is (None: none of them).

        With ``every_version`` it does not look for the latest; where all rows that it finds are of the same
        version, none of their keys has two.
        """
        columns = self._columns(head, dimensions)
        places = [
            next((place for place, one in enumerate(columns) if one is key.column), None) for key in self.keys
        ]
        return self._selected(columns, every_version=every_version), places

    def _columns(self, head: Sequence[str], dimensions: Iterable[str]) -> list[sa.ColumnElement[Any]]:
        columns, names = self._rows.c, self._entry.group.columns
        return [
            *(raw(columns[name]) if name in _UUIDS else columns[name] for name in head),
            *(columns[names[name]] for name in dimensions),
        ]

    def number(self) -> sa.Select[Any]:
        """Return the statement that counts the matches."""
        return sa.select(sa.func.count()).select_from(self._selected([self._rows.c.v]).subquery("matches"))

    def any(self) -> sa.Select[Any]:
        """Return the statement that has a row if there is a match."""
        # Of equal keys any version will do.
        one: sa.Select[Any] = sa.select(sa.literal_column("1"))
        return one.select_from(self._scope.joined(self._rows)).where(*self._conditions).limit(1)

    def _selected(self, columns: Sequence[Any], *, every_version: bool = False) -> sa.Select[Any]:
        if self.finds_latest and not every_version:
            selected = self._rules.latest(
                columns, [self._rows.c[column] for column in self._key], self._rows.c.v
            )
        else:
            selected = sa.select(*columns)
        return selected.select_from(self._scope.joined(self._rows)).where(*self._conditions)

    def with_times(self, page: sa.Select[Any]) -> sa.Select[Any]:
        """Return a page of the statement, its keys added, with the times of commits behind them."""
        found = page.subquery("page")
        columns = list(found.c)
        keys = [
            OrderKey(column, key.descending)
            for column, key in zip(columns[-len(self.keys) :], self.keys, strict=True)
        ]
        statement = sa.select(*columns, TXN.c.decided_at).select_from(
            found.outerjoin(TXN, TXN.c.txid == columns[_HEAD.index("txid")])
        )
        return ordered(statement, keys)

    def _order(self, word: str) -> list[sa.ColumnElement[Any]]:
        """Return what to order by for a word of ``order_by``; never NULL."""
        name = self._entry.type.name
        if "." in word:
            return self._field(word)
        if word in DATASET_FIELDS and word not in self._entry.group.columns:
            column = dataset_field(word, self._rows, name)
            return [
                sa.func.coalesce(column, sa.literal("", TEXT), type_=TEXT) if word == "status" else column
            ]
        return [self._dimension(word)]

    def _field(self, word: str) -> list[sa.ColumnElement[Any]]:
        """Return two keys: whether there is a value, those without one first, and the value."""
        try:
            column, kind = self._scope.column(word)
        except Unknown as unknown:
            raise InvalidInputError(
                f"order_by: {unknown.message}", hint=unknown.hint, kind=ErrorKind.DIMENSION
            ) from None
        if kind == "bool":
            column, kind = sa.case((column, _YES), (sa.not_(column), _NO)), "int"
        none = _WHERE_NONE[kind]
        return [
            sa.case((column.is_(None), _NO), else_=_YES),
            sa.func.coalesce(column, none, type_=none.type),
        ]

    def _dimension(self, word: str) -> sa.ColumnElement[Any]:
        if word in self._entry.group.columns:
            return self._rows.c[self._entry.group.columns[word]]
        try:
            column = self._scope.dimension(word)
        except Unknown as unknown:
            raise InvalidInputError(
                f"order_by: {unknown.message}", hint=unknown.hint, kind=ErrorKind.DIMENSION
            ) from None
        least: Any = "" if column.type is TEXT else _LEAST_INTEGER
        return sa.func.coalesce(column, sa.literal(least, column.type), type_=column.type)


def dataset_rows(rules: Rules, entry: TypeEntry, moment: Moment, name: str) -> DatasetRows:
    """Return the latest datasets of a type that a search finds, as a subquery of this name."""
    rows, conditions = (
        _by_look_ups(entry, moment, name) or _Rows(rules, entry, moment, "latest", {}).made(by_key=False)[:2]
    )
    columns = (*_HEAD, *entry.group.columns.values())
    found = sa.select(*(rows.c[column] for column in columns)).where(*conditions).subquery(name)
    by_dimension = {dimension: found.c[column] for dimension, column in entry.group.columns.items()}
    return DatasetRows(entry.type, found, by_dimension)


def _by_look_ups(
    entry: TypeEntry, moment: Moment, name: str
) -> tuple[sa.FromClause, list[sa.ColumnElement[bool]]] | None:
    """Return the latest datasets in a few runs, with conditions that a look-up of the key tells of each row.

    Nothing is grouped: where rows are joined by their keys the database finds each by its primary key.
    """
    runs = [(one.id, rank) for rank, one in enumerate(moment.collections) if one.kind is CollectionKind.RUN]
    if not 0 < len(runs) == len(moment.collections) <= _MOST_APART:
        return None
    group = entry.group
    rows, newer, earlier = (group.dataset.alias(f"{name}_{what}") for what in ("row", "newer", "earlier"))
    ids = [sa.literal(number, BIG_INTEGER) for number, _ in runs]
    seq, type_id = sa.literal(moment.seq, BIG_INTEGER), sa.literal(entry.id, BIG_INTEGER)

    def there(table: sa.FromClause) -> list[sa.ColumnElement[bool]]:
        is_live = sa.or_(table.c.removed_seq.is_(None), table.c.removed_seq > seq)
        return [table.c.type_id == type_id, table.c.commit_seq <= seq, is_live]

    def none(table: sa.FromClause, *conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
        same = [table.c[column] == rows.c[column] for column in group.key]
        other: sa.Select[Any] = sa.select(sa.literal_column("1")).select_from(table)
        return ~sa.exists(other.where(*conditions, *same, *there(table)).correlate(rows))

    def rank_of(table: sa.FromClause) -> sa.ColumnElement[int]:
        return sa.case(*((table.c.run_id == sa.literal(number, BIG_INTEGER), rank) for number, rank in runs))

    conditions = [
        rows.c.run_id.in_(ids),
        *there(rows),
        none(newer, newer.c.run_id == rows.c.run_id, newer.c.v > rows.c.v),
    ]
    if moment.find_first and len(runs) > 1:
        conditions.append(none(earlier, earlier.c.run_id.in_(ids), rank_of(earlier) < rank_of(rows)))
    return rows, conditions


def _telling_apart(group: GroupTables, given: Set[str], first: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of the key that tell matches apart: but for those that all of them have in common.

    One that is given stays where another one follows, unless the database finds rows by it: it would not see
    that they come in order.
    """
    same = {group.columns[name] for name in given}
    last = tuple(takewhile(same.__contains__, reversed(group.key)))
    return tuple(column for column in group.key if column not in same or column not in (*first, *last))


def of_keys(order_by: Sequence[tuple[str, bool]]) -> tuple[tuple[str, bool], ...]:
    """Return of the keys of a source that the words of an order make the words, with whether they descend."""
    return tuple(word for word in order_by for _ in range(2 if "." in word[0] else 1))


class _Rows:
    """The rows of one dataset type in the collections, before any expression."""

    def __init__(
        self,
        rules: Rules,
        entry: TypeEntry,
        moment: Moment,
        versions: str,
        data_id: Mapping[str, Any],
        first: Sequence[str] = (),
    ) -> None:
        self._rules = rules
        self._entry = entry
        self._group = entry.group
        self._moment = moment
        self._versions = versions
        self._data_id = data_id
        self._first = first

    def made(
        self, *, by_key: bool
    ) -> tuple[sa.FromClause, list[sa.ColumnElement[bool]], sa.ColumnElement[Any] | None]:
        """Return rows, conditions on them, and the column that ranks their collections (None: all in one).

        The rows are the very table, with versions that are not the latest, where they are of one run and
        ``by_key``.
        """
        collections = self._moment.collections
        table = self._group.dataset
        if len(collections) == 1 and collections[0].kind is CollectionKind.RUN:
            # The plain case stays a plain select, so that pages are ranges of the primary key.
            here = [table.c.run_id == sa.literal(collections[0].id, BIG_INTEGER), *self._of_runs()]
            if by_key or self._versions != "latest":
                return table, [*here, *self._not_earlier(table)], None
            latest = self._latest(list(table.c)).where(*here).subquery("latest")
            return latest, self._not_earlier(latest), None
        ranked = [(entry.id, rank) for rank, entry in enumerate(collections)]
        kinds = {
            kind: [pair for pair, entry in zip(ranked, collections, strict=True) if entry.kind is kind]
            for kind in (CollectionKind.RUN, CollectionKind.TAGGED, CollectionKind.CALIBRATION)
        }
        parts = [self._part(kind, pairs) for kind, pairs in kinds.items() if pairs]
        if not parts:
            return table, [sa.false()], None
        rows = (parts[0] if len(parts) == 1 else sa.union_all(*parts)).subquery("matches")
        if len(collections) == 1:
            return rows, self._not_earlier(rows), None
        if not self._moment.find_first and list(filter(None, kinds.values())) == [kinds[CollectionKind.RUN]]:
            return rows, [], rows.c["rank"]
        # In an ordered search the first collection that has the data ID decides; otherwise a dataset that is
        # in several collections counts once.
        same = list(self._group.columns.values()) if self._moment.find_first else ["id"]
        first = sa.func.min(rows.c["rank"]).over(partition_by=[rows.c[column] for column in same] or None)
        decided = sa.select(rows, first.label("first_rank")).subquery("decided")
        return decided, [decided.c["rank"] == decided.c.first_rank], decided.c["rank"]

    def _part(self, kind: CollectionKind, pairs: Sequence[tuple[int, int]]) -> sa.Select[Any]:
        types = {"collection_id": "int", "rank": "int"}
        value = self._rules.rows_value(pairs, types)
        ranks = self._rules.rows(f"ranks_{kind.lower()}", types, value)
        table = self._group.dataset
        columns: list[sa.ColumnElement[Any]] = [
            table.c[name] for name in (*_HEAD, *self._group.columns.values())
        ]
        columns.append(ranks.c["rank"].label("rank"))
        if kind is CollectionKind.RUN:
            joined = ranks.join(table, table.c.run_id == ranks.c.collection_id)
            selected = self._latest(columns) if self._versions == "latest" else sa.select(*columns)
            return selected.select_from(joined).where(*self._of_runs())
        member = self._group.tag if kind is CollectionKind.TAGGED else self._group.calibration
        joined = ranks.join(member, member.c.collection_id == ranks.c.collection_id).join(
            table, table.c.id == member.c.dataset_id
        )
        # A calibration may be certified for several timespans: it is listed once.
        return (
            sa.select(*columns)
            .select_from(joined)
            .where(member.c.type_id == self._type_id, *self._at(member, member.c.added_seq))
            .where(*self._at(table, table.c.commit_seq), *self._equal(table))
            .distinct()
        )

    def _not_earlier(self, rows: sa.FromClause) -> list[sa.ColumnElement[bool]]:
        """Return conditions that an earlier collection has no dataset of the data ID."""
        conditions: list[sa.ColumnElement[bool]] = []
        if not self._moment.find_first:
            return conditions
        for kind, table, collection, since in (
            (CollectionKind.RUN, self._group.dataset, "run_id", "commit_seq"),
            (CollectionKind.TAGGED, self._group.tag, "collection_id", "added_seq"),
            (CollectionKind.CALIBRATION, self._group.calibration, "collection_id", "added_seq"),
        ):
            if ids := [entry.id for entry in self._moment.earlier if entry.kind is kind]:
                other = table.alias(f"earlier_{kind.lower()}")
                there: sa.Select[Any] = sa.select(sa.literal_column("1")).where(
                    other.c[collection].in_([sa.literal(number, BIG_INTEGER) for number in ids]),
                    other.c.type_id == self._type_id,
                    *(other.c[column] == rows.c[column] for column in self._group.columns.values()),
                    *self._at(other, other.c[since]),
                )
                conditions.append(~sa.exists(there.correlate(rows)))
        return conditions

    @property
    def _type_id(self) -> sa.ColumnElement[int]:
        return sa.literal(self._entry.id, BIG_INTEGER)

    def _of_runs(self) -> list[sa.ColumnElement[bool]]:
        table = self._group.dataset
        by_place = self._first and self._first[0] != self._group.key[0]
        return [
            table.c.type_id == self._type_id,
            *([self._group.asks_by_place] if by_place else []),
            *self._equal(table),
            *self._at(table, table.c.commit_seq),
        ]

    def _latest(self, columns: Sequence[sa.ColumnElement[Any]]) -> sa.Select[Any]:
        table = self._group.dataset
        key = [table.c[column] for column in ("run_id", *self._group.key)]
        return self._rules.latest(columns, key, table.c.v)

    def _at(self, table: sa.FromClause, since: sa.ColumnElement[Any]) -> list[sa.ColumnElement[bool]]:
        seq = bound(self._moment.seq, BIG_INTEGER)
        return [since <= seq, sa.or_(table.c.removed_seq.is_(None), table.c.removed_seq > seq)]

    def _equal(self, table: sa.FromClause) -> list[sa.ColumnElement[bool]]:
        first, filtered = self._first, self._rules.filtered
        return [
            (table.c[column] if column in first else filtered(table.c[column])) == _bound(value)
            for name, value in self._data_id.items()
            if (column := self._group.columns[name])
        ]


def _bound(value: Any) -> sa.ColumnElement[Any]:
    return bound(value, TEXT if isinstance(value, str) else BIG_INTEGER)
