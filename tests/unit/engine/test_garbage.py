"""What garbage collection removes, and above all what it leaves alone."""

import json
import os
import random
import threading
import uuid
from pathlib import Path

import attrs
import pyarrow as pa
import pytest
import sqlalchemy as sa

from quantumio import Butler, DatasetType
from quantumio.destinations.files import FilesDestination
from quantumio.engine import GarbageCollector, GarbageKind, GarbageTally
from quantumio.engine._garbage_policy import GarbageVerdict, parse_name, uuid_time_ns
from quantumio.errors import DestinationError, ErrorKind, InternalError, InvalidInputError, StateError
from quantumio.model import Artifact, DataId, DatasetRef, OutputRecord, Transaction
from quantumio.ports import StoredObject
from quantumio.registry._schema import GC_CANDIDATE, TRASH
from quantumio.system import environment
from quantumio.testing import collect_garbage_at_once

DAY_NS = 86_400_000_000_000
STATS = DatasetType("stats", dimensions=["visit"], storage_class="Mapping")
ALL = 1 << 40


def id_of(days: float) -> uuid.UUID:
    """Make a UUIDv7 as it was made so many days ago."""
    milliseconds = (environment.now_ns() - int(days * DAY_NS)) // 1_000_000
    return uuid.UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | random.getrandbits(60))


@attrs.define
class Night:
    """A repository, and the garbage in it."""

    root: Path
    butler: Butler = None

    def open(self, **options) -> Butler:
        self.close()
        self.butler = Butler(self.root, run="r", instrument="ST8", **options)
        return self.butler

    def close(self) -> None:
        if self.butler is not None:
            self.butler.close()
            self.butler = None

    @property
    def repository(self):
        return self.butler._session.repositories[0]

    @property
    def catalog(self):
        return self.repository.catalog

    @property
    def data(self) -> Path:
        return self.root / "data"

    def commit(self, visit=1, **options) -> DatasetRef:
        with self.butler.context() as context:
            receipt = context.put({"visit": visit}, "stats", visit=visit, **options)
        return receipt.ref

    def file_of(self, ref) -> Path:
        (location,) = self.butler.where_is(ref)
        return Path(location.url.removeprefix("file://"))

    def leave(self, name, days=10.0, root="data") -> Path:
        """Write a file, as it was written so many days ago."""
        path = self.root / root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"dead")
        self.age(path, days)
        return path

    def age(self, path, days=10.0) -> None:
        at = environment.now_ns() - int(days * DAY_NS)
        os.utime(path, ns=(at, at))

    def transaction(self, state, txid=None, *, again=False, outputs=()) -> uuid.UUID:
        """Have a transaction in a state; ``again``: it was ended once, and opened again."""
        transaction = Transaction(txid=txid or id_of(10), run="r", key=None, outputs=outputs)
        owner = environment.uuid7()
        self.catalog.register_owner(owner, "host", "boot")
        self.catalog.prepare([transaction], owner, 600)
        if again:
            self.catalog.abort(transaction.txid, 0, "lease")
            self.catalog.reopen(transaction.txid, owner, 0)
            transaction = attrs.evolve(transaction, epoch=1, generation=1)
        if state == "ABORTED":
            assert self.catalog.abort(transaction.txid, transaction.epoch, "user")
        elif state == "COMMITTED":
            self.catalog.flip([transaction], owner)
        elif state == "QUARANTINED":
            self.catalog.quarantine()
        return transaction.txid

    def later(self, days=8) -> None:
        """Let time pass for what is remembered as dead."""
        with self.catalog._database.edit("a test") as connection:
            connection.execute(
                sa.update(GC_CANDIDATE).values(first_seen=GC_CANDIDATE.c.first_seen - days * DAY_NS)
            )

    def gc(self, **options):
        return self.butler.gc(**{"dry_run": False, "yes_really": ALL, **options})

    def gc_twice(self, **options):
        """Remove what can be removed."""
        self.gc(**options)
        self.later()
        return self.gc(**options)


@pytest.fixture
def make_night(tmp_path):
    nights = []

    def make(config=None) -> Night:
        night = Night(tmp_path / "night")
        with Butler.create(night.root, config or {}) as butler:
            butler.register_dataset_type(STATS)
        nights.append(night)
        night.open()
        return night

    yield make
    for night in nights:
        if night.butler is not None:
            night.butler.errors(acknowledge=True)
            night.close()


@pytest.fixture
def night(make_night) -> Night:
    return make_night()


