"""Datasets of an export, with the collections that they are in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from attrs import frozen

from quantumio.butler._exported_content import ExportedContent, ExportedDataset, ExportedType, read_content
from quantumio.butler._imported_dimensions import DimensionImport, import_dimension_records
from quantumio.butler._ingest import IngestFile, ingest_files
from quantumio.butler._session import Session
from quantumio.errors import ConflictError, ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import DIRECT, DataId, DatasetRef, DatasetType, DimensionUniverse, make_data_id
from quantumio.ports import Catalog, CollectionKind
from quantumio.system import files

__all__ = ["DatasetImport", "import_exported_datasets"]

_STORAGE_CLASSES: Final = {
    "ArrowAstropy": "AstropyTable",
    "ArrowNumpy": "NDArray",
    "NumpyArray": "NDArray",
    "StructuredDataDict": "Mapping",
}
"""What storage classes of exports are called here."""


@frozen(kw_only=True)
class DatasetImport:
    """What became of the datasets of an export.

    Attributes
    ----------
    dimensions
        What became of its dimension records.
    inserted
        Name of each dataset type to the number of its datasets that were new.
    left_out
        Kinds of entries that this version of quantumio does not know.
    """

    dimensions: DimensionImport
    inserted: Mapping[str, int]
    left_out: tuple[str, ...]


def import_exported_datasets(
    session: Session,
    entries: Sequence[Mapping[str, Any]],
    *,
    root: Path,
    transfer: str,
    storage_classes: Mapping[str, object],
) -> DatasetImport:
    """Insert the dimension records, dataset types, datasets and collections of an export.

    Raises
    ------
    FormatError, InvalidInputError, NotFoundError, ConflictError
        As `Butler.import_datasets` says.
    """
    repository = session.writeable()
    catalog = repository.catalog
    content = read_content(entries)
    types = {
        name: _dataset_type(catalog.universe, name, exported, storage_classes)
        for name, exported in content.types.items()
    }
    for known in types.values():
        repository.formats.storage_class(known.storage_class)
    _check_collections(catalog, content)
    if transfer != DIRECT:
        _check_paths(content, root)
    new = _new_datasets(catalog, content, types)
    dimensions = import_dimension_records(catalog, entries)
    for known in types.values():
        catalog.register_dataset_type(known)
    for run in content.runs:
        catalog.register_collection(run, CollectionKind.RUN)
    inserted: dict[str, int] = {}
    for (name, run), datasets in new.items():
        items = [
            IngestFile(
                path=one.path if "://" in one.path else str(root / one.path), data_id=data_id, id=one.id
            )
            for data_id, one in datasets.items()
        ]
        if items:
            dataset_type = catalog.dataset_type(name)
            ingest_files(session, dataset_type, items, run=run, transfer=transfer, format_name=None)
        inserted[name] = inserted.get(name, 0) + len(items)
    _collect(catalog, content)
    return DatasetImport(dimensions=dimensions, inserted=inserted, left_out=tuple(sorted(content.left_out)))


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


# ---------------------------------------------------------------------------- checking


def _check_collections(catalog: Catalog, content: ExportedContent) -> dict[str, tuple[str, ...]]:
    """Return the chains that are not there yet; refuse collections that are there otherwise."""
    kinds = (
        dict.fromkeys(content.runs, CollectionKind.RUN)
        | content.others
        | dict.fromkeys(content.chains, CollectionKind.CHAINED)
    )
    there = {record.name: record for record in catalog.collections()}
    for name, kind in kinds.items():
        if (record := there.get(name)) is None:
            continue
        if record.kind is not kind:
            raise ConflictError(f"the collection {name!r} is {record.kind} here, and {kind} in the export")
        if kind is CollectionKind.CHAINED and record.children != content.chains[name]:
            raise ConflictError(
                f"the chain {name!r} is of {', '.join(record.children)} here, "
                f"and of {', '.join(content.chains[name])} in the export",
                hint="define one of them anew or under another name: Butler.chain(...)",
            )
    return {name: children for name, children in content.chains.items() if name not in there}


def _check_paths(content: ExportedContent, root: Path) -> None:
    """Refuse what is to be brought into the repository, or even moved, and is not beneath the root.

    Exports come from others: one is not to say which files of whoever imports it are shared or removed.
    """
    real_root = files.real_path(root)
    for datasets in content.datasets.values():
        for one in datasets.values():
            if "://" not in one.path and not files.real_path(root / one.path).is_relative_to(real_root):
                raise InvalidInputError(
                    f"the file {one.path} of the export is not beneath {root}",
                    hint="give a root= that all files are beneath, without symbolic links that leave it, "
                    "or use transfer='direct', which leaves files where they are",
                    kind=ErrorKind.NAME,
                )


def _new_datasets(
    catalog: Catalog, content: ExportedContent, types: Mapping[str, DatasetType]
) -> dict[tuple[str, str], dict[DataId, ExportedDataset]]:
    """Return the datasets that are not there yet, by dataset type and run; refuse those that contradict.

    One data ID under two ids would become two versions, of which nobody said that one replaces the other.
    """
    registered = {known.name: known for known in catalog.dataset_types()}
    runs = {record.name for record in catalog.collections()}
    for name in types.keys() & registered.keys():
        catalog.register_dataset_type(types[name])  # it is there: nothing is done, or it is another one
    given: dict[UUID, str] = {}
    new: dict[tuple[str, str], dict[DataId, ExportedDataset]] = {}
    for (name, run), datasets in content.datasets.items():
        dataset_type = registered.get(name) or types.get(name) or catalog.dataset_type(name)
        there = catalog.stored(datasets)
        new[name, run], ids = {}, dict[DataId, UUID]()
        for one in datasets.values():
            data_id = _data_id(catalog.universe, dataset_type, one.data_id)
            what = f"{name}({data_id}) in {run}"
            if (other := given.setdefault(one.id, what)) != what:
                raise ConflictError(f"{other} and {what} have one id in the export: {one.id}")
            if (twin := ids.setdefault(data_id, one.id)) != one.id:
                raise ConflictError(f"{what} has two ids in the export: {twin} and {one.id}")
            if one.id in there:
                ref = there[one.id].ref
                if (ref.dataset_type.name, ref.data_id, ref.run) != (name, data_id, run):
                    raise ConflictError(f"{ref} has the id of {what} in the export: {one.id}")
                continue
            if name in registered and run in runs and (found := catalog.find(dataset_type, data_id, [run])):
                raise ConflictError(
                    f"{what} is {one.id} in the export, and {found.ref.id} is there already",
                    hint="import into a repository without it, or export it from a run of another name",
                )
            new[name, run][data_id] = one
    return new


def _data_id(universe: DimensionUniverse, dataset_type: DatasetType, given: Mapping[str, object]) -> DataId:
    follow = {*universe.implied(dataset_type.dimensions), "group"}
    own = {name: value for name, value in given.items() if name not in follow}
    return make_data_id(universe, own, {}, dimensions=dataset_type.dimensions, what=dataset_type.name)


# ---------------------------------------------------------------------------- writing


def _collect(catalog: Catalog, content: ExportedContent) -> None:
    for name, kind in content.others.items():
        catalog.register_collection(name, kind)
    for name, ids in content.tagged:
        catalog.associate(name, _refs(catalog, ids))
    for name, timespan, ids in content.certified:
        catalog.certify(name, _refs(catalog, ids), timespan)
    todo = _check_collections(catalog, content)  # again: somebody else may have defined one meanwhile
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
