"""Checking a repository: what is found, what is done about it, and what is left alone."""

import logging
import os
import shutil
import sqlite3
from pathlib import Path

import anyio
import attrs
import numpy as np
import pyarrow as pa
import pytest

from quantumio import AsyncButler, Butler, DatasetType
from quantumio.engine import FsckAction, FsckReport, FsckTrouble
from quantumio.errors import ErrorKind, InvalidInputError, NotFoundError, StateError
from quantumio.model import ArtifactState
from quantumio.registry._catalog import SqlCatalog
from quantumio.testing import Fault, FaultyDestination, make_placement

CONFIG = {
    "destinations": {
        "archive": {"kind": "files", "root": "archive"},
        "level3": {"kind": "database", "url": "sqlite:///level3.sqlite3"},
    },
    "rules": [
        {"datasets": "single*", "to": "local"},
        {"datasets": "source", "to": ["local", "level3"]},
        {"to": ["local", "archive"]},
    ],
}
DATASET_TYPES = (
    DatasetType("pixels", dimensions=["visit"], storage_class="NDArray"),
    DatasetType("single", dimensions=["visit"], storage_class="Mapping"),
    DatasetType("source", dimensions=["visit"], storage_class="AstropyTable"),
)


@pytest.fixture(scope="module")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fsck") / "template"
    with Butler.create(root, CONFIG) as butler:
        for dataset_type in DATASET_TYPES:
            butler.register_dataset_type(dataset_type)
        with Butler(root, run="r", instrument="ST8") as filled, filled.context() as context:
            for visit in (1, 2, 3):
                context.put(np.full(50, visit), "pixels", visit=visit)
                context.put({"visit": visit}, "single", visit=visit)
    return root


@pytest.fixture
def root(_template: Path, tmp_path: Path) -> Path:
    """Copy a repository with three visits: pixels at two destinations, and what is at one alone."""
    return Path(shutil.copytree(_template, tmp_path / "night"))


def open_(root: Path, **options: object) -> Butler:
    return Butler(root, run="r", instrument="ST8", **options)


def check(root: Path, level: int = 1, *, repair: bool = False, **options: object) -> FsckReport:
    with open_(root, readonly=not repair) as butler:
        return butler.fsck(level, repair=repair, **options)


def place_of(root: Path, dataset_type: str, visit: int, destination: str) -> Path:
    """Return the file of a dataset, as the registry has it now."""
    directory = {"local": "data", "archive": "archive"}[destination]
    with open_(root, readonly=True) as butler:
        ref = butler.find(dataset_type, visit=visit)
        stored = butler._session.stored_of(ref)[1]
        (path,) = [one.path for one in stored.artifacts if one.destination == destination]
    return root / directory / path


def states(root: Path, dataset_type: str, visit: int) -> dict[str, ArtifactState]:
    with open_(root, readonly=True) as butler:
        return {one.destination: one.state for one in butler.where_is(butler.find(dataset_type, visit=visit))}


def overwrite(path: Path, data: bytes) -> None:
    os.chmod(path, 0o644)
    path.write_bytes(data)


def flip_a_bit(path: Path) -> bytes:
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    overwrite(path, bytes(damaged))
    return bytes(damaged)


def told(report: FsckReport) -> list[tuple[str, str | None, str]]:
    return [(str(one.trouble), one.destination, str(one.action)) for one in report.findings]


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_whole_repository_has_no_findings(root, level):
    report = check(root, level)
    assert (report.is_whole, report.findings) == (True, ())
    assert (report.datasets, report.artifacts, report.counts) == (6, 9, {"ok": 9})


