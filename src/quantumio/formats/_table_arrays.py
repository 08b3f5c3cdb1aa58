"""The form ``numpy`` of tables: one structured array."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["structured_array"]


def structured_array(columns: Mapping[str, tuple[np.ndarray, np.ndarray | None]]) -> np.ndarray:
    """Return columns of values and masks as one structured array.

    It is a `numpy.ma.MaskedArray` if any column has a mask, else a plain array.
    """
    dtype = np.dtype([(name, values.dtype, values.shape[1:]) for name, (values, _) in columns.items()])
    rows = len(next(iter(columns.values()))[0]) if columns else 0
    array = np.zeros(rows, dtype=dtype)
    for name, (values, _) in columns.items():
        array[name] = values
    if all(mask is None for _, mask in columns.values()):
        return array
    masked: np.ndarray = np.ma.MaskedArray(array, mask=np.zeros(rows, np.ma.make_mask_descr(dtype)))
    for name, (_, mask) in columns.items():
        if mask is not None:
            masked.mask[name] = mask  # type: ignore[attr-defined]  # of the masked array
    return masked
