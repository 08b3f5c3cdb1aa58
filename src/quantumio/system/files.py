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
import mmap
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from quantumio.system import environment
from quantumio.system.failpoints import reach

__all__ = [
    "IrregularFileError",
    "copy_new",
    "exists",
    "file_size",
    "free_bytes",
    "fsync_directories",
    "fsync_file",
    "has_name",
    "identity",
    "is_directory",
    "is_same",
    "is_temporary",
    "link_new",
    "list_directory",
    "list_files",
    "make_directories",
    "make_directory_new",
    "map_unnamed",
    "read_bytes",
    "read_text",
    "real_path",
    "remove",
    "remove_directory",
    "remove_tree",
    "rename_new",
    "sha256",
    "status",
    "temporary_name",
    "write_new",
    "write_over",
    "write_text_new",
    "write_unshared",
]

Buffer = bytes | bytearray | memoryview
_TEMPORARY_PREFIX = ".qio-"
_TEMPORARY = re.compile(rf"{re.escape(_TEMPORARY_PREFIX)}\w+\.tmp", re.ASCII)
_DIRECTORY_FSYNC_UNSUPPORTED = {errno.EINVAL, errno.ENOTSUP}
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_GET_GENERATION = 0x80087601
"""FS_IOC_GETVERSION of Linux; where it is another number, or unknown, no file system answers."""
_ATTEMPTS = 8
"""So often are directories made that somebody else removes."""
_COPY_BYTES = 1 << 20
_PERMISSIONS = 0o777
_LOST_AND_FOUND = "lost+found"
"""What mending a file system has found, at its top: the administrator's, who alone may look."""


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
    reach("files.open.after", path, descriptor)
    return descriptor


def _create_file(path: Path) -> BinaryIO:
    reach("files.open.before")
    file = open(path, "xb")  # noqa: SIM115  the caller closes it
    reach("files.open.after", path, file.fileno())
    return file


def _write(descriptor: int, data: memoryview) -> int:
    reach("files.write.before")
    written = os.write(descriptor, data)
    reach("files.write.after", descriptor, data, written)
    return written


def _fsync(descriptor: int) -> None:
    reach("files.fsync.before")
    os.fsync(descriptor)
    reach("files.fsync.after", descriptor)


def _fsync_directory(descriptor: int) -> None:
    reach("files.fsync_directory.before")
    os.fsync(descriptor)
    reach("files.fsync_directory.after", descriptor)


def _link(source: Path, target: Path) -> None:
    reach("files.link.before")
    os.link(source, target)
    reach("files.link.after", source, target)


def _unlink(path: Path) -> None:
    reach("files.unlink.before")
    os.unlink(path)
    reach("files.unlink.after", path)


def _mkdir(path: Path, mode: int = 0o777) -> None:
    reach("files.mkdir.before")
    os.mkdir(path, mode)
    reach("files.mkdir.after", path)


def _rmdir(path: Path) -> None:
    reach("files.rmdir.before")
    os.rmdir(path)
    reach("files.rmdir.after", path)


def _rename(source: Path, target: Path) -> None:
    reach("files.rename.before")
    os.rename(source, target)
    reach("files.rename.after", source, target)


# -- what callers use
def make_directory_new(path: Path, *, mode: int = 0o777) -> None:
    """Create a directory that did not exist; its name is durable once its parent is fsynced."""
    _mkdir(path, mode)


def make_directories(path: Path, *, mode: int = 0o777, below: Path | None = None) -> None:
    """Create a directory and its missing ancestors, each durable (its parent is fsynced).

    One that is there already may have been made by a process that was killed, or is slow, before that fsync:
    what goes into it would be lost with its name. So its parent is fsynced, too, once in each process.
    Whatever somebody else removes meanwhile is made again.

    Parameters
    ----------
    path
        Of the directory.
    mode
        Of the directory itself, where it is made; that of its ancestors is the usual one.
    below
        The ancestor that is not made: where it is gone, it was moved away.

    Raises
    ------
    OSError
        It cannot be made, or is removed again and again; or ``below`` is not there.
    """
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(FileNotFoundError):
            _make_directories(path, mode, below)
            return
    _make_directories(path, mode, below)


