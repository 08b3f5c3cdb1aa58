"""The spellings of a data ID, accepted and refused: of a raw, and of a bias at the time of an exposure."""

from types import MappingProxyType

import numpy as np
import pytest

from tests.peer.registries import answer

CAM = {"instrument": "Cam"}
FULL = CAM | {"exposure": 2, "detector": 1}


@pytest.fixture
def raw(registry):
    """A raw of exposure 2 and detector 1, and one of exposure 3 and detector 0."""
    registry.put("raw", "raws", **CAM, exposure=3, detector=0)
    return registry.put("raw", "raws", **FULL)


def look(registry, data_id, **keys):
    return registry.find("raw", data_id, collections="raws", **keys)


@pytest.mark.parametrize(
    ("data_id", "keys"),
    [
        (FULL, {}),
        (None, FULL),
        (CAM, {"exposure": 2, "detector": 1}),
        (FULL, {"detector": 1}),
        (MappingProxyType(FULL), {}),
        (CAM | {"exposure": np.int64(2), "detector": np.int16(1)}, {}),
        (CAM | {"exposure": np.uint32(2)}, {"detector": np.int32(1)}),
        ({"detector": 1, "exposure": 2, "instrument": np.str_("Cam")}, {}),
    ],
)
def test_mapping_and_keywords_and_numpy_values_are_one_data_id(registry, raw, data_id, keys):
    assert look(registry, data_id, **keys) == raw


@pytest.mark.parametrize(
    ("data_id", "keys"),
    [
        (CAM | {"exposure.obs_id": "exp-2", "detector": 1}, {}),
        (CAM | {"exposure": 2, "detector.full_name": "chip_1"}, {}),
        (CAM | {"exposure.obs_id": "exp-2", "detector.full_name": "chip_1"}, {}),
        (CAM | {"exposure": 2}, {"full_name": "chip_1"}),
        (CAM, {"obs_id": "exp-2", "full_name": "chip_1"}),
        (CAM | {"exposure": "exp-2", "detector": 1}, {}),
        (CAM | {"exposure": 2}, {"detector": "chip_1"}),
        (CAM | {"exposure": "exp-2"}, {"detector": np.str_("chip_1")}),
    ],
)
def test_metadata_that_identifies_stands_for_its_key(registry, raw, data_id, keys):
    assert look(registry, data_id, **keys) == raw


def test_metadata_identifies_calibrations_of_an_exposure(registry):
    flat = registry.put("flat", "made", **CAM, detector=1, physical_filter="R2")
    registry.certify("calib", [flat], None, None)
    spelled = CAM | {"exposure.obs_id": "exp-2", "detector.full_name": "chip_1"}
    assert registry.find("flat", spelled, collections="calib") == flat
    assert registry.find("flat", CAM | {"visit": "vis-2", "detector": "chip_1"}, collections="calib") == flat


def test_text_key_is_a_name_and_case_counts(registry, raw):
    assert answer(lambda: look(registry, FULL | {"instrument": "cam"})) in ("none", "invalid")


@pytest.mark.parametrize(
    "data_id",
    [
        CAM | {"exposure": 2},
        {"exposure": 2, "detector": 1},
        {},
        FULL | {"telescope": 1},
        FULL | {"exposure.nothing": 1},
        CAM | {"exposure": 2, "detector.raft": "A"},
        CAM | {"exposure": "exp-99", "detector": 1},
        CAM | {"exposure.obs_id": "exp-99", "detector": 1},
        CAM | {"exposure": "2", "detector": 1},
        CAM | {"exposure": 2, "detector": "1"},
        FULL | {"exposure.obs_id": "exp-3"},
        FULL | {"full_name": "chip_3"},
        CAM | {"exposure.obs_id": 2, "detector": 1},
        CAM | {"exposure": None, "detector": 1},
        CAM | {"exposure": [2], "detector": 1},
    ],
)
def test_what_is_no_data_id_is_refused_by_both(registry, raw, data_id):
    assert answer(lambda: look(registry, data_id)) == "invalid"


# What the peer takes, and quantumio does not: a contradiction, a slip or a surplus must not find something.
NOT_FOLLOWED = {
    "contradicting implied value": (FULL | {"physical_filter": "G"}, {}, "found"),
    "contradicting implied value of an implied one": (FULL | {"band": "g"}, {}, "found"),
    "surplus key": (FULL | {"visit": 1}, {}, "found"),
    "contradicting keyword": (FULL, {"detector": 0}, "none"),
    "truth value for a number": (CAM | {"exposure": 2, "detector": True}, {}, "found"),
    "number with a point": (CAM | {"exposure": 2.0, "detector": 1}, {}, "found"),
}


@pytest.mark.parametrize("what", NOT_FOLLOWED)
def test_contradictions_and_slips_find_nothing(registry, raw, what):
    """Documented differences: the peer lets these pass in silence."""
    data_id, keys, of_the_peer = NOT_FOLLOWED[what]
    expected = of_the_peer if registry.name == "peer" else "invalid"
    assert answer(lambda: look(registry, data_id, **keys)) == expected


def test_implied_values_that_agree_are_taken(registry, raw):
    assert look(registry, FULL | {"physical_filter": "R2", "band": "r"}) == raw


def test_sequence_number_of_a_day(registry, raw):
    """Documented difference: nothing makes ``seq_num`` unique here; the peer knows it by its name."""
    spelled = CAM | {"day_obs": 20250620, "seq_num": 20, "detector": 1}
    assert answer(lambda: look(registry, spelled)) == ("found" if registry.name == "peer" else "invalid")