def test_deleted_file_is_missing_and_is_put_back_under_its_own_name(root):
    path = place_of(root, "pixels", 2, "local")
    data = path.read_bytes()
    path.unlink()
    assert check(root, 0).is_whole, "level 0 looks at no destination"
    report = check(root)
    assert told(report) == [("missing", "local", "none")]
    assert report.counts == {"ok": 8, "missing": 1}
    assert not path.exists(), "without repair nothing changes"
    assert states(root, "pixels", 2)["local"] is ArtifactState.OK

    report = check(root, repair=True)
    assert told(report) == [("missing", "local", "repaired")]
    assert report.is_whole
    assert path.read_bytes() == data
    assert check(root, 3).is_whole


def test_truncated_file_is_found_by_its_size_and_is_kept(root):
    path = place_of(root, "pixels", 1, "archive")
    good = path.read_bytes()
    overwrite(path, good[:-10])
    assert told(check(root)) == [("wrong_size", "archive", "none")]
    report = check(root, repair=True)
    assert told(report) == [("wrong_size", "archive", "repaired")]
    assert path.read_bytes() == good[:-10], "what is damaged stays as it is"
    repaired = place_of(root, "pixels", 1, "archive")
    assert repaired != path
    assert repaired.name.startswith(f"{path.name.removesuffix(path.suffix)}.fsck-")
    assert repaired.suffix == path.suffix
    assert repaired.read_bytes() == good
    assert check(root, 3).is_whole


def test_flipped_bit_is_found_by_the_digest_alone(root):
    path = place_of(root, "pixels", 3, "local")
    damaged = flip_a_bit(path)
    assert check(root, 1).is_whole
    assert told(check(root, 2)) == [("wrong_digest", "local", "none")]
    assert told(check(root, 3)) == [("wrong_digest", "local", "none")]
    assert told(check(root, 2, repair=True)) == [("wrong_digest", "local", "repaired")]
    assert path.read_bytes() == damaged
    with open_(root) as butler:
        np.testing.assert_array_equal(butler.get("pixels", visit=3), np.full(50, 3))


def test_names_of_repeated_repairs_do_not_grow(root):
    for _ in range(3):
        path = place_of(root, "pixels", 3, "local")
        flip_a_bit(path)
        assert check(root, 2, repair=True).is_whole
    assert place_of(root, "pixels", 3, "local").name.count(".fsck-") == 1


def test_damaged_copy_repairs_nothing(root):
    flip_a_bit(place_of(root, "pixels", 1, "local"))
    place_of(root, "pixels", 1, "archive").unlink()
    report = check(root, 1, repair=True)
    assert told(report) == [("missing", "archive", "marked")]
    report = check(root, 2, repair=True)
    assert told(report) == [
        ("wrong_digest", "local", "marked"),
        ("missing", "archive", "marked"),
        ("no_copy", None, "none"),
    ]
    assert not report.is_whole
    assert states(root, "pixels", 1) == {"local": ArtifactState.CORRUPT, "archive": ArtifactState.MISSING}


def test_without_a_copy_the_registry_says_so_loudly_and_keeps_the_row(root, caplog):
    path = place_of(root, "single", 1, "local")
    data = path.read_bytes()
    path.unlink()
    with caplog.at_level(logging.ERROR, "quantumio"):
        report = check(root, repair=True)
    assert told(report) == [("missing", "local", "marked"), ("no_copy", None, "none")]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "single(" in caplog.text
    assert states(root, "single", 1) == {"local": ArtifactState.MISSING}
    assert told(check(root, 0)) == [("missing", "local", "none"), ("no_copy", None, "none")]
    with open_(root) as butler, pytest.raises(NotFoundError):
        butler.get("single", visit=1)

    path.write_bytes(data)  # from a backup
    with open_(root) as butler:
        assert butler.get("single", visit=1) == {"visit": 1}
    assert told(check(root)) == [("whole_again", "local", "none")]
    report = check(root, repair=True)
    assert told(report) == [("whole_again", "local", "restored")]
    assert report.is_whole
    assert states(root, "single", 1) == {"local": ArtifactState.OK}


