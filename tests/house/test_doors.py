"""All local I/O goes through ``quantumio.system.files``, all time and chance through ``system.environment``.

Threads come from ``system.threads``.

That makes every crash point countable and a simulation possible, so no other module may go around
them. The lint reads the source: it follows imports, so ``from os import unlink as rm`` is seen too; of
methods it knows those that only a path has.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house import source

FREE = {"system", "testing", "cli"}
"""``system`` is the door; ``testing`` crashes and inspects from outside; ``cli`` talks to its user."""

FILES = re.compile(
    r"""(builtins\.)?open | (io|codecs)\.open | anyio\.(open_file|Path\b.*)
    | os\.(open|fdopen|read|readv|pread|write|writev|pwrite|sendfile|copy_file_range|close|dup2?
        |rename|renames|replace|link|symlink|readlink|unlink|remove|rmdir|mkdir|makedirs|removedirs|mkfifo
        |listdir|scandir|walk|fwalk|stat|lstat|fstat|statvfs|access|fsync|fdatasync|sync|truncate|ftruncate
        |posix_fallocate|chmod|fchmod|chown|utime|lockf|chdir)
    | os\.path\.(exists|lexists|isfile|isdir|islink|ismount|get[acm]time|getsize|samefile)
    | (shutil|tempfile|fcntl|glob|fileinput|mmap|zipfile|tarfile)\..+
    """,
    re.VERBOSE,
)
TIME_AND_CHANCE = re.compile(
    r"""time\.(?!struct_time).+
    | datetime\.(datetime\.)?(now|utcnow|today|fromtimestamp) | datetime\.date\.today
    | uuid\.(uuid[1-8]|getnode)
    | random\..+ | secrets\..+ | numpy\.random\..+ | os\.(urandom|getrandom)
    | astropy\.time\.Time\.now
    """,
    re.VERBOSE,
)
PATH_METHODS = {
    "read_text", "read_bytes", "write_text", "write_bytes", "touch", "symlink_to", "hardlink_to", "iterdir",
    "rglob", "is_file", "is_dir", "is_symlink", "lstat", "unlink", "rmdir", "mkdir", "samefile", "chmod",
}  # fmt: skip
PATH_NAMES = re.compile(
    r"(path|root|directory|folder|file|parent|source|target)\W*$|Path\(| / ", re.IGNORECASE
)
OPEN_MODES = re.compile(r"[rwxa][bt+]*")

# (file below src/quantumio, what it uses) -> why that is right there. An entry that nothing uses fails.
ALLOWED: dict[tuple[str, str], str] = {
    ("model/_dimensions.py", ".read_text"): "reads the default dimensions, which are a file of the package",
    ("engine/_packs.py", "zipfile.ZipFile"): "makes a ZIP file in memory",
    ("engine/_packs.py", "zipfile.ZIP_STORED"): "a number",
    ("engine/_packs.py", "zipfile.ZipInfo"): "what is told of a member",
}


def looks_like_a_path_call(node: ast.Call) -> str | None:
    """Name of the method, if an attribute call can only be meant for a path."""
    function = node.func
    if not isinstance(function, ast.Attribute):
        return None
    name, arguments = function.attr, node.args
    if name in PATH_METHODS:
        return f".{name}"
    if name in ("exists", "stat") and not arguments and PATH_NAMES.search(ast.unparse(function.value)):
        return f".{name}"
    if name in ("rename", "replace") and len(arguments) == 1 and not node.keywords:
        return f".{name}"
    if name == "open" and arguments and isinstance(arguments[0], ast.Constant):
        mode = arguments[0].value
        return ".open" if isinstance(mode, str) and OPEN_MODES.fullmatch(mode) else None
    return None


def uses(path: Path) -> Iterator[tuple[str, int]]:
    """Yield each way around the two doors that a module takes, and its line."""
    bound = source.bindings(path)
    inside = set()  # parts of a longer dotted name that was judged already
    local = {argument.arg for node in ast.walk(source.tree(path)) if isinstance(node, ast.arguments)
             for argument in (*node.args, *node.kwonlyargs)}  # fmt: skip
    for node in ast.walk(source.tree(path)):
        if isinstance(node, ast.Call):
            base = node.func.value if isinstance(node.func, ast.Attribute) else None
            resolved = source.resolve(base, bound) if base is not None else None
            through_the_door = resolved is not None and resolved.startswith("quantumio.system")
            if not through_the_door and (method := looks_like_a_path_call(node)):
                yield method, node.lineno
        if (
            isinstance(node, (ast.Attribute, ast.Name))
            and isinstance(node.ctx, ast.Load)
            and node not in inside
        ):
            inside.update(ast.walk(node))
            first = node
            while isinstance(first, ast.Attribute):
                first = first.value
            if not isinstance(first, ast.Name) or (first.id not in bound and first.id != "open"):
                continue
            if first.id == "open" and first.id in local | set(bound):
                continue
            name = source.resolve(node, bound)
            if name and (FILES.fullmatch(name) or TIME_AND_CHANCE.fullmatch(name)):
                yield name, node.lineno


def judged_modules() -> list[Path]:
    """Every module that must use the doors."""
    return [path for path in source.modules() if source.room_of(source.dotted_name(path)) not in FREE]


def test_nothing_goes_around_the_doors():
    found = []
    for path in judged_modules():
        name = str(path.relative_to(source.PACKAGE))
        found += [
            f"src/quantumio/{name}:{line} uses {what}"
            for what, line in uses(path)
            if (name, what) not in ALLOWED
        ]
    assert not found, "use quantumio.system.files or .environment, or give a reason in ALLOWED"


def test_every_exception_is_still_needed():
    used = {
        (str(path.relative_to(source.PACKAGE)), what) for path in judged_modules() for what, _ in uses(path)
    }
    assert set(ALLOWED) <= used
    assert all(ALLOWED.values())


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("open('x')", ["open"]),
        ("from os import unlink as rm\nrm('x')", ["os.unlink"]),
        ("import os\nos.path.exists('x')\nos.path.join('a', 'b')\nos.getpid()", ["os.path.exists"]),
        ("import os.path\nos.replace('a', 'b')", ["os.replace"]),
        ("from pathlib import Path\nPath('x').write_bytes(b'')", [".write_bytes"]),
        ("path.rename(other)\nname.replace('a', 'b')", [".rename"]),
        ("path.open('rb')\nstore.open('key')", [".open"]),
        ("path.exists()\nbutler.exists('calexp', visit=1)\ndatabase.exists()", [".exists"]),
        ("(base / 'butler.toml').exists()", [".exists"]),
        ("Path('x').exists()\nself._root.stat()", [".exists", ".stat"]),
        ("import time\nclock = time.monotonic", ["time.monotonic"]),
        ("from time import sleep\nsleep(1)", ["time.sleep"]),
        ("from datetime import datetime\ndatetime.now()\ndatetime(2020, 1, 1)", ["datetime.datetime.now"]),
        ("import datetime\ndatetime.date.today()", ["datetime.date.today"]),
        ("import uuid\nuuid.uuid4()\nuuid.UUID(int=1)", ["uuid.uuid4"]),
        ("from uuid import UUID, uuid7\nfield(factory=uuid7)", ["uuid.uuid7"]),
        ("import numpy as np\nnp.random.default_rng()", ["numpy.random.default_rng"]),
        ("from quantumio.system import files\nfiles.read_bytes(path)", []),
        ("from quantumio.system.files import read_bytes\nread_bytes(path)", []),
        ("import io\nio.BytesIO(b'')", []),
        ("class Kind:\n    open: int", []),
        ("def f(time):\n    return time.isot", []),
    ],
)
def test_lint_sees_what_it_should(tmp_path, monkeypatch, code, expected):
    path = tmp_path / "module.py"
    path.write_text(code)
    assert [what for what, _ in uses(path)] == expected


THREADS = re.compile(
    r"""anyio\.to_thread\.run_sync | threading\.(Thread|Timer) | _thread\.start_new_thread
    | concurrent\.futures\.(thread\.)?ThreadPoolExecutor
    | multiprocessing\.(pool\.ThreadPool|dummy\..+)
    """,
    re.VERBOSE,
)
# What makes a thread of its own without the door, and why that is right there.
THREADS_ALLOWED = {
    ("engine/_loop_thread.py", "threading.Thread"): "makes it; the door starts it",
    ("registry/_uninterrupted.py", "threading.Thread"): "makes it; the door starts it",
    ("supertask/_harness.py", "threading.Thread"): "makes it; the door starts it",
}


def thread_uses(path: Path) -> Iterator[tuple[str, int]]:
    """Yield where a module would start threads itself; annotations name them, too, and are none."""
    bound = source.bindings(path)
    for node in ast.walk(source.tree(path)):
        if isinstance(node, ast.Call):
            for used in (node.func, *node.args):
                name = source.resolve(used, bound) if isinstance(used, ast.Attribute | ast.Name) else None
                if name and THREADS.fullmatch(name):
                    yield name, node.lineno


def test_threads_come_through_their_door():
    found = {
        (str(path.relative_to(source.PACKAGE)), what)
        for path in judged_modules()
        for what, _ in thread_uses(path)
    }
    assert found == set(THREADS_ALLOWED), "use quantumio.system.threads, or give a reason"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import anyio.to_thread\nawait anyio.to_thread.run_sync(f)", ["anyio.to_thread.run_sync"]),
        ("import threading\nthreading.Thread(target=f).start()", ["threading.Thread"]),
        (
            "from concurrent.futures import ThreadPoolExecutor as P\nP(4)",
            ["concurrent.futures.ThreadPoolExecutor"],
        ),
        ("import _thread\n_thread.start_new_thread(f, ())", ["_thread.start_new_thread"]),
        ("import anyio.to_thread as t\ntasks.start_soon(t.run_sync, f)", ["anyio.to_thread.run_sync"]),
        ("import threading\nx: threading.Thread | None = None\nthreading.Lock()", []),
        ("from quantumio.system import threads\nthreads.run(f)", []),
    ],
)
def test_lint_sees_threads(tmp_path, code, expected):
    path = tmp_path / "module.py"
    path.write_text(code)
    assert [what for what, _ in thread_uses(path)] == expected
