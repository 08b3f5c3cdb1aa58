"""What is in a dataset, in a few lines: shape and statistics of an image, first rows of a table, a mapping.

A value is known by what it can do, not by its type: none of the libraries that made it is imported here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from quantumio.cli._output import print_pairs, print_table, print_text, printable

if TYPE_CHECKING:
    import numpy as np

__all__ = ["header_cards", "show_summary", "summarise"]

_FIRST_ROWS: Final = 5
_FIRST_CHARACTERS: Final = 400
_FIRST_BYTES: Final = 32


def summarise(value: object) -> dict[str, object]:
    """Return a JSON-able summary of a value in any of its forms; ``kind`` says which keys it has."""
    given: Any = value
    if value is None:
        return {"kind": "none"}
    if isinstance(value, Mapping):
        return {"kind": "mapping", "value": dict(value)}
    if isinstance(value, str):
        return {"kind": "text", "characters": len(value), "begin": value[:_FIRST_CHARACTERS]}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"kind": "bytes", "bytes": len(value), "begin": bytes(value[:_FIRST_BYTES]).hex()}
    if hasattr(value, "colnames"):
        return _astropy_table(given)
    if hasattr(value, "column_names"):
        return _arrow_table(given)
    if hasattr(value, "columns"):
        return _data_frame(given)
    if hasattr(value, "uncertainty") and hasattr(value, "data"):
        return _image(given)
    if hasattr(value, "info") and isinstance(value, list):
        return _hdu_list(given)
    if hasattr(value, "dtype") and given.dtype.names:
        return _structured_array(given)
    if hasattr(value, "dtype"):
        return {"kind": "array"} | _array(given)
    text = str(value)
    return {"kind": type(value).__name__, "begin": text[:_FIRST_CHARACTERS]}


def _array(array: np.ndarray) -> dict[str, object]:
    import numpy as np

    summary: dict[str, object] = {"shape": list(array.shape), "dtype": str(array.dtype)}
    numbers = array.size > 0 and array.dtype.kind in "iuf"
    finite = array[np.isfinite(array)] if numbers else np.empty(0)
    for name, function in (("min", np.min), ("median", np.median), ("max", np.max)):
        summary[name] = function(finite).item() if finite.size else None
    return summary


def _image(image: Any) -> dict[str, object]:
    header = getattr(image, "header", None)
    header = header if header is not None else image.meta
    mask = image.mask
    return (
        {"kind": "image"}
        | _array(image.data)
        | {
            "unit": None if image.unit is None else str(image.unit),
            "masked": None if mask is None else int(mask.sum()),
            "uncertainty": None if image.uncertainty is None else str(image.uncertainty.uncertainty_type),
            "wcs": None if image.wcs is None else list(image.wcs.wcs.ctype),
            "header_cards": len(header),
        }
    )


def _hdu_list(hdus: Any) -> dict[str, object]:
    return {
        "kind": "hdu_list",
        "hdus": [
            {
                "name": hdu.name,
                "class": type(hdu).__name__,
                "header_cards": len(hdu.header),
                "shape": list(hdu.shape) if getattr(hdu, "is_image", False) else None,
            }
            for hdu in hdus
        ],
    }


def _astropy_table(table: Any) -> dict[str, object]:
    columns = [
        {
            "name": name,
            "type": str(table[name].dtype)
            if getattr(table[name], "dtype", None) is not None
            else type(table[name]).__name__,
            "unit": None if getattr(table[name], "unit", None) is None else str(table[name].unit),
        }
        for name in table.colnames
    ]
    rows = [[_plain(table[name][number]) for name in table.colnames] for number in _first(len(table))]
    return {"kind": "table", "rows": len(table), "columns": columns, "first_rows": rows}


def _arrow_table(table: Any) -> dict[str, object]:
    columns = [{"name": field.name, "type": str(field.type), "unit": None} for field in table.schema]
    rows = [[_plain(value) for value in row.values()] for row in table.slice(0, _FIRST_ROWS).to_pylist()]
    return {"kind": "table", "rows": table.num_rows, "columns": columns, "first_rows": rows}


def _data_frame(frame: Any) -> dict[str, object]:
    columns = [
        {"name": str(name), "type": str(kind), "unit": None}
        for name, kind in zip(frame.columns, frame.dtypes, strict=True)
    ]
    head = frame.head(_FIRST_ROWS)
    rows = head.rows() if hasattr(head, "rows") else head.itertuples(index=False, name=None)
    return {
        "kind": "table",
        "rows": len(frame),
        "columns": columns,
        "first_rows": [[_plain(value) for value in row] for row in rows],
    }


def _structured_array(array: np.ndarray) -> dict[str, object]:
    fields = array.dtype.names or ()
    columns = [{"name": name, "type": str(array.dtype[name]), "unit": None} for name in fields]
    rows = [[_plain(array[name][number]) for name in fields] for number in _first(len(array))]
    return {"kind": "table", "rows": len(array), "columns": columns, "first_rows": rows}


def _first(count: int) -> range:
    return range(min(count, _FIRST_ROWS))


def _plain(value: Any) -> object:
    """Return one cell as JSON has it: numbers as numbers, all else as its text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # JSON has no NaN and no infinity
    if hasattr(value, "isot"):  # a Time
        return str(value.isot)
    if hasattr(value, "to_string") and hasattr(value, "frame"):  # a SkyCoord
        return str(value.to_string(precision=6))
    if hasattr(value, "unit") and hasattr(value, "value"):  # a Quantity: the heading has its unit
        return _plain(value.value)
    if getattr(getattr(value, "dtype", None), "kind", None) in ("m", "M"):  # as an integer it means nothing
        return str(value)
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return _plain(value.item())
    return str(value)


