"""Running a plan in threads: order, failures, reuse, temporaries, progress."""

import logging
import threading

import numpy as np
import pytest

from quantumio import (
    CommitFailed,
    CommitFailedError,
    Committed,
    DestinationError,
    ErrorKind,
    Input,
    InvalidInputError,
    NotFoundError,
    Output,
    Pipeline,
    StateError,
    SuperTask,
)
from quantumio.supertask import ProgressKind, QuantumState
from tests.unit.supertask.tasks import (
    EXPOSURE,
    VISIT,
    AsyncMean,
    AsyncNight,
    Copy,
    Failing,
    Gate,
    Mean,
    Night,
    Scale,
    put_raws,
)

RUN = "u/out"


def states(report, task):
    return [str(result.state) for result in report.results if result.task == task]


def visible(butler, dataset_type):
    return [ref.data_id["visit"] for ref in butler.query(dataset_type, collections=RUN, order_by="visit")]


def test_a_pipeline_runs_from_raws_to_a_summary_of_each_night(butler):
    report = Pipeline([Scale(factor=2.0), Mean(), Night()]).run(
        butler, run=RUN, collections=["raw", "calib"], jobs=2
    )
    assert report.ok
    assert report.states == {"succeeded": 10}
    assert butler.get("scaled", visit=3, detector=0, collections=RUN).tolist() == [58.0] * 4
    assert butler.get("night", day_obs=20260101, collections=RUN) == {"1": 18.0, "2": 38.0}
    report.raise_for_failures()
    assert butler.errors() == []


@pytest.mark.parametrize("mode", ["deferred", "immediate"])
def test_both_modes_give_the_same(butler, mode):
    report = Pipeline([Copy(), Mean()]).run(butler, run=RUN, collections="raw", mode=mode, jobs=2)
    assert report.ok
    assert report.mode == mode
    assert butler.get("mean", visit=4, detector=0, collections=RUN) == {"mean": 40.0}


def test_the_mode_of_the_run_beats_the_policy(butler, monkeypatch):
    durable = []

    class Looks(Copy):
        def run(self, ctx):
            receipt = ctx.put(ctx.get(self.raw), self.scaled)
            durable.append(dict(receipt.durable))

    Pipeline([Looks()]).run(butler, run=RUN, collections="raw", mode="immediate", exposure=1)
    assert durable == [{"local": True}]
    gate = Gate(monkeypatch, butler, "scaled")

    class Opens(Copy):
        def run(self, ctx):
            receipt = ctx.put(ctx.get(self.raw), self.scaled)
            durable.append(dict(receipt.durable))
            gate.opened.set()

    Pipeline([Opens()]).run(butler, run=RUN, collections="raw", mode="deferred", exposure=2)
    assert durable[1] == {"local": False}


def test_predicted_refs_are_those_that_are_committed(butler):
    plan = Pipeline([Copy()]).plan(butler, run=RUN, collections="raw")
    report = plan.run(jobs=2)
    for result in report.results:
        predicted = result.quantum.outputs["scaled"]
        assert isinstance(result.outcome, Committed)
        assert result.refs == (predicted,)
        assert result.refs[0].version == 1
        assert butler.ref(predicted.id) == predicted


def test_an_upstream_output_is_read_before_it_is_durable_and_never_becomes_visible_after(butler, monkeypatch):
    gate = Gate(monkeypatch, butler, "scaled")
    means_run = threading.Event()
    seen = []

    class Watched(Mean):
        def run(self, ctx):
            super().run(ctx)
            means_run.set()

    def look():
        assert means_run.wait(30)
        assert gate.reached.wait(30)
        # The mean was computed from an output that is not written: neither is visible.
        seen.append((visible(butler, "scaled"), visible(butler, "mean")))
        gate.opened.set()

    butler.register_run(RUN)
    watcher = threading.Thread(target=look)
    watcher.start()
    report = Pipeline([Copy(), Watched()]).run(butler, run=RUN, collections="raw", jobs=1, exposure=1)
    watcher.join()
    assert seen == [([], [])]
    assert report.ok
    scaled, mean = (butler.versions(name, visit=1, detector=0, run=RUN)[0] for name in ("scaled", "mean"))
    assert scaled.commit_seq < mean.commit_seq


