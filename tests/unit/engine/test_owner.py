"""Owners of transactions: alive as long as the kernel says so."""

import subprocess
import sys

import pytest

from quantumio.engine import _owner
from quantumio.errors import DestinationError
from quantumio.system import environment, locks


class Registry:
    def __init__(self, *, fails=False, knows=True):
        self.fails, self.knows, self.calls = fails, knows, []

    def register_owner(self, owner, host, boot_id):
        self.calls.append((owner, host, boot_id))
        if self.fails:
            raise DestinationError("away")

    def renew_lease(self, owner):
        self.calls.append(owner)
        return self.knows


def is_dead(tmp_path, owner, host=None, boot_id=None):
    return _owner.is_dead_here(tmp_path, owner, host or environment.host(), boot_id or environment.boot_id())


def test_owner_lives_until_it_lets_go(tmp_path):
    registry, owner = Registry(), _owner.Owner(tmp_path / "owners")
    owner.renew(registry)
    assert (registry.calls, owner.is_registered) == ([], False)
    owner.register(registry)
    owner.register(registry)
    assert registry.calls == [(owner.id, environment.host(), environment.boot_id())]
    owner.renew(registry)
    assert registry.calls[-1] == owner.id
    assert not is_dead(tmp_path / "owners", owner.id)
    owner.release()
    owner.release()
    assert is_dead(tmp_path / "owners", owner.id)


def test_registry_from_a_backup_learns_of_the_owner_anew(tmp_path):
    registry, owner = Registry(knows=False), _owner.Owner(tmp_path)
    owner.register(registry)
    owner.renew(registry)
    assert registry.calls == [registry.calls[0], owner.id, registry.calls[0]]
    owner.release()


def test_owner_that_the_registry_did_not_take_is_none(tmp_path):
    owner = _owner.Owner(tmp_path)
    with pytest.raises(DestinationError):
        owner.register(Registry(fails=True))
    assert not owner.is_registered
    owner.register(Registry())
    assert owner.is_registered
    assert not is_dead(tmp_path, owner.id)
    owner.release()


def test_of_another_machine_nothing_is_known_and_of_an_earlier_start_all(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "boot_id", lambda: "machine:now")
    owner = _owner.Owner(tmp_path)
    owner.register(Registry())
    assert not is_dead(tmp_path, owner.id, host="elsewhere")
    assert is_dead(tmp_path, owner.id, boot_id="machine:before")
    for other in ("other:now", "other:before", ":before", "before"):
        assert not is_dead(tmp_path, owner.id, boot_id=other)
    assert not _owner.is_dead_here(tmp_path, owner.id, environment.host(), None)
    monkeypatch.setattr(environment, "boot_id", lambda: ":now")
    assert not is_dead(tmp_path, owner.id, boot_id=":before")
    monkeypatch.setattr(environment, "boot_id", lambda: "machine:now")
    owner.release()
    assert not is_dead(tmp_path, owner.id, host="elsewhere")


def test_owner_that_was_killed_is_dead(tmp_path):
    script = f"""
import os, sys
from pathlib import Path
from quantumio.engine._owner import Owner
owner = Owner(Path({str(tmp_path)!r}))
class Registry:
    def register_owner(self, *arguments): pass
owner.register(Registry())
print(owner.id, flush=True)
sys.stdin.readline()
os.kill(os.getpid(), 9)
"""
    from uuid import UUID

    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        owner = UUID(process.stdout.readline().strip())
        assert not is_dead(tmp_path, owner)
        process.stdin.write("\n")
        process.stdin.flush()
        process.wait(30)
    assert is_dead(tmp_path, owner)
    assert list(tmp_path.iterdir()) == []


def test_who_may_not_lock_cannot_tell_of_a_death(tmp_path, monkeypatch):
    owner, registry = _owner.Owner(tmp_path), Registry()
    owner.register(registry)
    owner._held.release()  # as the kernel does for the dead: its file is left

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(locks.FileLock, "try_acquire", refuse)
        assert not is_dead(tmp_path, owner.id)
    assert is_dead(tmp_path, owner.id)
    assert list(tmp_path.iterdir()) == []


def test_lock_of_the_dead_that_cannot_be_removed_stops_nobody(tmp_path, monkeypatch):
    owner, registry = _owner.Owner(tmp_path), Registry()
    owner.register(registry)
    owner._held.release()

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(_owner.files, "remove", refuse)
        assert is_dead(tmp_path, owner.id)
    assert is_dead(tmp_path, owner.id)
