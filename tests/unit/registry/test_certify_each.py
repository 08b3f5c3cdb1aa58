"""Many certifications at once: all of them or none, and each at its own time."""

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from quantumio.errors import ConflictError, ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import DatasetRef, Timespan
from quantumio.ports import CollectionKind, DatasetQuery
from quantumio.registry import SqlCatalog, _certify_each
from quantumio.registry._certify_each import NewRanges, RangesToCertify, Wanted
from quantumio.registry._engine import Database
from quantumio.system import environment
from tests.unit.registry.conftest import CALEXP, FLAT, Commit, visit


def flats(commit: Commit, run: str = "u/a", number: int = 3) -> list[DatasetRef]:
    keys = [{"instrument": "ST8", "physical_filter": "R", "detector": one} for one in range(number)]
    return commit(FLAT, keys, run=run)


def certify(catalog: SqlCatalog, rows: list[tuple[DatasetRef, int, int]]) -> int:
    ids = [ref.id for ref, _, _ in rows]
    return catalog.certify_each("calib", ids, [row[1] for row in rows], [row[2] for row in rows])


def ranges(catalog: SqlCatalog) -> set[tuple[Any, int, int]]:
    found = catalog.diff(0, catalog.moment((1 << 63) - 1)).joined
    return {(one.ref.id, one.timespan.begin_ns, one.timespan.end_ns) for one in found if one.timespan}


def test_each_is_valid_in_its_own_time(catalog: SqlCatalog, commit: Commit) -> None:
    one, two, _ = flats(commit)
    other, *_ = flats(commit, "u/b")
    (image,) = commit(CALEXP, [visit(1)])
    rows = [(one, 0, 10), (other, 10, 20), (one, 20, 30), (two, 5, 25), (image, 0, 100), (one, 0, 10)]
    assert certify(catalog, rows) == 5
    assert ranges(catalog) == {(ref.id, begin, end) for ref, begin, end in rows}
    for moment, expected in ((5, one), (10, other), (29, one), (30, None)):
        found = catalog.find(FLAT, one.data_id, ["calib"], timespan=Timespan(moment, moment + 1))
        assert (found and found.ref) == expected
    assert certify(catalog, rows) == 0
    assert certify(catalog, [(one, 30, 31), (one, 0, 10)]) == 1


@pytest.mark.parametrize(
    ("rows", "row", "words"),
    [
        ([(0, 50, 60), (0, 9, 11)], 1, "is valid in"),
        ([(0, 0, 5)], 0, "is valid in"),
        ([(3, 5, 6)], 0, "of the same data ID is valid in"),
        ([(1, 0, 5), (1, 4, 9)], 1, r"is to be valid \(row 0\) in"),
        ([(1, 4, 9), (4, 0, 5)], 1, r"of the same data ID is to be valid \(row 0\) in"),
        ([(1, 0, 9), (2, 0, 9), (4, 3, 4)], 2, r"is to be valid \(row 0\) in"),
        ([(3, 0, 10)], 0, "of the same data ID is valid in"),
    ],
)
def test_what_overlaps_is_refused_by_its_row_and_nothing_is_changed(
    catalog: SqlCatalog, commit: Commit, rows: list[tuple[int, int, int]], row: int, words: str
) -> None:
    refs = [*flats(commit), *flats(commit, "u/b")]
    certify(catalog, [(refs[0], 0, 10), (refs[0], 20, 30)])
    before = ranges(catalog)
    with pytest.raises(ConflictError, match=words) as error:
        certify(catalog, [(refs[number], begin, end) for number, begin, end in rows])
    assert error.value.kind is ErrorKind.VALIDITY_OVERLAP
    assert error.value.message.startswith(f"row {row}: dataset {refs[rows[row][0]].id} ")
    assert ranges(catalog) == before


def test_wrong_rows_are_told(catalog: SqlCatalog, commit: Commit) -> None:
    one, *_ = flats(commit)
    with pytest.raises(
        InvalidInputError, match=r"row 1: dataset .* to 1970-01-01T00:00:00.000 TAI: in no"
    ) as error:
        certify(catalog, [(one, 0, 10), (one, 10, 10)])
    assert error.value.kind is ErrorKind.TIMESPAN
    with pytest.raises(InvalidInputError, match="1 datasets, 2 begins and 1 ends"):
        catalog.certify_each("calib", [one.id], [0, 1], [2])
    unknown = environment.uuid7()
    with pytest.raises(NotFoundError, match=str(unknown)):
        catalog.certify_each("calib", [one.id, unknown], [0, 0], [1, 1])
    catalog.register_collection("run", CollectionKind.RUN)
    with pytest.raises(ConflictError):
        catalog.certify_each("run", [one.id], [0], [1])
    assert [str(record.name) for record in catalog.collections("calib")] == []
    assert catalog.certify_each("calib", [], [], []) == 0


