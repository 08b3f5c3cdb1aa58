"""A process that is killed at any point leaves what was promised.

Every point of the scenarios in `CASES` is tried in every run; of the scenarios in `IN_TURN` some have their
turn, others each day of a week. A campaign tries them all, and so does whoever looks for a planted bug.
"""

import datetime as dt
import os
import shutil
from pathlib import Path

import pytest

from quantumio.errors import InternalError, InvalidInputError
from quantumio.testing import crash_everywhere
from tests import in_memory
from tests.crash import scenarios
from tests.planted import bugs

pytestmark = pytest.mark.timeout(900)  # long, and longer beside other work

CASES = [
    ("local", scenarios.two_commits, scenarios.local, scenarios.check),
    ("level3", scenarios.with_rows, scenarios.level3, scenarios.check),
    ("level3 in the registry's database", scenarios.with_rows, scenarios.level3_in_registry, scenarios.check),
    ("journaled", scenarios.journaled_commits, scenarios.local, scenarios.check),
    ("S3", scenarios.with_second_copy, scenarios.remote, scenarios.check),
    ("spilled", scenarios.small_outputs, scenarios.little_memory, scenarios.check),
    ("depends", scenarios.depends, scenarios.local, scenarios.check),
    ("conflict", scenarios.conflict_in_a_group, scenarios.local, scenarios.check),
    ("pack", scenarios.small_outputs, scenarios.packs, scenarios.check),
]
IN_TURN = [
    ("second", scenarios.with_second_copy, scenarios.second, scenarios.check),
    ("small outputs", scenarios.small_outputs, scenarios.local, scenarios.check),
    ("journaled pack", scenarios.journaled_pack, scenarios.packs, scenarios.check),
    ("reads", scenarios.reads_the_first, scenarios.local, scenarios.check),
    ("immediate", scenarios.one_commit, scenarios.immediate, scenarios.check),
    ("key", scenarios.keyed, scenarios.local, scenarios.check_key),
    ("replace", scenarios.replaces, scenarios.local, scenarios.check),
    ("replace at once", scenarios.replaces, scenarios.immediate, scenarios.check),
    ("drop of a conflict", scenarios.drops, scenarios.with_conflict, scenarios.check_drop),
    ("deletes", scenarios.deletes, scenarios.with_a_pack, scenarios.check_deletes),
    ("drop of what is in quarantine", scenarios.drops, scenarios.with_quarantine, scenarios.check_drop),
    ("tables of files", scenarios.ingests, scenarios.with_files, scenarios.check_ingest),
    ("journaled rows", scenarios.journaled_rows, scenarios.level3, scenarios.check),
    ("garbage", scenarios.collects, scenarios.with_garbage, scenarios.check_garbage),
    ("retry", scenarios.retries, scenarios.with_conflict, scenarios.check_retry),
]
TURNS = 7


def of_today():
    """Return the scenarios whose turn it is."""
    turns = 1 if os.environ.get(bugs.VARIABLE) else TURNS
    return IN_TURN[dt.datetime.now(dt.UTC).date().toordinal() % turns :: turns]


# Where recovery has most to do, each is killed once more in recovering from each of its crashes.
KILLED_AGAIN = {
    scenarios.with_rows: scenarios.recover,
    scenarios.journaled_commits: scenarios.recover,
    scenarios.journaled_rows: scenarios.recover,
    scenarios.collects: scenarios.collect_again,
    scenarios.retries: scenarios.retry_again,
    scenarios.drops: scenarios.drop_again,
}
DOUBLE_KILLS = 170  # of each of these that is tried in every run, at least: 500 of all

# What each scenario must have been killed at, else a failpoint or the harness is lost.
CERTAIN = {f"{step}.{side}" for step in ("flip", "registry.commit") for side in ("before", "after")}


@pytest.fixture
def crash_bucket(s3_server, s3_bucket, monkeypatch):
    """Tell the scenarios, which run in other processes, where the object store is."""
    monkeypatch.setenv("QUANTUMIO_CRASH_BUCKET", s3_bucket)
    monkeypatch.setenv("QUANTUMIO_CRASH_ENDPOINT", s3_server.endpoint_url)


