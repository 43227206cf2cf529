"""Passed-through devices: are they there, are they what they were, can they be bound and reset?"""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived import remedies
from pvehooks.derived.passthrough import blocking_uses, bus, claims, functions, named, on_host_driver, others, passes_through
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Cure, Finding, Guest, HostPci, KnownDevice, Node, PciDevice, Severity, Unread

RULES = RuleSet(concerned=passes_through, order=50)
_DISPLAY = 0x03
_DROP = "Put it back, or take it from the guest: qm set {vmid} --delete OPTION"


@RULES.rule("hostpci-device-missing", Severity.BLOCK, _DROP, needs=("pci",))
def hostpci_device_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """The guest names a PCI device that is not on the node's bus: the start would fail.

    It was taken out, is switched off or dead, or has another address since other hardware came or went. Every entry of a
    mapping for this node must be there, also those that would not be chosen.
    Source: qemu-server, PCI.pm (parse_hostpci).
    """
    if isinstance(node.pci, Unread):
        yield not_examined("pci", f"the node's PCI devices cannot be read: {node.pci.why}")
        return
    for entry in guest.hostpci:
        if isinstance(entry.choices, Unread):
            if not entry.mapping and not entry.trouble:
                yield Finding(entry.option, f"{entry.option} cannot be used: {entry.choices.why}", _drop(entry))
            continue
        for address in dict.fromkeys(entry.addresses if not isinstance(entry.addresses, Unread) else ()):
            if not functions(address, node):
                by = f", which the mapping '{entry.mapping}' names," if entry.mapping else ""
                message = f"{entry.option}: there is no PCI device {address}{by} on {node.name}{_moved(address, guest, node)}"
                yield Finding(address, message, remedies.absent(guest, node, entry, address, _now_at(address, guest, node)))


def _drop(entry: HostPci) -> str:
    return _DROP.replace("OPTION", entry.option)


def _moved(address: str, guest: Guest, node: Node) -> str:
    """The same as the end of a sentence."""
    now = _now_at(address, guest, node)
    return f"; the one that was there is at {now} now" if now else ""


def _now_at(address: str, guest: Guest, node: Node) -> str:
    """Where the device that was at the address at the last accepted start is now; '' if unknown."""
    known = guest.accepted.devices if guest.accepted else {}
    for name, was in known.items():
        if name != address and not name.startswith(f"{address}."):
            continue
        now = [each.address for each in bus(node).values() if _is(each, was) and each.address not in known]
        if len(now) == 1:
            return now[0]
    return ""


def _is(device: PciDevice, was: KnownDevice) -> bool:
    return (device.vendor, device.device) == (was.vendor, was.device) and not _other_disks(device.serial, was.serial)


def _other_disks(now: str, before: str) -> bool:
    """Whether both serials are known and have nothing in common: those of a controller are its disks', of which one may be replaced."""
    return bool(now and before) and not set(now.split(",")) & set(before.split(","))


@RULES.rule("hostpci-invalid", Severity.BLOCK, "Correct the option: qm set {vmid} --OPTION ...", needs=("pci",))
def hostpci_invalid(guest: Guest, node: Node) -> Iterator[Finding]:
    """PVE refuses the start because of how the hostpci options are written.

    host and mapping in one option, pcie=1 without the machine type q35, a device named twice, a mediated device of several
    functions, or legacy-igd beside what it cannot be combined with.
    Source: qemu-server, PCI.pm (parse_hostpci, parse_hostpci_devices, choose_hostpci_devices).
    """
    for entry in guest.hostpci:
        trouble = entry.trouble
        if not trouble and entry.mdev and not isinstance(entry.choices, Unread):
            several = [choice for choice in entry.choices if sum(len(functions(address, node)) for address in choice) > 1]
            trouble = f"{several[0][0]} has several functions, a mediated device needs one" if several else ""
        if trouble:
            yield Finding(entry.option, f"{entry.option} cannot be used: {trouble}", _correct(entry, trouble, guest))


