"""Headers with world coordinates of any kind, and cards of time, place and others beside them."""

from astropy.io import fits
from hypothesis import strategies as st

PARAMETERS = {
    "AZP": [1, 2],
    "SZP": [1, 2, 3],
    "TAN": [],
    "STG": [],
    "SIN": [1, 2],
    "ARC": [],
    "ZPN": [0, 1, 2, 3],
    "ZEA": [],
    "AIR": [1],
    "CYP": [1, 2],
    "CEA": [1],
    "CAR": [],
    "MER": [],
    "SFL": [],
    "PAR": [],
    "MOL": [],
    "AIT": [],
    "COP": [1, 2],
    "COE": [1, 2],
    "COD": [1, 2],
    "COO": [1, 2],
    "BON": [1],
    "PCO": [],
    "TSC": [],
    "CSC": [],
    "QSC": [],
    "HPX": [1, 2],
    "XPH": [],
}
"""The projections of wcslib, with the parameters that they take on the axis of latitude."""

NEEDED = {"ZPN", "COP", "COE", "COD", "COO", "BON"}
"""Those that are undefined without parameters."""

SYSTEMS = [("RA--", "DEC-"), ("GLON", "GLAT"), ("ELON", "ELAT"), ("HPLN", "HPLT")]
SPECTRAL = {
    "FREQ": ("Hz", 1.42e9, 1e4),
    "WAVE": ("m", 5e-7, 1e-10),
    "AWAV": ("m", 5e-7, 1e-10),
    "VELO": ("m/s", 1e5, 1e3),
    "VRAD": ("m/s", 1e5, 1e3),
    "VOPT": ("m/s", 1e5, 1e3),
    "VOPT-F2W": ("m/s", 1e5, 1e3),
    "WAVE-LOG": ("m", 5e-7, 1e-10),
    "STOKES": ("", 1.0, 1.0),
    "LINEAR": ("", 3.0, 0.5),
    "TIME": ("s", 1e5, 10.0),
    "UTC": ("d", 60850.25, 0.1),
}
ALIEN_UNITS = {
    "deg": ["arcsec", "arcmin", "DEG"],
    "m": ["nm", "Angstrom"],
    "Hz": ["GHz", "MHz"],
    "m/s": ["km/s"],
}
FRAMES = [
    {},
    {"RADESYS": "ICRS"},
    {"RADESYS": "FK5", "EQUINOX": 2000.0},
    {"RADESYS": "FK5", "EQUINOX": 2025.5},
]
FRAMES += [{"RADESYS": "FK4", "EQUINOX": 1950.0}, {"RADECSYS": "FK5"}, {"EQUINOX": 1950.0}, {"EPOCH": 1975.0}]
FRAMES += [{"EQUINOX": "J2000"}, {"RADESYS": "GAPPT"}, {"RADESYS": "ICRS", "EQUINOX": 2000.0}]

