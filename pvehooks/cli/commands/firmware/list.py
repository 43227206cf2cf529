"""pvehooks firmware list: the images on this node's storages, and the guests that use them."""

from __future__ import annotations

import argparse

from pvehooks import wording
from pvehooks.cli import envelope, terminal
from pvehooks.cli.commands.firmware import info
from pvehooks.cli.view import View, view
from pvehooks.errors import EXIT_OK, NodeError
from pvehooks.facts.storage import imageusers
from pvehooks.facts.storage import storages as storage_facts
from pvehooks.facts.storage.imageusers import ImageUser, ListedImage
from pvehooks.values import Unread

SUMMARY = "list the images of this node, and the VMs that use each"
EXAMPLE = "pvehooks firmware list"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The action takes nothing of its own."""


def run(options: argparse.Namespace) -> int:
    """Prints a line an image."""
    seen = view(options)
    found = images_of(seen)
    if options.json:
        envelope.show(seen.host, seen.node, {"images": [_document(listed, users) for listed, users in found]})
    elif found:
        terminal.table(("image", "kind", "family", "size", "sha256", "used by"), [_row(listed, users) for listed, users in found])
    else:
        print("There are no firmware images. Import one: pvehooks firmware import FILE --storage local")
    return EXIT_OK


def images_of(seen: View) -> list[tuple[ListedImage, tuple[ImageUser, ...]]]:
    """The images of the node with their users; raises NodeError."""
    storages = storage_facts.read(seen.host)
    if isinstance(storages, Unread):
        raise NodeError(storages.why)
    listed = list(imageusers.there(seen.host, storages, seen.node))
    users = imageusers.users(seen.host, {each.file.volid: each.file.path for each in listed}) if listed else {}
    return [(each, users[each.file.volid]) for each in listed]


def _row(listed: ListedImage, users: tuple[ImageUser, ...]) -> tuple[str, ...]:
    image, file = listed.image, listed.file
    kind = file.trouble or image.kind or f"no firmware: {image.why}"
    return (
        file.volid,
        kind,
        image.family,
        f"{image.size >> 10} KiB",
        file.sha256,
        wording.and_more([user.label for user in users]) or "no VM",
    )


def _document(listed: ListedImage, users: tuple[ImageUser, ...]) -> dict[str, object]:
    file = listed.file
    return {
        "volid": file.volid,
        "path": file.path,
        "sha256": file.sha256 or None,
        "trouble": file.trouble or None,
        **info.described(listed.image),
        "used_by": [{"vmid": user.vmid, "node": user.node, "how": user.how} for user in users],
    }
