"""Bulk ingest at the registry: chunks in order, each once, with versions where there were some."""

import threading

import pytest
from attrs import evolve

from quantumio.errors import ConflictError, DestinationError, ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import DIRECT, Artifact, Committed, DataId
from quantumio.ports import CollectionKind, DatasetQuery, IngestRows
from quantumio.registry import _bulk
from quantumio.registry._clock import Clock
from tests.unit.registry.conftest import CALEXP, NOTE, RAW, exposure, make_transaction, visit

RUN = "u/ada/isr"


def rows(numbers, *, digests=True):
    numbers = list(numbers)
    return IngestRows(
        values=[["ST8"] * len(numbers), [0] * len(numbers), numbers],
        paths=[f"/data/{number}.fits" for number in numbers],
        formats=["fits"] * len(numbers),
        digests=[f"{number:064x}" if digests else "" for number in numbers],
        sizes=[100 + number for number in numbers],
    )


@pytest.fixture
def ready(catalog):
    catalog.register_collection(RUN, CollectionKind.RUN)
    return catalog


def found(catalog, number):
    return catalog.find(CALEXP, DataId(visit(number)), [RUN])


def test_chunks_become_datasets_one_after_the_other(ready):
    first = ready.ingest(rows(range(3)), "calexp", RUN, "t", 0)
    second = ready.ingest(rows(range(3, 8)), "calexp", RUN, "t", 3)
    assert (first.end, first.committed, second.end, second.committed) == (3, 3, 8, 5)
    assert first.held_s > 0
    assert ready.ingested(RUN, "t") == 8
    for number in range(8):
        stored = found(ready, number)
        assert stored.ref.version == 1
        assert stored.artifacts == (
            Artifact(
                destination=DIRECT,
                path=f"/data/{number}.fits",
                format="fits",
                digest=f"{number:064x}",
                nbytes=100 + number,
            ),
        )
    assert found(ready, 0).txid == found(ready, 2).txid != found(ready, 3).txid
    assert found(ready, 0).commit_seq < found(ready, 3).commit_seq


@pytest.mark.parametrize("count", [255, 256, 257, 600])
def test_each_of_many_rows_has_its_own_values(ready, count):
    """SQLite is given 256 rows by a statement, and the rest one by one."""
    ready.ingest(rows(range(count)), "calexp", RUN, "t", 0)
    stored = list(ready.query(DatasetQuery(collections=(RUN,))))
    assert [one.ref.data_id["visit"] for one in stored] == list(range(count))
    assert len({one.ref.id for one in stored}) == count
    assert [(one.artifacts[0].path, one.artifacts[0].digest, one.artifacts[0].nbytes) for one in stored] == [
        (f"/data/{number}.fits", f"{number:064x}", 100 + number) for number in range(count)
    ]


@pytest.mark.parametrize("repeated", [0, 255, 256, 299])
def test_row_among_many_whose_key_is_there_twice_leaves_nothing(ready, repeated):
    wrong = rows([*range(300), repeated])
    wrong.paths[-1] = "/data/another.fits"
    with pytest.raises(DestinationError, match="UNIQUE|unique"):
        ready.ingest(wrong, "calexp", RUN, "t", 0)
    assert list(ready.query(DatasetQuery(collections=(RUN,)))) == []
    assert ready.ingest(rows(range(300)), "calexp", RUN, "t", 0).committed == 300


def test_deleted_rows_are_told_of_the_ingest_that_made_them(ready):
    ready.ingest(rows(range(3)), "calexp", RUN, "t", 0)
    ready.ingest(rows(range(3, 5)), "calexp", RUN, "t", 3)
    ready.ingest(rows(range(5, 7)), "calexp", RUN, "s", 0)
    assert ready.ingested_and_deleted("calexp", RUN, "t") == 0
    ready.delete([found(ready, number).ref.id for number in (0, 3, 5)], dry_run=False)
    assert [ready.ingested_and_deleted("calexp", RUN, token) for token in ("t", "s", "none")] == [2, 1, 0]
    ready.delete([found(ready, number).ref.id for number in (1, 2, 4, 6)], dry_run=False)
    ready.remove_collection(RUN, dry_run=False)
    assert (ready.ingested(RUN, "t"), ready.ingested_and_deleted("calexp", RUN, "t")) == (5, 5)


