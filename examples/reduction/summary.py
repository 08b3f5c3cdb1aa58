"""What an observer looks at the morning after: figures of each frame, the table of the night, a picture."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData
from astropy.table import QTable
from astropy.visualization import ZScaleInterval
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure

Statistics = Mapping[str, str | int | float]

COLUMN_UNITS = {"_adu": u.adu, "_pix": u.pix, "_s": u.s}
"""Endings of the names of statistics, and the units that they stand for."""

QUICK_LOOK_DPI = 100

SOURCE_COLOUR = "#ff9f1c"


def frame_statistics(calexp: CCDData, sources: QTable) -> dict[str, str | int | float]:
    """Put a calibrated frame and its catalogue into figures.

    Parameters
    ----------
    calexp
        As `reduce_image` makes it.
    sources
        As `detect_sources` makes it from `calexp`.

    Returns
    -------
    dict
        Plain strings, integers and finite floats: ``date_obs``, ``physical_filter``, ``exposure_time_s``,
        ``background_adu``, ``background_rms_adu`` (measured), ``expected_rms_adu`` (median of the
        uncertainty), ``masked_pixels``, ``sources``, ``median_fwhm_pix`` (0 without sources) and
        ``brightest_adu`` (greatest flux; 0 without sources).
    """
    header = calexp.meta
    return {
        "date_obs": str(header.get("DATE-OBS", "")),
        "physical_filter": str(header.get("FILTER", "")).strip(),
        "exposure_time_s": float(header["EXPTIME"]),
        "background_adu": float(sources.meta["background_adu"]),
        "background_rms_adu": float(sources.meta["background_rms_adu"]),
        "expected_rms_adu": float(np.median(calexp.uncertainty.array)),
        "masked_pixels": int(np.count_nonzero(calexp.mask)),
        "sources": len(sources),
        "median_fwhm_pix": float(np.median(sources["fwhm"].to_value(u.pix))) if len(sources) else 0.0,
        "brightest_adu": float(np.max(sources["flux"].to_value(u.adu))) if len(sources) else 0.0,
    }


def night_table(statistics: Sequence[Statistics]) -> QTable:
    """Gather the statistics of a night's frames into one table.

    Parameters
    ----------
    statistics
        One mapping for each frame, all with the same names, as `frame_statistics` makes them; further names,
        as the exposure's number, are welcome.

    Returns
    -------
    QTable
        One row for each frame in the order given. A name that ends in ``_adu``, ``_pix`` or ``_s`` becomes a
        column with that unit, without the ending.
    """
    table = QTable()
    for name in statistics[0] if statistics else ():
        values = np.array([frame[name] for frame in statistics])
        ending = next((ending for ending in COLUMN_UNITS if name.endswith(ending)), None)
        if ending is None:
            table[name] = values
        else:
            table[name.removesuffix(ending)] = values * COLUMN_UNITS[ending]
    return table


def quick_look(raw: CCDData, calexp: CCDData, sources: QTable | None = None) -> bytes:
    """Draw a raw frame beside the calibrated one.

    Parameters
    ----------
    raw, calexp
        Two images of one shape, in ADU.
    sources
        Catalogue with ``x``, ``y`` and ``fwhm``; its sources are circled on the calibrated image.

    Returns
    -------
    bytes
        A PNG file.

    Notes
    -----
    Uses no global state of matplotlib, so it may be called from several threads at once. The grey scale is
    that of IRAF's and DS9's zscale.
    """
    rows, columns = raw.data.shape
    figure = Figure(figsize=(15.0, 7.2 * rows / columns + 1.6), dpi=QUICK_LOOK_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    figure.suptitle(_title(calexp.meta), fontsize=13)
    _draw_image(figure, left, raw, "Raw")
    number = "" if sources is None else f", {len(sources)} sources"
    _draw_image(figure, right, calexp, f"Calibrated{number}")
    left.set_ylabel("y (pix)")
    if sources is not None and len(sources):
        _circle(right, sources)
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()


def _draw_image(figure: Figure, axes: Axes, image: CCDData, title: str) -> None:
    data = np.asarray(image.data, dtype=np.float32)
    low, high = ZScaleInterval().get_limits(data)
    drawn = axes.imshow(data, origin="lower", cmap="gray", vmin=low, vmax=high, interpolation="antialiased")
    axes.set_title(title)
    axes.set_xlabel("x (pix)")
    bar = figure.colorbar(
        drawn, ax=axes, orientation="horizontal", extend="both", shrink=0.9, aspect=45, pad=0.02
    )
    bar.set_label("signal (ADU)")


def _circle(axes: Axes, sources: QTable) -> None:
    x, y = sources["x"].to_value(u.pix), sources["y"].to_value(u.pix)
    diameter = np.maximum(4.0 * sources["fwhm"].to_value(u.pix), 16.0)
    circles = EllipseCollection(
        diameter,
        diameter,
        np.zeros(len(sources)),
        units="xy",
        offsets=np.column_stack([x, y]),
        offset_transform=axes.transData,
        facecolors="none",
        edgecolors=SOURCE_COLOUR,
        linewidths=0.9,
    )
    axes.add_collection(circles, autolim=False)


def _title(header: Mapping[str, Any]) -> str:
    words = [str(header.get(card, "")).strip() for card in ("INSTRUME", "OBJECT", "FILTER")]
    words += [f"{header['EXPTIME']:g} s" if "EXPTIME" in header else ""]
    words += [f"{str(header['DATE-OBS'])[:19].replace('T', ' ')} UTC" if "DATE-OBS" in header else ""]
    return "   ".join(word for word in words if word)
