"""From what a dataset was made, and what was made from it."""

import uuid

import pytest

from quantumio.errors import InvalidInputError, NotFoundError
from quantumio.ports import LineageEntry
from quantumio.registry import SqlCatalog
from quantumio.system import environment
from tests.unit.registry.conftest import CALEXP, NOTE, RAW, Commit, exposure, make_transaction, visit


def ids(entries: list[LineageEntry]) -> list[tuple[int, uuid.UUID]]:
    return [(entry.level, entry.id) for entry in entries]


def test_diamond_is_followed_both_ways_level_by_level(catalog: SqlCatalog, commit: Commit) -> None:
    raws = commit(RAW, [exposure(1), exposure(2)])
    (left,) = commit(CALEXP, [visit(1)], inputs=(raws[0].id,))
    (right,) = commit(CALEXP, [visit(2)], inputs=(raws[1].id, raws[0].id))
    (top,) = commit(NOTE, [{}], inputs=(left.id, right.id, raws[0].id))
    (other,) = commit(NOTE, [{}], run="other")
    up = catalog.lineage(top.id, "up", None)
    # What is met twice counts where it is nearest.
    assert ids(up) == [(1, one.id) for one in sorted((left, right, raws[0]), key=lambda ref: ref.id)] + [
        (2, raws[1].id)
    ]
    assert {entry.ref for entry in up} == {left, right, *raws}
    assert ids(catalog.lineage(top.id, "up", 1)) == ids(up)[:3]
    assert catalog.lineage(top.id, "up", 0) == []
    assert ids(catalog.lineage(raws[1].id, "down", None)) == [(1, right.id), (2, top.id)]
    assert {one for _, one in ids(catalog.lineage(raws[0].id, "down", 1))} == {left.id, right.id, top.id}
    for direction in ("up", "down"):
        assert catalog.lineage(other.id, direction, None) == []
    (above,) = catalog.lineage(left.id, "up", None)
    (made,) = catalog.stored([left.id]).values()
    assert above.via == made.txid
    assert above.txid == catalog.stored([raws[0].id])[raws[0].id].txid
    assert not above.is_removed


def test_temporary_is_listed_without_a_ref_and_passed_through(catalog: SqlCatalog, commit: Commit) -> None:
    (raw,) = commit(RAW, [exposure(1)])
    temporary = environment.uuid7()
    between = make_transaction(RAW, [], inputs=(raw.id,))
    catalog.flip([between])
    (result,) = commit(CALEXP, [visit(1)], inputs=(temporary,), requires=(between.txid,))
    up = catalog.lineage(result.id, "up", None)
    assert ids(up) == [(1, temporary), (2, raw.id)]
    assert (up[0].ref, up[0].txid, up[0].is_removed) == (None, None, False)
    assert ids(catalog.lineage(raw.id, "down", None)) == [(2, result.id)]
    assert ids(catalog.lineage(temporary, "down", None)) == [(1, result.id)]
    assert catalog.lineage(temporary, "up", None) == []


def test_lineage_of_more_datasets_than_a_statement_takes(catalog: SqlCatalog, commit: Commit) -> None:
    raws = commit(RAW, [exposure(number) for number in range(1200)])
    (result,) = commit(CALEXP, [visit(1)], inputs=tuple(raw.id for raw in raws))
    assert {entry.ref for entry in catalog.lineage(result.id, "up", None)} == set(raws)


def test_chain_of_many_levels_is_followed_to_its_end(catalog: SqlCatalog, commit: Commit) -> None:
    refs = commit(NOTE, [{}])
    for _ in range(40):
        refs += commit(NOTE, [{}], inputs=(refs[-1].id,))
    up = catalog.lineage(refs[-1].id, "up", None)
    assert [entry.ref for entry in up] == refs[-2::-1]
    assert [entry.level for entry in up] == list(range(1, 41))
    down = catalog.lineage(refs[0].id, "down", 7)
    assert [entry.ref for entry in down] == refs[1:8]


def test_what_is_not_known_or_not_meant_is_told(catalog: SqlCatalog, commit: Commit) -> None:
    (raw,) = commit(RAW, [exposure(1)])
    with pytest.raises(NotFoundError, match="there is no dataset"):
        catalog.lineage(environment.uuid7(), "up", None)
    with pytest.raises(InvalidInputError, match="direction='sideways'"):
        catalog.lineage(raw.id, "sideways", None)
    for wrong in (-1, 1.5, "2", True):
        with pytest.raises(InvalidInputError, match="depth"):
            catalog.lineage(raw.id, "up", wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="is no dataset"):
        catalog.lineage("x", "up", None)  # type: ignore[arg-type]
