"""pvehooks firmware set: gives a guest a firmware image of its own."""

from __future__ import annotations

import argparse

from pvehooks.actions import firmware
from pvehooks.actions.result import Result
from pvehooks.cli import audit, envelope, guests
from pvehooks.cli.view import View, view
from pvehooks.derived import firmware_fit
from pvehooks.errors import EXIT_OK, Refused, UsageError
from pvehooks.facts.cluster import members
from pvehooks.facts.guests import ownoption
from pvehooks.facts.storage import images, imageusers
from pvehooks.facts.storage import storages as storage_facts
from pvehooks.formats import qemuargs
from pvehooks.values import Guest, Node, Unread
from pvehooks.values.images import ImageFile
from pvehooks.wording import printable

SUMMARY = "have a VM start with an image"
EXAMPLE = "pvehooks firmware set 100 local:efi-firmware/OVMF_CODE_4M.fd"
_SHORT = 12


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the action takes."""
    parser.add_argument("vmid", type=guests.vmid, metavar="VMID", help="the VM")
    parser.add_argument("volid", metavar="VOLID", help="the image, as STORAGE:efi-firmware/NAME")
    parser.add_argument("--on-all-nodes", action="store_true", help="confirm that the image is on every node that may run the VM")


def run(options: argparse.Namespace) -> int:
    """Gives the guest the image, or shows why not and what to type."""
    seen = view(options, own=True)
    vmid, volid = options.vmid, options.volid
    guest, node = seen.guest(vmid), seen.facts()
    file = _fitting(seen, guest, node, volid)
    notes = _elsewhere(seen, guest, node, file, options.on_all_nodes)
    guard = seen.settings.guard(vmid)
    with_guard = "off" not in (guard.attach, guard.mode)
    try:
        with audit.failure_logged(seen.host, guest, "firmware-not-changed", "firmware set"):
            result = firmware.give(seen.host, guest, seen.settings.rng(vmid), file, with_guard)
    except qemuargs.ArgsError as error:
        raise Refused(f"{guest.label}: {error.message}", hint=f"See: qm config {vmid}") from error
    if not result.done:
        raise Refused(f"{guest.label} was not given the image: {result.words}.{guests.try_again(result.outcome)}")
    _log(seen, guest, file, result)
    if not with_guard:
        notes.append(f"The image is not checked before a start: [guard] {'attach' if guard.attach == 'off' else 'mode'} = off")
    if not guest.properties("efidisk0") and firmware_fit.style(guest) == firmware_fit.PFLASH:
        # Without an EFI disk an image of the 4M family fits confidential guests only.
        family = "4m" if firmware_fit.confidential(guest) else "2m"
        disk = f"qm set {vmid} --efidisk0 STORAGE:1,efitype={family}"
        notes.append(f"It has no EFI disk: the firmware's settings are lost at every stop. Add one: {disk}")
    own = ownoption.name(seen.host)
    if own:
        notes.append(f"This Proxmox VE has its own option for this ({own}). To use it: pvehooks firmware migrate {vmid}")
    if options.json:
        document = {
            "vmid": vmid,
            "volid": volid,
            "sha256": file.sha256,
            "style": firmware_fit.style(guest),
            "args": result.value,
        }
        # "pending" is deprecated.
        envelope.show(seen.host, seen.node, {**document, "later": result.later, "notes": notes, "pending": result.later})
        return EXIT_OK
    later = " The VM is running: it takes effect at its next start." if guest.running and result.digest != guest.digest else ""
    print(printable(f"{guest.label}: starts with {volid} from now on (sha256 {file.sha256[:_SHORT]}...).{later} Undo: {result.undo}"))
    for note in notes:
        print(printable(f"  {note}"))
    return EXIT_OK


def _log(seen: View, guest: Guest, file: ImageFile, result: Result) -> None:
    """Logs the change in the journal, unless the guest had the same image before."""
    if result.digest == guest.digest and guest.firmware and (guest.firmware.volid, guest.firmware.sha256) == (file.volid, file.sha256):
        return
    later = " from its next start on" if guest.running and result.digest != guest.digest else ""
    guard = "; the guard was attached as well, to check the image before each start" if result.volid else ""
    message = f"given the firmware image {file.volid}{later} (sha256 {file.sha256}){guard}. Undo: {result.undo}"
    audit.log_guest(seen.host, guest, "firmware-set", message, device=file.volid, digest=result.digest, backup=result.backup)


def _fitting(seen: View, guest: Guest, node: Node, volid: str) -> ImageFile:
    """The image's file, if the guest can start with it; raises UsageError and Refused."""
    path = images.path_of(storage_facts.read(seen.host), volid)
    if isinstance(path, Unread):
        raise UsageError(path.why, hint="List the images: pvehooks firmware list")
    listed = imageusers.read(seen.host, volid)
    if listed.file.trouble:
        storage, _, name = volid.partition(f":{images.CONTENT}/")
        absent = f"Import it: pvehooks firmware import FILE --storage {storage} --name {name}" if listed.file.missing else "See: dmesg"
        raise Refused(f"{volid}: {listed.file.trouble}", listed.file.remedy or absent)
    unfit = firmware_fit.unfit(guest, listed.image, node.qemu)
    if unfit is not None:
        raise Refused(f"{guest.label} cannot start with {volid}: {unfit.why}", unfit.remedy)
    own, rest = firmware_fit.own_firmware(qemuargs.split(firmware.own_args(guest)) or ())
    if own:
        left = f"--args {qemuargs.for_shell(' '.join(map(qemuargs.quoted, rest)))}" if rest else "--delete args"
        raise Refused(f"{guest.label} already names a firmware in its args: {own}", hint=f"Remove that first: qm set {guest.vmid} {left}")
    return listed.file


def _elsewhere(seen: View, guest: Guest, node: Node, file: ImageFile, everywhere: bool) -> list[str]:
    """Notes about other nodes that may run the guest, which need the image too; raises Refused if HA may move it there."""
    storage_name = file.volid.partition(":")[0]
    storages = storage_facts.read(seen.host)
    storage = None if isinstance(storages, Unread) else storages.get(storage_name)
    others = [name for name in members.names(seen.host, seen.node) if name != seen.node]
    if storage is None or not others:
        return []
    ha = None if isinstance(node.ha, Unread) else node.ha.guests.get(guest.vmid)
    moved = sorted((ha.nodes or set(others)) - {seen.node}) if ha is not None and ha.moved else []
    without = [name for name in (moved or others) if not storage.serves(name)]
    if moved and without and not everywhere:
        raise Refused(
            f"high availability may move {guest.label} to {', '.join(without)}, where the storage '{storage_name}' is not available",
            hint="Use a storage that all of these nodes have, or exclude these nodes by an HA rule",
        )
    if storage.shared:
        return []
    if moved and not everywhere:
        raise Refused(
            f"high availability may move {guest.label} to {', '.join(moved)}, and this node cannot see whether the image is in '{storage_name}' there",
            hint=f"Import the same file on each of them (pvehooks firmware import), then: pvehooks firmware set {guest.vmid} {file.volid} --on-all-nodes",
        )
    return [] if everywhere else [f"On other nodes it starts only if the image is there too: import it there ({', '.join(others)})"]
