"""What was left to do after a decision: done from what the registry knows, by whoever comes first."""

import attrs
import numpy as np
import pytest
from astropy.table import QTable

from quantumio.destinations.memory import MemoryDestination
from quantumio.engine._known_outcome import known_outcome
from quantumio.engine._outcome_errors import outcome_error
from quantumio.engine._policy import PolicyResolver
from quantumio.engine._sessions import KnownStores
from quantumio.errors import (
    CommitParkedError,
    CommitUnknownError,
    DestinationError,
    ErrorKind,
    InvalidInputError,
    NotFoundError,
    StateError,
)
from quantumio.model import (
    ArtifactState,
    CommitParked,
    Committed,
    CommitUnknown,
    FollowUp,
    FollowUpKind,
    Moment,
    OutboxEntry,
    human_path,
)
from quantumio.system import environment
from quantumio.testing import Fault, FaultyDestination, FaultyTableDestination, collect_garbage_at_once
from tests.unit.engine.conftest import WrappedCatalog


def with_missing_copy(make_place, rule, destinations=None, name="b"):
    """Commit a table whose copies at one destination fail; return the place, and the ref."""
    place = make_place({"destinations": destinations or {}, "rules": [rule]})
    whole = place.repository.destinations.get(name)
    kind = FaultyTableDestination if "level3" in name else FaultyDestination
    place.install(kind(whole, Fault(at=1, forever=True)))
    with place.butler.context() as ctx:
        ctx.put(QTable({"x": [1.0, 2.0]}), "source", visit=1, detector=0)
    with pytest.raises(ExceptionGroup):
        place.butler.drain()
    place.butler.errors(acknowledge=True)
    place.install(whole)
    return place, ctx.refs[0]


def do_all(place):
    """Do what is in the outbox as recovery would; return what could not be done."""
    return [place.runtime._follow_ups.do(entry) for entry in place.repository.catalog.outbox()]


def outbox_entry(place, txid, kind, destination="a"):
    follow_up = FollowUp(kind=kind, destination=destination)
    return OutboxEntry(id=10**6, txid=txid, follow_up=follow_up, attempts=0, age_s=0.0, is_due=True)


def states(place, ref):
    return {one.destination: one.state for one in place.butler.where_is(ref)}


