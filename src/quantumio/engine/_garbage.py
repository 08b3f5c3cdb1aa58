"""Garbage collection: removes what no dataset has and none will ever have, when that is certain.

For each store: it is listed, then the registry is read, then what is dead is remembered. Only what was
remembered, unchanged, by a run that is the grace ago is removed, after the registry was asked once more. So
whatever a process may still do that is slow, or cut off, comes first. What is not known is told, and stays.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Final, TypeVar
from uuid import UUID

from attrs import define, field, frozen

from quantumio.engine._garbage_policy import (
    GarbageVerdict,
    ObjectName,
    judge,
    judge_load,
    parse_name,
    uuid_time_ns,
)
from quantumio.engine._garbage_report import GarbageFinding, GarbageKind, GarbageTally
from quantumio.engine._output import PACKS
from quantumio.engine._sessions import unknown_session, unknown_sessions
from quantumio.errors import ErrorKind, InternalError, QuantumioError, StateError
from quantumio.ports import (
    Catalog,
    Destinations,
    LoadListing,
    ManagedDestination,
    ObjectRecord,
    StoredObject,
    TableDestination,
    is_managed,
    is_table,
)
from quantumio.system import environment
from quantumio.system.failpoints import reach

__all__ = ["GRACE_S", "LEAST_GRACE_S", "GarbageCollector"]

logger = logging.getLogger(__name__)

GRACE_S: Final = 7 * 86400.0
LEAST_GRACE_S: Final = 86400.0
"""How long something must have been dead, and the least that may be asked for, in seconds."""

_LISTED_AT_ONCE: Final = 1000
_REMOVED_AT_ONCE: Final = 200
_MOST_OBJECTS: Final = 1000
_MOST_SHARE: Final = 10
"""A run removes at most so many objects of a store, and one in so many, unless somebody says how many."""

_ROUNDED_NS: Final = 2_000_000_000
"""By how much a store's clock may seem late: some tell whole seconds."""

_IDENTITY: Final = "_qio/store.json"
_REGISTRY: Final = (ErrorKind.REGISTRY, ErrorKind.LOCKED, ErrorKind.REFUSED)
"""Failures of the registry: without it nothing can be told of any destination."""

_T = TypeVar("_T")


@frozen(kw_only=True)
class _Dead:
    """Something that is dead; ``name`` is None for a temporary file and for a load."""

    path: str
    nbytes: int
    mark: str
    name: ObjectName | None = None
    modified_ns: int | None = None
    load: tuple[str, UUID] | None = None


@define(kw_only=True)
class _Store:
    """A managed store: its first destination, and the names that its objects may be registered under.

    ``is_shared``: it lies below another, whose objects may be in it, too.
    """

    destination: ManagedDestination
    identity: UUID
    names: Sequence[str] = ()
    nested: dict[str, bool] = field(factory=dict)
    is_shared: bool = False


@define(kw_only=True)
class _Plan:
    """What is to be removed at one destination."""

    name: str
    key: str
    looked_at: int
    place: _Store | TableDestination
    removable: list[_Dead]


