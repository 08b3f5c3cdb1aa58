"""Queries: lazy results, as refs or as tables."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

from attrs import evolve, frozen

from quantumio.butler._reading import ReadRequest, read_stored
from quantumio.butler._repository import Repository
from quantumio.butler._session import Session, as_names, check_count, seq_of
from quantumio.butler._threads import in_thread, reading_in_thread
from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DatasetRef
from quantumio.ports import DatasetQuery

__all__ = ["AsyncQuery", "Page", "Query", "parse_order", "utc"]

_PAGE = 500
_T = TypeVar("_T")


class Query:
    """Matches of a query, found when they are asked for.

    Iterating gives refs, page by page; nothing stays open in between. Each use asks the registry anew.
    """

    def __init__(self, session: Session, query: DatasetQuery, as_of: object = None) -> None:
        self._session = session
        self._as_of = as_of
        self._query = query

    def _found(self, read: Callable[[Repository, DatasetQuery], Iterator[_T]]) -> Iterator[_T]:
        """Yield what is read of the matches in each repository, up to the limit."""
        left = self._query.limit
        for repository, narrowed in self._narrowed():
            if left is None:
                yield from read(repository, narrowed)
                continue
            for found in read(repository, evolve(narrowed, limit=left)):
                yield found
                left -= 1
            if left == 0:
                return

    def _narrowed(self) -> Iterator[tuple[Repository, DatasetQuery]]:
        """Yield the repositories that have any of the collections, each with those that it has."""
        types = self._session.narrow_types(self._query.dataset_types)
        for repository, names in self._session.narrow(self._query.collections, self._as_of):
            if known := types(repository):
                seq = seq_of(repository, self._as_of)
                yield repository, evolve(self._query, collections=names, dataset_types=known, as_of=seq)

    def __iter__(self) -> Iterator[DatasetRef]:
        self._session.check_open()
        yield from self._found(lambda repository, query: repository.catalog.refs(query))

    def count(self) -> int:
        """Return the number of matches, without fetching them."""
        self._session.check_open()
        total = sum(repository.catalog.count(query) for repository, query in self._narrowed())
        return total if self._query.limit is None else min(total, self._query.limit)

    def get_all(self, *, as_: str | None = None, readonly: bool = False) -> Iterator[object]:
        """Yield the datasets themselves, one at a time, in the form ``as_``."""
        request = ReadRequest.make(as_, None, None, readonly=readonly)

        def read(repository: Repository, query: DatasetQuery) -> Iterator[object]:
            for stored in repository.catalog.query(query):
                yield read_stored(repository, stored, request)

        yield from self._found(read)

    def exists(self) -> bool:
        """Tell whether there is a match, without fetching it."""
        self._session.check_open()
        return any(repository.catalog.any(query) for repository, query in self._narrowed())

    def page(self, size: int = 1000, after: str | None = None) -> Page:
        """Return a page of the matches, as a web service hands them out.

        All pages show the moment of the first, whatever is committed or removed meanwhile.

        Parameters
        ----------
        size
            At most so many.
        after
            ``next`` of the page before; None is the first page.

        Raises
        ------
        InvalidInputError
            ``after`` is no token of this query (``kind="page_token"``).
        """
        self._session.check_open()
        check_count(size, "size", 1)
        number, inner = _split_token(after)
        narrowed = list(self._narrowed())
        if number and number >= len(narrowed):
            raise _bad_token()
        found: list[DatasetRef] = []
        for index in range(number, len(narrowed)):
            repository, query = narrowed[index]
            refs, following = repository.catalog.page(query, size - len(found), inner or None)
            found += refs
            if following is not None:
                return Page(tuple(found), f"{index}.{following}")
            inner = ""
            if len(found) == size and index + 1 < len(narrowed):
                return Page(tuple(found), f"{index + 1}.")
        return Page(tuple(found), None)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[object]:
        """Yield the matches as Arrow record batches, lazily: any number of them takes little memory.

        Parameters
        ----------
        columns
            Names of columns, as `table` has them. Those of all batches of one repository are the same.
        """
        self._session.check_open()
        left = self._query.limit
        for repository, narrowed in self._narrowed():
            query = narrowed if left is None else evolve(narrowed, limit=left)
            batch: Any
            for batch in repository.catalog.columns(query, columns, label=repository.label):
                left = None if left is None else left - batch.num_rows
                yield batch

    def table(self, as_: str = "arrow", columns: Sequence[str] | None = None) -> object:
        """Return the matches as a reference table.

        Parameters
        ----------
        as_
            ``arrow``, ``astropy``, ``pandas``, ``polars``, ``numpy``, or ``votable`` (an XML text).
        columns
            Names of columns, in order: fewer are faster. None are all but the last four of those below.

        Returns
        -------
        object
            One row a dataset: ``dataset_type``, a column per dimension, ``run``, ``version``, ``id``,
            ``size`` (bytes), ``digest``, ``destinations``, ``status`` (``ok`` where one of them has
            it whole), ``committed`` (UTC), ``access_url`` (``butler://<repository label>/<id>``).
            When asked for also those of ObsCore, from the records of dimensions: ``s_region`` (STC-S),
            ``t_min``, ``t_max`` (MJD, UTC), ``t_exptime`` (seconds).

        Raises
        ------
        InvalidInputError
            There is no such form or column.
        """
        from quantumio.formats import reference_table

        droppable = () if columns is not None else self._session.repositories[0].catalog.universe.names
        return reference_table(self._some_batches(columns), as_, droppable)

    def _some_batches(self, columns: Sequence[str] | None) -> Iterator[object]:
        """Yield batches, one without rows where no repository has any of the collections."""
        came = False
        for batch in self.batches(columns):
            came = True
            yield batch
        if not came:
            first = self._session.repositories[0]
            nothing = evolve(self._query, collections=(), dataset_types=())
            yield from first.catalog.columns(nothing, columns, label=first.label)


@frozen
class Page:
    """A page of the matches of a query.

    Attributes
    ----------
    refs
        The matches, in order.
    next
        Give this to `Query.page` for the next page; None where this is the last.
    """

    refs: tuple[DatasetRef, ...]
    next: str | None


def _split_token(after: str | None) -> tuple[int, str]:
    """Return which repository to go on with, and its own token; empty where it begins there."""
    if after is None:
        return 0, ""
    if not isinstance(after, str):
        raise _bad_token()
    number, dot, inner = after.partition(".")
    if not dot or len(number) > 4 or not (number.isascii() and number.isdigit()):
        raise _bad_token()
    return int(number), inner


def _bad_token() -> InvalidInputError:
    return InvalidInputError(
        "after= takes the token that came with the page before; it is none",
        hint="give `Page.next` of the same query, or leave it out for the first page",
        kind=ErrorKind.PAGE_TOKEN,
    )


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

    async def exists(self) -> bool:
        """Tell whether there is a match; see `Query.exists`."""
        return await reading_in_thread((await self._query()).exists)

    async def page(self, size: int = 1000, after: str | None = None) -> Page:
        """Return a page of the matches; see `Query.page`."""
        return await reading_in_thread((await self._query()).page, size, after)

    async def batches(self, columns: Sequence[str] | None = None) -> AsyncIterator[object]:
        """Yield the matches as Arrow record batches; see `Query.batches`."""
        batches = (await self._query()).batches(columns)
        while one := await in_thread(lambda: list(islice(batches, 1))):
            yield one[0]

    async def table(self, as_: str = "arrow", columns: Sequence[str] | None = None) -> object:
        """Return the matches as a reference table; see `Query.table`."""
        return await reading_in_thread((await self._query()).table, as_, columns)


def parse_order(order_by: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names to order by."""
    return as_names(order_by, "order_by")
