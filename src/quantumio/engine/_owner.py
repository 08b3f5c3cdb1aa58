"""Who carries transactions: this process, for as long as it lives."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID

from quantumio.engine._journal_entry import telling
from quantumio.system import environment, files, locks

if TYPE_CHECKING:
    from quantumio.ports import Catalog

__all__ = ["OWNERS", "Owner", "is_dead_here"]

OWNERS: Final = "owners"
"""Directory of the repository with a locked file for every process that carries something."""


class Owner:
    """The identity under which a runtime prepares transactions. Thread-safe.

    Beside its lease in the registry it holds the lock of a file, which the kernel frees when the process
    dies: so another process of the same machine knows of its death at once.

    Parameters
    ----------
    directory
        Where the locks of the owners are.
    """

    def __init__(self, directory: Path) -> None:
        self.id: UUID = environment.uuid7()
        self._directory = directory
        self._lock = threading.Lock()
        self._held: locks.FileLock | None = None

    @property
    def is_registered(self) -> bool:
        """Whether the registry knows it."""
        return self._held is not None

    def register(self, catalog: Catalog) -> None:
        """Become known to the registry; once."""
        with self._lock:
            if self._held is not None:
                return
            held = locks.FileLock(_lock_path(self._directory, self.id))
            with telling(f"making the lock of this process in {self._directory}"):
                files.make_directories(self._directory, below=self._directory.parent)
                held.acquire()
            try:
                catalog.register_owner(self.id, environment.host(), environment.boot_id())
            except BaseException:
                held.release()
                raise
            self._held = held

    def renew(self, catalog: Catalog) -> None:
        """Renew the lease, where there is one; a registry from a backup learns of it anew."""
        if self.is_registered and not catalog.renew_lease(self.id):
            catalog.register_owner(self.id, environment.host(), environment.boot_id())

    def release(self) -> None:
        """Give the lock up: nothing is carried any more."""
        with self._lock:
            if self._held is not None:
                with contextlib.suppress(OSError):  # a file that nobody locks tells as well that it is dead
                    files.remove(_lock_path(self._directory, self.id))
                self._held.release()
                self._held = None


def is_dead_here(directory: Path, owner: UUID, host: str | None, boot_id: str | None) -> bool:
    """Whether an owner is known for certain to be dead, because it ran on this machine.

    Parameters
    ----------
    host, boot_id
        Where the registry says that it runs.
    """
    if host != environment.host() or boot_id is None:
        return False
    if boot_id != (now := environment.boot_id()):
        # Machines may share a name: only of one that has an identity is it known that it was started again.
        machine = now.partition(":")[0]
        return bool(machine) and boot_id.partition(":")[0] == machine
    path = _lock_path(directory, owner)
    if not files.exists(path):
        return True  # it ended in good order
    lock = locks.FileLock(path)
    try:
        if not lock.try_acquire():
            return False
    except OSError:  # who may not write there cannot tell
        return False
    with contextlib.suppress(OSError):
        files.remove(path)
    lock.release()
    return True


def _lock_path(directory: Path, owner: UUID) -> Path:
    return directory / f"{owner}.lock"
