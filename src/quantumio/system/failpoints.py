"""Named places at which a test may stop the process: before and after each step that a crash can separate.

Every primitive operation on local files, every transaction of a database and every step of a commit reaches
one, and nothing happens there unless somebody watches. `POINTS` lists them all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Final

__all__ = ["POINTS", "reach", "recorded", "watched"]

POINTS: Final = MappingProxyType(
    {
        "files.open": "a file is made, for writing",
        "files.write": "bytes are handed to the system",
        "files.fsync": "the bytes of a file are made durable",
        "files.link": "a file gets a name that did not exist",
        "files.unlink": "a name of a file is removed",
        "files.rename": "a file or directory gets another name",
        "files.mkdir": "a directory is made",
        "files.rmdir": "an empty directory is removed",
        "files.fsync_directory": "the names in a directory are made durable",
        "files.remove_tree": "a directory is removed with all that is in it",
        "files.lock": "the lock of a file is waited for",
        "remote.call": "an object store is called",
        "registry.begin": "a write transaction of the registry begins",
        "registry.commit": "it is committed: the point at which contexts become visible",
        "registry.checkpoint": "SQLite's log is brought into the registry's file",
        "rows.commit": "a transaction of a database destination is committed",
        "flush.encode": "outputs of a context are encoded",
        "flush.place": "outputs are placed as objects at one destination",
        "flush.load": "an output is loaded as rows at one destination",
        "flush.reveal": "the rows of a committed output become visible in their database",
        "flush.export": "a committed output is shown under a name for people",
        "flush.remove": "what was placed of outputs that never became visible is removed",
        "journal": "the bytes of a context are written to the journal",
        "prepare": "the intents of a group of contexts are written",
        "abort": "the transaction of a context that will not be committed is ended",
        "recovery.end": "a transaction that a dead process has left behind is ended",
        "follow_up": "what was left to do after a decision is done from what the registry knows",
        "finish": "follow-ups that are done are noted",
        "flip": "a group of contexts becomes visible",
        "decide": "who waits for a context is told its outcome",
        "retry": "what was set aside is taken in again, from what the journal keeps",
        "retry.end": "what an earlier try to take it in has left undecided is ended",
        "drop": "what is in quarantine is ended for good",
        "settle": "what follows a commit is done: rows, exports, best-effort copies",
        "settle.record": "the registry is told of best-effort copies",
        "gc.remove": "what is garbage for certain is removed at one destination",
    }
)
"""What happens between each pair of points: the pair is this name with ``.before`` and ``.after``."""

_hook: Callable[[str], None] | None = None
_recorder: Callable[[str, tuple[object, ...]], None] | None = None


def reach(name: str, *subject: object) -> None:
    """Come by a point: a no-op unless somebody watches or records.

    Parameters
    ----------
    name
        A name of `POINTS` with ``.before`` or ``.after``.
    *subject
        What the operation works on, for who records.
    """
    if _hook is not None:
        _hook(name)
    if _recorder is not None:
        _recorder(name, subject)


@contextlib.contextmanager
def watched(hook: Callable[[str], None]) -> Iterator[None]:
    """Call a hook at every point that the process reaches meanwhile; hooks do not nest.

    Parameters
    ----------
    hook
        Given the name of the point, on the thread that reached it, also on several threads at once. What it
        raises comes out of the operation.
    """
    global _hook  # noqa: PLW0603  one per process: every thread reaches its points
    before, _hook = _hook, hook
    try:
        yield
    finally:
        _hook = before


@contextlib.contextmanager
def recorded(recorder: Callable[[str, tuple[object, ...]], None]) -> Iterator[None]:
    """Call a recorder at every point, with what the operation works on; recorders do not nest.

    Operations on local files tell, after they were done: ``open`` path and descriptor, ``write`` descriptor,
    bytes and how many of them were taken, ``fsync`` and ``fsync_directory`` descriptor, ``link`` and
    ``rename`` both paths, the others their path.
    """
    global _recorder  # noqa: PLW0603  one per process: every thread reaches its points
    before, _recorder = _recorder, recorder
    try:
        yield
    finally:
        _recorder = before
