"""What the world does to the processes of the specification: deaths, silence, and answers that are late."""

from attrs import evolve

from tests.specification import registry as reg
from tests.specification.state import Process, put, spend


def arrive(s):
    """What was lost on its way back had an effect; or has it now."""
    for message in sorted(s.wire, key=str):
        rest = s.wire - {message}
        if message.what == "put":
            after = evolve(s, wire=rest, objects=s.objects | {*message.arguments} - s.foreign)
        else:
            found = getattr(reg, message.what)(s.registry, *message.arguments)
            after = evolve(s, wire=rest, registry=found[0] if message.what == "flip" else found)
        yield f"a late {message.what} arrives: {message.arguments[0]}", after


def die(s):
    if s.faults.deaths:
        for p, me in enumerate(s.processes):
            if me.at not in ("dead", "open", "rest", "idle", "collector", "person"):
                yield f"P{p} dies", dead(s, p, faults=spend(s, "deaths"))


def dead(s, p, **changes):
    """The kernel frees its locks."""
    journal = tuple(one and (one._replace(holder=None) if one.holder == p else one) for one in s.journal)
    processes = put(s.processes, p, Process("dead", is_task=s.processes[p].is_task))
    return evolve(s, processes=processes, journal=journal, **changes)


def fall_silent(s):
    """A process stands still for longer than its lease; nobody hears of a dead one."""
    for p, me in enumerate(s.processes):
        silence = evolve(s.registry, silent=s.registry.silent | {p})
        if p in s.registry.silent:
            if me.at != "dead":
                heard = evolve(s.registry, silent=s.registry.silent - {p})
                yield f"P{p} goes on", evolve(s, registry=heard)
        elif me.at == "dead":
            yield f"the lease of P{p} is over", evolve(s, registry=silence)
        elif s.faults.pauses and me.at not in ("open", "rest", "idle", "collector", "person"):
            yield f"P{p} stands still", evolve(s, registry=silence, faults=spend(s, "pauses"))
