"""Runs, tags and chains: what is in them, in which order they are searched, and what is refused."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.peer.registries import Why, answer, lacking, refuses
from tests.peer.world import HOURS

CAM = {"instrument": "Cam"}


def bias(registry, run, detector=0):
    return registry.put("bias", run, **CAM, detector=detector)


def find(registry, collections, detector=0, dataset_type="bias"):
    return registry.find(dataset_type, CAM, collections=collections, detector=detector)


# ---------------------------------------------------------------------------- runs


def test_run_is_registered_once(registry):
    assert registry.register_run("r")
    assert not registry.register_run("r")
    assert registry.collections()["r"] == "RUN"


def test_run_cannot_be_a_tag_as_well(registry):
    ref = bias(registry, "r")
    with refuses(Why.CONFLICT, Why.INVALID):
        registry.tag("r", [ref])
    assert registry.collections()["r"] == "RUN"


def test_collections_are_listed_by_glob(registry):
    for name in ("u/ada/one", "u/ada/two", "u/bob/one"):
        registry.register_run(name)
    assert set(registry.collections("u/ada/*")) == {"u/ada/one", "u/ada/two"}


def test_dataset_is_found_in_its_run_alone(registry):
    ref = bias(registry, "r")
    registry.register_run("other")
    assert find(registry, "r") == ref
    assert find(registry, "other") is None
    assert find(registry, "r", detector=1) is None


def test_unknown_collection_is_missing(registry):
    with refuses(Why.MISSING):
        find(registry, "nowhere")


def test_collections_are_searched_in_order(registry):
    one, two = bias(registry, "one"), bias(registry, "two")
    assert find(registry, ["one", "two"]) == one
    assert find(registry, ["two", "one"]) == two


def test_search_goes_on_where_the_first_has_none(registry):
    bias(registry, "one", detector=1)
    two = bias(registry, "two")
    assert find(registry, ["one", "two"]) == two


def test_same_data_id_twice_in_a_run(registry):
    """Documented difference: here it is the next version, and the latest is found; the peer refuses."""
    first = bias(registry, "r")
    if registry.name == "peer":
        with refuses(Why.CONFLICT):
            bias(registry, "r")
        assert find(registry, "r") == first
    else:
        second = bias(registry, "r")
        assert find(registry, "r") == second != first


@lacking("deletion of datasets")
def test_deleted_dataset_is_no_longer_found(registry):
    one, two = bias(registry, "r"), bias(registry, "r", detector=1)
    registry.delete([one])
    assert find(registry, "r") is None
    assert find(registry, "r", detector=1) == two


@lacking("removal of collections")
def test_removed_collection_is_missing_and_may_come_again(registry):
    registry.tag("tag", [])
    registry.remove_collection("tag")
    assert "tag" not in registry.collections()
    with refuses(Why.MISSING):
        find(registry, "tag")
    registry.chain("tag", [])
    assert registry.collections()["tag"] == "CHAINED"


# ---------------------------------------------------------------------------- tags


def test_tag_holds_what_was_put_into_it(registry):
    one, _ = bias(registry, "one"), bias(registry, "two")
    registry.tag("tag", [one])
    assert registry.collections()["tag"] == "TAGGED"
    assert find(registry, "tag") == one
    assert find(registry, "tag", detector=1) is None


def test_tagging_again_changes_nothing(registry):
    one = bias(registry, "one")
    registry.tag("tag", [one])
    registry.tag("tag", [one])
    assert registry.query("bias", ["tag"]) == [one]


def test_second_dataset_of_a_data_id_conflicts_in_a_tag_and_nothing_is_added(registry):
    one, two, other = bias(registry, "one"), bias(registry, "two"), bias(registry, "two", detector=1)
    registry.tag("tag", [one])
    with refuses(Why.CONFLICT):
        registry.tag("tag", [other, two])
    assert find(registry, "tag") == one
    assert find(registry, "tag", detector=1) is None


def test_tag_holds_one_dataset_of_each_type(registry):
    one, flat = bias(registry, "one"), registry.put("flat", "one", **CAM, detector=0, physical_filter="G")
    registry.tag("tag", [one, flat])
    assert find(registry, "tag") == one
    assert registry.find("flat", CAM, collections="tag", detector=0, physical_filter="G") == flat


def test_untagged_dataset_leaves_the_tag_and_stays_in_its_run(registry):
    one, two = bias(registry, "one"), bias(registry, "two")
    registry.tag("tag", [one])
    registry.untag("tag", [one])
    assert find(registry, "tag") is None
    assert find(registry, "one") == one
    registry.tag("tag", [two])
    assert find(registry, "tag") == two


def test_untagging_what_is_not_in_it_is_no_error(registry):
    one, two = bias(registry, "one"), bias(registry, "two")
    registry.tag("tag", [one])
    registry.untag("tag", [two])
    assert find(registry, "tag") == one


@lacking("deletion of datasets")
def test_dataset_that_is_tagged_is_not_deleted(registry):
    """The peer's removal takes it out of the tag; quantumio refuses unless it is told to unlink."""
    one = bias(registry, "one")
    registry.tag("tag", [one])
    if registry.name == "peer":
        registry.delete([one])
        assert find(registry, ["tag", "one"]) is None
    else:
        with refuses(Why.CONFLICT):
            registry.delete([one])
        assert find(registry, "tag") == one


