"""One accepted output: encoded once, readable until it leaves memory, charged until then."""

import threading

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.table import QTable

from quantumio.destinations.memory import MemoryDestination
from quantumio.engine import OutputReleased
from quantumio.errors import CommitFailedError, CommitParkedError, ErrorKind, FormatError, MutatedAfterPut
from quantumio.model import FormatChoice
from quantumio.testing import Fault, FaultyDestination

pytestmark = pytest.mark.on_disk


class CountedFormats:
    """The installed formats, and what was encoded by them."""

    def __init__(self, inner):
        self._inner, self.encoded = inner, []

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def format(self, name):
        return CountedFormat(self._inner.format(name), self.encoded)


class CountedFormat:
    def __init__(self, inner, encoded):
        self._inner, self._encoded = inner, encoded

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def encode(self, value, storage_class, options):
        self._encoded.append((self._inner.name, dict(options)))
        return self._inner.encode(value, storage_class, options)


@pytest.fixture
def counted(make_place):
    def make(config):
        place = make_place(config)
        place.repository.formats = place.runtime.formats = CountedFormats(place.runtime.formats)
        return place, place.runtime.formats.encoded

    return make


def put(context, value, name="pixels", **options):
    keys = {"visit": 1} if name in ("stats", "log") else {"visit": 1, "detector": 0}
    context.put(value, name, keys, **options)
    return context._context.outputs[-1]


def test_destinations_of_one_format_share_one_encoding(counted):
    place, encoded = counted({"rules": [{"to": ["local", "a", "b"]}]})
    with place.butler.context() as ctx:
        output = put(ctx, np.arange(10))
    assert encoded == [("npy", {})]
    assert len({(artifact.digest, artifact.nbytes) for artifact in output.artifacts.values()}) == 1
    assert set(output.artifacts) == {"local", "a", "b"}


def test_each_format_and_each_choice_of_options_is_encoded_once(counted):
    formats = {"a": "json", "b": "yaml", "local": "json"}
    place, encoded = counted({"rules": [{"to": ["local", "a", "b"], "formats": formats}]})
    with place.butler.context() as ctx:
        output = put(ctx, {"x": 1}, "stats")
    assert sorted(encoded) == [("json", {}), ("yaml", {})]
    assert {name: artifact.format for name, artifact in output.artifacts.items()} == formats


def test_encoding_of_many_threads_happens_once(counted):
    place, encoded = counted({})
    ctx = place.butler.context()
    output = put(ctx, np.zeros((300, 300)))
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(output.encode(FormatChoice("npy")))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert encoded == [("npy", {})]
    assert len({id(result) for result in results}) == 1
    ctx.abort()


def test_immediate_mode_and_commit_share_the_encoding(counted):
    place, encoded = counted({"rules": [{"to": ["a", "b"], "mode": "immediate"}]})
    with place.butler.context() as ctx:
        put(ctx, np.arange(10))
        assert len(place.objects("a", "b")) == 2
    assert encoded == [("npy", {})]


def test_charged_bytes_grow_by_the_encoded_form_and_return_to_zero(place):
    budget = place.runtime.budget
    ctx = place.butler.context()
    array = np.arange(1000.0)
    output = put(ctx, array)
    assert budget.used_bytes == output.charged_bytes >= array.nbytes
    snapshot = output.charged_bytes
    encoded = output.encode(FormatChoice("npy"))
    assert budget.used_bytes == output.charged_bytes == snapshot + encoded.nbytes
    output.release()
    output.release()
    assert budget.used_bytes == 0
    ctx.abort()
    assert budget.used_bytes == 0


@pytest.mark.parametrize("own", [None, "freeze", "borrow", "encode"])
@pytest.mark.parametrize("end", ["commit", "abort", "replace"])
def test_every_charged_byte_comes_back(place, own, end):
    ctx = place.butler.context()
    put(ctx, np.arange(1000.0), own=own)
    assert place.runtime.budget.used_bytes > 0
    if end == "replace":
        put(ctx, np.arange(2000.0), own=own, replace=True)
    ctx.commit() if end != "abort" else ctx.abort()
    place.butler.drain()
    place.assert_idle_and_empty()


