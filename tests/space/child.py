"""Works under limits that the system holds, and tells what came of it, one line of JSON for each step.

A process of its own: a limit of memory is one of the whole process. ``RLIMIT_NPROC`` does not hold for root;
where threads are to be refused, each is to have a stack for which there is no room.
"""

import contextlib
import faulthandler
import json
import re
import resource
import sys
import threading
from pathlib import Path

import anyio
import numpy as np

from quantumio import AsyncButler, Butler, DatasetType, QuantumioError
from quantumio.system import threads

RUN = "r"
SIZE = 1 << 19  # elements of an array, 4 MiB
LENGTH = 12 << 20  # of a text, whose snapshot costs nothing and whose bytes are made when it is committed
OUTPUTS = 12
LARGE_STACK = 512 << 20
TWO = {
    "destinations": {"second": {"kind": "files", "root": "second"}},
    "rules": [{"to": ["local", "second?"]}],
}


def tell(**what):
    print(json.dumps(what), flush=True)


def open_(repository):
    return Butler(repository, run=RUN, instrument="ST8")


def value(visit, type_="array"):
    return np.full(SIZE, float(visit)) if type_ == "array" else {"text": f"{visit} ".ljust(LENGTH)}


@contextlib.contextmanager
def limited(room):
    """Let the address space of this process grow by so many bytes at most."""
    status = Path("/proc/self/status").read_text()
    used = int(re.search(r"VmSize:\s+(\d+)", status)[1]) << 10
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextlib.contextmanager
def no_new_threads(room=LARGE_STACK // 2):
    before = threading.stack_size(LARGE_STACK)
    try:
        with limited(room):
            yield
    finally:
        threading.stack_size(before)


def refused(step, error):
    tell(step=step, error=type(error).__name__, kind=getattr(error, "kind", None), said=str(error))


def put_and_commit(butler, visit, given, ack, type_="array"):
    """Put one output and commit it; returns its ticket, None where that was refused."""
    ctx = butler.context()
    try:
        ctx.put(given, type_, visit=visit)
    except Exception as error:  # noqa: BLE001  told, and judged by the test
        refused("put", error)
        ctx.abort()
        return None
    try:
        return ctx.commit(ack)
    except Exception as error:  # noqa: BLE001  told, and judged by the test
        refused("commit", error)
        return ctx.ticket


def drain(butler):
    try:
        butler.drain()
    except ExceptionGroup as group:
        for error in group.exceptions:
            refused("drain", error)


def visible(butler, type_="array"):
    visits = sorted(ref.data_id["visit"] for ref in butler.query(type_))
    for visit in visits:
        np.testing.assert_equal(butler.get(type_, visit=visit), value(visit, type_))
    return visits


def memory(repository, type_, ack, room):
    """Put outputs that do not fit."""
    with open_(repository) as butler:
        put_and_commit(butler, 0, value(0, type_), "settled", type_)  # all is loaded
        values = [value(visit, type_) for visit in range(OUTPUTS)]
        # CPython's own ``Thread.start`` waits for ever for a thread that finds no memory to say that it runs.
        with no_new_threads(int(room) << 20):
            tickets = {}
            for visit, given in enumerate(values[1:], start=1):
                ticket = put_and_commit(butler, visit, given, ack, type_)
                if ticket is not None:
                    tickets[visit] = ticket
            drain(butler)
            under = {visit: type(ticket.outcome).__name__ for visit, ticket in tickets.items()}
            tell(step="under the limit", outcomes=under)
        butler.recover()
        drain(butler)
        after = {visit: type(ticket.outcome).__name__ for visit, ticket in tickets.items()}
        tell(step="after", outcomes=after, visible=visible(butler, type_))
        put_and_commit(butler, 100, value(100, type_), "settled", type_)
        tell(step="goes on", visible=visible(butler, type_))
        butler.errors(acknowledge=True)


def threads_later(repository, ack):
    """Commit to two places while the threads that there are must do."""
    with open_(repository) as butler:
        put_and_commit(butler, 0, value(0), "settled")
        with no_new_threads():
            contexts = [butler.context() for _ in range(6)]
            for number, ctx in enumerate(contexts):
                for visit in range(1 + 4 * number, 5 + 4 * number):
                    ctx.put(value(visit), "array", visit=visit)
            tickets = [ctx.commit("buffered") for ctx in contexts[:-1]]
            tickets.append(contexts[-1].commit(ack))
            drain(butler)
            tell(step="under the limit", outcomes=[type(ticket.outcome).__name__ for ticket in tickets])
            try:
                tell(step="fsck", whole=butler.fsck(2).is_whole)
            except QuantumioError as error:  # it has a pool of its own, which has no thread yet
                refused("fsck", error)
        tell(step="after", visible=visible(butler), errors=[str(error) for error in butler.errors()])


def threads_first(repository, ack):
    """Commit where not even the runtime's own thread can be started; and again, when it can."""
    threads._PATIENCE_S = 0.2
    with open_(repository) as butler:
        ctx = butler.context()
        ctx.put(value(1), "array", visit=1)
        with no_new_threads():
            try:
                ctx.commit(ack)
            except QuantumioError as error:
                refused("commit", error)
            tell(step="under the limit", is_open=ctx.is_open)
        ctx.commit(ack)
        drain(butler)
        tell(step="after", visible=visible(butler))


def threads_of_a_loop(repository, ack):
    """The same from an event loop, which has worker threads of its own."""
    threads._PATIENCE_S = 0.2

    async def put(ctx, visit):
        try:
            await ctx.put(value(visit), "array", visit=visit)
            tell(step="put", visit=visit)
        except QuantumioError as error:
            refused("put", error)

    async def main():
        async with AsyncButler(repository, run=RUN, instrument="ST8") as butler:
            ctx = await butler.context().__aenter__()
            await ctx.put(value(1), "array", visit=1)
            with no_new_threads():
                async with anyio.create_task_group() as tasks:  # more than there are worker threads
                    for visit in range(2, 8):
                        tasks.start_soon(put, ctx, visit)
                try:
                    await ctx.commit(ack)
                except QuantumioError as error:
                    refused("commit", error)
            await ctx.commit(ack)
            await butler.drain()

    anyio.run(main)
    with open_(repository) as butler:
        tell(step="after", visible=visible(butler))


def main(mode, repository, *arguments):
    faulthandler.dump_traceback_later(500, exit=True)
    with Butler.create(repository, TWO if mode == "threads_later" else {}) as butler:
        for name, storage_class in (("array", "NDArray"), ("tree", "Mapping")):
            butler.register_dataset_type(DatasetType(name, dimensions=["visit"], storage_class=storage_class))
    globals()[mode](repository, *arguments)
    tell(step="end")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
