"""What garbage collection asks and remembers, on both databases."""

import uuid

import pytest
import sqlalchemy as sa
from attrs import evolve

from quantumio.model import Artifact, ArtifactState, Transaction, TransactionState
from quantumio.registry import SqlCatalog
from quantumio.registry._schema import GC_CANDIDATE, TRASH
from quantumio.registry._universe import make_universe
from quantumio.registry._universe_schema import Tables
from quantumio.system import environment
from tests.unit.registry.conftest import CALEXP, TABLES, artifact, make_transaction, visit

HOUR_NS = 3_600_000_000_000
STORES = ["local"]


def ask(catalog: SqlCatalog, objects: dict, stores=STORES) -> dict[str, str]:
    """Tell in one word each what is known of objects."""
    records = catalog.object_records(stores, objects)
    assert list(records) == list(objects)
    return {path: "referenced" if one.is_referenced else str(one.state) for path, one in records.items()}


def run(catalog: SqlCatalog, statement: sa.Executable) -> None:
    with catalog._database.edit("a test") as connection:
        connection.execute(statement)


def test_store_is_in_use_while_a_dataset_has_a_whole_object_there(catalog):
    assert not catalog.has_objects("local")
    (outcome,) = catalog.flip([make_transaction(CALEXP, [visit(1)])])
    assert catalog.has_objects("local")
    assert not catalog.has_objects("archive")
    (before,) = catalog.stored([outcome.refs[0].id])[outcome.refs[0].id].artifacts
    assert catalog.amend_artifact(outcome.refs[0].id, before, evolve(before, state=ArtifactState.MISSING))
    assert not catalog.has_objects("local")


def test_objects_are_referenced_or_dead_or_unknown(catalog):
    committed, aborted, waiting = (make_transaction(CALEXP, [visit(number)]) for number in (1, 2, 3))
    catalog.flip([committed])
    owner = environment.uuid7()
    catalog.register_owner(owner, "host", "boot")
    catalog.prepare([aborted, waiting], owner, 60)
    assert catalog.abort(aborted.txid, 0, "user")
    path = committed.outputs[0].artifacts[0].path
    objects = {path: committed.txid, "a": aborted.txid, "w": waiting.txid, "u": environment.uuid7()}
    objects["other"] = committed.txid
    assert ask(catalog, objects) == {
        path: "referenced",
        "a": "ABORTED",
        "w": "PREPARING",
        "u": "None",
        "other": "COMMITTED",
    }
    (record,) = catalog.object_records(STORES, {"a": aborted.txid}).values()
    assert (record.state, record.generation) == (TransactionState.ABORTED, 0)
    assert ask(catalog, {path: committed.txid}, ["archive"]) == {path: "COMMITTED"}
    assert ask(catalog, {path: committed.txid}, ["archive", "local"]) == {path: "referenced"}
    assert catalog.object_records(STORES, {}) == {}


def test_object_that_is_pending_is_referenced(catalog):
    transaction = make_transaction(CALEXP, [visit(1)])
    (output,) = transaction.outputs
    pending = evolve(artifact("late", store="far"), digest="", state=ArtifactState.PENDING)
    outputs = (evolve(output, artifacts=(*output.artifacts, pending)),)
    catalog.flip([evolve(transaction, outputs=outputs)])
    assert ask(catalog, {"late": transaction.txid}, ["far"]) == {"late": "referenced"}


def test_object_whose_artifact_points_elsewhere_is_not_referenced(catalog, commit):
    (ref,) = commit(CALEXP, [visit(1)])
    stored = catalog.stored([ref.id])[ref.id]
    (before,) = stored.artifacts
    assert catalog.amend_artifact(ref.id, before, evolve(before, path="new"))
    assert ask(catalog, {before.path: stored.txid, "new": stored.txid}) == {
        before.path: "COMMITTED",
        "new": "referenced",
    }


def test_thousands_of_objects_are_asked_for_at_once(catalog):
    transactions = [make_transaction(CALEXP, [visit(number)]) for number in range(1200)]
    catalog.flip(transactions)
    objects = {one.outputs[0].artifacts[0].path: one.txid for one in transactions}
    objects |= {f"none/{number}": transactions[0].txid for number in range(1200)}
    told = list(ask(catalog, objects, ["archive", "local"]).values())
    assert told == ["referenced"] * 1200 + ["COMMITTED"] * 1200


def test_trash_tells_its_age_of_the_latest_removal(catalog):
    now = environment.now_ns()
    for store, age in (("local", 3), ("archive", 5)):
        row = {"store": store, "path": "p", "removed_seq": 1, "removed_at": now - age * HOUR_NS}
        run(catalog, sa.insert(TRASH).values(row))
    txid = environment.uuid7()
    (record,) = catalog.object_records(["local"], {"p": txid}).values()
    assert 3 * 3600 <= record.trashed_s < 3 * 3600 + 600
    (record,) = catalog.object_records(["archive", "local"], {"p": txid}).values()
    assert 3 * 3600 <= record.trashed_s < 3 * 3600 + 600
    (record,) = catalog.object_records(["other"], {"p": txid}).values()
    assert record.trashed_s is None


def test_names_of_all_stores_are_known(catalog):
    assert catalog.object_stores() == []
    for store in ("local", "archive", "b"):
        transaction = make_transaction(CALEXP, [visit(len(catalog.object_stores()))])
        outputs = tuple(
            evolve(one, artifacts=(evolve(one.artifacts[0], destination=store),))
            for one in transaction.outputs
        )
        catalog.flip([evolve(transaction, outputs=outputs)])
    assert catalog.object_stores() == ["archive", "b", "local"]


