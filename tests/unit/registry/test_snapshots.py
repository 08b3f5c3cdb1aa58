"""Moments that have a name, and what is different between two moments."""

import pytest

from quantumio.errors import ConflictError, ErrorKind, InvalidInputError, NotFoundError
from quantumio.registry import SqlCatalog
from tests.unit.registry.conftest import CALEXP, NOTE, Commit, visit


def test_snapshot_is_of_now_or_of_a_moment_before(catalog: SqlCatalog, commit: Commit) -> None:
    (ref,) = commit(CALEXP, [visit(1)])
    then = catalog.stored([ref.id])[ref.id].commit_seq
    commit(CALEXP, [visit(2)])
    now = catalog.create_snapshot("paper/DR1", note="as submitted")
    early = catalog.create_snapshot("early", then)
    assert then < now.seq
    assert (early.seq, early.note, now.note) == (then, "", "as submitted")
    assert catalog.snapshots() == [early, now]
    with pytest.raises(ConflictError, match="there is a snapshot 'early' already"):
        catalog.create_snapshot("early")
    catalog.remove_snapshot("early")
    assert catalog.snapshots() == [now]
    assert catalog.create_snapshot("early").seq > now.seq
    with pytest.raises(NotFoundError) as error:
        catalog.remove_snapshot("late'; DROP TABLE snapshot; --")
    assert error.value.kind is ErrorKind.NO_SNAPSHOT


@pytest.mark.parametrize("wrong", ["", "a//b", "x'; DROP TABLE txn; --", None, "a\0b"])
def test_name_that_is_none_is_refused(catalog: SqlCatalog, wrong: object) -> None:
    with pytest.raises(InvalidInputError):
        catalog.create_snapshot(wrong)  # type: ignore[arg-type]
    assert catalog.snapshots() == []


def test_note_is_any_text_and_the_moment_has_been(catalog: SqlCatalog) -> None:
    hostile = "'); DROP TABLE snapshot; -- é"
    assert catalog.create_snapshot("one", note=hostile) == catalog.snapshots()[0]
    assert catalog.snapshots()[0].note == hostile
    for note in (None, "a\0b"):
        with pytest.raises(InvalidInputError, match="note"):
            catalog.create_snapshot("two", note=note)  # type: ignore[arg-type]
    for seq in (10**9, -1, 1.5, True):
        with pytest.raises(InvalidInputError, match="moment"):
            catalog.create_snapshot("two", seq)  # type: ignore[arg-type]


def test_what_it_shows_can_be_deleted_once_it_is_given_up(catalog: SqlCatalog, commit: Commit) -> None:
    (ref,) = commit(CALEXP, [visit(1)])
    catalog.create_snapshot("paper")
    with pytest.raises(ConflictError, match="snapshot 'paper'"):
        catalog.delete([ref.id], unlink=True, dry_run=False)
    catalog.remove_snapshot("paper")
    assert catalog.delete([ref.id], dry_run=False).refs == (ref,)


def test_difference_is_what_came_and_what_went(catalog: SqlCatalog, commit: Commit) -> None:
    kept, gone = commit(CALEXP, [visit(1), visit(2)])
    first = catalog.create_snapshot("first").seq
    catalog.remove_snapshot("first")
    new = [*commit(CALEXP, [visit(1)]), *commit(NOTE, [{}])]
    short = commit(CALEXP, [visit(3)])
    catalog.delete([gone.id, short[0].id], dry_run=False)
    last = catalog.create_snapshot("last").seq
    found = catalog.diff(first, last)
    assert (found.before, found.after) == (first, last)
    assert set(found.added) == set(new)
    assert found.removed == (gone,)
    back = catalog.diff(last, first)
    assert (set(back.added), set(back.removed)) == ({gone}, set(new))
    assert catalog.diff(last, last).added == ()
    assert set(catalog.diff(0, first).added) == {kept, gone}
    for wrong in (None, "first", -1):
        with pytest.raises(InvalidInputError, match="moment"):
            catalog.diff(0, wrong)  # type: ignore[arg-type]
