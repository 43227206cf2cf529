"""pvehooks firmware unset: removes a guest's firmware image; the guest starts with the node's own again."""

from __future__ import annotations

import argparse

from pvehooks.actions import firmware
from pvehooks.actions.result import Result
from pvehooks.cli import audit, envelope, guests
from pvehooks.cli.view import View, view
from pvehooks.errors import EXIT_OK, Refused
from pvehooks.values import Guest
from pvehooks.wording import printable

SUMMARY = "have VMs start with the firmware of the node again"
EXAMPLE = "pvehooks firmware unset 100"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the action takes."""
    parser.add_argument("vmid", nargs="+", type=guests.vmid, metavar="VMID", help="these VMs")


def run(options: argparse.Namespace) -> int:
    """Removes it from one guest after the other; stops at the first that is refused."""
    seen = view(options, own=True)
    done = []
    for vmid in dict.fromkeys(options.vmid):
        guest = seen.guest(vmid)
        settings = seen.settings.rng(vmid)
        volid = guest.firmware.volid if guest.firmware else ""
        with audit.failure_logged(seen.host, guest, "firmware-not-changed", "firmware unset"):
            result = firmware.take(seen.host, guest, settings)
        if not result.done:
            raise Refused(f"{guest.label}: the image was not removed: {result.words}.{guests.try_again(result.outcome)}")
        _log(seen, guest, volid, result)
        freed = firmware.let_guard_go(seen.host, seen.guest(vmid), settings)
        if freed is not None and freed.done:
            message = "the guard was removed as well: it was attached only for the firmware image"
            audit.log_guest(seen.host, guest, "firmware-unset", message, digest=freed.digest, backup=freed.backup)
        done.append(
            {
                "vmid": vmid,
                "volid": volid or None,
                "args": result.value or None,
                "later": result.later,
                "guard_detached": bool(freed and freed.done),
                # Deprecated.
                "pending": result.later,
            }
        )
        if options.json:
            continue
        later = " The VM is running: it takes effect at its next start." if result.later else ""
        left = f" Its args are now: {result.value}" if result.value else " It has no args any more."
        words = f"starts with the node's own firmware again.{later}{left}" if result.digest else f"{result.words}."
        print(printable(f"{guest.label}: {words}"))
        if freed is not None and not freed.done:
            print(printable(f"  The guard stays attached, although it is not needed now: {freed.words}. Later: pvehooks detach {vmid}"))
    if options.json:
        envelope.show(seen.host, seen.node, {"guests": done})
    return EXIT_OK


def _log(seen: View, guest: Guest, volid: str, result: Result) -> None:
    image = f"firmware image {volid}" if volid else "a firmware image that was not recorded"
    if result.digest:
        message = f"{image} removed, it starts with the node's own firmware again{' from its next start on' if result.later else ''}"
    else:
        message = f"{image} is not recorded any more: {result.words}"
    audit.log_guest(seen.host, guest, "firmware-unset", message, device=volid, digest=result.digest, backup=result.backup)
