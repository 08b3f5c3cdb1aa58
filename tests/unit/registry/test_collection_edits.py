"""Edits of chains, the end of collections, and names that live again."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from quantumio.errors import ConflictError, ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import DataId, Timespan
from quantumio.ports import ChainEdit, CollectionKind, DatasetQuery
from quantumio.registry import SqlCatalog
from quantumio.system import environment
from tests.unit.registry.conftest import CALEXP, FLAT, Commit, Place, visit

FLAT_0 = {"instrument": "ST8", "physical_filter": "R", "detector": 0}


def children(catalog: SqlCatalog, name: str) -> tuple[str, ...]:
    (found,) = catalog.collections(name)
    return found.children


@pytest.fixture
def runs(catalog: SqlCatalog) -> None:
    """Runs a to e."""
    for name in "abcde":
        catalog.register_collection(name, CollectionKind.RUN)


@pytest.mark.usefixtures("runs")
def test_chain_is_edited_at_both_ends(catalog: SqlCatalog) -> None:
    catalog.set_chain("best", ["b", "c"], "prepend")
    assert children(catalog, "best") == ("b", "c")
    catalog.set_chain("best", ["a"], ChainEdit.PREPEND)
    catalog.set_chain("best", ["e", "d"], ChainEdit.APPEND)
    assert children(catalog, "best") == ("a", "b", "c", "e", "d")
    catalog.set_chain("best", ["d", "b"], ChainEdit.PREPEND)
    assert children(catalog, "best") == ("d", "b", "a", "c", "e")
    catalog.set_chain("best", ["b", "a"], ChainEdit.APPEND)
    assert children(catalog, "best") == ("d", "c", "e", "b", "a")
    catalog.set_chain("best", ["e", "d"], ChainEdit.REMOVE)
    catalog.set_chain("best", ["d"], ChainEdit.REMOVE)
    assert children(catalog, "best") == ("c", "b", "a")
    catalog.set_chain("best", [], ChainEdit.APPEND)
    assert children(catalog, "best") == ("c", "b", "a")


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("edit", ["prepend", "append"])
def test_edit_that_would_close_a_circle_changes_nothing(catalog: SqlCatalog, edit: str) -> None:
    catalog.set_chain("inner", ["a"])
    catalog.set_chain("outer", ["inner"])
    before = catalog.collections()
    for child in ("inner", "outer"):
        with pytest.raises(ConflictError) as error:
            catalog.set_chain("inner", ["b", child], edit)
        assert error.value.kind is ErrorKind.CYCLE
    assert catalog.collections() == before


@pytest.mark.usefixtures("runs")
def test_wrong_edits_are_told(catalog: SqlCatalog) -> None:
    with pytest.raises(NotFoundError) as missing:
        catalog.set_chain("best", ["a"], "remove")
    assert missing.value.kind is ErrorKind.NO_COLLECTION
    for wrong in ("insert", "", None, 1):
        with pytest.raises(InvalidInputError, match="is no edit of a chain"):
            catalog.set_chain("best", ["a"], wrong)  # type: ignore[arg-type]
    for edit in ChainEdit:
        with pytest.raises(ConflictError, match="is a RUN collection"):
            catalog.set_chain("a", ["b"], edit)
    catalog.set_chain("best", ["a"])
    with pytest.raises(NotFoundError):
        catalog.set_chain("best", ["a", "nobody"], "remove")
    assert children(catalog, "best") == ("a",)


# -- removal


@pytest.mark.usefixtures("runs")
def test_collection_in_chains_stays_unless_it_is_unlinked(catalog: SqlCatalog) -> None:
    catalog.set_chain("one", ["a", "b", "c"])
    catalog.set_chain("other", ["b"])
    before = catalog.collections()
    for dry_run in (True, False):
        with pytest.raises(ConflictError, match="is in the chains 'one', 'other'") as error:
            catalog.remove_collection("b", dry_run=dry_run)
        assert error.value.kind is ErrorKind.IN_USE
    planned = catalog.remove_collection("b", unlink=True)
    assert (planned.dry_run, planned.chains, planned.members) == (True, ("one", "other"), 0)
    assert catalog.collections() == before
    done = catalog.remove_collection("b", unlink=True, dry_run=False)
    assert (done.dry_run, done.kind, done.chains) == (False, CollectionKind.RUN, ("one", "other"))
    assert children(catalog, "one") == ("a", "c")
    assert children(catalog, "other") == ()
    assert catalog.collections("b") == []
    with pytest.raises(NotFoundError):
        catalog.remove_collection("b")


@pytest.mark.usefixtures("runs")
def test_chain_goes_and_what_it_searched_stays(catalog: SqlCatalog) -> None:
    catalog.set_chain("best", ["a", "b"])
    assert catalog.remove_collection("best", dry_run=False).members == 2
    assert [one.name for one in catalog.collections()] == list("abcde")
    catalog.set_chain("best", ["c"], "append")
    assert children(catalog, "best") == ("c",)


def test_run_with_datasets_stays(catalog: SqlCatalog, commit: Commit) -> None:
    commit(CALEXP, [visit(1), visit(2)], run="full")
    commit(CALEXP, [visit(1)], run="single")
    for name, text in (("full", "has 2 datasets"), ("single", "has 1 dataset;")):
        with pytest.raises(ConflictError, match=text) as error:
            catalog.remove_collection(name, unlink=True, dry_run=False)
        assert error.value.kind is ErrorKind.IN_USE
    assert catalog.count(DatasetQuery()) == 3


def test_tags_and_certifications_go_and_the_datasets_stay(catalog: SqlCatalog, commit: Commit) -> None:
    refs = commit(CALEXP, [visit(1), visit(2)])
    (flat,) = commit(FLAT, [FLAT_0])
    catalog.associate("tag", refs)
    catalog.associate("other", refs)
    catalog.certify("calib", [flat], Timespan(0, 10))
    catalog.certify("calib", [flat], Timespan(20, 30))
    assert catalog.remove_collection("tag", dry_run=False).members == 2
    assert catalog.remove_collection("calib", dry_run=False).members == 2
    assert catalog.count(DatasetQuery(collections=("other",))) == 2
    assert set(catalog.stored([ref.id for ref in (*refs, flat)])) == {ref.id for ref in (*refs, flat)}
    for name in ("tag", "calib"):
        with pytest.raises(NotFoundError):
            catalog.count(DatasetQuery(collections=(name,)))
    # A name that lives again has none of what it had.
    catalog.associate("tag", refs[:1])
    assert catalog.find(CALEXP, DataId(visit(2)), ["tag"]) is None
    catalog.certify("calib", [flat], Timespan(5, 25))
    assert catalog.find(FLAT, DataId(FLAT_0), ["calib"], timespan=Timespan(0, 5)) is None


# -- names that live again


def lives(place: Place, name: str) -> list[tuple[str, int, int]]:
    engine = sa.create_engine(place.url)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT l.kind, l.added_seq, l.removed_seq FROM collection_life l "
            f"JOIN collection c ON c.id = l.collection_id WHERE c.name = '{name}' ORDER BY 2"
        ).all()
    engine.dispose()
    return [(kind, added, removed) for kind, added, removed in rows]


@pytest.mark.parametrize(
    ("again", "kind"),
    [
        (lambda catalog: catalog.register_collection("x", CollectionKind.TAGGED), CollectionKind.TAGGED),
        (lambda catalog: catalog.set_chain("x", []), CollectionKind.CHAINED),
        (lambda catalog: catalog.associate("x", []), CollectionKind.TAGGED),
        (lambda catalog: catalog.certify("x", [], Timespan()), CollectionKind.CALIBRATION),
    ],
)
def test_removed_name_may_become_of_any_kind(
    catalog: SqlCatalog, place: Place, again: Callable[[SqlCatalog], object], kind: CollectionKind
) -> None:
    catalog.register_collection("x", CollectionKind.RUN)
    catalog.register_collection("y", CollectionKind.RUN)
    other = place.open()
    assert len(other.collections()) == 2
    catalog.remove_collection("x", dry_run=False)
    assert len(other.collections()) == 1
    again(other)
    for seen in (catalog, other):
        assert {one.name: one.kind for one in seen.collections()} == {"x": kind, "y": CollectionKind.RUN}
    other.close()
    ((before, added, removed),) = lives(place, "x")
    assert before == "RUN"
    assert added < removed
    catalog.remove_collection("x", dry_run=False)
    catalog.register_collection("x", CollectionKind.RUN)
    assert [life[0] for life in lives(place, "x")] == ["RUN", str(kind)]


def test_commit_into_a_removed_run_makes_it_again(catalog: SqlCatalog, place: Place, commit: Commit) -> None:
    catalog.register_collection("u/ada", CollectionKind.RUN)
    catalog.remove_collection("u/ada", dry_run=False)
    (ref,) = commit(CALEXP, [visit(1)], run="u/ada")
    commit(CALEXP, [visit(1)], run="u/bob")
    assert {one.name for one in catalog.collections()} == {"u/ada", "u/bob"}
    assert catalog.find(CALEXP, DataId(visit(1)), ["u/ada"]).ref == ref  # type: ignore[union-attr]
    assert [life[0] for life in lives(place, "u/ada")] == ["RUN"]
    assert lives(place, "u/bob") == []
    assert ref.version == 1


def test_what_was_removed_is_told_with_its_moment(catalog: SqlCatalog) -> None:
    assert catalog.removed_collections() == []
    for name in ("u/b", "u/a", "u/c"):
        catalog.register_collection(name, CollectionKind.RUN)
    catalog.set_chain("best", ["u/b", "u/a"])
    catalog.set_chain("best", ["u/c"], "append")
    before = environment.now_ns()
    catalog.remove_collection("best", dry_run=False)
    first = catalog.moment(1 << 62)
    catalog.remove_collection("u/a", dry_run=False)
    catalog.register_collection("best", CollectionKind.TAGGED)
    assert [one.kind for one in catalog.removed_collections("b*")] == [CollectionKind.CHAINED]
    catalog.remove_collection("best", dry_run=False)
    after = environment.now_ns()
    found = catalog.removed_collections()
    assert [(one.name, one.kind, one.children) for one in found] == [
        ("best", CollectionKind.CHAINED, ("u/b", "u/a", "u/c")),
        ("best", CollectionKind.TAGGED, ()),
        ("u/a", CollectionKind.RUN, ()),
    ]
    assert [one.removed_seq for one in found] == [first, first + 3, first + 1]
    assert before <= found[0].removed_ns <= found[2].removed_ns <= found[1].removed_ns <= after
    for one in found:
        assert one.name in catalog.collection_names(one.removed_seq - 1)
        assert one.name not in catalog.collection_names(one.removed_seq)
    with pytest.raises(InvalidInputError):
        catalog.removed_collections(7)  # type: ignore[arg-type]
