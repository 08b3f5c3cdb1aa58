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
from quantumio.errors import CommitConflictError, CommitFailedError, ConflictError, ErrorKind
from quantumio.model import Timespan
from quantumio.system import failpoints

RUN, TYPE = "r", "counter"
CALIBRATION, CALIBRATIONS, TAG = "flat", "calib", "best"
SLOT_NS = 10**9
"""Calibrations are valid for slots of a second each."""


def slots(first, last):
    """Return when the first slot begins, and when the last one does, which is not in the time."""
    timespan = Timespan(first * SLOT_NS, last * SLOT_NS)
    return timespan.begin, timespan.end


def own_run(number):
    """Return the run with the datasets of one process."""
    return f"own/{number}"


class Worker:
    """One task of one process, in one repository."""

    def __init__(self, butler, task):
        self.butler = butler
        self.number = task["number"]
        self.count = task["count"]
        self.commits, self.reads, self.refused, self.edits = [], [], [], []

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

    def edit(self, change, kind=None, **what):
        """Edit the registry, and note when that began and ended, and whether it was refused, as this kind."""
        begin, refused = time.monotonic(), False
        try:
            change()
        except ConflictError as error:
            if error.kind is not kind:
                raise
            refused = True
        edit = {"process": self.number, "refused": refused, "begin": begin, "end": time.monotonic()}
        self.edits.append({**edit, **what})

    def own(self, dataset_type, **data_id):
        """Return the dataset of this process with a data ID that all others have one of, too."""
        return self.butler.find(dataset_type, data_id, collections=own_run(self.number))

    def prepend(self):
        """Put runs of its own before all that others have put into the same chain."""
        for number in range(self.count):
            name = f"night/{self.number}-{number}"
            self.butler.register_run(name)
            self.edit(lambda: self.butler.chain("chain", [name], edit="prepend"))  # noqa: B023  it is called now

    def certify(self):
        """Have its own calibration be valid for ranges that overlap those of the others, and its own."""
        ref = self.own(CALIBRATION, detector=0)
        for number in range(self.count):
            first = number + self.number % 2
            self.certified(ref, first, first + 1 + (number + self.number) % 3)

    def replace(self):
        """End the validity of what all share for slots of its own, between those of others, and take them."""
        ref = self.own(CALIBRATION, detector=0)
        for number in range(self.count):
            first = 8 * number + self.number
            begin, end = slots(first, first + 1)
            self.edit(lambda: self.butler.decertify(CALIBRATIONS, CALIBRATION, begin, end))  # noqa: B023
            self.certified(ref, first, first + 1)

    def certified(self, ref, first, last):
        begin, end = slots(first, last)
        self.edit(
            lambda: self.butler.certify(CALIBRATIONS, [ref], begin, end),
            ErrorKind.VALIDITY_OVERLAP,
            slots=[first, last],
        )

    def associate(self):
        """Tag pairs of its own datasets, one of which is in the pairs of others too."""
        refs = [self.own(TYPE, visit=visit) for visit in range(self.count + 1)]
        for number in range(self.count):
            pair = refs[number : number + 2]
            self.edit(
                lambda: self.butler.associate(TAG, pair),  # noqa: B023
                ErrorKind.EXISTS,
                visits=[number, number + 1],
            )

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
        return {
            "commits": self.commits,
            "reads": self.reads,
            "refused": self.refused,
            "edits": self.edits,
        }


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
