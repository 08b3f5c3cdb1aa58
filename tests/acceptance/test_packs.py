"""Many small outputs of a context share an object, and are datasets like all others."""

import hashlib
import zipfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from quantumio import Butler, CommitFailedError, CommitParkedError
from quantumio.testing import Fault, FaultyDestination

MANY = 40


def many(butler, number=MANY, **options):
    with butler.context() as context:
        for visit in range(number):
            context.put({"visit": visit, "text": "x" * visit}, "stats", visit=visit, **options)
    return context


def objects(root):
    """Return the files of a managed store."""
    found = (path for path in Path(root).rglob("*") if path.is_file())
    return sorted(path for path in found if "_qio" not in path.parts)


def place(butler, visit, destination="local"):
    (ref,) = butler.query("stats", visit=visit)
    (location,) = [one for one in butler.where_is(ref) if one.destination == destination]
    return location


def file_of(location):
    return Path(unquote(urlsplit(location.url).path))


def test_many_small_outputs_are_one_file_that_any_tool_opens(make_butler, tmp_path):
    butler = make_butler(run="r")
    many(butler)
    (file,) = objects(tmp_path / "night" / "data")
    assert file.parent == tmp_path / "night" / "data" / "_packs" / "r"
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == MANY
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        for visit in (0, 7, MANY - 1):
            location = place(butler, visit)
            assert file_of(location) == file
            member = unquote(urlsplit(location.url).fragment)
            assert member.startswith("stats/r/")
            content = archive.read(member)
            assert (len(content), hashlib.sha256(content).hexdigest()) == (location.size, location.digest)
    with Butler(tmp_path / "night", run="r", instrument="ST8", readonly=True) as other:
        for visit in range(MANY):
            assert other.get("stats", visit=visit) == {"visit": visit, "text": "x" * visit}
    assert butler.fsck(level=3).is_whole


def test_same_outputs_make_the_same_pack(make_butler, tmp_path, monkeypatch):
    contents = []
    for name in ("one", "two"):
        butler = make_butler(name, run="r")
        with butler.context() as context:
            context._context._name = "same.0"
            for visit in range(MANY):
                context.put({"visit": visit}, "stats", visit=visit)
        contents.append([file.read_bytes() for file in objects(tmp_path / name / "data")])
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("config", "number", "files"),
    [
        ({}, 15, 15),
        ({}, 16, 1),
        ({}, 257, 2),
        ({"pack_bytes": 0}, 20, 20),
        ({"pack_fewest": 2}, 2, 1),
        ({"pack_bytes": "1 KiB"}, 16, 1),
    ],
)
def test_settings_say_what_is_packed(make_butler, tmp_path, config, number, files):
    butler = make_butler(config={"runtime": config}, run="r")
    many(butler, number)
    assert len(objects(tmp_path / "night" / "data")) == files
    assert [butler.get("stats", visit=visit)["visit"] for visit in range(number)] == list(range(number))


def test_large_outputs_and_those_that_are_placed_at_once_have_objects_of_their_own(make_butler, tmp_path):
    butler = make_butler(config={"runtime": {"pack_fewest": 2}}, run="r")
    with butler.context() as context:
        context.put({"text": "x" * 100_000}, "stats", visit=0)
        for visit in range(1, 4):
            context.put({"visit": visit}, "stats", visit=visit)
    assert len(objects(tmp_path / "night" / "data")) == 2
    assert urlsplit(place(butler, 0).url).fragment == ""
    assert butler.get("stats", visit=0) == {"text": "x" * 100_000}
    immediate = make_butler("now", config={"rules": [{"mode": "immediate"}]}, run="r")
    many(immediate)
    assert len(objects(tmp_path / "now" / "data")) == MANY


def test_best_effort_copies_and_workspaces_have_files_of_their_own(make_butler, tmp_path):
    config = {
        "destinations": {
            "second": {"kind": "files", "root": "second"},
            "mine": {"kind": "workspace", "root": str(tmp_path / "mine")},
        },
        "rules": [{"to": ["local", "mine", "second?"]}],
    }
    butler = make_butler(config=config, run="r")
    many(butler)
    butler.drain()
    assert len(objects(tmp_path / "night" / "data")) == 1
    assert len(objects(tmp_path / "night" / "second")) == MANY
    assert len(list((tmp_path / "mine").rglob("*.v1.json"))) == MANY
    assert butler.fsck(level=3).is_whole


