"""What a registry of many datasets takes, beside the Rubin Data Butler and beside the bare database.

All sides take turns in one process, each with a repository of its own on the same disk; figures are medians.
`--clock cpu` is that of the process, which other work on the machine disturbs least (and which does not
count the waiting for the disk); `wall` is that on the wall. The Rubin Data Butler (extra `peer`) is left out
where it is not installed. Ours ingests files with size and digest; the peer is given data IDs alone, expanded
already. "Bare" is executemany of the very rows that ours has written, into the same schema with its
constraints, with a commit for every 5,000 datasets.
"""

# ruff: noqa: S608  SQL is made of the names of our own tables

from __future__ import annotations

import argparse
import importlib.util
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from quantumio import Butler, DatasetType, IngestReport

DETECTORS, BATCHES, BARE_COMMIT, RUN = 100, 5, 5_000, "run"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
clock = CLOCKS["wall"]
DIMENSIONS = ["instrument", "detector", "visit"]
TABLES = ("txn", "moment", "dataset", "group", "object", "artifact")


def seconds(action: Callable[[], object]) -> float:
    """Return how long an action takes by the chosen clock."""
    begun = clock()
    action()
    return clock() - begun


class Ours:
    """A repository of quantumio, filled by `Butler.ingest` from tables."""

    name = "quantumio"

    def __init__(self, root: Path) -> None:
        with Butler.create(root) as butler:
            butler.register_dataset_type(DatasetType("calexp", dimensions=DIMENSIONS, storage_class="Bytes"))
            butler.register_run(RUN)
        self.path = root / "registry.sqlite3"
        self.butler = Butler(root, run=RUN, instrument="HSC")
        self.longest_hold_s = 0.0

    def insert(self, numbers: range) -> float:
        """Make datasets of these numbers; return the seconds."""
        table = pa.table(
            {
                "visit": [number // DETECTORS for number in numbers],
                "detector": [number % DETECTORS for number in numbers],
                "uri": [f"/survey/calexp/{number // DETECTORS}/{number}.bin" for number in numbers],
                "size": [1_000_000 + number for number in numbers],
                "digest": [f"{number:064x}" for number in numbers],
            }
        )

        def ingest() -> None:
            report = self.butler.ingest(table, "calexp", transfer="direct")
            assert isinstance(report, IngestReport)
            assert report.resumed == 0
            self.longest_hold_s = max(self.longest_hold_s, report.longest_hold_s)

        return seconds(ingest)

    def find(self, number: int) -> None:
        """Find one dataset."""
        found = self.butler.find("calexp", visit=number // DETECTORS, detector=number % DETECTORS)
        assert found is not None

    def visits(self, first: int) -> None:
        """List the datasets of ten visits."""
        found = self.butler.query("calexp", where=f"visit IN ({first}..{first + 9})", collections=RUN)
        assert sum(1 for _ in found) == 10 * DETECTORS

    def table(self, rows: int) -> None:
        """Have all datasets as a table."""
        assert len(self.butler.query("calexp", collections=RUN).table()) == rows  # type: ignore[arg-type]

    def close(self) -> None:
        """Close it."""
        self.butler.close()


class Peer:
    """A repository of the Rubin Data Butler, filled by its quickest way: expanded data IDs, no datastore."""

    name = "Rubin Data Butler"

    def __init__(self, root: Path, visits: int) -> None:
        from lsst.daf.butler import Butler as RubinButler
        from lsst.daf.butler import CollectionType
        from lsst.daf.butler import DatasetType as RubinDatasetType

        RubinButler.makeRepo(str(root))
        self.butler = butler = RubinButler.from_config(str(root), writeable=True)
        most = {"detector_max": 200, "visit_max": 10**9, "exposure_max": 10**9}
        insert = butler.registry.insertDimensionData
        insert("instrument", {"name": "HSC", "class_name": "x", **most})
        insert("physical_filter", {"instrument": "HSC", "name": "HSC-I", "band": "i"})
        insert("day_obs", {"instrument": "HSC", "id": 20200101})
        insert("detector", *({"instrument": "HSC", "id": n, "full_name": str(n)} for n in range(DETECTORS)))
        of_visit = {"instrument": "HSC", "physical_filter": "HSC-I", "day_obs": 20200101}
        insert("visit", *({**of_visit, "id": n, "name": str(n)} for n in range(visits)))
        butler.registry.registerDatasetType(
            RubinDatasetType("calexp", DIMENSIONS, "Exposure", universe=butler.dimensions)
        )
        butler.collections.register(RUN, CollectionType.RUN)

    def insert(self, numbers: range) -> float:
        """Make datasets of these numbers; return the seconds."""
        from lsst.daf.butler import DataCoordinate

        ids = [
            DataCoordinate.standardize(
                instrument="HSC",
                visit=number // DETECTORS,
                detector=number % DETECTORS,
                universe=self.butler.dimensions,
            )
            for number in numbers
        ]
        return seconds(lambda: self.butler.registry.insertDatasets("calexp", ids, run=RUN, expand=False))

    def find(self, number: int) -> None:
        """Find one dataset."""
        found = self.butler.find_dataset(
            "calexp",
            {"instrument": "HSC", "visit": number // DETECTORS, "detector": number % DETECTORS},
            collections=RUN,
        )
        assert found is not None

    def visits(self, first: int) -> None:
        """List the datasets of ten visits."""
        where = f"visit IN ({first}..{first + 9})"
        found = self.butler.query_datasets(
            "calexp", collections=RUN, where=where, instrument="HSC", limit=None
        )
        assert len(found) == 10 * DETECTORS

    def table(self, rows: int) -> None:
        """Its nearest to a table: a list of refs."""
        found = self.butler.query_datasets("calexp", collections=RUN, instrument="HSC", limit=None)
        assert len(found) == rows

    def close(self) -> None:
        """Close it."""
        self.butler.close()


class Bare:
    """The same rows in the same schema, by the driver alone."""

    def __init__(self, ours: Ours, path: Path) -> None:
        self._from = sqlite3.connect(f"file:{ours.path}?mode=ro", uri=True)
        self._to = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self._to.execute(f"PRAGMA {pragma}")
        names = "SELECT name FROM sqlite_master WHERE name GLOB 'dataset_*_*' AND type = 'table'"
        self._names = {name: name for name in TABLES}
        ((self._names["group"],),) = (row for row in self._from.execute(names) if "detector" in row[0])
        for (sql,) in self._from.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT GLOB 'sqlite_*' "
            "ORDER BY type DESC"
        ):
            self._to.execute(sql)
        for table in ("collection", "dataset_type"):
            self._copy(table, self._from.execute(f"SELECT * FROM {table}").fetchall())
        self._seq = 0

    def _copy(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" * len(rows[0]))
        self._to.executemany(f'INSERT INTO "{table}" VALUES ({marks})', rows)

    def insert(self) -> float:
        """Write what ours has got since the last call; return the seconds."""
        group = self._names["group"]
        last = f"FROM txn WHERE commit_seq > {self._seq}"
        ids = f'(SELECT id FROM "{group}" WHERE commit_seq > {self._seq})'
        new = {
            "txn": f"SELECT * {last}",
            "moment": f"SELECT * FROM moment WHERE seq > {self._seq}",
            "dataset": f"SELECT * FROM dataset WHERE id IN {ids} ORDER BY id",
            "group": f'SELECT * FROM "{group}" WHERE commit_seq > {self._seq} ORDER BY id',
            "object": f"SELECT * FROM object WHERE txid IN (SELECT txid {last}) ORDER BY id",
            "artifact": f"SELECT * FROM artifact WHERE dataset_id IN {ids} ORDER BY dataset_id",
        }
        rows = {table: self._from.execute(statement).fetchall() for table, statement in new.items()}
        (self._seq,) = self._from.execute("SELECT max(commit_seq) FROM txn").fetchone()
        transactions = {table: rows.pop(table) for table in ("txn", "moment")}
        parts = [
            {table: of_table[start : start + BARE_COMMIT] for table, of_table in rows.items()}
            for start in range(0, len(rows["dataset"]), BARE_COMMIT)
        ]
        parts[0] |= transactions

        def write() -> None:
            for part in parts:
                self._to.execute("BEGIN IMMEDIATE")
                for table in TABLES:
                    if table in part:
                        self._copy(self._names[table], part[table])
                self._to.execute("COMMIT")

        return seconds(write)

    def close(self) -> None:
        """Close it."""
        self._from.close()
        self._to.close()


@contextmanager
def another_process(root: Path) -> Iterator[dict[str, float]]:
    """Have another process commit and find all the time; tells afterwards how long each took at most."""
    command = [sys.executable, __file__, "--beside", str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        told: dict[str, float] = {}
        assert process.stdout is not None
        process.stdout.readline()
        yield told
        told |= json.loads(process.communicate()[0])


def be_beside(root: str) -> None:
    """Commit and find until the standard input ends."""
    import select

    commits, finds = [], []
    with Butler(root, run="beside", instrument="HSC") as butler:
        number = 0

        def commit() -> None:
            with butler.context() as context:
                context.put(b"beside", "calexp", visit=number, detector=0)

        commit()
        print("ready", flush=True)
        while not commits or not select.select([sys.stdin], [], [], 0.005)[0]:
            number += 1
            commits.append(seconds(commit))
            finds.append(seconds(lambda: butler.find("calexp", visit=0, detector=0)))
    print(json.dumps({"commits": len(commits), "commit_s": max(commits), "find_s": max(finds)}))


def interleaved(rounds: int, actions: dict[str, Callable[[int], float]]) -> dict[str, float]:
    """Have sides take turns; return the median of what each round of each said."""
    taken: dict[str, list[float]] = {side: [] for side in actions}
    for number in range(rounds):
        for side, action in actions.items():
            taken[side].append(action(number))
    return {side: statistics.median(times) for side, times in taken.items()}


def p50(action: Callable[[int], object], numbers: list[int]) -> float:
    return statistics.median(seconds(partial(action, number)) for number in numbers)


def measure(rows: int, rounds: int, directory: Path, *, with_peer: bool) -> dict[str, Any]:
    """Return seconds by what was done and by side, and what another process met meanwhile."""
    batch = rows // BATCHES
    ours = Ours(directory / "ours")
    bare = Bare(ours, directory / "bare.sqlite3")
    sides: list[Ours | Peer] = [ours]
    if with_peer:
        sides.append(Peer(directory / "peer", rows // DETECTORS))
    some = [number * 977 % rows for number in range(200)]
    firsts = [number * 7 % (rows // DETECTORS - 9) for number in range(5)]
    try:
        inserts = {side.name: partial(_insert_batch, side, batch) for side in sides}
        done = {
            "insert, s per row": interleaved(BATCHES, inserts | {"bare": lambda _: bare.insert() / batch}),
            "find one by its data ID": interleaved(
                rounds, {side.name: lambda _, side=side: p50(side.find, some) for side in sides}
            ),
            f"{10 * DETECTORS} of ten visits": interleaved(
                rounds, {side.name: lambda _, side=side: p50(side.visits, firsts) for side in sides}
            ),
            "all as a table": interleaved(
                rounds,
                {
                    side.name: lambda _, side=side: seconds(partial(side.table, batch * BATCHES))
                    for side in sides
                },
            ),
        }
        ours.longest_hold_s = 0.0
        with another_process(ours.path.parent) as beside:
            inserted = ours.insert(range(rows, rows + batch))
        beside |= {"longest_hold_s": ours.longest_hold_s, "row_s": inserted / batch}
    finally:
        bare.close()
        for side in sides:
            side.close()
    return {
        "rows": rows,
        "clock": next(name for name in CLOCKS if CLOCKS[name] is clock),
        "seconds": done,
        "beside": beside,
    }


def _insert_batch(side: Ours | Peer, size: int, number: int) -> float:
    return side.insert(range(number * size, (number + 1) * size)) / size


def show(figures: dict[str, Any]) -> None:
    print(f"{figures['rows']:,} datasets; medians of the {figures['clock']} clock, sides taking turns\n")
    print(f"{'':32} {'quantumio':>14} {'Rubin Butler':>14} {'ratio':>7} {'bare':>14} {'of bare':>8}")
    for what, taken in figures["seconds"].items():
        ours, peer, bare = taken["quantumio"], taken.get("Rubin Data Butler"), taken.get("bare")
        if what.startswith("insert"):
            what, shown = "insert", lambda row_s: f"{1 / row_s:,.0f} rows/s"
        else:
            shown = lambda taken_s: f"{taken_s * 1e3:,.3f} ms"  # noqa: E731
        print(
            f"{what:32} {shown(ours):>14} {shown(peer) if peer else '-':>14} "
            f"{f'{peer / ours:.1f}x' if peer else '-':>7} {shown(bare) if bare else '-':>14} "
            f"{f'{bare / ours:.2f}' if bare else '-':>8}"
        )
    beside = figures["beside"]
    print(
        f"\nWhile another process committed {beside['commits']} contexts and looked up as often, "
        f"{1 / beside['row_s']:,.0f} rows/s:\n"
        f"the longest that a chunk held the write lock was {beside['longest_hold_s'] * 1e3:.0f} ms,\n"
        f"the longest commit of the other process {beside['commit_s'] * 1e3:.0f} ms, "
        f"its longest look-up {beside['find_s'] * 1e3:.0f} ms (wall clock)."
    )
    if len(figures["seconds"]["all as a table"]) == 1:
        print("\nNot compared with the Rubin Data Butler: it is not installed here (extra `peer`).")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="how many datasets")
    parser.add_argument("--rounds", type=int, default=5, help="how often each side has its turn")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="by which clock")
    parser.add_argument("--json", action="store_true", help="print figures for programs")
    parser.add_argument("--beside", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    global clock  # noqa: PLW0603  one clock for all that is measured
    clock = CLOCKS[arguments.clock]
    if arguments.beside:
        be_beside(arguments.beside)
        return
    with_peer = importlib.util.find_spec("lsst") is not None
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peer's
        figures = measure(arguments.rows, arguments.rounds, Path(directory), with_peer=with_peer)
    if arguments.json:
        print(json.dumps(figures, indent=1))
    else:
        show(figures)


if __name__ == "__main__":
    main()
