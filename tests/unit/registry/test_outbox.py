"""The outbox: follow-ups are remembered until they are done, and one process at a time has each."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from quantumio.errors import InvalidInputError
from quantumio.model import Committed, FollowUp, FollowUpKind, OutboxEntry, Transaction
from quantumio.registry import SqlCatalog
from quantumio.system import environment
from tests.unit.registry.conftest import CALEXP, Place, make_transaction, until, visit
from tests.unit.registry.intents import new_owner

EXPORT = FollowUp(kind=FollowUpKind.EXPORT, destination="tree")
REPLICATE = FollowUp(kind=FollowUpKind.REPLICATE, destination="archive")
CLEAN = FollowUp(kind=FollowUpKind.CLEAN, destination="local")
LONG_S = 600.0


def committed(catalog: SqlCatalog, *follow_ups: FollowUp, owner: UUID | None = None) -> Transaction:
    """A committed transaction with these follow-ups."""
    transaction = make_transaction(CALEXP, [visit(1)], follow_ups=follow_ups)
    (outcome,) = catalog.flip([transaction], owner)
    assert isinstance(outcome, Committed)
    return transaction


def what(entries: list[OutboxEntry]) -> list[tuple[UUID, FollowUp, int]]:
    return [(entry.txid, entry.follow_up, entry.attempts) for entry in entries]


def test_follow_ups_of_what_is_committed_wait_in_the_outbox(catalog: SqlCatalog) -> None:
    first = committed(catalog, EXPORT, REPLICATE, EXPORT)
    second = committed(catalog, EXPORT)
    committed(catalog)
    assert what(catalog.outbox(first.txid)) == [(first.txid, EXPORT, 0), (first.txid, REPLICATE, 0)]
    assert what(catalog.outbox()) == [
        *what(catalog.outbox(first.txid)),
        (second.txid, EXPORT, 0),
    ]
    assert catalog.outbox(environment.uuid7()) == []
    catalog.flip([first])  # again: it is committed already
    assert len(catalog.outbox()) == 3


def test_waiting_is_counted_by_the_clock_of_the_database(
    catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "now_ns", lambda: 5)
    committed(catalog, EXPORT)
    (before,) = catalog.outbox()
    assert 0 <= before.age_s < LONG_S
    until(lambda: catalog.outbox()[0].age_s > before.age_s)


def test_entries_are_claimed_once_and_the_longest_due_first(catalog: SqlCatalog) -> None:
    transactions = [committed(catalog, EXPORT) for _ in range(3)]
    one, other = environment.uuid7(), environment.uuid7()
    assert [entry.txid for entry in catalog.claim(one, 2, LONG_S)] == [t.txid for t in transactions[:2]]
    assert [entry.txid for entry in catalog.claim(other, 2, LONG_S)] == [transactions[2].txid]
    assert catalog.claim(one, 2, LONG_S) == []
    assert catalog.claim(other, 0, LONG_S) == []
    assert len(catalog.outbox()) == 3  # claimed is not done


def test_flip_claims_for_its_owner(catalog: SqlCatalog) -> None:
    owner = environment.uuid7()
    committed(catalog, EXPORT, owner=owner)
    assert catalog.claim(environment.uuid7(), 5, LONG_S) == []
    (entry,) = catalog.outbox()
    catalog.postpone(entry.id, 0)
    assert [found.id for found in catalog.claim(environment.uuid7(), 5, LONG_S)] == [entry.id]


def test_claim_that_ended_goes_to_somebody_else(catalog: SqlCatalog) -> None:
    committed(catalog, EXPORT)
    (entry,) = catalog.claim(environment.uuid7(), 1, 0.2)
    found: list[OutboxEntry] = []
    until(lambda: found.extend(catalog.claim(environment.uuid7(), 1, LONG_S)) or found)
    assert [one.id for one in found] == [entry.id]
    assert found[0].attempts == 0
    assert found[0].age_s > 0


def test_done_is_done_whoever_did_it(catalog: SqlCatalog) -> None:
    first, second = committed(catalog, EXPORT, REPLICATE), committed(catalog, EXPORT)
    catalog.claim(environment.uuid7(), 1, LONG_S)
    for _ in range(2):
        catalog.finish_follow_ups({first.txid: [EXPORT], second.txid: {EXPORT}, environment.uuid7(): [CLEAN]})
        assert what(catalog.outbox()) == [(first.txid, REPLICATE, 0)]
    assert what(catalog.claim(environment.uuid7(), 9, LONG_S)) == [(first.txid, REPLICATE, 0)]
    catalog.finish_follow_ups({})
    catalog.finish_follow_ups({first.txid: []})


def test_postponed_entries_come_again_and_count(catalog: SqlCatalog) -> None:
    first, second = committed(catalog, EXPORT), committed(catalog, EXPORT)
    entries = catalog.claim(environment.uuid7(), 2, LONG_S)
    catalog.postpone(entries[0].id, LONG_S)
    catalog.postpone(entries[1].id, 0.1)
    found: list[OutboxEntry] = []
    until(lambda: found.extend(catalog.claim(environment.uuid7(), 2, LONG_S)) or found)
    assert what(found) == [(second.txid, EXPORT, 1)]
    assert what(catalog.outbox()) == [(first.txid, EXPORT, 1), (second.txid, EXPORT, 1)]
    catalog.finish_follow_ups({first.txid: [EXPORT]})
    catalog.postpone(entries[0].id, 0)  # it is done
    catalog.postpone(10**9, 0)  # there is none
    assert what(catalog.outbox()) == [(second.txid, EXPORT, 1)]


def test_follow_up_of_a_transaction_that_ended_twice_is_to_be_done_twice(catalog: SqlCatalog) -> None:
    owner, transaction = environment.uuid7(), make_transaction(CALEXP, [visit(1)])
    catalog.register_owner(owner, "host", "boot")
    catalog.prepare([transaction], owner, 0)
    until(lambda: catalog.reap(transaction.txid, 0, [CLEAN]))
    (entry,) = catalog.claim(owner, 1, LONG_S)
    catalog.postpone(entry.id, 0)
    catalog.finish_follow_ups({transaction.txid: [CLEAN]})
    assert catalog.outbox() == []
    assert catalog.reopen(transaction.txid, owner, 0) is not None
    assert catalog.abort(transaction.txid, 1, "user", [CLEAN])
    assert what(catalog.claim(owner, 9, LONG_S)) == [(transaction.txid, CLEAN, 0)]


def test_two_processes_never_claim_the_same(place: Place) -> None:
    catalogs = [place.open() for _ in range(2)]
    group = [
        make_transaction(CALEXP, [visit(number)], follow_ups=(EXPORT, REPLICATE)) for number in range(30)
    ]
    catalogs[0].flip(group)
    claimed: list[int] = []

    def work(catalog: SqlCatalog) -> None:
        owner = environment.uuid7()
        while entries := catalog.claim(owner, 4, LONG_S):
            claimed.extend(entry.id for entry in entries)
            catalog.finish_follow_ups({entry.txid: [entry.follow_up] for entry in entries})

    # On PostgreSQL an empty answer may mean that another one holds what is left.
    threads = [threading.Thread(target=work, args=(catalogs[number % 2],)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work(catalogs[0])
    assert Counter(claimed) == Counter(dict.fromkeys(claimed, 1))
    assert len(claimed) == 60
    for catalog in catalogs:
        catalog.close()


def test_claims_of_the_dead_are_released(catalog: SqlCatalog) -> None:
    committed(catalog, EXPORT, REPLICATE)
    dead = new_owner(catalog)
    assert len(catalog.claim(dead, 10, LONG_S)) == 2
    (entry, _) = catalog.outbox()
    assert (entry.claimed_by, entry.owner_host, entry.owner_boot_id) == (dead, "node7", "boot-1")
    catalog.release_claims(new_owner(catalog))
    assert not any(entry.is_due for entry in catalog.outbox())
    catalog.release_claims(dead)
    assert all(entry.is_due and entry.claimed_by is None for entry in catalog.outbox())


def test_what_was_postponed_is_due_at_once_where_somebody_wants_it(catalog: SqlCatalog) -> None:
    committed(catalog, EXPORT, REPLICATE)
    owner = new_owner(catalog)
    first, second = catalog.claim(owner, 2, 600.0)
    catalog.postpone(first.id, 600.0)
    catalog.hasten_follow_ups()
    assert [(one.id, one.is_due) for one in catalog.outbox()] == [(first.id, True), (second.id, False)]
    assert [one.id for one in catalog.claim(owner, 9, 60.0)] == [first.id], "what is claimed is another's"


ID = environment.uuid7()


@pytest.mark.parametrize(
    "call",
    [
        lambda catalog: catalog.claim("me", 1, 1.0),
        lambda catalog: catalog.claim(ID, -1, 1.0),
        lambda catalog: catalog.claim(ID, 1, -1.0),
        lambda catalog: catalog.claim(ID, 1, None),
        lambda catalog: catalog.release_claims("me"),
        lambda catalog: catalog.postpone(1, float("inf")),
        lambda catalog: catalog.postpone("x", 1.0),
        lambda catalog: catalog.finish_follow_ups({"x": [EXPORT]}),
        lambda catalog: catalog.outbox("x"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused(
    sqlite_catalog: SqlCatalog, call: Callable[[Any], object]
) -> None:
    with pytest.raises(InvalidInputError):
        call(sqlite_catalog)
