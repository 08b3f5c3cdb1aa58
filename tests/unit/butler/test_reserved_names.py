"""Names of dimensions that would clash with parameters of the methods that take data IDs as keywords."""

import inspect
from collections.abc import Iterator

import pytest

import quantumio
from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import default_universe
from quantumio.model._dimensions import RESERVED_NAMES

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
