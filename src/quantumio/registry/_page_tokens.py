"""Where a page of a query ended, as a text that the next page is asked for with.

A token comes back from outside, so that nothing in it is believed: it holds values, which are checked and
bound, and no more than the caller could ask for himself.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from attrs import frozen

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import Region, Timespan, tai_ns
from quantumio.ports import DatasetQuery
from quantumio.registry._arguments import is_text
from quantumio.registry._dialect import Rules
from quantumio.registry._pages import OrderKey
from quantumio.registry._time import datetime_ns

__all__ = ["PageToken", "bad_token", "key_values", "read_token", "write_token"]

_INT64: Final = 1 << 63
_LONGEST: Final = 1 << 16
_CHECKSUM: Final = 8
"""How many hexadecimal digits of a token tell that it was not changed on its way by accident."""


@frozen
class PageToken:
    """Where a page ended.

    Attributes
    ----------
    seq
        The moment that all pages show.
    left
        How many matches the limit of the query leaves.
    source, values
        Which source the last match came from, and the values of its keys.
    """

    seq: int
    left: int | None
    source: int
    values: tuple[Any, ...]


def write_token(token: PageToken, query: DatasetQuery, rules: Rules) -> str:
    """Return the text of a token.

    Raises
    ------
    InvalidInputError
        The values that the matches are ordered by are too long for one.
    """
    values = [
        value if isinstance(value, (int, float, str)) else [rules.uuid_out(value).hex]
        for value in token.values
    ]
    content = [_of(query), token.seq, token.left, token.source, values]
    text = _text(content)
    if len(text) > _LONGEST:
        raise InvalidInputError(
            f"a page ends at a match whose values of {', '.join(query.order_by)} are too long for the token "
            f"of the next page: it would have {len(text)} characters, and may have {_LONGEST}",
            hint="order by shorter fields, or iterate over the matches instead of paging",
            kind=ErrorKind.PAGE_TOKEN,
        )
    return text


def read_token(text: str, query: DatasetQuery) -> PageToken:
    """Return the token of a text; its values are still to be checked.

    Raises
    ------
    InvalidInputError
        It is none of this query.
    """
    try:
        of, seq, left, source, values = _content(text)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise bad_token("it is none, or was changed on its way") from None
    if of != _of(query):
        raise bad_token("it is one of another query")
    most = query.limit
    is_left = left is None if most is None else _is_number(left) and left <= most
    if not (_is_number(seq) and _is_number(source) and is_left and isinstance(values, list)):
        raise bad_token("it is none")
    return PageToken(seq, left, source, tuple(values))


def _text(content: Sequence[Any]) -> str:
    text = base64.urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode()).decode()
    return _checksum(text) + text


def _content(text: str) -> Any:
    if text[:_CHECKSUM] != _checksum(text[_CHECKSUM:_LONGEST]):
        raise ValueError
    return json.loads(base64.b64decode(text[_CHECKSUM:_LONGEST], altchars=b"-_", validate=True))


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:_CHECKSUM]


def key_values(token: PageToken, keys: Sequence[OrderKey], rules: Rules) -> tuple[Any, ...]:
    """Return the values of a token's keys as the driver takes them.

    Raises
    ------
    InvalidInputError
        They are none of these keys.
    """
    if len(token.values) != len(keys):
        raise bad_token("it is none")
    return tuple(_value(value, key.column, rules) for value, key in zip(token.values, keys, strict=True))


def _value(value: Any, column: sa.ColumnElement[Any], rules: Rules) -> Any:
    kind = column.type
    if isinstance(kind, sa.types.NullType):
        if isinstance(value, list) and len(value) == 1 and is_text(value[0], 32):
            try:
                return rules.uuid_in(UUID(hex=value[0]))
            except ValueError:
                pass
    elif isinstance(kind, sa.types.Float):
        if isinstance(value, float) and not math.isnan(value):
            return value
    elif isinstance(kind, sa.types.Integer):
        if isinstance(value, int) and not isinstance(value, bool) and -_INT64 <= value < _INT64:
            return value
    elif is_text(value):
        return value
    raise bad_token("it is none")


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _INT64


def _of(query: DatasetQuery) -> str:
    """Return what tells a query from others."""
    parts = (
        query.dataset_types,
        query.collections,
        sorted((name, _canonical(value)) for name, value in query.data_id.items()),
        query.where,
        sorted((name, _canonical(value)) for name, value in query.bind.items()),
        query.find_first,
        query.versions,
        query.order_by,
        query.limit,
    )
    return hashlib.sha256(repr(parts).encode(errors="surrogatepass")).hexdigest()[:16]


def _canonical(value: Any) -> str:
    """Return a text that is the same for values that mean the same, in every process."""
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Timespan):
        return f"timespan {value.to_wire()}"
    if isinstance(value, Region):
        return f"region {value}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_canonical, value))}]"
    if isinstance(value, (set, frozenset)):  # whose order is another one in each process
        return f"[{', '.join(sorted(map(_canonical, value)))}]"
    try:
        if isinstance(value, datetime):
            return f"time {datetime_ns(value)}"
        if hasattr(value, "tai"):
            return f"time {tai_ns(value)}"
    except (OverflowError, InvalidInputError):
        pass  # no query takes it
    return repr(value)


def bad_token(why: str) -> InvalidInputError:
    """Return the error about a text that is no token here."""
    return InvalidInputError(
        f"after= takes the token that came with the page before; {why}",
        hint="give `Page.next` of the same query, or leave it out for the first page",
        kind=ErrorKind.PAGE_TOKEN,
    )
