"""Bulk ingest: tables of files become datasets in chunks, once, whatever breaks it off."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from astropy.table import Table

from quantumio import (
    AsyncButler,
    Butler,
    ConflictError,
    DatasetType,
    DestinationError,
    ErrorKind,
    FormatError,
    InvalidInputError,
    NotFoundError,
)
from quantumio.butler import _bulk_ingest
from quantumio.model import DIRECT, ArtifactState
from quantumio.registry import SqlCatalog

COUNT = 7
DESTINATIONS = {"archive": {"kind": "files", "root": "archive"}, "volatile": {"kind": "memory"}}


@pytest.fixture(params=["sqlite", "postgresql"])
def registry(request):
    return None if request.param == "sqlite" else request.getfixturevalue("postgresql_database")


@pytest.fixture
def open_with(tmp_path, request):
    opened = []

    def open_(to=("local",), registry=None):
        config = {"destinations": DESTINATIONS, "rules": [{"datasets": "*", "to": list(to)}]}
        with Butler.create(tmp_path / "repo", config, registry=registry) as butler:
            butler.register_dataset_type(
                DatasetType("image", dimensions=["visit", "detector"], storage_class="NDArray")
            )
        opened.append(Butler(tmp_path / "repo", run="u/a", instrument="ST8"))
        return opened[-1]

    yield open_
    for butler in opened:
        butler.close()


@pytest.fixture
def butler(open_with, registry):
    return open_with(registry=registry)


@pytest.fixture
def images(tmp_path):
    """Return the columns of a table of files that are there."""
    paths = [tmp_path / "in" / f"{number}.npy" for number in range(COUNT)]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        np.save(path, np.arange(number + 1.0))
    return {
        "visit": [number // 2 for number in range(COUNT)],
        "detector": [number % 2 for number in range(COUNT)],
        "uri": [str(path) for path in paths],
    }


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(_bulk_ingest, "_FIRST_CHUNK", 2)
    monkeypatch.setattr(_bulk_ingest, "_MOST_CHUNK", 2)
    monkeypatch.setattr(_bulk_ingest, "_LEAST_CHUNK", 2)
    monkeypatch.setattr(_bulk_ingest, "_CHUNK_OF_FILES", 2)


def sizes_and_digests(images):
    contents = [Path(path).read_bytes() for path in images["uri"]]
    return {
        "size": [len(content) for content in contents],
        "digest": [hashlib.sha256(content).hexdigest() for content in contents],
    }


def assert_all_there(butler, version=1):
    for number in range(COUNT):
        ref = butler.find("image", visit=number // 2, detector=number % 2)
        assert ref.version == version
        assert butler.get(ref).tolist() == list(np.arange(number + 1.0))
    assert butler.query("image", collections="u/a").count() == COUNT


@pytest.mark.parametrize("make", [pa.table, pd.DataFrame, Table], ids=["arrow", "pandas", "astropy"])
def test_table_of_files_that_stay_where_they_are(butler, images, make):
    seen = []
    report = butler.ingest(make(images), "image", transfer="direct", progress=seen.append)
    assert (report.rows, report.resumed, report.chunks, report.unknown_digests) == (COUNT, 0, 1, COUNT)
    assert report.longest_hold_s > 0
    assert [(one.done, one.total) for one in seen] == [(COUNT, COUNT)]
    assert_all_there(butler)
    (place,) = butler.where_is(butler.find("image", visit=0, detector=0))
    assert (place.destination, place.digest, place.state) == (DIRECT, "", ArtifactState.OK)


def test_data_id_in_common_and_a_run_of_its_own(butler, images):
    del images["visit"], images["detector"]
    one = pa.table({**images, "detector": list(range(COUNT))})
    report = butler.ingest(one, "image", {"visit": 9}, run="u/b", transfer="direct", instrument="X")
    assert report.rows == COUNT
    assert butler.find("image", visit=9, detector=6, instrument="X", collections="u/b") is not None


def test_the_same_call_goes_on_and_does_nothing_once_all_is_there(butler, images, small_chunks):
    class BrokenOffError(Exception):
        pass

    def break_off(progress):
        if progress.done >= 4:
            raise BrokenOffError

    with pytest.raises(BrokenOffError):
        butler.ingest(pa.table(images), "image", transfer="direct", progress=break_off)
    assert butler.query("image", collections="u/a").count() == 4
    report = butler.ingest(pd.DataFrame(images), "image", transfer="direct")
    assert (report.rows, report.resumed, report.chunks) == (COUNT, 4, 2)
    assert_all_there(butler)
    again = butler.ingest(Table(images), "image", transfer="direct")
    assert (again.rows, again.resumed, again.chunks, again.token) == (COUNT, COUNT, 0, report.token)
    assert_all_there(butler)


@pytest.mark.parametrize("transfer", ["direct", "copy"])
def test_what_was_deleted_is_not_brought_back_by_the_same_call(butler, images, transfer):
    butler.ingest(pa.table(images), "image", transfer=transfer)
    butler.delete(butler.find("image", visit=0, detector=0), dry_run=False)
    report = butler.ingest(pa.table(images), "image", transfer=transfer)
    assert (report.resumed, report.deleted, report.chunks) == (COUNT, 1, 0)
    assert butler.query("image", collections="u/a", versions="all").count() == COUNT - 1
    assert butler.ingest(pa.table(images), "image", transfer=transfer, token="again").deleted == 0
    assert butler.find("image", visit=0, detector=0).version == 2


def test_another_token_makes_another_version(butler, images):
    butler.ingest(pa.table(images), "image", transfer="direct")
    report = butler.ingest(pa.table(images), "image", transfer="direct", token="reprocessed")
    assert (report.resumed, report.chunks) == (0, 1)
    assert_all_there(butler, version=2)


def test_registry_that_fails_in_the_middle_is_gone_on_with(butler, images, small_chunks, monkeypatch):
    ingest = SqlCatalog.ingest

    def fails_late(self, rows, dataset_type, run, token, start):
        chunk = ingest(self, rows, dataset_type, run, token, start)
        if start == 2:
            raise DestinationError("no answer", kind=ErrorKind.REGISTRY)  # it was committed all the same
        return chunk

    with monkeypatch.context() as patched, pytest.raises(DestinationError, match="no answer"):
        patched.setattr(SqlCatalog, "ingest", fails_late)
        butler.ingest(pa.table(images), "image", transfer="direct")
    assert butler.ingest(pa.table(images), "image", transfer="direct").resumed == 4
    assert_all_there(butler)


@pytest.mark.parametrize("transfer", ["copy", "link", "move", "direct"])
@pytest.mark.parametrize("to", [("local",), ("local", "archive"), ("local", "archive?")], ids=str)
def test_every_transfer_goes_where_the_policy_says(open_with, images, small_chunks, transfer, to, tmp_path):
    butler = open_with(to)
    report = butler.ingest(pa.table({**images, **sizes_and_digests(images)}), "image", transfer=transfer)
    assert (report.rows, report.resumed, report.chunks, report.unknown_digests) == (COUNT, 0, 4, 0)
    butler.drain()
    assert_all_there(butler)
    first = DIRECT if transfer == "direct" else "local"
    expected = {first, *(["archive"] if len(to) > 1 else [])}
    for number in range(COUNT):
        ref = butler.find("image", visit=number // 2, detector=number % 2)
        assert {place.destination for place in butler.where_is(ref)} == expected
    assert butler.fsck(2).counts == {"ok": COUNT * len(expected)}
    assert (tmp_path / "in" / "0.npy").exists() == (transfer != "move")
    assert butler.ingest(pa.table(images), "image", transfer=transfer).resumed == COUNT


def test_broken_off_copies_go_on_where_they_ended(open_with, images, small_chunks, tmp_path):
    butler = open_with()
    data = (tmp_path / "in" / "4.npy").read_bytes()
    (tmp_path / "in" / "4.npy").write_bytes(data[:50])
    with pytest.raises(FormatError, match=r"4\.npy"):
        butler.ingest(pa.table(images), "image", transfer="move")
    assert not (tmp_path / "in" / "3.npy").exists()
    (tmp_path / "in" / "4.npy").write_bytes(data)
    assert butler.ingest(pa.table(images), "image", transfer="move").resumed == 4
    assert_all_there(butler)


@pytest.mark.parametrize("column", ["size", "digest"])
def test_file_that_is_not_what_the_table_says_is_not_copied(open_with, images, column):
    butler = open_with()
    given = sizes_and_digests(images)
    given[column][3] = {"size": 1, "digest": "0" * 64}[column]
    with pytest.raises(FormatError, match="row 3: .* the table says"):
        butler.ingest(pa.table({**images, **given}), "image", transfer="copy")
    assert butler.query("image", collections="u/a").count() == 0


@pytest.mark.parametrize(
    ("change", "options", "error", "said"),
    [
        (lambda table: table.drop_columns("uri"), {}, InvalidInputError, "uri"),
        (lambda table: pa.concat_tables([table, table]), {}, ConflictError, "rows 0 and 7"),
        (lambda table: table, {"visit": 3}, InvalidInputError, "there is a column 'visit'"),
        (lambda table: table, {"exposure": 3}, InvalidInputError, "'exposure' is no dimension of 'image'"),
        (lambda table: table.drop_columns("visit"), {"visit": "3"}, InvalidInputError, "'3'"),
        (lambda table: table, {"transfer": "hope"}, InvalidInputError, "transfer='hope'"),
        (lambda table: with_uri(table, "/nowhere/2.npy"), {}, NotFoundError, "row 2: there is no file"),
        (lambda table: with_uri(table, "s3://x/2.npy"), {"transfer": "copy"}, InvalidInputError, "a URL"),
        (lambda table: with_uri(table, "s3://a:b@x/2.npy"), {}, InvalidInputError, "row 2: "),
        (lambda table: with_uri(table, ""), {}, InvalidInputError, "a text of 1 or more bytes without NUL"),
        (
            lambda table: table.append_column("format", pa.array([""] * len(table))),
            {},
            InvalidInputError,
            "a text of 1 to 1024 bytes without NUL",
        ),
        (lambda table: table, {"format": "png"}, InvalidInputError, "row 0: format = 'png'"),
        (lambda table: table, {"run": "a b\n"}, InvalidInputError, "run"),
        (lambda table: table, {"run": "tagged"}, ConflictError, "TAGGED"),
        (lambda table: table, {"token": 5}, InvalidInputError, "token=5"),
        (lambda table: table.to_pandas().drop(columns="uri"), {"visit": 1}, InvalidInputError, "'visit'"),
        (lambda table: Table(table.to_pydict()), {"detector": 1}, InvalidInputError, "column 'detector'"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_stored(butler, images, change, options, error, said):
    butler.associate("tagged", [])
    with pytest.raises(error, match=said) as caught:
        butler.ingest(change(pa.table(images)), "image", **{"transfer": "direct", **options})
    assert caught.value.hint
    assert butler.query("image", collections="*").count() == 0


def with_uri(table, uri):
    uris = table.column("uri").to_pylist()
    uris[2] = uri
    return table.set_column(table.column_names.index("uri"), "uri", pa.array(uris))


def test_file_in_a_store_of_the_repository_is_refused(butler, images, tmp_path):
    with butler.context() as ctx:
        ctx.put(np.arange(3), "image", visit=99, detector=0)
    ref = butler.find("image", visit=99, detector=0)
    (place,) = butler.where_is(ref)
    inside = place.url.removeprefix("file://")
    with pytest.raises(InvalidInputError, match="row 2: .* manages"):
        butler.ingest(with_uri(pa.table(images), inside), "image", transfer="direct")
    assert butler.query("image", collections="u/a").count() == 1


def test_files_whose_size_is_told_are_not_looked_at(butler, images):
    table = with_uri(pa.table({**images, "size": [10] * COUNT}), "/nowhere/2.npy")
    assert butler.ingest(table, "image", transfer="direct").rows == COUNT


def test_file_is_moved_once(open_with, images):
    butler = open_with()
    images["uri"][5] = images["uri"][2]
    with pytest.raises(InvalidInputError, match=r"rows 2 and 5 are both of .*2\.npy"):
        butler.ingest(pa.table(images), "image", transfer="move")
    assert all(Path(path).exists() for path in images["uri"])
    assert butler.ingest(pa.table(images), "image", transfer="copy").rows == COUNT


def test_files_that_came_after_somebody_else_has_moved_those_of_the_table_stay(
    open_with, images, tmp_path, monkeypatch
):
    """Two run the same ingest; the slower one finds other files, and the chunks of the faster one."""
    butler, bring = open_with(), _bulk_ingest._bring
    left = [None]

    def after_somebody_else(*arguments):
        if left:
            left.pop()
            with Butler(tmp_path / "repo", run="u/a", instrument="ST8") as other:
                assert other.ingest(pa.table(images), "image", transfer="move").resumed == 0
            for number, path in enumerate(images["uri"]):
                np.save(path, -np.ones(number + 1))  # as large as the one before
        return bring(*arguments)

    monkeypatch.setattr(_bulk_ingest, "_bring", after_somebody_else)
    butler.ingest(pa.table(images), "image", transfer="move")
    assert_all_there(butler)
    for number, path in enumerate(images["uri"]):
        assert np.load(path).tolist() == [-1.0] * (number + 1)


@pytest.mark.parametrize("where", ["_with_sizes", "_bring", "check_file", "bring_in"])
@pytest.mark.parametrize("rows", [3, COUNT])
def test_files_that_somebody_else_has_moved_are_theirs_and_the_ingest_goes_on(
    open_with, images, small_chunks, tmp_path, monkeypatch, where, rows
):
    """Two move the same files; the slower one finds them gone, at whatever step it is."""
    butler, real = open_with(), getattr(_bulk_ingest, where)
    left = [None]
    monkeypatch.setattr(_bulk_ingest, "_CHUNK_OF_FILES", 2)

    def after_somebody_else(*arguments):
        if left:
            left.pop()
            # The other one was ended after some of its chunks, or has brought all of them.
            with Butler(tmp_path / "repo", run="u/a", instrument="ST8") as other:
                if rows < COUNT:
                    with monkeypatch.context() as patch:
                        patch.setattr(_bulk_ingest, "bring_in", _ending_after(1))
                        with pytest.raises(KeyboardInterrupt):
                            other.ingest(pa.table(images), "image", transfer="move")
                else:
                    other.ingest(pa.table(images), "image", transfer="move")
        return real(*arguments)

    monkeypatch.setattr(_bulk_ingest, where, after_somebody_else)
    report = butler.ingest(pa.table(images), "image", transfer="move")
    assert report.resumed == (2 if rows < COUNT else COUNT)
    assert_all_there(butler)
    assert not any(Path(path).exists() for path in images["uri"])
    assert [one.version for one in butler.query("image", collections="u/a", versions="all")] == [1] * COUNT


def _ending_after(chunks):
    real, brought = _bulk_ingest.bring_in, []

    def bring(*arguments):
        if len(brought) == chunks:
            raise KeyboardInterrupt
        brought.append(None)
        return real(*arguments)

    return bring


def test_file_that_is_gone_and_that_nobody_has_moved_is_told(open_with, images, small_chunks, tmp_path):
    butler = open_with()
    butler.ingest(pa.table(images).slice(0, 2), "image", transfer="copy")
    (tmp_path / "in" / "4.npy").unlink()
    for transfer in ("move", "copy"):
        with pytest.raises(NotFoundError, match="row 4"):
            butler.ingest(pa.table(images), "image", transfer=transfer)


def test_move_to_memory_alone_is_refused(open_with, images):
    with pytest.raises(InvalidInputError, match="memory alone"):
        open_with(["volatile"]).ingest(pa.table(images), "image", transfer="move")


def test_empty_table_makes_nothing(butler, images):
    report = butler.ingest(pa.table(images).slice(0, 0), "image", transfer="direct")
    assert (report.rows, report.chunks) == (0, 0)


def test_token_and_progress_are_for_tables(butler, images):
    with pytest.raises(InvalidInputError, match="tables"):
        butler.ingest(images["uri"][0], "image", visit=1, detector=0, token="x")


# ---------------------------------------------------------------------------- unknown is told


@pytest.fixture
def unknown(open_with, images):
    butler = open_with()
    butler.ingest(pa.table(images), "image", transfer="direct")
    return butler


def test_unknown_digest_is_no_damage_and_not_whole_either(unknown):
    assert unknown.fsck(1).counts == {"ok": COUNT}
    assert unknown.fsck(2).counts == {"not_checked": COUNT}
    assert unknown.fsck(2).is_whole
    assert unknown.fsck(3).counts == {"ok": COUNT}
    assert unknown.scrub().is_whole


def test_file_of_another_size_is_damage_whatever_its_digest(unknown, tmp_path):
    np.save(tmp_path / "in" / "1.npy", np.arange(50.0))
    ref = unknown.find("image", visit=0, detector=1)
    with pytest.raises(DestinationError, match="bytes that were written") as caught:
        unknown.get(ref)
    assert caught.value.kind is ErrorKind.CORRUPT
    assert unknown.fsck(2).counts == {"not_checked": COUNT - 1, "wrong_size": 1}


def test_missing_file_is_marked_and_whole_again_only_when_it_can_be_read(unknown, tmp_path):
    path = tmp_path / "in" / "1.npy"
    data = path.read_bytes()
    path.unlink()
    assert unknown.fsck(1, repair=True).counts == {"ok": COUNT - 1, "missing": 1}
    path.write_bytes(b"x" * len(data))
    assert unknown.fsck(2).counts == {"not_checked": COUNT - 1, "unreadable": 1}
    path.write_bytes(data)
    assert unknown.fsck(2, repair=True).counts == {"not_checked": COUNT - 1, "whole_again": 1}
    assert unknown.fsck(2).counts == {"not_checked": COUNT}
    assert_all_there(unknown)


@pytest.mark.anyio
async def test_event_loops_ingest_tables_too(open_with, images, tmp_path):
    open_with()
    async with AsyncButler(tmp_path / "repo", run="u/a", instrument="ST8") as butler:
        report = await butler.ingest(pa.table(images), "image", transfer="direct")
        assert report.rows == COUNT
        assert await butler.query("image", collections="u/a").count() == COUNT
