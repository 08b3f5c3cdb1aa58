"""Queries: the language of ``where``, bound values, order, limits and counts; times of commits."""

import pytest
from astropy.time import Time, TimeDelta

from tests.peer.registries import Why, refuses
from tests.peer.world import HOURS

CAM = {"instrument": "Cam"}


@pytest.fixture
def biases(registry):
    """A bias of each of the four detectors in one run."""
    return [registry.put("bias", "r", **CAM, detector=number) for number in range(4)]


@pytest.fixture
def images(registry):
    """An image of each visit, by detector 0; of visit 1 by detector 1, too."""
    pairs = [(1, 0), (1, 1), (2, 0), (3, 0), (4, 0)]
    return {pair: registry.put("image", "r", **CAM, visit=pair[0], detector=pair[1]) for pair in pairs}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("detector = 2", [2]),
        ("detector != 2", [0, 1, 3]),
        ("detector < 2", [0, 1]),
        ("2 <= detector", [2, 3]),
        ("detector > 0 AND detector < 3", [1, 2]),
        ("detector = 0 OR detector = 3", [0, 3]),
        ("NOT detector = 0", [1, 2, 3]),
        ("NOT (detector = 0 OR detector = 1)", [2, 3]),
        ("detector = 0 OR detector = 1 AND detector = 2", [0]),  # AND binds stronger
        ("detector IN (1, 3)", [1, 3]),
        ("detector NOT IN (1, 3)", [0, 2]),
        ("detector IN (1..3)", [1, 2, 3]),
        ("detector IN (0..3:2)", [0, 2]),
        ("detector IN (0, 2..3)", [0, 2, 3]),
        ("detector NOT IN (0..2)", [3]),
        ("detector.full_name = 'chip_1'", [1]),
        ("detector.full_name IN ('chip_1', 'chip_2')", [1, 2]),
        ("detector.raft = 'B'", [2, 3]),
        ("detector.raft > 'A'", [2, 3]),
        ("instrument = 'Cam' AND detector = 1", [1]),
        ("detector.raft = 'C'", []),
    ],
)
def test_expression_chooses(registry, biases, where, expected):
    assert registry.query("bias", ["r"], where, order_by=["detector"], **CAM) == [
        biases[number] for number in expected
    ]


@pytest.mark.parametrize(
    ("where", "bind", "expected"),
    [
        ("detector = :one", {"one": 2}, [2]),
        ("detector IN (:some)", {"some": [0, 3]}, [0, 3]),
        ("detector.full_name = :name", {"name": "chip_3"}, [3]),
        ("detector.full_name = :name", {"name": "' OR 1=1 --"}, []),
    ],
)
def test_values_are_bound(registry, biases, where, bind, expected):
    found = registry.query("bias", ["r"], where, bind=bind, order_by=["detector"], **CAM)
    assert found == [biases[number] for number in expected]


@pytest.mark.parametrize(
    ("pattern", "expected"), [("chip_*", [0, 1, 2, 3]), ("*_3", [3]), ("chip?1", [1]), ("chip", [])]
)
def test_glob_matches_whole_texts(registry, biases, pattern, expected):
    """The peer writes ``GLOB(text, pattern)``, SQLite and quantumio also ``text GLOB pattern``."""
    where = "GLOB(detector.full_name, :p)" if registry.name == "peer" else "detector.full_name GLOB :p"
    found = registry.query("bias", ["r"], where, bind={"p": pattern}, order_by=["detector"], **CAM)
    assert found == [biases[number] for number in expected]


def test_glob_is_written_as_a_function(registry, biases):
    assert registry.query("bias", ["r"], "GLOB(detector.full_name, 'chip_[12]')", **CAM) == []
    assert registry.query("bias", ["r"], "GLOB(detector.full_name, '*_2')", **CAM) == [biases[2]]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("physical_filter = 'R1'", [1, 4]),  # implied by the visit
        ("band = 'r'", [1, 2, 4]),  # implied by what the visit implies
        ("visit.name = 'vis-3'", [3]),
        ("visit.timespan.begin >= T'2025-06-20T02:59:00'", [3, 4]),
        ("visit.timespan.begin >= T'2025-06-20T03:00:00'", [4]),  # UTC, and visits begin by TAI
        ("visit.timespan.end <= T'2025-06-20T03:00:00'", [1, 2]),
        ("day_obs = 20250620 AND visit > 2", [3, 4]),
    ],
)
def test_expression_follows_what_visits_imply(registry, images, where, expected):
    found = registry.query("image", ["r"], where, order_by=["visit"], **CAM, detector=0)
    assert found == [images[visit, 0] for visit in expected]


def test_keywords_and_expression_are_both_held(registry, images):
    assert registry.query("image", ["r"], "visit < 3", **CAM, visit=1, detector=1) == [images[1, 1]]
    assert registry.query("image", ["r"], "visit > 3", **CAM, visit=1) == []


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("detector =", Why.INVALID),
        ("(detector = 1", Why.INVALID),
        ("detector = 1 1", Why.INVALID),
        ("detektor = 1", Why.INVALID),
        ("detector.nothing = 1", Why.INVALID),
        ("detector = :missing", Why.INVALID),
        ("detector = 'one'", Why.INVALID),
    ],
)
def test_wrong_expressions_are_refused(registry, biases, where, why):
    with refuses(why):
        registry.query("bias", ["r"], where, **CAM)


