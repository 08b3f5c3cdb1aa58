"""The science of the reduction, in one place: what the SuperTasks of this example call.

The order of a night: `read_noise` and the three masters from the calibration frames, `reduce_image` for each
science frame, `detect_sources` on the result, then `frame_statistics`, `night_table` and `quick_look` for
the people who look after the night.
"""

from .calibration import master_bias, master_dark, master_flat, read_noise, reduce_image
from .cosmic_rays import find_cosmic_rays, reject_cosmic_rays
from .detection import detect_sources
from .summary import frame_statistics, night_table, quick_look

__all__ = [
    "detect_sources",
    "find_cosmic_rays",
    "frame_statistics",
    "master_bias",
    "master_dark",
    "master_flat",
    "night_table",
    "quick_look",
    "read_noise",
    "reduce_image",
    "reject_cosmic_rays",
]