def test_wrong_bytes_put_back_are_not_taken_for_whole(root):
    path = place_of(root, "single", 1, "local")
    size = len(path.read_bytes())
    path.unlink()
    check(root, repair=True)
    path.write_bytes(b"x" * size)
    report = check(root, 1, repair=True)
    assert told(report) == [("wrong_digest", "local", "marked"), ("no_copy", None, "none")]
    assert states(root, "single", 1) == {"local": ArtifactState.CORRUPT}


def test_reading_prefers_what_is_known_to_be_whole(root):
    damaged = place_of(root, "pixels", 1, "local")
    shutil.move(root / "archive", root / "away")
    flip_a_bit(damaged)
    check(root, 2, repair=True)
    assert states(root, "pixels", 1)["local"] is ArtifactState.CORRUPT
    shutil.rmtree(root / "archive", ignore_errors=True)
    shutil.move(root / "away", root / "archive")
    with open_(root) as butler:
        np.testing.assert_array_equal(butler.get("pixels", visit=1), np.ones(50, int))


@pytest.mark.parametrize("repair", [False, True])
def test_destination_that_is_away_is_one_finding_and_marks_nothing(root, repair):
    shutil.move(root / "archive", root / "unmounted")
    report = check(root, 2, repair=repair)
    assert told(report) == [("unknown", "archive", "none")]
    assert report.findings[0].ref is None
    assert report.counts == {"ok": 6, "unknown": 3}
    assert not report.is_whole
    assert states(root, "pixels", 1)["archive"] is ArtifactState.OK
    shutil.rmtree(root / "archive", ignore_errors=True)
    shutil.move(root / "unmounted", root / "archive")
    assert check(root, 3).is_whole


def test_disk_that_goes_away_during_the_check_marks_nothing(root):
    for visit in (1, 2, 3):
        place_of(root, "single", visit, "local").unlink()

    def unmount(event):
        if event.checked == 1:
            shutil.move(root / "data", root / "unmounted")

    report = check(root, 1, repair=True, progress=unmount)
    # Datasets are looked at ahead of the report: the first one before the disk went away, or after.
    assert told(report)[0] in (("missing", "local", "none"), ("unknown", "local", "none"))
    assert "marked" not in {action for _, _, action in told(report)}
    assert not report.is_whole
    for visit in (1, 2, 3):
        assert states(root, "single", visit) == {"local": ArtifactState.OK}


def test_destination_that_is_no_directory_is_away(root):
    shutil.move(root / "archive", root / "unmounted")
    (root / "archive").write_text("in the way")
    report = check(root, 1, repair=True)
    assert told(report) == [("unknown", "archive", "none")]
    assert states(root, "pixels", 1)["archive"] is ArtifactState.OK


def test_destination_that_is_not_configured_any_more_is_unknown(root):
    config = (root / "butler.toml").read_text()
    (root / "butler.toml").write_text(
        config.replace("[destinations.archive]", "[destinations.other]").replace('"archive"', '"other"')
    )
    report = check(root)
    assert told(report) == [("unknown", "archive", "none")]
    assert "archive" in report.findings[0].detail


def test_file_that_may_not_be_looked_at_is_unknown_and_not_marked(root):
    directory = place_of(root, "single", 2, "local").parent
    shutil.move(directory, root / "elsewhere")
    directory.symlink_to(root / "elsewhere")  # stores do not follow links
    report = check(root, 2, repair=True)
    assert told(report) == [("unknown", "local", "none")] * 3
    assert None not in [one.ref for one in report.findings]
    assert states(root, "single", 2) == {"local": ArtifactState.OK}


def test_something_else_under_the_name_is_left_there(root):
    path = place_of(root, "pixels", 2, "local")
    path.unlink()
    path.mkdir()
    report = check(root, 2, repair=True)
    assert [one.action for one in report.findings] == [FsckAction.REPAIRED]
    assert path.is_dir()
    assert check(root, 3).is_whole


