"""File systems of fsspec that behave as those of other libraries do, in memory."""

from typing import ClassVar

from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry
from fsspec.spec import AbstractFileSystem


class GoogleFileSystem(MemoryFileSystem):
    """Keeps metadata with each object, and tells times as texts, as gcsfs does."""

    protocol = "gs"
    store: ClassVar = {}
    pseudo_dirs: ClassVar = [""]
    metadata: ClassVar = {}
    times: ClassVar = {}

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(path.replace("gs://", "memory://"))

    def pipe_file(self, path, value, metadata=None, mode="overwrite"):
        super().pipe_file(path, value, mode=mode)
        self.metadata[self._strip_protocol(path)] = metadata

    def info(self, path, **options):
        found = super().info(path, **options)
        if found["type"] == "file":
            found["metadata"] = self.metadata.get(found["name"])
            found["updated"] = self.times.get(found["name"], found.pop("created").isoformat())
        return found


class PlainFileSystem(MemoryFileSystem):
    """Has directories, and overwrites whatever it is told to write, as sftp does."""

    protocol = "plain"
    store: ClassVar = {}
    pseudo_dirs: ClassVar = [""]
    options: ClassVar = {}
    broken: ClassVar = {}
    """Errors that listing a directory meets, by the end of its name."""

    find = AbstractFileSystem.find  # directory by directory, as most do

    def __init__(self, **options):
        type(self).options = options
        super().__init__()

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(path.replace("plain://", "memory://"))

    def pipe_file(self, path, value, **options):
        super().pipe_file(path, value)

    def ls(self, path, detail=True, **options):
        for end, error in self.broken.items():
            if path.rstrip("/").endswith(end):
                raise error
        return super().ls(path, detail=detail, **options)


class ForgetfulFileSystem(PlainFileSystem):
    """Takes everything and keeps nothing."""

    protocol = "plain"

    def pipe_file(self, path, value, **options):
        pass


class LosingFileSystem(PlainFileSystem):
    """Keeps whose store it is, and nothing else."""

    protocol = "plain"

    def pipe_file(self, path, value, **options):
        if path.endswith("/store.json"):
            super().pipe_file(path, value)


def registered(monkeypatch, protocol, file_system):
    """Let URLs of a protocol be opened by a file system, for the time of a test; it is empty."""
    for name in ("store", "metadata", "times", "broken"):
        if hasattr(file_system, name):
            monkeypatch.setattr(file_system, name, {})
    monkeypatch.setattr(file_system, "pseudo_dirs", [""])
    monkeypatch.setitem(_registry, protocol, file_system)
