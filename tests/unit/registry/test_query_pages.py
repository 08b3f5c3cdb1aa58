"""Pages of a query, and the tokens that they are asked for with."""

import base64
import json
from typing import Any

import pytest
from attrs import evolve

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.ports import DatasetQuery
from quantumio.registry import SqlCatalog
from tests.unit.registry.conftest import CALEXP, FLAT, NOTE, RAW, Commit, exposure, visit

ORDERS: tuple[tuple[str, ...], ...] = (
    (),
    ("visit",),
    ("-visit", "detector"),
    ("run",),
    ("-version", "-run"),
    ("dataset_type", "-commit_seq"),
)


def all_pages(catalog: SqlCatalog, query: DatasetQuery, size: int) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page, token = catalog.page(query, size, token)
        found += page
        assert len(page) <= size
        if token is None:
            return found
        assert len(page) == size


def fill(commit: Commit) -> None:
    for number in range(4):
        commit(CALEXP, [visit(number, detector) for detector in range(3)], run="u/a")
    commit(CALEXP, [visit(number) for number in range(4)], run="u/a")
    commit(CALEXP, [visit(number, 1) for number in range(6)], run="u/b")


@pytest.mark.parametrize("order_by", ORDERS)
@pytest.mark.parametrize("versions", ["latest", "all"])
@pytest.mark.parametrize("collections", [("u/a", "u/b"), None, ("u/*",), ("u/b",)])
def test_pages_are_the_matches_cut_into_pieces(
    catalog: SqlCatalog, commit: Commit, order_by: tuple[str, ...], versions: str, collections: Any
) -> None:
    fill(commit)
    query = DatasetQuery(
        dataset_types=("calexp",), collections=collections, order_by=order_by, versions=versions
    )
    expected = [stored.ref for stored in catalog.query(query)]
    for size in (1, 5, 100):
        assert all_pages(catalog, query, size) == expected
    assert all_pages(catalog, evolve(query, limit=7), 3) == expected[:7]
    assert all_pages(catalog, evolve(query, limit=6), 3) == expected[:6]
    assert all_pages(catalog, evolve(query, limit=0), 3) == []


def test_pages_go_through_several_dataset_types(catalog: SqlCatalog, commit: Commit) -> None:
    fill(commit)
    commit(RAW, [exposure(number) for number in range(3)])
    commit(NOTE, [{}])
    for order_by in ((), ("-run",), ("dataset_type",)):
        query = DatasetQuery(order_by=order_by)
        assert all_pages(catalog, query, 2) == [stored.ref for stored in catalog.query(query)]


def test_pages_show_the_moment_of_the_first(catalog: SqlCatalog, commit: Commit) -> None:
    fill(commit)
    for query in (DatasetQuery(), DatasetQuery(dataset_types=("c*",), order_by=("-visit",))):
        expected = [stored.ref for stored in catalog.query(query)]
        page, token = catalog.page(query, 5)
        commit(CALEXP, [visit(0, 9), visit(99)], run="u/aa")
        commit(FLAT, [{"instrument": "ST8", "physical_filter": "R", "detector": 0}], run="u/0")
        catalog.set_chain("u/chain", ["u/b"])
        found = list(page)
        while token is not None:
            page, token = catalog.page(query, 5, token)
            found += page
        assert found == expected


@pytest.mark.parametrize("order_by", [(), ("run",), ("-version",)])
def test_hostile_tokens_are_refused(catalog: SqlCatalog, commit: Commit, order_by: tuple[str, ...]) -> None:
    fill(commit)
    query = DatasetQuery(dataset_types=("calexp",), order_by=order_by, versions="all", limit=20)
    _, token = catalog.page(query, 3)
    assert token is not None
    of, seq, left, source, values = json.loads(base64.urlsafe_b64decode(token))

    def made(*content: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()

    assert catalog.page(query, 3, made(of, seq, left, source, values))[0]
    wrong: list[Any] = [
        "",
        "x",
        "'; DROP TABLE txn; --",
        "\N{SNOWMAN}",
        "\ud800",
        3,
        b"x",
        token[:-8],
        token + "A" * 100_000,
        made(),
        made(of),
        made(of, -1, left, source, values),
        made(of, seq + 1, left, source, values),
        made(of, 1 << 70, left, source, values),
        made(of, True, left, source, values),
        made(of, seq, 21, source, values),
        made(of, seq, None, source, values),
        made(of, seq, left, 99, values),
        made(of, seq, left, source, values[:-1]),
        made(of, seq, left, source, "values"),
        made(of, seq, left, source, [*values, 1]),
        made("0" * 16, seq, left, source, values),
        base64.urlsafe_b64encode(b"[" * 50_000).decode(),
    ]
    for index in range(len(values)):
        for value in (None, 1.5, True, 1 << 63, "a\0b", "\ud800", {}, [], [1], ["zz"], ["0" * 31]):
            changed = [*values]
            changed[index] = value
            wrong.append(made(of, seq, left, source, changed))
    for text in wrong:
        with pytest.raises(InvalidInputError) as error:
            catalog.page(query, 3, text)
        assert error.value.kind in (ErrorKind.PAGE_TOKEN, ErrorKind.MOMENT), text
    with pytest.raises(InvalidInputError, match="another query"):
        catalog.page(evolve(query, dataset_types=("c*",)), 3, token)
    # A text of a token is a value: nothing matches it.
    texts = [index for index, value in enumerate(values) if isinstance(value, str)]
    for index in texts:
        changed = [*values]
        changed[index] = "'; DROP TABLE txn; --"
        catalog.page(query, 3, made(of, seq, left, source, changed))
    assert catalog.count(query) == 20


def test_exists_tells_whether_there_is_a_match(catalog: SqlCatalog, commit: Commit) -> None:
    assert not catalog.any(DatasetQuery())
    fill(commit)
    for options, expected in (
        ({}, True),
        ({"data_id": {"visit": 5}}, True),
        ({"data_id": {"visit": 6}}, False),
        ({"data_id": {"visit": 5}, "collections": ("u/a",)}, False),
        ({"where": "visit > 4"}, True),
        ({"where": "visit > 5"}, False),
        ({"limit": 0}, False),
        ({"dataset_types": ("raw",)}, False),
    ):
        query = DatasetQuery(**({"dataset_types": ("calexp",)} | options))  # type: ignore[arg-type]
        assert catalog.any(query) is expected
        assert (catalog.count(query) > 0) is expected


def test_what_an_order_leaves_out_does_not_count(catalog: SqlCatalog, commit: Commit) -> None:
    """A dataset type that only a glob names, and that lacks what orders, has no match."""
    fill(commit)
    commit(RAW, [exposure(number) for number in range(3)])
    commit(NOTE, [{}])
    for order_by in (("visit",), ("-visit.exposure_time_s", "run"), ("detector",), ("size",)):
        for options in ({}, {"collections": ("u/a", "u/b")}, {"where": "version > 0"}):
            query = DatasetQuery(order_by=order_by, **options)  # type: ignore[arg-type]
            found = len(list(catalog.refs(query)))
            assert catalog.count(query) == found > 0, query
            assert catalog.any(query)
    everything = DatasetQuery(dataset_types=("calexp",), versions="all")
    catalog.delete([stored.ref.id for stored in catalog.query(everything)], dry_run=False)
    assert not catalog.any(DatasetQuery(order_by=("visit",)))
