"""Data IDs that name a key by metadata; those of the peer are in tests/peer/test_data_ids.py."""

import pytest

from quantumio import Butler, DatasetType
from quantumio.errors import ErrorKind, InvalidInputError


@pytest.fixture
def night(butler):
    butler.insert_dimension(
        "detector", [{"detector": number, "full_name": f"S{number}"} for number in range(3)]
    )
    butler.insert_dimension("visit", [{"visit": 33, "name": "v33"}, {"visit": 34, "name": "v34"}])
    with butler.context() as ctx:
        ctx.put({"n": 1}, "stats", visit=33)
    return butler


def refused(call, *arguments, **keys) -> str:
    with pytest.raises(InvalidInputError) as caught:
        call(*arguments, **keys)
    assert caught.value.kind is ErrorKind.DATA_ID
    return str(caught.value)


@pytest.mark.parametrize("keys", [{"visit": "v33"}, {"visit.name": "v33"}, {"name": "v33"}])
def test_every_call_takes_metadata_that_identifies(night, keys):
    assert night.get("stats", keys) == {"n": 1}
    assert night.find("stats", **keys).data_id["visit"] == 33
    assert night.exists("stats", keys)
    assert [version.ref.data_id["visit"] for version in night.versions("stats", keys)] == [33]
    assert night.explain_put("stats", keys) == night.explain_put("stats", visit=33)
    with night.context() as ctx:
        assert ctx.get("stats", keys) == {"n": 1}
        ctx.put({"n": 2}, "stats", keys)
        assert ctx.get("stats", visit=33) == {"n": 2}
    assert ctx.refs[0].data_id["visit"] == 33
    assert ctx.refs[0].version == 2


def test_put_takes_a_text_in_place_of_a_number_beside_plain_keys(night):
    with night.context() as ctx:
        ctx.put({"n": 3}, "stats", visit="v34")
        ctx.put({"n": 4}, "bias", detector="S1")
    assert [dict(ref.data_id) for ref in ctx.refs] == [
        {"instrument": "ST8", "visit": 34},
        {"instrument": "ST8", "detector": 1},
    ]


def test_value_that_no_record_has_is_told_with_the_mend(night):
    message = refused(night.find, "stats", visit="v99")
    assert "visit='v99' is no key, and no record of visit has this name (instrument='ST8')" in message
    assert "insert_dimension" in message
    assert "33" in refused(night.find, "stats", visit="33")


def test_metadata_of_another_instrument_is_not_taken(night):
    assert "instrument='Other'" in refused(night.find, "stats", instrument="Other", visit="v33")


def test_contradiction_names_both(night):
    message = refused(night.find, "stats", {"visit": 34, "visit.name": "v33"})
    assert "visit.name='v33' is visit=33, but visit=34" in message
    assert "visit=33" in refused(night.find, "stats", {"visit.name": "v33"}, name="v34")
    assert night.exists("stats", {"visit": 33, "visit.name": "v33"}, name="v33")


def test_value_of_the_wrong_type_is_told(night):
    with pytest.raises(InvalidInputError, match=r"33 \(int\) does not fit"):
        night.find("stats", {"visit.name": 33})


def test_metadata_that_does_not_identify_is_refused(night):
    message = refused(night.find, "bias", {"detector.raft": "R"})
    assert "'raft' identifies no detector" in message
    assert "detector.full_name" in message


@pytest.mark.parametrize("name", ["telescope.name", "visit_definition.name", ".name", "nothing"])
def test_names_that_belong_to_no_dimension_are_unknown(night, name):
    with pytest.raises(InvalidInputError, match="is no dimension"):
        night.find("stats", {name: "v33"})


@pytest.mark.parametrize("data_id", ["visit.name", [("visit.name", "v33")], {33: "v33"}])
def test_what_is_no_mapping_of_names_is_refused(night, data_id):
    with pytest.raises(InvalidInputError):
        night.find("stats", data_id)


def test_keys_that_the_record_needs_must_be_there(night, open_butler):
    with Butler(night._session.repositories[0].root) as bare:
        message = refused(bare.find, "stats", collections="r", visit="v33")
        assert "lacks instrument" in message
        assert bare.exists("stats", collections="r", visit="v33", instrument="ST8")


def test_records_of_another_open_repository_tell(make_root, open_butler):
    night, calibs = (open_butler(make_root(name), run="r") for name in ("night", "calibs"))
    night.insert_dimension("detector", [{"detector": 2, "full_name": "S2"}])
    with calibs.context() as ctx:
        ctx.put({"n": 1}, "bias", detector=2)
    both = open_butler([one._session.repositories[0].root for one in (night, calibs)], run="r")
    assert both.find("bias", detector="S2") == ctx.refs[0]


# ---------------------------------------------------------------------------- dimensions of the user


