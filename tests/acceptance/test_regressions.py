"""What once went wrong, found by attacking it."""

import contextlib
import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from quantumio import (
    Butler,
    CommitFailedError,
    CommitParkedError,
    Committed,
    DestinationError,
    ErrorKind,
    InvalidInputError,
    NotFoundError,
    StateError,
)
from tests.acceptance.night import files_of, image

pytestmark = pytest.mark.on_disk


def test_abort_during_an_immediate_put_harms_nobody(make_butler):
    butler = make_butler(config={"rules": [{"mode": "immediate"}]}, run="r")
    for round_number in range(15):
        ctx = butler.context()
        with ThreadPoolExecutor(2) as pool:
            put = pool.submit(ctx.put, np.zeros(300_000), "pixels", visit=round_number, detector=0)
            pool.submit(ctx.abort).result(30)
            with contextlib.suppress(StateError, CommitFailedError):
                put.result(30)
    with butler.context() as ctx:
        ctx.put({}, "stats", visit=1)
    assert butler.query("*").count() == 1
    assert len(files_of(butler)) == 1


def test_failed_immediate_replacement_keeps_what_it_was_to_replace(make_butler, tmp_path):
    butler = make_butler(
        config={
            "destinations": {"shut": {"kind": "files", "root": "/proc/quantumio"}},
            "rules": [{"mode": "immediate"}],
        },
        run="r",
    )
    with butler.context() as ctx:
        ctx.put({"n": 1}, "stats", visit=1)
        with pytest.raises(DestinationError):
            ctx.put({"n": 2}, "stats", visit=1, replace=True, to=["local", "shut"])
    assert butler.get("stats", visit=1) == {"n": 1}
    assert len(files_of(butler)) == 1


@pytest.mark.parametrize("key", ["", "\ud800", "a\0b", "x" * 2000, 5])
def test_a_key_that_is_none_is_refused_when_the_context_opens(butler, key):
    with pytest.raises(InvalidInputError, match="key"):
        butler.context(key=key)
    assert butler.status()[0].contexts_open == 0


def test_a_context_that_cannot_be_opened_is_not_left_open(butler):
    for _ in range(5):
        with pytest.raises(InvalidInputError):
            butler.context(collections=[5])
    assert butler.status()[0].contexts_open == 0


def test_a_dropped_context_gives_its_memory_back(butler):
    ctx = butler.context()
    ctx.put(np.zeros(100_000), "pixels", visit=1, detector=0)
    ticket = ctx.ticket
    del ctx
    gc.collect()
    assert butler.status()[0].buffer_used_bytes == 0
    assert butler.status()[0].contexts_open == 0
    with pytest.raises(CommitFailedError, match="dropped"):
        ticket.wait()


def test_reading_an_old_version_is_no_conflict(butler):
    for number in (1, 2):
        with butler.context() as ctx:
            ctx.put({"n": number}, "stats", visit=1)
    first = butler.versions("stats", visit=1)[0].ref
    with butler.context() as ctx:
        assert ctx.get("stats", visit=1, version=1) == ctx.get(first) == {"n": 1}
        ctx.put({"n": 3}, "stats", visit=1)
    assert isinstance(ctx.ticket.outcome, Committed)


def test_a_repository_with_a_wrong_rule_is_not_made(tmp_path):
    for config in ({"rules": [{"to": "nowhere"}]}, {"dimensions": {"1st": {"key": "int"}}}):
        with pytest.raises(InvalidInputError):
            Butler.create(tmp_path / "r", config)
        assert not (tmp_path / "r").exists()
    Butler.create(tmp_path / "r").close()


def test_forked_child_cannot_read_either(butler):
    with butler.context() as ctx:
        ctx.put({}, "stats", visit=1)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        kinds = []
        for call in (
            lambda: butler.get("stats", visit=1),
            lambda: butler.query("stats").count(),
            lambda: butler.exists("stats", visit=1),
        ):
            try:
                call()
                kinds.append("no error")
            except StateError as error:
                kinds.append(str(error.kind))
            except BaseException as error:  # noqa: BLE001  whatever it is must reach the parent
                kinds.append(repr(error))
        os.write(writer, ",".join(kinds).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 1000).decode() == "forked,forked,forked"
    os.close(reader)
    os.close(writer)


