"""pvehooks firmware verify: compares the images with what the guests were given."""

from __future__ import annotations

import argparse

from pvehooks.cli import envelope
from pvehooks.cli.commands.firmware.list import images_of
from pvehooks.cli.view import View, view
from pvehooks.errors import EXIT_BLOCKED, EXIT_OK
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.storage import images, imageusers
from pvehooks.facts.storage import storages as storage_facts
from pvehooks.facts.storage.imageusers import ImageUser, ListedImage
from pvehooks.values import NamedTuple, Unread
from pvehooks.wording import and_more, printable

SUMMARY = "compare images with what VMs were given"
EXAMPLE = "pvehooks firmware verify"


class Checked(NamedTuple):
    """The result for one image: its trouble, '' if there is none; the guests that were given it, and those whose args only name it."""

    volid: str
    trouble: str
    guests: tuple[str, ...]
    unpinned: tuple[str, ...]


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the action takes."""
    parser.add_argument("volid", nargs="*", metavar="VOLID", help="only these images, as STORAGE:efi-firmware/NAME (default: all)")


def run(options: argparse.Namespace) -> int:
    """Prints a line for each image; the status shows whether one differs."""
    seen = view(options)
    found = {listed.file.volid: (listed, users) for listed, users in images_of(seen)}
    for volid in dict.fromkeys([*options.volid, *_given(seen)]):
        if volid not in found:
            path = images.path_of(storage_facts.read(seen.host), volid)
            users = () if isinstance(path, Unread) else imageusers.users(seen.host, {volid: path})[volid]
            found[volid] = (imageusers.read(seen.host, volid), users)
    checked = [_checked(*found[volid]) for volid in sorted(options.volid or found)]
    if options.json:
        envelope.show(seen.host, seen.node, {"images": [each._asdict() for each in checked]})
    else:
        for each in checked:
            print(printable(f"{each.volid}: {each.trouble or _well(each)}"))
        if not checked:
            print("There are no firmware images, and no VM was given one.")
    return EXIT_BLOCKED if any(each.trouble for each in checked) else EXIT_OK


def _given(seen: View) -> list[str]:
    """The volume ids that this node's guests were given, whether the files exist or not."""
    guest_context = seen.guest_context
    given = (guests.read(seen.host, seen.node, vmid, guest_context) for vmid in seen.guest_ids([]) if vmid in guest_context.recorded)
    return [guest.firmware.volid for guest in given if guest.firmware]


def _well(checked: Checked) -> str:
    """The phrase for an image without trouble."""
    words = (
        f"unchanged since it was given to {and_more(list(checked.guests))}" if checked.guests else "a firmware image that no VM was given"
    )
    if checked.unpinned:
        words += f"; the args of {and_more(list(checked.unpinned))} also name it, but no digest is recorded to compare it with"
    return words


def _checked(listed: ListedImage, users: tuple[ImageUser, ...]) -> Checked:
    file = listed.file
    guests, unpinned = (tuple(user.label for user in users if user.how == how) for how in ("set", "args"))
    trouble = file.trouble or ("" if listed.image.kind else f"no firmware: {listed.image.why}")
    changed = [user for user in users if user.how == "set" and user.sha256 != file.sha256]
    if not trouble and changed:
        names = ", ".join(user.label for user in changed)
        trouble = f"not the image that {names} {'was' if len(changed) == 1 else 'were'} given: its sha256 is {file.sha256}, and was {changed[0].sha256}"
    elif trouble and guests:
        trouble += f"; given to {', '.join(guests)}"
    return Checked(file.volid, trouble, guests, unpinned)
