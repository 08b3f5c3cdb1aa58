"""Who has a store of their own at a destination, on both databases."""

import threading
from types import SimpleNamespace

from attrs import evolve

from quantumio.model import ArtifactState
from quantumio.registry import SqlCatalog
from tests.unit.registry.conftest import CALEXP, make_transaction, visit


def test_whoever_was_noted_has_a_store_there(catalog: SqlCatalog) -> None:
    assert catalog.may_have_workspace("own", "ada"), (
        "nobody is known: a registry that was upgraded knows nobody"
    )
    for _ in range(2):
        catalog.note_workspace("own", "ada")
    assert catalog.may_have_workspace("own", "ada")
    assert not catalog.may_have_workspace("own", "grace")
    assert catalog.may_have_workspace("other", "grace")
    catalog.note_workspace("own", "grace")
    assert catalog.may_have_workspace("own", "grace")


def test_several_may_be_noted_at_once(catalog: SqlCatalog) -> None:
    barrier = threading.Barrier(4)

    def note(user: str) -> None:
        barrier.wait(60)
        catalog.note_workspace("own", user)

    threads = [threading.Thread(target=note, args=(user,)) for user in ("ada", "ada", "ada", "grace")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [catalog.may_have_workspace("own", user) for user in ("ada", "grace", "joan")] == [
        True,
        True,
        False,
    ]


def test_object_is_in_the_store_of_who_has_placed_it(catalog: SqlCatalog) -> None:
    users = {"local": "ada"}
    catalog.reveal_through(SimpleNamespace(user_of=users.get))
    (outcome,) = catalog.flip([make_transaction(CALEXP, [visit(1)])])
    (ref,) = outcome.refs

    def user(artifact: object) -> str | None:
        return catalog.user_of_object(artifact.destination, artifact.path)

    (first,) = catalog.stored([ref.id])[ref.id].artifacts
    assert user(first) == "ada"
    users["local"] = "grace"
    assert catalog.amend_artifact(ref.id, first, evolve(first, state=ArtifactState.MISSING))
    assert user(first) == "ada", "it was not placed again"
    waiting = evolve(first, destination="own", digest="", state=ArtifactState.PENDING)
    users["own"] = "ada"
    catalog.record_artifacts({ref.id: [waiting]})
    users["own"] = "joan"
    catalog.record_artifacts({ref.id: [evolve(first, destination="own", state=ArtifactState.OK)]})
    assert user(waiting) == "joan"
    assert catalog.user_of_object("own", "elsewhere") is None