def _make_directories(path: Path, mode: int, below: Path | None) -> None:
    missing = []
    current = path
    while not current.is_dir():
        if current == below:
            raise FileNotFoundError(errno.ENOENT, "it was moved away or removed", str(current))
        missing.append(current)
        current = current.parent
    # Its own ancestors are durable: nobody makes a directory in one whose name is not.
    if os.access(current.parent, os.R_OK):  # else it is nobody's who makes directories here
        _make_durable(current)
    for directory in reversed(missing):
        _durable.pop(directory, None)
        try:
            _mkdir(directory, mode if directory == path else 0o777)
        except FileExistsError:
            if not directory.is_dir():  # else somebody else made it meanwhile
                raise
        _make_durable(directory)


_Identity = tuple[int, int, bytes]
_durable: dict[Path, _Identity] = {}
"""Directories whose names this process knows to be durable, and which ones they are."""


def _make_durable(directory: Path) -> None:
    identity = _identity(directory)
    known = _durable.get(directory)
    if known is not None and known == identity:
        return
    parents = [directory.parent]
    if known is not None:  # somebody has removed it and made it anew, perhaps with the directories above
        parents += [parent for parent in parents[0].parents if os.access(parent, os.R_OK)]
    fsync_directories(parents)
    if identity is not None:
        _durable[directory] = identity


def _identity(directory: Path) -> _Identity | None:
    """Tell which directory has this name: no other one was, or will be, told so. None is: who knows.

    A file system may give the number of a removed one to the next one at once, but not its generation.
    """
    descriptor = os.open(directory, _READ_DIRECTORY)
    try:
        status = os.fstat(descriptor)
        return status.st_dev, status.st_ino, fcntl.ioctl(descriptor, _GET_GENERATION, bytes(8))
    except OSError:
        return None
    finally:
        os.close(descriptor)


def fsync_directories(directories: Iterable[Path]) -> None:
    """Make the names in these directories durable, each directory once.

    File systems that know no fsync of directories (EINVAL, ENOTSUP) are tolerated; an I/O error is not.
    """
    for directory in sorted(set(directories)):
        descriptor = os.open(directory, _READ_DIRECTORY)
        try:
            _fsync_directory(descriptor)
        except OSError as error:
            if error.errno not in _DIRECTORY_FSYNC_UNSUPPORTED:
                raise
        finally:
            os.close(descriptor)


def write_new(path: Path, chunks: Iterable[Buffer], *, mode: int = 0o644) -> None:
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
    temporary = path.with_name(temporary_name())
    _write_temporary(temporary, chunks, mode)
    try:
        _link(temporary, path)
    finally:
        _unlink(temporary)


def write_over(path: Path, chunks: Iterable[Buffer], *, mode: int = 0o644) -> None:
    """Write a file, also in the place of one that exists: whole and fsynced, or as it was.

    One that exists keeps its permissions, and a symbolic link stays: what it leads to is written.

    Raises
    ------
    OSError
        E.g. a full disk; nothing is left behind.
    """
    path = real_path(path)
    temporary = path.with_name(temporary_name())
    _write_temporary(temporary, chunks, mode, like=path)
    try:
        _rename(temporary, path)
    except BaseException:
        _unlink(temporary)
        raise


def _write_temporary(path: Path, chunks: Iterable[Buffer], mode: int, like: Path | None = None) -> None:
    """Write a file under a name of its own, fsynced, or leave none; with the permissions of another one."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = _create(path, flags, mode)
    try:
        try:
            if like is not None:
                with contextlib.suppress(FileNotFoundError):
                    os.fchmod(descriptor, like.stat().st_mode & _PERMISSIONS)
            _write_all(descriptor, chunks)
            _fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        _unlink(path)
        raise


def write_unshared(path: Path, chunks: Iterable[Buffer], *, mode: int = 0o644) -> str:
    """Write a file that did not exist into a directory that nobody reads yet, fsynced.

    There is no temporary name: after an error a part of the file may be there, and the caller removes it.
    The name is durable once its directory is fsynced.

    Returns
    -------
    str
        SHA-256 of the bytes that were written, in hexadecimal: memory that somebody else can write to may
        change meanwhile, so each piece is copied before it is looked at.

    Raises
    ------
    FileExistsError
        The name exists; it was not touched.
    OSError
        Anything else. A failed fsync is not repeated.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    digest = hashlib.sha256()
    descriptor = _create(path, flags, mode)
    try:
        for piece in _pieces(chunks):
            digest.update(piece)
            _write_all(descriptor, [piece])
        _fsync(descriptor)
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def _pieces(chunks: Iterable[Buffer]) -> Iterator[bytes]:
    for chunk in chunks:
        view = memoryview(chunk)
        whole = view.cast("B") if view.nbytes else memoryview(b"")
        for start in range(0, whole.nbytes, _COPY_BYTES):
            yield bytes(whole[start : start + _COPY_BYTES])


