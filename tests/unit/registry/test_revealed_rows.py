"""Tables in the registry's own database: plain SQL sees the rows of a dataset with the very commit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pyarrow as pa
import pytest
import sqlalchemy as sa

from quantumio.destinations import OpenedDestinations
from quantumio.errors import DestinationError, ErrorKind, InvalidInputError
from quantumio.model import (
    Artifact,
    ArtifactState,
    CommitConflict,
    CommitFailed,
    CommitParked,
    Committed,
    DataId,
    DestinationSettings,
    Transaction,
)
from quantumio.registry import SqlCatalog, sqlite_url
from quantumio.system import environment, failpoints
from tests.unit.registry.conftest import CALEXP, Place, artifact, make_transaction, visit
from tests.unit.registry.intents import LONG_S, flip, new_owner, prepare

ROWS = pa.table({"star": [1, 2, 3], "flux": [0.5, None, 2.0]})


@attrs.frozen
class Site:
    """A registry, and a destination in its database."""

    catalog: SqlCatalog
    destinations: OpenedDestinations
    plain: sa.Engine

    @property
    def tables(self) -> Any:
        return self.destinations.get("level3")

    def load(self, number: int = 1, rows: pa.Table = ROWS) -> Transaction:
        """Load rows; return the transaction that is to make them visible."""
        made = make_transaction(CALEXP, [visit(number)])
        (output,) = made.outputs
        load_id = environment.uuid7()
        loaded = self.tables.load("calexp", rows, load_id)
        self.tables.make_ready("calexp", output.ref.data_id)
        there = Artifact(
            destination="level3",
            path="calexp",
            format="rows",
            digest=loaded.checksum,
            nbytes=loaded.nbytes,
            load_id=load_id,
        )
        artifacts = (*output.artifacts, there)
        return attrs.evolve(made, outputs=(attrs.evolve(output, artifacts=artifacts),))

    def seen(self) -> list[tuple[str, int, str, int, int]]:
        """What plain SQL sees: dataset, version, run, visit and number of rows."""
        schema = "" if self.plain.dialect.name == "sqlite" else "level3."
        with self.plain.connect() as connection:
            if not sa.inspect(connection).has_table("qio_visible", schema=schema[:-1] or None):
                return []
            rows = connection.exec_driver_sql(
                f"SELECT dataset_id, version, run, visit, count(*) FROM {schema}calexp"
                " GROUP BY dataset_id, version, run, visit ORDER BY visit, version"
            ).all()
        return [(str(id_), version, run, visit, count) for id_, version, run, visit, count in rows]


def destinations_in(place: Place, catalog: SqlCatalog, **options: Any) -> OpenedDestinations:
    settings = DestinationSettings(name="level3", kind="database", options={"url": "registry", **options})
    return OpenedDestinations(
        {"level3": settings},
        repository_root=place.lock_path.parent,
        repository_id=catalog.repository_id,
        registry_url=place.url,
        registry_lock=place.lock_path,
    )


@pytest.fixture
def site(place: Place, catalog: SqlCatalog) -> Iterator[Site]:
    destinations = destinations_in(place, catalog)
    catalog.reveal_through(destinations)
    plain = sa.create_engine(
        place.url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.pool.NullPool
    )
    yield Site(catalog, destinations, plain)
    destinations.close()


def expected(outcome: Any, rows: int = 3) -> list[tuple[str, int, str, int, int]]:
    return [(str(r.id), r.version, r.run, r.data_id["visit"], rows) for r in outcome.refs]


def test_rows_are_visible_with_their_commit_and_nothing_is_left_to_be_done(site: Site) -> None:
    owner = new_owner(site.catalog)
    group = [site.load(number) for number in (1, 2)]
    site.catalog.prepare(group, owner, LONG_S)
    assert site.seen() == []
    outcomes = site.catalog.flip(group, owner)
    assert site.seen() == [*expected(outcomes[0]), *expected(outcomes[1])]
    assert site.catalog.outbox() == []
    (again,) = flip(site.catalog, group[0])
    assert again == outcomes[0]
    (second,) = flip(site.catalog, site.load(1, ROWS.slice(1)))
    assert site.seen() == [*expected(outcomes[0]), *expected(second, 2), *expected(outcomes[1])]
    (output,) = group[0].outputs
    load_id = output.artifacts[-1].load_id
    assert site.tables.read("calexp", load_id).equals(ROWS)
    site.tables.reveal("calexp", load_id, outcomes[0].refs[0])  # to tell it again changes nothing
    assert len(site.seen()) == 3


def test_before_the_commit_of_the_registry_nobody_sees_rows(site: Site) -> None:
    """Whatever dies then: the rows and their dataset come with one COMMIT, or not at all."""
    transaction = site.load()
    seen: list[object] = []

    def look(name: str) -> None:
        if name in ("registry.commit.before", "registry.commit.after"):
            with site.plain.connect() as connection:
                committed = connection.exec_driver_sql("SELECT count(*) FROM txn WHERE state = 'COMMITTED'")
                seen.append((len(site.seen()), committed.scalar_one()))
        if name == "registry.commit.before" and len(seen) == 1:
            raise OSError("it died here")

    with failpoints.watched(look):
        with pytest.raises(OSError, match="died"):
            flip(site.catalog, transaction)
        site.catalog._database._drop_connection()
        assert isinstance(flip(site.catalog, transaction)[0], Committed)
    assert seen == [(0, 0), (0, 0), (1, 1)]


def test_members_that_do_not_commit_show_no_rows(site: Site) -> None:
    catalog, owner = site.catalog, new_owner(site.catalog)
    fenced, conflict = site.load(1), site.load(2)
    (output,) = conflict.outputs
    conflict = attrs.evolve(conflict, outputs=(attrs.evolve(output, expect=7),))
    aborted, waiting = site.load(3), attrs.evolve(site.load(4), requires=(fenced.txid,))
    for one in (fenced, conflict, aborted, waiting):
        prepare(catalog, one, owner)
    assert catalog.take_over(fenced.txid, new_owner(catalog), 0) is not None
    assert catalog.abort(aborted.txid, 0, "user")
    good = site.load(5)
    outcomes = flip(catalog, fenced, conflict, aborted, waiting, good)
    assert [type(one) for one in outcomes] == [
        CommitParked,
        CommitConflict,
        CommitFailed,
        CommitParked,
        Committed,
    ]
    assert site.seen() == expected(outcomes[-1])


def test_rows_that_are_gone_fail_their_commit(site: Site) -> None:
    transaction = site.load()
    (output,) = transaction.outputs
    load_id = output.artifacts[-1].load_id
    assert load_id is not None
    site.tables.remove_load("calexp", load_id)
    with pytest.raises(DestinationError, match="not there any more") as error:
        flip(site.catalog, transaction)
    assert error.value.kind is ErrorKind.CORRUPT
    assert site.catalog.outcome(transaction.txid) is None


def test_copies_that_are_still_to_come_are_not_shown(site: Site) -> None:
    transaction = site.load()
    (output,) = transaction.outputs
    *others, there = output.artifacts
    pending = attrs.evolve(there, state=ArtifactState.PENDING)
    output = attrs.evolve(output, artifacts=(*others, pending))
    (outcome,) = flip(site.catalog, attrs.evolve(transaction, outputs=(output,)))
    assert isinstance(outcome, Committed)
    assert site.seen() == []
    assert not site.destinations.is_in_registry("direct")
    site.catalog.record_artifacts({outcome.refs[0].id: [there]})
    site.tables.reveal("calexp", there.load_id, outcome.refs[0])
    assert site.seen() == expected(outcome)


def test_rows_in_another_database_are_left_to_the_outbox(
    place: Place, catalog: SqlCatalog, tmp_path: Path
) -> None:
    settings = DestinationSettings(name="other", kind="database", options={"url": "sqlite:///other.db"})
    destinations = OpenedDestinations(
        {"other": settings}, repository_root=tmp_path, repository_id=catalog.repository_id
    )
    catalog.reveal_through(destinations)
    assert not destinations.is_in_registry("other")
    transaction = make_transaction(CALEXP, [visit(1)])
    (output,) = transaction.outputs
    rows = artifact("calexp", store="other", load_id=environment.uuid7())
    output = attrs.evolve(output, artifacts=(*output.artifacts, rows))
    assert isinstance(flip(catalog, attrs.evolve(transaction, outputs=(output,)))[0], Committed)
    destinations.close()


def test_registry_without_destinations_commits_all_the_same(catalog: SqlCatalog) -> None:
    transaction = make_transaction(CALEXP, [visit(1)])
    (output,) = transaction.outputs
    rows = artifact("calexp", store="level3", load_id=environment.uuid7())
    output = attrs.evolve(output, artifacts=(*output.artifacts, rows))
    assert isinstance(flip(catalog, attrs.evolve(transaction, outputs=(output,)))[0], Committed)


def test_table_that_the_registry_may_want_is_refused(site: Site) -> None:
    """On PostgreSQL they are in a schema of their own."""
    is_sqlite = site.plain.dialect.name == "sqlite"
    with site.plain.connect() as connection:
        names = [*sa.inspect(connection).get_table_names(), "record_later", "TAG_x"]
    for name in names:
        if is_sqlite:
            with pytest.raises(InvalidInputError):
                site.tables.load(name, ROWS, environment.uuid7())
        else:
            site.tables.load(name, ROWS, environment.uuid7())
    assert isinstance(flip(site.catalog, site.load())[0], Committed)


def test_both_write_the_same_file_under_one_lock(site: Site) -> None:
    for number in range(4):
        assert isinstance(flip(site.catalog, site.load(number))[0], Committed)
        assert site.tables.read("calexp", load_of(site, number)).num_rows == 3
    assert len(site.seen()) == 4


def load_of(site: Site, number: int) -> UUID:
    found = site.catalog.find(CALEXP, DataId(visit(number)), ["u/ada/isr"])
    assert found is not None
    (load_id,) = [one.load_id for one in found.artifacts if one.load_id is not None]
    return load_id


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"credentials": "somebody"}, "credentials"),
        ({"insecure": True}, "insecure"),
        ({"url": "register"}, "for its database"),
    ],
)
def test_wrong_options_are_refused(
    place: Place, catalog: SqlCatalog, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInputError) as error:
        destinations_in(place, catalog, **options)
    assert said in f"{error.value} {error.value.hint}"


def test_schema_is_postgresqls(place: Place, catalog: SqlCatalog) -> None:
    destinations = destinations_in(place, catalog, schema="stars")
    if place.url.startswith("sqlite"):
        with pytest.raises(InvalidInputError, match="schema"):
            destinations.get("level3")
    else:
        catalog.reveal_through(destinations)
        site = Site(catalog, destinations, sa.create_engine(place.url, poolclass=sa.pool.NullPool))
        assert isinstance(flip(catalog, site.load())[0], Committed)
        with site.plain.connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM stars.calexp").scalar_one() == 3
    destinations.close()


@pytest.mark.parametrize("name", ["registry.sqlite3", "other.sqlite3"])
def test_registry_as_a_file_of_its_own_is_refused(sqlite_place: Place, tmp_path: Path, name: str) -> None:
    """Two locks for one file of SQLite would let a checkpoint run beside a commit."""
    catalog = sqlite_place.create()
    url = sqlite_url(sqlite_place.lock_path.with_name(name))
    if name == "registry.sqlite3":
        with pytest.raises(InvalidInputError) as error:
            destinations_in(sqlite_place, catalog, url=url)
        assert 'url = "registry"' in str(error.value.hint)
    else:
        destinations = destinations_in(sqlite_place, catalog, url=url)
        destinations.get("level3")
        destinations.close()
    catalog.close()


def test_without_a_registry_there_is_no_such_place(tmp_path: Path) -> None:
    settings = DestinationSettings(name="level3", kind="database", options={"url": "registry"})
    destinations = OpenedDestinations(
        {"level3": settings}, repository_root=tmp_path, repository_id=environment.uuid7()
    )
    with pytest.raises(InvalidInputError) as error:
        destinations.get("level3")
    assert "no registry" in str(error.value.hint)
    destinations.close()
