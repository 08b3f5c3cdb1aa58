"""What was set aside, as people and programs look at it before they decide."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from quantumio.cli._arguments import uuid_or_none
from quantumio.cli._call import Call
from quantumio.cli._documents import ref_document
from quantumio.cli._output import print_pairs, print_table, print_text
from quantumio.errors import ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import format_bytes

if TYPE_CHECKING:
    from quantumio.engine import SetAside, SetAsideOutput

__all__ = ["show_set_aside"]


def show_set_aside(call: Call, given: Sequence[str]) -> None:
    """Write all that is known of transactions that were set aside.

    Raises
    ------
    NotFoundError
        One is not.
    """
    txids = [_txid(text) for text in given]
    with call.open(readonly=True) as butler:
        found = {one.txid: one for one in butler.set_aside()}
    for txid in txids:
        if txid not in found:
            raise NotFoundError(
                f"transaction {txid} is not set aside here",
                hint="look at `quantumio pending`; a journal belongs to one machine",
                kind=ErrorKind.NO_TICKET,
            )
    wanted = [found[txid] for txid in txids]
    call.answer({"set_aside": [_document(one) for one in wanted]}, lambda: _show(wanted))


def _txid(text: str) -> UUID:
    if (txid := uuid_or_none(text)) is None:
        raise InvalidInputError(
            f"{text!r} is no transaction", hint="give its UUID; `quantumio pending` lists them"
        )
    return txid


def _document(one: SetAside) -> dict[str, object]:
    return {
        "transaction": str(one.txid),
        "reason": one.reason,
        "since": _since(one),
        "host": one.host,
        "directory": None if one.path is None else str(one.path),
        "size": one.nbytes,
        "damage": one.damage,
        "outputs": [_output_document(output) for output in one.outputs],
    }


def _output_document(output: SetAsideOutput) -> dict[str, object]:
    return ref_document(output.ref) | {
        "expect": output.expect,
        "files": [
            {"file": str(file.path), "format": file.format, "size": file.nbytes} for file in output.files
        ],
        "places": [
            {"destination": place.destination, "path": place.path, "format": place.format}
            for place in output.places
        ],
    }


def _since(one: SetAside) -> datetime | None:
    return None if one.since_ns is None else datetime.fromtimestamp(one.since_ns // 10**9, UTC)


def _show(found: Sequence[SetAside]) -> None:
    for one in found:
        shown = {
            "transaction": one.txid,
            "reason": one.reason,
            "since": _since(one),
            "on machine": one.host,
            "directory": one.path,
            "size": format_bytes(one.nbytes) if one.path is not None else None,
            "damage": one.damage,
        }
        print_pairs({name: value for name, value in shown.items() if value is not None})
        rows = [
            (output.ref, _expectation(output), format_, where)
            for output in one.outputs
            for format_, where in _wheres(output)
        ]
        if rows:
            print_table(("dataset", "expected", "format", "where"), rows, fold=("where",))
        print_text(
            f"To commit it: quantumio recover --retry {one.txid} [--as-next]"
            if one.path is not None
            else "Its bytes are not in the journal of this machine."
        )
        print_text(f"To remove it: quantumio recover --drop {one.txid}")


def _wheres(output: SetAsideOutput) -> list[tuple[str, str]]:
    kept = [(file.format, str(file.path)) for file in output.files]
    placed = [(place.format, f"perhaps at {place.destination}: {place.path}") for place in output.places]
    return [*kept, *placed] or [("", "nothing is known")]


def _expectation(output: SetAsideOutput) -> str:
    if output.expect is None:
        return "any version"
    return f"version {output.expect}" if output.expect else "no version"
