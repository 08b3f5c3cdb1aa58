"""Who has a store of their own at a destination, on both databases."""

import threading

from quantumio.registry import SqlCatalog


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
