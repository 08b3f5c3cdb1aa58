"""From a query to its plan: checked, at one moment, with the statements that answer it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import evolve, field, frozen

from quantumio.errors import ErrorKind, InvalidInputError, shown
from quantumio.model import check_data_id_value
from quantumio.ports import CollectionKind, DatasetQuery
from quantumio.registry._arguments import check_bind, check_limit, check_names
from quantumio.registry._dataset_fields import DATASET_FIELDS
from quantumio.registry._dialect import BIG_INTEGER, TEXT
from quantumio.registry._engine import Database
from quantumio.registry._expression import parse
from quantumio.registry._names import Names, NamesCache, TypeEntry
from quantumio.registry._past_names import PastNames
from quantumio.registry._record_join import DatasetRows
from quantumio.registry._schema import CLOCK
from quantumio.registry._sky_datasets import SkyDatasets
from quantumio.registry._sky_search import SkySearch
from quantumio.registry._sources import Moment, Source, dataset_rows, of_keys
from quantumio.registry._tree import Expression
from quantumio.registry._universe_schema import Tables
from quantumio.registry._where_shape import shape_of

__all__ = ["Plan", "Planner", "check_past"]

_MOST_KEPT: Final = 256
_AT: Final = sa.bindparam("at_seq", type_=BIG_INTEGER)


@frozen(eq=False)
class Plan:
    """A query at one moment: what to read for each dataset type.

    Attributes
    ----------
    seq
        The last commit or edit that is seen.
    sources
        In the order of their matches where ``order_by`` is empty; else their matches are to be merged.
    order_by
        Of the first keys of each source the words, and whether they descend.
    values
        Of parameters of all statements that are made of the sources.
    is_kept
        Whether the same sources come again with the next query that differs in its values alone.
    """

    names: Names
    seq: int
    sources: tuple[Source, ...]
    order_by: tuple[tuple[str, bool], ...]
    limit: int | None
    values: Mapping[str, Any] = field(factory=dict)
    is_kept: bool = False

    @property
    def at(self) -> int | sa.BindParameter[int]:
        """The last commit or edit that is seen, for statements that are made of the sources."""
        return _AT if self.is_kept else self.seq

    def value_of(self, given: Any) -> Any:
        """Return what a dimension is given by the data ID: the sources have it, or the parameter for it."""
        return self.values[given.key] if isinstance(given, sa.BindParameter) else given


class Planner:
    """Checks queries and plans them."""

    def __init__(self, database: Database, tables: Tables, names: NamesCache) -> None:
        self._database = database
        self._tables = tables
        self._names = names
        self._past = PastNames(tables)
        self._sky = SkySearch(database, tables)
        self._sky_datasets = SkyDatasets(database, tables, self._sky)
        self._now = database.prepare(_now)
        self._kept: dict[tuple[Any, ...], tuple[Source, ...]] = {}

    def plan(self, query: DatasetQuery, *, in_order: bool = True) -> Plan:
        """Return the plan of a query; its matches in any order where ``in_order`` is False.

        Raises
        ------
        InvalidInputError, NotFoundError
            The query is wrong.
        """
        query = _with_lists(query)
        order_by = self._checked(query)
        universe = self._tables.universe
        data_id = {name: check_data_id_value(universe, name, value) for name, value in query.data_id.items()}
        query = evolve(query, data_id=data_id)
        where = query.where
        terms = () if where is None else self._sky.resolve(parse(where), where, query.bind)
        seq, names = self.at(query.as_of)
        collections, searched_in_order = names.search_like(query.collections)
        find_first = searched_in_order and query.find_first
        types = names.types_like(query.dataset_types)
        kept = self._kept_plan(query, terms, types, Moment(collections, find_first, _AT), order_by, in_order)
        if kept is not None:
            sources, values = kept
            values["at_seq"] = seq
            return Plan(names, seq, sources, of_keys(order_by), query.limit, values, is_kept=True)
        moment = Moment(collections, find_first, seq)
        sources = self._sources(query, terms, types, moment, order_by, in_order=in_order)
        return Plan(names, seq, sources, of_keys(order_by), query.limit)

    def _kept_plan(
        self,
        query: DatasetQuery,
        terms: Sequence[Expression],
        types: Sequence[TypeEntry],
        moment: Moment,
        order_by: tuple[tuple[str, bool], ...],
        in_order: bool,
    ) -> tuple[tuple[Source, ...], dict[str, Any]] | None:
        """Return sources that are the same for all queries of one shape, and values of their parameters.

        A shape says nothing of the values of the data ID and of the expression, and of the moment. None where
        more than parameters depends on them: where regions are compared, or something is wrong.
        """
        if not all(
            query.data_id.keys() <= entry.group.columns.keys()
            and self._sky_datasets.are_own(terms, entry.type.dimensions)
            for entry in types
        ):
            return None
        shaped = shape_of(terms, query.bind, query.where or "")
        if shaped is None:
            return None
        terms, values = shaped
        shape = (
            *(tuple(types), query.dataset_types, moment.collections, terms),
            *(*query.data_id, moment.find_first, query.versions, order_by),
            *(query.as_of is None, in_order),
        )
        kept = self._kept.get(shape)
        if kept is None:
            data_id = {name: _parameter(name, value) for name, value in query.data_id.items()}
            try:
                kept = self._sources(
                    evolve(query, data_id=data_id), terms, types, moment, order_by, in_order=in_order
                )
            except InvalidInputError:
                if not terms:
                    raise
                return None  # what was written says better what is wrong
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[shape] = kept
        return kept, {**values, **{f"of_{name}": value for name, value in query.data_id.items()}}

    def _sources(
        self,
        query: DatasetQuery,
        terms: Sequence[Expression],
        types: Sequence[TypeEntry],
        moment: Moment,
        order_by: tuple[tuple[str, bool], ...],
        *,
        in_order: bool,
    ) -> tuple[Source, ...]:
        sources: list[Source] = []
        refused: InvalidInputError | None = None
        for entry in types:
            try:
                narrow, expression = self._sky_datasets.narrowed(query, terms, entry.type.dimensions)
                found = self._of_type(narrow, expression, entry, moment, order_by)
                if order_by and not in_order:  # in this order it could come: so its matches count
                    found = self._of_type(narrow, expression, entry, moment, ())
            except InvalidInputError as error:
                # A dataset type that only a glob names, and that has no such dimension, has no match.
                if entry.type.name in query.dataset_types:
                    raise
                refused = refused or error
            else:
                sources += found
        if refused is not None and not sources:
            raise refused
        return tuple(sources)

    def _of_type(
        self,
        query: DatasetQuery,
        expression: Expression | None,
        entry: TypeEntry,
        moment: Moment,
        order_by: tuple[tuple[str, bool], ...],
    ) -> list[Source]:
        # An order runs across collections; without one they come one after the other.
        moments = [moment] if order_by else moment.apart()
        rules = self._database.rules
        return [Source(self._tables, rules, query, expression, entry, one, order_by) for one in moments]

    def rows_of(
        self,
        dataset_types: Sequence[str],
        collections: Sequence[str] | None,
        as_of: int | None,
        *,
        calibrations: bool = True,
    ) -> tuple[Names, tuple[DatasetRows, ...]]:
        """Return for each dataset type the latest datasets that a search finds, and the names of the moment.

        Parameters
        ----------
        dataset_types, collections
            Names; of collections also globs, None is every run.
        as_of
            The moment; None is now.
        calibrations
            Whether CALIBRATION collections are searched, whenever their members are valid.

        Raises
        ------
        NotFoundError
            There is no such dataset type or collection.
        InvalidInputError
            A dataset type is named twice, or they are no lists of names.
        """
        types = check_names(dataset_types, "dataset type", ErrorKind.DATASET_TYPE)
        if twice := [name for number, name in enumerate(types) if name in types[:number]]:
            raise InvalidInputError(
                f"dataset type {twice[0]!r} is named twice", hint="name it once", kind=ErrorKind.DATASET_TYPE
            )
        if collections is not None:
            collections = check_names(collections, "collection", ErrorKind.COLLECTION)
        seq, names = self.at(as_of)
        searched, in_order = names.search_like(collections)
        if not calibrations:
            searched = tuple(one for one in searched if one.kind is not CollectionKind.CALIBRATION)
        moment = Moment(searched, in_order, seq)
        rules = self._database.rules
        return names, tuple(
            dataset_rows(rules, names.type(name), moment, f"datasets_{number}")
            for number, name in enumerate(types)
        )

    def _checked(self, query: DatasetQuery) -> tuple[tuple[str, bool], ...]:
        """Check what does not depend on the registry, and return the order with its directions."""
        if query.versions not in ("latest", "all"):
            raise InvalidInputError(f"versions = {query.versions!r}", hint="use 'latest' or 'all'")
        order_by = tuple((word.removeprefix("-"), word.startswith("-")) for word in query.order_by)
        for word, _ in order_by:
            # What a name with a point means, each dataset type says by itself.
            if "." not in word and word not in (*DATASET_FIELDS, *self._tables.universe.names):
                raise InvalidInputError(
                    f"order_by {word!r:.80} is neither a dimension nor one of {', '.join(DATASET_FIELDS)}",
                    hint=f"dimensions are {', '.join(self._tables.universe.names)}",
                    kind=ErrorKind.DIMENSION,
                )
        return order_by

    def at(self, as_of: int | None) -> tuple[int, Names]:
        """Return the last commit or edit that is seen, and the names of then."""
        ((seq, edits),) = self._database.fetch(self._now, {})
        if (as_of is None or (type(as_of) is int and as_of == seq)) and edits == (
            names := self._names.last
        ).edits:
            return seq, names
        return self._database.read(lambda connection: self._moment(connection, as_of))

    def _moment(self, connection: sa.Connection, as_of: int | None) -> tuple[int, Names]:
        seq, _ = connection.execute(_now()).one()
        if as_of is None or check_past(as_of, seq) == seq:
            names = self._names.load(connection)
            self._names.learn(names)
            return seq, names
        return as_of, self._past.load(connection, as_of)


def _parameter(name: str, value: int | str) -> Any:
    return sa.bindparam(f"of_{name}", type_=TEXT if isinstance(value, str) else BIG_INTEGER)


def _now() -> sa.Select[Any]:
    return sa.select(CLOCK.c.seq, CLOCK.c.edits).where(CLOCK.c.id == 1)


def check_past(as_of: object, now: int, what: str = "as_of") -> int:
    """Return the number of an edit or commit that is over.

    Raises
    ------
    InvalidInputError
        It is none.
    """
    if isinstance(as_of, int) and not isinstance(as_of, bool) and 0 <= as_of <= now:
        return as_of
    raise InvalidInputError(
        f"{what} = {shown(as_of)} is no moment of this registry",
        hint=f"give the number of a commit or edit, from 0 to {now}",
        kind=ErrorKind.MOMENT,
    )


def _with_lists(query: DatasetQuery) -> DatasetQuery:
    """Return the query with its lists and numbers checked."""
    return evolve(
        query,
        dataset_types=check_names(query.dataset_types, "dataset type", ErrorKind.DATASET_TYPE),
        collections=None
        if query.collections is None
        else check_names(query.collections, "collection", ErrorKind.COLLECTION),
        order_by=check_names(query.order_by, "name to order by", ErrorKind.DIMENSION),
        limit=None if query.limit is None else check_limit(query.limit),
        bind=check_bind(query.bind),
    )
