"""The form ``polars`` of tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantumio.errors import ErrorKind, InvalidInputError, MissingExtraError

try:
    import polars as pl
except ImportError as error:
    raise MissingExtraError("polars", "polars", purpose="as_='polars'") from error

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["to_polars"]


def to_polars(table: pa.Table) -> pl.DataFrame:
    """Return an Arrow table as a polars DataFrame; columns share memory where polars can.

    Raises
    ------
    InvalidInputError
        ``kind="form"``: polars has no type for a column.
    """
    try:
        frame = pl.from_arrow(table)
    except (pl.exceptions.PolarsError, ValueError, TypeError) as error:
        raise InvalidInputError(
            f"polars cannot hold this table: {error}", hint="use as_='arrow'", kind=ErrorKind.FORM
        ) from error
    assert isinstance(frame, pl.DataFrame)
    return frame
