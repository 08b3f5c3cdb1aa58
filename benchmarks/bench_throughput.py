"""Durable and in-memory throughput beside the raw limits of the machine, all measured in one run.

What is compared is measured in turn, the order changing from round to round, so that a machine that is busy
with something else is so for both. Figures are medians over rounds; brackets are the 95 % confidence interval
of the median, by order statistics.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import math
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData
from attrs import asdict, frozen

from quantumio import Butler, DatasetType

SHAPE = (2048, 2048)  # float32: 16 MiB
SMALL = b"quantumio" * 113 + b"_______"  # 1 KiB
WARM_UP = 2  # rounds that are not counted: the pool, the caches, SQLite's statements
THREADS = 8


@frozen(kw_only=True)
class Sizes:
    """How much is measured.

    Attributes
    ----------
    rounds
        Of the pairs with large images; the others take half of them.
    images, outputs, contexts
        Large images of a round; small outputs of one context; contexts of one small output each.
    shape
        Of an image.
    """

    rounds: int = 12
    images: int = 4
    outputs: int = 2000
    contexts: int = 1000
    shape: tuple[int, int] = SHAPE


@frozen(kw_only=True)
class Figure:
    """What was measured in each round, and the bound that its median is held to."""

    name: str
    unit: str
    values: Sequence[float]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def median(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.values)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the median, whatever the distribution is."""
        ordered, number = sorted(self.values), len(self.values)
        below = 0  # so many of the lowest, and of the highest, may be left out
        while 2 * sum(math.comb(number, k) for k in range(below + 1)) <= 0.05 * 2**number:
            below += 1
        cut = max(below - 1, 0)
        return ordered[cut], ordered[number - 1 - cut]

    @property
    def is_held(self) -> bool:
        """Whether the median is within the bound."""
        if self.at_least is not None and self.median < self.at_least:
            return False
        return self.at_most is None or self.median <= self.at_most

    def __str__(self) -> str:
        bound = ""
        if self.at_least is not None:
            bound = f">= {self.at_least:,g} {'held' if self.is_held else 'NOT HELD'}"
        elif self.at_most is not None:
            bound = f"<= {self.at_most:,g} {'held' if self.is_held else 'NOT HELD'}"
        interval = " - ".join(_number(value) for value in self.interval)
        return f"{self.name:47} {_number(self.median):>8} {self.unit:8} {interval:>17}  {bound}".rstrip()


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def in_turn(rounds: int, *functions: Callable[[], object]) -> list[list[float]]:
    """Return the seconds that each function took in each round."""
    seconds: list[list[float]] = [[] for _ in functions]
    for number in range(WARM_UP + rounds):
        order = list(range(len(functions)))
        for index in order if number % 2 else reversed(order):
            begin = time.perf_counter()
            functions[index]()
            seconds[index].append(time.perf_counter() - begin)
    return [taken[WARM_UP:] for taken in seconds]


