"""Failpoints: every name is listed, each step has one before and after it, unwatched they do nothing."""

import ast
from collections import Counter

import pytest

from quantumio.system import failpoints, files
from tests.house import source

pytestmark = pytest.mark.on_disk


def reached_in_source():
    """Count the names that the source gives to ``reach``; each must be spelled out."""
    names = Counter()
    for path in source.modules():
        for node in ast.walk(source.tree(path)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "reach":
                argument, *_ = node.args
                assert isinstance(argument, ast.Constant), f"{path}:{node.lineno}"
                names[argument.value] += 1
    return names


def test_every_point_is_listed_and_every_listed_one_is_reached_before_and_after():
    names = reached_in_source()
    assert set(names) == {f"{point}.{side}" for point in failpoints.POINTS for side in ("before", "after")}


def test_a_durable_file_reaches_its_points_in_order(tmp_path):
    seen = []
    files.make_directories(tmp_path)  # is known to be durable
    with failpoints.watched(seen.append):
        files.make_directories(tmp_path / "a")
        files.write_text_new(tmp_path / "a" / "b", "text")
    steps = ["mkdir", "fsync_directory", "open", "write", "fsync", "link", "unlink", "fsync_directory"]
    assert seen == [f"files.{step}.{side}" for step in steps for side in ("before", "after")]
    files.remove(tmp_path / "a" / "b")
    assert len(seen) == 2 * len(steps)


@pytest.mark.parametrize("point", ["files.open.before", "files.fsync.before", "files.link.before"])
def test_what_a_hook_raises_comes_out_of_the_operation(tmp_path, point):
    def hook(name):
        if name == point:
            raise OSError(28, "no space left")

    with failpoints.watched(hook), pytest.raises(OSError, match="no space"):
        files.write_new(tmp_path / "a", [b"bytes"])
    assert list(tmp_path.iterdir()) == []


def test_the_hook_is_gone_after_an_error():
    seen = []
    with pytest.raises(ZeroDivisionError), failpoints.watched(seen.append):
        raise ZeroDivisionError
    failpoints.reach("flip.before")
    assert seen == []


def test_recorder_is_told_what_operations_work_on(tmp_path):
    seen = []
    with failpoints.recorded(lambda name, subject: seen.append((name, subject))):
        files.write_new(tmp_path / "a", [b"bytes"])
        files.remove(tmp_path / "a")
    files.write_new(tmp_path / "a", [b"bytes"])
    told = {name: subject for name, subject in seen if name.endswith(".after")}
    assert bytes(told["files.write.after"][1]) == b"bytes"
    assert told["files.link.after"][1] == tmp_path / "a"
    assert told["files.unlink.after"] == (tmp_path / "a",)
    assert all(subject == () for name, subject in seen if name.endswith(".before"))
