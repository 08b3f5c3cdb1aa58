"""What the main job shows: progress on a terminal, tables at its end."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from astropy.table import QTable
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from quantumio.supertask import ProgressEvent, RunReport

WIDTH_WITHOUT_TERMINAL = 110

NIGHT_COLUMNS = {
    "visit": ("visit", "d"),
    "physical_filter": ("filter", "s"),
    "exposure_time": ("exposure", ".0f"),
    "background": ("background", ".1f"),
    "background_rms": ("noise", ".2f"),
    "median_fwhm": ("FWHM", ".2f"),
    "masked_pixels": ("masked", "d"),
    "sources": ("sources", "d"),
}
"""Columns of the night's table that are shown: their headings, and how."""

SAME_SHARE = 0.1
"""Wall clocks that differ by less than this share are called the same."""


def make_console() -> Console:
    """Return a console that does not break lines where nobody looks at them."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH_WITHOUT_TERMINAL)
    return console


@contextmanager
def stage(console: Console, words: str) -> Iterator[None]:
    """Show that something goes on, on a terminal only."""
    if console.is_terminal:
        with console.status(words):
            yield
    else:
        yield


@contextmanager
def run_progress(console: Console, words: str, total: int) -> Iterator[Callable[[ProgressEvent], None]]:
    """Show how many quanta have computed, and how many are durable and visible; on a terminal only."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        computed = progress.add_task(f"{words}: computed", total=total)
        durable = progress.add_task(f"{' ' * len(words)}  durable and visible", total=total)

        def tell(event: ProgressEvent) -> None:
            progress.update(computed, completed=event.finished)
            progress.update(durable, completed=event.decided)

        yield tell


def night_table(night: QTable) -> Table:
    """Return the table of a night's frames."""
    table = _table("The night")
    for name, (title, _) in NIGHT_COLUMNS.items():
        unit = getattr(night[name], "unit", None)
        table.add_column(f"{title} ({unit})" if unit else title, justify="right")
    for row in night:
        values = (getattr(row[name], "value", row[name]) for name in NIGHT_COLUMNS)
        forms = (form for _, form in NIGHT_COLUMNS.values())
        table.add_row(*(format(value, form) for value, form in zip(values, forms, strict=True)))
    return table


def task_table(reports: Mapping[str, RunReport]) -> Table:
    """Return what each task cost in each mode, side by side.

    Parameters
    ----------
    reports
        Mode to the report of its run, of the same tasks.
    """
    table = _table("Tasks")
    table.add_column("task")
    table.add_column("quanta", justify="right")
    for what in ("compute (s)", "in put (s)"):
        for mode in reports:
            table.add_column(f"{what}\n{mode}", justify="right")
    table.add_column("outputs", justify="right")
    table.add_column("MB", justify="right")
    table.add_column("destinations")
    summaries = [report.summaries for report in reports.values()]
    for row in zip(*summaries, strict=True):
        first = row[0]
        table.add_row(
            first.task,
            str(first.quanta),
            *(f"{one.compute_s:.2f}" for one in row),
            *(f"{one.put_s:.3f}" for one in row),
            str(first.outputs),
            f"{first.output_bytes / 1e6:.1f}",
            ", ".join(first.destinations),
        )
    table.add_section()
    table.add_row(
        "all",
        str(sum(one.quanta for one in summaries[0])),
        *(f"{sum(one.compute_s for one in tasks):.2f}" for tasks in summaries),
        *(f"{sum(one.put_s for one in tasks):.3f}" for tasks in summaries),
        str(sum(one.outputs for one in summaries[0])),
        f"{sum(one.output_bytes for one in summaries[0]) / 1e6:.1f}",
        style="bold",
    )
    return table


def clock_table(reports: Mapping[str, RunReport], rounds: int) -> Table:
    """Return how long each mode took by the wall clock, at its best of so many rounds."""
    table = _table("Wall clock" if rounds == 1 else f"Wall clock, best of {rounds}")
    table.add_column("write mode")
    for what in ("computed after (s)", "durable and visible after (s)"):
        table.add_column(what, justify="right")
    for mode, report in reports.items():
        table.add_row(mode, f"{report.sealed_s:.2f}", f"{report.committed_s:.2f}")
    return table


def sentence(reports: Mapping[str, RunReport], same: int, total: int) -> str:
    """Say in words what the tables show.

    Parameters
    ----------
    reports
        Two modes and the reports of their runs.
    same, total
        Number of stored outputs with the same bytes in both, and of all.
    """
    (one, first), (other, second) = reports.items()
    waits = [sum(summary.put_s for summary in report.summaries) for report in (first, second)]
    times = f", {waits[1] / waits[0]:.1f} times as long" if waits[1] > waits[0] > 0 else ""
    said = (
        f"Tasks were blocked in put for {waits[0]:.2f} s in {one} mode, "
        f"for {waits[1]:.2f} s in {other} mode{times}."
    )
    clocks = first.committed_s, second.committed_s
    if abs(clocks[0] - clocks[1]) < SAME_SHARE * max(clocks):
        said += " The wall clock is the same: here the night is bound by computing, and the disk is quick."
    else:
        quicker, slower = (one, other) if clocks[0] < clocks[1] else (other, one)
        said += f" By the wall clock {quicker} was {abs(clocks[0] - clocks[1]):.2f} s quicker than {slower}."
    return f"{said} {same} of {total} stored outputs have the same bytes in both."


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
