"""Identifiers, clocks and settings of the machine."""

import itertools
import subprocess
import sys
import threading
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.system import environment


@pytest.fixture
def clock(monkeypatch):
    """A wall clock that stands where it is put, and an identifier that was never made before."""

    class Clock:
        ns = 1_700_000_000_000 * 1_000_000

    monkeypatch.setattr(time, "time_ns", lambda: Clock.ns)
    monkeypatch.setattr(environment, "_last_uuid_value", 0)
    return Clock


def milliseconds(identifier: uuid.UUID) -> int:
    return identifier.int >> 80


def test_identifiers_are_uuids_of_version_7():
    before = time.time_ns() // 1_000_000
    identifiers = [environment.uuid7() for _ in range(100)]
    after = time.time_ns() // 1_000_000
    for identifier in identifiers:
        assert identifier.version == 7
        assert identifier.variant == uuid.RFC_4122
        assert before <= milliseconds(identifier) <= after + 1


def test_identifiers_of_many_threads_are_unique_and_each_threads_increase():
    made = [[] for _ in range(8)]
    barrier = threading.Barrier(8)

    def make(mine):
        barrier.wait()
        mine.extend(environment.uuid7() for _ in range(2000))

    threads = [threading.Thread(target=make, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for mine in made:
        assert all(one < other for one, other in itertools.pairwise(mine))
        assert sorted(mine, key=str) == mine  # as text, too: databases sort that
    assert len({identifier for mine in made for identifier in mine}) == 16_000


def test_many_at_once_are_identifiers_between_single_ones():
    before = environment.uuid7()
    many = [uuid.UUID(bytes=value) for value in environment.uuid7_bytes(5000)]
    after = environment.uuid7()
    made = [before, *many, after]
    assert all(one < other for one, other in itertools.pairwise(made))
    assert all(one.version == 7 and one.variant == uuid.RFC_4122 for one in many)
    assert milliseconds(many[-1]) <= milliseconds(before) + 1000
    assert environment.uuid7_bytes(0) == []


def test_many_at_once_increase_when_the_clock_goes_back(clock):
    first = environment.uuid7_bytes(3)
    clock.ns -= 10**12
    second = environment.uuid7_bytes(3)
    assert sorted({*first, *second}) == [*first, *second]


@pytest.mark.parametrize("low", [0, 1, (1 << 48) - 1, (1 << 62) - 1, (1 << 74) - 1])
def test_many_at_once_carry(clock, monkeypatch, low):
    """The last bits are added for all of them together, and carry into those before."""
    last = (clock.ns // 1_000_000 + 5 << 74) | low
    monkeypatch.setattr(environment, "_last_uuid_value", last)
    before = uuid.UUID(int=environment._uuid7_of(last))
    many = [uuid.UUID(bytes=value) for value in environment.uuid7_bytes(20_000)]
    made = [before, *many, environment.uuid7()]
    assert all(one < other for one, other in itertools.pairwise(made))
    assert all(one.version == 7 and one.variant == uuid.RFC_4122 for one in many)
    assert environment._last_uuid_value - last < 20_001 << 48


def test_many_at_once_of_two_forks_differ(clock, monkeypatch):
    """Both go on from the same last value, at the same time."""
    ahead = (clock.ns // 1_000_000 + 5) << 74
    made = []
    for _ in range(2):
        monkeypatch.setattr(environment, "_last_uuid_value", ahead)
        made += environment.uuid7_bytes(100)
    assert len(set(made)) == 200


def test_identifiers_increase_while_the_clock_stands(clock):
    made = [environment.uuid7() for _ in range(1000)]
    assert made == sorted(set(made))
    assert {milliseconds(one) for one in made} == {clock.ns // 1_000_000}


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=20))
def test_identifiers_increase_when_the_clock_goes_back(steps):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environment, "_last_uuid_value", 0)
        now = [1_700_000_000_000_000_000]
        patch.setattr(time, "time_ns", lambda: now[0])
        made = []
        for step in steps:
            now[0] += step
            made.append(environment.uuid7())
        assert all(one < other for one, other in itertools.pairwise(made))
        assert all(one.version == 7 and one.variant == uuid.RFC_4122 for one in made)


def test_random_part_may_overflow_into_the_clock(clock, monkeypatch):
    monkeypatch.setattr(environment.secrets, "token_bytes", lambda size: b"\xff" * size)
    monkeypatch.setattr(environment, "_random_bits", [])
    one, other = environment.uuid7(), environment.uuid7()
    assert one < other
    assert other.version == 7
    assert other.variant == uuid.RFC_4122
    assert milliseconds(other) == milliseconds(one) + 1


def test_a_fork_makes_other_identifiers():
    program = """
import os
from quantumio.system import environment
environment.now_ns = environment.time.time_ns = lambda: 10**18
environment.uuid7()
child = os.fork()
made = [str(environment.uuid7()) for _ in range(200)]
os.write(1, ("\\n".join(made) + "\\n").encode())
if child:
    os.waitpid(child, 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    made = done.stdout.split()
    assert len(made) == len(set(made)) == 400


def test_a_later_millisecond_compares_greater(clock):
    one = environment.uuid7()
    clock.ns += 1_000_000
    assert milliseconds(environment.uuid7()) == milliseconds(one) + 1


def test_tokens_differ_and_are_hexadecimal():
    tokens = {environment.random_token(4) for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(len(bytes.fromhex(token)) == 4 for token in tokens)


def test_empty_variable_is_none(monkeypatch):
    monkeypatch.setenv("QUANTUMIO_POLICY", "")
    assert environment.variable("QUANTUMIO_POLICY") is None
    monkeypatch.setenv("QUANTUMIO_POLICY", "x")
    assert environment.variable("QUANTUMIO_POLICY") == "x"
    monkeypatch.delenv("QUANTUMIO_POLICY")
    assert environment.variable("QUANTUMIO_POLICY") is None


def test_memory_limit_is_no_more_than_the_machine_has():
    with open("/proc/meminfo", encoding="ascii") as file:
        total = int(file.readline().split()[1]) * 1024
    assert 1 << 20 < environment.memory_limit_bytes() <= total


def test_clocks():
    assert abs(environment.now_ns() - time.time_ns()) < 10**9
    first = environment.monotonic()
    assert environment.monotonic() >= first
