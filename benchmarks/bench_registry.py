"""What a registry of many datasets takes, beside the Rubin Data Butler and beside the bare database.

All sides take turns in one process, each with a repository of its own on the same disk; figures are medians.
`--clock cpu` is that of the process, which other work on the machine disturbs least (and which does not
count the waiting for the disk); `wall` is that on the wall. The Rubin Data Butler (extra `peer`) is left out
where it is not installed. Ours ingests files with size and digest; the peer is given data IDs alone, expanded
already. "Bare" is executemany of the very rows that ours has written, into the same schema with its
constraints, with a commit for every 5,000 datasets. The peer has no tables: where ours gives one, it gives
a list of refs.

`--postgresql URL` has both sides on a server of PostgreSQL, each with a database of its own there, which is
made and dropped; the peer needs the extension btree_gist. The bare statements are left out. Only the clock on
the wall counts what a server does.

`--grow N` looks at our registry alone while it grows to N datasets.
"""

# ruff: noqa: S608  SQL is made of the names of our own tables

from __future__ import annotations

import argparse
import importlib.util
import json
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pyarrow as pa

from quantumio import Butler, DatasetType, IngestReport

DETECTORS, BATCHES, BARE_COMMIT, RUN = 100, 5, 5_000, "run"
CALIBRATIONS, CALIBRATED_VISITS, CALIBRATION_STEP = "calib", 20, 10
SEEN_VISITS, PATCHES_A_SIDE, DETECTORS_A_SIDE, DEGREES = 12, 9, 10, 0.2
LONGEST_HOLD_S = 0.2
BOUNDS = {
    "insert": 10,
    "find one": 20,
    "visits, table": 10,
    "detector, table": 10,
    "all, table": 8,
    "on the sky": 5,
    "a calibration": 20,
    " calibrations": 5,
}
"""How many times the speed of the peer is wanted, by a part of what is measured."""
ON_SERVER = 5
"""The same on PostgreSQL, whatever is measured."""

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
clock = CLOCKS["wall"]
DIMENSIONS = ["instrument", "detector", "visit"]
IDENTITY = ("visit", "detector", "run", "version", "id")
TABLES = ("txn", "moment", "dataset", "group", "object", "artifact")


def seconds(action: Callable[[], object]) -> float:
    """Return how long an action takes by the chosen clock."""
    begun = clock()
    action()
    return clock() - begun


def square(ra_deg: float, dec_deg: float, width_deg: float) -> str:
    """Return the IVOA text of a region that begins at a corner."""
    right, top = ra_deg + width_deg, dec_deg + width_deg
    return f"POLYGON {ra_deg} {dec_deg} {right} {dec_deg} {right} {top} {ra_deg} {top}"


def corner(visit: int) -> tuple[float, float]:
    """Return where a visit begins on the sky (degrees); no edge of a detector lies on one of a patch."""
    return 10.0137 + 0.0311 * visit, 0.0113 + 0.0107 * visit


def visit_records(visits: int) -> Iterator[dict[str, Any]]:
    """Yield visits of half a minute, one a minute, of which the first ones lie on the patches of a tract."""
    from astropy import units
    from astropy.time import Time, TimeDelta

    begins = Time("2020-01-01T00:00:00", scale="tai") + TimeDelta([*range(visits)] * units.minute)
    ends = begins + 30 * units.s
    for visit in range(visits):
        seen = {"region": square(*corner(visit), 1.6)} if visit < SEEN_VISITS else {}
        yield {
            "instrument": "HSC",
            "visit": visit,
            "name": str(visit),
            "physical_filter": "HSC-I",
            "day_obs": 20200101,
            "timespan": (begins[visit], ends[visit]),
            **seen,
        }