def test_a_failed_commit_fails_the_commits_of_what_read_it(butler, monkeypatch):
    gate = Gate(
        monkeypatch, butler, "scaled", DestinationError("the disk is gone", kind=ErrorKind.PERMISSION)
    )
    report = Pipeline([Copy(), Mean()]).run(butler, run=RUN, collections="raw", jobs=2, exposure=1)
    assert gate.reached.is_set()
    copy, mean = report.results
    assert copy.state is QuantumState.FAILED
    assert isinstance(copy.error, CommitFailedError)
    assert "the disk is gone" in str(copy.error)
    assert mean.state is QuantumState.BLOCKED
    if mean.outcome is not None:  # it was sealed before the failure was known
        assert isinstance(mean.outcome, CommitFailed)
        assert mean.outcome.kind in (ErrorKind.UPSTREAM, ErrorKind.ABORTED)
    assert list(butler.query(["scaled", "mean"])) == []


def test_a_dependent_sealed_before_the_upstream_failed_is_failed_by_it(butler, monkeypatch):
    gate = Gate(monkeypatch, butler, "scaled")
    error = DestinationError("the disk is gone", kind=ErrorKind.PERMISSION)
    original = gate.opened.wait

    def fail(timeout=None):
        original(timeout)
        raise error

    monkeypatch.setattr(gate.opened, "wait", fail)

    class Opens(Mean):
        def run(self, ctx):
            super().run(ctx)
            ctx.commit("buffered")
            gate.opened.set()

    report = Pipeline([Copy(), Opens()]).run(butler, run=RUN, collections="raw", jobs=2, exposure=1)
    copy, mean = report.results
    assert copy.state is QuantumState.FAILED
    assert mean.state is QuantumState.BLOCKED
    assert mean.outcome.kind is ErrorKind.UPSTREAM


def test_a_task_that_raises_takes_its_dependents_along_and_nothing_else(butler):
    report = Pipeline([Copy(), Failing(), Night()]).run(butler, run=RUN, collections="raw", jobs=2)
    assert states(report, "Copy") == ["succeeded"] * 4
    assert states(report, "Failing") == ["succeeded", "failed", "succeeded", "succeeded"]
    assert states(report, "Night") == ["blocked", "succeeded"]
    assert visible(butler, "mean") == [1, 3, 4]
    assert not report.ok
    failed, blocked = report.failures
    assert isinstance(failed.error, ZeroDivisionError)
    assert "was not run" in str(blocked.error)
    with pytest.raises(ExceptionGroup, match="1 of 10 quanta and 1 that wait for them") as caught:
        report.raise_for_failures()
    assert isinstance(caught.value.exceptions[0], ZeroDivisionError)
    assert "quantum Failing(" in "".join(caught.value.exceptions[0].__notes__)
    assert report.to_wire()["failures"][0]["error"] == "ZeroDivisionError: no light in visit 2"


def test_a_second_run_reuses_what_was_committed_and_completes_the_rest(butler):
    first = Pipeline([Copy(), Failing(label="Mean"), Night()]).run(butler, run=RUN, collections="raw", jobs=2)
    assert not first.ok
    second = Pipeline([Copy(), Mean(), Night()]).run(butler, run=RUN, collections="raw", jobs=2)
    assert second.ok
    assert states(second, "Copy") == ["reused"] * 4
    assert states(second, "Mean") == ["reused", "succeeded", "reused", "reused"]
    assert states(second, "Night") == ["succeeded", "reused"]
    by_key = {result.quantum.key: result for result in first.results}
    for result in second.results:
        if result.state is QuantumState.REUSED:
            assert result.refs == by_key[result.quantum.key].refs
    assert all(len(butler.versions("scaled", visit=v, detector=0, run=RUN)) == 1 for v in (1, 2, 3, 4))


def test_temporaries_are_read_by_the_plan_and_forgotten_after_their_last_reader(butler):
    class Debugger(SuperTask):
        debug = Input("scaled_debug", dimensions=VISIT, storage_class="NDArray")
        mean = Output("mean", dimensions=VISIT, storage_class="Mapping")

        def run(self, ctx):
            ctx.put({"mean": float(ctx.get(self.debug).mean())}, self.mean)

    alive = []

    def watch(event):
        if event.kind is ProgressKind.DECIDED:
            temporaries = butler._session.repositories[0].runtime.temporaries.all()
            visits = [output.ref.data_id["visit"] for output in temporaries]
            alive.append((event.quantum.task, event.quantum.data_id["visit"] in visits))

    report = Pipeline([Scale(debug=True), Debugger()]).run(
        butler, run=RUN, collections=["raw", "calib"], jobs=1, progress=watch
    )
    assert report.ok
    assert butler.get("mean", visit=2, detector=0, collections=RUN) == {"mean": 1019.0}
    assert butler.status()[0].temporaries == 0
    assert sorted(alive) == [("Debugger", False)] * 4 + [("Scale", True)] * 4
    assert list(butler.query("scaled_debug")) == []
    assert report.summaries[0].destinations == ("local", "temporary")


