"""What the storage classes of tables have in common: forms, limits and refusals."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Sequence
from typing import Final

from quantumio.errors import ErrorKind, InvalidInputError, MissingExtraError
from quantumio.formats._builtin import EXTRAS, declaration
from quantumio.formats._guards import refuse_form

__all__ = ["MAX_DECODED_BYTES", "check_columns", "check_name", "check_table_form", "wrong_type"]

MAX_DECODED_BYTES: Final = 64 << 30
"""What a table may declare to need in memory; more is refused before anything is decoded."""


def check_table_form(storage_class: str, form: str) -> None:
    """Refuse a form that tables cannot be had in, before anything is read.

    Raises
    ------
    InvalidInputError
        ``kind="form"``; lists the forms there are.
    MissingExtraError
        The library of the form is not installed.
    """
    forms = declaration(storage_class).forms
    if form not in forms:
        raise refuse_form(storage_class, form, forms)
    if form in EXTRAS and importlib.util.find_spec(form) is None:
        raise MissingExtraError(form, EXTRAS[form], purpose=f"as_={form!r}")


def check_name(name: str, storage_class: str) -> None:
    """Refuse the name of a column that no format can hold.

    Raises
    ------
    InvalidInputError
        ``kind="name"``: it is no Unicode text.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(
            f"column {name!r} of the {storage_class}: its name is no Unicode text (a lone surrogate)",
            hint="rename it",
            kind=ErrorKind.NAME,
        ) from None


def check_columns(columns: Sequence[str], there: Collection[str]) -> None:
    """Refuse columns that a table does not have, and columns that are asked for twice.

    Raises
    ------
    InvalidInputError
        Names the columns, and lists those that there are.
    """
    missing = [columns] if isinstance(columns, str) else [name for name in columns if name not in there]
    if missing:
        raise InvalidInputError(
            f"the table has no column {', '.join(map(repr, missing))}",
            hint=f"give a list of {', '.join(map(repr, there)) or 'nothing: it has no columns'}",
        )
    if len(set(columns)) != len(columns):
        raise InvalidInputError(f"columns={list(columns)!r} names a column twice", hint="name each once")


def wrong_type(storage_class: str, value: object, hint: str) -> InvalidInputError:
    """Make the error for an object of another type."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    return InvalidInputError(f"{storage_class} cannot take a {kind}", hint=hint, kind=ErrorKind.PYTHON_TYPE)
