"""pvehooks config: the settings in effect, and the file that sets each."""

from __future__ import annotations

import argparse
import json

from pvehooks.cli import terminal
from pvehooks.cli.view import view
from pvehooks.errors import EXIT_OK

SUMMARY = "show the settings in effect, and the file that sets each"
EXAMPLE = "pvehooks config"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The verb takes nothing of its own."""


def run(options: argparse.Namespace) -> int:
    """Prints the settings; errors in them end the program as usage errors that name file and line."""
    loaded = view(options).settings
    if options.json:
        print(json.dumps(loaded.as_json(), indent=2))
    else:
        terminal.table(("section", "option", "value", "set in"), list(loaded.rows()))
    return EXIT_OK
