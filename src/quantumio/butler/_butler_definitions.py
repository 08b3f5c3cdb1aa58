"""What there is to know of a repository: dataset types, dimensions, collections, destinations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from uuid import UUID

from quantumio.butler._butler_base import ButlerBase
from quantumio.butler._imported_dimensions import DimensionImport, import_dimension_records, read_export
from quantumio.butler._records import records_of
from quantumio.butler._session import (
    AsOf,
    Collections,
    as_collections,
    as_names,
    as_path,
    as_refs,
    check_mapping,
    dataset_id_of,
    seq_of,
)
from quantumio.errors import ErrorKind, InvalidInputError, shown
from quantumio.model import (
    DataId,
    DatasetRef,
    DatasetType,
    DestinationSettings,
    DimensionUniverse,
    Timespan,
    check_data_id_value,
    check_identifier,
    check_run,
    tai_ns_each,
)
from quantumio.ports import CollectionKind, CollectionRecord, CollectionRemoval

__all__ = ["Definitions"]


class Definitions(ButlerBase):
    """The side of a Butler that defines dataset types, dimensions and collections."""

    @property
    def dimensions(self) -> DimensionUniverse:
        """Dimensions of the (first) repository."""
        return self._first.catalog.universe

    def register_dataset_type(self, dataset_type: DatasetType) -> bool:
        """Register a dataset type; False if the same one was registered already.

        Raises
        ------
        ConflictError
            Another definition has this name.
        InvalidInputError
            It names a dimension or a storage class that does not exist.
        """
        repository = self._session.writeable()
        if not isinstance(dataset_type, DatasetType):
            raise InvalidInputError(
                f"{shown(dataset_type)} is no dataset type",
                hint="give DatasetType('name', dimensions=[...], storage_class='...')",
                kind=ErrorKind.DATASET_TYPE,
            )
        repository.formats.storage_class(dataset_type.storage_class)
        return repository.catalog.register_dataset_type(dataset_type)

    def dataset_type(self, name: str) -> DatasetType:
        """Return a registered dataset type.

        Raises
        ------
        NotFoundError
            It is not registered.
        """
        known = self._session.knowing(check_identifier(name, "dataset type"))
        return known[0].catalog.dataset_type(name)

    def dataset_types(self) -> list[DatasetType]:
        """Return all registered dataset types, by name."""
        self._session.check_open()
        found = {
            known.name: known
            for repository in reversed(self._session.repositories)
            for known in repository.catalog.dataset_types()
        }
        return [found[name] for name in sorted(found)]

    def insert_dimension(self, element: str, records: object) -> int:
        """Insert dimension records in bulk, all or none; the same record again is no error.

        Parameters
        ----------
        element
            Name of a dimension (``visit``) or relation (``visit_definition``).
        records
            Mappings, a `pyarrow.Table`, a pandas DataFrame or an astropy Table. Keys of the record, implied
            dimensions, metadata; ``timespan``: a pair of `~astropy.time.Time` or a `Timespan`; ``region``:
            IVOA POS text (degrees, ICRS), a `Region`, or what `Region.make` takes.

        Returns
        -------
        int
            Number of records that were new.

        Raises
        ------
        ConflictError
            A different record has the same key.
        InvalidInputError
            A field is unknown, missing or wrong; names the record and the field.
        """
        repository = self._session.writeable()
        return repository.catalog.insert_dimension(
            element, records_of(element, records, self._session.defaults, repository.catalog.universe)
        )

    def import_dimensions(self, path: str | PathLike[str], *, dry_run: bool = False) -> DimensionImport:
        """Insert the dimension records of an export of the Rubin Data Butler (a YAML file).

        Fields get the names that they have in this repository; those that it has no place for are left out.

        Parameters
        ----------
        path
            Of the file.
        dry_run
            Insert nothing, and tell what would be inserted, what is there already, and what would be refused;
            also on a Butler that is read-only.

        Returns
        -------
        DimensionImport
            How many records were new, and what there is no place for.

        Raises
        ------
        ConflictError
            A different record is there under a key.
        NotFoundError, DestinationError
            The file is not there or cannot be read.
        FormatError, InvalidInputError
            It is no such export, or a record is wrong; what is wrong in the file itself is found before
            anything is inserted.

        Notes
        -----
        Each dimension is inserted whole or not at all. What was broken off is done again: records that are
        there are no error.
        """
        repository = self._session.target() if dry_run else self._session.writeable()
        entries = read_export(as_path(path, "export"))
        return import_dimension_records(repository.catalog, entries, dry_run=dry_run)

    def query_dimension_records(
        self,
        element: str,
        *,
        where: str | None = None,
        bind: Mapping[str, object] | None = None,
        as_of: AsOf = None,
        **keys: object,
    ) -> list[dict[str, object]]:
        """Return the records of a dimension, ordered by key; with ``as_of`` those that there were then.

        Raises
        ------
        InvalidInputError
            It is no dimension, or the expression is wrong.
        """
        catalog = self._first.catalog
        given = {name: check_data_id_value(catalog.universe, name, value) for name, value in keys.items()}
        seq = seq_of(self._first, as_of)
        bound = check_mapping(bind, "bind")
        return list(catalog.dimension_records(element, given, where, bound, as_of=seq))

    def query_data_ids(
        self,
        dimensions: Sequence[str],
        *,
        where: str | None = None,
        bind: Mapping[str, object] | None = None,
        datasets: str | Sequence[str] = (),
        collections: Collections = None,
        as_of: AsOf = None,
        **keys: object,
    ) -> list[DataId]:
        """Return the data IDs over these dimensions that exist as dimension records, or as datasets.

        Dimensions of two spatial families, such as visits and patches, are joined by overlap on the sky, and
        each selects by overlap where only the other is wanted: ``query_data_ids(["patch"], visit=3)``.

        Parameters
        ----------
        dimensions
            Names; those that they require come along.
        where, bind
            Expression over dimensions and their metadata, and the values of its ``:name`` parameters. Besides
            comparisons it takes ``visit.region OVERLAPS CIRCLE(ra, dec, radius)``, or ``POINT(ra, dec)``,
            ``BOX(ra, dec, width, height)``, ``POLYGON(ra1, dec1, ...)``, ``REGION('...')``, ``:name``,
            another record's region (degrees of ICRS); and ``visit.timespan OVERLAPS (T'2025-06-24', NULL)``.
            Of datasets it takes their fields, as for `query`: ``version``, or ``raw.version`` where there are
            several dataset types.
        datasets
            Names of dataset types: only data IDs for which there is a dataset of each of them. What these
            tell needs no records: ``query_data_ids(["exposure"], datasets="raw")``.
        collections
            Where to look for these datasets, as for `query`; members of CALIBRATION collections count
            whenever they are valid.
        as_of
            Look at what there was at a moment, as for `get`.
        **keys
            Values of dimensions that all of them have.

        Raises
        ------
        InvalidInputError
            A dimension has no records, or the expression is wrong.
        NotFoundError
            There is no such dataset type or collection.

        Notes
        -----
        Of several repositories the first one is asked.
        """
        catalog = self._first.catalog
        given = {name: check_data_id_value(catalog.universe, name, value) for name, value in keys.items()}
        names = as_names(datasets, "datasets")
        path: tuple[str, ...] | None = ()
        if names:
            narrowed = dict(self._session.narrow(self._session.query_path(collections), as_of))
            path = narrowed.get(self._first, ())
        return catalog.data_ids(
            as_names(dimensions, "dimensions"),
            given,
            where,
            check_mapping(bind, "bind"),
            datasets=names,
            collections=path,
            as_of=seq_of(self._first, as_of),
        )

    def destinations(self) -> list[DestinationSettings]:
        """Return the settings of the destinations that policies can name; no secret is among them."""
        self._session.check_open()
        return [
            repository.settings.destinations[name]
            for repository in self._session.repositories
            for name in sorted(repository.settings.destinations)
        ]

    def collections(self, pattern: str = "*") -> list[CollectionRecord]:
        """Return the collections whose name matches a glob, by name."""
        self._session.check_open()
        return [
            record
            for repository in self._session.repositories
            for record in repository.catalog.collections(as_names(pattern, "pattern")[0])
        ]

    def register_run(self, name: str) -> bool:
        """Register a RUN collection (the first commit to it does so, too); False if it was there."""
        return self._session.writeable().catalog.register_collection(check_run(name), CollectionKind.RUN)

    def associate(self, collection: str, refs: Iterable[DatasetRef]) -> None:
        """Add refs to a TAGGED collection (made where there is none), all or none.

        Raises
        ------
        ConflictError
            Another ref of the same dataset type and data ID is in it.
        """
        self._session.writeable().catalog.associate(check_run(collection, "collection"), as_refs(refs))

    def disassociate(self, collection: str, refs: Iterable[DatasetRef]) -> None:
        """Take refs out of a TAGGED collection; those that are not in it are no error."""
        self._session.writeable().catalog.disassociate(check_run(collection, "collection"), as_refs(refs))

    def certify(self, collection: str, refs: Iterable[DatasetRef], begin: object, end: object) -> None:
        """Say when calibrations are valid, in a CALIBRATION collection (made where there is none).

        Parameters
        ----------
        collection, refs
            Where, and which.
        begin, end
            `~astropy.time.Time`, half-open, None = unbounded.

        Raises
        ------
        ConflictError
            One of the same dataset type and data ID is valid in a part of the time: another ref, or the same
            in a timespan that is not the very same (``kind="validity_overlap"``). Nothing was changed.
        """
        timespan = Timespan.make((begin, end))
        self._session.writeable().catalog.certify(
            check_run(collection, "collection"), as_refs(refs), timespan
        )

    def certify_each(
        self,
        collection: str,
        refs: Iterable[DatasetRef | UUID | str],
        begins: object = None,
        ends: object = None,
    ) -> int:
        """Certify many calibrations at once, each in its own timespan; all or none.

        Parameters
        ----------
        collection
            A CALIBRATION collection; it is made where there is none.
        refs
            Datasets of any dataset types, or their UUIDs, such as the column ``id`` of a reference table.
        begins, ends
            For each when it is valid, half-open: an array of `~astropy.time.Time`, or a list of them with
            None for unbounded. One Time, or None, is that of all.

        Returns
        -------
        int
            How many certifications are new: the very same one again is no error.

        Raises
        ------
        ConflictError
            Two datasets of the same dataset type and data ID would be valid at one time
            (``kind="validity_overlap"``): names the row, counted from 0, and what it overlaps.
        NotFoundError
            A dataset is not committed.
        InvalidInputError
            A time or an id is none, there are too many or too few, or a timespan is empty.
        """
        given = refs.to_pylist() if hasattr(refs, "to_pylist") else refs
        ids = [dataset_id_of(ref) for ref in as_refs(given)]
        whole = Timespan()
        begin_ns = tai_ns_each(begins, len(ids), whole.begin_ns)
        end_ns = tai_ns_each(ends, len(ids), whole.end_ns)
        catalog = self._session.writeable().catalog
        return catalog.certify_each(check_run(collection, "collection"), ids, begin_ns, end_ns)

    def decertify(
        self,
        collection: str,
        dataset_type: str,
        begin: object,
        end: object,
        *,
        data_ids: Sequence[DataId] | None = None,
    ) -> None:
        """End the validity of calibrations within a timespan, truncating and splitting ranges."""
        timespan = Timespan.make((begin, end))
        self._session.writeable().catalog.decertify(
            check_run(collection, "collection"), dataset_type, timespan, data_ids
        )

    def chain(self, collection: str, children: Sequence[str], *, edit: str = "set") -> None:
        """Define a CHAINED collection: these are searched in order.

        Parameters
        ----------
        collection
            Its name; it is made where there is none.
        children
            Names of collections, also of other chains.
        edit
            ``set``: these are the children; ``prepend`` or ``append``: they are searched before or after
            those that are there; ``remove``: they are taken out. Edits of several processes take turns:
            none is lost.

        Raises
        ------
        NotFoundError
            A child does not exist, or the chain of which children are to be taken out.
        ConflictError
            The chain would contain itself, or another kind of collection has the name.
        """
        names = as_collections(children) or ()
        self._session.writeable().catalog.set_chain(check_run(collection, "collection"), names, edit)

    def remove_collection(
        self, collection: str, *, unlink: bool = False, dry_run: bool = True
    ) -> CollectionRemoval:
        """End a collection: its members stay where they are, and its name may be given to another one.

        Parameters
        ----------
        collection
            A run that has no datasets, or a TAGGED, CALIBRATION or CHAINED collection.
        unlink
            Take it out of the chains that it is in.
        dry_run
            Change nothing, and tell what would be changed.

        Raises
        ------
        NotFoundError
            There is no such collection.
        ConflictError
            ``kind="in_use"``: it is in a chain, or it is a run that has datasets. Nothing was changed.
        """
        catalog = self._session.writeable().catalog
        return catalog.remove_collection(collection, unlink=unlink, dry_run=dry_run)
