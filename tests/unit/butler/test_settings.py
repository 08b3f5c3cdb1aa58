"""Settings: what is wrong is told in the words of the file, and nothing is guessed."""

import contextlib
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.butler._settings import load_toml, merge, operator_layer, parse_settings
from quantumio.errors import InvalidInputError, NotFoundError, QuantumioError
from quantumio.model import Ack, DestinationSettings, FormatChoice, Mode, NamedPolicy, Ownership, Rule, Target

FILE = "/night/butler.toml"


def parse(text):
    return parse_settings(tomllib.loads(text), FILE)


def test_empty_file_has_the_defaults_of_the_documentation():
    settings = parse("")
    assert settings.registry is None
    assert settings.destinations == {
        "local": DestinationSettings(name="local", kind="files", options={"root": "data"})
    }
    assert settings.destinations["local"].options == {"root": "data"}
    assert settings.policies == settings.dimensions == {}
    assert [layer.name for layer in settings.layers] == ["built-in", "repository"]
    assert settings.layers[0].rules == (Rule(to=(Target("local"),)),)
    assert settings.layers[1].rules == ()
    assert 0 < settings.runtime.max_buffer_bytes <= 4 << 30
    assert (settings.runtime.encoders, settings.runtime.put_timeout_s) == (2, 60.0)
    assert settings.runtime.verify_borrowed is True


