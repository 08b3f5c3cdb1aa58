"""Finding and reading datasets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from uuid import UUID

from quantumio.butler._butler_base import ButlerBase
from quantumio.butler._certifications import Certifications
from quantumio.butler._deferred import DeferredDataset
from quantumio.butler._find_each import find_each
from quantumio.butler._join import Join
from quantumio.butler._lookup import resolve_output
from quantumio.butler._query import Query, parse_order
from quantumio.butler._reading import ReadRequest
from quantumio.butler._records import DatasetVersion, Location, dataset_version, locations
from quantumio.butler._session import (
    AsOf,
    Collections,
    as_collections,
    as_names,
    check_count,
    check_mapping,
    dataset_id_of,
    is_glob,
    seq_of,
)
from quantumio.errors import ErrorKind, InvalidInputError, NotFoundError, shown
from quantumio.model import (
    DatasetRef,
    Resolution,
    Timespan,
    check_data_id_value,
    check_identifier,
)
from quantumio.ports import CollectionKind, DatasetQuery, MemberQuery

__all__ = ["Reads"]


class Reads(ButlerBase):
    """The side of a Butler that finds datasets, reads them and tells where they are."""

    def get(
        self,
        dataset_type_or_ref: str | DatasetRef | UUID,
        data_id: Mapping[str, object] | None = None,
        *,
        collections: Collections = None,
        as_: str | None = None,
        component: str | None = None,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        readonly: bool = False,
        as_of: AsOf = None,
        **keys: object,
    ) -> object:
        """Read a dataset: by its ref, or the first match in the collections, in order.

        Parameters
        ----------
        dataset_type_or_ref
            Name of a dataset type, or a ref or its UUID.
        data_id, **keys
            Which dataset; completed by the Butler's defaults. Calibrations may be asked for by an exposure
            or visit.
        collections
            Where to look; None is the Butler's run and collections.
        as_
            Form: ``native``, ``astropy``, ``pandas``, ``arrow``, ``polars``, ``numpy``.
        component, columns
            A part of it.
        version
            Number of a version; None is the latest.
        readonly
            Whether memory may be shared with the buffer: then the result must not be changed.
        as_of
            Look at what there was at a moment: a Time or datetime, the number of a commit, or the name of a
            snapshot; None is now.

        Returns
        -------
        object
            The caller's own to change, unless ``readonly``.

        Raises
        ------
        NotFoundError
            There is no such dataset; the message names a match that is still queued. Or there was one at
            that moment, but it was removed since and its data are gone (``kind="removed"``).
        InvalidInputError
            The data ID, form, component or columns are wrong, or no collection says where to look; nothing
            was read.
        DestinationError, FormatError
            Its bytes cannot be had.
        """
        request = ReadRequest.make(as_, component, columns, readonly=readonly)
        if not isinstance(dataset_type_or_ref, str):
            return self._session.read_ref(dataset_type_or_ref, request)[1]
        path = self._session.search_path(collections)
        return self._session.read(dataset_type_or_ref, data_id, keys, path, version, request, as_of)[1]

    def defer(self, ref: DatasetRef | UUID) -> DeferredDataset:
        """Return a handle that reads the dataset later, in this or in another process."""
        _, stored = self._session.stored_of(ref)
        return DeferredDataset(self, stored.ref)

    def find(
        self,
        dataset_type: str,
        data_id: Mapping[str, object] | None = None,
        *,
        collections: Collections = None,
        version: int | None = None,
        as_of: AsOf = None,
        **keys: object,
    ) -> DatasetRef | None:
        """Return the ref of the first committed match, or None.

        Raises
        ------
        InvalidInputError
            The data ID is wrong, or no collection says where to look.
        ConflictError
            Several calibrations are valid (``kind="ambiguous_calibration"``).
        """
        path = self._session.search_path(collections)
        found = self._session.find(dataset_type, data_id, keys, path, version, as_of)
        return None if found is None else found[1].ref

    def exists(
        self,
        dataset_type_or_ref: str | DatasetRef | UUID,
        data_id: Mapping[str, object] | None = None,
        *,
        collections: Collections = None,
        version: int | None = None,
        as_of: AsOf = None,
        **keys: object,
    ) -> bool:
        """Tell whether there is a committed match."""
        if isinstance(dataset_type_or_ref, str):
            return (
                self.find(
                    dataset_type_or_ref,
                    data_id,
                    collections=collections,
                    version=version,
                    as_of=as_of,
                    **keys,
                )
                is not None
            )
        try:
            self._session.stored_of(dataset_type_or_ref)
        except NotFoundError:
            return False
        return True

    def find_each(
        self,
        dataset_type: str,
        data_ids: Iterable[Mapping[str, object]],
        *,
        collections: Collections = None,
        as_: str = "arrow",
        as_of: AsOf = None,
    ) -> object:
        """Look many data IDs up at once, such as the flats for all detectors of many visits.

        Parameters
        ----------
        dataset_type
            Its name.
        data_ids
            As `find` takes them: complete, or with an exposure or visit that says when; `query_data_ids`
            gives them.
        collections
            As for `find`.
        as_
            Form of the table, as for `Query.table`.
        as_of
            Look at what there was at a moment, as for `get`.

        Returns
        -------
        object
            A row for each data ID, in order: its keys, ``id``, and ``matches``: 0 where there is none, 1, or
            more where it is ambiguous, as several calibrations are valid; then ``id`` is empty, too.

        Raises
        ------
        NotFoundError
            There is no such dataset type or collection.
        InvalidInputError
            A data ID is wrong, or there is no such form.
        """
        from quantumio.formats import column_batch, reference_table

        path = self._session.search_path(collections)
        name = check_identifier(dataset_type, "dataset type")
        found = find_each(self._session, name, data_ids, path, as_of)
        universe = self._first.catalog.universe
        columns: dict[str, tuple[str, Sequence[object]]] = {
            name: (str(universe[name].key), values) for name, values in found.columns.items()
        }
        # One calibration is the match of many, as one object; to hash a UUID takes as long as all else.
        objects = list(map(id, found.ids))
        texts = {key: one and str(one) for key, one in dict(zip(objects, found.ids, strict=True)).items()}
        columns["id"] = ("str", list(map(texts.__getitem__, objects)))
        columns["matches"] = ("int", found.numbers)
        return reference_table([column_batch(columns)], as_)

    def ref(self, dataset_id: UUID | str) -> DatasetRef:
        """Return the ref of a committed dataset by its UUID.

        Raises
        ------
        NotFoundError
            There is none.
        InvalidInputError
            It is no UUID.
        """
        return self._session.repository_of(dataset_id_of(dataset_id))[1].ref

    def versions(
        self,
        dataset_type: str,
        data_id: Mapping[str, object] | None = None,
        *,
        run: str | None = None,
        as_of: AsOf = None,
        **keys: object,
    ) -> list[DatasetVersion]:
        """Return all versions of a dataset in one run, oldest first.

        Parameters
        ----------
        dataset_type, data_id, **keys
            Which dataset.
        run
            RUN collection; None is the Butler's own, else every run that has it.
        """
        runs = [run or self._session.run]
        versions = []
        for repository in self._session.knowing(check_identifier(dataset_type, "dataset type")):
            known, full = resolve_output(repository, dataset_type, data_id, keys, self._session.defaults)
            seq = seq_of(repository, as_of)
            kinds = {record.name: record.kind for record in repository.catalog.collections()}
            names = sorted(kinds) if seq is None else sorted(repository.catalog.collection_names(seq))
            for name in names:
                # A name that is no run any more may have been one then; of others there are no versions.
                is_run = seq is not None or kinds[name] is CollectionKind.RUN
                if is_run and (runs == [None] or name in runs):
                    versions += repository.catalog.versions(known, full, name, as_of=seq)
        return [dataset_version(stored) for stored in versions]

    def query(
        self,
        dataset_type: str | Sequence[str] = "*",
        *,
        where: str | None = None,
        collections: Collections = None,
        order_by: str | Sequence[str] = (),
        limit: int | None = None,
        versions: str = "latest",
        bind: Mapping[str, object] | None = None,
        as_of: AsOf = None,
        **keys: object,
    ) -> Query:
        """Look for datasets; the result is lazy.

        Parameters
        ----------
        dataset_type
            Names or globs.
        where, bind
            Expression over dimensions, their metadata and what each dataset tells (``dataset_type``, ``run``,
            ``version``, ``size``, ``digest``, ``status``, ``committed`` or ``ingest_date``, ``commit_seq``),
            e.g. ``"band IN ('g', 'r') AND committed > T'2025-06-24'"``, and the values of its ``:name``
            parameters. Of what the search finds it chooses: with ``versions="latest"``, ``version = 1`` are
            those that have no second one.
        collections
            Names in search order: of each dataset the first match; with a glob: all matches. None is the
            Butler's own, else every run.
        order_by
            Names of dimensions, fields of their records (``visit.exposure_time_s``,
            ``visit.timespan.begin``), and of what each dataset tells, as in ``where``; ``-`` in front
            reverses. What has no value comes first, or last in reverse.
        limit
            At most so many.
        versions
            ``latest`` or ``all``.
        as_of
            Look at what there was at a moment, as for `get`.
        **keys
            Values of dimensions that all matches have.

        Raises
        ------
        InvalidInputError
            A name or an expression is wrong; of an expression the message points at the character. Raised at
            the latest when the result is first used.
        """
        self._session.check_open()
        if versions not in ("latest", "all"):
            raise InvalidInputError(f"versions={shown(versions)}", hint="use 'latest' or 'all'")
        if limit is not None:
            check_count(limit, "limit", 0)
        names = as_names(dataset_type, "dataset_type")
        path = self._session.query_path(collections)
        universe = self._first.catalog.universe
        return Query(
            self._session,
            DatasetQuery(
                dataset_types=names,
                collections=path,
                data_id={name: check_data_id_value(universe, name, value) for name, value in keys.items()},
                where=where,
                bind=self._checked(where, bind),
                find_first=path is not None and not any(is_glob(name) for name in path),
                versions=versions,
                order_by=parse_order(order_by),
                limit=limit,
            ),
            as_of,
        )

    def query_joined(
        self,
        dataset_types: Sequence[str],
        *,
        calibrations: str | Sequence[str] = (),
        where: str | None = None,
        bind: Mapping[str, object] | None = None,
        collections: Collections = None,
        limit: int | None = None,
        as_of: AsOf = None,
        **keys: object,
    ) -> Join:
        """Look for datasets that belong together, such as each calexp with its raw; the result is lazy.

        Datasets belong together that have the same values of the dimensions that they share. Dimensions that
        they do not share are joined as by `query_data_ids`: exposures with the visits that they are of, a
        flat with the exposures in its filter, visits with the patches that they overlap.

        Parameters
        ----------
        dataset_types
            Names, of at least one; tuples have their datasets in this order.
        calibrations
            Names of further dataset types, each looked up by the data ID of the first dataset of each tuple,
            as by `find`: None where none is valid at its time.
        where, bind
            As for `query`; fields of datasets are written with their dataset type: ``calexp.committed``.
        collections
            As for `query`. Those of calibrations are searched for ``calibrations`` alone, which take no glob.
        limit
            At most so many tuples.
        as_of
            Look at what there was at a moment, as for `get`.
        **keys
            Values of dimensions that all tuples have.

        Returns
        -------
        Join
            Tuples of refs, in the order of their dimensions, or a table.

        Raises
        ------
        InvalidInputError
            A name or an expression is wrong, or records that join the dimensions are lacking. Raised at the
            latest when the result is first used, as the others are.
        NotFoundError
            There is no such dataset type or collection.
        ConflictError
            Several calibrations are valid (``kind="ambiguous_calibration"``).

        Notes
        -----
        Datasets of different repositories are not joined. What is joined on the sky is in memory.
        """
        self._session.check_open()
        if limit is not None:
            check_count(limit, "limit", 0)
        names = as_names(dataset_types, "dataset_types")
        universe = self._first.catalog.universe
        query = DatasetQuery(
            dataset_types=tuple(check_identifier(name, "dataset type") for name in names),
            collections=self._session.query_path(collections),
            data_id={name: check_data_id_value(universe, name, value) for name, value in keys.items()},
            where=where,
            bind=self._checked(where, bind),
            limit=limit,
        )
        others = as_names(calibrations, "calibrations")
        return Join(
            self._session, query, tuple(check_identifier(name, "dataset type") for name in others), as_of
        )

    def certifications(
        self,
        collections: str | Sequence[str],
        dataset_type: str | Sequence[str] = "*",
        data_id: Mapping[str, object] | None = None,
        *,
        begin: object = None,
        end: object = None,
        as_of: AsOf = None,
    ) -> Certifications:
        """Look for certifications: which calibrations are valid when; the result is lazy.

        What is in a TAGGED collection, or in any other, tells `query`.

        Parameters
        ----------
        collections
            Names or globs of CALIBRATION collections, or of chains with such collections in them.
        dataset_type
            Names or globs.
        data_id
            Values of dimensions that all of them have; it may be partial.
        begin, end
            Only what is valid at any time between these (`~astropy.time.Time`, half-open, None = unbounded).
        as_of
            Look at what there was at a moment, as for `get`.

        Returns
        -------
        Certifications
            Records with ``collection``, ``ref`` and ``timespan``, or a table; collection by collection, in
            the order of dataset type, data ID and begin.

        Raises
        ------
        InvalidInputError
            A name, a value or a time is wrong, or a collection that is named is of another kind. Raised at
            the latest when the result is first used, as the other is.
        NotFoundError
            There is no such dataset type or collection.
        """
        self._session.check_open()
        path = as_collections(collections, globs=True)
        if not path:
            raise InvalidInputError(
                "no collection says where to look",
                hint="name a CALIBRATION collection, or give '*' for all",
                kind=ErrorKind.COLLECTION,
            )
        universe = self._first.catalog.universe
        given = check_mapping(data_id, "data_id")
        query = MemberQuery(
            kind=CollectionKind.CALIBRATION,
            collections=path,
            dataset_types=as_names(dataset_type, "dataset_type"),
            data_id={name: check_data_id_value(universe, name, value) for name, value in given.items()},
            timespan=None if begin is None and end is None else Timespan.make((begin, end)),
        )
        return Certifications(self._session, query, as_of)

    def _checked(self, where: str | None, bind: object) -> Mapping[str, object]:
        """Return the values of parameters; refuse an expression that is wrong wherever it is asked."""
        given = {  # a query may be asked again and again
            name: list(value) if isinstance(value, Iterator) else value
            for name, value in check_mapping(bind, "bind").items()
        }
        if where is not None:
            self._first.catalog.check_expression(where, given)
        return given

    def where_is(self, ref: DatasetRef | UUID) -> list[Location]:
        """Return where the bytes (or rows) of a dataset are.

        Raises
        ------
        NotFoundError
            It is not committed.
        """
        repository, stored = self._session.stored_of(ref)
        return locations(repository, stored)

    def explain_put(
        self,
        dataset_type: str,
        data_id: Mapping[str, object] | None = None,
        *,
        run: str | None = None,
        to: str | Sequence[str] | None = None,
        own: str | None = None,
        **keys: object,
    ) -> Resolution:
        """Return which destinations and which format an output would get, by which rule, and why.

        Raises
        ------
        InvalidInputError
            The policy cannot take this dataset type, or the data ID is wrong.
        """
        repository = self._session.knowing(check_identifier(dataset_type, "dataset type"))[0]
        known = repository.catalog.dataset_type(dataset_type)
        if data_id or keys:
            resolve_output(repository, dataset_type, data_id, keys, self._session.defaults)
        policies = self._session.policies[str(repository.root)]
        return policies.resolve(known, run or self._session.run or "", to=to, own=own)
