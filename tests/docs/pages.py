"""Find the code blocks of a Markdown page and run them as a reader would."""

import ast
import doctest
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import attrs
import yaml

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,}|:{3,})(?P<info>.*)$")
MARK = re.compile(r"^\s*<!--\s*not executed:?\s*(?P<reason>.*?)\s*-->\s*$")
INSTALLS = re.compile(r"(python3? -m )?pip install |git clone |cd ")
COMMAND_TIMEOUT = 300.0


class PageError(AssertionError):
    """A block of a page cannot be judged, or does not do what it says."""


@attrs.frozen(kw_only=True)
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    skip_reason: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line} ({self.language or 'no language'})"


def blocks(page: str, text: str, first_line: int = 1) -> Iterator[Block]:
    """Yield the blocks of a page; those inside of a directive too."""
    lines = text.splitlines()
    reason: str | None = None
    index = 0
    while index < len(lines):
        line = lines[index]
        index += 1
        if mark := MARK.match(line):
            reason = mark["reason"]
            continue
        opened = FENCE.match(line)
        if opened is None:
            if line.strip():
                reason = None
            continue
        if opened["fence"].startswith(":"):  # a directive around Markdown: its inside is part of the page
            continue
        start = index
        closing = re.compile(rf"^ *{re.escape(opened['fence'])}+ *$")
        while index < len(lines) and not closing.match(lines[index]):
            index += 1
        if index == len(lines):
            raise PageError(f"{page}:{start} a block is opened and never closed")
        body = [content.removeprefix(opened["indent"]) for content in lines[start:index]]
        index += 1
        language = opened["info"].strip()
        if directive := re.fullmatch(r"\{code(?:-block)?\}\s*(\w*)", language):
            language = directive[1]
            while body and (not body[0].strip() or body[0].startswith(":")):
                body = body[1:]
                start += 1
        inside, line_number = "\n".join(body) + "\n", first_line + start
        if language.startswith("{"):  # another directive: its inside may be Markdown
            yield from blocks(page, inside, line_number)
        yield Block(page=page, line=line_number, language=language, text=inside, skip_reason=reason)
        reason = None


def targets(makefile: Path) -> set[str]:
    """Names of the targets of a Makefile."""
    return set(re.findall(r"^([a-z][a-z-]*):", makefile.read_text(), re.MULTILINE))


@attrs.define(kw_only=True)
class PageRunner:
    """Run the blocks of one page, in order, in one namespace and in the current directory."""

    make_targets: set[str]
    namespace: dict[str, Any] = attrs.field(factory=lambda: {"__name__": "__page__"})

    def run(self, block: Block) -> None:
        """Run one block, or check it if it is not code.

        Raises
        ------
        PageError
            It fails, or nobody can say whether it works.
        """
        runners: dict[str, Callable[[Block], None]] = {
            "python": self._python,
            "py": self._python,
            "pycon": self._pycon,
            "console": self._console,
            "bash": self._console,
            "sh": self._console,
            "shell": self._console,
            "toml": lambda block: self._parses(block, tomllib.loads),
            "json": lambda block: self._parses(block, json.loads),
            "yaml": lambda block: self._parses(block, yaml.safe_load),
            "text": lambda block: None,
            "mermaid": lambda block: None,
        }
        if block.language.startswith("{"):  # a directive of Sphinx, which checks it
            return
        runner = runners.get(block.language)
        if runner is None:
            known = ", ".join(runners)
            raise PageError(f"{block}: say what the block is, one of {known}")
        runner(block)

    def _python(self, block: Block) -> None:
        source = "\n" * (block.line - 1) + block.text  # so that tracebacks show lines of the page
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(source, block.page, "exec", flags=flags, dont_inherit=True)
        if code.co_flags & inspect.CO_COROUTINE:
            anyio.run(lambda: eval(code, self.namespace))
        else:
            exec(code, self.namespace)

    def _pycon(self, block: Block) -> None:
        parser = doctest.DocTestParser()
        test = parser.get_doctest(block.text, self.namespace, block.page, block.page, block.line - 1)
        report: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        failed, attempted = runner.run(test, out=report.append, clear_globs=False)
        self.namespace.update(test.globs)
        if failed or not attempted:
            raise PageError("".join(report) or f"{block}: no line begins with >>>")

    def _console(self, block: Block) -> None:
        commands = re.sub(r"\\\n\s*(?:> )?", "", block.text).splitlines()
        commands = [line.strip().removeprefix("$ ") for line in commands if line.strip().startswith("$ ")]
        if not commands:
            raise PageError(f"{block}: no line begins with '$ '")
        for command in commands:
            self._command(block, command)

    def _command(self, block: Block, command: str) -> None:
        words = shlex.split(command, comments=True)
        first = words[0] if words else ""
        if first == "quantumio" or words[:3] == ["python", "-m", "quantumio"]:
            self._execute(block, command)
        elif first == "make":
            named = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
            if unknown := set(named) - self.make_targets:
                raise PageError(f"{block}: the Makefile has no target {', '.join(sorted(unknown))}")
        elif not INSTALLS.match(command):
            raise PageError(f"{block}: {command!r} is neither executed nor known")

    def _execute(self, block: Block, command: str) -> None:
        scripts = sysconfig.get_path("scripts")
        environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "120"}
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_TIMEOUT,
        )
        sys.stdout.write(f"$ {command}\n{done.stdout}")
        if done.returncode:
            raise PageError(f"{block}: {command!r} exited with {done.returncode}\n{done.stdout}")

    def _parses(self, block: Block, parse: Callable[[str], object]) -> None:
        try:
            parse(block.text)
        except ValueError as error:
            raise PageError(f"{block}: {error}") from error
        except yaml.YAMLError as error:
            raise PageError(f"{block}: {error}") from error
