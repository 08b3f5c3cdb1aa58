"""How long put blocks the task: beside a copy into warmed memory, a digest, and the loop's lag.

Each figure is the median of interleaved rounds of several processes: which pages of memory an array gets,
and so how fast they are, differs between processes more than between rounds. Brackets are the 10th and 90th
percentile.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import astropy.units as u
import numpy as np
import pyarrow as pa
import xxhash
from astropy.io import fits
from astropy.nddata import CCDData

from quantumio import AsyncButler, Butler, DataContext, DatasetType

SHAPE = (2048, 2048)  # float32: 16 MiB
COPY, DIGEST = "copy into warmed memory", "digest (xxh3-128)"
PAUSE = ", after a pause"


def prepare(root: Path, config: dict | None = None) -> Butler:
    with Butler.create(root, config) as butler:
        for name, storage_class in (
            ("image", "CCDData"),
            ("pixels", "NDArray"),
            ("rows", "ArrowTable"),
            ("blob", "Bytes"),
        ):
            butler.register_dataset_type(DatasetType(name, dimensions=["visit"], storage_class=storage_class))
    return Butler(root, run="bench", instrument="X")


def measure(rounds: int) -> dict[str, list[float]]:
    """Return seconds of each round by what was measured.

    As in a task: each array is computed right before it is put, and so is the one that is copied or
    digested for comparison. "After a pause" 64 MiB of other data have passed through the processor's caches
    in between, so that they hold nothing of the interpreter any more.
    """
    source = np.random.default_rng(0).normal(1000, 10, SHAPE).astype(np.float32)
    warmed = np.empty_like(source)
    elsewhere = np.ones((2, 32 << 20), dtype=np.uint8)
    header = fits.Header([(f"KEY{number}", number, "a card") for number in range(40)])
    table = pa.table({"x": source.ravel()})
    blob = source.tobytes()
    seconds: defaultdict[str, list[float]] = defaultdict(list)

    def image(array: np.ndarray) -> CCDData:
        return CCDData(array, unit=u.adu, meta=header)

    def as_is(array: np.ndarray) -> np.ndarray:
        return array

    with (
        tempfile.TemporaryDirectory() as directory,
        prepare(Path(directory, "checked")) as checked,
        prepare(Path(directory, "unchecked"), {"runtime": {"verify_borrowed": False}}) as unchecked,
    ):
        measured: list[
            tuple[str, Butler, Callable[[np.ndarray], Any], Callable[[DataContext, Any], object]]
        ] = [
            (COPY, checked, as_is, lambda _, array: np.copyto(warmed, array)),
            ("put image, copy", checked, image, lambda ctx, value: ctx.put(value, "image", visit=0)),
            ("put array, copy", checked, as_is, lambda ctx, value: ctx.put(value, "pixels", visit=0)),
            (DIGEST, checked, as_is, lambda _, array: xxhash.xxh3_128_digest(array.data)),
            (
                "put array, freeze",
                checked,
                as_is,
                lambda ctx, value: ctx.put(value, "pixels", visit=0, own="freeze"),
            ),
            (
                "put array, borrow without digest",
                unchecked,
                as_is,
                lambda ctx, value: ctx.put(value, "pixels", visit=0, own="borrow"),
            ),
            (
                "put Arrow table",
                unchecked,
                lambda _: table,
                lambda ctx, value: ctx.put(value, "rows", visit=0),
            ),
            ("put bytes", unchecked, lambda _: blob, lambda ctx, value: ctx.put(value, "blob", visit=0)),
        ]
        for pause, number, (name, butler, make, function) in itertools.product(
            ("", PAUSE), range(rounds + 2), measured
        ):
            with butler.context() as ctx:
                value = make(source + np.float32(1))
                if pause:
                    np.copyto(elsewhere[0], elsewhere[1])
                begin = time.perf_counter()
                function(ctx, value)
                if number >= 2:  # the first two warm the pool
                    seconds[name + pause].append(time.perf_counter() - begin)
                ctx.abort()
    return seconds


def loop_lag(rounds: int) -> list[float]:
    """Return how late (s) a task that sleeps 1 ms wakes up while images are put and committed."""
    late: list[float] = []

    async def watch() -> None:
        while True:
            begin = time.perf_counter()
            await anyio.sleep(0.001)
            late.append(time.perf_counter() - begin - 0.001)

    async def main() -> None:
        source = np.ones(SHAPE, dtype=np.float32)
        with tempfile.TemporaryDirectory() as directory:
            prepare(Path(directory, "night")).close()
            async with (
                AsyncButler(Path(directory, "night"), run="bench", instrument="X") as butler,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(watch)
                for visit in range(rounds):
                    async with butler.context() as ctx:
                        await ctx.put(source, "pixels", visit=visit)
                tasks.cancel_scope.cancel()

    anyio.run(main)
    return late


def measure_in_processes(processes: int, rounds: int) -> tuple[dict[str, list[float]], list[float]]:
    """Return what `measure` and `loop_lag` find in several processes, one after the other."""
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    late: list[float] = []
    for _ in range(processes):
        command = [sys.executable, __file__, "--json", "--processes", "1", "--rounds", str(rounds)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for name, values in found["seconds"].items():
            seconds[name] += values
        late += found["loop_lag_s"]
    return seconds, late


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25, help="of each process")
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.processes == 1:
        seconds, late = measure(options.rounds), loop_lag(options.rounds)
    else:
        seconds, late = measure_in_processes(options.processes, options.rounds)
    bounds = {}
    for pause in ("", PAUSE):
        copy, digest = (statistics.median(seconds[name + pause]) for name in (COPY, DIGEST))
        bounds |= {
            f"put image, copy{pause}": 1.5 * copy,
            f"put array, copy{pause}": 1.5 * copy,
            f"put array, freeze{pause}": digest + 0.2e-3,
            f"put array, borrow without digest{pause}": 0.2e-3,
            f"put Arrow table{pause}": 0.2e-3,
            f"put bytes{pause}": 0.2e-3,
        }
    if options.json:
        print(json.dumps({"seconds": seconds, "bounds_s": bounds, "loop_lag_s": late}))
        return
    print(
        f"16 MiB, {options.processes} processes of {options.rounds} rounds, "
        f"{os.cpu_count()} cores, {platform.machine()}"
    )
    print(f"{'':48} {'median':>9}  {'10 % - 90 %':>19} {'bound':>9}")
    for name, values in seconds.items():
        low, high = np.percentile(values, [10, 90])
        bound = bounds.get(name)
        text = (
            f"{1e3 * bound:6.2f} ms {'held' if statistics.median(values) < bound else 'NOT HELD'}"
            if bound
            else ""
        )
        middle = statistics.median(values)
        print(f"{name:48} {1e3 * middle:6.2f} ms  {1e3 * low:6.2f} - {1e3 * high:6.2f} ms  {text}")
    p50, p99 = np.percentile(late, [50, 99])
    print(
        f"{'event loop lag':48} {1e3 * p50:6.2f} ms  99 %: {1e3 * p99:.2f} ms, worst {1e3 * max(late):.2f} ms"
    )


if __name__ == "__main__":
    main()
