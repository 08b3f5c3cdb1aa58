"""What the harness asks of a Butler beyond what everybody may: contexts of its own kind."""

from __future__ import annotations

from collections.abc import Sequence

from quantumio.butler import Butler
from quantumio.engine import PlanScope, PolicyResolver
from quantumio.errors import InvalidInputError
from quantumio.model import Ack, Mode, PolicyLayer, Rule, check_run
from quantumio.supertask._context import QuantumContext
from quantumio.supertask._quantum import Quantum
from quantumio.supertask._task import SuperTask

__all__ = ["open_quantum", "planning_path", "run_policies"]

# ruff: noqa: SLF001  this module is the one place where the harness reaches behind the Butler's door


def planning_path(
    butler: Butler, run: str | None, collections: str | Sequence[str] | None
) -> tuple[str, tuple[str, ...]]:
    """Return the run of a plan, and the collections that it looks into, of those that exist already.

    Raises
    ------
    InvalidInputError
        No run is known, or no collection says where to look.
    """
    session = butler._session
    chosen = run or session.run
    if chosen is None:
        raise InvalidInputError(
            "no run says where outputs go", hint="give run='u/you/what', here or when opening the Butler"
        )
    path = session.search_path(collections, check_run(chosen))
    if not any(record.name == chosen for record in butler.collections(chosen)):
        path = tuple(name for name in path if name != chosen)
    return chosen, path


def run_policies(butler: Butler, mode: Mode | None) -> PolicyResolver | None:
    """Return the policies of a run that has a mode of its own; None where the Butler's hold."""
    if mode is None:
        return None
    layer = PolicyLayer(name="run", origin="Plan.run", rules=(Rule(mode=mode),))
    session = butler._session
    return session.policies[str(session.writeable().root)].with_layer(layer)


def open_quantum(
    butler: Butler,
    task: SuperTask,
    quantum: Quantum,
    *,
    run: str,
    collections: Sequence[str],
    scope: PlanScope,
    policies: PolicyResolver | None,
) -> QuantumContext:
    """Open the context of a quantum."""
    repository, context = butler._open_context(run, quantum.key, Ack.BUFFERED, plan=scope, policies=policies)
    return QuantumContext(butler._session, repository, context, collections).begin(task, quantum)
