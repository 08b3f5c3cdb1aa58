"""The command as a process: how it starts, what it writes where, and how it ends."""

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "quantumio"]


def environment(**more: str) -> dict[str, str]:
    """Return the environment without settings of quantumio."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("QUANTUMIO_")}
    return kept | {"PYTHONWARNINGS": "default"} | more


def run(*arguments: object, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command and wait for it."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        timeout=120,
    )


def on_terminal(*arguments: object, columns: int, command: Sequence[str] = COMMAND, **more: str) -> str:
    """Run the command on a terminal of its own, and return what it shows."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*command, *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(COLUMNS=str(columns), TERM="xterm-256color", **more),
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end was closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait(60) == 0, shown.decode()
    return re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", shown.decode()).replace("\r\n", "\n")


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Make a repository with one dataset by the command itself."""
    directory = tmp_path_factory.mktemp("command")
    (directory / "stats.json").write_text('{"seeing": 1.5}')
    for command in (
        "create night1",
        "register stats -d visit -s Mapping -r night1",
        "put stats.json stats instrument=ST8 visit=33 --run u/ada -r night1",
    ):
        done = run(*command.split(), cwd=directory)
        assert (done.returncode, done.stderr) == (0, "")
    return directory / "night1"


def test_documents_go_to_standard_output_and_errors_to_standard_error(repository):
    done = run("query", "--json", "-r", repository)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["count"] == 1
    done = run("get", "stats", "instrument=ST8", "visit=34", "-c", "u/ada", "--json", "-r", repository)
    assert (done.returncode, done.stdout) == (3, "")
    assert json.loads(done.stderr)["error"]["kind"] == "no_dataset"
    done = run("get", "stats", "instrument=ST8", "visit=34", "-c", "u/ada", "-r", repository)
    assert done.stderr.startswith("Error: there is no stats(instrument='ST8', visit=34) in u/ada")
    assert done.stderr.count("\n") == 1


def test_traceback_is_shown_only_if_wanted(tmp_path):
    arguments = ("ls", "-r", tmp_path)
    assert "Traceback" not in run(*arguments).stderr
    assert "Traceback" in run(*arguments, "--traceback").stderr
    assert "Traceback" in run(*arguments, QUANTUMIO_TRACEBACK="1").stderr
    assert "Traceback" not in run(*arguments, QUANTUMIO_TRACEBACK="0").stderr


def test_repository_of_a_newer_schema_is_refused(repository, tmp_path):
    root = Path(shutil.copytree(repository, tmp_path / "newer"))
    (registry,) = root.glob("*.sqlite3")
    connection = sqlite3.connect(registry)
    connection.execute("UPDATE alembic_version SET version_num = '9999_from_the_future'")
    connection.commit()
    connection.close()
    done = run("query", "--json", "-r", root)
    assert done.returncode == 5
    error = json.loads(done.stderr)["error"]
    assert error["kind"] == "newer_schema"
    assert "pgrade quantumio" in error["hint"]


def test_reader_that_goes_away_is_no_traceback(repository):
    done = subprocess.run(
        ["/bin/sh", "-c", f"{' '.join(COMMAND)} ls dimensions -r '{repository}' | true"],
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
    )
    assert done.stderr == ""


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Make a repository with more datasets than a pipe holds, files that stay where they are."""
    root = tmp_path_factory.mktemp("many")
    table = "".join(f"{number},{root}/{number}.fits,4\n" for number in range(6_000))
    (root / "files.csv").write_text(f"exposure,uri,size\n{table}")
    for command in (
        "create night1",
        "register raw -d exposure -s CCDData -r night1",
        "ingest raw instrument=ST8 --table files.csv --run raw/n1 --transfer direct -r night1",
    ):
        done = run(*command.split(), cwd=root)
        assert (done.returncode, done.stderr) == (0, "")
    return root / "night1"


