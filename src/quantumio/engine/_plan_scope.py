"""What quanta of one plan may read of each other before it is committed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from quantumio.model import DataId

if TYPE_CHECKING:
    from quantumio.engine._context import Context
    from quantumio.engine._output import Output

__all__ = ["PlanScope"]


class PlanScope:
    """The outputs of the sealed contexts of one plan, by dataset type and data ID. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outputs: dict[tuple[str, DataId], tuple[Output, Context]] = {}

    def publish(self, context: Context) -> None:
        """Let the other quanta read the outputs of a sealed context."""
        entries = {
            (output.ref.dataset_type.name, output.ref.data_id): (output, context)
            for output in context.outputs
        }
        with self._lock:
            self._outputs.update(entries)

    def find(self, dataset_type: str, data_id: DataId) -> tuple[Output, Context] | None:
        """Return the latest accepted output and its context, also when it has left memory since."""
        return self._outputs.get((dataset_type, data_id))
