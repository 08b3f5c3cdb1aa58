"""What a store of fsspec is asked for, what its errors mean, and what it takes to connect to it."""

import errno
import logging
import os
import sys
import uuid

import aiohttp
import fsspec
import pytest
from fsspec.registry import _registry
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from quantumio.destinations import OpenedDestinations
from quantumio.errors import (
    DestinationError,
    ErrorKind,
    InvalidInputError,
    MissingExtraError,
)
from quantumio.model import DestinationSettings
from quantumio.system import environment, failpoints
from quantumio.testing import make_placement
from tests.unit.destinations.fsspec_stores import (
    ForgetfulFileSystem,
    GoogleFileSystem,
    LosingFileSystem,
    PlainFileSystem,
    registered,
)

CANARY = "c4n4ry-s3cret"


@pytest.fixture
def connect(tmp_path, monkeypatch):
    """Open a store at a URL, always of one repository, without pauses between attempts."""
    monkeypatch.setattr(environment, "random_token", lambda nbytes=8: "0" * (2 * nbytes))
    all_opened = []

    def open_one(root, *, readonly=False, **options):
        table = DestinationSettings(name="archive", kind="objects", options={"root": root, **options})
        opened = OpenedDestinations(
            {"archive": table}, repository_root=tmp_path, repository_id=uuid.UUID(int=1), readonly=readonly
        )
        all_opened.append(opened)
        return opened.get("archive")

    yield open_one
    for opened in all_opened:
        opened.close()


@pytest.fixture
def url():
    return f"memory://{uuid.uuid4().hex}/store"


def lost(at=1, point="remote.call.before", error=None):
    """Lose the n-th request, or its answer."""
    times = []

    def hook(name):
        if name == point:
            times.append(name)
            if len(times) == at:
                raise error or ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))

    return failpoints.watched(hook)


def answer(status):
    """Make the error of an answer with a status, as aiohttp does."""
    url = URL("https://store.example/a")
    request = aiohttp.RequestInfo(url, "PUT", CIMultiDictProxy(CIMultiDict()), url)
    return aiohttp.ClientResponseError(request, (), status=status)


# -- each request may be lost


@pytest.mark.parametrize("point", ["remote.call.before", "remote.call.after"])
def test_request_that_is_lost_is_the_destinations_error(connect, url, point):
    destination = connect(url)
    destination.place([make_placement("a/b", b"data"), make_placement("a/c", b"data")])
    for what, call in {
        "looking for a/b": lambda: destination.stat("a/b"),
        "reading a/b": lambda: destination.read("a/b"),
        "removing a/c": lambda: destination.remove(["a/c"]),
        "listing": lambda: list(destination.objects()),
        "reading _qio/store.json": destination.identity,
    }.items():
        with lost(point=point), pytest.raises(DestinationError, match=what) as caught:
            call()
        assert caught.value.kind is ErrorKind.UNREACHABLE
        call()


@pytest.mark.parametrize(
    ("at", "point"),
    [
        (1, "remote.call.before"),
        (2, "remote.call.before"),
        (3, "remote.call.before"),
        (2, "remote.call.after"),
    ],
)
def test_export_whose_answer_is_lost_can_be_repeated(tmp_path, point, at):
    place = f"memory://{uuid.uuid4().hex}/ws"
    table = DestinationSettings(name="space", kind="workspace", options={"root": place})
    opened = OpenedDestinations({"space": table}, repository_root=tmp_path, repository_id=uuid.UUID(int=1))
    workspace = opened.get("space")
    workspace.place([make_placement("a", b"data")])
    with lost(at, point), pytest.raises(DestinationError) as caught:
        workspace.export("a", "night/a.txt")
    assert caught.value.kind is ErrorKind.UNREACHABLE
    workspace.export("a", "night/a.txt")
    assert fsspec.filesystem("memory").cat_file(f"{place}/night/a.txt") == b"data"
    opened.close()


def test_store_whose_first_answer_is_lost_is_opened(connect, url):
    with lost(point="remote.call.after"):  # of the one that made it ours: nothing was there to be read
        destination = connect(url)
    assert destination.store_id == destination.identity() is not None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionResetError(errno.ECONNRESET, "reset"), ErrorKind.UNREACHABLE),
        (PermissionError(errno.EACCES, "no"), ErrorKind.PERMISSION),
    ],
)
def test_store_that_could_not_be_made_is_told_with_the_cause(connect, url, error, kind):
    with lost(2, error=error), pytest.raises(DestinationError, match="opening memory://") as caught:
        connect(url)
    assert caught.value.kind is kind
    assert connect(url).identity() is not None


