"""What every table destination must do."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest

from quantumio.errors import (
    ConflictError,
    DestinationError,
    ErrorKind,
    InvalidInputError,
    NotFoundError,
)
from quantumio.model import DataId, DatasetRef, DatasetType
from quantumio.ports import TableDestination
from quantumio.system import environment

__all__ = ["TableDestinationSuite"]

_MAX = (1 << 63) - 1


def _columns() -> dict[str, pa.Array]:
    """Every kind of column, each with a null and with the values that databases like to change."""
    floats = [math.nan, -0.0, 0.0, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 0.1, None]
    nine: list[Any] = [1, 2, 3, 4, 5, 6, 7, 8, None]
    texts = ["", "a", "Å", "'; DROP TABLE stars; --", "%s ? :x", "\n\t\\N", "\U0001f52d", "x" * 5000, None]
    return {
        "flag": pa.array([True, False] * 4 + [None]),
        "i1": pa.array([-128, 127, *nine[2:]], pa.int8()),
        "u1": pa.array([0, 255, *nine[2:]], pa.uint8()),
        "i4": pa.array([-(1 << 31), (1 << 31) - 1, *nine[2:]], pa.int32()),
        "i8": pa.array([-_MAX - 1, _MAX, *nine[2:]], pa.int64()),
        "u8": pa.array([0, _MAX, *nine[2:]], pa.uint64()),
        "f2": pa.array(np.array([math.nan, -0.0, 1.5, math.inf, 0, 1, 2, 3, 4], np.float16)),
        "f4": pa.array([*floats[:5], 1e-45, 3.4028234663852886e38, 0.1, None], pa.float32()),
        "f8": pa.array(floats, pa.float64()),
        "text": pa.array(texts),
        "large_text": pa.array(texts, pa.large_string()),
        "blob": pa.array([b"", b"\0", bytes(range(256)), b"\\x41", *[b"x"] * 4, None]),
        "fixed": pa.array([b"abcd"] * 8 + [None], pa.binary(4)),
        "day": pa.array([dt.date.min, dt.date.max, *[dt.date(2025, 6, 24)] * 6, None]),
        "ns": pa.array([-1, 1_750_000_000_123_456_789, *nine[2:]], pa.timestamp("ns")),
        "us_utc": pa.array([-1, 1_750_000_000_123_456, *nine[2:]], pa.timestamp("us", "UTC")),
        "clock": pa.array(nine, pa.time32("s")),
        "span": pa.array(nine, pa.duration("ms")),
        "vector": pa.array(
            [[1.0, math.nan], [None, -0.0]] + [[0.1, 2.0]] * 6 + [None], pa.list_(pa.float64(), 2)
        ),
        "matrix": pa.array([[[1, 2], [3, 4]]] * 8 + [None], pa.list_(pa.list_(pa.int16(), 2), 2)),
        "bits": pa.array([[True, None, False]] + [[False, True, True]] * 7 + [None], pa.list_(pa.bool_(), 3)),
        "ragged": pa.array([[], [0.1, None, math.nan, math.inf], *[[1.0]] * 6, None]),
        "record": pa.array(
            [{"a": 1, "b": ["x", None]}, {"a": None, "b": None}] + [{"a": 2, "b": []}] * 6 + [None]
        ),
        "band": pa.array(["g", "r", "g", "i", "r", "g", "r", "g", None]).dictionary_encode(),
    }


def _everything() -> pa.Table:
    table = pa.table(_columns())
    fields = [
        field.with_metadata({b"unit": b"Jy"}) if field.name == "f8" else field for field in table.schema
    ]
    return table.cast(pa.schema(fields, {b"table_meta_yaml": b"- {meta: 1}\n"}))


def _ref(version: int | None = 1, **data_id: int | str) -> DatasetRef:
    values = DataId(data_id or {"instrument": "ST8", "visit": 33})
    dataset_type = DatasetType("stars", dimensions=tuple(values), storage_class="ArrowTable")
    return DatasetRef(environment.uuid7(), dataset_type, values, "u/ada/isr", version)


def _stars(rows: int = 3, first: int = 0) -> pa.Table:
    numbers = range(first, first + rows)
    return pa.table({"star": pa.array(numbers, pa.int64()), "flux": pa.array([n / 7 for n in numbers])})


def _exactly_equal(one: pa.Table, other: pa.Table) -> bool:
    """Compare values, NaN being equal to itself and -0.0 not to 0.0, and schemas with metadata."""
    if not one.schema.equals(other.schema, check_metadata=True):
        return False
    return repr(one.to_pylist()) == repr(other.to_pylist())


class TableDestinationSuite:
    """Inherit from it in a class ``Test...``, give it the fixture ``destination`` and the method ``sql``."""

    @pytest.fixture
    def destination(self) -> TableDestination:
        """Give an empty database that the test may write; close it afterwards."""
        pytest.fail(f"{type(self).__name__} has no fixture 'destination'")

    def sql(self, destination: TableDestination, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement around quantumio, on a connection of its own, and return the rows it gives."""
        pytest.fail(f"{type(self).__name__} has no method 'sql', to run {statement!r} on {destination.name}")

    def load(self, destination: TableDestination, rows: pa.Table, table: str = "stars") -> UUID:
        """Check and load rows as a new load."""
        load_id = environment.uuid7()
        destination.check(table, rows)
        destination.load(table, rows, load_id)
        return load_id

    def read(
        self, destination: TableDestination, load_id: UUID, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Read a load."""
        rows = destination.read("stars", load_id, columns)
        assert isinstance(rows, pa.Table)
        return rows

    def test_it_is_a_table_destination(self, destination: TableDestination) -> None:
        assert isinstance(destination, TableDestination)
        assert destination.name
        assert destination.kind
        assert destination.parallelism >= 1

    def test_every_type_comes_back_exactly(self, destination: TableDestination) -> None:
        rows = _everything()
        load_id = self.load(destination, rows)
        assert _exactly_equal(self.read(destination, load_id), rows)

    def test_slices_and_chunks_come_back_exactly(self, destination: TableDestination) -> None:
        whole = _everything()
        rows = pa.concat_tables(
            [whole.slice(2, 4), whole.slice(7), whole.slice(0, 1)], promote_options="default"
        )
        load_id = self.load(destination, rows)
        assert _exactly_equal(self.read(destination, load_id), rows.unify_dictionaries())

    def test_tensors_come_back_as_tensors(self, destination: TableDestination) -> None:
        tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(12, dtype="f4").reshape(3, 2, 2))
        rows = pa.table({"stamp": tensor})
        read = self.read(destination, self.load(destination, rows))
        assert read.schema == rows.schema
        assert read.column("stamp").to_pylist() == rows.column("stamp").to_pylist()

    def test_no_rows_are_a_load_too(self, destination: TableDestination) -> None:
        rows = _everything().slice(0, 0)
        load_id = self.load(destination, rows)
        destination.reveal("stars", load_id, _ref())
        assert _exactly_equal(self.read(destination, load_id), rows)

    def test_several_chunks_keep_the_order(self, destination: TableDestination) -> None:
        rows = _stars(25_000)
        load_id = environment.uuid7()
        loaded = destination.load("stars", rows, load_id)
        assert loaded.rows == 25_000
        assert self.read(destination, load_id).equals(rows)

    def test_columns_are_read_in_the_order_asked_for(self, destination: TableDestination) -> None:
        rows = _everything()
        load_id = self.load(destination, rows)
        assert _exactly_equal(self.read(destination, load_id, ["f8", "flag"]), rows.select(["f8", "flag"]))

    def test_unknown_column_is_named(self, destination: TableDestination) -> None:
        load_id = self.load(destination, _stars())
        with pytest.raises(InvalidInputError, match="colour"):
            self.read(destination, load_id, ["colour"])

    def test_unknown_load_is_not_found(self, destination: TableDestination) -> None:
        unknown = environment.uuid7()
        with pytest.raises(NotFoundError):
            self.read(destination, unknown)
        self.load(destination, _stars())
        with pytest.raises(NotFoundError):
            self.read(destination, unknown)
        with pytest.raises(NotFoundError):
            destination.reveal("stars", unknown, _ref())

    def test_a_load_again_changes_nothing(self, destination: TableDestination) -> None:
        rows, load_id = _stars(5), environment.uuid7()
        first = destination.load("stars", rows, load_id)
        assert destination.load("stars", rows, load_id) == first
        assert self.read(destination, load_id).num_rows == 5

    def test_other_rows_under_a_load_id_are_refused(self, destination: TableDestination) -> None:
        load_id = self.load(destination, _stars(5))
        with pytest.raises(DestinationError) as caught:
            destination.load("stars", _stars(5, first=1), load_id)
        assert caught.value.kind is ErrorKind.CORRUPT
        assert self.read(destination, load_id).equals(_stars(5))

    def test_checksum_does_not_depend_on_the_order_of_rows(self, destination: TableDestination) -> None:
        rows = _stars(5)
        one = destination.load("stars", rows, environment.uuid7())
        other = destination.load("stars", rows.take([4, 2, 0, 1, 3]), environment.uuid7())
        different = destination.load("stars", rows.take([4, 2, 0, 1, 1]), environment.uuid7())
        assert one.checksum == other.checksum != different.checksum

    def test_changed_rows_are_noticed(self, destination: TableDestination) -> None:
        load_id = self.load(destination, _stars())
        self.sql(destination, "UPDATE stars_rows SET flux = 8 WHERE star = 1")
        with pytest.raises(DestinationError) as caught:
            self.read(destination, load_id)
        assert caught.value.kind is ErrorKind.CORRUPT

    def test_lost_rows_are_noticed(self, destination: TableDestination) -> None:
        load_id = self.load(destination, _stars())
        self.sql(destination, "DELETE FROM stars_rows WHERE star = 1")
        with pytest.raises(DestinationError):
            self.read(destination, load_id)
        with pytest.raises(DestinationError):
            self.read(destination, load_id, ["flux"])

    # -- what plain SQL sees

    def test_rows_are_visible_only_once_revealed(self, destination: TableDestination) -> None:
        load_id = self.load(destination, _stars())
        assert self.sql(destination, "SELECT * FROM stars") == []
        ref = _ref(instrument="ST8", visit=33)
        destination.reveal("stars", load_id, ref)
        found = self.sql(
            destination, "SELECT star, dataset_id, version, run, instrument, visit FROM stars ORDER BY star"
        )
        assert [row[0] for row in found] == [0, 1, 2]
        assert {(str(row[1]), *row[2:]) for row in found} == {(str(ref.id), 1, "u/ada/isr", "ST8", 33)}

    def test_revealing_again_changes_nothing(self, destination: TableDestination) -> None:
        load_id, ref = self.load(destination, _stars()), _ref()
        destination.reveal("stars", load_id, ref)
        destination.reveal("stars", load_id, ref)
        assert self.sql(destination, "SELECT count(*) FROM stars") == [(3,)]

    def test_a_load_belongs_to_one_dataset(self, destination: TableDestination) -> None:
        load_id = self.load(destination, _stars())
        destination.reveal("stars", load_id, _ref())
        with pytest.raises(ConflictError):
            destination.reveal("stars", load_id, _ref())

    def test_a_ref_without_version_cannot_be_revealed(self, destination: TableDestination) -> None:
        load_id = self.load(destination, _stars())
        with pytest.raises(InvalidInputError):
            destination.reveal("stars", load_id, _ref(version=None))

    def test_columns_named_as_ours_are_kept(self, destination: TableDestination) -> None:
        rows = pa.table(
            {"visit": pa.array([7, 8]), "version": pa.array(["a", "b"]), "select": pa.array([1, 2])}
        )
        load_id = self.load(destination, rows)
        destination.reveal("stars", load_id, _ref(visit=33))
        found = self.sql(
            destination, 'SELECT visit, version, "select", qio_visit, qio_version FROM stars ORDER BY 1'
        )
        assert found == [(7, "a", 1, 33, 1), (8, "b", 2, 33, 1)]
        assert self.read(destination, load_id).equals(rows)

    def test_removed_loads_are_gone_and_others_stay(self, destination: TableDestination) -> None:
        gone, stays = self.load(destination, _stars(3)), self.load(destination, _stars(2, first=10))
        destination.reveal("stars", gone, _ref())
        destination.reveal("stars", stays, _ref())
        destination.remove_load("stars", gone)
        destination.remove_load("stars", gone)
        with pytest.raises(NotFoundError):
            self.read(destination, gone)
        assert self.read(destination, stays).num_rows == 2
        assert self.sql(destination, "SELECT star FROM stars ORDER BY star") == [(10,), (11,)]

    def test_removing_from_nothing_is_no_error(self, destination: TableDestination) -> None:
        destination.remove_load("stars", environment.uuid7())

    # -- changes of tables

    def test_later_loads_may_lack_and_add_columns(self, destination: TableDestination) -> None:
        first = self.load(destination, _stars(2))
        other = pa.table({"star": pa.array([5]), "colour": pa.array(["red"])})
        second = self.load(destination, other)
        for load_id, version in ((first, 1), (second, 2)):
            destination.reveal("stars", load_id, _ref(version=version))
        assert self.read(destination, first).equals(_stars(2))
        assert self.read(destination, second).equals(other)
        found = self.sql(destination, "SELECT star, flux IS NULL, colour FROM stars ORDER BY version, star")
        assert [(row[0], bool(row[1]), row[2]) for row in found] == [
            (0, False, None),
            (1, False, None),
            (5, True, "red"),
        ]

    def test_a_later_column_may_be_named_as_ours(self, destination: TableDestination) -> None:
        destination.reveal("stars", self.load(destination, _stars(1)), _ref(visit=33))
        later = self.load(destination, pa.table({"visit": pa.array(["x"])}))
        destination.reveal("stars", later, _ref(version=2, visit=34))
        found = self.sql(destination, "SELECT qio_visit, visit FROM stars ORDER BY version")
        assert found == [(33, None), (34, "x")]

    def test_changed_type_is_refused_with_both_types(self, destination: TableDestination) -> None:
        self.load(destination, _stars())
        changed = pa.table({"star": pa.array(["one"])})
        for refuse in (
            lambda: destination.check("stars", changed),
            lambda: destination.load("stars", changed, environment.uuid7()),
        ):
            with pytest.raises(InvalidInputError, match=r"'star'.*string.*integer"):
                refuse()

    @pytest.mark.parametrize(
        "name", ["", "ra deg", "1st", "a-b", 'a"b', "ü", "x" * 64, "a;--", "qio_load", "qio_row", "ctid"]
    )
    def test_columns_that_are_no_identifiers_are_refused(
        self, destination: TableDestination, name: str
    ) -> None:
        with pytest.raises(InvalidInputError) as caught:
            destination.check("stars", pa.table({name: [1]}))
        assert repr(name) in str(caught.value)

    @pytest.mark.parametrize("other", ["ra", "Ra"])
    def test_columns_that_differ_in_case_only_are_refused(
        self, destination: TableDestination, other: str
    ) -> None:
        rows = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["ra", other])
        with pytest.raises(InvalidInputError, match="ra"):
            destination.check("stars", rows)

    def test_later_column_that_differs_in_case_only_is_refused(self, destination: TableDestination) -> None:
        self.load(destination, pa.table({"ra": [1.0]}))
        with pytest.raises(InvalidInputError, match="RA"):
            destination.check("stars", pa.table({"RA": [1.0]}))

    @pytest.mark.parametrize("table", ["", "a b", 'a"b', "stars_rows", "qio_loads", "sqlite_x", "x" * 60])
    def test_names_that_cannot_be_tables_are_refused(self, destination: TableDestination, table: str) -> None:
        with pytest.raises(InvalidInputError):
            destination.check(table, _stars())
        with pytest.raises(InvalidInputError):
            destination.load(table, _stars(), environment.uuid7())

    def test_tables_of_others_are_not_touched(self, destination: TableDestination) -> None:
        self.load(destination, _stars(), table="first")
        self.sql(destination, "CREATE TABLE stars (mine integer)")
        with pytest.raises(InvalidInputError, match="stars"):
            destination.load("stars", _stars(), environment.uuid7())
        assert self.sql(destination, "SELECT * FROM stars") == []

    @pytest.mark.parametrize("value", [None, Decimal("1.5"), {1: 2}], ids=["null", "decimal", "map"])
    def test_types_without_a_column_are_refused(self, destination: TableDestination, value: object) -> None:
        array = (
            pa.array([[(1, 2)]], pa.map_(pa.int8(), pa.int8()))
            if isinstance(value, dict)
            else pa.array([value])
        )
        with pytest.raises(InvalidInputError, match="'odd'"):
            destination.check("stars", pa.table({"odd": array}))

    @pytest.mark.parametrize(
        "array",
        [pa.array([1 << 63], pa.uint64()), pa.array(["a\0b"]), pa.array([-800_000], pa.date32())],
        ids=["uint64", "NUL", "date"],
    )
    def test_values_that_do_not_fit_are_refused_by_column(
        self, destination: TableDestination, array: pa.Array
    ) -> None:
        load_id = environment.uuid7()
        with pytest.raises(InvalidInputError, match="'odd'") as caught:
            destination.load("stars", pa.table({"good": [1], "odd": array}), load_id)
        assert caught.value.kind is ErrorKind.VALUE
        with pytest.raises(NotFoundError):
            self.read(destination, load_id)

    def test_what_is_no_table_is_refused(self, destination: TableDestination) -> None:
        with pytest.raises(InvalidInputError):
            destination.check("stars", [1, 2])

    # -- many at once

    def test_threads_load_at_the_same_time(self, destination: TableDestination) -> None:
        def work(worker: int) -> UUID:
            load_id = self.load(destination, _stars(50, first=50 * worker))
            destination.reveal("stars", load_id, _ref(version=1, visit=worker))
            return load_id

        with ThreadPoolExecutor(6) as pool:
            loads = list(pool.map(work, range(6)))
        assert self.sql(
            destination, "SELECT count(*), count(DISTINCT star), count(DISTINCT visit) FROM stars"
        ) == [(300, 300, 6)]
        assert self.read(destination, loads[5]).equals(_stars(50, first=250))

    def test_threads_that_load_the_same_leave_it_once(self, destination: TableDestination) -> None:
        rows, load_id = _stars(500), environment.uuid7()
        with ThreadPoolExecutor(4) as pool:
            loaded = set(pool.map(lambda _: destination.load("stars", rows, load_id), range(4)))
        assert len(loaded) == 1
        assert self.read(destination, load_id).equals(rows)

    def test_threads_that_add_different_columns_all_succeed(self, destination: TableDestination) -> None:
        self.load(destination, _stars(1))
        with ThreadPoolExecutor(4) as pool:
            loads = list(pool.map(lambda n: self.load(destination, pa.table({f"extra{n}": [n]})), range(4)))
        for number, load_id in enumerate(loads):
            assert self.read(destination, load_id).equals(pa.table({f"extra{number}": [number]}))

    def test_url_names_the_table_and_no_secret(self, destination: TableDestination) -> None:
        url = destination.url("stars")
        assert url.endswith("#stars")
        assert "@" not in url

    def test_close_is_idempotent(self, destination: TableDestination) -> None:
        self.load(destination, _stars())
        destination.close()
        destination.close()
