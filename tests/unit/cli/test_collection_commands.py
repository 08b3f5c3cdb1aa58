"""Commands that say which datasets belong together, and when calibrations are valid."""

import pytest


@pytest.fixture
def biases(quantumio, image):
    """Put a bias of two detectors."""
    for detector in (0, 1):
        quantumio("put", image, "bias", "instrument=ST8", f"detector={detector}", "--run", "u/ada/bias")


def count(quantumio, collection: str) -> int:
    """Return the number of datasets in a collection."""
    return quantumio("query", "-c", collection, "--json").document["count"]


@pytest.mark.usefixtures("biases")
def test_certified_calibrations_are_found_in_their_time_only(quantumio, tmp_path):
    arguments = ("--begin", "2025-06-24T00:00", "--end", "2025-06-25", "--json")
    document = quantumio(
        "certify", "calib", "bias", "instrument=ST8", "-c", "u/ada/bias", *arguments
    ).document
    assert [one["data_id"]["detector"] for one in document["datasets"]] == [0, 1]
    for visit, begin in ((1, "2025-06-24T03:00:00"), (2, "2025-06-25T00:00:00")):
        quantumio(
            "insert-dimension", "visit", "instrument=ST8", f"visit={visit}",
            f"timespan_begin={begin}", f"timespan_end={begin}.5",
        )  # fmt: skip
    get = ("get", "bias", "instrument=ST8", "detector=1", "-c", "calib", "--json")
    assert quantumio(*get, "visit=1").document["dataset_type"] == "bias"
    assert quantumio(*get, "visit=2", fails=True).exit_code == 3
    quantumio("decertify", "calib", "bias", "instrument=ST8", "detector=1", "--begin", "2025-06-24T02:00")
    assert quantumio(*get, "visit=1", fails=True).exit_code == 3
    assert quantumio("get", "bias", "instrument=ST8", "detector=0", "visit=1", "-c", "calib").exit_code == 0


