"""Look-ups of single datasets: prepared statements, one per dimension group and kind of collection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from attrs import frozen

from quantumio.errors import ConflictError, ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import (
    Artifact,
    ArtifactState,
    DataId,
    DatasetRef,
    DatasetType,
    StoredDataset,
    Timespan,
)
from quantumio.ports import CollectionKind
from quantumio.registry._any_ids import parts_of
from quantumio.registry._arguments import check_name, check_names, check_version
from quantumio.registry._engine import Database
from quantumio.registry._find_statements import (
    ARTIFACT_COLUMNS,
    artifact_statement,
    find_statement,
    rows_statement,
    type_statement,
    version_numbers_statement,
    versions_statement,
)
from quantumio.registry._moments import Moments
from quantumio.registry._names import Collection, Names, NamesCache
from quantumio.registry._prepared import Fetch, Prepared
from quantumio.registry._universe_schema import GroupTables

__all__ = ["NO_ARTIFACT", "Finder", "stored_dataset"]

_STATES: Final = {str(state): state for state in ArtifactState}
NO_ARTIFACT: Final = ((None,) * len(ARTIFACT_COLUMNS),)
_NO_HEAD: Final = (None,) * 7


@frozen(eq=False)
class _Step:
    """One collection to look into: a statement and its values."""

    collection: Collection
    statement: Prepared
    values: Mapping[str, Any]


class Finder:
    """Finds committed datasets by data ID or by id."""

    def __init__(self, database: Database, cache: NamesCache, moments: Moments) -> None:
        self._database = database
        self._moments = moments
        self._cache = cache

    # -- by data ID
    def find(
        self,
        dataset_type: DatasetType,
        data_id: DataId,
        collections: Sequence[str],
        version: int | None,
        timespan: Timespan | None,
        as_of: int | None = None,
    ) -> StoredDataset | None:
        """Return the first match in the collections in order; of an earlier moment with ``as_of``."""
        if version is not None:
            version = check_version(version)
        if timespan is not None and not isinstance(timespan, Timespan):
            raise InvalidInputError(
                f"{timespan!r:.80} ({type(timespan).__name__}) is no timespan",
                hint="give a Timespan",
                kind=ErrorKind.TIMESPAN,
            )
        collections = check_names(collections, "collection", ErrorKind.COLLECTION)
        if as_of is not None:
            names = self._moments.names(as_of)
            steps = self._plan(names, dataset_type, data_id, collections, version, timespan, as_of)
            return self._database.snapshot(lambda fetch: self._look_back(names, fetch, steps))
        names = self._cache.last
        try:
            steps = self._plan(names, dataset_type, data_id, collections, version, timespan)
        except NotFoundError:
            names = self._cache.current()
            steps = self._plan(names, dataset_type, data_id, collections, version, timespan)
        while True:
            edits, found = self._search(names, steps)
            if edits == names.edits:
                return found
            # Names were edited after they were cached: what was searched may be another collection by now.
            names = self._cache.at(edits)
            steps = self._plan(names, dataset_type, data_id, collections, version, timespan)

    def _plan(
        self,
        names: Names,
        dataset_type: DatasetType,
        data_id: DataId,
        collections: Sequence[str],
        version: int | None,
        timespan: Timespan | None,
        as_of: int | None = None,
    ) -> list[_Step]:
        entry = names.type(dataset_type.name)
        values: dict[str, Any] = {"type_id": entry.id}
        try:
            for name, column in entry.group.columns.items():
                values[column] = data_id[name]
        except KeyError:
            raise _incomplete(entry.type, data_id) from None
        past = as_of is not None
        if past:
            values["as_of"] = as_of
        if version is not None:
            values["version"] = version
        if timespan is not None:
            values |= {"begin": timespan.begin_ns, "end": timespan.end_ns}
        return [
            _Step(
                collection,
                self._database.prepare(
                    find_statement, entry.group, collection.kind, version is not None, past
                ),
                {**values, "collection_id": collection.id},
            )
            for collection in names.search(collections)
            if collection.kind is not CollectionKind.CALIBRATION or timespan is not None
        ]

    def _search(self, names: Names, steps: list[_Step]) -> tuple[int, StoredDataset | None]:
        if len(steps) == 1:
            return self._look(names, self._database.fetch, steps[0])
        if not steps:
            return names.edits, None
        return self._database.snapshot(lambda fetch: self._look_in_turn(names, fetch, steps))

    def _look_in_turn(
        self, names: Names, fetch: Fetch, steps: list[_Step]
    ) -> tuple[int, StoredDataset | None]:
        edits, found = names.edits, None
        for step in steps:
            edits, found = self._look(names, fetch, step)
            if found is not None or edits != names.edits:
                break
        return edits, found

    def _look_back(self, names: Names, fetch: Fetch, steps: list[_Step]) -> StoredDataset | None:
        for step in steps:
            rows = [row[1:] for row in fetch(step.statement, step.values) if row[1] is not None]
            if found := self._assemble(names, rows):
                return self._only(step, found)
        return None

    def _look(self, names: Names, fetch: Fetch, step: _Step) -> tuple[int, StoredDataset | None]:
        rows = fetch(step.statement, step.values)
        edits = rows[0][0]
        if edits != names.edits or rows[0][1] is None:
            return edits, None
        return edits, self._only(step, self._assemble(names, [row[1:] for row in rows]))

    @staticmethod
    def _only(step: _Step, found: list[StoredDataset]) -> StoredDataset:
        if len(found) > 1:
            raise _ambiguous(step.collection, found)
        return found[0]

    # -- by id
    def stored(self, ids: Iterable[UUID], as_of: int | None = None) -> dict[UUID, StoredDataset]:
        """Return committed datasets by id; unknown ids are left out; of an earlier moment with ``as_of``."""
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return {}
        groups: dict[tuple[str, ...], list[UUID]] = {}
        rows = self._by_ids(wanted, self._database.fetch, type_statement)
        type_ids = {self._database.rules.uuid_out(row[0]): row[1] for row in rows}
        names = self._names_with(type_ids.values())
        for id_ in wanted:
            if id_ in type_ids:
                groups.setdefault(names.types_by_id[type_ids[id_]].group.dimensions, []).append(id_)
        found = self._database.snapshot(lambda fetch: self._fetch_groups(names, groups, fetch, as_of))
        runs = {row[2] for row in found}
        if not runs <= names.collections_by_id.keys():
            names = self._cache.current()
        by_id = {stored.ref.id: stored for stored in self._assemble(names, found)}
        return {id_: by_id[id_] for id_ in wanted if id_ in by_id}

    def _names_with(self, type_ids: Iterable[int]) -> Names:
        names = self._cache.last
        return names if names.types_by_id.keys() >= set(type_ids) else self._cache.current()

    def _fetch_groups(
        self,
        names: Names,
        groups: Mapping[tuple[str, ...], list[UUID]],
        fetch: Fetch,
        as_of: int | None,
    ) -> list[Any]:
        found: list[Any] = []
        by_dimensions = {entry.group.dimensions: entry.group for entry in names.types.values()}
        for dimensions, ids in groups.items():
            found += self._by_ids(ids, fetch, rows_statement, by_dimensions[dimensions], as_of=as_of)
        return found

    def _by_ids(
        self,
        ids: Sequence[UUID],
        fetch: Fetch,
        make: Callable[..., sa.Select[Any]],
        *group: GroupTables,
        as_of: int | None = None,
    ) -> list[Any]:
        rows: list[Any] = []
        past: tuple[bool, ...] = () if as_of is None else (True,)
        for size, values in parts_of(ids, self._database.rules.uuid_in):
            statement = self._database.prepare(make, *group, size, *past)
            rows += fetch(statement, {**values, "as_of": as_of})
        return rows

    # -- versions
    def versions(
        self, dataset_type: DatasetType, data_id: DataId, run: str, as_of: int | None = None
    ) -> list[StoredDataset]:
        """Return all versions, oldest first; none where there is no such run."""
        names, rows = self._of_key(versions_statement, dataset_type, data_id, run, as_of)
        return sorted(self._assemble(names, rows), key=lambda stored: stored.ref.version or 0)

    def version_numbers(self, dataset_type: DatasetType, data_id: DataId, run: str) -> list[int]:
        """Return the numbers of all versions, those of removed ones too, in order."""
        _, rows = self._of_key(version_numbers_statement, dataset_type, data_id, run)
        return [row[0] for row in rows]

    def _of_key(
        self,
        make: Callable[..., sa.Select[Any]],
        dataset_type: DatasetType,
        data_id: DataId,
        run: str,
        as_of: int | None = None,
    ) -> tuple[Names, Sequence[Any]]:
        """Return what a statement gives for a key of one run; nothing where there is no such run."""
        check_name(run, "run", ErrorKind.COLLECTION)
        names = self._cache.current() if as_of is None else self._moments.names(as_of)
        entry = names.type(dataset_type.name)
        collection = names.collections.get(run)
        if collection is None:
            return names, ()
        past: tuple[bool, ...] = () if as_of is None else (True,)
        statement = self._database.prepare(make, entry.group, *past)
        try:
            values = {column: data_id[name] for name, column in entry.group.columns.items()}
        except KeyError:
            raise _incomplete(entry.type, data_id) from None
        ids = {"type_id": entry.id, "collection_id": collection.id, "as_of": as_of}
        return names, self._database.fetch(statement, {**values, **ids})

    # -- artifacts
    def artifact(self, connection: sa.Connection, dataset_id: UUID, destination: str) -> Artifact | None:
        """Return one artifact as a transaction sees it."""
        rules = self._database.rules
        statement = artifact_statement(rules.uuid_in(dataset_id), destination)
        row = connection.execute(statement).one_or_none()
        return None if row is None else _artifact((*_NO_HEAD, *row), rules.uuid_out)

    # -- rows to values
    def _assemble(self, names: Names, rows: Sequence[Any]) -> list[StoredDataset]:
        """Return the datasets of rows: head, commit time, artifact, dimensions; a row per artifact."""
        uuid_out = self._database.rules.uuid_out
        found: dict[Any, list[Any]] = {}
        for row in rows:
            found.setdefault(row[0], []).append(row)
        return [stored_dataset(names, parts, uuid_out) for parts in found.values()]


def stored_dataset(names: Names, parts: list[Any], uuid_out: Callable[[Any], UUID]) -> StoredDataset:
    """Return the dataset of rows of the driver that differ in their artifact.

    Their columns are head, commit time, artifact and dimensions.
    """
    head = parts[0]
    entry = names.types_by_id[head[2]]
    if len(parts) > 1:
        parts.sort(key=lambda row: row[7])
    return StoredDataset(
        ref=DatasetRef(
            uuid_out(head[0]),
            entry.type,
            DataId(dict(zip(entry.group.dimensions, head[17:], strict=True))),
            names.collections_by_id[head[1]].name,
            head[3],
        ),
        artifacts=tuple([_artifact(row, uuid_out) for row in parts if row[7] is not None]),
        txid=uuid_out(head[4]),
        commit_seq=head[5],
        committed_ns=head[6],
    )


def _artifact(row: Any, uuid_out: Callable[[Any], UUID]) -> Artifact:
    return Artifact(
        destination=row[8],
        path=row[9],
        format=row[10],
        digest=row[11],
        nbytes=row[12],
        load_id=None if row[13] is None else uuid_out(row[13]),
        state=_STATES[row[14]],
        member=row[15],
        offset=row[16],
    )


def _incomplete(dataset_type: DatasetType, data_id: DataId) -> InvalidInputError:
    missing = [name for name in dataset_type.dimensions if name not in data_id]
    return InvalidInputError(
        f"{dataset_type.name}: the data ID ({data_id}) lacks {', '.join(missing)}",
        hint=f"give {', '.join(f'{name}=...' for name in missing)}",
        kind=ErrorKind.DATA_ID,
    )


def _ambiguous(collection: Collection, found: list[StoredDataset]) -> ConflictError:
    listed = "; ".join(f"{stored.ref} [{stored.ref.id}]" for stored in found)
    return ConflictError(
        f"{len(found)} calibrations in {collection.name!r} are valid in this timespan: {listed}",
        hint="ask with a shorter timespan, or decertify the one that does not belong",
        kind=ErrorKind.AMBIGUOUS_CALIBRATION,
    )
