"""The design of a commit, in every state that it can reach: no order of steps, deaths, silences breaks it.

Each case is explored to its end, so that the numbers are exact: another number is another design.
"""

import os

import pytest
from attrs import evolve

from tests.specification.explorer import explore
from tests.specification.invariants import ACTIONS, Holds, each_step
from tests.specification.plans import Object, Plan
from tests.specification.state import begin
from tests.specification.way_back import set_aside

ONE, FIRST, KEYED, COPIED = Plan(), Plan(expect=0), Plan(key="k"), Plan(copy=True)
PROMISED, BOTH = Plan(journal=True), Plan(journal=True, parts=(0, 1))
DEPENDENT = Plan(parts=(1,), requires=(0,))
TAKEN = frozenset({Object(0, 0, 0)})
GC = {"collectors": 1, "collections": 1}

CASES = {
    "death, a lost answer": (begin(ONE, recoveries=1, deaths=1, losses=1), 4841),
    "silence, a lost answer": (begin(ONE, recoveries=1, pauses=1, losses=1), 12849),
    "death, silence, a promise": (begin(BOTH, recoveries=1, deaths=1, pauses=1), 7934),
    "death, a copy": (begin(COPIED, recoveries=1, deaths=1), 864),
    "death, a lost answer, garbage": (begin(ONE, deaths=1, losses=1, **GC), 1262),
    "silence, garbage": (begin(ONE, recoveries=1, pauses=1, **GC), 11747),
    "death, two recoveries": (begin(ONE, recoverers=2, recoveries=2, deaths=1), 17916),
    "a name that is taken": (
        evolve(begin(ONE, recoveries=1, deaths=1, pauses=1, losses=1), foreign=TAKEN),
        4713,
    ),
    "a lost answer, first and next version": (begin(FIRST, ONE, recoverers=0, losses=1), 4263),
    "a lost answer, the same version": (begin(FIRST, FIRST, recoverers=0, losses=1), 4340),
    "a lost answer, the same key": (begin(KEYED, KEYED, recoverers=0, losses=1), 4340),
    "death, an input that is not visible": (begin(ONE, DEPENDENT, recoveries=1, deaths=1), 7270),
}
SET_ASIDE = {
    "a way back: death": (set_aside(decisions=2, recoveries=1, deaths=1), 4674),
    "a way back: silence": (set_aside(decisions=1, recoveries=1, pauses=1), 2737),
    "a way back: a lost answer, death": (set_aside(recoverers=0, decisions=2, deaths=1, losses=1), 2973),
    "a way back: a lost answer, in conflict again": (
        set_aside(expects=(0, None), recoverers=0, decisions=2, losses=1),
        1978,
    ),
}
WIDE = {
    "a way back: silence, two decisions": (set_aside(decisions=2, recoveries=1, pauses=1), 23295),
    "a way back: a lost answer, two people": (
        set_aside(people=2, decisions=2, deaths=1, losses=1),
        23647,
    ),
    "all faults, garbage": (begin(ONE, recoveries=1, deaths=1, pauses=1, losses=1, **GC), 222983),
    "death, silence, two recoveries": (
        begin(PROMISED, recoverers=2, recoveries=2, deaths=1, pauses=1),
        170717,
    ),
    "silence, two lost answers": (begin(ONE, recoveries=1, pauses=1, losses=2), 48790),
    "death, recovery, first and next version": (begin(FIRST, ONE, recoveries=1, deaths=1), 51906),
    "a lost answer, recovery, the same key": (begin(KEYED, KEYED, recoveries=1, losses=1), 148267),
    "silence, recovery, next versions": (begin(BOTH, ONE, recoveries=1, pauses=1), 210412),
}
OFTEN = CASES | SET_ASIDE
ALL = OFTEN | WIDE if os.environ.get("QUANTUMIO_SPECIFICATION_ALL") else OFTEN  # all: three minutes


@pytest.mark.parametrize("name", ALL)
def test_every_state_is_as_promised(name):
    start, states = ALL[name]
    explored = explore(start, ACTIONS, always=Holds(ACTIONS), each_step=each_step)
    assert explored.states == states


def test_every_action_happens():
    happened = set()
    for start, _ in OFTEN.values():
        explored = explore(start, ACTIONS, always=lambda _: None, each_step=lambda *_: None)
        happened |= {name for name, times in explored.taken.items() if times}
        if happened == set(ACTIONS):
            return
    pytest.fail(f"never seen: {set(ACTIONS) - happened}")
