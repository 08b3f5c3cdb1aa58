"""Which kind of file system holds a path, and whether what is written there outlives the power."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from quantumio.system import files

__all__ = ["file_system_type", "mount_table", "volatile_file_system"]

_MOUNTS: Final = Path("/proc/self/mountinfo")
_IN_MEMORY: Final = frozenset({"devtmpfs", "hugetlbfs", "ramfs", "rootfs", "tmpfs"})
_OCTAL: Final = re.compile(r"\\([0-7]{3})")
_UPPER: Final = re.compile(r"(?:^|,)upperdir=([^,]*)")


def mount_table() -> str | None:
    """Return the text of ``/proc/self/mountinfo``, None on a system that has none."""
    try:
        return os.fsdecode(files.read_bytes(_MOUNTS))
    except FileNotFoundError:
        return None


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def _mount_of(path: Path, mountinfo: str) -> tuple[str, str] | None:
    """Return the type and the options of the file system that holds an absolute path.

    Of several mounts on one directory the last one covers the others (proc_pid_mountinfo(5)).
    """
    best, found = -1, None
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        words, rest = before.split(" "), after.split(" ")
        if not separator or len(words) < 5:
            continue
        mount = Path(_unescaped(words[4]))
        if (path == mount or mount in path.parents) and len(mount.parts) >= best:
            best, found = len(mount.parts), (rest[0], rest[-1])
    return found


def file_system_type(path: Path, mountinfo: str) -> str | None:
    """Return the type of the file system that holds an absolute path without symbolic links.

    Parameters
    ----------
    path
        It need not exist.
    mountinfo
        What `mount_table` gives.
    """
    found = _mount_of(path, mountinfo)
    return None if found is None else found[0]


def volatile_file_system(path: Path, mountinfo: str) -> str | None:
    """Tell which file system holds a path, in words, if it forgets everything when the power fails.

    Parameters
    ----------
    path
        Absolute, without symbolic links; it need not exist.
    mountinfo
        What `mount_table` gives.

    Returns
    -------
    str or None
        ``"tmpfs"``, ``"overlay on tmpfs"``...; None for a file system that is on a device, or not known.
    """
    kind, options = _mount_of(path, mountinfo) or ("", "")
    if kind in _IN_MEMORY:
        return kind
    if kind != "overlay":
        return None
    if "volatile" in options.split(","):
        return "overlay that was mounted volatile"  # it leaves every fsync out
    match = _UPPER.search(options)
    upper = Path(_unescaped(match[1])) if match else None
    if upper is None or not files.exists(upper):
        return None  # in a container: the path is the host's, and says nothing here
    below = file_system_type(files.real_path(upper), mountinfo)
    return f"overlay on {below}" if below in _IN_MEMORY else None
