"""What a managed store tells of itself: identity, time, who has written, and what was left behind."""

import errno
import os
import uuid

import pytest

from quantumio.destinations import OpenedDestinations
from quantumio.errors import DestinationError, ErrorKind, InvalidInputError, QuantumioError, StateError
from quantumio.model import DestinationSettings
from quantumio.ports import ManagedDestination
from quantumio.system import environment, failpoints, files
from quantumio.testing import Fault, FaultyDestination, make_placement

REPOSITORY = uuid.uuid4()
KINDS = ["files", "file URL", "memory", "memory URL", "S3", "workspace", "workspace URL", "faulty"]
REOPENED = ["files", "memory URL", "S3", "workspace"]


@pytest.fixture
def opened(tmp_path, request):
    """Open a destination of a kind, always at the same place."""
    place, all_opened = uuid.uuid4().hex, []

    def settings_of(kind):
        if kind == "S3":
            bucket = request.getfixturevalue("s3_bucket")
            return "objects", {"root": f"s3://{bucket}/night1", "insecure": True}
        return {
            "files": ("files", {"root": "data"}),
            "file URL": ("objects", {"root": (tmp_path / "objects").as_uri()}),
            "memory": ("memory", {}),
            "memory URL": ("objects", {"root": f"memory://{place}/store"}),
            "workspace": ("workspace", {"root": "ws/{user}", "quota": "1 GiB"}),
            "workspace URL": ("workspace", {"root": f"memory://{place}/{{user}}", "quota": "1 GiB"}),
            "faulty": ("memory", {}),
        }[kind]

    def open_one(kind, *, repository=REPOSITORY, **options_of_all):
        name, options = settings_of(kind)
        settings = {"place": DestinationSettings(name="place", kind=name, options=options)}
        destinations = OpenedDestinations(
            settings, repository_root=tmp_path, repository_id=repository, **options_of_all
        )
        all_opened.append(destinations)
        found = destinations.get("place")
        return FaultyDestination(found, Fault(at=0)) if kind == "faulty" else found

    yield open_one
    for destinations in all_opened:
        destinations.close()


@pytest.mark.parametrize("kind", KINDS)
def test_store_tells_identity_time_and_sessions(opened, kind):
    destination = opened(kind)
    assert isinstance(destination, ManagedDestination)
    assert isinstance(destination.identity(), uuid.UUID)
    assert destination.identity() == destination.identity()
    sessions = [environment.uuid7() for _ in range(3)]
    for session in (*sessions, *sessions):
        destination.note_session(session)
    assert sorted(destination.sessions()) == sorted(sessions)
    (before,) = destination.place([make_placement("a/b.txt", b"x")])
    assert destination.clock_ns() >= before.modified_ns
    assert [one.path for one in destination.objects()] == ["a/b.txt"]
    assert list(destination.remains()) == []
    assert list(destination.uploads()) == []
    with pytest.raises(InvalidInputError):
        destination.remove_remains(["a/b.txt"])
    destination.remove_remains([])


@pytest.mark.parametrize("kind", ["files", "memory URL", "S3"])
def test_store_that_somebody_else_makes_and_uses_meanwhile_is_not_gone(opened, kind):
    first = []

    def is_in_use(name):
        first.append(opened(kind))
        return True

    second = opened(kind, is_in_use=is_in_use)
    assert first[0].store_id == second.store_id == second.identity() is not None
    second.place([make_placement("stats/a", b"1")])


@pytest.mark.parametrize("kind", ["files", "memory URL", "S3"])
def test_store_that_was_used_and_is_not_there_is_not_made(opened, kind):
    for _ in range(2):
        with pytest.raises(DestinationError, match="there is no _qio/store.json") as failure:
            opened(kind, is_in_use=lambda name: True)
        assert failure.value.kind is ErrorKind.UNREACHABLE


@pytest.mark.parametrize("kind", REOPENED)
def test_identity_and_sessions_outlive_the_process(opened, kind):
    destination, session = opened(kind), environment.uuid7()
    destination.note_session(session)
    again = opened(kind, readonly=True)
    assert again.identity() == destination.identity()
    assert list(again.sessions()) == [session]
    for refused in (again.clock_ns, lambda: again.note_session(session), lambda: again.remove_remains([])):
        with pytest.raises(StateError) as failure:
            refused()
        assert failure.value.kind is ErrorKind.READ_ONLY


@pytest.mark.parametrize("kind", REOPENED)
def test_store_that_nobody_has_written_to_has_no_identity(opened, kind):
    destination = opened(kind, readonly=True)
    assert destination.identity() is None
    assert list(destination.sessions()) == []


