"""Bugs that are planted, each with the suite that must find it: a harness that rots is found out.

A bug is a function that patches the product in the process that calls it. ``QUANTUMIO_PLANTED`` names the
one that a test run (`tests.planted.plugin`) and the processes of the crash harness (`tests.crash.scenarios`)
plant.
"""

import os
from collections.abc import Callable

import attrs

VARIABLE = "QUANTUMIO_PLANTED"


@attrs.frozen
class Bug:
    """One bug, and what finds it: arguments of pytest."""

    plant: Callable[[], None]
    suite: tuple[str, ...]


BUGS: dict[str, Bug] = {}


def bug(*suite):
    def register(plant):
        BUGS[plant.__name__] = Bug(plant, suite)
        return plant

    return register


def plant_if_asked():
    if name := os.environ.get(VARIABLE):
        BUGS[name].plant()


POWER = "tests/power_loss/test_every_state.py"
CRASH = "tests/crash/test_every_operation.py"
RECOVERY = "tests/acceptance/test_recovery.py"
SET_ASIDE = "tests/acceptance/test_set_aside.py"
INTENTS = "tests/unit/registry/test_intents.py"
FLIP = "tests/unit/registry/test_prepared_flip.py"
OUTBOX = "tests/unit/registry/test_outbox.py"
CARRIER = "tests/unit/engine/test_carrier.py"
PARKED = "tests/unit/engine/test_parked.py"
FAULTS = "tests/unit/engine/test_faults.py"
GARBAGE = "tests/unit/engine/test_garbage.py"
SIMULATION = "tests/simulation/test_nights.py"
REGISTRY = "tests/network/test_registry.py"
STORE = "tests/network/test_store.py"
SYSCALLS = "tests/syscalls/test_syscalls.py"
ACROSS = "tests/compat/test_open_across.py"


# -- the disk


@bug(POWER, "-k", "holds and local")
def bytes_are_not_synced():
    from quantumio.system import files

    files._fsync = lambda descriptor: None


@bug(POWER, "-k", "holds and local")
def names_are_not_synced():
    from quantumio.system import files

    files._fsync_directory = lambda descriptor: None


@bug(POWER, "-k", "holds and local")
def new_ancestors_are_not_synced():
    from quantumio.system import files

    def make(path, *, mode=0o777):
        if not path.is_dir():
            make(path.parent)
            files._mkdir(path, mode)

    files.make_directories = make


@bug("tests/unit/system/test_write.py", "-k", "durable_before or fsync")
def name_is_given_before_the_bytes_are_synced():
    from quantumio.system import files

    link, sync, waiting = files._link, files._fsync, []

    def sync_later(descriptor):
        waiting.append(descriptor)

    def link_first(source, target):
        link(source, target)
        waiting.clear()

    files._fsync, files._link = sync_later, link_first
    files._unlink_really, files._sync_really = files._unlink, sync


@bug(POWER, "-k", "holds and journaled")
def journal_is_not_synced():
    from quantumio.engine import _journal_entry

    class Unsynced:
        def __getattr__(self, name):
            return getattr(_journal_entry_files, name)

        def fsync_directories(self, directories):
            pass

    _journal_entry_files = _journal_entry.files
    _journal_entry.files = Unsynced()