def test_temporaries_without_reader_live_to_the_end_of_the_run(butler):
    alive = []

    class Watched(Mean):
        def run(self, ctx):
            super().run(ctx)
            alive.append(butler.status()[0].temporaries)

    report = Pipeline([Scale(debug=True), Watched()]).run(
        butler, run=RUN, collections=["raw", "calib"], jobs=1, exposure=1
    )
    assert report.ok
    assert butler.status()[0].temporaries == 0
    with pytest.raises(NotFoundError):
        butler.get("scaled_debug", visit=1, detector=0, collections=RUN)


def test_async_tasks_run(butler):
    report = Pipeline([Copy(), AsyncMean(label="Mean"), AsyncNight(label="Night")]).run(
        butler, run=RUN, collections="raw", jobs=2
    )
    report.raise_for_failures()
    assert butler.get("night", day_obs=20260102, collections=RUN) == {"3": 30.0, "4": 40.0}


def test_two_hundred_quanta_in_four_jobs_give_exactly_their_outputs(empty):
    put_raws(empty, range(100))
    report = Pipeline([Copy(), Mean()]).run(empty, run=RUN, collections="raw", jobs=4)
    report.raise_for_failures()
    assert len(report.results) == 200
    assert visible(empty, "scaled") == list(range(100))
    assert visible(empty, "mean") == list(range(100))
    assert all(
        empty.get("mean", visit=visit, detector=0, collections=RUN) == {"mean": visit * 10.0}
        for visit in range(0, 100, 10)
    )


def test_no_more_quanta_run_at_once_than_jobs(empty):
    put_raws(empty, range(20))
    lock = threading.Lock()
    running, most = [], []
    met = threading.Barrier(3, timeout=30)

    class Counted(Copy):
        def run(self, ctx):
            with lock:
                running.append(1)
                most.append(len(running))
            if ctx.data_id["exposure"] < 3:
                met.wait()  # three run at the same time
            super().run(ctx)
            with lock:
                running.pop()

    Pipeline([Counted()]).run(empty, run=RUN, collections="raw", jobs=3).raise_for_failures()
    assert max(most) == 3


def test_progress_is_told_in_the_calling_thread_and_in_order(butler):
    events, threads = [], set()

    def tell(event):
        events.append(event)
        threads.add(threading.current_thread())

    report = Pipeline([Copy(), Failing(), Night()]).run(
        butler, run=RUN, collections="raw", jobs=2, progress=tell
    )
    assert threads == {threading.current_thread()}
    kinds = [event.kind for event in events]
    assert kinds.count(ProgressKind.STARTED) == 9
    assert kinds.count(ProgressKind.FINISHED) == 10
    assert kinds.count(ProgressKind.DECIDED) == 8
    last = events[-1]
    assert (last.started, last.finished, last.decided, last.total) == (9, 10, 10, 10)
    final = {event.quantum.key: event.result for event in events if event.result is not None}
    assert [final[result.quantum.key].state for result in report.results] == [
        result.state for result in report.results
    ]


def test_progress_can_be_logged(butler, caplog):
    with caplog.at_level(logging.INFO, logger="quantumio.supertask"):
        Pipeline([Copy()]).run(butler, run=RUN, collections="raw", progress=True, exposure=1)
    assert "decided: succeeded (1 of 1)" in caplog.text


