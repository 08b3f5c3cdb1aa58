"""Designs that are wrong in one step: a specification that finds nothing wrong is worth nothing.

Each is an action in the place of the one that it is registered for; `breaks` is how the finding begins.
"""

from collections.abc import Mapping

from attrs import evolve, frozen

from tests.specification import faults, model, recovery, way_back
from tests.specification import registry as reg
from tests.specification.explorer import Action
from tests.specification.invariants import ACTIONS
from tests.specification.model import decide, rest
from tests.specification.plans import COPY, Object, Plan
from tests.specification.registry import ABORTED
from tests.specification.state import CONFLICT, State, at, begin, go, is_kept, plan, put, told_by

ONE, PROMISED, TWO_PARTS = Plan(), Plan(journal=True), Plan(parts=(0, 1))
NAME = Object(0, 0, 0)


@frozen
class Design:
    """All actions, one of them wrong; where it starts, what it breaks, and in how many steps."""

    actions: Mapping[str, Action]
    start: State
    breaks: str
    steps: int


DESIGNS: dict[str, Design] = {}


def instead_of(replaced, breaks, steps, start):
    def register(action):
        DESIGNS[action.__name__] = Design({**ACTIONS, replaced.__name__: action}, start, breaks, steps)
        return action

    return register


# -- the order of steps
@instead_of(model.place, "I2", 4, begin(ONE))
def flip_comes_before_the_bytes(s):
    for p, me in at(s, "placing"):
        yield f"P{p} leaves the bytes of t{me.tx} for later", go(s, p, "placed")


@instead_of(model.place, "I2", 4, begin(TWO_PARTS))
def first_part_is_enough(s):
    for p, me in at(s, "placing"):
        name = Object(me.tx, me.gen, plan(s, me).parts[0])
        yield f"P{p} places {name}", go(s, p, "placed", objects=s.objects | {name})


@instead_of(model.prepare, "Q1", 2, begin(ONE))
def intent_comes_after_the_first_byte(s):
    for p, me in at(s, "sealed"):
        name = Object(me.tx, me.gen, plan(s, me).parts[0])
        if name not in s.objects:
            yield f"P{p} places {name}", evolve(s, objects=s.objects | {name})
            return
    yield from model.prepare(s)


@instead_of(model.flip, "I6", 5, begin(PROMISED))
def journal_entry_goes_before_the_flip(s):
    for p, me in at(s, "placed"):
        if s.journal[me.tx] is not None:
            yield f"P{p} deletes t{me.tx} from the journal", evolve(s, journal=put(s.journal, me.tx, None))
            return
    yield from model.flip(s)


@instead_of(model.write_journal, "I6", 1, begin(PROMISED))
def promise_is_told_before_it_is_kept(s):
    for p, me in at(s, "open"):
        yield f"P{p} promises t{me.tx}", go(s, p, "sealed", promised=s.promised | {me.tx})


@instead_of(model.flip, "I6", 4, begin(ONE))
def commit_is_told_before_the_flip(s):
    for p, me in at(s, "placed"):
        if s.told[me.tx] is None:
            yield f"P{p} tells that t{me.tx} is committed", evolve(s, told=put(s.told, me.tx, "committed"))
            return
    yield from model.flip(s)


@instead_of(model.settle, "Q2", 6, begin(Plan(copy=True)))
def follow_up_is_noted_before_it_is_done(s):
    for p, me in at(s, "settling"):
        registry = reg.finish(s.registry, me.tx, COPY)
        yield f"P{p} notes that t{me.tx} is settled", go(s, p, "settled", registry=registry)
    for p, me in at(s, "settled"):
        copies = {Object(me.tx, one.gen, one.part, "second") for one in s.registry.visible if one.tx == me.tx}
        yield f"P{p} brings the copies of t{me.tx}", rest(evolve(s, objects=s.objects | copies), p)


