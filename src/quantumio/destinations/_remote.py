"""File systems of fsspec: opened with credentials, called with deadlines, their errors understood."""

from __future__ import annotations

import errno
import inspect
import logging
from collections.abc import Iterable
from enum import Enum
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import frozen

from quantumio.destinations._secrets import Credentials, Secret, environment_name, scrub
from quantumio.errors import DestinationError, ErrorKind, InvalidInputError, MissingExtraError
from quantumio.system.failpoints import reach
from quantumio.system.os_errors import os_error_kind

__all__ = ["Answer", "RemoteFiles", "Trouble", "open_remote"]

_log = logging.getLogger(__name__)

_CONNECT_S: Final = 10.0
_MIN_BYTES_PER_S: Final = 1 << 20
S3: Final = frozenset({"s3", "s3a"})
GCS: Final = frozenset({"gs", "gcs"})
_FLAT: Final = S3 | GCS | {"az", "abfs", "adl", "memory"}
"""Stores without directories, or that make them by themselves."""


class Answer(Enum):
    """What an error of a store means for the call that got it."""

    UNKNOWN = "it may have happened: read back"
    REFUSED = "it did not happen, and will not"


@frozen(kw_only=True)
class Trouble:
    """An error of a store, understood.

    Attributes
    ----------
    answer
        What it means for the call.
    kind
        Its cause.
    text
        What the store said, without secrets.
    """

    answer: Answer
    kind: ErrorKind
    text: str


class RemoteFiles:
    """One file system of fsspec, whose every call ends at its deadline.

    Parameters
    ----------
    file_system
        Asynchronous, or wrapped so.
    protocol
        As in its URLs.
    timeout_s
        For a call that moves no bytes, apart from connecting.
    secrets
        Never to appear in a text.
    """

    def __init__(
        self, file_system: Any, protocol: str, *, timeout_s: float, secrets: Iterable[Secret] = ()
    ) -> None:
        self._fs = file_system
        self.protocol = protocol
        self._timeout_s = timeout_s
        self._secrets = tuple(secrets)
        signature = inspect.signature(self._fs._pipe_file)  # noqa: SLF001 - the asynchronous interface of fsspec
        self.creates_only = "mode" in signature.parameters
        """Whether the store refuses to overwrite when asked to."""

    def call(self, method: str, *arguments: object, nbytes: int = 0, **options: object) -> Any:
        """Call ``_method`` of the file system on its own event loop and wait, at most until the deadline.

        Parameters
        ----------
        method
            Without the ``_`` that marks coroutines in fsspec.
        *arguments, **options
            For it.
        nbytes
            How many bytes it moves at most: each MiB adds a second to the deadline.

        Raises
        ------
        Exception
            What the file system raises; `understand` tells what it means. At the deadline the coroutine is
            cancelled and it is a `TimeoutError`.
        """
        from fsspec.asyn import sync

        deadline_s = _CONNECT_S + self._timeout_s + nbytes / _MIN_BYTES_PER_S
        coroutine = getattr(self._fs, f"_{method}")
        reach("remote.call.before")
        answer = sync(self._fs.loop, coroutine, *arguments, timeout=deadline_s, **options)
        reach("remote.call.after")
        return answer

    def find(self, path: str, nbytes: int) -> dict[str, dict[str, Any]]:
        """List all that is below a path: what the file system tells of each, by its own path.

        Parameters
        ----------
        path
            Of the file system.
        nbytes
            How many bytes the listing has time for.
        """
        # fsspec leaves out directories that it cannot list; of the uppermost it can be told to tell
        options = {} if self.protocol in _FLAT else {"on_error": _raise_unless_gone}
        found: dict[str, dict[str, Any]] = self.call(
            "find", path, withdirs=False, detail=True, nbytes=nbytes, **options
        )
        return found

    def strip(self, url: str) -> str:
        """Return a URL as the file system's own path."""
        return str(self._fs._strip_protocol(url))  # noqa: SLF001 - how fsspec calls it

    def url(self, path: str) -> str:
        """Return a path of the file system as a URL, without anything secret."""
        return scrub(str(self._fs.unstrip_protocol(path)), self._secrets)

    def make_parent(self, path: str) -> None:
        """Make the directory of a path where the store has directories."""
        if self.protocol not in _FLAT:
            self.call("makedirs", path.rpartition("/")[0], exist_ok=True)

    def understand(self, error: Exception) -> Trouble:
        """Tell what an error of the file system means."""
        code, status = _store_code(error)
        kind, answer = _meaning(error, code, status)
        text = scrub(" ".join(str(error).split()) or type(error).__name__, self._secrets)
        return Trouble(
            answer=answer, kind=kind, text=f"{code}: {text}" if code and code not in text else text
        )

    def failure(self, name: str, doing: str, trouble: Trouble) -> DestinationError:
        """Make the error of a destination."""
        return DestinationError(
            f"destination {name!r}: {doing} failed: {trouble.text}",
            hint=_HINTS[trouble.kind],
            kind=trouble.kind,
        )

    def close(self) -> None:
        """Close its connections."""
        from fsspec.asyn import sync

        creator = getattr(
            self._fs, "_s3creator", None
        )  # s3fs leaves its connections to the garbage collector
        if creator is not None:
            try:
                sync(self._fs.loop, creator.__aexit__, None, None, None, timeout=_CONNECT_S)
            except Exception as error:  # noqa: BLE001 - whatever closing says, nobody needs the connection
                _log.debug("closing a connection failed: %s", self.understand(error).text)