def _correct(entry: HostPci, trouble: str, guest: Guest) -> str:
    option = entry.option
    if trouble.startswith("pcie=1 needs"):
        machine = remedies.replacing(guest, "machine", "type", "q35", "type")
        return f"Give the guest that machine: {machine}. Or take pcie=1 out: {remedies.without(guest, option, 'pcie')}"
    if trouble.startswith("'host' and 'mapping'"):
        return f"Keep the mapping: {remedies.without(guest, option, 'host', '')}"
    if "legacy-igd" in trouble and "legacy-igd" in entry.properties:
        return f"Take legacy-igd out: {remedies.without(guest, option, 'legacy-igd')}"
    if "mediated" in trouble or "several functions" in trouble:
        return f"Name one function: {remedies.one_function(guest, entry)}"
    if trouble.endswith("already"):
        return f"Take it out here: qm set {guest.vmid} --delete {option}"
    return f"Correct it as the manual says (man qm), or take it out: qm set {guest.vmid} --delete {option}"


@RULES.rule(
    "hostpci-names-bridge",
    Severity.BLOCK,
    "Name the device behind it (pvehooks host groups), or take it from the guest: qm set {vmid} --delete OPTION",
    needs=("pci", "holders"),
)
def hostpci_names_bridge(guest: Guest, node: Node) -> Iterator[Finding]:
    """The guest names a PCI bridge, a switch or a root port: it is the wrong address, and the start would fail.

    Proxmox VE leaves bridges to the host, and vfio-pci takes none, so QEMU does not get the device.
    Source: pve-common, SysFSTools.pm (pci_dev_group_bind_to_vfio); the kernel's drivers/vfio/pci/vfio_pci_core.c.
    """
    for claim in claims(guest, node):
        bridge = next((device for device in claim.whole if device.bridge), None)
        if bridge is not None:
            option = claim.entry.option
            message = f"{option}: {bridge.label} is a bridge, which no guest can be given: the start would fail"
            remedy = f"Name the device behind it (pvehooks host groups), or take it from the guest: qm set {guest.vmid} --delete {option}"
            yield Finding(bridge.address, message, remedy)


@RULES.rule(
    "hostpci-device-dead",
    Severity.BLOCK,
    "Switch the node off and on again: a restart alone may not wake the device",
    needs=("pci", "holders"),
)
def hostpci_device_dead(guest: Guest, node: Node) -> Iterator[Finding]:
    """The device does not answer: its config space reads all ones.

    It has fallen off the bus, often after a failed reset, or it does not come back from a sleep state (D3cold). lspci says
    "Unknown header type 7f". Virtual functions are not looked at, they read so in part by design.
    Source: the PCI specification: a read that nobody answers gives all ones.
    """
    for device in named(guest, node).values():
        if device.dead:
            yield Finding(
                device.address, f"{device.label} does not answer (its config space reads all ones), the guest would not start with it"
            )


@RULES.rule(
    "device-changed",
    Severity.BLOCK,
    "If it is the right one: pvehooks trust {vmid}. If not, name the right one: qm set {vmid} --OPTION ADDRESS,...",
    needs=("pci", "holders"),
    guard_alone=True,
)
def device_changed(guest: Guest, node: Node) -> Iterator[Finding]:
    """Another device is at the guest's PCI address than at its last accepted start.

    Addresses move when a card is added or removed, or after a firmware update: the address may name the host's own disk now.
    Vendor, device and class are compared, and the serial number of storage where both are known. Virtual functions are not
    compared, nor what a mapping names (PVE compares that itself).
    """
    known = guest.accepted.devices if guest.accepted else {}
    for claim in claims(guest, node):
        for device in () if claim.entry.mapping else claim.devices:
            was = known.get(device.address)
            if was is None or device.physfn:
                continue
            change = _change(device, was)
            if change:
                right = _now_at(device.address, guest, node)
                command = remedies.at_address(guest, claim.entry.option, device.address, right or "ADDRESS")
                remedy = (
                    f"Name it where it is now: {command}. If the new device is meant: pvehooks trust {guest.vmid}"
                    if right
                    else f"If it is the right one: pvehooks trust {guest.vmid}. If not, name the right one: {command}"
                )
                message = f"{claim.entry.option}: {device.label} is not what was there at the last accepted start ({change})"
                yield Finding(device.address, f"{message}{_moved(device.address, guest, node)}", remedy)