def test_copy_in_another_format_is_encoded_anew(make_place):
    place, ref = with_missing_copy(make_place, {"to": ["a", "b?"], "formats": {"a": "ecsv", "b": "parquet"}})
    assert do_all(place) == [None]
    assert states(place, ref) == {"a": ArtifactState.OK, "b": ArtifactState.OK}
    assert {one.format for one in place.butler.where_is(ref)} == {"ecsv", "parquet"}
    place.repository.destinations.get("a").remove(place.objects("a"))  # then the other one is read
    assert place.butler.get(ref)["x"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("change", ["other rules", "no such destination"])
def test_copy_has_the_format_that_was_decided_whatever_the_policy_says_now(make_place, monkeypatch, change):
    place, ref = with_missing_copy(make_place, {"to": ["a", "b?"], "formats": {"a": "ecsv", "b": "parquet"}})
    repository = place.repository
    if change == "other rules":
        now = PolicyResolver((), {}, repository.destinations, repository.formats)
        place.runtime._follow_ups._policies = now
    else:

        def refuse(self, *arguments, **options):
            raise InvalidInputError("'b' is neither a destination nor a policy")

        monkeypatch.setattr(PolicyResolver, "resolve", refuse)
    assert do_all(place) == [None]
    assert {one.destination: one.format for one in place.butler.where_is(ref)} == {
        "a": "ecsv",
        "b": "parquet",
    }


def test_store_that_cannot_be_asked_now_does_not_hide_one_that_somebody_else_writes_to(
    make_place, monkeypatch
):
    level3 = {"kind": "database", "url": "sqlite:///level3.sqlite3"}  # knows no sessions
    destinations = {"level3": level3, "c": {"kind": "files", "root": "c"}}
    place = make_place({"destinations": destinations, "rules": [{"to": ["a", "c"]}]})
    with place.butler.context() as ctx:
        ctx.put({"n": 1}, "stats", visit=1)
    whole = place.repository.destinations.get("c")

    def unreachable():
        raise DestinationError("the disk does not answer", kind=ErrorKind.UNREACHABLE)

    names = ("level3", "c", "a")
    clean = [outbox_entry(place, ctx.txid, FollowUpKind.CLEAN, name).follow_up for name in names]
    with monkeypatch.context() as patch:
        patch.setattr(whole, "sessions", unreachable)
        place.runtime._follow_ups.check(clean, KnownStores(place.repository.catalog))
    whole.note_session(environment.uuid7())
    with pytest.raises(StateError) as caught:
        place.runtime._follow_ups.check(clean, KnownStores(place.repository.catalog))
    assert caught.value.kind is ErrorKind.UNKNOWN_SESSION


def test_rows_that_are_missing_are_loaded_from_a_file_and_shown(make_place):
    level3 = {"level3": {"kind": "database", "url": "sqlite:///level3.sqlite3"}}
    place, ref = with_missing_copy(make_place, {"to": ["a", "level3?"]}, level3, "level3")
    assert do_all(place) == [None]
    stored = place.repository.catalog.stored([ref.id])[ref.id]
    (rows,) = [one for one in stored.artifacts if one.destination == "level3"]
    assert rows.state is ArtifactState.OK
    table = place.repository.destinations.get("level3").read(rows.path, rows.load_id)
    assert table.column("x").to_pylist() == [1.0, 2.0]
    assert do_all(place) == []


@pytest.mark.parametrize("damage", ["altered", "gone"])
def test_no_copy_is_made_of_what_is_not_whole(make_place, damage):
    place, ref = with_missing_copy(make_place, {"to": ["a", "b?"]})
    held = place.repository.destinations.get("a")
    (path,) = place.objects("a")
    data = held.read(path)
    held.remove([path])
    if damage == "altered":
        held._keep(path, data[:-1] + b"?", "0" * 64)
    (error,) = do_all(place)
    assert "has no copy that can be read now" in str(error)
    assert ("does not hold the bytes" in str(error)) == (damage == "altered")
    assert states(place, ref)["b"] is ArtifactState.PENDING
    assert place.objects("b") == []
    (entry,) = place.repository.catalog.outbox()
    assert entry.attempts == 1


def test_what_another_version_has_left_under_the_name_is_replaced(make_place):
    place, ref = with_missing_copy(make_place, {"to": ["a", "b?"]})
    stored = place.repository.catalog.stored([ref.id])[ref.id]
    (wanted,) = [one for one in stored.artifacts if one.destination == "b"]
    place.repository.destinations.get("b")._keep(wanted.path, b"by another encoder", "0" * 64)
    assert do_all(place) == [None]
    assert place.repository.destinations.get("b").read(wanted.path) == place.repository.destinations.get(
        "a"
    ).read(place.objects("a")[0])


def test_other_failure_of_placing_is_told_and_tried_again_later(make_place):
    place, ref = with_missing_copy(make_place, {"to": ["a", "b?"]})
    whole = place.repository.destinations.get("b")
    place.install(FaultyDestination(whole, Fault(at=1, forever=True, kind=ErrorKind.DISK_FULL)))
    (error,) = do_all(place)
    assert error.kind is ErrorKind.DISK_FULL
    place.install(whole)
    assert do_all(place) == [None]
    assert states(place, ref)["b"] is ArtifactState.OK


def test_copy_that_is_there_already_is_not_made_again(make_place):
    place, _ = with_missing_copy(make_place, {"to": ["a", "b?"]})
    (entry,) = place.repository.catalog.outbox()
    assert place.runtime._follow_ups.do(entry) is None
    place.install(FaultyDestination(place.repository.destinations.get("b"), Fault(at=1, forever=True)))
    assert place.runtime._follow_ups.do(entry) is None
    assert place.repository.catalog.outbox() == []


def deleting_when(place, monkeypatch, ref, name):
    """Delete a dataset when a copy of it has just been placed at a destination."""
    destination = place.repository.destinations.get(name)
    real = destination.place

    def place_and_delete(placements):
        real(placements)
        place.butler.delete(ref, dry_run=False)

    monkeypatch.setattr(destination, "place", place_and_delete)


def test_copy_of_what_is_deleted_meanwhile_is_no_failure_and_its_bytes_are_garbage(
    make_place, monkeypatch, tmp_path
):
    desk = {"desk": {"kind": "workspace", "root": str(tmp_path / "desk")}}
    place, ref = with_missing_copy(make_place, {"to": ["a", "desk?"]}, desk, "desk")
    deleting_when(place, monkeypatch, ref, "desk")
    assert do_all(place) == [None]
    assert place.repository.catalog.outbox() == []
    assert len(place.objects("a", "desk")) == 2
    assert not (tmp_path / "desk" / "r").exists(), "it has no name for people"
    assert collect_garbage_at_once(place.butler).removed == 2
    assert place.objects("a", "desk") == []


def test_copy_of_what_is_deleted_before_it_has_arrived_is_no_failure(make_place, monkeypatch):
    place = make_place({"rules": [{"to": ["a", "b?"]}]})
    deleted = []

    def delete_first(real, artifacts):
        deleted.append(place.repository.catalog.delete(artifacts, dry_run=False))
        return real(artifacts)

    place.runtime.catalog = WrappedCatalog(place.repository.catalog, record_artifacts=delete_first)
    with place.butler.context() as ctx:
        ctx.put({"a": 1}, "stats", visit=1)
    place.butler.drain()
    assert deleted[0].refs == tuple(ctx.refs)
    assert place.butler.errors() == []
    assert place.repository.catalog.outbox() == []
    assert collect_garbage_at_once(place.butler).removed == 2
    assert place.objects("a", "b") == []


def test_follow_up_of_what_never_became_visible_shows_nothing(place):
    with place.butler.context() as ctx:
        ctx.put({"a": 1}, "stats", visit=1)
    entry = outbox_entry(place, environment.uuid7(), FollowUpKind.REPLICATE)
    assert place.runtime._follow_ups.do(entry) is None
    assert place.butler.get(ctx.refs[0]) == {"a": 1}


def test_what_was_committed_is_never_cleaned_up(place):
    with place.butler.context() as ctx:
        ctx.put({"a": 1}, "stats", visit=1)
    before = place.objects("a", "b")
    assert place.runtime._follow_ups.do(outbox_entry(place, ctx.txid, FollowUpKind.CLEAN)) is None
    assert place.runtime._follow_ups.do(outbox_entry(place, environment.uuid7(), FollowUpKind.CLEAN)) is None
    assert place.objects("a", "b") == before != []


def test_what_was_placed_of_an_ended_transaction_is_removed_as_files_and_as_rows(make_place):
    level3 = {"level3": {"kind": "database", "url": "sqlite:///level3.sqlite3"}}
    place = make_place({"destinations": level3, "rules": [{"to": ["a", "level3"], "mode": "immediate"}]})
    ctx = place.butler.context()
    ctx.put(QTable({"x": [1.0]}), "source", visit=1, detector=0)
    catalog, table = place.repository.catalog, place.repository.destinations.get("level3")
    (record,) = catalog.preparing()
    (rows,) = [a for one in record.transaction.outputs for a in one.artifacts if a.load_id]
    assert table.read(rows.path, rows.load_id).num_rows == 1
    cleaning = [FollowUp(kind=FollowUpKind.CLEAN, destination=name) for name in ("a", "level3")]
    assert catalog.abort(ctx.txid, record.epoch, "aborted", cleaning)
    assert do_all(place) == [None, None]
    assert place.objects("a") == []
    with pytest.raises(NotFoundError):
        table.read(rows.path, rows.load_id)
    ctx.abort()


# ---------------------------------------------------------------------------- what is told


def test_silent_transaction_is_for_recover_to_decide(make_place):
    place = make_place({"rules": [{"to": ["a"], "mode": "immediate"}]})
    ctx = place.butler.context()
    ctx.put(np.arange(3), "pixels", visit=1, detector=0)

    def silent(real, txid):
        return attrs.evolve(real(txid), lease_over=True)

    catalog = WrappedCatalog(place.repository.catalog, transaction=silent)
    outcome = known_outcome(ctx.txid, catalog, place.runtime.journal)
    assert isinstance(outcome, CommitParked)
    assert "`recover` decides" in outcome.reason
    assert "`recover`" not in known_outcome(ctx.txid, place.repository.catalog, place.runtime.journal).reason
    ctx.abort()


def test_errors_say_why_a_moment_did_not_come():
    txid = environment.uuid7()
    parked = outcome_error(CommitParked(txid=txid, reason="a disk is away"), txid, Moment.COMMITTED)
    unknown = outcome_error(CommitUnknown(txid=txid, reason="no answer"), txid, Moment.COMMITTED)
    assert isinstance(parked, CommitParkedError)
    assert isinstance(unknown, CommitUnknownError)
    assert "a disk is away" in str(parked)
    assert f"Butler.ticket('{txid}')" in str(unknown)
    undecided = outcome_error(None, txid, Moment.COMMITTED)
    assert isinstance(undecided, CommitUnknownError)
    assert isinstance(undecided.outcome, CommitUnknown)
    assert "may or may not be visible" in str(undecided)
    unsettled = outcome_error(Committed(txid=txid, refs=(), commit_seq=1), txid, Moment.SETTLED)
    assert isinstance(unsettled, CommitParkedError)
    assert "a copy is still missing" in str(unsettled)


def test_destination_without_names_for_people_has_nothing_to_show(make_place):
    place = make_place({"rules": [{"to": ["a"]}]})
    with place.butler.context() as ctx:
        ctx.put({"a": 1}, "stats", visit=1)
    assert isinstance(place.repository.destinations.get("a"), MemoryDestination)
    assert place.runtime._follow_ups.do(outbox_entry(place, ctx.txid, FollowUpKind.EXPORT)) is None
    assert len(place.objects("a")) == 1


def test_copy_that_comes_later_is_shown_under_its_name_for_people(make_place, tmp_path):
    desk = {"desk": {"kind": "workspace", "root": str(tmp_path / "desk")}}
    place, ref = with_missing_copy(make_place, {"to": ["a", "desk?"]}, desk, "desk")
    assert do_all(place) == [None]
    stored = place.repository.catalog.stored([ref.id])[ref.id]
    (copy,) = [one for one in stored.artifacts if one.destination == "desk"]
    shown = tmp_path / "desk" / human_path(ref, place.repository.formats.format(copy.format).extension)
    assert shown.read_bytes() == place.repository.destinations.get("desk").read(copy.path)
