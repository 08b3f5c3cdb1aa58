"""What was made from what, and what is there no more."""

from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from quantumio import AsyncButler, Butler
from quantumio.errors import ConflictError, ErrorKind, InvalidInputError, NotFoundError, StateError
from quantumio.testing import collect_garbage_at_once

pytestmark = pytest.mark.on_disk

RUN = "u/ada/isr"


@pytest.fixture
def night(make_root, open_butler):
    return open_butler(make_root(), run=RUN)


def put(butler, visit, *, reads=(), **options):
    with butler.context() as ctx:
        for ref in reads:
            ctx.get(ref)
        ctx.put({"visit": visit}, "stats", visit=visit, **options)
    return ctx.refs[0]


def test_lineage_is_had_as_refs_and_as_a_table(night):
    first = put(night, 1)
    second = put(night, 2, reads=[first])
    third = put(night, 3, reads=[second])
    assert night.lineage(third).refs() == [second, first]
    assert night.lineage(first, "down", depth=1).refs() == [second]
    table = night.lineage(str(third.id)).table()
    assert table.select(["level", "status", "dataset_type", "visit", "run", "version", "id"]).to_pylist() == [
        {"level": level, "status": "committed", "dataset_type": "stats", "visit": 3 - level, "run": RUN,
         "version": 1, "id": str(ref.id)}
        for level, ref in ((1, second), (2, first))
    ]  # fmt: skip
    night.delete(first, dry_run=False)
    assert night.lineage(third).refs() == [second]
    assert night.lineage(third).table().column("status").to_pylist() == ["committed", "removed"]
    with pytest.raises(NotFoundError):
        night.lineage("0192c5d2-4c00-7a3b-8f1e-2d9b6f1a7c10")


def test_lineage_is_known_by_the_repository_that_has_it(make_root, open_butler):
    one, other = make_root("one"), make_root("other")
    first = put(open_butler(other, run=RUN), 1)
    second = put(open_butler(other, run=RUN), 2, reads=[first])
    both = open_butler([one, other])
    assert both.lineage(second).refs() == [first]
    mine = put(open_butler(one, run=RUN), 1)
    assert both.lineage(mine).refs() == []
    with pytest.raises(NotFoundError):
        both.lineage("0192c5d2-4c00-7a3b-8f1e-2d9b6f1a7c10")


def test_deleted_is_found_no_more_and_its_bytes_go_last(night):
    (ref, kept) = (put(night, 1), put(night, 2))
    (place,) = night.where_is(ref)
    assert night.delete([ref]).refs == (ref,)
    assert night.get(ref) == {"visit": 1}
    night.delete(night.query("stats", visit=1), dry_run=False)
    for look in (night.get, night.where_is):
        with pytest.raises(NotFoundError):
            look(ref)
    assert not night.exists(ref)
    assert night.find("stats", visit=1) is None
    path = Path(unquote(urlsplit(place.url).path))
    assert path.exists()
    assert not night.fsck(level=2).findings
    assert collect_garbage_at_once(night).removed == 1
    assert not path.exists()
    assert night.get(kept) == {"visit": 2}


def test_members_are_deleted_when_they_are_unlinked(night):
    ref = put(night, 1)
    night.associate("tag", [ref])
    with pytest.raises(ConflictError, match="'tag'") as error:
        night.delete(ref.id, dry_run=False)
    assert error.value.kind is ErrorKind.IN_USE
    assert night.get(ref) == {"visit": 1}
    assert night.delete(ref, unlink=True, dry_run=False).collections == ("tag",)
    assert night.query("stats", collections="tag").count() == 0


def test_reader_deletes_nothing(make_root, open_butler):
    root = make_root()
    ref = put(open_butler(root, run=RUN), 1)
    reader = open_butler(root, readonly=True)
    with pytest.raises(StateError):
        reader.delete(ref, dry_run=False)
    assert reader.exists(ref)


