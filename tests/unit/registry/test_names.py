"""Dataset types and collections."""

import threading

import pytest
import sqlalchemy as sa

from quantumio.errors import ConflictError, ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import DataId, DatasetType
from quantumio.ports import CollectionKind, DatasetQuery
from quantumio.registry import SqlCatalog
from tests.unit.registry.conftest import CALEXP, NOTE, Commit, Place, make_transaction, visit

# -- what is remembered of names


def test_names_of_a_commit_do_not_hide_what_was_registered_since(
    catalog: SqlCatalog, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread is quicker than the one that has committed a new run, and has read the names anew."""
    learn, seen = catalog._names.learn, []

    def learn_late(names: object) -> None:
        catalog.register_collection("meanwhile", CollectionKind.TAGGED)
        seen.append([one.name for one in catalog.collections()])
        learn(names)

    monkeypatch.setattr(catalog._names, "learn", learn_late)
    (ref,) = commit(CALEXP, [visit(1)], run="new")
    monkeypatch.undo()
    assert seen == [["meanwhile", "new"]]
    catalog._names.last.search(["meanwhile", "new"])  # as it is remembered, without asking again
    assert catalog.find(CALEXP, DataId(visit(1)), ["meanwhile", "new"]).ref == ref


# -- dataset types


def test_dataset_type_is_registered_once_and_normalised(catalog: SqlCatalog) -> None:
    given = DatasetType("bias", dimensions=["detector"], storage_class="CCDData")
    assert catalog.register_dataset_type(given) is True
    assert catalog.register_dataset_type(given) is False
    assert catalog.register_dataset_type(given.normalised(catalog.universe)) is False
    assert catalog.dataset_type("bias").dimensions == ("instrument", "detector")
    assert [found.name for found in catalog.dataset_types()] == ["bias", "calexp", "flat", "note", "raw"]


@pytest.mark.parametrize(
    "other",
    [
        DatasetType("calexp", dimensions=("instrument", "detector", "visit"), storage_class="HDUList"),
        DatasetType("calexp", dimensions=("instrument", "visit"), storage_class="CCDData"),
    ],
)
def test_other_definition_under_a_name_is_a_conflict(catalog: SqlCatalog, other: DatasetType) -> None:
    with pytest.raises(ConflictError, match="'calexp' is registered with"):
        catalog.register_dataset_type(other)
    assert catalog.dataset_type("calexp") == CALEXP


def test_unknown_dimension_of_a_dataset_type_is_refused(catalog: SqlCatalog) -> None:
    with pytest.raises(InvalidInputError, match="'beams' is no dimension"):
        catalog.register_dataset_type(DatasetType("x", dimensions=["beams"], storage_class="CCDData"))
    with pytest.raises(InvalidInputError, match="is no dataset type"):
        catalog.register_dataset_type("calexp")  # type: ignore[arg-type]


def test_unknown_dataset_type_suggests_close_names(catalog: SqlCatalog) -> None:
    with pytest.raises(NotFoundError, match="did you mean 'calexp'") as error:
        catalog.dataset_type("calexpo")
    assert error.value.kind is ErrorKind.NO_DATASET_TYPE


def test_dataset_type_of_another_process_is_seen(place: Place) -> None:
    one, other = place.open(), place.open()
    one.dataset_types()
    other.register_dataset_type(DatasetType("late", dimensions=(), storage_class="Text"))
    assert one.dataset_type("late").storage_class == "Text"
    one.close()
    other.close()


def test_dimensions_that_differ_in_case_alone_stay_apart(catalog: SqlCatalog) -> None:
    both = DatasetType("both", dimensions=["Beam", "beam"], storage_class="Text")
    catalog.register_dataset_type(both)
    catalog.insert_dimension("Beam", [{"Beam": "one"}])
    catalog.insert_dimension("beam", [{"instrument": "ST8", "beam": 1}])
    assert catalog.data_ids(["Beam", "beam"], {}, None, {}) == [
        {"instrument": "ST8", "beam": 1, "Beam": "one"}
    ]


def test_one_dataset_type_from_many_threads_is_registered_once(catalog: SqlCatalog) -> None:
    results: list[bool] = []
    new = DatasetType("new", dimensions=["visit"], storage_class="Text")

    def register() -> None:
        results.append(catalog.register_dataset_type(new))

    threads = [threading.Thread(target=register) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 5 + [True]


# -- collections


def test_collection_is_registered_once_and_keeps_its_kind(catalog: SqlCatalog) -> None:
    assert catalog.register_collection("u/ada", CollectionKind.RUN) is True
    assert catalog.register_collection("u/ada", CollectionKind.RUN) is False
    for kind in (CollectionKind.TAGGED, CollectionKind.CHAINED, CollectionKind.CALIBRATION):
        with pytest.raises(ConflictError, match=f"is a RUN collection, no {kind} one"):
            catalog.register_collection("u/ada", kind)
    with pytest.raises(InvalidInputError):
        catalog.register_collection("u//ada", CollectionKind.RUN)


def test_collections_are_listed_by_glob_in_order_of_names(catalog: SqlCatalog) -> None:
    for name in ("u/bob", "u/ada/two", "u/ada/one", "v_1", "v.1"):
        catalog.register_collection(name, CollectionKind.RUN)
    assert [found.name for found in catalog.collections("u/ada*")] == ["u/ada/one", "u/ada/two"]
    assert [found.name for found in catalog.collections("v_1")] == ["v_1"]
    assert [found.name for found in catalog.collections("v?1")] == ["v.1", "v_1"]
    assert len(catalog.collections()) == 5


def test_chain_is_defined_and_defined_anew(catalog: SqlCatalog) -> None:
    for name in ("a", "b", "c"):
        catalog.register_collection(name, CollectionKind.RUN)
    catalog.set_chain("best", ["b", "a"])
    catalog.set_chain("best", ["c", "b"])
    catalog.set_chain("empty", [])
    chains = {
        found.name: found.children for found in catalog.collections() if found.kind is CollectionKind.CHAINED
    }
    assert chains == {"best": ("c", "b"), "empty": ()}


def test_chain_that_cannot_be_changes_nothing(catalog: SqlCatalog) -> None:
    catalog.register_collection("a", CollectionKind.RUN)
    catalog.set_chain("inner", ["a"])
    catalog.set_chain("outer", ["inner"])
    before = catalog.collections()
    for name, children in (("inner", ["outer"]), ("inner", ["inner"]), ("inner", ["a", "outer"])):
        with pytest.raises(ConflictError) as error:
            catalog.set_chain(name, children)
        assert error.value.kind is ErrorKind.CYCLE
    with pytest.raises(NotFoundError) as missing:
        catalog.set_chain("inner", ["a", "nobody"])
    assert missing.value.kind is ErrorKind.NO_COLLECTION
    with pytest.raises(ConflictError):
        catalog.set_chain("a", [])
    with pytest.raises(InvalidInputError, match="twice"):
        catalog.set_chain("inner", ["a", "a"])
    with pytest.raises(InvalidInputError, match="is the text|are the text"):
        catalog.set_chain("inner", "a")
    assert catalog.collections() == before


def test_chain_of_another_process_is_searched_at_once(place: Place) -> None:
    one, other = place.open(), place.open()
    from tests.unit.registry.conftest import make_transaction

    for run in ("a", "b"):
        one.flip([make_transaction(CALEXP, [visit(1)], run=run)])
    one.set_chain("best", ["a", "b"])
    found = one.find(CALEXP, DataId(visit(1)), ["best"])
    assert found is not None
    assert found.ref.run == "a"
    other.set_chain("best", ["b", "a"])
    found = one.find(CALEXP, DataId(visit(1)), ["best"])
    assert found is not None
    assert found.ref.run == "b"
    one.close()
    other.close()


# -- members


def test_tag_takes_one_dataset_of_a_data_id_or_nothing(catalog: SqlCatalog, commit: Commit) -> None:
    first = commit(CALEXP, [visit(1), visit(2)])
    second = commit(CALEXP, [visit(2), visit(3)])
    catalog.associate("good", first)
    catalog.associate("good", first)
    with pytest.raises(ConflictError, match="visit=2"):
        catalog.associate("good", second)
    assert catalog.find(CALEXP, DataId(visit(3)), ["good"]) is None
    found = catalog.find(CALEXP, DataId(visit(2)), ["good"])
    assert found is not None
    assert found.ref == first[1]
    with pytest.raises(ConflictError, match="is a TAGGED collection"):
        catalog.set_chain("good", [])


def test_tag_refuses_two_datasets_of_a_data_id_in_one_call(catalog: SqlCatalog, commit: Commit) -> None:
    both = [*commit(CALEXP, [visit(1)]), *commit(CALEXP, [visit(1)])]
    with pytest.raises(ConflictError):
        catalog.associate("good", both)
    assert catalog.collections("good") == []


def test_disassociated_datasets_are_gone_and_may_come_back(catalog: SqlCatalog, commit: Commit) -> None:
    refs = commit(CALEXP, [visit(1), visit(2)])
    notes = commit(NOTE, [{}])
    catalog.associate("good", [*refs, *notes])
    catalog.disassociate("good", [refs[0], *notes])
    catalog.disassociate("good", refs[:1])
    found = [stored.ref for stored in catalog.query(DatasetQuery(collections=("good",)))]
    assert found == refs[1:]
    catalog.associate("good", [*refs, *notes])
    assert catalog.count(DatasetQuery(collections=("good",))) == 3
    with pytest.raises(NotFoundError):
        catalog.disassociate("bad", refs)


def test_dataset_that_is_not_committed_cannot_be_tagged(catalog: SqlCatalog, commit: Commit) -> None:
    from tests.unit.registry.conftest import make_transaction

    refs = commit(CALEXP, [visit(1)])
    pending = make_transaction(CALEXP, [visit(2)]).outputs[0].ref
    with pytest.raises(NotFoundError, match="is not committed"):
        catalog.associate("good", [*refs, pending])
    assert catalog.collections("good") == []


def test_removed_collection_is_unknown_by_name_and_keeps_its_number(place: Place) -> None:
    catalog = place.open()
    catalog.register_collection("u/old", CollectionKind.RUN)
    catalog.close()
    engine = sa.create_engine(place.url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE collection SET removed_seq = 1 WHERE name = 'u/old'")
    engine.dispose()
    catalog = place.open()
    assert catalog.collections() == []
    with pytest.raises(NotFoundError):
        catalog.find(CALEXP, DataId(visit(1)), ["u/old"])
    catalog.register_collection("u/new", CollectionKind.RUN)
    assert [record.name for record in catalog.collections()] == ["u/new"]
    catalog.close()


def test_as_many_dimensions_as_fit_into_a_key(empty_place: Place) -> None:
    """PostgreSQL takes 32 columns in an index; all 28 dimensions are times and places, which are in two."""
    names = [f"d{number}" for number in range(29)]
    universe = {
        name: {"key": "int", "requires": ["instrument"], "temporal": number < 2}
        for number, name in enumerate(names)
    }
    catalog = empty_place.create(universe_tables=universe)
    for count in (27, 28, 29):  # besides the instrument
        wide = DatasetType(f"wide{count}", dimensions=["instrument", *names[:count]], storage_class="Text")
        if count > 27 and empty_place.url.startswith("postgresql"):
            with pytest.raises(InvalidInputError, match=rf"{count + 1} dimensions; .* takes 28"):
                catalog.register_dataset_type(wide)
            continue
        catalog.register_dataset_type(wide)
        data_id = {"instrument": "ST8"} | dict.fromkeys(names[:count], 1)
        (outcome,) = catalog.flip([make_transaction(wide, [data_id])])
        found = catalog.refs(DatasetQuery(dataset_types=(wide.name,), data_id={"d2": 1}))
        assert list(found) == list(outcome.refs)
    catalog.close()
