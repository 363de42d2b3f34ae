"""Room `cli`: one command per capability, each a thin layer over a library call."""

from wardline.cli.app import main

__all__ = ["main"]
