"""What every object destination must do."""

from __future__ import annotations

import hashlib
import pickle  # noqa: TID251 - errors travel between processes: a round trip of our own objects
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from quantumio.errors import (
    DestinationError,
    ErrorKind,
    InvalidInputError,
    NotFoundError,
    QuantumioError,
)
from quantumio.ports import ObjectDestination, Placement
from quantumio.system import files

__all__ = ["ObjectDestinationSuite", "make_placement"]

_BAD_PATHS = (
    "",
    ".",
    "..",
    "/etc/passwd",
    "../outside",
    "a/../../outside",
    "a/./b",
    "a//b",
    "a/",
    "a\\b",
    "a\0b",
    "a\nb",
    "~/a",
    "-a",
    ".hidden",
    "a b",
    "s3://bucket/a",
    "_qio/store.json",
    "x" * 300,
    "/".join("x" * 100 for _ in range(10)),
)


def make_placement(path: str, data: bytes, pieces: int = 1) -> Placement:
    """Make a placement of bytes, given in several pieces.

    Parameters
    ----------
    path
        Where to.
    data
        The bytes.
    pieces
        In how many chunks (of different types) they are given.
    """
    step = max(1, -(-len(data) // pieces))
    chunks = [data[first : first + step] for first in range(0, len(data), step)]
    mixed = [memoryview(chunk) if index % 2 else chunk for index, chunk in enumerate(chunks)]
    return Placement(path=path, chunks=mixed, nbytes=len(data), digest=hashlib.sha256(data).hexdigest())


class ObjectDestinationSuite:
    """Inherit from it in a class ``Test...`` and give it the fixture ``destination``.

    Examples
    --------
    >>> class TestMine(ObjectDestinationSuite):
    ...     @pytest.fixture
    ...     def destination(self):
    ...         destination = MyDestination()
    ...         yield destination
    ...         destination.close()
    """

    transfers: tuple[str, ...] = ("copy", "move")
    """What ``adopt`` can do."""

    @pytest.fixture
    def destination(self) -> ObjectDestination:
        """Give an empty destination that the test may write; close it afterwards."""
        pytest.fail(f"{type(self).__name__} has no fixture 'destination'")

    def test_it_is_an_object_destination(self, destination: ObjectDestination) -> None:
        assert isinstance(destination, ObjectDestination)
        assert destination.name
        assert destination.kind
        assert destination.parallelism >= 1

    @pytest.mark.parametrize("pieces", [1, 3])
    @pytest.mark.parametrize(
        "data", [b"", b"x", bytes(range(256)) * 300], ids=["empty", "one byte", "75 KiB"]
    )
    def test_what_was_placed_is_read(self, destination: ObjectDestination, data: bytes, pieces: int) -> None:
        (stored,) = destination.place([make_placement("type/run/object.bin", data, pieces)])
        assert (stored.path, stored.nbytes) == ("type/run/object.bin", len(data))
        assert destination.read("type/run/object.bin") == data

    def test_many_are_placed_in_one_call_in_order(self, destination: ObjectDestination) -> None:
        wanted = {f"type{index % 3}/object{index}": b"%d" % index * index for index in range(20)}
        stored = destination.place([make_placement(path, data) for path, data in wanted.items()])
        assert [item.path for item in stored] == list(wanted)
        assert {path: destination.read(path) for path in wanted} == wanted

    def test_nothing_is_placed_by_an_empty_call(self, destination: ObjectDestination) -> None:
        assert destination.place([]) == []
        assert list(destination.objects()) == []

    def test_ranges_are_read(self, destination: ObjectDestination) -> None:
        destination.place([make_placement("a", b"0123456789")])
        assert destination.read("a", (0, 4)) == b"0123"
        assert destination.read("a", (4, 3)) == b"456"
        assert destination.read("a", (9, 1)) == b"9"
        assert destination.read("a", (3, 0)) == b""

    def test_range_beyond_the_end_is_refused(self, destination: ObjectDestination) -> None:
        destination.place([make_placement("a", b"0123456789")])
        with pytest.raises(DestinationError):
            destination.read("a", (8, 3))

    def test_negative_range_is_refused(self, destination: ObjectDestination) -> None:
        destination.place([make_placement("a", b"0123456789")])
        with pytest.raises(InvalidInputError):
            destination.read("a", (-1, 3))

    def test_same_bytes_again_count_as_written(self, destination: ObjectDestination) -> None:
        placement = make_placement("a/b", b"data")
        destination.place([placement])
        (again,) = destination.place([placement])
        assert again.nbytes == 4
        assert destination.read("a/b") == b"data"

    @pytest.mark.parametrize("other", [b"datb", b"longer data"], ids=["same size", "other size"])
    def test_other_bytes_under_a_name_are_refused_and_kept(
        self, destination: ObjectDestination, other: bytes
    ) -> None:
        destination.place([make_placement("a/b", b"data")])
        with pytest.raises(DestinationError) as caught:
            destination.place([make_placement("a/b", other)])
        assert caught.value.kind is ErrorKind.CORRUPT
        assert "a/b" in str(caught.value)
        assert destination.read("a/b") == b"data"

    def test_paths_that_could_leave_the_root_are_refused(self, destination: ObjectDestination) -> None:
        for path in _BAD_PATHS:
            for call in (
                lambda bad: destination.place([make_placement("good", b"1"), make_placement(bad, b"data")]),
                destination.read,
                destination.stat,
                destination.url,
                lambda bad: destination.remove([bad]),
            ):
                with pytest.raises(InvalidInputError):
                    call(path)
        assert destination.stat("good") is None, "nothing is written when a path is refused"

    def test_stat_tells_of_an_object(self, destination: ObjectDestination) -> None:
        destination.place([make_placement("a/b", b"data")])
        told = destination.stat("a/b")
        assert told is not None
        assert (told.path, told.nbytes) == ("a/b", 4)
        if told.modified_ns is not None:
            assert told.modified_ns > 1_500_000_000 * 10**9

    def test_stat_of_nothing_is_none(self, destination: ObjectDestination) -> None:
        destination.place([make_placement("a/b", b"data")])
        assert destination.stat("a/c") is None
        assert destination.stat("a") is None, "what is no object is none"
        assert destination.stat("c/b") is None

    def test_reading_nothing_is_not_found(self, destination: ObjectDestination) -> None:
        with pytest.raises(NotFoundError) as caught:
            destination.read("type/none")
        assert caught.value.kind is ErrorKind.NO_FILE
        assert "type/none" in str(caught.value)

    def test_removed_objects_are_gone_and_others_stay(self, destination: ObjectDestination) -> None:
        destination.place([make_placement(path, b"data") for path in ("a/1", "a/2", "b/1")])
        destination.remove(["a/1", "never/was", "b/1"])
        assert {item.path for item in destination.objects()} == {"a/2"}
        assert destination.stat("a/1") is None

    def test_objects_lists_exactly_what_was_placed(self, destination: ObjectDestination) -> None:
        wanted = {f"t/r{index}/o.fits": index for index in range(7)}
        destination.place([make_placement(path, b"x" * size) for path, size in wanted.items()])
        assert {item.path: item.nbytes for item in destination.objects()} == wanted

    def test_url_names_the_object(self, destination: ObjectDestination) -> None:
        destination.place([make_placement("type/object.fits", b"data")])
        url = destination.url("type/object.fits")
        assert "://" in url
        assert url.endswith("type/object.fits")

    def test_threads_place_at_the_same_time(self, destination: ObjectDestination) -> None:
        def work(worker: int) -> None:
            for index in range(5):
                destination.place([make_placement(f"w{worker}/o{index}", b"%d-%d" % (worker, index))])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert len(list(destination.objects())) == 40
        assert destination.read("w7/o4") == b"7-4"

    def test_threads_that_place_the_same_object_all_succeed(self, destination: ObjectDestination) -> None:
        placement = make_placement("same/object", b"data" * 1000)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: destination.place([placement]), range(8)))
        assert destination.read("same/object") == b"data" * 1000
        assert [item.path for item in destination.objects()] == ["same/object"]

    def test_files_are_adopted(self, destination: ObjectDestination, tmp_path: Path) -> None:
        for transfer in self.transfers:
            source = _file(tmp_path / f"{transfer}.fits", b"frame")
            stored = destination.adopt(str(source), f"raw/{transfer}.fits", transfer)
            assert (stored.path, stored.nbytes) == (f"raw/{transfer}.fits", 5)
            assert destination.read(f"raw/{transfer}.fits") == b"frame"
            assert files.exists(source) is (transfer != "move")

    def test_transfers_that_are_none_are_refused(
        self, destination: ObjectDestination, tmp_path: Path
    ) -> None:
        source = _file(tmp_path / "raw.fits", b"frame")
        for transfer in {"link", "copy", "move", "steal"}.difference(self.transfers):
            with pytest.raises(InvalidInputError):
                destination.adopt(str(source), "raw/a.fits", transfer)
        assert list(destination.objects()) == []
        assert files.read_bytes(source) == b"frame"

    def test_adopting_a_missing_file_is_not_found(
        self, destination: ObjectDestination, tmp_path: Path
    ) -> None:
        with pytest.raises(NotFoundError):
            destination.adopt(str(tmp_path / "none"), "raw/a.fits", "copy")
        with pytest.raises(InvalidInputError):
            destination.adopt(str(tmp_path), "raw/a.fits", "copy")

    @pytest.mark.parametrize("source", ["/" + "x" * 300, "/raw\0.fits"])
    def test_adopting_a_file_that_cannot_be_looked_at_is_an_error(
        self, destination: ObjectDestination, source: str
    ) -> None:
        with pytest.raises(QuantumioError):
            destination.adopt(source, "raw/a.fits", "copy")
        assert destination.stat("raw/a.fits") is None

    def test_adopting_over_another_object_is_refused(
        self, destination: ObjectDestination, tmp_path: Path
    ) -> None:
        destination.place([make_placement("raw/a.fits", b"other")])
        for transfer in self.transfers:
            source = _file(tmp_path / f"{transfer}.fits", b"frame")
            with pytest.raises(DestinationError):
                destination.adopt(str(source), "raw/a.fits", transfer)
            assert files.read_bytes(source) == b"frame"
        assert destination.read("raw/a.fits") == b"other"

    def test_errors_travel_between_processes(self, destination: ObjectDestination) -> None:
        with pytest.raises(QuantumioError) as caught:
            destination.read("none")
        copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - made one line above
        assert (type(copy), str(copy), copy.kind) == (
            type(caught.value),
            str(caught.value),
            caught.value.kind,
        )

    def test_close_is_idempotent(self, destination: ObjectDestination) -> None:
        destination.close()
        destination.close()


def _file(path: Path, data: bytes) -> Path:
    files.write_new(path, [data])
    return path
