"""What a disk may hold after a power cut: recorded operations, and the states that they allow."""

from __future__ import annotations

import itertools
import math
import os
import random
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from attrs import define, field, frozen

from quantumio.errors import InternalError
from quantumio.system import failpoints
from quantumio.testing._crash import Acknowledge

__all__ = ["PowerCut", "PowerLossReport", "power_loss"]

REGISTRY: Final = ("registry.sqlite3", "registry.sqlite3-wal")
CONTENTS: Final = ("nothing", "half", "zeros", "garbage", "all")
"""What may be on the disk of the bytes that a file got since its last fsync."""


@frozen(kw_only=True)
class PowerCut:
    """One state of the disk after a power cut.

    Attributes
    ----------
    operation
        After how many recorded operations the power failed.
    choice
        Which of the states that are legal there.
    acknowledged
        What the scenario had acknowledged by then, oldest first.
    """

    operation: int
    choice: int
    acknowledged: tuple[str, ...]


@frozen(kw_only=True)
class PowerLossReport:
    """What came of cutting the power everywhere.

    Attributes
    ----------
    operations
        How many were recorded.
    states
        How many states of the disk were looked at.
    violations
        What must not be: after which cut, and what the check said.
    seconds
        How long it took.
    """

    operations: int
    states: int
    violations: tuple[tuple[PowerCut, str], ...]
    seconds: float


# -- what is recorded
_Operation: TypeAlias = tuple[str, tuple[Any, ...]]


class Recorder:
    """Keeps what happens below a directory, in order; bytes and names, and the registry at its commits."""

    def __init__(self, root: Path, snapshots: Path) -> None:
        self.operations: list[_Operation] = []
        self._root = root
        self._snapshots = snapshots
        self._lock = threading.RLock()
        self._files: dict[tuple[int, int], int] = {}
        self._numbers = itertools.count(1)
        self._commits = itertools.count(1)

    def acknowledge(self, text: str) -> None:
        with self._lock:
            self.operations.append(("acknowledge", (text,)))

    def __call__(self, name: str, subject: tuple[Any, ...]) -> None:
        point, _, side = name.rpartition(".")
        if side != "after":
            return
        with self._lock:
            if point == "registry.commit":
                self._keep_registry()
            elif point.startswith("files.") and subject:
                self._record(point.removeprefix("files."), subject)

    def _keep_registry(self) -> None:
        number = next(self._commits)
        directory = self._snapshots / str(number)
        directory.mkdir()
        for name in REGISTRY:
            if (self._root / name).exists():
                shutil.copyfile(self._root / name, directory / name)
        self.operations.append(("registry", (number,)))

    def _record(self, point: str, subject: tuple[Any, ...]) -> None:
        if point == "open":
            path, descriptor = subject
            number = self._files[_identity(descriptor)] = next(self._numbers)
            self._add("create", self._relative(path), number)
        elif point == "write":
            descriptor, data, written = subject
            if (number := self._files.get(_identity(descriptor), 0)) != 0:
                self._add("write", number, bytes(data[:written]))
        elif point == "fsync":
            if (number := self._files.get(_identity(subject[0]), 0)) != 0:
                self._add("fsync", number)
        elif point == "fsync_directory":
            self._add(point, self._relative(Path(os.readlink(f"/proc/self/fd/{subject[0]}"))))
        else:
            self._add(point, *(self._relative(path) for path in subject))

    def _relative(self, path: Path) -> tuple[str, ...] | None:
        """Return the components below the root; None outside of it."""
        return path.relative_to(self._root).parts if path.is_relative_to(self._root) else None

    def _add(self, name: str, *arguments: Any) -> None:
        if all(argument is not None for argument in arguments):
            self.operations.append((name, arguments))


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


