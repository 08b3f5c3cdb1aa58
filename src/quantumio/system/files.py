"""Local file operations, durable where they say so: the one place that touches the local disk.

The write path is that of the commit protocol: a temporary name beside the target, all bytes written,
``fsync``, ``link`` to the final name (which fails if that exists), then one ``fsync`` of each touched
directory. An ``fsync`` error is fatal for the file: it is dropped and the caller rewrites it from the
source under a new name, never by a second ``fsync`` (Rebello et al. 2020, "Can Applications Recover
from fsync Failures?", USENIX ATC).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from quantumio.system import environment
from quantumio.system.failpoints import reach

__all__ = [
    "FileLock",
    "IrregularFileError",
    "copy_new",
    "exists",
    "file_size",
    "free_bytes",
    "fsync_directories",
    "fsync_file",
    "link_new",
    "list_files",
    "make_directories",
    "read_bytes",
    "read_text",
    "real_path",
    "remove",
    "remove_tree",
    "sha256",
    "status",
    "write_new",
    "write_text_new",
]

Buffer = bytes | bytearray | memoryview
_TEMPORARY_PREFIX = ".qio-"
_DIRECTORY_FSYNC_UNSUPPORTED = {errno.EINVAL, errno.ENOTSUP}
_COPY_BYTES = 1 << 20


class IrregularFileError(OSError):
    """A pipe, a socket or a device stands where a file should be; it was not read."""


def _open_regular(path: Path, flags: int = os.O_NOFOLLOW) -> int:
    """Open a regular file to be read; nothing else is waited for (a pipe without a writer would block)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | flags)
    except OSError as error:
        if error.errno != errno.ENXIO:  # a socket, or a device that is not there
            raise
        raise IrregularFileError(errno.ENXIO, "it is no regular file", str(path)) from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise IrregularFileError(errno.EINVAL, "it is no regular file", str(path))


# -- the operations that change something, each between two points at which a process may die
def _create(path: Path, flags: int, mode: int) -> int:
    reach("files.open.before")
    descriptor = os.open(path, flags, mode)
    reach("files.open.after")
    return descriptor


def _create_file(path: Path) -> BinaryIO:
    reach("files.open.before")
    file = open(path, "xb")  # noqa: SIM115  the caller closes it
    reach("files.open.after")
    return file


def _write(descriptor: int, data: memoryview) -> int:
    reach("files.write.before")
    written = os.write(descriptor, data)
    reach("files.write.after")
    return written


def _fsync(descriptor: int) -> None:
    reach("files.fsync.before")
    os.fsync(descriptor)
    reach("files.fsync.after")


def _fsync_directory(descriptor: int) -> None:
    reach("files.fsync_directory.before")
    os.fsync(descriptor)
    reach("files.fsync_directory.after")


def _link(source: Path, target: Path) -> None:
    reach("files.link.before")
    os.link(source, target)
    reach("files.link.after")


def _unlink(path: Path) -> None:
    reach("files.unlink.before")
    os.unlink(path)
    reach("files.unlink.after")


def _mkdir(path: Path) -> None:
    reach("files.mkdir.before")
    os.mkdir(path)
    reach("files.mkdir.after")


# -- what callers use
def make_directories(path: Path) -> None:
    """Create a directory and its missing ancestors, each durable (its parent is fsynced)."""
    missing = []
    current = path
    while not current.is_dir():
        missing.append(current)
        current = current.parent
    for directory in reversed(missing):
        try:
            _mkdir(directory)
        except FileExistsError:
            if not directory.is_dir():  # else somebody else made it meanwhile
                raise
        fsync_directories([directory.parent])


def fsync_directories(directories: Iterable[Path]) -> None:
    """Make the names in these directories durable, each directory once.

    File systems that know no fsync of directories (EINVAL, ENOTSUP) are tolerated; an I/O error is not.
    """
    for directory in sorted(set(directories)):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _fsync_directory(descriptor)
        except OSError as error:
            if error.errno not in _DIRECTORY_FSYNC_UNSUPPORTED:
                raise
        finally:
            os.close(descriptor)