@pytest.fixture
def room(tmp_path):
    """Return a directory for repositories; what a failure leaves there is kept."""
    with in_memory.room() as directory:
        yield Path(directory)
        shutil.copytree(directory, tmp_path, dirs_exist_ok=True)


@pytest.mark.parametrize(
    ("scenario", "prepare", "check"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_killed_anywhere_it_leaves_what_was_promised(room, request, scenario, prepare, check):
    if prepare is scenarios.remote:
        request.getfixturevalue("crash_bucket")
    again = KILLED_AGAIN.get(scenario)
    report = crash_everywhere(
        scenario,
        prepare=prepare,
        check=check,
        recover=again,
        rehearse=prepare is not scenarios.remote,  # its client has a thread for ever
        directory=room,
    )
    print(report)
    assert [(one.crash, one.message) for one in report.violations] == []
    assert set(report.names) >= CERTAIN
    assert report.kills >= 40
    assert again is None or report.double_kills >= DOUBLE_KILLS
    assert report.kills >= 0.8 * report.points  # threads: contexts share more trips or fewer


@pytest.mark.parametrize(
    ("scenario", "prepare", "check"), [case[1:] for case in of_today()], ids=[case[0] for case in of_today()]
)
def test_killed_anywhere_when_its_turn_comes_it_leaves_what_was_promised(room, scenario, prepare, check):
    report = crash_everywhere(
        scenario,
        prepare=prepare,
        check=check,
        recover=KILLED_AGAIN.get(scenario),
        rehearse=True,
        directory=room,
    )
    print(report)
    assert [(one.crash, one.message) for one in report.violations] == []
    assert report.kills >= 0.8 * report.points > 0


def test_there_are_enough_that_are_killed_again():
    assert DOUBLE_KILLS * sum(case[1] in KILLED_AGAIN for case in CASES) >= 500
    assert set(KILLED_AGAIN) <= {case[1] for case in CASES + IN_TURN}


def test_many_threads_killed_at_any_moment_leave_what_was_promised(room):
    report = crash_everywhere(
        scenarios.busy,
        prepare=scenarios.local,
        check=scenarios.check,
        random_kills=100,
        points=False,
        rehearse=True,
        directory=room,
    )
    print(report)
    assert [(one.crash, one.message) for one in report.violations] == []
    assert report.random_kills == 100


@pytest.mark.parametrize(
    ("scenario", "check", "said"),
    [
        (scenarios.acknowledges_early, scenarios.check, "committed one, but it is not visible"),
        (scenarios.flips_before_it_places, scenarios.check, "has no object"),
        (scenarios.flips_in_halves, scenarios.check, "a part of context 'many'"),
        (scenarios.forgets_the_key, scenarios.check_key, "a context became visible twice"),
    ],
)
def test_planted_bug_is_found(room, scenario, check, said):
    report = crash_everywhere(
        scenario,
        prepare=scenarios.local,
        check=check,
        rehearse=scenario not in (scenarios.flips_before_it_places, scenarios.flips_in_halves),  # these patch
        directory=room,
        stop_at_first=True,
    )
    killed = [one for one in report.violations if one.crash.name is not None]
    assert any(said in one.message for one in killed), [one.message for one in report.violations][:3]
    assert all(one.repository.exists() for one in killed)


def test_function_that_no_other_process_can_import_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="cannot be imported"):
        crash_everywhere(
            lambda repository, acknowledge: None,
            prepare=scenarios.local,
            check=scenarios.check,
            directory=tmp_path,
        )


def test_part_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="no part 3 of 3"):
        crash_everywhere(
            scenarios.one_commit,
            prepare=scenarios.local,
            check=scenarios.check,
            part=(3, 3),
            directory=tmp_path,
        )


def test_rehearsal_that_leaves_a_thread_behind_is_refused(tmp_path):
    with pytest.raises(InternalError, match="left threads behind"):
        crash_everywhere(
            scenarios.leaves_a_thread,
            prepare=scenarios.local,
            check=scenarios.check,
            rehearse=True,
            directory=tmp_path,
        )
