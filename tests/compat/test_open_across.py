"""Processes that have a repository open while it is upgraded: they stop, say why, and lose nothing."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from quantumio import Butler, DatasetType
from quantumio.errors import CommitParkedError, ConflictError, ErrorKind, QuantumioError, StateError
from quantumio.model import Committed, DataId, FollowUp, FollowUpKind, Timespan
from quantumio.ports import CollectionKind, DatasetQuery
from quantumio.registry import SqlCatalog, upgrade
from quantumio.registry._dialect import rules_for
from quantumio.registry._engine import Database
from quantumio.registry._failures import registry_error
from quantumio.registry._migrations import REVISIONS
from quantumio.registry._schema import CLOCK, OUTBOX, OWNER
from quantumio.system import environment
from tests.compat.conftest import placed
from tests.compat.contents import TYPES, transaction
from tests.compat.older import UNPROVEN
from tests.unit.registry.conftest import Place

pytestmark = pytest.mark.on_disk

NEWER = "9999"


@contextmanager
def upgrading(place: Place, schema: str = NEWER) -> Iterator[sa.Connection]:
    """Change the schema as an upgrade of some later quantumio does, which changes nothing but its number."""
    database = Database(place.url, place.lock_path, readonly=False)
    try:
        with database.edit("upgrading") as connection:
            if database.rules.exclude:
                connection.exec_driver_sql(database.rules.exclude)
            connection.execute(
                sa.text("UPDATE alembic_version SET version_num = :schema"), {"schema": schema}
            )
            connection.execute(sa.update(CLOCK).values(edits=CLOCK.c.edits + 1))
            yield connection
    finally:
        database.close()


def to_newer(place: Place, schema: str = NEWER) -> None:
    with upgrading(place, schema):
        pass


@pytest.fixture
def filled(unproven_place: Place) -> Place:
    """A registry of today with something of every kind."""
    upgrade(unproven_place.url, lock_path=unproven_place.lock_path)
    return unproven_place


# ---------------------------------------------------------------------------- processes of this version

IMAGE = {"instrument": "ST8", "detector": 0, "visit": 0}


def _writes(catalog: SqlCatalog) -> dict[str, Callable[[], object]]:
    """Everything that writes, each ready to be done."""
    owner, new = environment.uuid7(), transaction("calexp", [IMAGE])
    found = catalog.find(TYPES["calexp"], DataId(IMAGE), ["u/ada/isr"])
    assert found is not None
    (prepared, *_) = catalog.preparing()
    known = prepared.owner
    assert known is not None
    other = DatasetType("other", dimensions=(), storage_class="Text")
    clean = (FollowUp(kind=FollowUpKind.CLEAN, destination="local"),)
    instrument = [{"instrument": "new", "class_name": "x"}]
    flat = catalog.find(
        TYPES["flat"],
        DataId({"instrument": "ST8", "physical_filter": "R", "detector": 0}),
        ["calib/run1"],
    )
    note = catalog.find(TYPES["note"], DataId({}), ["u/ada/isr"])
    assert flat is not None
    assert note is not None
    return {
        "register_dataset_type": lambda: catalog.register_dataset_type(other),
        "insert_dimension": lambda: catalog.insert_dimension("instrument", instrument),
        "register_collection": lambda: catalog.register_collection("r", CollectionKind.RUN),
        "set_chain": lambda: catalog.set_chain("c", ["u/ada/isr"]),
        "remove_collection": lambda: catalog.remove_collection("empty", dry_run=False),
        "associate": lambda: catalog.associate("t", [found.ref]),
        "disassociate": lambda: catalog.disassociate("tags/best", [found.ref]),
        "certify": lambda: catalog.certify("calib/new", [flat.ref], Timespan()),
        "decertify": lambda: catalog.decertify("calib/early", "flat", Timespan()),
        "delete": lambda: catalog.delete([note.ref.id], unlink=True, dry_run=False),
        "create_snapshot": lambda: catalog.create_snapshot("s"),
        "register_owner": lambda: catalog.register_owner(owner, "h", "b"),
        "renew_lease": lambda: catalog.renew_lease(known),
        "prepare": lambda: catalog.prepare([new], known, 60.0),
        "take_over": lambda: catalog.take_over(prepared.txid, known, prepared.epoch),
        "reopen": lambda: catalog.reopen(prepared.txid, known, prepared.epoch),
        "abort": lambda: catalog.abort(prepared.txid, prepared.epoch, "user", clean),
        "reap": lambda: catalog.reap(prepared.txid, prepared.epoch, clean),
        "quarantine": catalog.quarantine,
        "flip": lambda: catalog.flip([new]),
        "claim": lambda: catalog.claim(known, 9, 60.0),
        "release_claims": lambda: catalog.release_claims(known),
        "hasten_follow_ups": catalog.hasten_follow_ups,
        "finish_follow_ups": lambda: catalog.finish_follow_ups({new.txid: clean}),
        "postpone": lambda: catalog.postpone(1, 9.0),
        "record_artifacts": lambda: catalog.record_artifacts({found.ref.id: found.artifacts}),
        "note_workspace": lambda: catalog.note_workspace("store", "ada"),
        "note_candidates": lambda: catalog.note_candidates("local", {"x": "1"}),
    }


def _reads(catalog: SqlCatalog) -> dict[str, Callable[[], object]]:
    """What reads datasets, names and transactions."""
    calexp, image = TYPES["calexp"], DataId(IMAGE)
    found = catalog.find(calexp, image, ["u/ada/isr"])
    assert found is not None
    query = DatasetQuery(dataset_types=("calexp",))
    return {
        "find": lambda: catalog.find(calexp, image, ["u/ada/isr"]),
        "find as of": lambda: catalog.find(calexp, image, ["u/ada/isr"], as_of=found.commit_seq),
        "stored": lambda: catalog.stored([found.ref.id]),
        "versions": lambda: catalog.versions(calexp, image, "u/ada/isr"),
        "query": lambda: list(catalog.query(query)),
        "count": lambda: catalog.count(query),
        "columns": lambda: list(catalog.columns(query)),
        "collections": catalog.collections,
        "dimension_records": lambda: list(catalog.dimension_records("visit", {}, None, {})),
        "data_ids": lambda: catalog.data_ids(["visit"], {}, None, {}),
        "lineage": lambda: catalog.lineage(found.ref.id, "up", None),
        "transaction": lambda: catalog.transaction(found.txid),
        "outcome": lambda: catalog.outcome(found.txid),
        "preparing": catalog.preparing,
        "outbox": catalog.outbox,
        "known_owners": lambda: catalog.known_owners([environment.uuid7()]),
        "object_records": lambda: catalog.object_records(["local"], {}),
    }


def _rows(place: Place) -> dict[str, list[Any]]:
    """Everything that is in the tables."""
    engine = sa.create_engine(place.url)
    with engine.connect() as connection:
        tables = sa.inspect(connection).get_table_names()
        rows = {
            name: sorted(map(repr, connection.execute(sa.select(sa.text("*")).select_from(sa.table(name)))))
            for name in tables
        }
    engine.dispose()
    return rows


def test_nothing_is_written_by_who_was_open_before(filled: Place) -> None:
    catalog = filled.open()
    writes = _writes(catalog)
    to_newer(filled)
    before = _rows(filled)
    for what, write in writes.items():
        with pytest.raises(StateError, match=f"schema '{NEWER}'") as error:
            write()
        assert error.value.kind is ErrorKind.NEWER_SCHEMA, what
        assert "start again" in str(error.value.hint), what
    assert _rows(filled) == before
    to_newer(
        filled, REVISIONS[-1]
    )  # each of them would have written something, or said that there is nothing
    for write in writes.values():
        write()
    catalog.close()


@pytest.mark.parametrize("readonly", [False, True])
def test_nothing_is_read_by_who_was_open_before(filled: Place, readonly: bool) -> None:
    catalog = filled.open(readonly=readonly)
    reads = _reads(catalog)
    pages = catalog.query(DatasetQuery(versions="all"))
    next(pages)
    to_newer(filled)
    for what, read in reads.items():
        with pytest.raises(StateError, match=f"schema '{NEWER}'") as error:
            read()
        assert error.value.kind is ErrorKind.NEWER_SCHEMA, what
    to_newer(filled, REVISIONS[-1])
    for read in reads.values():
        read()
    catalog.close()


def _until_somebody_waits(place: Place, is_over: Callable[[], bool]) -> None:
    """Return when the server says that somebody waits for a lock, or it is over; a file says nothing."""
    if place.url.startswith("sqlite"):
        time.sleep(0.3)
        return
    engine = sa.create_engine(place.url, isolation_level="AUTOCOMMIT")
    mine = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
    waiting = sa.text(f"{mine} WHERE NOT granted AND datname = current_database()")
    with engine.connect() as connection:
        deadline = time.monotonic() + 60
        while not is_over() and not connection.execute(waiting).scalar():
            assert time.monotonic() < deadline, "it neither waits nor ends"
            time.sleep(0.01)
    engine.dispose()


def test_upgrade_waits_for_who_writes_and_who_comes_after_it_is_refused(filled: Place) -> None:
    catalog = filled.open()
    done, entered, refused = threading.Event(), threading.Event(), []

    def upgrade_meanwhile() -> None:
        with upgrading(filled):
            entered.set()
            assert done.wait(60)

    def write() -> None:
        try:
            catalog.register_collection("late", CollectionKind.RUN)
        except QuantumioError as error:
            refused.append(error)

    first, second = threading.Thread(target=upgrade_meanwhile), threading.Thread(target=write)
    with catalog._database.edit("writing") as connection:
        first.start()
        _until_somebody_waits(filled, entered.is_set)
        assert not entered.is_set(), "it changed the schema under a transaction"
        connection.execute(sa.update(OWNER).values(host="mine"))
    assert entered.wait(60)
    second.start()
    _until_somebody_waits(filled, lambda: not second.is_alive())
    assert second.is_alive(), "it wrote under an upgrade"
    done.set()
    first.join(60)
    second.join(60)
    (error,) = refused
    assert error.kind is ErrorKind.NEWER_SCHEMA
    catalog.close()


def test_reader_that_waited_for_an_upgrade_is_refused(filled: Place) -> None:
    """On PostgreSQL; it must not see the old rows by the new tables. On SQLite nobody waits."""
    waits = filled.url.startswith("postgresql")
    catalog = filled.open(readonly=True)
    ended: list[object] = []

    def read() -> None:
        try:
            ended.append(catalog.count(DatasetQuery()))
        except QuantumioError as error:
            ended.append(error.kind)

    reader = threading.Thread(target=read)
    before = catalog.count(DatasetQuery())
    with upgrading(filled):
        reader.start()
        if waits:
            _until_somebody_waits(filled, lambda: not reader.is_alive())
            assert reader.is_alive(), "it read under an upgrade"
        else:
            reader.join(60)
    reader.join(60)
    assert ended == [ErrorKind.NEWER_SCHEMA if waits else before]
    catalog.close()


# ---------------------------------------------------------------------------- a Butler


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, Place]:
    """A repository, and its registry as this file's functions want it."""
    root = tmp_path / "repository"
    with Butler.create(root) as butler:
        butler.register_dataset_type(DatasetType("stats", dimensions=["visit"], storage_class="Mapping"))
    return root, Place(f"sqlite:///{root / 'registry.sqlite3'}", root / "registry.lock")


