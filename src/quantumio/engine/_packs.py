"""Packs: one object for the many small outputs of a context."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable, Sequence
from typing import Final

from attrs import frozen

from quantumio.engine._output import Encoded, Output
from quantumio.ports import Destinations

__all__ = ["PackRules", "PackedBytes", "assign_packs", "pack"]

_MEMBERS: Final = 256
"""Outputs that share a pack at most: a reader of one, or a repair, never has to do with much more."""

_DATE: Final = (1980, 1, 1, 0, 0, 0)
"""Of every member: the same outputs make the same bytes, whenever they are packed."""


@frozen(kw_only=True)
class PackRules:
    """Which outputs share an object.

    Attributes
    ----------
    largest_bytes
        Larger outputs have an object of their own; 0 packs nothing.
    fewest
        Contexts with fewer small outputs pack none: people find a file of its own more easily.
    """

    largest_bytes: int = 1 << 16
    fewest: int = 16


@frozen(kw_only=True)
class PackedBytes:
    """A ZIP file that compresses nothing, and where in it the bytes of each member begin."""

    encoded: Encoded
    offsets: tuple[int, ...]


def assign_packs(outputs: Iterable[Output], destinations: Destinations, rules: PackRules) -> None:
    """Decide which outputs of a sealed context share a pack at their required destinations.

    It belongs to the plan: the same outputs get the same packs, so that whoever goes on with a context places
    the same objects.
    """
    outputs = [output for output in outputs if output.snapshot_bytes <= rules.largest_bytes]
    if len(outputs) < rules.fewest or rules.largest_bytes == 0:
        return
    taking: dict[int, frozenset[str]] = {}  # most outputs share one resolution

    def packed_at(output: Output) -> frozenset[str]:
        resolution = output.resolution
        if (known := taking.get(id(resolution))) is None:
            known = taking[id(resolution)] = frozenset(
                target.destination
                for target in resolution.targets
                if target.required and destinations.takes_packs(target.destination)
            )
        return known

    packed = [output for output in outputs if not output.attempts and packed_at(output)]
    if len(packed) >= rules.fewest:
        for index, output in enumerate(packed):
            output.pack_in(index // _MEMBERS, packed_at(output))


def pack(members: Sequence[tuple[str, Encoded]]) -> PackedBytes:
    """Put encoded outputs into one ZIP file, in their order.

    Parameters
    ----------
    members
        Their names in it, each of them once, and their bytes.
    """
    file = io.BytesIO()
    infos = []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        for name, encoded in members:
            info = zipfile.ZipInfo(name, _DATE)
            info.external_attr = 0o644 << 16
            archive.writestr(info, b"".join(encoded.chunks))
            infos.append(info)
    offsets = tuple(info.header_offset + len(info.FileHeader(zip64=False)) for info in infos)
    content = file.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    return PackedBytes(
        encoded=Encoded(chunks=(content,), nbytes=len(content), digest=digest), offsets=offsets
    )
