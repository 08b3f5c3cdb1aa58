"""Who is in TAGGED and CALIBRATION collections, now and at earlier moments."""

from collections.abc import Iterator
from typing import Any

import pytest

from quantumio.errors import ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import DataId, DatasetRef, Timespan
from quantumio.ports import CollectionKind, MemberColumns, MemberQuery
from quantumio.registry import SqlCatalog
from tests.unit.registry.conftest import CALEXP, FLAT, NOTE, Commit, visit

CALIBRATION, TAGGED = CollectionKind.CALIBRATION, CollectionKind.TAGGED
ALWAYS = Timespan()


def flats(commit: Commit, run: str = "u/a", number: int = 3) -> list[DatasetRef]:
    keys = [{"instrument": "ST8", "physical_filter": "R", "detector": one} for one in range(number)]
    return commit(FLAT, keys, run=run)


def asked(catalog: SqlCatalog, *collections: str, **options: Any) -> list[tuple[str, DatasetRef, Any]]:
    query = MemberQuery(**{"kind": CALIBRATION, "collections": collections, **options})
    found = [(one.collection, one.ref, one.timespan) for one in catalog.members(query)]
    assert catalog.count_members(query) == len(found)
    assert [one for part in catalog.member_columns(query) for one in rows_of(part)] == found
    return found


def rows_of(part: MemberColumns) -> Iterator[tuple[str, DatasetRef, Any]]:
    """Yield what columns say, row by row."""
    spans = list(map(Timespan, part.begin_ns, part.end_ns)) or [None] * len(part.ids)
    for place, (id_, run, version, span) in enumerate(
        zip(part.ids, part.runs, part.versions, spans, strict=True)
    ):
        data_id = DataId({name: values[place] for name, values in part.data_ids.items()})
        yield part.collection, DatasetRef(id_, part.dataset_type, data_id, run, version), span


def now(catalog: SqlCatalog) -> int:
    return catalog.moment((1 << 63) - 1)


def test_certifications_come_by_data_id_and_time(catalog: SqlCatalog, commit: Commit) -> None:
    one, two, three = flats(commit)
    (note,) = commit(NOTE, [{}])
    catalog.certify_each("calib", [two.id, one.id, one.id, note.id], [5, 20, 0, 0], [9, 30, 10, 7])
    catalog.certify("other", [three], ALWAYS)
    first = [
        ("calib", one, Timespan(0, 10)),
        ("calib", one, Timespan(20, 30)),
        ("calib", two, Timespan(5, 9)),
    ]
    expected = [*first, ("calib", note, Timespan(0, 7))]
    assert asked(catalog, "calib") == expected
    assert asked(catalog, "other", "calib") == [("other", three, ALWAYS), *expected]
    assert asked(catalog, "*") == [*expected, ("other", three, ALWAYS)]
    assert asked(catalog, "calib", dataset_types=("f*",)) == first
    assert asked(catalog, "calib", dataset_types=("note",)) == expected[3:]
    assert asked(catalog, "calib", data_id={"detector": 0}) == first[:2]
    assert asked(catalog, "calib", timespan=Timespan(9, 20)) == first[:1]
    assert asked(catalog, "calib", timespan=Timespan(10, 20)) == []
    assert asked(catalog, "calib", timespan=Timespan(29, 99)) == first[1:2]


def test_they_are_seen_as_they_were(catalog: SqlCatalog, commit: Commit) -> None:
    (one,) = flats(commit, number=1)
    assert asked(catalog, "c*") == []
    catalog.certify("calib", [one], Timespan(0, 10))
    before = now(catalog)
    query = MemberQuery(kind=CALIBRATION, collections=("calib",))
    lazy = catalog.members(query)
    catalog.decertify("calib", "flat", Timespan(4, 6))
    split = [("calib", one, Timespan(0, 4)), ("calib", one, Timespan(6, 10))]
    assert asked(catalog, "calib") == split
    assert [record.timespan for record in lazy] == [Timespan(0, 10)]
    assert asked(catalog, "calib", as_of=before) == [("calib", one, Timespan(0, 10))]
    after = now(catalog)
    catalog.remove_collection("calib", dry_run=False)
    with pytest.raises(NotFoundError):
        asked(catalog, "calib")
    assert asked(catalog, "calib", as_of=after) == split
    with pytest.raises(NotFoundError):
        asked(catalog, "calib", as_of=before - 1)


def test_members_of_tags_and_of_what_chains_search(catalog: SqlCatalog, commit: Commit) -> None:
    refs = flats(commit)
    (image,) = commit(CALEXP, [visit(1)])
    catalog.associate("tag", [refs[1], image, refs[0]])
    catalog.certify("calib", refs[2:], ALWAYS)
    catalog.set_chain("chain", ["u/a", "calib", "tag"])
    tagged = [("tag", image, None), ("tag", refs[0], None), ("tag", refs[1], None)]
    assert asked(catalog, "tag", kind=TAGGED) == tagged
    assert asked(catalog, "chain", kind=TAGGED, timespan=Timespan(0, 1)) == tagged
    assert asked(catalog, "chain") == [("calib", refs[2], ALWAYS)]
    assert asked(catalog, "tag", kind=TAGGED, data_id={"visit": 1}) == tagged[:1]


def test_more_than_one_page(catalog: SqlCatalog, commit: Commit) -> None:
    (one,) = flats(commit, number=1)
    begins = list(range(0, 6000, 10))
    catalog.certify_each("calib", [one.id] * len(begins), begins, [begin + 5 for begin in begins])
    assert [span.begin_ns for *_, span in asked(catalog, "calib")] == begins


def test_wrong_questions_are_refused_at_once(catalog: SqlCatalog, commit: Commit) -> None:
    flats(commit)
    catalog.certify("calib", flats(commit, number=1), ALWAYS)
    for collections, options, kind in (
        (("u/a",), {}, ErrorKind.COLLECTION),
        ((7,), {}, ErrorKind.COLLECTION),
        (("calib",), {"kind": TAGGED}, ErrorKind.COLLECTION),
        (("calib",), {"dataset_types": ("flat",), "data_id": {"visit": 1}}, ErrorKind.DATA_ID),
        (("calib",), {"dataset_types": ("fl*",), "data_id": {"visit": 1}}, ErrorKind.DATA_ID),
        (("calib",), {"as_of": 99}, ErrorKind.MOMENT),
    ):
        query = MemberQuery(**{"kind": CALIBRATION, "collections": collections, **options})
        with pytest.raises(InvalidInputError) as error:
            catalog.members(query)
        assert error.value.kind is kind
    with pytest.raises(NotFoundError):
        asked(catalog, "nowhere")
    with pytest.raises(NotFoundError):
        asked(catalog, "calib", dataset_types=("nothing",))
