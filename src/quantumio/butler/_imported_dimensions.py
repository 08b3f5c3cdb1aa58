"""Dimension records of an export, in the words of this repository."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from quantumio.errors import FormatError, InvalidInputError
from quantumio.model import Dimension
from quantumio.ports import Catalog, RecordComparison
from quantumio.system.given_files import read_given_file

__all__ = ["DimensionImport", "import_dimension_records", "read_export"]

_UNITS = ("_s", "_deg")
"""What names of metadata may end with here, and do not in exports."""


@frozen(kw_only=True)
class DimensionImport:
    """What became of the dimension records of an export.

    Attributes
    ----------
    inserted
        Name of each dimension or relation to the number of its records that were new, in universe order.
    there
        The same of those that were there already, or come twice in the export.
    left_out
        What this repository has no place for: names of dimensions (``group``) and of fields of records
        (``exposure.azimuth``), by name.
    dry_run
        Whether nothing was inserted: ``inserted`` is what would be.
    refused
        Of a dry run: what the import would be refused for, each as a message.
    """

    inserted: Mapping[str, int]
    left_out: tuple[str, ...]
    there: Mapping[str, int] = field(factory=dict)
    dry_run: bool = False
    refused: tuple[str, ...] = ()


def read_export(path: Path) -> list[dict[str, Any]]:
    """Return the entries of an export of the Rubin Data Butler.

    Raises
    ------
    NotFoundError
        There is no such file.
    DestinationError
        It cannot be read.
    FormatError
        It is no export; names the file.
    """
    from quantumio.formats.butler_exports import read_butler_export

    data = read_given_file(path)
    try:
        return read_butler_export(data)
    except FormatError as error:
        error.add_note(f"in {path}")
        raise


def import_dimension_records(
    catalog: Catalog, entries: Iterable[Mapping[str, Any]], *, dry_run: bool = False
) -> DimensionImport:
    """Insert the dimension records among the entries of an export, or tell what that would do.

    Raises
    ------
    ConflictError
        A different record is there under a key; what was inserted before it stays.
    InvalidInputError
        A record is wrong; what was inserted before it stays.
    """
    universe = catalog.universe
    records: dict[str, list[dict[str, object]]] = {}
    left_out: set[str] = set()
    for entry in entries:
        if entry["type"] != "dimension":
            continue
        if (element := entry["element"]) not in universe:
            left_out.add(element)
            continue
        names = _names(universe[element])
        left_out |= {
            f"{element}.{field}" for given in entry["records"] for field in given if field not in names
        }
        records.setdefault(element, []).extend(_record(names, given) for given in entry["records"])
    inserted: dict[str, int] = {}
    there: dict[str, int] = {}
    refused: list[str] = []
    for element in universe:
        if (given := records.get(element)) is None:
            continue
        if dry_run:
            compared = _compared(catalog, element, given)
            inserted[element], there[element] = compared.new, compared.there
            refused += compared.conflicts
        else:
            inserted[element] = catalog.insert_dimension(element, given)
            there[element] = len(given) - inserted[element]
    return DimensionImport(
        inserted=inserted,
        there=there,
        left_out=tuple(sorted(left_out)),
        dry_run=dry_run,
        refused=tuple(refused),
    )


def _compared(catalog: Catalog, element: str, records: Sequence[Mapping[str, object]]) -> RecordComparison:
    """Return what would become of records, also where one is wrong: then nothing of the element goes in."""
    try:
        return catalog.compare_dimension(element, records)
    except InvalidInputError as error:
        return RecordComparison(new=0, there=0, conflicts=(error.message,))


def _names(element: Dimension) -> dict[str, str]:
    """Return what a field of an exported record is called here."""
    names = {name: name for name in (*element.requires, *element.implies, *element.metadata)}
    for name in element.metadata:
        for unit in _UNITS:
            if name.endswith(unit):
                names[name.removesuffix(unit)] = name
    if not element.is_relation:
        names["name" if element.key == "str" else "id"] = element.name
    if element.temporal:
        names["timespan"] = "timespan"
    if element.spatial:
        names["region"] = "region"
    return names


def _record(names: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, object]:
    return {
        names[field]: value.hex() if isinstance(value, bytes) else value  # hashes are bytes there
        for field, value in given.items()
        if field in names
    }
