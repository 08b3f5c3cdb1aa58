"""All or nothing: blocks of puts, and blocks in blocks."""

import pytest

from tests.peer.registries import Refused

CAM = {"instrument": "Cam"}


class Mishap(Exception):
    """Something goes wrong in a block."""


def there(registry, *runs):
    """Return the detectors for which a bias is there, by run."""
    return {
        run: [
            number
            for number in range(4)
            if registry.find("bias", CAM, collections=run, detector=number) is not None
        ]
        for run in runs
    }


@pytest.fixture(autouse=True)
def _runs(registry):
    for name in ("outer", "inner"):
        registry.register_run(name)


def test_what_a_block_puts_is_there_after_it(registry):
    with registry.block("outer") as block:
        for number in range(3):
            block.put("bias", **CAM, detector=number)
    assert there(registry, "outer") == {"outer": [0, 1, 2]}


def test_nothing_of_a_block_that_fails_is_there(registry):
    with pytest.raises(Mishap), registry.block("outer") as block:
        block.put("bias", **CAM, detector=0)
        block.put("bias", **CAM, detector=1)
        raise Mishap
    assert there(registry, "outer") == {"outer": []}
    with registry.block("outer") as block:
        block.put("bias", **CAM, detector=0)
    assert there(registry, "outer") == {"outer": [0]}


def test_put_that_is_refused_fails_its_block(registry):
    with pytest.raises(Refused), registry.block("outer") as block:
        block.put("bias", **CAM, detector=0)
        block.put("bias", **CAM, detector="many")
    assert there(registry, "outer") == {"outer": []}


def test_other_readers_see_nothing_of_a_block_before_its_end(registry):
    with registry.another(readonly=True) as other:
        with registry.block("outer") as block:
            block.put("bias", **CAM, detector=0)
            assert there(other, "outer") == {"outer": []}
        assert there(other, "outer") == {"outer": [0]}


def test_inner_block_that_fails_leaves_the_outer_one_whole(registry):
    with registry.block("outer") as outer:
        outer.put("bias", **CAM, detector=0)
        with pytest.raises(Mishap), registry.block("inner") as inner:
            inner.put("bias", **CAM, detector=1)
            raise Mishap
        outer.put("bias", **CAM, detector=2)
    assert there(registry, "outer", "inner") == {"outer": [0, 2], "inner": []}


def test_both_blocks_that_succeed_are_there(registry):
    with registry.block("outer") as outer:
        outer.put("bias", **CAM, detector=0)
        with registry.block("inner") as inner:
            inner.put("bias", **CAM, detector=1)
    assert there(registry, "outer", "inner") == {"outer": [0], "inner": [1]}


def test_outer_block_that_fails_after_an_inner_one(registry):
    """Documented difference: contexts are independent here, the peer's fall with those around them."""
    with pytest.raises(Mishap), registry.block("outer") as outer:
        outer.put("bias", **CAM, detector=0)
        with registry.block("inner") as inner:
            inner.put("bias", **CAM, detector=1)
        raise Mishap
    inner_is_there = [] if registry.name == "peer" else [1]
    assert there(registry, "outer", "inner") == {"outer": [], "inner": inner_is_there}


def test_records_of_a_failed_block(registry):
    """Documented difference: a context holds outputs alone, the peer's transaction all that is done in it."""
    with pytest.raises(Mishap), registry.block("outer"):
        registry.insert("detector", **CAM, detector=9, full_name="chip_9")
        raise Mishap
    assert len(registry.records("detector", **CAM, detector=9)) == (0 if registry.name == "peer" else 1)
