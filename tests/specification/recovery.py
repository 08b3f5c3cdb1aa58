"""The specification, continued: what recovery and garbage collection do with what others have left."""

from attrs import evolve

from quantumio.engine import _garbage_policy as policy
from quantumio.engine import _standing as standing
from quantumio.engine._garbage_policy import GarbageVerdict, ObjectName
from quantumio.engine._standing import Owning
from quantumio.ports import LEASE_OVER, ObjectRecord
from tests.specification import registry as reg
from tests.specification.model import rest
from tests.specification.plans import CLEAN, OWNERS, TXIDS, Object
from tests.specification.registry import PREPARING
from tests.specification.state import CONFLICT, READY, at, go, lost, put, spend
from tests.specification.way_back import is_taken_in


def start(s):
    for p, _ in at(s, "idle"):
        if s.faults.recoveries:
            after = go(s, p, "entries", process={"tx": 0}, faults=spend(s, "recoveries"))
            yield f"P{p} begins to recover", after


# -- the journal
def lock_entry(s):
    for p, me in at(s, "entries"):
        entry = s.journal[me.tx]
        if entry is None or entry.state == CONFLICT or entry.holder is not None:
            if entry and entry.holder is None and is_taken_in(s, me.tx):
                continue
            yield f"P{p} finds no free entry of t{me.tx}", rest(s, p)
            continue
        required = s.registry.plans[me.tx].requires
        if any((one := s.journal[upstream]) and one.state == READY for upstream in required):
            yield f"P{p} leaves t{me.tx} until its input is decided", rest(s, p)
            continue
        to = "owning" if entry.state == READY else "discarding"
        journal = put(s.journal, me.tx, entry._replace(holder=p))
        yield f"P{p} locks t{me.tx}.{entry.state}", go(s, p, to, process={"outcome": None}, journal=journal)


def own(s):
    """Make the transaction of an entry one's own, by what the registry says of it."""
    for p, me in at(s, "owning"):
        record = reg.record(s.registry, me.tx)
        how = standing.how_to_own(record)
        doing = f"P{p} asks how t{me.tx} stands, to go on with it: {how.name.lower()}"
        entry = s.journal[me.tx]
        match how:
            case Owning.NEW:
                yield doing, go(s, p, "sealed", process={"epoch": entry.epoch, "gen": entry.gen})
            case Owning.TAKE_OVER | Owning.REOPEN:
                yield doing, go(s, p, how.name, process={"seen": record.epoch})
            case Owning.FINISHED:
                yield doing, go(s, p, "decided", process={"outcome": "reused"})
            case Owning.OVER:
                yield doing, go(s, p, "decided", process={"outcome": "failed"})
    for call, place in (("take_over", Owning.TAKE_OVER), ("reopen", Owning.REOPEN)):
        for p, me in at(s, place.name):
            registry = getattr(reg, call)(s.registry, me.tx, p, me.seen)
            record = reg.record(registry, me.tx)
            if standing.is_carried_by(record, OWNERS[p]):
                to, process = "sealed", {"epoch": record.epoch, "gen": record.generation, "seen": None}
            else:
                to, process = "owning", {"seen": None}  # somebody else was first: it looks again
            doing = f"P{p} takes t{me.tx} from epoch {me.seen} ({place.name.lower()})"
            yield doing, go(s, p, to, process=process, registry=registry)
            if s.faults.losses:
                journal = put(s.journal, me.tx, s.journal[me.tx]._replace(holder=None))
                after = rest(evolve(lost(s, call, me.tx, p, me.seen), journal=journal), p)
                yield f"P{p} does not hear whether it took t{me.tx}", after


# -- transactions of the dead
def end_dead(s):
    for p, _ in at(s, "the dead"):
        kept = frozenset(tx for tx, one in enumerate(s.journal) if one and one.state != CONFLICT)
        yield f"P{p} looks what is in the journal", go(s, p, "dead, not kept", process={"seen": kept})
    for p, me in at(s, "dead, not kept"):
        records = [reg.record(s.registry, tx) for tx in range(len(s.registry.rows))]
        left = tuple(
            (tx, record.epoch, record.lease_over)
            for tx, record in enumerate(records)
            if record and record.state is PREPARING and tx not in me.seen
            if standing.is_abandoned(record, OWNERS[p], lambda one: is_dead_here(s, one))
        )
        yield f"P{p} looks what dead processes have left", next_dead(s, p, left)
    for p, me in at(s, "ending the dead"):
        tx, epoch, lease_over = me.seen[0]
        if lease_over:
            doing = f"P{p} ends t{tx} at epoch {epoch}, whose lease is over"
            yield doing, next_dead(s, p, me.seen[1:], registry=reg.reap(s.registry, tx, epoch))
            continue
        registry = reg.take_over(s.registry, tx, p, epoch)
        is_mine = standing.is_carried_by(reg.record(registry, tx), OWNERS[p])
        doing = f"P{p} takes t{tx} over from a dead process"
        if is_mine:
            yield doing, go(s, p, "ending one", registry=registry)
        else:
            yield doing, next_dead(s, p, me.seen[1:], registry=registry)
    for p, me in at(s, "ending one"):
        tx, epoch, _ = me.seen[0]
        registry = reg.abort(s.registry, tx, epoch + 1, LEASE_OVER)
        yield f"P{p} ends t{tx} at epoch {epoch + 1}", next_dead(s, p, me.seen[1:], registry=registry)


