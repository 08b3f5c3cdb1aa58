"""Commits on a local repository and says what it was told; strace injects signals and errors."""

import contextlib
import sys
from pathlib import Path

from quantumio.model import CommitConflict, CommitFailed, CommitParked, Committed, CommitUnknown
from tests.crash import scenarios

TOLD = {
    Committed: "committed",
    CommitFailed: "failed",
    CommitConflict: "failed",
    CommitParked: "journaled",  # it is kept, and goes on with recovery
    CommitUnknown: "unknown",
}
LABELS = ("one", "two")


def main(repository: Path, told: Path, ack: str) -> None:
    with contextlib.suppress(ExceptionGroup), scenarios.opened(repository) as butler:
        for label in LABELS:
            context = butler.context()
            for dataset_type, visit in sorted(scenarios.MANIFESTS[label]):
                context.put(scenarios.value(dataset_type, label), dataset_type, visit=visit)
            ticket = context.commit("buffered" if ack == "committed" else ack)
            with contextlib.suppress(ExceptionGroup):
                butler.drain()
            with told.open("a") as file:
                file.write(f"{TOLD[type(ticket.outcome)]} {label}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
