"""The state of the specification: everything that outlives a step of one of its processes."""

from typing import Any, NamedTuple

from attrs import evolve, frozen

from quantumio.model import Committed
from tests.specification.plans import Object, Plan
from tests.specification.registry import Registry, empty

TMP, READY, DONE, CONFLICT = "tmp", "ready", "done", "conflict"
REFUSED = ("conflict", "failed")


class Kept(NamedTuple):
    """An entry of the journal; `holder` has its lock, which a death frees."""

    state: str
    holder: int | None
    epoch: int
    gen: int


class Message(NamedTuple):
    """A request whose answer was lost: it arrives at any time from now on, or never."""

    what: str
    arguments: tuple[Any, ...]


@frozen(cache_hash=True)
class Process:
    """How far one process is; all of it is lost with its death."""

    at: str
    tx: int | None = None
    epoch: int = 0
    gen: int = 0
    placed: int = 0
    outcome: str | None = None
    seen: Any = None  # what it has read, and goes on with
    is_task: bool = True  # somebody waits for its outcome; else it recovers
    wish: str | None = None  # what somebody has decided about what was set aside: retry, drop


@frozen(cache_hash=True)
class Faults:
    """What may still go wrong."""

    deaths: int = 0
    pauses: int = 0
    losses: int = 0
    recoveries: int = 0
    collections: int = 0
    decisions: int = 0


@frozen(cache_hash=True)
class State:
    registry: Registry
    processes: tuple[Process, ...]
    journal: tuple[Kept | None, ...]
    faults: Faults
    objects: frozenset[Object] = frozenset()
    foreign: frozenset[Object] = frozenset()  # names under which something else lies
    wire: frozenset[Message] = frozenset()
    told: tuple[str | None, ...] = ()
    promised: frozenset[int] = frozenset()  # journaled was acknowledged


def begin(*plans: Plan, recoverers: int = 1, collectors: int = 0, **faults: int) -> State:
    """One task for each transaction; processes to recover, and to collect garbage."""
    tasks = [Process("open", tx) for tx in range(len(plans))]
    others = ["idle"] * recoverers + ["collector"] * collectors
    none = (None,) * len(plans)
    processes = (*tasks, *(Process(at, is_task=False) for at in others))
    return State(empty(*plans), processes, none, Faults(**faults), told=none)


# -- words
def at(s: State, *places: str):
    """Yield who is at a place and can act: a process, and its number."""
    for p, me in enumerate(s.processes):
        if me.at in places:
            yield p, me


def go(s: State, p: int, to: str, *, process=None, **changes) -> State:
    """One process goes on; what is in `process` changes of it, the rest of the world."""
    me = evolve(s.processes[p], at=to, **(process or {}))
    return evolve(s, processes=put(s.processes, p, me), **changes)


def put(items, index, item):
    return (*items[:index], item, *items[index + 1 :])


def lost(s: State, what: str, *arguments) -> State:
    """Its sender will have no answer; `s.faults.losses` says whether that may be."""
    return evolve(s, wire=s.wire | {Message(what, arguments)}, faults=spend(s, "losses"))


def spend(s: State, kind: str) -> Faults:
    return evolve(s.faults, **{kind: getattr(s.faults, kind) - 1})


def plan(s: State, me: Process) -> Plan:
    return s.registry.plans[me.tx]


def is_kept(s: State, p: int, me: Process) -> bool:
    entry = s.journal[me.tx]
    return entry is not None and entry.holder == p


def told_by(outcome) -> str:
    if isinstance(outcome, Committed):
        return "reused" if outcome.reused else "committed"
    return type(outcome).__name__.removeprefix("Commit").lower()