# -- the disk: what everybody sees, and what survives
@define(eq=False)
class _File:
    """Bytes, and how many of them are synced. They are only ever appended."""

    number: int
    data: bytes = b""
    synced: int = 0

    def survivor(self, content: str) -> bytes:
        kept, lost = self.data[: self.synced], self.data[self.synced :]
        return {
            "nothing": kept,
            "half": kept + lost[: len(lost) // 2],
            "zeros": kept + bytes(len(lost)),
            "garbage": kept + bytes(byte ^ 0x5A for byte in lost),
            "all": self.data,
        }[content]


_Change: TypeAlias = tuple[str, "_Node | None", str | None]
"""A name, what it is from then on (None: nothing), and the name that it had before (a rename)."""


@define(eq=False)
class _Directory:
    """Names as they are synced, and the changes since, which become durable in their order."""

    synced: dict[str, _Node] = field(factory=dict)
    changes: list[_Change] = field(factory=list)

    def names(self, count: int | None = None) -> dict[str, _Node]:
        found = dict(self.synced)
        for name, node, before in self.changes[:count]:
            if before is not None:
                found.pop(before, None)
            if node is None:
                found.pop(name, None)
            else:
                found[name] = node
        return found

    def sync(self) -> None:
        self.synced = self.names()
        self.changes.clear()


_Node: TypeAlias = "_File | _Directory"


class Disk:
    """The file system below the repository, as the operations leave it."""

    def __init__(self, root: Path) -> None:
        self.root = _Directory()
        self.files: dict[int, _File] = {}
        self.registry = 0
        self._load(root, self.root)

    def _load(self, path: Path, directory: _Directory) -> None:
        """Take up what was there before: all of it is durable."""
        for entry in sorted(path.iterdir()):
            if entry.is_dir():
                inner = directory.synced[entry.name] = _Directory()
                self._load(entry, inner)
            elif entry.name not in REGISTRY and not entry.name.endswith("-shm"):
                data = entry.read_bytes()
                directory.synced[entry.name] = _File(0, data, len(data))

    def _directory(self, parts: tuple[str, ...]) -> _Directory:
        node: _Node = self.root
        for part in parts:
            assert isinstance(node, _Directory)
            node = node.names()[part]
        assert isinstance(node, _Directory)
        return node

    def _node(self, parts: tuple[str, ...]) -> _Node:
        return self._directory(parts[:-1]).names()[parts[-1]]

    def _change(self, parts: tuple[str, ...], node: _Node | None, before: str | None = None) -> None:
        self._directory(parts[:-1]).changes.append((parts[-1], node, before))

    def apply(self, operation: _Operation) -> None:
        name, arguments = operation
        match name:
            case "create":
                path, number = arguments
                self.files[number] = _File(number)
                self._change(path, self.files[number])
            case "write":
                number, data = arguments
                self.files[number].data += data
            case "fsync":
                self.files[arguments[0]].synced = len(self.files[arguments[0]].data)
            case "fsync_directory":
                self._directory(arguments[0]).sync()
            case "link":
                self._change(arguments[1], self._node(arguments[0]))
            case "rename":
                source, target = arguments
                self._change(target, self._node(source), source[-1])
            case "mkdir":
                self._change(arguments[0], _Directory())
            case "unlink" | "rmdir" | "remove_tree":
                self._change(arguments[0], None)
            case "registry":
                self.registry = arguments[0]
            case _:  # acknowledgements change nothing
                pass

    def unsettled(self) -> tuple[list[_Directory], list[_File]]:
        """Return the directories and files whose state after a cut is not certain."""
        directories: list[_Directory] = []
        files: dict[int, _File] = {}

        def visit(directory: _Directory) -> None:
            if directory.changes:
                directories.append(directory)
            named = [node for _, node, _ in directory.changes if node is not None]
            for node in {id(one): one for one in (*directory.synced.values(), *named)}.values():
                if isinstance(node, _Directory):
                    visit(node)
                elif node.synced < len(node.data):
                    files[node.number] = node

        visit(self.root)
        return list({id(one): one for one in directories}.values()), list(files.values())


@define
class DiskState:
    """One legal state: how many changes of each directory, and which content of each file, survived."""

    prefixes: dict[int, int]
    contents: dict[int, str]

    def write(self, directory: _Directory, path: Path) -> None:
        path.mkdir()
        for name, node in directory.names(self.prefixes.get(id(directory), 0)).items():
            if isinstance(node, _Directory):
                self.write(node, path / name)
            else:
                (path / name).write_bytes(node.survivor(self.contents.get(node.number, "nothing")))


def _states(disk: Disk, most: int, part: int, choice: random.Random) -> Iterator[DiskState]:
    """Yield states that are legal now: all of them if they are few, else a part of them."""
    directories, files = disk.unsettled()
    sizes = [*(len(one.changes) + 1 for one in directories), *(len(CONTENTS) for _ in files)]
    for number in _part(sizes, most, part, len(directories), choice):
        digits = _digits(number, sizes)
        prefixes, contents = digits[: len(directories)], digits[len(directories) :]
        yield DiskState(
            {id(one): prefix for one, prefix in zip(directories, prefixes, strict=True)},
            {one.number: CONTENTS[content] for one, content in zip(files, contents, strict=True)},
        )


def _part(
    sizes: Sequence[int], most: int, part: int, directories: int, choice: random.Random
) -> Iterable[int]:
    """Return the numbers of states that one part looks at: no two parts have one in common."""
    count = math.prod(sizes)
    if count <= most:
        return range(count) if part == 0 else ()
    longest = [size - 1 for size in sizes[:directories]]
    files = len(sizes) - directories
    nothing, garbage = CONTENTS.index("nothing"), CONTENTS.index("garbage")
    extremes = dict.fromkeys(
        _number(digits, sizes)
        for digits in (
            [0] * directories + [nothing] * files,
            longest + [nothing] * files,
            longest + [garbage] * files,
        )
    )
    # Steps that have no divisor in common with the count come by every number once.
    begin, start = choice.randrange(count), choice.randrange(1, count)
    step = next(one for one in itertools.count(start) if math.gcd(one, count) == 1)
    others = (number for n in range(count) if (number := (begin + n * step) % count) not in extremes)
    return itertools.islice(itertools.chain(extremes, others), most * part, most * (part + 1))


def _number(digits: Iterable[int], sizes: Iterable[int]) -> int:
    number = 0
    for digit, size in zip(digits, sizes, strict=True):
        number = number * size + digit
    return number


def _digits(number: int, sizes: Sequence[int]) -> list[int]:
    digits = []
    for size in reversed(sizes):
        number, digit = divmod(number, size)
        digits.append(digit)
    return digits[::-1]


def power_loss(
    scenario: Callable[[Path, Acknowledge], None],
    *,
    prepare: Callable[[Path], None],
    check: Callable[[Path, PowerCut], None],
    directory: Path,
    states_at_once: int = 12,
    part: int = 0,
    only: tuple[int, int] | None = None,
) -> PowerLossReport:
    """Record a scenario, and look at what the disk may hold if the power fails after each of its operations.

    The bytes of a file since its last fsync may be on the disk or not, or be torn; of the changes of a
    directory's names since its last fsync any first part may be there, independent of other directories.
    What no durable name leads to is gone.

    Parameters
    ----------
    scenario
        Opens the repository that it is given, does something and closes it. What it acknowledges it takes for
        durable.
    prepare
        Makes the repository at the path it is given, and closes it. All of it is durable.
    check
        Looks at one state, a repository at the path it is given, and raises if it must not be. It may open
        and recover it.
    directory
        An existing directory for the repositories.
    states_at_once
        States that are looked at after each operation, at most: all there are, or in part 0 the extremes and
        some that are drawn.
    part
        Which states are looked at where there are more: each part has others, until none is left. Those of
        operations that leave no more are in part 0.
    only
        ``(operation, choice)`` of one cut to be looked at again.

    Raises
    ------
    InternalError
        The scenario failed by itself.

    Notes
    -----
    The registry is taken for granted: after each operation it is as its last COMMIT left it, since what
    SQLite does to its own files is not recorded. Rows of database destinations are not part of the model.
    """
    begin = time.monotonic()
    made = directory / "recorded"
    prepare(made)
    snapshots = directory / "registries"
    snapshots.mkdir()
    disk = Disk(made)
    (snapshots / "0").mkdir()
    for name in REGISTRY:
        if (made / name).exists():
            shutil.copyfile(made / name, snapshots / "0" / name)
    recorder = Recorder(made, snapshots)
    try:
        with failpoints.recorded(recorder):
            scenario(made, recorder.acknowledge)
    except Exception as error:
        raise InternalError(f"the scenario failed by itself: {error!r}") from error
    shutil.rmtree(made)
    looked, violations = _look_at_all(disk, recorder.operations, check, directory, states_at_once, part, only)
    return PowerLossReport(
        operations=len(recorder.operations),
        states=looked,
        violations=tuple(violations),
        seconds=time.monotonic() - begin,
    )


def _look_at_all(
    disk: Disk,
    operations: list[_Operation],
    check: Callable[[Path, PowerCut], None],
    directory: Path,
    most: int,
    part: int,
    only: tuple[int, int] | None,
) -> tuple[int, list[tuple[PowerCut, str]]]:
    looked, violations = 0, []
    acknowledged: list[str] = []
    place = directory / "recorded"  # where it was made: nothing in it may name another place
    for number, operation in enumerate(operations, start=1):
        disk.apply(operation)
        if operation[0] == "acknowledge":
            acknowledged.append(operation[1][0])
        choice = random.Random(number)  # noqa: S311  the same states every time
        for which, state in enumerate(_states(disk, most, part, choice)):
            if only is not None and only != (number, which):
                continue
            cut = PowerCut(operation=number, choice=which, acknowledged=tuple(acknowledged))
            state.write(disk.root, place)
            for name in REGISTRY:
                kept = directory / "registries" / str(disk.registry) / name
                if kept.exists():
                    shutil.copyfile(kept, place / name)
            try:
                check(place, cut)
            except Exception:  # noqa: BLE001  whatever the check raises is a violation
                violations.append((cut, traceback.format_exc()))
            looked += 1
            shutil.rmtree(place)
    return looked, violations
