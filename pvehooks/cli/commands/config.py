"""pvehooks config: the settings in force, and where each comes from."""

from __future__ import annotations

import argparse
import json

from pvehooks.cli import view
from pvehooks.errors import EXIT_OK
from pvehooks.report import table

EXAMPLE = "pvehooks config"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The verb takes nothing of its own."""


def run(options: argparse.Namespace) -> int:
    """Prints the settings; broken ones end the program as usage errors that name file and line."""
    loaded = view.view(options).settings
    if options.json:
        print(json.dumps(loaded.as_json(), indent=2))
    else:
        table.show(("section", "option", "value", "set in"), list(loaded.rows()))
    return EXIT_OK
