"""Deletion of datasets: what goes, what stays, and what is refused."""

import pytest
import sqlalchemy as sa
from attrs import evolve

from quantumio.errors import ConflictError, ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import DIRECT, Committed, DataId, Timespan
from quantumio.ports import DatasetQuery, ObjectRecord
from quantumio.registry import SqlCatalog
from quantumio.registry._schema import SNAPSHOT, TRASH
from quantumio.system import environment
from tests.unit.registry.conftest import CALEXP, FLAT, NOTE, Commit, artifact, make_transaction, visit

FLAT_0 = {"instrument": "ST8", "physical_filter": "R", "detector": 0}


def trash(catalog: SqlCatalog) -> set[tuple[str, str]]:
    statement = sa.select(TRASH.c.store, TRASH.c.path)
    return catalog._database.read(lambda connection: {(s, p) for s, p in connection.execute(statement)})


def record(catalog: SqlCatalog, path: str, stores=("local",)) -> ObjectRecord:
    return catalog.object_records(list(stores), {path: environment.uuid7()})[path]


def path_of(catalog: SqlCatalog, ref) -> str:
    return catalog.stored([ref.id])[ref.id].artifacts[0].path


def test_dry_run_tells_and_changes_nothing(catalog: SqlCatalog, commit: Commit) -> None:
    refs = commit(CALEXP, [visit(1), visit(2)])
    planned = catalog.delete([refs[0].id])
    assert (planned.dry_run, planned.refs, planned.objects, planned.collections) == (True, (refs[0],), 1, ())
    assert planned.nbytes == len(path_of(catalog, refs[0]))
    assert set(catalog.stored([ref.id for ref in refs])) == {ref.id for ref in refs}
    assert trash(catalog) == set()


def test_what_is_deleted_is_found_nowhere_and_its_object_is_in_the_trash(
    catalog: SqlCatalog, commit: Commit
) -> None:
    gone, kept = commit(CALEXP, [visit(1), visit(2)])
    path, other = path_of(catalog, gone), path_of(catalog, kept)
    done = catalog.delete([gone.id, gone.id], dry_run=False)
    assert (done.dry_run, done.refs) == (False, (gone,))
    assert catalog.stored([gone.id, kept.id]).keys() == {kept.id}
    assert catalog.find(CALEXP, DataId(visit(1)), [gone.run]) is None
    assert catalog.versions(CALEXP, DataId(visit(1)), gone.run) == []
    assert [one.ref for one in catalog.query(DatasetQuery(versions="all"))] == [kept]
    assert catalog.removed(iter([gone.id, kept.id, environment.uuid7()])) == {gone.id}
    assert trash(catalog) == {("local", path)}
    assert not record(catalog, path).is_referenced
    assert 0 <= record(catalog, path).trashed_s < 3600
    assert record(catalog, other).is_referenced
    again = catalog.delete([gone.id], dry_run=False)
    assert (again.refs, again.objects) == ((), 0)


def test_versions_fall_back_and_numbers_are_never_given_again(catalog: SqlCatalog, commit: Commit) -> None:
    refs = [commit(CALEXP, [visit(1)])[0] for _ in range(3)]
    catalog.delete([refs[2].id], dry_run=False)
    found = catalog.find(CALEXP, DataId(visit(1)), [refs[0].run])
    assert found is not None
    assert found.ref == refs[1]
    (fourth,) = commit(CALEXP, [visit(1)], expect=2)
    assert fourth.version == 4
    catalog.delete([ref.id for ref in (*refs, fourth)], dry_run=False)
    (fifth,) = commit(CALEXP, [visit(1)], expect=0)
    assert fifth.version == 5
    assert catalog.version_numbers(CALEXP, DataId(visit(1)), fifth.run) == [1, 2, 3, 4, 5]


