"""Files by the million become datasets: chunks, each a short transaction, written column by column."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from quantumio.errors import ConflictError, DestinationError, ErrorKind, InvalidInputError
from quantumio.ports import CollectionKind, IngestedChunk, IngestRows, ingest_key
from quantumio.registry._arguments import is_text
from quantumio.registry._clock import Clock
from quantumio.registry._collections import check_kind
from quantumio.registry._commit_rows import ArtifactWriter
from quantumio.registry._engine import Database
from quantumio.registry._latest import LatestVersions
from quantumio.registry._names import NamesCache, TypeEntry
from quantumio.registry._new_rows import NewRows, insert_statement
from quantumio.registry._schema import DATASET, TXN
from quantumio.registry._universe_schema import GroupTables
from quantumio.system import environment

__all__ = ["BulkIngest"]

_MOST_TOKEN_BYTES: Final = 256
_MOST_NOT_NEW: Final = 1_000
_TXN_COLUMNS: Final = (
    *("txid", "run", "state", "epoch", "gen", "key", "commit_seq", "created_at", "decided_at"),
)


class _Ahead(Exception):
    """Other rows of this ingest are there than was thought."""

    def __init__(self, end: int) -> None:
        super().__init__()
        self.end = end


class BulkIngest:
    """Makes chunks of files datasets, and knows how far an ingest is.

    Nearly all data IDs and files are new, and the keys say so while they are written: only where one is not
    are the latest versions asked for, and the files that are there already.
    """

    def __init__(
        self, database: Database, cache: NamesCache, clock: Clock, artifacts: ArtifactWriter
    ) -> None:
        self._database = database
        self._cache = cache
        self._clock = clock
        self._artifacts = artifacts
        self._latest = LatestVersions(database)
        self._txn = insert_statement(database, TXN, _TXN_COLUMNS)
        self._datasets = NewRows(database, DATASET, ("id",), ("type_id",))
        self._groups: dict[tuple[str, ...], NewRows] = {}

    def ingested(self, run: str, token: str) -> int:
        """Return how many rows of an ingest were made datasets, those deleted by now too."""
        prefix = _prefix(token)
        return self._database.read(lambda connection: _ingested(connection, run, prefix))

    def ingested_and_deleted(self, dataset_type: str, run: str, token: str) -> int:
        """Return how many rows of an ingest were made datasets, and are deleted by now."""
        is_chunk = _is_chunk(run, _prefix(token))

        def read(connection: sa.Connection) -> int:
            dataset = self._cache.load(connection).type(dataset_type).group.dataset
            made = dataset.c.txid.in_(sa.select(TXN.c.txid).where(is_chunk))
            number = sa.select(sa.func.count()).where(made, dataset.c.removed_seq.is_not(None))
            return int(connection.execute(number).scalar_one())

        return self._database.read(read)

    def ingest(self, rows: IngestRows, dataset_type: str, run: str, token: str, start: int) -> IngestedChunk:
        """Make the chunk after the first ``start`` rows of an ingest datasets, or the begin of it."""
        try:
            return self._attempt(rows, dataset_type, run, token, start, all_new=True)
        except DestinationError as error:
            if not self._database.is_refused(error):
                raise
        # Each row takes three times as long now, and other writers wait no longer than before.
        begin = rows.part(0, min(len(rows), _MOST_NOT_NEW))
        return self._attempt(begin, dataset_type, run, token, start, all_new=False)

    def _attempt(
        self,
        rows: IngestRows,
        dataset_type: str,
        run: str,
        token: str,
        start: int,
        *,
        all_new: bool,
    ) -> IngestedChunk:
        prefix, count, uuid_in = _prefix(token), len(rows), self._database.rules.uuid_in
        ids = self._database.rules.uuids_in(environment.uuid7_bytes(count))
        txid = uuid_in(environment.uuid7())
        begun = environment.monotonic()
        try:
            with self._database.edit(f"ingesting {count} files") as connection:
                begun = environment.monotonic()
                edit = self._clock.advance(connection)
                if (there := _ingested(connection, run, prefix)) != start:
                    raise _Ahead(there)
                names = self._cache.within(connection, edit)
                entry = names.type(dataset_type)
                run_id = check_kind(names.collection(run), CollectionKind.RUN).id
                versions = [1] * count
                if not all_new:
                    versions = self._versions(connection, names, entry, run, rows)
                key, now = ingest_key(token, start + count), edit.decided_ns
                self._database.execute_many(
                    connection, self._txn, [(txid, run, "COMMITTED", 0, 0, key, edit.seq, now, now)]
                )
                self._datasets.write(connection, [ids], [entry.id])
                self._rows_of(entry.group).write(
                    connection,
                    [ids, *rows.values, versions, range(count)],
                    [run_id, entry.id, txid, edit.seq],
                )
                self._artifacts.write_direct(connection, txid, ids, rows, new=all_new)
                written = environment.monotonic()
        except _Ahead as ahead:
            return IngestedChunk(
                end=ahead.end, committed=0, held_s=environment.monotonic() - begun, written_s=0.0
            )
        return IngestedChunk(
            end=start + count,
            committed=count,
            held_s=environment.monotonic() - begun,
            written_s=written - begun,
        )

    def _rows_of(self, group: GroupTables) -> NewRows:
        if group.dimensions not in self._groups:
            each = ("id", *group.columns.values(), "v", "n")
            same = ("run_id", "type_id", "txid", "commit_seq")
            self._groups[group.dimensions] = NewRows(self._database, group.dataset, each, same)
        return self._groups[group.dimensions]

    def _versions(
        self, connection: sa.Connection, names: Any, entry: TypeEntry, run: str, rows: IngestRows
    ) -> list[int]:
        keys = [
            (run, entry.id, values)
            for values in (zip(*rows.values, strict=True) if rows.values else [()] * len(rows))
        ]
        latest = self._latest.ask(connection, names, dict.fromkeys(keys, entry))
        return [latest[key].top + 1 if key in latest else 1 for key in keys]


def _prefix(token: str) -> str:
    """Return how the keys of an ingest begin."""
    if not is_text(token, _MOST_TOKEN_BYTES) or not token or "/" in token:
        raise InvalidInputError(
            f"token = {token!r:.80} is no token of an ingest",
            hint=f"give a text of 1 to {_MOST_TOKEN_BYTES} bytes of UTF-8 without NUL and '/'",
            kind=ErrorKind.NAME,
        )
    return ingest_key(token)


def _is_chunk(run: str, prefix: str) -> sa.ColumnElement[bool]:
    """Return the condition for the transactions of an ingest."""
    after = prefix[:-1] + chr(ord("/") + 1)  # greater than all that begins with the prefix
    return sa.and_(
        TXN.c.run == run,
        TXN.c.key > prefix,
        TXN.c.key < after,
        # so that the index of keys is taken
        sa.text("key IS NOT NULL AND state = 'COMMITTED' AND removed_seq IS NULL"),
    )


def _ingested(connection: sa.Connection, run: str, prefix: str) -> int:
    key = connection.execute(
        sa.select(TXN.c.key).where(_is_chunk(run, prefix)).order_by(TXN.c.key.desc()).limit(1)
    ).scalar()
    if key is None:
        return 0
    number = str(key).removeprefix(prefix)
    if not number.isdecimal():
        raise ConflictError(
            f"a context has committed under the key {key!r}, which is in the way of this ingest",
            hint="give another token",
        )
    return int(number)