@pytest.mark.parametrize(
    ("value", "options"),
    [
        (np.zeros(10), {"to": "nowhere"}),
        (np.zeros(10), {"own": "clone"}),
        (np.zeros(10), {"expect": -1}),
        (np.array([{}], dtype=object), {}),
        (np.frombuffer(bytearray(80)), {"own": "freeze"}),
        ("text", {}),
    ],
    ids=str,
)
def test_refused_put_charges_nothing_and_accepts_nothing(place, value, options):
    ctx = place.butler.context()
    with pytest.raises((ValueError, FormatError)):
        ctx.put(value, "pixels", visit=1, detector=0, **options)
    assert place.runtime.budget.used_bytes == 0
    assert ctx.refs == ()
    assert ctx.output_count == 0
    ctx.put(np.zeros(1), "pixels", visit=1, detector=0)
    ctx.commit()


def test_output_that_left_memory_says_so(place):
    ctx = place.butler.context()
    output = put(ctx, np.arange(10))
    assert not output.is_released
    assert (output.read() == np.arange(10)).all()
    ctx.commit("settled")
    assert output.is_released
    for read in (output.read, output.share):
        with pytest.raises(OutputReleased):
            read()


def test_context_reads_on_from_where_the_output_went(place):
    with place.butler.context() as ctx:
        ctx.put(np.arange(10), "pixels", visit=1, detector=0)
        ctx.commit("settled")
        assert (ctx.get("pixels", visit=1, detector=0) == np.arange(10)).all()
        assert (ctx.get(ctx.refs[0]) == np.arange(10)).all()


@pytest.mark.parametrize("mode", ["deferred", "immediate"])
@pytest.mark.parametrize("own", [None, "encode", "borrow"])
def test_lossy_format_reads_the_same_before_and_after_the_commit(make_place, mode, own):
    lossy = {"format": "fits", "compression": "rice"}
    place = make_place({"rules": [{"to": ["a", "b"], "mode": mode, "formats": {"a": lossy}}]})
    data = np.random.default_rng(1).normal(1000, 30, (64, 64)).astype(np.float32)
    with place.butler.context() as ctx:
        ctx.put(CCDData(data, unit=u.adu), "calexp", visit=1, detector=0, own=own)
        before = ctx.get("calexp", visit=1, detector=0)
        shared = ctx.get("calexp", visit=1, detector=0, readonly=True)
    after = place.butler.get("calexp", visit=1, detector=0)
    assert not np.array_equal(before.data, data)  # it is lossy: this is what will be read
    assert np.allclose(before.data, data, atol=30)
    assert np.array_equal(before.data, after.data)
    assert np.array_equal(shared.data, after.data)


def test_what_was_read_is_the_readers_own(place):
    ctx = place.butler.context()
    put(ctx, {"list": [1, 2]}, "stats")
    ctx.get("stats", visit=1)["list"].append(3)
    ctx.put(np.arange(5), "pixels", visit=1, detector=0)
    ctx.get("pixels", visit=1, detector=0)[:] = 0
    ctx.commit()
    assert place.butler.get("stats", visit=1) == {"list": [1, 2]}
    assert (place.butler.get("pixels", visit=1, detector=0) == np.arange(5)).all()


def test_encoded_object_is_let_go_of_and_its_bytes_are_our_own(place):
    import weakref

    ctx = place.butler.context()
    array = np.arange(100_000.0)
    alive = weakref.ref(array)
    output = put(ctx, array, own="encode")
    array[:] = 0
    del array
    assert alive() is None
    assert (output.read() == np.arange(100_000.0)).all()
    ctx.commit()


def test_change_of_a_borrowed_array_is_noticed_by_readers_and_encoders_alike(place):
    ctx = place.butler.context()
    array = np.arange(10)
    output = put(ctx, array, own="borrow")
    array[0] = 9
    for call in (output.read, lambda: output.encode(FormatChoice("npy"))):
        with pytest.raises(MutatedAfterPut):
            call()
    assert output.encoded_bytes == 0
    with pytest.raises(CommitFailedError) as caught:
        ctx.commit()
    assert caught.value.kind is ErrorKind.MUTATED_AFTER_PUT
    assert place.objects("a", "b") == []


def test_names_of_files_are_never_used_again(place):
    """Transaction, generation and number: also where an output was replaced."""
    ctx = place.butler.context()
    names = {put(ctx, np.zeros(3), replace=True).name for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith(f"{ctx.txid}.0.") for name in names)
    ctx.commit()
    assert len(place.objects("a")) == 1


