"""Datasets of an export of the Rubin Data Butler, with their collections."""

from uuid import UUID

import attrs
import pytest
from astropy.time import Time

from quantumio import Butler, DatasetType
from quantumio.butler import _imported_datasets
from quantumio.errors import (
    ConflictError,
    ErrorKind,
    FormatError,
    InvalidInputError,
    NotFoundError,
    QuantumioError,
)

IDS = [UUID(f"e15ab039-bc8b-4135-87c5-90902a7c0b0{number}") for number in range(4)]
HEAD = """
description: Butler Data Repository Export
version: 1.0.2
data:
- type: dimension
  element: visit
  records:
  - instrument: Cam
    id: 1
    name: first
    datetime_begin: !butler_time/tai/iso '2025-06-20 01:00:00'
    datetime_end: !butler_time/tai/iso '2025-06-20 02:00:00'
- type: dataset_type
  name: summary
  dimensions: [band, instrument, day_obs, detector, physical_filter, visit]
  storage_class: StructuredDataDict
- type: dataset_type
  name: dark
  dimensions: [instrument, detector]
  storage_class: StructuredDataDict
  is_calibration: true
"""
RUNS = f"""
- type: collection
  collection_type: RUN
  name: made
  host: null
- type: run
  name: empty
- type: dataset
  dataset_type: summary
  run: made
  records:
  - dataset_id: [!uuid {IDS[0]}]
    data_id: [{{instrument: Cam, detector: 1, visit: 1, band: r}}]
    path: made/one.json
    formatter: lsst.daf.butler.formatters.json.JsonFormatter
- type: dataset
  dataset_type: dark
  run: made
  records:
  - dataset_id: !uuid {IDS[1]}
    data_id: {{instrument: Cam, detector: 1}}
    path: made/two.json
  - dataset_id: !uuid {IDS[2]}
    data_id: {{instrument: Cam, detector: 2}}
    path: made/three.yaml
"""
COLLECTIONS = f"""
- type: collection
  collection_type: CHAINED
  name: outer
  children: [inner, made]
- type: collection
  collection_type: CHAINED
  name: inner
  children: [calib]
- type: collection
  collection_type: CALIBRATION
  name: calib
- type: collection
  collection_type: TAGGED
  name: bare
- type: associations
  collection: calib
  collection_type: CALIBRATION
  validity_ranges:
  - timespan: !<!lsst.daf.butler.Timespan>
      begin: null
      end: !butler_time/tai/iso '2025-06-20 01:30:00'
    dataset_ids: [!uuid {IDS[1]}]
- type: associations
  collection: best
  collection_type: TAGGED
  dataset_ids:
  - !uuid {IDS[0]}
  - !uuid {IDS[2]}
- type: notes
"""
CHAIN = "- {type: collection, name: c, collection_type: CHAINED, children: [x]}\n"
DATASET = "- {type: dataset, dataset_type: dark, run: r, records: "


@pytest.fixture
def export(tmp_path):
    """Write an export and its files; return its path."""

    def write(text=HEAD + RUNS + COLLECTIONS):
        made = tmp_path / "exported" / "made"
        made.mkdir(parents=True, exist_ok=True)
        (made / "one.json").write_text('{"n": 1}')
        (made / "two.json").write_text('{"n": 2}')
        (made / "three.yaml").write_text("n: 3\n")
        path = tmp_path / "exported" / "export.yaml"
        path.write_text(text)
        return path

    return write


