"""Queries: lazy results, as refs or as tables."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice

from attrs import evolve

from quantumio.butler._reading import ReadRequest, read_stored
from quantumio.butler._repository import Repository
from quantumio.butler._session import Session, as_names, is_glob
from quantumio.butler._threads import in_thread, reading_in_thread
from quantumio.model import DatasetRef, DimensionUniverse, StoredDataset
from quantumio.ports import DatasetQuery

__all__ = ["AsyncQuery", "Query", "parse_order", "utc"]

_PAGE = 500


class Query:
    """Matches of a query, found when they are asked for.

    Iterating gives refs, page by page; nothing stays open in between. Each use asks the registry anew.
    """

    def __init__(self, session: Session, query: DatasetQuery) -> None:
        self._session = session
        self._query = query

    def _stored(self) -> Iterator[tuple[Repository, StoredDataset]]:
        left = self._query.limit
        for repository, narrowed in self._narrowed():
            query = narrowed if left is None else evolve(narrowed, limit=left)
            for stored in repository.catalog.query(query):
                yield repository, stored
                if left is not None:
                    left -= 1
            if left == 0:
                return

    def _narrowed(self) -> Iterator[tuple[Repository, DatasetQuery]]:
        """Yield the repositories that have any of the collections, each with those that it has."""
        types = {name: self._session.knowing(name) for name in self._query.dataset_types if not is_glob(name)}
        for repository, names in self._session.narrow(self._query.collections):
            known = tuple(
                name for name in self._query.dataset_types if name not in types or repository in types[name]
            )
            if known:
                yield repository, evolve(self._query, collections=names, dataset_types=known)

    def __iter__(self) -> Iterator[DatasetRef]:
        self._session.check_open()
        for _, stored in self._stored():
            yield stored.ref

    def count(self) -> int:
        """Return the number of matches, without fetching them."""
        self._session.check_open()
        total = sum(repository.catalog.count(query) for repository, query in self._narrowed())
        return total if self._query.limit is None else min(total, self._query.limit)

    def get_all(self, *, as_: str | None = None, readonly: bool = False) -> Iterator[object]:
        """Yield the datasets themselves, one at a time, in the form ``as_``."""
        request = ReadRequest.make(as_, None, None, readonly=readonly)
        for repository, stored in self._stored():
            yield read_stored(repository, stored, request)

    def table(self, as_: str = "arrow") -> object:
        """Return the matches as a reference table.

        Parameters
        ----------
        as_
            ``arrow``, ``astropy``, ``pandas``, ``polars``, ``numpy``, or ``votable`` (an XML text).

        Returns
        -------
        object
            One row a dataset: ``dataset_type``, a column per dimension, ``run``, ``version``, ``id``,
            ``size`` (bytes), ``digest``, ``destinations``, ``committed`` (UTC), ``access_url``.
        """
        from quantumio.formats import reference_table

        universe = self._session.repositories[0].catalog.universe
        return reference_table(_reference_columns(list(self._stored()), universe), as_)


def _reference_columns(
    rows: list[tuple[Repository, StoredDataset]], universe: DimensionUniverse
) -> Mapping[str, tuple[str, list[object]]]:
    """Return kind and values of each column; a dimension that a row does not have is None there."""
    stored = [one for _, one in rows]
    used = universe.sort({name for one in stored for name in one.ref.data_id})
    return {
        "dataset_type": ("str", [one.ref.dataset_type.name for one in stored]),
        **{name: (str(universe[name].key), [one.ref.data_id.get(name) for one in stored]) for name in used},
        "run": ("str", [one.ref.run for one in stored]),
        "version": ("int", [one.ref.version for one in stored]),
        "id": ("str", [str(one.ref.id) for one in stored]),
        "size": ("int", [one.nbytes for one in stored]),
        "digest": ("str", [one.artifacts[0].digest if one.artifacts else "" for one in stored]),
        "destinations": ("str", [",".join(a.destination for a in one.artifacts) for one in stored]),
        "committed": ("time", [utc(one.committed_ns) for one in stored]),
        "access_url": ("str", [f"butler://{repository.label}/{one.ref.id}" for repository, one in rows]),
    }


def utc(nanoseconds: int) -> datetime:
    """Return a moment of the wall clock as a datetime in UTC, to the microsecond."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=rest // 1000)


class AsyncQuery:
    """Matches of a query, for event loops; see `Query`. Iterate with ``async for``."""

    def __init__(self, make: Callable[[], Query]) -> None:
        self._make = make

    async def _query(self) -> Query:
        return await reading_in_thread(self._make)

    async def __aiter__(self) -> AsyncIterator[DatasetRef]:
        refs = iter(await self._query())
        while page := await in_thread(lambda: list(islice(refs, _PAGE))):
            for ref in page:
                yield ref

    async def count(self) -> int:
        """Return the number of matches, without fetching them."""
        return await reading_in_thread((await self._query()).count)

    async def get_all(self, *, as_: str | None = None, readonly: bool = False) -> AsyncIterator[object]:
        """Yield the datasets themselves, one at a time, in the form ``as_``."""
        datasets = (await self._query()).get_all(as_=as_, readonly=readonly)
        while one := await in_thread(lambda: list(islice(datasets, 1))):
            yield one[0]

    async def table(self, as_: str = "arrow") -> object:
        """Return the matches as a reference table; see `Query.table`."""
        return await reading_in_thread((await self._query()).table, as_)


def parse_order(order_by: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names to order by."""
    return as_names(order_by, "order_by")
