"""The simulated world itself: turns, locks, clocks, deaths and power cuts do what the real ones do."""

import threading
import time

import pytest

from quantumio import Butler, CommitParkedError, DatasetType
from quantumio.system import environment, files, locks
from quantumio.testing import SimulationFaults, simulate

NO_FAULTS = SimulationFaults(pauses=0, store=0, commits=0)


def run(tmp_path, scenario, faults=NO_FAULTS, seed=1):
    root = tmp_path / "night"
    root.mkdir(exist_ok=True)
    return simulate(scenario, seed=seed, root=root, faults=faults)


def test_time_passes_only_where_somebody_waits(tmp_path):
    seen = []

    def scenario(simulation):
        begin = time.monotonic()
        simulation.sleep(86400)
        seen.append((environment.monotonic(), time.monotonic() - begin < 3600))

    report = run(tmp_path, scenario)
    assert seen == [(86400, True)]
    assert report.simulated_s == 86400


def test_a_lock_excludes_and_is_freed_by_death(tmp_path):
    seen = []

    def hold(process):
        with locks.FileLock(process.simulation.root / "lock"):
            process.simulation.sleep(100)

    def wait(process):
        with locks.FileLock(process.simulation.root / "lock", timeout_s=1000):
            seen.append(process.simulation.now())

    def scenario(simulation):
        holder = simulation.start("holder", hold)
        simulation.sleep(1)
        waiter = simulation.start("waiter", wait)
        simulation.sleep(50)
        assert seen == []
        holder.kill()
        assert waiter.join(60)

    assert run(tmp_path, scenario).violations == ()
    assert len(seen) == 1
    assert 51 <= seen[0] < 60


def test_threads_of_a_process_share_locks(tmp_path):
    seen = []

    def work(process):
        lock, reentrant = threading.Lock(), threading.RLock()

        def add(name):
            with lock, reentrant, reentrant:
                seen.append(name)
                process.simulation.sleep(1)
                seen.append(name)

        process.simulation.in_threads([lambda: add("a"), lambda: add("b")])

    def scenario(simulation):
        simulation.start("p", work).join()

    run(tmp_path, scenario)
    assert seen in (list("aabb"), list("bbaa"))


def test_the_dead_do_nothing_more(tmp_path):
    def write(process):
        try:
            files.write_text_new(process.simulation.root / "one", "1")
            process.simulation.sleep(10)
        finally:
            files.write_text_new(process.simulation.root / "two", "2")

    def scenario(simulation):
        process = simulation.start("p", write)
        simulation.sleep(5)
        process.kill()
        assert process.join(1)

    assert run(tmp_path, scenario).violations == ()
    assert (tmp_path / "night" / "one").read_text() == "1"
    assert not (tmp_path / "night" / "two").exists()


@pytest.mark.parametrize("seed", range(8))
def test_who_is_killed_at_the_moment_of_waking_does_nothing_more(tmp_path, seed):
    seen = []

    def write(process):
        process.simulation.stop(process, 5)
        files.write_text_new(process.simulation.root / "one", "1")

    def scenario(simulation):
        process = simulation.start("p", write)
        simulation.sleep(5)
        process.kill()
        for _ in range(2):
            seen.append(sorted(path.name for path in simulation.root.iterdir()))
            simulation.sleep(1)

    run(tmp_path, scenario, seed=seed)
    assert seen[0] == seen[1]


def test_each_process_has_to_make_a_directory_durable_for_itself(tmp_path):
    synced = []

    def make(process):
        for _ in range(2):
            files.make_directories(process.simulation.root / "made")

    def scenario(simulation):
        def watch(name, subject):
            if name == "files.fsync_directory.after":
                synced.append(simulation.running().name)

        simulation.watch = watch
        for name in ("p", "q"):
            simulation.start(name, make).join()

    run(tmp_path, scenario)
    assert set(synced) == {"p", "q"}


