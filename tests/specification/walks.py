"""What exploring asks of the registry, as a graph of its states, and walks along all of it."""

from collections import deque

import attrs

from tests.specification import registry as reg
from tests.specification.explorer import explore
from tests.specification.invariants import ACTIONS

CALLS = ("prepare", "take_over", "reopen", "abort", "reap", "flip", "finish")


def asked(start, monkeypatch):
    """Explore, and return what the registry was asked: by state, the calls, and the state after each."""
    edges = {}

    def noting(name, real):
        def call(registry, *arguments):
            result = real(registry, *arguments)
            after = result[0] if name == "flip" else result
            edges.setdefault(unclaimed(registry), {})[name, *arguments] = unclaimed(after)
            return result

        return call

    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(reg, name, noting(name, getattr(reg, name)))
        explore(start, ACTIONS, always=lambda _: None, each_step=lambda *_: None)
    return edges


def unclaimed(registry):
    """Who has claimed what is to follow depends on the time of day, and is not compared."""
    return attrs.evolve(registry, outbox=frozenset(one._replace(claimed_by=None) for one in registry.outbox))


def walks(edges, start, owners):
    """Yield walks from the start, together along every edge; each goes to the nearest that is left."""
    left = {(state, call) for state, calls in edges.items() for call in calls}
    while left:
        walk, state = [], start
        while (way := nearest(edges, state, left, owners)) is not None:
            for call, there in way:
                left.discard((state, call))
                state = there
                walk.append((call, state))
        if not walk:
            raise LookupError(f"no way leads to {next(iter(left))}")
        yield walk


def nearest(edges, state, left, owners):
    ways = {state: ()}
    queue = deque([state])
    while queue:
        here = queue.popleft()
        silences = {
            ("silent", frozenset({p}) ^ here.silent): attrs.evolve(here, silent=frozenset({p}) ^ here.silent)
            for p in range(owners)
        }
        for call, there in (edges.get(here, {}) | silences).items():
            way = (*ways[here], (call, there))
            if (here, call) in left:
                return way
            if there not in ways:
                ways[there] = way
                queue.append(there)
    return None
