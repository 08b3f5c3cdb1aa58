"""One simulated night: a few processes put, commit, recover, die and come back on one repository."""

import gc
import random
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from quantumio import (
    Butler,
    CommitConflict,
    CommitConflictError,
    CommitFailed,
    CommitFailedError,
    CommitParkedError,
    CommitUnknownError,
    DatasetType,
    QuantumioError,
)
from quantumio.testing import SimulationFaults, simulate
from tests import in_memory
from tests.planted import bugs
from tests.simulation.invariants import Put, Watch

bugs.plant_if_asked()  # the processes that run seeds load this module, and no plug-in of pytest

RUN = "r"
VISITS = range(1, 4)
STORE = {"kind": "objects", "root": "simulated://bucket/store", "timeout_s": 5}
RULES = {"local": ["local"], "copy": ["local", "store?"], "store": ["store"], "both": ["local", "store"]}
DATASET_TYPES = {"stats": "Mapping", "image": "NDArray"}
LEVELS = ["buffered", "journaled", "journaled", "committed", "committed", "settled"]
STOPS_AT = frozenset({"prepare.after", "flush.place.after", "flip.before", "recovery.end.before"})
"""Where it matters most that others act meanwhile."""
AWAKE = ["work", "work", "work", "recover", "rescue", "two threads"]
SLEEPY = ["work", "work", "rescue", "rescue", "two threads"]
"""What processes do, in nights in which some, or most, sleep beyond their leases, and others recover."""
LEASES_S = [10.0, 10.0, 50.0]
EXCUSES = {"unreachable", "timeout", "registry", "locked"}
"""Kinds of failures of which a commit may die in a night."""
LONGEST_NIGHT_S = 4000.0
"""Within how many simulated seconds all is decided once nothing goes wrong any more."""


def template(directory, rule, mode, lease_s):
    made = directory / f"template-{rule}-{mode}-{lease_s}"
    if not made.exists():
        leases = {"lease_s": lease_s, "journaled_lease_s": 2 * lease_s}
        config = {
            "destinations": {"store": STORE},
            "rules": [{"to": RULES[rule], "mode": mode}],
            "runtime": {**leases, "allow_volatile_journal": True},
        }
        with Butler.create(made, config) as butler:
            for name, storage_class in DATASET_TYPES.items():
                butler.register_dataset_type(
                    DatasetType(name, dimensions=["visit"], storage_class=storage_class)
                )
    return made


