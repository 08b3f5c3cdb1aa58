"""Validity ranges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.errors import ConflictError, ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import DataId, DatasetRef, Timespan
from quantumio.registry import SqlCatalog
from tests.unit.registry.conftest import CALEXP, FLAT, Commit

FIRST, LAST = Timespan().begin_ns, Timespan().end_ns


def flat(detector: int = 0) -> dict[str, int | str]:
    return {"instrument": "ST8", "physical_filter": "R", "detector": detector}


def valid(
    catalog: SqlCatalog, begin: int, end: int, detector: int = 0, name: str = "calib"
) -> DatasetRef | None:
    found = catalog.find(FLAT, DataId(flat(detector)), [name], timespan=Timespan(begin, end))
    return None if found is None else found.ref


def test_calibration_is_found_within_its_half_open_range(catalog: SqlCatalog, commit: Commit) -> None:
    (ref,) = commit(FLAT, [flat()])
    catalog.certify("calib", [ref], Timespan(10, 20))
    assert valid(catalog, 5, 10) is None
    assert valid(catalog, 5, 11) == ref
    assert valid(catalog, 19, 30) == ref
    assert valid(catalog, 20, 30) is None
    assert valid(catalog, FIRST, LAST) == ref
    assert valid(catalog, 10, 20, detector=1) is None


def test_unbounded_range_is_always_valid(catalog: SqlCatalog, commit: Commit) -> None:
    (ref,) = commit(FLAT, [flat()])
    catalog.certify("calib", [ref], Timespan())
    assert valid(catalog, FIRST, FIRST + 1) == ref
    assert valid(catalog, LAST - 1, LAST) == ref


def test_overlap_is_a_conflict_that_changes_nothing(catalog: SqlCatalog, commit: Commit) -> None:
    old = commit(FLAT, [flat(0)])
    new = commit(FLAT, [flat(1), flat(0)])
    catalog.certify("calib", old, Timespan(10, 20))
    for begin, end in ((0, 11), (19, 30), (12, 13), (0, 100), (10, 20)):
        with pytest.raises(ConflictError, match="detector=0") as error:
            catalog.certify("calib", new, Timespan(begin, end))
        assert error.value.kind is ErrorKind.VALIDITY_OVERLAP
    assert valid(catalog, 0, 100, detector=1) is None
    catalog.certify("calib", new, Timespan(20, 30))
    catalog.certify("calib", new, Timespan(0, 10))
    assert valid(catalog, 25, 26) == new[1]


def test_same_range_again_is_no_error_and_part_of_it_is(catalog: SqlCatalog, commit: Commit) -> None:
    refs = commit(FLAT, [flat()])
    catalog.certify("calib", refs, Timespan(10, 20))
    catalog.certify("calib", refs, Timespan(10, 20))
    assert valid(catalog, 0, 100) == refs[0]
    with pytest.raises(ConflictError, match=r"it is in it, valid in .* TAI;"):
        catalog.certify("calib", refs, Timespan(15, 30))


def test_two_valid_calibrations_are_ambiguous_and_named(catalog: SqlCatalog, commit: Commit) -> None:
    (one,), (other,) = commit(FLAT, [flat()]), commit(FLAT, [flat()])
    catalog.certify("calib", [one], Timespan(0, 10))
    catalog.certify("calib", [other], Timespan(10, 20))
    with pytest.raises(ConflictError) as error:
        valid(catalog, 5, 15)
    assert error.value.kind is ErrorKind.AMBIGUOUS_CALIBRATION
    assert str(one.id) in str(error.value)
    assert str(other.id) in str(error.value)
    assert valid(catalog, 5, 10) == one


def test_first_collection_that_has_any_decides(catalog: SqlCatalog, commit: Commit) -> None:
    refs = [commit(FLAT, [flat()])[0] for _ in range(3)]
    catalog.certify("new", refs[:1], Timespan(100, 200))
    catalog.certify("old", refs[1:2], Timespan(0, 150))
    catalog.certify("old", refs[2:], Timespan(150, 300))
    catalog.set_chain("calib", ["new", "old"])
    assert valid(catalog, 120, 180) == refs[0]
    assert valid(catalog, 10, 20) == refs[1]
    with pytest.raises(ConflictError):
        valid(catalog, 140, 160, name="old")


def test_calibrations_are_passed_over_without_a_timespan(catalog: SqlCatalog, commit: Commit) -> None:
    (ref,) = commit(FLAT, [flat()], run="flats")
    catalog.certify("calib", [ref], Timespan())
    assert catalog.find(FLAT, DataId(flat()), ["calib"]) is None
    found = catalog.find(FLAT, DataId(flat()), ["calib", "flats"])
    assert found is not None
    assert found.ref == ref


def test_decertify_truncates_splits_and_removes(catalog: SqlCatalog, commit: Commit) -> None:
    refs = commit(FLAT, [flat(0), flat(1)])
    catalog.certify("calib", refs, Timespan(0, 100))
    catalog.decertify("calib", "flat", Timespan(40, 60), [DataId(flat(0))])
    assert valid(catalog, 40, 60) is None
    assert valid(catalog, 39, 41) == refs[0]
    assert valid(catalog, 59, 61) == refs[0]
    assert valid(catalog, 40, 60, detector=1) == refs[1]
    catalog.decertify("calib", "flat", Timespan(LAST - 5, LAST))
    catalog.decertify("calib", "flat", Timespan(FIRST, 10))
    assert valid(catalog, FIRST, 10, detector=1) is None
    catalog.decertify("calib", "flat", Timespan(), [DataId({"detector": 1})])
    assert valid(catalog, FIRST, LAST, detector=1) is None
    assert valid(catalog, 10, 40) == refs[0]
    catalog.certify("calib", refs[:1], Timespan(40, 60))


def test_wrong_certification_is_refused(catalog: SqlCatalog, commit: Commit) -> None:
    refs = commit(FLAT, [flat()])
    with pytest.raises(InvalidInputError, match="empty"):
        catalog.certify("calib", refs, Timespan(5, 5))
    with pytest.raises(ConflictError, match="is a RUN collection"):
        catalog.certify("u/ada/isr", refs, Timespan(5, 6))
    with pytest.raises(NotFoundError):
        catalog.decertify("calib", "flat", Timespan(5, 6))
    catalog.certify("calib", refs, Timespan(5, 6))
    with pytest.raises(InvalidInputError, match="'visit'"):
        catalog.decertify("calib", "flat", Timespan(5, 6), [DataId({"visit": 1})])
    with pytest.raises(NotFoundError):
        catalog.decertify("calib", "flit", Timespan(5, 6))
    assert valid(catalog, 5, 6) == refs[0]
    catalog.decertify("calib", CALEXP.name, Timespan(5, 6))
    assert valid(catalog, 5, 6) == refs[0]


Edits = st.lists(
    st.tuples(st.booleans(), st.integers(0, 2), st.integers(0, 12), st.integers(1, 6)),
    min_size=1,
    max_size=12,
)


def test_any_edits_leave_what_a_model_by_moments_says(sqlite_catalog: SqlCatalog) -> None:
    from tests.unit.registry.conftest import make_transaction

    outcomes = sqlite_catalog.flip([make_transaction(FLAT, [flat(0)]) for _ in range(3)])
    refs = [outcome.refs[0] for outcome in outcomes]
    numbers = iter(range(10_000))

    @given(Edits)
    def check(edits: list[tuple[bool, int, int, int]]) -> None:
        name = f"calib{next(numbers)}"
        sqlite_catalog.certify(name, refs[:1], Timespan(100, 101))
        model: dict[int, int] = {}
        for certify, which, begin, length in edits:
            moments = range(begin, begin + length)
            span = Timespan(begin, begin + length)
            if not certify:
                sqlite_catalog.decertify(name, "flat", span)
                model = {moment: ref for moment, ref in model.items() if moment not in moments}
                continue
            try:
                sqlite_catalog.certify(name, [refs[which]], span)
            except ConflictError:
                assert any(moment in model for moment in moments)
            else:
                assert all(model.get(moment, which) == which for moment in moments)
                model |= dict.fromkeys(moments, which)
        for moment in range(20):
            expected = refs[model[moment]] if moment in model else None
            assert valid(sqlite_catalog, moment, moment + 1, name=name) == expected

    check()


def test_what_is_no_timespan_or_no_data_id_is_refused(catalog: SqlCatalog, commit: Commit) -> None:
    (ref,) = commit(FLAT, [flat()])
    with pytest.raises(InvalidInputError) as error:
        catalog.certify("calib", [ref], (10, 20))
    assert error.value.kind is ErrorKind.TIMESPAN
    catalog.certify("calib", [ref], Timespan(10, 20))
    with pytest.raises(InvalidInputError, match="is no data ID") as error:
        catalog.decertify("calib", "flat", Timespan(10, 20), ["detector"])
    assert error.value.kind is ErrorKind.DATA_ID
    assert valid(catalog, 10, 20) == ref
