"""Check of a repository: whether what the registry says exists, and is whole.

Destinations are asked for a few datasets at a time, in the order of the registry, so that memory does not
grow with the repository. Nothing is ever deleted or overwritten: bytes that are not those that were written
stay where they are, and what is put back in their place gets a name of its own.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import groupby, islice
from typing import Final

from attrs import evolve

from quantumio.engine._fsck_examiner import DECODE, DIGEST, Broken, Examiner
from quantumio.engine._fsck_report import FsckAction, FsckFinding, FsckTally, FsckTrouble
from quantumio.engine._garbage_policy import REPAIR_MARK
from quantumio.engine._sessions import StoreSessions
from quantumio.errors import (
    ConflictError,
    DestinationError,
    ErrorKind,
    InvalidInputError,
    NotFoundError,
    QuantumioError,
    StateError,
    shown,
)
from quantumio.model import Artifact, ArtifactState, DatasetRef, StoredDataset, human_path
from quantumio.ports import (
    Catalog,
    DatasetQuery,
    Destinations,
    Formats,
    ObjectDestination,
    Placement,
    is_exporting,
)
from quantumio.system import environment, threads

__all__ = ["Fsck"]

logger = logging.getLogger(__name__)

_MAX_LEVEL: Final = 3
_STAT: Final = 1

_LOOKERS: Final = 16
_READERS: Final = 4
"""Copies that are looked at, or read, at the same time: each that is read is in memory as a whole."""

_AHEAD: Final = 256
"""Datasets that are looked at before the first of them is settled."""

_OVERDUE_S: Final = 86400
"""How long what is to follow a commit may wait, in seconds."""

_OK: Final = "ok"
_NOT_CHECKED: Final = "not_checked"
_MENDED: Final = re.compile(rf"{re.escape(REPAIR_MARK)}[0-9a-f]+$")


_Look = str | Broken
"""What a copy looks like: ``ok``, ``not_checked``, or what is wrong with it."""


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
    sessions
        Where this process notes itself before it puts anything back.
    part
        ``(number, of)``: only the datasets of one of so many parts, which are of about the same size.
    lost
        Destinations whose stores are lost: that nothing is there is believed.

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
        sessions: StoreSessions,
        part: tuple[int, int] = (0, 1),
        lost: Collection[str] = (),
    ) -> None:
        _check_level(level, repair=repair)
        self._catalog = catalog
        self._formats = formats
        self._level = level
        self._repair = repair
        self._tally = tally
        self._sessions = sessions
        self._number, self._parts = part
        self._examiner = Examiner(destinations, formats, lost, catalog.user_of_object)
        self._told_away: set[tuple[str, str | None]] = set()

    def run(self, query: DatasetQuery) -> None:
        """Check the registry, and all matches of a query over all versions."""
        self._check_registry()
        versions = self._with_versions(self._catalog.query(query))
        found = (one for one in versions if one.ref.id.int % self._parts == self._number)
        workers = threads.Pool(_LOOKERS if self._level < DIGEST else _READERS, "quantumio-fsck")
        try:
            while ahead := [(one, workers.submit(self._look, one)) for one in islice(found, _AHEAD)]:
                for stored, looks in ahead:
                    self._settle(stored, looks.result())
                    self._tally.next_dataset()
        finally:
            workers.close(cancel=True)

    # -- the registry
    def _check_registry(self) -> None:
        for detail in self._catalog.broken_references():
            self._found(FsckTrouble.BROKEN_REFERENCE, None, None, detail=detail)
        for entry in self._catalog.outbox():
            if entry.age_s > _OVERDUE_S:
                wanted = entry.follow_up
                detail = (
                    f"{wanted.kind} of transaction {entry.txid} waits for {entry.age_s / 3600:.0f} hours, "
                    f"after {entry.attempts} failed attempts"
                )
                self._found(FsckTrouble.OVERDUE, None, wanted.destination, detail=detail)

    def _with_versions(self, found: Iterator[StoredDataset]) -> Iterator[StoredDataset]:
        """Yield datasets, and find versions that are neither there nor removed."""
        by_key = groupby(found, lambda one: (one.ref.dataset_type.name, one.ref.run, one.ref.data_id))
        for _, versions in by_key:
            expected, known = 1, None
            for one in versions:
                ref, version = one.ref, one.ref.version or 0
                if version > expected and known is None:
                    known = set(self._catalog.version_numbers(ref.dataset_type, ref.data_id, ref.run))
                for number in range(expected, version):
                    if known is not None and number not in known:
                        detail = f"there is no version {number} before it, and none was removed"
                        self._found(FsckTrouble.NO_VERSION, ref, None, detail=detail)
                expected = version + 1
                yield one

    # -- one dataset
    def _look(self, stored: StoredDataset) -> list[_Look]:
        """Look at all copies of a dataset, and change nothing. Called by several threads."""
        return [self._look_at(stored, artifact) for artifact in stored.artifacts]

    def _look_at(self, stored: StoredDataset, artifact: Artifact) -> _Look:
        if artifact.state is ArtifactState.PENDING:
            return _NOT_CHECKED
        is_marked = artifact.state is not ArtifactState.OK
        if self._level == 0:
            if not is_marked:
                return _OK
            return Broken(_TROUBLES[artifact.state], f"the registry has it as {artifact.state}")
        if artifact.destination in self._examiner.away:
            return Broken(FsckTrouble.UNKNOWN, self._examiner.away[artifact.destination])
        proof = DIGEST if artifact.digest or artifact.load_id is not None else DECODE
        level = max(self._level, proof) if is_marked else self._level  # what is marked needs its digest
        try:
            return _OK if self._examiner.examine(stored, artifact, level) else _NOT_CHECKED
        except Broken as broken:
            return broken

    def _settle(self, stored: StoredDataset, looks: list[_Look]) -> None:
        """Do about the copies of a dataset what is to be done, and tell of them."""
        states = [
            self._settle_one(stored, artifact, look)
            for artifact, look in zip(stored.artifacts, looks, strict=True)
        ]
        if not {_OK, _NOT_CHECKED, FsckTrouble.UNKNOWN} & set(states):
            self._found(FsckTrouble.NO_COPY, stored.ref, None, detail="no destination has it whole")

    def _settle_one(self, stored: StoredDataset, artifact: Artifact, look: _Look) -> str:
        """Return what a copy is after what was done about it."""
        if isinstance(look, Broken):
            self._tally.count(look.trouble)
            if look.user is not None:
                self._tell_away(artifact.destination, look.detail, user=look.user)
                return look.trouble
            if look.trouble is FsckTrouble.UNKNOWN and artifact.destination in self._examiner.away:
                self._tell_away(artifact.destination, look.detail)
                return look.trouble
            action, detail = self._mend(stored, artifact, look)
            self._found(look.trouble, stored.ref, artifact.destination, action, detail)
            return _OK if action is FsckAction.REPAIRED else look.trouble
        is_marked = artifact.state in _TROUBLES
        self._tally.count(FsckTrouble.WHOLE_AGAIN if look == _OK and is_marked else look)
        if look == _OK and is_marked:
            self._clear(stored, artifact)
        # what was never there is no copy
        return FsckTrouble.MISSING if artifact.state is ArtifactState.PENDING else look

    def _tell_away(self, destination: str, detail: str, *, user: str | None = None) -> None:
        """Tell once that a destination, or the store of one user there, cannot be looked at."""
        if (destination, user) not in self._told_away:
            self._told_away.add((destination, user))
            self._found(FsckTrouble.UNKNOWN, None, destination, detail=detail)

    def _found(
        self,
        trouble: FsckTrouble,
        ref: DatasetRef | None,
        destination: str | None,
        action: FsckAction = FsckAction.NONE,
        detail: str = "",
    ) -> None:
        self._tally.add(
            FsckFinding(trouble=trouble, ref=ref, destination=destination, action=action, detail=detail)
        )

    # -- doing something about it
    def _mend(self, stored: StoredDataset, artifact: Artifact, broken: Broken) -> tuple[FsckAction, str]:
        """Repair or mark one copy; returns what was done, and more for people."""
        if not self._repair or broken.trouble not in _STATES:
            return FsckAction.NONE, broken.detail
        now = self._catalog.stored([stored.ref.id]).get(stored.ref.id)
        if now is None or artifact not in now.artifacts:
            return FsckAction.NONE, "it was changed meanwhile; check again"
        data = None if artifact.load_id is not None else self._healthy_copy(now, artifact)
        if data is None:
            return self._mark(now, artifact, broken, "there is no whole copy to repair it from")
        try:
            return self._put_back(now, artifact, data, broken)
        except DestinationError as error:
            return FsckAction.FAILED, f"{broken.detail}; it cannot be put back: {error.message}"
        except (StateError, InvalidInputError) as error:  # nothing is ever written there
            return self._mark(now, artifact, broken, error.message)

    def _is_still(self, stored: StoredDataset, artifact: Artifact, broken: Broken) -> bool:
        """Look again: time has passed, and a disk may have gone meanwhile."""
        self._examiner.forget_stores()
        try:
            self._examiner.examine(stored, artifact, max(self._level, DIGEST))
        except Broken as again:
            return again.trouble in _STATES and _STATES[again.trouble] == _STATES[broken.trouble]
        return False

    def _healthy_copy(self, stored: StoredDataset, artifact: Artifact) -> bytes | None:
        """Return the bytes of an artifact as another destination has them, verified."""
        others = [
            other
            for other in stored.artifacts
            if other.load_id is None
            and other.digest
            and other.destination != artifact.destination
            and (other.format, other.digest, other.nbytes)
            == (artifact.format, artifact.digest, artifact.nbytes)
        ]
        for other in sorted(others, key=lambda one: one.state is not ArtifactState.OK):
            if other.destination in self._examiner.away:
                continue
            try:
                destination = self._examiner.open(other.destination)
                assert isinstance(destination, ObjectDestination)
                data = self._examiner.verified(destination, other)
                if self._level >= DECODE:
                    self._examiner.decode(stored, other, data)
            except (Broken, QuantumioError):
                continue  # it has, or had, its own finding
            return data
        return None

    def _put_back(
        self, stored: StoredDataset, artifact: Artifact, data: bytes, broken: Broken
    ) -> tuple[FsckAction, str]:
        destination = self._examiner.open(artifact.destination)
        assert isinstance(destination, ObjectDestination)
        self._sessions.note(destination)
        path = artifact.path
        if artifact.member is None and broken.trouble is FsckTrouble.MISSING:
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
        after = evolve(artifact, path=path, state=ArtifactState.OK, member=None, offset=None)
        if after != artifact and not self._catalog.amend_artifact(stored.ref.id, artifact, after):
            if path != artifact.path:
                destination.remove([path])  # its name is known to nobody else
            return FsckAction.NONE, "it was changed meanwhile; check again"
        detail = f"{broken.detail}; a copy was put back as {path}"
        return FsckAction.REPAIRED, detail + self._show(destination, stored.ref, after)

    def _new_path(self, artifact: Artifact) -> str:
        ending = self._formats.format(artifact.format).extension
        own = artifact.member or artifact.path
        stem = own.removesuffix(ending)
        ending = ending if stem != own else ""
        return f"{_MENDED.sub('', stem)}{REPAIR_MARK}{environment.random_token()}{ending}"

    def _show(self, destination: ObjectDestination, ref: DatasetRef, artifact: Artifact) -> str:
        """Show a repaired object under its name for people, too; returns what is in the way, if anything."""
        if not is_exporting(destination):
            return ""
        ending = self._formats.format(artifact.format).extension
        try:
            destination.export(artifact.path, human_path(ref, ending))
        except (ConflictError, DestinationError, NotFoundError) as error:
            return f"; its name for people was not changed: {error}"
        return ""

    def _mark(
        self, stored: StoredDataset, artifact: Artifact, broken: Broken, why: str
    ) -> tuple[FsckAction, str]:
        state = _STATES[broken.trouble]
        detail = f"{broken.detail}; {why}"
        after = evolve(artifact, state=state)
        if after != artifact:
            if not self._is_still(stored, artifact, broken):
                return FsckAction.NONE, f"{broken.detail}; it was otherwise a moment later, check again"
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
        self._found(FsckTrouble.WHOLE_AGAIN, stored.ref, artifact.destination, action, detail)


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
        raise InvalidInputError(f"level={shown(level)}", hint=f"give a number from 0 to {_MAX_LEVEL}")
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
