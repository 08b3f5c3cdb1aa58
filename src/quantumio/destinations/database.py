"""Destination kind ``database``: Level 3 tables in SQLite or PostgreSQL.

Options: ``url`` (``sqlite:///level3.db``, relative to the repository, or ``postgresql://host/database``),
``credentials`` (the name of a profile: its KEY is the user, its SECRET the password), ``schema``
(PostgreSQL, where it has to be there), ``timeout_s``, ``insecure``.

``url = "registry"`` puts the tables into the database of the registry, on PostgreSQL into a schema of their
own (``level3``). Rows become visible to plain SQL in the very transaction that commits their datasets.

A table has at most 1,900 columns in SQLite. In PostgreSQL it has at most 1,500, and a row 7,800 bytes, where
each number counts 8 and each text, bytes or list 24: 975 columns of numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from attrs import frozen

from quantumio.destinations._options import Opening, Options, local_path
from quantumio.destinations._secrets import resolve_credentials
from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DestinationSettings, check_identifier
from quantumio.system import files

if TYPE_CHECKING:
    from quantumio.destinations._sql_destination import DatabaseDestination
    from quantumio.destinations._sql_engine import Database

__all__ = ["IS_TABLE", "check_settings", "is_in_registry", "open_destination", "table_place"]

_log = logging.getLogger(__name__)

IS_TABLE: Final = True
_OPTIONS: Final = ("credentials", "insecure", "schema", "timeout_s", "url")
_SQLITE: Final = ("sqlite", "sqlite+pysqlite")
_POSTGRESQL: Final = ("postgresql", "postgresql+psycopg")
_TIMEOUT_S: Final = 300.0
_VERIFIED: Final = "verify-full"
_PORT: Final = 5432
_REGISTRY: Final = "registry"
_SCHEMA_IN_REGISTRY: Final = "level3"


@frozen(kw_only=True)
class _Read:
    options: Options
    url: str
    credentials: str | None
    schema: str
    timeout_s: float
    insecure: bool

    @property
    def is_in_registry(self) -> bool:
        return self.url == _REGISTRY

    @property
    def is_sqlite(self) -> bool:
        return urlsplit(self.url).scheme in _SQLITE

    def query(self) -> Mapping[str, str]:
        return dict(parse_qsl(urlsplit(self.url).query))

    def host(self) -> str:
        """Name of the server, empty where it is reached by a socket of this machine."""
        host = urlsplit(self.url).hostname or self.query().get("host", "")
        return "" if host.startswith("/") else host


def _read_options(settings: DestinationSettings) -> _Read:
    options = Options(settings, _OPTIONS)
    url = options.required_text("url")
    scheme = urlsplit(url).scheme
    if url != _REGISTRY and scheme not in (*_SQLITE, *_POSTGRESQL):
        raise options.wrong(
            "url", 'give "sqlite:///level3.db", "postgresql://host/database", or "registry" for its database'
        )
    credentials = options.text("credentials")
    if credentials is not None:
        check_identifier(credentials, "credentials profile")
    read = _Read(
        options=options,
        url=url,
        credentials=credentials,
        schema=check_identifier(
            options.text("schema") or (_SCHEMA_IN_REGISTRY if url == _REGISTRY else "public"),
            "database schema",
        ),
        timeout_s=options.seconds("timeout_s", _TIMEOUT_S),
        insecure=options.flag("insecure"),
    )
    if read.is_in_registry:
        for key in ("credentials", "insecure"):
            if options.given(key):
                raise options.wrong(key, "leave it out: who connects to the registry, and how, is set there")
    elif read.is_sqlite:
        _sqlite_path(read, None)
    else:
        _check_tls(read)
    return read


def _sqlite_path(read: _Read, opening: Opening | None) -> Path:
    parts = urlsplit(read.url)
    path = unquote(parts.path).removeprefix("/")
    is_file = parts.path.startswith("/") and path not in ("", ":memory:")
    if not is_file or parts.netloc or parts.query or parts.fragment:
        raise read.options.wrong(
            "url", "give a file: sqlite:///level3.db in the repository, or sqlite:////absolute/level3.db"
        )
    found = local_path(read.options, "url", path, opening)
    assert found is not None
    return found


def _check_tls(read: _Read) -> None:
    mode = read.query().get("sslmode")
    if read.host() and not read.insecure and mode not in (None, _VERIFIED):
        raise InvalidInputError(
            f"[destinations.{read.options.name}]: sslmode={mode} does not verify who answers",
            hint=f"use sslmode={_VERIFIED}, or set insecure = true if everybody on the way may change it",
            kind=ErrorKind.POLICY,
        )


def check_settings(settings: DestinationSettings) -> None:
    """Check the settings of this kind without opening anything.

    Raises
    ------
    InvalidInputError
        An option is unknown, missing or not valid.
    """
    _read_options(settings)


def is_in_registry(settings: DestinationSettings) -> bool:
    """Tell whether a destination of this kind is in the registry's own database."""
    return _read_options(settings).is_in_registry


