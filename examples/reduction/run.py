"""The main job: reduce a night, real or simulated, once with deferred and once with immediate writes.

Run it from anywhere: ``python examples/reduction/run.py``. With ``--data`` it takes the FITS files of a
directory; without, it simulates a night first.
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))  # this file is a script, and its neighbours are a package

from astropy.table import QTable  # noqa: E402
from rich.console import Console  # noqa: E402

from examples.reduction import display  # noqa: E402
from examples.reduction.frames import Frame, FrameKind, find_frames  # noqa: E402
from examples.reduction.night import (  # noqa: E402
    CALIBRATIONS,
    RAW_RUN,
    certify_masters,
    create_repository,
    day_obs,
    observe,
    of_kind,
)
from examples.reduction.simulate import simulate_night  # noqa: E402
from examples.reduction.tasks import reduction  # noqa: E402
from quantumio import Butler, QuantumioError  # noqa: E402
from quantumio.supertask import RunReport  # noqa: E402

MODES = ("deferred", "immediate")
SCIENCE = "exposure.observation_type = 'science'"
SIMULATED_FRAMES = 8
ROUNDS = 2
WARM_UP_SHAPE = (128, 128)
LEVEL3_QUERY = "SELECT run, visit, count(*), max(flux) FROM source GROUP BY run, visit"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    console = display.make_console()
    try:
        _demonstrate(console, options)
    except (QuantumioError, OSError, ValueError) as error:
        _complain(str(error))
        return getattr(error, "exit_code", 2)
    except ExceptionGroup as group:
        for error in group.exceptions:
            notes = " ".join(getattr(error, "__notes__", ()))
            _complain(f"{error} ({notes})" if notes else str(error))
        return 1
    return 0


def _complain(words: str) -> None:
    Console(stderr=True, highlight=False).print(f"error: {words}", soft_wrap=True, markup=False)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Reduce a night of CCD frames with SuperTasks, in deferred and in immediate mode."
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="FITS files of a real night; without it one is simulated"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where results go (default: demo-output/1, 2, ...)"
    )
    parser.add_argument(
        "--repository", type=Path, metavar="DIR", help="repository to make (default: in the output directory)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the simulated night (default: %(default)s)")
    parser.add_argument(
        "--frames",
        type=_positive,
        default=SIMULATED_FRAMES,
        metavar="N",
        help="science frames of the simulated night (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs",
        type=_positive,
        default=max(2, os.cpu_count() or 1),
        metavar="N",
        help="quanta that run at the same time (default: %(default)s)",
    )
    parser.add_argument(
        "--rounds",
        type=_positive,
        default=ROUNDS,
        metavar="N",
        help="runs in each mode; the quickest of each is shown (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text} is no number from 1 on")
    return int(text)


def _demonstrate(console: Console, options: argparse.Namespace) -> None:
    output = options.output or _free_directory(Path("demo-output"))
    frames = _frames(console, options, output)
    console.print(_described(frames))
    root = options.repository or output / "repository"
    with _repository(root, frames) as butler:
        with display.stage(
            console, "Loading libraries with a tiny night, so that both modes start alike ..."
        ):
            _warm_up()
        with display.stage(console, "Taking the raw frames in, and making the masters ..."):
            observe(butler, frames)
            masters = certify_masters(butler, frames, options.jobs)
        console.print(
            f"{len(frames)} raw frames ingested where they are; bias, dark and flat made in "
            f"{masters.committed_s:.1f} s and certified for the night."
        )
        reports = _compare(console, butler, frames, options.jobs, options.rounds)
        night = butler.get("night_summary", day_obs=day_obs(frames), collections=_run(MODES[0]))
        picture = butler.get("quick_look", day_obs=day_obs(frames), collections=_run(MODES[0]))
        _save(output, night, picture, reports)
        same, total = _same_bytes(butler)
    console.print()
    console.print(display.night_table(night))
    console.print(display.task_table(reports))
    console.print(display.clock_table(reports, options.rounds))
    console.print(display.sentence(reports, same, total), soft_wrap=True)
    console.print(_next_steps(root, output, frames), soft_wrap=True)


def _free_directory(parent: Path) -> Path:
    return next(path for number in itertools.count(1) if not (path := parent / str(number)).exists())


def _frames(console: Console, options: argparse.Namespace, output: Path) -> list[Frame]:
    directory = options.data
    if directory is None:
        directory = output / "raw"
        with display.stage(console, f"Simulating a night with seed {options.seed} ..."):
            simulate_night(directory, options.seed, n_science=options.frames)
    elif not directory.is_dir():
        raise FileNotFoundError(f"there is no directory {directory}")
    frames = find_frames(directory)
    instruments = sorted({frame.instrument for frame in frames})
    if len(instruments) > 1:
        raise ValueError(
            f"{directory} has frames of {', '.join(instruments)}: name a directory of one of them"
        )
    for kind, least in (
        (FrameKind.BIAS, 2),
        (FrameKind.DARK, 1),
        (FrameKind.FLAT, 1),
        (FrameKind.SCIENCE, 1),
    ):
        if len(of_kind(frames, kind)) < least:
            raise ValueError(f"{directory} needs {least} or more {kind} frames")
    return frames


def _described(frames: Sequence[Frame]) -> str:
    counts = ", ".join(f"{len(of_kind(frames, kind))} {kind}" for kind in FrameKind)
    return f"{frames[0].instrument}, night {day_obs(frames)}: {counts} frames."


@contextmanager
def _repository(root: Path, frames: Sequence[Frame]) -> Iterator[Butler]:
    butler = create_repository(root, frames[0].instrument)
    try:
        yield butler
    finally:
        butler.close()


def _warm_up() -> None:
    """Run everything once, small, in a repository that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="quantumio-demo-") as directory:
        raw = Path(directory) / "raw"
        simulate_night(raw, 0, n_science=1, shape=WARM_UP_SHAPE, n_stars=20)
        frames = find_frames(raw)
        with _repository(Path(directory) / "repository", frames) as butler:
            observe(butler, frames)
            certify_masters(butler, frames, jobs=1)
            for mode in MODES:
                _plan_and_run(butler, mode, 1, None).raise_for_failures()