def _raise_unless_gone(error: Exception) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


_HINTS: Final = {
    ErrorKind.UNREACHABLE: "look at the root, the endpoint and the network, then retry",
    ErrorKind.TIMEOUT: "look at the network, or raise timeout_s of the destination",
    ErrorKind.PERMISSION: "look at the credentials that the destination names, and what they may do",
    ErrorKind.DISK_FULL: "free space there, or raise its quota",
    ErrorKind.UNSPECIFIED: "the store refuses the request: look at the settings of the destination",
}
_KINDS_OF_CODES: Final = {
    "NoSuchBucket": ErrorKind.UNREACHABLE,
    "InvalidBucketName": ErrorKind.UNREACHABLE,
    "QuotaExceeded": ErrorKind.DISK_FULL,
    "XMinioStorageFull": ErrorKind.DISK_FULL,
    "ExpiredToken": ErrorKind.PERMISSION,
    "InvalidToken": ErrorKind.PERMISSION,
}
_UNKNOWN_CODES: Final = frozenset({"NoSuchUpload", "RequestTimeout", "SlowDown"})
_NO_CREDENTIALS: Final = frozenset(
    {"CredentialRetrievalError", "NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"}
)


def _store_code(error: BaseException) -> tuple[str, int]:
    """Return the code and HTTP status that a store sent, wherever its library keeps them."""
    current: BaseException | None = error
    while current is not None:
        if any(kind.__name__ == "BadHttpMessage" for kind in type(current).__mro__):
            # aiohttp's own word for an answer that broke off, with a status 400 that no store has sent
            return "", 0
        response = getattr(current, "response", None)
        if isinstance(response, dict) and "Error" in response:  # botocore.exceptions.ClientError
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return str(response["Error"].get("Code", "")), int(status)
        code = getattr(current, "status", None) or getattr(current, "code", None)
        if isinstance(code, int) and 100 <= code < 600:  # aiohttp.ClientResponseError, gcsfs.retry.HttpError
            return "", code
        current = current.__cause__
    return "", 0


def _meaning(error: Exception, code: str, status: int) -> tuple[ErrorKind, Answer]:
    if code in _KINDS_OF_CODES:
        return _KINDS_OF_CODES[code], Answer.REFUSED
    if type(error).__name__ in _NO_CREDENTIALS:
        return ErrorKind.PERMISSION, Answer.REFUSED
    if code in _UNKNOWN_CODES or status in (404, 408, 409, 412, 429) or status >= 500:
        return ErrorKind.UNREACHABLE, Answer.UNKNOWN
    if isinstance(error, PermissionError) or status in (401, 403):
        return ErrorKind.PERMISSION, Answer.REFUSED
    if status >= 400:
        return ErrorKind.UNSPECIFIED, Answer.REFUSED
    if isinstance(error, TimeoutError):
        return ErrorKind.TIMEOUT, Answer.UNKNOWN
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
        return os_error_kind(error), Answer.REFUSED
    if isinstance(error, (TypeError, ValueError)):  # botocore's ParamValidationError is none of them
        return ErrorKind.UNSPECIFIED, Answer.REFUSED
    return ErrorKind.UNREACHABLE, Answer.UNKNOWN


def open_remote(
    name: str,
    url: str,
    *,
    credentials: Credentials | None = None,
    endpoint: str | None = None,
    region: str | None = None,
    insecure: bool = False,
    timeout_s: float = 60.0,
) -> RemoteFiles:
    """Open the file system that a URL names; nothing is sent yet.

    Raises
    ------
    MissingExtraError
        Its library is not installed.
    InvalidInputError
        There is no such kind of URL, it takes no such setting, or its endpoint is not encrypted and
        ``insecure`` is not set.
    """
    protocol = urlsplit(url).scheme.lower()
    endpoint = (credentials and credentials.endpoint) or endpoint
    if endpoint is not None:
        check_encrypted(name, endpoint, insecure=insecure)
    options = _connection_options(name, protocol, credentials, endpoint, region, timeout_s)
    file_system = _make(name, protocol, options)
    if protocol in S3:
        file_system.retries = 1  # retried here, where an unknown outcome is read back first
    secrets = () if credentials is None else credentials.secrets()
    remote = RemoteFiles(file_system, protocol, timeout_s=timeout_s, secrets=secrets)
    if protocol in S3 and endpoint is None:
        _check_environment_endpoint(name, remote, file_system, insecure=insecure)
    return remote


