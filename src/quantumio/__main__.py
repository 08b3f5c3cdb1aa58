"""``python -m quantumio`` is the command ``quantumio``."""

from quantumio.cli import main

if __name__ == "__main__":
    main()
