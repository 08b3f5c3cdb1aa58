"""Locks between processes, on files of their own."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from quantumio.system import environment
from quantumio.system.failpoints import reach

__all__ = ["LOCK_TIMEOUT_S", "FileLock"]

_LOCKS = Path("/proc/locks")

LOCK_TIMEOUT_S = 30.0
"""How long a lock is waited for unless somebody says otherwise, in seconds."""
_SHORTEST_PAUSE_S = 0.001
_LONGEST_PAUSE_S = 0.1
_LOOKS = 50
"""Who waits for a lock looks for it again after this fraction (one in ...) of the time that it has waited."""


class _LockFile:
    """An open lock file of which a forked child keeps no copy.

    A lock of ``flock`` belongs to what the file was opened as, which a fork shares: a child that kept its
    copy would hold the lock on after its parent died, and ``O_CLOEXEC`` helps only where it runs another
    program. So each child closes its copies first of all. It must not unlock: that would free the parent's.
    """

    def __init__(self, path: Path, flags: int) -> None:
        with _forking:
            self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, 0o644)
            _lock_files.add(self)

    def close(self) -> None:
        """Give the lock back; in a child of the process that opened it there is nothing to give back."""
        with _forking:
            if self.is_open:
                _lock_files.remove(self)
                # not by closing alone: a program that is being started may have a copy for a moment
                fcntl.flock(self.descriptor, fcntl.LOCK_UN)
                os.close(self.descriptor)

    @property
    def is_open(self) -> bool:
        return self in _lock_files


_lock_files: set[_LockFile] = set()
_forking = threading.RLock()
"""Held while lock files are opened and closed, and while the process forks."""


def _close_in_child() -> None:
    for lock_file in _lock_files:
        os.close(lock_file.descriptor)
    _lock_files.clear()
    _forking.release()


os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_close_in_child)


class FileLock:
    """An exclusive lock between processes and between threads (``flock`` on a file of its own).

    Each ``acquire`` opens the file anew, so two threads of one process exclude each other as two
    processes do. The kernel frees the lock when its holder dies. A forked child does not hold it.

    Parameters
    ----------
    path
        Of its file, which is made where there is none.
    follow_symlinks
        Whether the file may be a symbolic link.
    timeout_s
        How long to wait for the lock, in seconds. Holders need it for moments, but one may be stopped.
    """

    def __init__(
        self, path: Path, *, follow_symlinks: bool = True, timeout_s: float = LOCK_TIMEOUT_S
    ) -> None:
        self._path = path
        self._flags = 0 if follow_symlinks else os.O_NOFOLLOW
        self._timeout_s = timeout_s
        self._held: list[_LockFile] = []

    def acquire(self, timeout_s: float | None = None) -> None:
        """Wait for the lock.

        Parameters
        ----------
        timeout_s
            How long; None is what the lock was made with.

        Raises
        ------
        TimeoutError
            Somebody else held it all the time; the message names the process where the system tells.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        begun = environment.monotonic()
        nobody = threading.Event()
        while not self.try_acquire():
            waited_s = environment.monotonic() - begun
            if waited_s >= timeout_s:
                raise TimeoutError(errno.ETIMEDOUT, self.refusal(timeout_s), str(self._path))
            # The kernel's own waiting has no deadline; who has waited for long may look less often.
            nobody.wait(min(max(_SHORTEST_PAUSE_S, waited_s / _LOOKS), _LONGEST_PAUSE_S))

    def try_acquire(self) -> bool:
        """Take the lock if nobody holds it, without waiting."""
        lock_file = _LockFile(self._path, self._flags)
        try:
            reach("files.lock.before")
            fcntl.flock(lock_file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            reach("files.lock.after")
        except BlockingIOError:
            lock_file.close()
            return False
        except BaseException:
            lock_file.close()
            raise
        self._held.append(lock_file)  # only the holder appends: the lock itself serialises this list
        return True

    def refusal(self, waited_s: float) -> str:
        """Say, for people, who has held it for so many seconds."""
        holder = self.holder()
        who = f"process {holder}" if holder else "some process"
        if holder == environment.pid():
            who += " (this one)"
        return f"{who} has held the lock {self._path} for more than {waited_s:g} s"

    def holder(self) -> int | None:
        """Return the number of the process that holds it, 0 for one outside of this container.

        None where nobody holds it, or where the system does not tell. Nothing is locked or made.
        """
        try:
            status, table = self._path.stat(), _LOCKS.read_text(encoding="ascii")
        except OSError:
            return None
        # "3: FLOCK  ADVISORY  WRITE 4711 fe:00:2680413 0 EOF"
        inode = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        for words in map(str.split, table.splitlines()):
            if words[1] == "FLOCK" and words[5] == inode:
                return max(0, int(words[4]))
        return None

    @property
    def is_held(self) -> bool:
        """Whether this process holds it by this object."""
        return any(lock_file.is_open for lock_file in self._held)

    def is_in_place(self) -> bool:
        """Tell whether the file that its holder has locked is still the one of this name."""
        try:
            named = self._path.stat(follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return os.path.samestat(named, os.fstat(self._held[-1].descriptor))

    def release(self) -> None:
        """Give the lock back."""
        self._held.pop().close()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