def test_store_that_keeps_nothing_is_refused(connect, monkeypatch):
    registered(monkeypatch, "plain", ForgetfulFileSystem)
    with pytest.raises(DestinationError, match="does not show what it took"):
        connect("plain://host/store")


def test_store_that_loses_an_object_is_told(connect, monkeypatch):
    registered(monkeypatch, "plain", LosingFileSystem)
    destination = connect("plain://host/store")
    with pytest.raises(DestinationError, match="writing a failed: the store does not show") as caught:
        destination.place([make_placement("a", b"data")])
    assert caught.value.kind is ErrorKind.UNREACHABLE


def test_store_that_may_not_be_looked_at_is_not_written_to(connect, monkeypatch):
    registered(monkeypatch, "plain", PlainFileSystem)
    destination = connect("plain://host/store")
    with lost(error=PermissionError(errno.EACCES, "no")), pytest.raises(DestinationError) as caught:
        destination.place([make_placement("a", b"data")])
    assert caught.value.kind is ErrorKind.PERMISSION
    assert destination.stat("a") is None


# -- how long it is tried


def test_destination_that_is_closed_does_not_try_again(connect, url):
    destination = connect(url)
    calls = []

    def fail(point):
        if point == "remote.call.before":
            calls.append(point)
            if len(calls) == 1:
                destination.close()
                raise ConnectionResetError(errno.ECONNRESET, "reset")

    with failpoints.watched(fail), pytest.raises(DestinationError, match="writing a"):
        destination.place([make_placement("a", b"data")])
    assert len(calls) == 2  # it is written once, and looked for


def test_store_that_is_slow_to_fail_is_not_tried_for_ever(connect, url, monkeypatch):
    destination = connect(url)
    now = iter([0.0, 1e9])
    monkeypatch.setattr(environment, "monotonic", lambda: next(now))
    with lost(), pytest.raises(DestinationError, match="writing a"):
        destination.place([make_placement("a", b"data")])


# -- what errors mean


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.http_exceptions.TransferEncodingError("the answer broke off"),
        aiohttp.ClientPayloadError("the answer broke off"),
        answer(503),
    ],
)
def test_answer_that_broke_off_is_read_back(connect, url, error):
    destination = connect(url)
    with lost(1, "remote.call.after", error):
        destination.place([make_placement("a", b"data")])
    assert destination.read("a") == b"data"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (answer(403), ErrorKind.PERMISSION),
        (answer(400), ErrorKind.UNSPECIFIED),
        (ValueError("no such setting"), ErrorKind.UNSPECIFIED),
    ],
)
def test_refusals_are_final(connect, url, error, kind):
    destination = connect(url)
    with lost(1, "remote.call.before", error), pytest.raises(DestinationError) as caught:
        destination.place([make_placement("a", b"data")])
    assert caught.value.kind is kind
    assert destination.stat("a") is None


def test_object_of_a_bucket_that_is_not_there_is_not_said_to_be_missing(connect, url):
    """Its store says that nothing is found, and its words say what."""

    class NoSuchBucketError(FileNotFoundError):
        response = {"Error": {"Code": "NoSuchBucket"}, "ResponseMetadata": {"HTTPStatusCode": 404}}  # noqa: RUF012

    destination = connect(url)
    for call in (destination.stat, destination.read):
        with lost(error=NoSuchBucketError("it is not there")), pytest.raises(DestinationError) as caught:
            call("a")
        assert caught.value.kind is ErrorKind.UNREACHABLE


def test_bucket_that_is_gone_is_not_taken_for_an_empty_one(connect, s3_server, s3_bucket):
    destination = connect(f"s3://{s3_bucket}/x", insecure=True)
    destination.note_session(uuid.uuid4())
    client = s3_server.client()
    for found in client.list_objects_v2(Bucket=s3_bucket)["Contents"]:
        client.delete_object(Bucket=s3_bucket, Key=found["Key"])
    client.delete_bucket(Bucket=s3_bucket)
    client.close()
    for listing in (destination.objects, destination.sessions, destination.remains):
        with pytest.raises(DestinationError, match="listing failed.*NoSuchBucket") as caught:
            list(listing())
        assert caught.value.kind is ErrorKind.UNREACHABLE


def test_directory_that_cannot_be_listed_is_not_taken_for_an_empty_one(connect, monkeypatch):
    registered(monkeypatch, "plain", PlainFileSystem)
    destination, session = connect("plain://host/store"), uuid.uuid4()
    destination.note_session(session)
    PlainFileSystem.broken["/session"] = OSError(errno.EIO, "failure")
    with pytest.raises(DestinationError, match="listing failed: .*failure"):
        list(destination.sessions())
    PlainFileSystem.broken.clear()
    assert list(destination.sessions()) == [session]
    assert list(connect("plain://host/other", readonly=True).sessions()) == []