def told(report, kind) -> dict[str, str]:
    return {one.path: one.detail for one in report.findings if one.kind == kind}


def count(report, what, destination="local") -> int:
    (store,) = (one for one in report.stores if one.destination == destination)
    return store.counts.get(what, 0)


# -- names


@pytest.mark.parametrize(
    ("path", "generation"),
    [
        ("stats/r/{id}.0.3.json", 0),
        ("a/b/c/{id}.12.0.fits.gz", 12),
        ("stats/r/{id}.0.3", 0),
        ("stats/r/{id}.1.3.fsck-0123456789abcdef.json", 1),
        ("_packs/u/ada/{id}.3.p12.zip", 3),
    ],
)
def test_names_of_ours_are_read(path, generation):
    id_ = environment.uuid7()
    name = parse_name(path.format(id=id_))
    assert (name.txid, name.generation) == (id_, generation)


@pytest.mark.parametrize(
    "path",
    [
        "stats/r/{id}.json",
        "stats/r/{id}.0.json",
        "stats/r/x{id}.0.1.json",
        "stats/{id}.0.1.d/more.json",
        "stats/r/{id}.٣.1.json",
        "stats/r/00000000-0000-4000-8000-000000000000.0.1.json",
        "_packs/{id}.zip",
        "_packs/r/{id}.0.q0.zip",
        "readme.txt",
    ],
)
def test_names_of_others_are_not(path):
    assert parse_name(path.format(id=environment.uuid7())) is None


def test_uuid_tells_when_it_was_made():
    before = environment.now_ns() // 1_000_000 * 1_000_000
    assert before <= uuid_time_ns(environment.uuid7()) <= environment.now_ns() + 60_000_000_000


# -- what is removed


def test_leftovers_of_ended_transactions_go_and_nothing_else(night):
    kept = night.file_of(night.commit())
    night.age(kept)
    aborted = night.leave(f"stats/r/{night.transaction('ABORTED')}.0.0.json")
    beside = night.leave(f"stats/r/{night.transaction('COMMITTED')}.0.5.json")
    earlier = night.leave(f"stats/r/{night.transaction('COMMITTED', again=True)}.0.0.json")
    superseded = night.leave(f"stats/r/{night.transaction('ABORTED', again=True)}.0.0.json")
    report = night.gc_twice()
    assert not any(path.exists() for path in (aborted, beside, earlier, superseded))
    assert kept.exists()
    assert (report.removed, report.removable, count(report, "named")) == (4, 0, 1)
    assert [store.removable_bytes for store in report.stores if store.destination == "local"] == [16]
    assert night.gc().removed == 0


@pytest.mark.parametrize("state", ["PREPARING", "QUARANTINED"])
def test_what_is_on_its_way_stays(night, state):
    path = night.leave(f"stats/r/{night.transaction(state)}.0.0.json")
    report = night.gc_twice()
    assert path.exists()
    assert count(report, GarbageVerdict.UNDECIDED) == 1


@pytest.mark.parametrize("state", ["PREPARING", "QUARANTINED"])
@pytest.mark.parametrize("generation", [0, 1, 2])
def test_what_is_on_its_way_stays_in_every_generation(night, state, generation):
    path = night.leave(f"stats/r/{night.transaction(state, again=True)}.{generation}.0.json")
    assert count(night.gc_twice(), GarbageVerdict.UNDECIDED) == 1
    assert path.exists()


@pytest.mark.parametrize("state", ["ABORTED", "COMMITTED"])
def test_generation_that_the_registry_does_not_know_is_told_and_stays(night, state):
    """The registry was put back from a backup: since then the transaction was opened again."""
    path = night.leave(f"stats/r/{night.transaction(state)}.1.0.json")
    report = night.gc_twice()
    assert path.exists()
    assert list(told(report, GarbageKind.UNKNOWN)) == [path.relative_to(night.data).as_posix()]


def test_transaction_that_the_registry_does_not_know_is_told_and_stays(night):
    path = night.leave(f"stats/r/{id_of(10)}.0.0.json")
    report = night.gc_twice()
    assert path.exists()
    assert "does not know" in told(report, GarbageKind.UNKNOWN)[path.relative_to(night.data).as_posix()]


def test_foreign_file_is_told_and_stays(night):
    path = night.leave("notes/readme.txt")
    assert list(told(night.gc_twice(), GarbageKind.FOREIGN)) == ["notes/readme.txt"]
    assert path.exists()