def test_bytes_that_cannot_be_decoded_are_unreadable_and_are_not_marked(root):
    with open_(root) as butler:
        catalog = butler._session.repositories[0].catalog
        stored = butler._session.stored_of(butler.find("single", visit=3))[1]
        local = butler._session.repositories[0].destinations.get("local")
        bad = make_placement("single/r/bad.json", b"{never closed")
        local.place([bad])
        before = stored.artifacts[0]
        after = attrs.evolve(before, path=bad.path, digest=bad.digest, nbytes=bad.nbytes)
        assert catalog.amend_artifact(stored.ref.id, before, after)
    assert check(root, 2).is_whole
    report = check(root, 3, repair=True)
    assert told(report) == [("unreadable", "local", "none"), ("no_copy", None, "none")]
    assert states(root, "single", 3) == {"local": ArtifactState.OK}


@pytest.fixture
def with_rows(root: Path) -> Path:
    """Put a table into files and rows."""
    from astropy.table import Table

    with open_(root) as butler, butler.context() as context:
        context.put(Table({"flux": [1.0, 2.0, 3.0]}), "source", visit=1)
    return root


def execute(root: Path, statement: str) -> None:
    database = sqlite3.connect(root / "level3.sqlite3")
    with database:
        assert database.execute(statement).rowcount > 0
    database.close()


def test_rows_are_checked_from_level_2_on(with_rows):
    assert check(with_rows, 1).counts == {"ok": 10, "not_checked": 1}
    assert check(with_rows, 2).counts == {"ok": 11}
    assert check(with_rows, 3).is_whole


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM source_rows WHERE flux = 2", "UPDATE source_rows SET flux = 7 WHERE flux = 2"],
)
def test_rows_changed_by_hand_are_found_and_marked(with_rows, statement):
    execute(with_rows, statement)
    assert told(check(with_rows, 2)) == [("wrong_digest", "level3", "none")]
    report = check(with_rows, 2, repair=True)
    assert told(report) == [("wrong_digest", "level3", "marked")]
    assert states(with_rows, "source", 1) == {"local": ArtifactState.OK, "level3": ArtifactState.CORRUPT}
    with open_(with_rows) as butler:
        assert list(butler.get("source", visit=1)["flux"]) == [1.0, 2.0, 3.0]


def test_database_that_is_gone_is_away_and_marks_nothing(with_rows):
    shutil.move(with_rows / "level3.sqlite3", with_rows / "unmounted")
    report = check(with_rows, 2, repair=True)
    assert told(report) == [("unknown", "level3", "none")]
    assert states(with_rows, "source", 1)["level3"] is ArtifactState.OK


def test_version_that_vanished_is_found(root):
    with open_(root) as butler:
        for _ in range(2):
            with butler.context() as context:
                context.put({}, "single", visit=1)
    database = sqlite3.connect(root / "registry.sqlite3")
    names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    (table,) = [
        name
        for name in names
        if {"v", "run_id", "removed_seq"}
        <= {row[1] for row in database.execute(f"PRAGMA table_info('{name}')")}
    ]
    with database:
        database.execute(f'UPDATE "{table}" SET removed_seq = 1 WHERE v = 2')
    assert check(root, 0).is_whole, "it was removed"
    with database:
        assert database.execute(f'DELETE FROM "{table}" WHERE v = 2').rowcount == 1
    database.close()
    report = check(root, 0)
    assert [(one.trouble, one.ref.version) for one in report.findings] == [(FsckTrouble.NO_VERSION, 3)]


def test_collections_narrow_the_check(root):
    with open_(root) as butler, butler.context(run="other") as context:
        context.put({}, "single", visit=9)
    assert check(root, collections="other").datasets == 1
    assert check(root, collections=["oth*"]).datasets == 1
    assert check(root).datasets == 7
    with pytest.raises(NotFoundError) as error:
        check(root, collections="nowhere")
    assert error.value.kind is ErrorKind.NO_COLLECTION


