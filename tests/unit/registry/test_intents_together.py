"""Several who work on the same transaction at once, and ends that nobody knows."""

import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from quantumio.errors import CommitUnknownError, DestinationError
from quantumio.model import (
    CommitParked,
    Committed,
    Transaction,
    TransactionRecord,
    TransactionState,
)
from quantumio.registry import SqlCatalog
from quantumio.system import failpoints
from tests.unit.registry.conftest import CALEXP, Place, make_transaction, until, visit
from tests.unit.registry.intents import (
    CLEAN,
    LONG_S,
    flip,
    new_owner,
    prepare,
    standing,
)

# -- two at once


def waits_for_a_lock(catalog: SqlCatalog) -> bool:
    """Whether somebody waits for a lock of the database; of SQLite's file lock nobody can tell."""
    if catalog._database.rules.name == "sqlite":
        return True
    statement = sa.text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    return bool(catalog._database.read(lambda connection: connection.execute(statement).scalar_one()))


class Race:
    """A flip that is held in its COMMIT while somebody else wants its transaction."""

    def __init__(self, first: SqlCatalog, second: SqlCatalog, *, lost: bool) -> None:
        self._first = first
        self._second = second
        self._lost = lost
        self._inside = threading.Event()
        self._go_on = threading.Event()

    def _hold(self, name: str) -> None:
        if name == "registry.commit.before" and threading.current_thread().name == "flip":
            self._inside.set()
            assert self._go_on.wait(30)
            if self._lost:  # the connection ends before COMMIT: the database rolls it back
                raise OSError("connection reset")

    def run(self, transaction: Transaction, work: Callable[[SqlCatalog], object]) -> tuple[object, object]:
        """Return what the flip and what the other one gave."""
        results: dict[str, object] = {}

        def flip_it() -> None:
            try:
                results["flip"] = self._first.flip([transaction])[0]
            except OSError as error:
                results["flip"] = error
                self._first._database._drop_connection()

        def want_it() -> None:
            results["other"] = work(self._second)

        with failpoints.watched(self._hold):
            flipping = threading.Thread(target=flip_it, name="flip")
            flipping.start()
            assert self._inside.wait(30)
            wanting = threading.Thread(target=want_it)
            wanting.start()
            until(lambda: waits_for_a_lock(self._second))
            assert "other" not in results
            self._go_on.set()
            flipping.join(30)
            wanting.join(30)
        return results["flip"], results["other"]


@pytest.mark.parametrize("lost", [False, True])
def test_take_over_waits_for_a_flip_that_is_under_way(place: Place, lost: bool) -> None:
    first, second = place.open(), place.open()
    other, transaction = new_owner(second), make_transaction(CALEXP, [visit(1)])
    prepare(first, transaction, new_owner(first))
    race = Race(first, second, lost=lost)
    outcome, record = race.run(transaction, lambda catalog: catalog.take_over(transaction.txid, other, 0))
    assert isinstance(record, TransactionRecord)
    if lost:
        assert isinstance(outcome, OSError)
        assert (record.state, record.epoch, record.owner) == ("PREPARING", 1, other)
        assert isinstance(flip(first, transaction)[0], CommitParked)
        assert record.transaction is not None
        assert isinstance(flip(second, record.transaction)[0], Committed)
    else:
        assert isinstance(outcome, Committed)
        assert (record.state, record.epoch) == ("COMMITTED", 0)
        assert second.outcome(transaction.txid) == outcome
    first.close()
    second.close()


def test_abort_waits_for_a_flip_that_is_under_way(place: Place) -> None:
    first, second = place.open(), place.open()
    transaction = make_transaction(CALEXP, [visit(1)])
    prepare(first, transaction, new_owner(first))
    race = Race(first, second, lost=False)
    outcome, aborted = race.run(
        transaction, lambda catalog: catalog.abort(transaction.txid, 0, "user", [CLEAN])
    )
    assert isinstance(outcome, Committed)
    assert aborted is False
    assert second.outbox() == []
    first.close()
    second.close()


def test_one_of_many_who_take_over_gets_it(place: Place) -> None:
    catalogs = [place.open() for _ in range(2)]
    owners = [new_owner(catalogs[0]) for _ in range(6)]
    transaction = make_transaction(CALEXP, [visit(1)])
    prepare(catalogs[0], transaction, owners[0])
    records: list[TransactionRecord | None] = []

    def work(number: int) -> None:
        record = catalogs[number % 2].take_over(transaction.txid, owners[number], 0)
        assert record is not None
        if (record.owner, record.epoch) == (owners[number], 1):
            records.append(record)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(records) == 1
    for catalog in catalogs:
        catalog.close()