@pytest.mark.asyncio
async def test_history_is_asked_and_made_on_event_loops(make_root, open_butler):
    root = make_root()
    first = put(open_butler(root, run=RUN), 1)
    second = put(open_butler(root, run=RUN), 2, reads=[first])
    async with AsyncButler(root) as butler:
        assert (await butler.lineage(second)).refs() == [first]
        await butler.chain("best", [RUN], edit="append")
        assert (await butler.remove_collection("best", dry_run=False)).members == 1
        assert (await butler.delete(first, dry_run=False)).refs == (first,)
        assert not await butler.exists(first)


def test_versions_that_no_rule_keeps_go_unless_something_has_them(night):
    refs = [put(night, 1) for _ in range(5)]
    other = put(night, 2)
    night.associate("tag", refs[:1])
    planned = night.retention("stats", collections=RUN, keep_last=2)
    assert (planned.dry_run, set(planned.refs), planned.spared) == (True, set(refs[1:3]), (refs[0],))
    assert night.query("stats", versions="all").count() == 6
    old = night.retention(collections="u/ada/*", keep_last=2, younger_than=timedelta(days=1))
    assert (old.refs, old.spared) == ((), ())
    done = night.retention("stats", collections=RUN, keep_last=2, dry_run=False)
    assert set(done.refs) == set(refs[1:3])
    left = {one.ref for one in night.versions("stats", visit=1)}
    assert left == {refs[0], *refs[3:]}
    assert night.exists(other)
    night.snapshot("paper")
    late = put(night, 3)
    done = night.retention(collections=RUN, younger_than=timedelta(0), dry_run=False)
    assert (done.refs, set(done.spared)) == ((late,), {*left, other})


def test_retention_is_of_runs_alone(night):
    refs = [put(night, 1) for _ in range(2)]
    night.associate("u/tag", refs[:1])
    night.chain("u/chain", [RUN])
    night.certify("u/calib", refs[:1], None, None)
    for name, kind in (("u/tag", "TAGGED"), ("u/chain", "CHAINED"), ("u/calib", "CALIBRATION")):
        for collections in (name, [RUN, name], ["u/*", name]):
            with pytest.raises(InvalidInputError, match=f"{name}' is a {kind} collection") as error:
                night.retention(collections=collections, keep_last=0)
            assert error.value.kind is ErrorKind.COLLECTION
    for glob, number in (("u/t*", 0), ("u/ch*", 0), ("u/*", 1)):
        planned = night.retention(collections=glob, keep_last=1)
        assert len(planned.refs) + len(planned.spared) == number
    with pytest.raises(NotFoundError, match="u/none"):
        night.retention(collections="u/none", keep_last=1)


def test_retention_spares_what_is_tagged_or_last_since_it_was_looked_at(night, monkeypatch):
    one, two, three, four = [put(night, 1) for _ in range(4)]
    others = [put(night, 2) for _ in range(2)]
    catalog = night._session.repositories[0].catalog
    delete, looked = catalog.delete, []

    def after_others(ids, **options):
        if not looked:
            looked.extend(ids)
            delete([four.id, others[1].id], dry_run=False)
            night.associate("tag", [two])
        return delete(ids, **options)

    monkeypatch.setattr(catalog, "delete", after_others)
    done = night.retention(collections=RUN, keep_last=1, dry_run=False)
    assert set(looked) == {one.id, two.id, three.id, others[0].id}
    assert (done.refs, done.spared) == ((one,), (two,))
    assert all(map(night.exists, (two, three, others[0])))


def test_many_versions_are_deleted_in_parts_between_which_others_write(night, monkeypatch):
    from quantumio.butler import _butler_history

    monkeypatch.setattr(_butler_history, "_PART", 2)
    with night.context() as ctx:  # in one pack
        for visit in range(5):
            ctx.put({"visit": visit}, "stats", visit=visit)
    night.associate("tag", ctx.refs[:1])
    catalog = night._session.repositories[0].catalog
    delete, sizes = catalog.delete, []

    def counted(ids, **options):
        sizes.append(len(ids))
        return delete(ids, **options)

    monkeypatch.setattr(catalog, "delete", counted)
    planned = night.retention(collections=RUN, younger_than=timedelta(0))
    done = night.retention(collections=RUN, younger_than=timedelta(0), dry_run=False)
    assert sizes == [5, 2, 2, 1]
    assert (done.dry_run, set(done.refs), done.spared) == (False, set(ctx.refs[1:]), tuple(ctx.refs[:1]))
    assert (set(planned.refs), planned.spared) == (set(done.refs), done.spared)
    assert (planned.objects, planned.nbytes) == (done.objects, done.nbytes)
    assert night.query(collections=RUN, versions="all").count() == 1


