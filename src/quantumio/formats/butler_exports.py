"""Files in which the Rubin Data Butler exports a repository: YAML, with tags for regions, times and ids.

No object of Python is made that a file names: each tag has one reader here, and others are refused.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import yaml

from quantumio.errors import InvalidInputError
from quantumio.formats._guards import damaged, decoding
from quantumio.formats._yaml_limits import check_expansion
from quantumio.model import Region, Timespan

__all__ = ["read_butler_export"]

_NAME: Final = "an export of a Butler"
_BaseLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?")
_EPOCH: Final = datetime(1970, 1, 1)  # of TAI, which no time zone of Python is
_ENDS: Final = ("datetime_begin", "datetime_end")


class _Loader(_BaseLoader):  # type: ignore[misc,valid-type]
    """The safe loader, and the tags of exports."""


def read_butler_export(data: bytes) -> list[dict[str, Any]]:
    """Return the entries of an export, in order.

    Each is a mapping with its ``type``, as it was exported, but for values that have a type here: a `Region`,
    a `Timespan` (``timespan`` of a dimension record instead of its ends), a UUID, bytes.

    Raises
    ------
    FormatError
        ``kind="decode"``: it is no such export, or holds what is not known here; says where.
    """
    with decoding(_NAME):
        text = data.decode("utf-8-sig")
        check_expansion(_NAME, text)
        document = yaml.load(text, Loader=_Loader)  # noqa: S506, TID251  # _Loader is a safe loader
        entries = document.get("data") if isinstance(document, dict) else None
        if not isinstance(entries, list):
            raise damaged(_NAME, "it has no list 'data'")
        for number, entry in enumerate(entries):
            if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
                raise damaged(_NAME, f"entry {number} has no type")
            if entry["type"] == "dimension":
                _check_dimension(number, entry)
    return entries


def _check_dimension(number: int, entry: dict[str, Any]) -> None:
    records = entry.get("records")
    if not isinstance(entry.get("element"), str) or not isinstance(records, list):
        raise damaged(_NAME, f"entry {number} has no element with records")
    for record in records:
        if not isinstance(record, dict):
            raise damaged(_NAME, f"entry {number} has a record that is no mapping")
        ends = [record.pop(end, None) for end in _ENDS]
        if ends != [None, None]:
            record["timespan"] = _timespan_of(*ends)


# ---------------------------------------------------------------------------- tags


def _wrong(node: yaml.Node, what: object) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, str(what), node.start_mark)


def _text(loader: Any, node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return str(loader.construct_scalar(node))
    raise _wrong(node, f"{node.tag} is no text")


def _region(loader: Any, _: str, node: yaml.Node) -> Region:
    # The text itself, not what YAML makes of it: digits alone would be a number.
    encoded = {key.value: value for key, value in node.value} if isinstance(node, yaml.MappingNode) else {}
    try:
        return Region.make(bytes.fromhex(_text(loader, encoded["encoded"])))
    except (KeyError, ValueError) as error:
        raise _wrong(node, f"{node.tag} is no region that is known here: {error}") from error


def _time(loader: Any, node: yaml.Node) -> int:
    """Return TAI nanoseconds: every digit counts, and TAI has no leap seconds."""
    if (match := _TIME.fullmatch(_text(loader, node))) is None:
        raise _wrong(node, "a time is no ISO text")
    seconds = (datetime.fromisoformat(match[1]) - _EPOCH) // timedelta(seconds=1)
    return seconds * 10**9 + int((match[2] or "0").ljust(9, "0"))


def _timespan(loader: Any, node: yaml.Node) -> Timespan:
    if isinstance(node, yaml.ScalarNode):  # EMPTY
        return Timespan(0, 0)
    ends = loader.construct_mapping(node, deep=True)
    return _timespan_of(ends.get("begin"), ends.get("end"))


def _timespan_of(begin: object, end: object) -> Timespan:
    whole = Timespan()
    begin = whole.begin_ns if begin is None else begin
    end = whole.end_ns if end is None else end
    if not isinstance(begin, int) or not isinstance(end, int):
        raise damaged(_NAME, f"{begin!r} or {end!r} is no time")
    try:
        return Timespan(begin, end)
    except InvalidInputError as error:
        raise damaged(_NAME, error) from error


def _uuid(loader: Any, node: yaml.Node) -> UUID:
    return UUID(_text(loader, node))


_Loader.add_multi_constructor("lsst.sphgeom.", _region)
_Loader.add_constructor("!butler_time/tai/iso", _time)
_Loader.add_constructor("!lsst.daf.butler.Timespan", _timespan)
_Loader.add_constructor("!uuid", _uuid)
