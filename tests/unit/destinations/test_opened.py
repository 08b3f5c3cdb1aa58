"""Destinations are opened once, at first use, whoever comes first."""

import os
import subprocess
import sys
import threading
import types
import uuid
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint

import pytest

from quantumio import Butler
from quantumio.destinations import OpenedDestinations, _kinds
from quantumio.destinations.memory import MemoryDestination
from quantumio.errors import DestinationError, ErrorKind, InvalidInputError, NotFoundError, StateError
from quantumio.model import DestinationSettings
from quantumio.testing import make_placement


def destinations(tmp_path, *tables, repository_id=None, readonly=False):
    return OpenedDestinations(
        {table.name: table for table in tables},
        repository_root=tmp_path,
        repository_id=repository_id or uuid.uuid4(),
        readonly=readonly,
    )


def table(name, kind, **options):
    return DestinationSettings(name=name, kind=kind, options=options)


@pytest.fixture
def plugin(monkeypatch):
    """A kind ``counted`` that an installed package brings."""
    module = types.ModuleType("counted_plugin")
    module.opened = 0
    module.IS_TABLE = True

    module.meanwhile = lambda: None
    module.kept = []

    class Kept(MemoryDestination):
        closed = 0
        fails = False

        def close(self):
            self.closed += 1
            if self.fails:
                raise OSError("it cannot be closed")

    def open_destination(settings, opening):
        module.opened += 1
        module.opening = opening
        module.meanwhile()
        module.kept.append(Kept(settings.name))
        return module.kept[-1]

    module.open_destination = open_destination
    monkeypatch.setitem(sys.modules, "counted_plugin", module)
    points = [EntryPoint("counted", "counted_plugin:open_destination", "quantumio.destinations")]
    monkeypatch.setattr(_kinds, "entry_points", lambda group: points)
    module.points = points
    return module


def test_a_plugin_is_opened_once_by_many_threads(tmp_path, plugin):
    opened = destinations(tmp_path, table("mine", "counted", anything="goes"))
    assert opened.is_table("mine")
    assert plugin.opened == 0
    barrier = threading.Barrier(8)

    def get(_):
        barrier.wait()
        return opened.get("mine")

    with ThreadPoolExecutor(8) as pool:
        assert len(set(map(id, pool.map(get, range(8))))) == 1
    assert plugin.opened == 1
    assert plugin.opening.repository_root == tmp_path
    opened.close()


def test_two_packages_with_one_kind_are_refused(tmp_path, plugin):
    plugin.points.append(EntryPoint("counted", "other:open", "quantumio.destinations"))
    with pytest.raises(InvalidInputError, match="several packages"):
        destinations(tmp_path, table("mine", "counted"))


def test_a_plugin_that_cannot_be_loaded_is_named(tmp_path, plugin):
    plugin.points[:] = [EntryPoint("counted", "no_such_module:open", "quantumio.destinations")]
    with pytest.raises(InvalidInputError, match="no_such_module"):
        destinations(tmp_path, table("mine", "counted"))


def test_a_plugin_cannot_replace_a_built_in_kind(tmp_path, plugin):
    plugin.points[:] = [EntryPoint("files", "counted_plugin:open_destination", "quantumio.destinations")]
    opened = destinations(tmp_path, table("mine", "files", root="data"))
    assert opened.get("mine").kind == "files"
    assert plugin.opened == 0
    opened.close()


def test_nothing_is_made_before_it_is_used(tmp_path):
    opened = destinations(
        tmp_path, table("local", "files", root="data"), table("rows", "database", url="sqlite:///l.db")
    )
    assert opened.names() == ("local", "rows")
    assert [opened.is_table(name) for name in opened.names()] == [False, True]
    assert list(tmp_path.iterdir()) == []
    opened.get("local")
    assert (tmp_path / "data" / "_qio" / "store.json").exists()
    opened.close()


def test_unknown_names_list_those_there_are(tmp_path):
    opened = destinations(tmp_path, table("local", "files", root="data"))
    with pytest.raises(InvalidInputError, match=r"'archive'.*local"):
        opened.get("archive")
    with pytest.raises(InvalidInputError, match=r"'archive'.*local"):
        opened.is_table("archive")


