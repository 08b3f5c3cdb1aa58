"""Files that become datasets in bulk, as columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from attrs import evolve, frozen

from quantumio.model import DataIdValue

__all__ = ["IngestRows", "IngestedChunk", "ingest_key", "is_ingest_key"]

_CHUNK_KEY: Final = re.compile(r"ingest/[^/]+/[0-9]{16}")


def ingest_key(token: str, end: int | None = None) -> str:
    """Return the key of the chunk with which so many rows of an ingest are datasets; None: how all begin."""
    return f"ingest/{token}/" if end is None else f"ingest/{token}/{end:016}"  # in the order of numbers


def is_ingest_key(key: str) -> bool:
    """Whether a key is that of a chunk of an ingest."""
    return _CHUNK_KEY.fullmatch(key) is not None


@frozen(kw_only=True, eq=False)
class IngestRows:
    """Files that are to become datasets of one type, by columns of equal length, checked.

    Attributes
    ----------
    values
        The values of each dimension of the dataset type, in the order of the type; no data ID is there twice.
    paths
        Absolute paths and URLs.
    formats
        Names of formats.
    digests
        SHA-256, hexadecimal; empty where nobody knows it.
    sizes
        Bytes; None where it is not known yet.
    """

    values: Sequence[Sequence[DataIdValue]]
    paths: Sequence[str]
    formats: Sequence[str]
    digests: Sequence[str]
    sizes: Sequence[int | None]

    def __len__(self) -> int:
        return len(self.paths)

    def part(self, start: int, stop: int) -> IngestRows:
        """Return the rows from ``start`` until before ``stop``."""
        return evolve(
            self,
            values=[column[start:stop] for column in self.values],
            paths=self.paths[start:stop],
            formats=self.formats[start:stop],
            digests=self.digests[start:stop],
            sizes=self.sizes[start:stop],
        )


@frozen(kw_only=True)
class IngestedChunk:
    """What became of a chunk of an ingest.

    Attributes
    ----------
    end
        How many rows of the ingest are datasets now.
    committed
        How many of them this chunk made: none where somebody else was ahead with the same ingest.
    held_s, written_s
        How long it kept other writers out, in seconds, and how long before its COMMIT: what grows with its
        rows.
    """

    end: int
    committed: int
    held_s: float
    written_s: float
