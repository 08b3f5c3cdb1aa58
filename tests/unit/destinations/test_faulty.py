"""A faulty destination fails at the chosen call and at no other."""

import pytest

from quantumio.destinations.memory import MemoryDestination
from quantumio.errors import DestinationError, ErrorKind
from quantumio.testing import Fault, FaultyDestination, make_placement


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("lost_reply", [False, True])
def test_only_the_chosen_call_fails(at, lost_reply):
    inner = MemoryDestination("held")
    faulty = FaultyDestination(inner, Fault(at=at, lost_reply=lost_reply, kind=ErrorKind.DISK_FULL))
    for number in (1, 2, 3):
        if number == at:
            with pytest.raises(DestinationError) as caught:
                faulty.place([make_placement(f"o{number}", b"x")])
            assert caught.value.kind is ErrorKind.DISK_FULL
        else:
            faulty.place([make_placement(f"o{number}", b"x")])
    assert (inner.stat(f"o{at}") is not None) is lost_reply
    assert faulty.calls == 3


def test_a_fault_may_last():
    faulty = FaultyDestination(MemoryDestination("held"), Fault(at=2, forever=True))
    assert faulty.stat("a") is None
    for _ in range(2):
        with pytest.raises(DestinationError):
            faulty.stat("a")
