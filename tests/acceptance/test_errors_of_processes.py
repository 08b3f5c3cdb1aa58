"""The list of background failures is one for all processes of a repository, and lasts longer than each."""

import pytest

from quantumio import CommitParked
from quantumio.engine import _recoverer
from quantumio.engine._ledger import ErrorLedger
from quantumio.system import threads
from tests.acceptance.night import with_failed_copy
from tests.acceptance.processes import run

pytestmark = pytest.mark.on_disk

AWAY = {"destinations": {"archive": {"kind": "files", "root": "archive/disk"}}, "rules": [{"to": "archive"}]}
SECOND = {
    "destinations": {"second": {"kind": "files", "root": "second/disk"}},
    "rules": [{"to": ["local", "second?"]}],
}


@pytest.fixture
def away(make_butler, tmp_path, monkeypatch):
    """A repository whose one destination cannot be reached, and a context that was parked unheard."""
    monkeypatch.setattr(_recoverer, "_TRY_AGAIN_S", 3600.0)  # the other process comes first
    root = tmp_path / "night"
    butler = make_butler(config=AWAY, run="r")
    (root / "archive").write_text("in the way")
    context = butler.context()
    context.put({"a": 1}, "stats", visit=1)
    ticket = context.commit("buffered")
    butler._session.repositories[0].runtime.wait_idle(None)
    assert isinstance(ticket.outcome, CommitParked)
    return butler, root


def kept(root):
    """What is on the disk of the repository, whatever is in the memory of its processes."""
    return [entry.message for entry in ErrorLedger(root / "errors", readonly=True).entries()]


def test_failure_is_over_here_when_another_process_has_committed_what_was_parked(away):
    butler, root = away
    assert kept(root)
    (root / "archive").unlink()
    script = """
        import sys
        from quantumio import Butler
        with Butler(sys.argv[1], instrument="ST8") as butler:
            print({item.action for item in butler.recover().items})
    """
    assert run(script, root) == "{'committed'}\n"
    butler.drain()
    assert butler.errors() == []
    assert butler.get("stats", visit=1) == {"a": 1}


def test_failure_that_both_processes_met_is_over_in_both_when_one_acknowledges_it(away):
    butler, root = away
    script = """
        import sys
        from quantumio import Butler
        with Butler(sys.argv[1], instrument="ST8") as butler:
            print({item.action for item in butler.recover().items})
            assert butler.errors(acknowledge=True)
    """
    assert run(script, root) == "{'parked'}\n"
    assert kept(root) == []
    butler.drain()
    assert butler.errors() == []


def test_failure_of_a_flush_is_on_the_disk_when_it_returns(make_butler, tmp_path):
    root = tmp_path / "night"
    make_butler(config=SECOND).close()
    (root / "second").write_text("no directory")
    script = """
        import os, sys
        from quantumio import Butler
        from quantumio.engine import _recoverer
        _recoverer._TRY_AGAIN_S = 3600.0
        butler = Butler(sys.argv[1], run="r", instrument="ST8")
        with butler.context() as ctx:
            ctx.put({"a": 1}, "stats", visit=1)
        butler._session.repositories[0].runtime.wait_idle(None)
        butler.errors(acknowledge=True)
        butler.flush()
        os.kill(os.getpid(), 9)
    """
    run(script, root, fails=True)
    (message,) = kept(root)
    assert "'second'" in message


def test_failure_that_no_thread_can_save_now_is_saved_later(away, monkeypatch):
    butler, root = away
    butler.errors(acknowledge=True)
    runtime = butler._session.repositories[0].runtime
    run_in_thread = threads.run

    async def refuse(function, *arguments, **options):
        if function == runtime.ledger.save:
            raise threads._refused(None)
        return await run_in_thread(function, *arguments, **options)

    monkeypatch.setattr(threads, "run", refuse)
    assert {item.action for item in butler.recover().items} == {"parked"}
    assert kept(root) == []
    monkeypatch.undo()
    butler.recover()
    assert kept(root)


def test_file_of_somebody_else_among_the_errors_keeps_nobody_from_committing(make_butler, tmp_path):
    butler, *_ = with_failed_copy(make_butler)
    errors = butler._session.repositories[0].root / "errors"
    (errors / "note.json").write_text("[]")
    for visit in (2, 3):
        with butler.context() as ctx:
            ctx.put({"a": visit}, "stats", visit=visit)
        with pytest.raises(ExceptionGroup):
            butler.drain()  # their copies fail, too
    assert [ref.data_id["visit"] for ref in butler.query("stats")] == [1, 2, 3]
    assert {one.destination for one in butler.errors(acknowledge=True)} == {"second", None}
    assert (errors / "note.json.unreadable").read_text() == "[]"
    assert butler.errors() == []
