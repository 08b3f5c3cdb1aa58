"""Format ``json``: strict JSON (RFC 8259) in UTF-8."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import NoReturn

from quantumio.errors import InvalidInputError
from quantumio.formats._guards import (
    check_options,
    check_storage_class,
    damaged,
    decoding,
    encoding,
    refuse_columns,
)
from quantumio.formats._mapping import JsonValue, canonical_mapping
from quantumio.ports import Buffer, Chunks

__all__ = ["JsonFormat"]


class JsonFormat:
    """Format ``json``: indented for people, keys in the order of the mapping."""

    name = "json"
    extension = ".json"
    endings = (".json",)
    storage_classes = frozenset({"Mapping"})

    def is_lossless(self, storage_class: str, options: Mapping[str, object]) -> bool:
        """Return True."""
        return True

    def check(self, value: object, storage_class: str, options: Mapping[str, object]) -> None:
        """Refuse options, and what is no Mapping.

        Raises
        ------
        FormatError
            It does not hold the storage class.
        InvalidInputError
            An option was given.
        """
        check_storage_class(self.name, self.storage_classes, storage_class)
        check_options(self.name, options, {})

    def encode(self, value: object, storage_class: str, options: Mapping[str, object]) -> Chunks:
        """Return UTF-8 with one entry a line."""
        self.check(value, storage_class, options)
        with encoding(self.name, storage_class):
            return [(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode()]

    def decode(
        self, data: Buffer, storage_class: str, *, columns: Sequence[str] | None = None
    ) -> dict[str, JsonValue]:
        """Read one JSON object.

        Raises
        ------
        FormatError
            ``kind="decode"``: it is no strict JSON (NaN and repeated keys are none), its outermost value is
            no object, or it is nested too deeply.
        """
        check_storage_class(self.name, self.storage_classes, storage_class)
        refuse_columns(storage_class, columns)
        with decoding(self.name):
            value = json.loads(
                bytes(data).decode("utf-8-sig"),
                object_pairs_hook=_object,
                parse_constant=_no_constant,
                parse_float=_finite,
            )
            try:
                return canonical_mapping(value)
            except InvalidInputError as error:
                raise damaged(self.name, error) from error


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise damaged("json", "a key is repeated in one object")
    return result


def _no_constant(name: str) -> NoReturn:
    raise damaged("json", f"{name} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise damaged("json", f"{text} is beyond the range of a double")
    return value
