"""Data IDs: which dataset, as values of dimensions."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence

from quantumio.errors import ErrorKind, InvalidInputError, shown
from quantumio.model._dimensions import DimensionUniverse

__all__ = ["DataId", "DataIdValue", "check_data_id_value", "data_id_of_keys", "make_data_id"]

DataIdValue = int | str
_INT64 = 1 << 63
_MAX_TEXT_BYTES = 1024


class DataId(Mapping[str, DataIdValue]):
    """Values of dimensions, immutable and hashable, in universe order; possibly partial.

    Made by `make_data_id`, which checks it; trusted inside.
    """

    __slots__ = ("_hash", "_names", "_row", "_values")
    _hash: int | None
    _names: Sequence[str]
    _row: Sequence[DataIdValue]
    _values: dict[str, DataIdValue]

    def __init__(self, values: Mapping[str, DataIdValue]) -> None:
        self._values = dict(values)
        self._hash = None

    @classmethod
    def of_row(cls, names: Sequence[str], values: Sequence[DataIdValue]) -> DataId:
        """Make one of names and as many values; the mapping is made when it is first looked at."""
        self = cls.__new__(cls)
        self._hash = None
        self._names = names
        self._row = values
        return self

    def __getattr__(self, name: str) -> dict[str, DataIdValue]:
        # Nobody has looked at it so far: of a hundred thousand refs most are counted, or asked for their id.
        if name != "_values":
            raise AttributeError(f"a data ID has no attribute {name!r}", name=name, obj=self)
        self._values = values = dict(zip(self._names, self._row, strict=True))
        return values

    def __getitem__(self, dimension: str) -> DataIdValue:
        return self._values[dimension]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._values.items()))
        return self._hash

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DataId):
            return self._values == other._values
        return NotImplemented if not isinstance(other, Mapping) else self._values == dict(other)

    def __repr__(self) -> str:
        return f"DataId({str(self)!r})"

    def __str__(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self._values.items())

    def to_wire(self) -> dict[str, DataIdValue]:
        """Return a dictionary, which JSON can hold."""
        return dict(self._values)

    def subset(self, names: Iterable[str]) -> DataId:
        """Return the part of it over these dimensions, in their order.

        Raises
        ------
        KeyError
            It has no value for one of them.
        """
        return DataId({name: self._values[name] for name in names})

    def __reduce__(self) -> tuple[object, ...]:
        return DataId, (self._values,)


def check_data_id_value(universe: DimensionUniverse, name: str, value: object) -> DataIdValue:
    """Return the value in its canonical Python type (NumPy scalars become ``int`` and ``str``).

    Raises
    ------
    InvalidInputError
        ``name`` is no dimension, or the value is not of its type.
    """
    dimension = universe.element(name)
    if dimension.key == "int":
        if type(value) is int and -_INT64 <= value < _INT64:
            return value
        if not isinstance(value, (bool, str, bytes)) and type(value).__name__ not in ("bool_", "bool"):
            try:
                number = operator.index(value)  # type: ignore[arg-type]
            except TypeError:
                pass
            else:
                if -_INT64 <= number < _INT64:
                    return number
        hint = "give an integer of 64 bits"
    elif dimension.key == "str":
        if isinstance(value, str):
            try:
                size = len(value.encode())
            except UnicodeEncodeError:
                size = _MAX_TEXT_BYTES + 1
            if 0 < size <= _MAX_TEXT_BYTES and "\0" not in value:
                return str(value)
        hint = f"give a text of 1 to {_MAX_TEXT_BYTES} bytes of UTF-8 without NUL"
    else:
        hint = f"{name} relates dimensions; use {', '.join(dimension.requires)}"
    raise InvalidInputError(
        f"{shown(value)} ({type(value).__name__}) is no value of dimension {shown(name)}",
        hint=hint,
        kind=ErrorKind.DATA_ID,
    )


def data_id_of_keys(
    universe: DimensionUniverse,
    keys: Mapping[str, object],
    defaults: Mapping[str, DataIdValue],
    dimensions: Iterable[str],
) -> DataId | None:
    """Build the data ID that a call gives by keywords and defaults alone: `make_data_id`, but quick.

    Returns
    -------
    DataId or None
        None if something is missing or not wanted: `make_data_id` says what.

    Raises
    ------
    InvalidInputError
        A value has the wrong type.
    """
    values: dict[str, DataIdValue] = {}
    given = 0
    for name in dimensions:
        if name in keys:
            values[name] = check_data_id_value(universe, name, keys[name])
            given += 1
        elif name in defaults:
            values[name] = defaults[name]
        else:
            return None
    return DataId(values) if given == len(keys) else None


def make_data_id(
    universe: DimensionUniverse,
    given: Mapping[str, object] | None,
    keys: Mapping[str, object],
    *,
    defaults: Mapping[str, DataIdValue] | None = None,
    dimensions: Iterable[str] | None = None,
    partial: bool = False,
    what: str = "data ID",
) -> DataId:
    """Build a data ID from a mapping, keywords and defaults, and check it.

    Parameters
    ----------
    universe
        The dimensions there are.
    given, keys
        The mapping and the keywords of the call; the same dimension in both must have one value.
    defaults
        Used for dimensions that are wanted and not given; others are ignored.
    dimensions
        Dimensions that the data ID is to have, in universe order; None takes whatever is given.
    partial
        Whether required dimensions may be missing.
    what
        Of which object, for messages, e.g. ``"calexp"``.

    Raises
    ------
    InvalidInputError
        A key is unknown, missing, not wanted or given twice with different values, or a value has the
        wrong type. The message names it.
    """
    values: dict[str, DataIdValue] = {}
    for source in (given, keys):
        if not source and source is not keys:
            continue
        if type(source) is not dict and not isinstance(source, Mapping):
            raise InvalidInputError(
                f"{shown(source)} ({type(source).__name__}) is no data ID",
                hint="give a mapping such as {'visit': 33, 'detector': 0}, or keywords",
                kind=ErrorKind.DATA_ID,
            )
        for name, value in source.items():
            checked = check_data_id_value(universe, name, value)
            if values.setdefault(name, checked) != checked:
                raise InvalidInputError(
                    f"{what}: {name} is given as both {values[name]!r} and {checked!r}",
                    hint="give it once",
                    kind=ErrorKind.DATA_ID,
                )
    if dimensions is None:
        return DataId({name: values[name] for name in universe.sort(values)})
    wanted = tuple(dimensions)
    complete: dict[str, DataIdValue] = {}
    missing: list[str] = []
    for name in wanted:
        if name in values:
            complete[name] = values.pop(name)
        elif defaults and name in defaults:
            complete[name] = defaults[name]
        else:
            missing.append(name)
    if values:
        raise InvalidInputError(
            f"{what} has no dimension {', '.join(map(repr, values))}",
            hint=f"its data IDs have {', '.join(wanted) or 'no keys'}",
            kind=ErrorKind.DATA_ID,
        )
    if missing and not partial:
        raise InvalidInputError(
            f"{what}: the data ID lacks {', '.join(missing)}",
            hint=f"give {', '.join(f'{name}=...' for name in missing)}, or defaults when opening the Butler",
            kind=ErrorKind.DATA_ID,
        )
    return DataId(complete)
