"""Pipelines that users name: ``package.module:name``, or ``file.py:name``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

from quantumio.errors import ErrorKind, InvalidInputError, NotFoundError
from quantumio.supertask import Pipeline, SuperTask
from quantumio.system import files

__all__ = ["load_pipeline"]

_DEFAULT_NAME: Final = "pipeline"


def load_pipeline(source: str) -> Pipeline:
    """Return the pipeline that a module or a file holds under a name, or that a function of it makes.

    Parameters
    ----------
    source
        ``package.module:name`` or ``path/file.py:name``; the name is ``pipeline`` where none is given.

    Raises
    ------
    NotFoundError
        There is no such module, file or name.
    InvalidInputError
        It cannot be imported, or is no pipeline.
    """
    place, _, name = source.rpartition(":") if ":" in source else (source, "", _DEFAULT_NAME)
    module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
    try:
        found = getattr(module, name)
    except AttributeError:
        pipelines = [other for other, value in vars(module).items() if isinstance(value, Pipeline)]
        raise NotFoundError(
            f"{place} has no {name!r}",
            hint=f"it has the pipelines {', '.join(pipelines)}" if pipelines else f"write {place}:NAME",
            kind=ErrorKind.NO_FILE,
        ) from None
    if callable(found) and not isinstance(found, (Pipeline, SuperTask)):
        try:
            found = found()
        except Exception as error:
            raise _failed(source, error) from error
    if isinstance(found, SuperTask):
        return Pipeline([found])
    if not isinstance(found, Pipeline):
        raise InvalidInputError(
            f"{source} is a {type(found).__name__} and no pipeline",
            hint="name a Pipeline([...]), or a function that returns one",
            kind=ErrorKind.PYTHON_TYPE,
        )
    return found


def _load_module(name: str) -> ModuleType:
    # `python -m` looks into the current directory, the installed command does not.
    _look_into(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise _failed(name, error) from error
        raise NotFoundError(
            f"there is no module {name!r}",
            hint="check the name, or write file.py:NAME",
            kind=ErrorKind.NO_FILE,
        ) from None
    except Exception as error:
        raise _failed(name, error) from error


def _load_file(path: Path) -> ModuleType:
    if not files.exists(path):
        raise NotFoundError(f"there is no file {path}", hint="check the path", kind=ErrorKind.NO_FILE)
    # A file of a package is imported as a part of it, so that its relative imports work; one that stands
    # alone finds what lies beside it, as when it is run.
    names, directory = [path.stem], path.absolute().parent
    while files.exists(directory / "__init__.py"):
        names.insert(0, directory.name)
        directory = directory.parent
    _look_into(directory)
    try:
        module = importlib.import_module(".".join(names))
    except Exception as error:
        raise _failed(str(path), error) from error
    if files.real_path(Path(module.__file__ or "")) != files.real_path(path):
        raise InvalidInputError(
            f"{path} cannot be loaded: another module is called {module.__name__!r}",
            hint="give the file another name",
        )
    return module


def _look_into(directory: Path) -> None:
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))


def _failed(what: str, error: Exception) -> InvalidInputError:
    return InvalidInputError(
        f"{what} cannot be loaded: {type(error).__name__}: {error}",
        hint="correct it; --traceback shows where",
        kind=ErrorKind.ARGUMENT,
    )
