"""Planning: which quanta there are, what they read, and what they will write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quantumio.butler import Butler
from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DataId, DataIdValue, DatasetRef, DatasetType, check_data_id_value
from quantumio.supertask._calibrations import find_calibration
from quantumio.supertask._connections import Connection, Input
from quantumio.supertask._inputs import Available, InputSearch
from quantumio.supertask._opening import planning_path
from quantumio.supertask._plan import Plan
from quantumio.supertask._quantum import Quantum, quantum_key
from quantumio.supertask._relations import Relations, Row, join, project, uniform
from quantumio.supertask._task import SuperTask
from quantumio.system import environment

__all__ = ["make_plan"]


def make_plan(
    butler: Butler,
    tasks: Sequence[SuperTask],
    *,
    run: str | None,
    collections: str | Sequence[str] | None,
    where: str | None,
    bind: Mapping[str, object],
    data_id: Mapping[str, object],
) -> Plan:
    """Predict the quanta of tasks, which are sorted; see `Pipeline.plan`."""
    chosen, path = planning_path(butler, run, collections)
    keys = {name: check_data_id_value(butler.dimensions, name, value) for name, value in data_id.items()}
    planner = _Planner(butler, chosen, path, where, bind, keys)
    for task in tasks:
        planner.add(task)
    if not planner.quanta:
        raise InvalidInputError(
            f"there is nothing to do: {'; '.join(planner.notes)}",
            hint=f"looked in {', '.join(path) or 'no collection'}; see Butler.query(...)",
        )
    return Plan(
        butler,
        tasks=tuple(tasks),
        run=chosen,
        collections=path,
        quanta=tuple(planner.quanta),
        notes=tuple(planner.notes),
    )


class _Planner:
    """Builds up quanta task by task; what it predicted for one, the next ones may read.

    Attributes
    ----------
    quanta
        So far.
    notes
        Why there are not more.
    """

    def __init__(
        self,
        butler: Butler,
        run: str,
        collections: tuple[str, ...],
        where: str | None,
        bind: Mapping[str, object],
        keys: Mapping[str, DataIdValue],
    ) -> None:
        self.quanta: list[Quantum] = []
        self.notes: list[str] = []
        self._butler = butler
        self._run = run
        self._collections = collections
        self._where = where
        self._bind = bind
        self._keys = keys
        self._relations = Relations(butler)
        self._universe = self._relations.universe
        self._search = InputSearch(butler, self._relations, collections, where, bind, keys)
        self._available: dict[str, Available] = {}
        self._unpredicted: dict[str, str] = {}

    def add(self, task: SuperTask) -> None:
        """Predict the quanta of a task; those that write its inputs are there."""
        types = {one.name: self._checked(task, one) for one in task.connections.values()}
        dimensions = self._universe.required(task.dimensions)
        for one in task.inputs:
            self._find(task, one, types[one.name])
        made = [
            quantum
            for data_id in self._data_ids(task, dimensions)
            if (quantum := self._quantum(task, data_id, types)) is not None
        ]
        self._predict(task, types, dimensions, made)
        if not made and not any(note.startswith(f"{task.label}: ") for note in self.notes):
            self.notes.append(f"{task.label}: its inputs never belong together{self._search.condition}")
        self.quanta += made

    def _checked(self, task: SuperTask, connection: Connection) -> DatasetType:
        declared = connection.dataset_type.normalised(self._universe)
        registered = self._butler.dataset_type(connection.name)
        if registered != declared:
            raise InvalidInputError(
                f"task {task.label!r} declares {connection.name!r} over {', '.join(declared.dimensions)} as "
                f"{declared.storage_class}; it is registered over {', '.join(registered.dimensions)} as "
                f"{registered.storage_class}",
                hint="declare it as it is registered, or use another name",
                kind=ErrorKind.DATASET_TYPE,
            )
        return registered

    def _find(self, task: SuperTask, connection: Input, dataset_type: DatasetType) -> None:
        name = connection.name
        if producer := self._unpredicted.get(name):
            raise InvalidInputError(
                f"task {task.label!r} reads {name!r}, of which each quantum of {producer!r} writes several: "
                "its quanta cannot be predicted",
                hint="plan it after that has run, in a pipeline of its own",
                kind=ErrorKind.DIMENSION,
            )
        if name not in self._available:
            self._available[name] = self._search.find(dataset_type)
        if not self._available[name].refs and not connection.optional:
            self.notes.append(f"{task.label}: there is no {name!r}{self._search.condition}")

    # -- which quanta
    def _data_ids(self, task: SuperTask, dimensions: tuple[str, ...]) -> list[DataId]:
        """Return the data IDs at which all required inputs may meet."""
        rows: list[Row] | None = None
        required = sorted((one for one in task.inputs if not one.optional), key=lambda one: one.multiple)
        for one in required or task.inputs:
            if one.multiple and rows and len(rows[0]) == len(dimensions):
                break  # what belongs to a data ID that is known already is found when its quantum is made
            extended = self._available[one.name].extended(self._relations, dimensions)
            found = uniform(project((row for rows in extended for row in rows), dimensions))
            rows = found if rows is None else join(rows, found)
        if rows is None:
            rows = [{}]
        complete = self._completed(task, rows, dimensions)
        wanted = [row for row in complete if self._search.has_keys(row)]
        data_ids = {DataId({name: row[name] for name in dimensions}) for row in wanted}
        return sorted(data_ids, key=lambda one: tuple(map(_sortable, one.values())))

    def _completed(self, task: SuperTask, rows: list[Row], dimensions: tuple[str, ...]) -> list[Row]:
        """Add the dimensions that no input tells: as given, else from dimension records."""
        if not rows or not (missing := [name for name in dimensions if name not in rows[0]]):
            return rows
        given = {name: value for name, value in self._keys.items() if name in missing}
        rows = [{**row, **given} for row in rows]
        asked = self._search.concerns(dimensions)
        complete = self._relations.complete(
            rows, dimensions, self._where if asked else None, self._bind if asked else {}
        )
        if not complete:
            self.notes.append(f"{task.label}: no dimension record says which {', '.join(missing)} it is over")
        return complete

    def _quantum(self, task: SuperTask, data_id: DataId, types: Mapping[str, DatasetType]) -> Quantum | None:
        """Return the quantum, or None if a required input is not there."""
        inputs: dict[str, tuple[DatasetRef, ...]] = {}
        requires: dict[str, None] = {}
        for one in task.inputs:
            available = self._available[one.name]
            places = available.belonging(self._relations, data_id)
            if not places and not one.optional:
                return None
            inputs[one.name] = tuple(available.refs[place] for place in places)
            producers = (available.producers[place] for place in places)
            requires |= dict.fromkeys(key for key in producers if key is not None)
        key = quantum_key(task.label, data_id)
        return Quantum(
            task=task.label,
            data_id=data_id,
            inputs=inputs,
            calibrations={
                one.name: find_calibration(self._butler, key, data_id, types[one.name], self._collections)
                for one in task.calibrations
            },
            outputs={
                one.name: DatasetRef(environment.uuid7(), types[one.name], data_id.subset(names), self._run)
                for one in task.outputs
                if set(names := types[one.name].dimensions).issubset(data_id)
            },
            requires=tuple(requires),
        )

    # -- what they will write
    def _predict(
        self,
        task: SuperTask,
        types: Mapping[str, DatasetType],
        dimensions: tuple[str, ...],
        made: Sequence[Quantum],
    ) -> None:
        for output in task.outputs:
            name = output.name
            if not set(types[name].dimensions).issubset(dimensions):
                self._unpredicted[name] = task.label
                continue
            refs = [quantum.outputs[name] for quantum in made]
            _check_single_writer(task, types[name], made)
            self._available[name] = Available(refs, [quantum.key for quantum in made])


def _check_single_writer(task: SuperTask, dataset_type: DatasetType, made: Sequence[Quantum]) -> None:
    name = dataset_type.name
    writers: dict[DataId, Quantum] = {}
    for quantum in made:
        data_id = quantum.outputs[name].data_id
        if (other := writers.setdefault(data_id, quantum)) is not quantum:
            raise InvalidInputError(
                f"{other.key} and {quantum.key} would both write {name}({data_id})",
                hint=f"let quanta of {task.label!r} be over {', '.join(dataset_type.dimensions)}: declare "
                "`dimensions`, and `multiple=True` for inputs over more",
                kind=ErrorKind.DIMENSION,
            )


def _sortable(value: DataIdValue) -> tuple[bool, DataIdValue]:
    return isinstance(value, str), value
