"""The operations of the behaviours, as quantumio does them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quantumio import (
    Butler,
    ConflictError,
    DatasetRef,
    DatasetType,
    InvalidInputError,
    NotFoundError,
    Region,
    Timespan,
)
from quantumio.errors import ErrorKind
from tests.peer import world
from tests.peer.registries import Refused, Why

__all__ = ["Quantumio"]


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ConflictError as error:
        is_ambiguous = error.kind is ErrorKind.AMBIGUOUS_CALIBRATION
        raise Refused(Why.AMBIGUOUS if is_ambiguous else Why.CONFLICT, error) from error
    except NotFoundError as error:
        raise Refused(Why.MISSING, error) from error
    except InvalidInputError as error:
        raise Refused(Why.INVALID, error) from error


class Block:
    """A context of a run."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def put(self, dataset_type: str, **data_id: object) -> None:
        with _told():
            self._context.put({"of": dataset_type}, dataset_type, data_id)


class Quantumio:
    """quantumio's Butler."""

    name = "quantumio"

    @staticmethod
    def create(root: Path) -> None:
        """Make the repository that each behaviour gets a copy of."""
        with Butler.create(root) as butler:
            for element, records in world.records().items():
                butler.insert_dimension(element, records)
            for name, (dimensions, _) in world.DATASET_TYPES.items():
                butler.register_dataset_type(
                    DatasetType(name, dimensions=dimensions, storage_class="Mapping")
                )

    def __init__(self, root: Path, *, readonly: bool = False) -> None:
        self._root = root
        self._butler = Butler(root, readonly=readonly)

    def close(self) -> None:
        self._butler.close()

    @contextmanager
    def another(self, *, readonly: bool = False) -> Iterator["Quantumio"]:
        """Open the repository once more, as another process does."""
        other = Quantumio(self._root, readonly=readonly)
        try:
            yield other
        finally:
            other.close()

    # -- definitions
    def register_type(self, name: str, dimensions: Sequence[str], *, is_calibration: bool = False) -> bool:
        with _told():
            return self._butler.register_dataset_type(
                DatasetType(name, dimensions=dimensions, storage_class="Mapping")
            )

    def dimensions_of(self, dataset_type: str) -> tuple[str, ...]:
        with _told():
            return self._butler.dataset_type(dataset_type).dimensions

    def types(self) -> set[str]:
        return {known.name for known in self._butler.dataset_types()}

    def insert(self, element: str, **record: object) -> bool:
        with _told():
            return self._butler.insert_dimension(element, [record]) == 1

    def records(
        self, element: str, where: str | None = None, bind: Mapping[str, object] | None = None, **keys: object
    ) -> list[dict[str, Any]]:
        with _told():
            return list(self._butler.query_dimension_records(element, where=where, bind=bind, **keys))

    # -- collections
    def register_run(self, name: str) -> bool:
        with _told():
            return self._butler.register_run(name)

    def collections(self, pattern: str = "*") -> dict[str, str]:
        return {record.name: str(record.kind) for record in self._butler.collections(pattern)}

    def children(self, chain: str) -> tuple[str, ...]:
        return self._butler.collections(chain)[0].children

    def chain(self, name: str, children: Sequence[str]) -> None:
        with _told():
            self._butler.chain(name, children)

    def edit_chain(self, name: str, children: Sequence[str], edit: str) -> None:
        """Edit is ``prepend``, ``append`` or ``remove``."""
        with _told():
            self._butler.chain(name, children, edit=edit)  # type: ignore[call-arg]

    def remove_collection(self, name: str) -> None:
        with _told():
            self._butler.remove_collection(name, dry_run=False)  # type: ignore[attr-defined]

    def tag(self, name: str, refs: Iterable[DatasetRef]) -> None:
        with _told():
            self._butler.associate(name, refs)

    def untag(self, name: str, refs: Iterable[DatasetRef]) -> None:
        with _told():
            self._butler.disassociate(name, refs)

    def certify(self, name: str, refs: Iterable[DatasetRef], begin: object, end: object) -> None:
        with _told():
            self._butler.certify(name, refs, begin, end)

    def decertify(
        self, name: str, dataset_type: str, begin: object, end: object, data_ids: Any = None
    ) -> None:
        with _told():
            self._butler.decertify(name, dataset_type, begin, end, data_ids=data_ids)

    # -- datasets
    @contextmanager
    def block(self, run: str) -> Iterator[Block]:
        """All that is put in the block is there after it, or nothing of it."""
        with self._butler.context(run=run) as context:
            yield Block(context)

    def put(self, dataset_type: str, run: str, **data_id: object) -> DatasetRef:
        with _told(), self._butler.context(run=run) as context:
            context.put({"of": dataset_type}, dataset_type, data_id)
        return context.refs[0]

    def delete(self, refs: Iterable[DatasetRef]) -> None:
        with _told():
            self._butler.delete(list(refs), dry_run=False)  # type: ignore[attr-defined]

    def find(
        self, dataset_type: str, data_id: Any = None, *, collections: Any, **keys: object
    ) -> DatasetRef | None:
        with _told():
            return self._butler.find(dataset_type, data_id, collections=collections, **keys)

    # -- values to bind
    @staticmethod
    def timespan(begin: Any, end: Any) -> Timespan:
        return Timespan.make((begin, end))

    @staticmethod
    def region(text: str) -> Region:
        return Region.make(text)

    # -- queries
    def query(
        self,
        dataset_type: str,
        collections: Any,
        where: str | None = None,
        *,
        bind: Mapping[str, object] | None = None,
        order_by: Sequence[str] = (),
        limit: int | None = None,
        **keys: object,
    ) -> list[DatasetRef]:
        with _told():
            return list(
                self._butler.query(
                    dataset_type,
                    collections=collections,
                    where=where,
                    bind=bind,
                    order_by=order_by,
                    limit=limit,
                    **keys,
                )
            )

    def count(self, dataset_type: str, collections: Any, where: str | None = None) -> int:
        with _told():
            return self._butler.query(dataset_type, collections=collections, where=where).count()

    def data_ids(
        self,
        dimensions: Sequence[str],
        where: str | None = None,
        *,
        bind: Mapping[str, object] | None = None,
        **keys: object,
    ) -> list[dict[str, Any]]:
        with _told():
            found = self._butler.query_data_ids(dimensions, where=where, bind=bind, **keys)
            return [dict(data_id) for data_id in found]

    def data_ids_with(
        self, dimensions: Sequence[str], dataset_type: str, collections: Any
    ) -> list[dict[str, Any]]:
        """Return data IDs for which a dataset is there."""
        with _told():
            found = self._butler.query_data_ids(
                dimensions,
                datasets=dataset_type,
                collections=collections,
            )
            return [dict(data_id) for data_id in found]