def table_place(settings: DestinationSettings, opening: Opening) -> str:
    """Tell which tables a destination of this kind has: two that tell the same would have one another's.

    Raises
    ------
    InvalidInputError
        It is the file of the registry.
    """
    read = _read_options(settings)
    if read.is_in_registry:
        return f"{_REGISTRY} {read.schema}"
    if read.is_sqlite:
        path = _sqlite_path(read, opening)
        _refuse_registry_file(read, path, opening)
        return str(files.real_path(path))
    parts = urlsplit(read.url)
    host = (parts.hostname or read.query().get("host", "")).lower()
    return f"{host}:{parts.port or _PORT}{parts.path} {read.schema}"


def _open_in_registry(read: _Read, opening: Opening) -> Database:
    from quantumio.destinations._sql_engine import open_postgresql, open_sqlite

    name, url = read.options.name, opening.registry_url
    if url is None or opening.registry_lock is None:
        raise read.options.wrong("url", "there is no registry here: name a database")
    path = _file_of(url)
    if path is None:
        return open_postgresql(
            name, url, credentials=None, schema=read.schema, sslmode=None, timeout_s=read.timeout_s
        )
    if read.options.given("schema"):
        raise read.options.wrong("schema", "leave it out: a registry in a file of SQLite has no schemas")
    return open_sqlite(
        name, path, readonly=opening.readonly, timeout_s=read.timeout_s, lock=opening.registry_lock
    )


def _file_of(registry_url: str) -> Path | None:
    """Return the file of a registry, None if it is in no file."""
    scheme, _, path = registry_url.partition(":///")
    return Path(unquote(path)).absolute() if scheme in _SQLITE else None


def _refuse_registry_file(read: _Read, path: Path, opening: Opening) -> None:
    registry = None if opening.registry_url is None else _file_of(opening.registry_url)
    if registry is not None and files.real_path(registry) == files.real_path(path):
        raise read.options.wrong("url", 'this is the registry: write url = "registry"')


def open_destination(settings: DestinationSettings, opening: Opening) -> DatabaseDestination:
    """Open a destination of this kind; the database is first spoken to when it is used.

    Raises
    ------
    InvalidInputError
        The settings are not valid.
    MissingExtraError
        The library of the database is not installed.
    """
    from quantumio.destinations._sql_destination import DatabaseDestination
    from quantumio.destinations._sql_engine import open_postgresql, open_sqlite

    read = _read_options(settings)
    if read.is_in_registry:
        database = _open_in_registry(read, opening)
        return DatabaseDestination(
            settings.name,
            database,
            readonly=opening.readonly,
            schema=None if database.is_sqlite else read.schema,
            in_registry=True,
        )
    if read.is_sqlite:
        path = _sqlite_path(read, opening)
        _refuse_registry_file(read, path, opening)
        database = open_sqlite(settings.name, path, readonly=opening.readonly, timeout_s=read.timeout_s)
        return DatabaseDestination(settings.name, database, readonly=opening.readonly)
    sslmode = None
    if read.host() and "sslmode" not in read.query() and not read.insecure:
        sslmode = _VERIFIED
    if read.host() and read.insecure:
        _log.warning("destination %r: the connection to %s need not be encrypted", settings.name, read.host())
    database = open_postgresql(
        settings.name,
        read.url,
        credentials=None if read.credentials is None else resolve_credentials(read.credentials),
        schema=read.schema,
        sslmode=sslmode,
        timeout_s=read.timeout_s,
    )
    return DatabaseDestination(settings.name, database, readonly=opening.readonly)