@pytest.mark.usefixtures("biases")
def test_overlapping_validity_is_a_conflict(quantumio, image):
    quantumio("put", image, "bias", "instrument=ST8", "detector=0", "--run", "u/ada/bias2")
    quantumio("certify", "calib", "bias", "-c", "u/ada/bias")
    done = quantumio("certify", "calib", "bias", "-c", "u/ada/bias2", "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (4, "validity_overlap")


@pytest.mark.usefixtures("biases")
def test_tags_hold_what_was_associated(quantumio):
    ids = [one["id"] for one in quantumio("query", "bias", "--json").document["datasets"]]
    quantumio("associate", "paper/fig3", "bias", "instrument=ST8", "detector=1")
    assert count(quantumio, "paper/fig3") == 1
    done = quantumio("associate", "paper/fig3", *ids)
    assert done.lines[-1] == "Added 2 to paper/fig3."
    assert count(quantumio, "paper/fig3") == 2
    quantumio("disassociate", "paper/fig3", "bias", "-c", "paper/fig3")
    assert count(quantumio, "paper/fig3") == 0


@pytest.mark.usefixtures("biases")
def test_chains_search_in_order_and_may_be_redefined(quantumio):
    document = quantumio("chain", "best", "u/ada/bias", "--json").document
    assert document == {"collection": "best", "children": ["u/ada/bias"]}
    assert count(quantumio, "best") == 2
    quantumio("chain", "outer", "best,u/ada/bias")
    done = quantumio("chain", "best", "outer", "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (4, "cycle")


@pytest.mark.usefixtures("biases")
def test_chains_are_edited(quantumio, image):
    quantumio("put", image, "bias", "instrument=ST8", "detector=0", "--run", "u/ada/bias2")
    quantumio("chain", "best", "u/ada/bias")
    document = quantumio("chain", "best", "u/ada/bias2", "--prepend", "--json").document
    assert document == {"collection": "best", "children": ["u/ada/bias2", "u/ada/bias"]}
    quantumio("chain", "best", "u/ada/bias2", "--append")
    done = quantumio("chain", "best", "u/ada/bias2", "--remove")
    assert done.lines == ["best searches u/ada/bias."]
    done = quantumio("chain", "best", "u/ada/bias", "--remove")
    assert done.lines == ["best searches nothing."]
    done = quantumio("chain", "best", "u/ada/bias", "--append", "--prepend", fails=True)
    assert done.exit_code == 2
    assert "--append and --prepend" in done.stderr
    assert quantumio("chain", "best", "u/ada/bias2", "--json").document["children"] == ["u/ada/bias2"]


@pytest.mark.usefixtures("biases")
def test_collection_is_removed_when_it_is_said_twice(quantumio):
    quantumio("associate", "tag", "bias")
    quantumio("chain", "best", "tag")
    done = quantumio("remove-collection", "tag", "--delete", "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (4, "in_use")
    done = quantumio("remove-collection", "tag", "--unlink")
    assert done.lines == ["Would remove the TAGGED collection tag with 2 members and from best."]
    assert count(quantumio, "tag") == 2
    document = quantumio("remove-collection", "tag", "--unlink", "--delete", "--json").document
    assert document == {
        "dry_run": False, "collection": "tag", "kind": "TAGGED", "members": 2, "chains": ["best"]
    }  # fmt: skip
    assert quantumio("query", "-c", "tag", fails=True).exit_code == 3
    assert count(quantumio, "u/ada/bias") == 2
    done = quantumio("remove-collection", "best", "--delete")
    assert done.lines == ["Removed the CHAINED collection best."]
    done = quantumio("remove-collection", "u/ada/bias", "--delete", "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (4, "in_use")


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["associate", "tag", "bias", "detector=9"], 3, "no_dataset"),
        (["associate", "tag", "detector=1"], 2, "argument"),
        (["associate", "two words", "bias"], 2, "name"),
        (["associate", "u/ada/bias", "bias"], 4, "exists"),
        (["chain", "best", "u/nobody"], 3, "no_collection"),
        (["certify", "calib", "bias", "--begin", "noon"], 2, "timespan"),
        (["certify", "calib", "bias", "--begin", "2025-06-25", "--end", "2025-06-24"], 2, "timespan"),
        (["decertify", "nowhere", "bias"], 3, "no_collection"),
    ],
)
@pytest.mark.usefixtures("biases")
def test_what_cannot_be_is_refused(quantumio, arguments, code, kind):
    done = quantumio(*arguments, "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (code, kind)


@pytest.mark.usefixtures("biases")
def test_certifications_are_listed(quantumio, tmp_path):
    quantumio("certify", "calib", "bias", "-c", "u/ada/bias", "--begin", "2025-06-24T03:00:00/tai")
    lines = quantumio("certifications", "calib", "bias", "detector=1").lines
    assert lines[0].split("  ")[0] == "collection"
    assert lines[1].split()[-2:] == ["1", "2025-06-24T03:00:00.000"]
    assert lines[-1] == "1 certification"
    document = quantumio("ls", "certifications", "calib", "--json").document
    assert document["count"] == 2
    (first, _) = document["certifications"]
    assert first["timespan"] == ["2025-06-24T03:00:00.000/tai", None]
    assert (first["collection"], first["dataset"]["data_id"]) == (
        "calib",
        {"instrument": "ST8", "detector": 0},
    )
    early = ("certifications", "calib", "--end", "2025-06-24T02:00", "--json")
    assert quantumio(*early).document["count"] == 0
    csv = quantumio("certifications", "calib", "--format", "csv").lines
    assert csv[0] == "collection,dataset_type,instrument,detector,run,version,id,timespan_begin,timespan_end"
    assert csv[1].endswith(",2025-06-24T03:00:00.000/tai,")
    quantumio("snapshot", "DR1")
    quantumio("remove-collection", "calib", "--delete")
    assert quantumio("certifications", "calib", fails=True).exit_code == 3
    quantumio("certifications", "calib", "--as-of", "DR1", "-o", tmp_path / "calib.vot")
    assert (tmp_path / "calib.vot").read_text().count("<TR>") == 2
    assert quantumio("certifications", "u/ada/bias", fails=True).exit_code == 2


@pytest.mark.usefixtures("biases")
def test_removed_collections_are_listed(quantumio):
    assert quantumio("collections", "--removed", "--json").document == {"collections": []}
    quantumio("associate", "paper/fig3", "bias", "detector=1", "instrument=ST8")
    quantumio("chain", "best", "paper/fig3", "u/ada/bias")
    quantumio("remove-collection", "best", "--delete")
    quantumio("remove-collection", "paper/fig3", "--delete")
    best, tag = quantumio("ls", "collections", "--removed", "--json").document["collections"]
    assert (best["name"], best["kind"], best["children"]) == ("best", "CHAINED", ["paper/fig3", "u/ada/bias"])
    assert (tag["name"], tag["kind"], tag["moment"]) == ("paper/fig3", "TAGGED", best["moment"] + 1)
    assert best["removed"] <= tag["removed"]
    lines = quantumio("collections", "paper/*", "--removed").lines
    assert lines[0].split("  ")[0] == "collection"
    assert lines[1].split()[:3] == ["paper/fig3", "TAGGED", str(tag["moment"])]
    csv = quantumio("collections", "--removed", "--format", "csv").lines
    assert csv[0] == "collection,kind,searched,moment,removed"
    then = str(tag["moment"] - 1)
    assert quantumio("query", "-c", "paper/fig3", "--as-of", then, "--json").document["count"] == 1
    assert quantumio("collections", "--removed", "--counts", fails=True).exit_code == 2
