"""What a registry of many datasets takes: writing them, and finding one, some and all of them.

Figures are CPU times of this process, which other work on the machine disturbs least: the least of several
rounds. The registry is an embedded one; two versions of a tenth of the datasets are there.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from quantumio.model import Committed, DataId, DatasetRef, DatasetType, OutputRecord, Transaction
from quantumio.ports import DatasetQuery
from quantumio.registry import SqlCatalog, create_registry, sqlite_url
from quantumio.system import environment

DETECTORS, BATCH, RUN = 100, 2_000, "run"
TYPE = DatasetType("calexp", dimensions=("instrument", "detector", "visit"), storage_class="CCDData")


def least(action: Callable[[int], object], repeat: int, rounds: int = 3) -> float:
    """Return the least CPU time of an action in seconds; it is told how often it was done before."""
    times = []
    for _ in range(rounds):
        begun = time.process_time()
        for number in range(repeat):
            action(number)
        times.append((time.process_time() - begun) / repeat)
    return min(times)


def data_id(number: int) -> DataId:
    return DataId({"instrument": "HSC", "detector": number % DETECTORS, "visit": number // DETECTORS})


def write(catalog: SqlCatalog, numbers: range) -> float:
    """Commit a dataset for each number; return the CPU time of the commits alone."""
    taken = 0.0
    for start in range(0, len(numbers), BATCH):
        outputs = tuple(
            OutputRecord(
                ref=DatasetRef(environment.uuid7(), TYPE, data_id(number), RUN), expect=None, artifacts=()
            )
            for number in numbers[start : start + BATCH]
        )
        transaction = Transaction(txid=environment.uuid7(), run=RUN, key=None, outputs=outputs)
        begun = time.process_time()
        (outcome,) = catalog.flip([transaction])
        taken += time.process_time() - begun
        assert isinstance(outcome, Committed), outcome
    return taken


def measure(catalog: SqlCatalog, rows: int) -> dict[str, str]:
    catalog.register_dataset_type(TYPE)
    written = rows / write(catalog, range(rows))
    write(catalog, range(0, rows, 10))
    visits = rows // DETECTORS

    def query(**options: object) -> Callable[[int], object]:
        def run(number: int) -> int:
            asked = {name: value(number) if callable(value) else value for name, value in options.items()}
            return sum(1 for _ in catalog.query(DatasetQuery(collections=(RUN,), **asked)))  # type: ignore[arg-type]

        return run

    one = [data_id(number * 97 % rows) for number in range(1_000)]
    ten = query(where=lambda number: f"visit IN ({number % (visits - 9)}..{number % (visits - 9) + 9})")
    detector = query(data_id=lambda number: {"detector": number % DETECTORS})
    counted = DatasetQuery(collections=(RUN,))
    found = least(lambda number: catalog.find(TYPE, one[number], [RUN]), len(one))
    return {
        "datasets committed": f"{written:,.0f} rows/s",
        "one by its data ID": f"{found * 1e6:.0f} us",
        f"{10 * DETECTORS} of ten visits": f"{least(ten, 5) * 1e3:.1f} ms",
        f"{visits} of one detector": f"{least(detector, 5) * 1e3:.1f} ms",
        "all of them, as refs": f"{rows / least(query(), 1):,.0f} rows/s",
        "counting them": f"{least(lambda _: catalog.count(counted), 1) * 1e3:.1f} ms",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="how many datasets")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        catalog = create_registry(
            sqlite_url(path / "registry.sqlite3"), universe_tables=None, lock_path=path / "lock"
        )
        print(f"{arguments.rows:,} datasets, CPU time")
        for what, figure in measure(catalog, arguments.rows).items():
            print(f"  {what:24} {figure:>16}")
        catalog.close()


if __name__ == "__main__":
    main()
