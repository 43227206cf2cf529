"""pvehooks firmware migrate: hands images over to Proxmox VE's own option, where it has one."""

from __future__ import annotations

import argparse
import json

from pvehooks.actions import firmware
from pvehooks.cli import audit, view
from pvehooks.cli.commands.attach import again
from pvehooks.errors import EXIT_OK, Refused
from pvehooks.facts import node as node_facts
from pvehooks.facts import ownoption
from pvehooks.report.words import printable


def run(options: argparse.Namespace) -> int:
    """Has qm set PVE's option to the image and take our part out of the guest's args; where qm refuses, all stays as it is."""
    seen = view.view(options)
    node_facts.require_own(seen.host, seen.node)
    own = ownoption.name(seen.host)
    if not own:
        raise Refused("this Proxmox VE has no option of its own for firmware images yet: they stay in args", hint="Nothing is to be done.")
    done = []
    for vmid in dict.fromkeys(view.vmid_argument(word) for word in options.word):
        guest = seen.guest(vmid)
        pinned = guest.firmware
        if pinned is None:
            raise Refused(f"{guest.label} was given no image by pvehooks", hint="Those that were: pvehooks firmware list")
        with audit.broken_off(seen.host, guest, "firmware-not-changed", "firmware migrate"):
            result = firmware.hand_over(seen.host, guest, own)
        if not result.done:
            kept = "It has the image in its args as before."
            raise Refused(f"{guest.label}: --{own} {pinned.volid} was not set: {result.words}.{again(result.outcome)} {kept}")
        message = f"firmware image {pinned.volid} handed over to Proxmox VE's own option {own}; its args are as they were without it"
        audit.tell_of(seen.host, guest, "firmware-migrated", message, device=pinned.volid, digest=result.digest, backup=result.backup)
        done.append(vmid)
        if options.json:
            continue
        later = " It takes effect at its next start, the guest is running." if result.later else ""
        print(printable(f"{guest.label}: {pinned.volid} is in PVE's own option {own} now; its args are as they were without us.{later}"))
    if options.json:
        print(json.dumps({"version": 1, "option": own, "migrated": done}, indent=2))
    return EXIT_OK
