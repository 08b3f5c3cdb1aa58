"""The outbox: what follows a decision is done, by one at a time, and not forgotten."""

import pytest
from attrs import evolve

from quantumio.model import FollowUp, FollowUpKind
from quantumio.registry import SqlCatalog
from quantumio.system import environment
from tests.unit.registry.conftest import CALEXP, make_transaction, visit
from tests.unit.registry.test_intents import owner_of, wait_until

EXPORT = FollowUp(kind=FollowUpKind.EXPORT, destination="local")
COPY = FollowUp(kind=FollowUpKind.REPLICATE, destination="archive")


@pytest.fixture
def transaction(catalog: SqlCatalog):
    made = evolve(make_transaction(CALEXP, [visit(1)]), follow_ups=(EXPORT, COPY, COPY))
    catalog.flip([made])
    return made


def follow_ups(entries):
    return [entry.follow_up for entry in entries]


def test_entries_of_a_commit_without_owner_are_due_at_once(catalog, transaction):
    entries = catalog.outbox(transaction.txid)
    assert follow_ups(entries) == [EXPORT, COPY]
    assert all(entry.is_due and entry.attempts == 0 and entry.age_s >= 0 for entry in entries)
    assert catalog.outbox(environment.uuid7()) == []


def test_claim_is_for_one_and_ends(catalog, transaction):
    one, other = owner_of(catalog), owner_of(catalog, "there")
    (entry,) = catalog.claim(one, 1, 0.3)
    assert (entry.follow_up, entry.claimed_by, entry.owner_host) == (EXPORT, one, "here")
    assert follow_ups(catalog.claim(other, 10, 60.0)) == [COPY]
    assert catalog.claim(other, 10, 60.0) == []
    wait_until(lambda: follow_ups(catalog.claim(other, 10, 60.0)) == [EXPORT])


def test_what_is_done_is_gone_and_may_be_told_again(catalog, transaction):
    for _ in range(2):
        catalog.finish_follow_ups({transaction.txid: [EXPORT], environment.uuid7(): [COPY]})
        assert follow_ups(catalog.outbox()) == [COPY]
    catalog.finish_follow_ups({transaction.txid: []})
    catalog.finish_follow_ups({transaction.txid: [COPY]})
    assert catalog.outbox() == []


def test_what_failed_is_due_after_its_delay_and_counts(catalog, transaction):
    owner = owner_of(catalog)
    entry = catalog.claim(owner, 1, 60.0)[0]
    catalog.postpone(entry.id, 0.2)
    wait_until(lambda: catalog.outbox()[0].is_due)
    (again,) = catalog.claim(owner, 1, 60.0)
    assert (again.id, again.attempts) == (entry.id, 1)


def test_claims_of_the_dead_are_released(catalog, transaction):
    dead = owner_of(catalog)
    assert len(catalog.claim(dead, 10, 600.0)) == 2
    catalog.release_claims(owner_of(catalog))
    assert not any(entry.is_due for entry in catalog.outbox())
    catalog.release_claims(dead)
    assert all(entry.is_due and entry.claimed_by is None for entry in catalog.outbox())


def test_what_was_postponed_is_due_at_once_where_somebody_wants_it(catalog, transaction):
    owner = owner_of(catalog)
    first, second = catalog.claim(owner, 2, 600.0)
    catalog.postpone(first.id, 600.0)
    catalog.hasten_follow_ups()
    assert [(one.id, one.is_due) for one in catalog.outbox()] == [(first.id, True), (second.id, False)]
    assert [one.id for one in catalog.claim(owner, 9, 60.0)] == [first.id], "what is claimed is another's"