def header_cards(value: object) -> list[tuple[str, object, str]]:
    """Return keyword, value and comment of the cards of an image's or HDU list's headers; none of others."""
    given: Any = value
    if isinstance(value, list) and value and hasattr(value[0], "header"):
        return [card for hdu in given for card in _cards(hdu.header)]
    header = getattr(value, "header", None)
    return _cards(header if header is not None else getattr(value, "meta", None))


def _cards(header: Any) -> list[tuple[str, object, str]]:
    if hasattr(header, "cards"):
        return [(card.keyword, card.value, card.comment) for card in header.cards]
    return [(str(name), value, "") for name, value in dict(header or {}).items()]


def show_summary(summary: Mapping[str, object]) -> None:
    """Write a summary for people."""
    match summary:
        case {"kind": "none"}:
            print_text("There is none.")
        case {"kind": "mapping", "value": value}:
            print_text(json.dumps(value, indent=2, ensure_ascii=False, default=str))
        case {"kind": "text", "characters": int(characters), "begin": str(begin)}:
            print_text("\n".join(printable(line) for line in begin.splitlines()))
            if characters > len(begin):
                print_text(f"... ({characters} characters)")
        case {"kind": "table"}:
            _show_table(summary)
        case {"kind": "hdu_list", "hdus": list(hdus)}:
            rows = [(one["name"], one["class"], one["header_cards"], one["shape"]) for one in hdus]
            print_table(("hdu", "class", "cards", "shape"), rows, right=("cards",))
        case _:
            shown = {name.replace("_", " "): value for name, value in summary.items() if value is not None}
            for name in ("min", "median", "max"):
                if isinstance(number := summary.get(name), float):
                    shown[name] = f"{number:.6g}"
            if isinstance(shape := summary.get("shape"), list):
                shown["shape"] = " x ".join(map(str, shape))
            print_pairs(shown)


def _show_table(summary: Mapping[str, object]) -> None:
    columns, rows, first = summary["columns"], summary["rows"], summary["first_rows"]
    assert isinstance(columns, Sequence)
    assert isinstance(first, list)
    headings = [f"{one['name']} [{one['unit']}]" if one["unit"] else one["name"] for one in columns]
    numbers = [
        heading
        for index, heading in enumerate(headings)
        if first and all(isinstance(row[index], (int, float)) for row in first)
    ]
    print_text(f"{rows} rows, {len(columns)} columns")
    print_table(headings, first, right=numbers)
    if isinstance(rows, int) and rows > len(first):
        print_text(f"... {rows - len(first)} more rows")
