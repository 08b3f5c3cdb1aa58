"""From what a caller says to a dataset type, a data ID, and the time to look calibrations up at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import field, frozen

from quantumio.butler._repository import Repository
from quantumio.butler._spellings import spelled_out
from quantumio.errors import ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import (
    DataId,
    DataIdValue,
    DatasetType,
    StoredDataset,
    Timespan,
    data_id_of_keys,
    make_data_id,
)

__all__ = [
    "Lookup",
    "Lookups",
    "NamedLookup",
    "find_stored",
    "resolve_output",
]


@frozen(kw_only=True)
class Lookup:
    """What to look for.

    Attributes
    ----------
    dataset_type, data_id
        Complete.
    timespan
        Of the exposure or visit that the caller named besides; calibrations are valid at a time.
    as_of
        The last commit or edit of the registry that is seen; None is now.
    """

    dataset_type: DatasetType
    data_id: DataId
    timespan: Timespan | None = None
    as_of: int | None = None


@frozen(kw_only=True)
class NamedLookup:
    """What a caller named to look for, before records are asked.

    Attributes
    ----------
    dataset_type
        Known to the repository that is searched.
    given
        Values of its dimensions, and of others.
    implied
        Values that follow from records of its dimensions.
    moment
        The exposure or visit at whose time calibrations are looked up; None where there is none.
    moment_of
        The dimensions that name it.
    """

    dataset_type: DatasetType
    given: Mapping[str, DataIdValue]
    implied: Mapping[str, DataIdValue]
    moment: DataId | None = None
    moment_of: Mapping[str, DataIdValue] = field(factory=dict)


def resolve_output(
    repository: Repository,
    dataset_type: str,
    data_id: Mapping[str, object] | None,
    keys: Mapping[str, object],
    defaults: Mapping[str, DataIdValue],
) -> tuple[DatasetType, DataId]:
    """Complete and check the data ID of an output.

    Raises
    ------
    NotFoundError
        The dataset type is not registered.
    InvalidInputError
        A key is unknown, missing, extra or contradicts another one or a dimension record.
    """
    catalog = repository.catalog
    known = catalog.dataset_type(dataset_type)
    if data_id is None:
        try:
            named = data_id_of_keys(catalog.universe, keys, defaults, known.dimensions)
        except InvalidInputError:
            named = None  # a text may stand for a number; what is wrong is said below
        if named is not None:
            return known, named  # most puts: one pass is enough
    given, implied = _split(repository, [repository], known, data_id, keys, defaults)
    resolved = _complete(repository, known, given, defaults)
    _check_implied(repository, known, resolved, implied)
    return known, resolved


@frozen(kw_only=True)
class Lookups:
    """How data IDs are looked up in one repository: calibrations may be asked for by an exposure or visit.

    Attributes
    ----------
    repository
        The one that is searched. It says which key a piece of metadata stands for, and the others where it
        does not know.
    defaults
        Values of dimensions that nobody has to give.
    calibrations
        Tells whether any are searched; nobody asks where no exposure or visit is named.
    recorders
        The repositories whose dimension records may tell of that exposure.
    as_of
        Commit or edit after which is looked; None = now.
    """

    repository: Repository
    defaults: Mapping[str, DataIdValue]
    calibrations: Callable[[], bool]
    recorders: Sequence[Repository]
    as_of: int | None = None

    def resolve(
        self, dataset_type: str, data_id: Mapping[str, object] | None, keys: Mapping[str, object]
    ) -> Lookup:
        """Complete and check a data ID to look up.

        Raises
        ------
        NotFoundError
            The dataset type is not registered; or an exposure was named that no dimension record tells of.
        InvalidInputError
            A key is unknown, missing, extra or contradicts another one or a dimension record.
        """
        named = self.name(dataset_type, data_id, keys)
        timespan = None
        if named.moment is not None:
            timespans = (recorder.catalog.timespan(named.moment) for recorder in self.recorders)
            timespan = next((one for one in timespans if one is not None), None)
        return self.complete(named, timespan)

    def name(
        self, dataset_type: str, data_id: Mapping[str, object] | None, keys: Mapping[str, object]
    ) -> NamedLookup:
        """Return what a data ID to look up names: the first half of `resolve`."""
        universe, defaults = self.repository.catalog.universe, self.defaults
        known = self.repository.catalog.dataset_type(dataset_type)
        others = [one for one in self.recorders if one is not self.repository]
        given, implied = _split(self.repository, [self.repository, *others], known, data_id, keys, defaults)
        extra = {name: value for name, value in given.items() if name not in known.dimensions}
        if not extra:  # a Butler may be opened for one exposure
            extra = {
                name: value
                for name, value in defaults.items()
                if name in universe and universe[name].temporal and name not in known.dimensions
            }
        if not extra or not self.calibrations():
            return NamedLookup(dataset_type=known, given=given, implied=implied)
        everything = {name: value for name, value in defaults.items() if name in universe}
        everything |= given | implied
        moment = make_data_id(universe, everything, {})
        return NamedLookup(dataset_type=known, given=given, implied=implied, moment=moment, moment_of=extra)

    def complete(self, named: NamedLookup, timespan: Timespan | None) -> Lookup:
        """Return what to look for, at the time of its moment: the second half of `resolve`."""
        known, given, implied = named.dataset_type, named.given, named.implied
        if named.moment is None:
            resolved = _complete(self.repository, known, given, self.defaults)
            _check_implied(self.repository, known, resolved, implied)
            return Lookup(dataset_type=known, data_id=resolved, as_of=self.as_of)
        if timespan is None:
            raise NotFoundError(
                f"{known.name!r} is to be looked up at the time of {named.moment}, "
                "which no dimension record tells",
                hint="insert the exposure's or visit's record with its timespan: "
                "Butler.insert_dimension(...)",
            )
        own = {name: value for name, value in given.items() if name in known.dimensions}
        follow: dict[str, DataIdValue] = {}
        if not set(known.dimensions) <= own.keys():  # of a bias nothing more needs to be found out
            for recorder in reversed(self.recorders):
                follow |= _implied_values(recorder, named.moment_of, named.moment)
        for name, value in {**follow, **implied}.items():
            if name in known.dimensions:
                own.setdefault(name, value)
        return Lookup(
            dataset_type=known,
            data_id=_complete(self.repository, known, own, self.defaults),
            timespan=timespan,
            as_of=self.as_of,
        )


def find_stored(
    repository: Repository, lookup: Lookup, collections: Sequence[str], version: int | None = None
) -> StoredDataset | None:
    """Find the first match in the collections, in order."""
    return repository.catalog.find(
        lookup.dataset_type,
        lookup.data_id,
        collections,
        version=version,
        timespan=lookup.timespan,
        as_of=lookup.as_of,
    )


def _split(
    repository: Repository,
    recorders: Sequence[Repository],
    dataset_type: DatasetType,
    data_id: Mapping[str, object] | None,
    keys: Mapping[str, object],
    defaults: Mapping[str, DataIdValue],
) -> tuple[dict[str, DataIdValue], dict[str, DataIdValue]]:
    """Return what was given, and apart from it the values that follow from records of its dimensions."""
    universe = repository.catalog.universe
    given: Mapping[str, DataIdValue] | None
    try:
        given = make_data_id(universe, data_id, keys, what=dataset_type.name)
    except InvalidInputError:  # plain keys, which most are, pay nothing for the other spellings
        given = spelled_out(
            universe,
            recorders,
            data_id,
            keys,
            defaults,
            dimensions=dataset_type.dimensions,
            what=dataset_type.name,
        )
        if given is None:
            raise
    if all(name in dataset_type.dimensions for name in given):
        return dict(given), {}
    follow = set(universe.implied(dataset_type.dimensions))
    return (
        {name: value for name, value in given.items() if name not in follow},
        {name: value for name, value in given.items() if name in follow},
    )


def _complete(
    repository: Repository,
    dataset_type: DatasetType,
    given: Mapping[str, object],
    defaults: Mapping[str, DataIdValue],
) -> DataId:
    return make_data_id(
        repository.catalog.universe,
        given,
        {},
        defaults=defaults,
        dimensions=dataset_type.dimensions,
        what=dataset_type.name,
    )


def _check_implied(
    repository: Repository, dataset_type: DatasetType, data_id: DataId, implied: Mapping[str, DataIdValue]
) -> None:
    if not implied:
        return
    recorded = _implied_values(repository, data_id, data_id)
    for name, value in implied.items():
        if name not in recorded:
            raise InvalidInputError(
                f"{dataset_type.name}: {name}={value!r} is no key of its data IDs, and no dimension record "
                f"says it of {data_id}",
                hint=f"leave {name} out, or insert the records first: Butler.insert_dimension(...)",
                kind=ErrorKind.DATA_ID,
            )
        if recorded[name] != value:
            raise InvalidInputError(
                f"{dataset_type.name}: {name}={value!r} contradicts the dimension records, "
                f"which say {recorded[name]!r} for {data_id}",
                hint=f"leave {name} out; it follows from the others",
                kind=ErrorKind.DATA_ID,
            )


def _implied_values(
    repository: Repository, names: Mapping[str, DataIdValue], data_id: DataId
) -> dict[str, DataIdValue]:
    """Return what the dimension records of ``names`` say of the dimensions that they imply, transitively."""
    universe = repository.catalog.universe
    values: dict[str, DataIdValue] = {}
    known = dict(data_id)
    todo = list(names)
    while todo:
        dimension = universe[todo.pop()]
        keys = {key: known[key] for key in dimension.record_keys if key in known}
        if not dimension.implies or len(keys) < len(dimension.record_keys):
            continue
        for name, value in repository.catalog.implied_values(dimension.name, keys).items():
            if name not in values:
                values[name] = known[name] = value
                todo.append(name)
    return values
