"""Members of TAGGED and CALIBRATION collections, as the registry is asked for them."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from quantumio.model import Timespan
from quantumio.ports._collections import CollectionKind

__all__ = ["MemberQuery"]


@frozen(kw_only=True)
class MemberQuery:
    """Which members of collections to look for; all conditions hold together.

    Attributes
    ----------
    kind
        TAGGED or CALIBRATION: of which collections.
    collections
        Names or globs; those that chains search count, too, and those of other kinds that a glob or a chain
        names are passed over.
    dataset_types
        Names or globs; empty means all.
    data_id
        Equality on dimensions (required or implied ones; implied through dimension records).
    timespan
        Of a CALIBRATION collection: what is valid at any time in it; None = whenever it is valid.
    as_of
        Look at what there was after this commit or edit; None = now.
    """

    kind: CollectionKind
    collections: tuple[str, ...]
    dataset_types: tuple[str, ...] = ()
    data_id: Mapping[str, int | str] = field(factory=dict, hash=False)
    timespan: Timespan | None = None
    as_of: int | None = None