def test_progress_is_told_of_every_dataset_and_of_findings(root):
    place_of(root, "single", 2, "local").unlink()
    events = []
    report = check(root, progress=events.append)
    assert [(event.checked, event.total) for event in events] == [(number, 6) for number in range(1, 7)]
    assert sum((event.findings for event in events), ()) == report.findings


def test_report_holds_a_bounded_number_of_findings(root, monkeypatch):
    monkeypatch.setattr("quantumio.engine._fsck_report._MAX_FINDINGS", 2)
    for visit in (1, 2, 3):
        place_of(root, "pixels", visit, "archive").unlink()
    place_of(root, "single", 1, "local").unlink()
    (root / "archive" / "still.here").write_text("x")
    report = check(root)
    assert (len(report.findings), report.left_off, report.unsettled) == (2, 3, 5)


@pytest.mark.parametrize("level", [-1, 4, True, "1", None])
def test_level_that_is_none_is_refused(root, level):
    with pytest.raises(InvalidInputError):
        check(root, level)


def test_what_cannot_repair_is_refused(root):
    with pytest.raises(InvalidInputError):
        check(root, 0, repair=True)
    with open_(root, readonly=True) as butler, pytest.raises(StateError) as error:
        butler.fsck(repair=True)
    assert error.value.kind is ErrorKind.READ_ONLY


@pytest.mark.parametrize("lost_reply", [False, True])
def test_whichever_call_fails_the_next_repair_finds_all_it_needs(root, tmp_path, lost_reply, monkeypatch):
    monkeypatch.setattr("quantumio.engine._fsck._AHEAD", 1)  # one look at a time: calls in a known order
    outcomes = set()
    for number in range(1, 18):
        night = Path(shutil.copytree(root, tmp_path / f"night{number}"))
        place_of(night, "pixels", 1, "local").unlink()
        flip_a_bit(place_of(night, "pixels", 2, "local"))
        with open_(night) as butler:
            opened = butler._session.repositories[0].destinations
            fault = Fault(at=number, kind=ErrorKind.DISK_FULL, lost_reply=lost_reply)
            opened._open["local"] = FaultyDestination(opened.get("local"), fault)
            outcomes |= set(told(butler.fsck(2, repair=True)))
        assert set(states(night, "pixels", 1).values()) == {ArtifactState.OK}
        assert set(states(night, "pixels", 2).values()) == {ArtifactState.OK}
        assert check(night, 2, repair=True).is_whole
        assert check(night, 3).is_whole
    assert {("missing", "local", "failed"), ("wrong_digest", "local", "failed")} <= outcomes


def test_file_ingested_in_place_is_marked_and_heals(root, tmp_path):
    source = tmp_path / "one.json"
    source.write_text('{"a": 1}')
    with open_(root) as butler:
        butler.ingest(source, "single", visit=8, transfer="direct")
    source.rename(tmp_path / "moved.json")
    report = check(root, repair=True)
    assert told(report) == [("missing", "direct", "marked"), ("no_copy", None, "none")]
    (tmp_path / "moved.json").rename(source)
    assert told(check(root, repair=True)) == [("whole_again", "direct", "restored")]


def test_file_in_place_that_cannot_be_looked_at_says_nothing_of_the_others(root, tmp_path, monkeypatch):
    """Its disk may be away, and those of the others not; what was missing there was not found."""
    monkeypatch.setattr("quantumio.engine._fsck._AHEAD", 1)  # one after the other
    source = tmp_path / "one.json"
    source.write_text("{}")
    too_long = pa.table({"visit": [8], "uri": [f"/{'x' * 300}/one.json"], "size": [2]})
    with open_(root) as butler:
        butler.ingest(too_long, "single", transfer="direct")
        butler.ingest(source, "single", visit=9, transfer="direct")
    source.unlink()
    report = check(root)
    assert [str(one.trouble) for one in report.findings] == ["unknown", "missing", "no_copy"]
    assert [one.ref.data_id["visit"] for one in report.findings] == [8, 9, 9]