def test_datasets_keep_their_ids_and_files_and_are_in_their_collections(butler, export):
    result = butler.import_datasets(export())
    assert result.inserted == {"summary": 1, "dark": 2}
    assert result.dimensions.inserted == {"visit": 1}
    assert result.left_out == ("notes",)
    assert [butler.get(id_) for id_ in IDS[:3]] == [{"n": 1}, {"n": 2}, {"n": 3}]
    ref = butler.ref(IDS[0])
    assert (ref.run, dict(ref.data_id)) == ("made", {"instrument": "Cam", "detector": 1, "visit": 1})
    assert butler.where_is(ref)[0].destination == "direct"
    kinds = {record.name: str(record.kind) for record in butler.collections()}
    assert kinds == {
        "made": "RUN",
        "empty": "RUN",
        "calib": "CALIBRATION",
        "best": "TAGGED",
        "bare": "TAGGED",
        "inner": "CHAINED",
        "outer": "CHAINED",
    }
    assert {one.id for one in butler.query(collections="best")} == {IDS[0], IDS[2]}
    found = butler.find("dark", instrument="Cam", visit=1, detector=1, collections="inner")
    assert found.id == IDS[1]
    assert butler.find("dark", instrument="Cam", visit=1, detector=2, collections="outer").id == IDS[2]


def test_import_again_changes_nothing(butler, export):
    butler.import_datasets(export())
    before = butler.query(versions="all", collections="*").count()
    result = butler.import_datasets(export())
    assert result.inserted == {"summary": 0, "dark": 0}
    assert butler.query(versions="all", collections="*").count() == before == 3


def test_what_is_missing_after_a_mishap_is_inserted_by_the_next_import(butler, export, monkeypatch):
    path, ingest, runs = export(), _imported_datasets.ingest_files, []

    def dies_at_the_second(*arguments, **options):
        runs.append(options["run"])
        if runs[1:]:
            raise KeyboardInterrupt
        return ingest(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(_imported_datasets, "ingest_files", dies_at_the_second)
        butler.import_datasets(path)
    assert [butler.exists(id_) for id_ in IDS[:3]] == [True, False, False]
    assert butler.import_datasets(export()).inserted == {"summary": 0, "dark": 2}
    assert [butler.exists(id_) for id_ in IDS[:3]] == [True, True, True]


def test_files_may_be_copied_and_be_elsewhere(butler, export, tmp_path):
    path = export()
    (tmp_path / "exported" / "made").rename(tmp_path / "made")
    butler.import_datasets(path, root=tmp_path, transfer="copy")
    (tmp_path / "made" / "one.json").unlink()
    assert butler.get(IDS[0]) == {"n": 1}
    assert butler.where_is(IDS[0])[0].destination == "local"


@pytest.mark.parametrize("transfer", ["copy", "link", "move"])
@pytest.mark.parametrize("how", ["up", "absolute", "link", "directory"])
def test_files_that_are_not_beneath_the_root_are_not_brought(butler, export, tmp_path, transfer, how):
    (tmp_path / "mine").mkdir()
    (private := tmp_path / "mine" / "private.json").write_text('{"n": 9}')
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "link.json").symlink_to(private)
    (tmp_path / "exported" / "directory").symlink_to(private.parent)
    path = {
        "up": "../mine/private.json",
        "absolute": str(private),
        "link": "link.json",
        "directory": "directory/private.json",
    }[how]
    with pytest.raises(InvalidInputError, match=f"{path} of the export is not beneath") as caught:
        butler.import_datasets(export((HEAD + RUNS).replace("made/two.json", path)), transfer=transfer)
    assert caught.value.kind is ErrorKind.NAME
    assert private.read_text() == '{"n": 9}'
    assert (tmp_path / "exported" / "made" / "one.json").exists()
    assert butler.collections() == []
    assert butler.query_dimension_records("visit") == []


def test_links_that_stay_beneath_the_root_are_followed(butler, export, tmp_path):
    path = export(HEAD + RUNS)
    (tmp_path / "exported").rename(tmp_path / "real")
    (tmp_path / "exported").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "made" / "two.json").rename(tmp_path / "real" / "other.json")
    (tmp_path / "real" / "made" / "two.json").symlink_to("../other.json")
    butler.import_datasets(path, transfer="copy")
    assert butler.get(IDS[1]) == {"n": 2}


