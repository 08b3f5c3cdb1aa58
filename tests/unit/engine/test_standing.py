"""What the standing of a transaction allows. The specification calls the same decisions in every order."""

from uuid import UUID

import pytest

from quantumio.engine._standing import Ending, Owning, how_to_end, how_to_own, outcome_of_another
from quantumio.model import CommitFailed, Committed, TransactionRecord, TransactionState
from quantumio.ports import LEASE_OVER, REUSED

TXID, OURS, THEIRS = UUID(int=1), UUID(int=2), UUID(int=3)
PREPARING, ABORTED = TransactionState.PREPARING, TransactionState.ABORTED
COMMITTED, QUARANTINED = TransactionState.COMMITTED, TransactionState.QUARANTINED


def record(state, *, owner=None, reason=None):
    return TransactionRecord(
        txid=TXID, state=state, epoch=0, generation=0, transaction=None, owner=owner, reason=reason
    )


@pytest.mark.parametrize(
    ("found", "owning"),
    [
        (None, Owning.NEW),
        (record(PREPARING, owner=THEIRS), Owning.TAKE_OVER),
        (record(ABORTED, reason=LEASE_OVER), Owning.REOPEN),
        (record(ABORTED, reason="by hand"), Owning.OVER),
        (record(ABORTED, reason=REUSED), Owning.FINISHED),
        (record(COMMITTED), Owning.FINISHED),
        (record(QUARANTINED, reason="a backup"), Owning.OVER),
    ],
)
def test_holder_of_a_journal_entry_makes_its_transaction_his_own_as_it_stands(found, owning):
    assert how_to_own(found) is owning


@pytest.mark.parametrize(
    ("found", "ending"),
    [
        (None, Ending.REMOVE),
        (record(PREPARING, owner=OURS), Ending.ABORT),
        (record(PREPARING, owner=THEIRS), Ending.LEAVE),
        (record(ABORTED, reason=LEASE_OVER), Ending.REMOVE),
        (record(COMMITTED, owner=OURS), Ending.LEAVE),
        (record(QUARANTINED, owner=OURS), Ending.LEAVE),
    ],
)
def test_nothing_is_removed_of_what_is_or_may_become_visible(found, ending):
    assert how_to_end(found, OURS) is ending


def test_what_stands_for_an_earlier_attempt_is_told_to_have_committed():
    earlier = Committed(txid=TXID, refs=(), commit_seq=None, reused=True)
    assert outcome_of_another(record(ABORTED, reason=REUSED), lambda _: earlier) == earlier
    assert isinstance(outcome_of_another(record(ABORTED, reason="by hand"), lambda _: earlier), CommitFailed)
    deleted = outcome_of_another(record(ABORTED, reason=REUSED), lambda _: None)
    assert isinstance(deleted, CommitFailed)
