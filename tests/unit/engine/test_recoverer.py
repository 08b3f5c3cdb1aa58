"""Recovery in the background ends with nothing that goes wrong in it: it tells, and comes back."""

import anyio
import anyio.from_thread
import pytest

from quantumio.engine import _recoverer
from quantumio.engine._ledger import ErrorLedger
from quantumio.engine._recoverer import Recoverer
from quantumio.engine._restored import _name_of
from quantumio.errors import DestinationError, ErrorKind
from tests.unit.engine.conftest import WrappedCatalog
from tests.unit.engine.journals import OTHER, TXID, artifact, output, transaction

AWAY = DestinationError("the registry is away", kind=ErrorKind.REGISTRY)


def recoverer_of(place, tmp_path, **calls):
    runtime, ledger = place.runtime, ErrorLedger(tmp_path / "errors")
    catalog = WrappedCatalog(place.repository.catalog, **calls)
    return Recoverer(runtime._recovery, catalog, runtime._owner, ledger, runtime._endings), ledger


def failing(*errors):
    """Return a wrapper that raises these errors, one a call, and then calls."""
    left = list(errors)

    def call(real, *arguments):
        if left:
            raise left.pop(0)
        return real(*arguments)

    return call


@pytest.mark.anyio
async def test_registry_that_is_away_is_told_and_asked_again(place, tmp_path):
    recoverer, ledger = recoverer_of(place, tmp_path, outbox=failing(AWAY))
    await recoverer.recover_left()
    assert recoverer.is_left_over
    (entry,) = ledger.entries()
    assert entry.kind is ErrorKind.REGISTRY
    assert "recovery did not come to its end" in entry.message


@pytest.mark.anyio
async def test_bug_in_the_background_is_told_and_ends_nothing(place, tmp_path):
    recoverer, ledger = recoverer_of(place, tmp_path, outbox=failing(KeyError("a bug")))
    await recoverer.recover_left()
    assert [entry.kind for entry in ledger.entries()] == [ErrorKind.INTERNAL]
    await recoverer.recover_left()
    assert not recoverer.is_left_over


@pytest.mark.anyio
async def test_what_is_left_is_tried_again_until_it_is_done(place, tmp_path, monkeypatch):
    monkeypatch.setattr(_recoverer, "_TRY_AGAIN_S", 0.001)
    errors, asked_again = [AWAY, AWAY], anyio.Event()

    def outbox(real):
        if errors:
            raise errors.pop()
        anyio.from_thread.run_sync(asked_again.set)
        return real()

    recoverer, _ = recoverer_of(place, tmp_path, outbox=outbox)
    recoverer.is_left_over = True
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(recoverer.run)
        with anyio.fail_after(60):
            await asked_again.wait()
        tasks.cancel_scope.cancel()
    assert not recoverer.is_left_over


class TellingLedger(ErrorLedger):
    """Says when it was saved."""

    def save(self):
        super().save()
        anyio.from_thread.run_sync(self.saved.set)


@pytest.mark.anyio
async def test_failures_are_saved_where_nothing_is_left_to_recover(place, tmp_path, monkeypatch):
    monkeypatch.setattr(_recoverer, "_TRY_AGAIN_S", 0.001)
    ledger = TellingLedger(tmp_path / "errors")
    ledger.saved = anyio.Event()
    ledger.add(ErrorKind.TIMEOUT, "a copy did not arrive")
    runtime = place.runtime
    recoverer = Recoverer(
        runtime._recovery, place.repository.catalog, runtime._owner, ledger, runtime._endings
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(recoverer.run)
        with anyio.fail_after(60):
            await ledger.saved.wait()
        tasks.cancel_scope.cancel()
    kept = ErrorLedger(tmp_path / "errors", readonly=True).entries()
    assert [entry.message for entry in kept] == ["a copy did not arrive"]


@pytest.mark.anyio
async def test_who_asks_for_recovery_is_told_why_there_is_none(place, tmp_path):
    recoverer, _ = recoverer_of(place, tmp_path, hasten_follow_ups=failing(AWAY, KeyError("a bug")))
    with pytest.raises(DestinationError, match="the registry is away"):
        await recoverer.recover()
    with pytest.raises(KeyError):
        await recoverer.recover()
    assert (await recoverer.recover()).is_clean


def test_output_that_went_as_rows_alone_has_the_name_of_its_place():
    record = output(1, artifact("level3", "ok"))
    assert record.artifacts[0].load_id == OTHER
    assert _name_of(record, transaction(), 1) == f"{TXID}.2.1"
    assert _name_of(output(1, artifact("local", "ok")), transaction(), 1) == f"{TXID}.0.0"