def test_an_interrupt_cancels_what_has_not_started_and_finishes_what_runs(empty):
    put_raws(empty, range(10))

    def interrupt(event):
        if event.kind is ProgressKind.FINISHED and event.quantum.data_id["visit"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        Pipeline([Copy(), Mean()]).run(
            empty, "exposure < 10", run=RUN, collections="raw", jobs=1, progress=interrupt
        )
    assert "the rest was cancelled" in caught.value.__notes__[0]
    empty.drain(30)
    assert 2 in visible(empty, "scaled")
    assert len(visible(empty, "scaled")) < 10
    assert empty.status()[0].contexts_open == 0
    assert empty.errors() == []
    report = Pipeline([Copy(), Mean()]).run(empty, run=RUN, collections="raw", jobs=2)
    assert report.ok
    assert len(visible(empty, "mean")) == 10


def test_a_task_may_commit_or_abort_itself(butler):
    class Aborts(Copy):
        def run(self, ctx):
            super().run(ctx)
            if ctx.data_id["exposure"] == 1:
                ctx.abort()
            else:
                ctx.commit()

    report = Pipeline([Aborts(label="Copy"), Mean()]).run(butler, run=RUN, collections="raw", jobs=2)
    assert states(report, "Copy") == ["failed", "succeeded", "succeeded", "succeeded"]
    assert states(report, "Mean") == ["blocked", "succeeded", "succeeded", "succeeded"]


def test_an_exit_of_a_task_ends_its_quantum_only(butler):
    class Exits(Copy):
        def run(self, ctx):
            raise SystemExit(3)

    report = Pipeline([Exits()]).run(butler, run=RUN, collections="raw", jobs=2)
    assert report.states == {"failed": 4}
    with pytest.raises(ExceptionGroup) as caught:
        report.raise_for_failures()
    assert "SystemExit: 3" in str(caught.value.exceptions[0])


def test_without_waiting_quanta_stay_sealed(butler):
    report = Pipeline([Copy()]).run(butler, run=RUN, collections="raw", ack="buffered")
    assert report.states == {"sealed": 4}
    assert report.ok
    butler.drain(30)
    assert len(visible(butler, "scaled")) == 4


def test_settled_waits_for_best_effort_copies(butler):
    report = Pipeline([Copy()]).run(butler, run=RUN, collections="raw", ack="settled")
    assert report.ok
    assert butler.pending() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executor": "dask"}, "there is no executor 'dask'"),
        ({"executor": "processes"}, "'threads'"),
        ({"jobs": 0}, "jobs=0"),
        ({"jobs": True}, "jobs=True"),
        ({"mode": "later"}, "mode='later'"),
        ({"ack": "soon"}, "'soon'"),
    ],
)
def test_wrong_options_are_refused(butler, options, message):
    with pytest.raises(InvalidInputError, match=message):
        Pipeline([Copy()]).run(butler, run=RUN, collections="raw", **options)
    assert butler.status()[0].contexts_open == 0


def test_the_report_tells_where_time_and_bytes_went(butler):
    report = Pipeline([Copy(), Mean()]).run(butler, run=RUN, collections="raw", jobs=2)
    copy, mean = report.summaries
    assert (copy.task, copy.quanta, copy.outputs, copy.output_bytes) == ("Copy", 4, 4, 4 * 32)
    assert copy.destinations == ("local",)
    assert copy.put_s > 0
    assert mean.get_s > 0
    assert copy.failures == 0
    assert 0 < report.sealed_s <= report.committed_s
    rows = report.table()
    assert list(rows[0]) == [
        "task", "quanta", "failures", "compute_s", "put_s", "get_s", "outputs", "bytes", "destinations",
    ]  # fmt: skip
    wire = report.to_wire()
    assert wire["version"] == 1
    assert wire["states"] == {"succeeded": 8}
    assert str(report).startswith("run 'u/out': 8 succeeded in ")


def test_a_closed_butler_fails_every_quantum_with_its_reason(butler):
    plan = Pipeline([Copy()]).plan(butler, run=RUN, collections="raw")
    butler.close()
    with pytest.raises(ExceptionGroup) as caught:
        plan.run().raise_for_failures()
    assert isinstance(caught.value.exceptions[0], StateError)


def test_quanta_of_one_plan_do_not_see_outputs_that_they_do_not_declare(butler):
    class Peeks(SuperTask):
        raw = Input("raw", dimensions=EXPOSURE, storage_class="NDArray")
        scaled = Input("scaled", dimensions=VISIT, storage_class="NDArray")
        out = Output("mean", dimensions=VISIT, storage_class="Mapping")

        def run(self, ctx):
            for what, keys in (("night", {}), ("bias", {}), ("scaled", {"visit": ctx.data_id["visit"] + 1})):
                with pytest.raises(InvalidInputError) as caught:
                    ctx.get(what, **keys)
                assert caught.value.kind is ErrorKind.UNDECLARED
            ctx.put({"seen": float(np.sum(ctx.get("scaled")))}, "mean")

    report = Pipeline([Copy(), Peeks()]).run(butler, run=RUN, collections="raw", jobs=1)
    report.raise_for_failures()
