"""The `emerge` command. Each verb is a module of this package with `add` (its arguments) and `run`; none imports
another. What several share is in the modules whose names start with an underscore."""

from emerge_core.cli.command import COMMANDS, main, make_parser

__all__ = ["COMMANDS", "main", "make_parser"]