@pytest.mark.parametrize("kind", REOPENED)
def test_store_of_another_repository_is_refused(opened, kind):
    opened(kind)
    with pytest.raises(QuantumioError, match="another repository|belongs"):
        opened(kind, repository=uuid.uuid4())


def test_what_writing_left_behind_is_listed_and_removed(opened, tmp_path):
    destination = opened("files")
    (tmp_path / "data" / "s").mkdir()
    names = [".qio-0123.tmp", "s/.qio-4567.tmp", "_qio/.qio-89ab.tmp"]
    for name in (*names, "s/.qio-x.txt"):
        (tmp_path / "data" / name).write_bytes(b"xy")
    assert sorted((one.path, one.nbytes) for one in destination.remains()) == sorted(
        (name, 2) for name in names
    )
    assert list(destination.objects()) == []
    destination.remove_remains([*names, "none/.qio-00.tmp"])
    assert list(destination.remains()) == []
    for bad in ("s/.qio-x.txt", "../.qio-00.tmp"):
        with pytest.raises(InvalidInputError):
            destination.remove_remains([bad])
    assert (tmp_path / "data" / "s" / ".qio-x.txt").exists()


@pytest.mark.parametrize("kind", ["memory URL", "S3"])
def test_clock_of_an_object_store_that_was_left_behind_is_removed(opened, kind, monkeypatch):
    destination = opened(kind)
    remove = type(destination)._remove_one

    def fail(self, path):
        raise DestinationError("it died", kind=ErrorKind.UNREACHABLE)

    with monkeypatch.context() as patch:
        patch.setattr(type(destination), "_remove_one", fail)
        with pytest.raises(DestinationError):
            destination.clock_ns()
    assert type(destination)._remove_one is remove
    (left,) = destination.remains()
    with pytest.raises(InvalidInputError, match="nothing that was left"):
        destination.remove_remains([f"{left.path}/more"])
    destination.remove_remains([left.path])
    assert list(destination.remains()) == []


@pytest.mark.parametrize("kind", ["memory", "memory URL", "files"])
def test_file_that_was_taken_over_and_cannot_be_removed_stays(opened, kind, tmp_path):
    destination, source = opened(kind), tmp_path / "raw"
    source.write_bytes(b"frame")

    def refuse(point):
        if point == "files.unlink.before":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with failpoints.watched(refuse), pytest.raises(DestinationError, match="taking over") as caught:
        destination.adopt(str(source), "a/raw", "move")
    assert caught.value.kind is ErrorKind.PERMISSION
    assert source.read_bytes() == destination.read("a/raw") == b"frame"
    destination.adopt(str(source), "a/raw", "move")
    assert not source.exists()


def test_uploads_that_were_begun_are_listed(opened, s3_server, s3_bucket):
    destination = opened("S3")
    client = s3_server.client()
    for key in ("night1/s/r/begun.fits", "other/begun.fits"):
        client.create_multipart_upload(Bucket=s3_bucket, Key=key)
    client.close()
    (upload,) = destination.uploads()
    assert (upload.path, upload.nbytes) == ("s/r/begun.fits", 0)
    assert upload.modified_ns is not None


def test_uploads_of_a_store_that_is_away_are_its_error(opened, s3_server, s3_bucket):
    destination = opened("S3")
    client = s3_server.client()
    client.delete_object(Bucket=s3_bucket, Key="night1/_qio/store.json")
    client.delete_bucket(Bucket=s3_bucket)
    client.close()
    with pytest.raises(DestinationError, match="listing uploads"):
        next(destination.uploads())


def test_disk_that_fails_is_the_destinations_error(opened, monkeypatch):
    destination = opened("files")

    def fail(*arguments):
        raise OSError(5, "Input/output error")

    for name, calls in {
        "read_bytes": [destination.identity],
        "write_unshared": [destination.clock_ns],
        "write_new": [lambda: destination.note_session(environment.uuid7())],
        "list_files": [lambda: list(destination.sessions()), lambda: list(destination.remains())],
        "remove": [lambda: destination.remove_remains([".qio-00.tmp"])],
    }.items():
        with monkeypatch.context() as patch:
            patch.setattr(files, name, fail)
            for call in calls:
                with pytest.raises(DestinationError):
                    call()


def test_file_that_vanishes_while_the_time_is_asked_for_is_told(opened, monkeypatch):
    destination = opened("files")
    monkeypatch.setattr(files, "status", lambda path: None)
    with pytest.raises(DestinationError, match="vanished"):
        destination.clock_ns()
