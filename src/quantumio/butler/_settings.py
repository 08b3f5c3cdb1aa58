"""Settings of a repository: ``butler.toml``, and the operator's policy file."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from attrs import field, fields, frozen

from quantumio.engine import LOCAL, MIN_FREE_BYTES, RuntimeSettings, as_targets
from quantumio.errors import ErrorKind, InvalidInputError, NotFoundError, shown
from quantumio.model import (
    TEMPORARY,
    Ack,
    DestinationSettings,
    FormatChoice,
    Mode,
    NamedPolicy,
    Ownership,
    PolicyLayer,
    Rule,
    check_identifier,
    parse_bytes,
)
from quantumio.system import environment, files, locks

__all__ = ["Settings", "load_toml", "merge", "operator_layer", "parse_settings"]

POLICY_VARIABLE: Final = "QUANTUMIO_POLICY"
_DEFAULT_BUFFER_SHARE: Final = 0.25
_DEFAULT_BUFFER_MAX: Final = 4 << 30
_TABLES: Final = {"repository", "runtime", "destinations", "policies", "rules", "dimensions"}
_RUNTIME_KEYS: Final = {attribute.name for attribute in fields(RuntimeSettings)}
_RULE_KEYS: Final = {
    "datasets",
    "runs",
    "storage_class",
    "locked",
    "to",
    "mode",
    "formats",
    "own",
    "ack",
}


@frozen(kw_only=True)
class Settings:
    """What ``butler.toml`` says.

    Attributes
    ----------
    registry
        SQLAlchemy URL of the registry; None is SQLite in the repository.
    runtime, destinations, policies, layers
        Parsed tables; ``local`` is always among the destinations, the built-in layer among the layers.
    dimensions
        Tables of added dimensions.
    """

    registry: str | None
    runtime: RuntimeSettings
    destinations: Mapping[str, DestinationSettings]
    policies: Mapping[str, NamedPolicy]
    layers: tuple[PolicyLayer, ...]
    dimensions: Mapping[str, Mapping[str, object]] = field(factory=dict)


def load_toml(path: Path) -> dict[str, object]:
    """Read a TOML file.

    Raises
    ------
    NotFoundError
        There is no such file.
    InvalidInputError
        It is no TOML; the message has line and column.
    """
    try:
        return tomllib.loads(files.read_text(path))
    except FileNotFoundError:
        raise NotFoundError(
            f"there is no file {path}", hint="check the path", kind=ErrorKind.NO_FILE
        ) from None
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be read: {error.strerror}",
            hint="give the path of a TOML file",
            kind=ErrorKind.NO_FILE,
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"{path} is no TOML: {error}", hint="correct the file", kind=ErrorKind.POLICY
        ) from error


def merge(base: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    """Return ``base`` with the tables of ``over`` merged into it, key by key."""
    merged = dict(base)
    for key, value in over.items():
        earlier = merged.get(key)
        both = isinstance(earlier, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(earlier, value) if both else value  # type: ignore[arg-type]  # both are mappings
    return merged


def parse_settings(tables: Mapping[str, object], origin: str) -> Settings:
    """Check and convert the tables of a ``butler.toml``.

    Raises
    ------
    InvalidInputError
        A key is unknown or a value wrong; the message names file, table and key.
    """
    _known(tables, _TABLES, origin)
    repository = _table(tables, "repository", origin)
    _known(repository, {"id", "registry"}, f"[repository] of {origin}")
    registry = repository.get("registry")
    if registry is not None and not (isinstance(registry, str) and registry):
        raise _wrong(f"[repository] of {origin}: registry = {shown(registry)}", "write a SQLAlchemy URL")
    destinations = {
        name: _destination(name, table, origin)
        for name, table in _table(tables, "destinations", origin).items()
    }
    for name in destinations:
        if name == TEMPORARY:
            raise _wrong(f"[destinations.{name}] of {origin}", "'temporary' is built in; use another name")
    destinations.setdefault(LOCAL, DestinationSettings(name=LOCAL, kind="files", options={"root": "data"}))
    dimensions = _table(tables, "dimensions", origin)
    return Settings(
        registry=registry,
        runtime=_runtime(_table(tables, "runtime", origin), origin),
        destinations=destinations,
        policies=_policies(tables, origin),
        layers=(
            PolicyLayer(name="built-in", origin="quantumio", rules=(Rule(to=as_targets(LOCAL)),)),
            PolicyLayer(name="repository", origin=origin, rules=_unlocked(_rules(tables, origin), origin)),
        ),
        dimensions={
            name: _mapping(table, f"[dimensions.{name}] of {origin}") for name, table in dimensions.items()
        },
    )


def operator_layer(path: Path | None) -> tuple[PolicyLayer | None, Mapping[str, NamedPolicy]]:
    """Read the operator's policy file: the one named, else that of ``QUANTUMIO_POLICY``.

    Returns
    -------
    layer, policies
        None and nothing where there is no such file named.

    Raises
    ------
    NotFoundError, InvalidInputError
        It is not there, or wrong.
    """
    if path is None:
        variable = environment.variable(POLICY_VARIABLE)
        if variable is None:
            return None, {}
        path = Path(variable)
    tables = load_toml(path)
    origin = str(path)
    if "destinations" in tables:
        raise _wrong(f"[destinations] in {origin}", "destinations belong into the repository's butler.toml")
    _known(tables, {"policies", "rules"}, origin)
    return PolicyLayer(name="operator", origin=origin, rules=_rules(tables, origin)), _policies(
        tables, origin
    )


def _wrong(what: str, hint: str) -> InvalidInputError:
    return InvalidInputError(f"{what} is wrong", hint=hint, kind=ErrorKind.POLICY)


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Put file, table and key in front of what is wrong with a value."""
    try:
        yield
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: {error.message}", hint=error.hint, kind=error.kind) from error


