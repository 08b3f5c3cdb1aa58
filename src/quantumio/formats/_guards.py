"""What crosses a port: typed errors only, and options that the format knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from quantumio.errors import ErrorKind, FormatError, InvalidInputError, QuantumioError, shown
from quantumio.system.os_errors import out_of_memory

__all__ = [
    "check_options",
    "check_storage_class",
    "damaged",
    "decoding",
    "encoding",
    "refuse_columns",
    "refuse_component",
    "refuse_form",
    "refuse_select",
]

_LONGEST_REASON = 200


def damaged(format_name: str, reason: object) -> FormatError:
    """Make the error of bytes that cannot be read."""
    text = " ".join(str(reason).split())[:_LONGEST_REASON]
    return FormatError(
        f"these bytes cannot be read as {format_name}: {text}",
        hint="they are damaged, cut off, of another format, or beyond its limits",
        kind=ErrorKind.DECODE,
    )


@contextmanager
def decoding(format_name: str) -> Iterator[None]:
    """Turn whatever a library raises while it reads into a `FormatError` of kind ``decode``."""
    try:
        yield
    except QuantumioError:
        raise
    except Exception as error:
        raise damaged(format_name, f"{type(error).__name__}: {error}") from error


@contextmanager
def encoding(format_name: str, storage_class: str) -> Iterator[None]:
    """Turn whatever a library raises while it writes into a `FormatError`; want of memory is none."""
    try:
        yield
    except QuantumioError:
        raise
    except MemoryError as error:
        raise out_of_memory(f"while a {storage_class} was written as {format_name}") from error
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
        raise FormatError(
            f"this {storage_class} cannot be written as {format_name}: {text}",
            hint="choose another format by the policy, or change that part of the value",
        ) from error


def check_storage_class(format_name: str, storage_classes: frozenset[str], storage_class: str) -> None:
    """Refuse a storage class that the format does not hold."""
    if storage_class not in storage_classes:
        raise FormatError(
            f"{format_name} does not hold a {storage_class}",
            hint=f"it holds {', '.join(sorted(storage_classes))}",
        )


def check_options(
    format_name: str, options: Mapping[str, object], known: Mapping[str, Sequence[object]]
) -> None:
    """Refuse an option, or a value of one, that the format does not know."""
    for name, value in options.items():
        if name not in known:
            raise InvalidInputError(
                f"{format_name} has no option {name!r}",
                hint=f"it has {', '.join(sorted(known)) or 'none'}",
            )
        if value not in known[name]:
            raise InvalidInputError(
                f"{format_name} has no {name} = {value!r}",
                hint=f"use one of {', '.join(map(repr, known[name]))}",
            )


def refuse_columns(storage_class: str, columns: Sequence[str] | None) -> None:
    """Refuse to restrict to columns what has none."""
    if columns is not None:
        raise InvalidInputError(
            f"a {storage_class} has no columns", hint="leave out columns=: only tables can be restricted"
        )


def refuse_select(storage_class: str) -> InvalidInputError:
    """Make the error of ``select`` for what is no table."""
    return InvalidInputError(
        f"a {storage_class} has no columns", hint="leave out columns=: only tables can be restricted"
    )


def refuse_form(storage_class: str, form: str, forms: Sequence[str]) -> InvalidInputError:
    """Make the error of a form that a storage class cannot be had in."""
    return InvalidInputError(
        f"a {storage_class} cannot be had as {shown(form)}",
        hint=f"use as_= one of {', '.join(map(repr, forms))}",
        kind=ErrorKind.FORM,
    )


def refuse_component(storage_class: str, name: str, components: Sequence[str]) -> InvalidInputError:
    """Make the error of a component that a storage class does not have."""
    listed = ", ".join(map(repr, sorted(components)))
    return InvalidInputError(
        f"a {storage_class} has no component {name!r}",
        hint=f"it has {listed}" if listed else "it has no components: get it whole",
        kind=ErrorKind.COMPONENT,
    )
