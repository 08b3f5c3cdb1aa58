"""Nothing that is forbidden anywhere: stubs, pickles, evaluated text, places of one machine."""

import ast
import re
import sys

import pytest

from tests.house import source

# The suites of `testing` send errors through a pickle of their own, as a process pool does.
UNPICKLING = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}


UNSAFE_YAML = {"load", "load_all", "unsafe_load", "unsafe_load_all", "full_load", "full_load_all"}


def safe_loaders(module: ast.Module) -> set[str]:
    """Names in a module that stand for, or derive from, a safe loader of YAML and nothing else."""
    safe = {"SafeLoader", "CSafeLoader"}

    def is_safe(node: ast.expr) -> bool:
        if (
            isinstance(node, ast.Call) and getattr(node.func, "id", "") == "getattr"
        ):  # the quick one, if it is there
            name, default = node.args[1], node.args[2]
            return isinstance(name, ast.Constant) and name.value in safe and is_safe(default)
        return getattr(node, "attr", getattr(node, "id", "")) in safe

    for node in module.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if is_safe(value):
                safe.add(name)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if is_safe(value):
                safe.add(name)
            case ast.ClassDef(name=name, bases=[_, *_] as bases) if all(is_safe(base) for base in bases):
                safe.add(name)
    return safe


def forbidden(node: ast.AST, loaders: set[str]) -> str | None:
    """Say what is wrong with a piece of source, if anything."""
    match node:
        case ast.Raise(
            exc=ast.Name(id="NotImplementedError") | ast.Call(func=ast.Name(id="NotImplementedError"))
        ):
            return "NotImplementedError: write it, or leave it out"
        case ast.Import(names=names) if UNPICKLING & {alias.name.partition(".")[0] for alias in names}:
            return "an import of a pickle"
        case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in UNPICKLING:
            return "an import of a pickle"
        case ast.Attribute(attr="read_pickle" | "to_pickle"):
            return "a pickle"
        case ast.keyword(arg="allow_pickle", value=value) if not (
            isinstance(value, ast.Constant) and value.value is False
        ):
            return "allow_pickle that is not False"
        case ast.Call(func=ast.Name(id="eval" | "exec" | "compile" | "__import__")):
            return "evaluated text"
        case ast.Call(func=ast.Attribute(value=ast.Name(id="yaml"), attr=attr), keywords=keywords) if (
            attr in UNSAFE_YAML
        ):
            named = {word.arg: getattr(word.value, "id", None) for word in keywords}
            return None if named.get("Loader") in loaders else "a YAML loader that is not safe"
        case _:
            return None


def forbidden_in(module: ast.Module) -> list[tuple[int, str]]:
    """Line and reason of everything that is forbidden in a module."""
    loaders = safe_loaders(module)
    return [
        (getattr(node, "lineno", 0), what) for node in ast.walk(module) if (what := forbidden(node, loaders))
    ]


def test_source_has_no_stub_no_pickle_and_evaluates_no_text():
    found = [
        f"{path.relative_to(source.PROJECT_ROOT)}:{line} has {what}"
        for path in source.modules()
        for line, what in forbidden_in(source.tree(path))
        if not ("pickle" in what and source.room_of(source.dotted_name(path)) == "testing")
    ]
    assert not found


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("raise NotImplementedError", 1),
        ("raise NotImplementedError('later')", 1),
        ("try:\n    pass\nexcept NotImplementedError:\n    pass", 0),
        ("import pickle", 1),
        ("from pickle import loads", 1),
        ("np.load(file, allow_pickle=True)", 1),
        ("np.load(file, allow_pickle=False)", 0),
        ("eval('1')", 1),
        ("table.eval('1')", 0),
        ("yaml.load(text, Loader=yaml.Loader)", 1),
        ("class L(yaml.SafeLoader):\n    pass\nyaml.load(text, Loader=L)", 0),
        ("class L(yaml.Loader):\n    pass\nyaml.load(text, Loader=L)", 1),
        ("B = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)\nyaml.load(text, Loader=B)", 0),
        ("B = getattr(yaml, 'CSafeLoader', yaml.Loader)\nyaml.load(text, Loader=B)", 1),
        ("yaml.safe_load(text)", 0),
    ],
)
def test_lint_of_habits_sees_what_it_should(code, count):
    assert len(forbidden_in(ast.parse(code))) == count


# (file below src/quantumio, what it imports) -> why that is right there
BELOW_ALL_LIBRARIES: dict[tuple[str, str], str] = {
    ("model/_timespan.py", "astropy.time.Time"): "a Timespan is made from, and gives, astropy's own times",
    ("system/threads.py", "anyio"): "the door to worker threads, which are anyio's",
    ("system/threads.py", "anyio.lowlevel"): "the same",
    ("system/threads.py", "anyio.to_thread"): "the same",
}


def test_model_and_errors_import_the_standard_library_and_attrs_alone():
    known = sys.stdlib_module_names | {"attrs", "attr", "quantumio", "typing_extensions"}
    found = [
        f"{path.relative_to(source.PROJECT_ROOT)}:{line} imports {name}"
        for path in [source.PACKAGE / "errors.py", *source.modules("model", "system")]
        for name, line in source.imported_modules(path)
        if name.partition(".")[0] not in known
        and (str(path.relative_to(source.PACKAGE)), name) not in BELOW_ALL_LIBRARIES
    ]
    assert not found


# Spelled in parts, so that this file does not contain them.
PLACES = re.compile(
    r"(?<![\w.:/-])(?:/" + r"work\b|/" + r"root\b|/" + r"home/\w|/" + r"tmp/bash|/" + r"Users/\w)"
)


def test_no_file_names_a_place_of_one_machine():
    found = [
        f"{path.relative_to(source.PROJECT_ROOT)}:{number}: {line.strip()[:100]}"
        for path in source.project_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if PLACES.search(line)
    ]
    assert not found


def test_code_is_unix_text_that_ends_with_a_newline():
    found = []
    for path in source.project_files():
        data = path.read_bytes()
        if b"\r\n" in data or (data and not data.endswith(b"\n")):
            found.append(str(path.relative_to(source.PROJECT_ROOT)))
    assert not found


def test_changes_are_named_for_what_they_change():
    names = {path.name for path in (source.PROJECT_ROOT / "changes").iterdir()} - {"README.md"}
    pattern = re.compile(r"(\d+|\+[\w-]+)\.(feature|bugfix|change|removal|docs|misc)\.md")
    assert [name for name in sorted(names) if not pattern.fullmatch(name)] == []


def test_decisions_are_numbered_without_gaps_and_have_their_three_parts():
    directory = source.PROJECT_ROOT / "docs" / "explanations" / "decisions"
    pages = sorted(path for path in directory.glob("*.md") if path.name != "index.md")
    assert [path.name[:4] for path in pages] == [f"{number:04d}" for number in range(1, len(pages) + 1)]
    for path in pages:
        headings = re.findall(r"^## (.+)$", path.read_text(), re.MULTILINE)
        assert [name for name in ("Context", "Decision", "Consequences") if name not in headings] == [], (
            path.name
        )


def test_version_is_the_same_everywhere():
    import importlib.metadata

    import quantumio

    assert quantumio.__version__ == importlib.metadata.version("quantumio")
