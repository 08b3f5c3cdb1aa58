"""The checkers of histories find what they are for."""

import pytest

from tests.contention import histories


def commit(version, begin, end, process=0):
    return {"version": version, "begin": begin, "end": end, "process": process, "txid": f"t{version}"}


def read(version, begin, end):
    return {"version": version, "begin": begin, "end": end}


def test_overlapping_steps_may_have_taken_effect_in_any_order():
    commits = [commit(2, 1, 4, process=1), commit(1, 2, 5), commit(3, 6, 7)]
    reads = [read(1, 3, 4.5), read(2, 3.5, 3.6), read(2, 4.6, 6.5), read(3, 6.1, 8)]
    histories.assert_linear(commits, reads)
    histories.assert_versions(commits, 3)
    histories.assert_orders_of_processes(commits)


@pytest.mark.parametrize(
    ("commits", "reads"),
    [
        ([commit(2, 1, 2), commit(1, 3, 4)], []),
        ([commit(1, 1, 2), commit(2, 3, 4)], [read(1, 5, 6)]),
        ([commit(1, 1, 2)], [read(1, 0, 0.5)]),
        ([commit(1, 1, 2), commit(2, 3, 9)], [read(2, 4, 5), read(1, 6, 7)]),
    ],
    ids=["order of commits", "old version read", "read from the future", "reads go back"],
)
def test_order_that_time_contradicts_is_found(commits, reads):
    with pytest.raises(AssertionError, match="ended before"):
        histories.assert_linear(commits, reads)


@pytest.mark.parametrize("versions", [(1, 3), (1, 2, 2), (2, 3), (1,)])
def test_gap_or_double_version_is_found(versions):
    with pytest.raises(AssertionError):
        histories.assert_versions([commit(version, 1, 2) for version in versions], 2)


def test_version_by_a_transaction_of_another_one_is_found():
    with pytest.raises(AssertionError):
        histories.assert_versions([commit(1, 1, 2), commit(2, 3, 4) | {"txid": "t1"}], 2)


def test_order_of_a_process_that_is_not_kept_is_found():
    with pytest.raises(AssertionError):
        histories.assert_orders_of_processes([commit(2, 1, 2), commit(1, 3, 4)])