@pytest.mark.anyio
async def test_async_check_is_the_same_and_can_be_cancelled(root):
    async with AsyncButler(root, run="r", instrument="ST8") as butler:
        assert (await butler.fsck(3)).datasets == 6
        seen = []
        with anyio.CancelScope() as scope:

            def stop(event):
                seen.append(event.checked)
                anyio.from_thread.run_sync(scope.cancel)

            await butler.fsck(progress=stop)
        assert scope.cancelled_caught
        assert seen == [1]


def test_names_for_people_show_what_was_repaired(tmp_path):
    config = {
        "destinations": {"desk": {"kind": "workspace", "root": str(tmp_path / "desk")}},
        "rules": [{"to": ["local", "desk"]}],
    }
    root = tmp_path / "night"
    with Butler.create(root, config) as butler:
        butler.register_dataset_type(DATASET_TYPES[1])
    with open_(root) as butler, butler.context() as context:
        for visit in (1, 2):
            context.put({"visit": visit}, "single", visit=visit)
    lost, damaged = sorted((tmp_path / "desk" / ".quantumio" / "single").rglob("*.json"))
    names = sorted((tmp_path / "desk" / "r").rglob("*.json"))
    assert len(names) == 2
    names[0].unlink()
    lost.unlink()
    flip_a_bit(damaged)
    report = check(root, 2, repair=True)
    assert [one.action for one in report.findings] == [FsckAction.REPAIRED] * 2
    assert names[0].exists()
    assert "name for people" not in report.findings[0].detail
    assert "name for people" in report.findings[1].detail, "the damaged file is left where people see it"
    assert check(root, 3).is_whole


def test_objects_are_put_back_into_a_real_object_store(tmp_path, s3_server, s3_bucket):
    archive = {
        "kind": "objects",
        "root": f"s3://{s3_bucket}/night",
        "endpoint": s3_server.endpoint_url,
        "insecure": True,
    }
    root = tmp_path / "night"
    config = {
        "destinations": {"archive": archive},
        "rules": [{"to": ["local", "archive"]}],
        "runtime": {"pack_bytes": 0},
    }
    with Butler.create(root, config) as b:
        b.register_dataset_type(DATASET_TYPES[1])
    with open_(root) as butler, butler.context() as context:
        for visit in range(40):
            context.put({"visit": visit}, "single", visit=visit)
    client = s3_server.client()
    keys = [
        one["Key"] for one in client.list_objects_v2(Bucket=s3_bucket, Prefix="night/single/")["Contents"]
    ]
    client.delete_object(Bucket=s3_bucket, Key=keys[0])
    body = client.get_object(Bucket=s3_bucket, Key=keys[1])["Body"].read()
    client.put_object(Bucket=s3_bucket, Key=keys[1], Body=body.upper())
    assert sorted(told(check(root, 2, repair=True))) == [
        ("missing", "archive", "repaired"),
        ("wrong_digest", "archive", "repaired"),
    ]
    assert client.get_object(Bucket=s3_bucket, Key=keys[1])["Body"].read() == body.upper()
    client.close()
    assert check(root, 3).is_whole


def edit_registry(root: Path, *statements: str) -> None:
    with sqlite3.connect(root / "registry.sqlite3") as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_rows_that_name_what_is_not_there_are_found(root):
    edit_registry(root, "DELETE FROM object WHERE id IN (SELECT id FROM object LIMIT 2)")
    report = check(root, 0)
    broken = [one for one in report.findings if one.trouble is FsckTrouble.BROKEN_REFERENCE]
    assert [(one.ref, one.destination, one.detail) for one in broken] == [
        (None, None, "2 rows of the table artifact name rows of object that are not there")
    ]
    assert not report.is_whole


