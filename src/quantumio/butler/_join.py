"""Datasets that belong together, by their dimensions: lazy results, as refs or as a table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from uuid import UUID

from attrs import evolve

from quantumio.butler._find_each import find_each
from quantumio.butler._session import Session, seq_of
from quantumio.butler._threads import in_thread, reading_in_thread
from quantumio.errors import ConflictError, ErrorKind
from quantumio.model import DatasetRef
from quantumio.ports import Catalog, DatasetQuery

__all__ = ["AsyncJoin", "Join"]

_PAGE = 2_000


class Join:
    """Datasets of several types that belong together, found when they are asked for.

    Iterating gives tuples of refs, one of each dataset type, page by page; nothing stays open in between.
    Each use asks the registry anew.
    """

    def __init__(
        self, session: Session, query: DatasetQuery, calibrations: tuple[str, ...], as_of: object
    ) -> None:
        self._session = session
        self._query = query
        self._calibrations = calibrations
        self._as_of = as_of

    def _narrowed(self) -> Iterator[tuple[Catalog, DatasetQuery]]:
        """Yield the registries that know all dataset types, each with the collections that it has."""
        self._session.check_open()
        knowing = [set(self._session.knowing(name)) for name in self._query.dataset_types]
        for repository, names in self._session.narrow(self._query.collections, self._as_of):
            if all(repository in one for one in knowing):
                seq = seq_of(repository, self._as_of)
                yield repository.catalog, evolve(self._query, collections=names, as_of=seq)

    def __iter__(self) -> Iterator[tuple[DatasetRef | None, ...]]:
        left = self._query.limit
        for catalog, query in self._narrowed():
            found = catalog.joined(query if left is None else evolve(query, limit=left))
            while page := list(islice(found, _PAGE)):
                yield from self._with_calibrations(page)
                left = None if left is None else left - len(page)

    def _with_calibrations(
        self, page: list[tuple[DatasetRef, ...]]
    ) -> Iterator[tuple[DatasetRef | None, ...]]:
        found = [self._calibrations_of(name, page) for name in self._calibrations]
        for row, *others in zip(page, *found, strict=True):
            yield (*row, *others)

    def _calibrations_of(self, name: str, page: list[tuple[DatasetRef, ...]]) -> list[DatasetRef | None]:
        path = self._session.search_path(self._query.collections)
        data_ids = [row[0].data_id for row in page]
        found = find_each(self._session, name, data_ids, path, self._as_of)
        known: dict[UUID, DatasetRef] = {}
        wanted = {id_ for id_ in found.ids if id_ is not None}
        for repository in self._session.knowing(name):
            left, seq = wanted - known.keys(), seq_of(repository, self._as_of)
            known |= {id_: one.ref for id_, one in repository.catalog.stored(left, as_of=seq).items()}
        for data_id, number in zip(data_ids, found.numbers, strict=True):
            if number > 1:
                raise ConflictError(
                    f"{number} datasets {name!r} are valid for {dict(data_id)}",
                    hint=f"look at Butler.find({name!r}, ...), and decertify all but one",
                    kind=ErrorKind.AMBIGUOUS_CALIBRATION,
                )
        # One that was deleted between the look-ups is none.
        return [None if id_ is None else known.get(id_) for id_ in found.ids]

    def count(self) -> int:
        """Return how many tuples there are, without fetching them."""
        total = sum(catalog.count_joined(query) for catalog, query in self._narrowed())
        return total if self._query.limit is None else min(total, self._query.limit)

    def exists(self) -> bool:
        """Tell whether there is any."""
        return any(
            next(catalog.joined(evolve(query, limit=1)), None) is not None
            for catalog, query in self._narrowed()
            if query.limit != 0
        )

    def table(self, as_: str = "arrow") -> object:
        """Return them as a table.

        Parameters
        ----------
        as_
            Form of the table, as for `Query.table`.

        Returns
        -------
        object
            One row a tuple: a column per dimension, then of each dataset type, such as ``raw``, the columns
            ``raw.id``, ``raw.run`` and ``raw.version``; empty where there is no calibration.

        Raises
        ------
        InvalidInputError
            There is no such form.
        """
        from quantumio.formats import column_batch, reference_table

        universe = self._session.repositories[0].catalog.universe
        rows = list(self)
        names = self._query.dataset_types
        types = [self._session.knowing(name)[0].catalog.dataset_type(name) for name in names]
        columns: dict[str, tuple[str, list[object]]] = {}
        for name in universe.sort({name for one in types for name in one.dimensions}):
            at = next(number for number, one in enumerate(types) if name in one.dimensions)
            columns[name] = (str(universe[name].key), [_value(row[at], name) for row in rows])
        for at, name in enumerate((*names, *self._calibrations)):
            refs = [row[at] for row in rows]
            columns[f"{name}.id"] = ("str", [ref and str(ref.id) for ref in refs])
            columns[f"{name}.run"] = ("str", [ref and ref.run for ref in refs])
            columns[f"{name}.version"] = ("int", [ref and ref.version for ref in refs])
        return reference_table([column_batch(columns)], as_)


def _value(ref: DatasetRef | None, dimension: str) -> object:
    return None if ref is None else ref.data_id[dimension]


class AsyncJoin:
    """Datasets that belong together, for event loops; see `Join`. Iterate with ``async for``."""

    def __init__(self, make: Callable[[], Join]) -> None:
        self._make = make

    async def _join(self) -> Join:
        return await reading_in_thread(self._make)

    async def __aiter__(self) -> AsyncIterator[tuple[DatasetRef | None, ...]]:
        rows = iter(await self._join())
        while page := await in_thread(lambda: list(islice(rows, _PAGE))):
            for row in page:
                yield row

    async def count(self) -> int:
        """Return how many tuples there are, without fetching them."""
        return await reading_in_thread((await self._join()).count)

    async def exists(self) -> bool:
        """Tell whether there is any."""
        return await reading_in_thread((await self._join()).exists)

    async def table(self, as_: str = "arrow") -> object:
        """Return them as a table; see `Join.table`."""
        return await reading_in_thread((await self._join()).table, as_)
