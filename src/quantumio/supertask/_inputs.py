"""The datasets that quanta may read: found in collections, or predicted of quanta before them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import define, field

from quantumio.butler import Butler
from quantumio.model import DataId, DataIdValue, DatasetRef, DatasetType
from quantumio.supertask._relations import Relations, Row, join

__all__ = ["Available", "InputSearch"]

_TEXT: Final = re.compile(r"'(?:[^']|'')*'")
_WORD: Final = re.compile(r"(?<![\w:.])[A-Za-z_]\w*")


@define(eq=False)
class Available:
    """The datasets of one type, and what their data IDs say about wanted dimensions.

    Attributes
    ----------
    refs
        Which they are.
    producers
        Keys of the quanta that will write them; None for those that are there.
    """

    refs: list[DatasetRef]
    producers: list[str | None]
    _rows: dict[tuple[str, ...], list[list[Row]]] = field(factory=dict)
    _places: dict[tuple[str, ...], _Index] = field(factory=dict)

    def extended(self, relations: Relations, wanted: tuple[str, ...]) -> list[list[Row]]:
        """Return for each ref its rows over the wanted dimensions."""
        if wanted not in self._rows:
            self._rows[wanted] = [relations.extend(ref.data_id, wanted) for ref in self.refs]
        return self._rows[wanted]

    def belonging(self, relations: Relations, data_id: DataId) -> list[int]:
        """Return the places of those that agree with a data ID in all dimensions that both have."""
        wanted = tuple(data_id)
        if wanted not in self._places:
            self._places[wanted] = _Index(self.extended(relations, wanted))
        return self._places[wanted].find(data_id)


class _Index:
    """Finds rows by their values."""

    def __init__(self, rows: Sequence[Sequence[Row]]) -> None:
        # A dataset of which a dimension cannot be told, while it can of others, belongs nowhere.
        names = {name for extended in rows for row in extended for name in row}
        self._places: dict[tuple[DataIdValue, ...], dict[int, None]] = defaultdict(dict)
        self._names: tuple[str, ...] = ()
        for place, extended in enumerate(rows):
            for row in extended:
                if len(row) == len(names):
                    self._names = tuple(row)
                    self._places[tuple(row.values())][place] = None

    def find(self, data_id: DataId) -> list[int]:
        return list(self._places.get(tuple(data_id[name] for name in self._names), ()))


class InputSearch:
    """Finds datasets in collections, as far as the conditions of a plan concern them.

    Parameters
    ----------
    butler, relations, collections
        Where to look.
    where, bind
        Expression over dimensions, and the values of its parameters.
    keys
        Values of dimensions that all quanta have.
    """

    def __init__(
        self,
        butler: Butler,
        relations: Relations,
        collections: Sequence[str],
        where: str | None,
        bind: Mapping[str, object],
        keys: Row,
    ) -> None:
        self._butler = butler
        self._relations = relations
        self._collections = collections
        self._universe = relations.universe
        self._where = where
        self._bind = bind
        self._keys = keys
        words = _WORD.findall(_TEXT.sub("", where or ""))
        self._mentioned = tuple(dict.fromkeys(word for word in words if word in self._universe.names))
        self._allowed: list[Row] | None = None

    @property
    def condition(self) -> str:
        """What was asked for, in words."""
        said = [f"{name}={value!r}" for name, value in self._keys.items()]
        said += [self._where] if self._where else []
        return f" with {', '.join(said)}" if said else ""

    def concerns(self, dimensions: Sequence[str]) -> bool:
        """Whether the expression is about these dimensions and no others."""
        return self._where is not None and {*dimensions}.issuperset(self._mentioned)

    def find(self, dataset_type: DatasetType) -> Available:
        """Return the datasets of a type that can fulfil the conditions."""
        reach = (*dataset_type.dimensions, *self._universe.implied(dataset_type.dimensions))
        asked = self.concerns(reach)
        keys: dict[str, Any] = {n: value for n, value in self._keys.items() if n in dataset_type.dimensions}
        found = self._butler.query(
            dataset_type.name,
            where=self._where if asked else None,
            bind=self._bind if asked else None,
            collections=self._collections,
            **keys,
        )
        refs = [
            ref for ref in found if self.has_keys(ref.data_id) and (asked or self._is_allowed(ref.data_id))
        ]
        return Available(refs, [None] * len(refs))

    def has_keys(self, row: Row) -> bool:
        """Whether a data ID can have the values that all quanta are to have."""
        return not self._keys or any(
            all(self._keys[name] == value for name, value in one.items())
            for one in self._relations.extend(row, self._keys)
        )

    def _is_allowed(self, row: Row) -> bool:
        """Whether a data ID can fulfil an expression that is about dimensions which it does not have."""
        if self._where is None:
            return True
        wanted = self._universe.required(self._mentioned)
        if self._allowed is None:
            found = self._butler.query_data_ids(wanted, where=self._where, bind=self._bind)
            self._allowed = [dict(one) for one in found]
        return bool(join(self._relations.extend(row, wanted), self._allowed))
