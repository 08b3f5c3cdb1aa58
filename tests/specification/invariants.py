"""What must hold, by the names of the test programme: I always, R after recovery, Q when nothing is left.

Each tells what is wrong, or None.
"""

from attrs import evolve

from quantumio.engine._standing import Owning, how_to_own
from tests.specification import faults, model, recovery, way_back
from tests.specification.plans import Object
from tests.specification.registry import COMMITTED, PREPARING, record
from tests.specification.state import CONFLICT, DONE, REFUSED, Faults, Process, go

CARRYING = (
    *(model.write_journal, model.prepare, model.place, model.flip, model.resolve, model.begin_again),
    *(model.end, model.close_entry, model.tell, model.settle),
)
RECOVERING = (
    *(recovery.start, recovery.lock_entry, recovery.own, recovery.end_dead, recovery.follow_up),
    recovery.collect,
)
DECIDING = (
    *(way_back.decide_about, way_back.settle_attempt, way_back.end_attempt, way_back.judge),
    *(way_back.close_aside, way_back.close_taken_in),
)
WORLD = (model.give_up, faults.arrive, faults.die, faults.fall_silent)
ACTIONS = {one.__name__: one for one in (*CARRYING, *RECOVERING, *DECIDING, *WORLD)}


# -- always
def I1_all_or_none(s):
    for tx, row in enumerate(s.registry.rows):
        parts = [one.part for one in s.registry.visible if one.tx == tx]
        is_committed = row is not None and row.state is COMMITTED
        if sorted(parts) != (list(s.registry.plans[tx].parts) if is_committed else []):
            return f"of t{tx} ({row and row.state}) {parts} are visible"
    return None


def I2_visible_is_there(s):
    for one in s.registry.visible:
        name = Object(one.tx, one.gen, one.part)
        if name not in s.objects:
            what = "something else is under" if name in s.foreign else "there is no"
            return f"t{one.tx} is visible, and {what} {name}"
    return None


def I3_versions_are_consecutive(s):
    for part in {one.part for one in s.registry.visible}:
        versions = [one.version for one in s.registry.visible if one.part == part]
        if versions != list(range(1, len(versions) + 1)):
            return f"part {part} has versions {versions}"
    return None


def I3_expectations_hold(s):
    for one in s.registry.visible:
        expected = s.registry.plans[one.tx].expect
        if expected not in (None, one.version - 1):
            return f"t{one.tx} expected version {expected}, and made {one.version}"
    return None


def taken_in(s):
    """Return what was set aside and has become visible by a retry."""
    return {s.registry.plans[one.tx].retries for one in s.registry.visible} - {None}


def I6_promises_are_kept(s):
    visible = {one.tx for one in s.registry.visible} | taken_in(s)
    keys = {s.registry.plans[tx].key for tx in visible} - {None}
    for tx, told in enumerate(s.told):
        if tx in visible or s.registry.plans[tx].key in keys:
            continue  # itself, or an earlier attempt under its key
        if told in ("committed", "reused"):
            return f"t{tx} was told to be {told}, and is not visible"
        kept = s.journal[tx]
        if told == "dropped":
            continue  # somebody has said so
        if tx in s.promised and (kept is None or kept.state == DONE):
            return f"t{tx} was promised, is not visible, and not in the journal"
        if s.registry.plans[tx].retries is not None:
            continue  # what it retries is promised, and keeps the bytes
        if told == "parked" and tx not in s.promised:
            return f"t{tx} was told to be parked, and nobody keeps it"
    return None


def I7_refused_is_never_visible(s):
    for tx in {one.tx for one in s.registry.visible}:
        if s.told[tx] in REFUSED:
            return f"t{tx} was told to be {s.told[tx]}, and is visible"
    return None


def I7_conflicts_have_a_winner(s):
    for tx, told in enumerate(s.told):
        wanted = s.registry.plans[tx].parts
        if told == "conflict" and not any(v.part in wanted and v.tx != tx for v in s.registry.visible):
            return f"t{tx} was told to conflict, and nobody else was first"
    return None


def I8_a_key_commits_once(s):
    keys = [s.registry.plans[tx].key for tx in {one.tx for one in s.registry.visible}]
    keys = [key for key in keys if key is not None]
    return f"keys {keys} are committed" if len(keys) != len(set(keys)) else None


def I8_what_was_set_aside_is_taken_in_once_or_dropped(s):
    for tx in taken_in(s):
        retries = {one.tx for one in s.registry.visible if s.registry.plans[one.tx].retries == tx}
        if len(retries) > 1 or s.told[tx] == "dropped":
            return f"t{tx} was {s.told[tx]}, and its retries {retries} are visible"
    return None