def test_files_that_stay_may_be_anywhere(butler, export, tmp_path):
    (elsewhere := tmp_path / "elsewhere.json").write_text('{"n": 9}')
    butler.import_datasets(export((HEAD + RUNS).replace("made/two.json", str(elsewhere))))
    assert butler.get(IDS[1]) == {"n": 9}


def test_storage_classes_may_have_other_names(butler, export):
    text = (HEAD + RUNS).replace("StructuredDataDict", "Summary")
    with pytest.raises(InvalidInputError, match="Summary"):
        butler.import_datasets(export(text))
    assert butler.query_dimension_records("visit") == []
    butler.import_datasets(export(text), storage_classes={"Summary": "Mapping"})
    assert butler.get(IDS[0]) == {"n": 1}


def test_paths_of_files_may_be_urls(butler, export, tmp_path):
    path = export()
    url = (tmp_path / "exported" / "made" / "one.json").as_uri()
    butler.import_datasets(export(path.read_text().replace("made/one.json", url)))
    assert butler.get(IDS[0]) == {"n": 1}


def test_id_of_another_dataset_is_a_conflict(butler, export):
    butler.import_datasets(export())
    with pytest.raises(ConflictError, match=str(IDS[2])):
        butler.import_datasets(export((HEAD + RUNS).replace("detector: 2", "detector: 3")))


def test_data_id_with_two_ids_in_the_export_is_a_conflict_that_names_both(butler, export):
    text = HEAD + RUNS.replace("instrument: Cam, detector: 2", "instrument: Cam, detector: 1")
    with pytest.raises(ConflictError, match=f"{IDS[1]} and {IDS[2]}"):
        butler.import_datasets(export(text))
    assert butler.collections() == []
    assert butler.query_dimension_records("visit") == []


def test_data_id_that_is_in_the_run_already_is_a_conflict_that_names_both(butler, export):
    butler.import_datasets(export())
    text = (HEAD + RUNS).replace(str(IDS[2]), str(IDS[3])).replace("name: empty", "name: other")
    with pytest.raises(ConflictError, match=f"is {IDS[3]} in the export, and {IDS[2]} is there"):
        butler.import_datasets(export(text))
    assert [
        version.ref.id for version in butler.versions("dark", run="made", instrument="Cam", detector=2)
    ] == [IDS[2]]
    assert "other" not in [record.name for record in butler.collections()]


def test_data_id_that_came_into_the_run_meanwhile_is_a_conflict(butler, export, monkeypatch):
    path = export()
    catalog = butler._session.repositories[0].catalog
    insert_dimension = catalog.insert_dimension

    def insert_after_somebody_else(element, records):
        butler.register_dataset_type(DatasetType("dark", dimensions=["detector"], storage_class="Mapping"))
        with butler.context(run="made") as ctx:
            ctx.put({"n": 0}, "dark", instrument="Cam", detector=2)
        return insert_dimension(element, records)

    monkeypatch.setattr(catalog, "insert_dimension", insert_after_somebody_else)
    with pytest.raises(ConflictError):
        butler.import_datasets(path)
    assert butler.get("dark", instrument="Cam", detector=2, collections="made") == {"n": 0}
    assert len(butler.versions("dark", run="made", instrument="Cam", detector=2)) == 1


def test_version_after_an_imported_one_is_no_conflict_with_it(butler, export):
    butler.import_datasets(export())
    with butler.context(run="made") as ctx:
        ctx.put({"n": 4}, "dark", instrument="Cam", detector=2)
    assert butler.import_datasets(export()).inserted == {"summary": 0, "dark": 0}
    assert butler.get("dark", instrument="Cam", detector=2, collections="made") == {"n": 4}


def test_one_id_in_two_runs_is_a_conflict_and_nothing_is_inserted(butler, export):
    again = RUNS[RUNS.index("- type: dataset\n") :].replace("run: made", "run: empty")
    with pytest.raises(ConflictError, match=f"one id in the export: {IDS[0]}"):
        butler.import_datasets(export(HEAD + RUNS + again))
    assert butler.collections() == []


