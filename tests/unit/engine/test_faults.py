"""Whichever call of a destination fails: a context is visible whole, or not at all and nothing is left."""

import numpy as np
import pytest
from astropy.table import QTable

from quantumio.destinations.memory import MemoryDestination
from quantumio.errors import CommitConflictError, CommitFailedError, DestinationError, ErrorKind
from quantumio.model import ArtifactState, CommitFailed, CommitParked, Committed
from quantumio.testing import Fault, FaultyDestination, FaultyTableDestination

pytestmark = pytest.mark.on_disk

SMALL, LARGE = 10, 200_000
"""Numbers of an output: small ones share a trip to a destination, large ones (1.5 MiB) travel alone."""

MOST_CALLS = 12


def put_three(ctx, size):
    for detector in range(3):
        ctx.put(np.full(size, detector), "pixels", visit=1, detector=detector)


def visible(butler):
    return sorted(ref.data_id["detector"] for ref in butler.query("pixels"))


@pytest.mark.parametrize("faulty", ["a", "b"])
@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("lost_reply", [False, True], ids=["nothing done", "answer lost"])
@pytest.mark.parametrize("mode", ["deferred", "immediate"])
def test_any_failing_call_gives_all_or_nothing(make_place, faulty, size, lost_reply, mode):
    for at in range(1, MOST_CALLS):
        place = make_place({"rules": [{"to": ["a", "b"], "mode": mode}]}, name=f"night-{at}")
        destination = place.install(
            FaultyDestination(
                MemoryDestination(faulty), Fault(at=at, lost_reply=lost_reply, kind=ErrorKind.DISK_FULL)
            )
        )
        failure = None
        try:
            with place.butler.context() as ctx:
                put_three(ctx, size)
        except (CommitFailedError, DestinationError) as error:
            failure = error
        outcome = ctx.ticket.outcome
        was_reached = at <= destination.calls
        assert failure is None or was_reached
        if failure is None:
            assert isinstance(outcome, Committed)
            assert visible(place.butler) == [0, 1, 2]
            assert len(place.objects("a")) == len(place.objects("b")) == 3
            for ref in outcome.refs:
                assert {one.destination for one in place.butler.where_is(ref)} == {"a", "b"}
        else:
            assert isinstance(outcome, CommitFailed)
            assert visible(place.butler) == []
            assert place.objects("a", "b") == []
        if isinstance(failure, CommitFailedError):
            assert outcome.kind is failure.kind is ErrorKind.DISK_FULL
            entry = next(entry for entry in place.butler.errors() if entry.destination == faulty)
            assert entry.txid == ctx.txid
            assert entry.ref in ctx.refs
            assert "as planned" in entry.message
        elif failure is not None:  # an immediate put tells the task at once
            assert failure.kind is ErrorKind.DISK_FULL
        place.butler.drain()  # whoever waited was told: it is not raised again
        place.assert_idle_and_empty()
        # Repaired, the place is as good as new.
        place.install(destination._inner)
        with place.butler.context() as again:
            put_three(again, SMALL)
        expected = 1 if failure else 2
        assert {ref.version for ref in again.refs} == {expected}
        place.butler.errors(acknowledge=True)
        place.butler.close()
        if not was_reached:
            break
    else:
        pytest.fail(f"after {MOST_CALLS} calls there were still more of them")
    assert at > 1


@pytest.mark.parametrize("lost_reply", [False, True], ids=["nothing done", "answer lost"])
def test_failing_removal_is_a_failure_of_its_own_that_names_the_destination(make_place, lost_reply):
    """``a`` refuses to write; what arrived at ``b`` cannot be removed."""
    place = make_place({"rules": [{"to": ["a", "b"], "mode": "deferred"}]})
    place.install(FaultyDestination(MemoryDestination("a"), Fault(at=1, kind=ErrorKind.DISK_FULL)))
    place.install(FaultyDestination(MemoryDestination("b"), Fault(at=2, lost_reply=lost_reply)))
    with pytest.raises(CommitFailedError) as caught, place.butler.context() as ctx:
        put_three(ctx, SMALL)
    assert caught.value.kind is ErrorKind.DISK_FULL
    assert visible(place.butler) == []
    left = len(place.objects("b"))
    if left:
        with pytest.raises(ExceptionGroup) as group:
            place.butler.drain()
        assert "'b'" in group.value.exceptions[0].__notes__[0]
        assert [entry.destination for entry in place.butler.errors()] == ["a", "b"]
        assert all(entry.ref in ctx.refs for entry in place.butler.errors())
    place.assert_idle_and_empty()


def test_failure_of_a_buffered_commit_waits_in_the_ledger(place):
    place.install(FaultyDestination(MemoryDestination("b"), Fault(at=1, forever=True)))
    ctx = place.butler.context()
    put_three(ctx, SMALL)
    ticket = ctx.commit("buffered")
    with pytest.raises(ExceptionGroup) as caught:
        place.butler.drain()
    assert all("pixels" in error.__notes__[0] for error in caught.value.exceptions)
    assert any("'b'" in error.__notes__[0] for error in caught.value.exceptions)
    assert isinstance(ticket.outcome, CommitParked)
    assert visible(place.butler) == []
    assert place.butler.errors()
    place.butler.drain()  # told once
    assert place.butler.errors(acknowledge=True)
    assert place.butler.errors() == []
    place.install(MemoryDestination("b"))
    assert [item.action for item in place.butler.recover().items] == ["committed"]
    assert visible(place.butler) == [0, 1, 2]
    assert isinstance(place.butler.ticket(ctx.txid), Committed)


