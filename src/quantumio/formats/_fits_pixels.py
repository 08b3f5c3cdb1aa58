"""Pixels between memory and the byte order and number types of FITS (FITS standard 4.0, section 5)."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from quantumio.formats._arrays import as_bytes

__all__ = ["BITPIX", "OFFSETS", "PixelArray", "is_pixel_dtype", "pixels_from_file", "pixels_to_file"]

PixelArray: TypeAlias = np.ndarray[Any, Any]

BITPIX = {"u1": 8, "i2": 16, "i4": 32, "i8": 64, "f4": -32, "f8": -64, "i1": 8, "u2": 16, "u4": 32, "u8": 64}
"""Number type of numpy to BITPIX."""

OFFSETS = {"i1": -128, "u2": 1 << 15, "u4": 1 << 31, "u8": 1 << 63}
"""Number types that FITS holds as the other signedness plus BZERO (section 5.2.5)."""

_BLOCK = 1 << 16  # elements that stay in the processor's cache between the two steps


def is_pixel_dtype(dtype: np.dtype[Any]) -> bool:
    """Whether FITS has images of this number type."""
    return dtype.str[1:] in BITPIX


def pixels_to_file(array: PixelArray) -> memoryview:
    """Return the bytes of a canonical array as FITS orders them, in one pass over memory.

    Bytes need no pass: they are a view.
    """
    code = array.dtype.str[1:]
    if code == "u1" or array.size == 0:
        return as_bytes(array)
    if code not in OFFSETS:
        return as_bytes(array.astype(array.dtype.newbyteorder(">")))
    stored = np.empty(array.shape, array.dtype.newbyteorder(">"))
    source, target = array.reshape(-1), stored.reshape(-1)
    raw = target.view(array.dtype)
    flip = _sign_bit(array.dtype).byteswap()
    for start in range(0, source.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        target[block] = source[block]
        raw[block] ^= flip  # subtracting BZERO flips the sign bit
    return as_bytes(stored)


def pixels_from_file(data: memoryview, code: str, shape: tuple[int, ...]) -> PixelArray:
    """Return a new native array of the pixels that FITS stored as ``code`` says (`BITPIX`, `OFFSETS`)."""
    dtype = np.dtype(code)
    if code not in OFFSETS:
        return np.ndarray(shape, dtype.newbyteorder(">"), data if data.nbytes else None).astype(dtype)
    stored = np.ndarray(shape, dtype.newbyteorder(">"), data if data.nbytes else None)
    result = np.empty(shape, dtype)
    source, target = stored.reshape(-1), result.reshape(-1)
    for start in range(0, source.size, _BLOCK):
        block = target[start : start + _BLOCK]
        block[...] = source[start : start + _BLOCK]
        np.bitwise_xor(block, _sign_bit(dtype), out=block)
    return result


def _sign_bit(dtype: np.dtype[Any]) -> Any:
    bits = 8 * dtype.itemsize
    return dtype.type(-(1 << (bits - 1)) if dtype.kind == "i" else 1 << (bits - 1))
