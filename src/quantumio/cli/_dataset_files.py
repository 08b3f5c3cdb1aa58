"""Files that a user names: read and written in the format that their ending says."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import frozen

from quantumio.errors import (
    ConflictError,
    DestinationError,
    ErrorKind,
    InvalidInputError,
    QuantumioError,
)
from quantumio.formats import InstalledFormats
from quantumio.system import files
from quantumio.system.given_files import read_given_file

if TYPE_CHECKING:
    import numpy as np

    from quantumio.model import StorageClass
    from quantumio.ports import Buffer, Chunks, Format

__all__ = [
    "STANDARD_STREAM",
    "Writing",
    "check_target",
    "decode_file",
    "plan_writing",
    "read_file",
    "write_file",
]

STANDARD_STREAM: Final = "-"
"""Name of standard input and output among names of files."""

_NATIVE: Final = "native"
_PLAIN_FORMATS: Final = ("text", "bytes")
"""Formats that hold any file whatever its ending."""

_STORAGE_CLASS_OF_FORM: Final = {
    "numpy": "NDArray",
    "arrow": "ArrowTable",
    "astropy": "AstropyTable",
    "pandas": "DataFrame",
}
"""Storage class of a table or an image that was had in another form, so that it can be written in it."""


def read_file(path: str) -> bytes:
    """Return the bytes of a file, or (``-``) of standard input.

    Raises
    ------
    NotFoundError
        There is none.
    DestinationError
        It cannot be read.
    """
    if path == STANDARD_STREAM:
        return sys.stdin.buffer.read()
    return read_given_file(Path(path))


def decode_file(path: str, storage_class: str, format_name: str | None) -> object:
    """Return the object that a file holds, as a storage class takes it.

    Raises
    ------
    NotFoundError, DestinationError
        The file is not there, or cannot be read.
    FormatError
        It is damaged, or not what its ending says; names the file.
    InvalidInputError
        No format of the storage class has this ending.
    """
    formats = InstalledFormats()
    chosen = formats.format(format_name) if format_name else _format_of(formats, path, storage_class)
    if chosen.name not in formats.storage_class(storage_class).formats:
        raise InvalidInputError(
            f"format {chosen.name!r} does not hold {storage_class}",
            hint=f"use one of {', '.join(formats.storage_class(storage_class).formats)}",
        )
    data = read_file(path)
    try:
        return chosen.decode(data, storage_class)
    except QuantumioError as error:
        error.message = f"{path}: {error.message}"
        raise


@frozen(kw_only=True)
class Writing:
    """How a dataset is to be written into a file.

    Attributes
    ----------
    form
        ``as_`` that it is to be read in.
    storage_class, format
        What it is then, and what holds it.
    """

    form: str
    storage_class: str
    format: Format

    def encode(self, value: object) -> Chunks:
        """Return the bytes of a value that was read in the form.

        Raises
        ------
        InvalidInputError, FormatError
            The format cannot hold it.
        """
        delegate = InstalledFormats().delegate(self.storage_class)
        delegate.check(value)
        canonical = delegate.canonical(value, _own_array)
        self.format.check(canonical, self.storage_class, {})
        return self.format.encode(canonical, self.storage_class, {})


def plan_writing(path: str, storage_class: str, form: str | None, format_name: str | None) -> Writing:
    """Say how a dataset gets into a file of this name, before anything of it is read.

    Parameters
    ----------
    path
        Its ending says the format.
    storage_class
        Of the dataset.
    form
        Form that the user wants; None: its own, else the first that a format of this ending holds.
    format_name
        Format that the user wants; None goes by the ending.

    Raises
    ------
    InvalidInputError
        No format that holds the dataset has this ending; names those that do.
    """
    formats = InstalledFormats()
    declared = formats.storage_class(storage_class)
    known: dict[str, str] = {}
    for one in declared.forms if form is None else (form,):
        in_form = _storage_class_in(one, declared)
        if in_form is None:
            continue
        for name in formats.storage_class(in_form).formats:
            if format_name == name or (format_name is None and _has_ending(formats, name, path)):
                return Writing(form=one, storage_class=in_form, format=formats.format(name))
            known.setdefault(name, formats.format(name).extension)
    if format_name is None and len(declared.formats) == 1 and declared.formats[0] in _PLAIN_FORMATS:
        return Writing(form=_NATIVE, storage_class=storage_class, format=formats.format(declared.formats[0]))
    endings = ", ".join(f"{ending} ({name})" for name, ending in known.items())
    what = storage_class if form is None else f"{storage_class} as {form!r}"
    wanted = f"{path}: its ending says no format" if format_name is None else f"{format_name!r} is no format"
    raise InvalidInputError(
        f"{wanted} that holds {what}",
        hint=f"write to a file that ends in {endings}" if endings else "choose another form with --as",
        kind=ErrorKind.FORM,
    )


def _storage_class_in(form: str, declared: StorageClass) -> str | None:
    """Return which storage class a dataset is in a form; None where there is none."""
    if form == _NATIVE or (form == "astropy" and "arrow" not in declared.forms):
        return declared.name  # an image or an HDU list is astropy's already
    return _STORAGE_CLASS_OF_FORM.get(form)


def check_target(path: str, *, overwrite: bool) -> None:
    """Refuse to write over a file unless that is wanted, and over what is no file in any case.

    Raises
    ------
    ConflictError
        The file exists.
    InvalidInputError
        A directory, a device or a pipe has the name.
    DestinationError
        Nobody can tell, e.g. where the name is too long.
    """
    target = Path(path)
    try:
        is_there = path != STANDARD_STREAM and files.exists(target)
    except OSError as error:
        raise _not_written(path, error) from error
    if not is_there:
        return
    if files.status(files.real_path(target)) is None:
        raise InvalidInputError(f"{path} is no file", hint="name a file, or - for standard output")
    if not overwrite:
        raise ConflictError(f"the file {path} exists", hint="choose another name, or say --overwrite")


def write_file(path: str, chunks: Iterable[Buffer], *, overwrite: bool = False) -> int:
    """Write a file whole or not at all, or (``-``) to standard output; return its size in bytes.

    Until it is whole, a file that is to be written over stays as it was.

    Raises
    ------
    ConflictError
        The file exists.
    DestinationError
        It cannot be written.
    """
    size = 0

    def counted() -> Iterator[Buffer]:
        nonlocal size
        for chunk in chunks:
            size += memoryview(chunk).nbytes
            yield chunk

    if path == STANDARD_STREAM:
        for chunk in counted():
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return size
    check_target(path, overwrite=overwrite)
    write = files.write_over if overwrite else files.write_new
    try:
        write(Path(path), counted())
    except FileExistsError:
        raise ConflictError(
            f"the file {path} exists", hint="choose another name, or say --overwrite"
        ) from None
    except OSError as error:
        raise _not_written(path, error) from error
    return size


def _not_written(path: str, error: OSError) -> DestinationError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return DestinationError(
        f"{path} cannot be written: {error.strerror}",
        hint="free some space" if full else "check the path and its permissions",
        kind=ErrorKind.DISK_FULL if full else ErrorKind.PERMISSION,
    )


def _format_of(formats: InstalledFormats, path: str, storage_class: str) -> Format:
    declared = formats.storage_class(storage_class)
    for name in declared.formats:
        if _has_ending(formats, name, path):
            return formats.format(name)
    if len(declared.formats) == 1 and declared.formats[0] in _PLAIN_FORMATS:
        return formats.format(declared.formats[0])
    endings = ", ".join(formats.format(name).extension for name in declared.formats)
    raise InvalidInputError(
        f"{path}: its ending says no format of {storage_class}",
        hint=f"say --format with one of {', '.join(declared.formats)} (endings {endings})",
    )


def _has_ending(formats: InstalledFormats, name: str, path: str) -> bool:
    return path.lower().endswith(formats.format(name).endings)


def _own_array(array: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
