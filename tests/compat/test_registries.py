"""Registries that were made with earlier schemas: upgraded, they answer as they did, and go on."""

import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quantumio.model import Committed, DataId, DatasetRef, Region, Timespan
from quantumio.registry import upgrade
from tests.compat.contents import BEGIN_NS, DAY_NS, TYPES, answers, answers_of, name_of, transaction
from tests.unit.registry.conftest import Database, Place

RELEASED = ("0004",)


@pytest.fixture(
    params=[(revision, kind) for revision in RELEASED for kind in ("sqlite", "postgresql")], ids="-".join
)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    """A registry as an earlier quantumio left it, with the answers that it gave."""
    revision, kind = request.param
    path = name_of(revision, kind)
    contents = lzma.decompress(path.read_bytes())
    given = json.loads(lzma.decompress(answers_of(path).read_bytes()))
    if kind == "sqlite":
        (tmp_path / "registry.sqlite3").write_bytes(contents)
        yield Place(f"sqlite:///{tmp_path / 'registry.sqlite3'}", tmp_path / "lock"), given
        return
    with Database(request.getfixturevalue("postgresql_url"), None) as url:
        import psycopg

        with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://")) as connection:
            connection.execute(contents)
        yield Place(url, tmp_path / "lock"), given


def test_upgraded_registry_answers_as_it_did(kept: tuple[Place, dict[str, Any]]) -> None:
    place, given = kept
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
