"""What put does with the object: later changes are not saved, or they are caught."""

import numpy as np
import pyarrow as pa
import pytest

from quantumio import CommitFailedError, DatasetType, ErrorKind
from tests.acceptance.night import image


@pytest.mark.parametrize("mode", ["deferred", "immediate"])
@pytest.mark.parametrize("own", [None, "copy", "encode"])
@pytest.mark.parametrize("size", [100, 1_000_000])
def test_later_changes_are_not_saved(make_butler, mode, own, size):
    butler = make_butler(config={"rules": [{"mode": mode}]}, run="r")
    array = np.arange(size)
    with butler.context() as ctx:
        receipt = ctx.put(array, "pixels", visit=1, detector=0, own=own)
        assert receipt.reached("released")
        array[:] = -1
        assert (ctx.get("pixels", visit=1, detector=0) == np.arange(size)).all()
    assert (butler.get("pixels", visit=1, detector=0) == np.arange(size)).all()


def test_frozen_array_cannot_be_written_to(butler):
    array = np.arange(10)
    with butler.context() as ctx:
        receipt = ctx.put(array, "pixels", visit=1, detector=0, own="freeze")
        assert not receipt.reached("released")
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5
    assert receipt.reached("released")


def test_frozen_array_is_shared_read_only(butler):
    array = np.arange(10)
    with butler.context() as ctx:
        ctx.put(array, "pixels", visit=1, detector=0, own="freeze")
        shared = ctx.get("pixels", visit=1, detector=0, readonly=True)
        with pytest.raises(ValueError, match="read-only"):
            shared[0] = 5


@pytest.mark.parametrize("own", ["freeze", "borrow"])
def test_change_through_an_older_view_is_caught_and_nothing_is_stored(butler, own):
    array = np.arange(1000)
    view = array[:]
    with pytest.raises(CommitFailedError) as caught, butler.context() as ctx:
        ctx.put(array, "pixels", visit=1, detector=0, own=own)
        view[0] = 5
    assert caught.value.kind is ErrorKind.MUTATED_AFTER_PUT
    assert "pixels" in str(caught.value)
    assert not butler.exists("pixels", visit=1, detector=0)


def test_pooled_memory_is_never_seen_by_two_outputs(butler):
    """Snapshots reuse memory; what was read or shared before must not change by it."""
    kept = []
    for visit in range(20):
        with butler.context() as ctx:
            ctx.put(np.full(200_000, visit), "pixels", visit=visit, detector=0)
            kept.append(ctx.get("pixels", visit=visit, detector=0, readonly=visit % 2 == 0))
    for visit, array in enumerate(kept):
        assert (array == visit).all()


def test_shared_memory_is_read_only(butler):
    with butler.context() as ctx:
        ctx.put(np.arange(10), "pixels", visit=1, detector=0)
        shared = ctx.get("pixels", visit=1, detector=0, readonly=True)
        with pytest.raises(ValueError, match="read-only"):
            shared[0] = 1


def test_arrow_is_never_copied(butler):
    butler.register_dataset_type(DatasetType("rows", dimensions=["visit"], storage_class="ArrowTable"))
    table = pa.table({"x": np.arange(1000)})
    with butler.context() as ctx:
        ctx.put(table, "rows", visit=1)
        inside = ctx.get("rows", visit=1)
        address = inside.column("x").chunk(0).buffers()[1].address
        assert address == table.column("x").chunk(0).buffers()[1].address
    assert butler.get("rows", visit=1).equals(table)


def test_views_big_endian_and_strided_arrays(butler):
    base = np.arange(10_000, dtype=">i4").reshape(100, 100)
    views = [base[::2, ::3], base.T, base[::-1], base[:0], base[3, 3:4]]
    for own in ("copy", "borrow", "encode"):
        with butler.context(run=f"run-{own}") as ctx:
            for number, view in enumerate(views):
                ctx.put(view, "pixels", visit=number, detector=0, own=own)
        for number, view in enumerate(views):
            back = butler.get("pixels", visit=number, detector=0, collections=f"run-{own}")
            assert np.array_equal(back, view)
            assert back.dtype == np.dtype("=i4")


def test_header_of_what_is_shared_is_the_callers_own(butler):
    with butler.context() as ctx:
        ctx.put(image(), "calexp", visit=1, detector=0)
        before = dict(ctx.get("calexp", visit=1, detector=0).header)
        shared = ctx.get("calexp", visit=1, detector=0, readonly=True)
        assert not shared.data.flags.writeable
        shared.header["EDITED"] = True
    assert dict(butler.get("calexp", visit=1, detector=0).header) == before
