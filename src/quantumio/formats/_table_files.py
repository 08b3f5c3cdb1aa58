"""Tables in files, as people have them: Parquet, Arrow IPC, ECSV and CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from quantumio.errors import InvalidInputError
from quantumio.formats._guards import decoding
from quantumio.formats._installed import InstalledFormats

if TYPE_CHECKING:
    import pyarrow as pa

    from quantumio.ports import Buffer

__all__ = ["read_table"]

_IPC_FILE: Final = b"ARROW1"
"""How Arrow's files begin; its streams begin otherwise."""


def read_table(name: str, data: Buffer, kinds: Mapping[str, str]) -> object:
    """Return the table that the bytes of a file hold.

    Parameters
    ----------
    name
        Of the file; its ending says what it is.
    data
        Its bytes.
    kinds
        Columns with the type of their values, ``int`` or ``str``: CSV says of none what it is. A field of CSV
        that is empty has no value.

    Returns
    -------
    object
        An Arrow table, of ECSV an astropy table.

    Raises
    ------
    InvalidInputError
        The ending says nothing.
    FormatError
        The bytes are not what the ending says.
    """
    lower = name.lower()
    for ending, read in _READERS.items():
        if lower.endswith(ending):
            with decoding(ending.removeprefix(".")):
                return read(data, kinds)
    raise InvalidInputError(
        f"{name}: its ending says no format of a table", hint=f"use one of {', '.join(_READERS)}"
    )


def _csv(data: Buffer, kinds: Mapping[str, str]) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    types = {"int": pa.int64(), "str": pa.string()}
    converting = csv.ConvertOptions(
        column_types={name: types[kind] for name, kind in kinds.items()},
        null_values=[""],  # an instrument may be called NA
        strings_can_be_null=True,
    )
    return csv.read_csv(pa.py_buffer(data), convert_options=converting)


def _ipc(data: Buffer, kinds: Mapping[str, str]) -> pa.Table:
    import pyarrow as pa
    from pyarrow import ipc

    source = pa.py_buffer(data)
    opened = ipc.open_file if bytes(data[: len(_IPC_FILE)]) == _IPC_FILE else ipc.open_stream
    with opened(source) as reader:
        table = reader.read_all()
    table.validate(full=True)
    return table


def _parquet(data: Buffer, kinds: Mapping[str, str]) -> object:
    return InstalledFormats().format("parquet").decode(data, "ArrowTable")


def _ecsv(data: Buffer, kinds: Mapping[str, str]) -> object:
    return InstalledFormats().format("ecsv").decode(data, "AstropyTable")


_READERS: Final[Mapping[str, Callable[[Any, Mapping[str, str]], object]]] = {
    ".parquet": _parquet,
    ".arrow": _ipc,
    ".arrows": _ipc,
    ".ecsv": _ecsv,
    ".csv": _csv,
}
