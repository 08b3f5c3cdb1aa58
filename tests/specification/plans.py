"""What the transactions of the specification want: small numbers, and what the product is given for them."""

from functools import cache
from typing import NamedTuple
from uuid import UUID

from attrs import frozen

from quantumio.model import (
    Artifact,
    DataId,
    DatasetRef,
    DatasetType,
    FollowUp,
    FollowUpKind,
    OutputRecord,
    Transaction,
)

CLEAN = FollowUp(kind=FollowUpKind.CLEAN, destination="store")
COPY = FollowUp(kind=FollowUpKind.REPLICATE, destination="second")
RUN = "run"
TYPES = [DatasetType(f"part{n}", dimensions=(), storage_class="Text") for n in range(2)]


def uuid(kind: int, number: int) -> UUID:
    return UUID(int=kind << 96 | 7 << 76 | 2 << 62 | number)


TXIDS = [uuid(1, number) for number in range(4)]
OWNERS = [uuid(2, number) for number in range(6)]


class Object(NamedTuple):
    """What one output of one generation of a transaction has at one store, under a name of its own."""

    tx: int
    gen: int
    part: int
    store: str = "store"

    def __str__(self):
        return f"t{self.tx}.{self.gen}.{self.part} ({self.store})"


@frozen(cache_hash=True)
class Plan:
    """What a transaction wants to make visible: its parts are the keys of the datasets."""

    parts: tuple[int, ...] = (0,)
    expect: int | None = None
    key: str | None = None
    requires: tuple[int, ...] = ()
    copy: bool = False  # to a second store, best effort
    journal: bool = False  # its caller asks for a journaled promise
    retries: int | None = None  # the transaction that was set aside, of which this is an attempt


@cache
def transaction(plan: Plan, tx: int, epoch: int, gen: int, journaled: bool) -> Transaction:
    outputs = [
        OutputRecord(
            ref=DatasetRef(uuid(3 + tx, part), TYPES[part], DataId({}), RUN),
            expect=plan.expect,
            artifacts=(
                Artifact(destination="store", path=f"{tx}.{gen}.{part}", format="t", digest="d", nbytes=1),
            ),
        )
        for part in plan.parts
    ]
    return Transaction(
        txid=TXIDS[tx],
        run=RUN,
        key=plan.key,
        outputs=tuple(outputs),
        requires=tuple(TXIDS[one] for one in plan.requires),
        follow_ups=(COPY,) if plan.copy else (),
        epoch=epoch,
        generation=gen,
        journaled=journaled,
    )