# -- what the store tells


def test_objects_carry_their_digest(connect, monkeypatch):
    registered(monkeypatch, "gs", GoogleFileSystem)
    destination = connect("gs://bucket/night1")
    placement = make_placement("a", b"data")
    destination.place([placement])
    assert GoogleFileSystem.metadata["/bucket/night1/a"] == {"qio-sha256": placement.digest}
    destination.place([placement])


@pytest.mark.parametrize(
    ("time", "modified_ns"),
    [("1970-01-01T00:00:01.500+00:00", 1_500_000_000), (1.5, 1_500_000_000), ("yesterday", None), ("", None)],
)
def test_times_are_told_if_they_are_understood(connect, monkeypatch, time, modified_ns):
    registered(monkeypatch, "gs", GoogleFileSystem)
    destination = connect("gs://bucket/night1")
    destination.place([make_placement("a", b"data")])
    GoogleFileSystem.times["/bucket/night1/a"] = time
    assert destination.stat("a").modified_ns == modified_ns


def test_objects_that_tell_of_no_session_are_passed_over(connect, url):
    destination, session = connect(url), uuid.uuid4()
    destination.note_session(session)
    fsspec.filesystem("memory").pipe_file(f"{url}/_qio/session/README", b"")
    assert list(destination.sessions()) == [session]


# -- what it takes to connect


@pytest.mark.parametrize(
    ("protocol", "parts", "options"),
    [
        ("gs", {"TOKEN": CANARY}, {"token": CANARY}),
        ("az", {"KEY": "ada", "SECRET": CANARY}, {"account_name": "ada", "account_key": CANARY}),
        ("sftp", {"KEY": "ada", "SECRET": CANARY}, {"username": "ada", "password": CANARY}),
    ],
)
def test_credentials_of_a_profile_are_handed_over(connect, monkeypatch, protocol, parts, options):
    registered(monkeypatch, protocol, PlainFileSystem)
    for part, value in parts.items():
        monkeypatch.setenv(f"QUANTUMIO_CREDENTIALS_ARCHIVE_{part}", value)
    connect(f"{protocol}://host/store", credentials="archive")
    assert PlainFileSystem.options == {**options, "use_listings_cache": False}


@pytest.mark.parametrize(("protocol", "part"), [("gs", "TOKEN"), ("az", "KEY"), ("sftp", "KEY")])
def test_profile_that_gives_nothing_is_named_with_the_mend(connect, monkeypatch, protocol, part):
    registered(monkeypatch, protocol, PlainFileSystem)
    with pytest.raises(InvalidInputError, match=f"'archive' gives nothing.*ARCHIVE_{part}"):
        connect(f"{protocol}://host/store", credentials="archive")


@pytest.mark.parametrize("option", [{"endpoint": "https://host"}, {"region": "eu"}])
def test_settings_that_a_protocol_does_not_take_are_refused(connect, url, option):
    with pytest.raises(InvalidInputError, match="takes neither endpoint nor region"):
        connect(url, **option)


def test_endpoint_of_google_is_handed_over(connect, monkeypatch):
    registered(monkeypatch, "gs", PlainFileSystem)
    connect("gs://bucket/store", endpoint="https://store.example")
    assert PlainFileSystem.options["endpoint_url"] == "https://store.example"


@pytest.mark.parametrize(
    ("root", "module", "hint"),
    [
        ("s3://bucket/x", "s3fs", r"quantumio\[s3\]"),
        ("gs://bucket/x", "gcsfs", "gcsfs"),
    ],
)
def test_library_that_is_not_installed_is_named(connect, monkeypatch, root, module, hint):
    for protocol in ("s3", "gs"):
        monkeypatch.delitem(_registry, protocol, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=hint):
        connect(root)


def test_profile_of_the_environment_that_nobody_has_is_told(connect, s3_server, s3_bucket, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(DestinationError, match="connecting failed.*nobody") as caught:
        connect(f"s3://{s3_bucket}/x", insecure=True)
    assert caught.value.kind is ErrorKind.PERMISSION


def test_connection_that_cannot_be_closed_is_nobodys_trouble(connect, s3_server, s3_bucket, caplog):
    destination = connect(f"s3://{s3_bucket}/x", insecure=True)
    file_system = destination._remote._fs
    creator = file_system._s3creator

    class Broken:
        async def __aexit__(self, *error):
            raise ConnectionResetError(f"at https://ada:{CANARY}@host")

    file_system._s3creator = Broken()
    with caplog.at_level(logging.DEBUG, "quantumio"):
        destination.close()
    assert "closing a connection failed" in caplog.text
    assert CANARY not in caplog.text
    file_system._s3creator = creator
    destination.close()
