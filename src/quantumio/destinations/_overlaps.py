"""Destinations whose stores overlap: in one, the objects of the other would be taken for its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from quantumio.destinations._kinds import destination_kind
from quantumio.destinations._options import Opening
from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DestinationSettings
from quantumio.system import files

__all__ = ["refuse_overlaps"]

_SAME: Final = {"s3a": "s3", "gcs": "gs", "az": "abfs", "adl": "abfs", "abfss": "abfs"}
"""Protocols that have several names."""
_PORTS: Final = {"http": ":80", "https": ":443"}


def refuse_overlaps(tables: Sequence[DestinationSettings], opening: Opening) -> None:
    """Refuse destinations of which one's root lies below another's, or that have the same tables.

    Several may share one root: objects have names of their own. Rows of one dataset are there once.

    Raises
    ------
    InvalidInputError
        There are two such destinations; the message names both.
    """
    _refuse_same_tables(tables, opening)
    places = {table.name: _place(table, opening) for table in tables}
    for (inner, place), (outer, above) in permutations(places.items(), 2):
        if place is None or above is None or place[0] != above[0]:
            continue
        if above[1] in place[1].parents:
            raise InvalidInputError(
                f"[destinations.{inner}]: its root {place[1]} lies below {above[1]}, the root of destination "
                f"{outer!r}: the objects of each could be taken for those of the other",
                hint=f"give one of them a root beside the other's; to keep what is there, move what "
                f"{inner!r} holds to its new root while no process has the repository open",
                kind=ErrorKind.POLICY,
            )


def _refuse_same_tables(tables: Sequence[DestinationSettings], opening: Opening) -> None:
    names: dict[str, str] = {}
    for table in tables:
        place = destination_kind(table).table_place(table, opening)
        if place is not None and (other := names.setdefault(place, table.name)) != table.name:
            raise InvalidInputError(
                f"[destinations.{table.name}]: its tables are those of destination {other!r}",
                hint="leave one of them out, or give it another database or schema",
                kind=ErrorKind.POLICY,
            )


def _place(settings: DestinationSettings, opening: Opening) -> tuple[str, PurePosixPath] | None:
    """Return where a store is: on which server, and its path there; None where it has no root."""
    kind = destination_kind(settings)
    local = kind.local_root(settings, opening)
    if local is not None:
        return "", PurePosixPath(files.real_path(local))
    url = kind.remote_root(settings)
    if url is None:
        return None
    protocol, _, path = url.partition("://")
    protocol = protocol.lower()
    server = f"{_SAME.get(protocol, protocol)}://{_endpoint(settings.options.get('endpoint'))}"
    return server, PurePosixPath("/", path.strip("/"))


def _endpoint(url: object) -> str:
    """Return an endpoint as all its ways of writing have it in common."""
    if url is None:
        return ""
    parts = urlsplit(str(url))
    port = _PORTS.get(parts.scheme, "")  # urlsplit has the scheme in lower case
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(port)}{parts.path.rstrip('/')}"
