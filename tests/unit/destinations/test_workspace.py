"""A workspace belongs to its user, keeps to its quota, and shows names for people."""

import contextlib
import uuid
from urllib.parse import unquote

import pytest

from quantumio.destinations import OpenedDestinations
from quantumio.errors import ConflictError, DestinationError, ErrorKind, InvalidInputError, NotFoundError
from quantumio.model import DestinationSettings
from quantumio.ports import ExportingDestination
from quantumio.system import environment
from quantumio.testing import make_placement

HUMAN = "u/ada/isr/calexp/visit=33,detector=0.v1.fits".replace(",", "+")


@pytest.fixture(params=["files", "memory"])
def workspace(request, tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "user", lambda: "ada l/../x")
    root = "ws/{user}" if request.param == "files" else f"memory://{uuid.uuid4().hex}/ws/{{user}}"
    settings = DestinationSettings(name="space", kind="workspace", options={"root": root, "quota": "1 kB"})
    opened = OpenedDestinations({"space": settings}, repository_root=tmp_path, repository_id=uuid.uuid4())
    yield opened.get("space")
    opened.close()


def test_the_user_is_one_component_of_the_root(workspace):
    assert "/ws/ada%20l%2F..%2Fx/.quantumio/" in workspace.url("a").replace("%25", "%")


def test_quota_is_refused_before_writing_and_named(workspace):
    workspace.place([make_placement("a", b"x" * 600)])
    with pytest.raises(DestinationError, match="quota of 1,000 bytes") as caught:
        workspace.place([make_placement("b", b"x" * 300), make_placement("c", b"x" * 101)])
    assert caught.value.kind is ErrorKind.DISK_FULL
    assert workspace.stat("b") is None
    workspace.place([make_placement("b", b"x" * 400)])
    workspace.remove(["a"])
    workspace.place([make_placement("c", b"x" * 600)])


def test_quota_holds_for_adopted_files(workspace, tmp_path):
    source = tmp_path / "large"
    source.write_bytes(b"x" * 1001)
    with pytest.raises(DestinationError) as caught:
        workspace.adopt(str(source), "a", "copy")
    assert caught.value.kind is ErrorKind.DISK_FULL


def test_what_failed_does_not_count(workspace):
    workspace.place([make_placement("a", b"x" * 100)])
    for _ in range(5):
        with pytest.raises(DestinationError):
            workspace.place([make_placement("a", b"y" * 500)])
    workspace.place([make_placement("b", b"x" * 900)])


def test_export_shows_a_name_for_people(workspace):
    assert isinstance(workspace, ExportingDestination)
    workspace.place([make_placement("calexp/u/1.0.fits", b"frame")])
    for _ in range(2):
        workspace.export("calexp/u/1.0.fits", HUMAN)
    assert unquote(workspace.export_url(HUMAN)).endswith(HUMAN)
    assert [item.path for item in workspace.objects()] == ["calexp/u/1.0.fits"]


def test_export_never_replaces_another_file(workspace):
    workspace.place([make_placement("one", b"frame"), make_placement("other", b"another frame")])
    workspace.export("one", HUMAN)
    with pytest.raises(ConflictError) as caught:
        workspace.export("other", HUMAN)
    assert caught.value.kind is ErrorKind.EXISTS


def test_export_of_nothing_is_not_found(workspace):
    with pytest.raises(NotFoundError):
        workspace.export("none", HUMAN)
    with pytest.raises(InvalidInputError):
        workspace.export("none", "../outside")


def test_exports_on_disk_cost_no_bytes(tmp_path):
    settings = DestinationSettings(name="space", kind="workspace", options={"root": "ws"})
    opened = OpenedDestinations({"space": settings}, repository_root=tmp_path, repository_id=uuid.uuid4())
    workspace = opened.get("space")
    workspace.place([make_placement("one", b"frame")])
    workspace.export("one", HUMAN)
    assert (tmp_path / "ws" / HUMAN).samefile(tmp_path / "ws" / ".quantumio" / "one")
    opened.close()


@pytest.mark.parametrize("root", ["memory://team", "spaces"])
def test_user_whose_store_it_is_is_told_without_opening_it(root, tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "user", lambda: "ada lovelace")
    tables = {
        name: DestinationSettings(name=name, kind="workspace", options={"root": place})
        for name, place in (("own", f"{root}/{{user}}/"), ("shared", f"{root}/"))
    }
    opened = OpenedDestinations(tables, repository_root=tmp_path, repository_id=uuid.uuid4(), readonly=True)
    assert opened.user_of("own") == "ada%20lovelace"
    assert opened.user_of("shared") is None
    opened.close()


class Remembered:
    """Users who have a store, as a registry remembers them."""

    def __init__(self):
        self.users = set()
        self.is_away = False

    def may_have_workspace(self, store, user):
        return (store, user) in self.users or not self.users

    def note_workspace(self, store, user):
        if self.is_away:
            raise DestinationError("the registry is away", kind=ErrorKind.REGISTRY)
        self.users.add((store, user))


@pytest.mark.parametrize("kind", ["files", "memory"])
def test_store_of_a_user_who_has_one_is_not_made_anew(kind, tmp_path, monkeypatch):
    place, repository = uuid.uuid4().hex, uuid.uuid4()
    remembered = Remembered()

    def open_own(user, root, **options):
        monkeypatch.setattr(environment, "user", lambda: user)
        where = f"memory://{place}/{root}" if kind == "memory" else str(tmp_path / root)
        settings = DestinationSettings(name="own", kind="workspace", options={"root": f"{where}/{{user}}"})
        opened = OpenedDestinations(
            {"own": settings},
            repository_root=tmp_path,
            repository_id=repository,
            workspaces=remembered,
            is_in_use=lambda name: bool(remembered.users),
            **options,
        )
        with contextlib.closing(opened):
            opened.get("own")

    open_own("ada lovelace", "mounted", readonly=True)
    assert remembered.users == set()
    open_own("ada lovelace", "mounted")
    assert remembered.users == {("own", "ada%20lovelace")}
    with pytest.raises(DestinationError, match="its store is not at") as failure:
        open_own("ada lovelace", "unmounted")
    assert failure.value.kind is ErrorKind.UNREACHABLE
    open_own("grace", "unmounted")
    assert len(remembered.users) == 2
    remembered.is_away = True
    with pytest.raises(DestinationError, match="the registry is away"):
        open_own("ada lovelace", "mounted")
