"""Reading the table ``[destinations.NAME]`` of a policy file."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit
from uuid import UUID

from attrs import field, frozen

from quantumio.destinations._secrets import refuse_secrets
from quantumio.errors import ErrorKind, InvalidInputError, shown
from quantumio.model import DestinationSettings, check_identifier, parse_bytes
from quantumio.ports import Workspaces

__all__ = ["Opening", "Options", "not_in_use"]

_LARGEST: Final = sys.float_info.max
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_COMMON: Final = frozenset({"format"})  # which format outputs take there: read by the policy


def not_in_use(name: str) -> bool:
    """Tell that no destination has anything: stores are made where there are none."""
    del name
    return False


@frozen(kw_only=True)
class Opening:
    """What a destination may know of the repository that opens it.

    Attributes
    ----------
    repository_root
        Directory that relative roots start from; None if the repository has no local one.
    repository_id
        Whose stores it may use.
    readonly
        Nothing may be written, not even the identity of a store.
    managed_roots
        Local directories of all managed stores of the repository, without symbolic links. What lies there
        is taken over by nobody: it is an object already.
    registry_url
        Database of the registry; None where no destination may be in it.
    registry_lock
        File whose lock serialises all who write the registry, where that is a file of SQLite.
    is_in_use
        Whether the registry has whole objects at the destination of a name: its store is not made anew.
    workspaces
        Which users have a store of their own; None where nobody remembers.
    anew
        Whether it is made all the same: somebody has said that the former one is lost.
    """

    repository_root: Path | None
    repository_id: UUID
    readonly: bool = False
    managed_roots: tuple[Path, ...] = ()
    registry_url: str | None = field(default=None, repr=False)  # it may hold a password
    registry_lock: Path | None = None
    is_in_use: Callable[[str], bool] = not_in_use
    workspaces: Workspaces | None = None
    anew: bool = False


class Options:
    """The options of one destination, each read once with its type.

    Parameters
    ----------
    settings
        The table.
    known
        Names of the options that its kind has, apart from those that all kinds have.

    Raises
    ------
    InvalidInputError
        The table has an unknown option, or one that looks like a secret.
    """

    def __init__(self, settings: DestinationSettings, known: Iterable[str]) -> None:
        self.name = check_identifier(settings.name, "destination")
        self._options = settings.options
        refuse_secrets(self.name, settings.options)
        allowed = sorted(_COMMON.union(known))
        for key in settings.options:
            if key not in allowed:
                raise InvalidInputError(
                    f"[destinations.{self.name}]: there is no option {key!r} for kind {settings.kind!r}",
                    hint=f"its options are {', '.join(allowed)}",
                    kind=ErrorKind.POLICY,
                )
        if (chosen := self.text("format")) is not None:
            check_identifier(chosen, "format")

    def text(self, key: str) -> str | None:
        """Return a text, None if it is not set."""
        value = self._options.get(key)
        if value is None or (isinstance(value, str) and value and "\0" not in value):
            return value
        raise self.wrong(key, "give a text")

    def given(self, key: str) -> bool:
        """Tell whether an option is set."""
        return key in self._options

    def required_text(self, key: str) -> str:
        """Return a text that must be set."""
        value = self.text(key)
        if value is None:
            raise InvalidInputError(
                f"[destinations.{self.name}]: {key} is missing",
                hint=f'add {key} = "..."',
                kind=ErrorKind.POLICY,
            )
        return value

    def flag(self, key: str) -> bool:
        """Return a truth value, False if it is not set."""
        value = self._options.get(key, False)
        if isinstance(value, bool):
            return value
        raise self.wrong(key, "give true or false")

    def seconds(self, key: str, default: float) -> float:
        """Return a positive number."""
        value = self._options.get(key, default)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _LARGEST:
            return float(value)
        raise self.wrong(key, "give a positive number of seconds")

    def size(self, key: str) -> int | None:
        """Return a number of bytes written as ``"20 GiB"`` or as an integer, None if it is not set."""
        value = self._options.get(key)
        if value is None:
            return None
        try:
            return parse_bytes(value, key, least=0)
        except InvalidInputError as error:
            raise self.wrong(key, error.hint or "") from None

    def wrong(self, key: str, hint: str) -> InvalidInputError:
        """Make the error of an option with a value that it cannot have."""
        return InvalidInputError(
            f"[destinations.{self.name}]: {key} = {shown(self._options.get(key))} is not valid",
            hint=hint,
            kind=ErrorKind.POLICY,
        )


def is_url(text: str) -> bool:
    """Tell whether a root is a URL rather than a path."""
    return _URL.match(text) is not None


def local_path(options: Options, key: str, root: str, opening: Opening | None) -> Path | None:
    """Return the directory that a path or a ``file://`` URL names, None if it is a URL of something else.

    Parameters
    ----------
    options, key
        Whose value ``root`` is, for messages.
    root
        The path or URL.
    opening
        Where relative paths start; None accepts them as they are (settings are only checked).
    """
    if "::" in root:
        raise options.wrong(key, "URLs that are joined by :: are not taken: give one")
    if is_url(root):
        parts = urlsplit(root)
        if parts.scheme not in ("file", "local"):
            return None
        if (
            parts.netloc not in ("", "localhost")
            or parts.query
            or parts.fragment
            or not parts.path.startswith("/")
        ):
            raise options.wrong(key, "a URL of a directory of this machine is file:///absolute/path")
        return Path(unquote(parts.path))
    path = Path(root).expanduser() if root.startswith("~/") else Path(root)
    if path.is_absolute() or opening is None:
        return path
    if opening.repository_root is None:
        raise options.wrong(key, "the repository has no directory of its own: give an absolute path")
    return opening.repository_root / path