def test_every_key_is_read():
    settings = parse(
        """
        [repository]
        id = "x"
        registry = "sqlite:///there"
        [runtime]
        max_buffer_bytes = "2 GiB"
        put_timeout_s = 5
        encoders = 4
        verify_borrowed = false
        lease_s = 60
        journaled_lease_s = 3600
        allow_volatile_journal = true
        [destinations.archive]
        kind = "objects"
        root = "s3://survey/night1"
        [destinations.local]
        kind = "memory"
        [policies.catalogues]
        to = ["local", "archive?"]
        formats = { local = "parquet", archive = { format = "fits", compression = "rice" } }
        [[rules]]
        datasets = "*_debug"
        runs = "u/*"
        storage_class = "CCDData"
        to = "temporary"
        mode = "immediate"
        formats = { local = "json" }
        own = "freeze"
        ack = "settled"
        [[rules]]
        to = ["catalogues"]
        [dimensions.beam]
        key = "int"
        """
    )
    assert settings.registry == "sqlite:///there"
    runtime = settings.runtime
    assert (runtime.max_buffer_bytes, runtime.put_timeout_s, runtime.encoders) == (2 << 30, 5.0, 4)
    assert runtime.verify_borrowed is False
    assert (runtime.lease_s, runtime.journaled_lease_s, runtime.allow_volatile_journal) == (
        60.0,
        3600.0,
        True,
    )
    assert settings.destinations["local"].kind == "memory"
    assert settings.destinations["archive"].options == {"root": "s3://survey/night1"}
    policy = settings.policies["catalogues"]
    assert isinstance(policy, NamedPolicy)
    assert policy.to == (Target("local"), Target("archive", required=False))
    assert policy.formats["archive"] == FormatChoice("fits", {"compression": "rice"})
    first, second = settings.layers[1].rules
    assert (first.datasets, first.runs, first.storage_class, first.locked) == (
        "*_debug",
        "u/*",
        "CCDData",
        False,
    )
    assert first.to == (Target("temporary"),)
    assert (first.mode, first.own, first.ack) == (Mode.IMMEDIATE, Ownership.FREEZE, Ack.SETTLED)
    assert first.formats == {"local": FormatChoice("json")}
    assert second == Rule(to=(Target("catalogues"),))
    assert settings.dimensions == {"beam": {"key": "int"}}


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("rulse = []", ["rulse"]),
        ("[repository]\nurl = 1", ["[repository]", "url"]),
        ("repository = 3", ["[repository]"]),
        ("[repository]\nregistry = 3", ["[repository]", "registry"]),
        ("[repository]\nregistry = ''", ["[repository]", "registry"]),
        ("[runtime]\nmax_buffer = 1", ["[runtime]", "max_buffer"]),
        ("[runtime]\nmax_buffer_bytes = 'lots'", ["[runtime]", "max_buffer_bytes", "lots"]),
        ("[runtime]\nmax_buffer_bytes = 0", ["[runtime]", "max_buffer_bytes"]),
        ("[runtime]\nmax_buffer_bytes = true", ["[runtime]", "max_buffer_bytes"]),
        ("[runtime]\nput_timeout_s = -1", ["[runtime]", "put_timeout_s"]),
        ("[runtime]\nput_timeout_s = '5 s'", ["[runtime]", "put_timeout_s"]),
        ("[runtime]\nput_timeout_s = true", ["[runtime]", "put_timeout_s"]),
        ("[runtime]\nput_timeout_s = inf", ["[runtime]", "put_timeout_s"]),
        ("[runtime]\nput_timeout_s = nan", ["[runtime]", "put_timeout_s"]),
        ("[runtime]\nencoders = 0", ["[runtime]", "encoders"]),
        ("[runtime]\nencoders = 1.5", ["[runtime]", "encoders"]),
        ("[runtime]\nverify_borrowed = 'no'", ["[runtime]", "verify_borrowed"]),
        ("destinations = 3", ["[destinations]"]),
        ("[destinations]\narchive = 's3://x'", ["[destinations.archive]"]),
        ("[destinations.archive]\nroot = 'x'", ["[destinations.archive]", "kind"]),
        ("[destinations.archive]\nkind = 3", ["[destinations.archive]", "kind"]),
        ("[destinations.temporary]\nkind = 'files'", ["[destinations.temporary]"]),
        ("[destinations.'no name']\nkind = 'files'", ["no name"]),
        ("[policies.x]\nformats = {}", ["[policies.x]", "to"]),
        ("[policies.x]\nto = 3", ["[policies.x]", "to"]),
        ("[policies.x]\nto = []", ["[policies.x]", "to"]),
        ("[policies.x]\nto = ['a b']", ["[policies.x]", "to", "a b"]),
        ("[policies.x]\nto = 'local'\nmode = 'deferred'", ["[policies.x]", "mode"]),
        ("[policies.x]\nto = 'local'\nformats = 'fits'", ["[policies.x]", "formats"]),
        ("[policies.x]\nto = 'local'\nformats = { local = 3 }", ["[policies.x]", "formats", "local"]),
        ("[policies.'no name']\nto = 'local'", ["no name"]),
        ("policies = []", ["[policies]"]),
        ("[rules]\nto = 'local'", ["rules", "[[rules]]"]),
        ("rules = [3]", ["rule 1"]),
        ("[[rules]]\nto = 'local'\n[[rules]]\ndataset = 'x'", ["rule 2", "dataset"]),
        ("[[rules]]\ndatasets = ['x']", ["rule 1", "datasets"]),
        ("[[rules]]\nruns = 3", ["rule 1", "runs"]),
        ("[[rules]]\nstorage_class = 3", ["rule 1", "storage_class"]),
        ("[[rules]]\nlocked = 1", ["rule 1", "locked"]),
        ("[[rules]]\nlocked = true", ["rule 1", "locked", "operator"]),
        ("[[rules]]\nto = 3", ["rule 1", "to"]),
        ("[[rules]]\nto = []", ["rule 1", "to"]),
        ("[[rules]]\nto = ['local', 3]", ["rule 1", "to"]),
        ("[[rules]]\nmode = 'later'", ["rule 1", "mode", "later"]),
        ("[[rules]]\nmode = 3", ["rule 1", "mode"]),
        ("[[rules]]\nformats = 'fits'", ["rule 1", "formats"]),
        ("[[rules]]\nformats = { local = 3 }", ["rule 1", "formats", "local"]),
        ("[[rules]]\nformats = { 'a b' = 'fits' }", ["rule 1", "formats", "a b"]),
        ("[[rules]]\nown = 'clone'", ["rule 1", "own", "clone"]),
        ("[[rules]]\nown = 3", ["rule 1", "own"]),
        ("[[rules]]\nack = 'now'", ["rule 1", "ack", "now"]),
        ("[[rules]]\nack = 2", ["rule 1", "ack"]),
        ("[dimensions]\nbeam = 3", ["[dimensions.beam]"]),
        ("dimensions = 3", ["[dimensions]"]),
    ],
)
def test_what_is_wrong_names_file_table_and_key_and_the_mend(text, mentions):
    with pytest.raises(InvalidInputError) as caught:
        parse(text)
    message = str(caught.value)
    for mention in (FILE, *mentions):
        assert mention in message
    assert caught.value.hint


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(
    ["repository", "runtime", "destinations", "policies", "rules", "dimensions", "to", "formats", "kind", "x"]
)
tables = st.dictionaries(
    keys, st.dictionaries(keys, json, max_size=3) | st.lists(json, max_size=2) | json, max_size=4
)


@given(tables)
def test_no_file_crashes_the_reader(tables):
    with contextlib.suppress(QuantumioError):
        parse_settings(tables, FILE)


mergeable = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8
)
mappings = st.dictionaries(st.sampled_from("abc"), mergeable, max_size=3)