def test_what_waits_for_more_than_a_day_is_found(root):
    txid = "(SELECT txid FROM txn LIMIT 1)"
    columns = "txid, kind, destination, attempts, created_at, not_before"
    now, day = "CAST(strftime('%s') AS INTEGER) * 1000000000", 86_400_000_000_000
    for destination, days in (("archive", 2), ("local", 0.5)):
        values = f"{txid}, 'export', '{destination}', 7, {now} - {int(days * day)}, {now} + {day}"
        edit_registry(root, f"INSERT INTO registry_outbox ({columns}) VALUES ({values})")
    report = check(root, 0)
    assert told(report) == [("overdue", "archive", "none")]
    assert "waits for 48 hours, after 7 failed attempts" in report.findings[0].detail


def test_scrub_reads_every_dataset_once_in_all_parts_and_finds_damage(root):
    path = place_of(root, "pixels", 2, "local")
    damaged = flip_a_bit(path)
    with open_(root) as butler:
        reports = [butler.scrub(parts=4, part=part) for part in range(4)]
        assert sum(one.datasets for one in reports) == 6
        assert sorted(trouble for one in reports for trouble in told(one)) == [
            ("wrong_digest", "local", "none")
        ]
        assert {one.level for one in reports} == {2}
        for part in range(4):
            butler.scrub(parts=4, part=part, repair=True)
    assert path.read_bytes() == damaged
    assert check(root, 2).is_whole


def test_scrub_takes_the_part_of_the_day(root, monkeypatch):
    def on_day(number: int) -> int:
        monkeypatch.setattr("quantumio.system.environment.now_ns", lambda: (number * 86400 + 7) * 10**9)
        with open_(root, readonly=True) as butler:
            return butler.scrub(parts=3).datasets

    with open_(root, readonly=True) as butler:
        expected = [butler.scrub(parts=3, part=part).datasets for part in range(3)]
    assert [on_day(number) for number in (300, 301, 302, 303)] == [*expected, expected[0]]


@pytest.mark.parametrize(
    "arguments",
    [{"parts": 0}, {"parts": 2.5}, {"parts": True}, {"part": -1}, {"part": 30}, {"part": "1"}, {"repair": 1}],
    ids=str,
)
def test_scrub_refuses_parts_that_are_none(root, arguments):
    with open_(root, readonly=True) as butler, pytest.raises(InvalidInputError):
        butler.scrub(**arguments)


# ---------------------------------------------------------------------------- meanwhile


@pytest.fixture
def before(monkeypatch):
    """Have something happen once, just before the registry is asked something."""

    def arrange(name, happens):
        real, left = getattr(SqlCatalog, name), [happens]

        def call(self, *arguments):
            if left:
                left.pop()()
            return real(self, *arguments)

        monkeypatch.setattr(SqlCatalog, name, call)

    return arrange


@pytest.mark.parametrize("name", ["stored", "amend_artifact"])
def test_copy_that_another_repair_has_put_back_meanwhile_stays_as_that_left_it(root, before, name):
    path = place_of(root, "pixels", 2, "archive")
    flip_a_bit(path)
    before(name, lambda: check(root, 2, repair=True))
    report = check(root, 2, repair=True)
    assert told(report) == [("wrong_digest", "archive", "none")]
    assert "changed meanwhile" in report.findings[0].detail
    assert check(root, 3).is_whole
    repaired = place_of(root, "pixels", 2, "archive")
    assert set(path.parent.iterdir()) >= {path, repaired}
    assert len(list(path.parent.glob("*.fsck-*"))) == 1, "what the second one has put back is removed"


