"""Every answer that a store can give ends as written, refused or unreachable, and never doubled or lost."""

import errno
import gc
import logging
import threading
import uuid
from typing import ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from quantumio.destinations import OpenedDestinations, _remote
from quantumio.errors import DestinationError, ErrorKind, InvalidInputError
from quantumio.model import DestinationSettings
from quantumio.system import environment
from quantumio.testing import make_placement

CANARY = "c4n4ry-s3cret"


class StoreError(Exception):
    """An error as botocore makes them."""

    def __init__(self, code, status):
        super().__init__(f"An error occurred ({code}) when calling PutObject with {CANARY}")
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


class FaultyFileSystem(MemoryFileSystem):
    """Objects in memory; the calls that write meet what is planned for them."""

    protocol = "faulty"
    store: ClassVar = {}
    pseudo_dirs: ClassVar = [""]
    plan: ClassVar = []
    writes = 0
    is_emptied = False

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(path.replace("faulty://", "memory://"))

    def cat_file(self, path, start=None, end=None, **options):
        if self.is_emptied:
            raise FileNotFoundError(path)
        return super().cat_file(path, start, end, **options)

    def pipe_file(self, path, value, mode="overwrite", **options):
        if path.endswith("store.json"):
            return super().pipe_file(path, value, mode=mode)
        type(self).writes += 1
        step = self.plan.pop(0) if self.plan else None
        if callable(step):
            return step(lambda: MemoryFileSystem.pipe_file(self, path, value, mode=mode))
        return super().pipe_file(path, value, mode=mode)


def before(error):
    def step(write):
        raise error

    return step


def after(error):
    def step(write):
        write()
        raise error

    return step


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    """A store whose writes fail as planned: give the steps, get the destination."""
    fsspec.register_implementation("faulty", FaultyFileSystem, clobber=True)
    monkeypatch.setattr(environment, "random_token", lambda nbytes=8: "0" * (2 * nbytes))  # no pauses
    monkeypatch.setattr(FaultyFileSystem, "store", {})
    monkeypatch.setattr(FaultyFileSystem, "writes", 0)
    opened = open_one(tmp_path, root="faulty://bucket/x", timeout_s=1)

    def plan(*steps):
        monkeypatch.setattr(FaultyFileSystem, "plan", list(steps))
        return opened.get("archive")

    yield plan
    opened.close()


def open_one(tmp_path, **options):
    settings = {"archive": DestinationSettings(name="archive", kind="objects", options=options)}
    return OpenedDestinations(settings, repository_root=tmp_path, repository_id=uuid.UUID(int=1))


UNKNOWN = [
    StoreError("PreconditionFailed", 412),
    StoreError("ConditionalRequestConflict", 409),
    StoreError("NoSuchUpload", 404),
    StoreError("SlowDown", 503),
    StoreError("InternalError", 500),
    TimeoutError(),
    ConnectionResetError(errno.ECONNRESET, "reset"),
    OSError(errno.EIO, "remote"),
]


@pytest.mark.parametrize("error", UNKNOWN, ids=lambda error: str(error)[:40] or "timeout")
def test_lost_answers_are_read_back(faulty, error):
    destination = faulty(after(error))
    (stored,) = destination.place([make_placement("a", b"data")])
    assert stored.nbytes == 4
    assert FaultyFileSystem.writes == 1


@pytest.mark.parametrize("error", UNKNOWN, ids=lambda error: str(error)[:40] or "timeout")
def test_what_is_not_there_is_written_again(faulty, error):
    destination = faulty(before(error), before(error))
    destination.place([make_placement("a", b"data")])
    assert destination.read("a") == b"data"
    assert FaultyFileSystem.writes == 3


@pytest.mark.parametrize("error", UNKNOWN, ids=lambda error: str(error)[:40] or "timeout")
@pytest.mark.parametrize("other", [b"datb", b"others"], ids=["same size", "other size"])
def test_what_is_not_ours_is_refused_after_a_lost_answer(faulty, error, other):
    destination = faulty()
    destination.place([make_placement("a", other)])
    destination = faulty(before(error))
    with pytest.raises(DestinationError) as caught:
        destination.place([make_placement("a", b"data")])
    assert caught.value.kind is ErrorKind.CORRUPT
    assert destination.read("a") == other


def test_what_is_removed_while_it_is_read_back_is_told_to_have_vanished(faulty, monkeypatch):
    destination = faulty(after(TimeoutError()))

    # others have ended the transaction, and removed what it had placed
    monkeypatch.setattr(FaultyFileSystem, "is_emptied", True)
    with pytest.raises(DestinationError, match="vanished after it was written") as caught:
        destination.place([make_placement("a", b"data")])
    assert caught.value.kind is ErrorKind.CORRUPT
    assert "lease" in caught.value.hint


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (StoreError("AccessDenied", 403), ErrorKind.PERMISSION),
        (StoreError("ExpiredToken", 400), ErrorKind.PERMISSION),
        (StoreError("NoSuchBucket", 404), ErrorKind.UNREACHABLE),
        (StoreError("InvalidRequest", 400), ErrorKind.UNSPECIFIED),
        (StoreError("QuotaExceeded", 400), ErrorKind.DISK_FULL),
        (PermissionError(errno.EACCES, "no"), ErrorKind.PERMISSION),
        (OSError(errno.ENOSPC, "full"), ErrorKind.DISK_FULL),
    ],
    ids=lambda value: str(value)[:40],
)
def test_permanent_errors_fail_at_once(faulty, error, kind):
    destination = faulty(before(error))
    with pytest.raises(DestinationError) as caught:
        destination.place([make_placement("a", b"data")])
    assert caught.value.kind is kind
    assert "'archive'" in str(caught.value)
    assert FaultyFileSystem.writes == 1


