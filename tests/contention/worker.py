"""A process of the contention tests: does each task that comes as a line of JSON, and tells how it went.

It stamps what it does with the machine's monotonic clock, which all processes share.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from quantumio import Butler
from quantumio.errors import CommitConflictError, CommitFailedError, ErrorKind
from quantumio.system import failpoints

RUN, TYPE = "r", "counter"


class Worker:
    """One task of one process, in one repository."""

    def __init__(self, butler, task):
        self.butler = butler
        self.number = task["number"]
        self.count = task["count"]
        self.commits, self.reads, self.refused = [], [], []

    def commit(self, value, *, visit=1, expect=None):
        """Commit one version, and note when that began and ended."""
        begin = time.monotonic()
        with self.butler.context() as ctx:
            ctx.put(value, TYPE, visit=visit, expect=expect)
        end = time.monotonic()
        ref = ctx.refs[0]
        self.commits.append(
            {
                "process": self.number,
                "visit": visit,
                "version": ref.version,
                "txid": str(ctx.txid),
                "value": value,
                "begin": begin,
                "end": end,
            }
        )

    def append(self):
        """Commit the next version, again and again; what failed for certain is noted, and done again."""
        for number in range(self.count):
            value = {"process": self.number, "number": number}
            while not self.tried(value):
                pass

    def tried(self, value):
        try:
            self.commit(value)
        except CommitFailedError as error:
            self.refused.append({"txid": str(error.outcome.txid), "kind": str(error.kind)})
            return False
        return True

    def read(self):
        """Return the latest value and its version."""
        begin = time.monotonic()
        ref = self.butler.find(TYPE, visit=1)
        value = self.butler.get(ref)
        self.reads.append({"begin": begin, "end": time.monotonic(), "version": ref.version})
        return value, ref.version

    def increment(self):
        """Add one to a counter that all others add to as well."""
        for _ in range(self.count):
            while True:
                value, version = self.read()
                try:
                    self.commit({"count": value["count"] + 1, "by": self.number}, expect=version)
                    break
                except CommitConflictError as error:
                    self.note_conflict(error)

    def create(self):
        """Try to be the one who makes each dataset."""
        for visit in range(self.count):
            try:
                self.commit({"by": self.number}, visit=visit, expect="create")
            except CommitConflictError as error:
                self.note_conflict(error)

    def prepend(self):
        """Put runs of its own before all that others have put into the same chain."""
        for number in range(self.count):
            name = f"night/{self.number}-{number}"
            self.butler.register_run(name)
            self.butler.chain("best", [name], edit="prepend")

    def note_conflict(self, error):
        assert error.kind is ErrorKind.VERSION, error
        outcome = error.outcome
        self.refused.append(
            {
                "visit": outcome.ref.data_id["visit"],
                "txid": str(outcome.txid),
                "winner": str(outcome.winner_txid),
                "version": outcome.winner_version,
            }
        )

    def told(self):
        return {"commits": self.commits, "reads": self.reads, "refused": self.refused}


def stop_at(point, number):
    """Return a hook that stops this process when it comes by a point for the n-th time."""
    lock, reached = threading.Lock(), []

    def hook(name):
        with lock:
            reached.append(name)
            if name == point and reached.count(point) == number:
                # to this thread: one sent to the process may let it run on until another thread takes it
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    return hook


def ready(task):
    Path(task["barrier"], f"ready-{task['number']}").touch()


def start_together(task):
    ready(task)
    while not Path(task["barrier"], "go").exists():
        time.sleep(0.0005)


def do(task):
    with Butler(task["repository"], run=RUN, instrument="X") as butler:
        worker = Worker(butler, task)
        start_together(task)
        with failpoints.watched(stop_at(*task["stop"]) if task["stop"] else lambda name: None):
            getattr(worker, task["work"])()
        return worker.told()


def main():
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)  # whatever libraries print must not get between the answers
        for line in sys.stdin:
            task = json.loads(line)
            try:
                answer = do(task)
            except Exception:  # noqa: BLE001  the test tells it
                answer = {"error": traceback.format_exc()}
                ready(task)  # the others are not to wait for it
            answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
