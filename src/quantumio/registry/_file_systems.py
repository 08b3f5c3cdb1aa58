"""Where an embedded registry may live: on file systems of this machine only."""

from __future__ import annotations

from pathlib import Path

from quantumio.errors import StateError
from quantumio.system.file_systems import file_system_type, mount_table

__all__ = ["check_local"]

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


def check_local(path: Path) -> None:
    """Refuse a path on a network or FUSE file system, where SQLite's locks and shared memory do not hold.

    Systems without ``/proc`` are taken at their word.

    Raises
    ------
    StateError
        It is on such a file system.
    """
    mounts = mount_table()
    if mounts is None:
        return
    kind = file_system_type(path.resolve(), mounts)
    if kind is not None and (kind in _REMOTE or kind.startswith("fuse")):
        raise StateError(
            f"the registry {str(path)!r} is on a file system of type {kind!r}, where SQLite can lose data",
            hint="put the registry on a local disk, or use registry='postgresql+psycopg://...'; "
            "the data files may stay where they are",
        )
