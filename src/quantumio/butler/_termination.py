"""The end of a process by SIGTERM: nothing new, what is under way is finished or put into the journal."""

from __future__ import annotations

import signal
from types import FrameType

from quantumio.butler import _repository
from quantumio.butler._session import check_timeout

__all__ = ["drain_on_sigterm"]


def drain_on_sigterm(timeout: float = 30) -> None:
    """Have SIGTERM end the process in good order; to be called on the main thread.

    The first SIGTERM raises `SystemExit` there: ``with`` blocks end, so open contexts are aborted, and what
    was committed is waited for. What is not decided in time goes to the journal and is finished by whoever
    recovers the repository. A second SIGTERM ends the process at once; then the journal and the registry
    hold what their levels promise.

    Parameters
    ----------
    timeout
        How long to wait for each repository that is open, in seconds.

    Raises
    ------
    ValueError
        It is not called on the main thread (Python's rule for handlers of signals).
    """
    timeout_s = check_timeout(timeout)

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    _repository.drain_at_exit(timeout_s)
