"""The command ``quantumio``: its parts, its help, and how it ends."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any, Final

import click

from quantumio.cli._care_commands import errors, flush, pending, recover
from quantumio.cli._certification_commands import certifications
from quantumio.cli._check_commands import fsck, scrub
from quantumio.cli._collection_commands import (
    associate,
    certify,
    chain,
    decertify,
    disassociate,
    remove_collection,
)
from quantumio.cli._dataset_commands import get, put
from quantumio.cli._errors import EXIT_INTERRUPTED, report
from quantumio.cli._garbage_command import gc
from quantumio.cli._history_commands import delete, lineage
from quantumio.cli._import_commands import import_
from quantumio.cli._ingest_command import ingest
from quantumio.cli._inspection_commands import show, versions
from quantumio.cli._listing_commands import collections, destinations, ls
from quantumio.cli._moment_commands import diff, retention, snapshot
from quantumio.cli._output import check_output, output_failure, reader_is_gone
from quantumio.cli._policy_commands import policy
from quantumio.cli._query_commands import query
from quantumio.cli._repository_commands import create, insert_dimension, register, status, upgrade
from quantumio.cli._run_commands import run
from quantumio.system import environment

__all__ = ["main"]

_SECTIONS: Final[dict[str, tuple[click.Command, ...]]] = {
    "Repositories": (create, register, insert_dimension, import_, status),
    "Datasets": (put, get, ingest, show, versions, lineage, delete),
    "Finding": (ls, query, snapshot, diff, destinations),
    "Collections": (
        *(collections, certifications, certify, decertify),
        *(associate, disassociate, chain, remove_collection),
    ),
    "Running": (run,),
    "Policies": (policy,),
    "Care": (pending, errors, flush, recover, fsck, scrub, retention, gc, upgrade),
}

_EPILOG: Final = """\b
Examples:
  quantumio create night1
  quantumio register calexp -r night1 -d instrument,visit,detector -s CCDData
  quantumio put image.fits calexp instrument=ST8 visit=33 detector=0 -r night1 --run u/ada/isr
  quantumio query calexp visit=33 -r night1
  quantumio get calexp instrument=ST8 visit=33 detector=0 -r night1 -c u/ada/isr -o copy.fits

\b
Data IDs are typed as key=value, or as a JSON object: '{"visit": 33, "detector": 0}'.
With --json every command writes one JSON document; errors too, to standard error.

\b
Exit codes: 0 done, 2 wrong input, 3 not found, 4 conflict, 5 wrong state, 6 destination, 7 format,
8 commit unknown, 9 missing library, 10 commit failed, 11 commit parked, 70 bug, 130 interrupted.

\b
Completion of commands and options in the shell (bash; also zsh and fish):
  eval "$(_QUANTUMIO_COMPLETE=bash_source quantumio)"
"""


class _QuantumioGroup(click.Group):
    """Commands in sections, errors in one paragraph."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section, in the order in which one needs them."""
        width = max(len(name) for name in self.commands)
        for section, commands in _SECTIONS.items():
            rows = [(command.name or "", command.get_short_help_str(80)) for command in commands]
            with formatter.section(section):
                formatter.write_dl([(name.ljust(width), text) for name, text in rows])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; click would end with 1 where the reader of its output is gone."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            return reader_is_gone()

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        """Run, and end the process with the exit code of what went wrong, if anything did."""
        if options.get("standalone_mode") is False:
            return super().main(args, *rest, **options)
        arguments = list(sys.argv[1:] if args is None else args)
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code = self._run(arguments, *rest, **options)
            sys.exit(code or self._finish(arguments))

    def _run(self, arguments: list[str], *rest: Any, **options: Any) -> int:
        as_json = "--json" in arguments
        with_traceback = "--traceback" in arguments or _is_true(environment.variable("QUANTUMIO_TRACEBACK"))
        try:
            check_output()
            result = super().main(arguments, *rest, **options | {"standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            return error.exit_code
        except (click.Abort, KeyboardInterrupt):
            click.echo("Interrupted.", err=True)
            return EXIT_INTERRUPTED
        except BrokenPipeError:
            return reader_is_gone()
        except OSError as error:
            return report(output_failure(error), as_json=as_json, with_traceback=with_traceback)
        except Exception as error:  # noqa: BLE001  the last line of defence: no traceback for users
            return report(error, as_json=as_json, with_traceback=with_traceback)
        return result if isinstance(result, int) else 0

    def _finish(self, arguments: list[str]) -> int:
        """Write what is still in the buffer of standard output: a full disk may only show now."""
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            return reader_is_gone()
        except OSError as error:
            return report(output_failure(error), as_json="--json" in arguments, with_traceback=False)
        return 0


def _is_true(text: str | None) -> bool:
    return text is not None and text.lower() not in ("0", "false", "no", "off")


def _show_warning(message: Warning | str, *where: object, **more: object) -> None:
    """Write a library's warning without the place in its code."""
    del where, more
    click.echo(f"Warning: {' '.join(str(message).split())}", err=True)


def _print_version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    del parameter
    if not wanted or ctx.resilient_parsing:
        return
    import quantumio

    click.echo(f"quantumio {quantumio.__version__}")
    ctx.exit()


@click.group(
    "quantumio",
    cls=_QuantumioGroup,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def main() -> None:
    """Put datasets where the policy says, and find and read them again.

    A telescope pipeline puts its outputs into a repository: files, objects, workspaces and databases, with
    a registry that knows each version. The words are those of the Python API: quantumio get is Butler.get.
    """


for _commands in _SECTIONS.values():
    for _command in _commands:
        main.add_command(_command)
