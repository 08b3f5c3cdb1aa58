"""Commands that say what the policy does with an output, and whether a policy file is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from quantumio.cli._arguments import names, parse_data_id
from quantumio.cli._call import Call, examples, on_repository, policy_option
from quantumio.cli._output import print_table, print_text
from quantumio.errors import QuantumioError
from quantumio.model import Resolution

if TYPE_CHECKING:
    from quantumio.butler import Butler

__all__ = ["policy"]


@click.group()
def policy() -> None:
    """Explain and check policies.

    A policy is the rules that choose destinations, format, mode, ownership and acknowledgement of outputs.
    """


def _document(resolution: Resolution) -> dict[str, object]:
    return {
        "to": [str(target) for target in resolution.targets],
        "formats": {name: str(choice) for name, choice in resolution.formats.items()},
        "mode": str(resolution.mode),
        "own": None if resolution.own is None else str(resolution.own),
        "ack": None if resolution.ack is None else str(resolution.ack),
        "why": dict(resolution.why),
    }


def _formats(resolution: Resolution) -> str:
    return ", ".join(f"{name}: {choice}" for name, choice in resolution.formats.items())


@policy.command(
    epilog=examples(
        "quantumio policy explain calexp --run u/ada/isr",
    )
)
@click.argument("dataset_type")
@click.argument("data_id", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--run", metavar="RUN", help="Run that the output would go to: rules may name runs.")
@click.option("--to", multiple=True, metavar="NAMES", help="What the put itself would say.")
@click.option("--own", metavar="HOW", help="What the put itself would say: copy, freeze, borrow or encode.")
@policy_option
@on_repository
def explain(
    call: Call,
    dataset_type: str,
    data_id: tuple[str, ...],
    run: str | None,
    to: tuple[str, ...],
    own: str | None,
    policy: str | None,
) -> None:
    """Tell where an output would go, and which rule says so."""
    with call.open(policy=policy, readonly=True) as butler:
        given = parse_data_id(butler.dimensions, data_id)
        found = butler.explain_put(dataset_type, given, run=run, to=names(to), own=own)
    why = found.why
    rows = [
        ("to", ", ".join(map(str, found.targets)), why["to"]),
        ("formats", _formats(found), why["formats"]),
        ("mode", str(found.mode), why["mode"]),
        ("own", found.own or "by the type of the object", why["own"]),
        ("ack", found.ack or "by the context", why["ack"]),
    ]
    call.answer(
        {"dataset_type": dataset_type} | _document(found),
        lambda: print_table(("key", "value", "rule"), rows, fold=("value", "rule")),
    )


@policy.command(
    epilog=examples(
        "quantumio policy check operator.toml",
    )
)
@click.argument("file", required=False)
@policy_option
@on_repository
def check(call: Call, file: str | None, policy: str | None) -> None:
    """Check the rules on every dataset type.

    Those of the repository, together with those of the operator's policy FILE. The exit code is not 0 if a
    dataset type could not be put.
    """
    with call.open(policy=file or policy, readonly=True) as butler:
        results = [(one.name, _resolve(butler, one.name)) for one in butler.dataset_types()]
    wrong = [found for _, found in results if isinstance(found, QuantumioError)]
    document = {
        "policy": file or policy,
        "dataset_types": {name: _document(found) for name, found in results if isinstance(found, Resolution)},
        "errors": [
            {"kind": str(error.kind), "message": error.message, "hint": error.hint} for error in wrong
        ],
    }
    rows = [
        (name, ", ".join(map(str, found.targets)), _formats(found), str(found.mode))
        for name, found in results
        if isinstance(found, Resolution)
    ]

    def show() -> None:
        print_table(("dataset type", "to", "formats", "mode"), rows, fold=("to", "formats"))
        print_text(f"{len(rows)} of {len(results)} dataset types can be put.")

    call.answer(document, show)
    if wrong:
        raise ExceptionGroup(f"{len(wrong)} dataset types cannot be put", wrong)


def _resolve(butler: Butler, name: str) -> Resolution | QuantumioError:
    try:
        return butler.explain_put(name)
    except QuantumioError as error:
        return error