def test_order_may_be_reversed_and_have_several_keys(registry, images):
    found = registry.query("image", ["r"], order_by=["-visit", "detector"], **CAM)
    assert found == [images[pair] for pair in ((4, 0), (3, 0), (2, 0), (1, 0), (1, 1))]
    found = registry.query("image", ["r"], order_by=["detector", "-visit"], **CAM)
    assert found == [images[pair] for pair in ((4, 0), (3, 0), (2, 0), (1, 0), (1, 1))]


def test_limit_takes_the_first(registry, images):
    found = registry.query("image", ["r"], order_by=["-visit"], limit=2, **CAM)
    assert found == [images[4, 0], images[3, 0]]
    assert len(registry.query("image", ["r"], limit=100, **CAM)) == 5


def test_order_by_an_unknown_name_is_refused(registry, biases):
    with refuses(Why.INVALID):
        registry.query("bias", ["r"], order_by=["nothing"], **CAM)


def test_matches_are_counted(registry, images):
    assert registry.count("image", ["r"]) == 5
    assert registry.count("image", ["r"], "instrument = 'Cam' AND visit = 1") == 2
    assert registry.count("image", ["r"], "instrument = 'Cam' AND visit = 9") == 0


def test_query_of_an_unknown_collection_is_refused_and_of_a_glob_is_empty(registry, biases):
    with refuses(Why.MISSING):
        registry.query("bias", ["nowhere"])
    assert registry.query("bias", "nowhere*") == []


def test_query_of_an_unknown_dataset_type_is_refused(registry, biases):
    with refuses(Why.MISSING):
        registry.query("nothing", ["r"])


def test_run_without_the_dataset_type_gives_nothing(registry, biases):
    assert registry.query("raw", ["r"], **CAM) == []


# ---------------------------------------------------------------------------- data IDs and records


def test_data_ids_are_those_of_records_that_belong_together(registry):
    found = registry.data_ids(["exposure", "visit"], "visit > 2", **CAM)
    assert [(one["exposure"], one["visit"]) for one in found] == [(3, 3), (4, 4)]


def test_data_ids_of_independent_dimensions_are_all_pairs(registry):
    found = registry.data_ids(["exposure", "detector"], "exposure < 3 AND detector IN (0..1)", **CAM)
    assert sorted((one["exposure"], one["detector"]) for one in found) == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_data_ids_of_visits_and_detectors(registry):
    """Documented difference: where there are records of pairs, they are the pairs; the peer takes all."""
    found = registry.data_ids(["visit", "detector"], **CAM)
    assert len(found) == (16 if registry.name == "peer" else 2)


def test_data_ids_follow_implied_values(registry):
    found = registry.data_ids(["visit"], "band = 'g'", **CAM)
    assert found == [CAM | {"visit": 3}]


def test_data_ids_of_an_unknown_dimension_are_refused(registry):
    with refuses(Why.INVALID):
        registry.data_ids(["telescope"])


def test_records_are_chosen_by_an_expression(registry):
    found = registry.records("exposure", "exposure.seq_num > 20 AND physical_filter != :f", {"f": "G"}, **CAM)
    assert [record["exposure"] for record in found] == [4]


def test_data_ids_are_limited_to_those_with_a_dataset(registry, images):
    registry.delete([images[4, 0]])
    found = registry.data_ids_with(["visit", "detector"], "image", ["r"])
    assert sorted((one["visit"], one["detector"]) for one in found) == [(1, 0), (1, 1), (2, 0), (3, 0)]


def test_records_are_chosen_by_overlap_with_a_time(registry):
    begin, end = HOURS[2], HOURS[3] + TimeDelta(1, format="sec")
    span = registry.timespan(begin, end)
    found = registry.records("visit", "visit.timespan OVERLAPS :span", {"span": span}, **CAM)
    assert sorted(record["visit"] for record in found) == [2, 3]


def test_datasets_are_chosen_by_their_time_of_ingest_to_the_second(registry):
    """The peer keeps it to the second, quantumio to the nanosecond: a second either way holds for both."""
    second = TimeDelta(1, format="sec")
    before = Time.now().tai - second
    ref = registry.put("bias", "r", **CAM, detector=0)
    after = Time.now().tai + second
    assert registry.query("bias", ["r"], "ingest_date >= :t", bind={"t": before}, **CAM) == [ref]
    assert registry.query("bias", ["r"], "ingest_date <= :t", bind={"t": after}, **CAM) == [ref]
    assert registry.query("bias", ["r"], "ingest_date > :t", bind={"t": after}, **CAM) == []
    assert registry.query("bias", ["r"], "ingest_date < :t", bind={"t": before}, **CAM) == []
