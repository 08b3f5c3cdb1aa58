"""Commands that say what the policy does."""

import pytest

OPERATOR = """
[policies.twice]
to = ["local"]
formats = { local = { format = "fits", compression = "rice" } }
[[rules]]
datasets = "calexp"
to = "twice"
mode = "immediate"
[[rules]]
datasets = "stats"
runs = "u/*"
to = "temporary"
"""


@pytest.fixture
def operator(tmp_path):
    """Write a policy file of the operator."""
    path = tmp_path / "operator.toml"
    path.write_text(OPERATOR)
    return path


def test_explain_names_the_rule(quantumio, operator):
    plain = quantumio("policy", "explain", "calexp", "--json").document
    assert set(plain) == {"dataset_type", "to", "formats", "mode", "own", "ack", "why"}
    assert (plain["to"], plain["formats"], plain["mode"]) == (["local"], {"local": "fits"}, "deferred")
    ruled = quantumio("policy", "explain", "calexp", "--policy", operator, "--json").document
    assert (ruled["formats"], ruled["mode"]) == ({"local": "fits(compression=rice)"}, "immediate")
    assert "operator rule 1" in ruled["why"]["mode"]
    text = quantumio("policy", "explain", "stats", "--run", "u/ada", QUANTUMIO_POLICY=str(operator)).stdout
    assert "temporary" in text
    assert "operator rule 2" in text
    assert quantumio("policy", "explain", "stats", "--policy", operator, "--json").document["to"] == ["local"]


def test_explain_tells_what_a_put_would_say(quantumio):
    document = quantumio(
        "policy", "explain", "stats", "--to", "temporary", "--own", "encode", "--json"
    ).document
    assert (document["to"], document["own"]) == (["temporary"], "encode")
    assert document["why"]["to"] == "the put itself"
    assert quantumio("policy", "explain", "stats", "--own", "mine", fails=True).exit_code == 2


def test_check_tells_every_dataset_type(quantumio, operator):
    document = quantumio("policy", "check", operator, "--json").document
    assert set(document["dataset_types"]) >= {"calexp", "stats", "source"}
    assert document["errors"] == []
    assert quantumio("policy", "check").lines[-1] == "11 of 11 dataset types can be put."


def test_check_fails_for_a_rule_that_a_dataset_type_cannot_follow(quantumio, tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_text('[[rules]]\nformats = { local = "fits" }\n')
    done = quantumio("policy", "check", path, "--json", fails=True)
    assert done.exit_code == 2
    assert "calexp" in done.document["dataset_types"]
    assert any("'stats'" in one["message"] for one in done.document["errors"])
    assert {one["kind"] for one in done.error["failures"]} == {"policy"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a =", "wrong.toml is no TOML"),
        ("[[rules]]\nwho = 3\n", "'who'"),
        ('[[rules]]\nto = "nowhere"\n', "nowhere"),
        ("[destinations.x]\n", "destinations"),
    ],
)
def test_wrong_policy_files_are_refused_with_the_place(quantumio, tmp_path, text, named):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    done = quantumio("policy", "check", path, "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (2, "policy")
    assert named in done.error["message"]


def test_missing_policy_file_is_told(quantumio, tmp_path):
    done = quantumio("policy", "check", tmp_path / "nothing.toml", "--json", fails=True)
    assert (done.exit_code, done.error["kind"]) == (3, "no_file")


def test_put_follows_the_operator(quantumio, operator, image):
    arguments = ("put", image, "calexp", "instrument=ST8", "visit=1", "detector=0", "--run", "u/ada")
    plain = quantumio(*arguments, "--json").document["locations"][0]["size"]
    squeezed = quantumio(*arguments, "--policy", operator, "--json").document["locations"][0]["size"]
    assert squeezed != plain
