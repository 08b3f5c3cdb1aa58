"""What messages tell users to call exists."""

import ast
import re
from pathlib import Path

import quantumio
from quantumio import Butler
from quantumio.cli import main

SOURCES = sorted(Path(quantumio.__file__).parent.rglob("*.py"))


def messages():
    """Texts of the sources that are no docstrings."""
    for source in SOURCES:
        tree = ast.parse(source.read_text(encoding="utf-8"))
        documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in documentation
            ):
                yield source.name, node.value


def test_commands_and_methods_of_messages_exist():
    named = 0
    for source, text in messages():
        for command in re.findall(r"`quantumio ([a-z][a-z-]*)", text):
            assert command in main.commands, (source, text)
            named += 1
        for method in re.findall(r"\bButler\.([a-z_]+)", text):
            assert hasattr(Butler, method), (source, text)
            named += 1
    assert named > 5
