"""Commands that take in exports."""

import pytest

EXPORT = """
description: Butler Data Repository Export
version: 1.0.2
data:
- type: dimension
  element: visit
  records:
  - {instrument: HSC, id: 1228, name: HSCA00122800, exposure_time: 30.0, azimuth: 161.4}
- type: dataset_type
  name: constants
  dimensions: [instrument, detector]
  storage_class: Constants
- type: dataset
  dataset_type: constants
  run: HSC/made
  records:
  - dataset_id: [!uuid e15ab039-bc8b-4135-87c5-90902a7c0b22]
    data_id: [{instrument: HSC, detector: 50}]
    path: constants.yaml
"""


@pytest.fixture
def export(tmp_path):
    """Write an export of a visit and a dataset."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "constants.yaml").write_text("gain: 1.7\n")
    path = tmp_path / "export.yaml"
    path.write_text(EXPORT)
    return path


def test_dimension_records_are_imported_once(quantumio, export):
    document = quantumio("import", "dimensions", export, "--json").document
    assert document == {
        "dry_run": False,
        "inserted": {"visit": 1},
        "there": {"visit": 0},
        "left_out": ["visit.azimuth"],
        "refused": [],
    }
    assert quantumio("import", "dimensions", export).lines == [
        "dimension  new  there",
        "visit        0      1",
        "No place here for visit.azimuth.",
    ]


def test_datasets_are_imported_with_their_files(quantumio, export):
    arguments = (
        "import",
        "datasets",
        export,
        "--storage-class",
        "Constants=Mapping",
        "--root",
        export.parent / "files",
    )
    document = quantumio(*arguments, "--transfer", "copy", "--json").document
    assert document["inserted"] == {"constants": 1}
    assert document["dimensions"]["inserted"] == {"visit": 1}
    assert "constants       0      1" in quantumio(*arguments).lines
    found = quantumio("get", "e15ab039-bc8b-4135-87c5-90902a7c0b22", "--json").document
    assert (found["run"], found["summary"]["value"]) == ("HSC/made", {"gain": 1.7})


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["dimensions", "nowhere.yaml"], 3, "nowhere.yaml"),
        (["datasets", "nowhere.yaml"], 3, "nowhere.yaml"),
        (["dimensions", "."], 6, "."),
        (["datasets", "{export}"], 2, "Constants"),
        (["datasets", "{export}", "--storage-class", "Mapping"], 2, "'Mapping'"),
        (["datasets", "{export}", "--storage-class", "Constants=Mapping"], 3, "constants.yaml"),
    ],
)
def test_what_cannot_be_imported_is_told(quantumio, export, arguments, code, named):
    done = quantumio("import", *(one.format(export=export) for one in arguments), "--json", fails=True)
    assert done.exit_code == code
    assert named in done.error["message"]


def test_a_file_that_is_no_export_is_told(quantumio, stats):
    done = quantumio("import", "dimensions", stats, "--json", fails=True)
    assert done.exit_code == 7
    assert str(stats) in " ".join(done.error["notes"])


def test_dry_run_tells_and_changes_nothing(quantumio, export):
    files = ("import", "datasets", export, "--storage-class", "Constants=Mapping", "--dry-run")
    assert quantumio("import", "dimensions", export, "--dry-run").lines == [
        "dimension  would be new  there",
        "visit                 1      0",
        "No place here for visit.azimuth.",
    ]
    done = quantumio(*files, "--root", export.parent / "files", "--json").document
    assert (done["dry_run"], done["inserted"], done["there"]) == (True, {"constants": 1}, {"constants": 0})
    assert (done["dataset_types"], done["collections"]) == (["constants"], ["HSC/made"])
    assert quantumio("collections", "--json").document == {"collections": []}
    missing = quantumio(*files, fails=True)
    assert missing.exit_code == 4
    assert "Collections that would be new: HSC/made." in missing.lines
    assert "constants.yaml" in missing.stderr
    refused = quantumio(*files, "--json", fails=True)
    assert "constants.yaml" in refused.document["refused"][0]
    assert refused.error["exit_code"] == 4
