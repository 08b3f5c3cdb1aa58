"""Header cards as the texts that FITS keeps (FITS standard 4.0, section 4; 80 characters a card).

A header is handled as a list of (keyword, text), where the text is one card with the CONTINUE cards that
belong to it. Both the canonical header of a value and the header read from a file are parsed from such
texts, so that they are the same. astropy's own formatting cuts numbers to 20 characters and takes some
12 us a card; this one keeps every digit (free format, section 4.2.4) and takes a third of that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
from astropy.io import fits
from astropy.io.fits.card import Undefined
from astropy.io.fits.verify import VerifyError

from quantumio.errors import ErrorKind, InvalidInputError

__all__ = ["STRUCTURAL", "Cards", "cards_of", "commentary", "format_card", "header_of"]

Cards: TypeAlias = list[tuple[str, str]]

STRUCTURAL = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|INHERIT|BSCALE|BZERO|BLANK|BUNIT"
    r"|CHECKSUM|DATASUM|TFIELDS|THEAP|T(?:TYPE|FORM|UNIT|NULL|SCAL|ZERO|DISP|BCOL|DIM)\d+"
    r"|Z(?:IMAGE|TENSION|SIMPLE|EXTEND|BLOCKED|BITPIX|PCOUNT|GCOUNT|HECKSUM|DATASUM|CMPTYPE|QUANTIZ"
    r"|DITHER0|MASKCMP|BLANK|SCALE|ZERO)|Z(?:NAXIS|TILE|NAME|VAL)\d*"
)
"""Keywords that describe the file, not the value."""

COMMENTARY = frozenset({"", "COMMENT", "HISTORY"})

_CARD = 80
_MOST_TEXTS = 4096
_STANDARD = re.compile(r"[A-Z0-9_-]{1,8}")
_HIERARCH = re.compile(r"[!-<>-~]+(?: [!-<>-~]+)*")
_PRINTABLE = re.compile(r"[ -~]*")
_RECORD_VALUED = re.compile(r"[a-zA-Z_]\w*(\.\w+)*: +[-+.\dEeDd]+ *")
_LONGEST_COMMENT = 60
_CONTINUE = "CONTINUE  "
_COMPRESSED_NAME = "COMPRESSED_IMAGE"  # the name that astropy gives to an extension without one


class _Unrepresentable(ValueError):
    """Why FITS cannot hold a card; the hint is the second argument."""


class _UnparsedHeader(fits.Header):  # type: ignore[misc]  # astropy's classes have no types
    """Cards that become a plain header of astropy at the first look at it.

    Parsing takes astropy some 6 us a card. What is put is often written from its cards and never looked at.
    """

    @classmethod
    def of(cls, cards: Cards) -> _UnparsedHeader:
        """Return one that has its cards and no attribute of a header."""
        header = cls.__new__(cls)
        header.__dict__["unparsed_cards"] = cards
        return header

    def __init__(self, *arguments: object, **keywords: object) -> None:
        super().__init__(*arguments, **keywords)  # astropy copies a header by calling its class
        self.__class__ = fits.Header

    def clear(self) -> None:
        """Forget the cards: astropy's own way writes to the header without a look at it."""
        if "unparsed_cards" in self.__dict__:
            len(self)  # a look
        fits.Header.clear(self)

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        len(self)  # a look: others unpickle a header of astropy
        reduced: str | tuple[Any, ...] = fits.Header.__reduce_ex__(self, protocol)
        return reduced

    def __getattr__(self, name: str) -> object:
        cards = self.__dict__.get("unparsed_cards")
        if cards is not None:  # else another thread was quicker
            self.__dict__.update(fits.Header.fromstring("".join(text for _, text in cards)).__dict__)
            self.__class__ = fits.Header
            self.__dict__.pop("unparsed_cards", None)
        return object.__getattribute__(self, name)


def header_of(cards: Cards) -> fits.Header:
    """Return a header of astropy; its cards are parsed when they are used."""
    return _UnparsedHeader.of(list(cards))


def cards_of(meta: Mapping[str, object] | fits.Header) -> Cards:
    """Return the cards of a header or another mapping, without those that describe the file.

    A tuple (value, comment) as value of a mapping gives the card a comment; COMMENT, HISTORY and ""
    may have a list of texts. Trailing blanks of texts, and blank cards at the end, are not kept.

    Raises
    ------
    InvalidInputError
        FITS cannot hold an entry; the message names the keyword.
    """
    if isinstance(meta, _UnparsedHeader) and (unparsed := meta.__dict__.get("unparsed_cards")) is not None:
        return list(unparsed)
    cards: Cards = []
    if isinstance(meta, fits.Header):
        for card, parts in zip(meta.cards, map(_PARTS, meta.cards), strict=True):
            cards += _card_of(card) if None in parts or "." in parts[0] else _remembered(parts)
    else:
        seen: set[str] = set()
        for keyword, value in meta.items():
            cards.extend(_entry(keyword, value, seen))
    while cards and not cards[-1][1].strip():
        cards.pop()
    return cards


