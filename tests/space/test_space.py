"""A disk, descriptors or memory that run out: typed errors, nothing torn, and all goes on with new room."""

import contextlib
import os
import resource
import subprocess
from pathlib import Path

import pytest

from quantumio import Butler, DatasetType
from quantumio.errors import BufferFull, CommitFailedError, QuantumioError
from quantumio.model import CommitFailed, CommitParked, Committed

pytestmark = [pytest.mark.on_disk, pytest.mark.timeout(900)]  # long, and longer beside other work

RUN = "r"
DISK = 8 << 20
LARGE = 1 << 20
RUNTIME = {"allow_volatile_journal": True, "journal_min_free_bytes": 1}


@pytest.fixture
def small_disk(tmp_path):
    """Make a file system of a few MiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", directory], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here: that takes root")
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)


def create(repository, **runtime):
    with Butler.create(repository, {"runtime": RUNTIME | runtime}) as butler:
        butler.register_dataset_type(DatasetType("blob", dimensions=["visit"], storage_class="Bytes"))


@contextlib.contextmanager
def opened(repository):
    with Butler(repository, run=RUN, instrument="ST8") as butler:
        yield butler
        with contextlib.suppress(ExceptionGroup):  # told by the outcomes already
            butler.drain()
        butler.errors(acknowledge=True)


def value(visit):
    return bytes([visit % 251]) * LARGE


def commit(butler, *visits, ack="buffered"):
    context = butler.context()
    for visit in visits:
        context.put(value(visit), "blob", visit=visit)
    try:
        ticket = context.commit(ack)
    except CommitFailedError as error:
        return error.outcome
    with contextlib.suppress(ExceptionGroup):
        butler.drain()
    return ticket.outcome


def visible(butler):
    """Return what can be seen, held to be right to the last byte."""
    visits = {ref.data_id["visit"] for ref in butler.query("blob", versions="all")}
    for visit in visits:
        assert butler.get("blob", visit=visit) == value(visit)
    return visits


@pytest.mark.parametrize("ack", ["buffered", "journaled"])
def test_full_disk_tears_nothing_and_is_outlived(small_disk, ack):
    repository = small_disk / "repository"
    create(repository)
    done, refused, outcome = set(), set(), None
    with opened(repository) as butler:
        for first in range(0, 40, 2):
            outcome = commit(butler, first, first + 1, ack=ack)
            assert isinstance(outcome, (Committed, CommitFailed, CommitParked)), outcome
            (done if isinstance(outcome, Committed) else refused).update({first, first + 1})
            if refused:
                break
        assert refused, "the disk was never full"
        assert visible(butler) == done
    ballast(repository)
    subprocess.run(["mount", "-o", f"remount,size={8 * DISK}", small_disk], check=True)
    with opened(repository) as butler:
        butler.recover()
        assert visible(butler) in ((done, done | refused) if isinstance(outcome, CommitParked) else (done,))
        again = sorted(refused - visible(butler)) or [99]
        assert isinstance(commit(butler, *again), Committed)
        assert visible(butler) == done | refused | set(again)


def ballast(repository):
    """Hold that what failed has left no temporary file of its own."""
    assert not [path for path in repository.rglob(".qio-*.tmp") if path.stat().st_size]


def test_journal_that_has_its_quota_takes_no_more(tmp_path):
    repository = tmp_path / "repository"
    create(repository, journal_max_bytes=2 * LARGE, allow_volatile_journal=False)
    with opened(repository) as butler:
        refused = commit(butler, 1, 2, 3, ack="journaled")
        assert isinstance(refused, CommitFailed)
        assert "of the journal" in refused.message
        assert visible(butler) == set()
        assert isinstance(commit(butler, 4, ack="journaled"), Committed)
        assert visible(butler) == {4}


def test_put_waits_and_says_that_memory_is_full(tmp_path):
    repository = tmp_path / "repository"
    # nothing can be moved to the disk either: more has to stay free there than there is
    free = os.statvfs(tmp_path).f_frsize * os.statvfs(tmp_path).f_blocks
    create(repository, max_buffer_bytes=LARGE, put_timeout_s=0.2, journal_min_free_bytes=free)
    with opened(repository) as butler:
        context = butler.context()
        context.put(value(1), "blob", visit=1)
        with pytest.raises(BufferFull):
            context.put(value(2), "blob", visit=2)
        context.commit()
        assert visible(butler) == {1}
        assert isinstance(commit(butler, 2), Committed)  # larger than nothing: it passes alone
        assert visible(butler) == {1, 2}


@contextlib.contextmanager
def limited(kind, soft):
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def test_descriptors_that_run_out_tear_nothing(tmp_path):
    repository = tmp_path / "repository"
    create(repository)
    done = set()
    with opened(repository) as butler:
        assert isinstance(commit(butler, 0), Committed)
        used = len(list(Path("/proc/self/fd").iterdir()))
        for spare in range(1, 8):
            visits = {10 * spare, 10 * spare + 1}
            with limited(resource.RLIMIT_NOFILE, used + spare - 1):
                try:
                    outcome = commit(butler, *visits)
                except QuantumioError:
                    outcome = None
            done |= visits if isinstance(outcome, Committed) else set()
        assert done <= visible(butler)
    with opened(repository) as butler:
        butler.recover()
        seen = visible(butler)
        assert done | {0} <= seen
        assert all((10 * spare in seen) == (10 * spare + 1 in seen) for spare in range(1, 8))
        assert isinstance(commit(butler, 200), Committed)


def test_file_that_may_not_grow_is_told(tmp_path):
    repository = tmp_path / "repository"
    create(repository)
    with opened(repository) as butler:
        with limited(resource.RLIMIT_FSIZE, LARGE // 2):
            outcome = commit(butler, 1)
        assert isinstance(outcome, (CommitFailed, CommitParked))
        assert visible(butler) == set()
        assert isinstance(commit(butler, 2), Committed)