@lacking("removal of collections")
def test_removing_a_tag_leaves_its_datasets(registry):
    one = bias(registry, "one")
    registry.tag("tag", [one])
    registry.remove_collection("tag")
    assert find(registry, "one") == one


# ---------------------------------------------------------------------------- chains


@pytest.fixture
def runs(registry):
    """Of detector 0 in run one and two, of detector 1 in run two and three."""
    return {
        (run, detector): bias(registry, run, detector)
        for run, detector in (("one", 0), ("two", 0), ("two", 1), ("three", 1))
    }


def test_chain_is_searched_in_its_order(registry, runs):
    registry.chain("best", ["two", "one"])
    assert registry.collections()["best"] == "CHAINED"
    assert find(registry, "best") == runs["two", 0]
    registry.chain("best", ["one", "two"])
    assert find(registry, "best") == runs["one", 0]
    assert find(registry, "best", 1) == runs["two", 1]


def test_chains_are_searched_depth_first(registry, runs):
    registry.chain("inner", ["one", "two"])
    registry.chain("outer", ["inner", "three"])
    assert registry.children("outer") == ("inner", "three")
    assert find(registry, "outer", 1) == runs["two", 1]
    registry.chain("outer", ["three", "inner"])
    assert find(registry, "outer", 1) == runs["three", 1]


def test_collection_before_a_chain_wins(registry, runs):
    registry.chain("best", ["one"])
    assert find(registry, ["two", "best"]) == runs["two", 0]


def test_chain_with_a_tag_finds_what_was_picked(registry, runs):
    registry.tag("picked", [runs["two", 0]])
    registry.chain("best", ["picked", "one"])
    assert find(registry, "best") == runs["two", 0]


def test_change_of_an_inner_chain_is_seen_through_the_outer_one(registry, runs):
    registry.chain("inner", ["one"])
    registry.chain("outer", ["inner"])
    registry.chain("inner", ["two"])
    assert find(registry, "outer") == runs["two", 0]


def test_empty_chain_finds_nothing(registry):
    registry.chain("empty", [])
    assert registry.children("empty") == ()
    assert find(registry, "empty") is None


def test_chain_of_an_unknown_collection_is_refused(registry, runs):
    registry.chain("best", ["one"])
    with refuses(Why.MISSING):
        registry.chain("best", ["two", "nowhere"])
    assert registry.children("best") == ("one",)


def test_chain_that_would_contain_itself_is_refused(registry, runs):
    registry.chain("inner", ["one"])
    registry.chain("middle", ["inner"])
    registry.chain("outer", ["middle", "two"])
    for children in (["outer"], ["one", "middle"], ["inner"]):
        with refuses(Why.CONFLICT):
            registry.chain("inner", children)
    assert registry.children("inner") == ("one",)
    assert find(registry, "outer") == runs["one", 0]


