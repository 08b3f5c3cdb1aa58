"""How a transaction ends that nobody will ever go on with."""

from __future__ import annotations

from quantumio.engine._follow_ups import FollowUps, clean_up
from quantumio.engine._owner import Owner
from quantumio.engine._sessions import KnownStores
from quantumio.engine._standing import is_carried_by
from quantumio.model import TransactionRecord
from quantumio.ports import LEASE_OVER, Catalog

__all__ = ["end_abandoned"]


def end_abandoned(
    record: TransactionRecord, known: KnownStores, *, catalog: Catalog, owner: Owner, follow_ups: FollowUps
) -> bool:
    """End a transaction that is on its way, and note what is to be cleaned up; False if somebody was first.

    Raises
    ------
    QuantumioError
        The registry cannot be reached, or is not the one to remove what was placed (``unknown_session``).
    """
    planned = record.transaction.outputs if record.transaction is not None else ()
    clean = clean_up(artifact.destination for output in planned for artifact in output.artifacts)
    follow_ups.check(clean, known)
    if record.lease_over:
        return catalog.reap(record.txid, record.epoch, clean)
    owner.register(catalog)
    taken = catalog.take_over(record.txid, owner.id, record.epoch)
    if taken is None or not is_carried_by(taken, owner.id):
        return False
    return catalog.abort(record.txid, taken.epoch, LEASE_OVER, clean)
