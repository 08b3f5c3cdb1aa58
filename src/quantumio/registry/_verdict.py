"""The verdict on each member of a group: pure decisions over what was read under the clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from attrs import evolve, frozen

from quantumio.errors import ErrorKind
from quantumio.model import (
    CommitConflict,
    CommitFailed,
    CommitOutcome,
    CommitParked,
    Committed,
    DataId,
    DataIdValue,
    DatasetRef,
    OutputRecord,
    Transaction,
    TransactionState,
)
from quantumio.ports import LEASE_OVER, REUSED, CollectionKind
from quantumio.registry._arguments import is_text
from quantumio.registry._names import Collection, Edit, Names, TypeEntry

__all__ = ["Accepted", "Key", "Standing", "Verdicts", "Version", "has_good_key"]

_MOST_KEY_BYTES = 1024
Key = tuple[str, int, tuple[DataIdValue, ...]]
"""Run, dataset type, and values of the data ID."""


@frozen
class Version:
    """The highest version of a key ever given, the latest that is still there, and who made that."""

    top: int
    live: int
    txid: UUID | None


_NONE = Version(0, 0, None)
_CONFLICT: Final = "conflict"
_FAILED: Final = "failed"
_UPSTREAM: Final = "upstream"


class Standing(NamedTuple):
    """What the registry says of a transaction under the clock; where it says nothing there is none."""

    state: str
    epoch: int
    reason: str | None


def has_good_key(transaction: Transaction) -> bool:
    """Whether its idempotency key (None: it has none) is one that every database takes and can index."""
    return transaction.key is None or is_text(transaction.key, _MOST_KEY_BYTES)


@frozen(eq=False)
class Accepted:
    """One output that becomes visible."""

    output: OutputRecord
    entry: TypeEntry
    key: Key
    version: int
    place: int
    txid: UUID
    seq: int


class _Refused(Exception):
    def __init__(self, outcome: CommitOutcome) -> None:
        super().__init__()
        self.outcome = outcome


class Verdicts:
    """Decides members in order; each sees the versions that those before it made.

    What was read under the clock is put into `standings`, `outcomes` (of members that are committed
    already), `winners`, `taken` and `latest`; what is to be written is in `transactions`, `accepted`,
    `ended` and `new_runs` afterwards.
    """

    def __init__(self, names: Names, edit: Edit, group: Sequence[Transaction], *, first_seq: int) -> None:
        self._names = names
        self._next_seq = first_seq
        self._group = frozenset([transaction.txid.int for transaction in group])
        self.edit = edit
        self.standings: Mapping[UUID, Standing] = {}
        self.winners: dict[tuple[str, str], Committed] = {}
        self.outcomes: dict[UUID, CommitOutcome] = {}
        self.taken: set[int] = set()  # ids as integers: cheaper to hash
        self.latest: dict[Key, Version] = {}
        self.new_runs: dict[str, Collection] = {}
        self.accepted: list[Accepted] = []
        self.transactions: list[tuple[Transaction, int]] = []
        self.ended: list[tuple[Transaction, str]] = []  # with the reason
        self._keys: dict[int, tuple[TypeEntry, Key]] = {}

    # -- keys
    def keys(self, group: Sequence[Transaction]) -> dict[Key, TypeEntry]:
        """Return every key whose latest version matters; what is wrong with a ref shows in its verdict."""
        wanted: dict[Key, TypeEntry] = {}
        for transaction in group:
            for ref in (*(output.ref for output in transaction.outputs), *transaction.unchanged):
                try:
                    entry, key = self._key(transaction, ref)
                except _Refused:
                    continue
                wanted[key] = entry
        return wanted

    def _key(self, transaction: Transaction, ref: DatasetRef) -> tuple[TypeEntry, Key]:
        if (known := self._keys.get(ref.id.int)) is not None:
            return known
        wanted = ref.dataset_type
        entry = self._names.types.get(wanted.name)
        if entry is None or not (entry.type is wanted or entry.type == wanted):
            message = f"{ref}: dataset type {wanted.name!r} is not registered as it is used"
            raise _Refused(
                CommitFailed(txid=transaction.txid, kind=ErrorKind.DATASET_TYPE, message=message, ref=ref)
            )
        try:
            values = tuple([ref.data_id[name] for name in entry.group.dimensions])
        except KeyError as error:
            message = f"{ref}: the data ID lacks {error}"
            raise _Refused(
                CommitFailed(txid=transaction.txid, kind=ErrorKind.DATA_ID, message=message, ref=ref)
            ) from None
        made = entry, (ref.run, entry.id, values)
        self._keys[ref.id.int] = made
        return made

    # -- verdicts
    def decide(self, transaction: Transaction) -> CommitOutcome:
        """Decide one member; a member that is there twice is decided once."""
        known = self.outcomes.get(transaction.txid)
        if known is None or isinstance(known, CommitParked):
            known = self.outcomes[transaction.txid] = self._decide(transaction)
        return known

    def _decide(self, transaction: Transaction) -> CommitOutcome:
        standing = self.standings.get(transaction.txid)
        if standing is None:
            return self._examine(transaction)
        if standing.state != TransactionState.PREPARING or standing.epoch != transaction.epoch:
            return self._refuse(transaction, standing)
        outcome = self._examine(transaction)
        if (reason := _end(outcome)) is not None:
            self.ended.append((transaction, reason))
        return outcome

    def _refuse(self, transaction: Transaction, standing: Standing) -> CommitOutcome:
        """Say why a member cannot become visible, whatever it holds."""
        txid = transaction.txid
        match standing.state:
            case TransactionState.PREPARING:
                reason = f"somebody else has taken it over (its epoch is {standing.epoch} now)"
                return CommitParked(txid=txid, reason=reason)
            case TransactionState.QUARANTINED:
                reason = "the registry was put back from a backup: whether it was committed is not known"
                return CommitParked(txid=txid, reason=f"it is in quarantine: {reason}")
            case TransactionState.COMMITTED:  # and its outcome is not known: it is there no more
                message = f"transaction {txid} was committed and has been removed since"
                return CommitFailed(txid=txid, kind=ErrorKind.EXISTS, message=message)
            case _:
                return self._refuse_aborted(transaction, standing.reason)

    def _refuse_aborted(self, transaction: Transaction, reason: str | None) -> CommitOutcome:
        if reason == LEASE_OVER:
            message = "it was ended because its owner was silent for too long; it may be opened again"
            return CommitParked(txid=transaction.txid, reason=message)
        if reason == REUSED and (reused := self._reused(transaction)) is not None:
            return reused
        kind = ErrorKind.UPSTREAM if reason == _UPSTREAM else ErrorKind.ABORTED
        message = f"transaction {transaction.txid} was aborted: {reason}"
        return CommitFailed(txid=transaction.txid, kind=kind, message=message)

    def _examine(self, transaction: Transaction) -> CommitOutcome:
        if not has_good_key(transaction):
            message = (
                f"key = {transaction.key!r:.80} is no key: "
                f"give a text of at most {_MOST_KEY_BYTES} bytes of UTF-8 without NUL"
            )
            return CommitFailed(txid=transaction.txid, kind=ErrorKind.NAME, message=message)
        if (reused := self._reused(transaction)) is not None:
            return reused
        try:
            self._check_upstreams(transaction)
            committed = self._accept(transaction)
        except _Refused as refused:
            return refused.outcome
        if transaction.key is not None:
            self.winners[transaction.run, transaction.key] = committed
        return committed

    def _reused(self, transaction: Transaction) -> Committed | CommitConflict | None:
        """Return what an earlier attempt under its key means for it; None where there was none.

        It stands for that one, whatever its bytes. But an output that the earlier attempt does not have would
        be lost without a word.
        """
        if transaction.key is None:
            return None
        winner = self.winners.get((transaction.run, transaction.key))
        if winner is None:
            return None
        had = {_place(ref) for ref in winner.refs}
        for output in transaction.outputs:
            if _place(output.ref) not in had:
                message = (
                    f"{output.ref}: an earlier attempt under the key {transaction.key!r:.80} has committed "
                    f"(transaction {winner.txid}), and has no such output"
                )
                return CommitConflict(
                    txid=transaction.txid,
                    message=message,
                    ref=output.ref,
                    winner_txid=winner.txid,
                    kind=ErrorKind.OTHER_OUTPUTS,
                )
        return evolve(winner, txid=transaction.txid, reused=True)

    def _check_upstreams(self, transaction: Transaction) -> None:
        for upstream in transaction.requires:
            state = self._upstream(upstream)
            if state is TransactionState.COMMITTED:
                continue
            if state is TransactionState.PREPARING:
                reason = f"transaction {upstream}, whose outputs were read, is not committed yet"
                raise _Refused(CommitParked(txid=transaction.txid, reason=reason))
            what = "is not known to the registry" if state is None else "was not committed"
            message = f"transaction {upstream}, whose outputs were read, {what}"
            raise _Refused(CommitFailed(txid=transaction.txid, kind=ErrorKind.UPSTREAM, message=message))

    def _upstream(self, txid: UUID) -> TransactionState | None:
        """Return whether an upstream is COMMITTED, ABORTED, or (PREPARING) may be either; None: unknown.

        One that was ended because an earlier attempt under its key had committed stands for that one; one
        that was ended over the silence of its owner may be opened again.
        """
        match self.outcomes.get(txid), self.standings.get(txid):
            case Committed(), _:
                return TransactionState.COMMITTED
            case ((CommitConflict() | CommitFailed()), _):
                return TransactionState.ABORTED
            case _, None:
                return TransactionState.PREPARING if txid.int in self._group else None
            case _, Standing(TransactionState.ABORTED, _, reason) if reason != LEASE_OVER:
                return TransactionState.COMMITTED if reason == REUSED else TransactionState.ABORTED
            case _, Standing(TransactionState.COMMITTED):
                return TransactionState.COMMITTED
            case _:
                return TransactionState.PREPARING

    def _accept(self, transaction: Transaction) -> Committed:
        for ref in transaction.unchanged:
            self._check_unchanged(transaction, ref)
        changed: dict[Key, Version] = {}
        accepted = [
            self._check_output(transaction, place, output, changed)
            for place, output in enumerate(transaction.outputs)
        ]
        runs = {output.ref.run for output in transaction.outputs}
        self._check_runs(transaction, runs)
        self._next_seq += 1
        self.latest |= changed
        self.taken.update(output.ref.id.int for output in transaction.outputs)
        self.accepted += accepted
        self.transactions.append((transaction, self._next_seq - 1))
        refs = tuple(
            [
                DatasetRef(one.output.ref.id, one.entry.type, one.output.ref.data_id, one.key[0], one.version)
                for one in accepted
            ]
        )
        return Committed(txid=transaction.txid, refs=refs, commit_seq=self._next_seq - 1 if refs else None)

    def _check_unchanged(self, transaction: Transaction, ref: DatasetRef) -> None:
        _, key = self._key(transaction, ref)
        now = self.latest.get(key, _NONE)
        if now.live != ref.version:
            raise _Refused(
                _conflict(transaction, ref, now, f"version {ref.version} was read", ErrorKind.INPUT_CHANGED)
            )

    def _check_output(
        self, transaction: Transaction, place: int, output: OutputRecord, changed: dict[Key, Version]
    ) -> Accepted:
        ref = output.ref
        entry, key = self._key(transaction, ref)
        now = changed.get(key) or self.latest.get(key, _NONE)
        if output.expect is not None and now.live != output.expect:
            wanted = f"version {output.expect} was expected" if output.expect else "none was expected"
            raise _Refused(_conflict(transaction, ref, now, wanted, ErrorKind.VERSION))
        if ref.id.int in self.taken:
            raise _Refused(
                _conflict(transaction, ref, now, f"its id {ref.id} is committed already", ErrorKind.EXISTS)
            )
        version = now.top + 1
        changed[key] = Version(version, version, transaction.txid)
        return Accepted(output, entry, key, version, place, transaction.txid, self._next_seq)

    def _check_runs(self, transaction: Transaction, runs: Iterable[str]) -> None:
        missing = []
        for run in runs:
            collection = self._names.collections.get(run) or self.new_runs.get(run)
            if collection is None:
                missing.append(run)
            elif collection.kind is not CollectionKind.RUN:
                message = f"{run!r} is a {collection.kind} collection; outputs go to a RUN"
                raise _Refused(
                    CommitFailed(txid=transaction.txid, kind=ErrorKind.COLLECTION, message=message)
                )
        for run in sorted(missing):
            before = self._names.once(run)
            number = max(self._names.collections_by_id, default=0) + len(self.new_runs) + 1
            self.new_runs[run] = Collection(before.id if before else number, run, CollectionKind.RUN)

    def has_lived(self, run: Collection) -> bool:
        """Whether a run that is being made was there before, and removed."""
        return run.id in self._names.collections_by_id

    def run_id(self, run: str) -> int:
        """Return the number of a run that is there or is being made."""
        collection = self._names.collections.get(run) or self.new_runs[run]
        return collection.id


def _end(outcome: CommitOutcome) -> str | None:
    """Return the reason for which a member whose intent is there ends with this outcome."""
    match outcome:
        case Committed(reused=True):
            return REUSED
        case CommitConflict():
            return _CONFLICT
        case CommitFailed(kind=ErrorKind.UPSTREAM):
            return _UPSTREAM
        case CommitFailed():
            return _FAILED
        case _:
            return None


def _place(ref: DatasetRef) -> tuple[str, str, DataId]:
    """Return what a ref names, whatever its version and id."""
    return ref.run, ref.dataset_type.name, ref.data_id


def _conflict(
    transaction: Transaction, ref: DatasetRef, now: Version, wanted: str, kind: ErrorKind
) -> CommitConflict:
    there = (
        f"the latest version is {now.live} (transaction {now.txid})" if now.live else "there is no version"
    )
    return CommitConflict(
        txid=transaction.txid,
        message=f"{ref}: {wanted}, and {there}",
        ref=ref,
        winner_txid=now.txid,
        winner_version=now.live or None,
        kind=kind,
    )