def test_other_ingests_and_runs_do_not_count(ready):
    ready.register_collection("other", CollectionKind.RUN)
    ready.ingest(rows(range(2)), "calexp", RUN, "t", 0)
    assert ready.ingested(RUN, "t0") == ready.ingested(RUN, "s") == ready.ingested("other", "t") == 0


def test_chunk_that_is_there_is_not_made_twice(ready):
    ready.ingest(rows(range(3)), "calexp", RUN, "t", 0)
    again = ready.ingest(rows(range(5)), "calexp", RUN, "t", 0)  # another process cuts it otherwise
    assert (again.end, again.committed) == (3, 0)
    assert found(ready, 3) is None
    assert found(ready, 0).ref.version == 1


def test_chunk_whose_predecessor_is_missing_changes_nothing(ready):
    chunk = ready.ingest(rows(range(3, 5)), "calexp", RUN, "t", 3)
    assert (chunk.end, chunk.committed) == (0, 0)
    assert found(ready, 3) is None


def test_what_has_versions_gets_the_next(ready):
    for _ in range(2):
        ready.flip([make_transaction(CALEXP, [visit(1)])])
    ready.ingest(rows(range(3)), "calexp", RUN, "t", 0)
    assert [found(ready, number).ref.version for number in range(3)] == [1, 3, 1]
    ready.ingest(rows(range(3)), "calexp", RUN, "again", 0)
    assert [found(ready, number).ref.version for number in range(3)] == [2, 4, 2]


def test_where_some_are_there_a_chunk_is_begun_alone(ready, monkeypatch):
    """It takes longer then, and others wait."""
    monkeypatch.setattr(_bulk, "_MOST_NOT_NEW", 2)
    ready.ingest(rows([4]), "calexp", RUN, "before", 0)
    ends, start = [], 0
    while start < 5:
        chunk = ready.ingest(rows(range(start, 5)), "calexp", RUN, "t", start)
        assert chunk.committed == chunk.end - start
        start = chunk.end
        ends.append(start)
    assert ends == [2, 4, 5]
    assert [found(ready, number).ref.version for number in range(5)] == [1, 1, 1, 1, 2]


def test_dataset_without_dimensions(ready):
    one = IngestRows(values=[], paths=["/a.txt"], formats=["text"], digests=[""], sizes=[1])
    for version, token in enumerate(("a", "b"), start=1):
        ready.ingest(one, "note", RUN, token, 0)
        assert ready.find(NOTE, DataId({}), [RUN]).ref.version == version


def test_unknown_digest_is_kept_as_unknown_and_learned_later(ready):
    ready.ingest(rows([1], digests=False), "calexp", RUN, "t", 0)
    assert found(ready, 1).artifacts[0].digest == ""
    ready.ingest(rows([1]), "calexp", RUN, "again", 0)
    assert found(ready, 1).artifacts[0].digest == f"{1:064x}"


def test_run_that_is_not_there_is_refused(catalog):
    with pytest.raises(NotFoundError, match=RUN):
        catalog.ingest(rows([1]), "calexp", RUN, "t", 0)


def test_collection_of_another_kind_is_refused(catalog):
    catalog.register_collection("tag", CollectionKind.TAGGED)
    with pytest.raises(ConflictError, match="TAGGED"):
        catalog.ingest(rows([1]), "calexp", "tag", "t", 0)


def test_dataset_type_that_is_not_there_is_refused(ready):
    with pytest.raises(NotFoundError, match="nothing like it"):
        ready.ingest(rows([1]), "nothing like it", RUN, "t", 0)
    assert ready.ingested(RUN, "t") == 0


@pytest.mark.parametrize("token", ["", "a/b", "a\0b", "x" * 257, "\ud800", 7])
def test_wrong_token_is_refused(ready, token):
    with pytest.raises(InvalidInputError, match="token"):
        ready.ingested(RUN, token)


@pytest.mark.parametrize("token", ["'; DROP TABLE txn; --", "%", "*", "_", "ü"])
def test_token_is_only_a_value(ready, token):
    ready.ingest(rows([1]), "calexp", RUN, token, 0)
    assert ready.ingested(RUN, token) == 1
    assert ready.ingested(RUN, "t") == 0


def test_key_of_a_context_in_the_way_is_told(ready):
    ready.flip([make_transaction(CALEXP, [visit(1)], key="ingest/t/own")])
    with pytest.raises(ConflictError, match="another token"):
        ready.ingested(RUN, "t")