def test_closed_destinations_are_not_opened(tmp_path):
    opened = destinations(tmp_path, table("local", "files", root="data"))
    opened.close()
    opened.close()
    for name in ("local", "direct"):
        with pytest.raises(StateError):
            opened.get(name)


@pytest.mark.parametrize("open_it", [OpenedDestinations.get, OpenedDestinations.begin_anew])
def test_destination_that_opens_while_all_are_closed_is_closed(tmp_path, plugin, open_it):
    opened = destinations(tmp_path, table("mine", "counted"))
    plugin.meanwhile = opened.close
    with pytest.raises(StateError, match="closed"):
        open_it(opened, "mine")
    assert [one.closed for one in plugin.kept] == [1]


def test_one_that_cannot_be_closed_keeps_no_other_open(tmp_path, plugin):
    opened = destinations(tmp_path, table("mine", "counted"), table("yours", "counted"))
    for name in ("mine", "yours"):
        opened.get(name).fails = True
    with pytest.raises(OSError, match="it cannot be closed"):
        opened.close()
    assert [one.closed for one in plugin.kept] == [1, 1]


def test_destination_that_begins_anew_takes_the_place_of_the_former(tmp_path, plugin):
    opened = destinations(tmp_path, table("mine", "counted"))
    opened.begin_anew("mine")
    former = opened.get("mine")
    assert plugin.opening.anew
    opened.begin_anew("mine")
    assert opened.get("mine") is plugin.kept[1] is not former
    assert [one.closed for one in plugin.kept] == [1, 0]
    opened.close()


def test_store_that_is_begun_anew_is_told_to_who_used_the_former(tmp_path):
    one, other = (
        destinations(tmp_path, table("local", "files", root="data"), repository_id=uuid.UUID(int=1))
        for _ in range(2)
    )
    for opened in (one, other):
        opened.get("local").place([make_placement("a", b"1")])
    (tmp_path / "data").rename(tmp_path / "lost")
    one.begin_anew("local")
    one.get("local").place([make_placement("a", b"1")])
    used = other.get("local")
    assert used.stat("b") is None  # it is certain: there is a store
    with pytest.raises(DestinationError, match=r"was begun anew while it was in use.*try again") as caught:
        used.place([make_placement("b", b"2")])
    assert caught.value.kind is ErrorKind.UNREACHABLE
    assert used.store_id is None
    used.note_session(uuid.uuid4())
    used.place([make_placement("b", b"2")])
    assert used.store_id == one.get("local").store_id
    for opened in (one, other):
        opened.close()


def test_what_a_kind_can_do_is_told_before_it_is_opened(tmp_path, plugin):
    opened = destinations(
        tmp_path,
        table("local", "files", root="data"),
        table("rows", "database", url="sqlite:///l.db"),
        table("inside", "database", url="registry"),
        table("mine", "counted"),
    )
    names = ("local", "rows", "inside", "mine", "direct")
    assert [name for name in names if opened.is_table(name)] == ["rows", "inside", "mine"]
    assert [name for name in names if opened.takes_packs(name)] == ["local"]
    assert [name for name in names if opened.is_in_registry(name)] == ["inside"]
    assert {opened.user_of(name) for name in (*names, "removed")} == {None}
    opened.close()
    assert plugin.opened == 0


def test_settings_under_a_name_that_is_not_theirs_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="'local' are filed as 'other'"):
        OpenedDestinations(
            {"other": table("local", "memory")}, repository_root=tmp_path, repository_id=uuid.uuid4()
        )


def test_repository_without_a_directory_has_no_relative_roots(tmp_path):
    with pytest.raises(InvalidInputError, match="give an absolute path"):
        destinations(None, table("local", "files", root="data"))


def test_a_store_of_another_repository_is_refused(tmp_path):
    local = table("local", "files", root="data")
    first = destinations(tmp_path, local, repository_id=uuid.UUID(int=1))
    first.get("local")
    other = destinations(tmp_path, local, repository_id=uuid.UUID(int=2))
    for _ in range(2):
        with pytest.raises(InvalidInputError, match=r"\[destinations\.local\].*belongs to the repository"):
            other.get("local")
    first.close()
    other.close()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"version": 1, "registry": "x"}'])