@pytest.fixture
def survey(tmp_path):
    """Two dimensions with the same metadata, one with two names, and one that is known by a number."""
    names = {"key": "int", "metadata": {"label": "str"}, "unique": ["label"]}
    dimensions = {
        "field": names,
        "beam": names,
        "antenna": {"key": "int", "metadata": {"pad": "str", "nick": "str"}, "unique": ["pad", "nick"]},
        "pointing": {
            "key": "int",
            "requires": ["field"],
            "metadata": {"serial": "int"},
            "unique": ["serial"],
        },
    }
    with Butler.create(tmp_path / "survey", dimensions=dimensions) as butler:
        for name in dimensions:
            butler.register_dataset_type(
                DatasetType(f"of_{name}", dimensions=[name], storage_class="Mapping")
            )
        butler.register_dataset_type(
            DatasetType("of_both", dimensions=["field", "beam"], storage_class="Mapping")
        )
        butler.insert_dimension("field", [{"field": 1, "label": "x"}])
        butler.insert_dimension("beam", [{"beam": 2, "label": "x"}])
        butler.insert_dimension(
            "antenna", [{"antenna": 1, "pad": "a", "nick": "b"}, {"antenna": 2, "pad": "b", "nick": "c"}]
        )
        butler.insert_dimension("pointing", [{"field": 1, "pointing": 5, "serial": 700}])
        yield butler


def test_bare_name_is_that_of_the_dataset_types_dimension(survey):
    with survey.context("r") as ctx:
        ctx.put({}, "of_field", label="x")
        ctx.put({}, "of_beam", label="x")
    assert [dict(ref.data_id) for ref in ctx.refs] == [{"field": 1}, {"beam": 2}]


def test_bare_name_of_several_is_ambiguous_and_the_full_names_are_not(survey):
    with survey.context("r") as ctx:
        message = refused(ctx.put, {}, "of_both", label="x")
        assert "'field.label' or 'beam.label'" in message
        ctx.put({}, "of_both", {"field.label": "x", "beam.label": "x"})
    assert dict(ctx.refs[0].data_id) == {"field": 1, "beam": 2}


def test_text_that_names_two_records_is_ambiguous(survey):
    with survey.context("r") as ctx:
        message = refused(ctx.put, {}, "of_antenna", antenna="b")
        assert "antenna.pad or antenna.nick" in message
        ctx.put({}, "of_antenna", {"antenna.nick": "b"})
        ctx.put({}, "of_antenna", antenna="c")
    assert [ref.data_id["antenna"] for ref in ctx.refs] == [1, 2]


def test_number_that_identifies_and_a_key_that_is_spelled_itself(survey):
    with survey.context("r") as ctx:
        ctx.put({}, "of_pointing", {"pointing.serial": 700, "field": "x"})
        with pytest.raises(InvalidInputError, match="'700'.*is no value of dimension 'pointing'"):
            ctx.put({}, "of_pointing", pointing="700", field=1)  # its serial is no text
    assert dict(ctx.refs[0].data_id) == {"field": 1, "pointing": 5}


# ---------------------------------------------------------------------------- several repositories


@pytest.fixture
def chained(make_root, open_butler):
    """Open repositories together; each has biases of detectors 1 and 2, and says which of them AMP-X is."""

    def chain(*said):
        roots = []
        for number, detector in enumerate(said):
            with open_butler(make_root(f"chained{number}"), run="r") as butler:
                if detector is not None:
                    butler.insert_dimension("detector", [{"detector": detector, "full_name": "AMP-X"}])
                roots.append(butler._session.repositories[0].root)
        return open_butler(roots, run="r")

    return chain


def put_bias(butler, repository, *detectors):
    root = butler._session.repositories[repository].root
    with Butler(root, run="r", instrument="ST8") as one, one.context() as ctx:
        for detector in detectors:
            ctx.put({"detector": detector}, "bias", detector=detector)


def test_each_repository_is_searched_for_the_key_of_its_own_record(chained):
    butler = chained(1, 2)
    put_bias(butler, 1, 1, 2)
    for keys in ({"full_name": "AMP-X"}, {"detector": "AMP-X"}):
        assert butler.get("bias", keys) == {"detector": 2}
        assert butler.find("bias", keys).data_id["detector"] == 2
    put_bias(butler, 0, 1, 2)
    assert butler.get("bias", full_name="AMP-X") == {"detector": 1}


def test_repository_without_the_record_is_searched_for_the_key_that_another_tells(chained):
    butler = chained(None, 2)
    put_bias(butler, 0, 1, 2)
    assert butler.get("bias", full_name="AMP-X") == {"detector": 2}


def test_repositories_that_tell_different_keys_of_what_a_third_holds_are_refused(chained):
    butler = chained(None, 1, 2)
    put_bias(butler, 0, 1, 2)
    assert "detector=1 or 2, as different repositories" in refused(butler.get, "bias", full_name="AMP-X")
    assert butler.get("bias", detector=2) == {"detector": 2}
