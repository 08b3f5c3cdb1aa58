"""The formats and storage classes that are installed, found lazily."""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from quantumio.errors import ErrorKind, FormatError, InvalidInputError, MissingExtraError, QuantumioError
from quantumio.formats._builtin import BUILT_IN_FORMATS, BUILT_IN_STORAGE_CLASSES, EXTRAS
from quantumio.model import StorageClass
from quantumio.ports import Format, StorageClassDelegate

__all__ = ["FORMATS_GROUP", "STORAGE_CLASSES_GROUP", "InstalledFormats"]

FORMATS_GROUP = "quantumio.formats"
STORAGE_CLASSES_GROUP = "quantumio.storage_classes"

_logger = logging.getLogger(__name__)


class InstalledFormats:
    """All formats and storage classes: given, built in, and of installed distributions.

    Fulfils `quantumio.ports.Formats`. What is given here beats what is built in, which beats entry points.
    Each is loaded when it is first asked for; making an instance loads nothing.

    Parameters
    ----------
    formats
        Formats by name.
    delegates
        Delegates of storage classes by name.

    Notes
    -----
    A distribution adds formats by entry points of the group ``quantumio.formats`` and storage classes by
    those of ``quantumio.storage_classes``; each is ``name = "module:Class"``, and the class is called without
    arguments. Two distributions that claim one name are an error as soon as that name is used.

    Examples
    --------
    >>> InstalledFormats().storage_class("NDArray").formats
    ('npy', 'fits', 'asdf')
    """

    def __init__(
        self,
        *,
        formats: Mapping[str, Format] | None = None,
        delegates: Mapping[str, StorageClassDelegate] | None = None,
    ) -> None:
        self._formats: dict[str, Format] = dict(formats or {})
        self._delegates: dict[str, StorageClassDelegate] = dict(delegates or {})
        self._discovered: dict[str, dict[str, list[EntryPoint]]] = {}
        self._lock = threading.RLock()

    def format(self, name: str) -> Format:
        """Return the format of this name, loaded.

        Raises
        ------
        InvalidInputError
            There is none; lists those that there are.
        MissingExtraError
            Its library is not installed.
        FormatError
            It is a plug-in that cannot be loaded.
        """
        if loaded := self._formats.get(name):
            return loaded
        with self._lock:
            if name not in self._formats:
                location = BUILT_IN_FORMATS.get(name)
                plugin = self._load(f"format {name!r}", location, FORMATS_GROUP, name, self.format_names)
                self._formats[name] = cast("Format", plugin)
            return self._formats[name]

    def delegate(self, storage_class: str) -> StorageClassDelegate:
        """Return what the engine must know of this storage class, loaded.

        Raises
        ------
        InvalidInputError
            There is none; lists those that there are.
        MissingExtraError
            Its library is not installed.
        FormatError
            It is a plug-in that cannot be loaded.
        """
        if loaded := self._delegates.get(storage_class):
            return loaded
        with self._lock:
            if storage_class not in self._delegates:
                built_in = BUILT_IN_STORAGE_CLASSES.get(storage_class)
                plugin = self._load(
                    f"storage class {storage_class!r}",
                    built_in.location if built_in else None,
                    STORAGE_CLASSES_GROUP,
                    storage_class,
                    self.storage_class_names,
                )
                self._delegates[storage_class] = cast("StorageClassDelegate", plugin)
            return self._delegates[storage_class]

    def storage_class_names(self) -> tuple[str, ...]:
        """Return the names of all storage classes, sorted."""
        with self._lock:
            found = self._entry_points(STORAGE_CLASSES_GROUP)
            return tuple(sorted({*self._delegates, *BUILT_IN_STORAGE_CLASSES, *found}))

    def format_names(self) -> tuple[str, ...]:
        """Return the names of all formats, sorted."""
        with self._lock:
            found = self._entry_points(FORMATS_GROUP)
            return tuple(sorted({*self._formats, *BUILT_IN_FORMATS, *found}))

    def storage_class(self, name: str) -> StorageClass:
        """Return the declaration of a storage class; of a built-in one without loading its library.

        Raises
        ------
        InvalidInputError
            There is none; lists those that there are.
        MissingExtraError
            It is a plug-in whose library is not installed.
        FormatError
            It is a plug-in that cannot be loaded.
        """
        with self._lock:
            if name not in self._delegates and name in BUILT_IN_STORAGE_CLASSES:
                return BUILT_IN_STORAGE_CLASSES[name].declaration
            return self.delegate(name).storage_class

    def _entry_points(self, group: str) -> dict[str, list[EntryPoint]]:
        if group not in self._discovered:
            found: dict[str, list[EntryPoint]] = {}
            for entry in entry_points(group=group):
                # the same distribution seen twice on the path is one
                if entry.value not in {other.value for other in found.get(entry.name, [])}:
                    found.setdefault(entry.name, []).append(entry)
            self._discovered[group] = found
        return self._discovered[group]

    def _load(
        self,
        what: str,
        location: str | None,
        group: str,
        name: str,
        names: Callable[[], tuple[str, ...]],
    ) -> object:
        if location is None:
            candidates = self._entry_points(group).get(name, [])
            if not candidates:
                raise InvalidInputError(f"there is no {what}", hint=f"there are {', '.join(names())}")
            if len(candidates) > 1:
                owners = ", ".join(sorted(f"{entry.value} of {_owner(entry)}" for entry in candidates))
                raise InvalidInputError(
                    f"several distributions bring the {what}: {owners}",
                    hint="uninstall all but one, or give yours to InstalledFormats(...)",
                )
            location = candidates[0].value
            _logger.debug("%s is %s of %s", what, location, _owner(candidates[0]))
        return _make(what, location)


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "an unnamed distribution"


def _make(what: str, location: str) -> object:
    """Import ``module:class`` and call it."""
    module_name, _, attribute = location.partition(":")
    try:
        factory = importlib.import_module(module_name)
        for word in attribute.strip().split("."):
            factory = getattr(factory, word)
        return factory()  # type: ignore[operator]
    except QuantumioError:
        raise
    except ModuleNotFoundError as error:
        raise _missing(what, location, error) from error
    except Exception as error:
        raise FormatError(
            f"the {what} ({location}) cannot be loaded: {type(error).__name__}: {error}",
            hint="repair or uninstall the package that brings it",
            kind=ErrorKind.UNSPECIFIED,
        ) from error


def _missing(what: str, location: str, error: ModuleNotFoundError) -> QuantumioError:
    library = (error.name or "").split(".")[0]
    if library in EXTRAS:
        return MissingExtraError(library, EXTRAS[library], purpose=f"the {what}")
    missing = MissingExtraError(library, "", purpose=f"the {what} ({location})")
    missing.hint = f"pip install {library}" if library else "reinstall the package that brings it"
    return missing
