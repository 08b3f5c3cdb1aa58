"""The benchmark of the registry runs; how fast anything was is held to nothing here."""

from urllib.parse import urlsplit, urlunsplit

import pytest

from benchmarks.bench_registry import databases, grow, measure, show, show_growth


@pytest.mark.parametrize("database", ["SQLite", "PostgreSQL"])
def test_every_figure_is_measured(request, tmp_path, capsys, database):
    server = None
    if database == "PostgreSQL":
        url = urlsplit(request.getfixturevalue("postgresql_url"))
        server = urlunsplit(url._replace(scheme="postgresql"))
    with databases(server, with_peer=False) as urls:
        figures = measure(2_500, 1, tmp_path, urls, with_peer=False)
    assert (figures["rows"], figures["database"]) == (2_500, database)
    assert {what: set(sides) for what, sides in figures["seconds"].items()} == {
        "insert, s per row": {"quantumio"} if server else {"quantumio", "bare"},
        "find one by its data ID": {"quantumio"},
        "1,000 of ten visits, refs": {"quantumio"},
        "1,000 of ten visits, table": {"quantumio"},
        "25 of a detector, refs": {"quantumio"},
        "25 of a detector, table": {"quantumio"},
        "all, refs": {"quantumio"},
        "all, table of identities": {"quantumio"},
        "all, table of all columns": {"quantumio"},
        "3,780 overlaps on the sky": {"quantumio"},
        "a calibration for a visit": {"quantumio"},
        "2,000 calibrations": {"quantumio"},
    }
    assert all(taken > 0 for sides in figures["seconds"].values() for taken in sides.values())
    assert figures["beside"]["commits"] >= 1
    assert min(figures["beside"].values()) > 0
    show(figures)
    assert "Not compared with the Rubin Data Butler" in capsys.readouterr().out


def test_growth_is_measured_at_each_size(tmp_path, capsys):
    told = grow(2_000, tmp_path)
    assert list(told) == [2_000]
    assert min(told[2_000].values()) > 0
    show_growth(told)
    assert "2,000" in capsys.readouterr().out
