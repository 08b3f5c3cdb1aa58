"""Eight processes commit versions of the same dataset: nothing is lost, doubled or out of order."""

from collections import Counter

import pytest

from quantumio import Butler, DatasetType
from quantumio.model import Timespan
from tests.contention import histories
from tests.contention.conftest import PROCESSES
from tests.contention.worker import CALIBRATION, CALIBRATIONS, RUN, SLOT_NS, TAG, TYPE, own_run, slots

pytestmark = pytest.mark.timeout(400)

COUNTS = {"sqlite": 100, "postgresql": 20}
INCREMENTS = {"sqlite": 12, "postgresql": 5}
PREPENDS = {"sqlite": 12, "postgresql": 5}
EDITS = {"sqlite": 12, "postgresql": 6}
CREATIONS = 15


@pytest.fixture
def kind(request):
    """Which registry the repository of the test has."""
    return request.node.callspec.params["repository"]


def joined(answers, what):
    return [one for answer in answers for one in answer[what]]


def assert_stored(butler, commits, visit=1):
    """Hold that the registry and the files have exactly what the processes were told."""
    told = {commit["version"]: commit for commit in commits}
    versions = butler.versions(TYPE, visit=visit, run=RUN)
    assert [one.ref.version for one in versions] == sorted(told)
    sequence = [one.commit_seq for one in versions]
    assert sequence == sorted(set(sequence))
    for one in versions:
        commit = told[one.ref.version]
        assert str(one.txid) == commit["txid"]
        assert butler.get(one.ref) == commit["value"]


def assert_sound(butler):
    """Hold that registry and files agree, to the last byte."""
    assert not butler.fsck(level=2).findings


def test_next_versions_are_all_there_and_in_order(team, repository, butler, kind, report):
    count = COUNTS[kind]
    commits = joined(team.run("append", repository, count), "commits")
    report(commits)
    histories.assert_versions(commits, PROCESSES * count)
    histories.assert_orders_of_processes(commits)
    histories.assert_linear(commits)
    assert Counter(commit["process"] for commit in commits) == dict.fromkeys(range(PROCESSES), count)
    assert_stored(butler, commits)
    assert_sound(butler)


def test_expected_versions_lose_no_update(team, repository, butler, kind, report):
    with butler.context() as ctx:
        ctx.put({"count": 0, "by": None}, TYPE, visit=1)
    total = PROCESSES * INCREMENTS[kind]
    answers = team.run("increment", repository, INCREMENTS[kind])
    commits, reads = joined(answers, "commits"), joined(answers, "reads")
    report(commits)
    assert sorted(commit["version"] for commit in commits) == list(range(2, total + 2))
    histories.assert_linear(commits, reads)
    for commit in commits:
        assert commit["value"]["count"] == commit["version"] - 1
    assert butler.get(TYPE, visit=1)["count"] == total
    assert_who_won(commits, joined(answers, "refused"))
    assert_sound(butler)


def test_exactly_one_creates(team, repository, butler):
    answers = team.run("create", repository, CREATIONS)
    commits = joined(answers, "commits")
    assert sorted(commit["visit"] for commit in commits) == list(range(CREATIONS))
    refused = joined(answers, "refused")
    assert len(refused) == (PROCESSES - 1) * CREATIONS
    assert_who_won(commits, refused)
    for commit in commits:
        assert_stored(butler, [commit], commit["visit"])
    assert_sound(butler)


def test_prepends_of_all_survive(team, repository, butler, kind, report):
    count = PREPENDS[kind]
    report(joined(team.run("prepend", repository, count), "edits"))
    (chain,) = butler.collections("chain")
    assert Counter(chain.children) == dict.fromkeys(
        (f"night/{process}-{number}" for process in range(PROCESSES) for number in range(count)), 1
    )
    for process in range(PROCESSES):  # the last that each has put there comes first
        own = [child for child in chain.children if child.startswith(f"night/{process}-")]
        assert own == [f"night/{process}-{number}" for number in reversed(range(count))]


def test_certifications_never_overlap(team, repository, owned, butler, kind, report):
    edits = joined(team.run("certify", repository, EDITS[kind]), "edits")
    report(edits)
    won = [edit for edit in edits if not edit["refused"]]
    assert valid(butler, EDITS[kind] + 4) == by_slot(won)
    assert len(won) < len(edits)
    histories.assert_refusals_had_reason(won, edits)


def test_validity_is_split_by_all_and_no_split_is_lost(team, repository, owned, butler, kind, report):
    count = PROCESSES * EDITS[kind]
    whole = butler.find(CALIBRATION, detector=0, collections=own_run(0))
    butler.certify(CALIBRATIONS, [whole], *slots(-1, count + 1))
    edits = joined(team.run("replace", repository, EDITS[kind]), "edits")
    report(edits)
    assert not [edit for edit in edits if edit["refused"]]
    assert valid(butler, count) == {slot: slot % PROCESSES for slot in range(count)}
    assert [find_valid(butler, slot) for slot in (-1, count)] == [0, 0]