def test_a_store_that_stays_down_is_given_up(faulty):
    destination = faulty(*[before(StoreError("SlowDown", 503))] * 99)
    with pytest.raises(DestinationError) as caught:
        destination.place([make_placement("a", b"data")])
    assert caught.value.kind is ErrorKind.UNREACHABLE
    assert FaultyFileSystem.writes == 5


def test_a_write_that_hangs_ends_at_its_deadline(faulty, monkeypatch):
    monkeypatch.setattr(_remote, "_CONNECT_S", -0.9)
    release = threading.Event()
    destination = faulty(*[lambda write: release.wait(30)] * 5)
    try:
        with pytest.raises(DestinationError) as caught:
            destination.place([make_placement("a", b"data")])
    finally:
        release.set()
    assert caught.value.kind is ErrorKind.TIMEOUT


def test_a_torn_object_is_noticed(faulty):
    def torn(write):
        write()
        (name,) = [name for name in FaultyFileSystem.store if name.endswith("/a")]
        FaultyFileSystem.store[name].truncate(2)

    with pytest.raises(DestinationError) as caught:
        faulty(torn).place([make_placement("a", b"data")])
    assert caught.value.kind is ErrorKind.CORRUPT


def test_unknown_protocols_are_refused(tmp_path):
    opened = open_one(tmp_path, root="nosuch://bucket")
    with pytest.raises(InvalidInputError, match="nosuch"):
        opened.get("archive")


# -- a real S3 interface


def test_objects_carry_their_digest(tmp_path, s3_server, s3_bucket):
    opened = open_one(tmp_path, root=f"s3://{s3_bucket}/night1", insecure=True)
    placement = make_placement("a", b"data")
    opened.get("archive").place([placement])
    client = s3_server.client()
    head = client.head_object(Bucket=s3_bucket, Key="night1/a")
    client.close()
    assert head["Metadata"] == {"qio-sha256": placement.digest}
    opened.close()


def test_a_missing_bucket_is_told_at_opening(tmp_path, s3_server):
    opened = open_one(tmp_path, root="s3://no-such-bucket/night1", insecure=True)
    with pytest.raises(DestinationError, match="NoSuchBucket") as caught:
        opened.get("archive")
    assert caught.value.kind is ErrorKind.UNREACHABLE
    opened.close()


def test_an_endpoint_without_tls_must_be_meant(tmp_path, s3_server, s3_bucket, caplog):
    with pytest.raises(InvalidInputError, match="insecure"):
        open_one(tmp_path, root=f"s3://{s3_bucket}/x").get("archive")  # named by the environment alone
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            opened = open_one(
                tmp_path, root=f"s3://{s3_bucket}/x", endpoint=s3_server.endpoint_url, insecure=True
            )
            opened.get("archive")
            opened.close()
    assert [record.getMessage() for record in caplog.records].count(
        f"destination 'archive': the connection to {s3_server.endpoint_url} is not encrypted"
    ) == 2


def test_credentials_of_a_profile_are_used_and_never_shown(
    tmp_path, s3_server, s3_bucket, monkeypatch, caplog
):
    monkeypatch.setenv("QUANTUMIO_CREDENTIALS_ARCHIVE_KEY", "AKIA" + CANARY)
    monkeypatch.setenv("QUANTUMIO_CREDENTIALS_ARCHIVE_SECRET", CANARY)
    monkeypatch.setenv("QUANTUMIO_CREDENTIALS_ARCHIVE_ENDPOINT", s3_server.endpoint_url)
    opened = open_one(tmp_path, root=f"s3://{s3_bucket}/x", credentials="archive", insecure=True)
    with caplog.at_level(logging.INFO):
        destination = opened.get("archive")
        destination.place([make_placement("a", b"data")])
        assert destination._remote._fs.secret == CANARY
        texts = [repr(opened), repr(destination), repr(vars(destination)), destination.url("a"), caplog.text]
        client = s3_server.client()
        client.delete_bucket_policy(Bucket=s3_bucket)
        client.delete_objects(
            Bucket=s3_bucket,
            Delete={
                "Objects": [
                    {"Key": item["Key"]} for item in client.list_objects_v2(Bucket=s3_bucket)["Contents"]
                ]
            },
        )
        client.delete_bucket(Bucket=s3_bucket)
        client.close()
        with pytest.raises(DestinationError) as caught:
            destination.place([make_placement("b", b"data")])
        texts += [str(caught.value), repr(caught.value), repr(caught.value.__cause__)]
    assert CANARY not in "".join(texts)
    opened.close()


def test_a_profile_of_nobody_is_named(tmp_path, s3_server, s3_bucket):
    opened = open_one(
        tmp_path,
        root=f"s3://{s3_bucket}/x",
        credentials="nobody",
        endpoint=s3_server.endpoint_url,
        insecure=True,
    )
    with pytest.raises(DestinationError, match="nobody") as caught:
        opened.get("archive")
    assert caught.value.kind is ErrorKind.PERMISSION
    opened.close()


def test_a_server_that_is_down_is_unreachable(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "random_token", lambda nbytes=8: "0" * (2 * nbytes))
    opened = open_one(
        tmp_path,
        root="s3://bucket/x",
        endpoint="http://127.0.0.1:9",
        insecure=True,
        credentials=None,
        timeout_s=2,
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with pytest.raises(DestinationError) as caught:
        opened.get("archive")
    assert caught.value.kind is ErrorKind.UNREACHABLE
    opened.close()


def test_closed_stores_leave_no_connection_open(tmp_path, s3_server, s3_bucket):
    opened = open_one(tmp_path, root=f"s3://{s3_bucket}/x", insecure=True)
    opened.get("archive").place([make_placement("a", b"data")])
    opened.close()
    del opened
    gc.collect()  # an open session would warn here
