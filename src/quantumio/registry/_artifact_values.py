"""What the artifacts of datasets tell in a table: the database gives one text for each dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import sqlalchemy as sa
from attrs import evolve, frozen

from quantumio.registry._dataset_fields import STATES
from quantumio.registry._dialect import BIG_INTEGER, TEXT, Rules, raw
from quantumio.registry._schema import ARTIFACT

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ARTIFACT_VALUES", "OneEach", "artifact_columns", "artifacts_text"]

ARTIFACT_VALUES: Final = frozenset({"size", "digest", "destinations", "status"})
_FIELDS: Final = ("position", "nbytes", "state", "store", "digest")
_BETWEEN_FIELDS, _BETWEEN_ARTIFACTS = "\t", "\n"  # names, states and digests have neither


def artifacts_text(rules: Rules, dataset_id: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """Return, as SQL, all artifacts of a dataset as one text; empty where it has none."""
    text: sa.ColumnElement[str] = sa.cast(ARTIFACT.c[_FIELDS[0]], TEXT)
    for name in _FIELDS[1:]:
        text = text + _BETWEEN_FIELDS + sa.cast(ARTIFACT.c[name], TEXT)
    told = (
        sa.select(rules.joined(text, _BETWEEN_ARTIFACTS))
        .where(raw(ARTIFACT.c.dataset_id) == dataset_id)
        .scalar_subquery()
    )
    return sa.func.coalesce(told, "", type_=TEXT)


class OneEach:
    """Reads artifacts where each dataset has one, and all are at the same destination and in the same state.

    So it is with nearly all of a run, and then a join of the two tables tells it in two thirds of the time.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def joined(self, page: Sequence[sa.ColumnElement[Any]]) -> sa.Select[Any]:
        """Return columns of a page, the first of which are ids, with the artifacts behind."""
        of_page: sa.FromClause = page[0].table
        joined = of_page.outerjoin(ARTIFACT, raw(ARTIFACT.c.dataset_id) == page[0])
        return sa.select(*page, *(ARTIFACT.c[name] for name in _FIELDS[1:])).select_from(joined)

    def gathered(self, columns: Sequence[sa.ColumnElement[Any]]) -> sa.Select[Any]:
        """Return the one row of a page, given the columns of `joined`."""
        *page, nbytes, state, store, digest = columns
        ends = [function(column) for column in (store, state) for function in (sa.func.min, sa.func.max)]
        texts = map(self._rules.gathered, (nbytes, digest, *page))
        counts: list[sa.ColumnElement[Any]] = [sa.func.count(), sa.func.count(store)]
        return sa.select(*counts, *ends, *texts)

    def columns(
        self, row: Sequence[Any], types: Sequence[sa.types.TypeEngine[Any]]
    ) -> tuple[int, list[Any]] | None:
        """Return how many rows a page has, its columns and what artifacts tell; None where it is not so.

        ``types`` are those of the columns of the page.
        """
        number, artifacts, first_store, last_store, first_state, last_state, nbytes, digest, *page = row
        if not number:
            return 0, []
        if (number, first_store, first_state) != (artifacts, last_store, last_state):
            return None  # at one destination a dataset has one artifact
        spread = self._rules.spread
        columns = [spread(value, kind) for value, kind in zip(page, types, strict=True)]
        size = spread(nbytes, BIG_INTEGER)
        return number, [*columns, _Told(size, spread(digest, TEXT), first_store, first_state)]


@frozen
class _Told:
    """What artifacts tell that all are at one destination and in one state."""

    nbytes: pa.Array
    digests: pa.Array
    store: str
    state: str

    def __getitem__(self, rows: slice) -> _Told:
        return evolve(self, nbytes=self.nbytes[rows], digests=self.digests[rows])

    def columns(self) -> dict[str, pa.Array]:
        import pyarrow as pa

        number = len(self.digests)
        size = pa.repeat(0, number) if self.state == "pending" else self.nbytes
        store, state = pa.repeat(self.store, number), pa.repeat(self.state, number)
        return {"size": size, "digest": self.digests, "destinations": store, "status": state}


def artifact_columns(told: Any) -> dict[str, pa.Array]:
    """Return the columns of a table that are told by `OneEach` or `artifacts_text`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(told, _Told):
        return told.columns()
    texts = pa.array(told, pa.string())
    fields = pc.split_pattern(texts, _BETWEEN_FIELDS)
    one_each = pc.all(pc.equal(pc.list_value_length(fields), len(_FIELDS)))  # with two there are more
    if not one_each.as_py():
        rows = [_one_row(text) for text in texts.to_pylist()]
        kinds = {
            "size": pa.int64(),
            "digest": pa.string(),
            "destinations": pa.string(),
            "status": pa.string(),
        }
        columns = zip(*rows, strict=True)
        return {name: pa.array(of, kind) for (name, kind), of in zip(kinds.items(), columns, strict=True)}
    flat, places = fields.flatten(), np.arange(0, len(_FIELDS) * len(texts), len(_FIELDS))
    nbytes, state, store, digest = (flat.take(pa.array(places + place)) for place in range(1, len(_FIELDS)))
    size = pc.if_else(pc.equal(state, "pending"), 0, nbytes.cast(pa.int64()))
    return {"size": size, "digest": digest, "destinations": store, "status": state}


def _one_row(text: str) -> tuple[int, str, str, str | None]:
    """Return size, digest, destinations and status of one dataset, whose artifacts come in any order."""
    if not text:
        return 0, "", "", None
    parts = [part.split(_BETWEEN_FIELDS) for part in text.split(_BETWEEN_ARTIFACTS)]
    parts.sort(key=lambda part: int(part[0]))
    size = next((int(nbytes) for _, nbytes, state, _, _ in parts if state != "pending"), 0)
    stores = ",".join(store for _, _, _, store, _ in parts)
    return size, parts[0][4], stores, min((part[2] for part in parts), key=STATES.index)
