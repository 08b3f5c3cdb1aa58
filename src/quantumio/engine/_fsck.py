"""Check of a repository: whether what the registry says exists, and is whole.

Destinations are asked one dataset at a time, in the order of the registry, so that memory does not grow
with the repository. Nothing is ever deleted or overwritten: bytes that are not those that were written stay
where they are, and what is put back in their place gets a name of its own.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Final

from attrs import evolve

from quantumio.engine._fsck_report import FsckAction, FsckFinding, FsckTally, FsckTrouble
from quantumio.errors import (
    ConflictError,
    DestinationError,
    ErrorKind,
    FormatError,
    InvalidInputError,
    NotFoundError,
    QuantumioError,
    StateError,
)
from quantumio.model import Artifact, ArtifactState, DatasetRef, StoredDataset, human_path
from quantumio.ports import (
    Catalog,
    DatasetQuery,
    Destinations,
    ExportingDestination,
    Formats,
    ObjectDestination,
    Placement,
    TableDelegate,
    TableDestination,
)
from quantumio.system import environment

__all__ = ["Fsck"]

logger = logging.getLogger(__name__)

_MAX_LEVEL: Final = 3
_STAT: Final = 1
_DIGEST: Final = 2
_DECODE: Final = 3

_DIRECT: Final = "direct"
_NOT_CHECKED: Final = "not_checked"
_MENDED: Final = re.compile(r"\.fsck-[0-9a-f]+$")


class _Broken(Exception):
    """A copy is not as it should be. Never leaves this module."""

    def __init__(self, trouble: FsckTrouble, detail: str) -> None:
        super().__init__(detail)
        self.trouble = trouble
        self.detail = detail


class Fsck:
    """Checks the datasets of one registry, and repairs them where that is asked for.

    Parameters
    ----------
    catalog, destinations, formats
        Of one repository.
    level
        0 the registry alone, 1 whether everything is there with its size, 2 its digest, 3 whether it can be
        decoded.
    repair
        Whether anything may be changed.
    tally
        Where findings go.

    Raises
    ------
    InvalidInputError
        There is no such level, or a repair is asked for that looks at no destination.
    """

    def __init__(
        self,
        catalog: Catalog,
        destinations: Destinations,
        formats: Formats,
        *,
        level: int,
        repair: bool,
        tally: FsckTally,
    ) -> None:
        _check_level(level, repair=repair)
        self._catalog = catalog
        self._destinations = destinations
        self._formats = formats
        self._level = level
        self._repair = repair
        self._tally = tally
        self._away: dict[str, str] = {}
        self._has_objects: set[str] = set()

    def run(self, query: DatasetQuery) -> None:
        """Check all matches of a query over all versions."""
        by_key = groupby(
            self._catalog.query(query),
            lambda one: (one.ref.dataset_type.name, one.ref.run, one.ref.data_id),
        )
        for _, stored in by_key:
            for one in self._with_versions(stored):
                self._check(one)
                self._tally.next_dataset()

    # -- the registry
    def _with_versions(self, versions: Iterable[StoredDataset]) -> Iterator[StoredDataset]:
        """Yield the versions of a key, and find those that are neither there nor removed."""
        next_, known = 1, None
        for one in versions:
            version = one.ref.version or 0
            if version > next_:
                ref = one.ref
                if known is None:
                    known = set(self._catalog.version_numbers(ref.dataset_type, ref.data_id, ref.run))
                for number in range(next_, version):
                    if number not in known:
                        self._tally.add(
                            FsckFinding(
                                trouble=FsckTrouble.NO_VERSION,
                                ref=ref,
                                destination=None,
                                detail=f"there is no version {number} before it, and none was removed",
                            )
                        )
            next_ = version + 1
            yield one

    # -- one dataset
    def _check(self, stored: StoredDataset) -> None:
        states = [self._check_artifact(stored, artifact) for artifact in stored.artifacts]
        if not {"ok", FsckTrouble.UNKNOWN, _NOT_CHECKED} & set(states):
            self._tally.add(
                FsckFinding(
                    trouble=FsckTrouble.NO_COPY,
                    ref=stored.ref,
                    destination=None,
                    detail="no destination has it whole",
                )
            )

    def _check_artifact(self, stored: StoredDataset, artifact: Artifact) -> str:
        """Check one copy, and return what it is after what was done about it."""
        if artifact.state is ArtifactState.PENDING:
            self._tally.count(_NOT_CHECKED)
            return FsckTrouble.MISSING
        is_marked = artifact.state is not ArtifactState.OK
        try:
            if self._level == 0:
                if is_marked:
                    raise _Broken(_TROUBLES[artifact.state], f"the registry has it as {artifact.state}")
            elif artifact.destination in self._away:
                self._tally.count(FsckTrouble.UNKNOWN)
                return FsckTrouble.UNKNOWN
            # what is marked is cleared only by its digest
            elif not self._examine(stored, artifact, max(self._level, _DIGEST) if is_marked else self._level):
                self._tally.count(_NOT_CHECKED)
                return _NOT_CHECKED
        except _Broken as broken:
            self._tally.count(broken.trouble)
            if broken.trouble is FsckTrouble.UNKNOWN and artifact.destination in self._away:
                self._found(FsckTrouble.UNKNOWN, None, artifact, detail=broken.detail)
                return FsckTrouble.UNKNOWN
            action, detail = self._mend(stored, artifact, broken)
            self._found(broken.trouble, stored.ref, artifact, action, detail)
            return "ok" if action is FsckAction.REPAIRED else broken.trouble
        self._tally.count(FsckTrouble.WHOLE_AGAIN if is_marked else "ok")
        if is_marked:
            self._clear(stored, artifact)
        return "ok"

    def _found(
        self,
        trouble: FsckTrouble,
        ref: DatasetRef | None,
        artifact: Artifact,
        action: FsckAction = FsckAction.NONE,
        detail: str = "",
    ) -> None:
        self._tally.add(
            FsckFinding(
                trouble=trouble, ref=ref, destination=artifact.destination, action=action, detail=detail
            )
        )

    # -- looking at a copy
    def _examine(self, stored: StoredDataset, artifact: Artifact, level: int) -> bool:
        """Look at one copy; False where the level does not tell anything of it.

        Raises
        ------
        _Broken
            It is not as it should be, or cannot be looked at.
        """
        destination = self._open(artifact.destination)
        try:
            if isinstance(destination, TableDestination):
                return self._examine_rows(destination, stored, artifact, level)
            self._stat(destination, artifact)
            if level >= _DIGEST:
                data = self._verified(destination, artifact)
                if level >= _DECODE:
                    self._decode(stored, artifact, data)
        except NotFoundError as error:
            if error.kind is ErrorKind.UNREACHABLE:  # the database itself is not there
                self._away[artifact.destination] = error.message
                raise _Broken(FsckTrouble.UNKNOWN, error.message) from error
            raise _Broken(FsckTrouble.MISSING, error.message) from error
        except FormatError as error:
            raise _Broken(FsckTrouble.UNREADABLE, error.message) from error
        except DestinationError as error:
            is_corrupt = error.kind is ErrorKind.CORRUPT
            trouble = FsckTrouble.WRONG_DIGEST if is_corrupt else FsckTrouble.UNKNOWN
            raise _Broken(trouble, error.message) from error
        except QuantumioError as error:  # a missing library, a path that is refused
            raise _Broken(FsckTrouble.UNKNOWN, error.message) from error
        return True

    def _open(self, name: str) -> ObjectDestination | TableDestination:
        try:
            return self._destinations.get(name)
        except QuantumioError as error:
            self._away[name] = error.message
            raise _Broken(FsckTrouble.UNKNOWN, f"it cannot be opened: {error.message}") from error

    def _stat(self, destination: ObjectDestination, artifact: Artifact) -> None:
        try:
            told = destination.stat(artifact.path)
            if told is None:
                self._check_store(destination)
        except DestinationError as error:
            if error.kind in (ErrorKind.UNREACHABLE, ErrorKind.TIMEOUT):
                self._away[artifact.destination] = error.message
            raise
        if told is None:
            raise _Broken(FsckTrouble.MISSING, f"{artifact.path} is not there")
        if told.nbytes != artifact.nbytes:
            raise _Broken(
                FsckTrouble.WRONG_SIZE, f"{artifact.path} has {told.nbytes} bytes, not {artifact.nbytes}"
            )

    def _check_store(self, destination: ObjectDestination) -> None:
        """Refuse to believe a store that has nothing at all, as a disk has that is not mounted.

        Raises
        ------
        DestinationError
            It has nothing.
        """
        name = destination.name
        if name == _DIRECT or name in self._has_objects:
            return
        if next(iter(destination.objects()), None) is None:
            raise DestinationError(
                f"destination {name!r} holds no object at all", hint="is its disk mounted?"
            )
        self._has_objects.add(name)

    def _verified(self, destination: ObjectDestination, artifact: Artifact) -> bytes:
        data = destination.read(artifact.path)
        if hashlib.sha256(data).hexdigest() != artifact.digest:
            raise _Broken(
                FsckTrouble.WRONG_DIGEST, f"{artifact.path} does not hold the bytes that were written"
            )
        return data

    def _decode(self, stored: StoredDataset, artifact: Artifact, data: bytes) -> None:
        self._formats.format(artifact.format).decode(data, stored.ref.dataset_type.storage_class)

    def _examine_rows(
        self, destination: TableDestination, stored: StoredDataset, artifact: Artifact, level: int
    ) -> bool:
        if level < _DIGEST or artifact.load_id is None:
            return False
        rows = destination.read(artifact.path, artifact.load_id)  # which verifies the checksum of the load
        if level >= _DECODE:
            delegate = self._formats.delegate(stored.ref.dataset_type.storage_class)
            assert isinstance(delegate, TableDelegate)
            delegate.from_arrow(rows)
        return True

    # -- doing something about it
    def _mend(self, stored: StoredDataset, artifact: Artifact, broken: _Broken) -> tuple[FsckAction, str]:
        """Repair or mark one copy; returns what was done, and more for people."""
        if not self._repair or broken.trouble not in _STATES:
            return FsckAction.NONE, broken.detail
        now = self._catalog.stored([stored.ref.id]).get(stored.ref.id)
        if now is None or artifact not in now.artifacts:
            return FsckAction.NONE, "it was changed meanwhile; check again"
        data = None if artifact.load_id is not None else self._healthy_copy(now, artifact)
        if data is not None:
            try:
                return self._put_back(now, artifact, data, broken)
            except DestinationError as error:
                return FsckAction.FAILED, f"{broken.detail}; it cannot be put back: {error.message}"
            except (StateError, InvalidInputError) as error:  # nothing is ever written there
                broken.detail += f"; {error.message}"
        return self._mark(now, artifact, broken)

    def _healthy_copy(self, stored: StoredDataset, artifact: Artifact) -> bytes | None:
        """Return the bytes of an artifact as another destination has them, verified."""
        others = [
            other
            for other in stored.artifacts
            if other.load_id is None
            and other.destination != artifact.destination
            and (other.format, other.digest, other.nbytes)
            == (artifact.format, artifact.digest, artifact.nbytes)
        ]
        for other in sorted(others, key=lambda one: one.state is not ArtifactState.OK):
            if other.destination in self._away:
                continue
            try:
                destination = self._open(other.destination)
                assert isinstance(destination, ObjectDestination)
                data = self._verified(destination, other)
                if self._level >= _DECODE:
                    self._decode(stored, other, data)
            except (_Broken, QuantumioError):
                continue  # it has, or had, its own finding
            return data
        return None

    def _put_back(
        self, stored: StoredDataset, artifact: Artifact, data: bytes, broken: _Broken
    ) -> tuple[FsckAction, str]:
        destination = self._open(artifact.destination)
        assert isinstance(destination, ObjectDestination)
        path = artifact.path
        if broken.trouble is FsckTrouble.MISSING:
            try:
                _place(destination, artifact, path, data)
            except DestinationError as error:
                if error.kind is not ErrorKind.CORRUPT:
                    raise
                path = self._new_path(artifact)  # something else came in its place
        else:
            path = self._new_path(artifact)
        if path != artifact.path:
            _place(destination, artifact, path, data)
        after = evolve(artifact, path=path, state=ArtifactState.OK)
        if after != artifact and not self._catalog.amend_artifact(stored.ref.id, artifact, after):
            if path != artifact.path:
                destination.remove([path])  # its name is known to nobody else
            return FsckAction.NONE, "it was changed meanwhile; check again"
        detail = f"{broken.detail}; a copy was put back as {path}"
        return FsckAction.REPAIRED, detail + self._show(destination, stored.ref, after)

    def _new_path(self, artifact: Artifact) -> str:
        ending = self._formats.format(artifact.format).extension
        stem = artifact.path.removesuffix(ending)
        ending = ending if stem != artifact.path else ""
        return f"{_MENDED.sub('', stem)}.fsck-{environment.random_token()}{ending}"

    def _show(self, destination: ObjectDestination, ref: DatasetRef, artifact: Artifact) -> str:
        """Show a repaired object under its name for people, too; returns what is in the way, if anything."""
        if not isinstance(destination, ExportingDestination):
            return ""
        ending = self._formats.format(artifact.format).extension
        try:
            destination.export(artifact.path, human_path(ref, ending))
        except (ConflictError, DestinationError, NotFoundError) as error:
            return f"; its name for people was not changed: {error}"
        return ""

    def _mark(self, stored: StoredDataset, artifact: Artifact, broken: _Broken) -> tuple[FsckAction, str]:
        state = _STATES[broken.trouble]
        detail = f"{broken.detail}; there is no whole copy to repair it from"
        after = evolve(artifact, state=state)
        if after != artifact:
            if not self._catalog.amend_artifact(stored.ref.id, artifact, after):
                return FsckAction.NONE, "it was changed meanwhile; check again"
            logger.error("%s at destination %r is %s: %s", stored.ref, artifact.destination, state, detail)
        return FsckAction.MARKED, detail

    def _clear(self, stored: StoredDataset, artifact: Artifact) -> None:
        """Have an artifact that is whole as such in the registry."""
        action, detail = FsckAction.NONE, f"the registry has it as {artifact.state}"
        if self._repair:
            after = evolve(artifact, state=ArtifactState.OK)
            if self._catalog.amend_artifact(stored.ref.id, artifact, after):
                action = FsckAction.RESTORED
            else:
                detail = "it was changed meanwhile; check again"
        self._found(FsckTrouble.WHOLE_AGAIN, stored.ref, artifact, action, detail)


def _place(destination: ObjectDestination, artifact: Artifact, path: str, data: bytes) -> None:
    destination.place([Placement(path=path, chunks=(data,), nbytes=artifact.nbytes, digest=artifact.digest)])


def _check_level(level: object, *, repair: bool) -> None:
    """Refuse what is no level.

    Raises
    ------
    InvalidInputError
        It is none, or none that can repair.
    """
    if not isinstance(level, int) or isinstance(level, bool) or not 0 <= level <= _MAX_LEVEL:
        raise InvalidInputError(f"level={level!r}", hint=f"give a number from 0 to {_MAX_LEVEL}")
    if repair and level < _STAT:
        raise InvalidInputError(
            "level 0 looks at no destination, so it can repair nothing", hint="give level=1, 2 or 3"
        )


_STATES: Final = {
    FsckTrouble.MISSING: ArtifactState.MISSING,
    FsckTrouble.WRONG_SIZE: ArtifactState.CORRUPT,
    FsckTrouble.WRONG_DIGEST: ArtifactState.CORRUPT,
}
"""What the registry says of a copy that cannot be repaired."""

_TROUBLES: Final[Mapping[ArtifactState, FsckTrouble]] = {
    ArtifactState.MISSING: FsckTrouble.MISSING,
    ArtifactState.CORRUPT: FsckTrouble.WRONG_DIGEST,
}
