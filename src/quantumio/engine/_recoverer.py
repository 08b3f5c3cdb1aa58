"""When recovery runs: as soon as somebody asks, and ever again while something is left."""

from __future__ import annotations

from typing import Final

import anyio

from quantumio.engine._endings import Endings
from quantumio.engine._ledger import ErrorLedger
from quantumio.engine._owner import Owner
from quantumio.engine._recovery import Recovery
from quantumio.engine._recovery_report import RecoveryItem, RecoveryReport
from quantumio.engine._unexpected import unexpected
from quantumio.errors import QuantumioError
from quantumio.ports import Catalog
from quantumio.system import threads

__all__ = ["Recoverer"]

_TRY_AGAIN_S: Final = 15.0
_LONGEST_DELAY_S: Final = 900.0
"""How long what could not be done now waits for its next attempt in this process: doubled, in seconds."""


class Recoverer:
    """Runs recovery, one at a time. Lives on the runtime's loop.

    Attributes
    ----------
    is_left_over
        Whether there is something to come back to.
    """

    def __init__(
        self, recovery: Recovery, catalog: Catalog, owner: Owner, ledger: ErrorLedger, endings: Endings
    ) -> None:
        self._recovery = recovery
        self._catalog = catalog
        self._owner = owner
        self._ledger = ledger
        self._endings = endings
        self._untold = RecoveryReport()
        self._alone: anyio.Lock | None = None
        self.is_left_over = False

    async def run(self) -> None:
        """Come back to what could not be done, until cancelled; ever more rarely."""
        delay_s = _TRY_AGAIN_S
        while True:
            await anyio.sleep(delay_s)
            if self.is_left_over or self._endings.is_waiting:
                self.is_left_over = False
                await self.recover_left()
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S) if self.is_left_over else _TRY_AGAIN_S
            await self._ledger.save_from_loop()

    async def recover(self) -> RecoveryReport:
        """Recover all for somebody who asks; the report tells also what was done in the background before.

        Raises
        ------
        QuantumioError
            The registry cannot be reached.
        """
        await threads.run(self._catalog.hasten_follow_ups)  # who asks does not mean later
        await self._recover_alone(end_dead=True)
        report, self._untold = self._untold, RecoveryReport()
        return report

    async def recover_left(self) -> None:
        """Recover in the background; what goes wrong is told by the ledger, and tried again."""
        try:
            report = await self._recover_alone(end_dead=False)
            waiting = await threads.run(self._catalog.outbox)
        except QuantumioError as error:  # the registry cannot be reached: later
            self.is_left_over = True
            self._ledger.add(error.kind, f"recovery did not come to its end: {error}")
            return
        except Exception as error:  # noqa: BLE001  it must not end the loop that carries contexts
            self.is_left_over |= isinstance(error, MemoryError)
            problem = unexpected(error)
            self._ledger.add(problem.kind, str(problem))
            return
        ours = any(entry.claimed_by in (None, self._owner.id) for entry in waiting)
        self.is_left_over |= ours or not report.is_clean or self._endings.is_waiting

    async def _recover_alone(self, *, end_dead: bool) -> RecoveryReport:
        if self._alone is None:  # made on the loop that it belongs to
            self._alone = anyio.Lock()
        async with self._alone:  # a second one would skip, and not wait for, what the first has locked
            ended = await threads.run(self._endings.end_waiting)
            self._untold.items += [
                RecoveryItem(what="transaction", txid=txid, action="ended") for txid in ended
            ]
            report = await self._recovery.run(end_dead=end_dead)
        self._untold.items += report.items
        return report
