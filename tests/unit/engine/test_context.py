"""A context takes what it can hold, moves nothing that is on its way, and ends once."""

import inspect
import sys
import types
from contextlib import contextmanager
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from astropy.table import QTable

from quantumio.butler._context import DataContext
from quantumio.destinations import _kinds, database
from quantumio.engine import PlanScope
from quantumio.engine._context import Context
from quantumio.errors import DestinationError, ErrorKind, FormatError
from quantumio.model import CommitFailed, CommitParked, Committed
from tests.unit.engine.conftest import Gate


def never():
    return False


def test_value_that_the_format_cannot_hold_is_refused_by_the_put_and_charged_nowhere(make_place):
    place = make_place({"rules": [{"to": ["a"], "formats": {"a": "fits"}}]})
    with place.butler.context() as ctx:
        with pytest.raises(FormatError):
            ctx.put(np.zeros(1000, dtype=complex), "pixels", visit=1, detector=0)
        assert place.runtime.budget.used_bytes == 0
        ctx.put(np.zeros(1000), "pixels", visit=1, detector=0)  # its data ID is free still
    assert place.butler.query("pixels").count() == 1
    place.assert_idle_and_empty()


def test_nothing_is_spilled_of_a_context_that_is_handed_over(make_place):
    place = make_place({"rules": [{"to": ["a"]}]})
    gate = place.install(Gate("a"))
    ctx = place.butler.context()
    ctx.put(np.arange(1000), "pixels", visit=1, detector=0)
    context = ctx._context
    assert context.spillable_bytes == 8000
    ctx.commit("buffered")
    assert gate.reached.wait(60)
    assert context.spillable_bytes == 0
    assert context.spill(memoryview, never) == 0
    gate.opened.set()
    ctx.ticket.wait(timeout=60)
    assert (place.butler.get("pixels", visit=1, detector=0) == np.arange(1000)).all()


@pytest.fixture
def late_kind(monkeypatch):
    """A kind of table destination, of an installed package, that cannot be opened the first time."""
    module, left = types.ModuleType("late_plugin"), [DestinationError("away", kind=ErrorKind.UNREACHABLE)]

    def open_destination(settings, opening):
        if left:
            raise left.pop()
        return database.open_destination(settings, opening)

    module.open_destination, module.IS_TABLE = open_destination, True
    monkeypatch.setitem(sys.modules, "late_plugin", module)
    points = [EntryPoint("late", "late_plugin:open_destination", "quantumio.destinations")]
    monkeypatch.setattr(_kinds, "entry_points", lambda group: points)
    return left


def test_database_that_cannot_be_opened_at_the_put_refuses_nothing(late_kind, make_place, tmp_path):
    """The flush opens it again."""
    late = {"kind": "late", "url": f"sqlite:///{tmp_path}/late.sqlite3"}
    place = make_place({"destinations": {"late": late}, "rules": [{"to": ["a", "late"]}]})
    with place.butler.context() as ctx:
        ctx.put(QTable({"x": [1.0, 2.0]}), "source", visit=1, detector=0)
        assert late_kind == []
    assert {one.destination for one in place.butler.where_is(ctx.refs[0])} == {"a", "late"}


def test_context_of_temporaries_alone_is_no_input_that_the_registry_must_have(place):
    plan = PlanScope()

    def open_context():
        repository, context = place.butler._open_context("r", None, "committed", plan=plan)
        return DataContext(place.butler._session, repository, context)

    first, second = open_context(), open_context()
    first.put({"n": 1}, "stats", visit=1, to="temporary")
    first.commit()
    assert second.get("stats", visit=1) == {"n": 1}
    second.put({"n": 2}, "stats", visit=2, to="a")
    second.commit()
    assert isinstance(second.ticket.outcome, Committed)
    assert second._context.transaction((), ()).requires == ()


def test_outcome_is_told_once(place):
    ctx = place.butler.context()
    ctx.abort()
    outcome = ctx.ticket.outcome
    assert isinstance(outcome, CommitFailed)
    ctx._context.decide(CommitParked(txid=ctx.txid, reason="too late"))
    assert ctx.ticket.outcome is outcome


TAKING = inspect.getsourcelines(Context._take)
CHANGES = [
    TAKING[1] + number
    for number, line in enumerate(TAKING[0])
    if line.strip().startswith(("self._outputs[", "self._persistent =", "self.output_"))
]


@contextmanager
def interrupt_before(line):
    """Raise what Ctrl-C does when a line of `Context._take` is reached."""

    def trace(frame, event, _):
        if frame.f_code is not Context._take.__code__:
            return None
        if event == "line" and frame.f_lineno == line:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_output_whose_put_is_interrupted_is_taken_whole_or_not_at_all(place, number, replace):
    ctx = place.butler.context()
    first = ctx.put({"n": 1}, "stats", visit=1)
    context = ctx._context
    assert [one.ref.id for one in context.persistent_outputs] == [first.ref.id]  # remembered from now on
    visit = 1 if replace else 2
    with interrupt_before(CHANGES[number]), pytest.raises(KeyboardInterrupt):
        ctx.put({"n": 2}, "stats", visit=visit, replace=replace)
    assert context.persistent_outputs == context.outputs
    assert not any(output.is_released for output in context.outputs)
    taken = {output.ref.data_id["visit"]: output.read()["n"] for output in context.outputs}
    ctx.commit()
    assert {visit: place.butler.get("stats", visit=visit)["n"] for visit in taken} == taken
    assert place.butler.query("stats").count() == len(taken)


def test_every_change_that_a_put_makes_is_interrupted():
    assert len(CHANGES) == 4


class Interrupting(int):
    """A number that cannot be added to before Ctrl-C comes."""

    def __add__(self, other):
        raise KeyboardInterrupt


def test_output_that_was_taken_when_ctrl_c_came_is_committed(place):
    ctx = place.butler.context()
    ctx._context.output_bytes = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        ctx.put({"n": 1}, "stats", visit=1)
    ctx.commit()
    assert place.butler.get("stats", visit=1) == {"n": 1}
    place.assert_idle_and_empty()