def placed(butler, ref):
    return {one.destination for one in butler.where_is(ref) if one.state is ArtifactState.OK}


def test_best_effort_copy_that_fails_at_any_call_never_fails_the_commit(make_place):
    for at in range(1, 4):
        place = make_place({"rules": [{"to": ["a", "b?"]}]}, name=f"night-{at}")
        destination = place.install(FaultyDestination(MemoryDestination("b"), Fault(at=at)))
        with place.butler.context() as ctx:
            put_three(ctx, LARGE)
        assert visible(place.butler) == [0, 1, 2]
        assert destination.calls >= 0
        with pytest.raises(ExceptionGroup) as caught:
            place.butler.drain()
        assert len(caught.value.exceptions) >= 1
        # What arrived is known, and what is known did arrive.
        known = {ref.data_id["detector"] for ref in ctx.refs if "b" in placed(place.butler, ref)}
        assert len(known) == len(place.objects("b"))
        assert not ctx.ticket.reached("settled")
        place.assert_idle_and_empty()


def test_one_failing_best_effort_copy_does_not_stop_those_of_other_outputs(make_place):
    place = make_place({"rules": [{"to": ["a", "b?"]}]})
    place.install(FaultyDestination(MemoryDestination("b"), Fault(at=1)))
    with place.butler.context() as ctx:
        for detector in range(6):
            ctx.put(np.full(LARGE, detector), "pixels", visit=1, detector=detector)
    with pytest.raises(ExceptionGroup) as caught:
        place.butler.drain()
    assert len(caught.value.exceptions) == 1
    assert len(place.objects("b")) == 5


def test_one_failing_best_effort_destination_does_not_stop_the_others(make_place):
    for first, second in (("b?", "local?"), ("local?", "b?")):
        place = make_place({"rules": [{"to": ["a", first, second]}]}, name=first.strip("?"))
        place.install(FaultyDestination(MemoryDestination("b"), Fault(at=1, forever=True)))
        with place.butler.context() as ctx:
            put_three(ctx, LARGE)
        with pytest.raises(ExceptionGroup):
            place.butler.drain()
        assert len(place.objects("local")) == 3
        for ref in ctx.refs:
            assert placed(place.butler, ref) == {"a", "local"}


def test_rows_of_one_output_that_stay_hidden_do_not_hide_those_of_others(make_place):
    place = make_place(
        {
            "destinations": {"level3": {"kind": "database", "url": "sqlite:///level3.sqlite3"}},
            "rules": [{"to": ["a", "level3"]}],
        }
    )
    table = place.repository.destinations.get("level3")
    faulty = place.install(FaultyTableDestination(table, Fault(at=7)))  # six loads, then the first reveal
    with place.butler.context() as ctx:
        for detector in range(6):
            ctx.put(QTable({"x": [float(detector)]}), "source", visit=1, detector=detector)
    with pytest.raises(ExceptionGroup) as caught:
        place.butler.drain()
    assert len(caught.value.exceptions) == 1
    assert faulty.calls == 12
    assert place.butler.query("source").count() == 6
    assert place.butler.get("source", visit=1, detector=0)["x"][0] == 0


def test_conflict_leaves_nothing_at_any_destination(place):
    with place.butler.context() as ctx:
        put_three(ctx, SMALL)
    before = sorted(place.objects("a", "b"))
    with pytest.raises(CommitConflictError) as caught, place.butler.context() as ctx:
        for detector in range(3):
            ctx.put(
                np.zeros(LARGE), "pixels", visit=1, detector=detector, expect=0 if detector == 2 else None
            )
    assert caught.value.outcome.winner_version == 1
    assert caught.value.outcome.ref.data_id["detector"] == 2
    assert sorted(place.objects("a", "b")) == before


def test_reused_key_leaves_nothing_of_the_second_attempt(place):
    outcomes = []
    for _ in range(2):
        with place.butler.context(key="isr-1") as ctx:
            put_three(ctx, SMALL)
        outcomes.append(ctx.ticket.outcome)
    assert outcomes[1].reused
    assert outcomes[1].refs == outcomes[0].refs
    place.butler.drain()
    assert len(place.objects("a", "b")) == 6


def test_destination_that_cannot_be_opened_fails_the_commit_and_says_so_once(make_place, tmp_path):
    """Nothing can be there, so nothing need be removed: there is one failure, and the waiter was told."""
    (tmp_path / "level3").write_bytes(b"this is no database " * 1000)
    url = f"sqlite:///{tmp_path}/level3"
    place = make_place(
        {"destinations": {"level3": {"kind": "database", "url": url}}, "rules": [{"to": ["a", "level3"]}]}
    )
    with pytest.raises(CommitFailedError), place.butler.context() as ctx:
        ctx.put(QTable({"x": [1.0]}), "source", visit=1, detector=0)
    assert place.objects("a") == []
    assert [entry.destination for entry in place.butler.errors()] == ["level3"]
    place.butler.drain()
