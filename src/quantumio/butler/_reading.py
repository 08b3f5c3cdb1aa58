"""Reading datasets: what was asked for, where its bytes are, and in which form they are had."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from quantumio.butler._repository import Repository
from quantumio.engine import Output
from quantumio.errors import (
    DestinationError,
    ErrorKind,
    FormatError,
    InvalidInputError,
    NotFoundError,
    QuantumioError,
    shown,
)
from quantumio.model import Artifact, ArtifactState, StoredDataset
from quantumio.ports import (
    Formats,
    StorageClassDelegate,
    TableDelegate,
    is_table,
)

__all__ = ["ReadRequest", "read_output", "read_stored"]

NATIVE = "native"


@frozen(kw_only=True)
class ReadRequest:
    """How a dataset is wanted.

    Attributes
    ----------
    form
        ``as_``: native, astropy, pandas, arrow, polars, numpy.
    component
        Name of a component, None for the whole.
    columns
        Columns of a table, None for all.
    readonly
        Whether memory may be shared with the buffer: the caller does not change what he gets.
    """

    form: str = NATIVE
    component: str | None = None
    columns: tuple[str, ...] | None = None
    readonly: bool = False

    @classmethod
    def make(
        cls,
        as_: str | None,
        component: str | None,
        columns: Sequence[str] | None,
        *,
        readonly: bool,
    ) -> ReadRequest:
        """Make one from the arguments of ``get``.

        Raises
        ------
        InvalidInputError
            ``columns`` is a text or names none, or comes together with ``component``.
        """
        if isinstance(columns, str):
            raise InvalidInputError(f"columns={columns!r} is a text", hint=f"write [{columns!r}]")
        if columns is not None and not (
            isinstance(columns, (list, tuple)) and all(isinstance(name, str) for name in columns)
        ):
            raise InvalidInputError(f"columns={shown(columns)}", hint="give a list of names of columns")
        if columns is not None and not columns:
            raise InvalidInputError(
                "columns=[] names no column: a table without columns has no rows",
                hint="name some, or give None for all",
                kind=ErrorKind.COMPONENT,
            )
        if columns is not None and component is not None:
            raise InvalidInputError("component= and columns= were both given", hint="give one of them")
        return cls(
            form=as_ or NATIVE,
            component=component,
            columns=None if columns is None else tuple(columns),
            readonly=readonly,
        )

    def check(self, formats: Formats, storage_class: str) -> None:
        """Refuse what is impossible before any byte is read.

        Raises
        ------
        InvalidInputError
            No such form, component, or no table.
        MissingExtraError
            The form's library is not installed.
        """
        declared = formats.storage_class(storage_class)
        if self.component is not None:
            if self.component not in tuple(declared.components):  # a list has no hash
                raise InvalidInputError(
                    f"{storage_class} has no component {shown(self.component)}",
                    hint=f"it has {', '.join(declared.components) or 'none'}",
                    kind=ErrorKind.COMPONENT,
                )
            if self.form != NATIVE:
                formats.delegate(declared.components[self.component]).check_form(self.form)
            return
        if self.columns is not None and "arrow" not in declared.forms:
            raise InvalidInputError(
                f"{storage_class} is no table and has no columns", hint="leave columns= out"
            )
        formats.delegate(storage_class).check_form(self.form)

    def shape(self, formats: Formats, storage_class: str, value: object) -> object:
        """Return a canonical value (its columns already chosen) as it is wanted."""
        delegate = formats.delegate(storage_class)
        if self.component is None:
            return value if self.form == NATIVE else delegate.convert(value, self.form)
        part = delegate.component(value, self.component)
        if self.form == NATIVE or part is None:
            return part
        return formats.delegate(delegate.storage_class.components[self.component]).convert(part, self.form)


def read_output(formats: Formats, output: Output, request: ReadRequest) -> object:
    """Read an output that is still in memory.

    Raises
    ------
    OutputReleased
        It no longer is.
    """
    request.check(formats, output.storage_class)
    shared = request.readonly and request.columns is None
    value = output.share() if shared else output.read(request.columns)
    return request.shape(formats, output.storage_class, value)


def read_stored(repository: Repository, stored: StoredDataset, request: ReadRequest) -> object:
    """Read a committed dataset from the first of its destinations that has it whole.

    Raises
    ------
    DestinationError
        No destination has it whole now.
    FormatError
        Its bytes cannot be read.
    """
    formats = repository.formats
    storage_class = stored.ref.dataset_type.storage_class
    request.check(formats, storage_class)
    failures: list[QuantumioError] = []
    for artifact in _reading_order(stored.artifacts):
        try:
            value = _read_artifact(repository, storage_class, artifact, request.columns)
        except (DestinationError, NotFoundError, FormatError) as error:
            failures.append(error)
            continue
        return request.shape(formats, storage_class, value)
    if len(failures) == 1:
        failures[0].add_note(f"while reading {stored.ref}")
        raise failures[0]
    unreadable = DestinationError(
        f"{stored.ref} cannot be read from any of its {len(failures)} destinations",
        hint="look at Butler.where_is(ref)",
        kind=failures[0].kind if failures else ErrorKind.CORRUPT,
    )
    for failure in failures:
        unreadable.add_note(str(failure))
    raise unreadable


def _reading_order(artifacts: Sequence[Artifact]) -> list[Artifact]:
    """Return what is known to be whole first, then what was found missing or damaged: it may be back.

    Among those files and objects come before rows (they hold the very bytes), in the order of the policy.
    """
    return sorted(
        (artifact for artifact in artifacts if artifact.state is not ArtifactState.PENDING),
        key=lambda artifact: (artifact.state is not ArtifactState.OK, artifact.load_id is not None),
    )


def _read_artifact(
    repository: Repository, storage_class: str, artifact: Artifact, columns: Sequence[str] | None
) -> object:
    destination = repository.destinations.get(artifact.destination)
    if is_table(destination):
        assert artifact.load_id is not None
        rows = destination.read(artifact.path, artifact.load_id)
        return _from_rows(repository.formats.delegate(storage_class), rows, columns)
    data = destination.read(artifact.path, artifact.byte_range)
    if not artifact.matches(data):
        raise DestinationError(
            f"{destination.url(artifact.path)} does not hold the bytes that were written",
            hint="the file was damaged or edited; read another copy, or restore it",
            kind=ErrorKind.CORRUPT,
        )
    return repository.formats.format(artifact.format).decode(data, storage_class, columns=columns)


def _from_rows(delegate: StorageClassDelegate, rows: object, columns: Sequence[str] | None) -> object:
    assert isinstance(delegate, TableDelegate)
    value = delegate.from_arrow(rows)
    return value if columns is None else delegate.select(value, columns)
