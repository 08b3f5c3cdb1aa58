"""Looking up: calibrations by an exposure, implied keys, and what contradicts the records."""

import numpy as np
import pytest
from astropy.time import Time

from quantumio.errors import ConflictError, ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import DatasetRef

NIGHTS = [Time(f"2025-06-2{day}T00:00:00", scale="tai") for day in range(1, 6)]


@pytest.fixture
def night(butler):
    """Filters R and G; exposure 1 in R in the first night, 2 in G in the second, 3 in R in the third."""
    butler.insert_dimension("instrument", [{"instrument": "ST8"}])
    butler.insert_dimension("band", [{"band": "r"}, {"band": "g"}])
    butler.insert_dimension(
        "physical_filter",
        [{"physical_filter": "R", "band": "r"}, {"physical_filter": "G", "band": "g"}],
    )
    butler.insert_dimension(
        "detector", [{"detector": 0, "full_name": "a"}, {"detector": 1, "full_name": "b"}]
    )
    for element in ("exposure", "visit"):
        butler.insert_dimension(
            element,
            [
                {
                    element: number,
                    "physical_filter": physical_filter,
                    "timespan": (NIGHTS[number - 1], NIGHTS[number]),
                    **({"obs_id": f"o{number}"} if element == "exposure" else {"name": f"v{number}"}),
                }
                for number, physical_filter in ((1, "R"), (2, "G"), (3, "R"))
            ],
        )
    return butler


def put(butler, name, run="calib-run", value=None, **keys) -> DatasetRef:
    with butler.context(run=run) as ctx:
        ctx.put(value or {"of": name, **keys}, name, keys)
    return ctx.refs[0]


def test_flat_is_found_by_the_time_and_the_filter_of_the_exposure(night):
    early = put(night, "flat", detector=0, physical_filter="R", run="early")
    late = put(night, "flat", detector=0, physical_filter="R", run="late")
    green = put(night, "flat", detector=0, physical_filter="G", run="early")
    night.certify("calib", [early], None, NIGHTS[2])
    night.certify("calib", [late], NIGHTS[2], None)
    night.certify("calib", [green], None, None)
    found = [night.find("flat", exposure=number, detector=0, collections="calib") for number in (1, 2, 3)]
    assert found == [early, green, late]
    assert night.find("flat", visit=3, detector=0, collections="calib") == late
    assert night.get("flat", exposure=2, detector=0, collections="calib")["physical_filter"] == "G"


def test_implication_is_followed_over_several_records(night):
    """An exposure implies its filter, and the filter its band."""
    red = put(night, "bandflat", detector=0, band="r")
    green = put(night, "bandflat", detector=0, band="g")
    night.certify("calib", [red, green], None, None)
    assert night.find("bandflat", exposure=1, detector=0, collections="calib") == red
    assert night.find("bandflat", exposure=2, detector=0, collections="calib") == green


def test_filter_that_was_said_beats_the_exposures(night):
    red = put(night, "flat", detector=0, physical_filter="R")
    green = put(night, "flat", detector=0, physical_filter="G")
    night.certify("calib", [red, green], None, None)
    assert night.find("flat", exposure=1, detector=0, physical_filter="G", collections="calib") == green


def test_calibration_that_is_not_valid_then_is_not_found(night):
    ref = put(night, "bias", detector=0)
    night.certify("calib", [ref], NIGHTS[1], NIGHTS[2])
    assert night.find("bias", exposure=2, detector=0, collections="calib") == ref
    for number in (1, 3):
        assert night.find("bias", exposure=number, detector=0, collections="calib") is None
        with pytest.raises(NotFoundError):
            night.get("bias", exposure=number, detector=0, collections="calib")


def test_two_valid_calibrations_are_ambiguous_and_named(night):
    one = put(night, "bias", detector=0, run="one")
    other = put(night, "bias", detector=0, run="other")
    night.certify("calib", [one], None, NIGHTS[1])
    night.certify("calib", [other], NIGHTS[1], None)
    long = [{"exposure": 9, "physical_filter": "R", "timespan": (NIGHTS[0], NIGHTS[2]), "obs_id": "o9"}]
    night.insert_dimension("exposure", long)
    with pytest.raises(ConflictError) as caught:
        night.find("bias", exposure=9, detector=0, collections="calib")
    assert caught.value.kind is ErrorKind.AMBIGUOUS_CALIBRATION


def test_exposure_without_a_record_or_without_a_time_is_told(night):
    ref = put(night, "bias", detector=0)
    night.certify("calib", [ref], None, None)
    night.insert_dimension("exposure", [{"exposure": 8, "physical_filter": "R", "obs_id": "o8"}])
    for number in (7, 8):
        with pytest.raises(NotFoundError, match=rf"exposure={number}.*insert"):
            night.find("bias", exposure=number, detector=0, collections="calib")


