"""The destination ``direct``: files that stay where they were when they were ingested, read-only."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import unquote, urlsplit

from quantumio.destinations._failures import local_failure
from quantumio.destinations._options import is_url
from quantumio.destinations._remote import RemoteFiles, open_remote
from quantumio.destinations._remote_objects import head, read_object
from quantumio.destinations._secrets import scrub, url_trouble
from quantumio.destinations.files import check_range, check_read, refuse_managed
from quantumio.errors import ErrorKind, InvalidInputError, NotFoundError, StateError
from quantumio.model import DIRECT
from quantumio.ports import Placement, StoredObject
from quantumio.system import files

__all__ = ["DirectDestination"]


class DirectDestination:
    """Reads artifacts by absolute path, ``file://`` URL or any URL that fsspec opens; writes nothing.

    Parameters
    ----------
    managed_roots
        Directories of the managed stores of the repository. Files there are refused: their own datasets
        may be removed.

    Notes
    -----
    URLs of other machines are opened with what the environment gives (for S3 the AWS chain); a URL that
    carries a secret is refused.
    """

    name: Final = DIRECT
    kind: Final = DIRECT
    is_local: Final = True
    parallelism: Final = 8

    def __init__(self, managed_roots: Sequence[Path] = ()) -> None:
        self._managed_roots = tuple(managed_roots)
        self._lock = threading.Lock()
        self._remotes: dict[str, RemoteFiles] = {}

    def close(self) -> None:
        """Close connections; idempotent."""
        with self._lock:
            remotes, self._remotes = self._remotes, {}
        for remote in remotes.values():
            remote.close()

    def read(self, path: str, byte_range: tuple[int, int] | None = None) -> bytes:
        """Return a file, or ``(offset, length)`` of it; see `quantumio.ports.ObjectDestination.read`."""
        check_range(byte_range)
        local = self._local(path)
        if local is None:
            remote = self._remote(path)
            return read_object(remote, self.name, path, remote.strip(path), byte_range)
        try:
            data = files.read_bytes(local, byte_range)
        except (FileNotFoundError, NotADirectoryError):
            raise _missing(path) from None
        except (IsADirectoryError, files.IrregularFileError):
            raise InvalidInputError(f"{path} is no regular file", hint="name the file itself") from None
        except OSError as error:
            raise local_failure(self.name, f"reading {path}", error) from error
        check_read(self.name, path, data, byte_range)
        return data

    def refused(self, paths: Sequence[str]) -> tuple[int, InvalidInputError] | None:
        """Return the first of many paths that is never read, and why; no file is looked at.

        Directories are looked at once each. A file that is itself a symbolic link is followed when it is
        read, and refused then if it leads into a managed store.
        """
        seen: set[str] = set()
        for number, path in enumerate(paths):
            directory, _, name = path.rpartition("/")
            is_name = name not in ("", ".", "..") and "\0" not in name
            if is_name and directory in seen:  # of no URL
                continue
            is_plain = is_name and not is_url(path)
            try:
                self._local(f"{directory}/" if is_plain else path)
            except InvalidInputError as error:
                return number, error
            if is_plain:
                seen.add(directory)
        return None

    def stat(self, path: str) -> StoredObject | None:
        """Tell of one file; None if it is certain that there is none."""
        local = self._local(path)
        if local is None:
            remote = self._remote(path)
            found = head(remote, self.name, path, remote.strip(path))
            return None if found is None else found.told
        try:
            status = files.status(local)
        except OSError as error:
            raise local_failure(self.name, f"looking for {path}", error) from error
        return None if status is None else StoredObject(path=path, nbytes=status[0], modified_ns=status[1])

    def objects(self) -> Iterator[StoredObject]:
        """List nothing: these files belong to nobody here."""
        return iter(())

    def url(self, path: str) -> str:
        """Return where the file is."""
        return scrub(path) if is_url(path) else Path(path).as_uri()

    def place(self, placements: Sequence[Placement]) -> list[StoredObject]:
        """Refuse: nothing is written in place."""
        _refuse("writing")

    def remove(self, paths: Sequence[str]) -> None:
        """Refuse: the files are not ours."""
        _refuse("removing")

    def adopt(self, source: str, path: str, transfer: str) -> StoredObject:
        """Refuse: the files stay where they are."""
        _refuse("taking over a file")

    def _local(self, path: str) -> Path | None:
        local = _local(path)
        if local is not None:
            refuse_managed(local, path, self._managed_roots)
        return local

    def _remote(self, url: str) -> RemoteFiles:
        parts = urlsplit(url)
        place = f"{parts.scheme}://{parts.netloc}"
        with self._lock:
            remote = self._remotes.get(place)
            if remote is None:
                remote = open_remote(self.name, url, insecure=True)  # as its URL says; a warning is logged
                self._remotes[place] = remote
            return remote


def _local(path: str) -> Path | None:
    """Return the local file that a path or a URL names, None if it is a URL of something else."""
    if is_url(path):
        if trouble := url_trouble(path):
            raise InvalidInputError(
                f"the URL {scrub(path)} {trouble}", hint="give it without", kind=ErrorKind.NAME
            )
        parts = urlsplit(path)
        if parts.scheme not in ("file", "local"):
            return None
        path = unquote(parts.path)
    if not path.startswith("/") or "\0" in path:
        raise InvalidInputError(
            f"{path!r} is no file that stays in place",
            hint="give an absolute path or a URL",
            kind=ErrorKind.NAME,
        )
    return files.real_path(Path(path))


def _missing(path: str) -> NotFoundError:
    return NotFoundError(
        f"there is no file {path}",
        hint="look at the path; if it was ingested in place, put it back or ingest it again",
        kind=ErrorKind.NO_FILE,
    )


def _refuse(doing: str) -> NoReturn:
    raise StateError(
        f"destination {DIRECT!r}: {doing} is refused, files stay as they were ingested",
        hint="name another destination",
        kind=ErrorKind.READ_ONLY,
    )
