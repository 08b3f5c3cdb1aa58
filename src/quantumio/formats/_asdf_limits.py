"""What an ASDF file may claim (ASDF Standard 1.6), checked before a library believes it."""

from __future__ import annotations

import struct

import yaml

from quantumio.formats._guards import damaged
from quantumio.formats._mapping import DEEPEST
from quantumio.formats._yaml_limits import check_expansion

__all__ = ["check_file", "largest_array"]

_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_MAGIC = b"#ASDF "
_BLOCK_MAGIC = b"\xd3BLK"
_BLOCK = struct.Struct(
    ">I4sQQQ16s"
)  # after magic and size of the header: flags, compression, sizes, checksum
_STREAMED = 1
_LONGEST_TREE = 64 << 20
_ROOM = 64 << 20
_MOST_EXPANSION = 1100
_TREE_LEVELS = 10
_TAGS = ("tag:yaml.org,2002:", "tag:stsci.edu:asdf/core/")


def largest_array(nbytes: int) -> int:
    """Return how many bytes an array of a file of this size may have."""
    return _ROOM + _MOST_EXPANSION * nbytes


def check_file(data: bytes) -> None:
    """Refuse a file whose tree or blocks cannot be read safely.

    The tree may hold nothing but YAML's own types and those of the ASDF core, and refer to nothing outside
    of the file; blocks must lie in the file and not expand beyond every proportion.

    Raises
    ------
    FormatError
        It is refused.
    """
    if not data.startswith(_MAGIC):
        raise damaged("asdf", "it does not begin with #ASDF")
    end = data.find(b"\n...", 0, _LONGEST_TREE)
    newline = data.find(b"\n", end + 1) if end >= 0 else -1
    if newline < 0:
        raise damaged("asdf", "its tree has no end")
    _check_tree(data[:newline].decode("utf-8"))
    _check_blocks(data, newline + 1)


def _check_tree(text: str) -> None:
    check_expansion("asdf", text, deepest=DEEPEST + _TREE_LEVELS)
    pending = [yaml.compose(text, Loader=_Loader)]
    seen: set[int] = set()
    while pending:
        node = pending.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if not node.tag.startswith(_TAGS):
            raise damaged("asdf", f"the tag {node.tag} is none of the ASDF core")
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                _check_reference(node, key, value)
                pending.extend((key, value))
        elif isinstance(node, yaml.SequenceNode):
            pending.extend(node.value)


def _check_reference(node: yaml.Node, key: yaml.Node, value: yaml.Node) -> None:
    is_array = node.tag.startswith("tag:stsci.edu:asdf/core/ndarray")
    if key.value == "$ref" or (is_array and key.value == "source" and not str(value.value).isdigit()):
        raise damaged("asdf", "it refers to another file")


def _check_blocks(data: bytes, offset: int) -> None:
    while data.startswith(_BLOCK_MAGIC, offset):
        header = offset + 6
        size = int.from_bytes(data[offset + 4 : header], "big")
        if size < _BLOCK.size or header + size > len(data):
            raise damaged("asdf", f"the block at byte {offset} is cut off")
        flags, compression, allocated, used, expanded, _ = _BLOCK.unpack_from(data, header)
        if flags & _STREAMED:
            return
        start = header + size
        if used > allocated or start + allocated > len(data):
            raise damaged("asdf", f"the block at byte {offset} is cut off")
        plain = not compression.strip(b"\0")
        if expanded > (used if plain else largest_array(used)):
            raise damaged("asdf", f"the block at byte {offset} claims {expanded} bytes")
        offset = start + allocated