@pytest.mark.parametrize("seed", range(12))
def test_what_was_synced_survives_a_power_cut_and_nothing_else_need(tmp_path, seed):
    def write(process):
        root = process.simulation.root
        files.write_text_new(root / "synced", "1" * 100)
        files.write_new(root / "unsynced name", [b"2"])
        process.simulation.sleep(10)

    def scenario(simulation):
        simulation.start("p", write)
        simulation.sleep(5)
        simulation.cut_power()

    run(tmp_path, scenario, seed=seed)
    assert (tmp_path / "night" / "synced").read_text() == "1" * 100
    there = {path.name for path in (tmp_path / "night").iterdir()}
    assert "synced" in there
    assert seed != 0 or run_all(tmp_path, scenario) == {True, False}


def run_all(tmp_path, scenario):
    found = set()
    for seed in range(20):
        place = tmp_path / str(seed)
        place.mkdir()
        run(place, scenario, seed=seed)
        found.add((place / "night" / "unsynced name").exists())
    return found


def test_what_a_process_raises_is_a_violation(tmp_path):
    def fail(process):
        raise KeyError("a bug")

    def scenario(simulation):
        simulation.start("p", fail).join()

    (violation,) = run(tmp_path, scenario).violations
    assert "a bug" in violation


def test_a_scenario_that_never_ends_is_a_violation(tmp_path):
    def scenario(simulation):
        simulation.sleep(1e9)

    (violation,) = run(tmp_path, scenario).violations
    assert "did not end" in violation


# ---------------------------------------------------------------------------- what seeds have found


def repository(tmp_path):
    root = tmp_path / "night"
    with Butler.create(root, {"runtime": {"allow_volatile_journal": True}}) as butler:
        butler.register_dataset_type(DatasetType("stats", dimensions=["visit"], storage_class="Mapping"))
    return root


def test_what_was_journaled_is_no_conflict_because_the_registry_was_away_at_the_flip(tmp_path):
    """Seeds 9 and 60: it was kept as a conflict for ever, and its transaction stayed on its way."""
    root = repository(tmp_path)
    seen = []

    def commit(process):
        simulation = process.simulation
        butler = Butler(root, run="r", instrument="ST8")
        with butler.context(ack="journaled") as context:
            context.put({"a": 1}, "stats", visit=1)
        simulation.sleep(200)  # the registry is back, and the runtime comes back to what it could not do
        seen.append(butler.get("stats", visit=1))

    def scenario(simulation):
        def lose(name, subject):
            if name == "prepare.after" and not simulation.registry_was_troubled():
                simulation.lose_registry(30)

        simulation.watch = lose
        simulation.start("p", commit).join()

    assert run(tmp_path, scenario).violations == ()
    assert seen == [{"a": 1}]


def test_a_commit_is_parked_while_the_registry_is_away(tmp_path):
    root = repository(tmp_path)
    seen = []

    def commit(process):
        butler = Butler(root, run="r", instrument="ST8")
        context = butler.context()
        context.put({"a": 1}, "stats", visit=1)
        process.simulation.lose_registry(30)
        with pytest.raises(CommitParkedError):
            context.commit()
        process.simulation.sleep(200)
        seen.append(butler.get("stats", visit=1))

    def scenario(simulation):
        simulation.start("p", commit).join()

    assert run(tmp_path, scenario).violations == ()
    assert seen == [{"a": 1}]


def test_closing_while_the_registry_is_away_raises_nothing_foreign(tmp_path):
    """Seed 19: an error of sqlite3 came out of Butler.close."""
    root = repository(tmp_path)

    def close(process):
        butler = Butler(root, run="r", instrument="ST8")
        with butler.context() as context:
            context.put({"a": 1}, "stats", visit=1)
        process.simulation.lose_registry(30)
        butler.close()

    def scenario(simulation):
        simulation.start("p", close).join()

    assert run(tmp_path, scenario).violations == ()
