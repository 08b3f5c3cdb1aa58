"""DataContext: the transaction of one quantum, as its task sees it."""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Literal, Self
from uuid import UUID

from quantumio.butler._handles import Receipt, Ticket
from quantumio.butler._lookup import resolve_output
from quantumio.butler._reading import ReadRequest, read_output
from quantumio.butler._repository import Repository
from quantumio.butler._session import Collections, Session, dataset_id_of
from quantumio.engine import Context, ContextState, Output, OutputReleased
from quantumio.errors import ErrorKind, InvalidInputError, QuantumioError, StateError, shown
from quantumio.model import Ack, DataId, DatasetRef, DatasetType

__all__ = ["DataContext"]


class _ContextBase:
    """What a context knows and does behind its public methods."""

    def __init__(
        self, session: Session, repository: Repository, context: Context, collections: Collections = None
    ) -> None:
        self._session = session
        self._repository = repository
        self._context = context
        self._collections = session.search_path(collections, context.run)
        session.new_runs.add(context.run)
        weakref.finalize(self, context.abandon).atexit = False

    @property
    def run(self) -> str:
        """RUN collection that its outputs go to."""
        return self._context.run

    @property
    def txid(self) -> UUID:
        """Transaction it is."""
        return self._context.txid

    @property
    def key(self) -> str | None:
        """Idempotency key, None without."""
        return self._context.key

    @property
    def refs(self) -> tuple[DatasetRef, ...]:
        """Refs of what was put, in order; with versions once committed."""
        return tuple(output.ref for output in self._context.outputs)

    @property
    def put_seconds(self) -> float:
        """Seconds that the task was blocked in put so far."""
        return self._context.put_s

    @property
    def output_count(self) -> int:
        """Number of outputs that were accepted."""
        return self._context.output_count

    @property
    def output_bytes(self) -> int:
        """Size of the accepted outputs in memory, bytes."""
        return self._context.output_bytes

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.txid} of run {self.run!r}: {self._context.state.name.lower()}>"

    # -- the work behind both sides
    def _output_type(
        self, target: str | DatasetRef, data_id: Mapping[str, object] | None, keys: Mapping[str, object]
    ) -> tuple[DatasetType, DataId, UUID | None]:
        if isinstance(target, DatasetRef):
            if data_id or keys:
                raise InvalidInputError(
                    f"{target} says its data ID already", hint="leave the data ID out", kind=ErrorKind.DATA_ID
                )
            if target.run != self.run:
                raise InvalidInputError(
                    f"{target} belongs to run {target.run!r}, this context to {self.run!r}",
                    hint="open a context of that run",
                    kind=ErrorKind.COLLECTION,
                )
            known = self._repository.catalog.dataset_type(target.dataset_type.name)
            return known, target.data_id, target.id
        if not isinstance(target, str):
            raise InvalidInputError(
                f"{shown(target)} ({type(target).__name__}) is no dataset type",
                hint="put(object, 'name', ...): the object comes first",
                kind=ErrorKind.DATASET_TYPE,
            )
        dataset_type, full = resolve_output(self._repository, target, data_id, keys, self._session.defaults)
        return dataset_type, full, None

    def _put(
        self,
        obj: object,
        target: str | DatasetRef,
        data_id: Mapping[str, object] | None,
        keys: Mapping[str, object],
        *,
        to: object,
        own: object,
        expect: int | Literal["create"] | None,
        replace: bool,
    ) -> Output:
        dataset_type, full, ref_id = self._output_type(target, data_id, keys)
        return self._context.put(
            obj,
            dataset_type,
            full,
            ref_id=ref_id,
            to=to,
            own=own,
            expect=expect,
            replace=replace,
        )

    def _get(
        self,
        target: str | DatasetRef | UUID,
        data_id: Mapping[str, object] | None,
        keys: Mapping[str, object],
        version: int | None,
        request: ReadRequest,
    ) -> object:
        if not isinstance(target, str):
            return self._get_ref(target, request)
        if version is None:
            for repository, lookup, _ in self._session.lookups(target, data_id, keys, self._collections):
                if repository is self._repository and (output := self._uncommitted(target, lookup.data_id)):
                    return self._get_output(output, request)
        ref, value = self._session.read(target, data_id, keys, self._collections, version, request)
        self._context.note_read(ref, as_latest=version is None)
        return value

    def _uncommitted(self, dataset_type: str, data_id: DataId) -> Output | None:
        """Return an own output, or one of a quantum of the same plan."""
        return self._context.own_output(dataset_type, data_id) or self._context.find_planned(
            dataset_type, data_id
        )

    def _get_output(self, output: Output, request: ReadRequest) -> object:
        try:
            return read_output(self._repository.formats, output, request)
        except OutputReleased:
            return self._get_ref(output.ref, request)  # committed and gone from memory meanwhile

    def _get_ref(self, ref: DatasetRef | UUID, request: ReadRequest) -> object:
        dataset_id = dataset_id_of(ref)
        for output in self._context.outputs:
            if output.ref.id == dataset_id and not output.is_released:
                return read_output(self._repository.formats, output, request)
        found, value = self._session.read_ref(ref, request)
        self._context.note_read(found, as_latest=False)
        return value

    @property
    def is_open(self) -> bool:
        """Whether it was neither committed nor aborted yet."""
        return self._context.state is ContextState.OPEN

    def token(self) -> str:
        """Hand the context over to another process: there, ``Butler.resume(token)`` goes on with it.

        Here it takes nothing more.

        Raises
        ------
        StateError
            Something was put already (it is in the memory of this process), or it is no longer open.
        """
        if self._context.outputs or not self.is_open:
            raise StateError(
                f"context {self.txid} has outputs in this process, or is closed",
                hint="take the token right after opening the context",
            )
        self._context.abort(ErrorKind.ABORTED, "the context was handed over to another process")
        return json.dumps(
            {
                "version": 1,
                "repository": str(self._repository.root),
                "txid": str(self.txid),
                "run": self.run,
                "key": self.key,
                "ack": str(self._context.ack),
                "collections": list(self._collections[1:]),
                "defaults": dict(self._session.defaults),
            }
        )


