"""What must be true of a simulated repository whenever somebody may look.

Looked at from outside: the registry by plain SQL, the objects where they are. The names are those of the test
programme (I: always; R: after recovery; Q: when all is quiet).
"""

import hashlib
import io
import json
import sqlite3

import attrs
import numpy as np

TABLE = "dataset_instrument_visit_46b1b60c"
VISIBLE = f"""
    SELECT d.id, d.txid, d.d_visit, d.v, d.commit_seq, t.state, t.run, t.key, t.epoch
    FROM {TABLE} AS d JOIN txn AS t ON t.txid = d.txid
"""
ARTIFACTS = """
    SELECT a.store, o.path, o.sha256, a.state, a.dataset_id
    FROM artifact AS a JOIN object AS o ON o.id = a.object_id
"""

LEASES = """
    SELECT t.txid, t.owner, o.heartbeat_at + t.lease_ns
    FROM txn AS t JOIN registry_owner AS o ON o.id = t.owner
    WHERE t.state = 'PREPARING'
"""
SILENT = "SELECT txid, epoch FROM txn WHERE state = 'ABORTED' AND reason = 'lease'"
PREPARING = """
    SELECT t.txid, t.epoch, t.owner, o.host FROM txn AS t LEFT JOIN registry_owner AS o ON o.id = t.owner
    WHERE t.state = 'PREPARING'
"""


@attrs.define(eq=False)
class Put:
    """One context, as its task knows it."""

    label: str
    txid: bytes
    visits: set[int]
    key: str | None
    may_conflict: bool = False
    promised: str | None = None  # the highest level that was acknowledged
    refused: bool = False  # its caller was told that it will not become visible


def label_of(data):
    """Return the label of the context that has put these bytes."""
    if not data.startswith(b"\x93NUMPY"):
        return json.loads(data)["label"]
    array = np.load(io.BytesIO(data))
    return f"c{int(array[0, 0])}" if (array == array[0, 0]).all() else "several"


