"""The specification, continued: somebody takes in again what was set aside, or drops it.

Retries are transactions of their own, t2 and t3, for t0; which of them is next is said by the product.
"""

from attrs import evolve

from quantumio.engine import _standing as standing
from quantumio.model import CommitParked, Committed, TransactionState
from tests.specification import registry as reg
from tests.specification.model import rest
from tests.specification.plans import OWNERS, TXIDS, Object, Plan
from tests.specification.registry import ABORTED, COMMITTED, Row, Visible
from tests.specification.state import (
    CONFLICT,
    DONE,
    Faults,
    Kept,
    Process,
    State,
    at,
    go,
    lost,
    plan,
    put,
    spend,
)

LOST, WINNER = 0, 1
RETRIES = [standing.retry_of(TXIDS[LOST], number) for number in (1, 2)]


def set_aside(*, expects=(None, None), people=1, recoverers=1, **faults: int) -> State:
    """Begin where t0 was promised, and t1 was quicker; `expects` is what its retries ask for."""
    lost, winner = Plan(expect=0, journal=True), Plan()
    plans = (lost, winner, *(Plan(expect=one, retries=LOST) for one in expects))
    rows = (
        Row(ABORTED, 0, 0, None, 0, True, "conflict"),
        Row(COMMITTED, 0, 0, None, 0, False),
        *(None for _ in expects),
    )
    none = (None,) * len(plans)
    registry = reg.Registry(plans, rows, visible=(Visible(WINNER, 0, 0, 1, 1),), seq=1)
    others = ["person"] * people + ["idle"] * recoverers
    return State(
        registry,
        tuple(Process(one, is_task=False) for one in others),
        put(none, LOST, Kept(CONFLICT, None, 0, 0)),
        Faults(**faults),
        objects=frozenset({Object(WINNER, 0, 0)}),
        told=put(put(none, LOST, "conflict"), WINNER, "committed"),
        promised=frozenset({LOST}),
    )


def last(s, tx):
    """Return the place of the last retry, or of the next (None: there is none left), as the product tells."""
    places = [n for n, one in enumerate(s.registry.plans) if one.retries == tx]
    if not places:
        return None, None
    known = dict(zip(RETRIES, places, strict=True))

    def record(txid):
        return reg.record(s.registry, known[txid]) if txid in known else None

    txid, found = standing.last_retry(TXIDS[tx], record)
    return known.get(txid), found


def is_taken_in(s, tx):
    record = last(s, tx)[1]
    return record is not None and record.state is TransactionState.COMMITTED


# -- somebody decides
def decide_about(s):
    for p, _ in at(s, "person"):
        entry = s.journal[LOST]
        if s.faults.decisions and entry and entry.state == CONFLICT and entry.holder is None:
            journal = put(s.journal, LOST, entry._replace(holder=p))
            for wish in ("retry", "drop"):
                process = {"tx": LOST, "wish": wish}
                after = go(s, p, "before", process=process, journal=journal, faults=spend(s, "decisions"))
                yield f"P{p} locks t{LOST}.conflict, to {wish} it", after


def settle_attempt(s):
    """An attempt that somebody has left undecided is ended before anything else."""
    for p, me in at(s, "before", "after"):
        slot, record = last(s, LOST)
        doing = f"P{p} asks how the last attempt stands, {me.at} its own"
        if record is not None and record.state is TransactionState.PREPARING:
            yield doing, go(s, p, f"ending {me.at}", process={"tx": slot, "seen": record.epoch})
        elif record is not None:
            yield doing, go(s, p, "closing", process={"tx": LOST})
        elif me.at == "after" or (slot is None and me.wish == "retry"):
            yield doing, leave(s, p)
        elif me.wish == "drop":
            yield doing, go(s, p, "dropping", process={"tx": LOST})
        else:
            yield doing, go(s, p, "sealed", process={"tx": slot})


def end_attempt(s):
    for p, me in at(s, "ending before", "ending after"):
        to = me.at.removeprefix("ending ")
        if reg.record(s.registry, me.tx).lease_over:
            registry = reg.reap(s.registry, me.tx, me.seen)
            yield (
                f"P{p} ends t{me.tx}, whose lease is over",
                go(s, p, to, process={"seen": None}, registry=registry),
            )
            continue
        registry = reg.take_over(s.registry, me.tx, p, me.seen)
        doing = f"P{p} takes t{me.tx} over, to end it"
        if standing.is_carried_by(reg.record(registry, me.tx), OWNERS[p]):
            yield doing, go(s, p, f"aborting {to}", registry=registry)
        else:
            yield doing, go(s, p, to, process={"seen": None}, registry=registry)
        if s.faults.losses:
            yield (
                f"P{p} does not hear whether it took t{me.tx}",
                leave(lost(s, "take_over", me.tx, p, me.seen), p),
            )
    for p, me in at(s, "aborting before", "aborting after"):
        to = me.at.removeprefix("aborting ")
        arguments = (me.tx, me.seen + 1, "lease")
        registry = reg.abort(s.registry, *arguments)
        yield f"P{p} ends t{me.tx}", go(s, p, to, process={"seen": None}, registry=registry)
        if s.faults.losses:
            yield f"P{p} does not hear whether it ended t{me.tx}", leave(lost(s, "abort", *arguments), p)


def judge(s):
    """What became of its own attempt: only one that is visible lets the bytes go."""
    for p, me in at(s, "decided"):
        if plan(s, me).retries is None:
            continue
        told = put(s.told, me.tx, me.outcome)
        if standing.is_taken_in(outcome_of(me)):
            yield f"P{p} hears that t{me.tx} is visible", go(s, p, "closing", process={"tx": LOST}, told=told)
        else:
            yield f"P{p} hears that t{me.tx} is {me.outcome}", go(s, p, "after", told=told)


def outcome_of(me):
    if me.outcome in ("committed", "reused"):
        return Committed(txid=TXIDS[me.tx], refs=(), commit_seq=1, reused=me.outcome == "reused")
    return CommitParked(txid=TXIDS[me.tx], reason=me.outcome)  # the decision asks for no more than that


def close_aside(s):
    for p, me in at(s, "closing", "dropping"):
        journal = put(s.journal, LOST, s.journal[LOST]._replace(state=DONE))
        told = put(s.told, LOST, "dropped") if me.at == "dropping" else s.told
        yield f"P{p} makes t{LOST}.done of it, {me.at} it", go(s, p, "clearing", journal=journal, told=told)
    for p, me in at(s, "clearing"):
        cleared = evolve(s, journal=put(s.journal, LOST, None))
        yield f"P{p} deletes t{LOST}.done", back(cleared, p) if me.wish else rest(cleared, p)


def close_taken_in(s):
    """Recovery removes what is visible already, and decides nothing else."""
    for p, me in at(s, "entries"):
        entry = s.journal[me.tx]
        if entry and entry.state == CONFLICT and entry.holder is None and is_taken_in(s, me.tx):
            journal = put(s.journal, me.tx, entry._replace(holder=p))
            yield f"P{p} sees that t{me.tx} was taken in", go(s, p, "closing", journal=journal)


def leave(s, p):
    """It stays set aside, for whoever comes."""
    return back(evolve(s, journal=put(s.journal, LOST, s.journal[LOST]._replace(holder=None))), p)


def back(s, p):
    return evolve(s, processes=put(s.processes, p, Process("person", is_task=False)))
