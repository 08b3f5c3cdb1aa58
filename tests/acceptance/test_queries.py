"""Queries and reference tables."""

import io

import astropy.io.votable
import numpy as np
import pyarrow as pa
import pytest

from quantumio import InvalidInputError, NotFoundError


@pytest.fixture
def night(butler):
    for visit in (1, 2, 3):
        with butler.context() as ctx:
            ctx.put({"visit": visit}, "stats", visit=visit)
            for detector in (0, 1):
                ctx.put(np.full(4, visit), "pixels", visit=visit, detector=detector)
    with butler.context(run="u/ada/again") as ctx:
        ctx.put({"visit": 3, "again": True}, "stats", visit=3)
    return butler


def test_partial_data_ids_globs_order_and_limit(night):
    assert night.query("pixels", visit=2).count() == 2
    assert night.query("p*", collections="u/*").count() == 6
    assert night.query("*", collections="u/ada/again").count() == 1
    visits = [ref.data_id["visit"] for ref in night.query("stats", order_by="-visit", limit=2)]
    assert visits == [3, 2]
    assert [ref.data_id["visit"] for ref in night.query("stats", where="visit > 1 AND visit < 3")] == [2]
    assert night.query("pixels", where="visit IN (1, 3) AND detector = :d", bind={"d": 1}).count() == 2


def test_first_match_in_ordered_collections_and_all_with_a_glob(night):
    ordered = list(night.query("stats", visit=3, collections=["u/ada/again", "u/ada/isr"]))
    assert [ref.run for ref in ordered] == ["u/ada/again"]
    assert night.query("stats", visit=3, collections="u/*").count() == 2


def test_a_wrong_expression_points_at_the_character(night):
    with pytest.raises(InvalidInputError, match=r"\^"):
        list(night.query("stats", where="visit >"))
    for wrong in ("nothing = 1", "visit = 'x'; DROP TABLE txn", "visit ="):
        with pytest.raises(InvalidInputError):
            night.query("stats", where=wrong).count()
    assert night.query("stats").count() == 3


def test_unknown_collections_and_arguments(night):
    with pytest.raises(NotFoundError, match="u/ada/isr"):
        list(night.query("stats", collections="u/nobody"))
    for wrong in ({"versions": "some"}, {"limit": -1}, {"order_by": "colour"}, {"colour": 3}):
        with pytest.raises(InvalidInputError):
            list(night.query("stats", **wrong))


@pytest.mark.parametrize("form", ["arrow", "astropy", "pandas", "polars", "numpy"])
def test_reference_tables(night, form):
    assert len(night.query("*").table(as_=form)) == 9


def test_an_empty_reference_table_has_the_same_types(night):
    full, empty = night.query("stats").table(), night.query("stats", visit=99).table()
    for name in empty.column_names:
        assert empty.schema.field(name).type == full.schema.field(name).type
    assert full.schema.field("visit").type == pa.int64()
    assert full.schema.field("committed").type == pa.timestamp("us", tz="UTC")


def test_votable_is_read_by_astropy(night):
    text = night.query("*").table(as_="votable")
    table = astropy.io.votable.parse_single_table(io.BytesIO(text.encode())).to_table()
    assert len(table) == 9
    assert set(table["visit"]) == {1, 2, 3}
    assert table["detector"].mask.sum() == 3


def test_all_versions(night):
    with night.context() as ctx:
        ctx.put({}, "stats", visit=1)
    assert night.query("stats", visit=1).count() == 1
    assert [ref.version for ref in night.query("stats", visit=1, versions="all", order_by="version")] == [
        1,
        2,
    ]


def test_get_all_reads_lazily(night):
    datasets = night.query("stats", order_by="visit").get_all()
    assert next(datasets) == {"visit": 1}
    with night.context() as ctx:  # nothing stays open while it is iterated
        ctx.put({}, "stats", visit=50)
    assert {"visit": 2} in list(datasets)