class Watch:
    """Looks at every commit, and whenever it is told to; the newest moment is compared with all before."""

    def __init__(self, simulation, root):
        self.simulation = simulation
        self.root = root
        self.puts: dict[bytes, Put] = {}
        self.rows = {}
        self.last_seq = 0
        self.needed = set()
        self.owners = {}  # processes, by the ids of owners
        self.leases = {}  # of transactions on their way: owner, and until when the lease lasts
        self.silent = {}  # transactions that were ended over the silence of their owners, and their epochs
        self.connection = None
        simulation.watch = self.reached
        simulation.store.on_remove = lambda path: self.removed("store", path)

    def reached(self, name, subject):
        if name == "registry.commit.after":
            self.look()
            self.look_at_leases()
        elif name in ("files.unlink.after", "files.remove_tree.after", "files.rename.after"):
            path = subject[0]
            if path.is_relative_to(self.root / "data"):
                self.removed("local", str(path.relative_to(self.root / "data")))

    def removed(self, store, path):
        path = path.removeprefix("bucket/store/")
        self.hold((store, path) not in self.needed, f"I2: {path} was removed at {store}, and is visible")

    def hold(self, is_so, what):
        if not is_so:
            self.simulation.violation(what)

    def ask(self, statement):
        with self.simulation.inspecting():
            if self.connection is None:
                place = f"file:{self.root / 'registry.sqlite3'}?mode=ro"
                self.connection = sqlite3.connect(place, uri=True, check_same_thread=False)
            return self.connection.execute(statement).fetchall()

    def close(self):
        """Look with other eyes from now on: the files may be others."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    # -- at every instant
    def look(self, *, everything=False):
        """Look at what is new since the last time; at everything where bytes may have changed."""
        rows = self.ask(VISIBLE if everything else f"{VISIBLE} WHERE d.commit_seq > {self.last_seq}")
        seen = {row[0]: row for row in rows}
        if everything:
            for id_, row in self.rows.items():
                self.hold(seen.get(id_) == row, f"I5: {row[2:5]} was visible, and is {seen.get(id_)} now")
        new = [row for id_, row in seen.items() if id_ not in self.rows]
        for row in new:
            self.hold(row[4] > self.last_seq, f"I4: {row[4]} became visible after {self.last_seq}")
        self.rows |= seen
        self.last_seq = max((row[4] for row in self.rows.values()), default=0)
        if new or everything:
            self.look_at_transactions({row[1] for row in (self.rows.values() if everything else new)})
            self.look_at_bytes(seen, everything=everything)
            self.look_at_versions()

    def look_at_leases(self):
        """Nobody ends a transaction whose owner lives and was heard of in time."""
        silent = dict(self.ask(SILENT))
        for txid in (txid for txid, epoch in silent.items() if self.silent.get(txid) != epoch):
            owner, lasts_until = self.leases.get(txid, (None, 0))
            process = self.owners.get(owner)
            is_dead = process is None or process.is_dead
            is_over = lasts_until < self.simulation.now_ns()
            may_end = is_dead or is_over or process is self.simulation.running()  # who took it over may, too
            self.hold(may_end, f"R2: {txid.hex()} was ended, and its owner {process and process.name} lives")
        self.silent |= silent
        self.leases = {txid: (owner, until) for txid, owner, until in self.ask(LEASES)}
        for owner, _ in self.leases.values():  # the first transaction of an owner is written by itself
            self.owners.setdefault(owner, self.simulation.running())

    def look_at_transactions(self, txids):
        for txid in txids:
            put = self.puts.get(txid)
            if put is None:
                self.hold(False, f"{txid.hex()} is visible, and nobody committed it")
                continue
            rows = [row for row in self.rows.values() if row[1] == txid]
            self.hold({row[2] for row in rows} == put.visits, f"I1: a part of {put.label}: {rows}")
            self.hold(rows[0][5] == "COMMITTED", f"I1: {put.label} is visible, and {rows[0][5]}")
            self.hold(not put.refused, f"I7: {put.label} was refused, and is visible")
            was_opened_again = rows[0][8] > self.silent.get(txid, -1)
            self.hold(was_opened_again, f"I7: {put.label} was ended, not opened again, and is visible")

    def look_at_versions(self):
        versions = {}
        for row in self.rows.values():
            versions.setdefault(row[2], []).append((row[3], row[4]))
        for visit, found in versions.items():
            found.sort()
            self.hold([v for v, _ in found] == list(range(1, len(found) + 1)), f"I3: {visit}: {found}")
            self.hold(found == sorted(found, key=lambda one: one[1]), f"I4: {visit}: {found}")
        keys = [(row[6], row[7], row[1]) for row in self.rows.values() if row[7] is not None]
        winners = {}
        for run, key, txid in keys:
            self.hold(winners.setdefault((run, key), txid) == txid, f"I8: {key} was committed twice")

    def look_at_bytes(self, seen, *, everything):
        for store, path, digest, state, dataset in self.ask(ARTIFACTS):
            if state != "ok" or (not everything and dataset not in seen):
                continue
            self.needed.add((store, path))
            data = self.bytes_of(store, path)
            self.hold(data is not None, f"I2: {path} at {store} is visible, and lost")
            if data is not None:
                self.hold(hashlib.sha256(data).hexdigest() == digest, f"I2: {path} at {store} is torn")
                put = self.puts.get(self.rows[dataset][1])
                self.hold(put is None or label_of(data) == put.label, f"I2: {path} holds another's bytes")

    def bytes_of(self, store, path):
        if store == "store":
            found = self.simulation.store.objects.get(f"bucket/store/{path}")
            return found and found[0]
        place = self.root / "data" / path
        return place.read_bytes() if place.exists() else None

    # -- what was promised
    def promise(self, put, level):
        """Note that a level was acknowledged: from now on it holds."""
        put.promised = level
        self.look_at_promise(put)

    def look_at_promises(self):
        for put in self.puts.values():
            self.look_at_promise(put)

    def look_at_promise(self, put):
        if put.promised is None or not put.visits:
            return
        is_visible = self.is_visible(put)
        if put.promised == "journaled":
            is_kept = is_visible or self.is_journaled(put) or self.won_by_key(put)
            self.hold(is_kept, f"I6: {put.label} was journaled, and is neither visible nor in the journal")
        else:
            self.hold(is_visible or self.won_by_key(put), f"I6: {put.label} was committed, and is lost")

    def is_visible(self, put):
        return any(row[1] == put.txid for row in self.rows.values())

    def is_journaled(self, put):
        txid = put.txid.hex()
        name = f"{txid[:8]}-{txid[8:12]}-{txid[12:16]}-{txid[16:20]}-{txid[20:]}"
        places = [self.root / "journal" / f"{name}.{state}" for state in ("ready", "conflict")]
        return any((place / "manifest.json").exists() for place in places)

    def of_key(self, put):
        """Return the visits that an attempt under its key has committed."""
        return {row[2] for row in self.rows.values() if put.key is not None and row[7] == put.key}

    def won_by_key(self, put):
        """Whether another attempt under its key has committed all that it has put."""
        return put.key is not None and put.visits <= self.of_key(put)

    # -- when all is quiet
    def is_quiet(self):
        waiting = self.ask(
            "SELECT 1 FROM registry_outbox UNION ALL SELECT 1 FROM txn WHERE state = 'PREPARING'"
        )
        return not waiting and not self.in_journal()

    def in_journal(self):
        journal = self.root / "journal"
        left = [one.name for one in journal.iterdir() if one.is_dir()] if journal.exists() else []
        return sorted(name for name in left if not name.endswith(".conflict"))

    def look_when_quiet(self):
        self.look(everything=True)
        self.look_at_promises()
        for put in self.puts.values():
            may_lose = put.promised is None or put.may_conflict or self.of_key(put)
            self.hold(
                may_lose or self.is_visible(put),
                f"I6: {put.label} was {put.promised}, nothing is against it, and it is not visible",
            )
        for txid, epoch, owner, host in self.ask(PREPARING):
            label = self.puts[txid].label if txid in self.puts else txid.hex()
            self.hold(
                False, f"R2: {label} is on its way, epoch {epoch}, owner {owner and owner.hex()} ({host})"
            )
        outbox = self.ask("SELECT kind, destination, attempts FROM registry_outbox")
        self.hold(not outbox, f"Q2: this is still to do: {outbox}")
        states = self.ask("SELECT store, state FROM artifact WHERE state != 'ok'")
        self.hold(not states, f"Q2: copies are missing: {states}")
        left = self.in_journal()
        self.hold(not left, f"R1: the journal holds {left}")
