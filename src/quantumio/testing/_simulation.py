"""Processes that share a repository, die and lose their power: simulated in one, in an order from a seed."""

from __future__ import annotations

import _thread
import concurrent.futures
import contextlib
import contextvars
import errno
import fcntl
import gc
import os
import random
import sqlite3
import threading
import traceback
from collections import UserDict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest import mock
from uuid import UUID

import anyio
import anyio.to_thread
import trio
from attrs import define, field, frozen

from quantumio.system import environment, failpoints, files, locks
from quantumio.testing._simulated_clock import SimulatedClock, sleep
from quantumio.testing._simulated_disk import SimulatedDisk
from quantumio.testing._simulated_registry import connection_class
from quantumio.testing._simulated_store import PROTOCOL, SimulatedStore, StoreFileSystem
from quantumio.testing._simulated_threads import (
    NURSERY,
    Killed,
    SimulatedEvent,
    SimulatedLock,
    SimulatedReentrantLock,
    SimulatedSignal,
    SimulatedThread,
    on_one_core,
    run_in_turn,
    run_now,
    turn,
    wait_until,
)

__all__ = ["SimulatedProcess", "Simulation", "SimulationFaults", "SimulationReport", "simulate"]

_BEGIN_NS: Final = 1_800_000_000_000_000_000
_LONGEST_S: Final = 1e5
"""Simulated seconds after which a scenario counts as hanging."""

_STOPS: Final = 0.01
"""How probable it is at a point that a process stands still that does so at all."""

_STOPS_THERE: Final = 0.4
"""The same, at a point that was named."""

_UNTIL_ANOTHER_WAKES: Final = 0.5
"""How probable it is that it then wakes just after another one that stands still."""


@frozen(kw_only=True)
class SimulationFaults:
    """How often something happens, in a hundred times.

    Attributes
    ----------
    pauses
        A thread gives its turn to others at a point.
    store
        A request to the object store is refused, stalls, is slow or late, or its answer is lost.
    commits
        The answer of a COMMIT is lost, before or after its effect.
    """

    pauses: int = 25
    store: int = 15
    commits: int = 4


@frozen(kw_only=True)
class SimulationReport:
    """What came of one seed.

    Attributes
    ----------
    trace
        A line for each thing that happened, in order: the same for the same seed.
    violations
        What must not be.
    simulated_s
        How long it took by the simulation's clock, in seconds.
    """

    trace: tuple[str, ...]
    violations: tuple[str, ...]
    simulated_s: float


