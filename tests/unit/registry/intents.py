"""What the tests of intents, of the flip of what was prepared, and of the outbox share."""

from typing import Any
from uuid import UUID

import sqlalchemy as sa

from quantumio.model import FollowUp, FollowUpKind, Transaction, TransactionRecord, TransactionState
from quantumio.registry import SqlCatalog
from quantumio.registry._schema import OBJECT
from quantumio.system import environment
from tests.unit.registry.conftest import until

CLEAN = FollowUp(kind=FollowUpKind.CLEAN, destination="local")
LONG_S = 600.0
SHORT_S = 0.2


def new_owner(catalog: SqlCatalog) -> UUID:
    owner = environment.uuid7()
    catalog.register_owner(owner, "node7", "boot-1")
    return owner


def prepare(catalog: SqlCatalog, transaction: Transaction, owner: UUID, lease_s: float = LONG_S) -> None:
    (record,) = catalog.prepare([transaction], owner, lease_s)
    assert (record.state, record.owner) == (TransactionState.PREPARING, owner)


def known(catalog: SqlCatalog, txid: UUID) -> TransactionRecord:
    record = catalog.transaction(txid)
    assert record is not None
    return record


def standing(catalog: SqlCatalog, txid: UUID) -> tuple[str, str | None, int, int]:
    record = known(catalog, txid)
    return str(record.state), record.reason, record.epoch, record.generation


def flip(catalog: SqlCatalog, *group: Transaction) -> list[Any]:
    return list(catalog.flip(group))


def follow_ups(catalog: SqlCatalog, txid: UUID) -> list[FollowUp]:
    return [entry.follow_up for entry in catalog.outbox(txid)]


def end_by_lease(catalog: SqlCatalog, transaction: Transaction) -> None:
    """Prepare a transaction for an owner who is silent, and end it."""
    prepare(catalog, transaction, new_owner(catalog), SHORT_S)
    until(lambda: catalog.reap(transaction.txid, transaction.epoch))


def generations(catalog: SqlCatalog) -> list[int]:
    """The generations of the objects that are recorded."""
    return catalog._database.read(
        lambda connection: list(connection.execute(sa.select(OBJECT.c.gen).order_by(OBJECT.c.id)).scalars())
    )