class GarbageCollector:
    """Collects the garbage of one repository. Blocks.

    Parameters
    ----------
    catalog, destinations
        Of the repository.
    grace_s
        How long something must have been dead, in seconds. `Butler.gc` sees to it that it is a day at least.
    dry_run
        Whether nothing is changed.
    tally
        Where findings go.
    """

    def __init__(
        self,
        catalog: Catalog,
        destinations: Destinations,
        *,
        grace_s: float,
        dry_run: bool,
        tally: GarbageTally,
    ) -> None:
        self._catalog = catalog
        self._destinations = destinations
        self._grace_s = grace_s
        self._dry_run = dry_run
        self._tally = tally
        self._tops: set[str] = set()

    def run(self, *, yes_really: int | None = None, adopt_sessions: bool = False) -> None:
        """Look at every store, and remove what is dead for long enough.

        Parameters
        ----------
        yes_really
            How many objects may be removed even if that is much of a store.
        adopt_sessions
            Make known to the registry who has written to the stores without its knowing.

        Raises
        ------
        StateError
            A store was written by a process that the registry does not know (``kind="unknown_session"``), or
            more would be removed than is usual (``kind="too_many_removals"``). Nothing was removed.
        """
        # One that is registered meanwhile is not known this time, and what is below it stays.
        self._tops = {PACKS, *(one.name for one in self._catalog.dataset_types())}
        stores, tables = self._look_around()
        self._check_sessions(stores, adopt=adopt_sessions)
        plans: list[_Plan] = []
        for store in stores:
            with self._reachable(store.destination.name):
                plans.append(self._plan(store))
        for name, table in tables.items():
            with self._reachable(name):
                plans.append(self._plan_loads(name, table))
        if not self._dry_run:
            _check_amount(plans, yes_really)
        for plan in plans:
            with self._reachable(plan.name):
                self._remove(plan)

    # -- which stores there are
    def _look_around(self) -> tuple[list[_Store], dict[str, TableDestination]]:
        """Return the managed stores, each once, and the tables; what cannot be opened is told."""
        stores: dict[UUID, _Store] = {}
        tables: dict[str, TableDestination] = {}
        identities: dict[str, UUID] = {}
        for name in self._destinations.names():
            self._tally.begin(name)
            with self._reachable(name):
                destination = self._destinations.get(name)
                if is_table(destination):
                    tables[name] = destination
                elif is_managed(destination):
                    identity = destination.identity()
                    if identity is not None:  # else nobody has ever written there
                        identities[name] = identity
                        stores.setdefault(identity, _Store(destination=destination, identity=identity))
        # Any name that is not known to be another store's may be this one's: one that is not configured any
        # more, and one that cannot be opened now.
        names = dict.fromkeys((*self._destinations.names(), *self._catalog.object_stores()))
        for store in stores.values():
            store.names = [n for n in names if identities.get(n, store.identity) == store.identity]
            store.is_shared = any(_is_below(store, other) for other in stores.values())
        return list(stores.values()), tables

    @contextmanager
    def _reachable(self, name: str) -> Iterator[None]:
        """Tell of a destination that cannot be used now, and go on with the others."""
        try:
            yield
        except QuantumioError as error:
            if isinstance(error, StateError | InternalError) or error.kind in _REGISTRY:
                raise
            self._tally.add(GarbageFinding(kind=GarbageKind.AWAY, destination=name, detail=error.message))

    def _check_sessions(self, stores: Iterable[_Store], *, adopt: bool) -> None:
        for store in stores:
            name = store.destination.name
            with self._reachable(name):
                unknown = unknown_sessions(self._catalog, store.destination)
                if unknown and not adopt:
                    raise unknown_session(name, unknown)
                if not self._dry_run:
                    for session in unknown:
                        self._catalog.register_owner(session, "", "")

    # -- what is dead
    def _plan(self, store: _Store) -> _Plan:
        """List a store, and then ask the registry."""
        destination = store.destination
        # A dry run writes nothing, so it cannot ask for the store's time: it estimates.
        now_ns = environment.now_ns() if self._dry_run else destination.clock_ns()
        dead: dict[str, _Dead] = {}
        looked_at = 0
        for listed in _parts(destination.objects(), _LISTED_AT_ONCE):
            names = {one.path: parse_name(one.path) for one in listed}
            records = self._records(store, names)
            for one in listed:
                verdict = self._judge(names[one.path], records.get(one.path, _NOTHING))
                if self._is_dead(store, one, verdict):
                    dead[one.path] = _dead(one, names[one.path])
            looked_at += len(listed)
            self._tally.look(destination.name, len(listed))
        for one in destination.remains():
            dead[one.path] = _dead(one, None)
            looked_at += 1
            self._tally.look(destination.name, 1)
        for one in destination.uploads():
            self._found(
                GarbageKind.UPLOAD, destination.name, one, "an upload that was begun; the store ends it"
            )
        plan = _Plan(
            name=destination.name, key=str(store.identity), looked_at=looked_at, place=store, removable=[]
        )
        self._be_patient(plan, dead, now_ns)
        return plan

    def _records(self, store: _Store, names: Mapping[str, ObjectName | None]) -> dict[str, ObjectRecord]:
        asked = {path: name.txid for path, name in names.items() if name is not None}
        return self._catalog.object_records(store.names, asked)

    def _judge(self, name: ObjectName | None, record: ObjectRecord) -> GarbageVerdict:
        return judge(name, record, self._grace_s, tops=self._tops)

    def _is_dead(self, store: _Store, one: StoredObject, verdict: GarbageVerdict) -> bool:
        name = store.destination.name
        may_go = verdict in (GarbageVerdict.DEAD, GarbageVerdict.UNKNOWN)
        if may_go and _is_in_another(store, one.path):
            self._found(GarbageKind.FOREIGN, name, one, "it belongs to a store below this one")
        elif verdict is GarbageVerdict.UNKNOWN:
            self._found(GarbageKind.UNKNOWN, name, one, "the registry does not know of it")
        elif verdict is GarbageVerdict.FOREIGN:
            self._found(GarbageKind.FOREIGN, name, one, "it has no name of quantumio's")
        elif verdict is not GarbageVerdict.DEAD:
            self._tally.count(name, verdict)
        elif store.is_shared:
            self._found(GarbageKind.UNKNOWN, name, one, "its store lies below that of another destination")
        else:
            return True
        return False

    def _plan_loads(self, name: str, table: TableDestination) -> _Plan:
        """List the rows of a database that nobody sees, and then ask the registry."""
        hidden = list(table.hidden_loads()) if isinstance(table, LoadListing) else []
        dead: dict[str, _Dead] = {}
        records = self._catalog.load_records([load_id for _, load_id in hidden])
        self._tally.look(name, len(hidden))
        for load in hidden:
            path = f"{load[0]}/{load[1]}"
            verdict = judge_load(records[load[1]])
            if verdict is GarbageVerdict.DEAD:
                dead[path] = _Dead(path=path, nbytes=0, mark="", load=load)
            elif verdict is GarbageVerdict.UNKNOWN:
                detail = "rows that nobody sees, and that this registry does not know"
                self._tally.add(
                    GarbageFinding(kind=GarbageKind.UNKNOWN, destination=name, path=path, detail=detail)
                )
            else:
                self._tally.count(name, verdict)
        plan = _Plan(name=name, key=name, looked_at=0, place=table, removable=[])
        self._be_patient(plan, dead, None)
        return plan

    def _be_patient(self, plan: _Plan, dead: Mapping[str, _Dead], now_ns: int | None) -> None:
        """Remember what is dead; what is dead for long enough is to be removed."""
        marks = {path: one.mark for path, one in dead.items()}
        ages = self._catalog.candidate_ages(plan.key, marks)
        if not self._dry_run:
            self._catalog.note_candidates(plan.key, marks)
        for path, one in dead.items():
            if path not in ages:
                self._found_dead(plan, one, GarbageKind.WAITING, "seen for the first time")
            elif ages[path] < self._grace_s or not self._is_old(one, now_ns):
                self._found_dead(plan, one, GarbageKind.WAITING, f"known as dead for {ages[path]:.0f} s")
            else:
                plan.removable.append(one)

    def _is_old(self, one: _Dead, now_ns: int | None) -> bool:
        """Whether it is older than the grace by the store's own clock, and by its name."""
        if one.load is not None:
            return True  # rows have no time; how long they are known as dead tells
        if now_ns is None or one.modified_ns is None:
            return False
        latest_ns = now_ns - self._grace_s * 1e9
        by_name = one.name is None or uuid_time_ns(one.name.txid) <= latest_ns + _ROUNDED_NS
        return by_name and one.modified_ns <= latest_ns

    # -- removing
    def _remove(self, plan: _Plan) -> None:
        for part in _parts(plan.removable, _REMOVED_AT_ONCE):
            if self._dry_run:
                for one in part:
                    self._found_dead(plan, one, GarbageKind.REMOVABLE)
                continue
            still = self._still_dead(plan, part)
            reach("gc.remove.before")
            _remove_at(plan.place, still)
            reach("gc.remove.after")
            for one in still:
                logger.info("gc removed %s (%d bytes) from destination %r", one.path, one.nbytes, plan.name)
                self._found_dead(plan, one, GarbageKind.REMOVED)
            self._catalog.forget_candidates(plan.key, [one.path for one in still])

    def _still_dead(self, plan: _Plan, part: Sequence[_Dead]) -> list[_Dead]:
        """Ask once more: it may be a while since."""
        if isinstance(plan.place, _Store):
            names = {one.path: one.name for one in part}
            records = self._records(plan.place, names)
            return [
                one
                for one in part
                if one.name is None or self._judge(one.name, records[one.path]) is GarbageVerdict.DEAD
            ]
        loads = self._catalog.load_records([one.load[1] for one in part if one.load is not None])
        return [
            one
            for one in part
            if one.load is not None and judge_load(loads[one.load[1]]) is GarbageVerdict.DEAD
        ]

    # -- telling
    def _found(self, kind: GarbageKind, name: str, one: StoredObject, detail: str) -> None:
        self._tally.add(
            GarbageFinding(kind=kind, destination=name, path=one.path, nbytes=one.nbytes, detail=detail)
        )

    def _found_dead(self, plan: _Plan, one: _Dead, kind: GarbageKind, detail: str = "") -> None:
        self._tally.add(
            GarbageFinding(kind=kind, destination=plan.name, path=one.path, nbytes=one.nbytes, detail=detail)
        )


