"""Examples in docstrings work."""

import doctest
import importlib

import pytest

from tests.house import source

WITH_EXAMPLES = [
    source.dotted_name(path) for path in source.modules() if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_in_docstrings_work(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    results = doctest.testmod(importlib.import_module(module), optionflags=options)
    assert results.failed == 0
    assert results.attempted > 0
