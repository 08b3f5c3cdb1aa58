"""The terminal: the command ``quantumio``."""

from quantumio.cli._main import main

__all__ = ["main"]
