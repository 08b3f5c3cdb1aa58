"""Policies: each key from the strongest layer that sets it, the first match within a layer."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.destinations import OpenedDestinations
from quantumio.engine import LOCAL, ROWS, PolicyResolver, as_targets
from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.formats import InstalledFormats
from quantumio.model import (
    Ack,
    DatasetType,
    DestinationSettings,
    FormatChoice,
    Mode,
    NamedPolicy,
    Ownership,
    PolicyLayer,
    Rule,
    Target,
)

SOURCE = DatasetType("source", dimensions=["visit"], storage_class="AstropyTable")
IMAGE = DatasetType("calexp", dimensions=["visit"], storage_class="CCDData")
STATS = DatasetType("stats", dimensions=["visit"], storage_class="Mapping")
BUILT_IN = PolicyLayer(name="built-in", origin="quantumio", rules=(Rule(to=as_targets(LOCAL)),))


@pytest.fixture(scope="module")
def destinations(tmp_path_factory):
    root = tmp_path_factory.mktemp("policy")
    tables = {name: DestinationSettings(name=name, kind="memory") for name in (LOCAL, "archive", "mirror")}
    tables["level3"] = DestinationSettings(
        name="level3", kind="database", options={"url": f"sqlite:///{root}/level3.sqlite"}
    )
    opened = OpenedDestinations(tables, repository_root=root, repository_id=uuid.uuid4())
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def resolver(destinations):
    formats = InstalledFormats()

    def make(*layers, **policies):
        return PolicyResolver(
            (BUILT_IN, *(layer(*one) for one in layers)),
            {
                name: policy if isinstance(policy, NamedPolicy) else named(name, policy)
                for name, policy in policies.items()
            },
            destinations,
            formats,
        )

    return make


def layer(name, *rules):
    return PolicyLayer(name=name, origin=f"{name}.toml", rules=tuple(rules))


def rule(**keys):
    if "to" in keys:
        keys["to"] = as_targets(keys["to"])
    if "formats" in keys:
        keys["formats"] = {name: FormatChoice.parse(choice) for name, choice in keys["formats"].items()}
    return Rule(**keys)


def named(name, to, **formats):
    return NamedPolicy(
        name=name,
        to=as_targets(to),
        formats={key: FormatChoice.parse(value) for key, value in formats.items()},
    )


def names(resolution):
    return [str(target) for target in resolution.targets]


def test_without_rules_outputs_go_to_the_local_files_deferred(resolver):
    resolution = resolver().resolve(STATS, "r")
    assert names(resolution) == [LOCAL]
    assert resolution.mode is Mode.DEFERRED
    assert resolution.own is resolution.ack is None
    assert resolution.formats == {LOCAL: FormatChoice("json")}
    assert not resolution.is_temporary


def test_keys_are_resolved_one_by_one_from_the_strongest_layer_that_sets_each(resolver):
    policies = resolver(
        ("repository", rule(to="archive", mode=Mode.IMMEDIATE, own=Ownership.BORROW, ack=Ack.SETTLED)),
        ("operator", rule(mode=Mode.DEFERRED)),
        ("run", rule(own=Ownership.FREEZE)),
    )
    resolution = policies.resolve(STATS, "r")
    assert names(resolution) == ["archive"]
    assert (resolution.mode, resolution.own, resolution.ack) == (
        Mode.DEFERRED,
        Ownership.FREEZE,
        Ack.SETTLED,
    )
    assert "repository rule 1 (all) of repository.toml" in resolution.why["to"]
    assert "operator rule 1" in resolution.why["mode"]
    assert "run rule 1" in resolution.why["own"]
    assert "repository" in resolution.why["ack"]


def test_first_matching_rule_of_a_layer_that_sets_the_key_wins(resolver):
    policies = resolver(
        (
            "repository",
            rule(datasets="source", mode=Mode.IMMEDIATE),
            rule(datasets="s*", to="archive", mode=Mode.DEFERRED),
            rule(to="mirror"),
        )
    )
    source = policies.resolve(SOURCE, "r")
    assert (names(source), source.mode) == (["archive"], Mode.IMMEDIATE)
    assert "rule 2 (datasets = 's*')" in source.why["to"]
    assert "rule 1 (datasets = 'source')" in source.why["mode"]
    assert names(policies.resolve(IMAGE, "r")) == ["mirror"]


@pytest.mark.parametrize(
    ("keys", "matches"),
    [
        ({"datasets": "*_debug"}, False),
        ({"datasets": "sour?e"}, True),
        ({"datasets": "Source"}, False),
        ({"datasets": "our"}, False),
        ({"datasets": "[r-t]*"}, True),
        ({"runs": "u/*"}, True),
        ({"runs": "u/ada"}, False),
        ({"runs": "u/*/isr"}, True),
        ({"storage_class": "AstropyTable"}, True),
        ({"datasets": "source", "runs": "v/*"}, False),
        ({"datasets": "source", "runs": "*", "storage_class": "AstropyTable"}, True),
    ],
    ids=str,
)
def test_rule_matches_if_all_its_conditions_do(resolver, keys, matches):
    policies = resolver(("repository", rule(to="archive", **keys)))
    assert names(policies.resolve(SOURCE, "u/ada/isr")) == (["archive"] if matches else [LOCAL])


def test_put_beats_every_rule_that_is_not_locked(resolver):
    policies = resolver(("operator", rule(to="archive", own=Ownership.COPY)), ("run", rule(to="mirror")))
    resolution = policies.resolve(STATS, "r", to=LOCAL, own="encode")
    assert (names(resolution), resolution.own) == ([LOCAL], Ownership.ENCODE)
    assert resolution.why["to"] == resolution.why["own"] == "the put itself"


def test_locked_operator_rule_beats_the_put_and_the_run(resolver):
    policies = resolver(
        ("operator", rule(to="archive", locked=True), rule(mode=Mode.IMMEDIATE)),
        ("run", rule(to="mirror", mode=Mode.DEFERRED)),
    )
    resolution = policies.resolve(STATS, "r", to="mirror", own="borrow")
    assert names(resolution) == ["archive"]
    assert "locked" in resolution.why["to"]
    assert resolution.own is Ownership.BORROW
    assert resolution.mode is Mode.DEFERRED


def test_lock_of_another_layer_locks_nothing(resolver):
    policies = resolver(("repository", rule(to="archive", locked=True)))
    assert names(policies.resolve(STATS, "r", to="mirror")) == ["mirror"]


def test_run_layer_that_is_added_later_is_stronger_than_the_operators_open_rules(resolver):
    policies = resolver(("operator", rule(to="archive")))
    assert names(policies.with_layer(layer("run", rule(to="mirror"))).resolve(STATS, "r")) == ["mirror"]
    assert names(policies.resolve(STATS, "r")) == ["archive"]


def test_named_policy_stands_for_targets_and_formats(resolver):
    policies = resolver(catalogues=named("catalogues", [LOCAL, "level3", "archive?"], local="parquet"))
    resolution = policies.resolve(SOURCE, "r", to="catalogues")
    assert names(resolution) == [LOCAL, "level3", "archive?"]
    assert resolution.formats == {
        LOCAL: FormatChoice("parquet"),
        "level3": ROWS,
        "archive": FormatChoice(InstalledFormats().storage_class("AstropyTable").formats[0]),
    }
    assert "policy 'catalogues'" in resolution.why["formats"]


def test_named_policy_may_stand_beside_destinations(resolver):
    policies = resolver(copies=["archive?", LOCAL])
    assert names(policies.resolve(STATS, "r", to=["mirror", "copies"])) == ["mirror", "archive?", LOCAL]


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        (["local", "archive?"], ["local", "archive?"]),
        (["archive?", "archive", "local"], ["archive", "local"]),
        (["archive", "archive?"], ["archive"]),
        (["local", "local"], ["local"]),
        (["local", "copies?"], ["local", "archive?", "mirror?"]),
        (["local?", "copies"], ["local?", "archive?", "mirror"]),
        (["mirror?", "copies"], ["mirror", "archive?"]),
    ],
    ids=str,
)
def test_best_effort_is_kept_and_the_strictest_wins(resolver, to, expected):
    assert names(resolver(copies=["archive?", "mirror"]).resolve(STATS, "r", to=to)) == expected


@pytest.mark.parametrize("to", ["archive?", ["archive?", "mirror?"]])
def test_outputs_need_a_required_destination(resolver, to):
    with pytest.raises(InvalidInputError, match="best effort") as caught:
        resolver().resolve(STATS, "r", to=to)
    assert caught.value.kind is ErrorKind.POLICY


def test_temporary_stands_alone(resolver):
    assert resolver().resolve(STATS, "r", to="temporary").is_temporary
    with pytest.raises(InvalidInputError, match="'temporary' stands alone"):
        resolver().resolve(STATS, "r", to=["local", "temporary"])


def test_format_of_each_destination_comes_from_its_strongest_rule(resolver):
    policies = resolver(
        ("repository", rule(to=[LOCAL, "archive"], formats={LOCAL: "yaml", "archive": "yaml"})),
        ("operator", rule(formats={"archive": "json"})),
    )
    resolution = policies.resolve(STATS, "r")
    assert resolution.formats == {LOCAL: FormatChoice("yaml"), "archive": FormatChoice("json")}
    assert "local: repository rule 1" in resolution.why["formats"]
    assert "archive: operator rule 1" in resolution.why["formats"]


def test_options_of_a_format_are_kept(resolver):
    policies = resolver(("repository", rule(formats={LOCAL: {"format": "fits", "compression": "rice"}})))
    assert dict(policies.resolve(IMAGE, "r").formats[LOCAL].options) == {"compression": "rice"}


def test_rule_of_a_put_on_formats_beats_the_policy_it_names(resolver):
    policies = resolver(
        ("operator", rule(formats={LOCAL: "yaml"}, locked=True)), copies=named("copies", LOCAL, local="json")
    )
    assert policies.resolve(STATS, "r", to="copies").formats[LOCAL] == FormatChoice("yaml")


def test_format_that_cannot_hold_the_storage_class_lists_those_that_can(resolver):
    policies = resolver(("repository", rule(formats={LOCAL: "npy"})))
    with pytest.raises(InvalidInputError, match=r"'calexp': format 'npy'.*fits") as caught:
        policies.resolve(IMAGE, "r")
    assert caught.value.kind is ErrorKind.POLICY


def test_table_destination_takes_tables_alone(resolver):
    assert resolver().resolve(SOURCE, "r", to="level3").formats == {"level3": ROWS}
    with pytest.raises(
        InvalidInputError, match="'calexp': destination 'level3' takes tables, CCDData is none"
    ):
        resolver().resolve(IMAGE, "r", to="level3")


@pytest.mark.parametrize("to", ["nowhere", ["local", "nowhere"], ["local", "nowhere?"]])
def test_unknown_name_in_a_put_lists_what_there_is(resolver, to):
    with pytest.raises(
        InvalidInputError, match="archive, copies, level3, local, mirror, temporary"
    ) as caught:
        resolver(copies="archive").resolve(STATS, "r", to=to)
    assert "'nowhere'" in str(caught.value)


@pytest.mark.parametrize("to", ["", [], (), 3, None, {"local": 1}, [3], ["a b"]], ids=repr)
def test_what_names_no_destination_is_refused(to):
    with pytest.raises(InvalidInputError):
        as_targets(to)


def test_unknown_name_in_a_rule_or_policy_is_refused_when_it_is_read(resolver):
    with pytest.raises(
        InvalidInputError, match=r"repository rule 2 \(datasets = 'x'\) of repository.toml.*'nowhere'"
    ):
        resolver(("repository", rule(mode=Mode.DEFERRED), rule(datasets="x", to="nowhere")))
    with pytest.raises(InvalidInputError, match="policy 'copies': 'nowhere'"):
        resolver(copies=["local", "nowhere"])


def test_policies_do_not_nest_and_do_not_hide_destinations(resolver):
    with pytest.raises(InvalidInputError, match="policy 'more': 'copies'"):
        resolver(copies="local", more=["copies", "archive"])
    for taken in ("archive", "temporary"):
        with pytest.raises(InvalidInputError, match=f"'{taken}' names both"):
            resolver(**{taken: "local"})


@pytest.mark.parametrize("where", ["rule", "policy"])
def test_format_for_an_unknown_destination_is_refused_when_it_is_read(resolver, where):
    """A misspelt destination must not silently leave the default format."""
    with pytest.raises(InvalidInputError, match="lokal"):
        if where == "rule":
            resolver(("repository", rule(formats={"lokal": "yaml"})))
        else:
            resolver(copies=named("copies", "local", lokal="yaml"))


@pytest.mark.parametrize("where", ["rule", "policy"])
def test_unknown_format_is_refused_when_it_is_read(resolver, where):
    with pytest.raises(InvalidInputError, match="ymal"):
        if where == "rule":
            resolver(("repository", rule(formats={"local": "ymal"})))
        else:
            resolver(copies=named("copies", "local", local="ymal"))


def test_unknown_storage_class_of_a_rule_is_refused_when_it_is_read(resolver):
    with pytest.raises(InvalidInputError, match="CCDDta"):
        resolver(("repository", rule(storage_class="CCDDta", to="archive")))


def test_unknown_ownership_of_a_put_is_refused(resolver):
    with pytest.raises(InvalidInputError, match="own='clone'"):
        resolver().resolve(STATS, "r", own="clone")


def test_default_is_said_to_be_the_default(resolver):
    why = resolver().resolve(STATS, "r").why
    assert "built-in rule 1 (all) of quantumio" in why["to"]
    assert {why[key] for key in ("mode", "own", "ack")} == {"default"}
    assert why["formats"] == "local: default"


rules = st.builds(
    rule,
    datasets=st.sampled_from([None, "stats", "s*", "x"]),
    runs=st.sampled_from([None, "r", "u/*"]),
    to=st.sampled_from(["local", "archive", ["mirror", "archive?"]]),
    mode=st.sampled_from([None, *Mode]),
    own=st.sampled_from([None, *Ownership]),
    ack=st.sampled_from([None, *Ack]),
    locked=st.booleans(),
)
layers = st.lists(
    st.tuples(st.sampled_from(["repository", "operator", "run"]), st.lists(rules, max_size=3)),
    unique_by=lambda one: one[0],
    max_size=3,
)


@given(layers, st.sampled_from([None, "local", "mirror"]), st.sampled_from([None, "copy", "borrow"]))
def test_resolution_is_that_of_the_plain_definition(resolver, layers, to, own):
    """Flatten all rules by the sentence of the documentation, and take the first that sets the key."""
    layers = sorted(layers, key=lambda one: ["repository", "operator", "run"].index(one[0]))
    locked, plain = [], []
    for name, members in reversed(layers):
        for one in members:
            matches = one.datasets in (None, "stats", "s*") and one.runs in (None, "r")
            if matches:
                (locked if one.locked and name == "operator" else plain).append(one)
    put = Rule(to=as_targets(to) if to else None, own=Ownership(own) if own else None)
    everything = [*locked, put, *plain, *BUILT_IN.rules]

    def first(key, default):
        return next((value for one in everything if (value := getattr(one, key)) is not None), default)

    policies = resolver(*((name, *members) for name, members in layers))
    for _ in range(2):  # the second answer is a remembered one
        got = policies.resolve(STATS, "r", to=to, own=own)
        assert got.targets == first("to", None)
        assert got.mode is first("mode", Mode.DEFERRED)
        assert got.own is first("own", None)
        assert got.ack is first("ack", None)
        assert set(got.why) == {"to", "mode", "formats", "own", "ack"}


def test_targets_of_a_put_may_be_a_tuple():
    assert as_targets(("local", "archive?")) == (Target("local"), Target("archive", required=False))
