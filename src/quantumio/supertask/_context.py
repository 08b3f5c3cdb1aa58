"""The context of a quantum: a task sees what its quantum declares, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Self
from uuid import UUID

from quantumio.butler import DataContext, Receipt
from quantumio.errors import ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import TEMPORARY, Committed, DataId, DatasetRef, make_data_id
from quantumio.supertask._connections import Calibration, Connection, Input, Output
from quantumio.supertask._handles import QuantumInput
from quantumio.supertask._quantum import Quantum
from quantumio.supertask._task import SuperTask
from quantumio.system import environment

__all__ = ["QuantumContext"]

Given = Mapping[str, object] | None


class QuantumContext(DataContext):
    """The transaction of one quantum, as its task sees it: `DataContext` within what the quantum declares.

    Data IDs default to the quantum's own. Made by the harness, which also commits it: a task need not.

    Attributes
    ----------
    get_seconds
        Seconds that the task was waiting in `get` so far.
    temporaries
        Refs of outputs that the policy made temporary.
    destinations
        Names of the destinations of its outputs, in order.
    """

    _task: SuperTask
    _quantum: Quantum

    def begin(self, task: SuperTask, quantum: Quantum) -> Self:
        """Make it the context of a quantum."""
        self._task, self._quantum = task, quantum
        self._by_name: dict[str, Connection] = {one.name: one for one in task.connections.values()}
        self._readable = {ref.id: ref for ref in quantum.refs()}
        self.get_seconds = 0.0
        self.temporaries: list[DatasetRef] = []
        self.destinations: dict[str, None] = {}
        return self

    @property
    def quantum(self) -> Quantum:
        """What it is the context of."""
        return self._quantum

    @property
    def data_id(self) -> DataId:
        """Data ID of the quantum."""
        return self._quantum.data_id

    @property
    def has_lost_input(self) -> bool:
        """Whether a quantum whose output it read did not commit."""
        outcomes = (upstream.outcome for upstream in self._context.requires)
        return any(outcome is not None and not isinstance(outcome, Committed) for outcome in outcomes)

    # -- put
    def put(
        self,
        obj: object,
        dataset_type_or_ref: str | DatasetRef,
        data_id: Given = None,
        *,
        to: str | Sequence[str] | None = None,
        own: str | None = None,
        expect: int | Literal["create"] | None = None,
        replace: bool = False,
        **keys: object,
    ) -> Receipt:
        """Accept one output that the quantum declares; see `DataContext.put`.

        Parameters
        ----------
        obj, to, own, expect, replace
            See `DataContext.put`.
        dataset_type_or_ref
            An output of the task (``self.calexp``), its name, or a predicted ref.
        data_id, **keys
            Values of the dimensions that the output has and the quantum does not.

        Raises
        ------
        InvalidInputError
            ``kind="undeclared"``: the quantum does not declare this output; lists what it declares.
        """
        target = self._output(dataset_type_or_ref, data_id, keys)
        if isinstance(target, DatasetRef):
            receipt = super().put(obj, target, to=to, own=own, expect=expect, replace=replace)
        else:
            name, full = target
            receipt = super().put(obj, name, full, to=to, own=own, expect=expect, replace=replace)
        self._note(receipt)
        return receipt

    def _output(
        self, target: str | DatasetRef, data_id: Given, keys: Mapping[str, object]
    ) -> DatasetRef | tuple[str, DataId]:
        connection = self._declared(target)
        if not isinstance(connection, Output):
            raise self._undeclared(f"does not write {connection.name!r}: it is an input")
        predicted = self._quantum.outputs.get(connection.name)
        if isinstance(target, DatasetRef):
            if target != predicted:
                raise self._undeclared(f"does not declare {target} [{target.id}]")
            return target
        dimensions = self._repository.catalog.dataset_type(connection.name).dimensions
        full = self._completed(connection, data_id, keys, dimensions)
        return predicted if predicted is not None else (connection.name, full)

    def _note(self, receipt: Receipt) -> None:
        names = dict.fromkeys(receipt.durable)
        self.destinations |= names
        if TEMPORARY in names:
            self.temporaries.append(receipt.ref)

    # -- get
    def get(
        self,
        dataset_type_or_ref: str | DatasetRef | UUID,
        data_id: Given = None,
        *,
        as_: str | None = None,
        component: str | None = None,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        readonly: bool = False,
        **keys: object,
    ) -> object:
        """Read an input that the quantum declares, or back what it put itself; see `DataContext.get`.

        Parameters
        ----------
        dataset_type_or_ref
            A connection of the task (``self.raw``), its name, or one of the quantum's refs.
        data_id, **keys
            Of a ``multiple`` input: which of them; of an output over finer dimensions: which one.
        as_, component, columns, readonly
            See `DataContext.get`; of a ``multiple`` input give them to the handles.
        version
            Not taken: a quantum reads the versions that its plan found.

        Returns
        -------
        object
            The dataset; of a ``multiple`` input a list of handles (`QuantumInput`); None for an ``optional``
            input that is not there.

        Raises
        ------
        InvalidInputError
            ``kind="undeclared"``: the quantum does not declare it; lists what it declares.
        NotFoundError
            The quantum that was to write it did not.
        """
        begin = environment.perf_counter()
        try:
            if version is not None:
                raise InvalidInputError(
                    f"version={version!r}: a quantum reads the versions that its plan found",
                    hint="leave it out, or plan with other collections",
                )
            if not isinstance(dataset_type_or_ref, str):
                ref = self._declared_ref(dataset_type_or_ref)
                return self._read(ref, as_, component, columns, readonly)
            connection = self._declared(dataset_type_or_ref)
            if isinstance(connection, Output):
                return self._read(self._own(connection, data_id, keys), as_, component, columns, readonly)
            refs = self._inputs(connection, data_id, keys)
            if isinstance(connection, Input) and connection.multiple:
                return [QuantumInput(self, ref) for ref in refs]
            return self._read(refs[0], as_, component, columns, readonly) if refs else None
        finally:
            self.get_seconds += environment.perf_counter() - begin

    def _inputs(self, connection: Connection, data_id: Given, keys: Mapping[str, object]) -> list[DatasetRef]:
        if isinstance(connection, Calibration):
            refs: tuple[DatasetRef, ...] = (self._quantum.calibrations[connection.name],)
        else:
            refs = self._quantum.inputs.get(connection.name, ())
        wanted = make_data_id(self._repository.catalog.universe, data_id, keys, what=connection.name)
        several = isinstance(connection, Input) and connection.multiple
        matching = [ref for ref in refs if all(ref.data_id.get(name) == wanted[name] for name in wanted)]
        if wanted and not matching:
            raise self._undeclared(f"does not read {connection.name}({wanted})")
        # Of many, those that their quanta did not write after all are left out.
        return [ref for ref in matching if self._is_there(ref)] if several else matching

    def _is_there(self, ref: DatasetRef) -> bool:
        if ref.version is not None:
            return True
        return self._context.find_planned(ref.dataset_type.name, ref.data_id) is not None

    def _own(self, connection: Output, data_id: Given, keys: Mapping[str, object]) -> DatasetRef:
        dimensions = self._repository.catalog.dataset_type(connection.name).dimensions
        full = self._completed(connection, data_id, keys, dimensions)
        output = self._context.own_output(connection.name, full)
        if output is None:
            raise NotFoundError(
                f"{self._quantum.key} has not put {connection.name}({full}) yet",
                hint="put it before reading it",
            )
        return output.ref

    def _declared_ref(self, ref: DatasetRef | UUID) -> DatasetRef:
        dataset_id = ref if isinstance(ref, UUID) else ref.id
        own = {one.id: one for one in self.refs}
        found = self._readable.get(dataset_id) or own.get(dataset_id)
        if found is None:
            raise self._undeclared(f"does not declare {ref}")
        return found

    def _read(
        self,
        ref: DatasetRef,
        as_: str | None,
        component: str | None,
        columns: Sequence[str] | None,
        readonly: bool,
    ) -> object:
        if ref.version is not None or ref.id not in self._readable:
            return super().get(ref, as_=as_, component=component, columns=columns, readonly=readonly)
        if not self._is_there(ref):
            raise NotFoundError(
                f"{self._quantum.key} reads {ref.dataset_type.name}({ref.data_id}), but the quantum that was "
                "to write it did not put it",
                hint="let that task put it always, or declare the input optional and multiple",
            )
        return super().get(
            ref.dataset_type.name,
            ref.data_id,
            as_=as_,
            component=component,
            columns=columns,
            readonly=readonly,
        )

    # -- what is declared
    def _declared(self, target: str | DatasetRef) -> Connection:
        name = target.dataset_type.name if isinstance(target, DatasetRef) else target
        try:
            return self._by_name[name]
        except (KeyError, TypeError):
            raise self._undeclared(f"does not declare {target!r}") from None

    def _undeclared(self, what: str) -> InvalidInputError:
        declared = [
            f"{kind} {', '.join(names)}"
            for kind, names in (
                ("inputs", [one.name for one in self._task.inputs]),
                ("calibrations", [one.name for one in self._task.calibrations]),
                ("outputs", [one.name for one in self._task.outputs]),
            )
            if names
        ]
        return InvalidInputError(
            f"quantum {self._quantum.key} {what}",
            hint=f"task {self._task.label!r} declares {'; '.join(declared) or 'nothing'}",
            kind=ErrorKind.UNDECLARED,
        )

    def _completed(
        self,
        connection: Connection,
        data_id: Given,
        keys: Mapping[str, object],
        dimensions: Sequence[str],
    ) -> DataId:
        """Return the quantum's data ID with what the call adds to it; it cannot contradict it."""
        universe = self._repository.catalog.universe
        given = make_data_id(universe, data_id, keys, what=connection.name)
        for name, value in given.items():
            if self.data_id.get(name, value) != value:
                raise self._undeclared(f"does not declare {connection.name}({given})")
        own = {name: self.data_id[name] for name in dimensions if name in self.data_id}
        extra = {
            name: value for name, value in given.items() if name in dimensions or name not in self.data_id
        }
        return make_data_id(universe, own, extra, dimensions=dimensions, what=connection.name)
