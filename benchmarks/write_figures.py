"""Write the figures of README.md and docs: run the demo and the benchmarks, and put in what they print.

All of them, or those that the arguments name. Those on PostgreSQL are left out unless the environment
variable QUANTUMIO_BENCH_POSTGRESQL has the URL of a server with the extension btree_gist, where databases can
be made.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image

from quantumio.system.file_systems import file_system_type, mount_table

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "images" / "quick-look.png"
COLOURS = 48
REGISTRY = ("benchmarks/bench_registry.py", "--clock", "cpu")
BENCHMARKS = {
    "put": ("benchmarks/bench_put.py",),
    "throughput": ("benchmarks/bench_throughput.py",),
    "registry": (*REGISTRY, "--rounds", "3"),
    "registry growth": (*REGISTRY, "--grow", "10000000"),
}
SERVER = os.environ.get("QUANTUMIO_BENCH_POSTGRESQL")
if SERVER:
    BENCHMARKS["registry on PostgreSQL"] = ("benchmarks/bench_registry.py", "--postgresql", SERVER)


def run(*command: str) -> str:
    environment = {**os.environ, "COLUMNS": "110"}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()).strip()


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    today = datetime.now(tz=UTC).date()
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}, {today}"
    )


def disk() -> str:
    """Say what file system the files of benchmarks are in, and whether it has a journal.

    ext4 without one looks at every inode that it has freed of late when it makes a file.
    """
    directory = Path(tempfile.gettempdir()).resolve()
    kind = file_system_type(directory, mount_table() or "") or "unknown file system"
    if kind != "ext4":
        return kind
    device = directory.stat().st_dev
    name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
    return f"{kind} {'with' if [*Path('/proc/fs/jbd2').glob(f'{name}-*')] else 'without'} a journal"


def between(path: Path, name: str, text: str) -> None:
    """Replace what stands between the markers ``<!-- name -->`` and ``<!-- end of name -->``."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    page = path.read_text(encoding="utf-8")
    if not pattern.search(page):
        sys.exit(f"{path} has no markers for {name}")
    path.write_text(pattern.sub(lambda match: match[1] + text + match[2], page), encoding="utf-8")


def write_demo() -> None:
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory, "demo")
        printed = run("examples/reduction/run.py", "--output", str(output)).replace(
            str(output), "demo-output/1"
        )
        PICTURE.parent.mkdir(exist_ok=True)
        with Image.open(output / "quick-look.png") as picture:
            picture.convert("RGB").quantize(COLOURS).save(PICTURE, optimize=True)
    between(
        ROOT / "README.md",
        "demo output",
        f"It prints (on {machine()}):\n\n```text\n{printed}\n```\n\n"
        "![A raw frame beside the calibrated one, with the detected sources](docs/images/quick-look.png)\n\n",
    )


def write_benchmark(name: str) -> None:
    """Put what a benchmark prints between the markers of its name."""
    load, _, _ = os.getloadavg()
    printed = run(*BENCHMARKS[name])
    command = " ".join("URL" if part == SERVER else part for part in BENCHMARKS[name])
    between(
        ROOT / "docs" / "reference" / "measured.md",
        name,
        f"Measured on {machine()}, {disk()}, load {load:.1f} when it began, by\n"
        f"`python {command}`:\n\n```text\n{printed}\n```\n\n",
    )


if __name__ == "__main__":
    for figures in sys.argv[1:] or ("demo", *BENCHMARKS):
        if figures == "demo":
            write_demo()
        else:
            write_benchmark(figures)