def _write_all(descriptor: int, chunks: Iterable[Buffer]) -> None:
    for chunk in chunks:
        view = memoryview(chunk)
        remaining = view.cast("B") if view.nbytes else memoryview(b"")
        while remaining.nbytes:
            remaining = remaining[_write(descriptor, remaining) :]


def map_unnamed(directory: Path, chunks: Iterable[Buffer]) -> memoryview:
    """Write bytes to a file without a name, and return them mapped from there, read-only.

    The file ends with the last reference to its bytes, or with the process. Nothing of it is durable.

    Raises
    ------
    OSError
        It cannot be written, e.g. on a full disk.
    """
    with tempfile.TemporaryFile(prefix=_TEMPORARY_PREFIX, suffix=".tmp", dir=directory) as file:
        for chunk in chunks:
            _write_all(file.fileno(), [chunk])
        nbytes = os.fstat(file.fileno()).st_size
        if nbytes == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), nbytes, prot=mmap.PROT_READ))


def write_text_new(path: Path, text: str) -> None:
    """Write a small text file that did not exist, durable with its name."""
    write_new(path, [text.encode()])
    fsync_directories([path.parent])


def link_new(source: Path, target: Path) -> None:
    """Give an existing file a second name (hard link) that did not exist."""
    _link(source, target)


def rename_new(source: Path, target: Path) -> None:
    """Rename a file or directory to a name that did not exist, durable once its directory is fsynced.

    Looking and renaming are two steps: whoever may race holds a lock. Of a directory nothing can be lost
    even so, since the system lets it replace an empty one at most.

    Raises
    ------
    FileExistsError
        The name exists; it was not touched.
    """
    if has_name(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    _rename(source, target)


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
    temporary = target.with_name(temporary_name())
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


def has_name(path: Path) -> bool:
    """Tell whether anything has this name, be it a symbolic link that leads nowhere."""
    return os.path.lexists(path)


def identity(path: Path) -> tuple[int, int] | None:
    """Tell which file a path leads to: its device, and its number there; None where that cannot be told."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_same(one: Path, other: Path) -> bool:
    """Tell whether two paths lead to one file, or would if there were one."""
    try:
        return real_path(one) == real_path(other) or one.samefile(other)
    except (FileNotFoundError, NotADirectoryError):
        return False


def is_directory(path: Path) -> bool:
    """Tell whether it is a directory itself, not a symbolic link to one."""
    try:
        return stat.S_ISDIR(path.stat(follow_symlinks=False).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def temporary_name() -> str:
    """Return a new name for a file that is being written."""
    return f"{_TEMPORARY_PREFIX}{environment.random_token()}.tmp"


def is_temporary(name: str) -> bool:
    """Tell whether it is the name of a file that was being written."""
    return _TEMPORARY.fullmatch(name) is not None


def list_directory(path: Path) -> list[tuple[str, bool]]:
    """Return what is in a directory, sorted: each name, and whether it is a directory itself."""
    with os.scandir(path) as found:
        return sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)


def remove(path: Path) -> bool:
    """Remove a file; False if there was none."""
    try:
        _unlink(path)
    except FileNotFoundError:
        return False
    return True


def remove_directory(path: Path) -> None:
    """Remove an empty directory."""
    _rmdir(path)


def remove_tree(path: Path) -> None:
    """Remove a directory with all that is in it."""
    reach("files.remove_tree.before")
    shutil.rmtree(path)
    reach("files.remove_tree.after", path)


def list_files(root: Path) -> Iterator[tuple[Path, int, int]]:
    """Yield path, size in bytes and modification time in ns of every file below a directory.

    Where there is no directory there are no files; what is removed meanwhile may be left out.

    Raises
    ------
    OSError
        A directory cannot be listed: nobody knows what is there.
    """
    for directory, names, files in os.walk(root, onerror=_raise_unless_gone):
        names[:] = sorted(set(names) - {_LOST_AND_FOUND})
        for name in sorted(files):
            path = Path(directory, name)
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile by somebody else
                status = path.stat(follow_symlinks=False)
                yield path, status.st_size, status.st_mtime_ns


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def free_bytes(path: Path) -> int:
    """Free space of the file system that holds ``path``, in bytes."""
    return shutil.disk_usage(path).free
