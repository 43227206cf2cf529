"""pvehooks firmware: UEFI firmware images of guests' own."""

from __future__ import annotations

import argparse
import importlib
from typing import NamedTuple

from pvehooks.errors import UsageError

EXAMPLE = "pvehooks firmware set 100 local:efi-firmware/OVMF_CODE_4M.fd"


class Part(NamedTuple):
    """A sub-verb: the module that has it, what it takes (for the help), how many words that is at least and at most, its own options."""

    module: str
    takes: str
    least: int
    most: int
    options: tuple[str, ...] = ()


_MANY = 1 << 16
PARTS = {
    "info": Part("info", "FILE", 1, 1),
    "import": Part("import_", "FILE", 1, 1, ("storage", "name")),
    "list": Part("list", "", 0, 0),
    "verify": Part("verify", "[VOLID...]", 0, _MANY),
    "remove": Part("remove", "VOLID...", 1, _MANY),
    "set": Part("set", "VMID VOLID", 2, 2, ("on_all_nodes",)),
    "unset": Part("unset", "VMID...", 1, _MANY),
    "migrate": Part("migrate", "VMID...", 1, _MANY),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument(
        "what",
        choices=PARTS,
        metavar="ACTION",
        help="info FILE: what a file is; import FILE: put an image into a storage; list: the images of this node and who uses them;"
        " verify [VOLID...]: compare them with what guests were given; remove VOLID...: delete images that no guest uses;"
        " set VMID VOLID: have a guest start with an image; unset VMID...: have it start with the node's own again;"
        " migrate VMID...: hand its image over to Proxmox VE's own option, where it has one",
    )
    parser.add_argument("word", nargs="*", metavar="ARGUMENT", help="what ACTION takes; VOLID is STORAGE:efi-firmware/NAME")
    parser.add_argument("--storage", metavar="STORAGE", help="import: the storage, one that is a directory (pvesm status)")
    parser.add_argument("--name", metavar="N", help="import: the image's name in the storage (default: that of the file)")
    parser.add_argument(
        "--on-all-nodes", action="store_true", help="set: the image is on every node that may run the guest, I have seen to that"
    )


def run(options: argparse.Namespace) -> int:
    """Runs the sub-verb."""
    part = PARTS[options.what]
    if not part.least <= len(options.word) <= part.most:
        raise UsageError(f"usage: pvehooks firmware {options.what} {part.takes}".rstrip(), hint=f"Example: {EXAMPLE}")
    own = {name for each in PARTS.values() for name in each.options}
    for name in sorted(own - set(part.options)):
        if getattr(options, name) not in (None, False):
            raise UsageError(f"--{name.replace('_', '-')} does not go with `{options.what}`")
    return int(importlib.import_module(f"pvehooks.cli.commands.firmware.{part.module}").run(options))
