"""What is different between two moments: as comparing everything that there was does."""

import random
from typing import Any

import pytest

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import Timespan
from quantumio.ports import ChangedChain, CollectionKind, DatasetQuery, MemberRecord
from quantumio.registry import SqlCatalog
from tests.unit.registry.conftest import CALEXP, FLAT, NOTE, Commit, visit


def span_of(begin: int, end: int) -> Timespan:
    return Timespan(begin * 10, end * 10)


def test_members_that_came_and_went_are_told(catalog: SqlCatalog, commit: Commit) -> None:
    one, two = commit(CALEXP, [visit(1), visit(2)])
    (flat,) = commit(FLAT, [{"instrument": "ST8", "physical_filter": "R", "detector": 0}])
    catalog.associate("good", [one])
    catalog.certify("calib", [flat], span_of(0, 10))
    catalog.set_chain("best", ["good"])
    first = catalog.create_snapshot("first").seq
    catalog.associate("good", [two])
    catalog.disassociate("good", [one])
    catalog.decertify("calib", "flat", span_of(4, 6))
    catalog.set_chain("best", ["good", "calib"])
    catalog.set_chain("other", ["best"])
    last = catalog.create_snapshot("last").seq
    found = catalog.diff(first, last)
    assert (found.added, found.removed) == ((), ())
    assert found.joined == (
        MemberRecord(collection="calib", ref=flat, timespan=span_of(0, 4)),
        MemberRecord(collection="calib", ref=flat, timespan=span_of(6, 10)),
        MemberRecord(collection="good", ref=two),
    )
    assert found.left == (
        MemberRecord(collection="calib", ref=flat, timespan=span_of(0, 10)),
        MemberRecord(collection="good", ref=one),
    )
    assert found.chains == (
        ChangedChain(name="best", before=("good",), after=("good", "calib")),
        ChangedChain(name="other", before=None, after=("best",)),
    )
    back = catalog.diff(last, first)
    assert (back.joined, back.left) == (found.left, found.joined)
    assert back.chains[1] == ChangedChain(name="other", before=("best",), after=None)
    same = catalog.diff(last, last)
    assert (same.joined, same.left, same.chains) == ((), (), ())


def test_what_is_as_it_was_is_no_difference(catalog: SqlCatalog, commit: Commit) -> None:
    (one,) = commit(CALEXP, [visit(1)])
    (flat,) = commit(FLAT, [{"instrument": "ST8", "physical_filter": "R", "detector": 0}])
    catalog.associate("good", [one])
    catalog.certify("calib", [flat], Timespan())
    catalog.set_chain("best", ["good"])
    first = catalog.create_snapshot("first").seq
    catalog.disassociate("good", [one])
    catalog.associate("good", [one])
    catalog.decertify("calib", "flat", Timespan())
    catalog.certify("calib", [flat], Timespan())
    catalog.set_chain("best", ["calib"])
    catalog.set_chain("best", ["good"])
    found = catalog.diff(first, catalog.create_snapshot("last").seq)
    assert (found.joined, found.left, found.chains) == ((), (), ())


@pytest.mark.parametrize("wrong", [10**12, -1, True])
def test_moment_that_is_not_there_is_refused(catalog: SqlCatalog, commit: Commit, wrong: int) -> None:
    commit(NOTE, [{}])
    for before, after, word in ((0, wrong, "after"), (wrong, 0, "before")):
        with pytest.raises(InvalidInputError, match=rf"{word} = {wrong} is no moment.*from 0 to \d") as error:
            catalog.diff(before, after)
        assert error.value.kind is ErrorKind.MOMENT


@pytest.mark.parametrize("seed", range(4))
def test_differences_of_all_moments_are_those_of_a_model(
    catalog: SqlCatalog, commit: Commit, seed: int
) -> None:
    chance = random.Random(seed)
    keys = [{"instrument": "ST8", "physical_filter": "R", "detector": number} for number in range(3)]
    flats = [ref for _ in range(2) for ref in commit(FLAT, keys)]
    for name in ("t1", "t2"):
        catalog.register_collection(name, CollectionKind.TAGGED)
    tags: set[tuple[str, Any]] = set()
    ranges: set[tuple[Any, int, int]] = set()
    chain: tuple[str, ...] | None = None
    moments = []
    catalog.register_collection("calib", CollectionKind.CALIBRATION)
    for _ in range(25):
        ref, tag = chance.choice(flats), chance.choice(("t1", "t2"))
        begin = chance.randrange(10)
        end = begin + chance.randrange(1, 4)
        match chance.randrange(5):
            case 0:
                same = {(name, other) for name, other in tags if other.data_id == ref.data_id}
                if not {name for name, other in same if name == tag and other != ref}:
                    catalog.associate(tag, [ref])
                    tags |= {(tag, ref)}
            case 1:
                catalog.disassociate(tag, [ref])
                tags -= {(tag, ref)}
            case 2:
                there = [one for one in ranges if one[0].data_id == ref.data_id]
                if not any(one[1] < end and begin < one[2] for one in there):
                    catalog.certify("calib", [ref], span_of(begin, end))
                    ranges |= {(ref, begin, end)}
            case 3:
                catalog.decertify("calib", "flat", span_of(begin, end), [ref.data_id])
                ranges = {
                    (other, *part)
                    for other, first, last in ranges
                    for part in (
                        [(first, min(last, begin)), (max(first, end), last)]
                        if other.data_id == ref.data_id and first < end and begin < last
                        else [(first, last)]
                    )
                    if part[0] < part[1]
                }
            case _:
                chain = tuple(chance.sample(("t1", "t2", "calib"), chance.randrange(3)))
                catalog.set_chain("chain", chain)
        moments.append((catalog.moment((1 << 63) - 1), set(tags), set(ranges), chain))
    for before, tags_before, ranges_before, chain_before in moments:
        for after, tags_after, ranges_after, chain_after in chance.sample(moments, 5):
            found = catalog.diff(before, after)
            for members, tagged, certified in (
                (found.joined, tags_after - tags_before, ranges_after - ranges_before),
                (found.left, tags_before - tags_after, ranges_before - ranges_after),
            ):
                of_tags = {(one.collection, one.ref) for one in members if one.timespan is None}
                of_ranges = {(one.ref, one.timespan) for one in members if one.timespan is not None}
                assert of_tags == tagged
                assert of_ranges == {(ref, span_of(first, last)) for ref, first, last in certified}
                assert len(members) == len(of_tags) + len(of_ranges)
            expected = [] if chain_before == chain_after else [(chain_before, chain_after)]
            assert [(one.before, one.after) for one in found.chains] == expected
    assert len(list(catalog.query(DatasetQuery(versions="all")))) == 6
