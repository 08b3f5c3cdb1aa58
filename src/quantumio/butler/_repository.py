"""A repository that is open in this process: registry, destinations and runtime, shared by its Butlers."""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from attrs import define, field

from quantumio.butler._settings import Settings, load_toml, merge, parse_settings
from quantumio.engine import OWNERS, PolicyResolver, Runtime, is_dead_here
from quantumio.errors import ConflictError, DestinationError, ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import default_universe
from quantumio.ports import Catalog, Destinations, Formats
from quantumio.system import environment, files, forks

__all__ = ["Repository", "abandon", "acquire", "create", "drain_at_exit", "release", "upgrade"]

logger = logging.getLogger(__name__)

_exit_drain_s: float | None = 30.0
"""How long an exiting interpreter waits for what was committed, in seconds."""

CONFIG_NAME: Final = "butler.toml"
_REGISTRY_NAME: Final = "registry.sqlite3"
_LOCK_NAME: Final = "registry.lock"

_lock = threading.RLock()  # the garbage collector may abandon a Butler while its thread holds it
_open: dict[tuple[Path, bool], Repository] = {}
_closing: list[Repository] = []
_opening: dict[tuple[Path, bool, int], threading.RLock] = {}
"""Held while a repository is opened: a slow one holds up nobody else, nor a child of a fork."""


@define(eq=False)
class Repository:
    """One open repository.

    Attributes
    ----------
    root
        Absolute path of its directory.
    readonly
        Whether nothing may be written, nor recovered.
    """

    root: Path
    readonly: bool
    settings: Settings
    catalog: Catalog
    destinations: Destinations
    formats: Formats
    runtime: Runtime
    pid: int = field(factory=lambda: environment.pid())  # noqa: PLW0108  looked up when it is called
    users: int = 0

    @property
    def label(self) -> str:
        """Name of the repository for people: that of its directory."""
        return self.root.name


def create(
    root: Path,
    config: Mapping[str, object],
    registry: str | None,
    dimensions: Mapping[str, Mapping[str, object]] | None,
) -> None:
    """Make a repository. Its ``butler.toml`` is written last: without it there is no repository.

    Raises
    ------
    ConflictError
        There is one already.
    InvalidInputError
        The configuration is wrong; nothing was made.
    """
    import tomli_w

    from quantumio.destinations import OpenedDestinations, check_settings
    from quantumio.formats import InstalledFormats
    from quantumio.registry import create_registry

    if files.exists(root / CONFIG_NAME):
        raise ConflictError(
            f"{root} is a repository already", hint="open it with Butler(...), or choose another directory"
        )
    tables = merge(config, {"repository": {"registry": registry}} if registry else {})
    if dimensions:
        tables = merge(tables, {"dimensions": dimensions})
    repository_id = environment.uuid7()
    tables = merge({"repository": {"id": str(repository_id)}}, tables)
    settings = parse_settings(tables, "config")
    for destination in settings.destinations.values():
        check_settings(destination)
    default_universe().extended(settings.dimensions)
    destinations = OpenedDestinations(
        settings.destinations,
        repository_root=root,
        repository_id=repository_id,
        registry_url=_registry_url(root, settings),
    )  # checks the settings; none is opened
    PolicyResolver(settings.layers, settings.policies, destinations, InstalledFormats())
    try:
        text = tomli_w.dumps(tables)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"config: {error}", hint="use values that TOML has") from error
    was_there = files.exists(root)
    try:
        files.make_directories(root)
        create_registry(
            _registry_url(root, settings),
            universe_tables=settings.dimensions or None,
            lock_path=root / _LOCK_NAME,
            repository_id=repository_id,
        ).close()
        files.write_text_new(root / CONFIG_NAME, text)
    except BaseException as error:
        _unmake(root, was_there)
        if not isinstance(error, OSError):
            raise
        raise DestinationError(
            f"the repository {root} cannot be made: {error.strerror}",
            hint="check the path and its permissions",
            kind=ErrorKind.PERMISSION,
        ) from error


def _unmake(root: Path, was_there: bool) -> None:
    """Remove what was made of a repository that could not be finished."""
    with contextlib.suppress(OSError):  # what cannot be removed is in nobody's way
        if was_there:
            for name in (
                CONFIG_NAME,
                _LOCK_NAME,
                *(f"{_REGISTRY_NAME}{end}" for end in ("", "-wal", "-shm")),
            ):
                files.remove(root / name)
        elif files.exists(root):
            files.remove_tree(root)


def upgrade(root: Path, *, force: bool) -> None:
    """Bring the registry of a repository up to date; ``force``: also while processes work with it.

    Raises
    ------
    NotFoundError
        There is no repository.
    StateError
        It was written by a newer quantumio (``kind="newer_schema"``).
    ConflictError
        A process works with it (``kind="in_use"``).
    """
    from quantumio.registry import upgrade as upgrade_registry

    root = files.real_path(root)
    settings = _settings(root)
    upgrade_registry(
        _registry_url(root, settings),
        lock_path=root / _LOCK_NAME,
        lease_s=None if force else settings.runtime.lease_s,
        is_dead=functools.partial(is_dead_here, root / OWNERS),
    )


