"""How long put blocks the task: beside a copy into warmed memory, a digest, and the loop's lag.

Each figure is the median of interleaved rounds of one run; brackets are the 10th and 90th percentile.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import astropy.units as u
import numpy as np
import pyarrow as pa
import xxhash
from astropy.io import fits
from astropy.nddata import CCDData

from quantumio import AsyncButler, Butler, DatasetType

SHAPE = (2048, 2048)  # float32: 16 MiB


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
    """Return seconds of each round by what was measured."""
    seconds: defaultdict[str, list[float]] = defaultdict(list)

    def timed(name: str, function: Callable[[], object]) -> None:
        begin = time.perf_counter()
        function()
        seconds[name].append(time.perf_counter() - begin)

    source = np.random.default_rng(0).normal(1000, 10, SHAPE).astype(np.float32)
    warmed = np.empty_like(source)
    header = fits.Header([(f"KEY{number}", number, "a card") for number in range(40)])
    image = CCDData(source, unit=u.adu, meta=header)
    table = pa.table({"x": source.ravel()})
    blob = source.tobytes()
    with (
        tempfile.TemporaryDirectory() as directory,
        prepare(Path(directory, "checked")) as checked,
        prepare(Path(directory, "unchecked"), {"runtime": {"verify_borrowed": False}}) as unchecked,
    ):
        for visit in range(rounds + 2):
            timed("copy into warmed memory", partial(np.copyto, warmed, source))
            with checked.context(ack="settled") as ctx:
                timed("put image, copy", partial(ctx.put, image, "image", visit=visit))
                timed("put array, copy", partial(ctx.put, source, "pixels", visit=visit))
            checked.drain()  # so that nothing of the last round runs beside the next
            with checked.context() as ctx:
                fresh = source.copy()  # as cold as the array that is frozen
                timed("digest (xxh3-128)", partial(xxhash.xxh3_128_digest, fresh.data))
                frozen = source.copy()
                timed("put array, freeze", partial(ctx.put, frozen, "pixels", visit=visit, own="freeze"))
                ctx.abort()
            with checked.context() as ctx:  # the same array again, which nobody has touched since
                timed("digest, warm", partial(xxhash.xxh3_128_digest, frozen.data))
                timed(
                    "put array, freeze, warm", partial(ctx.put, frozen, "pixels", visit=visit, own="freeze")
                )
                ctx.abort()
            with unchecked.context() as ctx:
                borrow = partial(ctx.put, source, "pixels", visit=visit, own="borrow")
                timed("put array, borrow without digest", borrow)
                timed("put Arrow table", partial(ctx.put, table, "rows", visit=visit))
                timed("put bytes", partial(ctx.put, blob, "blob", visit=visit))
                ctx.abort()
    return {name: values[2:] for name, values in seconds.items()}  # the first two warm the pool


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    seconds = measure(options.rounds)
    late = loop_lag(options.rounds)
    copy = statistics.median(seconds["copy into warmed memory"])
    digest = statistics.median(seconds["digest (xxh3-128)"])
    bounds = {
        "put image, copy": 1.5 * copy,
        "put array, copy": 1.5 * copy,
        "put array, freeze": digest + 0.2e-3,
        "put array, freeze, warm": statistics.median(seconds["digest, warm"]) + 0.2e-3,
        "put array, borrow without digest": 0.2e-3,
        "put Arrow table": 0.2e-3,
        "put bytes": 0.2e-3,
    }
    if options.json:
        print(json.dumps({"seconds": seconds, "bounds_s": bounds, "loop_lag_s": late}))
        return
    print(f"16 MiB, {options.rounds} rounds, {os.cpu_count()} cores, {platform.machine()}")
    print(f"{'':36} {'median':>9}  {'10 % - 90 %':>19} {'bound':>9}")
    for name, values in seconds.items():
        low, high = np.percentile(values, [10, 90])
        bound = bounds.get(name)
        text = (
            f"{1e3 * bound:6.2f} ms {'held' if statistics.median(values) < bound else 'NOT HELD'}"
            if bound
            else ""
        )
        middle = statistics.median(values)
        print(f"{name:36} {1e3 * middle:6.2f} ms  {1e3 * low:6.2f} - {1e3 * high:6.2f} ms  {text}")
    p50, p99 = np.percentile(late, [50, 99])
    print(
        f"{'event loop lag':36} {1e3 * p50:6.2f} ms  99 %: {1e3 * p99:.2f} ms, worst {1e3 * max(late):.2f} ms"
    )


if __name__ == "__main__":
    main()
