"""Care of several repositories at once."""

import os
import shutil
import sqlite3

import pytest

from quantumio import Butler, DatasetType, StateError


def commit(root, visit):
    with Butler(root, run="u/a", instrument="ST8") as butler, butler.context() as context:
        context.put({"a": 1}, "stats", visit=visit)


def test_a_gc_that_refuses_names_the_repository_and_tells_what_was_done_before(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for root in (first, second):
        with Butler.create(root) as butler:
            butler.register_dataset_type(DatasetType("stats", dimensions=["visit"], storage_class="Mapping"))
        commit(root, 1)
    shutil.copy(second / "registry.sqlite3", tmp_path / "backup")
    commit(second, 2)
    shutil.copy(tmp_path / "backup", second / "registry.sqlite3")  # it does not know who has written since
    dead = first / "data/stats/u/a/.qio-0123456789abcdef.tmp"
    dead.write_bytes(b"x")
    os.utime(dead, (1, 1))
    with Butler(first) as butler:
        butler.gc(dry_run=False)  # remembers it
    with sqlite3.connect(first / "registry.sqlite3") as registry:
        registry.execute("update gc_candidate set first_seen = first_seen - 900000000000000")
    registry.close()
    with (
        Butler([first, second]) as butler,
        pytest.raises(StateError, match=f"{second}: .*; {first} was done before, 1 objects removed"),
    ):
        butler.gc(dry_run=False, yes_really=5)
    assert not dead.exists()
    with (
        Butler([second, first]) as butler,
        pytest.raises(StateError, match=f"{second}: .*; no other repository was looked at before"),
    ):
        butler.gc(dry_run=True)