TIMES = {
    "DATE-OBS": [
        "2025-06-24T03:16:00",
        "2025-06-24T03:16:00.123456",
        "2025-06-24",
        "24/06/99",
        "unknown",
        "",
    ],
    "MJD-OBS": [60850.136111111, 60850.1361111111111, 60850, 0.0],
    "DATE-BEG": ["2025-06-24T03:16:00"],
    "MJD-BEG": [60850.13611112345],
    "DATE-AVG": ["2025-06-24T03:17:00.5"],
    "MJD-AVG": [60850.1368055555],
    "DATE-END": ["2025-06-24T03:18:00"],
    "MJD-END": [60850.1375],
    "DATE": ["2025-06-25T12:00:00"],
    "JD-OBS": [2460850.63611111],
    "TIMESYS": ["UTC", "TAI", "tai"],
    "TIMEUNIT": ["s", "d"],
    "MJDREF": [0.0, 51544.5],
    "MJDREFI": [0, 51544],
    "MJDREFF": [0.0, 0.00074287037037037],
    "DATEREF": ["1858-11-17", "2000-01-01"],
    "XPOSURE": [30.0, 1 / 3],
    "TELAPSE": [31.0],
    "TSTART": [0.0, 1234.5678901234567],
    "TSTOP": [1264.5678901234567],
    "TIMEDEL": [0.1],
    "TREFPOS": ["TOPOCENTER", "BARYCENTER"],
    "PLEPHEM": ["DE405"],
    "JEPOCH": [2025.5],
    "BEPOCH": [1975.25],
}
PLACES = {
    "VELREF": [257],
    "DSUN_OBS": [1.496e11, 152095713013.1234],
    "RSUN_REF": [6.957e8 / 3],
    "HGLN_OBS": [0.123456789012345678],
    "HGLT_OBS": [-5.1],
    "CRLN_OBS": [33.123456789012345],
}
OBSERVATORIES = [
    {},
    {"OBSGEO-X": -1234567.123456789, "OBSGEO-Y": 2345678.123456789, "OBSGEO-Z": 5000000.0},
    {"OBSGEO-B": -30.2407, "OBSGEO-L": -70.7366, "OBSGEO-H": 2663.123456789012345},
]
SPECTRAL_FRAMES = {
    "SPECSYS": ["LSRK", "BARYCENT", "TOPOCENT"],
    "SSYSOBS": ["TOPOCENT"],
    "SSYSSRC": ["HELIOCEN"],
    "VELOSYS": [-12345.678901234567],
    "ZSOURCE": [0.123456789012345678],
    "VELANGL": [10.1],
    "RESTFRQ": [1.420405751786e9, 115271201800.12345],
    "RESTFREQ": [1.420405751786e9],
    "RESTWAV": [0.21106114054],
}
OTHERS = {
    "OBJECT": ["M 13"],
    "EXPTIME": [30.0],
    "FILTER": ["r"],
    "HISTORY": ["flat-fielded", "CTYPE1 was wrong"],
    "COMMENT": ["MJD-OBS = 3"],
    "PCOUNTS": [5],
    "A_DMAX": [1.5],
    "EXTNAME": ["SCI"],
    "HIERARCH ESO TEL AIRM": [1.2],
    "CTYPE1A": ["LINEAR"],
    "CRVAL1A": [5.0],
    "CD1_1A": [2.0],
    "WCSNAMEA": ["other"],
    "CTYPE1B": ["RA---TAN"],
}
numbers = st.floats(-1, 1).filter(lambda number: abs(number) > 1e-3)


def _degrees(most):
    return st.floats(-most, most).filter(lambda angle: abs(angle) > 1e-3)


pixels = st.floats(-4000, 4000).filter(lambda number: number == 0 or abs(number) > 1e-3)


def _some(choices, most=4):
    return st.lists(st.sampled_from(sorted(choices)), max_size=most, unique=True).flatmap(
        lambda keys: st.fixed_dictionaries({key: st.sampled_from(choices[key]) for key in keys})
    )


@st.composite
def celestial(draw):
    """A pair of axes of longitude and latitude."""
    code = draw(st.sampled_from(["TAN", "TAN", "TPV", *PARAMETERS]))
    names = draw(st.sampled_from(SYSTEMS))
    cards = {f"CTYPE{axis}": f"{name}-{code}" for axis, name in enumerate(names, 1)}
    cards |= {
        "CRVAL1": draw(st.floats(0.001, 360)),
        "CRVAL2": draw(st.sampled_from([90.0, -90.0, 0.0]) | _degrees(89)),
    }
    scale = draw(st.sampled_from([1e-4, 1e-2]))
    cards |= _linear(draw, scale)
    if code == "TPV":
        for axis in (1, 2):
            cards[f"PV{axis}_1"] = 1 + draw(numbers) / 100
            cards |= {f"PV{axis}_{index}": draw(numbers) / 100 for index in draw(_indices((0, 2, 4, 5, 10)))}
    elif code in PARAMETERS and (code in NEEDED or draw(st.booleans())):
        values = {"ZPN": (0.0, 1.0, 0.001, 0.01), "HPX": (4, 3)}.get(code, (45.0, 10.0, 60.0))
        cards |= {f"PV2_{index}": value for index, value in zip(PARAMETERS[code], values, strict=False)}
    if draw(st.integers(0, 4)) == 0:
        cards |= {"PV1_1": draw(numbers), "PV1_2": 89.0} if code not in ("TPV", "TAN") else {}
    if draw(st.booleans()):
        cards["LONPOLE"] = draw(st.sampled_from([0.0, 180.0]) | _degrees(180))
    if draw(st.booleans()):
        cards["LATPOLE"] = draw(st.sampled_from([0.0, 90.0]) | _degrees(90))
    if draw(st.booleans()):
        cards |= draw(st.sampled_from(FRAMES))
    return cards