def test_associations_are_whole_and_one_for_each_data_id(team, repository, owned, butler, kind, report):
    edits = joined(team.run("associate", repository, EDITS[kind]), "edits")
    report(edits)
    won = [edit for edit in edits if not edit["refused"]]
    expected = {}
    for edit in won:
        for visit in edit["visits"]:
            assert expected.setdefault(visit, edit["process"]) == edit["process"]
    assert len(won) < len(edits)
    tagged = butler.query(TYPE, collections=TAG)
    assert {one.data_id["visit"]: one.run for one in tagged} == {
        visit: own_run(process) for visit, process in expected.items()
    }
    histories.assert_refusals_had_reason(won, edits)


def by_slot(won):
    """Return who has which slot; nobody was told to have one that another has."""
    found = {}
    for edit in won:
        for slot in range(*edit["slots"]):
            assert slot not in found, f"slot {slot} belongs to {found[slot]} and to {edit['process']}"
            found[slot] = edit["process"]
    return found


def find_valid(butler, slot):
    """Return whose calibration is valid in a slot; two of them would be an error of this question."""
    begin_ns = slot * SLOT_NS
    ref = butler.find(CALIBRATION, detector=0, collections=own_run(0))
    catalog = butler._session.writeable().catalog
    found = catalog.find(
        ref.dataset_type, ref.data_id, [CALIBRATIONS], timespan=Timespan(begin_ns, begin_ns + SLOT_NS)
    )
    return None if found is None else int(found.ref.run.removeprefix(own_run("")))


def valid(butler, count):
    """Return whose calibrations are valid in the first slots, where any is."""
    found = {slot: find_valid(butler, slot) for slot in range(count)}
    return {slot: process for slot, process in found.items() if process is not None}


@pytest.fixture
def owned(repository, butler, kind):
    """Datasets of each process, all with the same data IDs."""
    butler.register_dataset_type(DatasetType(CALIBRATION, dimensions=["detector"], storage_class="Mapping"))
    for process in range(PROCESSES):
        with butler.context(run=own_run(process)) as ctx:
            ctx.put({"by": process}, CALIBRATION, detector=0)
            for visit in range(EDITS[kind] + 1):
                ctx.put({"by": process}, TYPE, visit=visit)


def assert_who_won(commits, refused):
    """Hold that whoever was refused was told who was first, and never became visible."""
    won = {(commit["visit"], commit["version"]): commit["txid"] for commit in commits}
    for one in refused:
        assert won.get((one["visit"], one["version"])) == one["winner"]
    assert not {one["txid"] for one in refused} & set(won.values())


# ---------------------------------------------------------------------------- a process that stands still

SECOND_FLIP = 5
"""Which transaction of a process: it registers as an owner, then each commit takes an intent and a flip."""


def visible(butler):
    return [one.ref.version for one in butler.versions(TYPE, visit=1, run=RUN)]


def test_writer_that_stands_still_on_sqlite_holds_up_writers_and_no_readers(team, on_sqlite):
    """SQLite has one writer: whoever stands still within its transaction keeps all others waiting.

    They wait without a deadline, and lose nothing; readers see what was committed before, also those that
    open the repository meanwhile.
    """
    count = 30
    with Butler(on_sqlite, run=RUN, instrument="X") as butler:
        team.start("append", on_sqlite, count, stop=("registry.commit.before", SECOND_FLIP))
        team.wait_until_stopped(0)
        before = visible(butler)
        assert 1 <= len(before) < 1 + (PROCESSES - 1) * count  # else nobody is left to wait
        for _ in range(20):
            assert visible(butler) == before
            assert butler.get(TYPE, visit=1) == butler.get(TYPE, visit=1, version=before[-1])
        for readonly in (True, False):
            with Butler(on_sqlite, run=RUN, instrument="X", readonly=readonly) as other:
                assert visible(other) == before
        team.let_go_on(0)
        answers = team.finish()
        commits = joined(answers, "commits")
        assert joined(answers, "refused") == []
        histories.assert_versions(commits, PROCESSES * count)
        histories.assert_linear(commits)
        assert_stored(butler, commits)
        assert_sound(butler)


def test_writer_that_stands_still_on_postgresql_is_thrown_out(team, on_postgresql):
    """PostgreSQL ends a session that idles within its transaction, and the others go on.

    The one that stood still does not know what became of its COMMIT: it fences it, and commits again.
    """
    count = 5
    with Butler(on_postgresql, run=RUN, instrument="X") as butler:
        team.start("append", on_postgresql, count, stop=("registry.commit.before", SECOND_FLIP))
        team.wait_until_stopped(0)
        finished = team.finish(*range(1, PROCESSES))
        assert len(visible(butler)) == 1 + (PROCESSES - 1) * count
        team.let_go_on(0)
        answers = [*finished, *team.finish(0)]
        commits = joined(answers, "commits")
        assert joined(answers, "refused") == []
        histories.assert_versions(commits, PROCESSES * count)
        histories.assert_linear(commits)
        assert_stored(butler, commits)
        assert_sound(butler)
