"""What an export of the Rubin Data Butler says of datasets and collections, read and not yet believed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from attrs import field, frozen

from quantumio.errors import ErrorKind, FormatError, InvalidInputError
from quantumio.model import Timespan
from quantumio.ports import CollectionKind

__all__ = ["ExportedContent", "ExportedDataset", "ExportedType", "read_content"]


@frozen(kw_only=True)
class ExportedDataset:
    """One dataset of an export, not checked against the repository."""

    id: UUID
    path: str
    data_id: Mapping[str, object]


@frozen(kw_only=True)
class ExportedType:
    """One dataset type of an export, in the words of the export."""

    dimensions: tuple[str, ...]
    storage_class: str


@frozen(kw_only=True)
class ExportedContent:
    """What an export says of datasets and collections."""

    types: dict[str, ExportedType] = field(factory=dict)
    runs: list[str] = field(factory=list)
    others: list[tuple[str, CollectionKind]] = field(factory=list)
    chains: dict[str, tuple[str, ...]] = field(factory=dict)
    datasets: dict[tuple[str, str], dict[UUID, ExportedDataset]] = field(factory=dict)
    tagged: list[tuple[str, Sequence[UUID]]] = field(factory=list)
    certified: list[tuple[str, Timespan, Sequence[UUID]]] = field(factory=list)
    left_out: set[str] = field(factory=set)


def read_content(entries: Iterable[Mapping[str, Any]]) -> ExportedContent:
    """Return what the entries say; a field that is missing or of another type names its entry.

    Raises
    ------
    FormatError
        ``kind="decode"``: an entry cannot be read.
    InvalidInputError
        An entry says what cannot be imported.
    """
    content = ExportedContent()
    for number, entry in enumerate(entries):
        try:
            _take(content, entry)
        except InvalidInputError as error:
            error.add_note(f"in entry {number} of the export")
            raise
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(
                f"entry {number} of the export ({entry['type']}) cannot be read: {error!r}",
                hint="export it again",
                kind=ErrorKind.DECODE,
            ) from error
    return content


def _take(content: ExportedContent, entry: Mapping[str, Any]) -> None:
    match entry["type"]:
        case "dimension":
            pass
        case "dataset_type":
            content.types[_text(entry, "name")] = ExportedType(
                dimensions=_texts(entry, "dimensions"), storage_class=_text(entry, "storage_class")
            )
        case "run":
            content.runs.append(_text(entry, "name"))
        case "collection":
            name, kind = _text(entry, "name"), CollectionKind(entry["collection_type"])
            if kind is CollectionKind.RUN:
                content.runs.append(name)
            elif kind is CollectionKind.CHAINED:
                children = _texts(entry, "children")
                if content.chains.setdefault(name, children) != children:
                    raise ValueError(f"{name!r} is two chains")
            else:
                content.others.append((name, kind))
        case "dataset":
            key = (_text(entry, "dataset_type"), _text(entry, "run"))
            datasets = content.datasets.setdefault(key, {})
            for one in map(_exported, entry["records"]):
                if datasets.setdefault(one.id, one) != one:
                    raise ValueError(f"{one.id} is two datasets")
        case "associations":
            name, kind = _text(entry, "collection"), CollectionKind(entry["collection_type"])
            if kind is CollectionKind.TAGGED:
                content.tagged.append((name, _ids(entry["dataset_ids"])))
            else:
                content.certified.extend(
                    (name, Timespan.make(span["timespan"]), _ids(span["dataset_ids"]))
                    for span in entry["validity_ranges"]
                )
        case unknown:
            content.left_out.add(unknown)


def _exported(record: Mapping[str, Any]) -> ExportedDataset:
    """Return one record; newer exports list the datasets of a file, older ones give one."""
    path, ids, data_ids = _text(record, "path"), record["dataset_id"], record["data_id"]
    if "\0" in path:
        raise ValueError(f"no file can be at {path!r}")
    if not isinstance(ids, list):
        ids, data_ids = [ids], [data_ids]
    if len(ids) != 1:
        raise InvalidInputError(
            f"{path} holds {len(ids)} datasets, which cannot be imported",
            hint="export them as files of their own",
        )
    (id_,) = _ids(ids)
    if not isinstance(data_ids, list) or len(data_ids) != 1 or not isinstance(data_ids[0], dict):
        raise TypeError(f"the dataset of {path} has no data ID")
    return ExportedDataset(id=id_, path=path, data_id=data_ids[0])


def _ids(given: Sequence[object]) -> list[UUID]:
    ids = [one for one in given if isinstance(one, UUID)]
    if len(ids) < len(given):
        raise TypeError("an id of a dataset is no UUID")
    return ids


def _text(entry: Mapping[str, Any], name: str) -> str:
    if not isinstance(text := entry[name], str):
        raise TypeError(f"its {name} is no text: {text!r}")
    return text


def _texts(entry: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return a list of texts; a text alone is none, though its letters could be taken for one."""
    if not isinstance(texts := entry[name], list) or not all(isinstance(one, str) for one in texts):
        raise TypeError(f"its {name} are no list of texts: {texts!r}")
    return tuple(texts)
