"""The schema and its history."""

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from quantumio.registry._dialect import identifier
from quantumio.registry._migrations import REVISIONS
from quantumio.registry._schema import FIXED
from quantumio.registry._universe import make_universe
from quantumio.registry._universe_schema import Tables
from tests.unit.registry.conftest import CALEXP, TABLES, Place


def expect(expected: sa.MetaData, table: sa.Table, url: str) -> None:
    """Expect a table of the database at a URL."""
    copied = table.to_metadata(expected)
    dialect = sa.make_url(url).get_backend_name()
    for index in table.indexes:
        wanted = index._ddl_if.dialect if index._ddl_if is not None else dialect
        if wanted != dialect:
            names = index.columns.keys()
            copied.indexes -= {one for one in copied.indexes if one.columns.keys() == names}
    if url.startswith("postgresql"):  # where fsck checks some references
        left = [key for one in table.foreign_key_constraints if one.info for key in one.column_keys]
        gone = [one for one in copied.foreign_key_constraints if set(one.column_keys) & {*left}]
        copied.constraints.difference_update(gone)


def test_known_revisions_are_those_of_the_migrations() -> None:
    config = Config()
    config.set_main_option("script_location", "quantumio.registry:migrations")
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    assert tuple(reversed([revision.revision for revision in script.walk_revisions()])) == REVISIONS
    assert script.get_current_head() == REVISIONS[-1]


def test_migrations_make_the_schema_that_the_code_expects(place: Place) -> None:
    tables = Tables(make_universe(TABLES))
    made = [tables.record(name).table for name in tables.universe]
    group = tables.group(CALEXP.dimensions)
    expected = sa.MetaData()
    for table in (*FIXED.tables.values(), *made, group.dataset, group.tag, group.calibration):
        expect(expected, table, place.url)
    names = set(expected.tables)

    def ours(_: object, name: str | None, kind: str, *__: object) -> bool:
        return kind != "table" or name in names

    engine = sa.create_engine(place.url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": ours, "compare_type": False})
        assert compare_metadata(context, expected) == []
    engine.dispose()


def test_sqlite_tables_are_strict(place: Place) -> None:
    if not place.url.startswith("sqlite"):
        pytest.skip("PostgreSQL always is")
    engine = sa.create_engine(place.url)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND NOT strict "
            "AND name NOT LIKE 'sqlite%'"
        ).all()
    engine.dispose()
    assert [row[0] for row in rows] == ["alembic_version"]


@pytest.mark.parametrize("name", ["visit", "Visit", "VISIT", "v" * 63, "v" * 62 + "w", "d_visit"])
def test_names_of_tables_and_columns_stay_apart(name: str) -> None:
    others = {"visit", "Visit", "VISIT", "v" * 63, "v" * 62 + "w", "d_visit"} - {name}
    made = identifier("d_", name)
    assert len(made) <= 63
    assert made.lower() not in {identifier("d_", other).lower() for other in others}