def test_temporary_file_of_a_dead_process_goes(night):
    old = night.leave("stats/r/.qio-0123abcd.tmp")
    young = night.leave("stats/r/.qio-0123abce.tmp", days=1)
    other = night.leave("stats/r/.qio-notes.txt")
    night.gc_twice()
    assert (old.exists(), young.exists(), other.exists()) == (False, True, True)


def test_damaged_file_that_was_repaired_stays_while_a_dataset_has_its_path_elsewhere(make_night):
    night = make_night(
        {
            "destinations": {"second": {"kind": "files", "root": "second"}},
            "rules": [{"to": ["local", "second"]}],
        }
    )
    night.commit()
    (damaged,) = night.data.glob("stats/r/*.json")
    damaged.chmod(0o644)
    damaged.write_bytes(b"{}")
    assert night.butler.fsck(2, repair=True).is_whole
    (repaired,) = night.data.glob("stats/r/*.fsck-*.json")
    pair = (damaged, repaired)
    for path in pair:
        night.age(path)
    collect_garbage_at_once(night.butler)
    assert [path.exists() for path in pair] == [True, True]  # nobody can tell that names were not swapped
    assert night.butler.fsck(2).is_whole


def test_pack_of_an_ended_transaction_goes_and_one_that_datasets_have_stays(night):
    with night.butler.context() as context:
        for visit in range(16):
            context.put({"visit": visit}, "stats", visit=visit)
    (pack,) = (night.data / "_packs").rglob("*.zip")
    night.age(pack)
    dead = night.leave(f"_packs/r/{night.transaction('ABORTED')}.0.p0.zip")
    waiting = night.leave(f"_packs/r/{night.transaction('PREPARING')}.0.p1.zip")
    report = night.gc_twice()
    assert [path.exists() for path in (pack, dead, waiting)] == [True, False, True]
    assert count(report, GarbageVerdict.UNDECIDED) == 1
    assert night.butler.get("stats", visit=7) == {"visit": 7}


def test_upload_that_was_begun_is_told(night, monkeypatch):
    """What a real S3 server lists is tested with the destinations."""
    begun = StoredObject(path="stats/r/begun.fits", nbytes=0, modified_ns=1)
    monkeypatch.setattr(FilesDestination, "uploads", lambda self: iter([begun]))
    assert list(told(night.gc(), GarbageKind.UPLOAD)) == ["stats/r/begun.fits"]


# -- patience


def test_dry_run_changes_nothing_and_tells_what_would_go(night):
    path = night.leave(f"stats/r/{night.transaction('ABORTED')}.0.0.json")
    name = path.relative_to(night.data).as_posix()
    for _ in range(2):
        report = night.butler.gc()
        assert report.dry_run
        assert told(report, GarbageKind.WAITING) == {name: "seen for the first time"}
    night.gc()
    night.later()
    night.open(readonly=True)
    report = night.butler.gc()
    assert list(told(report, GarbageKind.REMOVABLE)) == [name]
    assert (report.removable, report.removed) == (1, 0)
    assert path.exists()


def test_what_was_seen_less_than_the_grace_ago_waits(night):
    path = night.leave(f"stats/r/{night.transaction('ABORTED')}.0.0.json")
    night.gc()
    night.later(days=6)
    (detail,) = told(night.gc(), GarbageKind.WAITING).values()
    assert detail.startswith("known as dead for 5184")
    assert night.gc(grace_s=5 * 86400).removed == 1
    assert not path.exists()


def test_what_has_changed_since_it_was_seen_waits_anew(night):
    path = night.leave(f"stats/r/{night.transaction('ABORTED')}.0.0.json")
    night.gc()
    night.later()
    night.age(path, days=9)
    assert told(night.gc(), GarbageKind.WAITING).popitem()[1] == "seen for the first time"
    assert path.exists()


def test_young_object_of_an_old_transaction_waits(night):
    path = night.leave(f"stats/r/{night.transaction('ABORTED')}.0.0.json", days=1)
    assert night.gc_twice().removed == 0
    assert path.exists()


def test_young_transaction_waits(night):
    path = night.leave(f"stats/r/{night.transaction('ABORTED', id_of(1))}.0.0.json")
    assert night.gc_twice().removed == 0
    assert path.exists()


def test_host_clock_that_is_wrong_removes_nothing(night, monkeypatch):
    path = night.leave(f"stats/r/{night.transaction('ABORTED')}.0.0.json", days=0)
    now_ns = environment.now_ns
    monkeypatch.setattr(environment, "now_ns", lambda: now_ns() + 30 * DAY_NS)
    assert night.gc_twice().removed == 0
    assert path.exists()