def inputs_come_first(s):
    visible = {one.tx for one in s.registry.visible}
    for tx in visible:
        if missing := set(s.registry.plans[tx].requires) - visible:
            return f"t{tx} is visible, and its inputs {missing} are not"
    return None


# -- each step
def I4_I5_what_is_visible_stays(before, after):
    old, new = before.registry.visible, after.registry.visible
    if new is old:
        return None
    if new[: len(old)] != old:
        return f"{old} was visible, and is {new} now"
    last = old[-1].seq if old else 0
    if any(one.seq <= last for one in new[len(old) :]):
        return f"{new[len(old) :]} came after {last}"
    return None


def C1_only_what_is_over_is_a_conflict(before, after):
    """Recovery sets a promise aside only where the registry says that it will never be visible."""
    for old, new in zip(before.processes, after.processes, strict=True):
        if new is not old and old.at in ("owning", "TAKE_OVER", "REOPEN") and new.outcome == "failed":
            how = how_to_own(record(after.registry, old.tx))
            if how is not Owning.OVER:
                return f"t{old.tx} is set aside, and could go on: {how.name.lower()}"
    return None


def each_step(before, after):
    return next((f"{one.__name__}: {wrong}" for one in EACH_STEP if (wrong := one(before, after))), None)


ALWAYS = (
    *(I1_all_or_none, I2_visible_is_there, I3_versions_are_consecutive, I3_expectations_hold),
    *(I6_promises_are_kept, I7_refused_is_never_visible, I7_conflicts_have_a_winner),
    *(I8_a_key_commits_once, I8_what_was_set_aside_is_taken_in_once_or_dropped, inputs_come_first),
)
EACH_STEP = (I4_I5_what_is_visible_stays, C1_only_what_is_over_is_a_conflict)


# -- at any time, and after recovery
class Holds:
    """`ALWAYS` holds; and if all died now, one process that recovers and collects would make all well.

    Neither depends on what the living know, so that it is looked at once for all states which differ in that.
    """

    def __init__(self, actions):
        gone_wrong = {one.__name__ for one in WORLD}
        self.steps = [action for name, action in actions.items() if name not in gone_wrong]
        self.known = {}

    def __call__(self, s):
        journal = tuple(one and one._replace(holder=None) for one in s.journal)
        outside = evolve(s.registry, silent=frozenset()), s.objects, s.foreign, journal, s.told, s.promised
        if outside not in self.known:
            self.known[outside] = first_wrong(s) or self.look(recovery.everybody_dead(s))
        return self.known[outside]

    def look(self, s):
        p, story = len(s.processes), []
        s = evolve(s, processes=(*s.processes, Process("idle", is_task=False)))
        for done, to, fault in (
            ("recovered", "idle", Faults(recoveries=1)),
            ("recovered again", "idle", Faults(recoveries=1)),
            ("collected", "collector", Faults(collections=1)),
        ):
            before = s
            s, more = recovery.alone(go(s, p, to, faults=fault), p, self.steps)
            story += more
            wrong = first_wrong(s) or left(s)
            if done == "recovered again" and s != before:
                wrong = wrong or "R3: recovering twice is not recovering once"
            if done == "collected" and s.objects != recovery.named(s):
                wrong = wrong or f"Q1: datasets have {words(recovery.named(s))}, there is {words(s.objects)}"
            if wrong:
                return "\n      ".join([f"{wrong}; all died, and it was {done}:", *story])
        return None


def first_wrong(s):
    return next((f"{one.__name__}: {wrong}" for one in ALWAYS if (wrong := one(s))), None)


def words(objects):
    return ", ".join(sorted(map(str, objects))) or "nothing"


def left(s):
    for tx, one in enumerate(s.journal):
        if one and one.state != CONFLICT:
            return f"R1: t{tx}.{one.state} is in the journal"
        if one and way_back.is_taken_in(s, tx):
            return f"R1: t{tx} was taken in, and is set aside still"
    for tx, row in enumerate(s.registry.rows):
        if row and row.state is PREPARING:
            return f"R2: t{tx} is on its way, and nobody carries it"
    if s.registry.outbox:
        return f"Q2: {s.registry.outbox} is to be done"
    if missing := {one for one in recovery.named(s) if one.store == "second"} - s.objects:
        return f"Q2: {missing} was never brought"
    return None
