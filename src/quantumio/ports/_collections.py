"""Collections as the registry tells of them, and how they are edited."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

__all__ = ["ChainEdit", "CollectionKind", "CollectionRecord", "CollectionRemoval", "RemovedCollection"]


class CollectionKind(StrEnum):
    """Kinds of collections."""

    RUN = "RUN"
    TAGGED = "TAGGED"
    CHAINED = "CHAINED"
    CALIBRATION = "CALIBRATION"


class ChainEdit(StrEnum):
    """What becomes of the children that a chain has when others are given."""

    SET = "set"
    """They are replaced."""
    PREPEND = "prepend"
    """They follow; one that is given and was there moves to the front."""
    APPEND = "append"
    """They come first; one that is given and was there moves to the end."""
    REMOVE = "remove"
    """Those that are given are taken out; one that is not in the chain is no error."""


@frozen(kw_only=True)
class CollectionRecord:
    """One collection; ``children`` in search order where it is CHAINED."""

    name: str
    kind: CollectionKind
    children: tuple[str, ...] = ()


@frozen(kw_only=True)
class CollectionRemoval:
    """What the removal of a collection changes, or would change.

    Attributes
    ----------
    dry_run
        Whether nothing was changed.
    name, kind
        Of the collection.
    members
        How many members, children or certifications it has; the datasets themselves stay.
    chains
        From which chains it is taken.
    """

    dry_run: bool
    name: str
    kind: CollectionKind
    members: int
    chains: tuple[str, ...] = ()


@frozen(kw_only=True)
class RemovedCollection:
    """A collection that was removed; one of the same name may be there since.

    Attributes
    ----------
    name, kind, children
        As of a `CollectionRecord`, when it was removed.
    removed_seq
        The edit that removed it: looking back to the one before (``as_of=removed_seq - 1``) shows it.
    removed_ns
        When that was, ns since 1970-01-01 UTC.
    """

    name: str
    kind: CollectionKind
    removed_seq: int
    removed_ns: int
    children: tuple[str, ...] = ()
