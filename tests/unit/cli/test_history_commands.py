"""Commands that tell of the past, and that delete."""

import attrs
import pytest

from quantumio import Butler
from quantumio.model import DataId, DatasetRef, OutputRecord, Transaction
from quantumio.system import environment


@pytest.fixture
def made(quantumio, image, repository):
    """A bias, and a calexp that was made from it; returns their ids."""
    quantumio("put", image, "bias", "instrument=ST8", "detector=0", "--run", "u/ada/bias")
    with Butler(repository, run="u/ada/isr", instrument="ST8", collections=["u/ada/bias"]) as butler:
        bias = butler.find("bias", detector=0, collections="u/ada/bias")
        with butler.context() as ctx:
            value = ctx.get(bias)
            ctx.put(value, "calexp", visit=33, detector=0)
    return str(bias.id), str(ctx.refs[0].id)


def test_lineage_is_told_both_ways(quantumio, made):
    bias, calexp = made
    document = quantumio("lineage", "calexp", "visit=33", "--json").document
    (one,) = document["datasets"]
    assert (document["direction"], one["id"]) == ("up", calexp)
    (entry,) = one["lineage"]
    assert (entry["level"], entry["id"], entry["status"], entry["ref"]["id"]) == (1, bias, "committed", bias)
    (one,) = quantumio("lineage", bias, "--down", "--depth", "1", "--json").document["datasets"]
    assert [entry["id"] for entry in one["lineage"]] == [calexp]
    done = quantumio("lineage", calexp)
    assert any("bias" in line and "committed" in line for line in done.lines)
    assert quantumio("lineage", bias, "--depth", "0", fails=True).exit_code == 2


def test_temporaries_have_their_identity_alone(quantumio, repository):
    temporary = environment.uuid7()
    with Butler(repository, run="u/ada/isr", instrument="ST8") as butler:
        catalog = butler._session.repositories[0].catalog
        ref = DatasetRef(
            environment.uuid7(),
            butler.dataset_type("bias"),
            DataId({"instrument": "ST8", "detector": 0}),
            "r",
        )
        whole = Transaction(
            txid=environment.uuid7(),
            run="r",
            key=None,
            outputs=(OutputRecord(ref=ref, expect=None, artifacts=()),),
        )
        catalog.flip([attrs.evolve(whole, inputs=(temporary,))])
    done = quantumio("lineage", str(ref.id))
    assert any(str(temporary) in line and "temporary" in line for line in done.lines)
    (one,) = quantumio("lineage", str(ref.id), "--json").document["datasets"]
    assert one["lineage"][0]["ref"] is None


def test_delete_looks_first_and_then_does_it(quantumio, made):
    bias, calexp = made
    done = quantumio("delete", "calexp", "visit=33")
    assert done.lines[-1].startswith("Would delete 1; 1 objects (")
    assert quantumio("query", "calexp", "--json").document["count"] == 1
    quantumio("associate", "tag", calexp)
    done = quantumio("delete", calexp, "--delete", "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (4, "in_use")
    document = quantumio("delete", calexp, "--delete", "--unlink", "--json").document
    assert document["collections"] == ["tag"]
    assert [one["id"] for one in document["datasets"]] == [calexp]
    assert quantumio("query", "calexp", "--json").document["count"] == 0
    assert quantumio("delete", calexp, "--delete", fails=True).exit_code == 3
    (one,) = quantumio("lineage", bias, "--down", "--json").document["datasets"]
    assert one["lineage"][0]["status"] == "removed"


def test_moments_are_named_listed_and_given_up(quantumio, made):
    (one,) = quantumio("snapshot", "paper", "--note", "as submitted", "--json").document["snapshots"]
    assert (one["name"], one["note"]) == ("paper", "as submitted")
    assert quantumio("snapshot", "--json").document["snapshots"] == [one]
    assert any("as submitted" in line for line in quantumio("snapshot").lines)
    done = quantumio("delete", made[1], "--delete", "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (4, "in_use")
    assert quantumio("snapshot", "early", "--at", "1", "--json").document["snapshots"][0]["moment"] == 1
    assert quantumio("snapshot", "paper", "--remove").lines == ["Removed the snapshot paper."]
    assert quantumio("snapshot", "early", "--remove", "--json").document == {"removed": "early"}
    assert quantumio("snapshot", "--json").document == {"snapshots": []}
    assert quantumio("snapshot", "paper", "--remove", fails=True).exit_code == 3
    assert quantumio("snapshot", "--remove", fails=True).exit_code == 2


def test_moments_are_compared(quantumio, made):
    (one,) = quantumio("snapshot", "first", "--json").document["snapshots"]
    quantumio("snapshot", "first", "--remove")
    quantumio("delete", made[1], "--delete")
    document = quantumio("diff", str(one["moment"]), "--json").document
    assert ([ref["id"] for ref in document["removed"]], document["added"]) == ([made[1]], [])
    quantumio("snapshot", "last")
    assert quantumio("diff", "0", "last").lines[-1] == "1 added, 0 removed."
    quantumio("associate", "tag", made[0])
    quantumio("chain", "best", "tag")
    lines = quantumio("diff", "last").lines
    assert "0 added, 0 removed." in lines
    assert "1 joined, 0 left a collection." in lines
    assert lines[-1] == "1 chains changed."
    csv = quantumio("diff", "last", "--format", "csv").lines
    assert csv[0].startswith("change,collection,")
    assert csv[1].startswith("joined,tag,")
    assert quantumio("diff", "never", fails=True).exit_code == 3


def test_versions_that_no_rule_keeps_are_told_and_then_deleted(quantumio, made, image):
    quantumio("put", image, "bias", "instrument=ST8", "detector=0", "--run", "u/ada/bias")
    rule = ("retention", "bias", "-c", "u/ada/*", "--keep-last", "1")
    done = quantumio(*rule)
    assert done.lines[-1].startswith("Would delete 1 (")
    assert done.lines[-1].endswith("spared 0.")
    assert quantumio("query", "bias", "--versions", "all", "--json").document["count"] == 2
    assert quantumio(*rule, "--younger-than", "1", "--json").document["datasets"] == []
    document = quantumio(*rule, "--delete", "--json").document
    assert [ref["id"] for ref in document["datasets"]] == [made[0]]
    assert quantumio("query", "bias", "--versions", "all", "--json").document["count"] == 1
    for wrong in ((), ("--younger-than", "1e300"), ("--younger-than", "nan"), ("--keep-last", "-1")):
        done = quantumio("retention", "-c", "*", *wrong, fails=True)
        assert done.exit_code == 2
        assert ("--keep-last" if not wrong else wrong[0]) in done.stderr
