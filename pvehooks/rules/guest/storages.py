"""The storages of a VM's disks and images."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from pvehooks.derived.disks import NO_DRIVES, is_iso, volumes
from pvehooks.derived.once import once
from pvehooks.rules.engine import RuleSet, no_template
from pvehooks.values import Finding, Guest, Node, Severity, Unread
from pvehooks.values.storages import Storage

RULES = RuleSet(applies_to=no_template, order=160)
_SEPARATORS = re.compile(r"[,;\s\0]+")


@RULES.rule(
    "storage-unavailable",
    Severity.BLOCK,
    "See: pvesm status. Put the storage right in Datacenter, Storage, or move the disk: qm disk move {vmid} DISK STORAGE",
    needs=("storages",),
)
def storage_unavailable(guest: Guest, node: Node) -> Iterator[Finding]:
    """A disk, an ISO image or another volume of the VM lies on a storage that is not for this node, is disabled, or not there at all.

    PVE refuses the start, also for the image in a CD drive.
    Source: qemu-server, QemuServer.pm (vm_start_nolock, get_current_vm_volumes); pve-storage, Storage.pm (activate_storage).
    """
    unfit = _unavailable(node)
    missing: dict[str, list[tuple[str, str]]] = {}
    for option, name, volume in volumes(guest):
        if unfit(name):
            missing.setdefault(name, []).append((option, volume))
    if not missing or isinstance(node.storages, Unread):
        return
    for name, drives in missing.items():
        options = [option for option, _ in drives]
        where = f"{', '.join(options)} {'is' if len(options) == 1 else 'are'} on the storage '{name}'"
        message = f"PVE refuses to start it: {where}, {_why_not(node.storages.get(name), node.name)}"
        yield Finding(options[0], message, _remedy(guest, name, drives, node.storages.get(name)))


@once
def _unavailable(node: Node) -> Callable[[str], bool]:
    """A function that says whether the node cannot use the storage of a name."""
    # A tree without a storage.cfg knows no storage.
    if isinstance(node.storages, Unread) or not any(storage.listed for storage in node.storages.values()):
        return lambda name: False
    there = frozenset(name for name, storage in node.storages.items() if storage.serves(node.name))
    return lambda name: name not in there


def _why_not(storage: Storage | None, node: str) -> str:
    if storage is None:
        return "which does not exist"
    if storage.disabled:
        return "which is disabled"
    return f"which is for {', '.join(sorted(storage.nodes))}, not for {node}"


def _remedy(guest: Guest, name: str, drives: list[tuple[str, str]], storage: Storage | None) -> str:
    if all(is_iso(volume) and option not in NO_DRIVES for option, volume in drives):
        taken = " ".join(f"--{option} none,media=cdrom" for option, _ in drives)
        return f"Take the image out: qm set {guest.vmid} {taken}"
    take = f"qm set {guest.vmid} --delete {','.join(option for option, _ in drives)}"
    if storage is None:
        return f"Add the storage again (Datacenter, Storage), or take the disk out: {take}"
    if storage.disabled:
        return f"Enable it: pvesm set {name} --disable 0. Or take the disk out: {take}"
    nodes = ",".join(sorted({*storage.nodes, guest.node}))
    return f"If {guest.node} has it: pvesm set {name} --nodes {nodes}. Otherwise migrate the VM to a node that does"


@once
def _refused(node: Node) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """What each storage of the node is not meant for, by (storage, "images" or "iso"), with what it is meant for."""
    found = {}
    for storage in () if isinstance(node.storages, Unread) else node.storages.values():
        allowed = tuple(word for word in _SEPARATORS.split(storage.options.get("content", "")) if word)
        if allowed and storage.serves(node.name):
            found.update({(storage.name, kind): allowed for kind in ("images", "iso") if kind not in allowed})
    return found


@RULES.rule(
    "storage-content-refused",
    Severity.BLOCK,
    "Allow it: pvesm set STORAGE --content ...",
    needs=("storages",),
)
def storage_content_refused(guest: Guest, node: Node) -> Iterator[Finding]:
    """A disk or an ISO image of the VM lies on a storage that is not meant for such: PVE refuses the start.

    A storage has a list of what may be on it (content); it was shortened after the VM was made, or the config was written by hand.
    Source: qemu-server, QemuServer.pm (check_volume_storage_type).
    """
    refused = _refused(node)
    seen: set[tuple[str, str]] = set()
    for option, name, volume in volumes(guest):
        wanted = "iso" if is_iso(volume) else "images"
        if (name, wanted) in refused and (name, wanted) not in seen:
            seen.add((name, wanted))
            allowed = refused[name, wanted]
            what = "ISO images" if wanted == "iso" else "disks of VMs"
            listed = ",".join([*(word for word in allowed if word != "none"), wanted])
            message = (
                f"PVE refuses to start it: {option} is on the storage '{name}', which is not for {what} (its content: {', '.join(allowed)})"
            )
            yield Finding(option, message, f"Allow it: pvesm set {name} --content {listed}")
