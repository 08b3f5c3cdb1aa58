"""One object of a store: what it tells of it, and its bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from attrs import frozen

from quantumio.destinations._remote import S3, Answer, RemoteFiles
from quantumio.destinations.files import check_range, check_read
from quantumio.errors import ErrorKind, NotFoundError
from quantumio.ports import StoredObject

__all__ = ["DIGEST_KEY", "LARGEST_READ", "Head", "head", "missing", "read_object", "told"]

LARGEST_READ: Final = 600 << 20  # bytes that a read without known size has time for
DIGEST_KEY: Final = "qio-sha256"


@frozen(kw_only=True)
class Head:
    """What a store tells of an object: ``digest`` is None where it keeps no user metadata."""

    told: StoredObject
    digest: str | None


def missing(name: str, path: str) -> NotFoundError:
    """Make the error of an object that is not there."""
    return NotFoundError(
        f"destination {name!r} has no object {path}",
        hint="look who removes objects there; a copy elsewhere can be put back under this name",
        kind=ErrorKind.NO_FILE,
    )


def head(remote: RemoteFiles, name: str, path: str, full: str) -> Head | None:
    """Ask a store for one object; None if it is certain that there is none.

    Raises
    ------
    DestinationError
        The store did not answer, or refused to.
    """
    try:
        if remote.protocol in S3:
            bucket, _, key = full.partition("/")
            info = remote.call("call_s3", "head_object", Bucket=bucket, Key=key)
            info = {**info, "size": info["ContentLength"], "metadata": info.get("Metadata")}
        else:
            info = remote.call("info", full)
    except FileNotFoundError as error:
        trouble = remote.understand(error)
        if trouble.answer is Answer.REFUSED:
            raise remote.failure(name, f"looking for {path}", trouble) from None
        return None
    except Exception as error:  # noqa: BLE001 - of many libraries, told as one of ours
        raise remote.failure(name, f"looking for {path}", remote.understand(error)) from None
    if info.get("type") == "directory":
        return None
    metadata = info.get("metadata") or {}
    return Head(told=told(path, info), digest=metadata.get(DIGEST_KEY))


def read_object(
    remote: RemoteFiles, name: str, path: str, full: str, byte_range: tuple[int, int] | None
) -> bytes:
    """Read an object of a store, or ``(offset, length)`` of it.

    Raises
    ------
    NotFoundError
        There is no such object.
    DestinationError
        It cannot be read now, or ends within the range.
    """
    check_range(byte_range)
    start, end = (None, None) if byte_range is None else (byte_range[0], sum(byte_range))
    if byte_range is not None and byte_range[1] == 0:
        return b""
    nbytes = LARGEST_READ if byte_range is None else byte_range[1]
    try:
        data = bytes(remote.call("cat_file", full, start=start, end=end, nbytes=nbytes))
    except (FileNotFoundError, IsADirectoryError) as error:
        trouble = remote.understand(error)
        if trouble.answer is Answer.REFUSED:
            raise remote.failure(name, f"reading {path}", trouble) from None
        raise missing(name, path) from None
    except Exception as error:  # noqa: BLE001 - of many libraries, told as one of ours
        raise remote.failure(name, f"reading {path}", remote.understand(error)) from None
    check_read(name, path, data, byte_range)
    return data


def told(path: str, info: dict[str, Any]) -> StoredObject:
    """Return what fsspec's description of an object says, whatever the store calls it."""
    modified = next(
        (info[key] for key in ("LastModified", "updated", "mtime", "created") if info.get(key)), None
    )
    etag = info.get("ETag") or info.get("etag")
    return StoredObject(
        path=path,
        nbytes=int(info["size"]),
        modified_ns=_nanoseconds(modified),
        etag=str(etag).strip('"') if etag else None,
    )


def _nanoseconds(moment: object) -> int | None:
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            return None
    if isinstance(moment, datetime):
        moment = moment.timestamp()
    return round(moment * 1e9) if isinstance(moment, (int, float)) else None