def test_calibrations_are_found_through_chains_and_beside_runs(night):
    ref = put(night, "bias", detector=0)
    night.certify("calib", [ref], None, None)
    night.chain("best", ["calib"])
    night.chain("all", ["best", "calib-run"])
    assert night.find("bias", exposure=1, detector=0, collections="all") == ref
    assert night.find("bias", exposure=1, detector=0, collections=["calib-run", "calib"]) == ref


def test_exposure_is_an_extra_key_where_no_calibration_is_searched(night):
    put(night, "bias", detector=0)
    night.chain("runs", ["calib-run"])
    for collections in ("calib-run", "runs"):
        with pytest.raises(InvalidInputError, match="bias has no dimension 'exposure'") as caught:
            night.find("bias", exposure=1, detector=0, collections=collections)
        assert caught.value.kind is ErrorKind.DATA_ID
    with pytest.raises(InvalidInputError, match="exposure"):
        put(night, "bias", exposure=1, detector=0)


def test_default_exposure_of_the_butler_makes_no_extra_key(night, open_butler):
    ref = put(night, "bias", detector=0)
    narrow = open_butler(night._session.repositories[0].root, exposure=1, detector=0)
    assert narrow.find("bias", collections="calib-run") == ref


def test_detector_of_the_defaults_completes_a_calibration_lookup(night, open_butler):
    ref = put(night, "flat", detector=1, physical_filter="R")
    night.certify("calib", [ref], None, None)
    narrow = open_butler(night._session.repositories[0].root, detector=1)
    assert narrow.find("flat", exposure=1, collections="calib") == ref


def test_exposure_of_the_defaults_gives_the_time_of_a_calibration(night, open_butler):
    """A Butler opened for one exposure looks calibrations up at its time."""
    early, late = (put(night, "bias", detector=0, run=run) for run in ("early", "late"))
    night.certify("calib", [early], None, NIGHTS[2])
    night.certify("calib", [late], NIGHTS[2], None)
    narrow = open_butler(night._session.repositories[0].root, exposure=3)
    assert narrow.find("bias", detector=0, collections="calib") == late


@pytest.mark.parametrize(
    ("keys", "name"), [({"band": "r"}, "band"), ({"physical_filter": "R", "band": "r"}, "physical_filter")]
)
def test_implied_keys_that_agree_are_taken_and_not_stored(night, keys, name):
    with night.context() as ctx:
        ctx.put(np.zeros(3), "calexp", visit=1, detector=0, **keys)
    assert name not in ctx.refs[0].data_id
    assert night.exists("calexp", visit=1, detector=0, **keys)
    assert len(night.get("calexp", {"visit": 1, "detector": 0} | keys)) == 3


@pytest.mark.parametrize(
    ("keys", "said", "recorded"),
    [({"band": "g"}, "band='g'", "'r'"), ({"physical_filter": "G"}, "physical_filter='G'", "'R'")],
)
def test_implied_keys_that_contradict_the_records_are_refused_everywhere(night, keys, said, recorded):
    with night.context() as ctx:
        ctx.put(np.zeros(3), "calexp", visit=1, detector=0)
        for call in (ctx.put, lambda value, *arguments, **named: ctx.get(*arguments, **named)):
            with pytest.raises(InvalidInputError, match=said) as caught:
                call(np.zeros(3), "calexp", visit=1, detector=0, **keys)
            assert recorded in str(caught.value)
            assert caught.value.kind is ErrorKind.DATA_ID
    for call in (night.find, night.get, night.exists, night.versions, night.explain_put):
        with pytest.raises(InvalidInputError, match=said):
            call("calexp", visit=1, detector=0, **keys)


def test_implied_keys_that_no_record_tells_of_are_refused_with_the_mend(butler):
    """Ignored in silence, ``band`` would seem to choose what it does not choose."""
    with butler.context() as ctx:
        with pytest.raises(InvalidInputError, match=r"band='r'.*insert_dimension"):
            ctx.put(np.zeros(3), "calexp", visit=77, detector=0, band="r")
        ctx.put(np.zeros(3), "calexp", visit=77, detector=0)  # the key itself needs no record
    assert butler.exists("calexp", visit=77, detector=0)


@pytest.mark.parametrize("keys", [{"tract": 1}, {"skymap": "s"}, {"exposure": 1}])
def test_keys_that_do_not_follow_are_extra(night, keys):
    with pytest.raises(InvalidInputError, match=next(iter(keys))):
        night.find("calexp", visit=1, detector=0, **keys)


def test_spellings_of_one_data_id_find_one_dataset(night):
    ref = put(night, "bias", detector=1)
    for mapping, keys in (
        ({"detector": 1}, {}),
        ({}, {"detector": np.int16(1)}),
        ({"instrument": "ST8"}, {"detector": 1}),
        ({"detector": 1, "instrument": "ST8"}, {"instrument": np.str_("ST8")}),
        (ref.data_id, {}),
        (ref.data_id, {"detector": 1}),
    ):
        assert night.find("bias", mapping, collections="calib-run", **keys) == ref


