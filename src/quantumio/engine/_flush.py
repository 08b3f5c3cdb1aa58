"""Carrying outputs to their destinations: encode once per format, place everywhere in parallel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

import anyio
import anyio.lowlevel

from quantumio.engine._output import Encoded, Output
from quantumio.engine._packs import pack
from quantumio.engine._policy import ROWS
from quantumio.engine._sessions import StoreSessions
from quantumio.engine._shared_trips import SharedTrips
from quantumio.engine._unexpected import unexpected
from quantumio.errors import ErrorKind, InternalError, QuantumioError
from quantumio.model import Artifact, DatasetRef, Moment, Target, human_path
from quantumio.ports import (
    Destinations,
    ExportingDestination,
    Formats,
    ObjectDestination,
    Placement,
    RegistryTables,
    TableDestination,
    is_exporting,
    is_table,
)
from quantumio.system import threads
from quantumio.system.failpoints import reach

__all__ = ["FlushFailure", "Flusher"]

_LARGE: Final = 1 << 20
"""Outputs from this size on travel alone; smaller ones share a trip, in bytes."""

_GROUP: Final = 256
"""Small outputs that share a trip at most, also those of several contexts."""

_T = TypeVar("_T")


async def _always() -> bool:
    return True


class FlushFailure(Exception):
    """One output did not arrive at one destination. Never leaves the engine."""

    def __init__(self, ref: DatasetRef | None, destination: str | None, error: QuantumioError) -> None:
        super().__init__(str(error))
        self.ref = ref
        self.destination = destination
        self.error = error


class Flusher:
    """Encodes and places outputs in worker threads. Lives on the runtime's loop.

    Parameters
    ----------
    encoders
        How many encodings may run at the same time.
    sessions
        Where this process notes itself before it places anything.
    """

    def __init__(
        self, destinations: Destinations, formats: Formats, encoders: int, sessions: StoreSessions
    ) -> None:
        self._destinations = destinations
        self._sessions = sessions
        self._formats = formats
        self._encode_limiter = anyio.CapacityLimiter(encoders)
        self._encode_trips = SharedTrips(self._encode_each, at_once=encoders, capacity=_GROUP)
        self._place_limiters: dict[str, anyio.CapacityLimiter] = {}
        self._place_trips: dict[str, SharedTrips[Sequence[Output]]] = {}

    async def encode(self, outputs: Sequence[Output]) -> None:
        """Encode outputs for their required destinations.

        Raises
        ------
        ExceptionGroup
            Of `FlushFailure`.
        """
        await _together(partial(self._encode_group, group, True) for group in _trips(outputs))

    async def flush(
        self, outputs: Sequence[Output], *, required: bool, may_place: Callable[[], Awaitable[bool]] = _always
    ) -> None:
        """Bring outputs to their required (or to their best-effort) destinations.

        Parameters
        ----------
        may_place
            Awaited when the outputs are encoded: whether they may be placed. So that the registry can be
            asked meanwhile.

        Raises
        ------
        ExceptionGroup
            Of `FlushFailure`. What was placed by then is in the outputs' ``artifacts``.
        """
        await _together(partial(self._flush_group, group, required, may_place) for group in _trips(outputs))

    async def _encode_group(self, group: Sequence[Output], required: bool) -> dict[str, list[Output]]:
        by_destination: defaultdict[str, list[Output]] = defaultdict(list)
        for output in group:
            for target in _missing(output, required):
                by_destination[target.destination].append(output)
        if by_destination and group[0].charged_bytes >= _LARGE:
            await self._in_thread(self._encode_limiter, self._encode, by_destination)
        elif by_destination:
            await self._encode_trips.send(by_destination, len(group))
        return by_destination

    async def _flush_group(
        self, group: Sequence[Output], required: bool, may_place: Callable[[], Awaitable[bool]]
    ) -> None:
        by_destination = await self._encode_group(group, required)
        if not by_destination or not await may_place():
            return
        await _together(
            partial(self._place_at, name, members, required) for name, members in by_destination.items()
        )

    def _encode_each(self, groups: Sequence[Mapping[str, Sequence[Output]]]) -> list[FlushFailure | None]:
        return [_failure(self._encode, by_destination) for by_destination in groups]

    def _encode(self, by_destination: Mapping[str, Sequence[Output]]) -> None:
        reach("flush.encode.before")
        for name, members in by_destination.items():
            for output in members:
                if (choice := output.resolution.formats[name]) is not ROWS:
                    _attempt(output, None, output.encode, choice)
        reach("flush.encode.after")

    async def _place_at(self, name: str, outputs: Sequence[Output], required: bool) -> None:
        destination = await self._destination(name, outputs[0])
        limiter = self._place_limiters[name]
        if is_table(destination):
            await _together(
                partial(self._in_thread, limiter, self._load, destination, output) for output in outputs
            )
        elif required and outputs[0].charged_bytes >= _LARGE:
            await self._in_thread(limiter, self._place, destination, outputs)
        elif required:
            await self._place_trips[name].send(outputs, len(outputs))
        else:
            await self._in_thread(limiter, self._place_each, destination, outputs)
        for output in outputs:
            if not any(_missing(output, required=True)):
                output.progress.reach(Moment.DURABLE)

    async def _destination(self, name: str, output: Output) -> ObjectDestination | TableDestination:
        """Return a destination of which an output is in want; the first time it may have to be opened.

        The store of one that is open may have been begun anew.
        """
        if name in self._place_limiters:
            destination = _attempt(output, name, self._destinations.get, name)
            if self._sessions.is_noted(destination):
                return destination
        destination, parallelism, trips = await threads.run(_attempt, output, name, self._open, name)
        if name not in self._place_limiters:  # else another context was first
            self._place_limiters[name] = anyio.CapacityLimiter(parallelism)
            self._place_trips[name] = SharedTrips(
                partial(self._place_groups, name), at_once=trips, capacity=_GROUP
            )
        return destination

    def _open(self, name: str) -> tuple[ObjectDestination | TableDestination, int, int]:
        """Open a destination; return also how many calls, and trips with small outputs, it takes at a time.

        A local one takes one trip: what waits meanwhile shares the next one, and its fsync of directories.
        (Measured with one, two and eight: contexts of one output from eight threads at 826, 679 and 641/s.)
        Where the answer comes over a network, nobody waits for that of the others.
        """
        destination = self._destinations.get(name)
        self._sessions.note(destination)
        parallelism = destination.parallelism
        alone = is_table(destination) or destination.is_local
        return destination, parallelism, 1 if alone else parallelism

    def _place_groups(self, name: str, groups: Sequence[Sequence[Output]]) -> list[FlushFailure | None]:
        """Place what several contexts need; where that fails, each for itself."""
        destination = self._destinations.get(name)
        assert not is_table(destination)
        together = [output for group in groups for output in group]
        failure = _failure(self._place, destination, together)
        if failure is None or len(groups) == 1:
            return [failure] * len(groups)
        return [_failure(self._place, destination, group) for group in groups]

    def _place_each(self, destination: ObjectDestination, outputs: Sequence[Output]) -> None:
        """Place best-effort copies: together, or what can be of them."""
        try:
            self._place(destination, outputs)
            return
        except FlushFailure as failure:
            if len(outputs) == 1:
                raise
            failures = [failure]
        for output in outputs:
            try:
                self._place(destination, [output])
            except FlushFailure as failure:
                failures.append(failure)
        if len(failures) > 1:  # else all of them arrived one by one
            raise ExceptionGroup("copies did not arrive", failures[1:])

    def _place(self, destination: ObjectDestination, outputs: Sequence[Output]) -> None:
        name = destination.name
        by_path: defaultdict[str, list[tuple[Output, Encoded]]] = defaultdict(list)
        for output in outputs:
            choice = output.resolution.formats[name]
            encoded = _attempt(output, name, output.encode, choice)
            path = output.pack_path if name in output.packed_at else output.path(choice)
            output.attempts[name] = path
            by_path[path].append((output, encoded))
        placements: list[Placement] = []
        artifacts: list[tuple[Output, Artifact]] = []
        for path, members in by_path.items():
            first, encoded = members[0]
            offsets: Sequence[int | None] = (None,)
            if name in first.packed_at:
                names = [output.path(output.resolution.formats[name]) for output, _ in members]
                packed = pack([*zip(names, (encoded for _, encoded in members), strict=True)])
                encoded, offsets = packed.encoded, packed.offsets
            placements.append(
                Placement(path=path, chunks=encoded.chunks, nbytes=encoded.nbytes, digest=encoded.digest)
            )
            artifacts += [
                (output, output.placed(name, own, offset))
                for (output, own), offset in zip(members, offsets, strict=True)
            ]
        reach("flush.place.before")
        try:
            _attempt(outputs[0], name, destination.place, placements)
        except FlushFailure as failure:
            failure.ref = _blamed(outputs, name, failure).ref
            if failure.error.kind is ErrorKind.CORRUPT:  # somebody else's bytes are under one of the names
                for output in outputs:
                    del output.attempts[name]  # better unreferenced files of ours than one of theirs removed
            raise
        reach("flush.place.after")
        for output, artifact in artifacts:
            output.artifacts[name] = artifact

    def _load(self, destination: TableDestination, output: Output) -> None:
        table, load_id = output.ref.dataset_type.name, output.load_ids[destination.name]
        rows = _attempt(output, destination.name, output.rows)
        output.attempts[destination.name] = table
        reach("flush.load.before")
        loaded = _attempt(output, destination.name, destination.load, table, rows, load_id)
        if self._destinations.is_in_registry(destination.name):
            assert isinstance(destination, RegistryTables)
            _attempt(output, destination.name, destination.make_ready, table, output.ref.data_id)
        reach("flush.load.after")
        output.artifacts[destination.name] = Artifact(
            destination=destination.name,
            path=table,
            format=ROWS.name,
            digest=loaded.checksum,
            nbytes=loaded.nbytes,
            load_id=load_id,
        )

    async def reveal(self, outputs: Iterable[Output]) -> None:
        """Make the rows of committed outputs visible in the views of their databases.

        Raises
        ------
        ExceptionGroup
            Of `FlushFailure`.
        """
        await _together(
            partial(self._in_thread, self._place_limiters[name], self._reveal, name, output)
            for output in outputs
            for name in output.load_ids
            if name in output.artifacts
        )

    def _reveal(self, name: str, output: Output) -> None:
        destination = self._destinations.get(name)
        assert is_table(destination)
        table, load_id = output.ref.dataset_type.name, output.load_ids[name]
        reach("flush.reveal.before")
        _attempt(output, name, destination.reveal, table, load_id, output.ref)
        reach("flush.reveal.after")

    async def export(self, outputs: Iterable[Output]) -> None:
        """Show committed outputs under names for people, where a destination has such names.

        Raises
        ------
        ExceptionGroup
            Of `FlushFailure`.
        """
        placed: defaultdict[str, list[Output]] = defaultdict(list)
        for output in outputs:
            for name in output.artifacts:
                if name not in output.load_ids:
                    placed[name].append(output)
        await _together(
            partial(self._in_thread, limiter, self._export, name, share)
            for name, members in placed.items()
            if self._has_names_for_people(name)
            for limiter in [self._place_limiters[name]]
            for share in _shares(members, int(limiter.total_tokens))
        )

    def _has_names_for_people(self, name: str) -> bool:
        return is_exporting(self._destinations.get(name))

    def _export(self, name: str, outputs: Sequence[Output]) -> None:
        destination = self._destinations.get(name)
        assert is_exporting(destination)
        failures = [_failure(self._export_one, destination, name, output) for output in outputs]
        if failed := [failure for failure in failures if failure is not None]:
            raise ExceptionGroup("outputs were not shown", failed)

    def _export_one(self, destination: ExportingDestination, name: str, output: Output) -> None:
        artifact = output.artifacts[name]
        ending = self._formats.format(artifact.format).extension
        reach("flush.export.before")
        _attempt(output, name, destination.export, artifact.path, human_path(output.ref, ending))
        reach("flush.export.after")

    async def remove(self, outputs: Sequence[Output]) -> list[FlushFailure]:
        """Remove what was placed of outputs that will never be visible; returns what could not be removed."""
        return await threads.run(self.remove_here, outputs)

    def remove_here(self, outputs: Sequence[Output]) -> list[FlushFailure]:
        """Remove it in this thread."""
        by_destination: defaultdict[str, list[Output]] = defaultdict(list)
        for output in outputs:
            for name in output.attempts:
                by_destination[name].append(output)
        failures = []
        for name, members in by_destination.items():
            try:
                self._remove_at(name, members)
            except FlushFailure as failure:
                failures.append(failure)
        return failures

    def _remove_at(self, name: str, outputs: Sequence[Output]) -> None:
        destination = _attempt(outputs[0], name, self._destinations.get, name)
        reach("flush.remove.before")
        if is_table(destination):
            for output in outputs:
                _attempt(output, name, destination.remove_load, output.attempts[name], output.load_ids[name])
        else:
            paths = list({output.attempts[name]: None for output in outputs})
            _attempt(outputs[0], name, destination.remove, paths)
        reach("flush.remove.after")

    async def _in_thread(
        self, limiter: anyio.CapacityLimiter, function: Callable[..., _T], *arguments: object
    ) -> _T:
        done = await threads.run(function, *arguments, limiter=limiter)
        await anyio.lowlevel.checkpoint_if_cancelled()  # what was given up meanwhile goes no further
        return done


async def _nothing() -> None:
    pass


async def _together(calls: Iterable[Callable[[], Awaitable[object]]]) -> None:
    """Run all calls at the same time, each to its end, and then raise what failed as one flat group."""
    failures: list[FlushFailure] = []

    async def run(call: Callable[[], Awaitable[object]]) -> None:
        try:
            await call()
        except FlushFailure as failure:
            failures.append(failure)
        except ExceptionGroup as group:
            failures.extend(error for error in group.exceptions if isinstance(error, FlushFailure))
        except Exception as error:  # noqa: BLE001  a bug: it fails this flush and nothing else
            failures.append(FlushFailure(None, None, unexpected(error)))

    first, *others = [*calls] or [_nothing]
    if not others:  # the usual case; a task and its group cost more than what a small output needs
        await run(first)
    else:
        async with anyio.create_task_group() as tasks:
            for call in (first, *others):
                tasks.start_soon(run, call)
    if failures:
        raise ExceptionGroup("outputs did not arrive", failures)


def _blamed(outputs: Sequence[Output], destination: str, failure: FlushFailure) -> Output:
    """Return the output that a failure of several speaks of: the one whose path, or directory, it names."""
    text = str(failure)
    paths = [(output.attempts[destination].split("/"), output) for output in outputs]
    for cut in range(max(len(parts) for parts, _ in paths), 0, -1):
        for parts, output in paths:
            if "/".join(parts[:cut]) in text:
                return output
    return outputs[0]


def _missing(output: Output, required: bool) -> Iterator[Target]:
    for target in output.resolution.targets:
        if target.required is required and target.destination not in output.artifacts:
            yield target


def _trips(outputs: Sequence[Output]) -> Iterator[Sequence[Output]]:
    small = []
    packs: defaultdict[int, list[Output]] = defaultdict(list)
    for output in outputs:
        if output.pack is not None:
            packs[output.pack].append(output)
        elif output.charged_bytes >= _LARGE:
            yield [output]
        else:
            small.append(output)
    yield from packs.values()
    for start in range(0, len(small), _GROUP):
        yield small[start : start + _GROUP]


def _shares(outputs: Sequence[Output], most: int) -> Iterator[Sequence[Output]]:
    """Divide outputs into shares of about the same size, at most so many."""
    size = -(-len(outputs) // most)
    for start in range(0, len(outputs), size):
        yield outputs[start : start + size]


def _failure(function: Callable[..., None], *arguments: object) -> FlushFailure | None:
    """Call, and return what failed."""
    try:
        function(*arguments)
    except FlushFailure as failure:
        return failure
    return None


def _attempt(output: Output, destination: str | None, function: Callable[..., _T], *arguments: object) -> _T:
    """Call, turning every failure into a `FlushFailure` of the output."""
    try:
        return function(*arguments)
    except QuantumioError as error:
        raise FlushFailure(output.ref, destination, error) from error
    except MemoryError as error:
        raise FlushFailure(output.ref, destination, unexpected(error)) from error
    except BaseException as error:
        if not isinstance(error, Exception) and not threads.is_exit(error):
            raise
        internal = InternalError(
            f"{type(error).__name__} while writing: {error}",
            hint="please report this",
            kind=ErrorKind.INTERNAL,
        )
        raise FlushFailure(output.ref, destination, internal) from error