@pytest.mark.parametrize("ack", ["journaled", "committed"])
def test_butler_that_was_open_keeps_what_it_cannot_commit(repository: tuple[Path, Place], ack: Any) -> None:
    root, place = repository
    with Butler(root, run="r", instrument="X") as butler:
        with butler.context() as ctx:
            ctx.put({"n": 1}, "stats", visit=1)
        to_newer(place)
        ctx = butler.context(ack=ack)
        ctx.put({"n": 2}, "stats", visit=2)
        with pytest.raises(CommitParkedError, match=f"schema '{NEWER}'"):
            ctx.commit("committed")
        with pytest.raises(StateError) as refused:
            butler.get("stats", visit=1)
        assert refused.value.kind is ErrorKind.NEWER_SCHEMA
    (entry,) = (root / "journal").glob("*.ready")
    to_newer(place, REVISIONS[-1])  # the next process knows the schema
    with Butler(root, run="r", instrument="X") as butler:
        butler.recover()
        assert [butler.get("stats", visit=visit) for visit in (1, 2)] == [{"n": 1}, {"n": 2}]
        assert not butler.fsck(level=2).findings
    assert not entry.exists()


# ---------------------------------------------------------------------------- processes of earlier versions


def _statements_of_earlier_versions(kind: str) -> dict[str, sa.Executable]:
    """With what each of their transactions begins, or what it does after nothing that others can see."""
    rules = rules_for(kind)
    clock, outbox, owner = (
        table.to_metadata(sa.MetaData(), name=name)
        for table, name in ((CLOCK, "clock"), (OUTBOX, "outbox"), (OWNER, "owner"))
    )
    identity = environment.uuid7()
    insert = rules.insert(owner).values(id=identity, host="h", boot_id="b", heartbeat_at=1)
    heard = insert.on_conflict_do_update(index_elements=["id"], set_={"host": insert.excluded.host})
    return {
        "every write that is in order": sa.update(clock)
        .where(clock.c.id == 1)
        .values(seq=clock.c.seq + 1)
        .returning(clock.c.seq, clock.c.edits),
        "names are read": sa.select(clock.c.edits).where(clock.c.id == 1),
        "a number is read": sa.select(clock.c.seq).where(clock.c.id == sa.literal_column("1")),
        "register": heard,
        "renew": sa.update(owner).where(owner.c.id == identity).values(heartbeat_at=2),
        "prepare": sa.select(owner.c.id).where(owner.c.id == identity),
        "claim": sa.update(outbox).values(claimed_by=identity).returning(outbox.c.id),
        "finish": sa.delete(outbox).where(outbox.c.txid == identity),
        "postpone": sa.update(outbox).where(outbox.c.id == 1).values(attempts=outbox.c.attempts + 1),
        "what is to follow is read": sa.select(outbox.c.id).outerjoin(
            owner, owner.c.id == outbox.c.claimed_by
        ),
    }


