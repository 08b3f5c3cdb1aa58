"""The structure of a FITS file: its HDUs, their cards, and where their data are, checked against its size.

Everything that a file can claim (number of axes, sizes, counts) is compared with the bytes that are there
before anything is allocated or given to a library.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator

from attrs import frozen

from quantumio.formats._fits_cards import Cards
from quantumio.formats._guards import damaged
from quantumio.ports import Buffer

__all__ = ["BLOCK", "Hdu", "parse_cards", "scan", "unzipped"]

BLOCK = 2880
_CARD = 80
_LONGEST_HEADER = 4096 * BLOCK
_MOST_AXES = 32
_MOST_HDUS = 10_000
_ROOM = 64 << 20
_MOST_EXPANSION = 1100  # deflate, the strongest of the lossless compressions, reaches 1032

_STANDARD_KEYWORD = re.compile(r"([A-Za-z0-9_-]{0,8}) *")
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[EDed][-+]?\d+)?"
_VALUE = re.compile(
    rf" *(?P<value>'(?:[^']|'')*'|[TF]|(?P<number>{_NUMBER})|\( *{_NUMBER} *, *{_NUMBER} *\)|) *(?:/.*)?"
)
_TABLE = str.maketrans(dict.fromkeys((*range(32), *range(127, 256)), "?"))


@frozen(kw_only=True)
class Hdu:
    """One header and data unit of a file.

    Attributes
    ----------
    cards
        All its cards, printable; those that do not follow the standard are kept as COMMENT.
    start, data_start, stop
        Offsets of its header and of its data, and where the data end without padding.
    """

    cards: Cards
    start: int
    data_start: int
    stop: int

    def text(self, keyword: str) -> str | None:
        """Return the value of a card as text, None if there is no such card."""
        for name, card in self.cards:
            if name == keyword:
                match = _VALUE.match(card, 10)
                value = match["value"] if match else ""
                return value.strip("'").replace("''", "'").rstrip() if value.startswith("'") else value
        return None

    def number(self, keyword: str, default: float | None = None) -> float:
        """Return the value of a card that must be a number."""
        text = self.text(keyword)
        if text is None:
            if default is None:
                raise damaged("fits", f"the card {keyword} is missing")
            return default
        try:
            return int(text) if text.lstrip("+-").isdigit() else float(text.replace("D", "E"))
        except ValueError:
            raise damaged("fits", f"the card {keyword} = {text!r} is no number") from None

    def count(self, keyword: str, default: int | None = None) -> int:
        """Return the value of a card that must be an integer from 0 on."""
        number = self.number(keyword, default)
        if not isinstance(number, int) or number < 0:
            raise damaged("fits", f"the card {keyword} = {number} is no count")
        return number

    def shape(self, prefix: str = "") -> tuple[int, ...]:
        """Return the shape of the data in the order of numpy."""
        axes = self.count(f"{prefix}NAXIS")
        if axes > _MOST_AXES:
            raise damaged("fits", f"{prefix}NAXIS = {axes}")
        return tuple(self.count(f"{prefix}NAXIS{axis}") for axis in range(axes, 0, -1))

    @property
    def is_compressed(self) -> bool:
        """Whether it is a tile-compressed image."""
        return self.text("XTENSION") == "BINTABLE" and self.text("ZIMAGE") == "T"

    @property
    def is_image(self) -> bool:
        """Whether it is an image with axes, plain or compressed."""
        if self.is_compressed:
            return True
        if self.text("XTENSION") not in (None, "IMAGE") or self.text("GROUPS") == "T":
            return False
        return self.count("NAXIS") > 0


def unzipped(data: Buffer) -> memoryview:
    """Return the bytes of a file that may be compressed as a whole by gzip.

    Raises
    ------
    FormatError
        It is damaged, or expands beyond every proportion.
    """
    view = memoryview(data).cast("B")
    if bytes(view[:2]) != b"\x1f\x8b":
        return view
    limit = _ROOM + 100 * view.nbytes
    inflater = zlib.decompressobj(wbits=31)
    result = inflater.decompress(view, limit)
    if not inflater.eof:
        raise damaged("fits", "the gzip stream is cut off, or expands beyond every proportion")
    return memoryview(result)


def scan(data: memoryview) -> list[Hdu]:
    """Return all HDUs of a file.

    Raises
    ------
    FormatError
        It is no FITS file, is cut off, or has bytes that belong to no HDU.
    """
    hdus: list[Hdu] = []
    offset = 0
    while offset < data.nbytes:
        if hdus and not any(data[offset : offset + BLOCK]):
            break  # some writers fill up with zeros
        if len(hdus) >= _MOST_HDUS:
            raise damaged("fits", f"it has more than {_MOST_HDUS} HDUs")
        hdu = _read_hdu(data, offset, "XTENSION" if hdus else "SIMPLE")
        hdus.append(hdu)
        offset = _padded(hdu.stop)
    if not hdus:
        raise damaged("fits", "it is empty")
    return hdus


def _read_hdu(data: memoryview, start: int, first: str) -> Hdu:
    if bytes(data[start : start + 8]) != f"{first:8}".encode():
        raise damaged("fits", f"no {first} card at byte {start}")
    raw, data_start = _header(data, start)
    hdu = Hdu(cards=list(parse_cards(raw)), start=start, data_start=data_start, stop=data_start)
    stop = data_start + _data_size(hdu)
    if stop > data.nbytes:
        raise damaged("fits", f"it is cut off: {stop} bytes are described, {data.nbytes} are there")
    if hdu.is_compressed:
        _check_expansion(hdu, stop - data_start)
    return Hdu(cards=hdu.cards, start=start, data_start=data_start, stop=stop)


def _header(data: memoryview, start: int) -> tuple[str, int]:
    """Return the cards before END, and where the data begin."""
    limit = min(data.nbytes, start + _LONGEST_HEADER)
    end = b"END" + b" " * 77
    for offset in range(start, limit, BLOCK):
        block = bytes(data[offset : offset + BLOCK])
        position = block.find(end)
        while position % _CARD and position >= 0:
            position = block.find(end, position + 1)
        if position >= 0 and len(block) == BLOCK:
            return bytes(data[start : offset + position]).decode("latin-1"), offset + BLOCK
    raise damaged("fits", f"the header at byte {start} has no end")


def _data_size(hdu: Hdu) -> int:
    """Return the size of the data by section 4.4.1 (equations 1 and 2)."""
    bitpix = hdu.number("BITPIX")
    if bitpix not in (8, 16, 32, 64, -32, -64):
        raise damaged("fits", f"BITPIX = {bitpix}")
    shape = hdu.shape()
    if not shape:
        return 0
    if hdu.text("GROUPS") == "T" and shape[-1] == 0:
        shape = shape[:-1]
    values = hdu.count("PCOUNT", 0) + math.prod(shape)
    return abs(int(bitpix)) // 8 * hdu.count("GCOUNT", 1) * values


def _check_expansion(hdu: Hdu, nbytes: int) -> None:
    """Refuse an image that claims to be larger than its compressed bytes can be."""
    bitpix = hdu.number("ZBITPIX")
    if bitpix not in (8, 16, 32, 64, -32, -64):
        raise damaged("fits", f"ZBITPIX = {bitpix}")
    shape = hdu.shape("Z")
    pixels = math.prod(shape)
    tiles = 1
    for axis, length in enumerate(reversed(shape), 1):
        tile = hdu.count(f"ZTILE{axis}", length if axis == 1 else 1)
        if length and tile == 0:
            raise damaged("fits", f"ZTILE{axis} = {tile}")
        tiles *= math.ceil(length / min(tile, length)) if length else 0
    expanded = pixels * abs(int(bitpix)) // 8
    if expanded > _ROOM + _MOST_EXPANSION * nbytes or tiles != hdu.count("NAXIS2"):
        raise damaged("fits", f"{nbytes} compressed bytes cannot hold the shape {shape}")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def parse_cards(raw: str) -> Iterator[tuple[str, str]]:
    """Yield the cards of a header text, printable, each with the CONTINUE cards that belong to it."""
    waiting: tuple[str, str] | None = None
    for start in range(0, len(raw), _CARD):
        keyword, text = _card(raw[start : start + _CARD].translate(_TABLE).ljust(_CARD))
        if keyword == "CONTINUE":
            if waiting is not None and _is_continued(waiting[1]):
                waiting = waiting[0], waiting[1] + text
            continue
        if waiting is not None:
            yield waiting
        waiting = keyword, text
    if waiting is not None:
        yield waiting


def _is_continued(text: str) -> bool:
    """Whether the last card of a long text continues: its text ends with & (comments may follow)."""
    last = text[-_CARD:]
    match = _VALUE.match(last, last.index("=") + 1 if last.startswith("HIERARCH ") else 10)
    return match is not None and match["value"].rstrip("' ").endswith("&")


def _card(text: str) -> tuple[str, str]:
    """Return keyword and text of one card; what does not follow the standard becomes a COMMENT."""
    match = _STANDARD_KEYWORD.fullmatch(text[:8])
    if match is not None:
        keyword = match[1].upper()
        if keyword in ("", "COMMENT", "HISTORY"):
            return keyword, f"{keyword:8}{text[8:]}"
        if keyword == "CONTINUE":
            return keyword, text
        if keyword == "HIERARCH":
            name, separator, value = text[9:].partition("=")
            name = " ".join(name.split())
            if separator and name and name.upper() != "END" and _is_value(value):
                return name, f"HIERARCH {name} ={value}".ljust(_CARD)[:_CARD]
        elif text[8:10] == "= " and _is_value(text[10:]):
            return keyword, f"{keyword:8}{text[8:]}"
    return "COMMENT", f"COMMENT {text[:72]}"


def _is_value(text: str) -> bool:
    match = _VALUE.fullmatch(text)
    if match is None:
        return False
    number = match["number"]
    return number is None or math.isfinite(float(number.upper().replace("D", "E")))
