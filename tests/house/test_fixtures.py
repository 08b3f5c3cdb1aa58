"""The servers and guards of conftest.py work."""

import asyncio
import threading
from pathlib import Path

import anyio.lowlevel
import pytest
import sniffio


def test_s3_server_keeps_objects(s3_server, s3_bucket):
    import s3fs

    filesystem = s3fs.S3FileSystem(skip_instance_cache=True, **s3_server.storage_options)
    filesystem.pipe_file(f"{s3_bucket}/key", b"value")
    assert filesystem.cat_file(f"{s3_bucket}/key") == b"value"
    assert filesystem.ls(s3_server.bucket) == []


def test_environment_names_the_s3_server(s3_server, s3_bucket):
    import fsspec

    filesystem = fsspec.filesystem("s3", skip_instance_cache=True)
    filesystem.pipe_file(f"{s3_bucket}/from-environment", b"1")
    assert filesystem.exists(f"{s3_bucket}/from-environment")


def test_postgresql_keeps_rows(postgresql_database):
    import sqlalchemy

    engine = sqlalchemy.create_engine(postgresql_database)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE stars (flux double precision)"))
        connection.execute(sqlalchemy.text("INSERT INTO stars VALUES (1.5), ('NaN')"))
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT count(*) FROM stars")).scalar_one() == 2
    engine.dispose()


def test_postgresql_databases_are_fresh(postgresql_database):
    import sqlalchemy

    engine = sqlalchemy.create_engine(postgresql_database)
    assert sqlalchemy.inspect(engine).get_table_names() == []
    engine.dispose()


@pytest.mark.anyio
async def test_anyio_tests_run_on_the_named_loop(anyio_backend):
    await anyio.lowlevel.checkpoint()
    assert sniffio.current_async_library() == anyio_backend


@pytest.mark.asyncio
async def test_asyncio_tests_run():
    assert asyncio.get_running_loop().is_running()


def test_astropy_does_not_download_earth_rotation_tables():
    from astropy.utils import iers

    assert iers.conf.auto_download is False


GUARDED = """
import asyncio, threading
import pytest

STOP = threading.Event()

def test_leaves_a_thread():
    threading.Thread(target=STOP.wait, args=(20,), name="quantumio-forgotten", daemon=True).start()

@pytest.mark.leaves_threads(reason="shows the mark")
def test_may_leave_a_thread():
    threading.Thread(target=STOP.wait, args=(20,), name="quantumio-allowed", daemon=True).start()

def test_ends_its_thread():
    thread = threading.Thread(target=lambda: None, name="quantumio-ended")
    thread.start()

@pytest.mark.anyio
async def test_leaves_a_task(anyio_backend):
    if anyio_backend == "asyncio":
        global task
        task = asyncio.get_running_loop().create_task(asyncio.sleep(30))

@pytest.mark.asyncio
async def test_leaves_an_asyncio_task():
    global task
    task = asyncio.get_running_loop().create_task(asyncio.sleep(30))
"""


def test_what_a_test_leaves_behind_fails_it(pytester, monkeypatch):
    conftest = Path(__file__).resolve().parent.parent / "conftest.py"
    source = conftest.read_text().replace("_GRACE_SECONDS = 5.0", "_GRACE_SECONDS = 0.2")
    pytester.makeconftest(source)
    pytester.makepyfile(GUARDED)
    pytester.makeini(
        f"[pytest]\npythonpath = {conftest.parent.parent}\n"
        "asyncio_mode = strict\nmarkers =\n    leaves_threads(reason): .\n"
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-rA", "-v")
    result.assert_outcomes(passed=6, errors=3)
    errors = [line.split()[1] for line in result.outlines if line.startswith("ERROR ")]
    assert sorted(name.partition("::")[2] for name in errors) == [
        "test_leaves_a_task[asyncio]",
        "test_leaves_a_thread",
        "test_leaves_an_asyncio_task",
    ]


def test_threads_of_others_are_not_counted():
    release = threading.Event()
    threading.Thread(target=release.wait, args=(0.2,), name="somebody-else", daemon=True).start()
