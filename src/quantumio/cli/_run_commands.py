"""The command that plans and runs a pipeline."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from quantumio.cli._arguments import data_id_text, names, parse_bind, parse_data_id
from quantumio.cli._call import Call, examples, on_repository, policy_option
from quantumio.cli._failures import check_failures, settle
from quantumio.cli._output import print_table, print_text
from quantumio.errors import QuantumioError
from quantumio.model import format_bytes

if TYPE_CHECKING:
    from quantumio.supertask import Plan, ProgressEvent, QuantumResult, RunReport

__all__ = ["run"]


@click.command(
    epilog=examples(
        "quantumio run reduction.science:pipeline --run u/ada/night1 -c raw/night1,calib --dry-run",
        "quantumio run pipeline.py:nightly visit=33 --run u/ada/night1 -c raw/night1,calib -j 4",
    )
)
@click.argument("pipeline", metavar="MODULE:NAME|FILE.py:NAME")
@click.argument("data_id", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--run", "run_", required=True, metavar="RUN", help="RUN collection of the outputs.")
@click.option(
    "-c", "--collections", multiple=True, metavar="NAMES", help="Where inputs are, in order, with commas."
)
@click.option("--where", metavar="TEXT", help="Expression over dimensions: which quanta.")
@click.option("--bind", multiple=True, metavar="NAME=VALUE", help="Value of a :name in the expression.")
@click.option("--executor", default="threads", show_default=True, metavar="NAME", help="Where quanta run.")
@click.option("-j", "--jobs", type=int, metavar="N", help="How many at a time. Default: one a processor.")
@click.option(
    "--mode",
    type=click.Choice(["deferred", "immediate"]),
    help="When outputs become durable. Default: by policy.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and run nothing.")
@click.option("--register-dataset-types", is_flag=True, help="Register what its tasks declare, first.")
@policy_option
@on_repository
def run(
    call: Call,
    pipeline: str,
    data_id: tuple[str, ...],
    run_: str,
    collections: tuple[str, ...],
    where: str | None,
    bind: tuple[str, ...],
    executor: str,
    jobs: int | None,
    mode: str | None,
    dry_run: bool,
    register_dataset_types: bool,
    policy: str | None,
) -> None:
    """Plan a pipeline of SuperTasks and run it.

    The pipeline is a Pipeline object, or a function that returns one, in a module or in a file. Run again
    into the same RUN collection, it does only what is missing.
    """
    from quantumio.cli._pipeline_source import load_pipeline

    loaded = load_pipeline(pipeline)
    with call.open(policy=policy) as butler:
        if register_dataset_types:
            loaded.register_dataset_types(butler)
        with call.busy("Planning"):
            plan = loaded.plan(
                butler,
                where,
                run=run_,
                collections=names(collections),
                bind=parse_bind(bind),
                **parse_data_id(butler.dimensions, data_id),
            )
        if dry_run:
            call.answer(_plan_document(plan), lambda: _show_plan(plan))
            return
        with _progress(call) as progress:
            report = plan.run(executor, jobs=jobs, progress=progress, mode=mode)
        failures = settle(butler)
        call.answer(report.to_wire(), lambda: _show_report(report))
    check_failures([*map(_failure, report.failures), *failures])


def _plan_document(plan: Plan) -> dict[str, object]:
    quanta = [
        {
            "quantum": one.key,
            "task": one.task,
            "data_id": dict(one.data_id),
            "inputs": {name: [str(ref.id) for ref in refs] for name, refs in one.inputs.items()},
            "calibrations": {name: str(ref.id) for name, ref in one.calibrations.items()},
            "outputs": {name: str(ref.id) for name, ref in one.outputs.items()},
            "requires": list(one.requires),
        }
        for one in plan
    ]
    return {"run": plan.run_name, "counts": plan.counts(), "notes": list(plan.notes), "quanta": quanta}


def _show_plan(plan: Plan) -> None:
    rows = [
        (
            one.task,
            data_id_text(one.data_id),
            sum(map(len, one.inputs.values())),
            len(one.calibrations),
            tuple(one.outputs),
        )
        for one in plan
    ]
    print_table(
        ("task", "data ID", "inputs", "calibrations", "outputs"),
        rows,
        right=("inputs", "calibrations"),
        fold=("data ID", "outputs"),
    )
    for note in plan.notes:
        print_text(f"Note: {note}")
    counts = ", ".join(f"{number} {task}" for task, number in plan.counts().items())
    print_text(f"{len(plan)} quanta for run {plan.run_name}: {counts}")


def _show_report(report: RunReport) -> None:
    rows = [
        (
            one.task,
            one.quanta,
            one.failures or None,
            f"{one.compute_s:.2f}",
            f"{one.get_s:.2f}",
            f"{one.put_s:.2f}",
            one.outputs,
            format_bytes(one.output_bytes),
            one.destinations,
        )
        for one in report.summaries
    ]
    headings = ("task", "quanta", "failed", "compute s", "get s", "put s", "outputs", "size", "destinations")
    print_table(headings, rows, right=headings[1:8], fold=("destinations",))
    print_text(_capital(str(report)))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _failure(result: QuantumResult) -> Exception:
    """Return why a quantum did not end well; what a task raises is no bug of quantumio."""
    error = result.error
    if isinstance(error, QuantumioError):
        error.add_note(f"quantum {result.quantum.key}")
        return error
    said = f": {type(error).__name__}: {error}" if error else ""
    failure = QuantumioError(f"quantum {result.quantum.key} {result.state}{said}")
    failure.__cause__ = error
    return failure


@contextmanager
def _progress(call: Call) -> Iterator[Callable[[ProgressEvent], object] | None]:
    """Show how many quanta are computed and committed, on a terminal."""
    if call.as_json or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        computed = bars.add_task("computed", total=None)
        committed = bars.add_task("committed", total=None)

        def show(event: ProgressEvent) -> None:
            bars.update(computed, completed=event.finished, total=event.total)
            bars.update(committed, completed=event.decided, total=event.total)

        yield show
