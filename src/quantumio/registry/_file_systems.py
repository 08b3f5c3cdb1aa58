"""Where an embedded registry may live: on file systems of this machine only."""

from __future__ import annotations

from pathlib import Path

from quantumio.errors import StateError
from quantumio.system import files

__all__ = ["check_local", "file_system_type"]

_MOUNTS = Path("/proc/self/mountinfo")
_REMOTE = frozenset(
    {
        "9p",
        "acfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "gfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "nfs",
    }
    | {"ncpfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "vboxsf", "virtiofs"}
)


def _unescaped(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def file_system_type(path: Path, mountinfo: str) -> str | None:
    """Return the type of the file system that holds an absolute path, by ``/proc/self/mountinfo``.

    Of several mounts on one directory the last one covers the others (proc_pid_mountinfo(5)).
    """
    best: tuple[int, str | None] = (-1, None)
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        words = before.split(" ")
        if not separator or len(words) < 5:
            continue
        mount = Path(_unescaped(words[4]))
        if (path == mount or mount in path.parents) and len(mount.parts) >= best[0]:
            best = (len(mount.parts), after.split(" ")[0])
    return best[1]


def check_local(path: Path) -> None:
    """Refuse a path on a network or FUSE file system, where SQLite's locks and shared memory do not hold.

    Systems without ``/proc`` are taken at their word.

    Raises
    ------
    StateError
        It is on such a file system.
    """
    if not files.exists(_MOUNTS):
        return
    kind = file_system_type(path.resolve(), files.read_text(_MOUNTS))
    if kind is not None and (kind in _REMOTE or kind.startswith("fuse")):
        raise StateError(
            f"the registry {str(path)!r} is on a file system of type {kind!r}, where SQLite can lose data",
            hint="put the registry on a local disk, or use registry='postgresql+psycopg://...'; "
            "the data files may stay where they are",
        )
