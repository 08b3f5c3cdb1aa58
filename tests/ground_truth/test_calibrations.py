"""Validity ranges of a real camera, with what another registry finds for its visits and at single moments."""

from collections import Counter
from pathlib import Path

from quantumio.errors import ConflictError, ErrorKind
from quantumio.model import Committed, DataId, DatasetRef, DatasetType, OutputRecord, Timespan, Transaction
from quantumio.registry import SqlCatalog
from quantumio.system import environment
from tests.ground_truth.conftest import rows_of

Key = tuple[str, str, DataId]
_BEGIN, _END = Timespan().begin_ns, Timespan().end_ns
_AMBIGUOUS = "ERROR:CalibrationLookupError"


def test_calibrations_of_a_real_camera_are_found(empty_catalog: SqlCatalog, registry_truth: Path) -> None:
    directory = registry_truth / "hsc-rc2-calib"
    certifications = rows_of(directory / "hsc_calib_certifications.csv")
    assert len(certifications) == 4366
    types = _registered(empty_catalog, certifications)
    _certify(empty_catalog, types, certifications)
    empty_catalog.set_chain("HSC/defaults", ["HSC/calib/override", "HSC/calib"])

    by_visit = [
        (row, Timespan(int(row["visit_begin_ns"]), int(row["visit_end_ns"])))
        for row in rows_of(directory / "hsc_gt_calib_by_visit.csv")
    ]
    assert _differences(empty_catalog, types, by_visit) == []
    assert _kinds(by_visit) == {"found": 4102, "none": 256, "ambiguous": 170}
    by_instant = [
        (row, Timespan(int(row["instant_ns"]), int(row["instant_ns"]) + 1))
        for row in rows_of(directory / "hsc_gt_calib_by_instant.csv")
    ]
    assert _differences(empty_catalog, types, by_instant) == []
    assert _kinds(by_instant) == {"found": 526, "none": 152}
    for asked in (by_visit, by_instant):
        assert _differences_of_all(empty_catalog, types, asked) == []


def _registered(catalog: SqlCatalog, rows: list[dict[str, str]]) -> dict[str, DatasetType]:
    types = {}
    for name in {row["dataset_type"] for row in rows}:
        dimensions = ("instrument", "detector", *(("physical_filter",) if name == "flat" else ()))
        catalog.register_dataset_type(DatasetType(name, dimensions=dimensions, storage_class="CCDData"))
        types[name] = catalog.dataset_type(name)
    return types


def _data_id(dataset_type: DatasetType, row: dict[str, str]) -> DataId:
    return DataId(
        {name: int(row[name]) if name == "detector" else row[name] for name in dataset_type.dimensions}
    )


def _key(types: dict[str, DatasetType], row: dict[str, str]) -> Key:
    dataset_type = types[row["dataset_type"]]
    return row["run"], dataset_type.name, _data_id(dataset_type, row)


def _certify(catalog: SqlCatalog, types: dict[str, DatasetType], rows: list[dict[str, str]]) -> None:
    refs: dict[Key, DatasetRef] = {}
    for run in {row["run"] for row in rows}:
        outputs = tuple(
            OutputRecord(
                ref=DatasetRef(environment.uuid7(), types[name], data_id, run), expect=None, artifacts=()
            )
            for _, name, data_id in dict.fromkeys(_key(types, row) for row in rows if row["run"] == run)
        )
        transaction = Transaction(txid=environment.uuid7(), run=run, key=None, outputs=outputs)
        (outcome,) = catalog.flip([transaction])
        assert isinstance(outcome, Committed)
        refs |= {(run, ref.dataset_type.name, ref.data_id): ref for ref in outcome.refs}
    together: dict[tuple[str, Timespan], list[DatasetRef]] = {}
    for row in rows:
        span = Timespan(int(row["valid_begin_ns"] or _BEGIN), int(row["valid_end_ns"] or _END))
        together.setdefault((row["collection"], span), []).append(refs[_key(types, row)])
    for (collection, span), members in together.items():
        catalog.certify(collection, members, span)


def _differences(
    catalog: SqlCatalog, types: dict[str, DatasetType], asked: list[tuple[dict[str, str], Timespan]]
) -> list[tuple[dict[str, str], str]]:
    """Return the look-ups that give something else than they should, with what they give."""
    wrong = []
    for row, span in asked:
        dataset_type = types[row["dataset_type"]]
        try:
            found = catalog.find(
                dataset_type, _data_id(dataset_type, row), [row["collection"]], timespan=span
            )
            run = "" if found is None else found.ref.run
        except ConflictError as error:
            run = _AMBIGUOUS if error.kind is ErrorKind.AMBIGUOUS_CALIBRATION else str(error)
        if run != row["found_run"]:
            wrong.append((row, run))
    return wrong


def _differences_of_all(
    catalog: SqlCatalog, types: dict[str, DatasetType], asked: list[tuple[dict[str, str], Timespan]]
) -> list[tuple[dict[str, str], str]]:
    """Return the same as `_differences`, of look-ups of all data IDs of a collection at once."""
    wrong = []
    for name, collection in {(row["dataset_type"], row["collection"]) for row, _ in asked}:
        some = [
            (row, span)
            for row, span in asked
            if (row["dataset_type"], row["collection"]) == (name, collection)
        ]
        data_ids = [_data_id(types[name], row) for row, _ in some]
        values = {
            dimension: [data_id[dimension] for data_id in data_ids] for dimension in types[name].dimensions
        }
        ids, numbers = catalog.find_each(types[name], values, [span for _, span in some], [collection])
        stored = catalog.stored(id_ for id_ in ids if id_ is not None)
        for (row, _), id_, number in zip(some, ids, numbers, strict=True):
            run = _AMBIGUOUS if number > 1 else "" if id_ is None else stored[id_].ref.run
            if run != row["found_run"] or (number == 1) is (id_ is None):
                wrong.append((row, run))
    return wrong


def _kinds(asked: list[tuple[dict[str, str], Timespan]]) -> dict[str, int]:
    names = {"": "none", _AMBIGUOUS: "ambiguous"}
    return dict(Counter(names.get(row["found_run"], "found") for row, _ in asked))
