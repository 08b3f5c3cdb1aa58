"""The manifest of a journal entry: all that another process needs to finish a transaction."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from attrs import field, frozen
from attrs.validators import instance_of, matches_re

from quantumio.engine._policy import ROWS
from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import (
    ArtifactState,
    FormatChoice,
    Resolution,
    Transaction,
    check_identifier,
)

__all__ = ["JournalBlob", "JournalManifest", "JournalTarget", "blob_name", "is_blob_name"]

_WIRE_VERSION: Final = 1
"""Grows with the version of anything that a manifest holds: it alone says who can read one."""
_BLOB_NAME: Final = r"blob-[0-9]+-[0-9]+\.[A-Za-z][A-Za-z0-9_]{0,62}"
_DIGEST: Final = r"[0-9a-f]{64}"
_ENVELOPE: Final = re.compile(rb'\{"sha256":"([0-9a-f]{64})","manifest":(.+)\}\n', re.DOTALL)
_UNREADABLE: Final = (AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading a wire form raises that does not have the form."""


def blob_name(output: int, place: int, choice: FormatChoice) -> str:
    """Return the name of the file that holds one output in one format.

    Parameters
    ----------
    output
        Its place in the transaction.
    place
        The blob's place in the manifest, since an output may have one format with several options.
    choice
        The format.
    """
    return f"blob-{output}-{place}.{choice.name}"


def is_blob_name(name: str) -> bool:
    """Tell whether a file of this name is a blob."""
    return re.fullmatch(_BLOB_NAME, name) is not None


def _choice_to_wire(choice: FormatChoice) -> dict[str, object]:
    return {"name": choice.name, "options": dict(choice.options)}


def _choice_from_wire(wire: Mapping[str, Any]) -> FormatChoice:
    return FormatChoice(check_identifier(wire["name"], "format"), dict(wire["options"]))


def _check_version(version: object) -> None:
    if type(version) is not int or version < 1:
        raise InvalidInputError(f"{version!r} is no version of a journal manifest", kind=ErrorKind.VALUE)
    if version > _WIRE_VERSION:
        raise InvalidInputError(
            f"this journal manifest has version {version}; this quantumio reads 1 to {_WIRE_VERSION}",
            hint="upgrade quantumio",
            kind=ErrorKind.NEWER_SCHEMA,
        )


def _is_count(instance: object, attribute: Any, value: Any) -> None:
    if type(value) is not int or value < 0:
        raise InvalidInputError(f"{attribute.name} = {value!r} is no number of anything")


def _is_identifier(instance: object, attribute: Any, value: Any) -> None:
    check_identifier(value, attribute.name)


