"""Regions of the sky, as IVOA position text."""

from __future__ import annotations

import math

from attrs import frozen

from quantumio.errors import ErrorKind, InvalidInputError

__all__ = ["Region"]

_SHAPES = {"CIRCLE": (3, 3), "POLYGON": (6, None), "RANGE": (4, 4)}


@frozen
class Region:
    """A region in ICRS degrees: ``CIRCLE ra dec radius`` or ``POLYGON ra1 dec1 ra2 dec2 ra3 dec3 ...``.

    The text is that of the POS parameter of IVOA SIA 2.0 (section 2.1.1); edges of polygons are great
    circles. ``RANGE ra1 ra2 dec1 dec2`` is taken as well.

    Attributes
    ----------
    shape
        ``CIRCLE``, ``POLYGON`` or ``RANGE``.
    coordinates
        Its numbers, degrees.
    """

    shape: str
    coordinates: tuple[float, ...]

    @classmethod
    def make(cls, value: object) -> Region:
        """Make one from a Region or from its text.

        Raises
        ------
        InvalidInputError
            It is neither, or a number is out of range; the message names it.
        """
        if isinstance(value, Region):
            return value
        words = value.split() if isinstance(value, str) else []
        try:
            shape, numbers = words[0].upper(), tuple(float(word) for word in words[1:])
            least, most = _SHAPES[shape]
        except (IndexError, KeyError, ValueError):
            raise _wrong(
                value, "write CIRCLE ra dec radius, or POLYGON ra1 dec1 ra2 dec2 ra3 dec3 ..."
            ) from None
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
        return cls(shape, numbers)

    def __str__(self) -> str:
        return f"{self.shape} {' '.join(map(repr, self.coordinates))}"


def _wrong(value: object, hint: str) -> InvalidInputError:
    return InvalidInputError(f"{value!r} is no region", hint=hint, kind=ErrorKind.REGION)
