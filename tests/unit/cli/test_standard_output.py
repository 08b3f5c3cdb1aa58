"""Standard output that is full or closed: one paragraph, an exit code, and no bug."""

import json
import subprocess
import sys

import pytest

COMMAND = f"{sys.executable} -c 'from quantumio.cli import main; main()'"


def run(shell: str) -> subprocess.CompletedProcess:
    return subprocess.run(["sh", "-c", shell], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("arguments", ["--help", "--version"])
@pytest.mark.parametrize(("where", "named"), [(">/dev/full", "No space left"), (">&-", "is closed")])
def test_output_that_cannot_be_written_is_told(arguments, where, named):
    done = run(f"{COMMAND} {arguments} {where}")
    assert done.returncode == 6
    assert done.stderr.startswith("Error: standard output ")
    assert named in done.stderr
    assert done.stderr.count("\n") == 1
    assert "bug" not in done.stderr


def test_a_command_that_writes_json_tells_it_as_json(tmp_path):
    assert run(f"{COMMAND} create {tmp_path}/r").returncode == 0
    done = run(f"{COMMAND} ls -r {tmp_path}/r --json >/dev/full")
    assert done.returncode == 6
    assert json.loads(done.stderr)["error"]["kind"] == "disk_full"


def test_nothing_is_changed_where_output_is_closed(tmp_path):
    assert run(f"{COMMAND} create {tmp_path}/r >&-").returncode == 6
    assert not (tmp_path / "r").exists()


def test_closed_standard_error_leaves_the_exit_code():
    assert run(f"{COMMAND} bogus 2>&-").returncode == 2