_NOTHING: Final = ObjectRecord()


def _dead(one: StoredObject, name: ObjectName | None) -> _Dead:
    mark = f"{one.nbytes} {one.modified_ns} {one.etag or ''}".strip()
    return _Dead(path=one.path, nbytes=one.nbytes, mark=mark, name=name, modified_ns=one.modified_ns)


def _is_below(store: _Store, other: _Store) -> bool:
    """Whether the root of a store lies below that of another."""
    root = other.destination.url("any").removesuffix("any")
    return store is not other and store.destination.url("any").startswith(root)


def _is_in_another(store: _Store, path: str) -> bool:
    """Whether a directory above an object is a store of its own, whose objects have other names."""
    above = path
    while "/" in above:
        above = above.rpartition("/")[0]
        if above not in store.nested:
            store.nested[above] = store.destination.stat(f"{above}/{_IDENTITY}") is not None
        if store.nested[above]:
            return True
    return False


def _check_amount(plans: Sequence[_Plan], yes_really: int | None) -> None:
    total = sum(len(plan.removable) for plan in plans)
    for plan in plans:
        number = len(plan.removable)
        is_much = number > _MOST_OBJECTS or (plan.looked_at and number * _MOST_SHARE > plan.looked_at)
        if is_much and (yes_really is None or total > yes_really):
            raise StateError(
                f"{number} objects of destination {plan.name!r} would be removed, {total} in all: that is "
                f"more than {_MOST_OBJECTS}, or than one in {_MOST_SHARE}",
                hint=f"look at them in a dry run; if they are to go, allow it with --yes-really {total}",
                kind=ErrorKind.TOO_MANY_REMOVALS,
            )


def _remove_at(place: _Store | TableDestination, dead: Iterable[_Dead]) -> None:
    if isinstance(place, _Store):
        place.destination.remove([one.path for one in dead if one.name is not None])
        place.destination.remove_remains([one.path for one in dead if one.name is None])
        return
    for one in dead:
        assert one.load is not None
        place.remove_load(*one.load)


def _parts(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part