def _indices(choices):
    return st.lists(st.sampled_from(choices), unique=True)


def _linear(draw, scale):
    """The matrix of two axes, in each of the ways that the standard has or had; also in two at once."""
    matrix = {f"{row}_{column}": draw(numbers) / 10 + (row == column) for row in (1, 2) for column in (1, 2)}
    cards = {f"CRPIX{axis}": draw(pixels) for axis in (1, 2)}
    increments = {"CDELT1": -scale * (1 + draw(numbers) / 10), "CDELT2": scale}
    kind = draw(st.sampled_from(["CDELT", "PC", "CD", "CROTA", "CD and CDELT", "PC and CD", "PC and CROTA"]))
    if "PC" in kind:
        cards |= {f"PC{index}": element for index, element in matrix.items()}
    if "CD" in kind.split():
        cards |= {f"CD{index}": scale * element for index, element in matrix.items()}
    if kind not in ("CD",):
        cards |= increments
    if "CROTA" in kind:
        cards |= {"CROTA1": 0.0, "CROTA2": 90 * draw(numbers)}
    if draw(st.integers(0, 3)) == 0:
        for index in draw(_indices(sorted(matrix))):
            cards.pop(f"PC{index}", None)
    if draw(st.integers(0, 3)) == 0:
        cards |= {f"CD{index}": scale for index in draw(_indices(sorted(matrix)))}
    return cards


def _sip(draw):
    cards = {}
    for name in ("A", "B", *draw(st.sampled_from([(), ("AP", "BP")]))):
        order = draw(st.integers(2, 3))
        cards[f"{name}_ORDER"] = order
        for i in range(order + 1):
            for j in range(order + 1 - i):
                if i + j > 1 and draw(st.booleans()):
                    cards[f"{name}_{i}_{j}"] = draw(st.just(0.0) | numbers) * 1e-5
    return cards


@st.composite
def world_coordinates(draw):
    """Cards of a primary WCS that astropy reads."""
    kind = draw(st.sampled_from(["image", "image", "image", "cube", "spectrum", "alternate alone"]))
    if kind == "spectrum":
        return _third(draw, 1)
    cards = draw(celestial())
    if kind == "image" and draw(st.integers(0, 2)) == 0 and not cards["CTYPE1"].endswith("TPV"):
        cards |= _sip(draw)
        if draw(st.booleans()):
            cards |= {f"CTYPE{axis}": cards[f"CTYPE{axis}"] + "-SIP" for axis in (1, 2)}
    if kind == "cube":
        cards |= _third(draw, 3) | draw(_some(SPECTRAL_FRAMES))
    if draw(st.integers(0, 3)) == 0:
        cards |= {"CUNIT1": draw(st.sampled_from(ALIEN_UNITS["deg"]))}
        cards["CUNIT2"] = cards["CUNIT1"]
    if draw(st.booleans()):
        cards |= {"WCSAXES": 3 if kind == "cube" else 2}
    cards |= draw(
        _some({"CRDER1": [0.1, 1 / 3], "CSYER2": [0.2], "CNAME1": ["column", ""], "WCSNAME": ["sky"]}, most=2)
    )
    if kind == "alternate alone":
        return {f"{keyword}C"[:8]: value for keyword, value in cards.items()}
    return cards


def _third(draw, axis):
    name = draw(st.sampled_from(sorted(SPECTRAL)))
    unit, value, increment = SPECTRAL[name]
    cards = {
        f"CTYPE{axis}": name,
        f"CRPIX{axis}": draw(pixels),
        f"CRVAL{axis}": value * (1 + draw(numbers) / 10),
        f"CDELT{axis}": increment,
    }
    if unit:
        cards[f"CUNIT{axis}"] = draw(st.sampled_from([unit, *ALIEN_UNITS.get(unit, [])]))
    return cards | ({"RESTFRQ": 1.420405751786e9} if name.startswith("V") else {})


def beside():
    """Cards of time and place, and others."""
    return st.tuples(_some(TIMES), st.sampled_from(OBSERVATORIES), _some(PLACES), _some(OTHERS)).map(
        lambda parts: [item for part in parts for item in part.items()]
    )


@st.composite
def headers(draw):
    """A header with (nearly always) world coordinates, its cards in any order."""
    items = list(draw(world_coordinates()).items()) + draw(beside())
    return fits.Header(draw(st.permutations(items)) if draw(st.booleans()) else items)