def flatten(tables, path=()):
    for key, value in tables.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, (*path, key))
        else:
            yield (*path, key), value


@given(mappings, mappings)
def test_merge_is_key_by_key_and_the_second_wins(base, over):
    merged = merge(base, over)
    before = dict(flatten(base))
    found = dict(flatten(merged))
    for path, value in flatten(over):
        if value != {}:
            assert found[path] == value
    for path, value in before.items():
        if not any(other[: len(path)] == path or path[: len(other)] == other for other, _ in flatten(over)):
            assert found[path] == value
    assert merge(base, {}) == base
    assert merge({}, over) == over
    assert merge(merged, over) == merged


def test_merge_replaces_lists_and_leaves_its_arguments(tmp_path):
    base = {"rules": [{"to": "a"}], "runtime": {"encoders": 2, "put_timeout_s": 1}}
    over = {"rules": [{"to": "b"}], "runtime": {"encoders": 4}}
    assert merge(base, over) == {
        "rules": [{"to": "b"}],
        "runtime": {"encoders": 4, "put_timeout_s": 1},
    }
    assert base["runtime"] == {"encoders": 2, "put_timeout_s": 1}


def test_file_that_is_no_toml_names_line_and_column(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text("[runtime]\nencoders = = 3\n")
    with pytest.raises(InvalidInputError, match="line 2, column") as caught:
        load_toml(path)
    assert str(path) in str(caught.value)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInputError, match="no TOML"):
        load_toml(path)


@pytest.mark.parametrize("what", ["missing", "directory"])
def test_file_that_cannot_be_read_is_a_typed_error(tmp_path, what):
    path = tmp_path / "policy.toml"
    if what == "directory":
        path.mkdir()
    with pytest.raises(QuantumioError) as caught:
        load_toml(path)
    assert str(path) in str(caught.value)


def test_operator_file_is_the_one_named_or_that_of_the_environment(tmp_path, monkeypatch):
    named, other = tmp_path / "named.toml", tmp_path / "other.toml"
    named.write_text('[policies.copies]\nto = "local"\n[[rules]]\nto = "copies"\nlocked = true\n')
    other.write_text('[[rules]]\nmode = "immediate"\n')
    monkeypatch.delenv("QUANTUMIO_POLICY", raising=False)
    assert operator_layer(None) == (None, {})
    layer, policies = operator_layer(named)
    assert (layer.name, layer.origin, len(layer.rules)) == ("operator", str(named), 1)
    assert layer.rules[0].locked
    assert list(policies) == ["copies"]
    monkeypatch.setenv("QUANTUMIO_POLICY", str(other))
    assert operator_layer(None)[0].rules[0].mode is Mode.IMMEDIATE
    assert operator_layer(named)[0].origin == str(named)


@pytest.mark.parametrize(
    ("text", "mention"),
    [
        ("[destinations.x]\nkind = 'memory'", "butler.toml"),
        ("[runtime]\nencoders = 1", "runtime"),
        ("[[rules]]\nmode = 'later'", "rule 1"),
    ],
)
def test_wrong_operator_file_is_named(tmp_path, text, mention):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        operator_layer(path)
    assert str(path) in str(caught.value)
    assert mention in str(caught.value)


def test_operator_file_that_is_not_there_is_an_error_also_by_the_environment(tmp_path, monkeypatch):
    """An operator who sets a policy must not lose it by a typing mistake."""
    with pytest.raises(NotFoundError):
        operator_layer(tmp_path / "no.toml")
    monkeypatch.setenv("QUANTUMIO_POLICY", str(tmp_path / "no.toml"))
    with pytest.raises(NotFoundError):
        operator_layer(None)


def test_every_setting_of_the_runtime_can_be_set():
    runtime = parse_settings(
        {
            "runtime": {
                "allow_volatile_journal": True,
                "journal_max_bytes": "2 GiB",
                "journal_min_free_bytes": "10 MB",
                "journaled_lease_s": 3600,
                "lease_s": 30,
            }
        },
        "butler.toml",
    ).runtime
    assert runtime.allow_volatile_journal is True
    assert (runtime.journal_max_bytes, runtime.journal_min_free_bytes) == (2 << 30, 10_000_000)
    unreserved = parse_settings(
        {"runtime": {"journal_min_free_bytes": 0, "pack_bytes": 0}}, "butler.toml"
    ).runtime
    assert (unreserved.journal_min_free_bytes, unreserved.pack_bytes) == (0, 0)
    assert (runtime.journaled_lease_s, runtime.lease_s) == (3600.0, 30.0)
