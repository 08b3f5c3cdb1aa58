"""When calibrations are valid, as records and as tables."""

import numpy as np
import pytest
from astropy.time import Time

from quantumio import AsyncButler, Timespan
from quantumio.errors import ErrorKind, InvalidInputError, NotFoundError

FIRST = Timespan(1_750_000_000_123_456_789, 1_750_086_400_000_000_000)


def put(butler, name, run="r", **data_id):
    with butler.context(run) as ctx:
        ctx.put({"level": 1}, name, **data_id)
    return ctx.refs[0]


@pytest.fixture
def biases(butler):
    """Certify two biases and a flat."""
    refs = [put(butler, "bias", detector=number) for number in (0, 1)]
    flat = put(butler, "flat", detector=0, physical_filter="R")
    butler.certify("calib", refs, FIRST.begin, FIRST.end)
    butler.certify("calib", [flat], None, None)
    return [*refs, flat]


def test_certifications_are_had_as_records(butler, biases):
    found = butler.certifications("calib")
    assert [(one.collection, one.ref, one.timespan) for one in found] == [
        ("calib", biases[0], FIRST),
        ("calib", biases[1], FIRST),
        ("calib", biases[2], Timespan()),
    ]
    assert found.count() == 3
    assert [one.ref for one in butler.certifications("c*", "bias", {"detector": 1})] == biases[1:2]
    later = butler.certifications("calib", begin=FIRST.end)
    assert [one.ref for one in later] == biases[2:]
    before = butler.certifications("calib", end=FIRST.begin)
    assert [one.ref for one in before] == biases[2:]
    seq = butler.versions("flat", detector=0, physical_filter="R")[0].commit_seq
    butler.snapshot("certified")
    butler.decertify("calib", "bias", None, None)
    assert [one.ref for one in found] == biases[2:]
    assert butler.certifications("calib", as_of="certified").count() == 3
    with pytest.raises(NotFoundError):
        butler.certifications("calib", as_of=seq).count()


def test_their_table_is_exact_and_certifies_the_same_elsewhere(butler, biases):
    names = ["collection", "dataset_type", "instrument", "physical_filter", "detector", "run", "version",
             "id", "timespan_begin", "timespan_end"]  # fmt: skip
    arrow = butler.certifications("calib").table()
    assert arrow.column_names == names
    assert arrow.column("timespan_begin").null_count == 1
    assert [str(one) for one in arrow.column("id").to_pylist()] == [str(ref.id) for ref in biases]
    table = butler.certifications("calib", "bias").table("astropy")
    assert (table["timespan_begin"].scale, len(table)) == ("utc", 2)
    assert butler.certify_each("copy", table["id"], table["timespan_begin"], table["timespan_end"]) == 2
    copied = [one.timespan for one in butler.certifications("copy")]
    assert copied == [FIRST, FIRST]
    frame = butler.certifications("calib").table("pandas")
    assert str(frame["timespan_begin"][0]) == "2025-06-15 15:06:03.123456789+00:00"
    assert frame["timespan_end"].isna().tolist() == [False, False, True]
    assert "2025-06-15T15:06:03.123456789" in butler.certifications("calib").table("votable")
    with pytest.raises(InvalidInputError) as error:
        butler.certifications("calib").table("spreadsheet")
    assert error.value.kind is ErrorKind.FORM


@pytest.mark.parametrize("year", [1690, 1965, 1971, 1972, 1998, 2016, 2017, 2025])
def test_moments_of_tables_are_those_of_utc(butler, year):
    bias = put(butler, "bias", detector=3)
    begin = Time(f"{year}-12-31T12:00:00", scale="tai")
    butler.certify("calib", [bias], begin, None)
    table = butler.certifications("calib").table("astropy")
    difference = abs((table["timespan_begin"][0] - begin).sec) if year >= 1972 else 0
    assert difference < 1e-9
    # Before leap seconds UTC was another scale: as elsewhere here, the first offset is kept.
    seen = butler.certifications("calib").table().column("timespan_begin").cast("int64")[0].as_py()
    offsets = {1972: 11, 1998: 31, 2016: 36, 2017: 37, 2025: 37}
    expected = np.datetime64(f"{year}-12-31T12:00:00", "ns").astype(int) - offsets.get(year, 10) * 10**9
    assert seen == expected


def test_none_are_a_table_without_rows(butler, biases):
    table = butler.certifications("calib", "bias", {"detector": 7}).table()
    assert (table.num_rows, table.column_names[:4]) == (
        0,
        ["collection", "dataset_type", "instrument", "detector"],
    )
    assert butler.certifications("nothing*").table().num_rows == 0


def test_those_of_several_repositories(make_root, open_butler):
    one, other = (open_butler(make_root(name), run="r") for name in ("one", "other"))
    refs = []
    for number, butler in enumerate((one, other)):
        refs.append(put(butler, "bias", detector=number))
        butler.certify(f"calib{number}", refs[-1:], None, None)
    both = open_butler([butler._session.repositories[0].root for butler in (one, other)])
    assert [record.ref for record in both.certifications("*")] == refs
    assert [record.ref for record in both.certifications("calib1")] == refs[1:]
    assert both.certifications(["calib1", "calib0"]).count() == 2


def test_wrong_questions_are_refused(butler, biases):
    for arguments, options, kind in (
        (("r",), {}, ErrorKind.COLLECTION),
        (([],), {}, ErrorKind.COLLECTION),
        (("calib", "bias", {"visit": 1}), {}, ErrorKind.DATA_ID),
        (("calib",), {"begin": "yesterday"}, ErrorKind.TIMESPAN),
        (("calib",), {"begin": FIRST.end, "end": FIRST.begin}, ErrorKind.TIMESPAN),
        (("calib", "*", {"detector": "x"}), {}, ErrorKind.DATA_ID),
    ):
        with pytest.raises(InvalidInputError) as error:
            list(butler.certifications(*arguments, **options))
        assert error.value.kind is kind
    for arguments in (("nowhere",), ("calib", "nothing")):
        with pytest.raises(NotFoundError):
            butler.certifications(*arguments).count()


@pytest.mark.anyio
async def test_event_loops_have_them_too(butler, biases):
    root = butler._session.repositories[0].root
    async with AsyncButler(root) as asynchronous:
        found = asynchronous.certifications("calib", "bias")
        assert [one.ref async for one in found] == biases[:2]
        assert await found.count() == 2
        assert (await found.table()).num_rows == 2