def next_dead(s, p, left, **changes):
    return go(s, p, "ending the dead" if left else "follow-ups", process={"seen": left or None}, **changes)


def is_dead_here(s, record):
    return s.processes[OWNERS.index(record.owner)].at == "dead"


# -- the outbox
def follow_up(s):
    for p, _ in at(s, "follow-ups"):
        due = sorted((one for one in s.registry.outbox if is_due(s, p, one)), key=str)
        if not due:
            yield f"P{p} has recovered", go(s, p, "idle", process={"seen": None})
        for entry in due[:1]:
            registry = reg.claim(s.registry, p, entry)
            process = {"seen": (entry.tx, entry.what)}
            doing = f"P{p} claims to {entry.what.kind} t{entry.tx}"
            yield doing, go(s, p, "following", process=process, registry=registry)
    for p, me in at(s, "following"):
        tx, what = me.seen
        row = s.registry.rows[tx]
        if what is not CLEAN:
            copies = {Object(tx, one.gen, one.part, "second") for one in s.registry.visible if one.tx == tx}
            yield f"P{p} brings the copies of t{tx}", go(s, p, "followed", objects=s.objects | copies)
        elif standing.may_be_cleaned(reg.record(s.registry, tx)):
            doing = f"P{p} sees that t{tx}.{row.planned} may be removed"
            yield doing, go(s, p, "cleaning", process={"seen": (*me.seen, row.planned)})
        else:
            yield f"P{p} sees that t{tx} goes on", go(s, p, "followed")
    for p, me in at(s, "cleaning"):
        tx, what, gen = me.seen
        left = {one for one in s.objects if (one.tx, one.gen) == (tx, gen)}
        after = go(s, p, "followed", process={"seen": (tx, what)}, objects=s.objects - left)
        yield f"P{p} removes what t{tx}.{gen} has placed", after
    for p, me in at(s, "followed"):
        registry = reg.finish(s.registry, *me.seen)
        yield f"P{p} notes that it is done", go(s, p, "follow-ups", process={"seen": None}, registry=registry)


def is_due(s, p, entry):
    owner = entry.claimed_by
    return owner in (None, p) or owner in s.registry.silent or s.processes[owner].at == "dead"


# -- garbage
def collect(s):
    """Without any patience: what is dead is removed at once."""
    for p, _ in at(s, "collector"):
        if s.faults.collections:
            after = go(s, p, "listed", process={"seen": s.objects}, faults=spend(s, "collections"))
            yield f"P{p} lists the stores", after
    for p, me in at(s, "listed"):
        dead = frozenset(one for one in me.seen if is_garbage(s, one))
        yield f"P{p} asks the registry what is dead", go(s, p, "sweeping", process={"seen": dead})
    for p, me in at(s, "sweeping"):
        names = ", ".join(sorted(map(str, me.seen))) or "nothing"
        after = go(s, p, "collector", process={"seen": None}, objects=s.objects - me.seen)
        yield f"P{p} removes {names}", after


def is_garbage(s, one):
    record = reg.record(s.registry, one.tx)
    name = ObjectName(txid=TXIDS[one.tx], generation=one.gen)
    known = ObjectRecord(
        is_referenced=one in named(s),
        state=record and record.state,
        generation=record and record.generation,
    )
    return policy.judge(name, known, 0) is GarbageVerdict.DEAD


def named(s):
    """The objects that datasets have."""
    stores = {tx: ("store", "second") if one.copy else ("store",) for tx, one in enumerate(s.registry.plans)}
    return {Object(v.tx, v.gen, v.part, store) for v in s.registry.visible for store in stores[v.tx]}


def alone(s, p, actions):
    """Let one process go on, and nothing go wrong, until it has nothing left to do."""
    steps = []
    while True:
        found = next((found for action in actions for found in action(s)), None)
        if found is None:
            return s, steps
        sentence, s = found
        steps.append(sentence)
        assert len(steps) < 1000, f"P{p} never ends"


def everybody_dead(s):
    """All processes are dead, and their leases over; one that is new recovers."""
    from tests.specification.faults import dead

    for p in range(len(s.processes)):
        s = dead(s, p)
    silence = evolve(s.registry, silent=frozenset(range(len(s.processes))))
    return evolve(s, registry=silence, wire=frozenset())
