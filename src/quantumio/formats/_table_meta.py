"""The canonical form of metadata of astropy tables: what astropy's YAML gives back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import yaml
from astropy.io.misc import yaml as astropy_yaml
from astropy.time import TimeBase

from quantumio.errors import ErrorKind, InvalidInputError

__all__ = ["SERIALIZED_COLUMNS", "as_doubles", "canonical_meta", "ordered"]

SERIALIZED_COLUMNS: Final = "__serialized_columns__"
"""The key under which astropy keeps how columns were taken apart; not for users."""

_MAX_DEPTH: Final = 32
_MAX_ITEMS: Final = 1_000_000


def canonical_meta(meta: Mapping[Any, Any], where: str) -> dict[str, Any]:
    """Return metadata as every format gives it back, sharing nothing that can change.

    Mappings become dicts (in their order), tuples lists, numpy scalars those of Python; numpy arrays become
    contiguous and native; astropy's values (units, quantities, times, coordinates) are what its YAML gives.

    Parameters
    ----------
    meta
        Of a table or a column.
    where
        What it belongs to, for messages.

    Raises
    ------
    InvalidInputError
        ``kind="value"``: a value has no place in YAML; names its key.
    """
    if not meta:
        return {}
    if SERIALIZED_COLUMNS in meta:
        raise _refused(f"{where}[{SERIALIZED_COLUMNS!r}]", "the key is astropy's own", "remove it")
    result = _Canonical().value(meta, where, 0)
    assert isinstance(result, dict)
    return result


def ordered(value: Any) -> Any:
    """Return canonical metadata with dicts as OrderedDict, which astropy's YAML keeps in their order."""
    if isinstance(value, dict):
        return OrderedDict((key, ordered(item)) for key, item in value.items())
    return [ordered(item) for item in value] if isinstance(value, list) else value


def as_doubles(value: Any) -> Any:
    """Return a time such that astropy serialises it as its two doubles; any other value as it is.

    What astropy does with a time is set by the column, and by one global variable that says what is being
    written (also by another thread).
    """
    if not isinstance(value, TimeBase):
        return value
    time = value.replicate()
    for attribute in ("name", "format", "description", "meta"):
        setattr(time.info, attribute, getattr(value.info, attribute))
    time.info.serialize_method = dict.fromkeys(time.info.serialize_method, "jd1_jd2")
    return time


class _Canonical:
    """One walk through metadata; it counts, because YAML's aliases can make small texts large."""

    def __init__(self) -> None:
        self._items = 0

    def value(self, value: Any, where: str, depth: int) -> Any:
        self._items += 1
        if depth > _MAX_DEPTH or self._items > _MAX_ITEMS:
            raise _refused(where, "it is nested too deeply or too large", "keep large data in columns")
        if value is None or isinstance(value, (bool, np.bool_)):
            return None if value is None else bool(value)
        if isinstance(value, (str, bytes)):
            return str(value) if isinstance(value, str) else bytes(value)
        if isinstance(value, (int, np.integer)):
            return int(value)
        if isinstance(value, (float, np.floating)) and not isinstance(value, np.longdouble):
            return float(value)
        if isinstance(value, Mapping):
            return {
                self._key(key, where): self.value(item, f"{where}[{key!r}]", depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self.value(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
        if type(value) is np.ndarray:
            return _array(value, where)
        return _through_yaml(value, where)

    @staticmethod
    def _key(key: Any, where: str) -> str | int:
        if isinstance(key, str):
            return str(key)
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            return int(key)
        raise _refused(f"{where}[{key!r}]", "keys are texts or integers", "rename the key")


def _array(value: np.ndarray, where: str) -> np.ndarray:
    if value.dtype.kind not in "biufcUSmM" or value.dtype.itemsize == 0:
        raise _refused(where, f"an array of {value.dtype} has no place in YAML", "make it a list")
    native = value.astype(value.dtype.newbyteorder("="), order="C", copy=True)
    return np.ascontiguousarray(native).reshape(value.shape)


def _through_yaml(value: Any, where: str) -> Any:
    try:
        return as_doubles(astropy_yaml.load(astropy_yaml.dump(as_doubles(value))))
    except (yaml.YAMLError, TypeError, ValueError, AttributeError, KeyError) as error:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise _refused(
            where,
            f"a {kind} has no place in YAML",
            "use texts, numbers, lists, dicts, or units, quantities, times and coordinates of astropy",
        ) from error


def _refused(where: str, why: str, mend: str) -> InvalidInputError:
    return InvalidInputError(f"{where}: {why}", hint=mend, kind=ErrorKind.VALUE)
