"""Look-ups of many data IDs at once, each at its own time: column by column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from uuid import UUID

from attrs import frozen

from quantumio.butler._lookup import Lookup, Lookups, NamedLookup
from quantumio.butler._repository import Repository
from quantumio.butler._session import Session, seq_of
from quantumio.errors import ErrorKind, InvalidInputError, NotFoundError, shown
from quantumio.model import (
    DataId,
    DataIdValue,
    DimensionUniverse,
    Timespan,
    check_data_id_value,
    make_data_id,
)

__all__ = ["FoundEach", "find_each"]


@frozen(eq=False)
class FoundEach:
    """What was asked for and found: a row for each data ID, in order.

    Attributes
    ----------
    columns
        Values of each dimension that any data ID names; None where one does not name it.
    ids
        The match of each; None where there is none or more than one.
    numbers
        How many there are.
    """

    columns: Mapping[str, Sequence[DataIdValue | None]]
    ids: list[UUID | None]
    numbers: list[int]


@frozen(eq=False)
class _Asked:
    """Data IDs that name the same dimensions.

    Attributes
    ----------
    rows
        Which of all data IDs they are.
    columns
        Their values by dimension, in universe order.
    """

    rows: Sequence[int]
    columns: Mapping[str, Sequence[DataIdValue]]

    def part(self, places: Sequence[int]) -> _Asked:
        """Return some of them, by their places among these."""
        if len(places) == len(self.rows):
            return self
        columns = {name: [values[place] for place in places] for name, values in self.columns.items()}
        return _Asked([self.rows[place] for place in places], columns)


def find_each(
    session: Session,
    dataset_type: str,
    data_ids: Iterable[Mapping[str, object]],
    path: Sequence[str],
    as_of: object = None,
) -> FoundEach:
    """Return what was asked for, and of each data ID the match and how many there are."""
    universe = session.repositories[0].catalog.universe
    if isinstance(data_ids, (Mapping, str)) or not isinstance(data_ids, Iterable):
        raise InvalidInputError(
            f"{shown(data_ids)} is no list of data IDs", hint="give a list", kind=ErrorKind.DATA_ID
        )
    given = list(data_ids)
    shapes = _by_shape(universe, given)
    ids: list[UUID | None] = [None] * len(given)
    numbers = [0] * len(given)
    narrowed = dict(session.narrow(tuple(path), as_of))
    for repository in session.knowing(dataset_type):
        if not (collections := narrowed.get(repository)):
            continue
        search = _Search(session, repository, dataset_type, collections, seq_of(repository, as_of))
        for shape in shapes:
            left = shape
            if any(numbers):
                left = shape.part([place for place, row in enumerate(shape.rows) if not numbers[row]])
            asked, lookups = search.complete(left)
            found = search.found(asked, lookups)
            if len(asked.rows) == len(given):  # all of them, in order
                ids, numbers = found
                continue
            for row, id_, number in zip(asked.rows, *found, strict=True):
                ids[row], numbers[row] = id_, number
    return FoundEach(_columns(universe, shapes, len(given)), ids, numbers)


def _by_shape(universe: DimensionUniverse, data_ids: Iterable[Mapping[str, object]]) -> list[_Asked]:
    """Return data IDs, checked, by the dimensions that they name."""
    plain = [one if type(one) is dict else make_data_id(universe, one, {}) for one in data_ids]
    named = list(map(tuple, plain))
    shapes: dict[tuple[str, ...], list[int]] = {}
    if len(set(named)) == 1:
        shapes[named[0]] = list(range(len(plain)))
    else:
        for row, names in enumerate(named):
            shapes.setdefault(names, []).append(row)
    asked = []
    for names, rows in shapes.items():
        alike = plain if len(shapes) == 1 else [plain[row] for row in rows]
        columns = {name: _checked(universe, name, list(map(itemgetter(name), alike))) for name in names}
        asked.append(_Asked(rows, {name: columns[name] for name in universe.sort(names)}))
    return asked


def _checked(universe: DimensionUniverse, name: str, values: list[object]) -> Sequence[DataIdValue]:
    """Return values of one dimension in their canonical type; many are the same, and are checked once."""
    if set(map(type, values)) in ({int}, {str}):
        canonical = {value: check_data_id_value(universe, name, value) for value in set(values)}
        return list(map(canonical.__getitem__, values))
    return [check_data_id_value(universe, name, value) for value in values]


def _columns(
    universe: DimensionUniverse, shapes: Sequence[_Asked], size: int
) -> dict[str, Sequence[DataIdValue | None]]:
    """Return all data IDs, so many, as columns."""
    if len(shapes) == 1:
        return dict(shapes[0].columns)
    columns: dict[str, Sequence[DataIdValue | None]] = {}
    for name in universe.sort({name for shape in shapes for name in shape.columns}):
        column: list[DataIdValue | None] = [None] * size
        for shape in shapes:
            for row, value in zip(shape.rows, shape.columns.get(name, ()), strict=False):
                column[row] = value
        columns[name] = column
    return columns


class _Search:
    """Looks into one repository.

    The time, and values of dimensions that a data ID does not name, follow from the exposure or visit that it
    names: they are found out once for all that name it.
    """

    def __init__(
        self,
        session: Session,
        repository: Repository,
        dataset_type: str,
        collections: Sequence[str],
        as_of: int | None,
    ) -> None:
        self._session = session
        self._repository = repository
        self._type = repository.catalog.dataset_type(dataset_type)
        self._collections = collections
        self._as_of = as_of
        self._has_calibrations = repository.catalog.searches_calibrations(collections, as_of)
        self._lookups = Lookups(
            repository=repository,
            defaults=session.defaults,
            calibrations=lambda: self._has_calibrations,
            recorders=session.repositories,
            as_of=as_of,
        )

    def complete(self, asked: _Asked) -> tuple[_Asked, list[Lookup]]:
        """Return those of the data IDs whose time can be told, and what each looks for.

        What each looks for is that of another one, too, which differs in what its own columns tell.
        """
        deciding = [asked.columns[name] for name in self._deciding(tuple(asked.columns))]
        keys: list[tuple[DataIdValue, ...]] = list(zip(*deciding, strict=True)) or [()] * len(asked.rows)
        places = dict(zip(keys, range(len(keys)), strict=True))
        named = {
            key: self._named({name: values[place] for name, values in asked.columns.items()})
            for key, place in places.items()
        }
        times = self._times([one.moment for one in named.values() if one.moment is not None])
        known = {key: self._lookup(one, times) for key, one in named.items()}
        told = {key: lookup for key, lookup in known.items() if lookup is not None}
        if len(told) < len(known):
            asked = asked.part([place for place, key in enumerate(keys) if key in told])
            keys = [key for key in keys if key in told]
        return asked, list(map(told.__getitem__, keys))

    def found(self, asked: _Asked, lookups: Sequence[Lookup]) -> tuple[list[UUID | None], list[int]]:
        """Return of each the match if there is one, and how many there are."""
        values = {
            name: asked.columns.get(name) or [lookup.data_id[name] for lookup in lookups]
            for name in self._type.dimensions
        }
        return self._repository.catalog.find_each(
            self._type,
            values,
            [lookup.timespan for lookup in lookups],
            self._collections,
            as_of=self._as_of,
        )

    def _named(self, data_id: Mapping[str, DataIdValue]) -> NamedLookup:
        return self._lookups.name(self._type.name, data_id, {})

    def _times(self, moments: Sequence[DataId]) -> Mapping[DataId, Timespan]:
        """Return the timespans that dimension records tell; the first repository that knows one decides."""
        times: dict[DataId, Timespan] = {}
        for recorder in self._session.repositories:
            left = [moment for moment in moments if moment not in times]
            told = zip(left, recorder.catalog.timespans(left), strict=True)
            times |= {moment: timespan for moment, timespan in told if timespan is not None}
        return times

    def _lookup(self, named: NamedLookup, times: Mapping[DataId, Timespan]) -> Lookup | None:
        timespan = None if named.moment is None else times.get(named.moment)
        try:
            return self._lookups.complete(named, timespan)
        except NotFoundError:
            return None

    def _deciding(self, names: Sequence[str]) -> Sequence[str]:
        """Return the dimensions that the time, and what else follows, depend on."""
        if not self._has_calibrations:
            return names
        universe, own = self._repository.catalog.universe, self._type.dimensions
        if not {*universe.implied(own)}.isdisjoint(names):
            return names  # each is compared with its records
        told = [
            name
            for name in (*names, *self._session.defaults)
            if name in universe and (name not in own or universe[name].temporal)
        ]
        return [name for name in universe.required(dict.fromkeys(told)) if name in names]