@pytest.mark.parametrize("format_", ["table", "csv", "jsonl", "json", "arrow"])
def test_reader_that_has_enough_ends_a_long_listing(many, format_):
    process = subprocess.Popen(
        [*COMMAND, "query", "raw", "--format", format_, "-r", str(many)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(60) == 141


def test_long_listing_is_interrupted_quietly(many):
    process = subprocess.Popen(
        [*COMMAND, "query", "raw", "-r", str(many)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    first = process.stdout.readline()  # it writes more than the pipe holds, and waits
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert first.startswith(b"dataset type")
    assert (process.returncode, err.strip()) == (130, b"Interrupted.")
    assert len(out.splitlines()) < 6_000


def test_long_listing_has_every_row_once(many):
    lines = run("query", "raw", "-r", many).stdout.splitlines()
    assert lines[-1] == "6000 datasets"
    assert [line.split()[2] for line in lines[1:-1]] == [f"exposure={number}" for number in range(6_000)]
    shown = on_terminal("query", "raw", "-r", many, columns=100).splitlines()
    assert [line.split()[2] for line in shown if line.startswith("raw ")] == [
        f"exposure={number}" for number in range(6_000)
    ]
    assert [line.split()[0] for line in shown].count("dataset") == 6


def test_interrupt_ends_quietly_with_130(repository):
    where = ["--run", "u/ada", "-r", str(repository)]
    process = subprocess.Popen(
        [*COMMAND, "put", "-", "stats", "instrument=ST8", "visit=1", "--format", "json", *where],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdin is not None
    # More than a pipe holds: written only when the command reads, and then it waits for the rest.
    process.stdin.write(b" " * 1_000_000)
    process.stdin.flush()
    while process.poll() is None:  # Python misses a signal that comes between two reads of one input
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.strip()) == (130, b"", b"Interrupted.")
    assert run("query", "visit=1", "--json", "-r", repository).stdout.count('"id"') == 0


HOSTILE = "\x1b[31mred\x9b2J\u202e\n'; DROP TABLE dataset;--é"


@pytest.fixture(scope="module")
def hostile(repository, tmp_path_factory):
    """Copy the repository, and insert a record whose texts terminals and databases may obey."""
    root = Path(shutil.copytree(repository, tmp_path_factory.mktemp("hostile") / "night1"))
    assert run("insert-dimension", "instrument", f"instrument={HOSTILE}", "-r", root).returncode == 0
    return root


@pytest.mark.parametrize("format_", ["table", "csv", "jsonl", "json"])
def test_no_terminal_obeys_a_name(hostile, format_):
    shown = on_terminal("ls", "records", "instrument", "--format", format_, "-r", hostile, columns=200)
    assert "red" in shown
    assert "DROP TABLE dataset" in shown
    assert all(character.isprintable() for character in shown.replace("\n", ""))
    message = run("put", f"{HOSTILE}.json", "stats", "visit=1", "--run", "u/a", "-r", hostile).stderr
    assert all(character.isprintable() for character in message.rstrip("\n"))


def test_programs_get_names_as_they_are(hostile):
    lines = run("ls", "records", "instrument", "--format", "jsonl", "-r", hostile).stdout.splitlines()
    assert HOSTILE in [json.loads(line)["instrument"] for line in lines]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_every_encoding_can_be_written(hostile, encoding):
    for format_ in ("table", "csv", "jsonl", "json"):
        done = subprocess.run(
            [*COMMAND, "ls", "records", "instrument", "--format", format_, "-r", str(hostile)],
            check=True,
            capture_output=True,
            env=environment(PYTHONIOENCODING=encoding),
            timeout=60,
        )
        assert done.stderr == b""
        if format_ == "json":
            records = json.loads(done.stdout.decode(encoding))["records"]
            assert HOSTILE in [one["instrument"] for one in records]


SCREENS = (
    "ls",
    "collections --counts",
    "ls records visit",
    "diff 0",
    "snapshot",
    "versions stats instrument=ST8 visit=33",
    "retention -c u/* --keep-last 0",
    "query --columns visit,run,digest,id,access_url",
    "ls dimensions",
    "query -l",
    "show stats instrument=ST8 visit=33 -c u/ada",
    "policy explain stats",
)


# One process for all of them: it starts as long as they all take.
ALL_SCREENS = """
import sys
from quantumio.cli import main
for screen in sys.argv[1:]:
    print(end="\\f", flush=True)
    main(screen.split(), standalone_mode=False)
    sys.stdout.flush()
"""


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_what_is_shown_fits_the_terminal(repository, columns):
    command = [sys.executable, "-c", ALL_SCREENS]
    shown = on_terminal(*SCREENS, columns=columns, command=command, QUANTUMIO_REPOSITORY=str(repository))
    before, *each = shown.split("\f")
    assert (before, len(each)) == ("", len(SCREENS))
    for screen, text in zip(SCREENS, each, strict=True):
        lines = text.splitlines()
        assert max(map(len, lines)) <= columns, screen
        assert lines[0].strip(), f"the first line of {screen!r} is empty"


def test_completion_knows_the_commands():
    done = subprocess.run(
        [sys.executable, "-c", "from quantumio.cli import main; main(prog_name='quantumio')"],
        check=True,
        capture_output=True,
        text=True,
        env=environment(_QUANTUMIO_COMPLETE="bash_complete", COMP_WORDS="quantumio que", COMP_CWORD="1"),
    )
    assert done.stdout == "plain,query\n"


def test_no_command_is_answered_with_the_help():
    done = run()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage:")


def test_installed_command_is_the_same():
    script = Path(sys.executable).with_name("quantumio")
    if not script.exists():
        pytest.skip("the package is not installed, only found")
    done = subprocess.run([script, "--version"], check=True, capture_output=True, text=True)
    assert done.stdout == run("--version").stdout
