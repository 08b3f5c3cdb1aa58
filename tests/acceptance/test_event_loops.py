"""No blocking call on an event loop's thread; and notebooks."""

import os
import socket
import sqlite3
import sys
import threading

import anyio
import numpy as np
import pytest

from quantumio import AsyncButler
from tests.acceptance.night import catalogue, image

_BLOCKING_EVENTS = {"open", "os.listdir", "os.mkdir", "os.link", "os.remove", "os.rename", "os.scandir",
                    "sqlite3.connect", "socket.connect", "fcntl.flock", "shutil.rmtree"}  # fmt: skip


class LoopGuard:
    """Records file, socket and database calls, and encodings, made on one thread.

    Audit events come from the interpreter itself, so nothing can get past by another import path;
    formats and database statements, which raise none, are patched.
    """

    def __init__(self) -> None:
        self.thread: int | None = None
        self.calls: list[str] = []

    def note(self, what: str) -> None:
        if self.thread == threading.get_ident():
            self.calls.append(what)

    def audit(self, event: str, arguments: tuple) -> None:
        if event in _BLOCKING_EVENTS and self.thread == threading.get_ident():
            # imports read files once per process; they are not what is looked for
            frame, depth = sys._getframe(1), 0
            while frame is not None and depth < 60:
                if "importlib" in frame.f_code.co_filename:
                    return
                frame, depth = frame.f_back, depth + 1
            self.calls.append(f"{event}{arguments[:1]}")


_guard = LoopGuard()
sys.addaudithook(_guard.audit)


@pytest.fixture
def loop_guard(monkeypatch):
    import sqlalchemy.engine.default as default

    from quantumio.formats.fits import FitsFormat
    from quantumio.formats.parquet import ParquetFormat

    for cls, name in (
        (FitsFormat, "encode"),
        (FitsFormat, "decode"),
        (ParquetFormat, "encode"),
        (ParquetFormat, "decode"),
        (default.DefaultDialect, "do_execute"),
        (default.DefaultDialect, "do_commit"),
    ):
        original = getattr(cls, name)

        def patched(*arguments, _original=original, _what=f"{cls.__name__}.{name}", **keywords):
            _guard.note(_what)
            return _original(*arguments, **keywords)

        monkeypatch.setattr(cls, name, patched)
    for name in ("fsync", "link", "write", "unlink"):
        original = getattr(os, name)

        def patched_os(*arguments, _original=original, _what=f"os.{name}", **keywords):
            _guard.note(_what)
            return _original(*arguments, **keywords)

        monkeypatch.setattr(os, name, patched_os)
    _guard.calls.clear()
    yield _guard
    _guard.thread = None


def test_the_guard_sees_what_it_must_see(loop_guard, tmp_path):
    loop_guard.thread = threading.get_ident()
    (tmp_path / "x").write_text("x")
    sqlite3.connect(tmp_path / "y").close()
    with pytest.raises(OSError, match="refused"), socket.socket() as connection:
        connection.connect(("127.0.0.1", 9))
    loop_guard.thread = None
    assert {call.split("(")[0] for call in loop_guard.calls} >= {"open", "sqlite3.connect", "socket.connect"}


@pytest.mark.anyio
async def test_nothing_blocks_the_loop(make_butler, tmp_path, loop_guard, anyio_backend):
    config = {
        "destinations": {
            "objects": {"kind": "objects", "root": f"memory://loop-{anyio_backend}"},
            "level3": {"kind": "database", "url": "sqlite:///level3.db"},
        },
        "rules": [{"datasets": "source", "to": ["local", "level3"]}, {"to": ["local", "objects"]}],
    }
    make_butler(config=config).close()
    calexp, sources = image(), catalogue()  # astropy reads its leap seconds for the first Time
    loop_guard.thread = threading.get_ident()
    try:
        async with AsyncButler(tmp_path / "night", run="r", instrument="ST8") as butler:
            async with butler.context(ack="settled") as ctx:
                await ctx.put(calexp, "calexp", visit=1, detector=0)
                await ctx.put(sources, "source", visit=1, detector=0)
                await ctx.put(np.zeros(1_000_000), "pixels", visit=1, detector=0, own="encode")
                await ctx.get("calexp", visit=1, detector=0)
            await butler.get("calexp", visit=1, detector=0)
            await butler.get("source", visit=1, detector=0, as_="arrow")
            await butler.versions("source", visit=1, detector=0)
            await butler.where_is(ctx.refs[0])
            await butler.query("*").table()
            await butler.drain()
    finally:
        loop_guard.thread = None
    assert loop_guard.calls == []


def test_other_tasks_run_while_a_large_put_is_copied(make_butler, tmp_path):
    """The loop ticks while an array of 256 MiB is snapshotted, encoded and written."""
    make_butler().close()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await anyio.sleep(0.001)

    async def main() -> None:
        async with (
            AsyncButler(tmp_path / "night", run="r", instrument="ST8") as butler,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(tick)
            async with butler.context() as ctx:
                await ctx.put(np.ones(1 << 25), "pixels", visit=1, detector=0)
            tasks.cancel_scope.cancel()

    anyio.run(main)
    assert ticks > 10


NOTEBOOK = """
from quantumio import Butler, AsyncButler, DatasetType
butler = Butler.create('night')
butler.register_dataset_type(DatasetType('stats', dimensions=['visit'], storage_class='Mapping'))
#---
butler = Butler('night', run='u/ada', instrument='ST8')
ctx = butler.context()
ctx.put({'mean': 899.8}, 'stats', visit=1)
#---
ctx.get('stats', visit=1)
#---
ctx.commit().outcome.refs[0].version
#---
with butler.context() as ctx:
    ctx.put({'mean': 900.1}, 'stats', visit=1)
butler.get('stats', visit=1)
#---
abutler = AsyncButler('night', run='u/ada', instrument='ST8')
actx = abutler.context()
await actx.put({'mean': 1.5}, 'stats', visit=2)
#---
ticket = await actx.commit()
print(await abutler.get('stats', visit=2))
#---
async with abutler.context() as actx:
    await actx.put({'mean': 2.5}, 'stats', visit=3)
print(await abutler.query('stats').count())
#---
await abutler.close()
butler.close()
""".strip().split("\n#---\n")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::ResourceWarning")
def test_notebook_opens_puts_commits_and_closes_across_cells(tmp_path):
    import nbclient
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in NOTEBOOK])
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    done = client.execute()

    def text(cell: int) -> str:
        return "".join(
            output.get("text", "") or output.get("data", {}).get("text/plain", "")
            for output in done.cells[cell].outputs
        )

    assert text(2) == "{'mean': 899.8}"
    assert text(3) == "1"
    assert text(4) == "{'mean': 900.1}"
    assert text(6).strip() == "{'mean': 1.5}"
    assert text(7).strip() == "3"