def _change(device: PciDevice, was: KnownDevice) -> str:
    """What is another than it was, in words; '' if nothing, or where it cannot be read."""
    if -1 not in (device.vendor, device.device) and (device.vendor, device.device) != (was.vendor, was.device):
        return f"that was a device [{was.vendor:04x}:{was.device:04x}]"
    if device.class_code != -1 and device.class_code != was.class_code:
        return f"its class was {was.class_code:06x} and is {device.class_code:06x}"
    if _other_disks(device.serial, was.serial):
        return f"its serial number was {was.serial} and is {device.serial}"
    return ""


@RULES.rule(
    "vfio-not-bound",
    Severity.BLOCK,
    "Bind it: pvehooks bind ADDRESS --persist; or let pvehooks do it: [guard] unbound = bind",
    needs=("iommu", "pci", "holders", "uses"),
    guard_alone=True,
)
def vfio_not_bound(guest: Guest, node: Node) -> Iterator[Finding]:
    """A device of the guest is idle and not bound to a vfio driver.

    With `[guard] unbound = bind` the guard binds it at the start, it alone and through driver_override, when nothing else
    forbids the start; with `block` the start is refused; with `leave` PVE binds it, and registers its ids with vfio-pci for
    good, so that a twin that appears later is taken as well. driver=keep, mediated devices and vGPUs are left as they are.
    Source: the kernel's Documentation/ABI/testing/sysfs-bus-pci (driver_override); pve-common, SysFSTools.pm.
    """
    if isinstance(node.iommu, Unread) or not node.iommu.active:
        return
    for claim in claims(guest, node):
        for device in claim.whole:
            if device.vfio or device.bridge or device.dead or blocking_uses(device, guest, node) or others(device.address, guest, node):
                continue
            now = f"is on driver {device.driver}, not on vfio-pci" if device.driver else "has no driver; it needs vfio-pci"
            remedy = f"Bind it: pvehooks bind {device.address} --persist; or let pvehooks do it: [guard] unbound = bind"
            message = f"{claim.entry.option}: {device.label} {now}"
            yield Finding(device.address, message, remedy, cure=Cure.BIND)


@RULES.rule("mapping-missing", Severity.BLOCK, "Map it: Datacenter, Resource Mappings", needs=("mappings",))
def mapping_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """The guest names a PCI mapping that is not there, is malformed, or has no entry for this node: PVE refuses the start.

    Source: qemu-server, PCI.pm (parse_hostpci); the administrator's manual, "Resource Mapping".
    """
    for entry in guest.hostpci:
        if not entry.mapping:
            continue
        if isinstance(node.mappings, Unread):
            yield not_examined(entry.option, f"whether there is a mapping '{entry.mapping}' is unknown: {node.mappings.why}")
        elif entry.mapping not in node.mappings:
            there = ", ".join(sorted(node.mappings)) or "none"
            yield Finding(entry.option, f"{entry.option} names the PCI mapping '{entry.mapping}', which does not exist (there: {there})")
        elif not node.mappings[entry.mapping].entries and node.mappings[entry.mapping].trouble:
            trouble = node.mappings[entry.mapping].trouble
            message = f"{entry.option}: the PCI mapping '{entry.mapping}' is malformed in /etc/pve/mapping/pci.cfg, {trouble}"
            yield Finding(entry.option, message, f"Map it anew: Datacenter, Resource Mappings, {entry.mapping}, Edit")
        elif not node.mappings[entry.mapping].entries:
            nodes = ", ".join(sorted(node.mappings[entry.mapping].nodes)) or "no node"
            yield Finding(entry.option, f"{entry.option}: the PCI mapping '{entry.mapping}' is for {nodes}, not for {node.name}")