@pytest.mark.parametrize("seed", range(3))
def test_many_at_once_are_as_one_after_the_other(catalog: SqlCatalog, commit: Commit, seed: int) -> None:
    chance = random.Random(seed)
    refs = [*flats(commit), *flats(commit, "u/b")]
    for _ in range(12):
        rows = []
        for _ in range(chance.randrange(1, 6)):
            begin = chance.randrange(40)
            rows.append((chance.choice(refs), begin, begin + chance.randrange(1, 6)))
        there = ranges(catalog)
        wanted = there | {(ref.id, begin, end) for ref, begin, end in rows}
        by_id = {ref.id: ref.data_id for ref in refs}
        fits = not any(
            one != two and by_id[one[0]] == by_id[two[0]] and one[1] < two[2] and two[1] < one[2]
            for one in wanted
            for two in wanted
        )
        if fits:
            assert certify(catalog, rows) == len(wanted) - len(there)
        else:
            with pytest.raises(ConflictError):
                certify(catalog, rows)
        assert ranges(catalog) == (wanted if fits else there)
    assert catalog.count(DatasetQuery(collections=("u/a", "u/b"), find_first=False)) == 6


def test_what_others_do_while_it_reads_is_seen(
    catalog: SqlCatalog, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads before it keeps other writers out: whatever they do in between has been done before it."""
    one, two, three = flats(commit)
    other, *_ = flats(commit, "u/b")
    read = RangesToCertify.read
    meanwhile: list[Callable[[], object]] = []

    def reads(self: RangesToCertify, wanted: Wanted) -> NewRanges:
        ranges = read(self, wanted)
        while meanwhile:
            meanwhile.pop()()
        return ranges

    monkeypatch.setattr(RangesToCertify, "read", reads)
    meanwhile.append(lambda: catalog.register_collection("u/c", CollectionKind.RUN))
    assert certify(catalog, [(one, 0, 10)]) == 1, "somebody else has done something else"
    meanwhile.append(lambda: certify(catalog, [(one, 10, 20)]))
    assert certify(catalog, [(one, 10, 20), (one, 20, 30)]) == 1, "one is there by now"
    meanwhile.append(lambda: catalog.decertify("calib", "flat", Timespan(0, 10), [one.data_id]))
    assert certify(catalog, [(one, 0, 10)]) == 1, "it was there, and is there no more"
    before = ranges(catalog)
    assert before == {(one.id, 0, 10), (one.id, 10, 20), (one.id, 20, 30)}
    meanwhile.append(lambda: certify(catalog, [(other, 40, 50)]))
    with pytest.raises(ConflictError, match="of the same data ID is valid in") as error:
        certify(catalog, [(two, 0, 10), (one, 45, 60)])
    assert error.value.message.startswith(f"row 1: dataset {one.id} ")
    assert ranges(catalog) == before | {(other.id, 40, 50)}
    meanwhile.append(lambda: catalog.delete([three.id], dry_run=False))
    with pytest.raises(NotFoundError, match=str(three.id)):
        certify(catalog, [(two, 0, 10), (three, 0, 10)])
    assert ranges(catalog) == before | {(other.id, 40, 50)}
    meanwhile.append(lambda: catalog.register_collection("new", CollectionKind.TAGGED))
    with pytest.raises(ConflictError):
        catalog.certify_each("new", [two.id], [0], [10])
    assert certify(catalog, [(two, 0, 10)]) == 1


def test_datasets_are_read_before_other_writers_wait(
    catalog: SqlCatalog, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They waited for seconds while each of 100,000 was read."""
    refs = flats(commit)
    steps: list[str] = []
    edit, members_of = Database.edit, _certify_each.members_of

    @contextlib.contextmanager
    def edits(self: Database, doing: str) -> Iterator[Any]:
        steps.append("taken")
        with edit(self, doing) as connection:
            yield connection
        steps.append("given back")

    def reads(*arguments: Any) -> Any:
        steps.append("read")
        return members_of(*arguments)

    monkeypatch.setattr(Database, "edit", edits)
    monkeypatch.setattr(_certify_each, "members_of", reads)
    assert certify(catalog, [(ref, 0, 10) for ref in refs]) == 3
    assert steps == ["read", "taken", "given back"]
