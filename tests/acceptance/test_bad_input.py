"""Bad input: a typed error at the wrong call that names the object and the mend; nothing is stored."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from quantumio import (
    Butler,
    CommitFailedError,
    ConflictError,
    DatasetType,
    ErrorKind,
    FormatError,
    InvalidInputError,
    NotFoundError,
    StateError,
    Timespan,
)
from tests.acceptance.night import files_of, image

WRONG_PUTS = {
    "unknown dataset type": (
        lambda ctx: ctx.put(image(), "calexpp", visit=1, detector=0),
        NotFoundError,
        "calexp",
    ),
    "missing key": (lambda ctx: ctx.put(image(), "calexp", visit=1), InvalidInputError, "detector"),
    "extra key": (lambda ctx: ctx.put({}, "stats", visit=1, tract=3), InvalidInputError, "tract"),
    "unknown key": (lambda ctx: ctx.put({}, "stats", visitt=1), InvalidInputError, "visitt"),
    "contradiction": (lambda ctx: ctx.put({}, "stats", {"visit": 1}, visit=2), InvalidInputError, "visit"),
    "text for a number": (lambda ctx: ctx.put({}, "stats", visit="1"), InvalidInputError, "visit"),
    "bool for a number": (lambda ctx: ctx.put({}, "stats", visit=True), InvalidInputError, "visit"),
    "float for a number": (lambda ctx: ctx.put({}, "stats", visit=1.0), InvalidInputError, "visit"),
    "number beyond 64 bits": (lambda ctx: ctx.put({}, "stats", visit=2**63), InvalidInputError, "visit"),
    "wrong Python type": (
        lambda ctx: ctx.put([1, 2], "calexp", visit=1, detector=0),
        InvalidInputError,
        "CCDData",
    ),
    "object array": (
        lambda ctx: ctx.put(np.array([object()]), "pixels", visit=1, detector=0),
        InvalidInputError,
        "object",
    ),
    "not JSON": (lambda ctx: ctx.put({"a": {"b": object()}}, "stats", visit=1), InvalidInputError, "a.b"),
    "arguments swapped": (
        lambda ctx: ctx.put("stats", {"a": 1}, visit=1),
        InvalidInputError,
        "object comes first",
    ),
    "unknown destination": (
        lambda ctx: ctx.put({}, "stats", visit=1, to="nowhere"),
        InvalidInputError,
        "nowhere",
    ),
    "no required destination": (
        lambda ctx: ctx.put({}, "stats", visit=1, to=["local?"]),
        InvalidInputError,
        "required",
    ),
    "temporary and more": (
        lambda ctx: ctx.put({}, "stats", visit=1, to=["local", "temporary"]),
        InvalidInputError,
        "alone",
    ),
    "unknown ownership": (lambda ctx: ctx.put({}, "stats", visit=1, own="steal"), InvalidInputError, "copy"),
    "expectation": (lambda ctx: ctx.put({}, "stats", visit=1, expect=-1), InvalidInputError, "expect"),
}


@pytest.mark.parametrize("name", WRONG_PUTS)
def test_wrong_put_is_refused_and_nothing_is_stored(butler, name):
    call, error, mention = WRONG_PUTS[name]
    with butler.context() as ctx:
        with pytest.raises(error) as caught:
            call(ctx)
        assert mention in str(caught.value)
        assert caught.value.hint
        assert ctx.refs == ()
    assert butler.query("*").count() == 0
    assert files_of(butler) == []
    assert butler.status()[0].buffer_used_bytes == 0


@pytest.mark.parametrize("name", ["", "1st", "a b", "a/b", "../x", "é", "x" * 64, "a;drop table", None, 3])
def test_a_dataset_type_name_that_is_no_name(name):
    with pytest.raises(InvalidInputError, match="no name"):
        DatasetType(name, dimensions=["visit"], storage_class="Mapping")


@pytest.mark.parametrize(
    "run", ["", "/", "a//b", "../up", "a/../b", ".hidden", "a b", "a\0b", "x" * 201, "*"]
)
def test_a_run_that_is_no_name(butler, run):
    with pytest.raises(InvalidInputError):
        butler.context(run=run or "/")


@pytest.mark.parametrize("name", ["my-disk", "1disk", "", "temporary"])
def test_a_destination_that_is_no_name(tmp_path, name):
    with pytest.raises(InvalidInputError):
        Butler.create(tmp_path / "r", {"destinations": {name: {"kind": "files", "root": "x"}}})
    assert not (tmp_path / "r" / "butler.toml").exists()


def test_unknown_storage_class_and_dimension(butler):
    with pytest.raises(InvalidInputError, match="CCDData"):
        butler.register_dataset_type(DatasetType("x", dimensions=["visit"], storage_class="CcdData"))
    with pytest.raises(InvalidInputError, match="detectr"):
        butler.register_dataset_type(DatasetType("x", dimensions=["detectr"], storage_class="Text"))
    with pytest.raises(ConflictError):
        butler.register_dataset_type(DatasetType("stats", dimensions=["visit"], storage_class="Text"))


def test_missing_repository(tmp_path):
    with pytest.raises(NotFoundError, match=r"Butler\.create") as caught:
        Butler(tmp_path / "none")
    assert caught.value.kind is ErrorKind.NO_REPOSITORY
    assert not (tmp_path / "none").exists()


def test_existing_repository_is_not_made_again(butler, tmp_path):
    with pytest.raises(ConflictError):
        Butler.create(tmp_path / "night")


def test_repository_of_a_newer_schema(make_butler, tmp_path):
    import sqlite3

    make_butler("old").close()
    connection = sqlite3.connect(tmp_path / "old" / "registry.sqlite3")
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StateError, match="newer") as caught:
        Butler(tmp_path / "old")
    assert caught.value.kind is ErrorKind.NEWER_SCHEMA


@pytest.mark.parametrize(
    ("text", "mention"),
    [
        ("[destination.x]\nkind='files'", "destination"),
        ("[[rules]]\ndataset='x'", "dataset"),
        ("[[rules]]\nto='nowhere'", "nowhere"),
        ("[[rules]]\nmode='later'", "later"),
        ("[destinations.x]\nroot='x'", "kind"),
        ("[runtime]\nmax_buffer_bytes='much'", "max_buffer_bytes"),
        ("not toml", "TOML"),
    ],
)
def test_wrong_configuration_names_table_and_key(tmp_path, text, mention):
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises((InvalidInputError, NotFoundError), match=mention):
        Butler.create(tmp_path / "r", tmp_path / "config.toml")


def test_a_search_without_any_collection_lists_those_that_exist(make_butler):
    butler = make_butler()
    with butler.context(run="u/ada/first") as ctx:
        ctx.put({}, "stats", visit=1)
    with pytest.raises(InvalidInputError, match="u/ada/first"):
        butler.get("stats", visit=1)
    with pytest.raises(InvalidInputError, match="run="):
        butler.context()


def damage(path: Path, kind: str) -> None:
    data = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no FITS file")
    else:
        path.unlink()


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "missing"])
@pytest.mark.parametrize("transfer", ["copy", "link", "move", "direct"])
def test_ingest_of_a_bad_file_stores_nothing(butler, tmp_path, kind, transfer):
    good, bad = tmp_path / "good.fits", tmp_path / "bad.fits"
    for path in (good, bad):
        fits.PrimaryHDU(np.ones((100, 100), dtype=np.uint16)).writeto(path)
    damage(bad, kind)
    with pytest.raises((FormatError, NotFoundError), match=r"bad\.fits"):
        butler.ingest([(good, {"exposure": 1}), (bad, {"exposure": 2})], "raw", detector=0, transfer=transfer)
    assert good.exists()
    assert butler.query("raw").count() == 0
    assert files_of(butler) == []


def test_full_disk_fails_the_commit_and_leaves_nothing(make_butler, tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        config = {"destinations": {"small": {"kind": "files", "root": str(mount)}}}
        butler = make_butler("full", config, run="r")
        with pytest.raises(CommitFailedError) as caught, butler.context() as ctx:
            ctx.put(np.zeros(100, dtype=np.uint8), "pixels", visit=1, detector=0, to="small")
            ctx.put(np.zeros(1 << 22, dtype=np.uint8), "pixels", visit=1, detector=1, to=["small", "local"])
        assert caught.value.kind is ErrorKind.DISK_FULL
        assert "pixels" in str(caught.value)
        assert butler.query("*").count() == 0
        assert files_of(butler) == []
        left = [p for p in mount.rglob("*") if p.is_file() and "_qio" not in p.parts]
        assert left == []
        assert butler.errors(acknowledge=True)[0].kind is ErrorKind.DISK_FULL
        butler.close()
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_readonly_butler_changes_nothing(make_butler, tmp_path):
    make_butler("source").close()
    before = sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "source").rglob("*"))
    with Butler(tmp_path / "source", readonly=True, instrument="ST8") as butler:
        with pytest.raises(StateError) as caught:
            butler.context(run="r")
        assert caught.value.kind is ErrorKind.READ_ONLY
        assert butler.query("*").count() == 0
    assert sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "source").rglob("*")) == before


def test_a_data_id_value_may_hold_any_text(make_butler):
    for name in ("../../etc/passwd", "a/b\\c", "名前", "x' OR 1=1 --", "%2e%2e", "{0.__class__}", " ", "\n"):
        butler = make_butler(str(abs(hash(name))), run="r", instrument=name)
        with butler.context() as ctx:
            ctx.put({"name": name}, "stats", visit=1)
        assert butler.get("stats", visit=1) == {"name": name}
        (ref,) = butler.query("stats", instrument=name)
        assert ref.data_id["instrument"] == name
        assert all(os.pardir not in path.parts for path in files_of(butler))


HUGE = 10**5000
"""Python writes no integer of more than 4,300 digits: `repr` of it, and of what it is in, fails."""

HUGE_ARGUMENTS = {
    ":x = an integer of 16610 bits": lambda b: list(b.query("stats", where="visit = :x", bind={"x": HUGE})),
    ":x = an .* does not fit": lambda b: list(b.query("stats", where="visit IN :x", bind={"x": [1, HUGE]})),
    ":x = a dict .* is no value": lambda b: list(b.query("stats", where="visit = :x", bind={"x": {HUGE: 1}})),
    ":x": lambda b: list(b.query("stats", where="visit.region OVERLAPS :x", bind={"x": HUGE})),
    "where": lambda b: b.query("stats", where=HUGE),
    "limit": lambda b: b.query("stats", limit=HUGE),
    "versions": lambda b: b.query("stats", versions=HUGE),
    "as_of": lambda b: list(b.query("stats", as_of=HUGE)),
    "after": lambda b: b.query("stats").page(1, after=HUGE),
    "visit": lambda b: b.find("stats", visit=HUGE),
    "no data ID": lambda b: b.find("stats", HUGE),
    "no dimension": lambda b: b.find("stats", {HUGE: 1}),
    "version": lambda b: b.find("stats", visit=1, version=HUGE),
    "no name": lambda b: b.find(HUGE, visit=1),
    "no dataset ref": lambda b: b.where_is(HUGE),
    "no list of refs": lambda b: b.delete(HUGE),
    "no component": lambda b: b.get("stats", visit=1, component=[HUGE]),
    "columns": lambda b: b.get("stats", visit=1, columns=HUGE),
    "cannot be had as": lambda b: b.get("stats", visit=1, as_=HUGE),
    "timeout": lambda b: b.drain(timeout=HUGE),
    "grace_s": lambda b: b.gc(grace_s=HUGE),
    "level": lambda b: b.fsck(level=HUGE),
    "part": lambda b: b.scrub(part=HUGE),
    "no dataset ref and no UUID": lambda b: b.recover(retry=[HUGE]),
    "no moment": lambda b: b.certify("calib", [], HUGE, None),
    "collections": lambda b: b.query("stats", collections=HUGE),
    "key": lambda b: b.context(key=HUGE),
    "acknowledgement": lambda b: b.context(ack=[HUGE]),
    "expect": lambda b: b.context().put({}, "stats", visit=1, expect=[HUGE]),
    "no destination": lambda b: b.context().put({}, "stats", visit=1, to=[HUGE]),
    "record 0 of visit": lambda b: b.insert_dimension("visit", [{"visit": 1, HUGE: 1}]),
    "timespan": lambda b: Timespan(HUGE, 0),
    "no size": lambda b: Butler.create("another", {"runtime": {"max_buffer_bytes": -HUGE}}),
    "timeout_s": lambda b: Butler.create(
        "another",
        {"destinations": {"l3": {"kind": "database", "url": "sqlite:///x.db", "timeout_s": HUGE}}},
    ),
    "l3": lambda b: Butler.create("another", {"destinations": {"l3": {"kind": "files", "root": {HUGE: 1}}}}),
    "an integer of": lambda b: b.context().put({HUGE: 1}, "stats", visit=1),
    "config": lambda b: Butler.create("another", {"rules": [{"to": HUGE}]}),
}


@pytest.mark.parametrize("mention", HUGE_ARGUMENTS)
def test_number_that_cannot_be_written_out_is_refused_by_the_name_of_its_argument(
    butler, mention, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with butler.context() as ctx:
        ctx.put({"a": 1}, "stats", visit=1)
    with pytest.raises(InvalidInputError, match=mention):
        HUGE_ARGUMENTS[mention](butler)
    assert not (tmp_path / "another").exists()
