"""Configuration of tasks: an attrs class, and values that are checked field by field."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Final, get_type_hints

import attrs
from cattrs import Converter
from cattrs.errors import BaseValidationError

from quantumio.errors import ErrorKind, InvalidInputError

__all__ = ["configuration_class", "make_configuration"]

_FIELD: Final = "config"
_BOOLEANS: Final = {"true": True, "false": False}


def _wrong_type(value: object, wanted: str) -> TypeError:
    return TypeError(f"{value!r} ({type(value).__name__}) is no {wanted}")


def _boolean(value: object, _type: object) -> bool:
    if isinstance(value, str):
        value = _BOOLEANS.get(value.lower(), value)
    if isinstance(value, bool):
        return value
    raise _wrong_type(value, "truth value")


def _integer(value: object, _type: object) -> int:
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return int(value)
    raise _wrong_type(value, "integer")


def _number(value: object, _type: object) -> float:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return float(value)
    raise _wrong_type(value, "number")


def _text(value: object, _type: object) -> str:
    if isinstance(value, str):
        return value
    raise _wrong_type(value, "text")


def _converter() -> Converter:
    """Make what reads values: from Python, and as texts from a command line; nothing is cut off silently."""
    converter = Converter(prefer_attrib_converters=True)
    for kind, hook in ((bool, _boolean), (int, _integer), (float, _number), (str, _text)):
        converter.register_structure_hook(kind, hook)
    return converter


def configuration_class(task: type) -> type | None:
    """Return the attrs class that a task annotates as its ``config``, None where it has none.

    Raises
    ------
    InvalidInputError
        The annotation cannot be resolved, or it is no attrs class.
    """
    for base in task.__mro__:
        annotation = inspect.get_annotations(base).get(_FIELD)
        if annotation is None:
            continue
        holder = SimpleNamespace(__annotations__={_FIELD: annotation})
        try:
            found = get_type_hints(holder, vars(sys.modules[base.__module__]), dict(vars(base)))[_FIELD]
        except NameError as error:
            raise _no_class(task, annotation, str(error)) from None
        if not (isinstance(found, type) and attrs.has(found)):
            raise _no_class(task, annotation, f"{found!r} is no attrs class")
        return found
    return None


def _no_class(task: type, annotation: object, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"task {task.__name__}: config: {annotation} is no configuration ({reason})",
        hint="annotate `config` with an attrs class that is defined at the top of its module",
    )


def make_configuration(
    task: str, kind: type | None, config: object | None, overrides: Mapping[str, object]
) -> object | None:
    """Return the configuration of a task, checked.

    Parameters
    ----------
    task
        Name for messages.
    kind
        Its attrs class; None where the task has no configuration.
    config
        An object of it, or a mapping of values; None takes the defaults.
    overrides
        Values of single fields; texts are read as the type of the field.

    Raises
    ------
    InvalidInputError
        A field is unknown or missing, or a value is wrong; names the field.
    """
    if kind is None:
        if config is None and not overrides:
            return None
        given = ", ".join(overrides) or repr(config)
        raise _wrong(f"{task} has no configuration, but {given} was given", "annotate the class: config: ...")
    if config is not None and not isinstance(config, (kind, Mapping)):
        raise _wrong(
            f"{task}: {config!r} is no {kind.__name__}", f"give {kind.__name__}(...), or single fields"
        )
    values = {**(config if isinstance(config, Mapping) else {}), **overrides}
    fields = {str(one.alias): one for one in attrs.fields(kind) if one.init}
    if unknown := [name for name in values if name not in fields]:
        raise _wrong(
            f"{task}: its configuration has no field {unknown[0]!r}", f"it has {', '.join(fields) or 'none'}"
        )
    hints = get_type_hints(kind)
    converter = _converter()
    read = {alias: _read(converter, task, fields[alias], hints, value) for alias, value in values.items()}
    if isinstance(config, kind):
        read = {alias: getattr(config, one.name) for alias, one in fields.items()} | read
    missing = [name for name, one in fields.items() if one.default is attrs.NOTHING and name not in read]
    if missing:
        raise _wrong(f"{task}: its configuration lacks {', '.join(missing)}", f"give {missing[0]}=...")
    try:
        made: object = kind(**read)
        return made
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{name}={value!r}" for name, value in values.items())
        raise _wrong(f"{task}({given}): {error}", "correct the field") from error


def _read(
    converter: Converter, task: str, one: attrs.Attribute[Any], hints: Mapping[str, Any], value: object
) -> object:
    kind = hints.get(one.name, object)
    if one.converter is not None or (isinstance(kind, type) and attrs.has(kind) and isinstance(value, kind)):
        return value
    try:
        return converter.structure(value, kind)
    except (TypeError, ValueError, BaseValidationError) as error:
        reasons = error.exceptions if isinstance(error, BaseValidationError) else (error,)
        reason = "; ".join(map(str, reasons))
        raise _wrong(f"{task}: {one.alias}={value!r}: {reason}", f"give a {_spelled(kind)}") from error


def _spelled(kind: object) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _wrong(message: str, hint: str) -> InvalidInputError:
    return InvalidInputError(message, hint=hint, kind=ErrorKind.VALUE)
