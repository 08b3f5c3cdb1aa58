"""The operations of the behaviours, as the Rubin Data Butler does them.

The peer is imported here and nowhere else. Its own names of dimension fields (``id``, ``name``) are those of
their dimension here, and what it needs besides (groups of exposures) it gets by itself.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lsst.daf.butler import (
    Butler,
    CalibrationLookupError,
    CollectionCycleError,
    CollectionType,
    DatasetNotFoundError,
    DatasetRef,
    DatasetType,
    DimensionNameError,
    InvalidQueryError,
    MissingCollectionError,
    MissingDatasetTypeError,
    Timespan,
)
from lsst.daf.butler.registry import (
    CollectionError,
    ConflictingDefinitionError,
    DataIdError,
    DatasetTypeError,
    OrphanedRecordError,
    RegistryError,
)
from lsst.sphgeom import Region
from sqlalchemy.exc import IntegrityError

from tests.peer import world
from tests.peer.registries import Refused, Why

__all__ = ["Peer"]

# The field that the peer calls otherwise than the dimension, by element.
_KEY_FIELD = {
    "instrument": "name",
    "physical_filter": "name",
    "detector": "id",
    "day_obs": "id",
    "exposure": "id",
    "visit": "id",
    "skymap": "name",
    "tract": "id",
    "patch": "id",
}
_NEEDED = {
    "instrument": {"class_name": "none"},
    "skymap": {"hash": b"0"},
    "visit": {},
}


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except CalibrationLookupError as error:
        raise Refused(Why.AMBIGUOUS, error) from error
    except (ConflictingDefinitionError, CollectionCycleError, OrphanedRecordError, IntegrityError) as error:
        raise Refused(Why.CONFLICT, error) from error
    except (MissingCollectionError, MissingDatasetTypeError) as error:
        raise Refused(Why.MISSING, error) from error
    except (
        DataIdError,
        DimensionNameError,
        InvalidQueryError,
        DatasetTypeError,
        RegistryError,
        CollectionError,
        TypeError,
        ValueError,
        LookupError,
    ) as error:
        raise Refused(Why.INVALID, error) from error


class Peer:
    """The Rubin Data Butler with a registry in SQLite."""

    name = "peer"

    @staticmethod
    def create(root: Path) -> None:
        """Make the repository that each behaviour gets a copy of."""
        Butler.makeRepo(str(root))
        peer = Peer(root)
        for element, records in world.records().items():
            for record in records:
                peer.insert(element, **record)
        for name, (dimensions, is_calibration) in world.DATASET_TYPES.items():
            peer.register_type(name, dimensions, is_calibration=is_calibration)
        peer.close()

    def __init__(self, root: Path, *, readonly: bool = False) -> None:
        self._root = root
        self._butler = Butler.from_config(str(root), writeable=not readonly)

    def close(self) -> None:
        self._butler.close()

    @contextmanager
    def another(self, *, readonly: bool = False) -> Iterator["Peer"]:
        """Open the repository once more, as another process does."""
        other = Peer(self._root, readonly=readonly)
        try:
            yield other
        finally:
            other.close()

    # -- definitions
    def register_type(self, name: str, dimensions: Sequence[str], *, is_calibration: bool = False) -> bool:
        with _told():
            return self._butler.registry.registerDatasetType(
                DatasetType(
                    name,
                    dimensions,
                    "StructuredDataDict",
                    universe=self._butler.dimensions,
                    isCalibration=is_calibration,
                )
            )

    def dimensions_of(self, dataset_type: str) -> tuple[str, ...]:
        with _told():
            return tuple(self._butler.get_dataset_type(dataset_type).dimensions.required)

    def types(self) -> set[str]:
        return {known.name for known in self._butler.registry.queryDatasetTypes()}

    def insert(self, element: str, **record: Any) -> bool:
        with _told():
            registry = self._butler.registry
            fields = _NEEDED.get(element, {}) | record
            if element in fields:
                fields[_KEY_FIELD[element]] = fields.pop(element)
            if "timespan" in fields:
                fields["timespan"] = Timespan(*fields["timespan"])
            if "region" in fields:
                fields["region"] = Region.from_ivoa_pos(fields["region"])
            if element == "exposure":
                fields["group"] = str(record["exposure"])
                registry.syncDimensionData(
                    "group", {"instrument": record["instrument"], "name": fields["group"]}
                )
            return bool(registry.syncDimensionData(element, fields))

    def records(
        self, element: str, where: str = "", bind: Mapping[str, Any] | None = None, **keys: Any
    ) -> list[dict[str, Any]]:
        with _told():
            found = self._butler.query_dimension_records(
                element, where=where, bind=bind, explain=False, **keys
            )
            return [
                {_KEY_FIELD.get(element, ""): None} | dict(record.toDict()) | dict(record.dataId.required)
                for record in found
            ]

    # -- collections
    def register_run(self, name: str) -> bool:
        with _told():
            return self._butler.collections.register(name, CollectionType.RUN)

    def collections(self, pattern: str = "*") -> dict[str, str]:
        return {info.name: info.type.name for info in self._butler.collections.query_info(pattern)}

    def children(self, chain: str) -> tuple[str, ...]:
        return tuple(self._butler.collections.get_info(chain).children)

    def chain(self, name: str, children: Sequence[str]) -> None:
        with _told():
            self._butler.collections.register(name, CollectionType.CHAINED)
            self._butler.collections.redefine_chain(name, children)

    def edit_chain(self, name: str, children: Sequence[str], edit: str) -> None:
        """Edit is ``prepend``, ``append`` or ``remove``."""
        collections = self._butler.collections
        edits = {
            "prepend": collections.prepend_chain,
            "append": collections.extend_chain,
            "remove": collections.remove_from_chain,
        }
        with _told():
            edits[edit](name, children)

    def remove_collection(self, name: str) -> None:
        with _told():
            self._butler.collections.x_remove(name)

    def tag(self, name: str, refs: Iterable[DatasetRef]) -> None:
        with _told():
            self._butler.collections.register(name, CollectionType.TAGGED)
            self._butler.registry.associate(name, refs)

    def untag(self, name: str, refs: Iterable[DatasetRef]) -> None:
        with _told():
            self._butler.registry.disassociate(name, refs)

    def certify(self, name: str, refs: Iterable[DatasetRef], begin: Any, end: Any) -> None:
        with _told():
            self._butler.collections.register(name, CollectionType.CALIBRATION)
            self._butler.registry.certify(name, refs, Timespan(begin, end))

    def decertify(self, name: str, dataset_type: str, begin: Any, end: Any, data_ids: Any = None) -> None:
        with _told():
            self._butler.registry.decertify(name, dataset_type, Timespan(begin, end), dataIds=data_ids)

    # -- datasets
    @contextmanager
    def block(self, run: str) -> Iterator["Block"]:
        """All that is put in the block is there after it, or nothing of it."""
        self._butler.collections.register(run, CollectionType.RUN)
        with self._butler.registry.transaction(savepoint=True):
            yield Block(self, run)

    def put(self, dataset_type: str, run: str, **data_id: Any) -> DatasetRef:
        with _told():
            self._butler.collections.register(run, CollectionType.RUN)
            return self._butler.registry.insertDatasets(dataset_type, [data_id], run=run)[0]

    def delete(self, refs: Iterable[DatasetRef]) -> None:
        with _told():
            self._butler.registry.removeDatasets(refs)

    def find(
        self, dataset_type: str, data_id: Any = None, *, collections: Any, **keys: Any
    ) -> DatasetRef | None:
        """Look up as its ``get`` does: ``find_dataset`` knows no exposure of a calibration."""
        with _told():
            try:
                return self._butler._findDatasetRef(dataset_type, data_id, collections=collections, **keys)
            except DatasetNotFoundError:
                return None
            except AttributeError as error:  # a record has no such field
                raise Refused(Why.INVALID, error) from error

    # -- values to bind
    @staticmethod
    def timespan(begin: Any, end: Any) -> Timespan:
        return Timespan(begin, end)

    @staticmethod
    def region(text: str) -> Region:
        return Region.from_ivoa_pos(text)

    # -- queries
    def query(
        self,
        dataset_type: str,
        collections: Any,
        where: str = "",
        *,
        bind: Mapping[str, Any] | None = None,
        order_by: Sequence[str] = (),
        limit: int | None = None,
        **keys: Any,
    ) -> list[DatasetRef]:
        with _told():
            return self._butler.query_datasets(
                dataset_type,
                collections,
                find_first="*" not in collections,
                where=where,
                bind=bind,
                order_by=order_by,
                limit=limit,
                explain=False,
                **keys,
            )

    def count(self, dataset_type: str, collections: Any, where: str = "") -> int:
        with _told(), self._butler.query() as query:
            return query.datasets(dataset_type, collections).where(where).count()

    def data_ids(
        self,
        dimensions: Sequence[str],
        where: str = "",
        *,
        bind: Mapping[str, Any] | None = None,
        **keys: Any,
    ) -> list[dict[str, Any]]:
        with _told(), self._butler.query() as query:
            found = query.data_ids(dimensions).where(where, bind=bind, **keys)
            return [dict(data_id.required) for data_id in found]

    def data_ids_with(
        self, dimensions: Sequence[str], dataset_type: str, collections: Any
    ) -> list[dict[str, Any]]:
        """Return data IDs for which a dataset is there."""
        with _told(), self._butler.query() as query:
            found = query.join_dataset_search(dataset_type, collections).data_ids(dimensions)
            return [dict(data_id.required) for data_id in found]


class Block:
    """Inserts in a transaction, or in a savepoint of the one around it."""

    def __init__(self, peer: Peer, run: str) -> None:
        self._peer = peer
        self._run = run

    def put(self, dataset_type: str, **data_id: Any) -> None:
        self._peer.put(dataset_type, self._run, **data_id)
