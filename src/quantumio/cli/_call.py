"""What every command has: the repository it works on, and whom it writes for."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import frozen

from quantumio.cli._output import print_json
from quantumio.errors import ErrorKind, NotFoundError

if TYPE_CHECKING:
    from quantumio.butler import Butler

__all__ = [
    "Call",
    "as_of_option",
    "collections_option",
    "examples",
    "json_option",
    "on_repository",
    "policy_option",
    "traceback_option",
    "version_option",
]

_Command = TypeVar("_Command", bound=Callable[..., Any])


@frozen(kw_only=True)
class Call:
    """One call of a command.

    Attributes
    ----------
    repositories
        Paths of repositories in search order; empty: the current directory.
    as_json
        Whether a program reads the output.
    """

    repositories: tuple[str, ...] = ()
    as_json: bool = False

    @property
    def roots(self) -> list[str]:
        """Paths of the repositories, the current directory where none was named."""
        return list(self.repositories) or [str(Path.cwd())]

    def open(
        self,
        *,
        run: str | None = None,
        collections: list[str] | None = None,
        readonly: bool = False,
        policy: str | None = None,
    ) -> Butler:
        """Open the repositories.

        Raises
        ------
        NotFoundError
            There is none.
        """
        from quantumio.butler import Butler

        try:
            return Butler(self.roots, run=run, collections=collections, readonly=readonly, policy=policy)
        except NotFoundError as error:
            if self.repositories or error.kind is not ErrorKind.NO_REPOSITORY:
                raise
            raise NotFoundError(
                f"no repository was named, and the current directory {Path.cwd()} is none",
                hint="name one with --repository PATH or the variable QUANTUMIO_REPOSITORY, "
                "or make one with `quantumio create PATH`",
                kind=ErrorKind.NO_REPOSITORY,
            ) from None

    def answer(self, document: Mapping[str, object], show: Callable[[], object]) -> None:
        """Write what the command found: the document for programs, or what ``show`` writes for people."""
        if self.as_json:
            print_json(document)
        else:
            show()

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """Show on a terminal that something takes its time."""
        if self.as_json or not sys.stderr.isatty():
            yield
            return
        from rich.console import Console

        with Console(stderr=True).status(what):
            yield

    @contextmanager
    def progress(self, what: str) -> Iterator[Callable[[int, int], object] | None]:
        """Show on a terminal how far something is; yields whom to tell how many of how many are done."""
        if self.as_json or not sys.stderr.isatty():
            yield None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(what, total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total)


def examples(*commands: str) -> str:
    """Return the end of a command's help: how it is called, one line each."""
    # A backspace alone on a line tells click to leave the lines as they are.
    return "\n".join(
        ["\b", "Examples:" if len(commands) > 1 else "Example:", *(f"  {one}" for one in commands)]
    )


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Write one JSON document, also for an error."
)
traceback_option = click.option(
    "--traceback",
    "with_traceback",
    is_flag=True,
    envvar="QUANTUMIO_TRACEBACK",
    show_envvar=True,
    help="Show where in the code an error happened.",
)
policy_option = click.option(
    "--policy",
    metavar="FILE",
    type=click.Path(),
    envvar="QUANTUMIO_POLICY",
    show_envvar=True,
    help="The operator's policy file (TOML).",
)
collections_option = click.option(
    "-c", "--collections", multiple=True, metavar="NAMES", help="Where to look, in order, with commas."
)
as_of_option = click.option(
    "--as-of",
    metavar="MOMENT",
    help="Look at what there was then: a time (UTC), a snapshot, or the number of a commit.",
)
version_option = click.option("--version", type=int, metavar="N", help="Which version. Default: the latest.")
_repository_option = click.option(
    "-r",
    "--repository",
    "repository",
    metavar="PATH",
    type=click.Path(),
    multiple=True,
    envvar="QUANTUMIO_REPOSITORY",
    show_envvar=True,
    help="Directory of the repository; again for more, in search order. Default: the current directory.",
)


def on_repository(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all commands have, and a `Call` as its first argument."""

    @_repository_option
    @json_option
    @traceback_option
    @functools.wraps(function)
    def command(*, repository: tuple[str, ...], as_json: bool, with_traceback: bool, **rest: object) -> None:
        del with_traceback  # the group reads it, where errors are reported
        function(Call(repositories=repository, as_json=as_json), **rest)

    return command
