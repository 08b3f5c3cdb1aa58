"""How many rows a chunk of an ingest has."""

import pytest

from quantumio.butler._bulk_ingest import _CHUNK_S, _LEAST_CHUNK, _MOST_CHUNK, _next_size
from quantumio.ports import IngestedChunk


def after(count: int, written_s: float, commit_s: float) -> int:
    chunk = IngestedChunk(end=count, committed=count, held_s=written_s + commit_s, written_s=written_s)
    return _next_size(chunk)


@pytest.mark.parametrize("rows_per_s", [2_000, 20_000, 60_000])
@pytest.mark.parametrize("commit_s", [0.001, 0.03])
def test_chunks_come_to_hold_the_lock_as_long_as_they_are_to(rows_per_s: int, commit_s: float) -> None:
    size = 1_000
    for _ in range(30):
        size = after(size, size / rows_per_s, commit_s)
    assert size / rows_per_s + commit_s == pytest.approx(_CHUNK_S, rel=0.01)


def test_slow_commit_does_not_make_chunks_that_are_nothing_but_commits() -> None:
    size = 1_000
    for _ in range(30):
        size = after(size, size / 20_000, 10.0)
    assert size == 500


def test_chunks_grow_slowly_and_shrink_at_once() -> None:
    assert after(1_000, 1e-9, 0.0) == 1_500
    assert after(1_000, 100.0, 0.0) == 250
    assert after(_MOST_CHUNK, 1e-9, 0.0) == _MOST_CHUNK
    assert after(_LEAST_CHUNK, 100.0, 0.0) == _LEAST_CHUNK
