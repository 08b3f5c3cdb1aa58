"""Connections: what a task declares that it reads and writes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from attrs import field, frozen

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DatasetType, check_identifier

__all__ = ["Calibration", "Connection", "Input", "Output", "dimension_names"]


def dimension_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return declared names of dimensions, checked.

    Raises
    ------
    InvalidInputError
        It is a text, or one is no identifier.
    """
    if isinstance(names, str):
        raise InvalidInputError(
            f"dimensions = {names!r} is a text", hint=f"write ({names!r},)", kind=ErrorKind.DIMENSION
        )
    return tuple(check_identifier(name, "dimension") for name in names)


def _storage_class(name: object) -> str:
    return check_identifier(name, "storage class")


# A connection is the name of its dataset type (so that every call that takes a name takes a connection),
# and knows what the task declares of it besides. Equality and hash are those of the name.
@frozen(eq=False, order=False, slots=False)
class Connection(str):  # noqa: SLOT000  the declaration lives in the instance's dict
    """What every connection has: the dataset type it stands for, as the task declares it.

    Attributes
    ----------
    name
        Name of the dataset type.
    dimensions
        Of its data IDs.
    storage_class
        Name of its storage class.
    """

    name: str = field()
    dimensions: tuple[str, ...] = field(kw_only=True, converter=dimension_names)
    storage_class: str = field(kw_only=True, converter=_storage_class)

    def __new__(cls, name: str, **_declared: object) -> Self:
        """Make the text that the connection is."""
        return super().__new__(cls, check_identifier(name, "dataset type"))

    @property
    def dataset_type(self) -> DatasetType:
        """Dataset type that it declares."""
        return DatasetType(self.name, dimensions=self.dimensions, storage_class=self.storage_class)

    def __str__(self) -> str:
        return self.name


@frozen(eq=False, order=False, slots=False)
class Input(Connection):
    """A dataset that the task reads.

    Attributes
    ----------
    multiple
        Whether a quantum reads all datasets that belong to it, as lazy handles, instead of one.
    optional
        Whether a quantum runs without it (then reading it gives None).

    Examples
    --------
    >>> raw = Input("raw", dimensions=("instrument", "exposure", "detector"), storage_class="CCDData")
    """

    multiple: bool = field(default=False, kw_only=True)
    optional: bool = field(default=False, kw_only=True)


@frozen(eq=False, order=False, slots=False)
class Calibration(Connection):
    """A dataset that is valid at the time of the quantum's exposure or visit.

    Examples
    --------
    >>> bias = Calibration("bias", dimensions=("instrument", "detector"), storage_class="CCDData")
    """


@frozen(eq=False, order=False, slots=False)
class Output(Connection):
    """A dataset that the task writes.

    Examples
    --------
    >>> calexp = Output("calexp", dimensions=("instrument", "visit", "detector"), storage_class="CCDData")
    """
