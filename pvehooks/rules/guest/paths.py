"""Volumes, disks and ports that a start opens by path, and that are not on the node."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.derived.disks import NO_DRIVES, drives, is_iso, volumes
from pvehooks.derived.prepared import is_prepared
from pvehooks.rules.engine import RuleSet, no_template
from pvehooks.values import Finding, Guest, Node, Severity, Unread
from pvehooks.values.starting import Gone, Paths

RULES = RuleSet(applies_to=no_template, order=170)
# PVE makes it anew at the start (qemu-server, Cloudinit.pm, commit_cloudinit_disk); the name as in Drive.pm, drive_is_cloudinit.
_CLOUDINIT = re.compile(r"(?:.*/)?(?:vm-\d+-)?cloudinit(?:\.(?:raw|qcow|qcow2|qed|vmdk|cloop))?", re.ASCII)
_PORTS = ("serial0", "serial1", "serial2", "serial3", "parallel0", "parallel1", "parallel2")


@RULES.rule(
    "volume-missing",
    Severity.BLOCK,
    "See what there is: pvesm list STORAGE --vmid {vmid}. Restore the VM, or take the volume out: qm set {vmid} --delete OPTION",
    needs=("paths",),
)
def volume_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """A disk, an ISO image or another volume of the VM is not on its storage, which is there: Proxmox VE refuses the start.

    An ISO image that was deleted while a VM's CD drive had it, a disk that was removed by hand, a directory whose disk is not mounted.
    Looked at are directories, mounted network shares, LVM groups that are this node's alone, and imported ZFS pools; a volume of another
    storage, or of one that is not mounted or does not answer, is not looked for. Cloud-init's drive is made again at each start. A ZFS volume is
    missing, too, while the key of its dataset is not loaded (zfs load-key).
    Source: pve-storage, Storage.pm (activate_volumes) and each plugin's activate_volume; qemu-server, QemuServer.pm (vm_start_nolock).
    """
    if isinstance(node.paths, Unread):
        return
    empty: dict[str, list[str]] = {}
    for option, storage, volume in volumes(guest):
        gone = None if "cloudinit" in volume and _CLOUDINIT.fullmatch(volume) else node.paths.volume(storage, volume)
        if gone is not None and gone.empty:
            empty.setdefault(gone.empty, []).append(option)
        elif gone is not None:
            what = f"{option} is {storage}:{volume}, and {gone.words}"
            yield _finding(guest, node.paths, option, what, _volume_remedy(guest, option, storage, volume))
    for folder, options in empty.items():
        what = f"{', '.join(options)} would be below {folder}, which is empty: perhaps what belongs there is not mounted"
        yield _finding(guest, node.paths, options[0], what, _empty_remedy(guest, options, folder))


@RULES.rule(
    "disk-path-missing",
    Severity.BLOCK,
    "Plug the disk in, or take it out of the VM: qm set {vmid} --delete OPTION",
    needs=("paths",),
)
def disk_path_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """A disk of the node, or a file, that the VM has by its path is not there: the start fails.

    A disk that was taken out or has failed, a name below /dev that is another one since, a file that was deleted.
    Source: qemu-server, Blockdev.pm (generate_file_blockdev); QEMU's manual, -blockdev.
    """
    if isinstance(node.paths, Unread):
        return
    for option, path in drives(guest):
        gone = node.paths.drive(path) if path.startswith("/") else None
        if gone is not None:
            yield _finding(guest, node.paths, option, _named(option, path, gone), _path_remedy(guest, option, path))


@RULES.rule(
    "port-missing",
    Severity.BLOCK,
    "Plug it in, or take it out of the VM: qm set {vmid} --delete OPTION",
    needs=("paths",),
    options=("parallel", "serial"),
)
def port_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """A serial or parallel port of the node that the VM is to have is not there: Proxmox VE refuses the start ("no such serial device").

    Source: qemu-server, QemuServer.pm (config_to_command).
    """
    if isinstance(node.paths, Unread):
        return
    for option in _PORTS:
        path = str(guest.options.get(option, ""))
        gone = node.paths.port(path) if path.startswith("/") else None
        if gone is not None:
            socket = f". Or make it a socket: qm set {guest.vmid} --{option} socket" if option.startswith("serial") else ""
            remedy = f"Plug it in, or take it out of the VM: qm set {guest.vmid} --delete {option}{socket}"
            yield _finding(guest, node.paths, option, _named(option, path, gone), remedy)


def _named(option: str, path: str, gone: Gone) -> str:
    return f"{path} ({option}){gone.words.removeprefix(path)}"


def _finding(guest: Guest, paths: Paths, option: str, what: str, remedy: str) -> Finding:
    prepared = is_prepared(guest, paths)
    start = "Unless its hookscript makes it, PVE refuses" if prepared else "PVE refuses"
    return Finding(option, f"{start} to start it: {what}", remedy, Severity.WARNING if prepared else Severity.UNSET)


def _volume_remedy(guest: Guest, option: str, storage: str, volume: str) -> str:
    if option not in NO_DRIVES and is_iso(volume):
        return f"Put the image there again, or take it out: {_emptied(guest, option)}"
    unlock = f"qm unlock {guest.vmid} && " if option == "vmstate" and guest.options.get("lock") == "suspended" else ""
    lost = f"If it is lost, restore the VM, or take it out: {unlock}qm set {guest.vmid} --delete {option}"
    return f"See what there is: pvesm list {storage} --vmid {guest.vmid}. {lost}"


def _empty_remedy(guest: Guest, options: list[str], folder: str) -> str:
    discs = [option for option in options if guest.properties(option).get("media") == "cdrom"]
    disks = [option for option in options if option not in discs]
    taken = [f"qm set {guest.vmid} --delete {','.join(disks)}"] if disks else []
    taken += [f"qm set {guest.vmid} " + " ".join(f"--{option} none,media=cdrom" for option in discs)] if discs else []
    out = " && ".join(taken)
    return f"Mount it, after a look: findmnt --target {folder}. If all is lost, restore the VM, or take out what is gone: {out}"


def _path_remedy(guest: Guest, option: str, path: str) -> str:
    by_id = " These are there: ls -l /dev/disk/by-id." if path.startswith("/dev/") else ""
    if guest.properties(option).get("media") == "cdrom":
        return f"Put it there again, or take it out: {_emptied(guest, option)}"
    return f"Put it there again, or name another.{by_id} Or take it out of the VM: qm set {guest.vmid} --delete {option}"


def _emptied(guest: Guest, option: str) -> str:
    return f"qm set {guest.vmid} --{option} none,media=cdrom"