class DataContext(_ContextBase):
    """The transaction of one quantum: everything put in it becomes visible together, or never.

    Made by ``Butler.context``. Leaving its ``with`` block commits it and waits for its acknowledgement
    level, unless the block called `commit` or `abort` itself; an exception in the block aborts it.
    It may be used from several threads.
    """

    def put(
        self,
        obj: object,
        dataset_type_or_ref: str | DatasetRef,
        data_id: Mapping[str, object] | None = None,
        *,
        to: str | Sequence[str] | None = None,
        own: str | None = None,
        expect: int | Literal["create"] | None = None,
        replace: bool = False,
        **keys: object,
    ) -> Receipt:
        """Accept one output; nobody else can see it until the context commits.

        Parameters
        ----------
        obj
            Taken as ``own`` says, so that later changes of it are not saved.
        dataset_type_or_ref
            Name of a registered dataset type, or a predicted ref of this run.
        data_id, **keys
            Which dataset; completed by the Butler's defaults.
        to
            A destination, a list of them (``"archive?"`` = best effort) or a policy; without it the policy
            decides. A locked rule of the operator beats it.
        own
            ``copy`` (default for mutable arrays), ``freeze``, ``borrow``, or ``encode`` (default for what has
            no snapshotter). Immutable values are never copied.
        expect
            None: the next version; ``0`` or ``"create"``: there must be none; or the version that must be
            the latest when the context commits.
        replace
            Whether it takes the place of an output of this context with the same data ID.

        Raises
        ------
        InvalidInputError
            The data ID, the object, or ``to`` is wrong. Nothing was accepted.
        FormatError
            The format cannot hold the object. Nothing was accepted.
        ConflictError
            The same data ID was put already, and ``replace`` is False.
        NotFoundError
            The dataset type is not registered.
        BufferFull
            The buffer stayed full for ``put_timeout_s``. Nothing was accepted.
        DestinationError
            In immediate mode: the bytes could not be written. Nothing was accepted.

        Notes
        -----
        Durable: nothing yet in deferred mode; in immediate mode every required destination. Waits while the
        buffer is full.
        """
        output = self._put(
            obj, dataset_type_or_ref, data_id, keys, to=to, own=own, expect=expect, replace=replace
        )
        return Receipt(self._context, output)

    def get(
        self,
        dataset_type_or_ref: str | DatasetRef | UUID,
        data_id: Mapping[str, object] | None = None,
        *,
        as_: str | None = None,
        component: str | None = None,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        readonly: bool = False,
        **keys: object,
    ) -> object:
        """Read a dataset: an own output, else the first match in the run and the collections.

        Parameters
        ----------
        dataset_type_or_ref
            Name of a dataset type, or a ref or its UUID.
        data_id, **keys
            Which dataset; completed by the Butler's defaults. Calibrations may be asked for by an exposure
            or visit.
        as_
            Form: ``native``, ``astropy``, ``pandas``, ``arrow``, ``polars``, ``numpy``.
        component, columns
            A part of it.
        version
            Number of a version; None is the latest.
        readonly
            Whether memory may be shared with the buffer: then the result must not be changed.

        Returns
        -------
        object
            The caller's own to change, unless ``readonly``.

        Raises
        ------
        NotFoundError
            There is no such dataset; the message names a match that is still queued.
        InvalidInputError
            The data ID, form, component or columns are wrong; nothing was read.
        DestinationError, FormatError
            Its bytes cannot be had.
        """
        request = ReadRequest.make(as_, component, columns, readonly=readonly)
        return self._get(dataset_type_or_ref, data_id, keys, version, request)

    @property
    def ticket(self) -> Ticket:
        """Handle of its commit."""
        return Ticket(self._context)

    def commit(self, ack: str | Ack | None = None) -> Ticket:
        """Seal the context, and wait until its commit has reached a level.

        Parameters
        ----------
        ack
            ``buffered`` (sealed and queued, nothing durable), ``journaled``, ``committed`` or ``settled``;
            None is the level that the context was opened with. A policy may raise it.

        Raises
        ------
        CommitConflictError, CommitFailedError, CommitParkedError, CommitUnknownError
            The level was not reached; ``.outcome`` says why.
        StateError
            The context was committed or aborted already.
        """
        level = self.level(ack)
        ticket = self.hand_over(level)
        if level is not Ack.BUFFERED:
            ticket.wait(str(level))
        return ticket

    def hand_over(self, level: Ack) -> Ticket:
        """Seal the context, so that its commit reaches a level in the background; waits for nothing.

        Raises
        ------
        StateError
            The context was committed or aborted already.
        """
        self._context.commit(journaled=level is Ack.JOURNALED)
        return self.ticket

    def level(self, ack: str | Ack | None = None) -> Ack:
        """Return the level that a commit with this ``ack`` waits for."""
        return self._context.ack if ack is None else max(Ack.make(ack), self._context.policy_ack)

    def give_up_waiting(self, given_up: threading.Event) -> None:
        """End the waiting for the buffer of the put whose ``GIVEN_UP`` is this event."""
        self._context.give_up_waiting(given_up)

    def give_up(self) -> None:
        """Give a commit up unless it is becoming visible already; its outcome says which."""
        self._context.cancel()

    def abort(self) -> None:
        """Forget everything that was put."""
        self._context.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.is_open:
            return
        if error is None:
            self.commit()
            return
        try:
            self.abort()
        except QuantumioError as trouble:
            error.add_note(f"while aborting {self!r}: {trouble}")