def test_run_that_is_emptied_goes_and_its_versions_go_on(catalog: SqlCatalog, commit: Commit) -> None:
    (ref,) = commit(CALEXP, [visit(1)])
    catalog.delete([ref.id], dry_run=False)
    catalog.remove_collection(ref.run, dry_run=False)
    assert catalog.collections() == []
    (again,) = commit(CALEXP, [visit(1)], expect=0)
    assert again.version == 2
    assert catalog.stored([again.id])[again.id].ref.run == ref.run


def test_members_are_refused_and_named_unless_unlinked(catalog: SqlCatalog, commit: Commit) -> None:
    refs = commit(CALEXP, [visit(number) for number in range(8)])
    (flat,) = commit(FLAT, [FLAT_0])
    catalog.associate("tag", refs[:7])
    catalog.associate("other", refs[:1])
    catalog.certify("calib", [flat], Timespan())
    ids = [ref.id for ref in (*refs, flat)]
    for dry_run in (True, False):
        with pytest.raises(ConflictError, match="'other', collection 'tag'.*and 3 others") as error:
            catalog.delete(ids, dry_run=dry_run)
        assert error.value.kind is ErrorKind.IN_USE
    with pytest.raises(ConflictError, match="collection 'calib'"):
        catalog.delete([flat.id], dry_run=False)
    assert catalog.stored(ids).keys() == set(ids)
    spared = catalog.delete(ids, spare=True)
    assert spared.refs == (refs[7],)
    assert set(spared.spared) == {*refs[:7], flat}
    done = catalog.delete([refs[0].id, flat.id], unlink=True, dry_run=False)
    assert done.collections == ("calib", "other", "tag")
    assert catalog.count(DatasetQuery(collections=("tag",))) == 6
    assert catalog.find(FLAT, DataId(FLAT_0), ["calib"], timespan=Timespan()) is None
    with pytest.raises(NotFoundError, match="is not committed"):
        catalog.associate("tag", [refs[0]])
    with pytest.raises(NotFoundError, match="is not committed"):
        catalog.certify("calib", [flat], Timespan())
    catalog.disassociate("tag", [refs[0], refs[1]])
    assert catalog.count(DatasetQuery(collections=("tag",))) == 5


def test_what_a_snapshot_shows_stays(catalog: SqlCatalog, commit: Commit) -> None:
    (early,) = commit(CALEXP, [visit(1)])
    row = {"name": "paper", "seq": catalog.moment(environment.now_ns() + 10**12), "note": "", "created_ns": 1}
    with catalog._database.edit("a test") as connection:
        connection.execute(sa.insert(SNAPSHOT).values(**row, added_seq=1))
    (late,) = commit(CALEXP, [visit(1)])
    with pytest.raises(ConflictError, match="snapshot 'paper'"):
        catalog.delete([early.id, late.id], unlink=True, dry_run=False)
    done = catalog.delete([early.id, late.id], spare=True, dry_run=False)
    assert (done.refs, done.spared) == ((late,), (early,))


def test_snapshot_of_the_past_keeps_the_objects_of_what_was_deleted_since(
    catalog: SqlCatalog, commit: Commit
) -> None:
    (early,) = commit(CALEXP, [visit(1)])
    then = catalog.stored([early.id])[early.id].commit_seq
    (late,) = commit(CALEXP, [visit(2)])
    paths = [path_of(catalog, ref) for ref in (early, late)]
    catalog.delete([early.id, late.id], dry_run=False)
    now = catalog.create_snapshot("now").seq
    assert [record(catalog, path).is_referenced for path in paths] == [False, False]
    for seq, shown in ((then - 1, [False, False]), (then, [True, False]), (now - 2, [True, True])):
        catalog.create_snapshot("past", seq)
        assert [record(catalog, path).is_referenced for path in paths] == shown, seq
        assert [record(catalog, path, ["archive"]).is_named_elsewhere for path in paths] == shown, seq
        catalog.remove_snapshot("past")
        assert [record(catalog, path).is_referenced for path in paths] == [False, False]
    assert trash(catalog) == {("local", path) for path in paths}


