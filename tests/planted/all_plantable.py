"""``python -m tests.planted.all_plantable`` plants every bug, each in its own process, and runs nothing."""

import os
import sys
import traceback

from tests.planted.bugs import BUGS


def main():
    failed = 0
    for name, bug in BUGS.items():
        child = os.fork()
        if child == 0:
            code = 1
            try:
                bug.plant()
                code = 0
            except Exception:  # noqa: BLE001  told by the parent
                print(name, traceback.format_exc(), file=sys.stderr, flush=True)
            finally:
                os._exit(code)
        failed += os.waitpid(child, 0)[1] != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
