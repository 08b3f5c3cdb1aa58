"""Storage class ``Mapping``: what JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.formats._delegates import WholeValueDelegate
from quantumio.formats._mapping import JsonValue, canonical_mapping, json_nbytes
from quantumio.ports import CopyArray

__all__ = ["MappingDelegate"]


class MappingDelegate(WholeValueDelegate):
    """Storage class ``Mapping``.

    Canonical: a new `dict` of dict, list, str, int, float, bool and None, in the order of the value. Tuples
    become lists; keys that are int, float, bool or None become the texts that JSON gives them; scalars of
    numpy and subclasses (enumerations of str and int) become plain Python. NaN, infinities, bytes, dates,
    arrays, sets and other objects are refused, and so are two keys that become one.
    """

    name = "Mapping"

    def check(self, value: object) -> None:
        """Take a mapping; what is in it shows in `canonical`.

        Raises
        ------
        InvalidInputError
            It is no mapping.
        """
        if not isinstance(value, Mapping):
            raise InvalidInputError(
                f"a Mapping dataset takes a dict, not {type(value).__qualname__}",
                hint="put {'values': [...]} for a list",
                kind=ErrorKind.PYTHON_TYPE,
            )

    def nbytes(self, value: object) -> int:
        """Approximate size in memory, by counting its parts."""
        return json_nbytes(value)

    def canonical(self, value: object, copy_array: CopyArray) -> dict[str, JsonValue]:
        """Return a new dict; ``copy_array`` is not used.

        Raises
        ------
        InvalidInputError
            A part cannot be held; the message gives its path, such as ``stats.mean[3]``.
        """
        return canonical_mapping(value)
