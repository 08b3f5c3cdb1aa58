"""What must be true of a history of commits and reads of one dataset, whoever made them."""

import itertools


def assert_versions(commits, expected):
    """Hold that the commits made exactly these versions, each in a transaction of its own."""
    assert sorted(commit["version"] for commit in commits) == list(range(1, expected + 1))
    assert len({commit["txid"] for commit in commits}) == expected


def assert_orders_of_processes(commits):
    """Hold that the versions of each process are in the order in which it committed them."""
    by_process = {}
    for commit in sorted(commits, key=lambda commit: commit["begin"]):
        by_process.setdefault(commit["process"], []).append(commit["version"])
    for versions in by_process.values():
        assert versions == sorted(versions)


def assert_linear(commits, reads=()):
    """Hold that each commit and read took effect at one moment between its begin and its end.

    Versions say in which order the commits did. Such moments exist if nothing ended before something began
    that comes earlier in that order; a read of a version comes after its commit and before the next one.
    """
    steps = [(commit["version"], "commit", commit["begin"], commit["end"]) for commit in commits]
    steps += [(read["version"], "read", read["begin"], read["end"]) for read in reads]
    latest_begin = 0.0
    for (version, what), group in itertools.groupby(sorted(steps), key=lambda step: step[:2]):
        moments = [(begin, end) for _, _, begin, end in group]  # reads of one version have no order
        for _, end in moments:
            assert end >= latest_begin, f"a {what} of version {version} ended before an earlier step began"
        latest_begin = max(latest_begin, *(begin for begin, _ in moments))


def assert_refusals_had_reason(won, edits):
    """Hold that whoever was refused wanted what somebody has got who had begun before the refusal."""
    for refused in (edit for edit in edits if edit["refused"]):
        assert any(_want_the_same(refused, edit) and edit["begin"] < refused["end"] for edit in won), refused


def _want_the_same(one, other):
    if "visits" in one:
        return one["process"] != other["process"] and not set(one["visits"]).isdisjoint(other["visits"])
    return one["slots"][0] < other["slots"][1] and other["slots"][0] < one["slots"][1]
