"""pvehooks config: the settings in effect, and the file that sets each."""

from __future__ import annotations

import argparse

from pvehooks.cli import envelope, terminal
from pvehooks.cli.view import view
from pvehooks.errors import EXIT_OK

SUMMARY = "show the settings in effect, and the file that sets each"
EXAMPLE = "pvehooks config"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The verb takes nothing of its own."""


def run(options: argparse.Namespace) -> int:
    """Prints the settings; errors in them end the program as usage errors that name file and line."""
    seen = view(options)
    if options.json:
        sections = seen.settings.as_json()
        rules, devices, guests = (sections.pop(name) for name in ("rules", "devices", "guests"))
        settings = {"by_section": sections, "rules": rules, "by_device": devices, "by_guest": guests}
        # What is beside "settings" is deprecated.
        envelope.show(seen.host, seen.node, {"settings": settings, **sections, "rules": rules, "devices": devices, "guests": guests})
    else:
        terminal.table(("section", "option", "value", "set in"), list(seen.settings.rows()))
    return EXIT_OK