@RULES.rule("mapping-mismatch", Severity.BLOCK, "Map it anew: Datacenter, Resource Mappings, MAPPING, Edit", needs=("mappings", "pci"))
def mapping_mismatch(guest: Guest, node: Node) -> Iterator[Finding]:
    """A PCI mapping says something else of a device than the hardware does: PVE refuses the start.

    Compared are id, subsystem-id and IOMMU group of each entry for this node, as PVE compares them; each must also be there.
    One entry that does not fit stops the guest, also if another would have been chosen. Groups and addresses move when
    hardware is added, or with a firmware or kernel update.
    Source: pve-guest-common, Mapping/PCI.pm (assert_valid).
    """
    if isinstance(node.mappings, Unread):
        return
    for entry in guest.hostpci:
        mapping = node.mappings.get(entry.mapping) if entry.mapping else None
        if mapping is None:
            continue
        for mapped in mapping.entries:
            for index, path in enumerate(mapped.paths):
                device = bus(node).get(_first_function(path))
                if device is None:
                    continue
                group = (mapped.iommugroup, device.group) if index == 0 else ("", "")
                said = {"id": mapped.id, "subsystem-id": mapped.subsystem_id, "iommugroup": group[0], "mdev": str(int(mapping.mdev))}
                is_so = _as_mapped(device, group[1])
                for name, value in is_so.items():
                    if said[name].replace("0x", "") != value:
                        has = f"has {name} {said[name]}" if said[name] else f"has no {name}"
                        message = f"{entry.option}: the PCI mapping '{entry.mapping}' {has} for {device.label}, which has {value or 'none'}"
                        command = remedies.mapping_as_is(mapping, node, mdev=value if name == "mdev" else "")
                        yield Finding(entry.option, message, f"If it is the device that is meant: {command}")
                        break


def _first_function(path: str) -> str:
    """The device that PVE compares for an entry's path: the first function of a slot, with the domain spelt out."""
    address = path.lower() if "." in path else f"{path.lower()}.0"
    return address if address.count(":") > 1 else f"0000:{address}"


def _as_mapped(device: PciDevice, group: str) -> dict[str, str]:
    subsystem = "" if device.subsystem is None else "{:04x}:{:04x}".format(*device.subsystem)
    mediated = str(int(bool(device.mdev_types) or device.vgpus))
    return {"id": f"{device.vendor:04x}:{device.device:04x}", "iommugroup": group, "mdev": mediated, "subsystem-id": subsystem}


@RULES.rule(
    "mdev-type-unavailable",
    Severity.BLOCK,
    "See what there is: pvesh get /nodes/localhost/hardware/pci/ADDRESS/mdev",
    needs=("pci", "holders"),
)
def mdev_type_unavailable(guest: Guest, node: Node) -> Iterator[Finding]:
    """The guest asks for a mediated device of a type that the card does not have, or has no instance left of: PVE refuses the start.

    Source: qemu-server, PCI/Mdev.pm (pci_create_mdev_device, create_nvidia_device).
    """
    for claim in claims(guest, node):
        wanted = claim.entry.mdev
        if not wanted or not claim.devices:
            continue
        device = claim.devices[0]
        remedy = f"See what there is: pvesh get /nodes/localhost/hardware/pci/{device.address}/mdev"
        if not device.mdev_types and not device.vgpus:
            yield Finding(
                device.address,
                f"{claim.entry.option}: {device.label} has no mediated devices (its driver is {device.driver or 'none'})",
                remedy,
            )
        elif device.mdev_types and wanted not in device.mdev_types:
            there = ", ".join(sorted(device.mdev_types))
            yield Finding(
                device.address, f"{claim.entry.option}: {device.label} has no mediated devices of type {wanted} (it has: {there})", remedy
            )
        elif device.mdev_types.get(wanted, 1) < 1 and not _has_instance(device, guest, claim.entry):
            yield Finding(device.address, f"{claim.entry.option}: {device.label} has no instance of {wanted} left", remedy)


