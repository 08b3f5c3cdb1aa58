"""What a query gives besides refs: pages, batches, tables with chosen columns."""

import numpy as np
import pyarrow as pa
import pytest

from quantumio import ErrorKind, InvalidInputError


@pytest.fixture
def night(butler):
    for visit in (1, 2, 3):
        with butler.context() as ctx:
            ctx.put({"visit": visit}, "stats", visit=visit)
            for detector in (0, 1):
                ctx.put(np.full(4, visit), "pixels", visit=visit, detector=detector)
    return butler


def test_pages_of_a_web_service(night):
    query = night.query("*")
    found, token = [], None
    while True:
        page = query.page(4, after=token)
        found += page.refs
        token = page.next
        if token is None:
            break
    assert found == list(query)
    for wrong in (
        "",
        "x",
        "1",
        "-1.x",
        "9.",
        "99999.x",
        "0.x",
        "\N{SUPERSCRIPT TWO}.",
        3,
        "0.'; DROP TABLE txn",
    ):
        with pytest.raises(InvalidInputError) as error:
            query.page(4, after=wrong)
        assert error.value.kind is ErrorKind.PAGE_TOKEN
    with pytest.raises(InvalidInputError):
        query.page(0)


def test_exists(night):
    assert night.query("pixels", visit=3).exists()
    assert not night.query("pixels", visit=4).exists()


def test_batches_and_chosen_columns(night):
    query = night.query("pixels", order_by="-visit", limit=3)
    table = pa.Table.from_batches(list(query.batches(["visit", "access_url"])))
    assert table.column("visit").to_pylist() == [3, 3, 2]
    urls = table.column("access_url").to_pylist()
    assert [url.rpartition("/")[2] for url in urls] == [str(ref.id) for ref in query]
    assert query.table(columns=["detector", "status"]).to_pylist()[0] == {"detector": 0, "status": "ok"}
    with pytest.raises(InvalidInputError, match="no column 'colour'"):
        query.table(columns=["colour"])
    with pytest.raises(InvalidInputError, match="names no column"):
        query.table(columns=[])


@pytest.mark.parametrize("where", ["committed > T'1500-01-01'", "committed >", "committed > :missing", 5])
def test_wrong_expressions_are_refused_when_they_are_given(night, where):
    for ask in (night.query, lambda name, **options: night.query_joined([name], **options)):
        with pytest.raises(InvalidInputError) as error:
            ask("pixels", where=where)
        assert error.value.kind is ErrorKind.EXPRESSION


@pytest.mark.parametrize("form", ["arrow", "astropy", "pandas", "polars", "numpy", "votable"])
def test_observed_columns_in_every_form(night, form):
    table = night.query("pixels").table(form, columns=["id", "s_region", "t_min", "t_exptime"])
    assert len(table) > 5
