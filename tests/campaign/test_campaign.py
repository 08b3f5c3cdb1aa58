"""A campaign adds up over its runs, goes on where the last one ended, and forgets no violation."""

import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest

from tests.campaign import ledger as ledgers
from tests.campaign import page, suites
from tests.campaign.__main__ import Campaign
from tests.campaign.ledger import Ledger, Run, Steps
from tests.campaign.suites import SUITES, Suite
from tests.planted.bugs import BUGS

# Steps that are programs of one line: each gets its suite and number, and writes them down.
HEAD = "import json, os, signal, sys; suite, step = sys.argv[1], int(sys.argv[2]); "
COUNTS = HEAD + "print(json.dumps({'counts': {suite: 10}, 'cpu_s': 0.5}))"
VIOLATES = HEAD + (
    "found = [{'what': 'a seed', 'message': f'lost in {step}'}]; "
    "print(json.dumps({'counts': {suite: 10}, 'violations': found}))"
)
DIES = HEAD + "os.kill(os.getpid(), signal.SIGKILL)"
INTERRUPTS_AT_2 = (
    HEAD + "step == 2 and (os.kill(os.getppid(), signal.SIGTERM), signal.pause()); "
    "print(json.dumps({'counts': {suite: 10}}))"
)

SMALL = {name: Suite(None, name, target) for name, target in (("crashes", 40), ("nights", 20))}


def campaign(path, program, **options):
    def write_page(ledger):
        ledgers.write_whole(path.with_suffix(".md"), page.text(ledger))

    options = {"suites": SMALL, "cores": 2, "write_page": write_page, **options}
    return Campaign(Ledger.read(path), command=[sys.executable, "-c", program], **options)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "campaign.json"


def test_a_run_ends_when_each_suite_has_reached_its_target(path):
    assert campaign(path, COUNTS).go_on() == 0
    kept = Ledger.read(path)
    (run,) = kept.runs
    assert (run.counts["crashes"] >= 40, run.counts["nights"] >= 20) == (True, True)
    assert run.counts.total() <= 80, "at most one more of each is begun before the last one ends"
    assert kept.steps_of("crashes").below == run.counts["crashes"] / 10
    assert run.cpu_s.total() == run.counts.total() / 20


def test_runs_add_up_and_do_nothing_twice(path):
    campaign(path, COUNTS, suites={"crashes": attrs.evolve(SMALL["crashes"], target=20)}, cores=1).go_on()
    campaign(path, COUNTS, suites={"crashes": SMALL["crashes"]}, cores=1).go_on()
    kept = Ledger.read(path)
    assert [(run.round, run.counts["crashes"]) for run in kept.runs] == [(1, 20), (1, 20)]
    assert kept.steps_of("crashes") == Steps(4)


def test_a_round_whose_targets_are_reached_is_followed_by_a_new_one(path):
    for _ in range(2):
        campaign(path, COUNTS, cores=1).go_on()
    kept = Ledger.read(path)
    assert [(run.round, run.counts["crashes"]) for run in kept.runs] == [(1, 40), (2, 40)]
    assert kept.steps_of("crashes") == Steps(8), "with steps that were not done before"


def test_a_suite_that_has_an_end_is_done_whole_and_anew_in_each_round(path):
    suite = attrs.evolve(SMALL["crashes"], target=20, fewest_steps=3, anew=True)
    for _ in range(2):
        campaign(path, COUNTS, suites={"crashes": suite}, cores=1).go_on()
    kept = Ledger.read(path)
    assert [(run.round, run.counts["crashes"]) for run in kept.runs] == [(1, 30), (2, 30)]
    assert kept.steps_of("crashes") == Steps(3)


def test_the_next_step_is_of_the_suite_that_is_farthest_from_its_target(path):
    one = campaign(path, COUNTS)
    one.run.counts.update({"crashes": 30, "nights": 10})
    assert one.choose() == "nights"
    one.run.counts["nights"] = 20
    assert one.choose() == "crashes"
    one.run.counts["crashes"] = 40
    assert one.choose() is None


def test_hours_go_on_beyond_the_targets_and_end_nevertheless(path):
    one = campaign(path, COUNTS, hours=0.0)
    one.run.counts.update({"crashes": 50, "nights": 20})
    assert one.choose() == "nights"
    assert one.go_on() == 0, "the time is over: nothing is begun"