@frozen(kw_only=True)
class JournalBlob:
    """The bytes of one output in one format.

    Attributes
    ----------
    output
        Place of the output in the transaction's ``outputs``.
    format
        With its options.
    file
        Name in the entry.
    digest
        SHA-256 of the bytes, hexadecimal.
    nbytes
        Their number.
    """

    output: int = field(validator=_is_count)
    format: FormatChoice
    file: str = field(validator=[instance_of(str), matches_re(_BLOB_NAME)])
    digest: str = field(validator=[instance_of(str), matches_re(_DIGEST)])
    nbytes: int = field(validator=_is_count)

    def to_wire(self) -> dict[str, object]:
        """Return a JSON-able mapping that `from_wire` reads in this and later versions."""
        return {
            "output": self.output,
            "format": _choice_to_wire(self.format),
            "file": self.file,
            "digest": self.digest,
            "nbytes": self.nbytes,
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> JournalBlob:
        """Read what `to_wire` wrote."""
        return cls(**{**wire, "format": _choice_from_wire(wire["format"])})


@frozen(kw_only=True)
class JournalTarget:
    """One destination of an output, as the policy said when the output was put.

    Attributes
    ----------
    destination
        Its name.
    required
        False for a best-effort copy.
    format
        In which format it gets the output, with options; ``rows`` at a table destination.
    """

    destination: str = field(validator=_is_identifier)
    required: bool = field(validator=instance_of(bool))
    format: FormatChoice

    @classmethod
    def all_of(cls, resolution: Resolution) -> tuple[JournalTarget, ...]:
        """Return those of an output, in order."""
        return tuple(
            cls(
                destination=target.destination,
                required=target.required,
                format=resolution.formats[target.destination],
            )
            for target in resolution.targets
        )

    def to_wire(self) -> dict[str, object]:
        """Return a JSON-able mapping that `from_wire` reads in this and later versions."""
        return {
            "destination": self.destination,
            "required": self.required,
            "format": _choice_to_wire(self.format),
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> JournalTarget:
        """Read what `to_wire` wrote."""
        return cls(**{**wire, "format": _choice_from_wire(wire["format"])})


@frozen(kw_only=True)
class JournalManifest:
    """What a transaction is, where its outputs go, and which bytes of them the entry holds.

    Attributes
    ----------
    transaction
        With the artifacts that are planned and those that are placed.
    targets
        Of each output, in the order of the transaction's.
    blobs
        At least what each required destination lacks; a table destination takes any format.
    written_ns
        When it was written, ns since 1970-01-01 UTC (for people).
    host
        On which machine.

    Raises
    ------
    InvalidInputError
        It would not be enough to finish the transaction, or its parts do not fit together.
    """

    transaction: Transaction
    targets: tuple[tuple[JournalTarget, ...], ...]
    blobs: tuple[JournalBlob, ...]
    written_ns: int = field(validator=_is_count)
    host: str = field(validator=instance_of(str))

    def __attrs_post_init__(self) -> None:
        if len(self.targets) != len(self.transaction.outputs):
            raise self._wrong(f"{len(self.targets)} outputs have targets")
        if len({blob.file for blob in self.blobs}) != len(self.blobs):
            raise self._wrong("two blobs share a file")
        for blob in self.blobs:
            if blob.output >= len(self.targets):
                raise self._wrong(f"{blob.file} is of output {blob.output}")
        for place, targets in enumerate(self.targets):
            for target in targets:
                self._check_bytes_for(place, target)

    def _check_bytes_for(self, place: int, target: JournalTarget) -> None:
        """Refuse a required target for which the bytes are neither here nor there."""
        output = self.transaction.outputs[place]
        is_placed = any(
            artifact.destination == target.destination and artifact.state is ArtifactState.OK
            for artifact in output.artifacts
        )
        if target.required and not is_placed and self.blob_for(place, target) is None:
            raise self._wrong(f"{output.ref} has no blob for destination {target.destination!r}")

    def _wrong(self, what: str) -> InvalidInputError:
        transaction = self.transaction
        return InvalidInputError(
            f"the journal's manifest of transaction {transaction.txid} with {len(transaction.outputs)} "
            f"outputs is wrong: {what}",
            kind=ErrorKind.VALUE,
        )

    def blob_for(self, place: int, target: JournalTarget) -> JournalBlob | None:
        """Return the blob that a destination of an output takes; None where the entry has none.

        Parameters
        ----------
        place
            Of the output in the transaction.
        target
            The destination. A table destination takes any format: what is decoded from it becomes rows.
        """
        for blob in self.blobs:
            if blob.output == place and target.format in (blob.format, ROWS):
                return blob
        return None

    # -- as a file
    def to_wire(self) -> dict[str, object]:
        """Return a JSON-able mapping that `from_wire` reads in this and later versions."""
        return {
            "version": _WIRE_VERSION,
            "transaction": self.transaction.to_wire(),
            "targets": [[target.to_wire() for target in targets] for targets in self.targets],
            "blobs": [blob.to_wire() for blob in self.blobs],
            "written_ns": self.written_ns,
            "host": self.host,
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> JournalManifest:
        """Read what `to_wire` wrote.

        Raises
        ------
        InvalidInputError
            It was written by a newer version (``kind="newer_schema"``), or is no manifest.
        """
        try:
            _check_version(wire["version"])
            return cls(
                transaction=Transaction.from_wire(wire["transaction"]),
                targets=tuple(tuple(map(JournalTarget.from_wire, targets)) for targets in wire["targets"]),
                blobs=tuple(map(JournalBlob.from_wire, wire["blobs"])),
                written_ns=wire["written_ns"],
                host=wire["host"],
            )
        except InvalidInputError:
            raise
        except _UNREADABLE as error:
            raise InvalidInputError(f"it is no journal manifest: {error!r}", kind=ErrorKind.VALUE) from error

    def to_bytes(self) -> bytes:
        """Return it as JSON with its own SHA-256, so that a torn or edited file is found.

        Raises
        ------
        InvalidInputError
            An option of a format is nothing that JSON holds.
        """
        try:
            text = json.dumps(self.to_wire(), allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInputError(
                f"transaction {self.transaction.txid} cannot be journaled: {error}",
                hint="use numbers, texts, lists and tables as options of formats",
                kind=ErrorKind.VALUE,
            ) from error
        content = text.encode()
        return b'{"sha256":"%b","manifest":%b}\n' % (hashlib.sha256(content).hexdigest().encode(), content)

    @classmethod
    def from_bytes(cls, data: bytes) -> JournalManifest:
        """Read what `to_bytes` wrote.

        Raises
        ------
        InvalidInputError
            It is damaged, or was written by a newer version (``kind="newer_schema"``).
        """
        match = _ENVELOPE.fullmatch(data)
        if match is None or hashlib.sha256(match[2]).hexdigest().encode() != match[1]:
            raise InvalidInputError("it is torn, or was edited", kind=ErrorKind.VALUE)
        try:
            wire = json.loads(match[2])
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"it is no JSON: {error}", kind=ErrorKind.VALUE) from error
        return cls.from_wire(wire)
