"""Scripts that run in a process of their own, because it has to end, or to be killed."""

import os
import subprocess
import sys
import textwrap


def run(script, root, *arguments, fails=False):
    """Run a script with the root of a repository as its first argument; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(root), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        check=False,
    )
    assert (done.returncode != 0) is fails, done.stderr
    return done.stdout


def leave_placed_outputs(root):
    """Have a process place three outputs at once, and die before it commits them."""
    run(
        """
        import os, sys
        from quantumio import Butler
        butler = Butler(sys.argv[1], run="r", instrument="ST8")
        ctx = butler.context()
        for visit in range(3):
            ctx.put({"visit": visit}, "stats", visit=visit)
        os.kill(os.getpid(), 9)
        """,
        root,
        fails=True,
    )
