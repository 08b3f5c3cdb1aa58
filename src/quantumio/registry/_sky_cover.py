"""Which cells of the sky the regions of an element are listed under, all of one level.

The level fits the regions that come first. A region that is far larger would fill thousands of cells: it is
listed under `ANYWHERE` instead, and whoever looks for regions near others looks there too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from quantumio.registry._sky_cells import cover, levels_of
from quantumio.registry._sky_regions import Regions
from quantumio.registry._sky_vectors import Ints

__all__ = ["ANYWHERE", "covered", "fitting_level"]

ANYWHERE: Final = 0
"""The cell of regions that are too large for their element's level; of the mesh the first is 8."""

_COARSEST, _FINEST = 4, 12  # cells of 4 degrees, and of 1 minute of arc
_LEVELS_ABOVE = 3  # a region of that many levels coarser fills some 300 cells


def fitting_level(encoded: Sequence[bytes]) -> int:
    """Return a level at which most of these regions meet a few cells."""
    return int(np.clip(np.median(levels_of(Regions.decode(encoded))), _COARSEST, _FINEST))


def covered(encoded: Sequence[bytes], level: int) -> tuple[Ints, Ints]:
    """Return positions of encoded regions, and the cells of a level that hold them."""
    large = levels_of(Regions.decode(encoded)) < level - _LEVELS_ABOVE
    few, many = np.flatnonzero(~large), np.flatnonzero(large)
    where, cells = cover(Regions.decode([encoded[number] for number in few.tolist()]), level)
    return np.concatenate([few[where], many]), np.concatenate([cells, np.full(len(many), ANYWHERE)])