class Night:
    """What happens in one night is drawn from its seed, before and while it happens."""

    def __init__(self, seed):
        self.chance = random.Random(seed * 2 + 1)
        self.rule = self.chance.choice(sorted(RULES))
        self.count = 0
        self.keys = self.chance.choice([0, 0, 3])
        self.dataset_type = self.chance.choice(["stats", "stats", "stats", "image"])
        self.mode = self.chance.choice(["deferred", "deferred", "immediate"])
        self.is_sleepy = self.chance.random() < 0.5
        self.lease_s = self.chance.choice(LEASES_S)

    # -- one process
    def live(self, process):
        butler = Butler(self.root, run=RUN, instrument="ST8")
        chance = random.Random(self.chance.random())
        kind = chance.choice(SLEEPY if self.is_sleepy else AWAKE)
        if kind == "recover":
            self.recover(butler)
        if kind == "rescue":  # comes again and again to look after the others
            for _ in range(chance.randint(2, 6)):
                self.simulation.sleep(chance.uniform(0, self.lease_s))
                self.recover(butler)
        work = [lambda: self.work(butler, random.Random(chance.random()))] * (1 + (kind == "two threads"))
        self.simulation.in_threads(work)
        if chance.random() < 0.7:
            self.quietly(lambda: butler.drain(chance.uniform(1, 100)))
        if chance.random() < 0.5:
            self.quietly(butler.close)

    def work(self, butler, chance):
        for _ in range(chance.randint(2, 6) // 2 + 1):
            self.commit(butler, chance)
            if chance.random() < 0.1:
                self.recover(butler)

    def commit(self, butler, chance):
        number = self.count = self.count + 1
        label = f"c{number}"
        key = f"k{chance.randrange(self.keys)}" if self.keys and chance.random() < 0.5 else None
        visits = set(chance.sample(VISITS, chance.randint(1, 2)))
        expect = chance.choice([None, None, None, "create", 1])
        level = chance.choice(LEVELS)
        context = butler.context(key=key)
        put = Put(label, context.txid.bytes, visits, key, may_conflict=expect is not None)
        self.watch.puts[put.txid] = put
        try:
            for visit in sorted(visits):
                context.put(self.value(number), self.dataset_type, visit=visit, expect=expect)
        except QuantumioError as error:  # of one that places at once
            put.refused = True
            self.simulation.note(f"{label} {error.kind}")
            self.watch.hold(self.is_excused(error, put), f"O1: {label} was not taken: {error}")
            context.abort()
            return
        if self.mode == "immediate" and chance.random() < 0.3:
            self.simulation.sleep(chance.uniform(0, 3 * self.lease_s))  # a long job, which says that it lives
        if chance.random() < 0.1:
            put.refused = True
            context.abort()
            return
        self.simulation.note(f"{label} to {level}")
        try:
            ticket = context.commit(level)
        except CommitConflictError as error:
            put.refused = True
            self.simulation.note(f"{label} {error.kind}")
            lacks_some = error.kind == "other_outputs" and not self.watch.won_by_key(put)
            self.watch.hold(
                put.may_conflict or lacks_some, f"O1: {label} asked for nothing, and is in conflict: {error}"
            )
        except CommitFailedError as error:
            put.refused = True
            self.simulation.note(f"{label} {error.kind}")
            self.watch.hold(self.is_excused(error, put), f"O1: {label} was refused without a reason: {error}")
        except (CommitParkedError, CommitUnknownError) as error:
            self.simulation.note(f"{label} {error.kind} {error.outcome!r:.150}")
        else:
            if isinstance(ticket.outcome, CommitConflict | CommitFailed):
                put.refused = True
            self.simulation.note(f"{label} reached {level}")
            if level != "buffered":
                self.watch.promise(put, level)

    def is_excused(self, error, put):
        if self.simulation.registry_was_troubled() and error.kind in ("corrupt", "closed"):
            return True  # it was not heard of: others ended its transaction, and removed its files
        return error.kind in EXCUSES or (error.kind == "aborted" and put.may_conflict)

    def value(self, number):
        if self.dataset_type == "stats":
            return {"label": f"c{number}"}
        return np.full((256, 256), number, dtype=np.float32)  # large enough for pooled memory

    def recover(self, butler):
        try:
            butler.recover()
        except QuantumioError as error:
            self.simulation.note(f"recovery: {error.kind} {error!s:.300}")
            self.watch.hold(error.kind != "internal", f"O1: recovery met a bug: {error}")

    def quietly(self, call):
        try:
            call()
        except* QuantumioError as group:
            self.simulation.note(f"told of {len(group.exceptions)} failures")

    # -- the whole
    def scenario(self, simulation):
        self.simulation, self.root = simulation, simulation.root
        self.watch = Watch(simulation, simulation.root)
        chance = self.chance
        processes = []
        for number in range(chance.randint(2, 4)):
            self.start(processes, number)
            simulation.sleep(chance.expovariate(2.0))
        for number in range(chance.randint(1, 4)):
            simulation.sleep(chance.choice([0.05, 0.5, 5.0, 100.0]) * chance.random())
            self.disturb(chance.choice(["kill", "kill", "still", "away", "power", "nothing"]), processes)
            self.start(processes, 10 + number)
        for process in processes:
            if not process.join(chance.uniform(5, 300)):
                process.kill()
                process.join()
        self.finish()

    def start(self, processes, number):
        dies_at = self.chance.choice([0, 0, int(self.chance.expovariate(0.01)) + 1])
        host = self.chance.choice(["here", "there"])
        is_sleeper = self.chance.random() < (0.7 if self.is_sleepy else 0.3)
        longest_stop_s = 4 * self.lease_s if is_sleeper else 0
        started = self.simulation.start(
            f"p{number}",
            self.live_or_fail,
            host=host,
            dies_at=dies_at,
            longest_stop_s=longest_stop_s,
            stops_at=STOPS_AT,
        )
        processes.append(started)

    def live_or_fail(self, process):
        try:
            self.live(process)
        except QuantumioError as error:  # a Butler that cannot be opened, a put that is refused
            # a process that stands still may hold the registry's lock for longer than others wait for it
            if error.kind != "locked" and not self.simulation.registry_was_troubled():
                raise
            self.simulation.note(f"{process.name} gives up: {error.kind}")

    def disturb(self, what, processes):
        chance, simulation = self.chance, self.simulation
        one = chance.choice(processes)
        if what == "kill":
            one.kill()
        elif what == "still" and not one.is_dead:
            simulation.stop(one, chance.uniform(0, 2 * self.lease_s))
        elif what == "away":
            simulation.lose_registry(chance.uniform(0, 60))
        elif what == "power":
            self.watch.close()
            simulation.cut_power()
            self.watch.look(everything=True)
            self.watch.look_at_promises()

    def finish(self):
        """Nothing goes wrong any more: within a bound, all is decided, and nothing is left."""
        simulation, watch = self.simulation, self.watch
        simulation.end_faults()
        watch.look(everything=True)
        watch.look_at_promises()
        simulation.sleep(300.0)  # every lease is over, and what was late has arrived
        self.ends_at = simulation.now() + LONGEST_NIGHT_S
        last = simulation.start("last", self.recover_all)
        if not last.join(2 * LONGEST_NIGHT_S):
            simulation.violation("L1: recovery did not end")
            return
        watch.look_when_quiet()

    def recover_all(self, process):
        butler = Butler(self.root, run=RUN, instrument="ST8")
        butler.recover()
        while not self.watch.is_quiet() and self.simulation.now() < self.ends_at:
            self.simulation.sleep(100.0)  # follow-ups that failed before wait for their next turn
            butler.recover()
        again = butler.recover().items
        self.watch.hold(again == [] or all(item.action == "left" for item in again), f"R3: {again}")
        self.quietly(butler.close)


def night(seed, directory):
    """Run one seed below a directory; returns its report."""
    one = Night(seed)
    root = directory / "night"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(template(directory, one.rule, one.mode, one.lease_s), root)
    faults = SimulationFaults(
        pauses=one.chance.choice([2, 10, 40]),
        store=one.chance.choice([0, 10, 30]),
        commits=one.chance.choice([0, 3, 10]),
    )
    try:
        return simulate(one.scenario, seed=seed, root=root, faults=faults)
    finally:
        one.watch.close()


def nights(seeds, report=lambda seed, found: None):
    """Run seeds one after the other."""
    with tempfile.TemporaryDirectory(prefix="qio-nights-", dir=in_memory.directory()) as name:
        for number, seed in enumerate(seeds):
            report(seed, night(seed, Path(name)))
            if number % 20 == 0:  # a simulation leaves its circles to us
                gc.collect()
                gc.freeze()


if __name__ == "__main__":
    sys.exit("run python -m tests.simulation --seed N")
