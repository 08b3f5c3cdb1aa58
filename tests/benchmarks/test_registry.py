"""The benchmark of the registry runs; how fast anything was is held to nothing here."""

from benchmarks.bench_registry import measure, show


def test_every_figure_is_measured(tmp_path, capsys):
    figures = measure(2_500, 1, tmp_path, with_peer=False)
    assert figures["rows"] == 2_500
    assert {what: set(sides) for what, sides in figures["seconds"].items()} == {
        "insert, s per row": {"quantumio", "bare"},
        "find one by its data ID": {"quantumio"},
        "1000 of ten visits": {"quantumio"},
        "all as a table": {"quantumio"},
    }
    assert all(taken > 0 for sides in figures["seconds"].values() for taken in sides.values())
    assert figures["beside"]["commits"] >= 1
    assert min(figures["beside"].values()) > 0
    show(figures)
    assert "Not compared with the Rubin Data Butler" in capsys.readouterr().out
