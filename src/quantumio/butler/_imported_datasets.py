"""Datasets of an export, with the collections that they are in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from attrs import field, frozen

from quantumio.butler._imported_dimensions import DimensionImport, import_dimension_records
from quantumio.butler._ingest import IngestFile, ingest_files
from quantumio.butler._session import Session
from quantumio.errors import ConflictError, ErrorKind, FormatError, InvalidInputError, NotFoundError
from quantumio.model import DataId, DatasetRef, DatasetType, DimensionUniverse, Timespan, make_data_id
from quantumio.ports import Catalog, CollectionKind

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


@frozen(kw_only=True)
class _Exported:
    """One dataset of an export, not checked against the repository."""

    id: UUID
    path: str
    data_id: Mapping[str, object]


@frozen(kw_only=True)
class _Content:
    """What an export says of datasets and collections."""

    types: dict[str, Mapping[str, Any]] = field(factory=dict)
    runs: list[str] = field(factory=list)
    others: dict[str, CollectionKind] = field(factory=dict)
    chains: dict[str, Sequence[str]] = field(factory=dict)
    datasets: dict[tuple[str, str], dict[UUID, _Exported]] = field(factory=dict)
    tagged: list[tuple[str, Sequence[UUID]]] = field(factory=list)
    certified: list[tuple[str, Timespan, Sequence[UUID]]] = field(factory=list)
    left_out: set[str] = field(factory=set)


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
    content = _content(entries)
    types = {
        name: _dataset_type(catalog.universe, name, entry, storage_classes)
        for name, entry in content.types.items()
    }
    for known in types.values():
        repository.formats.storage_class(known.storage_class)
    dimensions = import_dimension_records(catalog, entries)
    for known in types.values():
        catalog.register_dataset_type(known)
    for run in content.runs:
        catalog.register_collection(run, CollectionKind.RUN)
    inserted: dict[str, int] = {}
    for (name, run), datasets in content.datasets.items():
        dataset_type = catalog.dataset_type(name)
        items = _new_items(catalog, dataset_type, run, tuple(datasets.values()), root)
        if items:
            ingest_files(session, dataset_type, items, run=run, transfer=transfer, format_name=None)
        inserted[name] = inserted.get(name, 0) + len(items)
    _collect(catalog, content)
    return DatasetImport(dimensions=dimensions, inserted=inserted, left_out=tuple(sorted(content.left_out)))


# ---------------------------------------------------------------------------- reading entries


def _content(entries: Iterable[Mapping[str, Any]]) -> _Content:
    """Return what the entries say; a field that is missing or of another type names its entry."""
    content = _Content()
    for number, entry in enumerate(entries):
        try:
            _take(content, entry)
        except InvalidInputError as error:
            error.add_note(f"in entry {number} of the export")
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(
                f"entry {number} of the export ({entry['type']}) cannot be read: {error!r}",
                hint="export it again",
                kind=ErrorKind.DECODE,
            ) from error
    return content


def _take(content: _Content, entry: Mapping[str, Any]) -> None:
    match entry["type"]:
        case "dimension":
            pass
        case "dataset_type":
            content.types[entry["name"]] = entry
        case "run":
            content.runs.append(entry["name"])
        case "collection":
            kind = CollectionKind(entry["collection_type"])
            if kind is CollectionKind.RUN:
                content.runs.append(entry["name"])
            elif kind is CollectionKind.CHAINED:
                content.chains[entry["name"]] = list(entry["children"])
            else:
                content.others[entry["name"]] = kind
        case "dataset":
            datasets = content.datasets.setdefault((entry["dataset_type"], entry["run"]), {})
            for one in map(_exported, entry["records"]):
                if datasets.setdefault(one.id, one) != one:
                    raise ValueError(f"{one.id} is two datasets")
        case "associations":
            name, kind = entry["collection"], CollectionKind(entry["collection_type"])
            if kind is CollectionKind.TAGGED:
                content.tagged.append((name, _ids(entry["dataset_ids"])))
            else:
                content.certified.extend(
                    (name, Timespan.make(span["timespan"]), _ids(span["dataset_ids"]))
                    for span in entry["validity_ranges"]
                )
        case unknown:
            content.left_out.add(unknown)


def _exported(record: Mapping[str, Any]) -> _Exported:
    """Return one record; newer exports list the datasets of a file, older ones give one."""
    ids, data_ids = record["dataset_id"], record["data_id"]
    if not isinstance(ids, list):
        ids, data_ids = [ids], [data_ids]
    if len(ids) != 1:
        raise InvalidInputError(
            f"{record['path']} holds {len(ids)} datasets, which cannot be imported",
            hint="export them as files of their own",
        )
    (id_,) = _ids(ids)
    return _Exported(id=id_, path=str(record["path"]), data_id=dict(data_ids[0]))


def _ids(given: Sequence[object]) -> list[UUID]:
    ids = [one for one in given if isinstance(one, UUID)]
    if len(ids) < len(given):
        raise TypeError("an id of a dataset is no UUID")
    return ids


def _dataset_type(
    universe: DimensionUniverse, name: str, entry: Mapping[str, Any], storage_classes: Mapping[str, object]
) -> DatasetType:
    """Return a dataset type; exports list the dimensions that follow from others, too."""
    names = list(entry["dimensions"])
    unknown = [one for one in names if one not in universe]
    implied = {other for one in names if one in universe for other in universe[one].implies}
    if missing := [one for one in unknown if one != "group"]:
        raise InvalidInputError(
            f"dataset type {name!r} has dimension {missing[0]!r}, which this repository does not know",
            hint="create a repository with it: Butler.create(..., dimensions={...})",
            kind=ErrorKind.DIMENSION,
        )
    exported = str(entry["storage_class"])
    return DatasetType(
        name,
        dimensions=[one for one in names if one in universe and one not in implied],
        storage_class=str(storage_classes.get(exported, _STORAGE_CLASSES.get(exported, exported))),
    )


# ---------------------------------------------------------------------------- writing


def _new_items(
    catalog: Catalog, dataset_type: DatasetType, run: str, datasets: Sequence[_Exported], root: Path
) -> list[IngestFile]:
    """Return the files of the datasets that are not there yet."""
    there = catalog.stored([one.id for one in datasets])
    items = []
    for one in datasets:
        data_id = _data_id(catalog.universe, dataset_type, one.data_id)
        if one.id not in there:
            path = one.path if "://" in one.path else str(root / one.path)
            items.append(IngestFile(path=path, data_id=data_id, id=one.id))
        elif (
            (ref := there[one.id].ref).data_id != data_id
            or ref.run != run
            or ref.dataset_type != dataset_type
        ):
            raise ConflictError(f"{ref} has the id of {dataset_type.name}({data_id}) in the export: {one.id}")
    return items


def _data_id(universe: DimensionUniverse, dataset_type: DatasetType, given: Mapping[str, object]) -> DataId:
    follow = {*universe.implied(dataset_type.dimensions), "group"}
    own = {name: value for name, value in given.items() if name not in follow}
    return make_data_id(universe, own, {}, dimensions=dataset_type.dimensions, what=dataset_type.name)


def _collect(catalog: Catalog, content: _Content) -> None:
    for name, kind in content.others.items():
        catalog.register_collection(name, kind)
    for name, ids in content.tagged:
        catalog.associate(name, _refs(catalog, ids))
    for name, timespan, ids in content.certified:
        catalog.certify(name, _refs(catalog, ids), timespan)
    todo = dict(content.chains)
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
