"""Members of TAGGED and CALIBRATION collections, as the registry is asked for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from attrs import field, frozen

from quantumio.model import DatasetType, Timespan
from quantumio.ports._collections import CollectionKind

__all__ = ["MemberColumns", "MemberQuery"]


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


@frozen(kw_only=True, eq=False)
class MemberColumns:
    """Members of one collection that are of one dataset type, column by column.

    Attributes
    ----------
    collection, dataset_type
        What all of them have in common.
    data_ids
        Name of each dimension of the dataset type to the values.
    runs, versions, ids
        Of the datasets.
    begin_ns, end_ns
        When they are valid, as a `~quantumio.model.Timespan` has it; empty of a TAGGED collection.
    """

    collection: str
    dataset_type: DatasetType
    data_ids: Mapping[str, Sequence[int | str]]
    runs: Sequence[str]
    versions: Sequence[int]
    ids: Sequence[UUID]
    begin_ns: Sequence[int] = ()
    end_ns: Sequence[int] = ()
