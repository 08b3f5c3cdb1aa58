"""Dimension records, as the registry tells of them."""

from __future__ import annotations

from attrs import frozen

__all__ = ["RecordComparison"]


@frozen(kw_only=True)
class RecordComparison:
    """What would become of dimension records if they were inserted.

    Attributes
    ----------
    new, there
        How many of them are not there, and how many are (or come twice).
    conflicts
        What contradicts a record that is there or another one among them, each as a message.
    """

    new: int
    there: int
    conflicts: tuple[str, ...] = ()
