"""Repositories of a process: shared, given back, abandoned, made whole or not at all."""

import gc
import os
import threading

import pytest

from quantumio import Butler
from quantumio.butler import _repository
from quantumio.errors import (
    ConflictError,
    DestinationError,
    ErrorKind,
    InvalidInputError,
    NotFoundError,
    StateError,
)


def repository_of(butler):
    return butler._session.repositories[0]


def put(butler, visit=1, **options):
    with butler.context(**options) as ctx:
        ctx.put({"visit": visit}, "stats", visit=visit)
    return ctx.refs[0]


def test_butlers_share_a_repository_until_the_last_one_closes(make_root, open_butler):
    root = make_root()
    one, other = open_butler(root, run="r"), open_butler(str(root), run="r")
    assert repository_of(one) is repository_of(other)
    put(one)
    one.close()
    put(other, 2)
    assert other.get("stats", visit=1) == {"visit": 1}
    repository = repository_of(other)
    other.close()
    assert (root, False) not in _repository._open
    with pytest.raises(StateError):
        repository.runtime.check_usable()
    again = open_butler(root, run="r")
    assert repository_of(again) is not repository
    assert again.query("stats").count() == 2


def test_relative_path_and_link_are_the_same_repository(make_root, open_butler, monkeypatch, tmp_path):
    root = make_root()
    (tmp_path / "link").symlink_to(root)
    monkeypatch.chdir(root.parent)
    first = open_butler(root)
    assert repository_of(open_butler("night")) is repository_of(first)
    assert repository_of(open_butler("./night/../night")) is repository_of(first)
    assert repository_of(open_butler(tmp_path / "link")) is repository_of(first)


def test_read_only_butler_is_apart_from_a_writing_one(make_root, open_butler):
    root = make_root()
    writing, reading = open_butler(root, run="r"), open_butler(root, run="r", readonly=True)
    assert repository_of(writing) is not repository_of(reading)
    put(writing)
    assert reading.get("stats", visit=1) == {"visit": 1}
    with pytest.raises(StateError) as caught:
        reading.context()
    assert caught.value.kind is ErrorKind.READ_ONLY


def test_many_threads_open_one_repository(make_root):
    root, opened, barrier = make_root(), [], threading.Barrier(8)

    def open_():
        barrier.wait()
        opened.append(Butler(root, run="r", instrument="ST8"))

    threads = [threading.Thread(target=open_) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(repository_of(butler)) for butler in opened}) == 1
    assert repository_of(opened[0]).users == 8
    for butler in opened:
        butler.close()
    assert (root, False) not in _repository._open


@pytest.mark.leaves_threads("an abandoned repository goes on in the background")
def test_butler_that_is_never_closed_is_abandoned_and_its_commits_go_on(make_root):
    root = make_root()
    butler = Butler(root, run="r", instrument="ST8")
    ctx = butler.context()
    ctx.put({"visit": 1}, "stats", visit=1)
    ctx.commit("buffered")
    repository = repository_of(butler)
    del butler, ctx
    gc.collect()
    assert repository.users == 0
    assert repository.runtime.wait_idle(20)
    with Butler(root, run="r", instrument="ST8") as again:
        assert repository_of(again) is repository  # taken up again
        assert again.get("stats", visit=1) == {"visit": 1}
    assert (root, False) not in _repository._open


def test_context_keeps_the_repository_of_a_butler_that_is_gone(make_root):
    root = make_root()
    ctx = Butler(root, run="r", instrument="ST8").context()
    gc.collect()
    ctx.put({"visit": 1}, "stats", visit=1)
    ctx.commit()
    repository = ctx._repository
    assert repository.users == 1
    with Butler(root, run="r", instrument="ST8") as butler:
        assert butler.exists("stats", visit=1)
        del ctx
        gc.collect()


def test_closed_butler_is_not_abandoned_a_second_time(make_root, open_butler):
    root = make_root()
    first = Butler(root)
    second = open_butler(root)
    first.close()
    del first
    gc.collect()
    assert repository_of(second).users == 1


def test_repository_that_cannot_be_opened_leaves_none_of_the_others_open(make_root, tmp_path):
    root = make_root()
    with pytest.raises(NotFoundError):
        Butler([root, tmp_path / "no"])
    with pytest.raises(InvalidInputError):
        Butler(root, detector="not a number")
    with pytest.raises(InvalidInputError):
        Butler(root, run="../etc")
    with pytest.raises(NotFoundError):
        Butler(root, policy=tmp_path / "no.toml")
    assert (root, False) not in _repository._open


def test_no_repository_at_all_is_refused():
    with pytest.raises(InvalidInputError):
        Butler([])


@pytest.mark.parametrize(
    "config",
    [
        {"runtime": {"encoders": 0}},
        {"destinations": {"x": {"kind": "nothing"}}},
        {"destinations": {"x": {"kind": "files", "rot": "x"}}},
        {"rules": [{"to": 3}]},
        {"rules": [{"to": "nowhere"}]},
        {"dimensions": {"visit": {"key": "int"}}},
        {"dimensions": {"beam": {"key": "float"}}},
        {"runtime": {"put_timeout_s": None}},
        {"destinations": {"x": {"kind": "files", "root": print}}},
    ],
    ids=str,
)
def test_wrong_configuration_makes_nothing(tmp_path, config):
    with pytest.raises(InvalidInputError):
        Butler.create(tmp_path / "new", config)
    assert os.listdir(tmp_path) == []


def test_failed_making_can_be_repeated(tmp_path):
    with pytest.raises(InvalidInputError):
        Butler.create(tmp_path / "new", {"runtime": {"encoders": 0}})
    with Butler.create(tmp_path / "new", {"runtime": {"encoders": 1}}) as butler:
        assert repository_of(butler).settings.runtime.encoders == 1


def test_file_in_the_place_of_a_repository_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises((DestinationError, ConflictError)) as caught:
            Butler.create(path)
        assert str(path) in str(caught.value)
    assert (tmp_path / "file").read_bytes() == b""


def test_settings_are_merged_into_the_file_of_the_repository(tmp_path):
    (tmp_path / "mine.toml").write_text('[runtime]\nencoders = 3\n[destinations.a]\nkind = "memory"\n')
    dimensions = {"beam": {"key": "int", "requires": ["instrument"]}}
    with Butler.create(tmp_path / "new", tmp_path / "mine.toml", dimensions=dimensions) as butler:
        assert "beam" in butler.dimensions
        identity = repository_of(butler).catalog.repository_id
    with Butler(tmp_path / "new") as butler:
        settings = repository_of(butler).settings
        assert settings.runtime.encoders == 3
        assert set(settings.destinations) == {"a", "local"}
        assert butler.dimensions.required(["beam"]) == ("instrument", "beam")
        assert repository_of(butler).catalog.repository_id == identity


def test_close_reports_the_failures_of_all_its_repositories_in_one_group(make_root, open_butler):
    roots = [make_root("night"), make_root("calibs")]
    both = open_butler(roots, run="r")
    for root in roots:
        with Butler(root, run="r", instrument="ST8") as one:
            ctx = one.context()
            ctx.put({}, "stats", visit=1, expect=7)
            ctx.commit("buffered")
    with pytest.raises(ExceptionGroup) as caught:
        both.close()
    assert len(caught.value.exceptions) == 2
    assert both._session.is_closed
    assert not [key for key in _repository._open if key[0] in roots]