def test_each_destination_has_a_pack_in_its_format(make_butler, tmp_path):
    config = {
        "destinations": {"second": {"kind": "files", "root": "second"}},
        "rules": [{"to": ["local", "second"], "formats": {"second": "yaml"}}],
    }
    butler = make_butler(config=config, run="r")
    many(butler)
    endings = {}
    for name, root in (("local", "data"), ("second", "second")):
        (file,) = objects(tmp_path / "night" / root)
        with zipfile.ZipFile(file) as archive:
            endings[name] = {Path(member).suffix for member in archive.namelist()}
    assert endings == {"local": {".json"}, "second": {".yaml"}}
    file_of(place(butler, 3)).unlink()
    assert butler.get("stats", visit=3)["visit"] == 3  # from the second pack


def test_pack_of_a_context_that_fails_is_removed(make_butler, tmp_path):
    config = {
        "destinations": {"second": {"kind": "files", "root": "second"}},
        "rules": [{"to": ["local", "second"]}],
    }
    butler = make_butler(config=config, run="r")
    opened = butler._session.repositories[0].destinations
    opened._open["second"] = FaultyDestination(opened.get("second"), Fault(at=1, forever=True))
    with pytest.raises((CommitFailedError, CommitParkedError)):
        many(butler)
    assert objects(tmp_path / "night" / "second") == []
    butler.errors(acknowledge=True)
    del opened._open["second"]
    butler.recover()
    assert butler.errors() == []
    assert len(objects(tmp_path / "night" / "data")) == len(objects(tmp_path / "night" / "second"))


def test_aborted_context_leaves_no_pack(make_butler, tmp_path):
    butler = make_butler(run="r")
    with pytest.raises(RuntimeError, match="no"), butler.context() as context:
        for visit in range(MANY):
            context.put({"visit": visit}, "stats", visit=visit)
        raise RuntimeError("no")
    assert objects(tmp_path / "night" / "data") == []


def test_one_that_lost_its_race_takes_its_pack_along(make_butler, tmp_path):
    butler = make_butler(run="r")
    many(butler)
    loser = butler.context()
    for visit in range(MANY):
        loser.put({"visit": -visit}, "stats", visit=visit, expect="create")
    with pytest.raises(Exception, match="version|there"):
        loser.commit()
    assert len(objects(tmp_path / "night" / "data")) == 1
    assert butler.recover().items == []


def test_damaged_member_is_found_and_put_back_as_a_file_of_its_own(make_butler, tmp_path):
    config = {
        "destinations": {"second": {"kind": "files", "root": "second"}},
        "rules": [{"to": ["local", "second"]}],
    }
    butler = make_butler(config=config, run="r")
    many(butler)
    location = place(butler, 5)
    file = file_of(location)
    content = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        member = archive.read(unquote(urlsplit(location.url).fragment))
    file.chmod(0o600)
    file.write_bytes(content.replace(member, member.upper()))
    assert [(one.trouble, one.ref.data_id["visit"]) for one in butler.fsck(level=2).findings] == [
        ("wrong_digest", 5)
    ]
    assert butler.get("stats", visit=5)["visit"] == 5
    repaired = butler.fsck(level=2, repair=True)
    assert [one.action for one in repaired.findings] == ["repaired"]
    assert urlsplit(place(butler, 5).url).fragment == ""
    assert butler.fsck(level=3).is_whole
    file.write_bytes(content[: len(content) // 2])  # cut off: some members are whole, some are not
    lost = {one.ref.data_id["visit"] for one in butler.fsck(level=1).findings}
    assert 0 < len(lost) < MANY - 1
    assert butler.fsck(level=2, repair=True).findings
    assert butler.fsck(level=3).is_whole
    file.unlink()
    butler.fsck(level=2, repair=True)
    assert butler.fsck(level=3).is_whole
    assert [butler.get("stats", visit=visit)["visit"] for visit in range(MANY)] == list(range(MANY))


def test_object_store_holds_packs_too_and_reads_a_part_of_them(make_butler, s3_server, s3_bucket):
    archive = {
        "kind": "objects",
        "root": f"s3://{s3_bucket}/night",
        "endpoint": s3_server.endpoint_url,
        "insecure": True,
    }
    butler = make_butler(config={"destinations": {"archive": archive}, "rules": [{"to": "archive"}]}, run="r")
    many(butler)
    client = s3_server.client()
    keys = [one["Key"] for one in client.list_objects_v2(Bucket=s3_bucket)["Contents"]]
    client.close()
    assert len([key for key in keys if "_qio" not in key]) == 1
    assert [butler.get("stats", visit=visit)["visit"] for visit in range(MANY)] == list(range(MANY))
    assert butler.fsck(level=3).is_whole
