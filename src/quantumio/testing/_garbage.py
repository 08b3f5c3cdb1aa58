"""Garbage collection without patience, for tests: in real use nothing goes that was alive a day ago."""

from __future__ import annotations

import functools
from typing import Final

from quantumio.butler import Butler
from quantumio.engine import GarbageCollector, GarbageReport, GarbageTally
from quantumio.ports import Catalog, Destinations

__all__ = ["collect_garbage_at_once"]

_ANY: Final = 1 << 62


def collect_garbage_at_once(butler: Butler) -> GarbageReport:
    """Remove all garbage of a Butler's repositories: once to see it, once to remove it, with no grace.

    Afterwards the objects in its stores are exactly those that datasets have, but for what the registry does
    not know, what has the path of an object that is alive in another store, and what is not quantumio's.
    What others write at the same time may be lost to them: they try again, and nothing that is committed is
    touched.

    Parameters
    ----------
    butler
        Open for writing.

    Returns
    -------
    GarbageReport
        Of the second run.
    """
    for repository in butler._session.repositories:  # noqa: SLF001  beside the interface, which has a floor
        _collect(repository.catalog, repository.destinations)
    reports = [_collect(one.catalog, one.destinations) for one in butler._session.repositories]  # noqa: SLF001
    return functools.reduce(GarbageReport.joined, reports)


def _collect(catalog: Catalog, destinations: Destinations) -> GarbageReport:
    tally = GarbageTally()
    collector = GarbageCollector(catalog, destinations, grace_s=0, dry_run=False, tally=tally)
    collector.run(yes_really=_ANY)
    return tally.report(dry_run=False, grace_s=0)
