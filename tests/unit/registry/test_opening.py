"""Making, opening and closing a registry."""

import logging
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from quantumio.errors import (
    ConflictError,
    DestinationError,
    ErrorKind,
    InvalidInputError,
    NotFoundError,
    StateError,
)
from quantumio.model import DataId, Timespan, default_universe
from quantumio.ports import CollectionKind, DatasetQuery
from quantumio.registry import SqlCatalog, create_registry, open_registry, upgrade
from quantumio.registry._engine import Database
from quantumio.system import environment
from quantumio.system.file_systems import file_system_type
from tests.unit.registry.conftest import CALEXP, TABLES, Place, artifact, make_transaction, visit


def test_opened_registry_has_the_identity_and_dimensions_it_was_made_with(sqlite_place: Place) -> None:
    identity = environment.uuid7()
    made = sqlite_place.create(repository_id=identity)
    universe = dict(made.universe)
    made.close()
    opened = sqlite_place.open()
    assert opened.repository_id == identity
    assert dict(opened.universe) == universe
    assert set(universe) == {*default_universe(), *TABLES}
    opened.close()
    opened.close()


def test_place_that_is_taken_is_refused_and_left_as_it_was(sqlite_place: Place) -> None:
    made = sqlite_place.create()
    with pytest.raises(ConflictError, match="there is a registry at"):
        sqlite_place.create()
    assert made.register_collection("u/a", CollectionKind.RUN)
    made.close()


def test_missing_registry_is_not_found_and_not_made(sqlite_place: Place) -> None:
    for readonly in (False, True):
        with pytest.raises(NotFoundError) as error:
            sqlite_place.open(readonly=readonly)
        assert error.value.kind is ErrorKind.NO_REPOSITORY
    with pytest.raises(NotFoundError):
        upgrade(sqlite_place.url, lock_path=sqlite_place.lock_path)
    assert not [path for path in sqlite_place.lock_path.parent.iterdir() if path.name != "lock"]


def test_file_that_is_no_registry_is_refused(sqlite_place: Place) -> None:
    path = sqlite_place.lock_path.with_name("registry.sqlite3")
    path.write_bytes(b"SIMPLE  =                    T" * 100)
    with pytest.raises(DestinationError) as error:
        sqlite_place.open(readonly=True)
    assert error.value.kind is ErrorKind.REGISTRY


@pytest.mark.parametrize(
    "url",
    ["registry.sqlite3", "sqlite://", "sqlite:///:memory:", "mysql://host/x", "sqlite:////a/b?mode=ro", "::"],
)
def test_url_that_can_be_no_registry_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        create_registry(url, universe_tables=None, lock_path=tmp_path / "lock")


def test_wrong_dimension_is_refused_before_anything_is_made(sqlite_place: Place) -> None:
    with pytest.raises(InvalidInputError, match="'timespan' is what records call their timespan"):
        sqlite_place.create(universe_tables={"x": {"key": "int", "metadata": {"timespan": "int"}}})
    assert not list(sqlite_place.lock_path.parent.iterdir())


