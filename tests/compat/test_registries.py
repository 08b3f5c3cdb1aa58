"""Registries that were made with earlier schemas: upgraded, they answer as they did, and go on."""

import json
import lzma
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from quantumio.errors import ErrorKind, StateError
from quantumio.model import Committed, DataId, DatasetRef, Region, Timespan
from quantumio.registry import upgrade
from quantumio.registry._migrations import REVISIONS
from quantumio.registry._schema import FIXED
from quantumio.registry._universe_schema import Tables
from tests.compat.conftest import placed
from tests.compat.contents import BEGIN_NS, DAY_NS, TYPES, answers, answers_of, name_of, transaction
from tests.compat.older import KEPT, kept_for, put_sqlite
from tests.unit.registry.conftest import Place
from tests.unit.registry.test_migrations import expect


@pytest.fixture(params=["-".join(pair) for pair in product(REVISIONS[:-1], ("sqlite", "postgresql"))])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    """A registry as an earlier quantumio left it, with the answers that it gave."""
    revision, kind = request.param.split("-")
    given = json.loads(lzma.decompress(answers_of(name_of(kept_for(revision), kind)).read_bytes()))
    if revision == "0001":
        given["outbox"] = []  # its form had never been written to
    with placed(request, tmp_path, revision, kind) as place:
        yield place, given


def test_upgraded_registry_answers_as_it_did(kept: tuple[Place, dict[str, Any]]) -> None:
    place, given = kept
    for readonly in (True, False):
        with pytest.raises(StateError, match="older schema") as error:
            place.open(readonly=readonly)
        assert error.value.kind is not ErrorKind.NEWER_SCHEMA
        assert "quantumio upgrade" in str(error.value.hint)
    upgrade(place.url, lock_path=place.lock_path)
    for readonly in (True, False):
        catalog = place.open(readonly=readonly)
        now = json.loads(json.dumps(answers(catalog)))
        assert now.keys() == given.keys()
        for question, answer in given.items():
            assert now[question] == answer, question
        catalog.close()


def test_upgraded_registry_goes_on(kept: tuple[Place, dict[str, Any]]) -> None:
    place, given = kept
    upgrade(place.url, lock_path=place.lock_path)
    catalog = place.open()
    image = {"instrument": "ST8", "detector": 0, "visit": 0}
    _, before = given["queries"]["all"]
    (new,) = catalog.flip([transaction("calexp", [image])])
    assert isinstance(new, Committed)
    (ref,) = new.refs
    assert ref.version == 4
    assert new.commit_seq > max(stored[-2] for stored in before)
    found = catalog.find(TYPES["calexp"], DataId(image), ["u/ada/isr"])
    assert found is not None
    assert found.ref == ref

    catalog.associate("tags/new", [ref])
    flat = {"instrument": "ST8", "physical_filter": "R", "detector": 3}
    (made,) = catalog.flip([transaction("flat", [flat], run="calib/run1")])
    assert isinstance(made, Committed)
    span = Timespan(BEGIN_NS, BEGIN_NS + DAY_NS)
    catalog.certify("calib/early", made.refs, span)
    assert _valid(catalog, flat, span) == made.refs[0]
    catalog.set_chain("all", ["tags/new", "u/ada/isr"])
    region = Region.make("CIRCLE 10 20 0.1")
    assert catalog.insert_dimension("tract", [{"skymap": "sky", "tract": 2, "region": region}]) == 1
    catalog.close()

    again = place.open(readonly=True)
    assert [record["region"] for record in again.dimension_records("tract", {"tract": 2}, None, {})] == [
        region
    ]
    assert again.version_numbers(TYPES["calexp"], DataId(image), "u/ada/isr") == [1, 2, 3, 4]
    assert _valid(again, flat, span) == made.refs[0]
    again.close()


def _valid(catalog: Any, flat: dict[str, Any], span: Timespan) -> DatasetRef | None:
    found = catalog.find(TYPES["flat"], DataId(flat), ["calib"], timespan=span)
    return None if found is None else found.ref


def test_upgraded_registry_has_the_schema_of_a_new_one(kept: tuple[Place, dict[str, Any]]) -> None:
    place, _ = kept
    upgrade(place.url, lock_path=place.lock_path)
    catalog = place.open(readonly=True)
    tables, types = Tables(catalog.universe), catalog.dataset_types()
    catalog.close()
    expected = sa.MetaData()
    groups = [tables.group(dimensions) for dimensions in {dataset_type.dimensions for dataset_type in types}]
    records = [tables.record(name) for name in tables.universe]
    for table in (
        *FIXED.tables.values(),
        *(table for group in groups for table in (group.dataset, group.tag, group.calibration)),
        *(record.table for record in records),
        *(record.cover for record in records if record.cover is not None),
    ):
        expect(expected, table, place.url)
    engine = sa.create_engine(place.url)
    with engine.connect() as connection:
        options = {"compare_type": False, "include_name": lambda name, *_: name != "alembic_version"}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), expected) == []
        inspector = sa.inspect(connection)
        for table in expected.tables.values():  # alembic does not compare keys
            key = inspector.get_pk_constraint(table.name)["constrained_columns"]
            assert key == [column.name for column in table.primary_key], table.name
        if place.url.startswith("sqlite"):
            stored = connection.exec_driver_sql("SELECT name, wr, strict FROM pragma_table_list").all()
            flags = {name: (bool(without_rowid), bool(strict)) for name, without_rowid, strict in stored}
            for table in expected.tables.values():
                assert flags[table.name] == (not table.dialect_options["sqlite"]["with_rowid"], True)
    engine.dispose()


_KILLED_WITHIN = """
import os, signal, sys
from pathlib import Path
from quantumio.registry import _sky_cover, upgrade
_sky_cover.covered = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # late: most tables are made anew
upgrade(sys.argv[1], lock_path=Path(sys.argv[2]))
"""


def test_upgrade_that_is_killed_has_changed_nothing(tmp_path: Path) -> None:
    path = tmp_path / "registry.sqlite3"
    put_sqlite(path, KEPT[0])
    given = json.loads(lzma.decompress(answers_of(name_of(KEPT[0], "sqlite")).read_bytes()))
    place = Place(f"sqlite:///{path}", tmp_path / "lock")
    killed = subprocess.run([sys.executable, "-c", _KILLED_WITHIN, place.url, place.lock_path], check=False)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(StateError, match=f"older schema '{KEPT[0]}'"):
        place.open()
    upgrade(place.url, lock_path=place.lock_path)
    catalog = place.open()
    assert json.loads(json.dumps(answers(catalog))) == given
    catalog.close()
