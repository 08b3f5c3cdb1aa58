"""The directory of a repository as the page cache shows it, and what of it survives a power cut."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

from quantumio.testing._power_loss import CONTENTS, REGISTRY, Disk, DiskState, Recorder

__all__ = ["SimulatedDisk"]


class SimulatedDisk(Recorder):
    """Follows what happens below a directory, and cuts the power on demand.

    Parameters
    ----------
    root
        The directory. All that is there is durable.
    chance
        Seeded; says what survives.
    """

    def __init__(self, root: Path, chance: random.Random) -> None:
        super().__init__(root, root)
        self._chance = chance
        self._disk = Disk(root)

    def _keep_registry(self) -> None:
        pass  # what SQLite has committed is durable: it stays where it is

    def _add(self, name: str, *arguments: Any) -> None:
        if all(argument is not None for argument in arguments):
            self._disk.apply((name, arguments))

    def cut_power(self) -> None:
        """Leave what the disk may hold: of each directory a part of its changes, of each file any bytes."""
        directories, written = self._disk.unsettled()
        prefixes = {id(one): self._chance.randint(0, len(one.changes)) for one in directories}
        contents = {one.number: self._chance.choice(CONTENTS) for one in written}
        survived = self._root.with_name(f"{self._root.name}.survived")
        DiskState(prefixes, contents).write(self._disk.root, survived)
        for name in REGISTRY:
            if (self._root / name).exists():
                (self._root / name).rename(survived / name)
        shutil.rmtree(self._root)
        survived.rename(self._root)
        self._disk = Disk(self._root)
        self._files.clear()