def test_receipt_of_a_put_knows_its_moments(place):
    with place.butler.context() as ctx:
        receipt = ctx.put(np.zeros(3), "pixels", visit=1, detector=0, own="borrow")
        assert {str(moment) for moment in receipt.moments} == {"accepted"}
        assert receipt.durable == {"a": False, "b": False}
        copied = ctx.put(np.zeros(3), "pixels", visit=1, detector=1)
        assert {str(moment) for moment in copied.moments} == {"accepted", "released"}
    place.butler.drain()
    assert {str(moment) for moment in receipt.moments} == {
        "accepted",
        "released",
        "durable",
        "journaled",
        "committed",
        "settled",
    }
    assert receipt.durable == {"a": True, "b": True}


LEVEL3 = {"destinations": {"level3": {"kind": "database", "url": "sqlite:///level3.sqlite3"}}}


def rows():
    return QTable({"x": [1.0, 2.0], "y": [3, 4]})


@pytest.mark.parametrize("to", [["level3"], ["level3", "a"]], ids=["rows alone", "rows first"])
def test_output_that_becomes_rows_is_read_before_and_after_as_the_table_it_was(make_place, to):
    place = make_place(LEVEL3 | {"rules": [{"to": to}]})
    with place.butler.context() as ctx:
        ctx.put(rows(), "source", visit=1, detector=0)
        before = ctx.get("source", visit=1, detector=0)
        assert ctx.get("source", visit=1, detector=0, columns=["y"]).colnames == ["y"]
    after = place.butler.get("source", visit=1, detector=0)
    for one in (before, after):
        assert (list(one["x"]), list(one["y"])) == ([1.0, 2.0], [3, 4])


def test_output_that_was_encoded_at_once_becomes_rows_too(make_place):
    place = make_place(LEVEL3 | {"rules": [{"to": ["level3"]}]})
    table = rows()
    with place.butler.context() as ctx:
        output = put(ctx, table, "source", own="encode")
        table["x"][0] = 99
        assert output.encoded_bytes > 0
    assert list(place.butler.get("source", visit=1, detector=0)["x"]) == [1.0, 2.0]


def test_best_effort_copy_in_a_format_that_the_journal_does_not_keep_is_made_from_what_it_keeps(make_place):
    """The primary destination is a best-effort one: the journal has what the required one takes."""
    place = make_place({"rules": [{"to": ["b?", "a"], "formats": {"b": "ecsv", "a": "parquet"}}]})
    place.install(FaultyDestination(MemoryDestination("a"), Fault(at=1)))
    with pytest.raises(CommitParkedError), place.butler.context() as ctx:
        put(ctx, rows(), "source")
    place.butler.recover()
    (ref,) = place.butler.query("source")
    assert {(one.destination, one.format) for one in place.butler.where_is(ref)} == {
        ("a", "parquet"),
        ("b", "ecsv"),
    }
    assert len(place.objects("a")) == len(place.objects("b")) == 1
    assert list(place.butler.get(ref)["y"]) == [3, 4]
    assert place.butler.fsck(3).is_whole
    assert ctx.ticket.outcome.txid == ctx.txid


def test_output_is_spilled_once_and_not_after_it_has_left_memory(place):
    ctx = place.butler.context()
    output = put(ctx, np.arange(100))
    stored = []

    def store(chunks):
        stored.append(b"".join(chunks))
        return memoryview(stored[-1])

    assert output.spill(store) > 800
    assert output.spill(store) == 0
    assert len(stored) == 1
    assert (output.read() == np.arange(100)).all()
    released = put(ctx, np.arange(100), replace=True)
    released.release()
    assert released.spill(store) == 0
    assert len(stored) == 1
    ctx.abort()
    assert place.runtime.budget.used_bytes == 0


def test_immutable_value_is_shared_as_it_is(place):
    text = "a log of some length"
    with place.butler.context() as ctx:
        output = put(ctx, text, "log")
        assert output.share() is text
        assert ctx.get("log", visit=1, readonly=True) is text


def test_columns_of_an_output_in_memory_belong_to_who_reads_them(make_place):
    place = make_place({"rules": [{"to": ["a"], "formats": {"a": "ecsv"}}]})
    with place.butler.context() as ctx:
        ctx.put(rows(), "source", visit=1, detector=0)
        part = ctx.get("source", visit=1, detector=0, columns=["y"])
        assert part.colnames == ["y"]
        part["y"][0] = 99
        assert list(ctx.get("source", visit=1, detector=0)["y"]) == [3, 4]
    assert list(place.butler.get("source", visit=1, detector=0)["y"]) == [3, 4]
