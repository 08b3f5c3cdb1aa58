"""Limits of the disk beside which a repository lives."""

import pytest

from quantumio.engine._budget import ByteBudget
from quantumio.engine._spill import Spill
from quantumio.errors import BufferFull
from quantumio.system import files
from tests.unit.engine.journals import journal, write


def test_journal_takes_no_more_than_it_may(tmp_path):
    limited = journal(tmp_path / "journal", max_bytes=1000)
    with pytest.raises(BufferFull, match="of the 1000 of the journal .* 0 are in use"):
        write(limited)
    assert limited.entries() == []


def test_nothing_is_spilled_where_too_little_would_stay_free(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "free_bytes", lambda path: 1000)
    spill = Spill(tmp_path, ByteBudget(1), list, min_free_bytes=900)
    with pytest.raises(OSError, match="less than 900 bytes would stay free"):
        spill._store([b"x" * 60, memoryview(b"y" * 41)])
    assert bytes(spill._store([b"x" * 60, memoryview(b"y" * 40)])) == b"x" * 60 + b"y" * 40
