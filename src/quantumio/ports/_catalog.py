"""Port to the registry: what exists, since when, and what belongs together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol
from uuid import UUID

from attrs import field, frozen

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
from quantumio.ports._collections import ChainEdit, CollectionKind, CollectionRecord
from quantumio.ports._garbage import GarbageCatalog
from quantumio.ports._history import HistoryCatalog, MemberRecord
from quantumio.ports._ingest import IngestedChunk, IngestRows
from quantumio.ports._members import MemberColumns, MemberQuery
from quantumio.ports._records import RecordComparison

__all__ = ["DATASET_COLUMNS", "LEASE_OVER", "REUSED", "Catalog", "DatasetQuery"]

DATASET_COLUMNS: Final = (
    "run",
    "version",
    "id",
    "size",
    "digest",
    "destinations",
    "status",
    "committed",
    "access_url",
)
"""Of a table of datasets, behind dataset type and dimensions, where nobody says which columns."""

LEASE_OVER = "lease"
"""The reason of transactions that were ended because nobody had heard of their owner."""

REUSED = "reused"
"""The reason of those that were ended because an earlier attempt under their key had committed."""


@frozen(kw_only=True)
class DatasetQuery:
    """What to look for; all conditions hold together.

    Attributes
    ----------
    dataset_types
        Names or globs; empty means all.
    collections
        Names in search order, or (any glob) all that match; None means every RUN.
    data_id
        Equality on dimensions (required or implied ones; implied through dimension records).
    where, bind
        Expression over dimensions, their metadata and the fields of datasets that ``order_by`` knows, with
        the values of its ``:name`` parameters.
    find_first
        Per dataset type and data ID only the match in the first collection that has one.
    versions
        ``latest`` or ``all``.
    order_by
        Dimensions, fields of their records (``visit.exposure_time_s``, ``visit.timespan.begin``: what has
        no value comes first), or ``dataset_type``, ``run``, ``version``, ``size``, ``digest``, ``status``,
        ``committed``, ``commit_seq``; a leading ``-`` reverses.
    limit
        At most so many; None = all.
    as_of
        Look at what there was after this commit or edit; None = now.
    """

    dataset_types: tuple[str, ...] = ()
    collections: tuple[str, ...] | None = None
    data_id: Mapping[str, int | str] = field(factory=dict, hash=False)
    where: str | None = None
    bind: Mapping[str, object] = field(factory=dict, hash=False)
    find_first: bool = True
    versions: str = "latest"
    order_by: tuple[str, ...] = ()
    limit: int | None = None
    as_of: int | None = None


class Catalog(GarbageCatalog, HistoryCatalog, Protocol):
    """The registry. Calls block (worker threads) and are thread-safe; no transaction outlives a call.

    Unless said otherwise, calls raise `DestinationError` (``kind="registry"``) when the database cannot be
    reached, and `StateError` (``kind="read_only"``) for changes on a read-only registry.
    """

    # -- what it is
    @property
    def repository_id(self) -> UUID:
        """Identity of the repository, made when it was created."""

    @property
    def universe(self) -> DimensionUniverse:
        """Its dimensions."""

    def close(self) -> None:
        """Give up connections; idempotent."""

    # -- dataset types
    def register_dataset_type(self, dataset_type: DatasetType) -> bool:
        """Register it (normalised); False if it was registered already.

        Raises
        ------
        ConflictError
            Another definition is registered under the name.
        InvalidInputError
            It names an unknown dimension.
        """

    def dataset_type(self, name: str) -> DatasetType:
        """Return it (cached).

        Raises
        ------
        NotFoundError
            ``kind="no_dataset_type"``; suggests close names.
        """

    def dataset_types(self) -> list[DatasetType]:
        """All of them, by name."""

    # -- dimensions
    def insert_dimension(self, element: str, records: Sequence[Mapping[str, object]]) -> int:
        """Insert records in bulk, all or none; returns how many were new.

        Records carry keys, implied dimensions, metadata, ``timespan`` (Timespan) and ``region`` (Region).

        Raises
        ------
        ConflictError
            A different record is there under the same key.
        InvalidInputError
            A field is unknown, missing or of the wrong type; names record and field.
        """

    def compare_dimension(self, element: str, records: Sequence[Mapping[str, object]]) -> RecordComparison:
        """Return what would become of records if they were inserted; nothing is changed.

        Raises
        ------
        InvalidInputError
            A field is unknown, missing or of the wrong type; names record and field.
        """

    def check_expression(self, where: str, bind: Mapping[str, object]) -> None:
        """Check of an expression what needs no look at the registry: how it is written, and its times.

        Raises
        ------
        InvalidInputError
            It is wrong (``kind="expression"``); the message points at the character.
        """

    def dimension_records(
        self,
        element: str,
        data_id: Mapping[str, int | str],
        where: str | None,
        bind: Mapping[str, object],
        *,
        as_of: int | None = None,
    ) -> Iterator[dict[str, object]]:
        """Yield records of a dimension or relation, ordered by key; with ``as_of`` those of that moment."""

    def record_key(
        self, element: str, field: str, required: Mapping[str, DataIdValue], value: object
    ) -> DataIdValue | None:
        """Return the key of the record of a dimension whose ``field``, one that is unique, has a value.

        ``required`` are the values of the dimensions that it requires. None where no record has the value.

        Raises
        ------
        InvalidInputError
            The value is not of the type of the field.
        """

    def timespan(self, data_id: DataId) -> Timespan | None:
        """Timespan of the exposure or visit that a data ID names; None where no record tells."""

    def timespans(self, data_ids: Sequence[DataId]) -> list[Timespan | None]:
        """Return of each of many data IDs what `timespan` does."""

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
        """Return data IDs over dimensions that exist as dimension records, joined on shared keys.

        Parameters
        ----------
        dimensions, data_id, where, bind
            Over which, and which of them.
        datasets, collections
            Names of dataset types: only data IDs for which there is a dataset of each of them; the
            dimensions that it has need no records. Where to look for them, as in `DatasetQuery`; those in
            CALIBRATION collections count whenever they are valid.
        as_of
            Look at what there was after this commit or edit; None = now.
        """

    def joined(self, query: DatasetQuery) -> Iterator[tuple[DatasetRef, ...]]:
        """Yield one dataset of each type, for all that belong together, lazily and in order of dimensions.

        They have the same values of the dimensions that they share; those that they do not share are joined
        as in `data_ids`. CALIBRATION collections are passed over.

        Parameters
        ----------
        query
            Its dataset types are names; the latest versions are meant, and no order is taken.

        Raises
        ------
        InvalidInputError, NotFoundError
            The query is wrong, or records that join the dimensions are lacking.
        """

    def count_joined(self, query: DatasetQuery) -> int:
        """Return how many `joined` yields."""

    # -- collections
    def register_collection(self, name: str, kind: CollectionKind) -> bool:
        """Register it; False if it was there as this kind.

        Raises
        ------
        ConflictError
            It is there as another kind.
        """

    def collections(self, pattern: str = "*") -> list[CollectionRecord]:
        """Return collections whose name matches the glob, by name."""

    def set_chain(self, name: str, children: Sequence[str], edit: str = ChainEdit.SET) -> None:
        """Define a CHAINED collection, or edit its children; made where there is none.

        Edits of several processes take turns: none is lost.

        Raises
        ------
        NotFoundError
            A child is unknown, or children are to be taken out of a chain that is not there.
        ConflictError
            A cycle (``kind="cycle"``), or the name is taken by another kind.
        """

    def associate(self, name: str, refs: Sequence[DatasetRef]) -> None:
        """Add refs to a TAGGED collection (made where there is none), all or none.

        Raises
        ------
        ConflictError
            Another ref of the same dataset type and data ID is in it.
        """

    def disassociate(self, name: str, refs: Sequence[DatasetRef]) -> None:
        """Take refs out of a TAGGED collection; those that are not in it are no error."""

    def certify(self, name: str, refs: Sequence[DatasetRef], timespan: Timespan) -> None:
        """Certify refs as valid in a timespan in a CALIBRATION collection (made where there is none).

        All or none.

        Raises
        ------
        ConflictError
            Another ref of the same dataset type and data ID is valid in a part of it.
        """

    def certify_each(
        self, name: str, ids: Sequence[UUID], begin_ns: Sequence[int], end_ns: Sequence[int]
    ) -> int:
        """Certify datasets in a CALIBRATION collection (made where there is none), each in its own timespan.

        All or none, in one transaction; returns how many certifications are new. The very same one again is
        no error, also where it is given twice.

        Parameters
        ----------
        ids
            Of committed datasets of any dataset types; the same one may come several times.
        begin_ns, end_ns
            For each, as `Timespan` has them.

        Raises
        ------
        ConflictError
            Two datasets of the same dataset type and data ID would be valid at one time
            (``kind="validity_overlap"``); names the row.
        NotFoundError
            One is not committed.
        InvalidInputError
            A timespan is empty; names the row.
        """

    def decertify(
        self, name: str, dataset_type: str, timespan: Timespan, data_ids: Sequence[DataId] | None = None
    ) -> None:
        """End validity within the timespan, truncating and splitting ranges."""

    def members(self, query: MemberQuery) -> Iterator[MemberRecord]:
        """Yield members of TAGGED or CALIBRATION collections, lazily; all of them show one moment.

        They come collection by collection, in the order of the query, by dataset type, data ID and begin. A
        calibration comes once for each timespan in which it is valid.

        Raises
        ------
        NotFoundError
            There is no such collection or dataset type.
        InvalidInputError
            A collection that is named is of another kind and no chain, or a data ID is wrong.
        """

    def member_columns(self, query: MemberQuery) -> Iterator[MemberColumns]:
        """Yield what `members` yields, column by column, thousands at a time: no object is made for each."""

    def count_members(self, query: MemberQuery) -> int:
        """Return how many `members` yields, without fetching them."""

    # -- intents
    def register_owner(self, owner: UUID, host: str, boot_id: str) -> None:
        """Make an owner of transactions known, and begin its lease; again it renews it."""

    def renew_lease(self, owner: UUID) -> bool:
        """Say that an owner lives, by the database's clock; False if it is not known: register it (again)."""

    def prepare(self, group: Sequence[Transaction], owner: UUID, lease_s: float) -> list[TransactionRecord]:
        """Write intents, before the first byte of the group goes to a destination; all in one transaction.

        A new transaction becomes PREPARING, with its manifest. One that is PREPARING under this owner and
        at this epoch gets the new manifest and the new lease. Any other that is there already stays as it is.

        Parameters
        ----------
        group
            With the artifacts that are planned.
        owner
            Registered; carries them.
        lease_s
            How long the owner may be silent before others may end these transactions, seconds.

        Returns
        -------
        list of TransactionRecord
            What the registry has now, in the order of the group: the caller goes on only with those that are
            PREPARING, of this owner and at its epoch.

        Raises
        ------
        StateError
            The owner is not registered.
        """

    def take_over(self, txid: UUID, owner: UUID, epoch: int) -> TransactionRecord | None:
        """Own a transaction that is PREPARING at this epoch: the epoch grows, and fences who had it.

        Returns
        -------
        TransactionRecord or None
            What the registry has now (it is ours only if its owner and ``epoch + 1`` say so); None where it
            knows no such transaction.

        Raises
        ------
        StateError
            The owner is not registered.

        Notes
        -----
        Waits for a flip that is under way, even for one whose client has lost it: what it returns is certain.
        The lease is as long as it was, and counted from the new owner's last sign of life.
        """

    def reopen(self, txid: UUID, owner: UUID, epoch: int) -> TransactionRecord | None:
        """Open a transaction again that was aborted because its lease was over: epoch and generation grow.

        Returns and raises as `take_over`. Its manifest and lease are the old ones until it is prepared anew.
        A cleaner that is still at work for it removes what is of generations that have ended, nothing else.
        """

    def abort(self, txid: UUID, epoch: int, reason: str, follow_ups: Sequence[FollowUp] = ()) -> bool:
        """End a transaction that is PREPARING at this epoch, with what is to be cleaned up after it.

        Returns
        -------
        bool
            False, and nothing changed, if it is not PREPARING at this epoch (any more): then nothing of it
            may be deleted.
        """

    def reap(self, txid: UUID, epoch: int, follow_ups: Sequence[FollowUp] = ()) -> bool:
        """Do as `abort` (its reason is ``LEASE_OVER``), if the lease of its owner is over, too."""

    def transaction(self, txid: UUID) -> TransactionRecord | None:
        """Return what is known of a transaction for certain; None if nothing."""

    def preparing(self) -> list[TransactionRecord]:
        """Return all that are PREPARING, the oldest first; a damaged one hides no other."""

    def quarantine(self) -> int:
        """Make all that are PREPARING (in a registry that was put back from a backup) QUARANTINED."""

    def quarantined(self) -> list[TransactionRecord]:
        """Return all that are QUARANTINED, the oldest first; a damaged one hides no other."""

    def drop(self, txid: UUID, reason: str, follow_ups: Sequence[FollowUp] = ()) -> bool:
        """End a transaction that is QUARANTINED, with what is to be cleaned up after it.

        Returns
        -------
        bool
            False, and nothing changed, if it is not QUARANTINED (any more).
        """

    # -- commits
    def flip(self, group: Sequence[Transaction], owner: UUID | None = None) -> list[CommitOutcome]:
        """Make a group of transactions visible in one short database transaction.

        Each member gets its own outcome: `Committed`, `CommitConflict`, `CommitFailed` where its run,
        dataset type or data ID is none that the registry can take or where it was aborted, or
        `CommitParked` where somebody else has taken it over (its epoch is not the registry's), where its
        lease was over and it was ended (`reopen` it), where it is in quarantine, or where a transaction that
        it requires is not decided or may be opened again; such a member changes nothing visible and does not
        disturb the others. One that requires a transaction that was aborted otherwise, or that the registry
        does not know, fails (``kind="upstream"``). A transaction that was ended because an earlier attempt
        under its key had committed counts as committed for those that require it. One with an output that
        the earlier attempt does not have is a conflict (``kind="other_outputs"``).

        A member that was prepared and ends otherwise than committed or parked is ABORTED then, with reason
        ``conflict``, ``failed``, ``upstream`` or ``reused``, and what it has placed is to be cleaned (a CLEAN
        for each destination of its artifacts but ``direct``). One that was never prepared leaves nothing.
        Asked again, the registry says again that it ended, and why.

        The follow-ups of those that commit, and of those that end, are in the outbox then, claimed by
        ``owner`` for a while where there is one, else due at once.

        Raises
        ------
        CommitUnknownError
            The database did not say whether it committed; `take_over` each before anything else.
        """

    # -- bulk ingest
    def ingested(self, run: str, token: str) -> int:
        """Return how many rows of an ingest were made datasets of a run, those deleted by now too."""

    def ingested_and_deleted(self, dataset_type: str, run: str, token: str) -> int:
        """Return how many rows of an ingest were made datasets of a run, and are deleted by now."""

    def ingest(self, rows: IngestRows, dataset_type: str, run: str, token: str, start: int) -> IngestedChunk:
        """Make a chunk of files that stay where they are datasets, all or none, in one transaction.

        Where some of its data IDs or files are there already, which takes longer, it may be the begin of the
        chunk alone. Its key is ``ingest/<token>/<rows that are datasets then>``, so that whoever goes on with
        the ingest knows where. Nothing is changed where other than ``start`` rows are datasets already.

        Parameters
        ----------
        rows
            The chunk; all sizes are known.
        dataset_type, run
            Names; both are registered.
        token
            Identity of the ingest.
        start
            How many rows of it come before this chunk.

        Raises
        ------
        DestinationError
            The database failed: ask `ingested`, and go on from there.
        """

    def outcome(self, txid: UUID) -> CommitOutcome | None:
        """Return what is known for certain of a transaction: `Committed`, or None if it is not committed.

        One that was ended because an earlier attempt under its key had committed stands for that one, as
        long as nothing of that was deleted: it has its refs, and is ``reused``.
        """

    # -- follow-ups
    def claim(self, owner: UUID, limit: int, claim_s: float) -> list[OutboxEntry]:
        """Claim follow-ups that are due and that nobody else has claimed, the oldest first.

        A claim ends after ``claim_s`` seconds by the database's clock: then somebody else may have it.
        """

    def release_claims(self, owner: UUID) -> None:
        """Make what an owner has claimed due: it is dead."""

    def hasten_follow_ups(self) -> None:
        """Make due what was postponed: somebody wants it to be tried now."""

    def finish_follow_ups(self, done: Mapping[UUID, Collection[FollowUp]]) -> None:
        """Note follow-ups of transactions as done, whoever has claimed them; idempotent."""

    def postpone(self, entry_id: int, delay_s: float) -> None:
        """Give up a claim; the entry is due again after the delay, and counts one more attempt.

        Nothing is changed where the entry is done (or there is none).
        """

    def outbox(self, txid: UUID | None = None) -> list[OutboxEntry]:
        """Return what is not done, of one transaction or of all, the oldest first."""

    def record_artifacts(self, artifacts: Mapping[UUID, Sequence[Artifact]]) -> set[UUID]:
        """Add or update artifacts of committed datasets by (dataset, destination).

        Returns
        -------
        set of UUID
            Of which datasets they were: of those that were deleted meanwhile nothing is recorded, and what
            was placed of them is garbage.

        Raises
        ------
        NotFoundError
            One was never committed; nothing was recorded.
        """

    def amend_artifact(self, dataset_id: UUID, before: Artifact, after: Artifact) -> bool:
        """Put another artifact in the place of one, at the same destination, if it is still as it was.

        Returns
        -------
        bool
            False, and nothing changed, if the artifact is not ``before`` (any more).

        Raises
        ------
        NotFoundError
            There is no such dataset.
        """

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
        """First match in the collections in order; CALIBRATION ones are searched with ``timespan``.

        With ``as_of`` what there was after this commit or edit.

        Raises
        ------
        NotFoundError
            There is no such collection (``kind="no_collection"``).
        ConflictError
            Several calibrations are valid (``kind="ambiguous_calibration"``); names them.
        """

    def stored(self, ids: Iterable[UUID], *, as_of: int | None = None) -> dict[UUID, StoredDataset]:
        """Return committed datasets by id; unknown ids are left out.

        With ``as_of`` those that there were after this commit or edit.
        """

    def removed(self, ids: Iterable[UUID]) -> set[UUID]:
        """Return those of the datasets that were committed once, and are there no more."""

    def versions(
        self, dataset_type: DatasetType, data_id: DataId, run: str, *, as_of: int | None = None
    ) -> list[StoredDataset]:
        """All versions, oldest first; with ``as_of`` those that there were after this commit or edit."""

    def seq_of(self, as_of: object) -> int:
        """Return the number of the last commit or edit at a moment.

        Parameters
        ----------
        as_of
            Such a number, a Time or datetime, or the name of a snapshot.

        Raises
        ------
        InvalidInputError
            It is no moment of this registry (``kind="moment"``).
        NotFoundError
            There is no snapshot of this name (``kind="moment"``).
        """

    def collection_names(self, as_of: int | None = None) -> Collection[str]:
        """Return the names of the collections that there are, or were after a commit or edit."""

    def broken_references(self) -> list[str]:
        """Return which rows name others that are not there, for people."""

    def version_numbers(self, dataset_type: DatasetType, data_id: DataId, run: str) -> list[int]:
        """Return the numbers of all versions that ever were, those of removed ones too, in order."""

    def moment(self, time_ns: int) -> int:
        """Return the number of the last commit or edit at a time or before it; 0 where there is none.

        Times are nanoseconds since 1970-01-01 UTC. What was edited before registries kept the times of edits
        counts as of the next commit.
        """

    def query(self, query: DatasetQuery) -> Iterator[StoredDataset]:
        """Yield matches lazily: pages are fetched while iterating, no cursor stays open.

        Raises
        ------
        InvalidInputError
            ``kind="expression"``: the message points at the character.
        """

    def refs(self, query: DatasetQuery) -> Iterator[DatasetRef]:
        """Yield the refs of matches as `query` does, without reading what is known of their bytes.

        Raises
        ------
        InvalidInputError
            ``kind="expression"``: the message points at the character.
        """

    def count(self, query: DatasetQuery) -> int:
        """Return the number of matches, without fetching them."""

    def find_each(
        self,
        dataset_type: DatasetType,
        values: Mapping[str, Sequence[DataIdValue]],
        timespans: Sequence[Timespan | None],
        collections: Sequence[str],
        *,
        as_of: int | None = None,
    ) -> tuple[list[UUID | None], list[int]]:
        """Look many complete data IDs up, each at its time, as `find` does one.

        Parameters
        ----------
        values
            Of the data IDs: a column for each dimension of the dataset type, by its name.
        timespans
            As many: when each calibration is to be valid.

        Returns
        -------
        tuple
            Of each the match, None where there is none or more than one; and how many matches there are in
            the first collection that has any.
        """

    def searches_calibrations(self, collections: Sequence[str], as_of: int | None = None) -> bool:
        """Tell whether any of these collections, or any in their chains, is of calibrations.

        Names that there are not count as none.
        """

    def implied_values(self, element: str, keys: Mapping[str, int | str]) -> Mapping[str, int | str]:
        """Return what the record with these keys says of the dimensions that the element implies.

        Empty where there is no such record.
        """

    def any(self, query: DatasetQuery) -> bool:
        """Tell whether there is a match, without fetching it."""

    def page(
        self, query: DatasetQuery, size: int, after: str | None = None
    ) -> tuple[list[DatasetRef], str | None]:
        """Return the refs of one page, and the token of the next one; None where it is the last.

        All pages show the moment of the first, whatever is committed or removed meanwhile.

        Raises
        ------
        InvalidInputError
            ``kind="page_token"``: ``after`` is no token of this query.
        """

    def columns(
        self, query: DatasetQuery, columns: Sequence[str] | None = None, *, label: str = ""
    ) -> Iterator[object]:
        """Return the matches as Arrow record batches, lazily; at least one, which tells the columns.

        Parameters
        ----------
        columns
            Names of columns; None are all but those of ObsCore.
        label
            Of the repository, for ``access_url``.

        Raises
        ------
        InvalidInputError
            The query is wrong, or there is no such column (``kind="component"``).
        """