def _known(table: Mapping[str, object], known: set[str], where: str) -> None:
    if unknown := sorted(set(table) - known):
        raise InvalidInputError(
            f"{where}: unknown key {shown(unknown[0])}",
            hint=f"known are {', '.join(sorted(known))}",
            kind=ErrorKind.POLICY,
        )


def _mapping(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise _wrong(f"{where} = {shown(value)}", "it must be a table")
    return value


def _table(tables: Mapping[str, object], name: str, origin: str) -> Mapping[str, object]:
    return _mapping(tables.get(name, {}), f"[{name}] of {origin}")


def _runtime(table: Mapping[str, object], origin: str) -> RuntimeSettings:
    where = f"[runtime] of {origin}"
    _known(table, _RUNTIME_KEYS, where)
    default = min(int(environment.memory_limit_bytes() * _DEFAULT_BUFFER_SHARE), _DEFAULT_BUFFER_MAX)
    return RuntimeSettings(
        max_buffer_bytes=parse_bytes(table.get("max_buffer_bytes", default), f"{where}: max_buffer_bytes"),
        put_timeout_s=_seconds(table, "put_timeout_s", where, default=60.0),
        encoders=_count(table, "encoders", where, default=2),
        verify_borrowed=_boolean(table, "verify_borrowed", where, default=True),
        lease_s=_seconds(table, "lease_s", where, default=600.0, least=1.0),
        journaled_lease_s=_seconds(table, "journaled_lease_s", where, default=7 * 86400.0, least=1.0),
        registry_lock_timeout_s=_seconds(
            table, "registry_lock_timeout_s", where, default=locks.LOCK_TIMEOUT_S, least=1.0
        ),
        journal_max_bytes=(
            parse_bytes(table["journal_max_bytes"], f"{where}: journal_max_bytes")
            if "journal_max_bytes" in table
            else None
        ),
        journal_min_free_bytes=parse_bytes(
            table.get("journal_min_free_bytes", MIN_FREE_BYTES), f"{where}: journal_min_free_bytes", least=0
        ),
        allow_volatile_journal=_boolean(table, "allow_volatile_journal", where, default=False),
        pack_bytes=parse_bytes(table.get("pack_bytes", 1 << 16), f"{where}: pack_bytes", least=0),
        pack_fewest=_count(table, "pack_fewest", where, default=16),
    )


def _count(table: Mapping[str, object], key: str, where: str, *, default: int) -> int:
    value = table.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _wrong(f"{where}: {key} = {shown(value)}", "give a number from 1 on")
    return value


def _seconds(
    table: Mapping[str, object], key: str, where: str, *, default: float, least: float = 0.0
) -> float:
    value = table.get(key, default)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value < math.inf:
        raise _wrong(f"{where}: {key} = {shown(value)}", f"give seconds, {least:g} or more")
    return float(value)


def _boolean(table: Mapping[str, object], key: str, where: str, *, default: bool) -> bool:
    value = table.get(key, default)
    if not isinstance(value, bool):
        raise _wrong(f"{where}: {key} = {shown(value)}", "write true or false")
    return value


def _destination(name: str, table: object, origin: str) -> DestinationSettings:
    with _naming(f"[destinations] of {origin}"):
        check_identifier(name, "destination")
    where = f"[destinations.{name}] of {origin}"
    options = dict(_mapping(table, where))
    kind = options.pop("kind", None)
    if not isinstance(kind, str):
        raise _wrong(
            f"{where}: kind = {shown(kind)}",
            "write kind = 'files', 'objects', 'workspace', 'database' or 'memory'",
        )
    with _naming(where):
        return DestinationSettings(name=name, kind=kind, options=options)


def _policies(tables: Mapping[str, object], origin: str) -> dict[str, NamedPolicy]:
    policies = {}
    for name, value in _table(tables, "policies", origin).items():
        where = f"[policies.{name}] of {origin}"
        table = _mapping(value, where)
        _known(table, {"to", "formats"}, where)
        with _naming(where):
            check_identifier(name, "policy")
        with _naming(f"{where}: to"):
            to = as_targets(table.get("to"))
        formats = _formats(table.get("formats", {}), where)
        policies[name] = NamedPolicy(name=name, to=to, formats=formats)
    return policies


def _formats(value: object, where: str) -> dict[str, FormatChoice]:
    table = _mapping(value, f"{where}: formats")
    formats = {}
    for destination, choice in table.items():
        with _naming(f"{where}: formats.{destination}"):
            formats[check_identifier(destination, "destination")] = FormatChoice.parse(choice)
    return formats


def _rules(tables: Mapping[str, object], origin: str) -> tuple[Rule, ...]:
    rules = tables.get("rules", [])
    if not isinstance(rules, list):
        raise _wrong(f"rules of {origin}", "write [[rules]] tables")
    return tuple(
        _rule(_mapping(rule, f"rule {number} of {origin}"), f"rule {number} of {origin}")
        for number, rule in enumerate(rules, 1)
    )


def _unlocked(rules: tuple[Rule, ...], origin: str) -> tuple[Rule, ...]:
    for number, rule in enumerate(rules, 1):
        if rule.locked:
            raise _wrong(
                f"rule {number} of {origin}: locked = true",
                f"only an operator locks: in a file that --policy or {POLICY_VARIABLE} names",
            )
    return rules


def _rule(table: Mapping[str, object], where: str) -> Rule:
    _known(table, _RULE_KEYS, where)

    def text(key: Literal["datasets", "runs", "storage_class", "mode"]) -> str | None:
        value = table.get(key)
        if value is not None and not isinstance(value, str):
            raise _wrong(f"{where}: {key} = {shown(value)}", "write a text")
        return value

    mode = text("mode")
    if mode is not None and mode not in tuple(Mode):
        raise _wrong(f"{where}: mode = {shown(mode)}", "write 'deferred' or 'immediate'")
    with _naming(f"{where}: to"):
        to = as_targets(table["to"]) if "to" in table else None
    with _naming(f"{where}: own"):
        own = Ownership.make(table["own"]) if "own" in table else None
    with _naming(f"{where}: ack"):
        ack = Ack.make(table["ack"]) if "ack" in table else None
    return Rule(
        datasets=text("datasets"),
        runs=text("runs"),
        storage_class=text("storage_class"),
        locked=_boolean(table, "locked", where, default=False),
        to=to,
        mode=None if mode is None else Mode(mode),
        formats=_formats(table["formats"], where) if "formats" in table else None,
        own=own,
        ack=ack,
    )
