"""Pipeline: tasks that fit together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from quantumio.butler import Butler
from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import Ack, DatasetType, Mode, default_universe
from quantumio.supertask._connections import Calibration, Connection, Input, Output
from quantumio.supertask._planning import make_plan
from quantumio.supertask._task import SuperTask

if TYPE_CHECKING:
    from quantumio.supertask._plan import Plan
    from quantumio.supertask._progress import ProgressEvent
    from quantumio.supertask._report import RunReport

__all__ = ["Pipeline"]


class Pipeline:
    """Tasks in an order in which each comes after those whose outputs it reads.

    Parameters
    ----------
    tasks
        In any order.

    Raises
    ------
    InvalidInputError
        Two tasks have the same label or write the same dataset type, two connections disagree about a
        dataset type, or tasks wait for each other. The message names tasks and connections.
    """

    def __init__(self, tasks: Iterable[SuperTask]) -> None:
        given = _checked(tasks)
        if not given:
            raise InvalidInputError("the pipeline has no task", hint="give at least one")
        by_label = _by_label(given)
        producers = _producers(given)
        _check_agreement(given)
        _check_calibrations(given, producers)
        self.tasks = tuple(by_label[label] for label in _sorted(given, producers))

    @property
    def connections(self) -> Mapping[str, Connection]:
        """One connection of every dataset type."""
        return {one.name: one for task in self.tasks for one in task.connections.values()}

    @property
    def inputs(self) -> tuple[str, ...]:
        """Dataset types that must be there before it runs, without calibrations."""
        made = set(self.outputs)
        names = (one.name for task in self.tasks for one in task.inputs)
        return tuple(dict.fromkeys(name for name in names if name not in made))

    @property
    def calibrations(self) -> tuple[str, ...]:
        """Dataset types of its calibrations."""
        return tuple(dict.fromkeys(one.name for task in self.tasks for one in task.calibrations))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Dataset types that it writes."""
        return tuple(one.name for task in self.tasks for one in task.outputs)

    @property
    def dataset_types(self) -> tuple[DatasetType, ...]:
        """All dataset types that its tasks declare."""
        return tuple(one.dataset_type for one in self.connections.values())

    def register_dataset_types(self, butler: Butler) -> list[str]:
        """Register the dataset types of its connections; returns the names of those that were new.

        Raises
        ------
        ConflictError
            One is registered with other dimensions or another storage class.
        """
        return [one.name for one in self.dataset_types if butler.register_dataset_type(one)]

    def plan(
        self,
        butler: Butler,
        where: str | None = None,
        *,
        run: str | None = None,
        collections: str | Iterable[str] | None = None,
        bind: Mapping[str, object] | None = None,
        **data_id: object,
    ) -> Plan:
        """Predict every quantum: its data ID, what it reads, and refs of what it will write.

        Quanta exist where all inputs that are not optional exist, in the collections or as outputs of quanta
        before them.

        Parameters
        ----------
        butler
            Where inputs are, and where outputs go.
        where, bind
            Expression over dimensions, and the values of its ``:name`` parameters; see ``Butler.query``.
        run
            RUN collection of the outputs; None is the Butler's own.
        collections
            Where inputs and calibrations are looked for, after the run; None is the Butler's own.
        **data_id
            Values of dimensions that all quanta have.

        Raises
        ------
        InvalidInputError
            There is nothing to do (the message says what is missing), a registered dataset type is not what a
            connection declares, or the expression is wrong.
        NotFoundError
            A dataset type or a collection is unknown, or a calibration is missing (it names the quantum).
        ConflictError
            Several calibrations are valid for a quantum.
        """
        return make_plan(
            butler,
            self.tasks,
            run=run,
            collections=(
                collections if collections is None or isinstance(collections, str) else [*collections]
            ),
            where=where,
            bind=bind or {},
            data_id=data_id,
        )

    def run(
        self,
        butler: Butler,
        where: str | None = None,
        *,
        run: str | None = None,
        collections: str | Iterable[str] | None = None,
        bind: Mapping[str, object] | None = None,
        executor: str = "threads",
        jobs: int | None = None,
        progress: Callable[[ProgressEvent], object] | bool | None = None,
        mode: str | Mode | None = None,
        ack: str | Ack = "committed",
        **data_id: object,
    ) -> RunReport:
        """Plan, and run the plan; see `plan` and `Plan.run`."""
        plan = self.plan(butler, where, run=run, collections=collections, bind=bind, **data_id)
        return plan.run(executor, jobs=jobs, progress=progress, mode=mode, ack=ack)

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[SuperTask]:
        return iter(self.tasks)

    def __repr__(self) -> str:
        return f"<Pipeline {' -> '.join(task.label for task in self.tasks)}>"