def test_store_that_does_not_tell_the_time_keeps_all(night, monkeypatch):
    path = night.leave(f"stats/r/{night.transaction('ABORTED')}.0.0.json")
    monkeypatch.setattr(FilesDestination, "clock_ns", lambda self: None)
    assert night.gc_twice().removed == 0
    assert path.exists()


def test_object_whose_age_is_not_told_stays(night, monkeypatch):
    path = night.leave(f"stats/r/{night.transaction('ABORTED')}.0.0.json")
    objects = FilesDestination.objects
    monkeypatch.setattr(
        FilesDestination,
        "objects",
        lambda self: (attrs.evolve(one, modified_ns=None) for one in objects(self)),
    )
    assert night.gc_twice().removed == 0
    assert path.exists()


def test_what_is_in_the_trash_stays_for_the_grace(night):
    path = night.leave(f"stats/r/{night.transaction('COMMITTED')}.0.0.json")
    row = {"store": "local", "path": path.relative_to(night.data).as_posix(), "removed_seq": 1}
    with night.catalog._database.edit("a test") as connection:
        connection.execute(sa.insert(TRASH).values(**row, removed_at=environment.now_ns() - 6 * DAY_NS))
    assert count(night.gc_twice(), GarbageVerdict.NAMED) == 1
    assert path.exists()
    with night.catalog._database.edit("a test") as connection:
        connection.execute(sa.update(TRASH).values(removed_at=TRASH.c.removed_at - 2 * DAY_NS))
    night.gc_twice()
    assert not path.exists()


# -- the registry is asked after the listing, and again before anything goes


def copy_of(night, ref) -> tuple[Path, Artifact, Artifact]:
    """Write a second copy of a dataset that no artifact names yet."""
    (artifact,) = night.catalog.stored([ref.id])[ref.id].artifacts
    again = attrs.evolve(artifact, path=artifact.path.replace(".0.0.json", ".0.7.json"))
    path = night.data / again.path
    path.write_bytes((night.data / artifact.path).read_bytes())
    night.age(path)
    return path, artifact, again


def collect(night, grace_s=0) -> GarbageTally:
    tally = GarbageTally()
    collector = GarbageCollector(
        night.catalog, night.repository.destinations, grace_s=grace_s, dry_run=False, tally=tally
    )
    collector.run(yes_really=ALL)
    return tally


def test_what_a_dataset_gets_while_the_store_is_listed_is_not_taken_for_dead(night, monkeypatch):
    ref = night.commit()
    objects = FilesDestination.objects

    def mended_meanwhile(self):
        path, before, after = copy_of(night, ref)
        found = list(objects(self))
        assert night.catalog.amend_artifact(ref.id, before, after)
        assert path.relative_to(night.data).as_posix() in {one.path for one in found}
        return iter(found)

    monkeypatch.setattr(FilesDestination, "objects", mended_meanwhile)
    tally = collect(night)
    assert [one.path for one in tally.findings if ".0.7." in one.path] == []
    assert tally.stores["local"].counts["named"] == 1


def test_what_a_dataset_gets_before_it_is_removed_stays(night, monkeypatch):
    ref = night.commit()
    path, before, after = copy_of(night, ref)
    collect(night)
    check = GarbageCollector._still_dead

    def mended_meanwhile(self, plan, part):
        assert night.catalog.amend_artifact(ref.id, before, after)
        return check(self, plan, part)

    monkeypatch.setattr(GarbageCollector, "_still_dead", mended_meanwhile)
    assert [one.kind for one in collect(night).findings] == []
    assert path.exists()
    assert night.butler.get(ref) == {"visit": 1}


# -- which stores


def test_store_that_belongs_to_another_repository_now_is_left_alone(night):
    path = night.leave(f"stats/r/{night.transaction('ABORTED')}.0.0.json")
    night.gc()
    night.later()
    identity = night.data / "_qio" / "store.json"
    content = json.loads(identity.read_text())
    identity.unlink()
    identity.write_text(json.dumps({**content, "registry": str(environment.uuid7())}))
    report = night.gc()
    assert path.exists()
    assert not report.is_complete
    assert [(one.kind, one.destination) for one in report.findings] == [(GarbageKind.AWAY, "local")]


