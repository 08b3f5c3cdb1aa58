"""What a child of a fork has in its memory but must leave to its parent."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable

__all__ = ["keep_in_child", "never_end"]


def never_end(things: Iterable[object]) -> None:
    """Keep things from being finalised in this process, even where the interpreter ends."""
    for thing in things:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))  # one reference too many


def keep_in_child(things: Callable[[], Iterable[object]]) -> None:
    """Have each child of a fork call this first, and never end what it returns."""
    os.register_at_fork(after_in_child=lambda: never_end(things()))