def check_encrypted(name: str, endpoint: str, *, insecure: bool) -> None:
    """Refuse an endpoint without TLS, or warn where the settings say that it is meant so."""
    if not endpoint.lower().startswith("http://"):
        return
    if not insecure:
        raise InvalidInputError(
            f"[destinations.{name}]: the endpoint {scrub(endpoint)} is not encrypted",
            hint="use https://, or set insecure = true if everybody on the way may read and change it",
            kind=ErrorKind.POLICY,
        )
    _log.warning("destination %r: the connection to %s is not encrypted", name, scrub(endpoint))


def _check_environment_endpoint(name: str, remote: RemoteFiles, file_system: Any, *, insecure: bool) -> None:
    """Hold an endpoint that only the environment or a profile names to the same rule."""
    try:
        client = remote.call("connect")
    except Exception as error:  # noqa: BLE001 - of many libraries, told as one of ours
        raise remote.failure(name, "connecting", remote.understand(error)) from None
    address = getattr(getattr(client or file_system.s3, "meta", None), "endpoint_url", None) or ""
    check_encrypted(name, address, insecure=insecure)


def _make(name: str, protocol: str, options: dict[str, Any]) -> Any:
    import fsspec
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

    try:
        kind = fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        library = "s3fs" if protocol in S3 else (error.name or protocol)
        missing = MissingExtraError(library, "s3", purpose=f"destination {name!r} ({protocol}://)")
        if protocol not in S3:
            missing.hint = " ".join(str(error).split())
        raise missing from None
    except ValueError:
        raise InvalidInputError(
            f"[destinations.{name}]: nothing can open {protocol}:// URLs",
            hint="use s3://, gs://, memory://, file:// or another protocol of fsspec",
            kind=ErrorKind.POLICY,
        ) from None
    # no instance is shared or cached: it holds credentials, and its listings would be old
    made = kind(**options, use_listings_cache=False, skip_instance_cache=True)
    return made if made.async_impl else AsyncFileSystemWrapper(made, asynchronous=False)


def _connection_options(
    name: str,
    protocol: str,
    credentials: Credentials | None,
    endpoint: str | None,
    region: str | None,
    timeout_s: float,
) -> dict[str, Any]:
    if protocol in S3:
        return _s3_options(credentials, endpoint, region, timeout_s)
    if region is not None or (endpoint is not None and protocol not in GCS):
        raise InvalidInputError(
            f"[destinations.{name}]: {protocol}:// takes neither endpoint nor region",
            hint="leave them out",
            kind=ErrorKind.POLICY,
        )
    options: dict[str, Any] = {"endpoint_url": endpoint} if endpoint else {}
    if credentials is None:
        return options
    if protocol in GCS and credentials.token is not None:
        return {**options, "token": credentials.token.reveal()}
    if protocol in ("az", "abfs") and credentials.key is not None and credentials.secret is not None:
        return {"account_name": credentials.key.reveal(), "account_key": credentials.secret.reveal()}
    if protocol in ("sftp", "ftp", "smb") and credentials.key is not None and credentials.secret is not None:
        return {"username": credentials.key.reveal(), "password": credentials.secret.reveal()}
    part = "TOKEN" if protocol in GCS else "KEY"
    raise InvalidInputError(
        f"[destinations.{name}]: the profile {credentials.profile!r} gives nothing that {protocol}:// takes",
        hint=f"set {environment_name(credentials.profile, part)}, or leave credentials out to use the "
        "environment of the library",
        kind=ErrorKind.POLICY,
    )


def _s3_options(
    credentials: Credentials | None, endpoint: str | None, region: str | None, timeout_s: float
) -> dict[str, Any]:
    client = {"endpoint_url": endpoint, "region_name": region}
    options: dict[str, Any] = {
        "client_kwargs": {key: value for key, value in client.items() if value is not None},
        "config_kwargs": {
            "connect_timeout": _CONNECT_S,
            "read_timeout": timeout_s,
            # a retry hidden in the library turns our own object into "somebody was first"
            "retries": {"total_max_attempts": 1},
        },
    }
    if credentials is None:
        return options
    if credentials.is_empty:
        return {**options, "profile": credentials.profile}
    parts = {"key": credentials.key, "secret": credentials.secret, "token": credentials.token}
    return {**options, **{name: part.reveal() for name, part in parts.items() if part is not None}}
