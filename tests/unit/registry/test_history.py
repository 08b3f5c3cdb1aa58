"""When what happened: every commit and edit has its time, and every time its moment."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from quantumio.errors import InvalidInputError
from quantumio.model import Timespan
from quantumio.ports import CollectionKind
from quantumio.registry import SqlCatalog
from quantumio.system import environment
from tests.unit.registry.conftest import CALEXP, FLAT, Commit, Place, make_transaction, visit


def moments(place: Place) -> list[tuple[int, int]]:
    engine = sa.create_engine(place.url)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT seq, decided_ns FROM moment ORDER BY seq").all()
    engine.dispose()
    return [(seq, decided_ns) for seq, decided_ns in rows]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set the time; later than when the registry was made."""
    start = environment.now_ns()

    def set_to(seconds: int) -> None:
        monkeypatch.setattr(environment, "now_ns", lambda: start + seconds * 10**9)

    set_to(0)
    return set_to


def test_every_edit_has_a_moment(
    catalog: SqlCatalog, place: Place, commit: Commit, clock: Callable[[int], None]
) -> None:
    refs = commit(CALEXP, [visit(1)])
    flats = commit(FLAT, [{"instrument": "ST8", "physical_filter": "R", "detector": 0}])
    edits: list[Callable[[], object]] = [
        lambda: catalog.flip([make_transaction(CALEXP, [visit(number)]) for number in range(3)]),
        lambda: catalog.associate("tags", refs),
        lambda: catalog.disassociate("tags", refs),
        lambda: catalog.certify("calib", flats, Timespan()),
        lambda: catalog.decertify("calib", "flat", Timespan()),
        lambda: catalog.set_chain("chain", ["tags"]),
        lambda: catalog.register_collection("run", CollectionKind.RUN),
        lambda: catalog.insert_dimension("instrument", [{"instrument": "ST8"}]),
    ]
    for number, edit in enumerate(edits, start=1):
        before = moments(place)
        clock(number)
        edit()
        after = moments(place)
        assert after[:-1] == before
        assert after[-1] == (after[-1][0], environment.now_ns())
        assert after[-1][0] == before[-1][0] + (3 if number == 1 else 1)
        assert catalog.moment(environment.now_ns()) == after[-1][0]
        assert catalog.moment(environment.now_ns() - 1) == before[-1][0]


def test_time_before_everything_is_moment_0(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(1)])
    assert catalog.moment(0) == 0
    assert catalog.moment(-(10**30)) == 0
    assert catalog.moment(10**30) == catalog.moment(environment.now_ns() + 10**12) > 0


@pytest.mark.parametrize("wrong", [None, "2025-06-24", 1.5, True])
def test_what_is_no_time_is_refused(catalog: SqlCatalog, wrong: object) -> None:
    with pytest.raises(InvalidInputError, match="is no time"):
        catalog.moment(wrong)  # type: ignore[arg-type]


def test_clock_that_goes_back_changes_no_order(
    catalog: SqlCatalog, place: Place, commit: Commit, clock: Callable[[int], None]
) -> None:
    clock(100)
    commit(CALEXP, [visit(1)])
    clock(50)
    commit(CALEXP, [visit(2)])
    (*_, first, second) = moments(place)
    assert first[1] == second[1]
    assert catalog.moment(first[1]) == second[0]
