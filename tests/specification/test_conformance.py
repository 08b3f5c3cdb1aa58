"""The registry of the specification does what the real one does, in every transition that was explored.

What the explored states have asked of the registry are the edges of a graph, from one of its states to the
next. Walks along all of them are repeated with a real registry, and both are compared after each step.
"""

import attrs
import pytest

from quantumio.ports import LEASE_OVER
from quantumio.registry import create_registry
from quantumio.system import environment
from tests.specification import registry as reg
from tests.specification.plans import TYPES
from tests.specification.real import Real, specified
from tests.specification.registry import PREPARING, Row
from tests.specification.state import told_by
from tests.specification.test_specification import CASES
from tests.specification.walks import CALLS, asked, walks

TAKE_OVER, REOPEN, ABORT, FLIP = reg.take_over, reg.reopen, reg.abort, reg.flip


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    directory = tmp_path_factory.mktemp("registry")
    url = f"sqlite:///{directory / 'registry.sqlite3'}"
    opened = create_registry(url, universe_tables={}, lock_path=directory / "lock")
    for one in TYPES:
        opened.register_dataset_type(one)
    yield opened
    opened.close()


def go_the_same_way(start, catalog, monkeypatch):
    owners = [environment.uuid7() for _ in start.processes]
    for owner in owners:
        catalog.register_owner(owner, "node", "boot")
    for walk in walks(asked(start, monkeypatch), start.registry, len(owners)):
        real, before, story = Real(catalog, owners, start.registry.plans), start.registry, []
        real.let_be_silent(frozenset())
        for (call, *arguments), after in walk:
            story.append((call, *arguments))
            told = real.ask(call, *arguments)
            assert real.look() == specified(after), story
            if call == "flip":
                assert told == told_by(reg.flip(before, *arguments)[1]), story
            before = after


@pytest.mark.parametrize("name", CASES)
def test_real_registry_goes_the_same_way(name, catalog, monkeypatch):
    go_the_same_way(CASES[name][0], catalog, monkeypatch)


# -- it is seen when the specification says something else
DRIFTED = {}


def drifts(name, case="death, a lost answer"):
    def register(drifted):
        DRIFTED[name] = drifted, case
        return drifted

    return register


@drifts("prepare")
def prepare_replaces_what_another_owner_has_written(registry, tx, owner, epoch, gen, journaled):
    row = registry.rows[tx] or Row(PREPARING, epoch, gen, owner, gen, journaled)
    return registry.put(tx, attrs.evolve(row, planned=gen))


@drifts("take_over", "death, two recoveries")
def taking_over_needs_no_epoch(registry, tx, owner, epoch):
    row = registry.rows[tx]
    return (
        registry if row is None or row.state is not PREPARING else TAKE_OVER(registry, tx, owner, row.epoch)
    )


@drifts("reopen", "silence, a lost answer")
def opening_again_keeps_the_generation(registry, tx, owner, epoch):
    after = REOPEN(registry, tx, owner, epoch)
    return after.put(tx, attrs.evolve(after.rows[tx], gen=registry.rows[tx].gen))


@drifts("abort")
def aborting_leaves_nothing_to_be_cleaned(registry, tx, epoch, reason):
    return attrs.evolve(ABORT(registry, tx, epoch, reason), outbox=registry.outbox)


@drifts("reap", "silence, a lost answer")
def reaping_does_not_wait_for_the_lease(registry, tx, epoch):
    return ABORT(registry, tx, epoch, LEASE_OVER)


@drifts("flip")
def flipping_makes_two_versions(registry, *arguments):
    after, outcome = FLIP(registry, *arguments)
    return attrs.evolve(after, visible=tuple(one._replace(version=2) for one in after.visible)), outcome


@drifts("finish")
def finishing_is_forgotten(registry, tx, what):
    return registry


@pytest.mark.parametrize("name", CALLS)
def test_specification_that_has_drifted_is_found(name, catalog, monkeypatch):
    drifted, case = DRIFTED[name]
    monkeypatch.setattr(reg, name, drifted)
    with pytest.raises(AssertionError):
        go_the_same_way(CASES[case][0], catalog, monkeypatch)
