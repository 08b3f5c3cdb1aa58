"""What the house's tests know of the source: its rooms, modules, imports and names."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
SOURCE = PROJECT_ROOT / "src"
PACKAGE = SOURCE / "quantumio"
REFERENCE = PROJECT_ROOT / "docs" / "reference"

NOT_OURS = {
    ".git", ".hypothesis", ".import_linter_cache", ".mypy_cache", ".pytest_cache", ".ruff_cache",
    "__pycache__", "_build", "build", "demo-output", "dist", "generated",
}  # fmt: skip
TEXT_SUFFIXES = {
    "", ".cfg", ".csv", ".ini", ".ipynb", ".json", ".mako", ".md", ".py", ".pyi", ".rst", ".sh", ".sql",
    ".toml", ".txt", ".typed", ".yaml", ".yml",
}  # fmt: skip


def rooms() -> list[str]:
    """Packages directly below quantumio."""
    return sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def modules(*names: str) -> list[Path]:
    """Every module of the named rooms, or of all of quantumio."""
    roots = [PACKAGE / name for name in names] or [PACKAGE]
    return sorted(path for root in roots for path in root.rglob("*.py"))


def dotted_name(path: Path) -> str:
    """Turn a module's file into the name that imports it."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    """Room of a dotted name below quantumio; None for quantumio itself and for other packages."""
    parts = module.split(".")
    return parts[1] if parts[0] == "quantumio" and len(parts) > 1 else None


@functools.cache
def tree(path: Path) -> ast.Module:
    """Parse a module, once."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported_modules(path: Path) -> Iterator[tuple[str, int]]:
    """Yield every module, and every name out of a module, that a file imports, and in which line."""
    package = dotted_name(path) if path.name == "__init__.py" else dotted_name(path).rpartition(".")[0]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            for alias in node.names:
                yield f"{base}.{alias.name}", node.lineno


def bindings(path: Path) -> dict[str, str]:
    """Local name -> what it was imported as, for every import of a file."""
    bound: dict[str, str] = {}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                bound[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return bound


def resolve(node: ast.expr, bound: dict[str, str]) -> str | None:
    """Dotted name that an expression such as ``os.path.exists`` stands for, if it is one."""
    if isinstance(node, ast.Name):
        return bound.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        base = resolve(node.value, bound)
        return None if base is None else f"{base}.{node.attr}"
    return None


def project_files() -> Iterator[Path]:
    """Every text file of the project, whether or not it is known to git yet."""
    pending = [PROJECT_ROOT]
    while pending:
        for path in sorted(pending.pop().iterdir()):
            if path.name in NOT_OURS or path.name.startswith(".venv") or path.is_symlink():
                continue
            if path.is_dir():
                if not path.name.endswith(".egg-info"):
                    pending.append(path)
            elif path.suffix in TEXT_SUFFIXES:
                yield path


def reference_text() -> str:
    """Everything that the reference says."""
    pages = sorted(path for path in REFERENCE.rglob("*.md") if not NOT_OURS & set(path.parts))
    return "\n".join(path.read_text(encoding="utf-8") for path in pages)
