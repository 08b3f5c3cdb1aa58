"""What a forked child may do with the databases of its parent, and what the end of a worker leaves."""

import subprocess
import sys
import textwrap

import pytest

from quantumio import Butler
from tests.acceptance.test_lifetime import run_python

IN_A_CHILD = """
    import os, sys, traceback
    from quantumio import Butler, StateError

    root = sys.argv[1]

    def opened(**options):
        return Butler(root, run="r", instrument="ST8", **options)

    def commit(butler, visit):
        with butler.context(ack="settled") as ctx:
            ctx.put({"visit": visit}, "stats", visit=visit)

    def told(work):
        try:
            work()
        except StateError as error:
            return str(error.kind)
        return "no error"

    def in_a_child(work):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
"""


def run_forking(code: str, *arguments: object) -> str:
    done = run_python(IN_A_CHILD + code, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("readonly", [False, True])
def test_child_cannot_open_what_its_parent_had_open(make_butler, tmp_path, readonly):
    make_butler().close()
    code = f"""
    parent = opened(readonly={readonly})
    {"parent.query('*').count()" if readonly else "commit(parent, 1)"}

    def child():
        print(told(opened), told(lambda: opened(readonly=True)), flush=True)
        in_a_child(lambda: print(told(opened)))

    in_a_child(child)
    parent.close()
    in_a_child(lambda: commit(opened(), 2))
    """
    assert run_forking(code, tmp_path / "night").split() == ["forked"] * 3
    with Butler(tmp_path / "night", run="r", instrument="ST8") as butler:
        assert butler.get("stats", visit=2) == {"visit": 2}


def test_child_cannot_open_it_by_another_name(make_butler, tmp_path):
    make_butler().close()
    (tmp_path / "other").symlink_to(tmp_path / "night")
    code = """
    parent = opened()
    root = sys.argv[2]
    in_a_child(lambda: print(told(opened)))
    """
    assert run_forking(code, tmp_path / "night", tmp_path / "other").strip() == "forked"


def test_child_leaves_the_transaction_of_its_parent_alone(tmp_path):
    code = """
    import gc, sqlite3
    from pathlib import Path
    from quantumio.system import sqlite_files

    file = Path(root)
    kept = [sqlite3.connect(file, isolation_level=None, factory=sqlite_files.connection_to(file))]
    kept[0].execute("PRAGMA journal_mode=WAL").fetchall()
    kept[0].execute("CREATE TABLE t (x)")
    kept[0].execute("PRAGMA cache_size=2").fetchall()
    kept[0].execute("BEGIN IMMEDIATE")
    for number in range(50):  # more than the cache has room for: some of it is in the write-ahead log already
        kept[0].execute("INSERT INTO t VALUES (zeroblob(3000))")

    def child():
        kept[0].rollback()
        kept[0].close()
        kept.clear()
        gc.collect()

    in_a_child(child)
    kept[0].execute("COMMIT")
    with sqlite3.connect(file) as other:
        print(*other.execute("SELECT count(*) FROM t").fetchone())
        print(*other.execute("PRAGMA integrity_check").fetchone())
    """
    assert run_forking(code, tmp_path / "file.sqlite3").split() == ["50", "ok"]


def test_child_cannot_open_the_level_3_of_its_parent(tmp_path):
    code = """
    from pathlib import Path
    from quantumio.destinations._sql_engine import open_sqlite

    def database(**options):
        return open_sqlite("level3", Path(root), timeout_s=60, **options)

    parent = database(readonly=False)
    lazy = database(readonly=False)
    with parent.write("making a table") as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")

    def read():
        with lazy.read("reading"):
            pass

    def child():
        print(told(lambda: database(readonly=False)), told(lambda: database(readonly=True)), told(read))

    in_a_child(child)
    parent.close()
    in_a_child(lambda: print(told(read)))
    """
    done = run_forking(code, tmp_path / "level3.sqlite3")
    assert done.splitlines() == ["forked forked forked", "no error"]


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_worker_of_multiprocessing_finishes_what_it_has_buffered(make_butler, tmp_path, method):
    make_butler().close()
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import multiprocessing, sys
            import numpy as np
            from quantumio import Butler

            def work(visit):
                butler = Butler(sys.argv[1], run="r", instrument="ST8")
                with butler.context(ack="buffered") as ctx:
                    for detector in range(4):
                        ctx.put(np.full((500, 500), visit), "pixels", visit=visit, detector=detector)

            if __name__ == "__main__":
                workers = multiprocessing.get_context(sys.argv[2])
                for visit in (1, 2):
                    worker = workers.Process(target=work, args=(visit,))
                    worker.start()
                    worker.join()
                    assert worker.exitcode == 0
            """
        )
    )
    done = subprocess.run(
        [sys.executable, script, tmp_path / "night", method],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    with Butler(tmp_path / "night", run="r", instrument="ST8", readonly=True) as butler:
        assert butler.query("pixels").count() == 8
