"""Datasets of an export, with the collections that they are in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from attrs import frozen

from quantumio.butler._exported_content import ExportedContent, ExportedType, read_content
from quantumio.butler._import_plan import new_chains, plan_import
from quantumio.butler._imported_dimensions import DimensionImport, import_dimension_records
from quantumio.butler._ingest import (
    CheckedFile,
    IngestFile,
    check_file,
    check_transfer,
    ingest_files,
    resolution_of,
)
from quantumio.butler._repository import Repository, acquire, release
from quantumio.butler._session import Session
from quantumio.destinations import store_gone
from quantumio.errors import ErrorKind, InvalidInputError, NotFoundError, QuantumioError
from quantumio.model import DatasetRef, DatasetType, DimensionUniverse, Resolution
from quantumio.ports import Catalog, CollectionKind, is_managed

__all__ = ["DatasetImport", "import_exported_datasets"]

_STORAGE_CLASSES: Final = {
    "ArrowAstropy": "AstropyTable",
    "ArrowNumpy": "NDArray",
    "NumpyArray": "NDArray",
    "StructuredDataDict": "Mapping",
}
"""What storage classes of exports are called here."""

_NAMED: Final = 10
"""So many files that are refused beside the first are told by their names."""


@frozen(kw_only=True)
class DatasetImport:
    """What became of the datasets of an export.

    Attributes
    ----------
    dimensions
        What became of its dimension records.
    inserted, there
        Name of each dataset type to the number of its datasets that were new, and that were there already.
    dataset_types, collections
        Names of those that were new.
    members
        Name of each TAGGED or CALIBRATION collection of the export to the number of members or
        certifications that were new.
    left_out
        Kinds of entries that this version of quantumio does not know.
    dry_run
        Whether nothing was inserted: all of this is what would be new.
    refused
        Of a dry run: what the import would be refused for, each as a message; see also those of
        ``dimensions``.
    """

    dimensions: DimensionImport
    inserted: Mapping[str, int]
    there: Mapping[str, int]
    dataset_types: tuple[str, ...]
    collections: tuple[str, ...]
    members: Mapping[str, int]
    left_out: tuple[str, ...]
    dry_run: bool = False
    refused: tuple[str, ...] = ()


def import_exported_datasets(
    session: Session,
    entries: Sequence[Mapping[str, Any]],
    *,
    root: Path,
    transfer: str,
    storage_classes: Mapping[str, object],
    dry_run: bool,
) -> DatasetImport:
    """Insert the dimension records, dataset types, datasets and collections of an export, or tell of them.

    Raises
    ------
    FormatError, InvalidInputError, NotFoundError, ConflictError
        As `Butler.import_datasets` says.
    """
    repository = session.target() if dry_run else session.writeable()
    catalog = repository.catalog
    content = read_content(entries)
    types = {
        name: _dataset_type(catalog.universe, name, exported, storage_classes)
        for name, exported in content.types.items()
    }
    for known in types.values():
        repository.formats.storage_class(known.storage_class)
    check_transfer(transfer, [one.path for of in content.datasets.values() for one in of.values()])
    refused: list[str] = []

    def note(error: QuantumioError) -> None:
        refused.append(error.message)

    plan = plan_import(
        catalog, content, types, root=root, transfer=transfer, refuse=note if dry_run else _raise
    )
    files = {
        key: [
            IngestFile(
                path=one.path if "://" in one.path else str(root / one.path), data_id=data_id, id=one.id
            )
            for data_id, one in datasets.items()
        ]
        for key, datasets in plan.new.items()
    }
    if dry_run:
        dimensions = import_dimension_records(catalog, entries, dry_run=True)
        reader = acquire(repository.root, readonly=True)  # where policies look at stores, none is begun
        try:
            for (name, run), items in files.items():
                known = types.get(name) or catalog.dataset_type(name)
                try:
                    _check_stores(reader, resolution_of(session, reader, known, run, transfer))
                except QuantumioError as error:
                    note(error)
                _check_files(reader, known, items, note)
        finally:
            release(reader, 0)
    else:
        checked = _check_all_files(repository, types, files)
        for name, run in files:
            resolution_of(session, repository, types.get(name) or catalog.dataset_type(name), run, transfer)
        dimensions = import_dimension_records(catalog, entries)
        _insert(session, repository, content, types, files, checked, transfer)
    inserted = dict.fromkeys((name for name, _ in files), 0)
    for (name, _), items in files.items():
        inserted[name] += len(items)
    return DatasetImport(
        dimensions=dimensions,
        inserted=inserted,
        there=plan.there,
        dataset_types=plan.dataset_types,
        collections=plan.collections,
        members=plan.members,
        left_out=tuple(sorted(content.left_out)),
        dry_run=dry_run,
        refused=tuple(refused),
    )


def _raise(error: QuantumioError) -> None:
    raise error


def _check_stores(reader: Repository, resolution: Resolution) -> None:
    """Refuse stores that are not there though they are in use: those are not begun when they are opened."""
    for target in resolution.targets:
        name, catalog = target.destination, reader.catalog
        user = reader.destinations.user_of(name)
        is_in_use = catalog.has_objects(name) and (user is None or catalog.may_have_workspace(name, user))
        if target.required and is_in_use:
            store = reader.destinations.get(name)
            if is_managed(store) and store.identity() is None:
                raise store_gone(name, store.url("x").removesuffix("/x"))


def _check_files(
    repository: Repository,
    dataset_type: DatasetType,
    items: Sequence[IngestFile],
    note: Callable[[QuantumioError], None],
) -> list[CheckedFile]:
    """Read files as an ingest does, and note what it would be refused for."""
    checked = []
    for item in items:
        try:
            checked.append(check_file(repository, dataset_type, item, None))
        except QuantumioError as error:
            note(error)
    return checked


def _check_all_files(
    repository: Repository,
    types: Mapping[str, DatasetType],
    files: Mapping[tuple[str, str], Sequence[IngestFile]],
) -> dict[tuple[str, str], list[CheckedFile]]:
    """Read the files of all datasets before any of them is inserted.

    Raises
    ------
    QuantumioError
        What the first is refused for; its message tells of the others, too.
    """
    refused: list[QuantumioError] = []
    checked = {
        (name, run): _check_files(
            repository, types.get(name) or repository.catalog.dataset_type(name), items, refused.append
        )
        for (name, run), items in files.items()
    }
    if not refused:
        return checked
    first, *others = refused
    if others:
        more = f"; and {len(others) - _NAMED} more" if others[_NAMED:] else ""
        first.message += f"; as well {'; '.join(other.message for other in others[:_NAMED])}{more}"
    raise first


def _dataset_type(
    universe: DimensionUniverse, name: str, exported: ExportedType, storage_classes: Mapping[str, object]
) -> DatasetType:
    """Return a dataset type; exports list the dimensions that follow from others, too."""
    names = exported.dimensions
    unknown = [one for one in names if one not in universe]
    implied = {other for one in names if one in universe for other in universe[one].implies}
    if missing := [one for one in unknown if one != "group"]:
        raise InvalidInputError(
            f"dataset type {name!r} has dimension {missing[0]!r}, which this repository does not know",
            hint="create a repository with it: Butler.create(..., dimensions={...})",
            kind=ErrorKind.DIMENSION,
        )
    there = exported.storage_class
    return DatasetType(
        name,
        dimensions=[one for one in names if one in universe and one not in implied],
        storage_class=str(storage_classes.get(there, _STORAGE_CLASSES.get(there, there))),
    ).normalised(universe)


# ---------------------------------------------------------------------------- writing


def _insert(
    session: Session,
    repository: Repository,
    content: ExportedContent,
    types: Mapping[str, DatasetType],
    files: Mapping[tuple[str, str], Sequence[IngestFile]],
    checked: Mapping[tuple[str, str], Sequence[CheckedFile]],
    transfer: str,
) -> None:
    catalog = repository.catalog
    for known in types.values():
        catalog.register_dataset_type(known)
    for run in content.runs:
        catalog.register_collection(run, CollectionKind.RUN)
    for (name, run), items in files.items():
        if items:
            dataset_type = catalog.dataset_type(name)
            ingest_files(
                session,
                dataset_type,
                items,
                run=run,
                transfer=transfer,
                format_name=None,
                checked=checked[name, run],
            )
    _collect(catalog, content)


def _collect(catalog: Catalog, content: ExportedContent) -> None:
    for name, kind in content.others:
        catalog.register_collection(name, kind)
    for name, ids in content.tagged:
        catalog.associate(name, _refs(catalog, ids))
    for name, timespan, ids in content.certified:
        catalog.certify(name, _refs(catalog, ids), timespan)
    todo = new_chains(catalog, content, _raise)  # again: somebody else may have defined one meanwhile
    while todo:  # those first whose children are there
        ready = [name for name, children in todo.items() if todo.keys().isdisjoint(children)]
        for name in ready or list(todo):
            catalog.set_chain(name, todo.pop(name))


def _refs(catalog: Catalog, ids: Sequence[UUID]) -> list[DatasetRef]:
    stored = catalog.stored(ids)
    if missing := [one for one in ids if one not in stored]:
        raise NotFoundError(
            f"the export puts {missing[0]} into a collection, which it does not hold and which is not here",
            hint="export the datasets of the collection as well",
        )
    return [stored[one].ref for one in ids]
