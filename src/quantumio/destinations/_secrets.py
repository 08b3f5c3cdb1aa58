"""Secrets: kept out of settings, out of texts, and in one type that does not show them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Final, NoReturn
from urllib.parse import parse_qsl, urlsplit

from attrs import frozen

from quantumio.errors import ErrorKind, InvalidInputError, shown

__all__ = ["Credentials", "Secret", "refuse_secrets", "resolve_credentials", "scrub"]

_SECRET_NAME: Final = re.compile(r"password|passwd|secret|token|key|sig", re.IGNORECASE)
_USER_NAME_SCHEMES: Final = frozenset({"ftp", "sftp", "smb", "ssh"})
"""Schemes in which a lone user name is part of the address; elsewhere it may be a token."""
HIDDEN: Final = "***"


class Secret:
    """A text that shows itself to nobody who does not ask for it by `reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text."""
        return self._value

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


@frozen(kw_only=True)
class Credentials:
    """What a named profile gives at the moment of use.

    Attributes
    ----------
    profile
        Its name.
    key, secret, token, endpoint
        None where the profile does not set it.
    """

    profile: str
    key: Secret | None = None
    secret: Secret | None = None
    token: Secret | None = None
    endpoint: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the environment holds nothing for the profile."""
        return self.key is None and self.secret is None and self.token is None

    def secrets(self) -> tuple[Secret, ...]:
        """Return what must not appear in a text."""
        return tuple(part for part in (self.key, self.secret, self.token) if part is not None)


def environment_name(profile: str, part: str) -> str:
    """Return the name of the environment variable of a part (``KEY``, ...) of a profile."""
    return f"QUANTUMIO_CREDENTIALS_{profile.upper()}_{part}"


def resolve_credentials(profile: str) -> Credentials:
    """Look a profile up in the environment.

    The variables are ``QUANTUMIO_CREDENTIALS_<PROFILE>_KEY``, ``_SECRET``, ``_TOKEN`` and ``_ENDPOINT``.
    """

    def part(name: str) -> Secret | None:
        value = os.environ.get(environment_name(profile, name))
        return Secret(value) if value else None

    return Credentials(
        profile=profile,
        key=part("KEY"),
        secret=part("SECRET"),
        token=part("TOKEN"),
        endpoint=os.environ.get(environment_name(profile, "ENDPOINT")) or None,
    )


def scrub(text: str, secrets: Iterable[Secret] = ()) -> str:
    """Return a text for people without these secrets and without what URLs in it may carry."""
    for secret in secrets:
        text = text.replace(secret.reveal(), HIDDEN)
    text = re.sub(r"(?<=://)[^/\s@]+@", f"{HIDDEN}@", text)
    return re.sub(
        r"(?i)([?&][^=&\s]*(?:password|passwd|secret|token|key|sig)[^=&\s]*=)[^&\s]+", rf"\1{HIDDEN}", text
    )


def refuse_secrets(name: str, options: Mapping[str, object]) -> None:
    """Refuse settings that hold a secret, or look as if they did.

    Parameters
    ----------
    name
        Of the destination, for the message.
    options
        Its table, as it was read.

    Raises
    ------
    InvalidInputError
        A key looks like a secret's, or a URL carries one. The message names the key and never its value.
    """
    for key, value in options.items():
        if _SECRET_NAME.search(key):
            raise _refused(name, key, "looks like a secret")
        if isinstance(value, Mapping):
            refuse_secrets(
                name,
                {inner if isinstance(inner, str) else shown(inner): item for inner, item in value.items()},
            )
        if isinstance(value, str) and (trouble := url_trouble(value)):
            raise _refused(name, key, trouble)


def url_trouble(text: str) -> str | None:
    """Tell in words what a URL carries that it must not, None if nothing."""
    if ":" not in text:
        return None
    try:
        parts = urlsplit(text)
        password = parts.password
    except ValueError:
        return "is no URL"
    if password:
        return "carries a password"
    scheme = parts.scheme.partition("+")[0]
    is_database = scheme in ("postgresql", "sqlite")
    if parts.username and not is_database and scheme not in _USER_NAME_SCHEMES:
        return "carries a user name or a token"
    for query_key, _ in parse_qsl(parts.query, keep_blank_values=True):
        if _SECRET_NAME.search(query_key):
            return f"carries {query_key!r} in its query"
    return None


def _refused(name: str, key: str, trouble: str) -> InvalidInputError:
    return InvalidInputError(
        f"[destinations.{name}]: {key} {trouble}",
        hint='secrets stay out of settings: name a profile, credentials = "archive", and set '
        f"{environment_name('archive', 'KEY')} and {environment_name('archive', 'SECRET')} where it runs",
        kind=ErrorKind.POLICY,
    )