# -- epochs and fences
@instead_of(faults.arrive, "I7", 8, begin(ONE, recoveries=1, losses=1, pauses=1))
def flip_needs_no_epoch(s):
    wire = set()
    for message in s.wire:
        if message.what == "flip" and (row := s.registry.rows[message.arguments[0]]):
            tx, p, _, *others = message.arguments
            message = message._replace(arguments=(tx, p, row.epoch, *others))
        wire.add(message)
    yield from faults.arrive(evolve(s, wire=frozenset(wire)))


@instead_of(recovery.end_dead, "I1", 10, begin(ONE, recoveries=1, pauses=1))
def abort_needs_no_fence(s):
    yield from recovery.end_dead(s)
    for p, me in at(s, "ending the dead"):
        tx, *_ = me.seen[0]
        row = evolve(s.registry.rows[tx], state=ABORTED, owner=None, reason="lease")
        after = go(s, p, "follow-ups", process={"seen": None}, registry=s.registry.put(tx, row))
        yield f"P{p} ends t{tx}, however it stands", after


@instead_of(model.resolve, "I7", 8, begin(ONE, losses=2))
def lost_answer_is_a_failure(s):
    for p, me in at(s, "in doubt"):
        yield f"P{p} takes t{me.tx} for failed", decide(s, p, "failed")


@instead_of(model.resolve, "I6", 6, begin(ONE, losses=1))
def lost_answer_is_a_success(s):
    for p, me in at(s, "in doubt"):
        yield f"P{p} takes t{me.tx} for committed", decide(s, p, "committed")


@instead_of(model.resolve, "I2", 7, begin(ONE, losses=2))
def what_is_in_doubt_is_removed(s):
    for sentence, after in model.resolve(s):
        in_doubt = [p for p, me in at(after, "decided") if me.outcome == "unknown"]
        for p in in_doubt:
            after = go(after, p, "removing")
        yield sentence, after


@instead_of(model.begin_again, "I2", 18, begin(ONE, recoveries=1, pauses=1))
def names_of_the_ended_generation_are_used_again(s):
    for sentence, after in model.begin_again(s):
        for p, me in at(after, "sealed"):
            if s.processes[p].at == "reopening":
                row = evolve(after.registry.rows[me.tx], gen=0)
                after = go(after, p, "sealed", process={"gen": 0}, registry=after.registry.put(me.tx, row))
        yield sentence, after


# -- versions, keys, inputs
def flip_with(s, place, view):
    """Flip by what `view` makes of the registry; what it hides stays there as it is."""
    for p, me in at(s, place):
        arguments = (me.tx, p, me.epoch, me.gen, is_kept(s, p, me))
        flipped, outcome = reg.flip(view(me), *arguments)
        seq = s.registry.seq + 1
        new = tuple(one._replace(seq=seq) for one in flipped.visible if one.tx == me.tx)
        visible, outbox = s.registry.visible + new, s.registry.outbox | flipped.outbox
        registry = s.registry.put(me.tx, flipped.rows[me.tx], visible=visible, outbox=outbox, seq=seq)
        yield f"P{p} flips t{me.tx}", decide(s, p, told_by(outcome), registry=registry)


@instead_of(model.flip, "I3", 10, begin(ONE, ONE, recoverers=0))
def versions_are_counted_before_the_flip(s):
    for p, _ in at(s, "placed"):
        yield f"P{p} looks for the latest version", go(s, p, "counted", process={"seen": s.registry})
    yield from flip_with(s, "counted", lambda me: me.seen.put(me.tx, s.registry.rows[me.tx]))


def blind(**ignored):
    """A flip that does not look at something of what it was given."""

    def flip(s):
        plans = tuple(evolve(one, **ignored) for one in s.registry.plans)
        yield from flip_with(s, "placed", lambda me: evolve(s.registry, plans=plans))

    return flip


@instead_of(model.flip, "I3", 8, begin(Plan(expect=0), Plan(expect=0), recoverers=0))
def flip_does_not_look_at_expectations(s):
    return blind(expect=None)(s)


@instead_of(model.flip, "I8", 8, begin(Plan(key="k"), Plan(key="k"), recoverers=0))
def flip_does_not_look_at_keys(s):
    return blind(key=None)(s)


