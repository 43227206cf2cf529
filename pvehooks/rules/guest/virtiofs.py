"""Directories of the node that VMs share by virtiofs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.derived import remedies
from pvehooks.derived.ostype import windows_version
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Finding, Guest, Node, Severity, Unread

# struct virtio_fs_config of the kernel's include/uapi/linux/virtio_fs.h.
_LONGEST_TAG = 36
_NAMES = tuple(f"virtiofs{number}" for number in range(10))
_ANY = frozenset(_NAMES)


def _options(guest: Guest) -> list[str]:
    options = guest.options
    return [name for name in _NAMES if name in options]


def _concerned(guest: Guest) -> bool:
    return not guest.template and not _ANY.isdisjoint(guest.options)


RULES = RuleSet(applies_to=_concerned, order=210, options=("virtiofs",))


def shares(guest: Guest) -> Iterator[tuple[str, str]]:
    """The options virtiofsN with the name of the mapping that each shares."""
    for option in _options(guest):
        yield option, str(guest.properties(option).get("dirid", ""))


def _first(guest: Guest) -> str:
    return next(iter(_options(guest)), "virtiofs0")


@RULES.rule("virtiofsd-missing", Severity.BLOCK, "Install it: apt install virtiofsd", needs=("virtiofsd",))
def virtiofsd_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM shares directories by virtiofs, and the node has no virtiofsd: PVE refuses the start.

    Proxmox VE only recommends the package, so that some nodes do not have it.
    Source: the administrator's manual, "Virtiofs"; qemu-server, Virtiofs.pm (start_virtiofsd).
    """
    if isinstance(node.virtiofsd, Unread):
        yield not_examined(_first(guest), f"whether virtiofsd is installed is unknown: {node.virtiofsd.why}")
    elif not node.virtiofsd:
        options = ", ".join(option for option, _ in shares(guest))
        yield Finding(_first(guest), f"{options} cannot be used, virtiofsd is not installed on {node.name} (/usr/libexec/virtiofsd)")


@RULES.rule("virtiofs-mapping-missing", Severity.BLOCK, "Map it: Datacenter, Resource Mappings", needs=("directories",))
def virtiofs_mapping_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM shares a directory mapping that is not there, or that has no path for this node, or several: PVE refuses the start.

    Source: pve-guest-common, Mapping/Dir.pm (find_on_current_node).
    """
    if isinstance(node.directories, Unread):
        yield not_examined(_first(guest), f"which directory mappings there are is unknown: {node.directories.why}")
        return
    for option, name in shares(guest):
        mapping = node.directories.get(name)
        if mapping is None:
            there = ", ".join(sorted(node.directories)) or "none"
            yield Finding(option, f"{option} shares the directory mapping '{name}', which does not exist (existing mappings: {there})")
        elif not mapping.paths:
            nodes = ", ".join(sorted(mapping.nodes)) or "no node"
            yield Finding(option, f"{option}: the directory mapping '{name}' is for {nodes}, not for {node.name}")
        elif len(mapping.paths) > 1:
            remedy = f"Take all but one out: Datacenter, Resource Mappings, {name}, Edit"
            paths = ", ".join(mapping.paths)
            yield Finding(
                option, f"{option}: the directory mapping '{name}' has several paths for {node.name} ({paths}), PVE takes one", remedy
            )


@RULES.rule("virtiofs-path-missing", Severity.BLOCK, "Make the directory, mount it, or map another one", needs=("directories",))
def virtiofs_path_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """The directory that the VM shares is not there on this node: PVE refuses the start.

    Network file systems are not looked at: a server that does not answer would block the look.
    Source: pve-guest-common, Mapping/Dir.pm (assert_valid).
    """
    if isinstance(node.directories, Unread):
        return
    for option, name in shares(guest):
        mapping = node.directories.get(name)
        if mapping is None or len(mapping.paths) != 1:
            continue
        path = mapping.paths[0]
        if isinstance(mapping.trouble, Unread):
            yield not_examined(option, f"whether {path} is there is unknown: {mapping.trouble.why}")
        elif mapping.trouble:
            message = f"{option} cannot be used, {path} {mapping.trouble} on {node.name} (directory mapping '{name}')"
            make = f"Make it (mkdir -p {path}), mount it, or map" if "exist" in mapping.trouble else "Map"
            yield Finding(option, message, f"{make} another: Datacenter, Resource Mappings, {name}, Edit")


@RULES.rule("virtiofs-acl-windows", Severity.BLOCK, "Switch it off: qm set {vmid} --virtiofsN NAME,expose-acl=0")
def virtiofs_acl_windows(guest: Guest, node: Node) -> Iterator[Finding]:
    """A Windows VM is shown the ACLs of a shared directory, which it does not understand: PVE refuses the start.

    Source: the administrator's manual, "Virtiofs"; qemu-server, Virtiofs.pm (assert_virtiofs_config).
    """
    if not windows_version(guest):
        return
    for option, _ in shares(guest):
        if guest.properties(option).get("expose-acl"):
            message = f"{option} has expose-acl, and the VM runs Windows ({guest.options.get('ostype')})"
            yield Finding(option, message, f"Switch it off: {remedies.without(guest, option, 'expose-acl')}")


@RULES.rule("virtiofs-memory-hotplug", Severity.BLOCK, "Switch memory hotplug off: qm set {vmid} --hotplug network,disk,usb")
def virtiofs_memory_hotplug(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM shares directories by virtiofs and has memory hotplug: PVE refuses the start.

    Source: the administrator's manual, "Virtiofs" (Known Limitations); qemu-server, Memory.pm (config).
    """
    features = [word for word in re.split(r"[,;\s\0]+", str(guest.options.get("hotplug", ""))) if word]
    if "memory" in features and any(shares(guest)):
        others = ",".join(word for word in features if word != "memory") or "0"
        yield Finding(
            "hotplug",
            f"memory hotplug does not go together with virtiofs ({_first(guest)})",
            f"Switch memory hotplug off: qm set {guest.vmid} --hotplug {others}",
        )