def test_dataset_type_that_is_there_otherwise_is_a_conflict_and_nothing_is_inserted(butler, export):
    butler.register_dataset_type(DatasetType("dark", dimensions=["visit"], storage_class="Mapping"))
    with pytest.raises(ConflictError, match="dark"):
        butler.import_datasets(export())
    assert butler.collections() == []
    assert butler.query_dimension_records("visit") == []


def test_ids_that_are_nowhere_are_told(butler, export):
    text = (HEAD + RUNS + COLLECTIONS).replace(f"  - !uuid {IDS[2]}\n-", f"  - !uuid {IDS[3]}\n-")
    with pytest.raises(NotFoundError, match=str(IDS[3])):
        butler.import_datasets(export(text))


def test_chain_of_unknown_collections_and_chains_in_a_circle_are_refused(butler, export):
    chains = "- {type: collection, collection_type: CHAINED, name: a, children: [nowhere]}\n"
    with pytest.raises(NotFoundError, match="nowhere"):
        butler.import_datasets(export(HEAD + chains))
    circle = chains.replace("nowhere", "b") + chains.replace("nowhere", "a").replace("name: a", "name: b")
    with pytest.raises((NotFoundError, ConflictError)):
        butler.import_datasets(export(HEAD + circle))


def test_chain_that_is_there_otherwise_is_left_and_nothing_is_inserted(butler, export):
    butler.register_run("mine")
    butler.chain("outer", ["mine"])
    with pytest.raises(ConflictError, match="'outer' is of mine here, and of inner, made in the export"):
        butler.import_datasets(export())
    assert {record.name: record.children for record in butler.collections()} == {
        "mine": (),
        "outer": ("mine",),
    }
    assert butler.query_dimension_records("visit") == []


def test_collection_that_is_there_as_another_kind_is_a_conflict_and_nothing_is_inserted(butler, export):
    butler.register_run("calib")
    with pytest.raises(ConflictError, match="'calib' is RUN here, and CALIBRATION in the export"):
        butler.import_datasets(export())
    assert [record.name for record in butler.collections()] == ["calib"]
    assert butler.query_dimension_records("visit") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {type: run}", "entry 3.*run"),
        ("- {type: collection, name: a, collection_type: HEAP}", "HEAP"),
        ("- {type: dataset, dataset_type: dark, run: r, records: [1]}", "dataset"),
        (
            "- {type: dataset, dataset_type: dark, run: r, records: [{dataset_id: 1, data_id: {}, path: p}]}",
            "UUID",
        ),
        ("- {type: associations, collection: c, collection_type: TAGGED, dataset_ids: [1]}", "UUID"),
        ("- {type: run, name: 5}", "entry 3.*name is no text: 5"),
        ("- {type: collection, name: c, collection_type: CHAINED, children: ab}", "entry 3.*children.*'ab'"),
        (CHAIN.replace("[x]", "[[x]]"), "entry 3.*children"),
        (CHAIN.replace("[x]", "[a]") + CHAIN.replace("[x]", "[b]"), "entry 4.*'c' is two chains"),
        ("- {type: dataset_type, name: t, dimensions: [[a]], storage_class: Mapping}", "entry 3.*dimensions"),
        ("- {type: dataset_type, name: t, dimensions: detector, storage_class: Mapping}", "'detector'"),
        ("- {type: dataset_type, name: t, dimensions: [], storage_class: null}", "storage_class"),
        (
            DATASET + f"[{{dataset_id: [!uuid {IDS[0]}], data_id: [], path: p}}]}}",
            "entry 3.*no data ID",
        ),
        (DATASET + f"[{{dataset_id: [!uuid {IDS[0]}], data_id: [x], path: p}}]}}", "p has no data ID"),
        (DATASET + f"[{{dataset_id: !uuid {IDS[0]}, data_id: {{}}, path: null}}]}}", "path is no text"),
        (DATASET + f'[{{dataset_id: !uuid {IDS[0]}, data_id: {{}}, path: "a\\0b"}}]}}', "entry 3.*no file"),
    ],
)
def test_entries_that_cannot_be_read_are_named_and_change_nothing(butler, export, text, message):
    with pytest.raises(FormatError, match=message) as caught:
        butler.import_datasets(export(HEAD + text))
    assert caught.value.kind is ErrorKind.DECODE
    assert butler.query_dimension_records("visit") == []