# -- the raw limits
class BareFiles:
    """Writes new files as plainly as can be: open, write, fsync, close."""

    def __init__(self, directory: Path, content: bytes) -> None:
        directory.mkdir(parents=True)
        self._directory = directory
        self._content = content
        self._numbers = itertools.count()

    def write(self, number: int) -> None:
        """Write that many."""
        for _ in range(number):
            path = self._directory / f"{next(self._numbers)}.bare"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            try:
                written = os.write(descriptor, self._content)
                assert written == len(self._content)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def write_in_threads(self, number: int, threads: int) -> None:
        """Write that many, the same number in each thread."""
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(self.write, number // threads) for _ in range(threads)]:
                done.result()


def bare_commits(path: Path, number: int) -> Callable[[], None]:
    """Return what commits that many rows to SQLite, each durable by itself."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, content BLOB) STRICT")

    def commit() -> None:
        for _ in range(number):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO row (content) VALUES (?)", (SMALL,))
            connection.execute("COMMIT")

    return commit


# -- a repository
def prepare(root: Path) -> Butler:
    with Butler.create(root) as butler:
        for name, storage_class in (("image", "CCDData"), ("pixels", "NDArray"), ("blob", "Bytes")):
            butler.register_dataset_type(DatasetType(name, dimensions=["visit"], storage_class=storage_class))
    return Butler(root, run="bench", instrument="X")


def stored_bytes(butler: Butler, image: CCDData) -> bytes:
    """Commit an image, and return the bytes that were written."""
    with butler.context() as ctx:
        receipt = ctx.put(image, "image", visit=-1)
    location = butler.where_is(receipt.ref)[0]
    return Path(unquote(urlsplit(location.url).path)).read_bytes()


# -- the measurements
def large_images(butler: Butler, root: Path, sizes: Sizes) -> Iterator[Figure]:
    """Measure images of 16 MiB, committed, beside the same bytes written plainly."""
    source = np.random.default_rng(0).normal(1000, 10, sizes.shape).astype(np.float32)
    header = fits.Header([(f"KEY{number}", number, "a card") for number in range(40)])
    image = CCDData(source, unit=u.adu, meta=header)
    content = stored_bytes(butler, image)
    bare = BareFiles(root / "data" / "bare-images", content)
    visits = itertools.count()

    def one_context() -> None:
        with butler.context() as ctx:
            for _ in range(sizes.images):
                ctx.put(image, "image", visit=next(visits))

    def one_context_each() -> None:
        tickets = []
        for _ in range(sizes.images):
            with butler.context(ack="buffered") as ctx:
                ctx.put(image, "image", visit=next(visits))
            tickets.append(ctx.ticket)
        for ticket in tickets:
            ticket.wait("committed")

    megabytes = sizes.images * len(content) / 1e6
    for name, function in (
        (f"{sizes.images} images, one context", one_context),
        (f"{sizes.images} images, a context each", one_context_each),
    ):
        plain, threaded, ours = in_turn(
            sizes.rounds,
            lambda: bare.write(sizes.images),
            lambda: bare.write_in_threads(sizes.images, sizes.images),
            function,
        )
        ratios = [one / other for one, other in zip(plain, ours, strict=True)]
        yield Figure(name="bare write + fsync", unit="MB/s", values=[megabytes / one for one in plain])
        yield Figure(
            name=f"bare write + fsync, {sizes.images} threads",
            unit="MB/s",
            values=[megabytes / one for one in threaded],
        )
        yield Figure(name=name, unit="MB/s", values=[megabytes / one for one in ours])
        yield Figure(name=f"{name}, of bare", unit="", values=ratios, at_least=0.9)
    butler.drain()


def large_puts(butler: Butler, sizes: Sizes) -> Iterator[Figure]:
    """Measure how fast arrays of 16 MiB are taken, beside a copy into warmed memory."""
    source = np.random.default_rng(0).normal(1000, 10, sizes.shape).astype(np.float32)
    warmed = np.empty_like(source)
    copies, puts = [], []
    for visit in range(WARM_UP + 2 * sizes.rounds):
        with butler.context() as ctx:
            begin = time.perf_counter()
            np.copyto(warmed, source)
            between = time.perf_counter()
            ctx.put(source, "pixels", visit=visit)
            end = time.perf_counter()
            ctx.abort()
        copies.append(between - begin)
        puts.append(end - between)
    copies, puts = copies[WARM_UP:], puts[WARM_UP:]
    gigabytes = source.nbytes / 1e9
    yield Figure(name="copy into warmed memory", unit="GB/s", values=[gigabytes / one for one in copies])
    yield Figure(name="put of an array", unit="GB/s", values=[gigabytes / one for one in puts])
    ratios = [one / other for one, other in zip(puts, copies, strict=True)]
    yield Figure(name="put of an array, in copies", unit="copies", values=ratios, at_most=1.5)


def small_outputs(butler: Butler, root: Path, sizes: Sizes) -> Iterator[Figure]:
    """Measure outputs of 1 KiB: many in one context, and contexts of one each."""
    visits = itertools.count()
    files = BareFiles(root / "data" / "bare-small", SMALL)
    bare_number = sizes.contexts // 2

    def one_context() -> None:
        with butler.context() as ctx:
            for _ in range(sizes.outputs):
                ctx.put(SMALL, "blob", visit=next(visits))

    def commit_contexts(number: int, ack: str) -> None:
        for _ in range(number):
            with butler.context(ack=ack) as ctx:
                ctx.put(SMALL, "blob", visit=next(visits))

    def submitted_by_one_thread() -> None:
        commit_contexts(sizes.contexts, "buffered")
        butler.drain()

    def submitted_beside_frozen_imports() -> None:
        gc.freeze()  # as a harness may after its imports: no search for garbage looks at them again
        submitted_by_one_thread()
        gc.unfreeze()

    def committed_by_threads() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            for done in [
                pool.submit(commit_contexts, sizes.contexts // THREADS, "committed") for _ in range(THREADS)
            ]:
                done.result()

    measured: list[tuple[str, str, int, float | None, Callable[[], object]]] = [
        ("bare files of 1 KiB, fsynced", "files/s", bare_number, None, lambda: files.write(bare_number)),
        (
            f"bare files of 1 KiB, fsynced, {THREADS} threads",
            "files/s",
            bare_number,
            None,
            lambda: files.write_in_threads(bare_number, THREADS),
        ),
        ("bare commits of SQLite", "/s", bare_number, None, bare_commits(root / "bare.db", bare_number)),
        (f"{sizes.outputs:,} outputs, one context", "/s", sizes.outputs, 5000, one_context),
        ("contexts of one output, submitted, drained", "/s", sizes.contexts, 1000, submitted_by_one_thread),
        (
            "contexts of one output, after gc.freeze()",
            "/s",
            sizes.contexts,
            None,
            submitted_beside_frozen_imports,
        ),
        (f"contexts of one output, {THREADS} threads", "/s", sizes.contexts, 1000, committed_by_threads),
    ]
    seconds = in_turn(max(sizes.rounds // 2, 1), *[one[-1] for one in measured])
    for (name, unit, number, bound, _), taken in zip(measured, seconds, strict=True):
        yield Figure(name=name, unit=unit, values=[number / one for one in taken], at_least=bound)


def measure(directory: Path, sizes: Sizes) -> list[Figure]:
    root = directory / "night"
    with prepare(root) as butler:
        return [
            *large_images(butler, root, sizes),
            *large_puts(butler, sizes),
            *small_outputs(butler, root, sizes),
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=Sizes().rounds)
    parser.add_argument("--directory", type=Path, help="where to write; default: the system's temporary one")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sizes = Sizes(rounds=options.rounds)
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        figures = measure(Path(directory), sizes)
    if options.json:
        told = [{**asdict(one), "median": one.median, "interval": one.interval} for one in figures]
        print(json.dumps({"sizes": asdict(sizes), "figures": told}))
        return
    print(f"{sizes.rounds} rounds, {os.cpu_count()} cores, {platform.machine()}")
    print(f"{'':47} {'median':>8} {'':8} {'95 % of median':>17}  bound")
    for figure in figures:
        print(figure)


if __name__ == "__main__":
    main()
