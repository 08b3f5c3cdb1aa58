"""Resolution of policies: which destinations, which format, which rule, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from quantumio.errors import ErrorKind, InvalidInputError, shown
from quantumio.model import (
    TEMPORARY,
    DatasetType,
    FormatChoice,
    Mode,
    NamedPolicy,
    Ownership,
    PolicyLayer,
    Resolution,
    Rule,
    Target,
)
from quantumio.ports import Destinations, Formats

__all__ = ["LOCAL", "ROWS", "PolicyResolver", "as_targets"]

LOCAL = "local"
"""The built-in files destination of every repository; where nothing is said, outputs go there."""

ROWS = FormatChoice("rows")
"""What table destinations hold instead of a format."""

_T = TypeVar("_T")
_Key = tuple[DatasetType, str, object, object]
"""Dataset type and run, and ``to`` and ``own`` as the put says them."""


def as_targets(to: object) -> tuple[Target, ...]:
    """Read the ``to`` of a put or of a rule: a name, or a list of names (``"archive?"`` = best effort).

    Raises
    ------
    InvalidInputError
        It is neither, or empty.
    """
    names = [to] if isinstance(to, str) else to
    if not isinstance(names, (list, tuple)) or not names:
        raise InvalidInputError(
            f"to={shown(to)} names no destination",
            hint="give a name or a list of names",
            kind=ErrorKind.POLICY,
        )
    return tuple(Target.parse(name) for name in names)


class PolicyResolver:
    """Resolves each key of a policy from the strongest layer that sets it.

    Parameters
    ----------
    layers
        From the weakest to the strongest. Locked rules of the operator's layer beat all others.
    policies
        Named policies; they share one namespace with destinations.
    destinations, formats
        Those that there are.

    Raises
    ------
    InvalidInputError
        A policy has the name of a destination, or a rule names something that does not exist.
    """

    def __init__(
        self,
        layers: Sequence[PolicyLayer],
        policies: Mapping[str, NamedPolicy],
        destinations: Destinations,
        formats: Formats,
    ) -> None:
        self._layers = tuple(layers)
        self._policies = dict(policies)
        self._destinations = destinations
        self._formats = formats
        self._resolved: dict[_Key, Resolution] = {}
        self._check()

    def _check(self) -> None:
        taken = {*self._destinations.names(), TEMPORARY}
        for name, policy in self._policies.items():
            if name in taken:
                raise InvalidInputError(
                    f"{name!r} names both a policy and a destination",
                    hint="rename one of them",
                    kind=ErrorKind.POLICY,
                )
            self._expand(policy.to, f"policy {name!r}", allow_policies=False)
            self._check_formats(policy.formats, f"policy {name!r}")
        for layer in self._layers:
            for number, rule in enumerate(layer.rules, 1):
                what = _describe(layer, number, rule)
                if rule.to is not None:
                    self._expand(rule.to, what)
                self._check_formats(rule.formats or {}, what)
                if rule.storage_class is not None:
                    self._formats.storage_class(rule.storage_class)

    def _check_formats(self, formats: Mapping[str, FormatChoice], what: str) -> None:
        for destination, choice in formats.items():
            if destination not in self._destinations.names():
                raise InvalidInputError(
                    f"{what}: formats names {destination!r}, which is no destination",
                    hint=f"there are {', '.join(self._destinations.names())}",
                    kind=ErrorKind.POLICY,
                )
            if choice.name not in self._formats.format_names():
                raise InvalidInputError(
                    f"{what}: there is no format {choice.name!r}",
                    hint=f"there are {', '.join(self._formats.format_names())}",
                    kind=ErrorKind.POLICY,
                )

    def with_layer(self, layer: PolicyLayer) -> PolicyResolver:
        """Return a resolver with one more layer: stronger than all but locked rules and the put."""
        return PolicyResolver((*self._layers, layer), self._policies, self._destinations, self._formats)

    def resolve(
        self,
        dataset_type: DatasetType,
        run: str,
        *,
        to: object = None,
        own: object = None,
    ) -> Resolution:
        """Return what holds for one output.

        Parameters
        ----------
        dataset_type, run
            Of the output.
        to, own
            What the put itself says; None where it says nothing.

        Raises
        ------
        InvalidInputError
            ``to`` names something that does not exist, or what it names cannot take the storage class.
        """
        key = dataset_type, run, tuple(to) if isinstance(to, list) else to, own
        try:
            return self._resolved[key]
        except (KeyError, TypeError):  # not asked before, or nothing that can be asked for
            targets = None if to is None else as_targets(to)
            ownership = None if own is None else Ownership.make(own)
        resolution = self._resolved[key] = self._resolve(dataset_type, run, targets, ownership)
        return resolution

    def _resolve(
        self, dataset_type: DatasetType, run: str, to: tuple[Target, ...] | None, own: Ownership | None
    ) -> Resolution:
        put = Rule(to=to, own=own)
        rules = list(self._matching(dataset_type, run, put))

        def first(key: Callable[[Rule], _T | None]) -> tuple[_T | None, str]:
            for rule, reason in rules:
                if (value := key(rule)) is not None:
                    return value, reason
            return None, "default"

        names, why_to = first(lambda rule: rule.to)
        mode, why_mode = first(lambda rule: rule.mode)
        ownership, why_own = first(lambda rule: rule.own)
        ack, why_ack = first(lambda rule: rule.ack)
        targets, policy_formats = self._expand(names or (Target(LOCAL),), f"to of {dataset_type.name!r}")
        self._check_targets(targets, dataset_type)
        formats: dict[str, FormatChoice] = {}
        why_formats = []
        for target in targets:
            name = target.destination
            chosen, reason = first(lambda rule, name=name: (rule.formats or {}).get(name))  # type: ignore[misc]
            if chosen is None and name in policy_formats:
                chosen, reason = policy_formats[name]
            formats[name] = self._format(dataset_type, name, chosen)
            why_formats.append(f"{name}: {reason}")
        return Resolution(
            targets=targets,
            formats=formats,
            mode=mode or Mode.DEFERRED,
            own=ownership,
            ack=ack,
            why={
                "to": why_to,
                "mode": why_mode,
                "formats": "; ".join(why_formats),
                "own": why_own,
                "ack": why_ack,
            },
        )

    def _matching(self, dataset_type: DatasetType, run: str, put: Rule) -> Iterator[tuple[Rule, str]]:
        """Yield the matching rules from the strongest to the weakest, each with its description."""
        matching = [
            (layer, rule, _describe(layer, number, rule))
            for layer in reversed(self._layers)
            for number, rule in enumerate(layer.rules, 1)
            if _matches(rule, dataset_type, run)
        ]
        yield from ((rule, reason) for layer, rule, reason in matching if _is_locked(layer, rule))
        yield put, "the put itself"
        yield from ((rule, reason) for layer, rule, reason in matching if not _is_locked(layer, rule))

    def _expand(
        self, names: Iterable[Target], what: str, *, allow_policies: bool = True
    ) -> tuple[tuple[Target, ...], dict[str, tuple[FormatChoice, str]]]:
        """Replace names of policies by their targets; the strictest wins where one is there twice."""
        targets: dict[str, Target] = {}
        formats: dict[str, tuple[FormatChoice, str]] = {}
        for target in names:
            name = target.destination
            if allow_policies and name in self._policies:
                policy = self._policies[name]
                members = [Target(t.destination, t.required and target.required) for t in policy.to]
                formats |= {key: (choice, f"policy {name!r}") for key, choice in policy.formats.items()}
            elif name == TEMPORARY or name in self._destinations.names():
                members = [target]
            else:
                known = sorted({*self._destinations.names(), *self._policies, TEMPORARY})
                raise InvalidInputError(
                    f"{what}: {name!r} is neither a destination nor a policy",
                    hint=f"there are {', '.join(known)}; add one to butler.toml",
                    kind=ErrorKind.POLICY,
                )
            for member in members:
                earlier = targets.get(member.destination)
                targets[member.destination] = Target(
                    member.destination, member.required or (earlier is not None and earlier.required)
                )
        return tuple(targets.values()), formats

    def _check_targets(self, targets: tuple[Target, ...], dataset_type: DatasetType) -> None:
        def wrong(what: str, hint: str) -> InvalidInputError:
            return InvalidInputError(f"{dataset_type.name!r}: {what}", hint=hint, kind=ErrorKind.POLICY)

        text = ", ".join(map(str, targets))
        if any(target.destination == TEMPORARY for target in targets):
            if len(targets) > 1:
                raise wrong(f"to = {text}", "'temporary' stands alone; leave it out or leave out the others")
        elif not any(target.required for target in targets):
            raise wrong(f"all of {text} are best effort", "make one of them required (without '?')")

    def _format(
        self, dataset_type: DatasetType, destination: str, chosen: FormatChoice | None
    ) -> FormatChoice:
        storage_class = self._formats.storage_class(dataset_type.storage_class)
        if destination != TEMPORARY and self._destinations.is_table(destination):
            if "arrow" not in storage_class.forms:
                raise InvalidInputError(
                    f"{dataset_type.name!r}: destination {destination!r} takes tables, "
                    f"{storage_class.name} is none",
                    hint="send it to a files, objects or workspace destination",
                    kind=ErrorKind.POLICY,
                )
            return ROWS
        choice = chosen or FormatChoice(storage_class.formats[0])
        if choice.name not in storage_class.formats:
            raise InvalidInputError(
                f"{dataset_type.name!r}: format {choice.name!r} does not hold {storage_class.name}",
                hint=f"use one of {', '.join(storage_class.formats)}",
                kind=ErrorKind.POLICY,
            )
        return choice


def _matches(rule: Rule, dataset_type: DatasetType, run: str) -> bool:
    return (
        (rule.datasets is None or fnmatchcase(dataset_type.name, rule.datasets))
        and (rule.runs is None or fnmatchcase(run, rule.runs))
        and (rule.storage_class is None or rule.storage_class == dataset_type.storage_class)
    )


def _is_locked(layer: PolicyLayer, rule: Rule) -> bool:
    return rule.locked and layer.name == "operator"


def _describe(layer: PolicyLayer, number: int, rule: Rule) -> str:
    conditions = {"datasets": rule.datasets, "runs": rule.runs, "storage_class": rule.storage_class}
    text = ", ".join(f"{key} = {value!r}" for key, value in conditions.items() if value is not None)
    locked = ", locked" if _is_locked(layer, rule) else ""
    return f"{layer.name} rule {number} ({text or 'all'}{locked}) of {layer.origin}"