def test_file_with_several_datasets_is_refused(butler, export):
    several = RUNS.replace(f"[!uuid {IDS[0]}]", f"[!uuid {IDS[0]}, !uuid {IDS[3]}]")
    with pytest.raises(InvalidInputError, match="one.json holds 2 datasets"):
        butler.import_datasets(export(HEAD + several))


def test_dataset_that_is_exported_twice_is_inserted_once_and_two_under_one_id_are_refused(butler, export):
    again = RUNS[RUNS.index("- type: dataset\n") :]
    with pytest.raises(FormatError, match=f"{IDS[2]} is two datasets"):
        butler.import_datasets(export(HEAD + RUNS + again.replace("detector: 2", "detector: 3")))
    assert butler.import_datasets(export(HEAD + RUNS + again)).inserted == {"summary": 1, "dark": 2}


def test_dimension_that_is_not_known_here_is_named(butler, export):
    with pytest.raises(InvalidInputError, match="'subfilter'"):
        butler.import_datasets(export(HEAD.replace("[instrument, detector]", "[instrument, subfilter]")))


def test_key_that_does_not_belong_is_refused(butler, export):
    with pytest.raises(InvalidInputError, match="tract"):
        butler.import_datasets(export(HEAD + RUNS.replace("detector: 2}", "detector: 2, tract: 1}")))


def test_validity_that_conflicts_is_told(butler, export):
    butler.import_datasets(export())
    with butler.context(run="mine") as ctx:
        ctx.put({}, "dark", instrument="Cam", detector=1)
    butler.decertify("calib", "dark", None, None)
    butler.certify("calib", ctx.refs, None, Time("2025-01-01"))
    with pytest.raises(ConflictError, match="dark"):
        butler.import_datasets(export())
    assert butler.exists(IDS[1])