def test_run_cannot_become_a_chain(registry, runs):
    with refuses(Why.CONFLICT, Why.INVALID):
        registry.chain("one", ["two"])
    assert find(registry, "one") == runs["one", 0]


@lacking("edits of chains")
def test_prepended_collections_are_searched_first(registry, runs):
    registry.chain("best", ["one"])
    registry.edit_chain("best", ["three", "two"], "prepend")
    assert registry.children("best") == ("three", "two", "one")
    assert find(registry, "best") == runs["two", 0]


@lacking("edits of chains")
def test_prepended_collection_that_is_in_the_chain_moves_to_its_front(registry, runs):
    registry.chain("best", ["one", "two"])
    registry.edit_chain("best", ["two"], "prepend")
    assert registry.children("best") == ("two", "one")


@lacking("edits of chains")
def test_appended_collections_are_searched_last(registry, runs):
    registry.chain("best", ["one"])
    registry.edit_chain("best", ["two", "three"], "append")
    assert registry.children("best") == ("one", "two", "three")
    assert find(registry, "best") == runs["one", 0]


@lacking("edits of chains")
def test_collections_are_taken_out_of_a_chain(registry, runs):
    registry.chain("best", ["one", "two", "three"])
    registry.edit_chain("best", ["one", "three"], "remove")
    assert registry.children("best") == ("two",)


@lacking("edits of chains")
def test_prepending_what_would_close_a_circle_is_refused(registry, runs):
    registry.chain("inner", ["one"])
    registry.chain("outer", ["inner"])
    with refuses(Why.CONFLICT):
        registry.edit_chain("inner", ["outer"], "prepend")
    assert registry.children("inner") == ("one",)


@lacking("edits of chains")
def test_concurrent_prepends_all_survive(registry):
    names = [f"run_{number}" for number in range(6)]
    for name in names:
        registry.register_run(name)
    registry.chain("best", [])
    start = threading.Barrier(len(names), timeout=60)

    def prepend(name):
        with registry.another() as mine:
            start.wait()
            mine.edit_chain("best", [name], "prepend")

    with ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(prepend, names))
    assert sorted(registry.children("best")) == names


@lacking("removal of collections")
def test_collection_that_a_chain_contains_is_not_removed(registry, runs):
    registry.chain("inner", ["one"])
    registry.chain("outer", ["inner"])
    with refuses(Why.CONFLICT):
        registry.remove_collection("inner")
    assert find(registry, "outer") == runs["one", 0]
    registry.remove_collection("outer")
    registry.remove_collection("inner")
    assert answer(lambda: find(registry, "outer")) == "missing"


# ---------------------------------------------------------------------------- find-first queries


def test_query_of_collections_in_order_gives_the_first_of_each_data_id(registry, runs):
    assert set(registry.query("bias", ["one", "two"])) == {runs["one", 0], runs["two", 1]}
    assert set(registry.query("bias", ["two", "one"])) == {runs["two", 0], runs["two", 1]}


def test_query_of_a_glob_gives_every_match(registry, runs):
    bias(registry, "elsewhere")
    assert set(registry.query("bias", "t*")) == {runs["two", 0], runs["two", 1], runs["three", 1]}


def test_query_finds_first_through_chains_and_tags(registry, runs):
    registry.tag("picked", [runs["three", 1]])
    registry.chain("best", ["picked", "one", "two"])
    assert set(registry.query("bias", ["best"])) == {runs["three", 1], runs["one", 0]}


def test_dataset_in_a_run_and_a_tag_is_one_match(registry, runs):
    registry.tag("picked", [runs["one", 0]])
    assert registry.query("bias", ["picked", "one"]) == [runs["one", 0]]


def test_calibrations_do_not_hide_runs_from_queries_without_a_time(registry, runs):
    """What is valid depends on a time, and none is asked for; ours are in the runs all the same."""
    registry.certify("calib", [runs["two", 0]], HOURS[0], HOURS[9])
    assert runs["one", 0] in registry.query("bias", ["one"])
