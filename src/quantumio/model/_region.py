"""Regions of the sky: text of IVOA positions, and an exact form in bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from attrs import field, frozen

from quantumio.errors import ErrorKind, InvalidInputError, shown
from quantumio.model._convexity import Vector, unit_vector, why_not_convex
from quantumio.model._region_bytes import from_bytes, is_in_degrees, to_bytes, vertices_of

__all__ = ["Region"]

_SHAPES: Final = {"CIRCLE": (3, 3), "POLYGON": (6, None), "RANGE": (4, 4)}
# Words of STC-S (TAP 1.0, ObsCore) that may follow the shape.
_FRAMES: Final = frozenset({"ICRS", "SPHERICAL2", "UNKNOWNREFPOS", "GEOCENTER", "BARYCENTER", "TOPOCENTER"})
_HINT: Final = "write CIRCLE ra dec radius, or POLYGON ra1 dec1 ra2 dec2 ra3 dec3 ... in degrees of ICRS"


def _floats(numbers: Iterable[float]) -> tuple[float, ...]:
    """Return numbers as Python's own, whose text is theirs alone."""
    return tuple(map(float, numbers))


@frozen
class Region:
    """A region in ICRS degrees: ``CIRCLE ra dec radius`` or ``POLYGON ra1 dec1 ra2 dec2 ra3 dec3 ...``.

    The text is that of the POS parameter of IVOA SIA 2.0 (section 2.1.1). Edges of polygons are great
    circles; polygons are convex, of either sense, and lie within half of the sky. ``RANGE ra1 ra2 dec1 dec2``
    lies between two meridians, eastwards from the first, and two parallels.

    Attributes
    ----------
    shape
        ``CIRCLE``, ``POLYGON`` or ``RANGE``.
    coordinates
        Its numbers, degrees.
    encoded
        What it was decoded from, where that is more exact than degrees; else empty. Regions whose degrees are
        equal are equal.
    """

    shape: str
    coordinates: tuple[float, ...] = field(converter=_floats)
    encoded: bytes = field(default=b"", eq=False, repr=False)

    @classmethod
    def make(cls, value: object) -> Region:
        """Make one from a Region, from its text, or from bytes as `decode` takes them.

        Raises
        ------
        InvalidInputError
            It is none of these, a number is out of range, or a polygon is not convex; the hint names the
            number or the vertex, and the mend.

        Notes
        -----
        Text of ObsCore's ``s_region`` is taken as well: ``POLYGON ICRS ...``, ``CIRCLE ICRS ...``, ``POSITION
        ICRS ra dec`` (a circle without extent), ``POSITIONINTERVAL ICRS ra1 dec1 ra2 dec2``.
        """
        if isinstance(value, Region):
            region = value
        elif isinstance(value, bytes):
            region = cls.decode(value)
        else:
            region = cls.read(value)
        if region.shape == "POLYGON" and (wrong := why_not_convex(_vertices(region))):
            what, mend = wrong
            raise _wrong(value, f"{what}: {mend}")
        return region

    @classmethod
    def read(cls, text: object) -> Region:
        """Make one from text that `make` has checked before; whether a polygon is convex is not looked at.

        Raises
        ------
        InvalidInputError
            It cannot be read, or a number is out of range.
        """
        words = text.split() if isinstance(text, str) else []
        try:
            shape = words.pop(0).upper()
            while words and words[0].upper() in _FRAMES:
                words.pop(0)
            numbers = tuple(map(float, words))
        except (IndexError, ValueError):
            raise _wrong(text, _HINT) from None
        if shape in ("POSITION", "POINT") and len(numbers) == 2:
            shape, numbers = "CIRCLE", (*numbers, 0.0)
        elif shape == "POSITIONINTERVAL" and len(numbers) == 4:
            shape, numbers = "RANGE", (numbers[0], numbers[2], numbers[1], numbers[3])
        return cls._checked(text, shape, numbers)

    @classmethod
    def _checked(cls, value: object, shape: str, numbers: tuple[float, ...], encoded: bytes = b"") -> Region:
        if shape not in _SHAPES:
            raise _wrong(value, _HINT)
        least, most = _SHAPES[shape]
        if (
            len(numbers) < least
            or (most and len(numbers) > most)
            or (shape == "POLYGON" and len(numbers) % 2)
        ):
            raise _wrong(
                value, f"{shape} takes {least}{'' if most else ' or more, an even number of'} numbers"
            )
        if not all(map(math.isfinite, numbers)):
            raise _wrong(value, "all numbers must be finite")
        declinations = {"CIRCLE": numbers[1:2], "POLYGON": numbers[1::2], "RANGE": numbers[2:]}[shape]
        if any(abs(declination) > 90 for declination in declinations):
            raise _wrong(value, "declinations lie between -90 and 90 degrees")
        if shape == "RANGE" and numbers[2] > numbers[3]:
            raise _wrong(value, "RANGE ra1 ra2 dec1 dec2 has dec1 <= dec2")
        if shape == "CIRCLE" and not 0 <= numbers[2] <= 180:
            raise _wrong(value, "a radius lies between 0 and 180 degrees")
        return cls(shape, numbers, encoded)

    @classmethod
    def decode(cls, data: bytes) -> Region:
        """Make one from what `encode` gave, or from the bytes of a circle, convex polygon or box of sphgeom.

        Raises
        ------
        InvalidInputError
            It is no such encoding.
        """
        try:
            shape, numbers = from_bytes(data)
        except ValueError as error:
            raise _wrong(data, str(error)) from None
        return cls._checked(data, shape, numbers, b"" if is_in_degrees(data) else data)

    def encode(self) -> bytes:
        """Return the region in bytes, of which `decode` makes the same one to the last bit.

        Returns
        -------
        bytes
            One letter and little-endian float64: ``C``, ``P`` or ``R`` and the degrees of a circle, polygon
            or range; or what it was decoded from, ``c``, ``p`` or ``b`` as sphgeom encodes them.
        """
        return self.encoded or to_bytes(self.shape, self.coordinates)

    @property
    def s_region(self) -> str:
        """Its text in the form of ObsCore's column ``s_region`` (STC-S)."""
        shape, numbers = self.shape, self.coordinates
        if shape == "RANGE":
            shape, numbers = "POSITIONINTERVAL", (numbers[0], numbers[2], numbers[1], numbers[3])
        return f"{shape} ICRS {' '.join(map(repr, numbers))}"

    def __str__(self) -> str:
        return f"{self.shape} {' '.join(map(repr, self.coordinates))}"


def _vertices(polygon: Region) -> list[Vector]:
    if polygon.encoded:
        return vertices_of(polygon.encoded)
    return list(map(unit_vector, polygon.coordinates[::2], polygon.coordinates[1::2]))


def _wrong(value: object, hint: str) -> InvalidInputError:
    return InvalidInputError(f"{shown(value)} is no region", hint=hint, kind=ErrorKind.REGION)
