"""Policies: which outputs go where, as values. `quantumio.engine` resolves them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from attrs import field, frozen

from quantumio.errors import ErrorKind, InvalidInputError, shown
from quantumio.model._commit import Ack
from quantumio.model._names import check_identifier

__all__ = [
    "DIRECT",
    "TEMPORARY",
    "DestinationSettings",
    "FormatChoice",
    "Mode",
    "NamedPolicy",
    "Ownership",
    "PolicyLayer",
    "Resolution",
    "Rule",
    "Target",
]

DIRECT = "direct"
"""The built-in destination of files that stay where they were: nothing is placed or removed there."""

TEMPORARY = "temporary"
"""The built-in destination of outputs that are never in the registry."""


class Ownership(StrEnum):
    """What a put does with the object it is given."""

    COPY = "copy"
    FREEZE = "freeze"
    BORROW = "borrow"
    ENCODE = "encode"

    @classmethod
    def make(cls, value: object) -> Ownership:
        """Make one from an Ownership or its name.

        Raises
        ------
        InvalidInputError
            It is neither.
        """
        try:
            return cls(str(value))
        except ValueError:
            raise InvalidInputError(
                f"own={shown(value)}", hint=f"use one of {', '.join(map(repr, map(str, cls)))}"
            ) from None


class Mode(StrEnum):
    """When the bytes become durable: behind the task's back, or before put returns."""

    DEFERRED = "deferred"
    IMMEDIATE = "immediate"


@frozen
class Target:
    """One destination of an output.

    Attributes
    ----------
    destination
        Its name.
    required
        False for a best-effort copy (written ``name?``): its failure never fails the commit.
    """

    destination: str
    required: bool = True

    @classmethod
    def parse(cls, text: object) -> Target:
        """Read ``"local"`` or ``"archive?"``.

        Raises
        ------
        InvalidInputError
            It is no name.
        """
        if not isinstance(text, str):
            raise InvalidInputError(
                f"{shown(text)} is no destination",
                hint="give its name, or a list of names",
                kind=ErrorKind.POLICY,
            )
        return cls(check_identifier(text.removesuffix("?"), "destination"), not text.endswith("?"))

    def __str__(self) -> str:
        return self.destination if self.required else f"{self.destination}?"


@frozen
class FormatChoice:
    """A format and its options.

    Attributes
    ----------
    name
        Of the format.
    options
        What its ``encode`` takes, e.g. ``{"compression": "rice"}``.
    """

    name: str
    options: Mapping[str, object] = field(factory=dict, hash=False)

    @classmethod
    def parse(cls, value: object) -> FormatChoice:
        """Read ``"fits"`` or ``{ format = "fits", compression = "rice" }``.

        Raises
        ------
        InvalidInputError
            It is neither.
        """
        if isinstance(value, FormatChoice):
            return value
        if isinstance(value, str):
            return cls(check_identifier(value, "format"))
        if isinstance(value, Mapping) and isinstance(name := value.get("format"), str):
            options = {key: option for key, option in value.items() if key != "format"}
            return cls(check_identifier(name, "format"), options)
        raise InvalidInputError(
            f"{value!r} is no format",
            hint="write its name, or a table such as { format = 'fits', compression = 'rice' }",
            kind=ErrorKind.POLICY,
        )

    def __str__(self) -> str:
        options = ", ".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.name}({options})" if options else self.name


@frozen(kw_only=True)
class DestinationSettings:
    """One table ``[destinations.NAME]`` of a policy file.

    Attributes
    ----------
    name, kind
        Identifier; ``files``, ``objects``, ``workspace``, ``database``, ``memory`` or a plug-in's.
    options
        The rest of the table, read by the kind: ``root``, ``url``, ``credentials`` (a profile's name,
        never a secret), ``quota``, ``format``...
    """

    name: str
    kind: str
    options: Mapping[str, object] = field(factory=dict, hash=False)


@frozen(kw_only=True)
class NamedPolicy:
    """One table ``[policies.NAME]``: a name that stands for targets and formats."""

    name: str
    to: tuple[Target, ...]
    formats: Mapping[str, FormatChoice] = field(factory=dict, hash=False)


@frozen(kw_only=True)
class Rule:
    """One ``[[rules]]`` table: what it matches, and the keys that it sets (None: not set).

    Attributes
    ----------
    datasets, runs, storage_class
        Globs on the dataset type's name and the run, and a storage class; None matches all.
    locked
        Operator rules only: beats what the put says.
    to
        Names of destinations and policies.
    mode, formats, own, ack
        See the product's documentation of policy files.
    """

    datasets: str | None = None
    runs: str | None = None
    storage_class: str | None = None
    locked: bool = False
    to: tuple[Target, ...] | None = None
    mode: Mode | None = None
    formats: Mapping[str, FormatChoice] | None = field(default=None, hash=False)
    own: Ownership | None = None
    ack: Ack | None = None


@frozen(kw_only=True)
class PolicyLayer:
    """The rules of one source, in order.

    Attributes
    ----------
    name
        ``built-in``, ``repository``, ``operator``, ``run`` or ``put``.
    origin
        Where it was read, for explanations.
    """

    name: Literal["built-in", "repository", "operator", "run", "put"]
    origin: str
    rules: tuple[Rule, ...] = ()


@frozen(kw_only=True)
class Resolution:
    """What the policy says about one output, and why.

    Attributes
    ----------
    targets
        Destinations, in order; ``temporary`` stands alone.
    formats
        Format of each destination by name (``rows`` for table destinations).
    mode, own, ack
        As resolved; ``own`` None leaves the choice to the type of the object, ``ack`` None to the context.
    why
        Key (``to``, ``mode``, ``formats``, ``own``, ``ack``) to the rule that set it, in words.
    """

    targets: tuple[Target, ...]
    formats: Mapping[str, FormatChoice] = field(hash=False)
    mode: Mode
    own: Ownership | None
    ack: Ack | None
    why: Mapping[str, str] = field(hash=False)

    @property
    def is_temporary(self) -> bool:
        """Whether the output never reaches the registry."""
        return any(target.destination == TEMPORARY for target in self.targets)
