"""The specification of a commit: processes that carry transactions, and what may go wrong at each step.

An action yields what may happen in a state. Names of steps (S3, D.4) are those of the commit protocol; what
is decided is decided by the product itself (`quantumio.engine._standing`).
"""

from attrs import evolve

from quantumio.engine import _standing as standing
from quantumio.engine._standing import Ending, Resolution
from tests.specification import registry as reg
from tests.specification.plans import CLEAN, COPY, OWNERS, Object
from tests.specification.state import (
    CONFLICT,
    DONE,
    READY,
    REFUSED,
    TMP,
    Kept,
    Process,
    at,
    go,
    is_kept,
    lost,
    plan,
    put,
    told_by,
)


# -- S3: the journal
def write_journal(s):
    for p, me in at(s, "open"):
        inputs = {s.told[upstream] for upstream in plan(s, me).requires}
        if None in inputs:
            continue  # it waits
        if inputs - {"committed", "reused"}:
            after = park(s, p) if inputs <= {"committed", "reused", "parked"} else decide(s, p, "failed")
            yield f"P{p} hears that inputs of t{me.tx} are {', '.join(sorted(inputs))}", after
        elif plan(s, me).journal:
            entry = Kept(TMP, p, me.epoch, me.gen)
            yield f"P{p} writes t{me.tx}.tmp", go(s, p, "writing", journal=put(s.journal, me.tx, entry))
        else:
            yield f"P{p} seals t{me.tx}", go(s, p, "sealed")
    for p, me in at(s, "writing", "parking"):
        entry = Kept(READY, p, me.epoch, me.gen)
        journal, to = put(s.journal, me.tx, entry), "sealed" if me.at == "writing" else "decided"
        after = go(s, p, to, journal=journal, promised=s.promised | {me.tx})
        yield f"P{p} makes t{me.tx}.ready of it: it is promised", after


# -- S4: the intent
def prepare(s):
    for p, me in at(s, "sealed"):
        arguments = (me.tx, p, me.epoch, me.gen, is_kept(s, p, me))
        registry = reg.prepare(s.registry, *arguments)
        record = reg.record(registry, me.tx)
        if standing.may_place(record, OWNERS[p], me.epoch):
            after = go(s, p, "placing", process={"placed": 0}, registry=registry)
        else:
            outcome = standing.outcome_of_another(record, lambda _, r=registry, t=me.tx: reg.outcome(r, t))
            after = decide(s, p, told_by(outcome), registry=registry)
        yield f"P{p} writes the intent of t{me.tx} at epoch {me.epoch}", after
        if s.faults.losses:
            yield f"P{p} has no answer to the intent of t{me.tx}", park(lost(s, "prepare", *arguments), p)


# -- S5: the bytes
def place(s):
    for p, me in at(s, "placing"):
        name = Object(me.tx, me.gen, plan(s, me).parts[me.placed])
        is_last = me.placed + 1 == len(plan(s, me).parts)
        if name in s.foreign:
            yield f"P{p} finds something else under {name}", decide(s, p, "failed")
            continue
        to, process = "placed" if is_last else "placing", {"placed": me.placed + 1}
        yield f"P{p} places {name}", go(s, p, to, process=process, objects=s.objects | {name})
        if s.faults.losses and name not in s.objects:  # it will read back, and write again
            yield f"P{p} has no answer to {name}", lost(s, "put", name)


def give_up(s):
    """A destination fails, or the caller aborts, or does not wait any longer."""
    for p, me in at(s, "placing", "placed"):
        yield f"P{p} gives t{me.tx} up", decide(s, p, "failed")
        yield f"P{p} puts t{me.tx} off", park(s, p)


def park(s, p):
    """Keep in the journal what failed only for now."""
    me = s.processes[p]
    if s.journal[me.tx] is not None or plan(s, me).retries is not None:
        return decide(s, p, "parked")
    journal = put(s.journal, me.tx, Kept(TMP, p, me.epoch, me.gen))
    return go(s, p, "parking", process={"outcome": "parked"}, journal=journal)


# -- S6: the flip
def flip(s):
    for p, me in at(s, "placed"):
        arguments = (me.tx, p, me.epoch, me.gen, is_kept(s, p, me))
        registry, outcome = reg.flip(s.registry, *arguments)
        yield f"P{p} flips t{me.tx} at epoch {me.epoch}", decide(s, p, told_by(outcome), registry=registry)
        if s.faults.losses:
            doing = f"P{p} has no answer to the flip of t{me.tx} at epoch {me.epoch}"
            yield doing, go(lost(s, "flip", *arguments), p, "in doubt")


def resolve(s):
    for p, me in at(s, "in doubt"):
        registry = reg.take_over(s.registry, me.tx, p, me.epoch)
        found = standing.resolve(reg.record(registry, me.tx), OWNERS[p], me.epoch)
        doing = f"P{p} takes t{me.tx} over from its own flip: {found.name.lower()}"
        changes = {"registry": registry}
        match found:
            case Resolution.KNOWN:
                outcome = reg.outcome(registry, me.tx)
                yield doing, decide(s, p, told_by(outcome) if outcome else "failed", **changes)
            case Resolution.ENDED:
                yield doing, go(s, p, "placed", **changes)
                yield f"{doing}, once too often", decide(s, p, "failed", **changes)
            case Resolution.FENCED:
                yield doing, go(s, p, "placed", process={"epoch": me.epoch + 1}, **changes)
                yield f"{doing}, once too often", decide(s, p, "failed", **changes)
            case Resolution.TAKEN:
                yield doing, decide(s, p, "parked", **changes)
        if s.faults.losses:
            after = decide(lost(s, "take_over", me.tx, p, me.epoch), p, "unknown")
            yield f"P{p} does not hear whether it took t{me.tx} over", after