def write_new(path: Path, chunks: Sequence[Buffer], *, mode: int = 0o644) -> None:
    """Write a file that did not exist: whole and fsynced, or absent.

    The name is durable once its directory is fsynced (`fsync_directories`), which the caller does once
    per group of files.

    Raises
    ------
    FileExistsError
        The final name exists; it was not touched.
    OSError
        Anything else, e.g. a full disk; nothing is left behind.
    """
    temporary = path.with_name(f"{_TEMPORARY_PREFIX}{environment.random_token()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = _create(temporary, flags, mode)
    try:
        try:
            _write_all(descriptor, chunks)
            _fsync(descriptor)
        finally:
            os.close(descriptor)
        _link(temporary, path)
    finally:
        _unlink(temporary)


def _write_all(descriptor: int, chunks: Sequence[Buffer]) -> None:
    for chunk in chunks:
        view = memoryview(chunk)
        remaining = view.cast("B") if view.nbytes else memoryview(b"")
        while remaining.nbytes:
            remaining = remaining[_write(descriptor, remaining) :]


def write_text_new(path: Path, text: str) -> None:
    """Write a small text file that did not exist, durable with its name."""
    write_new(path, [text.encode()])
    fsync_directories([path.parent])


def link_new(source: Path, target: Path) -> None:
    """Give an existing file a second name (hard link) that did not exist."""
    _link(source, target)


def copy_new(source: Path, target: Path) -> str:
    """Copy a file to a name that did not exist, fsynced, in constant memory.

    Returns
    -------
    str
        SHA-256 of the bytes that were written, in hexadecimal: those of the source may change meanwhile.

    Raises
    ------
    IrregularFileError
        The source is no regular file.
    """
    temporary = target.with_name(f"{_TEMPORARY_PREFIX}{environment.random_token()}.tmp")
    try:
        digest = hashlib.sha256()
        with open(_open_regular(source, 0), "rb", buffering=0) as reader, _create_file(temporary) as writer:
            while piece := reader.read(_COPY_BYTES):
                digest.update(piece)
                _write_all(writer.fileno(), [piece])
            _fsync(writer.fileno())
        _link(temporary, target)
        return digest.hexdigest()
    finally:
        with contextlib.suppress(FileNotFoundError):
            _unlink(temporary)


def read_bytes(path: Path, byte_range: tuple[int, int] | None = None) -> bytes:
    """Read a file, or ``(offset, length)`` of it; symbolic links at the last component are refused.

    Raises
    ------
    IrregularFileError
        A pipe, a socket or a device stands there; it is not waited for.
    """
    with open(_open_regular(path), "rb", closefd=True) as file:
        if byte_range is None:
            return file.read()
        file.seek(byte_range[0])
        return file.read(byte_range[1])


def sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, in constant memory; symbolic links are refused as by `read_bytes`."""
    with open(_open_regular(path), "rb", closefd=True) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync_file(path: Path) -> None:
    """Make the bytes of a file that somebody else wrote durable."""
    descriptor = _open_regular(path)
    try:
        _fsync(descriptor)
    finally:
        os.close(descriptor)


def real_path(path: Path) -> Path:
    """Return the absolute path without symbolic links; the end of it need not exist."""
    return Path(os.path.realpath(path))


def status(path: Path) -> tuple[int, int] | None:
    """Size in bytes and modification time in ns of a regular file; None where there is none."""
    try:
        found = path.stat(follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def read_text(path: Path) -> str:
    """Read a small UTF-8 text file."""
    return path.read_text(encoding="utf-8")


def file_size(path: Path) -> int | None:
    """Size in bytes, None where there is no such file."""
    try:
        return path.stat(follow_symlinks=False).st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def exists(path: Path) -> bool:
    """Tell whether there is a file or directory of this name."""
    return path.exists()


def remove(path: Path) -> bool:
    """Remove a file; False if there was none."""
    try:
        _unlink(path)
    except FileNotFoundError:
        return False
    return True


def remove_tree(path: Path) -> None:
    """Remove a directory with all that is in it."""
    reach("files.remove_tree.before")
    shutil.rmtree(path)
    reach("files.remove_tree.after")


def list_files(root: Path) -> Iterator[tuple[Path, int, int]]:
    """Yield path, size in bytes and modification time in ns of every file below a directory."""
    for directory, names, files in os.walk(root):
        names.sort()
        for name in sorted(files):
            path = Path(directory, name)
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile by somebody else
                status = path.stat(follow_symlinks=False)
                yield path, status.st_size, status.st_mtime_ns


def free_bytes(path: Path) -> int:
    """Free space of the file system that holds ``path``, in bytes."""
    return shutil.disk_usage(path).free


class FileLock:
    """An exclusive lock between processes and between threads (``flock`` on a file of its own).

    Each ``acquire`` opens the file anew, so two threads of one process exclude each other as two
    processes do. The kernel frees the lock when its holder dies.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: list[int] = []

    def acquire(self) -> None:
        """Wait for the lock, without a deadline: its holders hold it for one short transaction."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            reach("files.lock.before")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            reach("files.lock.after")
        except BaseException:
            os.close(descriptor)
            raise
        self._held.append(descriptor)  # only the holder appends: the lock itself serialises this list

    def try_acquire(self) -> bool:
        """Take the lock if nobody holds it; False if somebody does."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._held.append(descriptor)
        return True

    def release(self) -> None:
        """Give the lock back."""
        os.close(self._held.pop())

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
