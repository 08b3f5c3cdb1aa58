"""Format ``asdf``: a tree of plain values and arrays (ASDF Standard), in the extra ``asdf``.

The tree holds nothing but YAML's own types and arrays, so that every reader of ASDF can use it: a CCDData is
``data``, ``mask``, ``uncertainty``, ``flags``, ``psf``, ``unit`` and the FITS cards ``header`` and ``wcs``;
a table is a list of plain ``columns`` (name, values, mask) with the ``header`` that astropy's ECSV has.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import asdf
import numpy as np

from quantumio.errors import FormatError, InvalidInputError
from quantumio.formats._asdf_limits import check_file
from quantumio.formats._asdf_tree import ARRAY_KINDS, Tree, as_block, check_mapping, key_order, reordered
from quantumio.formats._guards import (
    check_options,
    check_storage_class,
    damaged,
    decoding,
    encoding,
    refuse_columns,
)
from quantumio.formats._mapping import canonical_mapping
from quantumio.ports import Buffer, Chunks

__all__ = ["AsdfFormat"]

_VERSION = 1


class AsdfFormat:
    """Format ``asdf``: holds CCDData, NDArray (no dates, no structured dtypes), AstropyTable and Mapping."""

    name = "asdf"
    extension = ".asdf"
    endings = (".asdf",)
    storage_classes = frozenset({"AstropyTable", "CCDData", "Mapping", "NDArray"})

    def is_lossless(self, storage_class: str, options: Mapping[str, object]) -> bool:
        """Return True."""
        return True

    def check(self, value: object, storage_class: str, options: Mapping[str, object]) -> None:
        """Refuse options, and arrays that ASDF has no type for.

        Raises
        ------
        FormatError
            The dtype is structured, of dates, or of texts without length.
        InvalidInputError
            An option was given.
        """
        check_storage_class(self.name, self.storage_classes, storage_class)
        check_options(self.name, options, {})
        if isinstance(value, np.ndarray) and (
            value.dtype.kind not in ARRAY_KINDS or value.dtype.itemsize == 0
        ):
            raise FormatError(f"ASDF has no arrays of {value.dtype}", hint="store it as npy")

    def encode(self, value: object, storage_class: str, options: Mapping[str, object]) -> Chunks:
        """Return the file.

        Raises
        ------
        FormatError
            A Mapping holds an integer of more than 64 bits, or a key with a meaning in ASDF (``$ref``).
        """
        self.check(value, storage_class, options)
        with encoding(self.name, storage_class):
            tree = _tree(value, storage_class)
            tree["quantumio"] = {"storage_class": storage_class, "version": _VERSION}
            file = io.BytesIO()
            asdf.AsdfFile(tree).write_to(file, all_array_storage="internal")
            return [file.getbuffer()]

    def decode(self, data: Buffer, storage_class: str, *, columns: Sequence[str] | None = None) -> object:
        """Read a file that quantumio wrote.

        Raises
        ------
        FormatError
            ``kind="decode"``: it is another ASDF file, damaged, holds types beyond the ASDF core, or refers
            to other files.
        InvalidInputError
            There is no such column.
        """
        check_storage_class(self.name, self.storage_classes, storage_class)
        if storage_class != "AstropyTable":
            refuse_columns(storage_class, columns)
        with decoding(self.name):
            raw = bytes(data)
            check_file(raw)
            with asdf.open(
                io.BytesIO(raw), lazy_load=False, memmap=False, validate_checksums=True, mode="r"
            ) as file:
                tree = Tree(file.tree, len(raw))
                found = tree.label("quantumio")
                if found.label("version").value != _VERSION:
                    raise damaged(self.name, "its layout is of another version of quantumio")
                if found.label("storage_class").value != storage_class:
                    raise damaged(self.name, f"it holds a {found.label('storage_class').value}")
                return _value(tree, storage_class, columns)


def _tree(value: object, storage_class: str) -> dict[str, Any]:
    if storage_class == "Mapping":
        check_mapping(value, "")
        return {"mapping": value, "order": list(key_order(value))}
    if storage_class == "NDArray":
        assert isinstance(value, np.ndarray)
        return {"array": as_block(value)}
    if storage_class == "CCDData":
        return _ccddata_tree(value)
    return _table_tree(value)


def _value(tree: Tree, storage_class: str, columns: Sequence[str] | None) -> object:
    if storage_class == "Mapping":
        try:
            mapping = canonical_mapping(tree.label("mapping").value)
            return reordered(mapping, iter(tree.label("order").value))
        except InvalidInputError as error:
            raise damaged("asdf", error) from error
    if storage_class == "NDArray":
        return tree.label("array").array()
    if storage_class == "CCDData":
        return _read_ccddata(tree)
    return _read_table(tree, columns)


def _ccddata_tree(value: object) -> dict[str, Any]:
    from quantumio.formats._ccddata import parts_of

    parts = parts_of(value)
    tree: dict[str, Any] = {
        "data": as_block(parts.data),
        "unit": parts.unit,
        "header": _card_list(parts.meta),
        "wcs": _card_list(parts.wcs),
    }
    for name in ("mask", "flags", "psf"):
        array = getattr(parts, name)
        if array is not None:
            tree[name] = as_block(array)
    if parts.uncertainty is not None:
        tree["uncertainty"] = {"array": as_block(parts.uncertainty), "type": parts.uncertainty_type}
        if parts.uncertainty_unit is not None:
            tree["uncertainty"]["unit"] = parts.uncertainty_unit
    return tree


def _card_list(cards: list[tuple[str, str]]) -> list[str]:
    text = "".join(card for _, card in cards)
    return [text[start : start + 80].rstrip() for start in range(0, len(text), 80)]


def _read_ccddata(tree: Tree) -> object:
    from quantumio.formats._ccddata import UNCERTAINTIES, Parts

    uncertainty = tree.get("uncertainty")
    kind = None if uncertainty is None else uncertainty.label("type").text()
    if kind is not None and kind not in UNCERTAINTIES:
        raise damaged("asdf", f"{kind} is no kind of uncertainty")
    own_unit = None if uncertainty is None else uncertainty.get("unit")
    optional = {name: tree.get(name) for name in ("mask", "flags", "psf")}
    return Parts(
        data=tree.label("data").array(),
        unit=tree.label("unit").text(),
        meta=_read_cards(tree.label("header")),
        wcs=_read_cards(tree.label("wcs")),
        uncertainty=None if uncertainty is None else uncertainty.label("array").array(),
        uncertainty_type=kind,
        uncertainty_unit=None if own_unit is None else own_unit.text(),
        **{name: None if part is None else part.array() for name, part in optional.items()},
    ).assemble()


def _read_cards(part: Tree) -> list[tuple[str, str]]:
    from quantumio.formats._fits_scan import parse_cards

    if not isinstance(part.value, list) or not all(isinstance(card, str) for card in part.value):
        raise damaged("asdf", "a header is no list of texts")
    return list(parse_cards("".join(card[:80].ljust(80) for card in part.value)))


def _table_tree(value: object) -> dict[str, Any]:
    from quantumio.formats._plain_table import take_apart
    from quantumio.formats._table_header import header_text

    plain = take_apart(value)
    for column in plain.columns:
        if column.values.dtype.itemsize == 0:
            raise FormatError(
                f"ASDF has no texts without length: column {column.name!r}", hint="store it as parquet"
            )
    columns: list[dict[str, Any]] = []
    for column in plain.columns:
        entry: dict[str, Any] = {
            "name": column.name,
            "values": as_block(np.ascontiguousarray(column.values)),
        }
        if column.mask is not None:
            entry["mask"] = as_block(np.ascontiguousarray(column.mask))
        columns.append(entry)
    return {"columns": columns, "header": header_text(plain)}


def _read_table(tree: Tree, columns: Sequence[str] | None) -> object:
    from astropy.table import QTable

    from quantumio.formats._plain_table import PlainColumn, assemble, join_masks
    from quantumio.formats._table_forms import check_columns
    from quantumio.formats._table_header import parse_header

    header = parse_header(tree.label("header").text())
    plain: dict[str, PlainColumn] = {}
    for part in tree.label("columns").parts():
        name, mask = part.label("name").text(), part.get("mask")
        plain[name] = PlainColumn(
            name=name,
            values=part.label("values").array(),
            mask=None if mask is None else mask.array(),
            **header.columns[name].attributes,
        )
    whole = assemble(join_masks(plain, header.entries, header.meta))
    if columns is None:
        return whole
    check_columns(columns, whole.colnames)
    return whole[list(columns)] if columns else QTable(meta=whole.meta)