def test_deletion_leaves_what_is_among_the_last_versions_by_then(catalog: SqlCatalog, commit: Commit) -> None:
    refs = [commit(CALEXP, [visit(1)])[0] for _ in range(4)]
    (other,) = commit(CALEXP, [visit(1, detector=1)])
    notes = [commit(NOTE, [{}])[0] for _ in range(2)]
    ids = [ref.id for ref in (*refs, other, *notes)]
    assert set(catalog.delete(ids, keep_last=2).refs) == set(refs[:2])
    catalog.delete([refs[2].id], dry_run=False)
    done = catalog.delete(ids, keep_last=2, dry_run=False)
    assert (done.refs, done.spared) == ((refs[0],), ())
    assert catalog.stored(ids).keys() == {ref.id for ref in (refs[1], refs[3], other, *notes)}
    with pytest.raises(InvalidInputError, match="keep_last"):
        catalog.delete(ids, keep_last=-1)


def test_artifact_of_what_was_deleted_meanwhile_is_not_recorded(catalog: SqlCatalog, commit: Commit) -> None:
    gone, kept = commit(CALEXP, [visit(1), visit(2)])
    catalog.delete([gone.id], dry_run=False)
    copies = {ref.id: [artifact(f"{ref.id}.fits", store="archive")] for ref in (gone, kept)}
    assert catalog.record_artifacts(copies) == {kept.id}
    assert record(catalog, f"{kept.id}.fits", ["archive"]).is_referenced
    assert not record(catalog, f"{gone.id}.fits", ["archive"]).is_referenced
    assert len(catalog.stored([kept.id])[kept.id].artifacts) == 2


def test_artifact_of_what_is_deleted_while_it_is_recorded_is_not_recorded(
    catalog: SqlCatalog, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ref,) = commit(CALEXP, [visit(1)])
    stored = catalog._finder.stored

    def stored_and_delete(ids):
        found = stored(ids)
        catalog.delete([ref.id], dry_run=False)
        return found

    monkeypatch.setattr(catalog._finder, "stored", stored_and_delete)
    assert catalog.record_artifacts({ref.id: [artifact("copy.fits", store="archive")]}) == set()
    assert not record(catalog, "copy.fits", ["archive"]).is_referenced


def test_pack_goes_with_its_last_member(catalog: SqlCatalog) -> None:
    transaction = make_transaction(CALEXP, [visit(1), visit(2)])
    path = f"_packs/{transaction.txid}.0.p0.zip"
    outputs = tuple(
        evolve(one, artifacts=(artifact(path, member=f"m{number}", offset=number),))
        for number, one in enumerate(transaction.outputs)
    )
    (outcome,) = catalog.flip([evolve(transaction, outputs=outputs)])
    one, other = outcome.refs
    assert catalog.delete([one.id], dry_run=False).objects == 0
    assert record(catalog, path).is_referenced
    assert trash(catalog) == set()
    done = catalog.delete([other.id], dry_run=False)
    assert (done.objects, done.nbytes) == (1, 2 * len(path))
    assert not record(catalog, path).is_referenced
    assert trash(catalog) == {("local", path)}


def test_object_that_is_had_again_is_out_of_the_trash(catalog: SqlCatalog, commit: Commit) -> None:
    (ref,) = commit(CALEXP, [visit(1)])
    path = path_of(catalog, ref)
    catalog.delete([ref.id], dry_run=False)
    transaction = make_transaction(CALEXP, [visit(2)])
    outputs = (evolve(transaction.outputs[0], artifacts=(artifact(path),)),)
    (outcome,) = catalog.flip([evolve(transaction, outputs=outputs)])
    assert record(catalog, path).is_referenced
    assert record(catalog, path, ["archive"]).is_named_elsewhere
    catalog.delete([outcome.refs[0].id], dry_run=False)
    assert not record(catalog, path).is_referenced
    assert not record(catalog, path, ["archive"]).is_named_elsewhere


