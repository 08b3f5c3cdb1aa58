"""Format ``yaml``: YAML 1.1 as PyYAML's safe loader reads it; no object of Python is ever made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from quantumio.errors import InvalidInputError
from quantumio.formats._guards import (
    check_options,
    check_storage_class,
    damaged,
    decoding,
    encoding,
    refuse_columns,
)
from quantumio.formats._mapping import JsonValue, canonical_mapping
from quantumio.formats._yaml_limits import check_expansion
from quantumio.ports import Buffer, Chunks

__all__ = ["YamlFormat"]

_TIMESTAMP = "tag:yaml.org,2002:timestamp"

# libyaml where PyYAML was built with it: ten times as fast
_BaseLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BaseDumper: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Loader(_BaseLoader):  # type: ignore[misc,valid-type]
    """The safe loader, leaving dates the texts that they are: JSON has none."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML's own name and shape
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Dumper(_BaseDumper):  # type: ignore[misc,valid-type]
    """The safe dumper, without anchors: equal values give equal bytes, whatever they share in memory."""

    def ignore_aliases(self, data: object) -> bool:
        return True


class YamlFormat:
    """Format ``yaml``: one block a level, keys in the order of the mapping."""

    name = "yaml"
    extension = ".yaml"
    endings = (".yaml", ".yml")
    storage_classes = frozenset({"Mapping"})

    def is_lossless(self, storage_class: str, options: Mapping[str, object]) -> bool:
        """Return True."""
        return True

    def check(self, value: object, storage_class: str, options: Mapping[str, object]) -> None:
        """Refuse options, and what is no Mapping.

        Raises
        ------
        FormatError
            It does not hold the storage class.
        InvalidInputError
            An option was given.
        """
        check_storage_class(self.name, self.storage_classes, storage_class)
        check_options(self.name, options, {})

    def encode(self, value: object, storage_class: str, options: Mapping[str, object]) -> Chunks:
        """Return UTF-8."""
        self.check(value, storage_class, options)
        with encoding(self.name, storage_class):
            text = yaml.dump(
                value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False
            )
            return [text.encode()]

    def decode(
        self, data: Buffer, storage_class: str, *, columns: Sequence[str] | None = None
    ) -> dict[str, JsonValue]:
        """Read one YAML document.

        Raises
        ------
        FormatError
            ``kind="decode"``: it is no YAML, holds tags of other objects, is nested too deeply, expands to
            much more than its size by aliases, or its outermost value is no mapping.
        """
        check_storage_class(self.name, self.storage_classes, storage_class)
        refuse_columns(storage_class, columns)
        with decoding(self.name):
            text = bytes(data).decode("utf-8-sig")
            most_nodes = check_expansion(self.name, text)
            value = yaml.load(text, Loader=_Loader)  # noqa: S506, TID251  # _Loader is a safe loader
            try:
                return canonical_mapping(value, most_nodes=most_nodes)
            except InvalidInputError as error:
                raise damaged(self.name, error) from error