def everything(root):
    """Return all files beneath a directory with their bytes, except for locks and logs that readers keep."""
    return {
        path.relative_to(root): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


@pytest.mark.parametrize("transfer", ["direct", "copy", "move"])
def test_dry_run_tells_what_the_import_does_and_changes_nothing(butler, export, make_root, transfer):
    path, root = export(), make_root("untouched")
    before = everything(root), everything(path.parent)
    with Butler(root, readonly=True) as reader:
        told = reader.import_datasets(path, dry_run=True, transfer=transfer)
        assert reader.collections() == []
        assert reader.query_dimension_records("visit") == []
    assert (everything(root), everything(path.parent)) == before
    assert (told.dry_run, told.dimensions.dry_run, told.refused, told.dimensions.refused) == (
        True,
        True,
        (),
        (),
    )
    assert (told.inserted, told.there) == ({"summary": 1, "dark": 2}, {"summary": 0, "dark": 0})
    assert told.dataset_types == ("dark", "summary")
    assert told.collections == ("bare", "best", "calib", "empty", "inner", "made", "outer")
    assert told.members == {"best": 2, "calib": 1}
    done = butler.import_datasets(path)
    off = {"dry_run": False}
    assert attrs.evolve(told, dimensions=attrs.evolve(told.dimensions, **off), **off) == done
    again = butler.import_datasets(path, dry_run=True)
    assert (again.inserted, again.there) == ({"summary": 0, "dark": 0}, {"summary": 1, "dark": 2})
    assert (again.dimensions.inserted, again.dimensions.there) == ({"visit": 0}, {"visit": 1})
    assert (again.members, again.collections, again.refused) == ({"best": 0, "calib": 0}, (), ())


def test_dry_run_tells_all_that_is_refused(butler, export, tmp_path):
    butler.register_dataset_type(DatasetType("dark", dimensions=["detector"], storage_class="Mapping"))
    butler.insert_dimension("visit", [{"instrument": "Cam", "visit": 1, "name": "other"}])
    with butler.context(run="mine") as ctx:
        ctx.put({}, "dark", instrument="Cam", detector=1)
    butler.certify("calib", ctx.refs, None, Time("2025-01-01"))
    with butler.context(run="made") as ctx:
        ctx.put({}, "dark", instrument="Cam", detector=2)
    butler.associate("best", ctx.refs)
    butler.register_run("bare")
    butler.chain("outer", ["mine"])
    text = (HEAD + RUNS + COLLECTIONS).replace(f"  - !uuid {IDS[2]}\n-", f"  - !uuid {IDS[3]}\n-")
    chains = "- {type: collection, collection_type: CHAINED, name: a, children: [b]}\n"
    chains += chains.replace("[b]", "[a]").replace("name: a", "name: b") + CHAIN
    path = export(text + chains)
    (path.parent / "made" / "two.json").write_text("{")
    (path.parent / "made" / "one.json").unlink()
    before = everything(butler._session.repositories[0].root)
    told = butler.import_datasets(path, dry_run=True)
    assert everything(butler._session.repositories[0].root) == before
    for words in (
        "'bare' is RUN here, and TAGGED in the export",
        "'outer' is of mine here, and of inner, made",
        "chain 'c' of the export searches 'x', which it does not hold",
        "chain 'a' of the export searches b, which cannot be made",
        "chain 'b' of the export searches a, which cannot be made",
        f"{IDS[2]} in the export, and {ctx.refs[0].id} is there already",
        f"the export puts {IDS[3]} into a collection",
        "cannot go into 'calib'",
        "one.json",
        "two.json",
    ):
        assert sum(words in refused for refused in told.refused) == 1, words
    assert len(told.refused) == 10
    (conflict,) = told.dimensions.refused
    assert "with name='other', not 'first'" in conflict
    assert (told.inserted, told.members["calib"]) == ({"summary": 1, "dark": 1}, 0)
    with pytest.raises(QuantumioError):
        butler.import_datasets(path)
    assert everything(butler._session.repositories[0].root) == before


def test_members_that_contradict_one_another_in_the_export_are_refused(butler, export):
    tags = (
        f"- {{type: associations, collection: t, collection_type: TAGGED, dataset_ids: [!uuid {IDS[1]}]}}\n"
    )
    more = RUNS.replace("name: made", "name: made2").replace("run: made", "run: made2")
    for number in (0, 1, 2):
        more = more.replace(str(IDS[number]), f"e15ab039-bc8b-4135-87c5-90902a7c0b1{number}")
    text = (
        HEAD + RUNS + more + tags + tags + tags.replace(str(IDS[1]), "e15ab039-bc8b-4135-87c5-90902a7c0b11")
    )
    told = butler.import_datasets(export(text), dry_run=True)
    assert told.members == {"t": 1}
    (refused,) = told.refused
    assert f"cannot go into 't': {IDS[1]} of the same data ID is in it" in refused
    with pytest.raises(ConflictError, match="cannot go into 't'") as error:
        butler.import_datasets(export(text))
    assert error.value.kind is ErrorKind.EXISTS
    assert butler.collections() == []


def test_policy_that_takes_no_files_is_told_by_a_dry_run(make_root, open_butler, export):
    root = make_root("temporary", {"rules": [{"datasets": "dark", "to": ["temporary"]}]})
    butler = open_butler(root)
    told = butler.import_datasets(export(HEAD + RUNS), dry_run=True, transfer="move")
    assert [words for words in told.refused if "takes no files" in words]
    with pytest.raises(InvalidInputError, match="'dark'"):
        butler.import_datasets(export(HEAD + RUNS), transfer="move")


FULL = HEAD + RUNS + COLLECTIONS
TOO_LONG = "a" * 201


def nothing_is_inserted(butler, path, words, error, kind, *, refused=1):
    """Check that a dry run tells so, that the import raises it, and that both change nothing."""
    root = butler._session.repositories[0].root
    before = everything(root)
    told = butler.import_datasets(path, dry_run=True)
    assert [words in one for one in told.refused] == [True] * refused
    with pytest.raises(error) as caught:
        butler.import_datasets(path)
    assert words in caught.value.message
    assert caught.value.kind is kind
    assert everything(root) == before


@pytest.mark.parametrize("name", ["bad name!", "", "a/../b", "\u00e9", "x*", "/a", TOO_LONG])
@pytest.mark.parametrize("old", ["name: bare", "name: empty", "name: outer", "collection: best"])
def test_name_that_no_collection_can_have_is_refused(butler, export, old, name):
    path = export(FULL.replace(old, f"{old.split()[0]} '{name}'"))
    words = f"{name!r:.80} is no name for a collection"
    nothing_is_inserted(butler, path, words, InvalidInputError, ErrorKind.NAME)


def test_run_of_datasets_whose_name_no_collection_can_have_is_refused(butler, export):
    path = export(FULL.replace("run: made", "run: 'bad name!'"))
    nothing_is_inserted(butler, path, "'bad name!' is no name", InvalidInputError, ErrorKind.NAME)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("name: bare\n", "name: calib\n", "'calib' is CALIBRATION and TAGGED"),
        ("name: bare\n", "name: made\n", "'made' is RUN and TAGGED"),
        ("name: bare\n", "name: outer\n", "'outer' is CHAINED and TAGGED"),
        ("collection: best\n", "collection: calib\n", "'calib' is CALIBRATION and TAGGED"),
    ],
)
def test_collection_of_two_kinds_in_the_export_is_refused(butler, export, old, new, words):
    path = export(FULL.replace(old, new))
    nothing_is_inserted(butler, path, words, ConflictError, ErrorKind.EXISTS)


