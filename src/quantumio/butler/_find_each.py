"""Look-ups of many data IDs at once, each at its own time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from quantumio.butler._lookup import resolve_lookup
from quantumio.butler._repository import Repository
from quantumio.butler._session import Session, seq_of
from quantumio.errors import ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import (
    DataId,
    DatasetType,
    DimensionUniverse,
    Timespan,
    data_id_of_keys,
    make_data_id,
)

__all__ = ["find_each"]

_Found = tuple[DataId, "UUID | None", int]


def find_each(
    session: Session,
    dataset_type: str,
    data_ids: Iterable[Mapping[str, object]],
    path: Sequence[str],
    as_of: object = None,
) -> list[_Found]:
    """Return of each data ID what was asked for, the match, and how many there are."""
    universe = session.repositories[0].catalog.universe
    if isinstance(data_ids, (Mapping, str)) or not isinstance(data_ids, Iterable):
        raise InvalidInputError(
            f"{data_ids!r:.80} is no list of data IDs", hint="give a list", kind=ErrorKind.DATA_ID
        )
    asked = list(_checked(universe, data_ids))
    found: list[_Found] = [(one, None, 0) for one in asked]
    left = list(range(len(asked)))
    narrowed = dict(session.narrow(tuple(path), as_of))
    for repository in session.knowing(dataset_type):
        if left and (collections := narrowed.get(repository)):
            known = repository.catalog.dataset_type(dataset_type)
            seq = seq_of(repository, as_of)
            times = _Times(session, repository, known, collections, seq)
            complete = {index: one for index in left if (one := times.complete(asked[index])) is not None}
            matches = repository.catalog.find_each(
                known,
                [one for one, _ in complete.values()],
                [span for _, span in complete.values()],
                collections,
                as_of=seq,
            )
            for index, match, number in zip(complete, *matches, strict=True):
                found[index] = (asked[index], match, number)
            left = [index for index in left if not found[index][2]]
    return found


def _checked(universe: DimensionUniverse, data_ids: Iterable[Mapping[str, object]]) -> Iterator[DataId]:
    """Yield data IDs, checked; those that name the same dimensions as the one before are quickly made."""
    names: tuple[str, ...] = ()
    for one in data_ids:
        made = one if type(one) is DataId else None
        if made is None and type(one) is dict:
            made = data_id_of_keys(universe, one, {}, names)
        if made is None:
            made = make_data_id(universe, one, {})
            names = tuple(made)
        yield made


class _Times:
    """Completes data IDs; what follows from an exposure or visit is found out once for all that name it."""

    def __init__(
        self,
        session: Session,
        repository: Repository,
        dataset_type: DatasetType,
        collections: Sequence[str],
        as_of: int | None,
    ) -> None:
        self._session = session
        self._repository = repository
        self._type = dataset_type
        self._collections = collections
        self._as_of = as_of
        self._known: dict[tuple[Any, ...], tuple[Mapping[str, Any], Timespan | None]] = {}
        self._shapes: dict[tuple[str, ...], tuple[str, ...]] = {}

    def complete(self, data_id: DataId) -> tuple[DataId, Timespan | None] | None:
        """Return the complete data ID, and when the dataset is to be valid; None if nothing tells."""
        names = tuple(data_id)
        shared = self._shapes.get(names)
        if shared is None:
            shared = self._shapes[names] = self._names_that_decide(names)
        key = (names, *[data_id[name] for name in shared])
        if key not in self._known:
            try:
                lookup = resolve_lookup(
                    self._repository,
                    self._type.name,
                    data_id,
                    {},
                    self._session.defaults,
                    self._collections,
                    self._session.repositories,
                    self._as_of,
                )
            except NotFoundError:
                return None
            follows = {name: value for name, value in lookup.data_id.items() if name not in data_id}
            self._known[key] = follows, lookup.timespan
        own, timespan = self._known[key]
        whole = {name: own[name] if name in own else data_id[name] for name in self._type.dimensions}
        return DataId(whole), timespan

    def _names_that_decide(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the dimensions that the time, and what else follows, depend on."""
        catalog = self._repository.catalog
        if not catalog.searches_calibrations(self._collections, self._as_of):
            return tuple(names)
        extra = catalog.universe.required(name for name in names if name not in self._type.dimensions)
        return tuple(name for name in extra if name in names)
