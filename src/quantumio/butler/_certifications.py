"""When calibrations are valid: lazy results, as records or as a table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import chain, islice
from typing import Final

from attrs import evolve

from quantumio.butler._session import Session, seq_of
from quantumio.butler._threads import in_thread, reading_in_thread
from quantumio.model import Timespan
from quantumio.ports import Catalog, MemberColumns, MemberQuery, MemberRecord

__all__ = ["AsyncCertifications", "Certifications"]

_PAGE: Final = 2_000
_ALWAYS: Final = Timespan()


class Certifications:
    """Certifications of calibrations, found when they are asked for.

    Iterating gives records with ``collection``, ``ref`` and ``timespan``, page by page; nothing stays open in
    between. Each use asks the registry anew.
    """

    def __init__(self, session: Session, query: MemberQuery, as_of: object) -> None:
        self._session = session
        self._query = query
        self._as_of = as_of

    def _narrowed(self) -> Iterator[tuple[Catalog, MemberQuery]]:
        """Yield the registries that have any of the collections, each with those that it has."""
        types = self._session.narrow_types(self._query.dataset_types)
        for repository, names in self._session.narrow(self._query.collections, self._as_of):
            if known := types(repository):
                seq = seq_of(repository, self._as_of)
                yield (
                    repository.catalog,
                    evolve(self._query, collections=names or (), dataset_types=known, as_of=seq),
                )

    def __iter__(self) -> Iterator[MemberRecord]:
        for catalog, query in self._narrowed():
            yield from catalog.members(query)

    def count(self) -> int:
        """Return how many there are, without fetching them."""
        return sum(catalog.count_members(query) for catalog, query in self._narrowed())

    def table(self, as_: str = "arrow") -> object:
        """Return them as a table.

        Parameters
        ----------
        as_
            Form of the table, as for `Query.table`.

        Returns
        -------
        object
            One row a certification: ``collection``, ``dataset_type``, a column per dimension, ``run``,
            ``version``, ``id``, ``timespan_begin``, ``timespan_end`` (UTC, to the nanosecond; empty where
            unbounded).

        Raises
        ------
        InvalidInputError
            There is no such form.
        """
        from quantumio.formats import reference_table

        universe, dimensions = self._session.repositories[0].catalog.universe, self._dimensions()
        kinds = {
            "collection": "str",
            "dataset_type": "str",
            **{name: str(universe[name].key) for name in dimensions},
            "run": "str",
            "version": "int",
            "id": "str",
            "timespan_begin": "tai",
            "timespan_end": "tai",
        }
        found = (part for catalog, query in self._narrowed() for part in catalog.member_columns(query))
        batches = (_batch(kinds, part) for part in chain([None], found))
        return reference_table(batches, as_, droppable=dimensions)

    def _dimensions(self) -> tuple[str, ...]:
        """Return the dimensions of the dataset types that are asked for, whether there is one or not."""
        patterns = self._query.dataset_types
        return self._session.repositories[0].catalog.universe.sort(
            {
                dimension
                for repository in self._session.repositories
                for known in repository.catalog.dataset_types()
                if any(fnmatchcase(known.name, pattern) for pattern in patterns)
                for dimension in known.dimensions
            }
        )


def _batch(kinds: Mapping[str, str], part: MemberColumns | None) -> object:
    """Return columns as a batch: those of these kinds; without rows where there is no part."""
    from quantumio.formats import column_batch

    values: dict[str, Sequence[object]] = {}
    if part is not None:
        values = {
            **part.data_ids,
            "collection": [part.collection] * len(part.ids),
            "dataset_type": [part.dataset_type.name] * len(part.ids),
            "run": part.runs,
            "version": part.versions,
            "id": [str(id_) for id_ in part.ids],
            "timespan_begin": [None if ns == _ALWAYS.begin_ns else ns for ns in part.begin_ns],
            "timespan_end": [None if ns == _ALWAYS.end_ns else ns for ns in part.end_ns],
        }
    missing = [None] * (0 if part is None else len(part.ids))
    return column_batch({name: (kind, values.get(name, missing)) for name, kind in kinds.items()})


class AsyncCertifications:
    """Certifications of calibrations, for event loops; see `Certifications`. Iterate with ``async for``."""

    def __init__(self, make: Callable[[], Certifications]) -> None:
        self._make = make

    async def _certifications(self) -> Certifications:
        return await reading_in_thread(self._make)

    async def __aiter__(self) -> AsyncIterator[MemberRecord]:
        records = iter(await self._certifications())
        while page := await in_thread(lambda: list(islice(records, _PAGE))):
            for record in page:
                yield record

    async def count(self) -> int:
        """Return how many there are, without fetching them."""
        return await reading_in_thread((await self._certifications()).count)

    async def table(self, as_: str = "arrow") -> object:
        """Return them as a table; see `Certifications.table`."""
        return await reading_in_thread((await self._certifications()).table, as_)
