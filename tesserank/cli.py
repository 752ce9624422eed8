"""The command line: ``tesserank COMMAND``. Other packages join through entry points, tesserank.commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from tesserank.errors import ConfigError, TesserankError

# A command is a module with add_arguments(parser) and run(args) -> exit status; its docstring's first line is its help.
_OWN = {name: f"tesserank.commands.{name}" for name in ("serve", "doctor", "recommend", "explain")}
_EXTRAS = {
    "compare": "evaluate",
    "doctor": "serve",
    "recommend": "serve",
    "explain": "serve",
    "prepare": "export",
}  # others: the extra of their own name


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Errors that tesserank raises on purpose are one line on standard error and exit status 2."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog="tesserank", description="Multi-segment late interaction, served by Triton.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    known = _commands()
    # Only the command at hand is imported: the others' libraries may be slow to load, or not installed.
    wanted = [arguments[0]] if arguments and arguments[0] in known else sorted(known)
    for name in wanted:
        _add_command(commands, name, known[name])
    args = parser.parse_args(arguments)
    try:
        status: int = args.run(args)
        return status
    except TesserankError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _commands() -> dict[str, str]:
    """Module of each command, by name."""
    others = {entry.name: entry.value for entry in entry_points(group="tesserank.commands")}
    return _OWN | others


def _add_command(commands: Any, name: str, module_name: str) -> None:
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(name, name)
        missing = f"not installed (no module {error.name}): pip install 'tesserank[{extra}]'"
        # Without a prefix for options, whatever follows the command is swallowed, and what is missing gets said.
        stub = commands.add_parser(name, help=missing, prefix_chars="\0", add_help=False)
        stub.add_argument("ignored", nargs="*")
        stub.set_defaults(run=lambda _: _not_installed(name, missing))
        return
    summary = (module.__doc__ or name).splitlines()[0]
    command = commands.add_parser(name, help=summary, description=module.__doc__)
    module.add_arguments(command)
    command.set_defaults(run=module.run)


def _not_installed(name: str, missing: str) -> int:
    raise ConfigError(f"tesserank {name} is {missing}")
