"""Pages of a query, and the tokens that they are asked for with."""

import base64
import copy
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from astropy.time import Time
from attrs import evolve

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import Region, Timespan
from quantumio.ports import DatasetQuery
from quantumio.registry import SqlCatalog
from quantumio.registry._page_tokens import _canonical, _checksum, _content, _text
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
    of, seq, left, source, values = _content(token)

    def made(*content: Any) -> str:
        return _text(content)

    nested = base64.urlsafe_b64encode(b"[" * 30_000).decode()
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
        _checksum(nested) + nested,
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


def test_token_that_was_changed_on_its_way_is_taken_for_no_other_place(
    catalog: SqlCatalog, commit: Commit
) -> None:
    """One other character was another visit, or a moment before that of the first page."""
    fill(commit)
    query = DatasetQuery(dataset_types=("calexp",), order_by=("-visit",))
    page, token = catalog.page(query, 5)
    assert token is not None
    assert len(page) == 5
    letters = "0123456789abcdefABCD-_="
    changed = {
        token[:place] + other + token[place + 1 :]
        for place, letter in enumerate(token)
        for other in letters
        if other != letter
    }
    changed |= {token[:place] + token[place + 1 :] for place in range(len(token))}
    assert len(changed) > 20 * len(token)
    for text in changed - {token}:
        with pytest.raises(InvalidInputError, match="changed on its way") as error:
            catalog.page(query, 5, text)
        assert error.value.kind is ErrorKind.PAGE_TOKEN
    following, _ = catalog.page(query, 5, token)
    assert following
    assert not {*page} & {*following}


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


def token_of(catalog: SqlCatalog, value: Any, where: str = "committed > :x") -> str:
    query = DatasetQuery(dataset_types=("calexp",), where=where, bind={"x": value})
    token = catalog.page(query, 1)[1]
    assert token is not None
    return token


def test_a_token_holds_for_binds_that_mean_the_same(catalog: SqlCatalog, commit: Commit) -> None:
    fill(commit)
    moment = datetime(2020, 1, 1, 12, tzinfo=UTC)
    same = [
        moment,
        moment.astimezone(timezone(timedelta(hours=5))),
        Time("2020-01-01T12:00:00", scale="utc", format="isot").tai,
    ]
    ofs = {_content(token_of(catalog, value))[0] for value in same}
    assert len(ofs) == 1
    ofs |= {_content(token_of(catalog, moment + timedelta(seconds=1)))[0]}
    assert len(ofs) == 2
    visits = range(2000)
    lists = [list(visits), tuple(visits), np.arange(2000), [np.int64(one) for one in visits], set(visits)]
    numbers = [_content(token_of(catalog, one, "visit IN :x"))[0] for one in lists]
    assert len(set(numbers[:4])) == 1
    other = np.arange(2000)
    other[1000] = 7  # NumPy's own text leaves out the middle
    assert _content(token_of(catalog, other, "visit IN :x"))[0] not in numbers
    assert token_of(catalog, {"u/a", "u/b", "u/c"}, "run IN :x") == token_of(
        catalog, frozenset(["u/c", "u/b", "u/a"]), "run IN :x"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Timespan(1, 2), Timespan(1, 3)),
        (Region.make("CIRCLE 1 2 3"), Region.make("CIRCLE 1 2 4")),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))), datetime(1, 1, 1, tzinfo=UTC)),
        (Time(["2020-01-01"]), Time(["2021-01-01"])),
        (1, True),
        (1, "1"),
    ],
)
def test_binds_that_mean_something_else_are_of_another_query(one: Any, other: Any) -> None:
    assert _canonical(one) == _canonical(copy.deepcopy(one))
    assert _canonical(one) != _canonical(other)


def test_values_that_are_too_long_for_a_token_are_told_with_the_mend(
    catalog: SqlCatalog, commit: Commit
) -> None:
    records = [
        {"instrument": "ST8", "visit": number, "name": f"{number}" + "n" * size}
        for number, size in enumerate((10_000, 60_000, 70_000))
    ]
    catalog.insert_dimension("visit", records)
    commit(CALEXP, [visit(number) for number in range(3)])
    query = DatasetQuery(dataset_types=("calexp",), order_by=("visit.name",))
    page, token = catalog.page(query, 1)
    assert token is not None
    with pytest.raises(InvalidInputError, match="values of visit.name are too long") as error:
        catalog.page(query, 1, token)
    assert error.value.kind is ErrorKind.PAGE_TOKEN
    assert [*page, *catalog.page(query, 2, token)[0]] == list(catalog.refs(query))
