"""What an operator sets for a runtime, and what it tells of itself."""

from __future__ import annotations

from attrs import frozen

from quantumio.engine._journal import MIN_FREE_BYTES
from quantumio.system import locks

__all__ = ["RuntimeSettings", "RuntimeStatus"]


@frozen(kw_only=True)
class RuntimeSettings:
    """What an operator sets in ``[runtime]`` of ``butler.toml``.

    Attributes
    ----------
    max_buffer_bytes
        Byte budget of accepted outputs in memory.
    put_timeout_s
        How long a put waits for the budget before `BufferFull`, in seconds.
    encoders
        Encodings that run at the same time.
    verify_borrowed
        Whether borrowed arrays are digested at put and checked at flush.
    lease_s, journaled_lease_s
        How long this process may be silent before others end what it has not committed, in seconds; the
        second for what is in its journal.
    registry_lock_timeout_s
        How long a writer waits for the lock of the registry before its commit is parked, in seconds.
    journal_max_bytes
        What the journal may take on the disk; None is without limit.
    journal_min_free_bytes
        What the journal, and outputs that are moved out of memory, leave free on the disk.
    allow_volatile_journal
        Whether the journal may be on a file system that lives in memory alone.
    pack_bytes, pack_fewest
        Outputs up to this size share an object with others of their context, where it has at least so many;
        ``pack_bytes = 0`` gives each its own.
    """

    max_buffer_bytes: int
    put_timeout_s: float = 60.0
    encoders: int = 2
    verify_borrowed: bool = True
    lease_s: float = 600.0
    journaled_lease_s: float = 7 * 86400.0
    registry_lock_timeout_s: float = locks.LOCK_TIMEOUT_S
    journal_max_bytes: int | None = None
    journal_min_free_bytes: int = MIN_FREE_BYTES
    allow_volatile_journal: bool = False
    pack_bytes: int = 1 << 16
    pack_fewest: int = 16


@frozen(kw_only=True)
class RuntimeStatus:
    """What a runtime is doing now; sizes in bytes, times in seconds."""

    contexts_open: int
    contexts_in_flight: int
    buffer_used_bytes: int
    buffer_max_bytes: int
    buffer_spilled_bytes: int
    put_waited_s: float
    temporaries: int
