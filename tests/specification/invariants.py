"""What must hold, by the names of the test programme: I always, R after recovery, Q when nothing is left to do.

Each tells what is wrong, or None.
"""

from attrs import evolve

from tests.specification import faults, model, recovery
from tests.specification.model import CONFLICT, DONE, REFUSED, Faults, Process
from tests.specification.registry import COMMITTED, PREPARING, Object

CARRYING = (
    *(model.write_journal, model.prepare, model.place, model.flip, model.resolve, model.begin_again),
    *(model.end, model.close_entry, model.tell, model.settle),
)
RECOVERING = (
    *(recovery.start, recovery.lock_entry, recovery.own, recovery.end_dead, recovery.follow_up),
    recovery.collect,
)
WORLD = (model.give_up, faults.arrive, faults.die, faults.fall_silent)
ACTIONS = {one.__name__: one for one in (*CARRYING, *RECOVERING, *WORLD)}


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


def I6_promises_are_kept(s):
    visible = {one.tx for one in s.registry.visible}
    for tx, told in enumerate(s.told):
        if told == "committed" and tx not in visible:
            return f"t{tx} was told to be committed, and is not visible"
        kept = s.journal[tx]
        if tx in s.promised and tx not in visible and (kept is None or kept.state == DONE):
            return f"t{tx} was promised, is not visible, and not in the journal"
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


def upstream_first(s):
    visible = {one.tx for one in s.registry.visible}
    for tx in visible:
        if missing := set(s.registry.plans[tx].requires) - visible:
            return f"t{tx} is visible, and its inputs {missing} are not"
    return None


# -- each step
def I4_I5_what_is_visible_stays(before, after):
    old, new = before.registry.visible, after.registry.visible
    if new[: len(old)] != old:
        return f"{old} was visible, and is {new} now"
    last = old[-1].seq if old else 0
    if any(one.seq <= last for one in new[len(old) :]):
        return f"{new[len(old) :]} came after {last}"
    return None


ALWAYS = (
    *(I1_all_or_none, I2_visible_is_there, I3_versions_are_consecutive, I6_promises_are_kept),
    *(I7_refused_is_never_visible, I7_conflicts_have_a_winner, I8_a_key_commits_once, upstream_first),
)
EACH_STEP = (I4_I5_what_is_visible_stays,)


# -- after recovery
class Recovered:
    """Whatever the state: if all die in it, one process that recovers and collects makes all well.

    It is asked of every state, and looked at once for those that differ only in what the dead knew.
    """

    def __init__(self, actions):
        self.actions = [one for name, one in actions.items() if name not in {a.__name__ for a in WORLD}]
        self.known = {}
        self.__name__ = "recovered"

    def __call__(self, s):
        s = recovery.everybody_dead(s)
        if s not in self.known:
            self.known[s] = self.look(s)
        return self.known[s]

    def look(self, s):
        p, steps = len(s.processes), []
        s = evolve(s, processes=(*s.processes, Process("idle", is_task=False)), faults=Faults(recoveries=1))
        for name in ("recovered", "recovered again", "collected"):
            if name == "recovered again":
                s = evolve(s, faults=Faults(recoveries=1))
            elif name == "collected":
                s = model.go(s, p, "collector", faults=Faults(collections=1))
            before = s
            s, more = recovery.alone(s, p, self.actions)
            steps += more
            found = next((found for one in ALWAYS if (found := one(s))), None) or left(s)
            if name == "recovered again" and evolve(s, faults=before.faults) != before:
                found = found or "R3: recovering twice is not recovering once"
            if name == "collected" and s.objects != recovery.named(s):
                found = found or f"Q1: there is {s.objects}, and datasets have {recovery.named(s)}"
            if found:
                return f"once all are dead, and it is {name}: {found}\n      " + "\n      ".join(steps)
        return None


def left(s):
    for tx, one in enumerate(s.journal):
        if one and one.state != CONFLICT:
            return f"R1: t{tx}.{one.state} is in the journal"
    for tx, row in enumerate(s.registry.rows):
        if row and row.state is PREPARING:
            return f"R2: t{tx} is on its way, and nobody carries it"
    if s.registry.outbox:
        return f"Q2: {s.registry.outbox} is to be done"
    if missing := {one for one in recovery.named(s) if one.store == "second"} - s.objects:
        return f"Q2: {missing} was never brought"
    return None
