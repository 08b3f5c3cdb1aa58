"""Which kinds of destinations there are: the built-in ones, and those of installed packages."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Final, cast

from attrs import frozen

from quantumio.destinations._options import Opening
from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DestinationSettings
from quantumio.ports import ObjectDestination, TableDestination

__all__ = ["ENTRY_POINTS", "DestinationKind", "destination_kind"]

ENTRY_POINTS: Final = "quantumio.destinations"
_BUILT_IN: Final = {
    kind: EntryPoint(kind, f"quantumio.destinations.{kind}:open_destination", ENTRY_POINTS)
    for kind in ("database", "files", "memory", "objects", "workspace")
}


@frozen(kw_only=True)
class DestinationKind:
    """How destinations of one kind are checked and opened.

    Attributes
    ----------
    name
        In the policy.
    open
        Opens one.
    check
        Checks settings without opening.
    is_table
        Whether it takes rows instead of objects.
    takes_packs
        Whether one object may hold several small outputs.
    is_in_registry
        Tells whether a destination is in the registry's own database.
    local_root
        Tells the local directory that a destination manages, None if there is none.
    remote_root
        Tells the URL below which a destination's objects are, None if there is none.
    table_place
        Tells which tables a destination has, None if it has none.
    user_of
        Tells whose store a destination is where each user has one, None where all share one.
    """

    name: str
    open: Callable[[DestinationSettings, Opening], ObjectDestination | TableDestination]
    check: Callable[[DestinationSettings], None]
    is_table: bool
    takes_packs: bool
    is_in_registry: Callable[[DestinationSettings], bool]
    local_root: Callable[[DestinationSettings, Opening], Path | None]
    remote_root: Callable[[DestinationSettings], str | None]
    table_place: Callable[[DestinationSettings, Opening], str | None]
    user_of: Callable[[DestinationSettings], str | None]


def destination_kind(settings: DestinationSettings) -> DestinationKind:
    """Return the kind of a destination, loading its module and nothing else.

    The entry point ``kind = "module:open_destination"`` names a function of settings and `Opening`. Its
    module may have ``check_settings(settings)``, which raises `InvalidInputError`, ``IS_TABLE = True``,
    ``TAKES_PACKS = True``, ``is_in_registry(settings)``, which tells whether it is in the registry's own
    database, ``local_root(settings, opening)``, which tells the local directory that it manages, or None,
    ``remote_root(settings)``, which tells the URL that it manages, or None, ``table_place(settings,
    opening)``, which tells in a text which tables it has, or None, and ``user_of(settings)``, which tells
    whose store it is where each user has one of their own, or None.

    Raises
    ------
    InvalidInputError
        There is no such kind, or two packages bring it.
    """
    point = _entry_point(settings)
    try:
        module: ModuleType = importlib.import_module(point.module)
        function = point.load()
    except (ImportError, AttributeError) as error:
        raise InvalidInputError(
            f"[destinations.{settings.name}]: kind {settings.kind!r} ({point.value}) cannot be loaded: "
            f"{error}",
            hint="repair or remove the package that brings it",
            kind=ErrorKind.POLICY,
        ) from error
    return DestinationKind(
        name=settings.kind,
        open=cast(Callable[[DestinationSettings, Opening], ObjectDestination | TableDestination], function),
        check=getattr(module, "check_settings", _accept),
        is_table=bool(getattr(module, "IS_TABLE", False)),
        takes_packs=bool(getattr(module, "TAKES_PACKS", False)),
        is_in_registry=getattr(module, "is_in_registry", _elsewhere),
        local_root=getattr(module, "local_root", _nowhere),
        remote_root=getattr(module, "remote_root", _no_url),
        table_place=getattr(module, "table_place", _no_tables),
        user_of=getattr(module, "user_of", _everybody),
    )


def _entry_point(settings: DestinationSettings) -> EntryPoint:
    if settings.kind in _BUILT_IN:  # built-in kinds cannot be replaced by a package
        return _BUILT_IN[settings.kind]
    found = entry_points(group=ENTRY_POINTS)
    matching = list({point.value: point for point in found if point.name == settings.kind}.values())
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise InvalidInputError(
            f"[destinations.{settings.name}]: several packages bring the kind {settings.kind!r}: "
            f"{', '.join(point.value for point in matching)}",
            hint="remove all but one of them",
            kind=ErrorKind.POLICY,
        )
    names = sorted({*_BUILT_IN, *(point.name for point in found)})
    raise InvalidInputError(
        f"[destinations.{settings.name}]: there is no kind {settings.kind!r}",
        hint=f"use one of {', '.join(names)}",
        kind=ErrorKind.POLICY,
    )


def _accept(settings: DestinationSettings) -> None:
    """Leave everything to the opening: the kind brings no check of its own."""


def _elsewhere(settings: DestinationSettings) -> bool:
    """Tell that it is in no registry: the kind says nothing of it."""
    return False


def _nowhere(settings: DestinationSettings, opening: Opening) -> None:
    """Tell of no local directory: the kind says of none."""


def _no_url(settings: DestinationSettings) -> None:
    """Tell of no URL: the kind says of none."""


def _no_tables(settings: DestinationSettings, opening: Opening) -> None:
    """Tell of no tables: the kind says of none."""


def _everybody(settings: DestinationSettings) -> None:
    """Tell that it is one store for all: the kind says nothing else."""