@RULES.rule("virtiofs-tag-too-long", Severity.BLOCK, "Make a mapping with a shorter name: Datacenter, Resource Mappings")
def virtiofs_tag_too_long(guest: Guest, node: Node) -> Iterator[Finding]:
    """The name of a shared directory mapping has more than 36 characters: it is the tag in the VM, and QEMU takes no more.

    Source: QEMU, hw/virtio/vhost-user-fs.c ("tag property must be 36 bytes or less").
    """
    for option, name in shares(guest):
        if len(name) > _LONGEST_TAG:
            message = (
                f"{option}: the name of the mapping '{name}' has {len(name)} characters, with more than {_LONGEST_TAG} QEMU does not start"
            )
            yield Finding(option, message)


@RULES.rule("virtiofs-tag-twice", Severity.WARNING, "Take one out: qm set {vmid} --delete virtiofsN")
def virtiofs_tag_twice(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM shares one directory mapping twice: both have the same tag, and the VM can mount only one.

    Source: the kernel's fs/fuse/virtio_fs.c (virtio_fs_add_instance).
    """
    seen: dict[str, str] = {}
    for option, name in shares(guest):
        if name in seen:
            message = f"{option} shares '{name}', and so does {seen[name]}: the VM can mount one of them"
            yield Finding(option, message, f"Take one out: qm set {guest.vmid} --delete {option}")
        seen.setdefault(name, option)


@RULES.rule("virtiofs-memory-state", Severity.INFO, "Take snapshots without RAM: qm snapshot {vmid} NAME --vmstate 0")
def virtiofs_memory_state(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM has snapshots with RAM, and shares directories by virtiofs: PVE refuses more of them, and hibernation.

    A directory on the node is not part of the state that would be saved.
    Source: qemu-server, QemuMigrate/Helpers.pm (check_non_migratable_resources); the manual, "Virtiofs" (Known Limitations).
    """
    with_ram = [name for name, options in (guest.config.snapshots if guest.config else {}).items() if "vmstate" in options]
    if with_ram and any(shares(guest)):
        newest = max(with_ram, key=lambda name: _time(guest, name))
        yield Finding(_first(guest), f"snapshots with RAM (as {newest}) and hibernation are refused while it has {_first(guest)}")


def _time(guest: Guest, snapshot: str) -> int:
    time = guest.config.snapshots[snapshot].get("snaptime", 0) if guest.config else 0
    return time if isinstance(time, int) else 0
