"""Columns that a database gives as one value each."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from quantumio.registry._dialect import BIG_INTEGER, TEXT, rules_for
from quantumio.registry._prepared import Prepared, run_prepared

RAW = sa.types.NullType()
TYPES = {"sqlite": ("BLOB", "INTEGER", "TEXT"), "postgresql": ("UUID", "BIGINT", "TEXT")}
KINDS = {"ids": RAW, "numbers": BIG_INTEGER, "texts": TEXT}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[sa.Connection]:
    """A connection to a database of each kind, with a column of each kind."""
    engine = sa.create_engine("sqlite://")
    if request.param == "postgresql":
        parts = urlsplit(request.getfixturevalue("postgresql_url"))
        url = urlunsplit(parts._replace(scheme="postgresql+psycopg"))
        engine = sa.create_engine(url, paramstyle="format")
    columns = zip(KINDS, TYPES[request.param], strict=True)
    with engine.connect() as connection:
        connection.exec_driver_sql(
            f"CREATE TEMPORARY TABLE gathered (place INTEGER, {', '.join(map(' '.join, columns))})"
        )
        yield connection
    engine.dispose()


def gathered(database: sa.Connection, name: str, values: list[Any]) -> Any:
    """Return what is left of values of a column that are gathered, and spread again."""
    rules, kind = rules_for(database.dialect.name), KINDS[name]
    mark = "?" if rules.name == "sqlite" else "%s"
    database.exec_driver_sql("DELETE FROM gathered")
    database.exec_driver_sql(
        f"INSERT INTO gathered (place, {name}) VALUES ({mark}, {mark})", list(enumerate(values))
    )
    place, column = sa.column("place", BIG_INTEGER), sa.column(name, kind)
    page = sa.select(column).select_from(sa.table("gathered", place, column)).order_by(place).limit(99)
    statement = Prepared(sa.select(rules.gathered(page.subquery("page").c[name])), database.dialect)
    ((found,),) = run_prepared(rules.cursor(database.connection.driver_connection), statement, {})
    return rules.spread(found, kind)


@given(st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=20))
def test_ids_of_any_bytes_come_in_order(database: sa.Connection, ids: list[bytes]) -> None:
    """Whatever bytes they have: NUL, and what is no UTF-8."""
    of_driver = list(rules_for(database.dialect.name).uuids_in(ids))
    assert gathered(database, "ids", of_driver) == b"".join(ids).hex()


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), min_size=1, max_size=20))
def test_integers_come_to_the_last_bit(database: sa.Connection, numbers: list[int]) -> None:
    assert gathered(database, "numbers", numbers) == pa.array(numbers)


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1, max_size=20
    )
)
def test_texts_come_as_they_are(database: sa.Connection, texts: list[str]) -> None:
    assert gathered(database, "texts", texts) == pa.array(texts)