def test_a_damaged_identity_is_corrupt(tmp_path, content):
    (tmp_path / "data" / "_qio").mkdir(parents=True)
    (tmp_path / "data" / "_qio" / "store.json").write_text(content)
    with pytest.raises(DestinationError) as caught:
        destinations(tmp_path, table("local", "files", root="data")).get("local")
    assert caught.value.kind is ErrorKind.CORRUPT


def test_read_only_writes_nothing(tmp_path):
    tables = (
        table("local", "files", root="data"),
        table("space", "workspace", root="ws/{user}"),
        table("rows", "database", url="sqlite:///level3.db"),
        table("held", "memory"),
    )
    opened = destinations(tmp_path, *tables, readonly=True)
    for name in ("local", "space", "held"):
        destination = opened.get(name)
        assert destination.stat("a") is None
        assert list(destination.objects()) == []
        for change in (
            lambda destination=destination: destination.place([make_placement("a", b"1")]),
            lambda destination=destination: destination.remove(["a"]),
            lambda destination=destination: destination.adopt(__file__, "a", "copy"),
        ):
            with pytest.raises(StateError) as caught:
                change()
            assert caught.value.kind is ErrorKind.READ_ONLY
    with pytest.raises(NotFoundError):
        opened.get("rows").read("stars", uuid.uuid4())
    opened.close()
    assert list(tmp_path.iterdir()) == []


def test_files_in_place_are_read(tmp_path):
    source = tmp_path / "ä raw.fits"
    source.write_bytes(b"0123456789")
    (tmp_path / "link").symlink_to(source)
    opened = destinations(tmp_path)
    direct = opened.get("direct")
    assert not opened.is_table("direct")
    for path in (str(source), source.as_uri(), str(tmp_path / "link")):
        assert direct.read(path) == b"0123456789"
        assert direct.read(path, (2, 3)) == b"234"
        assert direct.stat(path).nbytes == 10
    assert direct.url(str(source)) == source.as_uri()
    assert direct.stat(str(tmp_path / "none")) is None
    with pytest.raises(NotFoundError):
        direct.read(str(tmp_path / "none"))
    for bad in ("relative", "../x", "", "https://user:pw@host/x", "s3://bucket/x?token=1"):
        with pytest.raises(InvalidInputError):
            direct.read(bad)
    with pytest.raises(StateError):
        direct.remove([str(source)])
    opened.close()


def test_urls_in_place_are_read(tmp_path, s3_server, s3_bucket):
    client = s3_server.client()
    client.put_object(Bucket=s3_bucket, Key="raw.fits", Body=b"0123456789")
    client.close()
    opened = destinations(tmp_path)
    direct = opened.get("direct")
    assert direct.read(f"s3://{s3_bucket}/raw.fits", (2, 3)) == b"234"
    assert direct.stat(f"s3://{s3_bucket}/raw.fits").nbytes == 10
    assert direct.stat(f"s3://{s3_bucket}/none.fits") is None
    with pytest.raises(NotFoundError):
        direct.read(f"s3://{s3_bucket}/none.fits")
    opened.close()