def test_registry_of_a_newer_schema_is_refused_with_the_mend(place: Place) -> None:
    engine = sa.create_engine(place.url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    for readonly in (False, True):
        with pytest.raises(StateError, match="'9999'") as error:
            place.open(readonly=readonly)
        assert error.value.kind is ErrorKind.NEWER_SCHEMA
        assert "upgrade quantumio" in str(error.value)
    with pytest.raises(StateError):
        upgrade(place.url, lock_path=place.lock_path)


def test_registry_of_an_older_schema_is_refused_with_the_mend(place: Place) -> None:
    engine = sa.create_engine(place.url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    engine.dispose()
    for readonly in (False, True):
        with pytest.raises(StateError, match="older schema '0001'.*quantumio upgrade") as error:
            place.open(readonly=readonly)
        assert error.value.kind is ErrorKind.OLDER_SCHEMA


def test_registry_whose_lock_cannot_be_had_at_all_is_not_opened_for_writing(sqlite_place: Place) -> None:
    """Where somebody else has it for now it is: the first write waits."""
    sqlite_place.create().close()
    sqlite_place.lock_path.unlink()
    sqlite_place.lock_path.mkdir()
    with pytest.raises(DestinationError) as error:
        sqlite_place.open()
    assert error.value.kind is not ErrorKind.LOCKED
    sqlite_place.open(readonly=True).close()


def test_upgrade_of_a_current_registry_changes_nothing(place: Place) -> None:
    upgrade(place.url, lock_path=place.lock_path)
    opened = place.open()
    assert opened.dataset_type("calexp") == CALEXP
    opened.close()


def test_closed_registry_says_so(catalog: SqlCatalog) -> None:
    catalog.close()
    with pytest.raises(StateError, match="is closed"):
        catalog.collections()
    with pytest.raises(StateError, match="is closed"):
        catalog.register_collection("x", CollectionKind.RUN)


# -- reading alone


def changes(catalog: SqlCatalog) -> list[object]:
    data_id = DataId(visit(1))
    return [
        lambda: catalog.flip([make_transaction(CALEXP, [data_id])]),
        lambda: catalog.register_dataset_type(CALEXP),
        lambda: catalog.insert_dimension("instrument", [{"instrument": "ST8"}]),
        lambda: catalog.register_collection("x", CollectionKind.RUN),
        lambda: catalog.set_chain("x", []),
        lambda: catalog.associate("x", []),
        lambda: catalog.disassociate("x", []),
        lambda: catalog.certify("x", [], Timespan(0, 1)),
        lambda: catalog.decertify("x", "calexp", Timespan(0, 1)),
        lambda: catalog.record_artifacts({}),
        lambda: catalog.register_owner(environment.uuid7(), "host", "boot"),
        lambda: catalog.renew_lease(environment.uuid7()),
        lambda: catalog.prepare([], environment.uuid7(), 1.0),
        lambda: catalog.take_over(environment.uuid7(), environment.uuid7(), 0),
        lambda: catalog.reopen(environment.uuid7(), environment.uuid7(), 0),
        lambda: catalog.abort(environment.uuid7(), 0, "user"),
        lambda: catalog.reap(environment.uuid7(), 0),
        lambda: catalog.quarantine(),
        lambda: catalog.drop(environment.uuid7(), "dropped"),
        lambda: catalog.claim(environment.uuid7(), 1, 1.0),
        lambda: catalog.release_claims(environment.uuid7()),
        lambda: catalog.finish_follow_ups({}),
        lambda: catalog.postpone(1, 1.0),
        lambda: catalog.amend_artifact(environment.uuid7(), artifact("a"), artifact("b")),
    ]


def test_every_change_of_a_readonly_registry_is_refused(place: Place) -> None:
    catalog = place.open(readonly=True)
    for change in changes(catalog):
        with pytest.raises(StateError) as error:
            change()  # type: ignore[operator]
        assert error.value.kind is ErrorKind.READ_ONLY
    catalog.close()


def test_readonly_registry_makes_no_file_and_changes_none(
    sqlite_catalog: SqlCatalog, sqlite_place: Place
) -> None:
    sqlite_catalog.flip([make_transaction(CALEXP, [visit(1)])])
    sqlite_catalog.close()
    directory = sqlite_place.lock_path.parent
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.iterdir()}
    directory.chmod(0o555)
    try:
        reader = sqlite_place.open(readonly=True)
        assert reader.find(CALEXP, DataId(visit(1)), ["u/ada/isr"]) is not None
        assert reader.count(DatasetQuery()) == 1
        reader.close()
    finally:
        directory.chmod(0o755)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.iterdir()} == before


def test_readonly_registry_sees_what_a_writer_commits_meanwhile(
    sqlite_catalog: SqlCatalog, sqlite_place: Place
) -> None:
    sqlite_catalog.close()
    reader = sqlite_place.open(readonly=True)
    assert reader.count(DatasetQuery()) == 0
    for number in range(1, 4):
        writer = sqlite_place.open()
        writer.flip([make_transaction(CALEXP, [visit(number)])])
        assert reader.find(CALEXP, DataId(visit(number)), ["u/ada/isr"]) is not None
        writer.close()
        assert reader.count(DatasetQuery()) == number
    reader.close()


# -- SQLite's promises


def test_write_connection_is_durable_and_checked(sqlite_catalog: SqlCatalog) -> None:
    database = sqlite_catalog._database
    with database.edit("looking") as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in (
                "journal_mode",
                "synchronous",
                "wal_autocheckpoint",
                "foreign_keys",
                "trusted_schema",
            )
        }
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "wal_autocheckpoint": 0,
        "foreign_keys": 1,
        "trusted_schema": 0,
    }


