"""Opening, sharing, closing, exiting, forking and pickling."""

import asyncio
import os
import pickle
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from quantumio import AsyncButler, Butler, ErrorKind, InvalidInputError, StateError
from tests.acceptance.night import image


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_butlers_of_one_repository_share_one_runtime(butler, tmp_path):
    with Butler(tmp_path / "night", run="other", instrument="ST8") as second:
        with second.context() as ctx:
            ctx.put({}, "stats", visit=1)
        with butler.context() as ctx:
            ctx.put({}, "stats", visit=1)
        names = [t.name for t in threading.enumerate() if t.name.startswith("quantumio")]
        assert len(names) == 1
    assert butler.get("stats", visit=1) == {}


def test_closed_butler_refuses_and_close_is_idempotent(butler):
    butler.close()
    butler.close()
    for call in (
        lambda: butler.get("stats", visit=1, collections="r"),
        lambda: butler.context(),
        lambda: list(butler.query("*")),
    ):
        with pytest.raises(StateError, match="closed"):
            call()


def test_close_aborts_what_is_open_and_says_nothing_else(butler):
    ctx = butler.context()
    ctx.put({}, "stats", visit=1)
    butler.close()
    assert ctx.ticket.outcome.kind is ErrorKind.CLOSED


def test_interpreter_exit_finishes_what_was_committed(make_butler, tmp_path):
    make_butler().close()
    done = run_python(
        """
        import sys, numpy as np
        from quantumio import Butler
        butler = Butler(sys.argv[1], run="r", instrument="ST8")
        ctx = butler.context()
        for detector in range(20):
            ctx.put(np.zeros((500, 500)), "pixels", visit=1, detector=detector)
        ctx.commit("buffered")
        """,
        tmp_path / "night",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    with Butler(tmp_path / "night", run="r", instrument="ST8") as butler:
        assert butler.query("pixels").count() == 20


def test_background_failure_reaches_the_user_at_exit(make_butler, tmp_path):
    make_butler().close()
    done = run_python(
        """
        import os, sys, numpy as np
        from quantumio import Butler
        butler = Butler(
            sys.argv[1], run="r", instrument="ST8")
        ctx = butler.context()
        ctx.put({}, "stats", visit=1, expect=7)
        ctx.commit("buffered")
        """,
        tmp_path / "night",
    )
    assert "stats" in done.stderr


def test_exception_of_a_block_is_not_hidden_by_what_failed_in_the_background(make_butler):
    butler = make_butler(run="r")
    with pytest.raises(KeyError, match="mine") as caught, butler:
        ctx = butler.context()
        ctx.put({}, "stats", visit=1, expect=7)
        ctx.commit("buffered")
        raise KeyError("mine")
    (note,) = caught.value.__notes__
    assert "besides, in the background" in note
    assert "stats" in note


def test_exception_of_a_block_that_takes_no_notes_is_not_hidden(make_butler, caplog):
    class Mute(Exception):
        def add_note(self, note):
            raise TypeError("no notes here")

    butler = make_butler(run="r")
    with pytest.raises(Mute), butler:
        ctx = butler.context()
        ctx.put({}, "stats", visit=1, expect=7)
        ctx.commit("buffered")
        raise Mute
    assert "stats" in caplog.text


@pytest.mark.anyio
async def test_exception_of_an_async_block_is_not_hidden_either(make_butler, tmp_path):
    make_butler().close()
    with pytest.raises(KeyError, match="mine") as caught:
        async with AsyncButler(tmp_path / "night", run="r", instrument="ST8") as butler:
            ctx = butler.context()
            await ctx.put({}, "stats", visit=1, expect=7)
            await ctx.commit("buffered")
            raise KeyError("mine")
    assert "stats" in caught.value.__notes__[0]


@pytest.mark.anyio
async def test_failure_in_the_background_is_raised_by_the_end_of_an_async_block(make_butler, tmp_path):
    make_butler().close()
    with pytest.raises(ExceptionGroup, match="fail"):
        async with AsyncButler(tmp_path / "night", run="r", instrument="ST8") as butler:
            ctx = butler.context()
            await ctx.put({}, "stats", visit=1, expect=7)
            await ctx.commit("buffered")


@pytest.mark.asyncio
@pytest.mark.parametrize("left_by", ["its end", "a cancel"])
async def test_async_block_that_is_cancelled_while_it_closes_waits_and_notes_what_failed(
    make_butler, tmp_path, monkeypatch, left_by
):
    """No shield holds off asyncio's own cancel: what had failed was told to nobody."""
    make_butler().close()
    loop, close = asyncio.get_running_loop(), Butler.close
    within, closing, go_on, closed = asyncio.Event(), asyncio.Event(), threading.Event(), []
    caught = []

    def slow(self, timeout=30):
        loop.call_soon_threadsafe(closing.set)
        go_on.wait(60)
        closed.append(self)
        close(self, timeout)

    async def work():
        try:
            async with AsyncButler(tmp_path / "night", run="r", instrument="ST8") as butler:
                ctx = butler.context()
                await ctx.put({}, "stats", visit=1, expect=7)
                await ctx.commit("buffered")
                within.set()
                if left_by == "a cancel":
                    await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            caught.append((error, len(closed)))
            raise

    with monkeypatch.context() as patched:
        patched.setattr(Butler, "close", slow)
        task = asyncio.create_task(work())
        await within.wait()
        if left_by == "a cancel":
            task.cancel()
        await closing.wait()
        for _ in range(2):
            task.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    ((error, count),) = caught
    assert count == 1, "it was left before it was closed"
    assert "stats" in error.__notes__[0]


@pytest.mark.anyio
async def test_close_that_fails_otherwise_is_raised_by_the_end_of_an_async_block(
    make_butler, tmp_path, monkeypatch
):
    make_butler().close()

    def refuse(self, timeout=30):
        raise StateError("not now")

    butler = AsyncButler(tmp_path / "night", run="r", instrument="ST8")
    with monkeypatch.context() as patched:
        patched.setattr(Butler, "close", refuse)
        with pytest.raises(StateError, match="not now") as caught:
            async with butler:
                raise KeyError("mine")
    assert isinstance(caught.value.__context__, KeyError)
    await butler.close()


def test_killed_process_leaves_all_or_nothing(make_butler, tmp_path):
    make_butler().close()
    code = """
        import os, sys, signal, threading, numpy as np
        from quantumio import Butler
        butler = Butler(sys.argv[1], run="r", instrument="ST8")
        threading.Timer(float(sys.argv[2]), os.kill, (os.getpid(), signal.SIGKILL)).start()
        for visit in range(10_000):
            with butler.context(ack="buffered") as ctx:
                for detector in range(5):
                    ctx.put(np.full(1000, visit), "pixels", visit=visit + int(sys.argv[3]), detector=detector)
    """
    for attempt, seconds in enumerate((0.1, 0.4, 0.7)):
        assert run_python(code, tmp_path / "night", seconds, attempt * 100_000).returncode == -9
    with Butler(tmp_path / "night", run="r", instrument="ST8") as butler:
        by_visit: dict[int, int] = {}
        for ref in butler.query("pixels"):
            by_visit[ref.data_id["visit"]] = by_visit.get(ref.data_id["visit"], 0) + 1
            assert len(butler.get(ref)) == 1000
        assert set(by_visit.values()) <= {5}
        with butler.context() as ctx:
            ctx.put({}, "stats", visit=1)


def test_forked_child_is_refused(butler):
    with butler.context() as ctx:
        ctx.put({}, "stats", visit=1)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            butler.context()
            text = "no error"
        except StateError as error:
            text = str(error.kind)
        except BaseException as error:  # noqa: BLE001  whatever it is must reach the parent
            text = repr(error)
        os.write(writer, text.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 1000).decode() == "forked"
    os.close(reader)
    os.close(writer)
    with butler.context() as ctx:
        ctx.put({}, "stats", visit=2)


def test_pickled_butler_opens_the_same_repository(butler):
    with butler.context() as ctx:
        ctx.put({"n": 1}, "stats", visit=1)
    with pickle.loads(pickle.dumps(butler)) as copy:
        assert copy.get("stats", visit=1) == {"n": 1}


def test_token_carries_a_context_to_another_process(butler, tmp_path):
    ctx = butler.context(key="k")
    done = run_python(
        """
        import sys
        from quantumio import Butler
        with Butler.resume(sys.argv[1]) as ctx:
            ctx.put({"there": 1}, "stats", visit=1)
        print(ctx.txid)
        """,
        ctx.token(),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(ctx.txid)
    assert butler.get("stats", visit=1) == {"there": 1}
    with pytest.raises(StateError):
        ctx.put({}, "stats", visit=2)


def test_several_repositories_are_searched_in_order(make_butler, tmp_path):
    night, calibs = make_butler("night"), make_butler("calibs")
    for butler, text in ((night, "night"), (calibs, "calibs")):
        with butler.context(run="r") as ctx:
            ctx.put({"from": text}, "stats", visit=1)
    with calibs.context(run="r") as ctx:
        ctx.put({"from": "calibs"}, "stats", visit=2)
    with Butler([tmp_path / "night", tmp_path / "calibs"], run="r", instrument="ST8") as both:
        assert both.get("stats", visit=1) == {"from": "night"}
        assert both.get("stats", visit=2) == {"from": "calibs"}
        with both.context() as ctx:
            ctx.put(image(), "calexp", visit=1, detector=0)
        assert both.query("*").count() == 4
    assert night.exists("calexp", visit=1, detector=0, collections="r")


def test_buffer_full_waits_and_then_says_so(make_butler):
    from quantumio import BufferFull

    config = {"runtime": {"max_buffer_bytes": "1 MiB", "put_timeout_s": 0.2}}
    butler = make_butler("small", config, run="r")
    with butler.context() as ctx:
        ctx.put(np.zeros(100_000), "pixels", visit=1, detector=0, to="temporary")
        with pytest.raises(BufferFull, match="max_buffer_bytes"):
            ctx.put(np.zeros(100_000), "pixels", visit=1, detector=1)
    butler.drain()
    assert butler.forget(ctx.refs[0])
    assert butler.status()[0].buffer_used_bytes == 0
    with butler.context() as ctx:  # larger than the whole budget: admitted alone
        ctx.put(np.zeros(1_000_000), "pixels", visit=2, detector=0)
    assert butler.query("pixels").count() == 1


def test_context_larger_than_the_buffer_is_spilled_and_committed_whole(make_butler):
    config = {"runtime": {"max_buffer_bytes": "1 MiB", "put_timeout_s": 5}}
    butler = make_butler("small", config, run="r")
    with butler.context() as ctx:
        for detector in range(20):  # 16 MB
            ctx.put(np.full(100_000, detector), "pixels", visit=1, detector=detector)
        assert butler.status()[0].buffer_spilled_bytes > 8_000_000
        assert butler.status()[0].buffer_used_bytes <= 2 << 20
        assert (ctx.get("pixels", visit=1, detector=0) == 0).all()
    for detector in range(20):
        assert (butler.get("pixels", visit=1, detector=detector) == detector).all()
    butler.drain()
    assert butler.status()[0].buffer_used_bytes == 0


def test_token_is_resumed_once_in_a_process(butler):
    token = butler.context().token()
    with Butler.resume(token) as ctx:
        ctx.put(np.arange(3), "pixels", visit=1, detector=0)
        with pytest.raises(StateError, match="open already"):
            Butler.resume(token)
    assert (butler.get("pixels", visit=1, detector=0, collections=ctx.run) == np.arange(3)).all()


def test_abort_that_an_interrupt_broke_off_is_finished_by_the_next(butler, monkeypatch):
    ctx = butler.context()
    ctx.put(np.arange(3), "pixels", visit=1, detector=0)
    runtime = type(ctx._context._runtime)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runtime, "end", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        ctx.abort()
    assert ctx.ticket.outcome is None
    ctx.abort()
    assert ctx.ticket.outcome.kind is ErrorKind.ABORTED


def test_first_outcome_stands(butler):
    ctx = butler.context()
    ctx.put(np.arange(3), "pixels", visit=1, detector=0)
    ctx.commit()
    committed = ctx.ticket.outcome
    ctx.abort()
    assert ctx.ticket.outcome is committed


@pytest.mark.parametrize("timeout", [float("nan"), -1, "5", []])
def test_timeout_that_is_none_is_refused_and_closes_nothing(butler, timeout):
    with butler.context() as ctx:
        ctx.put(np.arange(3), "pixels", visit=1, detector=0)
    for call in (butler.drain, butler.close, lambda timeout: ctx.ticket.wait("committed", timeout)):
        with pytest.raises(InvalidInputError, match="timeout="):
            call(timeout=timeout)
    butler.drain(timeout=float("inf"))
    assert butler.exists("pixels", visit=1, detector=0, collections=ctx.run)


def test_immediate_put_beside_a_close_leaves_nothing(make_butler, tmp_path):
    butler = make_butler(
        config={"rules": [{"mode": "immediate"}], "runtime": {"max_buffer_bytes": 1000}}, run="r"
    )
    first = butler.context()
    first.put(np.arange(100, dtype="u1"), "pixels", visit=1, detector=0)
    first.put(np.arange(90, dtype="u1"), "pixels", visit=2, detector=0)
    errors = []

    def put():
        try:
            with butler.context() as ctx:
                ctx.put(np.zeros(900, "u1"), "pixels", visit=3, detector=0)
        except StateError as error:
            errors.append(error)

    thread = threading.Thread(target=put)
    thread.start()
    butler.close()
    thread.join(30)
    assert not thread.is_alive()
    assert errors
    assert not list(tmp_path.rglob("*.npy"))
