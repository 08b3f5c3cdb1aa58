"""Look-ups of many data IDs at once say what single ones say."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantumio.errors import ConflictError
from quantumio.model import DataId, Timespan
from quantumio.registry import SqlCatalog
from tests.unit.registry.conftest import FLAT, Commit, columns_of

SPANS = st.tuples(st.integers(0, 12), st.integers(1, 6)).map(lambda pair: Timespan(pair[0], sum(pair)))


def flat(detector: int) -> dict[str, int | str]:
    return {"instrument": "ST8", "physical_filter": "R", "detector": detector}


def single(catalog: SqlCatalog, data_id: DataId, span: Timespan | None, collections: list[str]) -> Any:
    """Return the id and whether there is a match, as one look-up says."""
    try:
        found = catalog.find(FLAT, data_id, collections, timespan=span)
    except ConflictError:
        return None, 2
    return (None, 0) if found is None else (found.ref.id, 1)


def check(catalog: SqlCatalog, asked: list[tuple[int, Timespan | None]], collections: list[str]) -> list[int]:
    data_ids = [DataId(flat(detector)) for detector, _ in asked]
    columns = columns_of(FLAT, data_ids)
    ids, numbers = catalog.find_each(FLAT, columns, [span for _, span in asked], collections)
    expected = [
        single(catalog, data_id, span, collections)
        for data_id, (_, span) in zip(data_ids, asked, strict=True)
    ]
    assert [(id_, min(number, 2)) for id_, number in zip(ids, numbers, strict=True)] == expected
    return numbers


def test_each_is_found_as_it_would_be_alone(catalog: SqlCatalog, commit: Commit) -> None:
    refs = commit(FLAT, [flat(detector) for detector in range(3)], run="u/gen")
    later = commit(FLAT, [flat(detector) for detector in range(2)], run="u/later")
    (tagged,) = commit(FLAT, [flat(7)], run="u/other")
    catalog.certify("calib", refs, Timespan(0, 10))
    catalog.certify("calib", later, Timespan(10, 20))
    catalog.certify("calib", [refs[2]], Timespan(10, 15))  # the same dataset again: not ambiguous
    catalog.certify("more", [later[1]], Timespan())
    catalog.associate("good", [tagged])
    asked: list[tuple[int, Timespan | None]] = [
        (detector, span)
        for detector in (0, 1, 2, 7, 8)
        for span in (
            Timespan(0, 1),
            Timespan(9, 10),
            Timespan(9, 11),
            Timespan(10, 11),
            Timespan(30, 40),
            None,
        )
    ]
    assert set(check(catalog, asked, ["calib"])) == {0, 1, 2}
    for collections in (["calib", "good"], ["more", "calib"], ["u/gen", "calib"], ["calib", "u/gen"], []):
        check(catalog, asked, collections)
    catalog.set_chain("all", ["more", "good", "calib"])
    check(catalog, asked, ["all"])
    assert check(catalog, [], ["all"]) == []
    assert check(catalog, [(0, None), (7, None)], ["calib", "good"]) == [0, 1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    certified=st.lists(st.tuples(st.integers(0, 1), SPANS), max_size=6),
    ended=st.lists(SPANS, max_size=2),
    asked=st.lists(st.tuples(st.integers(0, 2), SPANS), min_size=1, max_size=8),
)
def test_any_history_of_ranges(
    catalog: SqlCatalog, commit: Commit, certified: Any, ended: Any, asked: Any
) -> None:
    catalog.certify("calib", [], Timespan())
    catalog.decertify("calib", "flat", Timespan())
    for detector, span in certified:
        (ref,) = commit(FLAT, [flat(detector)])
        try:
            catalog.certify("calib", [ref], span)
        except ConflictError:
            continue
    for span in ended:
        catalog.decertify("calib", "flat", span)
    check(catalog, asked, ["calib"])
