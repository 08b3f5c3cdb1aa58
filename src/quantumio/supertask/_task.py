"""SuperTask: declares what it reads and writes, computes, and knows no paths and no policies."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping
from itertools import combinations
from typing import Any, ClassVar

from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import check_identifier
from quantumio.supertask._configuration import configuration_class, make_configuration
from quantumio.supertask._connections import Calibration, Connection, Input, Output, dimension_names

__all__ = ["SuperTask"]


class SuperTask(ABC):
    """One step of a pipeline: connections as class attributes, a configuration, and ``run``.

    Parameters
    ----------
    config
        An object of the class that ``config`` is annotated with, or a mapping of its fields; None takes the
        defaults.
    label
        Name of the task in a pipeline; None is the name of the class.
    **overrides
        Values of single fields of the configuration.

    Attributes
    ----------
    connections
        Declared connections by the name of their attribute.
    dimensions
        Of its quanta: what the class declares, else those of its outputs and its inputs that are not
        ``multiple``.

    Raises
    ------
    InvalidInputError
        A field of the configuration is unknown or wrong (it is named), or the label is no identifier. When
        the class is defined: two connections name the same dataset type.

    Examples
    --------
    >>> class Count(SuperTask):
    ...     raw = Input("raw", dimensions=("instrument", "exposure"), storage_class="NDArray")
    ...     count = Output("count", dimensions=("instrument", "exposure"), storage_class="Mapping")
    ...
    ...     def run(self, ctx):
    ...         ctx.put({"pixels": ctx.get(self.raw).size}, self.count)
    >>> Count().dimensions
    ('instrument', 'exposure')
    """

    connections: ClassVar[Mapping[str, Connection]] = {}
    dimensions: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        cls.connections = _declared(cls)
        _check_names(cls)
        if "dimensions" not in vars(cls):
            cls.dimensions = _union(cls.connections)
        else:
            cls.dimensions = dimension_names(cls.dimensions)

    def __init__(
        self,
        config: object | None = None,
        *,
        label: str | None = None,
        **overrides: object,
    ) -> None:
        self.label = check_identifier(type(self).__name__ if label is None else label, "task")
        # Annotated by the class of the task with its own type: here it can be anything.
        self.config: Any = make_configuration(self.label, configuration_class(type(self)), config, overrides)

    @abstractmethod
    def run(self, ctx: Any, /) -> Awaitable[None] | None:
        """Compute one quantum: read by ``ctx.get(self.raw)``, write by ``ctx.put(obj, self.calexp)``.

        Parameters
        ----------
        ctx
            `QuantumContext`; of ``async def run`` an `AsyncQuantumContext`.

        Notes
        -----
        May be called from several threads at once, for different quanta. What was put becomes visible
        together after this returned; an exception aborts all of it.
        """

    @property
    def is_async(self) -> bool:
        """Whether ``run`` is a coroutine function."""
        return inspect.iscoroutinefunction(self.run)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Inputs that it declares."""
        return tuple(one for one in self.connections.values() if isinstance(one, Input))

    @property
    def calibrations(self) -> tuple[Calibration, ...]:
        """Calibrations that it declares."""
        return tuple(one for one in self.connections.values() if isinstance(one, Calibration))

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Outputs that it declares."""
        return tuple(one for one in self.connections.values() if isinstance(one, Output))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label!r} over {', '.join(self.dimensions)}>"


def _declared(task: type) -> dict[str, Connection]:
    """Return the connections of a class and its bases; that of a subclass replaces one of the same name."""
    found: dict[str, object] = {}
    for base in reversed(task.__mro__):
        found |= {name: value for name, value in vars(base).items() if name != "connections"}
    return {name: value for name, value in found.items() if isinstance(value, Connection)}


def _check_names(task: type[SuperTask]) -> None:
    for (first, one), (second, other) in combinations(task.connections.items(), 2):
        if one == other:
            raise InvalidInputError(
                f"task {task.__name__}: {first} and {second} both name the dataset type {one.name!r}",
                hint="declare it once; what is read and written at once must have two names",
                kind=ErrorKind.DATASET_TYPE,
            )


def _union(connections: Mapping[str, Connection]) -> tuple[str, ...]:
    """Return the dimensions of everything of which a quantum has one; calibrations follow from the time."""
    single = (
        one
        for one in connections.values()
        if isinstance(one, Output) or (isinstance(one, Input) and not one.multiple)
    )
    return tuple(dict.fromkeys(name for one in single for name in one.dimensions))