def acquire(root: Path, *, readonly: bool) -> Repository:
    """Open a repository, or share it with the Butlers of this process that have it open.

    Raises
    ------
    NotFoundError
        There is none (``kind="no_repository"``).
    StateError
        Its registry has a newer schema.
    """
    root = files.real_path(root)
    key = root, readonly
    with _opening.setdefault((root, readonly, environment.pid()), threading.RLock()):
        if (repository := _share(key)) is not None:
            return repository
        repository = _open_repository(root, readonly=readonly)
        repository.users = 1
        with _lock:
            _open[key] = repository
        _close_with_worker()
        return repository


def _share(key: tuple[Path, bool]) -> Repository | None:
    with _lock:
        repository = _open.get(key)
        if repository is None or repository.pid != environment.pid():
            return None
        repository.users += 1
        return repository


def release(repository: Repository, timeout_s: float | None) -> None:
    """Give a repository back; the last one drains and closes it.

    Again it goes on where an interrupt broke it off.

    Raises
    ------
    ExceptionGroup
        Background failures that nobody was told yet.
    """
    with _lock:
        if repository not in _closing:
            repository.users -= 1
            if repository.users > 0 or repository.pid != environment.pid():
                return
            _closing.append(repository)
            key = repository.root, repository.readonly
            if _open.get(key) is repository:
                del _open[key]
    _close(repository, timeout_s)


def abandon(repositories: Iterable[Repository]) -> None:
    """Note that a Butler is gone that was never closed; what it committed goes on in the background.

    The last one leaves its repository open until another Butler closes it or the interpreter exits: this
    runs in the garbage collector, which must not wait.
    """
    with _lock:
        for repository in repositories:
            repository.users -= 1


def _close(repository: Repository, timeout_s: float | None) -> None:
    failures: ExceptionGroup[Exception] | None = None
    try:
        repository.runtime.close(timeout_s)  # after an interrupt the rest stays open for what is queued
    except ExceptionGroup as group:
        failures = group
    repository.destinations.close()
    repository.catalog.close()
    with _lock:
        if repository in _closing:
            _closing.remove(repository)
    if failures is not None:
        raise failures


# A connection to PostgreSQL that a child finalised within a transaction would roll back that of its parent.
forks.keep_in_child(lambda: [*_open.values(), *_closing])


def drain_at_exit(timeout_s: float | None) -> None:
    """Set how long an exiting interpreter waits for what was committed; then it is parked."""
    global _exit_drain_s  # noqa: PLW0603  one end of the process
    _exit_drain_s = timeout_s


@atexit.register
def _close_all() -> None:
    """Let an exiting interpreter finish what was committed, and report what failed."""
    for repository in [*_open.values(), *_closing]:
        if repository.pid != environment.pid():
            continue  # opened before a fork: the parent closes it
        try:
            _close(repository, _exit_drain_s)
        except ExceptionGroup as group:
            for error in group.exceptions:
                notes = [note for note in getattr(error, "__notes__", []) if note not in str(error)]
                what = ": ".join([*notes, str(error)])
                logger.error("%s, while exiting: %s", repository.root, what)  # noqa: TRY400


def _close_with_worker() -> None:
    """Have `multiprocessing` close at the end of a worker too, where it leaves `atexit` out."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, _close_all, exitpriority=0)


def _registry_url(root: Path, settings: Settings) -> str:
    from quantumio.registry import sqlite_url

    return settings.registry or sqlite_url(root.absolute() / _REGISTRY_NAME)


def _settings(root: Path) -> Settings:
    """Read the settings of a repository that is there.

    Raises
    ------
    NotFoundError
        There is none (``kind="no_repository"``).
    """
    if not files.exists(root / CONFIG_NAME):
        raise NotFoundError(
            f"{root} is no repository: it has no {CONFIG_NAME}",
            hint=f"make one with Butler.create({str(root)!r}) or `quantumio create {root}`",
            kind=ErrorKind.NO_REPOSITORY,
        )
    return parse_settings(load_toml(root / CONFIG_NAME), str(root / CONFIG_NAME))


def _open_repository(root: Path, *, readonly: bool) -> Repository:
    from quantumio.destinations import OpenedDestinations
    from quantumio.formats import InstalledFormats
    from quantumio.registry import open_registry

    settings = _settings(root)
    url = _registry_url(root, settings)
    catalog = open_registry(
        url,
        lock_path=root / _LOCK_NAME,
        readonly=readonly,
        lock_timeout_s=settings.runtime.registry_lock_timeout_s,
    )
    try:
        formats = InstalledFormats()
        destinations = OpenedDestinations(
            settings.destinations,
            repository_root=root,
            repository_id=catalog.repository_id,
            readonly=readonly,
            registry_url=url,
            registry_lock=root / _LOCK_NAME,
            is_in_use=catalog.has_objects,
            workspaces=catalog,
        )
        catalog.reveal_through(destinations)
        policies = PolicyResolver(settings.layers, settings.policies, destinations, formats)
    except BaseException:
        catalog.close()
        raise
    runtime = Runtime(
        catalog=catalog,
        destinations=destinations,
        formats=formats,
        policies=policies,
        settings=settings.runtime,
        directory=root,
        readonly=readonly,
    )
    if not readonly:
        runtime.recover_soon()
    return Repository(
        root=root,
        readonly=readonly,
        settings=settings,
        catalog=catalog,
        destinations=destinations,
        formats=formats,
        runtime=runtime,
    )