def _card_of(card: fits.Card) -> Sequence[tuple[str, str]]:
    """Return the cards of one of astropy's that was not parsed yet, or may be a record-valued one."""
    try:
        keyword = card.keyword
        if "." in keyword and card.field_specifier:
            # a record-valued card such as DP1 = 'NAXIS: 2'; the quotes stand close, that is what marks it
            head = f"{card.rawkeyword:8}= '{card.rawvalue}'"
            note = f" / {card.comment}" if card.comment else ""
            return [(card.rawkeyword, f"{head}{note}"[:_CARD].ljust(_CARD))]
        return _formatted(keyword, card.value, card.comment)
    except VerifyError:
        raise InvalidInputError(
            f"the header card {card.keyword!r} does not follow the FITS standard",
            hint=f"repair it by header[{card.keyword!r}] = ..., or remove it",
            kind=ErrorKind.VALUE,
        ) from None


_NAMES = ("_keyword", "_value", "_comment")
_PARTS: Callable[[fits.Card], tuple[Any, Any, Any]] = (
    attrgetter(*_NAMES) if vars(fits.Card()).keys() >= set(_NAMES) else lambda _: (None, None, None)
)
"""What the properties of a parsed card give, up to trailing blanks, which texts of cards do not keep.

The properties ask astropy's configuration twice a card whether to strip these, which takes most of the time
of a put with a long header. (None: ask them.)
"""


def _formatted(keyword: str, value: object, comment: object) -> Sequence[tuple[str, str]]:
    if _describes_file(keyword, value):
        return ()
    return (
        commentary(keyword, str(value)) if keyword in COMMENTARY else (format_card(keyword, value, comment),)
    )


_texts: dict[tuple[object, object], Sequence[tuple[str, str]]] = {}


def _remembered(parts: tuple[Any, Any, Any]) -> Sequence[tuple[str, str]]:
    """Return what `_formatted` does: headers of one instrument repeat."""
    value = parts[1]
    # equal values are different cards: 1, 1.0 and True have their types, 0.0 and -0.0 the same
    key = parts, type(value) if value != 0 else repr(value)
    texts = _texts.get(key)  # a plain dictionary touches less memory than lru_cache, which counts in a put
    if texts is None:
        if len(_texts) >= _MOST_TEXTS:
            _texts.clear()
        texts = _texts[key] = _formatted(*parts)
    return texts


def _describes_file(keyword: str, value: object) -> bool:
    return STRUCTURAL.fullmatch(keyword) is not None or (keyword == "EXTNAME" and value == _COMPRESSED_NAME)


def _entry(keyword: object, value: object, seen: set[str]) -> Cards:
    if not isinstance(keyword, str):
        raise _refused(repr(keyword), "is no text", "use texts as keywords")
    key = keyword.strip().upper().removeprefix("HIERARCH ").lstrip()
    if key in COMMENTARY:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
            raise _refused(keyword, "is no text and no list of texts", "use a list of texts")
        return [card for text in texts for card in commentary(key, text)]
    if key in seen:
        raise _refused(keyword, "occurs twice: FITS does not tell upper from lower case", "rename one")
    seen.add(key)
    comment: object = ""
    if isinstance(value, tuple) and len(value) == 2:
        value, comment = value
    if _describes_file(key, value):
        return []
    return [format_card(keyword.strip(), value, comment)]


def _refused(keyword: str, what: str, hint: str) -> InvalidInputError:
    return InvalidInputError(
        f"the header entry {keyword!r} {what}: a FITS header cannot hold it", hint=hint, kind=ErrorKind.VALUE
    )


def commentary(keyword: str, text: str) -> Cards:
    """Return COMMENT, HISTORY or blank cards: as many as the text needs, 72 characters each.

    Raises
    ------
    InvalidInputError
        The text is not printable ASCII.
    """
    lines = [line for part in text.split("\n") for line in _slices(part.rstrip())]
    for line in lines:
        if not _PRINTABLE.fullmatch(line):
            raise _refused(keyword, f"has the text {line!r}, which is not ASCII", "use printable ASCII")
    return [(keyword, f"{keyword:8}{line.rstrip()}".ljust(_CARD)) for line in lines]


def _slices(text: str) -> Iterable[str]:
    return [text[start : start + 72] for start in range(0, len(text), 72)] or [""]


def format_card(keyword: str, value: object, comment: object = "") -> tuple[str, str]:
    """Return one card; a keyword that is not standard becomes a HIERARCH card.

    Comments are cut to the room that the card has.

    Raises
    ------
    InvalidInputError
        FITS cannot hold it; the message names the keyword.
    """
    try:
        head, name = _head(keyword)
        note = _comment(comment)
        if isinstance(value, str):
            return name, _text_card(head, name, str.__str__(value).rstrip(), note)
        body = _number(value)
    except _Unrepresentable as error:
        what, hint = error.args
        raise _refused(keyword, what, hint) from None
    if head.startswith("HIERARCH"):
        body = body.strip()
    if len(head) + len(body) > _CARD:
        raise _refused(keyword, "does not fit in a card of 80 characters", "shorten keyword or value")
    return name, _join(head, body, note)


