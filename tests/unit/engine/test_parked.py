"""What the journal has promised is kept for later, whatever it fails of, and may be carried again at once."""

import pytest

from quantumio.destinations.memory import MemoryDestination
from quantumio.engine._carrier import Carrier
from quantumio.errors import CommitParkedError, ErrorKind
from quantumio.model import CommitFailed
from quantumio.testing import Fault, FaultyDestination

TO_A = {"rules": [{"to": ["a"]}]}


def commit(butler, ack):
    with butler.context(ack=ack) as ctx:
        ctx.put({"n": 1}, "stats", visit=1)
    return ctx


@pytest.mark.parametrize("kind", [ErrorKind.CLOSED, ErrorKind.DISK_FULL, ErrorKind.PERMISSION])
def test_promise_is_no_conflict_because_of_what_can_be_mended(make_place, kind):
    """Of a Butler that was closed while recovery carried an entry in the background it was one, for ever."""
    place = make_place(TO_A)
    destination = place.install(FaultyDestination(MemoryDestination("a"), Fault(at=1, kind=kind)))
    ctx = commit(place.butler, "journaled")
    assert place.runtime.wait_idle(60)
    assert destination.calls >= 1
    place.butler.recover()
    assert place.butler.get("stats", visit=1) == {"n": 1}
    assert not isinstance(ctx.ticket.outcome, CommitFailed)
    place.assert_idle_and_empty()


def test_parked_context_may_be_carried_again_before_it_is_concluded(make_place, monkeypatch):
    """Its entry is free by then: the second one met what the first had left in the tables of the runtime."""
    place = make_place(TO_A)
    place.install(FaultyDestination(MemoryDestination("a"), Fault(at=1)))
    close, again = Carrier.close_entry, []

    async def close_and_recover(self, context, outcome):
        await close(self, context, outcome)
        if not again:
            again.append(outcome)
            await place.runtime._recoverer.recover_left()

    monkeypatch.setattr(Carrier, "close_entry", close_and_recover)
    with pytest.raises(CommitParkedError):
        commit(place.butler, "committed")
    assert len(again) == 1
    place.assert_idle_and_empty()
    assert place.butler.get("stats", visit=1) == {"n": 1}
    assert [entry.kind for entry in place.butler.errors() if entry.kind is ErrorKind.INTERNAL] == []