def _run(mode: str, number: int = 1) -> str:
    return f"demo/{mode}" if number == 1 else f"demo/{mode}-{number}"


def _compare(
    console: Console, butler: Butler, frames: Sequence[Frame], jobs: int, rounds: int
) -> dict[str, RunReport]:
    """Reduce the night in both modes, in turn; returns the quickest run of each."""
    total = 2 * len(of_kind(frames, FrameKind.SCIENCE)) + 1
    reports: dict[str, list[RunReport]] = {mode: [] for mode in MODES}
    for number in range(1, rounds + 1):
        # Every other round the other way round: neither mode is always the one after a pause.
        for mode in MODES if number % 2 else reversed(MODES):
            with display.run_progress(
                console, f"Reducing, {mode}, round {number} of {rounds}", total
            ) as tell:
                report = _plan_and_run(butler, mode, jobs, tell, number)
            report.raise_for_failures()
            reports[mode].append(report)
    return {mode: min(runs, key=lambda report: report.committed_s) for mode, runs in reports.items()}


def _plan_and_run(butler: Butler, mode: str, jobs: int, tell: object, number: int = 1) -> RunReport:
    plan = reduction().plan(butler, SCIENCE, run=_run(mode, number), collections=[RAW_RUN, CALIBRATIONS])
    return plan.run("threads", jobs=jobs, progress=tell, mode=mode, ack="settled")


def _same_bytes(butler: Butler) -> tuple[int, int]:
    """Count the outputs of both runs, and those whose bytes are the same in both."""
    first, second = (_digests(butler, _run(mode)) for mode in MODES)
    return sum(second.get(key) == digests for key, digests in first.items()), len(first)


def _digests(butler: Butler, run: str) -> dict[object, object]:
    return {
        (ref.dataset_type.name, ref.data_id): sorted(
            (one.destination, one.digest) for one in butler.where_is(ref)
        )
        for ref in butler.query("*", collections=run)
    }


def _save(output: Path, night: QTable, picture: bytes, reports: dict[str, RunReport]) -> None:
    output.mkdir(parents=True, exist_ok=True)
    (output / "quick-look.png").write_bytes(picture)
    night.write(output / "night.ecsv", overwrite=True)
    wire = {mode: report.to_wire() for mode, report in reports.items()}
    (output / "report.json").write_text(json.dumps(wire, indent=2) + "\n")


def _next_steps(root: Path, output: Path, frames: Sequence[Frame]) -> str:
    science = of_kind(frames, FrameKind.SCIENCE)[0]
    data_id = f"instrument={science.instrument} visit={science.exposure} detector=0"
    return f"""
Raw beside calibrated: {output / "quick-look.png"}
The night's table:     {output / "night.ecsv"}
The repository:        {root}

Try next:
  quantumio query source --collections {_run(MODES[0])} --repository {root}
  quantumio versions calexp {data_id} --repository {root}
  quantumio policy explain source {data_id} --repository {root}
  sqlite3 {root / "level3.sqlite"} "{LEVEL3_QUERY}"
"""


if __name__ == "__main__":
    sys.exit(main())