def test_a_violation_is_told_and_kept(path, capsys):
    assert campaign(path, VIOLATES, suites={"nights": SMALL["nights"]}, cores=1).go_on() == 1
    assert "lost in 1" in capsys.readouterr().err
    assert campaign(path, COUNTS).go_on() == 0
    first, _ = Ledger.read(path).runs
    assert first.violations[0] == {"suite": "nights", "step": "0", "what": "a seed", "message": "lost in 0"}
    assert [one["step"] for one in first.violations] == ["0", "1"]
    assert "nights step 1: a seed" in path.with_suffix(".md").read_text()


def test_a_step_that_dies_is_a_violation(path):
    one = campaign(path, DIES, cores=1, hours=1.0)
    with ThreadPoolExecutor(1) as pool:
        one.start(pool)
        (future,) = one.running
    assert future.result()["violations"][0]["what"] == f"the step ended with {-signal.SIGKILL}"


def test_a_run_that_is_interrupted_keeps_what_it_has_and_does_the_broken_step_again(path):
    one = campaign(path, INTERRUPTS_AT_2, suites={"crashes": SMALL["crashes"]}, cores=1)
    before = signal.signal(signal.SIGTERM, one.interrupt)
    try:
        assert one.go_on() == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    kept = Ledger.read(path)
    assert kept.runs[0].counts["crashes"] == 20
    assert kept.steps_of("crashes").next([]) == 2


def test_a_run_that_is_killed_leaves_what_was_counted_until_then(path):
    one = campaign(path, COUNTS, cores=1)
    one.add("crashes", 0, {"counts": {"crashes": 10}})
    assert Ledger.read(path).runs[0].counts == {"crashes": 10}
    assert not list(path.parent.glob(".*"))


def test_a_run_that_counted_nothing_leaves_no_trace(path):
    campaign(path, COUNTS, hours=0.0).go_on()
    assert Ledger.read(path).runs == []


def test_steps_that_are_broken_off_come_again_and_running_ones_do_not():
    steps = Steps()
    assert steps.next({0, 1}) == 2
    steps.finish(2)
    steps.finish(0)
    assert steps == Steps(1, [2])
    assert (steps.next([]), steps.next({1})) == (1, 3)
    steps.finish(1)
    assert steps == Steps(3)


def test_the_page_tells_counts_targets_versions_and_bugs(path):
    bugs = sorted(BUGS)
    ledger = Ledger(path)
    first = Run(round=1, begin="2026-01-02 03:04", machine="2 cores", code=["aaa"], minutes=60)
    first.add("crashes", 0, {"counts": {"crashes in recovery": 4000}, "cpu_s": 2000.0})
    first.add("planted", 0, {"counts": {"planted bugs tried": 2}, "planted": {bugs[0]: "t", bugs[1]: None}})
    second = Run(round=1, begin="2026-01-03 03:04", machine="4 cores", code=["bbb"], minutes=30)
    second.add("crashes", 1, {"counts": {"crashes in recovery": 7000}})
    second.add("planted", 1, {"counts": {"planted bugs tried": 1}, "planted": {bugs[2]: "t"}})
    ledger.runs += [first, second]
    text = page.text(ledger)
    assert "| crashes in recovery | 11,000 | 10,000 | reached | 0.182 s |" in text
    assert f"| planted bugs tried | 3 | {len(BUGS)} | {3 / len(BUGS):.0%} |" in text
    assert f"2 of {len(BUGS)}. **Tried and not found: {page.words([bugs[1]])}.**" in text
    assert "1.5 hours of runs (2)" in text
    assert "span 2 versions of the code, aaa to bbb" in text
    assert text.index("2026-01-03 03:04") < text.index("2026-01-02 03:04")


def test_all_planted_bugs_are_tried_before_one_is_tried_again(path):
    one = campaign(path, COUNTS, suites=SUITES)
    one.run.add("planted", 0, {"counts": {"planted bugs tried": 2 * len(BUGS)}, "planted": {min(BUGS): "t"}})
    assert "planted" in one.unfinished(one.run.round), "the same one, again and again"
    one.run.add("planted", 1, {"planted": dict.fromkeys(BUGS, "t")})
    one.ledger.steps["planted"] = Steps(len(BUGS))
    assert "planted" not in one.unfinished(one.run.round)


def test_a_message_names_no_place_of_one_machine():
    place = suites.PROJECT / "tests" / "x.py"
    assert suites.without_places(f'File "{place}", line 1') == 'File "./tests/x.py", line 1'
