"""What is wrong is found, with the shortest story: designs, and decisions of the product."""

import attrs
import pytest

from quantumio.engine import _garbage_policy, _standing
from quantumio.engine._garbage_policy import GarbageVerdict
from quantumio.engine._standing import Owning, Resolution
from quantumio.registry._verdict import Verdicts
from tests.specification import registry
from tests.specification.designs import DESIGNS
from tests.specification.explorer import Violation, explore
from tests.specification.invariants import ACTIONS, Holds, each_step
from tests.specification.plans import Plan
from tests.specification.state import begin
from tests.specification.way_back import set_aside

ONE = Plan()
PROMISED = begin(Plan(journal=True), recoveries=1)


def first_violation(start, actions):
    with pytest.raises(Violation) as found:
        explore(start, actions, always=Holds(actions), each_step=each_step)
    return found.value


@pytest.mark.parametrize("name", DESIGNS)
def test_wrong_design_is_found(name):
    design = DESIGNS[name]
    found = first_violation(design.start, design.actions)
    assert found.what.startswith(design.breaks)
    assert len(found.story) == design.steps


def test_story_is_numbered_from_the_start_to_what_is_broken():
    design = DESIGNS["flip_comes_before_the_bytes"]
    assert str(first_violation(design.start, design.actions)).splitlines() == [
        "I2_visible_is_there: t0 is visible, and there is no t0.0.0 (store)",
        "   1. P0 seals t0",
        "   2. P0 writes the intent of t0 at epoch 0",
        "   3. P0 leaves the bytes of t0 for later",
        "   4. P0 flips t0 at epoch 0",
    ]


# -- the decisions that are explored are those of the product
CHECK_OUTPUT = Verdicts._check_output


def without_expectation(self, transaction, place, output, changed):
    return CHECK_OUTPUT(self, transaction, place, attrs.evolve(output, expect=None), changed)


SAME_KEY = begin(Plan(key="k"), Plan(key="k"), recoverers=0)
SAME_VERSION = begin(Plan(expect=0), Plan(expect=0), recoverers=0)
INPUT = begin(ONE, Plan(parts=(1,), requires=(0,)), recoveries=1)
SILENCE = begin(ONE, recoveries=1, losses=1, pauses=1)
COLLECTED = begin(ONE, losses=1, collectors=1, collections=1)
DECISIONS = [
    (_standing, "resolve", lambda *_: Resolution.ENDED, begin(ONE, losses=1), "I7"),
    (_standing, "may_be_cleaned", lambda _: True, SILENCE, "I2"),
    (_standing, "is_abandoned", lambda *_: False, begin(ONE), "R2"),
    (_standing, "how_to_own", lambda record: Owning.OVER if record else Owning.NEW, PROMISED, "I7"),
    (_garbage_policy, "judge", lambda *_: GarbageVerdict.NAMED, COLLECTED, "Q1"),
    (_garbage_policy, "judge", lambda *_: GarbageVerdict.DEAD, COLLECTED, "I2"),
    (_standing, "is_taken_in", lambda _: True, set_aside(decisions=1), "I6"),
    (Verdicts, "_decide", Verdicts._examine, SILENCE, "I"),
    (Verdicts, "_check_output", without_expectation, SAME_VERSION, "I3"),
    (Verdicts, "_reused", lambda *_: None, SAME_KEY, "I8"),
    (Verdicts, "_check_upstreams", lambda *_: None, INPUT, "inputs"),
]


@pytest.fixture
def forgetful():
    """Nothing is remembered of what the product's own decisions said."""

    def forget():
        for one in (registry.flip, registry.record):
            one.cache_clear()

    forget()
    yield
    forget()


@pytest.mark.parametrize(("place", "decision", "wrong", "start", "breaks"), DECISIONS)
def test_wrong_decision_of_the_product_is_found(
    place, decision, wrong, start, breaks, monkeypatch, forgetful
):
    monkeypatch.setattr(place, decision, wrong)
    assert first_violation(start, ACTIONS).what.startswith(breaks)