def _checked(tasks: Iterable[object]) -> list[SuperTask]:
    checked = []
    for task in tasks:
        if not isinstance(task, SuperTask):
            name = getattr(task, "__name__", None)
            raise InvalidInputError(
                f"{task!r} is no SuperTask",
                hint=f"write {name}() to make one" if name else "give objects of SuperTask classes",
            )
        checked.append(task)
    return checked


def _by_label(tasks: list[SuperTask]) -> dict[str, SuperTask]:
    labels: dict[str, SuperTask] = {}
    for task in tasks:
        if labels.setdefault(task.label, task) is not task:
            raise InvalidInputError(
                f"two tasks of the pipeline are called {task.label!r}",
                hint="give one of them another name: label='...'",
                kind=ErrorKind.NAME,
            )
    return labels


def _producers(tasks: list[SuperTask]) -> dict[str, SuperTask]:
    producers: dict[str, SuperTask] = {}
    for task in tasks:
        for output in task.outputs:
            if (other := producers.setdefault(output.name, task)) is not task:
                raise InvalidInputError(
                    f"tasks {other.label!r} and {task.label!r} both write {output.name!r}",
                    hint="a dataset type has one producer: give one of the outputs another name",
                    kind=ErrorKind.DATASET_TYPE,
                )
    return producers


def _check_agreement(tasks: list[SuperTask]) -> None:
    """Refuse connections of one dataset type that say different things about it."""
    seen: dict[str, tuple[SuperTask, Connection]] = {}
    for task in tasks:
        for connection in task.connections.values():
            other_task, other = seen.setdefault(connection.name, (task, connection))
            for what, one, two in (
                ("dimensions", _required(other), _required(connection)),
                ("storage class", (other.storage_class,), (connection.storage_class,)),
            ):
                if one != two:
                    raise InvalidInputError(
                        f"{_described(other_task, other)} and {_described(task, connection)} disagree: "
                        f"{what} {', '.join(one)} and {', '.join(two)}",
                        hint=f"declare {connection.name!r} alike in both tasks",
                        kind=ErrorKind.DATASET_TYPE,
                    )


def _required(connection: Connection) -> tuple[str, ...]:
    """Return its dimensions in a form that can be compared, also those of a repository's own."""
    universe = default_universe()
    closed = {
        other for name in connection.dimensions if name in universe for other in universe[name].requires
    }
    return tuple(sorted(closed.union(connection.dimensions)))


def _described(task: SuperTask, connection: Connection) -> str:
    kind = {Input: "input", Output: "output", Calibration: "calibration"}.get(type(connection), "connection")
    return f"{kind} {connection.name!r} of task {task.label!r}"


def _check_calibrations(tasks: list[SuperTask], producers: Mapping[str, SuperTask]) -> None:
    for task in tasks:
        for calibration in task.calibrations:
            if producer := producers.get(calibration.name):
                raise InvalidInputError(
                    f"task {producer.label!r} writes {calibration.name!r}, which task {task.label!r} reads "
                    "as a calibration",
                    hint="a calibration is valid once it is certified: make it in a pipeline of its own, "
                    "then Butler.certify(...)",
                    kind=ErrorKind.DATASET_TYPE,
                )


def _sorted(tasks: list[SuperTask], producers: Mapping[str, SuperTask]) -> list[str]:
    """Return labels so that producers come before consumers, otherwise as given."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for task in tasks:
        needs = dict.fromkeys(producers[one.name].label for one in task.inputs if one.name in producers)
        sorter.add(task.label, *needs)
    try:
        return list(sorter.static_order())
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise InvalidInputError(
            f"tasks wait for each other: {circle}",
            hint="one of them must not read what the others make of its outputs",
            kind=ErrorKind.CYCLE,
        ) from None
