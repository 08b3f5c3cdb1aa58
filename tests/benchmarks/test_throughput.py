"""The benchmark of throughput runs; how fast anything was is held to nothing here."""

import pytest

from benchmarks.bench_throughput import THREADS, Figure, Sizes, measure

SMALLEST = Sizes(rounds=1, images=2, outputs=3, contexts=2 * THREADS, shape=(8, 8))


def test_every_figure_is_measured(tmp_path):
    figures = measure(tmp_path, SMALLEST)
    assert all(len(figure.values) >= 1 and min(figure.values) > 0 for figure in figures)
    assert [figure.name for figure in figures if figure.at_least or figure.at_most] == [
        "2 images, one context, of bare",
        "2 images, a context each, of bare",
        "put of an array, in copies",
        "3 outputs, one context",
        "contexts of one output, submitted, drained",
        f"contexts of one output, {THREADS} threads",
    ]


@pytest.mark.parametrize(
    ("number", "interval"),
    [(1, (1, 1)), (5, (1, 5)), (6, (1, 6)), (9, (2, 8)), (10, (2, 9)), (12, (3, 10)), (20, (6, 15))],
)
def test_interval_of_a_median_is_that_of_the_tables(number, interval):
    assert Figure(name="", unit="", values=range(1, number + 1)).interval == interval


def test_bound_is_held_by_the_median():
    values = [1, 5, 2]
    assert Figure(name="rate", unit="/s", values=values, at_least=2).is_held
    assert Figure(name="rate", unit="/s", values=values, at_most=2).is_held
    assert str(Figure(name="rate", unit="/s", values=values, at_least=3)).endswith(">= 3 NOT HELD")