def test_setting_that_sqlite_does_not_take_is_refused(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_place.create().close()
    monkeypatch.setattr("quantumio.registry._sqlite._WRITER", (("journal_mode", "WAL", "never"),))
    with pytest.raises(StateError, match="did not take journal_mode=WAL: it says 'wal'"):
        sqlite_place.open()


def test_log_is_brought_into_the_database_when_it_grows(
    sqlite_catalog: SqlCatalog, sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantumio.registry._engine._WAL_LIMIT_BYTES", 64 << 10)
    sqlite_catalog._database._checkpoint_at = 64 << 10
    log = sqlite_place.lock_path.with_name("registry.sqlite3-wal")
    sizes = []
    for number in range(20):
        sqlite_catalog.flip([make_transaction(CALEXP, [visit(number, detector) for detector in range(10)])])
        sizes.append(log.stat().st_size)
    assert 0 in sizes
    assert max(sizes) < 300 << 10


def test_old_reader_holds_up_neither_commits_nor_makes_each_pay(
    sqlite_catalog: SqlCatalog, sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantumio.registry._engine._WAL_LIMIT_BYTES", 64 << 10)
    database = sqlite_catalog._database
    database._checkpoint_at = 64 << 10
    path = sqlite_place.lock_path.with_name("registry.sqlite3")
    old = sqlite3.connect(path, isolation_level=None)
    old.execute("BEGIN")
    old.execute("SELECT * FROM registry_clock").fetchall()
    attempts = 0
    checkpoint = database._checkpoint

    def counted(connection: sa.Connection) -> bool:
        nonlocal attempts
        attempts += 1
        return checkpoint(connection)

    monkeypatch.setattr(database, "_checkpoint", counted)
    for number in range(30):
        sqlite_catalog.flip([make_transaction(CALEXP, [visit(number)])])
    size = path.with_name("registry.sqlite3-wal").stat().st_size
    assert 1 <= attempts <= size // (64 << 10)
    old.close()
    sqlite_catalog.flip([make_transaction(CALEXP, [visit(99, detector) for detector in range(100)])])
    assert sqlite_catalog.count(DatasetQuery()) == 130


def test_failed_checkpoint_does_not_fail_the_commit_before_it(
    sqlite_catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: sa.Connection) -> bool:
        raise sqlite3.OperationalError("disk I/O error")

    database = sqlite_catalog._database
    database._checkpoint_at = 0
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(database, "_checkpoint", fail)
        (outcome,) = sqlite_catalog.flip([make_transaction(CALEXP, [visit(1)])])
    assert sqlite_catalog.outcome(outcome.txid) == outcome
    assert "checkpoint" in caplog.text


def test_readers_do_not_wait_for_a_writer(catalog: SqlCatalog) -> None:
    catalog.flip([make_transaction(CALEXP, [visit(1)])])
    found: list[object] = []

    def read() -> None:
        found.append(catalog.find(CALEXP, DataId(visit(1)), ["u/ada/isr"]))
        found.append(catalog.count(DatasetQuery()))
        found.append(len(list(catalog.query(DatasetQuery()))))

    with catalog._database.edit("a long edit") as connection:
        connection.exec_driver_sql("UPDATE registry_clock SET seq = seq + 1")
        reader = threading.Thread(target=read)
        reader.start()
        reader.join(20)
        assert not reader.is_alive()
    assert found[0] is not None
    assert found[1:] == [1, 1]


MOUNTS = """\
21 1 0:1 / / rw shared:1 - ext4 /dev/vda rw
22 21 0:2 / /people rw - nfs4 server:/home rw
23 22 0:3 / /people/ada/local\\040disk rw - xfs /dev/vdb rw
24 21 0:4 / /ws rw - fuse.sshfs ada@host: rw
25 21 0:5 / /scratch rw - ext4 /dev/vdc rw
26 25 0:6 / /scratch rw master:1 - lustre mgs:/scratch rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data", "ext4"),
        ("/people/ada", "nfs4"),
        ("/peoples", "ext4"),
        ("/people/ada/local disk/night1", "xfs"),
        ("/ws", "fuse.sshfs"),
        ("/scratch/x", "lustre"),
    ],
)
def test_file_system_of_a_path_is_that_of_its_deepest_last_mount(path: str, kind: str) -> None:
    assert file_system_type(Path(path), MOUNTS) == kind


@pytest.mark.parametrize("kind", ["nfs4", "lustre", "gpfs", "fuse.sshfs", "fuseblk"])
def test_network_file_system_is_refused_with_the_mend(
    sqlite_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"21 1 0:1 / / rw - {kind} x rw\n")
    monkeypatch.setattr("quantumio.system.file_systems._MOUNTS", mounts)
    with pytest.raises(StateError, match=f"of type '{kind}'") as error:
        sqlite_place.create()
    assert "local disk" in str(error.value.hint)
    assert not list(sqlite_place.lock_path.parent.iterdir())


def test_password_never_shows(tmp_path: Path) -> None:
    with pytest.raises(DestinationError) as error:
        open_registry("postgresql://ada:secret@127.0.0.1:1/none", lock_path=tmp_path / "lock")
    assert "secret" not in str(error.value)


def test_writers_of_two_connections_take_turns(place: Place) -> None:
    one, other = place.open(), place.open()
    for number in range(5):
        assert one.flip([make_transaction(CALEXP, [visit(number)])])[0].refs[0].version == 1
        assert other.flip([make_transaction(CALEXP, [visit(number)])])[0].refs[0].version == 2
    one.close()
    other.close()


def two_values() -> sa.Select[Any]:
    return sa.select(sa.bindparam("b", type_=sa.Text()), sa.bindparam("a", type_=sa.Text()))


def test_database_prepares_statements_for_their_own_dialect(place: Place) -> None:
    database = Database(place.url, place.lock_path, readonly=True)
    prepared = database.prepare(two_values)
    assert [tuple(row) for row in database.fetch(prepared, {"a": "1", "b": "2"})] == [("2", "1")]
    database.close()
