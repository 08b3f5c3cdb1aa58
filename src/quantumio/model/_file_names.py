"""Names of files: any text as one component of a path, and names for people."""

from __future__ import annotations

import hashlib
import re
import string
from typing import Final

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model._dataset import DatasetRef

__all__ = ["decode_component", "encode_component", "human_path"]

_MAX_COMPONENT_BYTES: Final = 200

_PLAIN: Final = frozenset((string.ascii_letters + string.digits + "._=+-").encode())
_NOT_FIRST: Final = frozenset(b".-")
_EMPTY: Final = "%_"  # "%" is otherwise followed by two hexadecimal digits, so these marks are unambiguous
_SHORTENED: Final = "%-"
_ENCODED: Final = re.compile(r"(?:[A-Za-z0-9._=+-]|%[0-9A-F]{2})+")


def encode_component(text: str) -> str:
    """Return any text as one component of a path that is legal and harmless everywhere.

    Letters, digits and ``._=+-`` stay (``.`` and ``-`` not in front); every other byte of the UTF-8 form
    becomes ``%`` and two upper-case hexadecimal digits. What would be longer than 200 bytes is cut and
    ends in ``%-`` and a digest of the whole. Different texts get different names; two names are equal
    under case folding only if the texts are.

    Examples
    --------
    >>> encode_component("HSC-R")
    'HSC-R'
    >>> encode_component("../a b")
    '%2E.%2Fa%20b'
    """
    data = text.encode("utf-8", "surrogatepass")
    encoded = "".join(
        chr(byte) if byte in _PLAIN and (position or byte not in _NOT_FIRST) else f"%{byte:02X}"
        for position, byte in enumerate(data)
    )
    if len(encoded) <= _MAX_COMPONENT_BYTES:
        return encoded or _EMPTY
    digest = hashlib.sha256(data).hexdigest()[:40]
    kept = encoded[: _MAX_COMPONENT_BYTES - len(_SHORTENED) - len(digest)]
    return re.sub(r"%.?\Z", "", kept) + _SHORTENED + digest  # never a torn escape in front of the mark


def decode_component(name: str) -> str:
    """Return the text that `encode_component` made this name of.

    Raises
    ------
    InvalidInputError
        It made no such name, or it cut the text, so that the name does not hold all of it.
    """
    if name == _EMPTY:
        return ""
    if not _ENCODED.fullmatch(name):
        raise InvalidInputError(
            f"{name!r} is no encoded text, or a shortened one",
            hint="look the text up in the registry",
            kind=ErrorKind.NAME,
        )
    unescaped = re.sub(rb"%([0-9A-F]{2})", lambda match: bytes([int(match[1], 16)]), name.encode())
    try:
        return unescaped.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise InvalidInputError(f"{name!r} is no encoded text", kind=ErrorKind.NAME) from None


def _encode_value(text: str) -> str:
    """Encode the signs, too, that stand between the values of a data ID."""
    return encode_component(text).replace("+", "%2B").replace("=", "%3D")


def human_path(ref: DatasetRef, ending: str) -> str:
    """Return a name for people of a committed dataset: ``<run>/<dataset type>/<data ID>.v<version><ending>``.

    The data ID is written as ``visit=33+detector=0``, encoded.
    """
    values = "+".join(f"{name}={_encode_value(str(value))}" for name, value in ref.data_id.items())
    stem = values if len(values) <= _MAX_COMPONENT_BYTES else encode_component(values)
    return f"{ref.run}/{ref.dataset_type.name}/{stem or ref.dataset_type.name}.v{ref.version}{ending}"
