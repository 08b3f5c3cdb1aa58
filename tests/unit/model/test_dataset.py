"""Dataset types and refs: identity, order of dimensions, and wire forms that later versions read."""

import json
import pickle
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import (
    Artifact,
    DataId,
    DatasetRef,
    DatasetType,
    StoredDataset,
    default_universe,
    make_data_id,
    trusted_ref,
)

UNIVERSE = default_universe()
CALEXP = DatasetType("calexp", dimensions=["visit", "detector"], storage_class="CCDData")

dataset_types = st.builds(
    lambda name, dimensions: DatasetType(name, dimensions=dimensions, storage_class="Mapping"),
    st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,62}", fullmatch=True),
    st.lists(st.sampled_from(UNIVERSE.names), unique=True, max_size=4),
)


@st.composite
def refs(draw):
    dataset_type = draw(dataset_types).normalised(UNIVERSE)
    values = {
        name: draw(
            st.integers(-(1 << 63), (1 << 63) - 1)
            if UNIVERSE[name].key == "int"
            else st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=20)
        )
        for name in dataset_type.dimensions
    }
    return DatasetRef(
        draw(st.uuids()),
        dataset_type,
        make_data_id(UNIVERSE, values, {}),
        draw(st.sampled_from(["r", "u/ada/isr", "a.b+c=d@e-f/_"])),
        draw(st.none() | st.integers(1, 10**6)),
    )


@given(dataset_types)
def test_dataset_type_survives_its_wire_form(dataset_type):
    assert DatasetType.from_wire(json.loads(json.dumps(dataset_type.to_wire()))) == dataset_type
    assert pickle.loads(pickle.dumps(dataset_type)) == dataset_type


@given(refs())
def test_ref_survives_its_wire_form_in_every_field(ref):
    for back in (
        DatasetRef.from_wire(json.loads(json.dumps(ref.to_wire()))),
        pickle.loads(pickle.dumps(ref)),
    ):
        assert back == ref
        assert hash(back) == hash(ref)
        assert (back.id, back.dataset_type, back.data_id, back.run, back.version) == (
            ref.id,
            ref.dataset_type,
            ref.data_id,
            ref.run,
            ref.version,
        )
        assert list(back.data_id) == list(ref.data_id)


@pytest.mark.parametrize("version", [2, 0, -1, None, "1", 1.5])
@pytest.mark.parametrize("what", [DatasetType, DatasetRef])
def test_wire_form_of_a_newer_version_is_refused_with_the_mend(what, version):
    ref = DatasetRef(uuid.uuid4(), CALEXP, DataId({}), "r")
    wire = (CALEXP if what is DatasetType else ref).to_wire()
    wire["version"] = version
    with pytest.raises(InvalidInputError, match="upgrade quantumio") as caught:
        what.from_wire(wire)
    assert caught.value.kind is ErrorKind.VALUE


def test_nested_wire_form_of_a_newer_version_is_refused():
    wire = DatasetRef(uuid.uuid4(), CALEXP, DataId({}), "r").to_wire()
    wire["dataset_type"]["version"] = 2
    with pytest.raises(InvalidInputError, match="dataset type"):
        DatasetRef.from_wire(wire)


def test_wire_forms_of_the_first_version_are_read_for_ever():
    """Frozen: a later version must read these very texts."""
    wire = json.loads(
        '{"version": 1, "id": "018f0000-0000-7000-8000-000000000001", "run": "u/ada/isr",'
        ' "dataset_version": 3,'
        ' "data_id": {"instrument": "ST8", "visit": 33}, "dataset_type": {"version": 1, "name": "stats",'
        ' "dimensions": ["instrument", "visit"], "storage_class": "Mapping"}}'
    )
    ref = DatasetRef.from_wire(wire)
    assert str(ref) == "stats(instrument='ST8', visit=33) in u/ada/isr v3"
    assert ref.to_wire() == wire


def test_two_refs_are_equal_if_their_uuids_are():
    identity = uuid.uuid4()
    one = DatasetRef(identity, CALEXP, DataId({"visit": 1}), "r")
    committed = DatasetRef(identity, CALEXP, DataId({"visit": 1}), "r", 4)
    other = DatasetRef(uuid.uuid4(), CALEXP, DataId({"visit": 1}), "r")
    assert one == committed
    assert len({one, committed, other}) == 2
    assert one != str(identity)


@given(st.lists(st.sampled_from(UNIVERSE.names), unique=True), st.randoms())
def test_normalised_types_do_not_depend_on_the_spelling(names, random):
    shuffled = random.sample(names, len(names))
    one = DatasetType("t", dimensions=names, storage_class="Text").normalised(UNIVERSE)
    other = DatasetType("t", dimensions=shuffled, storage_class="Text").normalised(UNIVERSE)
    assert one == other == one.normalised(UNIVERSE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "no name"},
        {"name": ""},
        {"name": "a" * 64},
        {"name": "é"},
        {"name": "name\n"},
        {"name": None},
        {"dimensions": "visit"},
        {"dimensions": ["no name"]},
        {"dimensions": [None]},
        {"storage_class": "no name"},
        {"storage_class": None},
    ],
    ids=str,
)
def test_wrong_dataset_type_names_the_part(wrong):
    arguments = {"name": "calexp", "dimensions": ["visit"], "storage_class": "CCDData"} | wrong
    with pytest.raises(InvalidInputError) as caught:
        DatasetType(arguments.pop("name"), **arguments)
    assert caught.value.hint
    assert caught.value.kind in (ErrorKind.NAME, ErrorKind.DIMENSION)


def test_ref_of_a_run_that_is_no_name_is_refused():
    with pytest.raises(InvalidInputError):
        DatasetRef(uuid.uuid4(), CALEXP, DataId({}), "../etc")


def test_size_of_a_stored_dataset_is_that_of_its_first_artifact():
    ref = DatasetRef(uuid.uuid4(), CALEXP, DataId({}), "r", 1)
    artifacts = tuple(
        Artifact(destination=str(n), path="p", format="fits", digest="", nbytes=n) for n in (7, 9)
    )

    def stored(artifacts):
        return StoredDataset(ref=ref, artifacts=artifacts, txid=ref.id, commit_seq=1, committed_ns=0)

    assert stored(artifacts).nbytes == 7
    assert stored(()).nbytes == 0


def test_trusted_ref_is_a_ref_like_any_other():
    data_id = DataId({"instrument": "HSC", "visit": 1, "detector": 2})
    number = uuid.uuid4()
    checked = DatasetRef(number, CALEXP, data_id, "u/run", 3)
    trusted = trusted_ref(number, CALEXP, data_id, "u/run", 3)
    assert trusted == checked
    assert hash(trusted) == hash(checked)
    assert (str(trusted), repr(trusted)) == (str(checked), repr(checked))
    assert trusted.to_wire() == checked.to_wire()
    assert pickle.loads(pickle.dumps(trusted)).to_wire() == checked.to_wire()
