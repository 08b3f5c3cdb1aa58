"""Limits of YAML, found before anything is built: nesting, and expansion by aliases."""

from __future__ import annotations

import yaml

from quantumio.formats._guards import damaged
from quantumio.formats._mapping import DEEPEST

__all__ = ["check_expansion"]

_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FREE_NODES = 10_000
_NODES_PER_CHARACTER = 4


def check_expansion(format_name: str, text: str, *, deepest: int = DEEPEST) -> int:
    """Refuse a document that is nested too deeply or expands to much more than its size.

    Reads the events of the document without building it (the "billion laughs" of aliases, and stacks of
    brackets that overflow the stack of a recursive reader, are found here).

    Returns
    -------
    int
        The number of nodes that it may have when expanded.

    Raises
    ------
    FormatError
        It is refused.
    """
    limit = _FREE_NODES + _NODES_PER_CHARACTER * len(text)
    sizes: dict[str, int] = {}
    stack: list[tuple[str | None, int]] = []  # anchors of the open collections, and nodes before each
    nodes = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise damaged(format_name, f"the alias *{event.anchor} refers to itself or to nothing")
            nodes += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            stack.append((event.anchor, nodes))
            nodes += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = stack.pop()
            if anchor:
                sizes[anchor] = nodes - before
        if len(stack) > deepest:
            raise damaged(format_name, f"it is nested deeper than {deepest} levels")
        if nodes > limit:
            raise damaged(format_name, "its aliases expand it to much more than its size")
    return limit