def test_chain_that_names_a_child_twice_is_refused(butler, export):
    path = export(FULL.replace("children: [inner, made]", "children: [made, made]"))
    words = "the chain 'outer' of the export names 'made' twice"
    nothing_is_inserted(butler, path, words, InvalidInputError, ErrorKind.COLLECTION)


def test_validity_in_no_time_is_refused(butler, export):
    path = export(FULL.replace("begin: null", "begin: !butler_time/tai/iso '2025-06-20 01:30:00'"))
    words = "of 1 datasets in 'calib' in the export is empty"
    nothing_is_inserted(butler, path, words, InvalidInputError, ErrorKind.TIMESPAN)


def test_datasets_that_were_deleted_here_are_refused(butler, export):
    path = export()
    butler.import_datasets(path)
    butler.disassociate("best", list(butler.query(collections="best")))
    butler.decertify("calib", "dark", None, None)
    butler.delete(butler.query("dark", collections="made"), dry_run=False)
    told = butler.import_datasets(path, dry_run=True)
    assert (told.inserted, told.there) == ({"summary": 0, "dark": 0}, {"summary": 1, "dark": 0})
    assert str(IDS[1]) in told.refused[0]
    nothing_is_inserted(butler, path, "was deleted here", ConflictError, ErrorKind.REMOVED, refused=2)


@pytest.mark.parametrize("transfer", ["copy", "move"])
def test_dry_run_begins_no_store(butler, export, transfer):
    path, root = export(), butler._session.repositories[0].root
    before = sorted(root.rglob("*"))
    assert not (root / "data").exists()
    assert butler.import_datasets(path, dry_run=True, transfer=transfer).refused == ()
    assert sorted(root.rglob("*")) == before
    butler.import_datasets(path, transfer=transfer)
    assert (root / "data" / "_qio" / "store.json").exists()