def test_many_prepare_and_flip_at_once(place: Place) -> None:
    catalogs = [place.open() for _ in range(2)]
    outcomes: list[object] = []

    def work(catalog: SqlCatalog, number: int) -> None:
        owner = new_owner(catalog)
        for turn in range(6):
            group = [make_transaction(CALEXP, [visit(number), visit(100 + turn)]) for _ in range(3)]
            catalog.prepare(group, owner, LONG_S)
            outcomes.extend(catalog.flip(group, owner))

    threads = [threading.Thread(target=work, args=(catalogs[number % 2], number)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {type(outcome) for outcome in outcomes} == {Committed}
    assert len(outcomes) == 4 * 6 * 3
    assert catalogs[0].preparing() == []
    for catalog in catalogs:
        catalog.close()


def test_fence_and_flip_that_race_have_one_winner(place: Place, catalog: SqlCatalog, owner):
    other_catalog = place.open()
    other = new_owner(other_catalog)
    for number in range(20):
        transaction = make_transaction(CALEXP, [visit(number)])
        prepare(catalog, transaction, owner)
        results = {}
        start = threading.Barrier(2)

        def fence(transaction=transaction, results=results, start=start):
            start.wait(10)
            results["record"] = other_catalog.take_over(transaction.txid, other, 0)

        thread = threading.Thread(target=fence)
        thread.start()
        start.wait(10)
        (outcome,) = catalog.flip([transaction], owner)
        thread.join(30)
        if isinstance(outcome, Committed):
            assert results["record"].state is TransactionState.COMMITTED
        else:
            assert isinstance(outcome, CommitParked)
            assert (results["record"].owner, results["record"].epoch) == (other, 1)
    other_catalog.close()


# -- ends that nobody knows


@pytest.fixture
def lose_commits(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Return a context in which the answer of each COMMIT is lost."""
    commit = sa.RootTransaction.commit

    def lose(transaction: sa.RootTransaction) -> None:
        commit(transaction)
        raise sa.exc.OperationalError("COMMIT", None, OSError("connection reset"))

    class Losing:
        def __enter__(self) -> None:
            monkeypatch.setattr(sa.RootTransaction, "commit", lose)

        def __exit__(self, *_: object) -> None:
            monkeypatch.setattr(sa.RootTransaction, "commit", commit)

    return Losing


def test_lost_commits_are_told_and_can_be_looked_up(
    catalog: SqlCatalog, owner: UUID, lose_commits: Callable[[], Any]
) -> None:
    transaction, other = make_transaction(CALEXP, [visit(1)]), new_owner(catalog)
    with lose_commits(), pytest.raises(DestinationError, match="may or may not"):
        catalog.prepare([transaction], owner, LONG_S)
    prepare(catalog, transaction, owner)
    with lose_commits(), pytest.raises(DestinationError, match="may or may not"):
        catalog.take_over(transaction.txid, other, 0)
    record = catalog.take_over(transaction.txid, other, 0)
    assert record is not None
    assert (record.owner, record.epoch) == (other, 1)
    assert record.transaction is not None
    with lose_commits(), pytest.raises(CommitUnknownError):
        catalog.flip([record.transaction])
    record = catalog.take_over(transaction.txid, owner, 1)
    assert record is not None
    assert str(record.state) == "COMMITTED"


def test_after_a_lost_commit_nothing_is_told_before_the_disk_has_it(
    sqlite_catalog: SqlCatalog, lose_commits: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    transaction, owner = make_transaction(CALEXP, [visit(1)]), new_owner(sqlite_catalog)
    with lose_commits(), pytest.raises(DestinationError):
        sqlite_catalog.prepare([transaction], owner, LONG_S)
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_catalog._database, "_checkpoint", lambda _: False)
        for call in (
            lambda: sqlite_catalog.transaction(transaction.txid),
            sqlite_catalog.preparing,
            sqlite_catalog.outbox,
        ):
            with pytest.raises(DestinationError):
                call()  # type: ignore[operator]
    assert standing(sqlite_catalog, transaction.txid) == ("PREPARING", None, 0, 0)
