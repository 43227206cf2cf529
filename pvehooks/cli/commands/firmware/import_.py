"""pvehooks firmware import: copies an image into a storage."""

from __future__ import annotations

import argparse

from pvehooks import wording
from pvehooks.actions import images as actions
from pvehooks.cli import audit, envelope
from pvehooks.cli.commands.firmware import info
from pvehooks.cli.view import View, view
from pvehooks.errors import EXIT_OK, NodeError, UsageError
from pvehooks.facts.storage import images
from pvehooks.facts.storage import storages as storage_facts
from pvehooks.values import Unread
from pvehooks.values.storages import Storage

SUMMARY = "import an image into a storage"
EXAMPLE = "pvehooks firmware import /root/OVMF_CODE_4M.fd --storage local"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the action takes."""
    parser.add_argument("file", metavar="FILE", help="the image")
    parser.add_argument("--storage", metavar="STORAGE", help="the storage, one that is a directory (pvesm status); required")
    parser.add_argument("--name", metavar="N", help="the name of the image in the storage (default: that of the file)")


def run(options: argparse.Namespace) -> int:
    """Imports the file, and shows how to give it to a guest."""
    seen = view(options, own=True)
    path = options.file
    name = options.name or actions.default_name(path)
    if not images.is_name(name):
        rule = "a letter or a digit, then letters, digits and _ . + - only, 128 characters at most, not ending in .tmp.NUMBER"
        raise UsageError(f"'{name}' is not a valid name for an image ({rule})", hint="Choose another name: --name NAME")
    storage = _storage(seen, options.storage)
    content, image = actions.readable(seen.host, path)
    file, new = actions.store(seen.host, storage, name, content)
    if new:
        message = f"firmware image {file.volid} imported from {path} (sha256 {file.sha256})"
        audit.log(seen.host, seen.node, "firmware-imported", message, device=file.volid)
    if options.json:
        envelope.show(
            seen.host, seen.node, {"volid": file.volid, "path": file.path, "sha256": file.sha256, "new": new, **info.described(image)}
        )
        return EXIT_OK
    print(wording.printable(f"{file.volid}: {'imported' if new else 'the same image exists already'} ({file.path})"))
    print(f"  sha256 {file.sha256}")
    print(wording.printable(f"  {info.KINDS[image.kind]}. To give it to a VM: pvehooks firmware set VMID {file.volid}"))
    return EXIT_OK


def _storage(seen: View, name: str | None) -> Storage:
    storages = storage_facts.read(seen.host)
    if isinstance(storages, Unread):
        raise NodeError(storages.why)
    fit = [each.name for each in storages.values() if each.serves(seen.node) and not isinstance(images.folder(each), Unread)]
    if not name:
        raise UsageError("--storage is required", hint=f"Storages that are directories of {seen.node}: {', '.join(fit) or 'none'}.")
    storage = storages.get(name)
    if storage is None:
        raise UsageError(f"there is no storage '{name}'", hint=f"Storages that are directories of {seen.node}: {', '.join(fit) or 'none'}.")
    if not storage.serves(seen.node):
        state = "disabled" if storage.disabled else f"not configured for {seen.node}"
        raise UsageError(f"the storage '{name}' is {state}", hint="See: pvesm status")
    return storage