def test_dry_run_tells_that_a_store_in_use_is_not_there(make_root, open_butler, export):
    root, path = make_root(), export(HEAD + RUNS)
    with Butler(root) as butler, butler.context(run="mine") as ctx:
        ctx.put({"n": 0}, "bias", instrument="Cam", detector=1)
    (root / "data").rename(root / "unmounted")
    butler = open_butler(root)
    refused = butler.import_datasets(path, dry_run=True, transfer="copy").refused
    assert ["its store is not at" in one for one in refused] == [True, True]
    assert not (root / "data").exists()


@pytest.mark.parametrize("readonly", [False, True])
def test_dry_run_tells_that_a_workspace_in_use_is_not_there(
    make_root, open_butler, export, tmp_path, readonly
):
    config = {
        "destinations": {"own": {"kind": "workspace", "root": str(tmp_path / "spaces" / "{user}")}},
        "rules": [{"to": "own"}],
    }
    root, path = make_root("shared", config), export(HEAD + RUNS)
    with Butler(root) as butler:
        assert butler.import_datasets(path, dry_run=True, transfer="copy").refused == ()
        assert not (tmp_path / "spaces").exists()
        with butler.context(run="mine") as ctx:
            ctx.put({"n": 0}, "bias", instrument="Cam", detector=1)
        assert butler.import_datasets(path, dry_run=True, transfer="copy").refused == ()
    (tmp_path / "spaces").rename(tmp_path / "unmounted")
    with Butler(root, readonly=readonly) as butler:
        refused = butler.import_datasets(path, dry_run=True, transfer="copy").refused
    assert [f"its store is not at file://{tmp_path}/spaces" in one for one in refused] == [True, True]
    assert not (tmp_path / "spaces").exists()


@pytest.mark.parametrize("transfer", ["direct", "copy", "move"])
def test_files_that_cannot_be_read_are_all_named_before_anything_is_inserted(butler, export, transfer):
    """The run before that of an unreadable file was inserted, and the dimensions."""
    path = export()
    made = path.parent / "made"
    (made / "two.json").write_text("{")
    (made / "three.yaml").unlink()
    before = everything(butler._session.repositories[0].root)
    with pytest.raises(FormatError, match=r"two\.json.*as well .*three\.yaml"):
        butler.import_datasets(path, transfer=transfer)
    assert everything(butler._session.repositories[0].root) == before
    assert sorted(one.name for one in made.iterdir()) == ["one.json", "two.json"]
    (made / "two.json").write_text('{"n": 2}')
    with pytest.raises(NotFoundError, match=r"three\.yaml") as error:
        butler.import_datasets(path, transfer=transfer)
    assert "as well" not in str(error.value)
    assert everything(butler._session.repositories[0].root) == before
    (made / "three.yaml").write_text("n: 3\n")
    assert butler.import_datasets(path, transfer=transfer).inserted == {"summary": 1, "dark": 2}


def test_of_many_files_that_cannot_be_read_some_are_named(butler, export):
    text = "".join(
        f"  - {{dataset_id: !uuid {UUID(int=number)}, data_id: {{instrument: Cam, detector: {number}}}, "
        f"path: made/lost{number}.json}}\n"
        for number in range(3, 20)
    )
    with pytest.raises(NotFoundError, match=r"lost3\.json.*lost13\.json.*; and 6 more"):
        butler.import_datasets(export(HEAD + RUNS + text))


def test_dry_run_tells_that_files_would_be_moved_into_memory(make_root, open_butler, export):
    config = {
        "destinations": {"scratch": {"kind": "memory"}},
        "rules": [{"datasets": "dark", "to": ["scratch"]}],
    }
    butler = open_butler(make_root("memory", config))
    (refused,) = butler.import_datasets(export(HEAD + RUNS), dry_run=True, transfer="move").refused
    assert "keeps 'dark' in memory alone" in refused