def _has_instance(device: PciDevice, guest: Guest, entry: HostPci) -> bool:
    """Whether the guest's own instance is left from before, which PVE uses again."""
    return f"{int(entry.option[7:]):08d}-0000-0000-0000-{guest.vmid:012d}" in device.mdevs


@RULES.rule("romfile-missing", Severity.BLOCK, "Put the file there, or take romfile= out of the option", needs=("roms",))
def romfile_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """The guest's device is to get a ROM file that is not in /usr/share/kvm of this node: the start would fail.

    Source: the administrator's manual, "GPU Passthrough"; qemu-server, PCI.pm (print_hostpci_devices).
    """
    for entry in guest.hostpci:
        name = str(entry.properties.get("romfile", ""))
        if not name or ".." in name:
            continue
        if isinstance(node.roms, Unread):
            yield not_examined(entry.option, f"whether the ROM file {name} is there is unknown: {node.roms.why}")
        elif name not in node.roms:
            remedy = f"Put the file there, or do without it: {remedies.without(guest, entry.option, 'romfile')}"
            yield Finding(entry.option, f"{entry.option}: the ROM file /usr/share/kvm/{name} is not there", remedy)


@RULES.rule(
    "reset-unavailable",
    Severity.WARNING,
    "Nothing mends it; the node may need a restart before the device works again",
    needs=("holders", "pci", "uses"),
)
def reset_unavailable(guest: Guest, node: Node) -> Iterator[Finding]:
    """A device of the guest cannot be reset, or only together with others that are in use.

    Without a reset it keeps its state from one start to the next, and may not work after the first. A bus reset hits every
    device behind the same bridge.
    Source: the kernel's Documentation/ABI/testing/sysfs-bus-pci (reset_method).
    """
    own = named(guest, node)
    for claim in claims(guest, node):
        for device in claim.whole:
            methods = device.reset_methods
            if isinstance(methods, Unread) or device.physfn:
                continue
            if not methods:
                yield Finding(
                    device.address, f"{claim.entry.option}: {device.label} cannot be reset, and may not work after the guest's first start"
                )
            elif methods == ("bus",):
                beside = device.slot.rpartition(":")[0]
                for address, neighbour in bus(node).items():
                    if not address.startswith(f"{beside}:") or address in own or neighbour.bridge:
                        continue
                    if others(address, guest, node) or (on_host_driver(neighbour) and blocking_uses(neighbour, guest, node)):
                        message = f"{claim.entry.option}: {device.label} can only be reset together with {neighbour.label}, which is in use"
                        yield Finding(device.address, message)
                        break


@RULES.rule(
    "bar-held-by-framebuffer",
    Severity.WARNING,
    "Make another card the console's in the firmware setup, or add initcall_blacklist=sysfb_init to the kernel command line",
    needs=("pci", "holders"),
)
def bar_held_by_framebuffer(guest: Guest, node: Node) -> Iterator[Finding]:
    """The node's console draws into the memory of a graphics card that the guest is to get.

    QEMU then says "BAR 0: can't reserve" and the guest's screen stays dark.
    Source: the kernel's /proc/iomem (BOOTFB, simplefb, efifb); the administrator's manual, "GPU Passthrough".
    """
    for claim in claims(guest, node):
        for device in claim.whole:
            if device.class_code >> 16 == _DISPLAY and device.framebuffer:
                message = f"{claim.entry.option}: the node's console ({device.framebuffer}) holds memory of {device.label}: the guest's screen may stay dark"
                yield Finding(device.address, message)