@define(eq=False)
class SimulatedProcess:
    """One process of a simulation.

    Attributes
    ----------
    name
        In the trace.
    pid
        Its number.
    host
        The machine it runs on.
    points
        How many points it has come by.
    dies_at
        At which of them it is killed; 0 for none.
    is_dead
        Whether it was killed, or has ended.
    stands_still_until
        All its threads stop until then, at their next point: nothing of it is heard meanwhile.
    longest_stop_s
        It stands still now and then, so long at most; 0: never.
    stops_at
        Points at which it does so more often.
    """

    name: str
    pid: int
    host: str
    simulation: Simulation
    dies_at: int = 0
    points: int = 0
    is_dead: bool = False
    stands_still_until: float = 0.0
    longest_stop_s: float = 0.0
    stops_at: frozenset[str] = frozenset()
    connections: list[sqlite3.Connection] = field(init=False, factory=list, repr=False)
    remembered: dict[Any, Any] = field(init=False, factory=dict, repr=False)
    _shields: list[Any] = field(init=False, factory=list, repr=False)
    _scope: trio.CancelScope = field(init=False, factory=trio.CancelScope, repr=False)
    _ended: SimulatedEvent = field(init=False, factory=SimulatedEvent, repr=False)

    def kill(self) -> None:
        """End it here and now; nothing that it was doing has an effect any more."""
        if self.is_dead:
            return
        self.simulation.note(f"{self.name} is killed")
        if (here := turn()) is None:
            self.die()
        else:
            here.wait_for(self._die_soon)

    async def _die_soon(self) -> None:
        self.die()

    def die(self) -> None:
        """End it, from the event loop."""
        self.is_dead = True
        self.simulation.release_files(self)
        for shield in self._shields:
            shield.shield = False
        self._scope.cancel()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait, as another process, until it has ended; False on timeout."""
        return self._ended.wait(timeout_s)

    def shield(self, scope: Any) -> None:
        """Note a scope that not even the end of the process would reach."""
        self._shields.append(scope)
        scope.shield = not self.is_dead

    async def run(self, function: Callable[[SimulatedProcess], object]) -> None:
        """Run a function as the main thread of the process."""
        _process.set(self)
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    NURSERY.set(nursery)
                    await run_in_turn(function, self)
                    self.die()
        except* Killed:
            pass
        except* Exception as group:  # noqa: BLE001  a finding
            if not self.is_dead:  # else it met the loss of its own files on the way down
                self.simulation.violation("".join(traceback.format_exception(group)))
        finally:
            self.die()
            self._ended.set()


class _OfProcess(UserDict[Any, Any]):
    """A dictionary of a module, of which each process has its own."""

    @property
    def data(self) -> dict[Any, Any]:  # where `UserDict` keeps everything
        process = _process.get()
        return self._outside if process is None else process.remembered

    @data.setter
    def data(self, value: dict[Any, Any]) -> None:
        self._outside = value


_process: contextvars.ContextVar[SimulatedProcess | None] = contextvars.ContextVar("process", default=None)


class Simulation:
    """A world of one repository: clock, chance, disk, registry, object store, and processes.

    Its methods are for a scenario, which runs in a simulated thread of its own.

    Parameters
    ----------
    seed
        Of all chance.
    root
        Directory of the repository.
    faults
        How often something happens.
    """

    def __init__(self, seed: int, root: Path, faults: SimulationFaults) -> None:
        self.chance = random.Random(seed)  # noqa: S311  the same for the same seed
        self.root = root
        self.faults = faults
        self.are_faults_on = True
        self.trace: list[str] = []
        self.violations: list[str] = []
        self.processes: list[SimulatedProcess] = []
        chance = random.Random(seed + 1)  # noqa: S311  the same for the same seed
        self.store = SimulatedStore(chance, faults.store, self._later, self.note)
        self.watch: Callable[[str, tuple[object, ...]], None] = lambda name, subject: None
        self._clock = SimulatedClock()
        self._disk = SimulatedDisk(root, self.chance)
        self._locked: dict[tuple[int, int], tuple[int, SimulatedProcess | None]] = {}
        self._scenario = SimulatedProcess("scenario", os.getpid(), "outside", self)
        self._away_until = 0.0
        self._was_troubled = False
        self._uuid = 0
        self._nursery: trio.Nursery
        self._is_inspecting = False

    # -- for scenarios
    def start(
        self,
        name: str,
        function: Callable[[SimulatedProcess], object],
        *,
        host: str = "here",
        dies_at: int = 0,
        longest_stop_s: float = 0.0,
        stops_at: frozenset[str] = frozenset(),
    ) -> SimulatedProcess:
        """Start a process whose main thread runs a function; when that returns, it ends as if killed.

        Parameters
        ----------
        name
            For the trace.
        function
            Its program.
        host
            The machine it runs on: of a death on another one nobody knows until the lease is over.
        dies_at
            At which of its points it is killed; 0: at none.
        longest_stop_s
            It stands still now and then, so long at most; 0: never.
        stops_at
            Points at which it does so more often.
        """
        process = SimulatedProcess(
            name,
            1000 + len(self.processes),
            host,
            self,
            dies_at,
            longest_stop_s=longest_stop_s,
            stops_at=stops_at,
        )
        self.processes.append(process)
        self.note(f"{name} starts")
        here = turn()
        assert here is not None, "a scenario starts processes"

        async def begin() -> None:
            self._nursery.start_soon(process.run, function)

        here.wait_for(begin)
        return process

    def in_threads(self, functions: list[Callable[[], object]]) -> None:
        """Run functions in threads of the calling process, and wait for all."""
        threads = [SimulatedThread(target=function) for function in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def sleep(self, seconds: float) -> None:
        """Let simulated time pass."""
        here = turn()
        assert here is not None
        here.wait_for(partial(sleep, seconds))

    def now(self) -> float:
        """Return the simulated seconds since the beginning."""
        return self._clock.current_time()

    def now_ns(self) -> int:
        """Return the simulated wall clock, in nanoseconds since 1970."""
        return _BEGIN_NS + round(self.now() * 1e9)

    def note(self, what: str) -> None:
        """Add a line to the trace."""
        process = _process.get()
        self.trace.append(f"{self.now():.6f} {process.name if process else '-'} {what}")

    def violation(self, what: str) -> None:
        """Note what must not be."""
        self.note(f"VIOLATION {what}")
        self.violations.append(what)

    def lose_registry(self, seconds: float) -> None:
        """Have the registry out of reach for some time."""
        self.note(f"the registry is away for {seconds:.3f} s")
        self._away_until = self.now() + seconds
        self._was_troubled = True

    def cut_power(self) -> None:
        """Kill all processes, and leave of the disk what survives a power cut."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()
        self.note("the power fails")
        self._disk.cut_power()

    def end_faults(self) -> None:
        """Have nothing go wrong any more."""
        self.are_faults_on = False
        self.store.trouble = 0
        self._away_until = 0.0

    @contextlib.contextmanager
    def inspecting(self) -> Iterator[None]:
        """Look from outside meanwhile: nothing fails and nothing is scheduled."""
        before, self._is_inspecting = self._is_inspecting, True
        try:
            yield
        finally:
            self._is_inspecting = before

    # -- what happens at points
    def reached(self, name: str, subject: tuple[object, ...]) -> None:
        """Come by a point: others may run, and the process may die."""
        if self._is_inspecting:
            return
        process = _process.get()
        if process is not None and process.is_dead:
            raise Killed
        self._disk(name, subject)
        self.note(name)
        if name.endswith(".after"):
            with self.inspecting():
                self.watch(name, subject)
        if process is None:
            return
        process.points += 1
        if process.points == process.dies_at:
            process.kill()
        if process.is_dead:
            raise Killed
        if (here := turn()) is not None:
            often = _STOPS_THERE if name in process.stops_at else _STOPS
            if process.longest_stop_s and self.chance.random() < often:
                self.stop(process, self._stop_s(process))
            if (still_s := process.stands_still_until - self.now()) > 0:
                here.wait_for(partial(sleep, still_s))
            elif self.chance.randrange(100) < self.faults.pauses:
                pause_s = self.chance.expovariate(500.0)
                here.wait_for(partial(sleep, pause_s))
            if process.is_dead:  # killed at the very moment at which it woke
                raise Killed

    def _stop_s(self, process: SimulatedProcess) -> float:
        """Return for how long a process stands still: often until just after another one wakes."""
        others = [one.stands_still_until for one in self.processes if one is not process and not one.is_dead]
        waking = [moment for moment in others if moment > self.now()]
        if waking and self.chance.random() < _UNTIL_ANOTHER_WAKES:
            return self.chance.choice(waking) - self.now() + self.chance.expovariate(1.0)
        return self.chance.uniform(0, process.longest_stop_s)

    def stop(self, process: SimulatedProcess, seconds: float) -> None:
        """Have a process stand still for some time, as SIGSTOP does, or a machine that swaps."""
        process.stands_still_until = max(process.stands_still_until, self.now() + seconds)
        self._was_troubled = True  # it may hold the lock of the registry for longer than others wait
        self.note(f"{process.name} stands still for {seconds:.3f} s")

    # -- the registry
    def registry_is_away(self) -> bool:
        """Whether it is out of reach."""
        return not self._is_inspecting and self.now() < self._away_until

    def registry_was_troubled(self) -> bool:
        """Whether it was out of reach, an answer of it was lost, or a process stood still, at any time."""
        return self._was_troubled

    def fate_of_commit(self) -> str | None:
        """Return what happens to a COMMIT: ``undone`` or ``done`` where its answer is lost."""
        if not self.are_faults_on or self.chance.randrange(100) >= self.faults.commits:
            return None
        fate = self.chance.choice(["undone", "done"])
        self._was_troubled = True
        self.note(f"the answer of a COMMIT is lost, it is {fate}")
        return fate

    def committed(self) -> None:
        """Look at what a COMMIT did whose answer is lost."""
        with self.inspecting():
            self.watch("registry.commit.after", ())

    def running(self) -> SimulatedProcess | None:
        """Return the process that has its turn; None while the scenario has it."""
        return _process.get()

    def opened(self, connection: sqlite3.Connection) -> None:
        """Note a connection of the process that is running."""
        if (process := _process.get()) is not None and not self._is_inspecting:
            process.connections.append(connection)

    # -- files
    def flock(self, descriptor: int, operation: int) -> None:
        """Stand for `fcntl.flock`."""
        status = os.fstat(descriptor)
        identity = status.st_dev, status.st_ino
        process = _process.get()
        if operation & fcntl.LOCK_UN:
            if self._locked.get(identity, (None, None))[0] == descriptor:
                del self._locked[identity]
            return

        def take() -> bool:
            if identity in self._locked:
                return False
            self._locked[identity] = descriptor, process
            return True

        if not take():
            if operation & fcntl.LOCK_NB:
                raise BlockingIOError(errno.EWOULDBLOCK, "somebody has the lock")
            wait_until(take)

    def release_files(self, process: SimulatedProcess | None) -> None:
        """Do what the kernel does at the end of a process (None: of all): close its files."""
        held = {descriptor for descriptor, owner in self._locked.values() if process in (None, owner)}
        for one in tuple(locks._lock_files):  # noqa: SLF001  as the kernel knows them
            if one.descriptor in held:
                one.close()
        for each in self.processes if process is None else [process]:
            while each.connections:
                each.connections.pop().close()

    # -- time and chance
    def _uuid7(self) -> UUID:
        """As `environment.uuid7`, from the seed."""
        value = (self.now_ns() // 1_000_000) << 74 | self.chance.getrandbits(74)
        self._uuid = value = max(value, self._uuid + 1)
        return UUID(
            int=value >> 74 << 80
            | 7 << 76
            | (value >> 62 & 0xFFF) << 64
            | 2 << 62
            | value & 0x3FFFFFFFFFFFFFFF
        )

    def _later(self, seconds: float, effect: Callable[[], object]) -> None:
        async def wait() -> None:
            await sleep(seconds)
            self.note("a late request arrives")
            with contextlib.suppress(OSError):
                effect()

        self._nursery.start_soon(wait)

    # -- running
    def run(self, scenario: Callable[[Simulation], None]) -> SimulationReport:
        """Run a scenario to its end."""
        core = trio._core._run  # noqa: SLF001  the hook that trio keeps for Hypothesis
        core._r.seed(self.chance.random())  # noqa: SLF001
        StoreFileSystem.store = self.store
        gc.disable()  # finalizers run when the last reference goes, not whenever
        try:
            with self._in_place(core):
                trio.run(self._main, scenario, clock=self._clock)
        finally:
            gc.enable()
        return SimulationReport(
            trace=tuple(self.trace), violations=tuple(self.violations), simulated_s=self.now()
        )

    async def _main(self, scenario: Callable[[Simulation], None]) -> None:
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._end_late)
                await run_in_turn(scenario, self)
                self._end()
        except* Killed:
            self.violation(f"it did not end within {_LONGEST_S:g} simulated seconds")
        finally:
            self.release_files(None)

    async def _end_late(self) -> None:
        await sleep(_LONGEST_S)
        self._end()

    def _end(self) -> None:
        for process in (*self.processes, self._scenario):
            if not process.is_dead:
                process.die()
        self._nursery.cancel_scope.cancel()

    @contextlib.contextmanager
    def _in_place(self, core: Any) -> Iterator[None]:
        """Put the simulation's own in the place of clocks, chance, threads, locks and connections."""
        import fsspec
        import fsspec.asyn

        fsspec.register_implementation(PROTOCOL, StoreFileSystem, clobber=True)
        real_scope, real_connect = anyio.CancelScope, sqlite3.connect
        real_thread, connections = threading.current_thread, connection_class(self)

        def scope(**options: Any) -> Any:
            made = real_scope(**options)
            if options.get("shield"):
                process = _process.get()
                (self._scenario if process is None else process).shield(made)
            return made

        def connect(*arguments: Any, **options: Any) -> Any:
            return real_connect(*arguments, **{**options, "factory": connections})

        def pid() -> int:
            process = _process.get()
            return os.getpid() if process is None else process.pid

        def host() -> str:
            process = _process.get()
            return "outside" if process is None else process.host

        def sync(
            loop: object, function: Any, *arguments: Any, timeout: float | None = None, **named: Any
        ) -> Any:
            async def call() -> Any:
                with anyio.fail_after(timeout):
                    return await function(*arguments, **named)

            here = turn()
            assert here is not None, "a store is called from a worker thread"
            return here.wait_for(call)

        replaced: list[tuple[object, str, object]] = [
            (environment, "now_ns", self.now_ns),
            (environment, "monotonic", self.now),
            (environment, "perf_counter", self.now),
            (environment, "pid", pid),
            (environment, "uuid7", self._uuid7),
            (environment, "uuid7_bytes", lambda count: [self._uuid7().bytes for _ in range(count)]),
            (environment, "random_token", lambda nbytes=8: self.chance.randbytes(nbytes).hex()),
            (environment, "host", host),
            (environment, "boot_id", lambda: f"{host()}:1"),
            (environment, "Signal", SimulatedSignal),
            (threading, "Lock", SimulatedLock),
            (threading, "RLock", SimulatedReentrantLock),
            (threading, "Event", SimulatedEvent),
            (threading, "Thread", SimulatedThread),
            (threading, "current_thread", lambda: turn() or real_thread()),
            (_thread, "start_new_thread", lambda function, arguments: function(*arguments)),
            (concurrent.futures.ThreadPoolExecutor, "submit", run_now),
            (fcntl, "flock", self.flock),
            (locks, "_LOOKS", 2),  # who waits for a lock looks more rarely: waiting costs nothing here
            (locks, "_LONGEST_PAUSE_S", 5.0),
            (files, "_durable", _OfProcess()),
            (sqlite3, "connect", connect),
            (anyio, "CancelScope", scope),
            (anyio.to_thread, "run_sync", run_in_turn),
            (fsspec.asyn, "sync", sync),
            (core, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
        ]
        with contextlib.ExitStack() as stack:
            for owner, name, value in replaced:
                stack.enter_context(mock.patch.object(owner, name, value))
            stack.enter_context(failpoints.recorded(self.reached))
            yield


def simulate(
    scenario: Callable[[Simulation], None],
    *,
    seed: int,
    root: Path,
    faults: SimulationFaults | None = None,
) -> SimulationReport:
    """Run a scenario on a repository in a simulated world; all that happens there comes from the seed.

    The engine, the Butler and SQLite are the real ones. Threads take turns, and who is next is drawn; the
    clock jumps to the next moment at which somebody wakes; killed processes stop at one of their points; a
    power cut leaves of the disk what was synced, and any part of the rest.

    Parameters
    ----------
    scenario
        Starts processes, kills them and cuts the power; runs in a simulated thread that never dies.
    seed
        The same seed gives the same trace, in a Python whose hashes are the same (``PYTHONHASHSEED``).
    root
        Of a repository. All that is there is durable. An object store is at ``simulated://`` URLs.
    faults
        How often something happens.

    Notes
    -----
    The calling thread, and those that it starts meanwhile, stay on one core.
    """
    with on_one_core():
        return Simulation(seed, root, faults or SimulationFaults()).run(scenario)