def test_queries_over_repositories_that_know_different_types(make_butler, tmp_path):
    from quantumio import DatasetType

    make_butler("a").close()
    second = make_butler("b")
    second.register_dataset_type(DatasetType("only_b", dimensions=["visit"], storage_class="Text"))
    with second.context(run="r") as ctx:
        ctx.put("x", "only_b", visit=1)
    roots = [tmp_path / "a", tmp_path / "b", tmp_path / "a"]
    with Butler(roots, run="r", instrument="ST8") as both:
        assert both.query("only_b").count() == 1
        assert both.query("*").count() == 1
        assert len(both.versions("only_b", visit=1)) == 1
        assert both.dataset_type("only_b").storage_class == "Text"
        with pytest.raises(NotFoundError):
            both.query("neither").count()


def test_promoting_under_a_rule_that_keeps_it_temporary_is_refused(make_butler, tmp_path):
    make_butler().close()
    policy = tmp_path / "operator.toml"
    policy.write_text('[[rules]]\ndatasets = "stats"\nlocked = true\nto = "temporary"\n')
    with Butler(tmp_path / "night", run="r", policy=policy, instrument="ST8") as butler:
        with butler.context() as ctx:
            ctx.put({}, "stats", visit=1)
        with pytest.raises(InvalidInputError, match="locked"):
            butler.promote(ctx.refs[0])


def test_refused_or_released_freeze_leaves_the_array_as_it_was(butler, tmp_path):
    mapped = np.memmap(tmp_path / "mapped", dtype=np.float32, mode="w+", shape=(10,))
    plain = np.zeros(10)
    with butler.context() as ctx:
        with pytest.raises(InvalidInputError):
            ctx.put(mapped, "pixels", visit=1, detector=0, own="freeze")
        assert mapped.flags.writeable
        ctx.put(plain, "pixels", visit=1, detector=1, own="freeze")
        assert not plain.flags.writeable
        ctx.abort()
    assert plain.flags.writeable


@pytest.mark.parametrize(
    "call",
    [
        lambda b: Butler(5),
        lambda b: Butler.create(5),
        lambda b: Butler.create("x", 5),
        lambda b: b.find(5),
        lambda b: b.versions(5),
        lambda b: b.query(5),
        lambda b: b.query("stats", order_by=5),
        lambda b: b.query("stats", bind=5),
        lambda b: b.query("stats", collections=5),
        lambda b: b.query("stats", limit=10**30),
        lambda b: b.get("stats", visit=1, version=2**70),
        lambda b: b.get("stats", visit=1, version="1"),
        lambda b: b.get("stats", visit=1, columns=5),
        lambda b: b.get(5),
        lambda b: b.ingest(None, "raw"),
        lambda b: b.ticket("x"),
        lambda b: b.forget(5),
        lambda b: b.query_data_ids(5),
        lambda b: b.collections(5),
        lambda b: b.context(collections=5),
        lambda b: Butler.resume("{}"),
    ],
)
def test_untyped_arguments_get_typed_errors(butler, call):
    with pytest.raises((InvalidInputError, NotFoundError)) as caught:
        call(butler)
    assert caught.value.hint


def test_implied_keys_that_nothing_can_check_are_refused(butler):
    with butler.context() as ctx:
        with pytest.raises(InvalidInputError, match="physical_filter"):
            ctx.put({}, "stats", visit=201, physical_filter="G")
        ctx.abort()


def test_failures_of_a_group_name_the_output_that_failed(make_butler, tmp_path):
    butler = make_butler(run="r")
    data = tmp_path / "night" / "data"
    data.mkdir(exist_ok=True)
    (data / "stats").write_text("a file in the place of the directory of stats")
    with pytest.raises(CommitParkedError, match="stats"), butler.context() as ctx:
        ctx.put("x", "log", visit=1)
        ctx.put({}, "stats", visit=1)
    assert butler.errors(acknowledge=True)[0].ref.dataset_type.name == "stats"


def test_threads_that_close_while_others_commit(make_butler):
    butler = make_butler(run="r")
    errors = []

    def work():
        try:
            for visit in range(50):
                with butler.context() as ctx:
                    ctx.put(image(), "calexp", visit=visit, detector=threading.get_ident() % 1000)
        except (StateError, CommitFailedError) as error:
            errors.append(error.kind)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    butler.close()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert set(errors) <= {ErrorKind.CLOSED, ErrorKind.ABORTED}


@pytest.mark.parametrize("method", ["associate", "disassociate", "certify", "certify_each"])
def test_one_ref_in_place_of_a_list_is_refused_with_a_hint(butler, method):
    """A bare TypeError said that a ref is not iterable."""
    with butler.context() as ctx:
        ref = ctx.put({"n": 1}, "stats", visit=1).ref
    times = (None, None) if method == "certify" else ()
    with pytest.raises(InvalidInputError, match=r"is no list of refs .*\[ref\]"):
        getattr(butler, method)("u/ada/best", ref, *times)