def test_the_room_loads_no_library():
    code = (
        "import sys; import quantumio.destinations, quantumio.destinations.database, "
        "quantumio.destinations.objects, quantumio.destinations.workspace; "
        "heavy = {'fsspec', 's3fs', 'sqlalchemy', 'pyarrow', 'psycopg', 'astropy'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("transfer", ["copy", "link", "move"])
@pytest.mark.parametrize("by_link", [False, True])
def test_objects_of_any_managed_store_are_taken_over_by_nobody(tmp_path, transfer, by_link):
    opened = destinations(
        tmp_path,
        table("local", "files", root="data"),
        table("url", "objects", root=(tmp_path / "url").as_uri()),
        table("mine", "workspace", root="home"),
        table("fast", "memory"),
    )
    for owner in ("local", "url", "mine"):
        opened.get(owner).place([make_placement("a/b", b"theirs")])
    for owner in ("local", "url", "mine"):
        source = opened.get(owner).url("a/b").removeprefix("file://")
        if by_link:
            link = tmp_path / f"link-{owner}-{transfer}"
            link.symlink_to(source)
            source = str(link)
        for taker in ("local", "url", "mine", "fast"):
            if (taker, transfer) == ("fast", "link"):
                continue
            with pytest.raises(InvalidInputError, match="manages"):
                opened.get(taker).adopt(source, "c/d", transfer)
        for look in (opened.get("direct").read, opened.get("direct").stat):
            with pytest.raises(InvalidInputError, match="manages"):
                look(source)
        assert opened.get(owner).read("a/b") == b"theirs"
    opened.close()


def test_exported_names_and_neighbours_of_a_store_can_be_taken_over(tmp_path):
    opened = destinations(
        tmp_path, table("local", "files", root="data"), table("mine", "workspace", root="home")
    )
    for source in (tmp_path / "database", tmp_path / "home" / "notes"):
        source.parent.mkdir(exist_ok=True)
        source.write_bytes(b"user's")
        assert opened.get("direct").read(str(source)) == b"user's"
        assert opened.get("local").adopt(str(source), f"a/{source.name}", "copy").digest
    opened.close()


def test_a_file_that_never_was_is_not_said_to_be_gone(tmp_path):
    with pytest.raises(NotFoundError, match="there is no file") as caught:
        destinations(tmp_path).get("direct").read(str(tmp_path / "nothing"))
    assert "gone" not in str(caught.value)


def test_files_in_place_are_the_users_own(tmp_path):
    source = tmp_path / "raw.fits"
    source.write_bytes(b"frame")
    opened = destinations(tmp_path)
    direct = opened.get("direct")
    assert list(direct.objects()) == []
    for change in (
        lambda: direct.place([make_placement(str(source), b"1")]),
        lambda: direct.remove([str(source)]),
        lambda: direct.adopt(str(source), "a", "copy"),
    ):
        with pytest.raises(StateError, match="stay as they were ingested") as caught:
            change()
        assert caught.value.kind is ErrorKind.READ_ONLY
    opened.close()
    assert source.read_bytes() == b"frame"


def test_path_that_cannot_be_looked_at_is_not_said_to_be_nothing(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    opened = destinations(tmp_path)
    for path in (str(tmp_path / "loop" / "raw.fits"), f"/{'x' * 300}"):
        for look in (opened.get("direct").read, opened.get("direct").stat):
            with pytest.raises(DestinationError):
                look(path)
    opened.close()


def test_a_directory_or_a_pipe_does_not_stay_in_place(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(InvalidInputError, match="no regular file"):
            destinations(tmp_path).get("direct").read(str(path))


PG = "postgresql://db/night"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"url": "sqlite:///level3.db"}, {"url": "sqlite:///./level3.db"}),
        ({"url": "registry"}, {"url": "registry"}),
        ({"url": PG}, {"url": "postgresql+psycopg://DB:5432/night?sslmode=verify-full"}),
        ({"url": f"{PG}", "schema": "a"}, {"url": PG, "schema": "a", "timeout_s": 3}),
    ],
)
def test_destinations_with_the_same_tables_are_refused(tmp_path, one, other):
    with pytest.raises(InvalidInputError, match="its tables are those of destination 'one'") as failure:
        destinations(tmp_path, table("one", "database", **one), table("other", "database", **other))
    assert failure.value.kind is ErrorKind.POLICY
    destinations(
        tmp_path, table("one", "database", **one), table("other", "database", **other), readonly=True
    ).close()


def test_destinations_with_tables_of_their_own_are_not_refused(tmp_path):
    destinations(
        tmp_path,
        table("files", "files", root="data"),
        table("again", "files", root="data"),
        table("one", "database", url="sqlite:///one.db"),
        table("two", "database", url="sqlite:///two.db"),
        table("three", "database", url=PG),
        table("four", "database", url=PG, schema="four"),
        table("five", "database", url="postgresql://db:5433/night"),
    ).close()


def test_file_of_the_registry_is_no_place_for_tables(tmp_path):
    with pytest.raises(InvalidInputError, match='write url = "registry"'):
        Butler.create(
            tmp_path / "night",
            {"destinations": {"level3": {"kind": "database", "url": "sqlite:///registry.sqlite3"}}},
        )
    assert not (tmp_path / "night").exists()