def test_copy_that_two_repairs_have_put_back_under_its_own_name_stays_there(root, before):
    """Both had found it marked as missing, and put the same bytes there."""
    local, archive = (place_of(root, "pixels", 2, name) for name in ("local", "archive"))
    data = archive.read_bytes()
    for path in (local, archive):
        path.unlink()
    check(root, 1, repair=True)
    archive.write_bytes(data)
    before("amend_artifact", lambda: check(root, 1, repair=True))
    report = check(root, 1, repair=True)
    assert {(one.destination, str(one.action)) for one in report.findings} >= {("local", "none")}
    assert local.read_bytes() == data
    assert check(root, 3).is_whole
    assert set(states(root, "pixels", 2).values()) == {ArtifactState.OK}


def test_copy_that_another_repair_has_marked_meanwhile_is_not_marked_again(root, before):
    place_of(root, "single", 2, "local").unlink()
    before("amend_artifact", lambda: check(root, 1, repair=True))
    report = check(root, 1, repair=True)
    assert told(report)[0] == ("missing", "local", "none")
    assert "changed meanwhile" in report.findings[0].detail
    assert states(root, "single", 2) == {"local": ArtifactState.MISSING}


def test_copy_that_is_there_again_a_moment_later_is_not_marked(root, before):
    path = place_of(root, "single", 2, "local")
    data = path.read_bytes()
    path.unlink()
    before("stored", lambda: path.write_bytes(data))
    report = check(root, 1, repair=True)
    assert told(report)[0] == ("missing", "local", "none")
    assert "otherwise a moment later" in report.findings[0].detail
    assert states(root, "single", 2) == {"local": ArtifactState.OK}
    assert check(root, 3).is_whole


def test_copy_that_another_check_has_found_whole_again_meanwhile_is_told(root, before):
    path = place_of(root, "single", 2, "local")
    hidden = path.rename(path.with_suffix(".hidden"))
    check(root, 1, repair=True)
    hidden.rename(path)
    before("amend_artifact", lambda: check(root, 1, repair=True))
    report = check(root, 1, repair=True)
    assert told(report) == [("whole_again", "local", "none")]
    assert "changed meanwhile" in report.findings[0].detail
    assert states(root, "single", 2) == {"local": ArtifactState.OK}


def test_copy_is_put_back_from_one_that_can_be_decoded_where_that_is_asked_for(root):
    path = place_of(root, "pixels", 2, "local")
    path.unlink()
    assert told(check(root, 3, repair=True)) == [("missing", "local", "repaired")]
    assert check(root, 3).is_whole


@pytest.fixture
def image(root, tmp_path):
    """Ingest a file that stays where it is, with a copy in the archive."""
    path = tmp_path / "image.npy"
    np.save(path, np.arange(12.0))
    with open_(root) as butler:
        butler.ingest(path, "pixels", visit=8, transfer="direct")
    return path


def test_file_that_nobody_may_write_is_marked_and_read_from_its_copy(root, image):
    image.unlink()
    report = check(root, 2, repair=True)
    assert told(report) == [("missing", "direct", "marked")]
    assert "writing is refused" in report.findings[0].detail
    assert "no whole copy" not in report.findings[0].detail
    assert states(root, "pixels", 8) == {"direct": ArtifactState.MISSING, "archive": ArtifactState.OK}
    assert not image.exists()
    with open_(root, readonly=True) as butler:
        assert (butler.get("pixels", visit=8) == np.arange(12.0)).all()


def test_format_that_nobody_here_knows_is_unknown_and_not_marked(root):
    """A newer version wrote it, or one with more packages."""
    with open_(root) as butler:
        catalog = butler._session.repositories[0].catalog
        stored = butler._session.stored_of(butler.find("single", visit=3))[1]
        (before,) = stored.artifacts
        assert catalog.amend_artifact(stored.ref.id, before, attrs.evolve(before, format="of_tomorrow"))
    assert check(root, 2).is_whole
    assert told(check(root, 3, repair=True)) == [("unknown", "local", "none")]
    assert states(root, "single", 3) == {"local": ArtifactState.OK}