def records(visits: int) -> dict[str, list[dict[str, Any]]]:
    """Return the records that both sides are given, by element; keys are named as their dimension is."""
    of_hsc, of_sky = {"instrument": "HSC"}, {"skymap": "sky"}
    chips = [
        (visit, number, 1.6 / DETECTORS_A_SIDE)
        for visit in range(SEEN_VISITS)
        for number in range(DETECTORS_A_SIDE**2)
    ]
    side = PATCHES_A_SIDE
    return {
        "instrument": [{**of_hsc, "detector_max": 200, "visit_max": 10**9, "exposure_max": 10**9}],
        "physical_filter": [{**of_hsc, "physical_filter": "HSC-I", "band": "i"}],
        "day_obs": [{**of_hsc, "day_obs": 20200101}],
        "detector": [{**of_hsc, "detector": n, "full_name": str(n)} for n in range(DETECTORS)],
        "visit": list(visit_records(visits)),
        "visit_detector_region": [
            {
                **of_hsc,
                "visit": visit,
                "detector": number,
                "region": square(
                    corner(visit)[0] + number % DETECTORS_A_SIDE * width,
                    corner(visit)[1] + number // DETECTORS_A_SIDE * width,
                    width,
                ),
            }
            for visit, number, width in chips
        ],
        "skymap": [of_sky],
        "tract": [{**of_sky, "tract": 1, "region": square(10, 0, side * DEGREES)}],
        "patch": [
            {
                **of_sky,
                "tract": 1,
                "patch": patch,
                "region": square(10 + patch % side * DEGREES, patch // side * DEGREES, DEGREES),
            }
            for patch in range(side**2)
        ],
    }


class Ours:
    """A repository of quantumio, filled by `Butler.ingest` from tables."""

    name = "quantumio"

    def __init__(self, root: Path, visits: int, url: str | None = None) -> None:
        with Butler.create(root, {"repository": {"registry": url}} if url else {}) as butler:
            for name, dimensions in {"calexp": DIMENSIONS, "bias": DIMENSIONS[:2]}.items():
                butler.register_dataset_type(DatasetType(name, dimensions=dimensions, storage_class="Bytes"))
            for element, of_element in records(visits).items():
                butler.insert_dimension(element, of_element)
            butler.register_run(RUN)
        self.root = root
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

    def refs_of_visits(self, first: int) -> None:
        """List the datasets of ten visits."""
        found = self.butler.query(
            "calexp", where=f"visit IN ({first}..{first + 9})", instrument="HSC", collections=RUN
        )
        assert sum(1 for _ in found) == 10 * DETECTORS

    def table_of_visits(self, first: int) -> None:
        """Have the datasets of ten visits as a table."""
        found = self.butler.query(
            "calexp", where=f"visit IN ({first}..{first + 9})", instrument="HSC", collections=RUN
        )
        assert found.table(columns=IDENTITY).num_rows == 10 * DETECTORS  # type: ignore[attr-defined]

    def refs_of_detector(self, detector: int) -> int:
        """List the datasets of a partial data ID: one detector of all visits."""
        return sum(
            1 for _ in self.butler.query("calexp", instrument="HSC", detector=detector, collections=RUN)
        )

    def table_of_detector(self, detector: int) -> int:
        """Have the datasets of one detector as a table."""
        found = self.butler.query("calexp", instrument="HSC", detector=detector, collections=RUN)
        return found.table(columns=IDENTITY).num_rows  # type: ignore[attr-defined,no-any-return]

    def refs(self) -> int:
        """List all datasets."""
        return sum(1 for _ in self.butler.query("calexp", instrument="HSC", collections=RUN))

    def table(self) -> int:
        """Have all datasets as a table of all columns."""
        return self.butler.query("calexp", instrument="HSC", collections=RUN).table().num_rows  # type: ignore[attr-defined,no-any-return]

    def identities(self) -> int:
        """Have all datasets as a table of what a ref says."""
        found = self.butler.query("calexp", instrument="HSC", collections=RUN)
        return found.table(columns=IDENTITY).num_rows  # type: ignore[attr-defined,no-any-return]

    def certify(self, visits: int) -> None:
        """Make a bias for each detector and each twentieth of the visits, and say when it is valid."""
        step = visits // CALIBRATED_VISITS
        begins = [record["timespan"][0] for record in visit_records(visits)][::step][:CALIBRATED_VISITS]
        for number, (begin, end) in enumerate(zip(begins, [*begins[1:], None], strict=True)):
            table = pa.table(
                {
                    "detector": range(DETECTORS),
                    "uri": [f"/survey/bias/{number}/{detector}.bin" for detector in range(DETECTORS)],
                    "size": [1_000_000] * DETECTORS,
                }
            )
            self.butler.ingest(table, "bias", run=f"bias/{number}", transfer="direct")
            refs = list(self.butler.query("bias", collections=f"bias/{number}"))
            assert len(refs) == DETECTORS
            self.butler.certify(CALIBRATIONS, refs, begin, end)

    def calibration(self, number: int) -> None:
        """Find the bias for a detector of a visit."""
        found = self.butler.find(
            "bias", visit=number // DETECTORS, detector=number % DETECTORS, collections=CALIBRATIONS
        )
        assert found is not None

    def calibrations(self, first: int) -> int:
        """Find the biases for all detectors of some visits."""
        asked = [
            {"instrument": "HSC", "visit": visit, "detector": detector}
            for visit in range(first, first + CALIBRATED_VISITS)
            for detector in range(DETECTORS)
        ]
        found = self.butler.find_each("bias", asked, collections=CALIBRATIONS)
        return found.num_rows - found.column("id").null_count  # type: ignore[attr-defined,no-any-return]

    def overlaps(self) -> int:
        """Join detectors of visits and patches that overlap."""
        wanted = ["visit", "detector", "patch"]
        return len(self.butler.query_data_ids(wanted, instrument="HSC", skymap="sky"))

    def close(self) -> None:
        """Close it."""
        self.butler.close()


class Peer:
    """A repository of the Rubin Data Butler, filled by its quickest way: expanded data IDs, no datastore."""

    name = "Rubin Data Butler"

    def __init__(self, root: Path, visits: int, url: str | None = None) -> None:
        from lsst.daf.butler import Butler as RubinButler
        from lsst.daf.butler import CollectionType, Config, Timespan
        from lsst.daf.butler import DatasetType as RubinDatasetType
        from lsst.sphgeom import Region

        RubinButler.makeRepo(str(root), Config({"registry": {"db": url}}) if url else None)
        self.butler = butler = RubinButler.from_config(str(root), writeable=True)
        for element, of_element in records(visits).items():
            own_name = {"instrument": "name", "physical_filter": "name", "skymap": "name"}.get(element, "id")
            made = []
            for record in of_element:
                fields = dict(record)
                if element in fields:
                    fields[own_name] = fields.pop(element)
                if "timespan" in fields:
                    fields["timespan"] = Timespan(*fields["timespan"])
                if "region" in fields:
                    fields["region"] = Region.from_ivoa_pos(fields["region"])
                needed = {"instrument": {"class_name": "x"}, "skymap": {"hash": b"0"}}.get(element, {})
                made.append(fields | needed)
            butler.registry.insertDimensionData(element, *made)
        for name, dimensions in {"calexp": DIMENSIONS, "bias": DIMENSIONS[:2]}.items():
            made_type = RubinDatasetType(
                name,
                dimensions,
                "Exposure",
                universe=butler.dimensions,
                isCalibration=name == "bias",
            )
            butler.registry.registerDatasetType(made_type)
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

    def refs_of_visits(self, first: int) -> None:
        """List the datasets of ten visits."""
        where = f"visit IN ({first}..{first + 9})"
        found = self.butler.query_datasets(
            "calexp", collections=RUN, where=where, instrument="HSC", limit=None
        )
        assert len(found) == 10 * DETECTORS

    table_of_visits = refs_of_visits

    def refs_of_detector(self, detector: int) -> int:
        """List the datasets of a partial data ID: one detector of all visits."""
        return len(
            self.butler.query_datasets(
                "calexp", collections=RUN, instrument="HSC", detector=detector, limit=None
            )
        )

    table_of_detector = refs_of_detector

    def refs(self) -> int:
        """List all datasets."""
        return len(self.butler.query_datasets("calexp", collections=RUN, instrument="HSC", limit=None))

    table = identities = refs

    def certify(self, visits: int) -> None:
        """Make a bias for each detector and each twentieth of the visits, and say when it is valid."""
        from lsst.daf.butler import CollectionType, Timespan

        step = visits // CALIBRATED_VISITS
        begins = [record["timespan"][0] for record in visit_records(visits)][::step][:CALIBRATED_VISITS]
        self.butler.collections.register(CALIBRATIONS, CollectionType.CALIBRATION)
        for number, (begin, end) in enumerate(zip(begins, [*begins[1:], None], strict=True)):
            run = f"bias/{number}"
            self.butler.collections.register(run, CollectionType.RUN)
            ids = [{"instrument": "HSC", "detector": detector} for detector in range(DETECTORS)]
            refs = self.butler.registry.insertDatasets("bias", ids, run=run)
            self.butler.registry.certify(CALIBRATIONS, refs, Timespan(begin, end))

    def calibration(self, number: int) -> None:
        """Find the bias for a detector of a visit, as its ``get`` does (``find_dataset`` takes no visit)."""
        found = self.butler._findDatasetRef(  # noqa: SLF001  what its own `get` calls
            "bias",
            {"instrument": "HSC", "visit": number // DETECTORS, "detector": number % DETECTORS},
            collections=CALIBRATIONS,
        )
        assert found is not None

    def calibrations(self, first: int) -> int:
        """Find the biases for all detectors of some visits, by one query."""
        with self.butler.query() as query:
            found = (
                query.where(f"visit IN ({first}..{first + CALIBRATED_VISITS - 1})", instrument="HSC")
                .join_dataset_search("bias", CALIBRATIONS)
                .general(["visit", "detector"], dataset_fields={"bias": {"dataset_id"}}, find_first=False)
            )
            return sum(1 for _ in found)

    def overlaps(self) -> int:
        """Join detectors of visits and patches that overlap."""
        with self.butler.query() as query:
            wanted = query.where(instrument="HSC", skymap="sky").data_ids(["visit", "detector", "patch"])
            return sum(1 for _ in wanted)

    def close(self) -> None:
        """Close it."""
        self.butler.close()


class Bare:
    """The same rows in the same schema, by the driver alone."""

    def __init__(self, ours: Ours, path: Path) -> None:
        self._from = sqlite3.connect(f"file:{ours.root / 'registry.sqlite3'}?mode=ro", uri=True)
        self._to = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self._to.execute(f"PRAGMA {pragma}")
        names = "SELECT name FROM sqlite_master WHERE name GLOB 'dataset_*_*' AND type = 'table'"
        self._names = {name: name for name in TABLES}
        ((self._names["group"],),) = (row for row in self._from.execute(names) if "visit" in row[0])
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


def counted(action: Callable[[], int], expected: int) -> float:
    """Return how long an action takes, which must find so many."""
    begun = clock()
    found = action()
    taken_s = clock() - begun
    assert found == expected, (found, expected)
    return taken_s


@contextmanager
def databases(server: str | None, *, with_peer: bool) -> Iterator[list[str | None]]:
    """Make a database for each side on a server, and drop them; None for each where there is no server."""
    if server is None:
        yield [None, None]
        return
    import psycopg

    names = [f"bench_{secrets.token_hex(8)}" for _ in range(2)]
    parts = urlsplit(server)
    ours, peer = (urlunsplit(parts._replace(path=f"/{name}")) for name in names)
    with psycopg.connect(server, autocommit=True) as connection:
        for name in names:
            connection.execute(f"CREATE DATABASE {name}")
        try:
            if with_peer:
                with psycopg.connect(peer, autocommit=True) as of_peer:
                    of_peer.execute("CREATE EXTENSION btree_gist")
            yield [ours, peer]
        finally:
            for name in names:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def measure(
    rows: int, rounds: int, directory: Path, urls: Sequence[str | None], *, with_peer: bool
) -> dict[str, Any]:
    """Return seconds by what was done and by side, and what another process met meanwhile."""
    batch, visits = rows // BATCHES, rows // DETECTORS
    rows = batch * BATCHES
    on_server = urls[0] is not None
    ours = Ours(directory / "ours", visits, urls[0])
    bare = None if on_server else Bare(ours, directory / "bare.sqlite3")
    sides: list[Ours | Peer] = [ours]
    if with_peer:
        sides.append(Peer(directory / "peer", visits, urls[1]))
    some = [number * 977 % rows for number in range(200)]
    firsts = [number * 7 % (visits - 9) for number in range(5)]
    of_calibrations = [number * CALIBRATION_STEP % (visits - CALIBRATED_VISITS) for number in range(3)]
    calibrated, pairs = CALIBRATED_VISITS * DETECTORS, ours.overlaps()
    try:

        def taken_by(action: Callable[[Any], float]) -> dict[str, float]:
            return interleaved(rounds, {side.name: lambda _, side=side: action(side) for side in sides})

        def looked_up(name: str, numbers: list[int], expected: int | None = None) -> dict[str, float]:
            def action(side: Any) -> float:
                method = getattr(side, name)
                if expected is not None:
                    return statistics.median(counted(partial(method, one), expected) for one in numbers)
                return p50(method, numbers)

            return taken_by(action)

        inserts = {side.name: partial(_insert_batch, side, batch) for side in sides}
        if bare:
            inserts["bare"] = lambda _: bare.insert() / batch
        done = {
            "insert, s per row": interleaved(BATCHES, inserts),
            "find one by its data ID": looked_up("find", some),
            "1,000 of ten visits, refs": looked_up("refs_of_visits", firsts),
            "1,000 of ten visits, table": looked_up("table_of_visits", firsts),
            f"{visits:,} of a detector, refs": looked_up("refs_of_detector", firsts, visits),
            f"{visits:,} of a detector, table": looked_up("table_of_detector", firsts, visits),
            "all, refs": taken_by(lambda side: counted(side.refs, rows)),
            "all, table of identities": taken_by(lambda side: counted(side.identities, rows)),
            "all, table of all columns": taken_by(lambda side: counted(side.table, rows)),
            f"{pairs:,} overlaps on the sky": taken_by(lambda side: counted(side.overlaps, pairs)),
        }
        for side in sides:
            side.certify(visits)
        done |= {
            "a calibration for a visit": looked_up("calibration", some),
            f"{calibrated:,} calibrations": looked_up("calibrations", of_calibrations, calibrated),
        }
        ours.longest_hold_s = 0.0
        with another_process(ours.root) as beside:
            inserted = ours.insert(range(rows, rows + batch))
        beside |= {"longest_hold_s": ours.longest_hold_s, "row_s": inserted / batch}
    finally:
        if bare:
            bare.close()
        for side in sides:
            side.close()
    return {
        "rows": rows,
        "database": "PostgreSQL" if on_server else "SQLite",
        "clock": next(name for name in CLOCKS if CLOCKS[name] is clock),
        "seconds": done,
        "beside": beside,
    }


def grow(to: int, directory: Path) -> dict[int, dict[str, float]]:
    """Return seconds of look-ups by how many datasets there are, ten times as many each time."""
    visits = to // DETECTORS
    ours = Ours(directory / "grown", min(visits, 1_000))
    sizes = [size for size in (10**5, 10**6, 10**7) if size < to] + [to]
    told: dict[int, dict[str, float]] = {}
    rows = 0
    try:
        for size in sizes:
            inserted_s = 0.0
            before = rows
            while rows < size:
                batch = min(100_000, size - rows)
                inserted_s += ours.insert(range(rows, rows + batch))
                rows += batch
            some = [number * 977 % rows for number in range(1_000)]
            firsts = [number * 7 % (rows // DETECTORS - 9) for number in range(9)]
            told[size] = {
                "insert_row_s": inserted_s / (size - before),
                "find_s": p50(ours.find, some),
                "table_of_visits_s": p50(ours.table_of_visits, firsts),
                "longest_hold_s": ours.longest_hold_s,
            }
            ours.longest_hold_s = 0.0
    finally:
        ours.close()
    return told


def show_growth(told: dict[int, dict[str, float]]) -> None:
    print(
        f"{'datasets':>12} {'insert':>16} {'find one':>12} {'1,000 of ten visits':>20} {'longest hold':>14}"
    )
    for size, taken in told.items():
        print(
            f"{size:>12,} {1 / taken['insert_row_s']:>9,.0f} rows/s {taken['find_s'] * 1e3:>9.3f} ms "
            f"{taken['table_of_visits_s'] * 1e3:>17.3f} ms {taken['longest_hold_s'] * 1e3:>11.0f} ms"
        )


def _insert_batch(side: Ours | Peer, size: int, number: int) -> float:
    return side.insert(range(number * size, (number + 1) * size)) / size


def held(wanted: int, reached: float) -> str:
    return f"{wanted}x {'held' if reached >= wanted else 'NOT HELD'}"


def show(figures: dict[str, Any]) -> None:
    on_server = figures["database"] == "PostgreSQL"
    print(
        f"{figures['rows']:,} datasets on {figures['database']}; "
        f"medians of the {figures['clock']} clock, sides taking turns\n"
    )
    print(
        f"{'':32} {'quantumio':>14} {'Rubin Butler':>14} {'ratio':>7} {'wanted':>13} {'bare':>14} "
        f"{'of bare':>8}"
    )
    for what, taken in figures["seconds"].items():
        wanted = next((ON_SERVER if on_server else BOUNDS[part] for part in BOUNDS if part in what), None)
        ours, peer, bare = taken["quantumio"], taken.get("Rubin Data Butler"), taken.get("bare")
        if what.startswith("insert"):
            what, shown = "insert", lambda row_s: f"{1 / row_s:,.0f} rows/s"
        else:
            shown = lambda taken_s: f"{taken_s * 1e3:,.3f} ms"  # noqa: E731
        print(
            f"{what:32} {shown(ours):>14} {shown(peer) if peer else '-':>14} "
            f"{f'{peer / ours:.1f}x' if peer else '-':>7} "
            f"{held(wanted, peer / ours) if peer and wanted else '-':>13} {shown(bare) if bare else '-':>14} "
            f"{f'{bare / ours:.2f}' if bare else '-':>8}"
        )
    beside = figures["beside"]
    hold_s = beside["longest_hold_s"]
    print(
        f"\nWhile another process committed {beside['commits']} contexts and looked up as often, "
        f"{1 / beside['row_s']:,.0f} rows/s:\n"
        f"the longest that a chunk held the write lock was {hold_s * 1e3:.0f} ms "
        f"({LONGEST_HOLD_S * 1e3:.0f} ms {'held' if hold_s <= LONGEST_HOLD_S else 'NOT HELD'}),\n"
        f"the longest commit of the other process {beside['commit_s'] * 1e3:.0f} ms, "
        f"its longest look-up {beside['find_s'] * 1e3:.0f} ms (wall clock)."
    )
    if len(figures["seconds"]["all, refs"]) == 1:
        print("\nNot compared with the Rubin Data Butler: it is not installed here (extra `peer`).")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="how many datasets")
    parser.add_argument("--rounds", type=int, default=5, help="how often each side has its turn")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="by which clock")
    parser.add_argument("--grow", type=int, metavar="N", help="look at ours alone while it grows to N")
    parser.add_argument("--postgresql", metavar="URL", help="have both sides on this server")
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
        if arguments.grow:
            show_growth(grow(arguments.grow, Path(directory)))
            return
        with databases(arguments.postgresql, with_peer=with_peer) as urls:
            figures = measure(arguments.rows, arguments.rounds, Path(directory), urls, with_peer=with_peer)
    if arguments.json:
        print(json.dumps(figures, indent=1))
    else:
        show(figures)


if __name__ == "__main__":
    main()
