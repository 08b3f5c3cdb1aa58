"""Names that no dimension can have: parameters beside data IDs, columns of tables, words of expressions."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import quantumio
from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DatasetType, default_universe
from quantumio.model._dimensions import RESERVED_NAMES
from quantumio.registry import _opening
from quantumio.registry._universe import make_universe

_CLASSES = (quantumio.Butler, quantumio.AsyncButler, quantumio.DataContext, quantumio.AsyncDataContext)


def _methods_with_data_ids() -> Iterator[tuple[str, set[str]]]:
    for cls in _CLASSES:
        for name, method in inspect.getmembers(cls, inspect.isfunction):
            if name.startswith("_") and name != "__init__":
                continue
            parameters = inspect.signature(method).parameters.values()
            if any(one.kind is one.VAR_KEYWORD for one in parameters):
                named = {
                    one.name for one in parameters if one.kind not in (one.VAR_KEYWORD, one.POSITIONAL_ONLY)
                }
                yield f"{cls.__name__}.{name}", named


def test_every_parameter_beside_a_data_id_is_reserved() -> None:
    methods = dict(_methods_with_data_ids())
    assert {"Butler.get", "DataContext.put", "Butler.query", "AsyncButler.find"} <= set(methods)
    assert {name: named - RESERVED_NAMES for name, named in methods.items() if named - RESERVED_NAMES} == {}


def test_no_dimension_that_all_have_is_reserved() -> None:
    assert not RESERVED_NAMES & set(default_universe())


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_dimension_of_a_reserved_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match=repr(name)) as error:
        default_universe().extended({name: {"key": "int"}})
    assert error.value.kind is ErrorKind.NAME
    assert error.value.hint


@pytest.mark.parametrize(
    "name", ["id", "destinations", "access_url", "status", "committed", "t_min", "TRUE", "Null", "and", "in"]
)
def test_dimension_that_tables_or_expressions_mean_otherwise_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=repr(name)) as error:
        quantumio.Butler.create(tmp_path / "night", dimensions={name: {"key": "int"}})
    assert error.value.kind is ErrorKind.NAME
    assert error.value.hint
    assert not (tmp_path / "night").exists()


def test_registry_that_has_such_a_dimension_is_opened(tmp_path: Path, monkeypatch: Any) -> None:
    tables = {"status": {"key": "int"}}
    place = tmp_path / "night"
    with monkeypatch.context() as before:
        before.setattr(_opening, "make_universe", lambda tables: default_universe().extended(tables))
        quantumio.Butler.create(place, dimensions=tables)
    with pytest.raises(InvalidInputError, match="status"):
        make_universe(tables)
    with quantumio.Butler(place) as butler:
        assert "status" in butler.dimensions


def test_dimensions_may_be_called_as_columns_of_the_registry_are(tmp_path: Path) -> None:
    names = ["artifacts", "decided_at", "run_id", "v"]
    quantumio.Butler.create(tmp_path / "night", dimensions={name: {"key": "int"} for name in names})
    rows = {name: [number, number + 10] for number, name in enumerate(names)}
    with quantumio.Butler(tmp_path / "night", run="u/ada") as butler:
        butler.register_dataset_type(DatasetType("x", dimensions=names, storage_class="NDArray"))
        files = pa.table({**rows, "uri": ["/a.npy", "/b.npy"], "size": [1, 2]})
        butler.ingest(files, "x", run="u/ada", transfer="direct")
        table = butler.query("x", collections="u/ada").table()
        assert table.select(names).to_pydict() == rows
        assert table["size"].to_pylist() == [1, 2]
        assert None not in table["committed"].to_pylist()