def test_store_that_nobody_has_written_to_is_no_trouble(make_night):
    night = make_night()
    night.open(readonly=True)
    report = night.butler.gc()
    assert (report.is_complete, report.findings) == (True, ())


def test_one_store_under_two_names_is_looked_at_once(make_night):
    night = make_night({"destinations": {"again": {"kind": "files", "root": "data"}}})
    kept = [night.file_of(night.commit(1)), night.file_of(night.commit(2, to="again"))]
    for path in kept:
        night.age(path)
    dead = night.leave(f"stats/r/{night.transaction('ABORTED')}.0.0.json")
    report = night.gc_twice()
    assert [path.exists() for path in (*kept, dead)] == [True, True, False]
    assert sum(store.objects for store in report.stores) == 3


def test_what_was_registered_under_a_name_that_is_gone_stays(make_night):
    night = make_night({"destinations": {"before": {"kind": "files", "root": "place"}}})
    kept = night.file_of(night.commit(1, to="before"))
    night.age(kept)
    night.close()
    (night.root / "butler.toml").write_text(
        (night.root / "butler.toml").read_text().replace("destinations.before", "destinations.after")
    )
    night.open()
    report = night.gc_twice()
    assert kept.exists()
    assert count(report, GarbageVerdict.NAMED, "after") == 1


def test_what_a_dataset_has_anywhere_stays_in_every_store(make_night):
    """Its destination may have got the name of another since."""
    night = make_night({"destinations": {"archive": {"kind": "files", "root": "archive"}}})
    kept = night.file_of(night.commit(1, to="archive"))
    night.close()
    config = night.root / "butler.toml"
    text = config.read_text().replace('root = "archive"', 'root = "new"')
    config.write_text(text + '[destinations.former]\nkind = "files"\nroot = "archive"\n')
    night.open()
    collect_garbage_at_once(night.butler)
    assert kept.exists()


@pytest.mark.parametrize(
    "name",
    [
        "keep/stats/r/{}.0.0.json",
        "keep/r/{}.0.0.json",
        "stats/r/keep/{}.0.0.json",
        "stats/{}.0.0.json",
        "r/{}.0.0.json",
        "{}.0.0.json",
        "keep/_packs/r/{}.0.p0.zip",
        "stats/r/{}.0.0.fsck-0123456789abcdef.json",
    ],
)
@pytest.mark.parametrize("state", ["ABORTED", "COMMITTED"])
def test_what_quantumio_has_not_placed_for_certain_is_told_and_stays(night, name, state):
    """Such as a copy that somebody has made of a directory, or what was repaired before it was lost."""
    path = night.leave(name.format(night.transaction(state)))
    report = night.gc_twice()
    assert path.exists()
    assert list(told(report, GarbageKind.UNKNOWN)) == [path.relative_to(night.data).as_posix()]


def test_store_below_another_is_left_to_itself(make_night):
    night = make_night()
    night.commit()
    inner = night.data / "stats"
    (inner / "data/_qio").mkdir(parents=True)
    (inner / "data/_qio/store.json").write_text("{}")
    kept = night.leave(f"stats/data/{night.transaction('ABORTED')}.0.0.json")
    report = night.gc_twice()
    assert kept.exists()
    details = told(report, GarbageKind.FOREIGN)
    assert details[kept.relative_to(night.data).as_posix()] == "it belongs to a store below this one"


@pytest.mark.parametrize("root", ["data/stats", "."])
def test_destinations_whose_stores_overlap_are_refused(make_night, root):
    config = {"destinations": {"other": {"kind": "files", "root": root}}}
    night = make_night()
    with pytest.raises(InvalidInputError, match=r"root of destination '(local|other)'") as failure:
        Butler.create(night.root / "another", config)
    assert failure.value.kind is ErrorKind.POLICY
    assert not (night.root / "another").exists()
    night.close()
    with (night.root / "butler.toml").open("a") as file:
        file.write(f'[destinations.other]\nkind = "files"\nroot = "{root}"\n')
    with pytest.raises(InvalidInputError, match=r"lies below"):
        Butler(night.root)


def test_stores_that_overlap_can_be_read(make_night):
    """Those of a repository of before they were refused: to move them somebody has to look at them."""
    night = make_night()
    night.commit(1)
    night.close()
    with (night.root / "butler.toml").open("a") as file:
        file.write('[destinations.other]\nkind = "files"\nroot = "data/stats"\n')
    with Butler(night.root, readonly=True) as butler:
        (ref,) = butler.query("stats")
        assert butler.get(ref) is not None
        with pytest.raises(StateError):
            butler.gc(dry_run=False)


