"""Repositories whose registry, rows or objects are behind a proxy that breaks what passes."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import attrs
import psycopg
import pyarrow as pa
import pytest

from quantumio import Butler, DatasetType
from quantumio.model import CommitConflict, CommitFailed, CommitParked, Committed, CommitUnknown
from tests.network.proxy import Fault, Proxy

OUTCOMES = (Committed, CommitConflict, CommitFailed, CommitParked, CommitUnknown)
RUN = "r"
GUARD_S = 150  # far longer than any deadline: whatever takes so long hangs
BLOB = 5000
ROWS = 40


@pytest.fixture
def direct(postgresql_database: str) -> str:
    """Return the URL of a database of PostgreSQL, for a plain connection past the proxy."""
    return postgresql_database.replace("postgresql+psycopg://", "postgresql://")


@pytest.fixture
def database_proxy(direct: str) -> Iterator[Proxy]:
    """Put a proxy in front of it."""
    (directory,) = parse_qs(urlsplit(direct).query)["host"]
    with Proxy(f"{directory}/.s.PGSQL.5432") as proxy:
        yield proxy


@pytest.fixture
def database_url(direct: str, database_proxy: Proxy) -> str:
    """Return its URL through the proxy."""
    user, name = urlsplit(direct).username, urlsplit(direct).path
    return f"postgresql+psycopg://{user}@127.0.0.1:{database_proxy.port}{name}?sslmode=disable"


def create(directory: Path, **config: object) -> None:
    with Butler.create(directory, config) as butler:
        for name, storage_class in (("stats", "Mapping"), ("blob", "Bytes"), ("table", "ArrowTable")):
            butler.register_dataset_type(DatasetType(name, dimensions=["visit"], storage_class=storage_class))


def opened(repository: Path) -> Butler:
    return Butler(repository, run=RUN, instrument="ST8")


@attrs.define
class Night:
    """Contexts of one repository, each of a visit of its own, each with a fault of its own.

    Attributes
    ----------
    values
        Of each dataset type, the value of a visit.
    """

    repository: Path
    proxy: Proxy
    values: dict
    visit: int = 0

    def suffers(self, fault: Fault | None, *, ack: str = "committed", begin=None):
        """Commit a context while a fault waits for it; returns the outcome, held to be true."""
        self.visit += 1
        outcome = self.within_time(lambda: self._commit(fault, ack, begin))
        assert isinstance(outcome, OUTCOMES), outcome
        self.proxy.arm(None)
        self.proxy.come_up()
        seen = self._look()
        match outcome:
            case Committed():
                assert seen == [outcome.txid]
            case CommitFailed() | CommitConflict() | CommitParked():
                assert seen == []
            case CommitUnknown():
                assert seen in ([], [outcome.txid])
        self.within_time(self._recover)
        after = self._look()
        match outcome:
            case Committed():
                assert after == seen
            case CommitFailed() | CommitConflict():
                assert after == []
            case CommitParked():
                assert after == [outcome.txid], outcome
            case CommitUnknown():
                assert after == [outcome.txid] or (after == seen and ack != "journaled")
        return outcome

    def within_time(self, work):
        """Do it in a thread; where it hangs, the test fails and the proxy sets it free."""
        result: list[object] = []

        def run() -> None:
            try:
                result.append(work())
            except BaseException as error:  # noqa: BLE001  raised where it is waited for
                result.append(error)

        thread = threading.Thread(target=run, name="night")
        thread.start()
        thread.join(GUARD_S)
        if thread.is_alive():
            self.proxy.go_down()
            thread.join()
            pytest.fail("a call has not ended by itself")
        if isinstance(result[0], BaseException):
            raise result[0]
        return result[0]

    def _commit(self, fault, ack, begin):
        # of close: what failed is in the outcome
        with contextlib.suppress(ExceptionGroup), opened(self.repository) as butler:
            context = butler.context()
            for name, make in self.values.items():
                context.put(make(self.visit), name, visit=self.visit)
            self.proxy.arm(fault)
            with begin() if begin is not None else contextlib.nullcontext():
                ticket = context.commit("buffered" if ack == "committed" else ack)
                with contextlib.suppress(ExceptionGroup):
                    butler.drain()
            return ticket.outcome
        return ticket.outcome

    def _recover(self):
        with opened(self.repository) as butler:
            butler.recover()
            assert butler.recover().items == []
            (inside,) = butler._session.repositories
            assert inside.catalog.preparing() == []
            assert inside.catalog.outbox() == []
            assert not [path for path in (self.repository / "journal").glob("*") if path.is_dir()]

    def _look(self) -> list:
        """Return the txids that are visible of this visit, whole and with the right values."""
        with Butler(self.repository, run=RUN, instrument="ST8", readonly=True) as butler:
            found = {}
            for name, make in self.values.items():
                try:
                    stored = butler.versions(name, visit=self.visit, run=RUN)
                except LookupError:
                    stored = []
                for one in stored:
                    assert butler.get(one.ref) == make(self.visit)
                found[name] = [one.txid for one in stored]
            assert len({tuple(txids) for txids in found.values()}) == 1, f"a part is visible: {found}"
            return next(iter(found.values()))


def stats(visit: int) -> dict:
    return {"visit": visit, "numbers": [1, 2.5, None]}


def blob(visit: int) -> bytes:
    return f"{visit}\n".encode() * (BLOB // len(f"{visit}\n"))


def table(visit: int) -> pa.Table:
    return pa.table({"number": list(range(ROWS)), "name": [f"{visit}"] * ROWS})


def transactions(direct: str) -> dict:
    """Return the states of all transactions, read past the proxy."""
    with psycopg.connect(direct) as connection:
        return dict(connection.execute("SELECT txid, state FROM txn").fetchall())
