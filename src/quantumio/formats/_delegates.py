"""What the delegates of storage classes without parts and columns have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from quantumio.formats._builtin import declaration
from quantumio.formats._guards import refuse_component, refuse_form, refuse_select
from quantumio.model import StorageClass

if TYPE_CHECKING:
    import numpy as np

__all__ = ["WholeValueDelegate"]


class WholeValueDelegate:
    """A storage class that is had whole: forms that are the value itself, no components, no columns."""

    name: ClassVar[str]

    @property
    def storage_class(self) -> StorageClass:
        """Its declaration."""
        return declaration(self.name)

    def is_immutable(self, value: object) -> bool:
        """Return False: it can be changed in place."""
        return False

    def has_snapshot(self, value: object) -> bool:
        """Return True: ``canonical`` copies it."""
        return True

    def arrays(self, value: object) -> Sequence[np.ndarray]:
        """Return none: it holds no bulk array."""
        return ()

    def check_form(self, form: str) -> None:
        """Refuse a form that it cannot be had in.

        Raises
        ------
        InvalidInputError
            ``kind="form"``; lists the forms there are.
        """
        forms = self.storage_class.forms
        if form not in forms:
            raise refuse_form(self.name, form, forms)

    def convert(self, value: object, form: str) -> object:
        """Return the value itself, which is in every form that it has."""
        self.check_form(form)
        return value

    def component(self, value: object, name: str) -> object:
        """Refuse: there are no components.

        Raises
        ------
        InvalidInputError
            Always.
        """
        raise refuse_component(self.name, name, ())

    def select(self, value: object, columns: Sequence[str]) -> object:
        """Refuse: there are no columns.

        Raises
        ------
        InvalidInputError
            Always.
        """
        raise refuse_select(self.name)
