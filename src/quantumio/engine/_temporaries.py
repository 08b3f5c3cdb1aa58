"""Committed outputs that live in memory alone, until they are forgotten or the Butler is closed."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from uuid import UUID

from quantumio.engine._output import Output
from quantumio.model import DataId

__all__ = ["Temporaries"]


class Temporaries:
    """Temporaries by run, dataset type and data ID. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # an abandoned context may be collected under it
        self._outputs: dict[tuple[str, str, DataId], Output] = {}

    def __len__(self) -> int:
        return len(self._outputs)

    def keep(self, outputs: Iterable[Output]) -> None:
        """Keep those of the outputs of a committed context that are temporary."""
        for output in outputs:
            if output.resolution.is_temporary:
                key = output.ref.run, output.ref.dataset_type.name, output.ref.data_id
                with self._lock:
                    replaced = self._outputs.get(key)
                    self._outputs[key] = output
                if replaced is not None:
                    replaced.release()

    def find(self, run: str, dataset_type: str, data_id: DataId) -> Output | None:
        """Return one that is still alive."""
        return self._outputs.get((run, dataset_type, data_id))

    def all(self) -> list[Output]:
        """Return all that are still alive."""
        with self._lock:
            return list(self._outputs.values())

    def forget(self, dataset_id: UUID) -> bool:
        """Let one go; False if there is none of this id."""
        with self._lock:
            for key, output in self._outputs.items():
                if output.ref.id == dataset_id:
                    del self._outputs[key]
                    break
            else:
                return False
        output.release()
        return True

    def release(self) -> None:
        """Let all go."""
        for output in self.all():
            output.release()
