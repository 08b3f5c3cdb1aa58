"""What the Rubin Data Butler exports is here what it was there."""

from pathlib import Path

import pytest
from astropy.time import Time

from quantumio import Butler
from tests.peer import world

pytestmark = pytest.mark.filterwarnings("ignore")  # of the peer

CAM = {"instrument": "Cam"}


@pytest.fixture
def exported(tmp_path) -> tuple[Path, dict]:
    """Summaries of two visits, valid, tagged and chained; the export, and the ids of the datasets."""
    pytest.importorskip("lsst.daf.butler", reason="no lsst-daf-butler (quantumio[peer]) that exports")
    from lsst.daf.butler import CollectionType, DatasetType

    from tests.peer.peer_adapter import Peer

    Peer.create(tmp_path / "peer")
    peer = Peer(tmp_path / "peer")
    butler = peer._butler
    for name, dimensions in (("summary", ["visit", "band"]), ("constants", ["detector"])):
        butler.registry.registerDatasetType(
            DatasetType(
                name, dimensions, "StructuredDataDict", universe=butler.dimensions, isCalibration=True
            )
        )
    butler.collections.register("made", CollectionType.RUN)
    refs = {
        visit: butler.put({"of": visit}, "summary", {**CAM, "visit": visit, "band": "r"}, run="made")
        for visit in (1, 2)
    }
    refs |= {"c": butler.put({"of": "c"}, "constants", {**CAM, "detector": 0}, run="made")}
    peer.certify("calib", [refs["c"]], world.HOURS[0], world.HOURS[2])
    peer.tag("picked", [refs[1]])
    peer.chain("best", ["picked", "calib"])
    (out := tmp_path / "out").mkdir()
    with butler.export(directory=str(out), filename=str(out / "export.yaml"), transfer="copy") as export:
        export.saveDatasets(list(refs.values()))
        for element in ("instrument", "physical_filter", "day_obs", "visit", "visit_detector_region"):
            export.saveDimensionData(element, butler.registry.queryDimensionRecords(element))
        export.saveDimensionData("patch", butler.registry.queryDimensionRecords("patch"))
        for collection in ("best", "picked", "calib"):
            export.saveCollection(collection)
    ids = {name: ref.id for name, ref in refs.items()}
    peer.close()
    return out / "export.yaml", ids


def test_datasets_collections_records_and_regions_of_the_peer(exported, tmp_path):
    path, ids = exported
    with Butler.create(tmp_path / "ours") as butler:
        result = butler.import_datasets(path)
        assert result.inserted == {"summary": 2, "constants": 1}
        assert result.left_out == ()
        assert {name: butler.get(id_) for name, id_ in ids.items()} == {
            1: {"of": 1},
            2: {"of": 2},
            "c": {"of": "c"},
        }
        assert butler.find("summary", CAM, visit="vis-1", band="r", collections="best").id == ids[1]
        assert butler.find("summary", CAM, visit=2, band="r", collections="best") is None
        at_the_time = [
            butler.find("constants", CAM, visit=visit, detector=0, collections="best") for visit in (1, 2)
        ]
        assert [found and found.id for found in at_the_time] == [ids["c"], None]
        (visit,) = butler.query_dimension_records("visit", where="visit = 3")
        assert visit["timespan"].begin == Time("2025-06-20T03:00:00", scale="tai")
        given = [float(number) for number in world.square(11.3).split()[1:]]
        assert sorted(visit["region"].coordinates) == pytest.approx(
            sorted(number % 360 if index % 2 == 0 else number for index, number in enumerate(given))
        )
        assert len(butler.query_dimension_records("patch")) == 4
        assert butler.import_datasets(path).inserted == {"summary": 0, "constants": 0}
