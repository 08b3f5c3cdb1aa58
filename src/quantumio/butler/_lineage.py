"""Lineage as it is returned: datasets by their distance, as refs or as a table."""

from __future__ import annotations

from uuid import UUID

from attrs import frozen

from quantumio.model import DatasetRef, DimensionUniverse
from quantumio.ports import LineageEntry

__all__ = ["Lineage"]


@frozen(kw_only=True)
class Lineage:
    """From what a dataset was made, or what was made from it.

    Attributes
    ----------
    id
        Of that dataset.
    direction
        ``up`` or ``down``.
    entries
        All of them, the nearest first.
    """

    id: UUID
    direction: str
    entries: tuple[LineageEntry, ...]
    _universe: DimensionUniverse

    def refs(self) -> list[DatasetRef]:
        """Return the datasets that are there, the nearest first: no temporary, and none that was deleted."""
        return [entry.ref for entry in self.entries if entry.ref is not None and not entry.is_removed]

    def table(self, as_: str = "arrow") -> object:
        """Return all entries as a table.

        Parameters
        ----------
        as_
            Form of the table, as for `Query.table`.

        Returns
        -------
        object
            One row a dataset: ``level``, ``status`` (``committed``, ``removed`` or ``temporary``), ``via``,
            ``dataset_type``, a column per dimension, ``run``, ``version``, ``id``.
        """
        from quantumio.formats import column_batch, reference_table

        refs = [entry.ref for entry in self.entries]
        used = self._universe.sort({name for ref in refs if ref is not None for name in ref.data_id})
        columns = column_batch(
            {
                "level": ("int", [entry.level for entry in self.entries]),
                "status": ("str", [entry.status for entry in self.entries]),
                "via": ("str", [str(entry.via) for entry in self.entries]),
                "dataset_type": ("str", [ref and ref.dataset_type.name for ref in refs]),
                **{
                    name: (str(self._universe[name].key), [ref and ref.data_id.get(name) for ref in refs])
                    for name in used
                },
                "run": ("str", [ref and ref.run for ref in refs]),
                "version": ("int", [ref and ref.version for ref in refs]),
                "id": ("str", [str(entry.id) for entry in self.entries]),
            }
        )
        return reference_table([columns], as_)