def test_nothing_is_removed_where_another_store_lies_above(make_night, monkeypatch):
    """Such as where a directory became a link to another after the repository was opened."""
    monkeypatch.setattr("quantumio.destinations._opened.refuse_overlaps", lambda *_: None)
    night = make_night({"destinations": {"inner": {"kind": "files", "root": "data/stats"}}})
    kept = night.file_of(night.commit(1))
    night.commit(2, to="inner")
    night.age(kept)
    dead = night.leave(f"stats/r/{night.transaction('ABORTED')}.0.0.json", root="data/stats")
    report = night.gc_twice()
    assert (kept.exists(), dead.exists()) == (True, True)
    path = dead.relative_to(night.data / "stats").as_posix()
    assert told(report, GarbageKind.UNKNOWN)[path] == "its store lies below that of another destination"


def test_destination_that_fails_does_not_hold_up_the_others(make_night, monkeypatch):
    night = make_night({"destinations": {"second": {"kind": "files", "root": "second"}}})
    txid = night.transaction("ABORTED")
    paths = [night.leave(f"stats/r/{txid}.0.0.json", root=root) for root in ("data", "second")]
    remove = FilesDestination.remove

    def fail(self, removed):
        if self.name == "second":
            raise DestinationError("it is away", kind=ErrorKind.UNREACHABLE)
        remove(self, removed)

    monkeypatch.setattr(FilesDestination, "remove", fail)
    report = night.gc_twice()
    assert [path.exists() for path in paths] == [False, True]
    assert told(report, GarbageKind.AWAY) == {"": "it is away"}


