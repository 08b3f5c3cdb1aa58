"""Which dataset arguments name, and how it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quantumio.cli._arguments import data_id_text, parse_data_id, uuid_or_none
from quantumio.errors import InvalidInputError

if TYPE_CHECKING:
    from quantumio.butler import Butler
    from quantumio.model import DatasetRef

__all__ = ["REF_HEADINGS", "find_ref", "ref_cells", "ref_text"]

REF_HEADINGS: Final = ("dataset type", "data ID", "run", "version")
"""Of the columns of a table that say which dataset it is."""


def ref_cells(ref: DatasetRef) -> tuple[object, ...]:
    """Return the values below `REF_HEADINGS`."""
    return ref.dataset_type.name, data_id_text(ref.data_id), ref.run, ref.version


def ref_text(ref: DatasetRef) -> str:
    """Return which dataset it is, in the words that the command line takes."""
    version = "" if ref.version is None else f", version {ref.version}"
    return f"{ref.dataset_type.name} {data_id_text(ref.data_id)} in {ref.run}{version}"


def find_ref(
    butler: Butler,
    dataset: str,
    data_id: tuple[str, ...],
    collections: list[str] | None,
    version: int | None,
    as_of: object = None,
) -> DatasetRef:
    """Return the ref of the dataset that arguments name: by its UUID, or by dataset type and data ID.

    Raises
    ------
    NotFoundError
        There is none.
    InvalidInputError
        The data ID is wrong, or no collection says where to look.
    """
    identity = uuid_or_none(dataset)
    if identity is not None:
        if data_id or version is not None or as_of is not None:
            raise InvalidInputError(
                f"{dataset} says which dataset and version it is already", hint="leave the rest out"
            )
        return butler.ref(identity)
    given = parse_data_id(butler.dimensions, data_id)
    found = butler.find(dataset, given, collections=collections, version=version, as_of=as_of)
    if found is None:
        # It knows why there is none.
        butler.get(dataset, given, collections=collections, version=version, as_of=as_of)
        raise AssertionError(f"{dataset} was found by get and not by find")
    return found