def test_snapshot_of_the_past_keeps_what_gc_has_not_removed_yet(night):
    gone, kept = put(night, 1), put(night, 2)
    then = night.versions("stats", visit=2)[0].commit_seq
    night.delete([gone, kept], dry_run=False)
    night.snapshot("past", at=then)
    assert collect_garbage_at_once(night).removed == 0
    for visit in (1, 2):
        assert night.get("stats", visit=visit, as_of="past") == {"visit": visit}
    night.remove_snapshot("past")
    assert collect_garbage_at_once(night).removed == 2
    night.snapshot("late", at=then)
    assert night.find("stats", visit=1, as_of="late") == gone
    with pytest.raises(NotFoundError) as error:
        night.get("stats", visit=1, as_of="late")
    assert error.value.kind is ErrorKind.REMOVED


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"keep_last": -1},
        {"keep_last": 1.5},
        {"younger_than": 30},
        {"younger_than": timedelta(days=-1)},
        {"keep_last": 1, "collections": None},
    ],
)
def test_rule_that_is_none_deletes_nothing(night, rules):
    ref = put(night, 1)
    with pytest.raises(InvalidInputError):
        night.retention(**{"collections": RUN, "dry_run": False} | rules)
    assert night.exists(ref)


def test_moments_are_named_and_compared(night):
    first = put(night, 1)
    named = night.snapshot("first", note="one dataset")
    second = put(night, 2)
    assert night.snapshots() == [named]
    assert night.diff("first").added == (second,)
    assert night.diff(0, "first").added == (first,)
    early = night.snapshot("early", at=night.versions("stats", visit=1)[0].commit_seq)
    assert night.diff(early.seq, named.seq).added == ()
    with pytest.raises(NotFoundError) as error:
        night.diff("nothing")
    assert error.value.kind is ErrorKind.NO_SNAPSHOT
    night.remove_snapshot("first")
    assert night.snapshots() == [early]


@pytest.mark.asyncio
async def test_moments_are_named_on_event_loops(make_root, open_butler):
    root = make_root()
    ref = put(open_butler(root, run=RUN), 1)
    async with AsyncButler(root) as butler:
        named = await butler.snapshot("first")
        assert await butler.snapshots() == [named]
        assert (await butler.diff(0, "first")).added == (ref,)
        assert (await butler.retention(collections=RUN, keep_last=1)).refs == ()
        await butler.remove_snapshot("first")


def test_journal_of_what_was_deleted_since_is_done(night, monkeypatch):
    """A process dies after its commit, before it takes its entry out of the journal; then all is deleted."""
    from quantumio.engine import _journal_entry

    monkeypatch.setattr(_journal_entry.JournalEntry, "finish", _journal_entry.JournalEntry.release)
    with night.context(ack="journaled") as ctx:
        ctx.put({"visit": 1}, "stats", visit=1)
    night.drain()
    monkeypatch.undo()
    ref = night.find("stats", visit=1)
    night.delete(ref, dry_run=False)
    root = night._session.repositories[0].root
    night.close()
    assert [one for one in (root / "journal").iterdir() if one.suffix == ".ready"]
    with Butler(root, run=RUN, instrument="ST8") as again:
        again.recover()
        assert again.recover().items == []
        assert again.set_aside() == []
        assert not again.exists(ref)
        assert not again.errors()


@pytest.mark.anyio
async def test_removed_collections_are_told_by_all_repositories(make_root, open_butler):
    roots = [make_root("one"), make_root("other")]
    for number, root in enumerate(roots):
        butler = open_butler(root)
        butler.chain(f"best{number}", [])
        butler.remove_collection(f"best{number}", dry_run=False)
    both = open_butler(roots)
    assert [one.name for one in both.removed_collections()] == ["best0", "best1"]
    async with AsyncButler(roots) as asynchronous:
        assert await asynchronous.removed_collections("*1") == both.removed_collections("*1")
