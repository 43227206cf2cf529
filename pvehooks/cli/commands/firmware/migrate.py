"""pvehooks firmware migrate: moves images to Proxmox VE's own option, if it has one."""

from __future__ import annotations

import argparse

from pvehooks.actions import firmware
from pvehooks.cli import audit, envelope, guests
from pvehooks.cli.view import view
from pvehooks.errors import EXIT_OK, Refused
from pvehooks.facts.guests import ownoption
from pvehooks.wording import printable

SUMMARY = "move images to the option of Proxmox VE itself, where it has one"
EXAMPLE = "pvehooks firmware migrate 100"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the action takes."""
    parser.add_argument("vmid", nargs="+", type=guests.vmid, metavar="VMID", help="these VMs")


def run(options: argparse.Namespace) -> int:
    """Sets PVE's option to the image and removes our part of the guest's args, through qm; if qm refuses, nothing changes."""
    seen = view(options, own=True)
    own = ownoption.name(seen.host)
    if not own:
        raise Refused(
            "this Proxmox VE has no option of its own for firmware images yet: they stay in args", hint="Nothing needs to be done."
        )
    done = []
    for vmid in dict.fromkeys(options.vmid):
        guest = seen.guest(vmid)
        pinned = guest.firmware
        if pinned is None:
            raise Refused(f"{guest.label} has no image from pvehooks", hint="VMs that have one: pvehooks firmware list")
        with audit.failure_logged(seen.host, guest, "firmware-not-changed", "firmware migrate"):
            result = firmware.hand_over(seen.host, guest, own)
        if not result.done:
            kept = "The image is in its args as before."
            raise Refused(f"{guest.label}: --{own} {pinned.volid} was not set: {result.words}.{guests.try_again(result.outcome)} {kept}")
        message = f"firmware image {pinned.volid} moved to Proxmox VE's own option {own} and removed from its args"
        audit.log_guest(seen.host, guest, "firmware-migrated", message, device=pinned.volid, digest=result.digest, backup=result.backup)
        done.append(vmid)
        if options.json:
            continue
        later = " The VM is running: it takes effect at its next start." if result.later else ""
        print(printable(f"{guest.label}: {pinned.volid} is in PVE's own option {own} now, and removed from its args.{later}"))
    if options.json:
        envelope.show(seen.host, seen.node, {"option": own, "migrated": done})
    return EXIT_OK
