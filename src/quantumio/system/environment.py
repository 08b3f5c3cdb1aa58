"""Time, randomness and identifiers: the one place where they come from."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import struct
import threading
import time
import uuid
from itertools import accumulate
from pathlib import Path
from queue import SimpleQueue

__all__ = [
    "Signal",
    "boot_id",
    "host",
    "memory_limit_bytes",
    "monotonic",
    "now_ns",
    "perf_counter",
    "pid",
    "random_token",
    "user",
    "uuid7",
    "uuid7_bytes",
    "variable",
]

_uuid_lock = threading.Lock()
_last_uuid_value = 0

_random_bits: list[int] = []
"""Random parts of UUIDs that are still to be made: one system call for many. A fork begins anew."""
_RANDOM_BITS = 74
_RANDOM_BYTES = 10
_RANDOM_BITS_AT_ONCE = 64
_STEP_BITS = 48
_STEP_MASK = (1 << _STEP_BITS) - 1
_LOW_BITS = 62
_LOW_MASK = (1 << _LOW_BITS) - 1
_UUIDS_AT_ONCE = 1 << 13
os.register_at_fork(after_in_child=_random_bits.clear)


def now_ns() -> int:
    """Nanoseconds since 1970-01-01 UTC by the wall clock (for people; nothing correct depends on it)."""
    return time.time_ns()


monotonic = time.monotonic
"""Seconds of a clock that never goes back, for deadlines."""

perf_counter = time.perf_counter
"""Seconds of the most precise clock, for measuring durations."""

Signal = SimpleQueue
"""Where one thread waits for what others put: a queue in C, which no interrupt can leave half changed."""

pid = os.getpid
"""The number of this process."""


def random_token(nbytes: int = 8) -> str:
    """Return a random hexadecimal text of ``2 * nbytes`` characters."""
    return secrets.token_hex(nbytes)


def host() -> str:
    """Return the name of this machine."""
    return socket.gethostname()


def boot_id() -> str:
    """Return what identifies this start of this machine: ``<machine>:<start>``, each empty if not known."""
    return f"{_identity('/etc/machine-id')}:{_identity('/proc/sys/kernel/random/boot_id')}"


def _identity(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def user() -> str:
    """Return the name of the user this process runs as."""
    return getpass.getuser()


def memory_limit_bytes() -> int:
    """Memory this process may use, in bytes: the machine's, or its control group's if that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return machine
    return min(machine, int(text)) if text.isdecimal() else machine


def variable(name: str) -> str | None:
    """Value of an environment variable, None where it is not set or empty."""
    return os.environ.get(name) or None


def _some_random_bits() -> list[int]:
    block = secrets.token_bytes(_RANDOM_BITS_AT_ONCE * _RANDOM_BYTES)
    return [
        int.from_bytes(block[start : start + _RANDOM_BYTES]) >> 8 * _RANDOM_BYTES - _RANDOM_BITS
        for start in range(0, len(block), _RANDOM_BYTES)
    ]


def uuid7() -> uuid.UUID:
    """Make a time-ordered UUID (RFC 9562, version 7), strictly increasing within the process.

    The 48-bit millisecond clock is followed by 74 random bits; when the clock stands still or goes
    back, the previous value grows by a random step, so later calls always compare greater.
    """
    global _last_uuid_value  # noqa: PLW0603  one clock for the process
    try:
        random_bits = _random_bits.pop()
    except IndexError:
        random_bits, *others = _some_random_bits()
        _random_bits.extend(others)
    # 122 payload bits without version and variant, kept as one integer so that "greater" is one comparison
    value = (time.time_ns() // 1_000_000 << _RANDOM_BITS) | random_bits
    with _uuid_lock:
        if value <= _last_uuid_value:
            # by a random step: after a fork two processes go on from the same value
            value = _last_uuid_value + 1 + (random_bits & _STEP_MASK)
        _last_uuid_value = value
    return uuid.UUID(int=_uuid7_of(value))


def uuid7_bytes(count: int) -> list[bytes]:
    """Make so many as 16 bytes each, as `uuid7` does one: they increase, and so do later ones."""
    made: list[bytes] = []
    while len(made) < count:
        made += _some_uuids(min(_UUIDS_AT_ONCE, count - len(made)))
    return made


def _some_uuids(count: int) -> list[bytes]:
    global _last_uuid_value  # noqa: PLW0603  one clock for the process
    random_bits = struct.unpack(f">{count}Q", secrets.token_bytes(8 * count))
    steps = ((bits >> 64 - _STEP_BITS) + 1 for bits in random_bits)  # less than 2 ** 61 in all
    now = time.time_ns() // 1_000_000 << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    with _uuid_lock:
        last = max(now, _last_uuid_value)
        if last >> _LOW_BITS - 1 & 1:  # the last 62 bits may not hold so many steps: they begin anew
            last = (last >> _LOW_BITS) + 1 << _LOW_BITS
        low = list(accumulate(steps, initial=last & _LOW_MASK | 2 << _LOW_BITS))
        _last_uuid_value = last & ~_LOW_MASK | low[-1] & _LOW_MASK
    high = _uuid7_of(last).to_bytes(16)[:8]
    data = struct.pack(f">{count}Q", *low[1:])
    return [high + data[start : start + 8] for start in range(0, len(data), 8)]


def _uuid7_of(value: int) -> int:
    """Return the UUID of its payload: clock (48 bits), version 7, 12 bits, variant 0b10, 62 bits."""
    return value >> 74 << 80 | 7 << 76 | (value >> 62 & 0xFFF) << 64 | 2 << 62 | value & 0x3FFFFFFFFFFFFFFF
