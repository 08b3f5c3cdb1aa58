"""A real registry, asked as that of the specification is, and what both are compared by."""

import attrs
import sqlalchemy as sa

from quantumio.registry._schema import OWNER
from quantumio.system import environment
from tests.specification.plans import CLEAN, TYPES, transaction
from tests.specification.registry import COMMITTED, Row
from tests.specification.state import told_by

LONG_S = 1e6


class Real:
    """Its transactions, runs and ids are those of one walk; owners are those of a test."""

    def __init__(self, catalog, owners, plans):
        self.catalog = catalog
        self.owners = owners
        self.plans = plans
        self.txids = [environment.uuid7() for _ in plans]
        self.ids = [[environment.uuid7() for _ in TYPES] for _ in plans]
        self.run = f"run{self.txids[0]}"

    def transaction(self, tx, epoch, gen, journaled):
        wanted = transaction(self.plans[tx], tx, epoch, gen, journaled)
        outputs = []
        for part, output in zip(self.plans[tx].parts, wanted.outputs, strict=True):
            (artifact,) = output.artifacts
            artifact = attrs.evolve(artifact, path=f"{self.run}/{artifact.path}")
            ref = attrs.evolve(output.ref, id=self.ids[tx][part], run=self.run)
            outputs.append(attrs.evolve(output, ref=ref, artifacts=(artifact,)))
        return attrs.evolve(
            wanted,
            txid=self.txids[tx],
            run=self.run,
            outputs=tuple(outputs),
            requires=tuple(self.txids[upstream] for upstream in self.plans[tx].requires),
        )

    def ask(self, name, *arguments):
        """Do it; return what the caller is told, if that is more than the state."""
        match name, arguments:
            case "prepare", (tx, p, *others):
                self.catalog.prepare([self.transaction(tx, *others)], self.owners[p], LONG_S)
            case "flip", (tx, p, *others):
                (outcome,) = self.catalog.flip([self.transaction(tx, *others)], self.owners[p])
                return told_by(outcome)
            case (("take_over" | "reopen"), (tx, p, epoch)):
                getattr(self.catalog, name)(self.txids[tx], self.owners[p], epoch)
            case "abort", (tx, epoch, reason):
                self.catalog.abort(self.txids[tx], epoch, reason, (CLEAN,))
            case "reap", (tx, epoch):
                self.catalog.reap(self.txids[tx], epoch, (CLEAN,))
            case "finish", (tx, what):
                self.catalog.finish_follow_ups({self.txids[tx]: (what,)})
            case "silent", (silent,):
                self.let_be_silent(silent)
        return None

    def let_be_silent(self, silent):
        """What only time can bring about: nobody has heard of some of the owners since 1970."""
        for p, owner in enumerate(self.owners):
            self.catalog.renew_lease(owner)
            if p in silent:
                with self.catalog._database.edit("a test") as connection:
                    connection.execute(sa.update(OWNER).where(OWNER.c.id == owner).values(heartbeat_at=0))

    def look(self):
        """Return the rows, who is silent, what is visible in order, and what is to follow."""
        rows, visible = [], []
        for tx, txid in enumerate(self.txids):
            rows.append(self.row(self.catalog.transaction(txid)))
            if (outcome := self.catalog.outcome(txid)) and not outcome.reused:
                stored = self.catalog.stored([ref.id for ref in outcome.refs])
                for ref in outcome.refs:
                    (artifact,) = stored[ref.id].artifacts
                    part = self.ids[tx].index(ref.id)
                    visible.append((outcome.commit_seq, tx, generation(artifact), part, ref.version))
        outbox = {
            (tx, entry.follow_up) for tx, txid in enumerate(self.txids) for entry in self.catalog.outbox(txid)
        }
        return rows, [one[1:] for one in sorted(visible)], outbox

    def row(self, record):
        if record is None:
            return None
        owner = None if record.owner is None else self.owners.index(record.owner)
        planned = journaled = None
        if record.state is not COMMITTED:  # there the manifest is dropped
            planned = generation(record.transaction.outputs[0].artifacts[0])
            journaled = record.transaction.journaled
        row = Row(record.state, record.epoch, record.generation, owner, planned, journaled, record.reason)
        return row, record.lease_over


def generation(artifact):
    return int(artifact.path.split(".")[-2])


def specified(registry):
    """Return the same of a state of the specification."""
    rows = []
    for row in registry.rows:
        if row is not None:
            is_over = row.owner in registry.silent
            known = attrs.evolve(row, planned=None, journaled=None) if row.state is COMMITTED else row
            row = known, is_over
        rows.append(row)
    visible = sorted((one.seq, one.tx, one.gen, one.part, one.version) for one in registry.visible)
    outbox = {(one.tx, one.what) for one in registry.outbox}
    return rows, [one[1:] for one in visible], outbox
