"""The whole way of an output: put, commit, read back."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from astropy.nddata import CCDData

import quantumio
from quantumio import (
    CommitConflictError,
    Committed,
    ConflictError,
    NotFoundError,
    StateError,
)
from tests.acceptance.night import assert_same_image, catalogue, files_of, image


def test_put_is_visible_only_after_the_block(butler):
    with butler.context() as ctx:
        receipt = ctx.put(image(), "calexp", visit=33, detector=0)
        assert receipt.reached("accepted")
        assert receipt.ref.version is None
        assert not butler.exists("calexp", visit=33, detector=0)
    assert receipt.ref.version == 1
    assert isinstance(receipt.outcome, Committed)
    assert butler.exists("calexp", visit=33, detector=0)
    assert_same_image(butler.get("calexp", visit=33, detector=0), image())


def test_context_reads_its_own_uncommitted_output(butler):
    with butler.context() as ctx:
        ctx.put(image(), "calexp", visit=33, detector=0)
        assert_same_image(ctx.get("calexp", visit=33, detector=0), image())
        ctx.abort()


@pytest.mark.parametrize("mode", ["deferred", "immediate"])
def test_read_before_commit_equals_read_after(make_butler, mode):
    butler = make_butler(mode, {"rules": [{"mode": mode}]}, run="r")
    with butler.context() as ctx:
        ctx.put(image(), "calexp", visit=1, detector=0)
        ctx.put(catalogue(), "source", visit=1, detector=0)
        ctx.put({"a": (1, 2), "b": np.float32(0.5)}, "stats", visit=1)
        first = ctx.get("calexp", visit=1, detector=0)
        table = ctx.get("source", visit=1, detector=0)
        stats = ctx.get("stats", visit=1)
        # What get returns is the caller's own: changing it changes nothing.
        first.data[:] = -1
        first.meta["OBJECT"] = "changed"
        table["x"][:] = -1 * table["x"].unit
        stats["a"].append(3)
        before = ctx.get("calexp", visit=1, detector=0)
        table_before = ctx.get("source", visit=1, detector=0)
        stats_before = ctx.get("stats", visit=1)
    assert_same_image(before, image())
    assert_same_image(butler.get("calexp", visit=1, detector=0), before)
    after = butler.get("source", visit=1, detector=0)
    assert after.colnames == table_before.colnames
    assert (after["x"] == table_before["x"]).all()
    assert np.all(abs(after["seen"] - table_before["seen"]).to_value("ns") < 1)
    assert after.meta == table_before.meta
    assert butler.get("stats", visit=1) == stats_before == {"a": [1, 2], "b": 0.5}


def test_both_modes_write_the_same_bytes(make_butler):
    digests = []
    for mode in ("deferred", "immediate"):
        butler = make_butler(mode, {"rules": [{"mode": mode}]}, run="r")
        with butler.context() as ctx:
            ctx.put(image(), "calexp", visit=1, detector=0)
            ctx.put(catalogue(), "source", visit=1, detector=0)
        digests.append(
            [butler.versions(name, visit=1, detector=0)[0].digest for name in ("calexp", "source")]
        )
    assert digests[0] == digests[1]


def test_immediate_put_returns_when_the_bytes_are_durable_but_not_visible(make_butler):
    butler = make_butler(config={"rules": [{"mode": "immediate"}]}, run="r")
    with butler.context() as ctx:
        receipt = ctx.put(image(), "calexp", visit=1, detector=0)
        assert receipt.reached("durable")
        assert receipt.durable == {"local": True}
        assert len(files_of(butler)) == 1
        assert not butler.exists("calexp", visit=1, detector=0)
        ctx.abort()
    assert files_of(butler) == []


def test_versions_are_consecutive_and_stay_readable(butler):
    for number in (1, 2, 3):
        with butler.context() as ctx:
            ctx.put({"number": number}, "stats", visit=1)
        assert ctx.refs[0].version == number
    assert [v.ref.version for v in butler.versions("stats", visit=1)] == [1, 2, 3]
    assert butler.get("stats", visit=1) == {"number": 3}
    assert butler.get("stats", visit=1, version=2) == {"number": 2}
    version = butler.versions("stats", visit=1)[0]
    assert version.size > 0
    assert len(version.digest) == 64
    assert version.destinations == ("local",)


def test_exception_in_a_context_leaves_no_row_and_no_file(make_butler):
    for mode in ("deferred", "immediate"):
        butler = make_butler(mode, {"rules": [{"mode": mode}]}, run="r")
        with pytest.raises(ZeroDivisionError), butler.context() as ctx:
            ctx.put(image(), "calexp", visit=33, detector=0)
            ctx.put(catalogue(), "source", visit=33, detector=0)
            raise ZeroDivisionError
        assert butler.query("*").count() == 0
        assert files_of(butler) == []
        assert butler.errors() == []


def test_all_outputs_of_a_context_become_visible_together(butler):
    seen = set()
    stop = threading.Event()

    def watch():
        while not stop.is_set():
            seen.add(
                butler.query("*", collections="together").count() if butler.collections("together") else 0
            )

    watcher = threading.Thread(target=watch)
    watcher.start()
    with butler.context(run="together") as ctx:
        for detector in range(20):
            ctx.put(np.full(1000, detector), "pixels", visit=1, detector=detector)
    stop.set()
    watcher.join()
    assert seen <= {0, 20}


def test_a_hundred_contexts_in_eight_threads_give_exactly_their_outputs(butler):
    def quantum(visit):
        with butler.context() as ctx:
            for detector in range(3):
                ctx.put(np.full(50, visit * 10 + detector), "pixels", visit=visit, detector=detector)
            ctx.put({"visit": visit}, "stats", visit=visit)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(quantum, range(100)))
    assert butler.query("pixels").count() == 300
    assert butler.query("stats").count() == 100
    assert len(files_of(butler)) == 400
    for ref in butler.query("pixels"):
        expected = ref.data_id["visit"] * 10 + ref.data_id["detector"]
        assert (butler.get(ref) == expected).all()
        assert ref.version == 1


def test_concurrent_puts_of_one_dataset_get_consecutive_versions(butler):
    def quantum(number):
        with butler.context() as ctx:
            ctx.put({"number": number}, "stats", visit=1)
        return ctx.refs[0].version

    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(quantum, range(40)))
    assert sorted(versions) == list(range(1, 41))


def test_expect_create_refuses_a_second_one(butler):
    with butler.context() as ctx:
        ctx.put({}, "stats", visit=1, expect="create")
    with pytest.raises(CommitConflictError) as caught, butler.context() as ctx:
        ctx.put({}, "stats", visit=1, expect="create")
        ctx.put("also gone", "log", visit=1)
    assert caught.value.outcome.winner_version == 1
    assert not butler.exists("log", visit=1)
    assert len(files_of(butler)) == 1


def test_what_was_read_from_the_own_run_must_be_unchanged(butler):
    with butler.context() as ctx:
        ctx.put({"n": 1}, "stats", visit=1)
    with pytest.raises(CommitConflictError), butler.context() as ctx:
        value = ctx.get("stats", visit=1)
        with butler.context() as other:
            other.put({"n": 100}, "stats", visit=1)
        ctx.put({"n": value["n"] + 1}, "stats", visit=1)
    assert butler.get("stats", visit=1) == {"n": 100}


def test_a_key_commits_once_per_run(butler):
    with butler.context(key="quantum 1") as first:
        first.put({"attempt": 1}, "stats", visit=1)
    with butler.context(key="quantum 1") as second:
        second.put({"attempt": 2}, "stats", visit=1)
    assert second.ticket.outcome.reused
    assert second.refs == first.refs
    assert butler.get("stats", visit=1) == {"attempt": 1}
    assert len(files_of(butler)) == 1


def test_same_data_id_twice_in_a_context_needs_replace(butler):
    with butler.context() as ctx:
        ctx.put({"n": 1}, "stats", visit=1)
        with pytest.raises(ConflictError, match="replace=True"):
            ctx.put({"n": 2}, "stats", visit=1)
        ctx.put({"n": 3}, "stats", visit=1, replace=True)
    assert butler.get("stats", visit=1) == {"n": 3}


def test_buffered_commit_returns_at_once_and_drain_waits(butler):
    ctx = butler.context(ack="buffered")
    with ctx:
        ctx.put(image(), "calexp", visit=1, detector=0)
    butler.drain()
    assert isinstance(ctx.ticket.outcome, Committed)
    assert ctx.ticket.wait("settled") == ctx.ticket.outcome


def test_sealed_context_takes_nothing_more(butler):
    with butler.context() as ctx:
        ctx.put({}, "stats", visit=1)
        ctx.commit("buffered")
        with pytest.raises(StateError):
            ctx.put({}, "stats", visit=2)
        with pytest.raises(StateError):
            ctx.commit()
    butler.drain()


def test_get_tells_of_a_match_that_is_still_queued(butler, monkeypatch):
    gate = threading.Event()
    repository = butler._session.repositories[0]
    flip = type(repository.catalog).flip

    def slow(self, group, owner):
        gate.wait(10)
        return flip(self, group, owner)

    monkeypatch.setattr(type(repository.catalog), "flip", slow)
    ctx = butler.context()
    with ctx:
        ctx.put({}, "stats", visit=1)
        ctx.commit("buffered")
    with pytest.raises(NotFoundError) as caught:
        butler.get("stats", visit=1)
    gate.set()
    assert str(ctx.txid) in str(caught.value)
    assert caught.value.kind is quantumio.ErrorKind.PENDING
    butler.ticket(ctx.txid).wait()
    assert butler.get("stats", visit=1) == {}


def test_components_columns_and_forms(butler):
    with butler.context() as ctx:
        ctx.put(image(), "calexp", visit=1, detector=0)
        ctx.put(catalogue(), "source", visit=1, detector=0)
    butler.get("calexp", visit=1, detector=0, as_="numpy")
    table = butler.get("source", visit=1, detector=0, columns=["flux", "x"])
    assert table.colnames == ["flux", "x"]
    assert butler.get("source", visit=1, detector=0, as_="arrow").num_rows == 20
    assert len(butler.get("source", visit=1, detector=0, as_="pandas")) == 20
    mask = butler.get("calexp", visit=1, detector=0, component="mask")
    assert np.array_equal(mask, image().mask)
    for wrong in ({"as_": "pandas"}, {"component": "sky"}, {"columns": ["x"]}):
        with pytest.raises(quantumio.InvalidInputError):
            butler.get("calexp", visit=1, detector=0, **wrong)
    with pytest.raises(quantumio.InvalidInputError, match="names no column"):
        butler.get("source", visit=1, detector=0, columns=[])


def test_deferred_handle_reads_in_another_process(butler):
    import pickle
    import subprocess
    import sys

    with butler.context() as ctx:
        ctx.put({"n": 1}, "stats", visit=1)
    handle = butler.defer(ctx.refs[0])
    assert handle.get() == {"n": 1}
    code = "import sys,pickle; print(pickle.load(sys.stdin.buffer).get())"
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(handle), capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == "{'n': 1}"


def test_temporary_lives_until_forgotten_and_is_never_in_the_registry(butler):
    with butler.context() as ctx:
        ctx.put({"debug": 1}, "stats", visit=1, to="temporary")
        assert ctx.get("stats", visit=1) == {"debug": 1}
    assert butler.get("stats", visit=1) == {"debug": 1}
    assert not butler.exists("stats", visit=1)
    assert files_of(butler) == []
    promoted = butler.promote(ctx.refs[0])
    assert butler.forget(ctx.refs[0])
    assert not butler.forget(ctx.refs[0])
    assert butler.get(promoted) == {"debug": 1}


def test_bad_ends_of_waiting(butler):
    ctx = butler.context()
    ctx.put({}, "stats", visit=1)
    with pytest.raises(StateError, match="not committed yet"):
        ctx.ticket.wait("committed", timeout=0.01)
    ctx.abort()
    with pytest.raises(quantumio.CommitFailedError):
        ctx.ticket.wait()
    with pytest.raises(quantumio.InvalidInputError):
        ctx.ticket.wait("sometime")


@pytest.mark.parametrize("readonly", [False, True])
def test_what_was_read_can_be_put_again(butler, readonly):
    with butler.context() as ctx:
        ctx.put(image(), "calexp", visit=33, detector=0)
        first = ctx.get("calexp", visit=33, detector=0, readonly=readonly)
        assert type(first) is CCDData
        ctx.put(first, "calexp", visit=34, detector=0)
        assert_same_image(ctx.get("calexp", visit=34, detector=0), image())
    assert_same_image(butler.get("calexp", visit=34, detector=0), image())