def test_file_of_the_user_is_never_in_the_trash(catalog: SqlCatalog) -> None:
    transaction = make_transaction(CALEXP, [visit(1)])
    outputs = (evolve(transaction.outputs[0], artifacts=(artifact("file:///data/x.fits", store=DIRECT),)),)
    (outcome,) = catalog.flip([evolve(transaction, outputs=outputs)])
    done = catalog.delete([outcome.refs[0].id], dry_run=False)
    assert (done.objects, trash(catalog)) == (0, set())


def test_rows_in_a_database_hold_their_dataset(catalog: SqlCatalog) -> None:
    transaction = make_transaction(CALEXP, [visit(1)])
    rows = artifact("source", store="level3", load_id=environment.uuid7())
    outputs = (evolve(transaction.outputs[0], artifacts=(rows,)),)
    (outcome,) = catalog.flip([evolve(transaction, outputs=outputs)])
    with pytest.raises(ConflictError, match="rows at destination 'level3'"):
        catalog.delete([outcome.refs[0].id], unlink=True, dry_run=False)


def test_key_may_be_used_again(catalog: SqlCatalog, commit: Commit) -> None:
    one, other = commit(CALEXP, [visit(1), visit(2)], key="quantum")
    txid = catalog.stored([one.id])[one.id].txid
    catalog.delete([one.id], dry_run=False)
    assert isinstance(catalog.outcome(txid), Committed)
    (outcome,) = catalog.flip([make_transaction(CALEXP, [visit(1), visit(2)], key="quantum")])
    assert not outcome.reused
    assert [ref.version for ref in outcome.refs] == [2, 2]
    catalog.delete([other.id], dry_run=False)
    # Whoever asks what became of it is told that it was committed: nobody is to take it in once more.
    assert catalog.outcome(txid).refs == (one, other)
    (late,) = catalog.flip([make_transaction(CALEXP, [visit(3)], requires=(txid,))])
    assert isinstance(late, Committed)


def test_dataset_that_is_deleted_gets_no_repair_and_shows_in_lineage(
    catalog: SqlCatalog, commit: Commit
) -> None:
    (raw,) = commit(NOTE, [{}])
    (made,) = commit(CALEXP, [visit(1)], inputs=(raw.id,))
    (before,) = catalog.stored([raw.id])[raw.id].artifacts
    catalog.delete([raw.id], dry_run=False)
    (entry,) = catalog.lineage(made.id, "up", None)
    assert (entry.ref, entry.is_removed) == (raw, True)
    with pytest.raises(NotFoundError):
        catalog.amend_artifact(raw.id, before, evolve(before, path="new"))
    row = catalog._artifacts.rows(
        *map(catalog._database.rules.uuid_in, (raw.id, entry.txid)), 0, evolve(before, path="new")
    )
    assert catalog._amend(raw.id, before, row) is False


def test_what_was_never_committed_or_is_no_dataset_is_told(catalog: SqlCatalog, commit: Commit) -> None:
    (ref,) = commit(CALEXP, [visit(1)])
    with pytest.raises(NotFoundError, match="was never committed, nor 1 others; nothing"):
        catalog.delete([ref.id, environment.uuid7(), environment.uuid7()], dry_run=False)
    with pytest.raises(NotFoundError, match="was never committed; nothing"):
        catalog.delete([environment.uuid7()])
    with pytest.raises(InvalidInputError, match="is no dataset"):
        catalog.delete(["x"])  # type: ignore[list-item]
    assert catalog.stored([ref.id])


def test_more_are_deleted_than_a_statement_takes(catalog: SqlCatalog, commit: Commit) -> None:
    refs = commit(CALEXP, [visit(number) for number in range(1100)])
    assert catalog.delete([ref.id for ref in refs[:-1]], dry_run=False).objects == 1099
    assert catalog.count(DatasetQuery()) == 1