def ages(catalog: SqlCatalog, dead: dict[str, str], store="local") -> dict[str, float]:
    return catalog.candidate_ages(store, dead)


def test_candidates_are_remembered_while_their_mark_is_the_same(catalog):
    assert ages(catalog, {"a": "1"}) == {}
    catalog.note_candidates("local", {"a": "1", "b": "1", "c": "1"})
    assert set(ages(catalog, {"a": "1", "b": "1", "new": "1"})) == {"a", "b"}
    run(catalog, sa.update(GC_CANDIDATE).values(first_seen=GC_CANDIDATE.c.first_seen - HOUR_NS))
    assert ages(catalog, {"a": "2"}) == {}, "another mark is another object"
    catalog.note_candidates("local", {"a": "1", "b": "2"})
    found = ages(catalog, {"a": "1", "b": "2", "c": "1"})
    assert set(found) == {"a", "b"}, "what is dead no more is forgotten"
    assert found["a"] >= 3600 > found["b"]


def test_candidates_of_stores_are_kept_apart(catalog):
    catalog.note_candidates("local", {"a": "1"})
    catalog.note_candidates("archive", {"a": "1", "b": "1"})
    catalog.note_candidates("local", {})
    catalog.note_candidates("local", {})
    assert ages(catalog, {"a": "1"}) == {}
    assert set(ages(catalog, {"a": "1", "b": "1"}, "archive")) == {"a", "b"}
    catalog.forget_candidates("archive", ["a", "none"])
    assert set(ages(catalog, {"a": "1", "b": "1"}, "archive")) == {"b"}


def test_thousands_of_candidates_are_remembered_and_forgotten(catalog):
    many = {f"{number:04}": "1" for number in range(1300)}
    catalog.note_candidates("local", many)
    assert list(ages(catalog, many)) == list(many)
    catalog.forget_candidates("local", list(many)[:-1])
    assert list(ages(catalog, many)) == ["1299"]


def test_owners_that_were_registered_are_known(catalog):
    known = environment.uuid7()
    catalog.register_owner(known, "host", "boot")
    assert catalog.known_owners([known, *(environment.uuid7() for _ in range(1100))]) == {known}
    assert catalog.known_owners([]) == set()


def rows_planned(number: int) -> tuple[Transaction, uuid.UUID]:
    transaction = make_transaction(CALEXP, [visit(number)])
    (output,) = transaction.outputs
    load = environment.uuid7()
    rows = Artifact(destination="level3", path="calexp", format="rows", digest="", nbytes=0, load_id=load)
    return evolve(transaction, outputs=(evolve(output, artifacts=(rows,)),)), load


def test_loads_are_referenced_or_planned_or_unknown(catalog):
    owner = environment.uuid7()
    catalog.register_owner(owner, "host", "boot")
    (committed, seen), (aborted, dead), (waiting, planned) = map(rows_planned, (1, 2, 3))
    catalog.flip([committed])
    catalog.prepare([aborted, waiting], owner, 60)
    catalog.abort(aborted.txid, 0, "user")
    unknown = environment.uuid7()
    records = catalog.load_records([seen, dead, planned, unknown])
    assert {load: (one.is_referenced, one.state) for load, one in records.items()} == {
        seen: (True, None),
        dead: (False, TransactionState.ABORTED),
        planned: (False, TransactionState.PREPARING),
        unknown: (False, None),
    }
    assert catalog.load_records([]) == {}


def test_state_and_references_are_of_one_moment(catalog):
    """A commit between the questions must never make an object look dead."""
    transaction = make_transaction(CALEXP, [visit(1)])
    owner = environment.uuid7()
    catalog.register_owner(owner, "host", "boot")
    catalog.prepare([transaction], owner, 60)
    path = transaction.outputs[0].artifacts[0].path
    garbage, asked = catalog._garbage, []
    ask_first = garbage._referenced

    def commit_after(connection, *arguments):
        found = ask_first(connection, *arguments)
        asked.append(catalog.flip([transaction]))
        return found

    garbage._referenced = commit_after
    (record,) = catalog.object_records(STORES, {path: transaction.txid}).values()
    assert asked
    assert (record.is_referenced, record.state) == (False, TransactionState.PREPARING)
    garbage._referenced = ask_first
    assert ask(catalog, {path: transaction.txid}) == {path: "referenced"}


def test_references_of_the_registry_are_whole(catalog, commit):
    commit(CALEXP, [visit(1)])
    assert catalog.broken_references() == []


BROKEN = {
    "UPDATE dataset SET type_id = 99": "dataset name rows of dataset_type",
    "UPDATE object SET txid = dataset_id FROM artifact": "object name rows of txn",
    "UPDATE {group} SET run_id = 99": "{group} name rows of collection",
    "UPDATE {group} SET type_id = 99": "{group} name rows of dataset_type",
    "UPDATE {group} SET txid = id": "{group} name rows of txn",
}


@pytest.mark.parametrize("statement", BROKEN)
def test_references_that_no_constraint_keeps_whole_are_looked_at(place, catalog, commit, statement):
    """PostgreSQL has no constraint for them, and SQLite has it for those who ask for it."""
    commit(CALEXP, [visit(1), visit(2)])
    group = Tables(make_universe(TABLES)).group(CALEXP.dimensions).dataset.name
    engine = sa.create_engine(place.url)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement.format(group=group))
    engine.dispose()
    told = BROKEN[statement].format(group=group)
    assert catalog.broken_references() == [f"2 rows of the table {told} that are not there"]
