"""Columns that a database gives as one value each."""

import sqlite3
import uuid
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from quantumio.registry._dialect import BIG_INTEGER, TEXT, SqliteRules, last_gathered

RAW = sa.types.NullType()
RULES = SqliteRules()


def gathered(values: list[Any], kind: sa.types.TypeEngine[Any]) -> Any:
    """Return what SQLite gathers of a column of values, in order."""
    column: sa.ColumnElement[Any] = sa.column("x", kind)
    statement = sa.select(RULES.gathered(column)).select_from(sa.table("t", column))
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE t (number INTEGER PRIMARY KEY, x)")
        connection.exec_driver_sql("INSERT INTO t (x) VALUES (?)", [(value,) for value in values])
        found = connection.execute(statement).scalar_one()
    engine.dispose()
    return found


@given(st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=20))
def test_ids_of_any_bytes_come_in_order(ids: list[bytes]) -> None:
    """SQLite joins them as texts, whatever bytes they have: NUL, and what is no UTF-8."""
    assert sqlite3.sqlite_version_info >= (3, 38)
    value = gathered(ids, RAW)
    assert RULES.spread(value, RAW) == b"".join(ids).hex()
    assert uuid.UUID(hex=last_gathered(value, RAW)).bytes == ids[-1]


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), min_size=1, max_size=20))
def test_integers_come_to_the_last_bit(numbers: list[int]) -> None:
    value = gathered(numbers, BIG_INTEGER)
    assert RULES.spread(value, BIG_INTEGER) == pa.array(numbers)
    assert RULES.spread(last_gathered(value, BIG_INTEGER), BIG_INTEGER) == pa.array(numbers[-1:])


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1, max_size=20
    )
)
def test_texts_come_as_they_are(texts: list[str]) -> None:
    value = gathered(texts, TEXT)
    assert RULES.spread(value, TEXT) == pa.array(texts)
    assert RULES.spread(last_gathered(value, TEXT), TEXT) == pa.array(texts[-1:])
