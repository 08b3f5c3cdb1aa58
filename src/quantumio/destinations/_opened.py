"""The destinations of one repository, opened at first use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from uuid import UUID

from attrs import evolve

from quantumio.destinations._kinds import destination_kind
from quantumio.destinations._options import Opening, not_in_use
from quantumio.destinations._overlaps import refuse_overlaps
from quantumio.destinations._secrets import refuse_secrets
from quantumio.destinations.direct import DirectDestination
from quantumio.errors import ErrorKind, InvalidInputError, StateError
from quantumio.model import DIRECT, TEMPORARY, DestinationSettings, check_identifier
from quantumio.ports import ObjectDestination, TableDestination, Workspaces
from quantumio.system import files

__all__ = ["OpenedDestinations", "check_settings"]

_RESERVED = (DIRECT, TEMPORARY)


def check_settings(settings: DestinationSettings) -> None:
    """Check the table ``[destinations.NAME]`` without opening the destination.

    Raises
    ------
    InvalidInputError
        The name is none or reserved, the kind or an option is unknown, an option is not valid, or holds what
        looks like a secret. The message names table and key, never a secret's value.
    """
    check_identifier(settings.name, "destination")
    if settings.name in _RESERVED:
        raise InvalidInputError(
            f"[destinations.{settings.name}]: the name is reserved",
            hint=f"choose another name than {' and '.join(_RESERVED)}",
            kind=ErrorKind.NAME,
        )
    refuse_secrets(settings.name, settings.options)
    destination_kind(settings).check(settings)


class OpenedDestinations:
    """All destinations of a repository, each opened at its first use, once.

    Parameters
    ----------
    settings
        By name. They are checked now, opened later.
    repository_root
        Directory that relative roots start from; None if the repository has no local one.
    repository_id
        Identity of the repository: stores of another one are refused.
    readonly
        Whether every change is refused.
    registry_url, registry_lock
        Where the registry is, for tables in its database.
    is_in_use
        Whether the registry has whole objects at the destination of a name: a store that is not there then is
        not mounted, and not made anew.
    workspaces
        Which users have a store of their own, where each has one: it is not made anew either.

    Raises
    ------
    InvalidInputError
        Settings are not valid; or the root of one destination lies below that of another, or two have the
        same tables, and they are not opened for reading alone.

    Notes
    -----
    ``direct``, read-only, is always there: files that stay where they were when they were ingested.
    """

    def __init__(
        self,
        settings: Mapping[str, DestinationSettings],
        *,
        repository_root: Path | None,
        repository_id: UUID,
        readonly: bool = False,
        registry_url: str | None = None,
        registry_lock: Path | None = None,
        is_in_use: Callable[[str], bool] = not_in_use,
        workspaces: Workspaces | None = None,
    ) -> None:
        self._settings = dict(settings)
        opening = Opening(
            repository_root=repository_root,
            repository_id=repository_id,
            readonly=readonly,
            registry_url=registry_url,
            registry_lock=registry_lock,
            is_in_use=is_in_use,
            workspaces=workspaces,
        )
        for name, table in self._settings.items():
            if name != table.name:
                raise InvalidInputError(
                    f"settings of {table.name!r} are filed as {name!r}", kind=ErrorKind.POLICY
                )
            check_settings(table)
        if not readonly:  # who only reads removes nothing, and takes nothing for another's
            refuse_overlaps(list(self._settings.values()), opening)
        self._opening = evolve(opening, managed_roots=_managed_roots(self._settings.values(), opening))
        self._lock = threading.Lock()
        self._opening_locks = {name: threading.Lock() for name in self._settings}
        self._users: dict[str, str | None] = {}
        self._direct = DirectDestination(self._opening.managed_roots)
        self._open: dict[str, ObjectDestination | TableDestination] = {DIRECT: self._direct}
        self._closed = False

    def names(self) -> tuple[str, ...]:
        """Names of all configured destinations, in the order of the settings."""
        return tuple(self._settings)

    def get(self, name: str) -> ObjectDestination | TableDestination:
        """Return the destination of this name, opened; see `quantumio.ports.Destinations.get`."""
        if (found := self._open.get(name)) is not None:
            return found
        settings = self._named(name)
        with self._opening_locks[name]:  # one slow store does not hold up the others
            found = self._open.get(name)
            return self._open_one(settings, self._opening) if found is None else found

    def begin_anew(self, name: str) -> None:
        """Make the store of a destination whose former one is lost; see `quantumio.ports.Destinations`."""
        settings = self._named(name)
        with self._opening_locks[name]:
            former = self._open.get(name)
            self._open_one(settings, evolve(self._opening, anew=True))
        if former is not None:
            former.close()

    def _open_one(
        self, settings: DestinationSettings, opening: Opening
    ) -> ObjectDestination | TableDestination:
        """Open a destination, under its lock, and keep it."""
        self._refuse_if_closed()
        found = destination_kind(settings).open(settings, opening)
        with self._lock:
            if not self._closed:
                self._open[settings.name] = found
                return found
        found.close()
        raise _closed()

    def is_table(self, name: str) -> bool:
        """Whether it is a table destination, without opening it."""
        return name != DIRECT and destination_kind(self._named(name)).is_table

    def takes_packs(self, name: str) -> bool:
        """Whether one object there may hold several small outputs, without opening it."""
        return name != DIRECT and destination_kind(self._named(name)).takes_packs

    def is_in_registry(self, name: str) -> bool:
        """Whether it is a table destination in the registry's database, without opening it."""
        if name == DIRECT:
            return False
        settings = self._named(name)
        return destination_kind(settings).is_in_registry(settings)

    def user_of(self, name: str) -> str | None:
        """Return whose store it opens, where each user has one; None of those that are not configured."""
        if name not in self._users:
            settings = self._settings.get(name)
            self._users[name] = None if settings is None else destination_kind(settings).user_of(settings)
        return self._users[name]

    def close(self) -> None:
        """Close those that are open; idempotent. What closing one raises does not keep the others open."""
        with self._lock:
            self._closed = True
            opened, self._open = list(self._open.values()), {}
        failures: list[Exception] = []
        for destination in opened:
            try:
                destination.close()
            except Exception as error:  # noqa: BLE001 - reraised below, after the others were closed
                failures.append(error)
        if failures:
            raise failures[0]

    def _named(self, name: str) -> DestinationSettings:
        self._refuse_if_closed()
        try:
            return self._settings[name]
        except KeyError:
            raise InvalidInputError(
                f"there is no destination {name!r}",
                hint=f"there are {', '.join(self._settings) or 'none'}; add others as [destinations.NAME]",
                kind=ErrorKind.POLICY,
            ) from None

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise _closed()


def _closed() -> StateError:
    return StateError("the destinations are closed", hint="open the repository again")


def _managed_roots(tables: Iterable[DestinationSettings], opening: Opening) -> tuple[Path, ...]:
    roots = (destination_kind(table).local_root(table, opening) for table in tables)
    return tuple(sorted({files.real_path(root) for root in roots if root is not None}))