def test_statements_of_earlier_versions_fail_as_if_it_could_pass(filled: Place) -> None:
    engine = sa.create_engine(filled.url)
    before = _rows(filled)
    kinds, told = {}, {}
    for what, statement in _statements_of_earlier_versions(engine.dialect.name).items():
        with engine.connect() as connection, pytest.raises(sa.exc.SQLAlchemyError) as error:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA trusted_schema=OFF")  # as they do
            connection.execute(statement).all()
        failed = registry_error(error.value, "writing", filled.url)
        kinds[what], told[what] = failed.kind, "start this process again" in str(failed)
    engine.dispose()
    assert kinds == dict.fromkeys(kinds, ErrorKind.REGISTRY)  # else they would give up, and keep nothing
    assert all(told[what] for what in ("every write that is in order", "names are read", "prepare")), told
    assert _rows(filled) == before


@pytest.fixture
def kept_on_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with placed(request, tmp_path, UNPROVEN, "postgresql") as place:
        yield place


def test_users_with_few_rights_are_stopped_whatever_schemas_who_upgrades_looks_into(
    kept_on_server: Place,
) -> None:
    place, role = kept_on_server, f"few_{uuid.uuid4().hex}"
    engine = sa.create_engine(place.url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role}")
        rights = "SELECT, INSERT, UPDATE, DELETE"
        connection.exec_driver_sql(f"GRANT {rights} ON ALL TABLES IN SCHEMA public TO {role}")
        connection.exec_driver_sql("CREATE SCHEMA mine")
    searching = sa.make_url(place.url).update_query_dict({"options": "-csearch_path=mine,public"})
    upgrade(searching.render_as_string(hide_password=False), lock_path=place.lock_path)
    kinds = {}
    for what, statement in _statements_of_earlier_versions("postgresql").items():
        with engine.connect() as connection:
            connection.exec_driver_sql(f"SET ROLE {role}")
            with pytest.raises(sa.exc.SQLAlchemyError) as error:
                connection.execute(statement).all()
        kinds[what] = registry_error(error.value, "writing", place.url).kind
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP OWNED BY {role}")
        connection.exec_driver_sql(f"DROP ROLE {role}")
    engine.dispose()
    assert kinds == dict.fromkeys(kinds, ErrorKind.REGISTRY)
    place.open().close()