# ---------------------------------------------------------------------------- several repositories


@pytest.fixture
def two(make_root, open_butler):
    night, calibs = (open_butler(make_root(name), run="r") for name in ("night", "calibs"))
    both = open_butler([night._session.repositories[0].root, calibs._session.repositories[0].root], run="r")
    return night, calibs, both


def test_first_repository_that_has_it_wins_and_puts_go_to_the_first(two):
    night, calibs, both = two
    put(calibs, "stats", run="r", value={"from": "calibs"}, visit=1)
    assert both.get("stats", visit=1) == {"from": "calibs"}
    put(night, "stats", run="r", value={"from": "night"}, visit=1)
    assert both.get("stats", visit=1) == {"from": "night"}
    put(both, "stats", run="r", value={"from": "both"}, visit=2)
    assert night.exists("stats", visit=2)
    assert not calibs.exists("stats", visit=2)


def test_refs_of_every_repository_are_read_located_and_found(two):
    night, calibs, both = two
    refs = [put(one, "stats", run=f"run{n}", visit=n) for n, one in enumerate((night, calibs))]
    for number, ref in enumerate(refs):
        assert both.get(ref)["visit"] == number
        assert both.ref(ref.id) == ref
        assert both.exists(ref)
        assert both.where_is(ref)[0].destination == "local"
        assert both.defer(ref).get()["visit"] == number
    assert {ref.id for ref in both.query("stats", collections="run*")} == {ref.id for ref in refs}


def test_collection_that_only_one_of_them_has_is_searched_there(two):
    _, calibs, both = two
    ref = put(calibs, "bias", run="calib-run", detector=0)
    assert both.find("bias", detector=0, collections="calib-run") == ref
    assert both.find("bias", detector=0, collections=["r", "calib-run"]) == ref


def test_collection_that_none_of_them_has_is_named(two):
    *_, both = two
    with pytest.raises(NotFoundError, match="nowhere") as caught:
        both.find("bias", detector=0, collections="nowhere")
    assert caught.value.kind is ErrorKind.NO_COLLECTION


def test_dataset_type_that_only_the_second_knows_is_read_from_there(two):
    from quantumio import DatasetType

    _, calibs, both = two
    calibs.register_dataset_type(DatasetType("psf", dimensions=["detector"], storage_class="Mapping"))
    ref = put(calibs, "psf", detector=0)
    assert both.find("psf", detector=0, collections="calib-run") == ref
    assert both.dataset_type("psf").name == "psf"
    assert "psf" in [known.name for known in both.dataset_types()]
    with pytest.raises(NotFoundError, match="psf"):
        put(both, "psf", detector=1)
    with pytest.raises(NotFoundError) as caught:
        both.find("nothing", detector=0, collections="calib-run")
    assert caught.value.kind is ErrorKind.NO_DATASET_TYPE


def test_versions_of_all_repositories_are_listed(two):
    night, calibs, both = two
    for one in (night, calibs, night):
        put(one, "stats", run="r", visit=1)
    assert [version.ref.version for version in both.versions("stats", visit=1)] == [1, 2, 1]


def test_calibrations_of_another_repository_are_looked_up_by_the_exposure(two):
    """Exposures are recorded where the night is, calibrations are kept elsewhere."""
    night, calibs, both = two
    record = {"exposure": 1, "physical_filter": "R", "timespan": (NIGHTS[0], NIGHTS[1]), "obs_id": "o"}
    night.insert_dimension("exposure", [record])
    ref = put(calibs, "bias", detector=0)
    calibs.certify("calib", [ref], None, None)
    assert both.find("bias", exposure=1, detector=0, collections="calib") == ref


def test_read_only_butler_of_several_repositories_puts_nowhere(two, open_butler):
    night, calibs, _ = two
    roots = [one._session.repositories[0].root for one in (night, calibs)]
    reading = open_butler(roots, readonly=True, collections="r")
    put(calibs, "stats", run="r", visit=5)
    assert reading.get("stats", visit=5)["visit"] == 5


@pytest.mark.parametrize("where", ["visit IN (:a)", "visit IN (:a) AND instrument LIKE 'ST%'"])
def test_query_whose_values_can_be_read_once_is_asked_again_and_again(butler, where):
    with butler.context() as context:
        for visit in range(50):
            context.put({"visit": visit}, "stats", visit=visit)
    for numbers in ([1, 2], range(2, 44)):
        query = butler.query("stats", collections="r", where=where, bind={"a": iter(numbers)})
        assert [query.count(), query.table().num_rows, len(list(query))] == [len(numbers)] * 3
