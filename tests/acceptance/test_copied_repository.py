"""A copy of a repository, made while something was under way, whose store is shared with the original."""

import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from quantumio import Butler, DatasetType
from quantumio.cli import main


@pytest.mark.parametrize("command", ["recover", "flush"])
def test_copy_removes_nothing_that_the_original_has_acknowledged(tmp_path, command):
    original, copy = tmp_path / "original", tmp_path / "copy"
    config = {
        "destinations": {"archive": {"kind": "files", "root": str(tmp_path / "archive")}},
        "rules": [{"datasets": "image", "to": "archive", "mode": "immediate"}],
    }
    with Butler.create(original, config) as butler:
        butler.register_dataset_type(DatasetType("image", dimensions=["visit"], storage_class="NDArray"))
    with Butler(original, run="u/a", instrument="ST8") as butler:
        context = butler.context()
        context.put(np.ones(10), "image", visit=1).wait("durable")  # and not committed yet
        shutil.copytree(original, copy)
        context.commit().wait()
    with Butler(original, run="u/a", instrument="ST8") as butler, butler.context() as context:
        context.put(np.ones(10), "image", visit=2)  # of a process that the copy does not know
    answer = CliRunner().invoke(main, [command, "-r", str(copy)])
    assert answer.exit_code == 6, answer.output
    with Butler(original, run="u/a", instrument="ST8") as butler:
        assert butler.get("image", visit=1).tolist() == [1.0] * 10
        assert butler.fsck().is_whole