# -- the outcome, and what follows from it
def decide(s, p, outcome, **changes):
    to = {"parked": "ended?", "committed": "decided", "unknown": "decided"}.get(outcome, "ending")
    forgotten = {"epoch": 0, "placed": 0, "seen": None}  # so that states which differ in nothing else are one
    return go(s, p, to, process={"outcome": outcome, **forgotten}, **changes)


def begin_again(s):
    """An owner that was ended over its silence, and still has its bytes, goes on under other names."""
    for p, me in at(s, "ended?"):
        record = reg.record(s.registry, me.tx)
        reopening = go(s, p, "reopening", process={"seen": record and record.epoch})
        yield f"P{p} asks how t{me.tx} stands", reopening if standing.may_reopen(record) else keep(s, p)
    for p, me in at(s, "reopening"):
        registry = reg.reopen(s.registry, me.tx, p, me.seen)
        record = reg.record(registry, me.tx)
        again = {"epoch": record.epoch, "gen": record.generation, "seen": None}
        after = evolve(s, registry=registry)
        is_ours = standing.is_carried_by(record, OWNERS[p])
        after = go(after, p, "sealed", process=again) if is_ours else keep(after, p)
        yield f"P{p} opens t{me.tx} again", after
        if s.faults.losses:
            after = keep(lost(s, "reopen", me.tx, p, me.seen), p)
            yield f"P{p} does not hear whether it opened t{me.tx} again", after


def keep(s, p):
    """What is parked is in the journal: else nobody would have its bytes any more."""
    me = s.processes[p]
    if s.journal[me.tx] is not None or plan(s, me).retries is not None:  # what is set aside keeps its bytes
        return go(s, p, "decided", process={"seen": None})
    journal = put(s.journal, me.tx, Kept(TMP, p, me.epoch, me.gen))
    return go(s, p, "parking", process={"seen": None}, journal=journal)


def end(s):
    """A1, A2: what will not become visible is ended, and only then removed."""
    for p, me in at(s, "ending"):
        record = reg.record(s.registry, me.tx)
        how = standing.how_to_end(record, OWNERS[p])
        to = {Ending.REMOVE: "removing", Ending.ABORT: "aborting", Ending.LEAVE: "decided"}[how]
        doing = f"P{p} asks how t{me.tx} stands, to end it: {how.name.lower()}"
        yield doing, go(s, p, to, process={"seen": record and record.epoch})
    for p, me in at(s, "aborting"):
        registry = reg.abort(s.registry, me.tx, me.seen, "user")
        to = "decided" if registry is s.registry else "removing"
        yield f"P{p} aborts t{me.tx} at epoch {me.seen}", go(s, p, to, registry=registry)
        if s.faults.losses:
            after = go(lost(s, "abort", me.tx, me.seen, "user"), p, "decided")
            yield f"P{p} does not hear whether it aborted t{me.tx}", after
    for p, me in at(s, "removing"):
        mine = {Object(me.tx, me.gen, part) for part in plan(s, me).parts}
        yield f"P{p} removes what t{me.tx} has placed", go(s, p, "removed", objects=s.objects - mine)
    for p, me in at(s, "removed"):
        registry = reg.finish(s.registry, me.tx, CLEAN)
        yield f"P{p} notes that t{me.tx} is clean", go(s, p, "decided", registry=registry)


def close_entry(s):
    """S7, C1: what the outcome means for the journal."""
    for p, me in at(s, "decided"):
        if not is_kept(s, p, me):
            continue  # it has only to tell
        entry = s.journal[me.tx]
        if me.outcome in ("committed", "reused"):
            kept, to = entry._replace(state=DONE), "discarding"
        elif me.outcome in REFUSED:
            kept, to = entry._replace(state=CONFLICT, holder=None), "telling"
        else:
            kept, to = entry._replace(holder=None), "telling"
        doing = f"P{p} leaves t{me.tx}.{kept.state} in the journal"
        yield doing, go(s, p, to, journal=put(s.journal, me.tx, kept))
    for p, me in at(s, "discarding"):
        yield f"P{p} deletes t{me.tx}.done", go(s, p, "telling", journal=put(s.journal, me.tx, None))


def tell(s):
    for p, me in at(s, "telling", "decided"):
        if me.at == "decided" and (is_kept(s, p, me) or plan(s, me).retries is not None):
            continue
        is_news = me.is_task or s.told[me.tx] in (None, "parked", "unknown")
        s_told = evolve(s, told=put(s.told, me.tx, me.outcome)) if is_news else s
        is_settled = me.outcome != "committed" or not plan(s, me).copy
        after = rest(s_told, p) if is_settled else go(s_told, p, "settling")
        yield f"P{p} tells that t{me.tx} is {me.outcome}", after


def settle(s):
    """S8: a best-effort copy, and then its note in the outbox."""
    for p, me in at(s, "settling"):
        copies = {Object(me.tx, one.gen, one.part, "second") for one in s.registry.visible if one.tx == me.tx}
        yield f"P{p} brings the copies of t{me.tx}", go(s, p, "settled", objects=s.objects | copies)
    for p, me in at(s, "settled"):
        registry = reg.finish(s.registry, me.tx, COPY)
        yield f"P{p} notes that t{me.tx} is settled", rest(evolve(s, registry=registry), p)


def rest(s, p):
    """Nothing is left to do for this transaction; recovery goes on with the next."""
    me = s.processes[p]
    after = Process("rest", me.tx)
    if not me.is_task:
        is_last = me.tx + 1 == len(s.registry.plans)
        after = Process("the dead" if is_last else "entries", None if is_last else me.tx + 1, is_task=False)
    return evolve(s, processes=put(s.processes, p, after))