@instead_of(model.flip, "inputs", 16, begin(ONE, Plan(parts=(1,), requires=(0,)), recoveries=1))
def flip_does_not_look_at_inputs(s):
    return blind(requires=())(s)


# -- answers of a store
@instead_of(model.place, "I2", 4, evolve(begin(ONE), foreign=frozenset({NAME})))
def name_that_is_taken_is_a_success(s):
    for sentence, after in model.place(evolve(s, foreign=frozenset())):
        yield sentence, evolve(after, foreign=s.foreign, objects=after.objects - s.foreign)


@instead_of(model.place, "I7_conflicts", 5, begin(ONE, losses=1))
def name_that_is_taken_is_a_conflict(s):
    for p, me in at(s, "placing"):
        if Object(me.tx, me.gen, plan(s, me).parts[me.placed]) in s.objects:
            yield f"P{p} finds the name taken", decide(s, p, "conflict")
            return
    yield from model.place(s)


# -- the journal
@instead_of(model.close_entry, "I6", 6, begin(PROMISED, Plan(expect=0), recoverers=0))
def conflict_deletes_what_was_promised(s):
    for sentence, after in model.close_entry(s):
        lost = [tx for tx, one in enumerate(after.journal) if one and one.state == CONFLICT]
        yield (
            sentence,
            evolve(after, journal=tuple(None if tx in lost else one for tx, one in enumerate(after.journal))),
        )


@instead_of(model.begin_again, "I6", 13, begin(ONE, recoveries=1, pauses=1, losses=1))
def parked_is_kept_by_nobody(s):
    """What `begin_again` keeps in the journal is told as it is."""
    for sentence, after in model.begin_again(s):
        for p, me in at(after, "parking"):
            if s.processes[p].at != "parking":
                after = go(after, p, "decided", journal=put(after.journal, me.tx, None))
        yield sentence, after


@instead_of(recovery.lock_entry, "I6", 5, begin(PROMISED, recoveries=1))
def what_is_written_just_now_is_taken_for_left(s):
    unlocked = tuple(one and one._replace(holder=None) for one in s.journal)
    yield from recovery.lock_entry(evolve(s, journal=unlocked))


@instead_of(recovery.own, "C1", 14, begin(PROMISED, recoverers=2, recoveries=2, deaths=1))
def promise_is_set_aside_when_somebody_else_was_first(s):
    for sentence, after in recovery.own(s):
        for p, _ in at(after, "owning"):
            after = go(after, p, "decided", process={"outcome": "failed"})
        yield sentence, after


# -- a way back
@instead_of(way_back.settle_attempt, "I6", 2, way_back.set_aside(decisions=1))
def what_is_tried_again_is_removed_first(s):
    for sentence, after in way_back.settle_attempt(s):
        gone = put(after.journal, way_back.LOST, None)
        yield sentence, evolve(after, journal=gone) if any(at(after, "sealed")) else after


@instead_of(way_back.end_attempt, "R1", 13, way_back.set_aside(decisions=2, deaths=1, losses=1))
def attempt_of_the_dead_is_not_fenced(s):
    for p, me in at(s, "ending before"):
        process = {"tx": me.tx + 1, "seen": None}
        if me.tx + 1 < len(s.registry.plans):
            yield f"P{p} begins t{me.tx + 1} beside t{me.tx}", go(s, p, "sealed", process=process)


@instead_of(way_back.close_taken_in, "R1", 5, way_back.set_aside(decisions=1))
def recovery_leaves_what_was_taken_in(s):
    for p, me in at(s, "entries"):
        if way_back.is_taken_in(s, me.tx):
            yield f"P{p} leaves t{me.tx}", rest(s, p)


# -- garbage collection
@instead_of(recovery.collect, "I2", 7, begin(ONE, collectors=1, collections=1))
def collection_takes_what_is_on_its_way(s):
    yield from recovery.collect(s)
    for p, me in at(s, "listed"):
        dead = me.seen - recovery.named(s)
        yield f"P{p} takes for dead what nobody names", go(s, p, "sweeping", process={"seen": dead})