def test_two_rows_of_one_data_id_are_refused_by_the_database(ready):
    """`ingest_rows` refuses them before; nothing is stored where that is left out."""
    with pytest.raises(Exception, match="ingesting 2 files"):
        ready.ingest(rows([1, 1]), "calexp", RUN, "t", 0)
    assert ready.ingested(RUN, "t") == 0
    assert found(ready, 1) is None


def test_two_that_run_the_same_ingest_at_once_make_it_once(place, ready):
    """One cuts it in pieces of three, the other one of four; another one commits and reads meanwhile."""
    count, failures = 60, []

    def run(size):
        try:
            mine = place.open()
            try:
                done = 0
                while done < count:
                    done = mine.ingest(
                        rows(range(done, min(done + size, count))), "calexp", RUN, "t", done
                    ).end
            finally:
                mine.close()
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=run, args=(size,)) for size in (3, 4)]
    for thread in threads:
        thread.start()
    seen = []
    while any(thread.is_alive() for thread in threads):
        (outcome,) = ready.flip([make_transaction(RAW, [exposure(len(seen))])])
        assert isinstance(outcome, Committed)
        seen.append(ready.count(DatasetQuery(dataset_types=("calexp",), collections=(RUN,))))
    for thread in threads:
        thread.join()
    assert failures == []
    assert seen == sorted(seen)
    assert ready.ingested(RUN, "t") == count
    assert [found(ready, number).ref.version for number in range(count)] == [1] * count


def test_database_that_fails_is_not_asked_twice(ready, monkeypatch):
    asked = []

    def fail(*_, **__):
        asked.append(1)
        raise DestinationError("the disk is full", kind=ErrorKind.DISK_FULL)

    monkeypatch.setattr(Clock, "advance", fail)
    with pytest.raises(DestinationError, match="disk is full"):
        ready.ingest(rows([1]), "calexp", RUN, "t", 0)
    assert asked == [1]


def test_file_of_several_datasets_is_one_object(ready):
    first = evolve(rows([1, 2]), paths=["/data/both.fits", "/data/both.fits"])
    ready.ingest(first, "calexp", RUN, "t", 0)
    ready.ingest(evolve(rows([3]), paths=["/data/both.fits"]), "calexp", RUN, "s", 0)
    paths = [found(ready, number).artifacts[0].path for number in (1, 2, 3)]
    assert paths == ["/data/both.fits"] * 3


def test_objects_of_contexts_and_of_ingests_have_different_numbers(ready):
    """Ingests take numbers in bulk; those that the database gives to others go on behind them."""
    for number in range(3):
        ready.ingest(rows([2 * number]), "calexp", RUN, f"t{number}", 0)
        ready.flip([make_transaction(CALEXP, [visit(2 * number + 1)])])
    assert [found(ready, number).ref.version for number in range(6)] == [1] * 6
    assert found(ready, 4).artifacts[0].path == "/data/4.fits"
    assert found(ready, 5).artifacts[0].path != found(ready, 3).artifacts[0].path


def test_chunk_tells_how_long_it_wrote(ready):
    chunk = ready.ingest(rows(range(3)), "calexp", RUN, "t", 0)
    assert 0 < chunk.written_s < chunk.held_s
    assert ready.ingest(rows(range(3)), "calexp", RUN, "t", 0).written_s == 0


@pytest.mark.parametrize("deleted", [[4], [0], range(3, 5), range(5)])
def test_what_was_deleted_is_not_brought_back_nor_the_rest_of_its_chunk_made_anew(ready, deleted):
    ready.ingest(rows(range(3)), "calexp", RUN, "t", 0)
    ready.ingest(rows(range(3, 5)), "calexp", RUN, "t", 3)
    ready.delete([found(ready, number).ref.id for number in deleted], dry_run=False)
    assert ready.ingested(RUN, "t") == 5
    again = ready.ingest(rows(range(3, 5)), "calexp", RUN, "t", 3)
    assert (again.end, again.committed) == (5, 0)
    assert ready.count(DatasetQuery(versions="all")) == 5 - len(deleted)


def test_key_of_a_context_that_looks_like_an_ingest_is_released(ready):
    (outcome,) = ready.flip([make_transaction(CALEXP, [visit(1)], key="ingest/visit/1")])
    ready.delete([outcome.refs[0].id], dry_run=False)
    (again,) = ready.flip([make_transaction(CALEXP, [visit(1)], key="ingest/visit/1")])
    assert not again.reused
