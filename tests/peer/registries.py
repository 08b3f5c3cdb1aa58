"""What the behaviours say of both registries: who is asked, and which refusals there are."""

from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Any

import pytest

__all__ = ["BOTH", "Refused", "Why", "answer", "refuses"]

_PEER = pytest.param("peer", marks=pytest.mark.filterwarnings("ignore"))  # its warnings are not ours to mend
BOTH = ["quantumio", _PEER]


class Why(StrEnum):
    """What a refusal is about."""

    INVALID = "invalid"  # a name, a value or an expression is wrong
    MISSING = "missing"  # there is no such dataset type or collection
    CONFLICT = "conflict"  # with what is there
    AMBIGUOUS = "ambiguous"  # several calibrations are valid


class Refused(Exception):
    """A registry did not do what it was asked."""

    def __init__(self, why: Why, error: BaseException) -> None:
        super().__init__(f"{why}: {error}")
        self.why = why


def refuses(*why: Why) -> AbstractContextManager[Any]:
    """Expect a refusal, for one of these reasons."""
    return pytest.raises(Refused, check=lambda error: error.why in why)


def answer(ask: Any) -> str:
    """Return in one word how a look-up went: ``found``, ``none``, or why it was refused."""
    try:
        return "none" if ask() is None else "found"
    except Refused as refused:
        return str(refused.why)
