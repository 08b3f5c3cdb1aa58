"""An object store that exists in the simulation alone, with what networks do to requests and answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import trio
from attrs import define, field

from quantumio.testing._simulated_clock import sleep

__all__ = ["PROTOCOL", "SimulatedStore", "StoreFileSystem"]

PROTOCOL: Final = "simulated"
"""Of the URLs: ``simulated://bucket/prefix``."""

_STALL_S: Final = 1e4
"""Longer than any deadline, in seconds."""


class PreconditionFailedError(FileExistsError):
    """What a library raises for an answer 412: somebody was first, perhaps this very request."""

    status = 412


@define(eq=False)
class SimulatedStore:
    """Objects by their names; they survive every process.

    Attributes
    ----------
    chance
        Seeded.
    trouble
        How many requests of a hundred something happens to.
    later
        Has a function called after so many simulated seconds, whatever becomes of who asked for it.
    """

    chance: random.Random
    trouble: int
    later: Callable[[float, Callable[[], object]], None]
    note: Callable[[str], None]
    objects: dict[str, tuple[bytes, float]] = field(factory=dict)
    on_remove: Callable[[str], None] = lambda path: None

    async def request(self, what: str, effect: Callable[[], Any]) -> Any:
        """Have the effect, now or late or not at all, and answer, or not.

        Raises
        ------
        ConnectionError
            The request or its answer was lost.
        """
        await sleep(self.chance.expovariate(20.0))
        fate = self.chance.randrange(100)
        if fate >= self.trouble:
            return effect()
        fate = self.chance.randrange(5)
        self.note(f"store {what}: {('refused', 'lost answer', 'stalled', 'late', 'slow')[fate]}")
        if fate == 0:
            raise ConnectionError("the store says 503: slow down")
        if fate == 1:
            effect()
            raise ConnectionError("the connection was reset")
        if fate == 2:
            await sleep(_STALL_S)
        if fate == 3:
            self.later(self.chance.uniform(0, 200), effect)
            await sleep(_STALL_S)
        await sleep(self.chance.uniform(1, 30))
        return effect()

    # -- effects
    def create(self, path: str, data: bytes) -> None:
        """Make an object that was not there."""
        if path in self.objects:
            raise PreconditionFailedError(path)
        self.objects[path] = (data, trio.current_time())

    def remove(self, path: str) -> None:
        """Remove an object."""
        if path not in self.objects:
            raise FileNotFoundError(path)
        del self.objects[path]
        self.on_remove(path)

    def read(self, path: str) -> bytes:
        """Return the bytes of an object."""
        try:
            return self.objects[path][0]
        except KeyError:
            raise FileNotFoundError(path) from None

    def told(self, path: str) -> dict[str, Any]:
        """Tell of one object."""
        data = self.read(path)
        moment = datetime.fromtimestamp(self.objects[path][1], UTC)
        return {"name": path, "size": len(data), "type": "file", "mtime": moment}


class StoreFileSystem:
    """What fsspec opens for a URL of the store: its asynchronous interface, as far as quantumio calls it."""

    store: ClassVar[SimulatedStore]
    async_impl = True
    protocol = PROTOCOL
    loop = None

    def __init__(self, **options: Any) -> None:
        pass

    @staticmethod
    def _strip_protocol(path: str) -> str:
        return path.removeprefix(f"{PROTOCOL}://").rstrip("/")

    @staticmethod
    def unstrip_protocol(path: str) -> str:
        """Return a URL."""
        return f"{PROTOCOL}://{path}"

    async def _makedirs(self, path: str, exist_ok: bool = False) -> None:
        pass

    async def _pipe_file(self, path: str, value: bytes, mode: str = "create", **_: Any) -> None:
        await self.store.request(f"put {path}", lambda: self.store.create(path, bytes(value)))

    async def _info(self, path: str) -> dict[str, Any]:
        told: dict[str, Any] = await self.store.request(f"head {path}", lambda: self.store.told(path))
        return told

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        data: bytes = await self.store.request(f"get {path}", lambda: self.store.read(path)[start:end])
        return data

    async def _rm_file(self, path: str) -> None:
        await self.store.request(f"delete {path}", lambda: self.store.remove(path))

    async def _find(self, path: str, **_: Any) -> dict[str, Any]:
        def list_all() -> dict[str, Any]:
            return {one: self.store.told(one) for one in sorted(self.store.objects) if one.startswith(path)}

        listed: dict[str, Any] = await self.store.request(f"list {path}", list_all)
        return listed
