"""The destinations that a repository's settings name."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

from quantumio.cli._call import Call
from quantumio.cli._dataset_files import read_file
from quantumio.engine import LOCAL

__all__ = ["destination_tables"]

_SETTINGS: Final = "butler.toml"
_PASSWORD: Final = re.compile(r"(?<=//)([^/:@]*):[^/@]*@")
_BUILT_IN: Final = {LOCAL: {"kind": "files", "root": "data"}}


def destination_tables(call: Call, root: str) -> list[dict[str, object]]:
    """Return name, kind and options of the destinations of a repository.

    Raises
    ------
    NotFoundError
        There is no repository.
    """
    Call(repositories=call.repositories and (root,)).open(readonly=True).close()
    tables = tomllib.loads(read_file(str(Path(root, _SETTINGS))).decode()).get("destinations", {})
    return [
        {
            "name": name,
            "kind": table["kind"],
            "options": {key: _shown(value) for key, value in table.items() if key != "kind"},
        }
        for name, table in (_BUILT_IN | tables).items()
    ]


def _shown(value: object) -> object:
    """Return an option as it may be shown: URLs without a password."""
    return _PASSWORD.sub(r"\1:***@", value) if isinstance(value, str) else value
