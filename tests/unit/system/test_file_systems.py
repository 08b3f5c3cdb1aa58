"""File systems that forget when the power fails are known, also below an overlay."""

from pathlib import Path

import pytest

from quantumio.system import file_systems
from quantumio.system.file_systems import file_system_type, mount_table, volatile_file_system

MOUNTS = """\
21 1 0:1 / / rw shared:1 - ext4 /dev/vda rw
no mount at all
22 - 23
22 21 0:2 / /ram\\040disk rw - tmpfs tmpfs rw,size=1m
23 22 0:3 / /ram\\040disk/real rw - xfs /dev/vdb rw
24 21 0:4 / /old rw - ramfs none rw
25 21 0:5 / /live rw - overlay overlay rw,lowerdir=/a,upperdir={upper},workdir=/w
26 21 0:6 / /fast rw - overlay overlay rw,lowerdir=/a,upperdir=/nowhere/at/all,workdir=/w,volatile
27 21 0:7 / /box rw - overlay overlay rw,lowerdir=/a,upperdir=/nowhere/at/all,workdir=/w
28 21 0:8 / /view ro - overlay overlay ro,lowerdir=/a:/b
29 21 0:9 / {memory} rw - tmpfs tmpfs rw
"""


@pytest.fixture
def mounts(tmp_path):
    memory = tmp_path / "mem,ory"
    (memory / "upper").mkdir(parents=True)
    escaped = str(memory).replace(",", "\\054")
    return MOUNTS.format(upper=f"{escaped}/upper", memory=memory)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data", None),
        ("/ram disk", "tmpfs"),
        ("/ram disk/real/x", None),
        ("/old/x", "ramfs"),
        ("/live/x", "overlay on tmpfs"),
        ("/fast", "overlay that was mounted volatile"),
        ("/box/x", None),
        ("/view", None),
    ],
)
def test_what_forgets_is_told_in_words(mounts, path, kind):
    assert volatile_file_system(Path(path), mounts) == kind


def test_overlay_on_a_disk_does_not_forget(tmp_path):
    mounts = MOUNTS.format(upper=tmp_path, memory="/memory")
    assert volatile_file_system(Path("/live"), mounts) is None


def test_path_that_no_mount_holds_is_not_known():
    assert file_system_type(Path("/x"), "") is None
    assert volatile_file_system(Path("/x"), "") is None


def test_table_of_this_machine_knows_its_root(tmp_path, monkeypatch):
    assert file_system_type(Path("/"), mount_table())
    monkeypatch.setattr(file_systems, "_MOUNTS", tmp_path / "none")
    assert mount_table() is None
    (tmp_path / "none").write_bytes(b"21 1 0:1 / /caf\xe9 rw - tmpfs x rw\n")  # a name need not be UTF-8
    assert file_system_type(Path("/caf\udce9/x"), mount_table()) == "tmpfs"