@bug(POWER, "-k", "holds and local")
def files_are_written_under_their_final_name():
    from quantumio.system import files

    def write(path, chunks, *, mode=0o644):
        descriptor = files._create(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        files._write_all(descriptor, chunks)
        os.close(descriptor)

    files.write_new = write


# -- the order of a commit


@bug(POWER, "-k", "holds and local")
def flip_comes_before_the_bytes():
    from quantumio.destinations.files import FilesDestination
    from quantumio.engine._committer import Committer
    from quantumio.ports import StoredObject

    late, place, flip = [], FilesDestination.place, Committer._flip

    def promise(self, placements):
        late.append((self, placements))
        return [StoredObject(path=one.path, nbytes=one.nbytes, modified_ns=0) for one in placements]

    def flip_first(self, group, unknown_before=0):
        outcomes = flip(self, group, unknown_before)
        while late:
            place(*late.pop())
        return outcomes

    FilesDestination.place, Committer._flip = promise, flip_first


@bug(CRASH, "-k", "promised and immediate")
def bytes_come_before_the_intent():
    from quantumio.engine._carrier import Carrier

    async def place_first(self, context, outputs, *more):
        await self._flusher.flush([*outputs, *more], required=True)
        return await self._committer.prepare(context.intent(*more))

    Carrier._place = place_first


@bug(CRASH, "-k", "promised and journaled")
def journal_entry_is_removed_before_the_flip():
    from quantumio.engine._carrier import Carrier

    flip = Carrier._flip

    async def remove_first(self, context):
        if context.entry is not None:
            context.entry.finish()
            context.entry = None
        return await flip(self, context)

    Carrier._flip = remove_first


@bug(CRASH, "-k", "promised and local")
def commit_is_acknowledged_before_the_flip():
    from quantumio.engine._carrier import Carrier
    from quantumio.model import Committed

    flip = Carrier._flip

    async def tell_first(self, context):
        refs = tuple(output.ref for output in context.persistent_outputs)
        context.decide(Committed(txid=context.txid, refs=refs, commit_seq=1))
        return await flip(self, context)

    Carrier._flip = tell_first


# -- who may go on


@bug(INTENTS, "-k", "fences")
def epochs_are_not_looked_at():
    from quantumio.registry._verdict import Verdicts

    Verdicts._refuse = lambda self, transaction, standing: self._examine(transaction)


@bug(INTENTS, "-k", "lease")
def leases_are_over_at_once():
    import sqlalchemy as sa

    from quantumio.registry import _intents

    init = _intents.Intents.__init__

    def always(self, *arguments):
        init(self, *arguments)
        self._is_over = sa.true()

    _intents.Intents.__init__ = always


@bug("tests/unit/engine/test_owner.py")
def everybody_else_is_taken_for_dead():
    from quantumio.engine import _owner

    _owner.is_dead_here = lambda *arguments: True


@bug("tests/unit/engine/test_committer.py", "-k", "without_an_answer")
def unknown_outcome_is_a_failure():
    from quantumio.engine._committer import Committer
    from quantumio.model import CommitFailed

    Committer._resolve = lambda self, transaction, error, unknown_before: CommitFailed(
        txid=transaction.txid, kind=error.kind, message=str(error)
    )


@bug("tests/unit/engine/test_committer.py", "-k", "without_an_answer")
def unknown_outcome_is_a_commit():
    from quantumio.engine._committer import Committer
    from quantumio.model import Committed

    Committer._resolve = lambda self, transaction, error, unknown_before: Committed(
        txid=transaction.txid, refs=(), commit_seq=1
    )


@bug(RECOVERY, "-k", "silence")
def names_are_used_again_after_an_end():
    from quantumio.engine._output import Output

    Output.move_to = lambda self, generation: None


@bug("tests/unit/registry/test_commit.py", "-k", "many_threads")
def clock_is_taken_last():
    """PostgreSQL finds it: on SQLite there is one writer at a time anyway."""
    import threading

    import sqlalchemy as sa

    from quantumio.registry._clock import Clock
    from quantumio.registry._commit import Commits
    from quantumio.registry._commit_rows import Inserts
    from quantumio.registry._names import Edit
    from quantumio.registry._schema import CLOCK

    attempt, advance, write = Commits._attempt, Clock.advance, Inserts.write
    flip = threading.local()

    def in_flip(self, *arguments, **options):
        flip.late = []
        try:
            return attempt(self, *arguments, **options)
        finally:
            flip.late = None

    def look(self, connection, *, steps=1, names=False):
        if getattr(flip, "late", None) is None:
            return advance(self, connection, steps=steps, names=names)
        flip.late.append((self, steps, names))
        row = connection.execute(sa.select(CLOCK.c.seq, CLOCK.c.edits, CLOCK.c.decided_ns)).one()
        return Edit(row.seq + steps, row.edits + names, row.decided_ns)

    def write_first(self, connection, verdicts, owner):
        write(self, connection, verdicts, owner)
        for clock, steps, names in flip.late:
            advance(clock, connection, steps=steps, names=names)

    Commits._attempt, Clock.advance, Inserts.write = in_flip, look, write_first


@bug(INTENTS, "-k", "fences")
def dataset_rows_are_written_before_the_fence_is_checked():
    from quantumio.registry._verdict import Verdicts

    refuse = Verdicts._refuse

    def write_first(self, transaction, standing):
        self._examine(transaction)  # what it accepts is written with the rows of the others
        return refuse(self, transaction, standing)

    Verdicts._refuse = write_first


@bug(RECOVERY, "-k", "load_ids")
def load_id_is_used_again_by_a_second_attempt():
    from quantumio.engine._output import Output

    move_to = Output.move_to

    def keep(self, generation):
        load_ids = self.load_ids
        move_to(self, generation)
        self.load_ids = load_ids

    Output.move_to = keep


@bug("tests/unit/registry/test_revealed_rows.py", "-k", "visible_with_their_commit")
def rows_in_the_registry_are_not_revealed():
    from quantumio.registry._commit_rows import Inserts

    Inserts._reveal_rows = lambda self, connection, verdicts: None


# -- what a commit may make visible


@bug(FLIP, "-k", "requires")
def upstream_is_not_waited_for():
    from quantumio.registry._verdict import Verdicts

    Verdicts._check_upstreams = lambda self, transaction: None


@bug("tests/unit/registry/test_commit.py", "-k", "expect or version")
def expectations_are_not_looked_at():
    from quantumio.registry import _verdict

    check = _verdict.Verdicts._check_output

    def ignore(self, transaction, place, output, changed):
        return check(self, transaction, place, attrs.evolve(output, expect=None), changed)

    _verdict.Verdicts._check_output = ignore


@bug(CRASH, "-k", "promised and key")
def keys_are_forgotten():
    from quantumio.registry._commit import Commits

    Commits._winners = lambda self, connection, keyed: {}


@bug(CRASH, "-k", "promised and local")
def recovery_forgets_what_the_dead_have_placed():
    from quantumio.engine._recovery import Recovery

    Recovery._end_dead = lambda self, report: None


# -- what follows


@bug(RECOVERY, "-k", "copy_that_failed")
def follow_up_is_done_before_it_is_done():
    from quantumio.engine._follow_ups import FollowUps

    FollowUps._do = lambda self, entry: None


@bug(OUTBOX, "-k", "claimed_once")
def claims_are_for_everybody():
    from quantumio.registry._outbox import Outbox

    claim = Outbox.claim
    Outbox.claim = lambda self, owner, limit, claim_s: claim(self, owner, limit, 0)


@bug(FAULTS, "-k", "best_effort")
def best_effort_counts_as_required():
    from quantumio.engine import _flush

    _flush._missing = lambda output, required: (
        target for target in output.resolution.targets if target.destination not in output.artifacts
    )


@bug(FAULTS, "-k", "required or fails")
def required_counts_as_best_effort():
    from quantumio.engine import _flush

    missing = _flush._missing

    def optional(output, required):
        return missing(output, required) if not required else iter(())

    _flush._missing = optional


@bug(RECOVERY, "-k", "lost_is_kept")
def conflict_deletes_the_journal():
    from quantumio.engine import _carrier

    _carrier._close_entry = lambda entry, outcome: entry.finish()


@bug(CRASH, "-k", "promised and retry")
def retry_removes_the_entry_before_it_has_committed():
    from quantumio.engine._journal_entry import JournalEntry, JournalState
    from quantumio.engine._way_back import WayBack
    from quantumio.system import files

    retry = WayBack._retry

    async def move_first(self, entry, manifest, *, as_next):
        entry._move(JournalState.DONE)
        return await retry(self, entry, manifest, as_next=as_next)

    def remove_what_is_there(self):
        if files.is_directory(self.path):
            self._remove()

    WayBack._retry, JournalEntry.finish = move_first, remove_what_is_there


@bug(CRASH, "-k", "promised and retry")
def each_retry_has_an_identity_of_its_own():
    from quantumio.engine import _standing
    from quantumio.system import environment

    _standing.retry_of = lambda txid, number: environment.uuid7()


@bug(CRASH, "-k", "promised and retry")
def recovery_leaves_what_is_taken_in():
    from quantumio.engine._way_back import WayBack

    WayBack.close_taken_in = lambda self, kept: []


@bug(CRASH, "-k", "promised and drop")
def drop_removes_the_bytes_before_the_entry_is_done():
    from quantumio.engine._journal_entry import JournalEntry

    JournalEntry.finish = JournalEntry._remove


@bug("tests/unit/engine/test_ledger.py", "-k", "ends_no_loop")
def failing_save_of_errors_ends_the_loop():
    from quantumio.engine._ledger import ErrorLedger

    async def save(self):
        self.save()

    ErrorLedger.save_from_loop = save


@bug(SET_ASIDE, "-k", "under_the_key")
def what_another_has_committed_is_taken_for_a_retry():
    from quantumio.engine import _way_back
    from quantumio.model import Committed

    _way_back.is_taken_in = lambda outcome: isinstance(outcome, Committed)


@bug(SET_ASIDE, "-k", "died_in_a_retry")
def attempt_of_the_dead_is_skipped_without_being_ended():
    from quantumio.engine import _standing, _way_back
    from quantumio.model import TransactionState

    def last(txid, transaction):
        number = 1
        while (record := transaction(retry := _standing.retry_of(txid, number))) is not None:
            if record.state is TransactionState.COMMITTED:
                break
            number += 1
        return retry, record

    _way_back.last_retry = last


@bug("tests/acceptance/test_registry_lock.py", "-k", "without_an_answer")
def what_could_not_be_ended_is_forgotten():
    from quantumio.engine._endings import Endings

    Endings.end_later = lambda self, txid, reason, clean: None


# -- garbage


@bug(GARBAGE, "-k", "while_the_store_is_listed")
def garbage_is_listed_after_the_registry_was_read():
    from quantumio.engine._garbage import GarbageCollector
    from quantumio.engine._garbage_policy import parse_name
    from quantumio.ports import ObjectRecord

    plan = GarbageCollector._plan

    def read_first(self, store):
        everything = {
            path: parse_name(path)
            for stored in self._catalog.query(_all_versions())
            for path in (artifact.path for artifact in stored.artifacts)
        }
        known = records(self, store, everything)
        by_transaction = {name.txid: known[path] for path, name in everything.items()}

        def as_it_was(self, store, names):
            return {
                path: known.get(path)
                or attrs.evolve(by_transaction.get(name.txid, ObjectRecord()), is_referenced=False)
                for path, name in names.items()
                if name is not None
            }

        GarbageCollector._records = as_it_was
        try:
            return plan(self, store)
        finally:
            GarbageCollector._records = records

    records, GarbageCollector._plan = GarbageCollector._records, read_first


def _all_versions():
    from quantumio.ports import DatasetQuery

    return DatasetQuery(find_first=False, versions="all")


@bug(GARBAGE, "-k", "host_clock")
def garbage_is_as_old_as_the_host_says():
    from quantumio.destinations.files import FilesDestination
    from quantumio.system import environment

    FilesDestination.clock_ns = lambda self: environment.now_ns()


@bug(GARBAGE, "-k", "on_its_way")
def garbage_includes_what_is_on_its_way():
    from quantumio.engine import _garbage
    from quantumio.engine._garbage_policy import GarbageVerdict

    judge = _garbage.judge

    def impatient(name, record, grace_s, **options):
        verdict = judge(name, record, grace_s, **options)
        return GarbageVerdict.DEAD if verdict is GarbageVerdict.UNDECIDED else verdict

    _garbage.judge = impatient


@bug(GARBAGE, "-k", "session_that_the_registry_does_not_know")
def sessions_are_not_looked_at():
    from quantumio.engine._garbage import GarbageCollector

    GarbageCollector._check_sessions = lambda self, stores, *, adopt: None


@bug(CRASH, "-k", "deletes")
def data_is_deleted_before_the_pointer():
    from pathlib import Path
    from urllib.parse import unquote, urlsplit

    from quantumio.butler._butler_history import History

    delete = History.delete

    def data_first(self, refs, *, dry_run=True, **options):
        if not dry_run:
            for location in [one for ref in refs for one in self.where_is(ref)]:
                Path(unquote(urlsplit(location.url).path)).unlink(missing_ok=True)
        return delete(self, refs, dry_run=dry_run, **options)

    History.delete = data_first


# -- memory


@bug("tests/unit/engine/test_ownership.py", "-k", "noticed")
def digests_are_not_compared():
    from quantumio.engine._ownership import Snapshot

    Snapshot.verify = lambda self, ref: None


@bug("tests/acceptance/test_ownership.py", "-k", "not_saved")
def copies_are_views():
    from quantumio.engine._pool import PooledCopies

    PooledCopies.copy = lambda self, array: array.view()


@bug("tests/acceptance/test_ownership.py", "tests/unit/engine/test_pool.py", "-k", "pool")
def memory_is_used_again_too_early():
    from quantumio.engine._ownership import Snapshot

    watch = Snapshot.watch

    def release_at_once(self):
        watch(self)
        self._copies.release()

    Snapshot.watch = release_at_once


@bug("tests/unit/destinations/test_settings.py", "-k", "secret")
def secrets_show_in_texts():
    from quantumio.destinations import _secrets

    _secrets.Secret.__repr__ = lambda self: str(vars(self) if hasattr(self, "__dict__") else self.__slots__)
    _secrets.scrub = lambda text, secrets: text


@bug("tests/unit/destinations/test_objects.py", "-k", "not_ours")
def refused_name_counts_as_written():
    from quantumio.destinations.objects import ObjectsDestination

    ObjectsDestination._verify = lambda self, placement, found, *, certain: None


# -- packs


@bug("tests/acceptance/test_packs.py", "-k", "one_file")
def offsets_in_packs_are_those_of_the_headers():

    from quantumio.engine import _flush

    pack = _flush.pack

    def shifted(members):
        packed = pack(members)
        return attrs.evolve(packed, offsets=tuple(offset - 30 for offset in packed.offsets))

    _flush.pack = shifted


@bug("tests/acceptance/test_packs.py", "-k", "lost")
def packs_are_left_behind():
    from quantumio.engine._flush import Flusher

    remove = Flusher._remove_at

    def remove_others(self, name, outputs):
        if others := [output for output in outputs if output.pack is None]:
            remove(self, name, others)

    Flusher._remove_at = remove_others


# -- many processes, lost answers, stalls


@bug(SIMULATION, "-k", "these_seeds")
def unknown_outcome_is_cleaned_up():
    from quantumio.engine._runtime import Runtime
    from quantumio.model import CommitUnknown

    conclude = Runtime._conclude

    async def clean_first(self, context, outcome):
        if isinstance(outcome, CommitUnknown):
            await self._carrier.remove(context.persistent_outputs)
        await conclude(self, context, outcome)

    Runtime._conclude = clean_first


@bug(SIMULATION, "-k", "these_seeds")
def unknown_outcome_ends_the_journal_entry():
    from quantumio.engine import _carrier
    from quantumio.model import CommitUnknown

    close = _carrier._close_entry

    def forget(entry, outcome):
        if isinstance(outcome, CommitUnknown):
            entry.finish()
        else:
            close(entry, outcome)

    _carrier._close_entry = forget


@bug(SIMULATION, "-k", "these_seeds")
def transaction_is_named_anew_for_a_retry():
    from quantumio.engine._committer import Committer
    from quantumio.errors import CommitUnknownError
    from quantumio.system import environment

    resolve = Committer._resolve

    def rename(self, transaction, error, unknown_before):
        if isinstance(error, CommitUnknownError) and not unknown_before:
            again = attrs.evolve(transaction, txid=environment.uuid7(), epoch=0)
            return attrs.evolve(self._flip([again], 1)[0], txid=transaction.txid)
        return resolve(self, transaction, error, unknown_before)

    Committer._resolve = rename


@bug(CARRIER, "-k", "kept_for_later")
def parked_is_kept_by_nobody():
    """Of what others have ended over the silence of its process, and what cannot be opened again now."""
    from quantumio.engine._carrier import Carrier

    async def keep(self, context, parked):
        return parked

    Carrier._keep = keep


@bug(PARKED, "-k", "what_was_parked_goes")
def failure_of_what_is_visible_is_listed():
    from quantumio.engine._ledger import ErrorLedger

    ErrorLedger.withdraw = lambda self, txid: None


@bug(PARKED, "-k", "journaled_once")
def two_write_the_journal_entry_of_one_context():
    from quantumio.engine._carrier import Carrier

    async def journal(self, context):
        return await self._journal_once(context)

    Carrier.journal = journal


@bug(SIMULATION, "-k", "these_seeds")
def promise_is_a_conflict_where_the_registry_is_away():
    from quantumio.engine._carrier import Carrier

    async def fail(self, context, failed):
        return failed

    Carrier._park_if_it_may_pass = fail


@bug(SIMULATION, "-k", "these_seeds")
def flip_does_not_look_whether_it_was_fenced():
    """A process that slept beyond its lease makes visible what others have ended and cleaned up meanwhile."""
    import sqlalchemy as sa

    from quantumio.registry import _commit_rows
    from quantumio.registry._schema import TXN
    from quantumio.registry._verdict import Verdicts

    def unfenced(columns, state, cleared=()):
        return (
            sa.update(TXN)
            .where(TXN.c.txid == sa.bindparam("of_txid", type_=TXN.c.txid.type))
            .where(sa.bindparam("at_epoch", type_=TXN.c.epoch.type) >= sa.literal_column("0"))
            .values({name: sa.bindparam(name) for name in columns})
            .values({name: sa.null() for name in ("owner", *cleared)})
            .values(state=sa.literal_column(f"'{state}'"))
        )

    _commit_rows._update = unfenced
    Verdicts._refuse = lambda self, transaction, standing: self._examine(transaction)


@bug(SIMULATION, "-k", "these_seeds")
def end_of_a_transaction_names_no_epoch():
    """Who recovers, and slept meanwhile, ends what its owner has committed since."""
    import sqlalchemy as sa

    from quantumio.registry._intents import Intents
    from quantumio.registry._schema import TXN

    def unfenced(self, txid, epoch, reason, follow_ups, also):
        with self._database.edit(f"ending transaction {txid}") as connection:
            edit = self._clock.advance(connection, steps=0)
            statement = sa.update(TXN).where(TXN.c.txid == txid)
            connection.execute(
                statement.values(state="ABORTED", reason=reason, owner=None, decided_at=edit.decided_ns)
            )
            self._outbox.add(connection, {txid: follow_ups}, None)
        return True

    Intents._end = unfenced


@bug(SIMULATION, "-k", "these_seeds")
def lease_is_judged_by_the_age_of_the_job():
    from quantumio.registry import _intents
    from quantumio.registry._schema import TXN

    _intents._is_over = lambda rules: TXN.c.created_at + TXN.c.lease_ns < rules.now()


@bug(SIMULATION, "-k", "these_seeds")
def own_object_that_is_there_already_is_a_conflict():
    """A store that took the bytes and lost its answer says 412 to the next attempt: nobody reads back."""
    from quantumio.destinations import _remote
    from quantumio.errors import ErrorKind

    meaning = _remote._meaning

    def at_once(error, code, status):
        if status == 412:
            return ErrorKind.UNSPECIFIED, _remote.Answer.REFUSED
        return meaning(error, code, status)

    _remote._meaning = at_once


@bug(SIMULATION, "-k", "these_seeds")
def memory_is_released_before_its_bytes_are_placed():
    from quantumio.engine._output import Output

    encode = Output.encode

    def release_at_once(self, choice):
        encoded = encode(self, choice)
        if self._snapshot._copies is not None:
            self._snapshot._copies.release()
        return encoded

    Output.encode = release_at_once


# -- what only a network or a disk that fails can show


@bug(REGISTRY, "-k", "silent and STALL_AFTER")
def silent_database_is_waited_for():
    from quantumio.registry import _postgresql

    _postgresql.ending_connection = lambda base, *limits: base


@bug(STORE, "-k", "outlived and puts and STALL_BEFORE")
def store_calls_have_no_deadline():
    import fsspec.asyn

    sync = fsspec.asyn.sync

    def without(loop, function, *arguments, timeout=None, **options):
        return sync(loop, function, *arguments, **options)

    fsspec.asyn.sync = without


@bug(STORE, "-k", "leaves_it_open and 412")
def precondition_that_failed_is_a_success():
    from quantumio.destinations._remote import _store_code
    from quantumio.destinations.objects import ObjectsDestination
    from quantumio.ports import StoredObject

    place = ObjectsDestination._place_one

    def trusting(self, placement):
        try:
            self._write(self._full(placement.path), b"".join(placement.chunks), placement.digest)
        except Exception as error:
            if _store_code(error)[1] != 412:
                raise
            return StoredObject(path=placement.path, nbytes=placement.nbytes, modified_ns=0)
        return place(self, placement)

    ObjectsDestination._place_one = trusting


@bug(STORE, "-k", "leaves_it_open and 412")
def precondition_that_failed_is_a_conflict():
    from quantumio.destinations import _remote
    from quantumio.errors import ErrorKind

    meaning = _remote._meaning

    def at_once(error, code, status):
        if status == 412:
            return ErrorKind.UNSPECIFIED, _remote.Answer.REFUSED
        return meaning(error, code, status)

    _remote._meaning = at_once


@bug(REGISTRY, "-k", "nobody_tells")
def unknown_outcome_over_the_network_is_cleaned_up():
    from quantumio.engine._carrier import Carrier
    from quantumio.model import CommitUnknown

    flip = Carrier._flip

    async def tidy(self, context):
        outcome = await flip(self, context)
        if isinstance(outcome, CommitUnknown):
            await self.remove(context.persistent_outputs, context)
        return outcome

    Carrier._flip = tidy


@bug(SYSCALLS, "-k", "fsync-EIO")
def failed_fsync_is_repeated():
    from quantumio.system import files

    sync = files._fsync

    def again(descriptor):
        try:
            sync(descriptor)
        except OSError:
            sync(descriptor)

    files._fsync = again


@bug("tests/unit/system/test_threads.py")
def refused_thread_is_asked_for_once():
    from quantumio.system import threads

    threads._pauses = lambda patience_s: iter([0.0])


@bug("tests/unit/engine/test_unexpected.py", "-k", "journaled")
def want_of_memory_loses_what_was_journaled():
    from quantumio.engine import _runtime
    from quantumio.model import CommitFailed

    _runtime.outcome_after = lambda context, error: CommitFailed(
        txid=context.txid, kind=error.kind, message=str(error)
    )


@bug(SYSCALLS, "-k", "each_commit")
def registry_is_synced_now_and_then():
    from quantumio.registry import _sqlite

    _sqlite._WRITER = tuple(
        ("synchronous", "NORMAL", 1) if one[0] == "synchronous" else one for one in _sqlite._WRITER
    )


# -- upgrades


@bug(ACROSS, "-k", "sqlite and written")
def schema_is_compared_at_opening_alone():
    from quantumio.registry._engine import Database

    Database.hold = lambda self, schema: None


@bug(ACROSS, "-k", "postgresql and waits_for_who_writes")
def upgrade_waits_for_nobody():
    from quantumio.registry._dialect import PostgresqlRules

    PostgresqlRules.exclude = ""


@bug(ACROSS, "-k", "that_was_open_keeps")
def upgraded_repository_fails_what_was_under_way():
    from quantumio.engine import _carrier
    from quantumio.errors import ErrorKind

    _carrier._MAY_PASS -= {ErrorKind.NEWER_SCHEMA}


@bug(SIMULATION, "-k", "these_seeds")
def key_swallows_other_outputs():
    from quantumio.registry import _verdict

    _verdict._place = lambda ref: None
