"""pvehooks firmware remove: deletes images that no guest uses."""

from __future__ import annotations

import argparse

from pvehooks.actions import images as actions
from pvehooks.cli import audit, envelope
from pvehooks.cli.view import view
from pvehooks.errors import EXIT_OK, Refused, UsageError
from pvehooks.facts.storage import images
from pvehooks.facts.storage import storages as storage_facts
from pvehooks.values import Unread
from pvehooks.wording import printable

SUMMARY = "delete images that no VM uses"
EXAMPLE = "pvehooks firmware remove local:efi-firmware/OVMF_CODE_4M.fd"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the action takes."""
    parser.add_argument("volid", nargs="+", metavar="VOLID", help="these images, as STORAGE:efi-firmware/NAME")


def run(options: argparse.Namespace) -> int:
    """Removes one after the other; stops at the first that is in use."""
    seen = view(options, own=True)
    storages = storage_facts.read(seen.host)
    removed = []
    for volid in dict.fromkeys(options.volid):
        path = images.path_of(storages, volid)
        if isinstance(path, Unread):
            raise UsageError(path.why, hint="List the images: pvehooks firmware list")
        if images.look(seen.host, volid, content=False).missing:
            raise Refused(f"{volid} does not exist ({path})", hint="List the images: pvehooks firmware list")
        actions.discard(seen.host, volid, path)
        audit.log(seen.host, seen.node, "firmware-removed", f"firmware image {volid} deleted ({path})", device=volid)
        removed.append(volid)
        if not options.json:
            print(printable(f"{volid}: removed"))
    if options.json:
        envelope.show(seen.host, seen.node, {"removed": removed})
    return EXIT_OK