def _join(head: str, body: str, note: str) -> str:
    text = f"{head}{body} / {note}" if note else head + body
    return text[:_CARD].ljust(_CARD)


def _head(keyword: str) -> tuple[str, str]:
    if keyword.upper().startswith("HIERARCH "):
        keyword = keyword[9:].strip()
    upper = keyword.upper()
    if upper in ("END", "CONTINUE", "HIERARCH"):
        raise _Unrepresentable("is a keyword with a meaning of its own", "rename it")
    if _STANDARD.fullmatch(upper):
        return f"{upper:8}= ", upper
    if len(keyword) > _CARD or not _HIERARCH.fullmatch(keyword) or "'" in keyword:
        raise _Unrepresentable(
            "has a keyword that is too long, or not of printable ASCII without '=' and quotes", "rename it"
        )
    return f"HIERARCH {keyword} = ", keyword


def _comment(comment: object) -> str:
    if comment is None:
        return ""
    if not isinstance(comment, str) or not _PRINTABLE.fullmatch(comment):
        raise _Unrepresentable(f"has the comment {comment!r}", "use printable ASCII")
    return comment.strip()


def _number(value: object) -> str:
    """Return a value that is no text, right-aligned in 20 characters (section 4.2.2 to 4.2.6)."""
    if isinstance(value, bool | np.bool_):
        return f"{'T' if value else 'F':>20}"
    if value is None or isinstance(value, Undefined):
        return ""
    if isinstance(value, int | np.integer):
        return f"{_integer(int(value)):>20}"
    if isinstance(value, float | np.floating):
        return f"{_real(float(value)):>20}"
    if isinstance(value, complex | np.complexfloating):
        whole = complex(value)
        return f"{f'({_real(whole.real)}, {_real(whole.imag)})':>20}"
    raise _Unrepresentable(f"is a {type(value).__module__}.{type(value).__qualname__}", _mend(value))


def _integer(value: int) -> str:
    if value.bit_length() > 256:
        raise _Unrepresentable("does not fit in a card of 80 characters", "put it as a text")
    return str(value)


def _real(value: float) -> str:
    if not math.isfinite(value):
        raise _Unrepresentable(f"is {value!r}", "use None (an undefined value), or a text")
    return repr(value).upper()


def _mend(value: object) -> str:
    if isinstance(value, dict):
        return "flatten it, or put it as a dataset of its own (Mapping)"
    if hasattr(value, "unit") and hasattr(value, "value"):
        return "write (q.value, '[unit] ...'): FITS keeps units of keywords in comments"
    if hasattr(value, "isot"):
        return "use value.isot"
    if hasattr(value, "isoformat"):
        return "use value.isoformat()"
    return "headers hold text, bool, int, float, complex and None; put the rest as a dataset of its own"


def _text_card(head: str, name: str, value: str, note: str) -> str:
    if not _PRINTABLE.fullmatch(value):
        raise _Unrepresentable(
            f"is the text {value[:60]!r}, which is not printable ASCII", "transliterate it"
        )
    quoted = value.replace("'", "''")
    if _RECORD_VALUED.fullmatch(value) and len(quoted) >= 8:
        quoted += " "  # 'NAXIS: 2' close to its quotes would be read as a record-valued card
    body = f"'{quoted:8}'"
    if len(head) + len(body) <= _CARD:
        return _join(head, body, note)
    return _long_text_card(head, name, value, note)


def _long_text_card(head: str, name: str, value: str, note: str) -> str:
    """Return a card with CONTINUE cards (section 4.2.1.2), proven to be read as the same text."""
    if len(head) > _CARD - 20:
        raise _Unrepresentable("has a keyword too long for a long text", "shorten the keyword")
    for shortened in (note[:_LONGEST_COMMENT].rstrip(), ""):
        text = _continued(head, value, shortened)
        card = fits.Header.fromstring(text).cards[0]
        if card.value == value and card.comment == shortened:
            return text
    raise _Unrepresentable("is a long text that FITS readers would change", "shorten it")


def _continued(head: str, value: str, note: str) -> str:
    """Split a text over cards; a doubled quote is never split, as strict readers want it."""
    pieces = [""]
    for letter in value.replace("'", "\0"):
        quoted = letter.replace("\0", "''")
        room = _CARD - 3 - (len(head) if len(pieces) == 1 else len(_CONTINUE))  # quotes and ampersand
        if len(pieces[-1]) + len(quoted) > room:
            pieces.append("")
        pieces[-1] += quoted
    if note and len(pieces[-1]) + len(note) > _CARD - len(_CONTINUE) - 5:
        pieces.append("")
    heads = [head, *[_CONTINUE] * (len(pieces) - 1)]
    cards = [f"{start}'{piece}&'".ljust(_CARD) for start, piece in zip(heads[:-1], pieces[:-1], strict=True)]
    return "".join(cards) + _join(heads[-1], f"'{pieces[-1]}'", note)
