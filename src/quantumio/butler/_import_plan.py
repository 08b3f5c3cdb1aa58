"""What an import of datasets would do: what is new, what is there, what contradicts. It changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from uuid import UUID

from attrs import field, frozen

from quantumio.butler._exported_content import ExportedContent, ExportedDataset
from quantumio.errors import ConflictError, ErrorKind, InvalidInputError, NotFoundError, QuantumioError
from quantumio.model import (
    DIRECT,
    DataId,
    DatasetType,
    DimensionUniverse,
    Timespan,
    check_run,
    make_data_id,
)
from quantumio.ports import Catalog, CollectionKind, MemberQuery
from quantumio.system import files

__all__ = ["ImportPlan", "new_chains", "plan_import"]

Refuse = Callable[[QuantumioError], None]
"""Told of everything that the import is refused for: raises it, or notes it and goes on."""

_Key = tuple[str, DataId]
_Range = tuple[int, int, UUID]


@frozen(kw_only=True)
class ImportPlan:
    """What an import of datasets would do.

    Attributes
    ----------
    new
        The datasets that are not there yet, by dataset type and run.
    there
        Name of each dataset type to the number of its datasets that are there.
    dataset_types, collections
        Names of those that are not there yet.
    members
        Name of each TAGGED or CALIBRATION collection to the number of members or certifications that it has
        not.
    """

    new: Mapping[tuple[str, str], Mapping[DataId, ExportedDataset]]
    there: Mapping[str, int]
    dataset_types: tuple[str, ...]
    collections: tuple[str, ...]
    members: Mapping[str, int] = field(factory=dict)


def plan_import(
    catalog: Catalog,
    content: ExportedContent,
    types: Mapping[str, DatasetType],
    *,
    root: Path,
    transfer: str,
    refuse: Refuse,
) -> ImportPlan:
    """Compare an export with a repository.

    Parameters
    ----------
    types
        Dataset types of the export, in the words of the repository.
    root
        What paths of datasets are relative to.
    transfer
        What becomes of the files.
    refuse
        Called with each error that the import would raise.
    """
    registered = {known.name: known for known in catalog.dataset_types()}
    for name in types.keys() & registered.keys():
        there, given = registered[name], types[name]
        if there != given:
            refuse(
                ConflictError(
                    f"dataset type {name!r} has dimensions {', '.join(there.dimensions) or '(none)'} "
                    f"and storage class {there.storage_class} here, and in the export "
                    f"{', '.join(given.dimensions) or '(none)'} and {given.storage_class}",
                    hint="say what its storage class is called here: storage_classes=, or import into a "
                    "repository without it",
                )
            )
    _check_collections(content, refuse)
    chains = new_chains(catalog, content, refuse)
    _check_children(catalog, content, chains, refuse)
    if transfer != DIRECT:
        _check_paths(content, root, refuse)
    datasets = _Datasets(catalog, {**types, **registered}, registered, refuse)
    new = {key: datasets.new(*key, given.values()) for key, given in content.datasets.items()}
    collections = {record.name: record.kind for record in catalog.collections()}
    return ImportPlan(
        new=new,
        there=datasets.there,
        dataset_types=tuple(sorted(types.keys() - registered.keys())),
        collections=tuple(sorted({name for name, _ in _kinds(content)} - collections.keys())),
        members=_new_members(catalog, content, datasets, collections, refuse),
    )


# ---------------------------------------------------------------------------- collections


def _kinds(content: ExportedContent) -> list[tuple[str, CollectionKind]]:
    """Return all collections of an export, also those that it names only where something is in them.

    A name is there once with each kind that the export says it has.
    """
    return sorted(
        {(run, CollectionKind.RUN) for _, run in content.datasets}
        | {(name, CollectionKind.TAGGED) for name, _ in content.tagged}
        | {(name, CollectionKind.CALIBRATION) for name, *_ in content.certified}
        | {(run, CollectionKind.RUN) for run in content.runs}
        | set(content.others)
        | {(name, CollectionKind.CHAINED) for name in content.chains}
    )


def _check_collections(content: ExportedContent, refuse: Refuse) -> None:
    """Refuse names that no collection can have, and those that are to be collections of two kinds."""
    kinds: dict[str, list[CollectionKind]] = {}
    for name, kind in _kinds(content):
        kinds.setdefault(name, []).append(kind)
    for name, several in kinds.items():
        try:
            check_run(name, "collection")
        except InvalidInputError as error:
            refuse(error)
        if several[1:]:
            refuse(
                ConflictError(
                    f"the collection {name!r} is {' and '.join(several)} in the export",
                    hint="export collections of different kinds under different names",
                )
            )


def new_chains(catalog: Catalog, content: ExportedContent, refuse: Refuse) -> dict[str, tuple[str, ...]]:
    """Return the chains that are not there yet; refuse collections that are there otherwise."""
    there = {record.name: record for record in catalog.collections()}
    for name, kind in _kinds(content):
        if (record := there.get(name)) is None:
            continue
        if record.kind is not kind:
            refuse(ConflictError(f"the collection {name!r} is {record.kind} here, and {kind} in the export"))
        elif kind is CollectionKind.CHAINED and record.children != content.chains[name]:
            refuse(
                ConflictError(
                    f"the chain {name!r} is of {', '.join(record.children)} here, "
                    f"and of {', '.join(content.chains[name])} in the export",
                    hint="define one of them anew or under another name: Butler.chain(...)",
                )
            )
    return {name: children for name, children in content.chains.items() if name not in there}


def _check_children(
    catalog: Catalog, content: ExportedContent, chains: Mapping[str, Sequence[str]], refuse: Refuse
) -> None:
    """Refuse chains that search what is nowhere, or one collection twice, or themselves."""
    for name, children in chains.items():
        if twice := sorted({child for child in children if children.count(child) > 1}):
            refuse(
                InvalidInputError(
                    f"the chain {name!r} of the export names {', '.join(map(repr, twice))} twice",
                    hint="export it with each once, where it is to be searched first",
                    kind=ErrorKind.COLLECTION,
                )
            )
    known = {record.name for record in catalog.collections()}
    known |= {name for name, _ in _kinds(content)} - content.chains.keys()
    todo = dict(chains)
    while ready := [name for name, children in todo.items() if known.issuperset(children)]:
        for name in ready:
            del todo[name]
        known.update(ready)
    for name, children in todo.items():
        missing = [child for child in children if child not in known and child not in todo]
        if missing:
            refuse(
                NotFoundError(
                    f"the chain {name!r} of the export searches {missing[0]!r}, which it does not hold and "
                    "which is not here",
                    hint="export that collection as well",
                    kind=ErrorKind.NO_COLLECTION,
                )
            )
        else:
            refuse(
                ConflictError(
                    f"the chain {name!r} of the export searches "
                    f"{', '.join(child for child in children if child in todo)}, "
                    "which cannot be made before it",
                    hint="export chains that do not contain themselves",
                    kind=ErrorKind.CYCLE,
                )
            )


def _check_paths(content: ExportedContent, root: Path, refuse: Refuse) -> None:
    """Refuse what is to be brought into the repository, or even moved, and is not beneath the root.

    Exports come from others: one is not to say which files of whoever imports it are shared or removed.
    """
    real_root = files.real_path(root)
    for datasets in content.datasets.values():
        for one in datasets.values():
            if "://" not in one.path and not files.real_path(root / one.path).is_relative_to(real_root):
                refuse(
                    InvalidInputError(
                        f"the file {one.path} of the export is not beneath {root}",
                        hint="give a root= that all files are beneath, without symbolic links that leave it, "
                        "or use transfer='direct', which leaves files where they are",
                        kind=ErrorKind.NAME,
                    )
                )


# ---------------------------------------------------------------------------- datasets


class _Datasets:
    """The datasets of an export beside those of a repository."""

    def __init__(
        self,
        catalog: Catalog,
        types: Mapping[str, DatasetType],
        registered: Mapping[str, DatasetType],
        refuse: Refuse,
    ) -> None:
        self.there: dict[str, int] = {}
        self.keys: dict[UUID, _Key] = {}
        self.registered = registered
        self._catalog = catalog
        self._types = types
        self._refuse = refuse
        self._runs = {record.name for record in catalog.collections()}
        self._given: dict[UUID, str] = {}

    def new(self, name: str, run: str, datasets: Iterable[ExportedDataset]) -> dict[DataId, ExportedDataset]:
        """Return the datasets of a type and a run that are not there yet; refuse those that contradict.

        One data ID under two ids would become two versions, of which nobody said that one replaces the other.
        """
        dataset_type = self._types.get(name) or self._catalog.dataset_type(name)
        all_of = list(datasets)
        stored = self._catalog.stored([one.id for one in all_of])
        removed = self._catalog.removed([one.id for one in all_of if one.id not in stored])
        found: dict[DataId, ExportedDataset] = {}
        self.there.setdefault(name, 0)
        ids: dict[DataId, UUID] = {}
        for one in all_of:
            data_id = _data_id(self._catalog.universe, dataset_type, one.data_id)
            what = f"{name}({data_id}) in {run}"
            conflict = self._in_export(what, data_id, one, ids)
            if conflict is None and one.id in stored:
                ref = stored[one.id].ref
                if (ref.dataset_type.name, ref.data_id, ref.run) == (name, data_id, run):
                    self.there[name] += 1
                    self.keys[one.id] = (name, data_id)
                    continue
                conflict = ConflictError(f"{ref} has the id of {what} in the export: {one.id}")
            if conflict is None and one.id in removed:
                conflict = ConflictError(
                    f"{what} cannot have the id {one.id}: the dataset of that id was deleted here",
                    hint="ingest its file, which gives it another id, or import into a repository that never "
                    "had it",
                    kind=ErrorKind.REMOVED,
                )
            if conflict is None and name in self.registered and run in self._runs:
                conflict = self._twin(dataset_type, data_id, run, what, one)
            if conflict is not None:
                self._refuse(conflict)
                continue
            found[data_id] = one
            self.keys[one.id] = (name, data_id)
        return found

    def _in_export(
        self, what: str, data_id: DataId, one: ExportedDataset, ids: dict[DataId, UUID]
    ) -> ConflictError | None:
        if (other := self._given.setdefault(one.id, what)) != what:
            return ConflictError(f"{other} and {what} have one id in the export: {one.id}")
        if (twin := ids.setdefault(data_id, one.id)) != one.id:
            return ConflictError(f"{what} has two ids in the export: {twin} and {one.id}")
        return None

    def _twin(
        self, dataset_type: DatasetType, data_id: DataId, run: str, what: str, one: ExportedDataset
    ) -> ConflictError | None:
        found = self._catalog.find(dataset_type, data_id, [run])
        if found is None:
            return None
        return ConflictError(
            f"{what} is {one.id} in the export, and {found.ref.id} is there already",
            hint="import into a repository without it, or export it from a run of another name",
        )

    def keys_of(self, ids: Iterable[UUID]) -> Iterator[tuple[UUID, _Key]]:
        """Yield dataset type and data ID of datasets that are or would be there; refuse others."""
        wanted = list(ids)
        stored = self._catalog.stored([one for one in wanted if one not in self.keys])
        for one in wanted:
            if one in stored:
                ref = stored[one].ref
                self.keys[one] = (ref.dataset_type.name, ref.data_id)
            if one in self.keys:
                yield one, self.keys[one]
            elif one not in self._given:  # else it was refused already
                self._refuse(
                    NotFoundError(
                        f"the export puts {one} into a collection, which it does not hold "
                        "and which is not here",
                        hint="export the datasets of the collection as well",
                    )
                )


def _data_id(universe: DimensionUniverse, dataset_type: DatasetType, given: Mapping[str, object]) -> DataId:
    follow = {*universe.implied(dataset_type.dimensions), "group"}
    own = {name: value for name, value in given.items() if name not in follow}
    return make_data_id(universe, own, {}, dimensions=dataset_type.dimensions, what=dataset_type.name)


# ---------------------------------------------------------------------------- members


def _new_members(
    catalog: Catalog,
    content: ExportedContent,
    datasets: _Datasets,
    collections: Mapping[str, CollectionKind],
    refuse: Refuse,
) -> dict[str, int]:
    """Return how many members collections have not; refuse those that contradict."""
    tagged: dict[str, list[tuple[UUID, Timespan]]] = {}
    certified: dict[str, list[tuple[UUID, Timespan]]] = {}
    for name, ids in content.tagged:
        tagged.setdefault(name, []).extend((one, Timespan()) for one in ids)
    for name, timespan, ids in content.certified:
        if timespan.is_empty:
            refuse(
                InvalidInputError(
                    f"the timespan {timespan} of {len(ids)} datasets in {name!r} in the export is empty: "
                    "nothing is valid in it",
                    hint="export them with an end after the begin",
                    kind=ErrorKind.TIMESPAN,
                )
            )
        else:
            certified.setdefault(name, []).extend((one, timespan) for one in ids)
    found = {}
    for kind, wanted in ((CollectionKind.TAGGED, tagged), (CollectionKind.CALIBRATION, certified)):
        for name, members in wanted.items():
            keys = dict(datasets.keys_of(dict.fromkeys(one for one, _ in members)))
            there: dict[_Key, list[_Range]] = {}
            types = tuple(sorted({key[0] for key in keys.values()} & datasets.registered.keys()))
            if types and collections.get(name) is kind:
                query = MemberQuery(kind=kind, collections=(name,), dataset_types=types)
                for record in catalog.members(query):
                    span, ref = record.timespan or Timespan(), record.ref
                    ranges = there.setdefault((ref.dataset_type.name, ref.data_id), [])
                    ranges.append((span.begin_ns, span.end_ns, ref.id))
            found[name] = 0
            for one, span in members:
                if one in keys:
                    found[name] += _is_new(name, kind, one, keys[one], span, there, refuse)
    return found


def _is_new(
    name: str,
    kind: CollectionKind,
    one: UUID,
    key: _Key,
    span: Timespan,
    there: dict[_Key, list[_Range]],
    refuse: Refuse,
) -> bool:
    """Whether a member is not there, and may be; then it is there for those that follow."""
    ranges = there.setdefault(key, [])
    for begin, end, other in ranges:
        if (begin, end, other) == (span.begin_ns, span.end_ns, one):
            return False
        if begin < span.end_ns and span.begin_ns < end:
            valid = f", valid in {Timespan(begin, end)} TAI" if kind is CollectionKind.CALIBRATION else ""
            refuse(
                ConflictError(
                    f"{key[0]}({key[1]}), {one}, cannot go into {name!r}: {other} of the same data ID is in "
                    f"it{valid}",
                    hint="take that one out first",
                    kind=ErrorKind.VALIDITY_OVERLAP if valid else ErrorKind.EXISTS,
                )
            )
            return False
    ranges.append((span.begin_ns, span.end_ns, one))
    return True
