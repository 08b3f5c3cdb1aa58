"""The registry as the engine sees it: joins the parts of this room."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from quantumio.errors import InternalError, NotFoundError
from quantumio.model import (
    Artifact,
    CommitOutcome,
    DataId,
    DataIdValue,
    DatasetRef,
    DatasetType,
    DimensionUniverse,
    FollowUp,
    OutboxEntry,
    StoredDataset,
    Timespan,
    Transaction,
    TransactionRecord,
)
from quantumio.ports import (
    ChainEdit,
    CollectionKind,
    CollectionRecord,
    CollectionRemoval,
    DatasetQuery,
    Deletion,
    Destinations,
    Difference,
    IngestedChunk,
    IngestRows,
    LineageEntry,
    MemberColumns,
    MemberQuery,
    MemberRecord,
    ObjectRecord,
    RecordComparison,
    RemovedCollection,
    SnapshotRecord,
)
from quantumio.registry._arguments import check_bind, check_time
from quantumio.registry._associations import Associations
from quantumio.registry._bulk import BulkIngest
from quantumio.registry._calibrations import Calibrations
from quantumio.registry._clock import Clock
from quantumio.registry._collections import Collections
from quantumio.registry._commit import Commits
from quantumio.registry._commit_rows import ArtifactWriter
from quantumio.registry._data_ids import DataIdQueries
from quantumio.registry._dataset_types import DatasetTypes
from quantumio.registry._deletions import Deletions
from quantumio.registry._differences import Differences
from quantumio.registry._dimensions import DimensionRecords
from quantumio.registry._engine import Database
from quantumio.registry._find import Finder
from quantumio.registry._garbage import Garbage
from quantumio.registry._implied import ImpliedValues
from quantumio.registry._intents import Intents
from quantumio.registry._lineage import Lineages
from quantumio.registry._memberships import Memberships
from quantumio.registry._migrations import REVISIONS
from quantumio.registry._moments import Moments
from quantumio.registry._names import NamesCache
from quantumio.registry._outbox import Outbox
from quantumio.registry._owners import Owners
from quantumio.registry._past_collections import PastCollections
from quantumio.registry._planning import Planner
from quantumio.registry._query import Queries
from quantumio.registry._records import RecordQueries
from quantumio.registry._removals import Removals
from quantumio.registry._schema import DATASET, OBJECT
from quantumio.registry._sky_search import SkySearch
from quantumio.registry._snapshots import Snapshots
from quantumio.registry._uninterrupted import after_abandoned, uninterrupted
from quantumio.registry._universe_schema import Tables
from quantumio.registry._where import check_expression
from quantumio.registry._workspaces import Workspaces

__all__ = ["SqlCatalog"]


class SqlCatalog:
    """A registry in SQLite or PostgreSQL; see `quantumio.ports.Catalog` for what its methods promise.

    Made by `create_registry` and `open_registry`. Thread-safe. Readers never wait for writers; writers take
    turns, on SQLite under a file lock, and each write is one short transaction. An interrupt (Ctrl-C) breaks
    off the waiting for a write, not the write: `outcome` tells what became of it.
    """

    def __init__(self, database: Database, repository_id: UUID, tables: Tables) -> None:
        self._database = database
        database.hold(REVISIONS[-1])
        self._repository_id = repository_id
        self._tables = tables
        clock = Clock(database)
        names = NamesCache(database, self._tables)
        self._dataset_types = DatasetTypes(database, self._tables, names, clock)
        self._records = DimensionRecords(database, self._tables, clock)
        sky = SkySearch(database, self._tables)
        self._record_queries = RecordQueries(database, self._tables, sky)
        planner = Planner(database, self._tables, names)
        self._data_ids = DataIdQueries(database, self._tables, sky, planner)
        self._memberships = Memberships(database, self._tables, planner)
        self._collections = Collections(database, names, clock)
        self._removals = Removals(database, names, clock)
        self._past_collections = PastCollections(database)
        self._associations = Associations(database, names, clock)
        self._outbox = Outbox(database)
        self._owners = Owners(database)
        self._intents = Intents(database, clock, self._owners, self._outbox)
        self._artifacts = ArtifactWriter(database)
        self._commits = Commits(database, names, clock, self._outbox, self._artifacts)
        self._bulk = BulkIngest(database, names, clock, self._artifacts)
        self._garbage = Garbage(database, names, clock)
        self._workspaces = Workspaces(database)
        self._clock = clock
        self._deletions = Deletions(database, names, clock)
        self._snapshots = Snapshots(database, clock)
        self._differences = Differences(database, self._tables, names)
        self._lineages = Lineages(database, names)
        self._names = names
        self._implied = ImpliedValues(database, self._tables)
        self._moments = Moments(database, self._tables, clock)
        self._finder = Finder(database, names, self._moments)
        self._calibrations = Calibrations(database, names, self._finder, self._moments)
        self._queries = Queries(database, self._tables, names)

    # -- what it is
    @property
    def repository_id(self) -> UUID:
        """Identity of the repository, made when it was created."""
        return self._repository_id

    @property
    def universe(self) -> DimensionUniverse:
        """Its dimensions."""
        return self._tables.universe

    def close(self) -> None:
        """Give up connections; idempotent. SQLite's log is brought into the database first."""
        uninterrupted(self._database.close)

    # -- dataset types
    def register_dataset_type(self, dataset_type: DatasetType) -> bool:
        """Register it (normalised); False if it was registered already."""
        return uninterrupted(lambda: self._dataset_types.register(dataset_type))

    def dataset_type(self, name: str) -> DatasetType:
        """Return it (cached)."""
        return self._dataset_types.get(name)

    def dataset_types(self) -> list[DatasetType]:
        """Return all of them, by name."""
        return self._dataset_types.all()

    # -- dimensions
    def insert_dimension(self, element: str, records: Sequence[Mapping[str, object]]) -> int:
        """Insert records in bulk, all or none; returns how many were new."""
        return uninterrupted(lambda: self._records.insert(element, records))

    def compare_dimension(self, element: str, records: Sequence[Mapping[str, object]]) -> RecordComparison:
        """Return what would become of records if they were inserted; nothing is changed."""
        return self._records.compare(element, records)

    def check_expression(self, where: str, bind: Mapping[str, object]) -> None:
        """Check of an expression what needs no look at the registry: how it is written, and its times."""
        check_expression(where, check_bind(bind))

    def dimension_records(
        self,
        element: str,
        data_id: Mapping[str, int | str],
        where: str | None,
        bind: Mapping[str, object],
        *,
        as_of: int | None = None,
    ) -> Iterator[dict[str, object]]:
        """Return records of a dimension or relation, ordered by key, read in pages."""
        return self._record_queries.records(element, data_id, where, bind, self._past(as_of))

    def record_key(
        self, element: str, field: str, required: Mapping[str, DataIdValue], value: object
    ) -> DataIdValue | None:
        """Return the key of the record whose identifying metadata has a value; None where there is none."""
        return self._records.key(element, field, required, value)

    def timespan(self, data_id: DataId) -> Timespan | None:
        """Return the timespan of what a data ID names (visit, exposure, day); None where no record tells."""
        return self._records.timespan(data_id)

    def timespans(self, data_ids: Sequence[DataId]) -> list[Timespan | None]:
        """Return the timespan of each of many data IDs, as `timespan` does."""
        return self._records.timespans(data_ids)

    def data_ids(
        self,
        dimensions: Sequence[str],
        data_id: Mapping[str, int | str],
        where: str | None,
        bind: Mapping[str, object],
        *,
        datasets: Sequence[str] = (),
        collections: Sequence[str] | None = None,
        as_of: int | None = None,
    ) -> list[DataId]:
        """Return data IDs over the dimensions that exist as dimension records, joined on shared keys.

        A dimension that another one's records carry as a key needs no records of its own. Relations are
        joined where all their dimensions are asked for and they have records; exposures and visits without
        `visit_definition` records belong together by their numbers. What ``datasets`` tell needs no records.
        """
        return self._data_ids.data_ids(
            dimensions,
            data_id,
            where,
            bind,
            datasets=datasets,
            collections=collections,
            as_of=self._past(as_of),
        )

    def joined(self, query: DatasetQuery) -> Iterator[tuple[DatasetRef, ...]]:
        """Return datasets of several types that belong together, lazily; the query is checked at once."""
        return self._data_ids.joined(query)

    def count_joined(self, query: DatasetQuery) -> int:
        """Return how many there are."""
        return self._data_ids.count_joined(query)

    def _past(self, as_of: int | None) -> int | None:
        """Return a moment that was checked."""
        return None if as_of is None else self._moments.seq(as_of)

    # -- collections
    def register_collection(self, name: str, kind: CollectionKind) -> bool:
        """Register it; False if it was there as this kind."""
        return uninterrupted(lambda: self._collections.register(name, kind))

    def collections(self, pattern: str = "*") -> list[CollectionRecord]:
        """Return collections whose name matches the glob, by name."""
        return self._collections.records(pattern)

    def set_chain(self, name: str, children: Sequence[str], edit: str = ChainEdit.SET) -> None:
        """Define a CHAINED collection, new or anew, or edit its children."""
        uninterrupted(lambda: self._collections.set_chain(name, children, edit))

    def remove_collection(
        self, name: str, *, unlink: bool = False, dry_run: bool = True
    ) -> CollectionRemoval:
        """End a collection; its name may be given to another one later."""
        return uninterrupted(lambda: self._removals.remove(name, unlink=unlink, dry_run=dry_run))

    def associate(self, name: str, refs: Sequence[DatasetRef]) -> None:
        """Add refs to a TAGGED collection (made where there is none), all or none."""
        uninterrupted(lambda: self._associations.associate(name, refs))

    def disassociate(self, name: str, refs: Sequence[DatasetRef]) -> None:
        """Take refs out of a TAGGED collection; those that are not in it are no error."""
        uninterrupted(lambda: self._associations.disassociate(name, refs))

    def certify(self, name: str, refs: Sequence[DatasetRef], timespan: Timespan) -> None:
        """Add refs to a CALIBRATION collection as valid in the timespan, all or none.

        The collection is made where there is none. The same ref for the very same timespan is no error; any
        other overlap is.
        """
        uninterrupted(lambda: self._associations.certify(name, refs, timespan))

    def certify_each(
        self, name: str, ids: Sequence[UUID], begin_ns: Sequence[int], end_ns: Sequence[int]
    ) -> int:
        """Add datasets to a CALIBRATION collection, each valid in its own timespan, all or none."""
        return uninterrupted(lambda: self._associations.certify_each(name, ids, begin_ns, end_ns))

    def decertify(
        self, name: str, dataset_type: str, timespan: Timespan, data_ids: Sequence[DataId] | None = None
    ) -> None:
        """End validity within the timespan, truncating and splitting ranges; data IDs may be partial."""
        uninterrupted(lambda: self._associations.decertify(name, dataset_type, timespan, data_ids))

    def members(self, query: MemberQuery) -> Iterator[MemberRecord]:
        """Return members of TAGGED or CALIBRATION collections, lazily; the query is checked at once."""
        return self._memberships.members(query)

    def member_columns(self, query: MemberQuery) -> Iterator[MemberColumns]:
        """Return them column by column, lazily; the query is checked at once."""
        return self._memberships.columns(query)

    def count_members(self, query: MemberQuery) -> int:
        """Return how many there are."""
        return self._memberships.count(query)

    # -- history
    def removed_collections(self, pattern: str = "*") -> list[RemovedCollection]:
        """Return collections that were removed and whose name matches the glob, by name and time."""
        return self._past_collections.removed(pattern)

    def delete(
        self,
        ids: Iterable[UUID],
        *,
        unlink: bool = False,
        spare: bool = False,
        keep_last: int = 0,
        dry_run: bool = True,
    ) -> Deletion:
        """Delete datasets, all or none; those that are deleted already are no error."""
        return uninterrupted(
            lambda: self._deletions.delete(
                ids, unlink=unlink, spare=spare, keep_last=keep_last, dry_run=dry_run
            )
        )

    def lineage(self, dataset_id: UUID, direction: str, depth: int | None) -> list[LineageEntry]:
        """Return from what a dataset was made (``up``) or what was made from it (``down``)."""
        return self._lineages.lineage(dataset_id, direction, depth)

    def create_snapshot(self, name: str, seq: int | None = None, note: str = "") -> SnapshotRecord:
        """Name a moment (None: this one)."""
        return uninterrupted(lambda: self._snapshots.create(name, seq, note))

    def remove_snapshot(self, name: str) -> None:
        """Give up a snapshot."""
        uninterrupted(lambda: self._snapshots.remove(name))

    def snapshots(self) -> list[SnapshotRecord]:
        """Return all snapshots, by name."""
        return self._snapshots.all()

    def diff(self, before: int, after: int) -> Difference:
        """Return what there is at one moment and not at the other."""
        return self._differences.diff(before, after)

    # -- intents
    def register_owner(self, owner: UUID, host: str, boot_id: str) -> None:
        """Make an owner of transactions known, and begin its lease; again it renews it."""
        uninterrupted(lambda: self._owners.register(owner, host, boot_id))

    def renew_lease(self, owner: UUID) -> bool:
        """Say that an owner lives; False if it is not known."""
        return uninterrupted(lambda: self._owners.renew(owner))

    def prepare(self, group: Sequence[Transaction], owner: UUID, lease_s: float) -> list[TransactionRecord]:
        """Write intents in one short transaction; returns what the registry has then."""
        return uninterrupted(lambda: self._intents.prepare(group, owner, lease_s))

    def take_over(self, txid: UUID, owner: UUID, epoch: int) -> TransactionRecord | None:
        """Own a transaction that is PREPARING at this epoch, and fence who had it."""
        return uninterrupted(lambda: self._intents.take_over(txid, owner, epoch))

    def reopen(self, txid: UUID, owner: UUID, epoch: int) -> TransactionRecord | None:
        """Open a transaction again that was ended because its lease was over."""
        return uninterrupted(lambda: self._intents.reopen(txid, owner, epoch))

    def abort(self, txid: UUID, epoch: int, reason: str, follow_ups: Sequence[FollowUp] = ()) -> bool:
        """End a transaction that is PREPARING at this epoch."""
        return uninterrupted(lambda: self._intents.abort(txid, epoch, reason, follow_ups))

    def reap(self, txid: UUID, epoch: int, follow_ups: Sequence[FollowUp] = ()) -> bool:
        """End a transaction whose lease is over."""
        return uninterrupted(lambda: self._intents.reap(txid, epoch, follow_ups))

    def transaction(self, txid: UUID) -> TransactionRecord | None:
        """Return what is known of a transaction for certain; None if nothing."""
        return after_abandoned(lambda: self._intents.transaction(txid))

    def preparing(self) -> list[TransactionRecord]:
        """Return all that are PREPARING, the oldest first."""
        return after_abandoned(self._intents.preparing)

    def quarantine(self) -> int:
        """Make all that are PREPARING QUARANTINED."""
        return uninterrupted(self._intents.quarantine)

    def quarantined(self) -> list[TransactionRecord]:
        """Return all that are QUARANTINED, the oldest first."""
        return after_abandoned(self._intents.quarantined)

    def drop(self, txid: UUID, reason: str, follow_ups: Sequence[FollowUp] = ()) -> bool:
        """End a transaction that is QUARANTINED."""
        return uninterrupted(lambda: self._intents.drop(txid, reason, follow_ups))

    # -- commits
    def flip(self, group: Sequence[Transaction], owner: UUID | None = None) -> list[CommitOutcome]:
        """Make a group of transactions visible in one short database transaction."""
        return uninterrupted(lambda: self._commits.flip(group, owner))

    def outcome(self, txid: UUID) -> CommitOutcome | None:
        """Return what is known for certain of a transaction: `Committed`, or None if it is not committed."""
        return after_abandoned(lambda: self._commits.outcome(txid))

    # -- bulk ingest
    def ingested(self, run: str, token: str) -> int:
        """Return how many rows of an ingest were made datasets of a run, those deleted by now too."""
        return after_abandoned(lambda: self._bulk.ingested(run, token))

    def ingested_and_deleted(self, dataset_type: str, run: str, token: str) -> int:
        """Return how many rows of an ingest were made datasets of a run, and are deleted by now."""
        return self._bulk.ingested_and_deleted(dataset_type, run, token)

    def ingest(self, rows: IngestRows, dataset_type: str, run: str, token: str, start: int) -> IngestedChunk:
        """Make a chunk of files that stay where they are datasets, in one transaction."""
        return uninterrupted(lambda: self._bulk.ingest(rows, dataset_type, run, token, start))

    # -- destinations
    def reveal_through(self, destinations: Destinations) -> None:
        """Let flips reveal the rows at those of the destinations that are in this very database.

        And note whose stores objects are in, where each user has one.
        """
        self._artifacts.destinations = destinations

    # -- follow-ups
    def claim(self, owner: UUID, limit: int, claim_s: float) -> list[OutboxEntry]:
        """Claim follow-ups that are due, the oldest first."""
        return uninterrupted(lambda: self._outbox.claim(owner, limit, claim_s))

    def release_claims(self, owner: UUID) -> None:
        """Make what an owner has claimed due: it is dead."""
        uninterrupted(lambda: self._outbox.release_claims(owner))

    def hasten_follow_ups(self) -> None:
        """Make due what was postponed: somebody wants it to be tried now."""
        uninterrupted(self._outbox.hasten)

    def finish_follow_ups(self, done: Mapping[UUID, Collection[FollowUp]]) -> None:
        """Note follow-ups of transactions as done; idempotent."""
        uninterrupted(lambda: self._outbox.finish(done))

    def postpone(self, entry_id: int, delay_s: float) -> None:
        """Give up a claim; the entry is due again after the delay."""
        uninterrupted(lambda: self._outbox.postpone(entry_id, delay_s))

    def outbox(self, txid: UUID | None = None) -> list[OutboxEntry]:
        """Return what is not done, the oldest first."""
        return after_abandoned(lambda: self._outbox.entries(txid))

    def record_artifacts(self, artifacts: Mapping[UUID, Sequence[Artifact]]) -> set[UUID]:
        """Add or update artifacts of committed datasets by (dataset, destination); returns of which."""
        self._database.check_writable()
        known = self._finder.stored(artifacts)
        return uninterrupted(lambda: self._record(artifacts, known))

    def _record(
        self, artifacts: Mapping[UUID, Sequence[Artifact]], known: Mapping[UUID, StoredDataset]
    ) -> set[UUID]:
        uuid_in = self._database.rules.uuid_in
        rows = []
        with self._database.edit("recording artifacts") as connection:
            self._clock.advance(connection)  # from here on nobody deletes them
            removed = self._deletions.removed(connection, artifacts)
            for id_, given in artifacts.items():
                if id_ in removed:
                    continue  # nobody would find it, nor would a deletion put it into the trash
                if id_ not in known:
                    raise NotFoundError(
                        f"there is no dataset {id_}", hint="record artifacts after the commit"
                    )
                stored = known[id_]
                places = [artifact.destination for artifact in stored.artifacts]
                for artifact in given:
                    if artifact.destination not in places:
                        places.append(artifact.destination)
                    position = places.index(artifact.destination)
                    rows.append(self._artifacts.rows(uuid_in(id_), uuid_in(stored.txid), position, artifact))
            self._artifacts.write(connection, rows, update=True)
        return artifacts.keys() - removed

    def amend_artifact(self, dataset_id: UUID, before: Artifact, after: Artifact) -> bool:
        """Put another artifact in the place of one, at the same destination, if it is still as it was."""
        self._database.check_writable()
        if before.destination != after.destination:
            raise InternalError(f"an artifact cannot move from {before.destination} to {after.destination}")
        stored = self._finder.stored([dataset_id]).get(dataset_id)
        if stored is None:
            raise NotFoundError(f"there is no dataset {dataset_id}", hint="it may have been removed")
        uuid_in = self._database.rules.uuid_in
        row = self._artifacts.rows(uuid_in(dataset_id), uuid_in(stored.txid), 0, after)  # its position stays
        return uninterrupted(lambda: self._amend(dataset_id, before, row))

    def _amend(
        self, dataset_id: UUID, before: Artifact, row: tuple[tuple[Any, ...] | None, tuple[Any, ...]]
    ) -> bool:
        with self._database.edit("amending an artifact") as connection:
            self._clock.advance(connection)  # from here on nobody else changes it
            if self._finder.artifact(connection, dataset_id, before.destination) != before:
                return False
            if self._deletions.removed(connection, [dataset_id]):
                return False  # nobody would find what is put in its place, nor remove it
            self._artifacts.write(connection, [row], update=True)
            return True

    # -- garbage
    def known_owners(self, ids: Collection[UUID]) -> set[UUID]:
        """Return those of the owners that were ever registered."""
        return self._garbage.known_owners(ids)

    def object_stores(self) -> list[str]:
        """Return the names of all destinations that any object was ever recorded for."""
        return self._garbage.object_stores()

    def has_objects(self, store: str) -> bool:
        """Whether any dataset has a whole object at a destination."""
        return self._garbage.has_objects(store)

    def may_have_workspace(self, store: str, user: str) -> bool:
        """Whether a user has a store of their own at a destination, or nobody is known to have one."""
        return self._workspaces.may_have(store, user)

    def note_workspace(self, store: str, user: str) -> None:
        """Remember that a user has a store of their own at a destination."""
        uninterrupted(lambda: self._workspaces.note(store, user))

    def user_of_object(self, store: str, path: str) -> str | None:
        """Return in which user's store an object is; None where nobody knows."""
        return self._workspaces.user_of_object(store, path)

    def object_records(self, stores: Sequence[str], objects: Mapping[str, UUID]) -> dict[str, ObjectRecord]:
        """Return what is known of objects (transactions by path), all of it at one moment."""
        self._database.prove_durable()
        return self._garbage.object_records(stores, objects)

    def load_records(self, loads: Collection[UUID]) -> dict[UUID, ObjectRecord]:
        """Return what is known of the rows of loads, all of it at one moment."""
        self._database.prove_durable()
        return self._garbage.load_records(loads)

    def candidate_ages(self, store: str, dead: Mapping[str, str]) -> dict[str, float]:
        """Return since when objects are remembered as dead under the same mark, in seconds."""
        return self._garbage.candidate_ages(store, dead)

    def note_candidates(self, store: str, dead: Mapping[str, str]) -> None:
        """Remember what is dead in a store since when, and forget what is dead no more."""
        uninterrupted(lambda: self._garbage.note_candidates(store, dead))

    def forget_candidates(self, store: str, paths: Collection[str]) -> None:
        """Forget what was removed."""
        uninterrupted(lambda: self._garbage.forget_candidates(store, paths))

    # -- look-ups
    def find(
        self,
        dataset_type: DatasetType,
        data_id: DataId,
        collections: Sequence[str],
        *,
        version: int | None = None,
        timespan: Timespan | None = None,
        as_of: int | None = None,
    ) -> StoredDataset | None:
        """Return the first match in the collections in order.

        CALIBRATION collections are searched with ``timespan``, and passed over without one (as Butler does).
        """
        return self._finder.find(dataset_type, data_id, collections, version, timespan, as_of)

    def stored(self, ids: Iterable[UUID], *, as_of: int | None = None) -> dict[UUID, StoredDataset]:
        """Return committed datasets by id, in the order of the ids; unknown ones are left out."""
        return self._finder.stored(ids, self._past(as_of))

    def removed(self, ids: Iterable[UUID]) -> set[UUID]:
        """Return those of the datasets that were committed once, and are there no more."""
        wanted = list(ids)
        return self._database.read(lambda connection: self._deletions.removed(connection, wanted))

    def versions(
        self, dataset_type: DatasetType, data_id: DataId, run: str, *, as_of: int | None = None
    ) -> list[StoredDataset]:
        """Return all versions, oldest first; none where there is no such run."""
        return self._finder.versions(dataset_type, data_id, run, as_of)

    def seq_of(self, as_of: object) -> int:
        """Return the number of the commit or edit that a number, a time or the name of a snapshot means."""
        return self._moments.seq(as_of)

    def collection_names(self, as_of: int | None = None) -> Collection[str]:
        """Return the names of the collections that there are, or were after a commit or edit."""
        names = self._names.current() if as_of is None else self._moments.names(as_of)
        return names.collections.keys()

    def moment(self, time_ns: int) -> int:
        """Return the number of the last commit or edit at a time or before it; 0 where there is none."""
        return self._clock.moment(check_time(time_ns))

    def broken_references(self) -> list[str]:
        """Return which rows name others that are not there, for people."""
        groups = {self._tables.group(found.dimensions).dataset for found in self.dataset_types()}
        tables = [DATASET, OBJECT, *sorted(groups, key=lambda table: table.name)]
        return self._database.read(
            lambda connection: self._database.rules.broken_references(connection, tables)
        )

    def version_numbers(self, dataset_type: DatasetType, data_id: DataId, run: str) -> list[int]:
        """Return the numbers of all versions that ever were, those of removed ones too, in order."""
        return self._finder.version_numbers(dataset_type, data_id, run)

    def query(self, query: DatasetQuery) -> Iterator[StoredDataset]:
        """Return matches, lazily: pages are fetched while iterating, no cursor stays open.

        The query is checked at once; all pages show the moment of the call. Without ``order_by`` matches
        come by dataset type, collection and data ID. Members of CALIBRATION collections are listed once,
        whenever they are valid.
        """
        return self._queries.query(query)

    def count(self, query: DatasetQuery) -> int:
        """Return the number of matches, without fetching them."""
        return self._queries.count(query)

    def find_each(
        self,
        dataset_type: DatasetType,
        values: Mapping[str, Sequence[DataIdValue]],
        timespans: Sequence[Timespan | None],
        collections: Sequence[str],
        *,
        as_of: int | None = None,
    ) -> tuple[list[UUID | None], list[int]]:
        """Return of each data ID, at its time, the match if there is one, and how many there are."""
        return self._calibrations.find_each(dataset_type, values, timespans, collections, self._past(as_of))

    def searches_calibrations(self, collections: Sequence[str], as_of: int | None = None) -> bool:
        """Tell whether any of these collections, or any in their chains, is of calibrations."""
        names = self._names.current() if as_of is None else self._moments.names(as_of)
        return names.searches_calibrations(collections)

    def implied_values(self, element: str, keys: Mapping[str, int | str]) -> dict[str, int | str]:
        """Return what the record with these keys says of the dimensions that the element implies."""
        return self._implied.of(element, keys)

    def any(self, query: DatasetQuery) -> bool:
        """Tell whether there is a match."""
        return self._queries.exists(query)

    def refs(self, query: DatasetQuery) -> Iterator[DatasetRef]:
        """Yield the refs of matches lazily, as `query` does; the query is checked at once."""
        return self._queries.refs(query)

    def page(
        self, query: DatasetQuery, size: int, after: str | None = None
    ) -> tuple[list[DatasetRef], str | None]:
        """Return so many matches behind those of a page before, and the token of the next page."""
        return self._queries.page(query, size, after)

    def columns(
        self, query: DatasetQuery, columns: Sequence[str] | None = None, *, label: str = ""
    ) -> Iterator[Any]:
        """Return the matches as Arrow record batches, at least one, lazily; the query is checked at once."""
        return self._queries.columns(query, columns, label)