@pytest.mark.parametrize(
    "error",
    [
        DestinationError("the registry is away", kind=ErrorKind.REGISTRY),
        InternalError("a bug"),
        StateError("it is closed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_trouble_that_is_no_destinations_is_raised(night, monkeypatch, error):
    def fail(self):
        raise error

    monkeypatch.setattr(FilesDestination, "objects", fail)
    with pytest.raises(type(error)):
        night.gc()


def test_destination_of_a_plug_in_that_is_not_managed_is_left_alone(night):
    class Plain:
        name = "local"
        parallelism = 1

        def close(self):
            pass

    night.repository.destinations._open["local"] = Plain()
    assert night.gc().findings == ()


# -- who has written


def test_session_that_the_registry_does_not_know_stops_all(night, caplog):
    path = night.leave(f"stats/r/{night.transaction('ABORTED')}.0.0.json")
    night.commit()
    assert len(list((night.data / "_qio" / "session").iterdir())) == 1
    night.gc()
    night.later()
    session = environment.uuid7()
    night.leave(f"_qio/session/{session}")
    night.leave("_qio/session/notes.txt")
    for dry_run in (True, False):
        with pytest.raises(StateError, match=str(session)) as failure:
            night.gc(dry_run=dry_run)
        assert failure.value.kind is ErrorKind.UNKNOWN_SESSION
        assert "--adopt-sessions" in failure.value.hint
    assert path.exists()
    night.gc(dry_run=True, adopt_sessions=True)
    with pytest.raises(StateError):
        night.gc()
    assert night.gc(adopt_sessions=True).removed == 1
    assert night.gc().findings == ()


def test_session_is_noted_by_whoever_places_and_known_to_the_registry(make_night, tmp_path):
    second = {"kind": "files", "root": "second"}
    night = make_night({"destinations": {"second": second}, "rules": [{"to": ["local", "second?"]}]})

    def sessions(root):
        directory = night.root / root / "_qio" / "session"
        return {uuid.UUID(one.name) for one in directory.iterdir()} if directory.exists() else set()

    assert night.butler.query("*").count() == 0
    assert sessions("data") == set(), "who only reads is no writer"
    file = tmp_path / "one.json"
    file.write_text("{}")
    night.butler.ingest([(file, {"visit": 5})], "stats")
    first = sessions("data")
    assert len(first) == 1
    night.commit()
    night.commit(2)
    night.butler.drain()
    assert sessions("data") == sessions("second") == first
    night.open()
    night.commit(3)
    night.butler.drain()
    assert len(sessions("data")) == 2
    assert night.catalog.known_owners(sessions("data")) == sessions("data")


def test_store_that_is_slow_does_not_hold_up_the_sessions_of_others(make_night, monkeypatch):
    night = make_night({"destinations": {"slow": {"kind": "files", "root": "slow"}}})
    note, waits, go_on, calls = FilesDestination.note_session, threading.Event(), threading.Event(), []

    def slowly(self, session):
        calls.append(self.name)
        if self.name == "slow":
            waits.set()
            assert go_on.wait(60)
        note(self, session)

    monkeypatch.setattr(FilesDestination, "note_session", slowly)
    sessions = night.repository.runtime.sessions
    slow = night.repository.destinations.get("slow")
    threads = [threading.Thread(target=sessions.note, args=(slow,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert waits.wait(60)
    night.commit()
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert sorted(calls) == ["local", "slow"], "each is told once"


def test_repair_notes_its_session(make_night):
    second = {"kind": "files", "root": "second"}
    night = make_night({"destinations": {"second": second}, "rules": [{"to": ["local", "second"]}]})
    night.commit()
    night.commit(2)
    min(night.data.glob("stats/r/*.json")).unlink()
    night.open()
    assert night.butler.fsck(repair=True).is_whole
    assert len(list((night.data / "_qio" / "session").iterdir())) == 2


# -- how much


@pytest.mark.parametrize("number", [1, 12])
def test_more_than_a_tenth_of_a_store_needs_to_be_allowed(night, number):
    txid = night.transaction("ABORTED")
    paths = [night.leave(f"stats/r/{txid}.0.{index}.json") for index in range(number)]
    night.gc()
    night.later()
    for allowed in (None, number - 1):
        with pytest.raises(StateError, match=f"{number} objects of destination 'local'") as failure:
            night.gc(yes_really=allowed)
        assert failure.value.kind is ErrorKind.TOO_MANY_REMOVALS
        assert f"--yes-really {number}" in failure.value.hint
    assert all(path.exists() for path in paths)
    assert night.gc(yes_really=number).removed == number


def test_less_than_a_tenth_goes_without_being_asked(night):
    for visit in range(11):
        night.age(night.file_of(night.commit(visit)))
    night.leave(f"stats/r/{night.transaction('ABORTED')}.0.0.json")
    assert night.gc_twice(yes_really=None).removed == 1


def test_more_than_a_thousand_need_to_be_allowed(night, monkeypatch):
    monkeypatch.setattr("quantumio.engine._garbage._MOST_OBJECTS", 2)
    monkeypatch.setattr("quantumio.engine._garbage._REMOVED_AT_ONCE", 2)
    monkeypatch.setattr("quantumio.engine._garbage._LISTED_AT_ONCE", 7)
    for visit in range(40):
        night.age(night.file_of(night.commit(visit)))
    txid = night.transaction("ABORTED")
    for index in range(3):
        night.leave(f"stats/r/{txid}.0.{index}.json")
    with pytest.raises(StateError, match="more than 2"):
        night.gc_twice(yes_really=None)
    seen = []
    assert night.gc(progress=seen.append).removed == 3
    assert [one.removed for one in seen][-3:] == [1, 2, 3]
    assert max(one.looked_at for one in seen) == 43


def test_report_holds_the_first_findings_and_counts_the_others(night, monkeypatch):
    monkeypatch.setattr("quantumio.engine._garbage_report._MAX_FINDINGS", 2)
    for index in range(5):
        night.leave(f"notes/{index}.txt")
    report = night.butler.gc()
    assert (len(report.findings), report.left_off, count(report, "foreign")) == (2, 3, 5)


def test_removals_are_logged(night, caplog):
    path = night.leave(f"stats/r/{night.transaction('ABORTED')}.0.0.json")
    with caplog.at_level("INFO", logger="quantumio.engine._garbage"):
        night.gc_twice()
    assert f"gc removed {path.relative_to(night.data).as_posix()} (4 bytes)" in caplog.text


# -- rows of databases


def test_loads_of_ended_attempts_go_and_others_stay(make_night):
    night = make_night({"destinations": {"level3": {"kind": "database", "url": "sqlite:///level3.db"}}})
    assert night.gc().findings == ()
    with night.butler.context() as context:
        night.butler.register_dataset_type(
            DatasetType("table", dimensions=["visit"], storage_class="ArrowTable")
        )
        context.put(pa.table({"x": [1]}), "table", visit=1, to="level3")
    level3 = night.repository.destinations.get("level3")
    loads = {state: environment.uuid7() for state in ("ABORTED", "PREPARING", "unknown")}
    table = DatasetType("table", dimensions=["visit"], storage_class="ArrowTable")
    ref = DatasetRef(environment.uuid7(), table, DataId({"instrument": "ST8", "visit": 2}), "r")
    txids = {}
    for state, load_id in loads.items():
        level3.load("table", pa.table({"x": [2]}), load_id)
        rows = Artifact(
            destination="level3", path="table", format="rows", digest="", nbytes=0, load_id=load_id
        )
        if state != "unknown":
            outputs = (OutputRecord(ref=ref, expect=None, artifacts=(rows,)),)
            txids[state] = night.transaction(state, outputs=outputs)
    assert {load_id for _, load_id in level3.hidden_loads()} == set(loads.values())
    report = night.gc_twice()
    assert {load_id for _, load_id in level3.hidden_loads()} == {loads["PREPARING"], loads["unknown"]}
    assert list(told(report, GarbageKind.REMOVED)) == [f"table/{loads['ABORTED']}"]
    assert list(told(report, GarbageKind.UNKNOWN)) == [f"table/{loads['unknown']}"]
    assert count(report, GarbageVerdict.UNDECIDED, "level3") == 1
    assert night.butler.get("table", visit=1)["x"].to_pylist() == [1]


def test_rows_that_a_dataset_has_and_nobody_revealed_stay(make_night, monkeypatch):
    from quantumio.destinations._sql_destination import DatabaseDestination

    night = make_night({"destinations": {"level3": {"kind": "database", "url": "sqlite:///level3.db"}}})
    night.butler.register_dataset_type(DatasetType("table", dimensions=["visit"], storage_class="ArrowTable"))

    def fail(self, *arguments):
        raise DestinationError("it is away", kind=ErrorKind.UNREACHABLE)

    with monkeypatch.context() as patch:
        patch.setattr(DatabaseDestination, "reveal", fail)
        with night.butler.context() as context:
            context.put(pa.table({"x": [1]}), "table", visit=1, to="level3")
        with pytest.raises(ExceptionGroup):
            night.butler.drain()
    assert count(night.gc_twice(), GarbageVerdict.NAMED, "level3") == 1
    assert night.butler.get("table", visit=1)["x"].to_pylist() == [1]


def test_table_destination_of_a_plug_in_that_lists_no_loads_is_left_alone(make_night):
    from quantumio.testing import Fault, FaultyTableDestination

    night = make_night({"destinations": {"level3": {"kind": "database", "url": "sqlite:///level3.db"}}})
    level3 = night.repository.destinations.get("level3")
    night.repository.destinations._open["level3"] = FaultyTableDestination(level3, Fault(at=10**9))
    assert night.gc().findings == ()


# -- the interface


@pytest.mark.parametrize(
    "arguments",
    [
        {"dry_run": "no"},
        {"adopt_sessions": 1},
        {"grace_s": 86399},
        {"grace_s": True},
        {"grace_s": "a week"},
        {"grace_s": float("nan")},
        {"grace_s": float("inf")},
        {"grace_s": 10**30},
        {"yes_really": -1},
        {"yes_really": True},
        {"progress": "loud"},
    ],
    ids=str,
)
def test_arguments_are_checked(night, arguments):
    with pytest.raises(InvalidInputError):
        night.butler.gc(**arguments)


def test_readonly_butler_removes_nothing(night):
    night.open(readonly=True)
    with pytest.raises(StateError) as failure:
        night.gc()
    assert failure.value.kind is ErrorKind.READ_ONLY


def test_two_repositories_are_told_together(make_night, tmp_path):
    night = make_night()
    night.commit()
    night.close()
    with Butler.create(tmp_path / "other") as butler:
        butler.register_dataset_type(STATS)
    (tmp_path / "other" / "data").mkdir(exist_ok=True)
    (tmp_path / "other" / "data" / "notes.txt").write_text("mine")
    with Butler([night.root, tmp_path / "other"]) as butler:
        report = butler.gc(dry_run=False)
        assert [store.destination for store in report.stores] == ["local", "local"]
        assert [one.path for one in report.findings] == ["notes.txt"]
        assert len(collect_garbage_at_once(butler).stores) == 2


def test_garbage_collected_at_once_leaves_what_datasets_have(night):
    kept = night.file_of(night.commit())
    night.leave(f"stats/r/{night.transaction('ABORTED', id_of(0.001))}.0.0.json", days=0)
    night.leave("stats/r/.qio-0123abcd.tmp", days=0)
    assert collect_garbage_at_once(night.butler).removed == 2
    assert [path for path in (night.data / "stats").rglob("*") if path.is_file()] == [kept]