# ---------------------------------------------------------------------------- the upgrade itself


def _hear_of_all_owners(place: Place) -> int:
    engine = sa.create_engine(place.url)
    with engine.begin() as connection:
        name = OWNER.name if sa.inspect(connection).has_table(OWNER.name) else "owner"
        owner = OWNER.to_metadata(sa.MetaData(), name=name)
        now = rules_for(engine.dialect.name).now()
        count = connection.execute(sa.update(owner).values(heartbeat_at=now)).rowcount
    engine.dispose()
    return count


def test_upgrade_is_refused_while_a_process_lives(kept_place: Place) -> None:
    place = kept_place
    options = {"lock_path": place.lock_path, "lease_s": 600.0}
    assert _hear_of_all_owners(place) == 1
    before = _rows(place)
    with pytest.raises(ConflictError, match=r"one on host, heard of \d+ s ago") as error:
        upgrade(place.url, **options)
    assert error.value.kind is ErrorKind.IN_USE
    assert _rows(place) == before
    asked = []
    upgrade(place.url, **options, is_dead=lambda *owner: asked.append(owner[1:]) or True)
    assert asked == [("host", "boot")]
    catalog = place.open()
    (new,) = catalog.flip([transaction("calexp", [IMAGE])])
    assert isinstance(new, Committed)
    catalog.close()


def test_upgrade_goes_on_beside_one_that_was_silent_for_its_lease(kept_place: Place) -> None:
    upgrade(kept_place.url, lock_path=kept_place.lock_path, lease_s=1.0)  # it was heard of when it was made
    kept_place.open().close()


def test_upgrades_at_the_same_time_take_turns(kept_place: Place) -> None:
    place, failed = kept_place, []

    def run() -> None:
        try:
            upgrade(place.url, lock_path=place.lock_path)
        except QuantumioError as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    place.open().close()


def test_upgrade_may_be_forced(kept_place: Place) -> None:
    _hear_of_all_owners(kept_place)
    upgrade(kept_place.url, lock_path=kept_place.lock_path)
    kept_place.open().close()
