"""Calibrations of quanta: the one that is valid at the time of the exposure or visit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from quantumio.butler import Butler
from quantumio.errors import ConflictError, InvalidInputError, NotFoundError
from quantumio.model import DataId, DatasetRef, DatasetType
from quantumio.supertask._relations import Row

__all__ = ["find_calibration"]

_NAMED_CANDIDATES: Final = 5


def find_calibration(
    butler: Butler, quantum: str, data_id: DataId, dataset_type: DatasetType, collections: Sequence[str]
) -> DatasetRef:
    """Find the calibration that is valid at the time of a quantum.

    Parameters
    ----------
    butler, collections
        Where to look.
    quantum, data_id
        Its key, for messages, and its data ID.
    dataset_type
        Of the calibration.

    Raises
    ------
    NotFoundError
        None is valid, or no record tells the time; names the quantum and the candidates.
    ConflictError
        Several are valid; names them.
    """
    known = {key: value for key, value in data_id.items() if key in dataset_type.dimensions}
    untimed: NotFoundError | None = None
    for moment in _moments(data_id, dataset_type):
        try:
            found = butler.find(dataset_type.name, {**known, **moment}, collections=collections)
        except ConflictError as error:
            raise ConflictError(f"{quantum}: {error.message}", hint=error.hint, kind=error.kind) from error
        except NotFoundError as error:  # no record tells the time of the exposure; that of the visit may
            untimed = NotFoundError(f"{quantum}: {error.message}", hint=error.hint, kind=error.kind)
        except InvalidInputError as error:  # none of the collections has validity ranges
            raise _none_valid(butler, quantum, dataset_type, known, collections) from error
        else:
            if found is None:
                raise _none_valid(butler, quantum, dataset_type, known, collections)
            return found
    assert untimed is not None
    raise untimed


def _moments(data_id: DataId, dataset_type: DatasetType) -> list[Row]:
    """Return the keys that say when a quantum is, the surest first."""
    moments = [key for key in ("exposure", "visit") if key in data_id and key not in dataset_type.dimensions]
    instrument = {"instrument": data_id["instrument"]} if "instrument" in data_id else {}
    return [{**instrument, key: data_id[key]} for key in moments] or [{}]


def _none_valid(
    butler: Butler, quantum: str, dataset_type: DatasetType, known: Row, collections: Sequence[str]
) -> NotFoundError:
    keys: dict[str, Any] = dict(known)
    found = butler.query(dataset_type.name, limit=_NAMED_CANDIDATES, collections="*", **keys)
    candidates = "; ".join(f"{ref} [{ref.id}]" for ref in found)
    return NotFoundError(
        f"{quantum}: no calibration {dataset_type.name!r} is valid for it in {', '.join(collections)}; "
        f"candidates: {candidates or 'none'}",
        hint="certify one for its time: Butler.certify(collection, [ref], begin, end); and search there",
    )
