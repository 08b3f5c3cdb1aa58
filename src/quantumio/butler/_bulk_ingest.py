"""Bulk ingest: the files of a table become datasets, chunk by chunk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeGuard

from attrs import evolve, frozen

from quantumio.butler._ingest import (
    IngestFile,
    absolute,
    bring_in,
    check_file,
    check_transfer,
    endings_of,
    plan_ingest,
    resolution_of,
)
from quantumio.butler._repository import Repository
from quantumio.butler._session import Session
from quantumio.errors import (
    DestinationError,
    ErrorKind,
    FormatError,
    InvalidInputError,
    NotFoundError,
    QuantumioError,
)
from quantumio.model import (
    DIRECT,
    DataId,
    DataIdValue,
    DatasetType,
    Resolution,
    check_data_id_value,
)
from quantumio.ports import CollectionKind, IngestedChunk, IngestRows, ingest_key

__all__ = ["FileTable", "IngestProgress", "IngestReport", "ingest_table", "is_file_table"]

_FIRST_CHUNK: Final = 1_000
_LEAST_CHUNK: Final = 50
_MOST_CHUNK: Final = 20_000
_CHUNK_S: Final = 0.1
"""How long a chunk is to keep other writers out: half of what it may, for a disk that is slow all at once."""

_LEAST_WRITING_S: Final = 0.025
"""How long it may write rows even where COMMIT alone takes as long: smaller chunks would not help then."""

_CHUNK_OF_FILES: Final = 100
"""Files that are brought to their places before they are committed together: always as many, so that two who
run the same ingest at once agree where a chunk ends."""


class _Columns(Protocol):
    @property
    def columns(self) -> Any: ...


class _ColumnNames(Protocol):
    @property
    def colnames(self) -> list[str]: ...


class _Schema(Protocol):
    @property
    def schema(self) -> Any: ...


FileTable = _Columns | _ColumnNames | _Schema
"""An Arrow, pandas or astropy table."""


def is_file_table(value: object) -> TypeGuard[FileTable]:
    """Whether a value is an Arrow, pandas or astropy table."""
    return (
        (hasattr(value, "schema") and hasattr(value, "num_rows"))
        or (hasattr(value, "columns") and hasattr(value, "iloc"))
        or (hasattr(value, "colnames") and hasattr(value, "itercols"))
    )


@frozen(kw_only=True)
class IngestProgress:
    """How far an ingest is: rows that are datasets, of ``total``."""

    done: int
    total: int


@frozen(kw_only=True)
class IngestReport:
    """What an ingest of a table did.

    Attributes
    ----------
    rows
        Of the table; all of them are datasets now, but for those that were deleted since.
    resumed
        How many of them an earlier run of the same ingest, or another one at the same time, had made.
    deleted
        How many of the resumed have been deleted since: the same ingest does not bring them back, one with
        another ``token`` makes all rows anew.
    chunks
        Commits of this run.
    unknown_digests
        Rows whose digest is not known: nobody can tell later whether their bytes are still the same.
    longest_hold_s
        The longest that a chunk of files that stay where they are kept other writers out, in seconds; 0 for
        files that were brought to their places.
    token
        Identity of the ingest: the same for the same rows, run and transfer.
    """

    rows: int
    resumed: int
    deleted: int
    chunks: int
    unknown_digests: int
    longest_hold_s: float
    token: str


@frozen(kw_only=True)
class _Ingest:
    """One run of an ingest."""

    repository: Repository
    dataset_type: DatasetType
    run: str
    transfer: str
    resolution: Resolution
    rows: IngestRows
    token: str


def ingest_table(
    session: Session,
    dataset_type: DatasetType,
    table: object,
    given: Mapping[str, object],
    *,
    run: str,
    transfer: str,
    format_name: str | None,
    token: str | None,
    progress: Callable[[IngestProgress], object] | None,
) -> IngestReport:
    """Make the files of a table datasets of one run.

    Raises
    ------
    InvalidInputError, ConflictError
        The table, the transfer or the destination is wrong; nothing was ingested.
    NotFoundError
        A file is not there; nothing was ingested.
    FormatError
        A file is unreadable; the chunks before it were ingested.
    DestinationError
        The registry failed, or a destination; the chunks before were ingested. The same call goes on there.
    """
    from quantumio.formats import IngestColumns, ingest_rows

    repository = session.writeable()
    constants = _constants(repository, dataset_type, table, given, session.defaults)
    universe = repository.catalog.universe
    rows = ingest_rows(
        table,
        IngestColumns(
            dimensions={name: universe[name].key or "str" for name in dataset_type.dimensions},
            constants=constants,
            formats=repository.formats.storage_class(dataset_type.storage_class).formats,
            endings=endings_of(repository, dataset_type),
            format_name=format_name,
        ),
    )
    rows = evolve(rows, paths=[path if path[0] == "/" else absolute(path) for path in rows.paths])
    check_transfer(transfer, rows.paths)
    if transfer == "move":
        _check_moved_once(rows.paths)
    resolution = resolution_of(session, repository, dataset_type, run, transfer)
    token = _token(dataset_type, run, transfer, rows, token)
    ingest = _Ingest(
        repository=repository,
        dataset_type=dataset_type,
        run=run,
        transfer=transfer,
        resolution=resolution,
        rows=rows,
        token=token,
    )
    return _run(ingest, progress)


def _check_moved_once(paths: Sequence[str]) -> None:
    """Refuse a table in which a file is to be moved twice: the second time it would not be there.

    Raises
    ------
    InvalidInputError
        Names both rows.
    """
    seen: dict[str, int] = {}
    for number, path in enumerate(paths):
        if (first := seen.setdefault(path, number)) != number:
            raise InvalidInputError(
                f"rows {first} and {number} are both of {path}, which can be moved only once",
                hint="use transfer='copy' or 'link', or leave one out",
                kind=ErrorKind.ARGUMENT,
            )


def _constants(
    repository: Repository,
    dataset_type: DatasetType,
    table: object,
    given: Mapping[str, object],
    defaults: Mapping[str, DataIdValue],
) -> dict[str, DataIdValue]:
    """Return the values of dimensions that all rows have in common."""
    columns = _column_names(table)
    constants = {
        name: value
        for name, value in defaults.items()
        if name in dataset_type.dimensions and name not in columns
    }
    for name, value in given.items():
        if name not in dataset_type.dimensions:
            raise InvalidInputError(
                f"{name!r} is no dimension of {dataset_type.name!r}",
                hint=f"it has {', '.join(dataset_type.dimensions) or 'none'}",
                kind=ErrorKind.DATA_ID,
            )
        if name in columns:
            raise InvalidInputError(
                f"{name} is given for all rows, and there is a column {name!r}",
                hint="give it in one way",
                kind=ErrorKind.DATA_ID,
            )
        constants[name] = check_data_id_value(repository.catalog.universe, name, value)
    return constants


def _column_names(table: Any) -> set[str]:
    if hasattr(table, "schema"):  # pyarrow
        return set(table.schema.names)
    return {str(name) for name in (table.colnames if hasattr(table, "colnames") else table.columns)}


def _token(dataset_type: DatasetType, run: str, transfer: str, rows: IngestRows, token: str | None) -> str:
    """Return what identifies an ingest: the same call does the same ingest, wherever it was broken off.

    Raises
    ------
    InvalidInputError
        The token that was given is no text.
    """
    if token is not None and not isinstance(token, str):
        raise InvalidInputError(f"token={token!r:.80}", hint="give a text", kind=ErrorKind.ARGUMENT)
    digest = hashlib.sha256(json.dumps([token, dataset_type.name, run, transfer]).encode())
    for column in (*rows.values, rows.paths, rows.formats):
        digest.update(json.dumps(column).encode())
    return digest.hexdigest()[:32]


def _run(ingest: _Ingest, progress: Callable[[IngestProgress], object] | None) -> IngestReport:
    catalog, rows, total = ingest.repository.catalog, ingest.rows, len(ingest.rows)
    done = catalog.ingested(ingest.run, ingest.token)
    while True:
        try:
            rows = _with_sizes(ingest.repository, rows, done)
            break
        except NotFoundError as error:
            done = _moved_meanwhile(ingest, done, error)
    if done < total:
        catalog.register_collection(ingest.run, CollectionKind.RUN)
    in_place = ingest.transfer == DIRECT and not ingest.resolution.targets
    size = _FIRST_CHUNK if in_place else _CHUNK_OF_FILES
    made = chunks = 0
    longest_s = 0.0
    while done < total:
        part = rows.part(done, min(done + size, total))
        if in_place:
            chunk = catalog.ingest(part, ingest.dataset_type.name, ingest.run, ingest.token, done)
            size = _next_size(chunk) if chunk.committed else size
        else:
            try:
                chunk = _bring(ingest, part, done)
            except (NotFoundError, FormatError, DestinationError) as error:
                done = _moved_meanwhile(ingest, done, error)
                continue
        done, made = chunk.end, made + chunk.committed
        chunks += chunk.committed > 0
        longest_s = max(longest_s, chunk.held_s)
        if progress is not None:
            progress(IngestProgress(done=done, total=total))
    resumed = total - made
    return IngestReport(
        rows=total,
        resumed=resumed,
        deleted=catalog.ingested_and_deleted(ingest.dataset_type.name, ingest.run, ingest.token)
        if resumed
        else 0,
        chunks=chunks,
        unknown_digests=rows.digests.count("") if in_place else 0,
        longest_hold_s=longest_s,
        token=ingest.token,
    )


def _moved_meanwhile(ingest: _Ingest, done: int, error: QuantumioError) -> int:
    """Return where to go on behind a failure, as somebody else who does the same ingest has moved the files.

    Files are moved after their commit: where one is gone, the rows that they have committed say so.

    Raises
    ------
    QuantumioError
        The failure: nobody has.
    """
    further = ingest.repository.catalog.ingested(ingest.run, ingest.token) if ingest.transfer == "move" else 0
    if further <= done:
        raise error
    return further


def _next_size(chunk: IngestedChunk) -> int:
    """Return how many rows are to be in the chunk after one."""
    writing_s = max(_LEAST_WRITING_S, _CHUNK_S - (chunk.held_s - chunk.written_s))
    factor = min(1.5, max(0.25, writing_s / max(chunk.written_s, 1e-6)))  # smaller at once, greater slowly
    return min(_MOST_CHUNK, max(_LEAST_CHUNK, int(chunk.committed * factor)))


def _with_sizes(repository: Repository, rows: IngestRows, done: int) -> IngestRows:
    """Look at the files whose size the table does not tell, and refuse those that are never read.

    Raises
    ------
    InvalidInputError, NotFoundError
        Names the row.
    """
    from quantumio.destinations import DirectDestination

    direct = repository.destinations.get(DIRECT)
    assert isinstance(direct, DirectDestination)
    if (refused := direct.refused(rows.paths[done:])) is not None:
        number, error = refused
        raise InvalidInputError(
            f"row {done + number}: {error.message}", hint=error.hint, kind=error.kind
        ) from error
    sizes = list(rows.sizes)
    for number in range(done, len(rows)):
        if sizes[number] is None:
            told = direct.stat(rows.paths[number])
            if told is None:
                raise NotFoundError(
                    f"row {number}: there is no file {rows.paths[number]}",
                    hint="look at the path, or leave the row out",
                    kind=ErrorKind.NO_FILE,
                )
            sizes[number] = told.nbytes
    return evolve(rows, sizes=sizes)


def _bring(ingest: _Ingest, part: IngestRows, done: int) -> IngestedChunk:
    """Read the files of a chunk, bring them to their places, and commit them together."""
    repository, dataset_type = ingest.repository, ingest.dataset_type
    items, checked = [], []
    for number, path in enumerate(part.paths):
        values = [column[number] for column in part.values]
        item = IngestFile(path=path, data_id=DataId(dict(zip(dataset_type.dimensions, values, strict=True))))
        found = check_file(repository, dataset_type, item, part.formats[number])
        wanted = part.digests[number] or found[1], part.sizes[number]
        if found[1:] != wanted:
            raise FormatError(
                f"row {done + number}: {path} has {found[2]} bytes with digest {found[1]}, "
                f"the table says {wanted[1]} with {wanted[0]}",
                hint="make the table anew from the files, or put the right file there",
                kind=ErrorKind.DECODE,
            )
        items.append(item)
        checked.append(found)
    end = done + len(part)
    transaction = plan_ingest(
        repository,
        dataset_type,
        items,
        checked,
        ingest.run,
        ingest.transfer,
        ingest.resolution,
        ingest_key(ingest.token, end),
    )
    bring_in(repository, transaction, items, ingest.resolution, ingest.transfer)
    return IngestedChunk(end=end, committed=len(part), held_s=0.0, written_s=0.0)
