"""PCI mappings that passed-through devices come from: are they there, do they fit the hardware, have they enough?"""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks import derived
from pvehooks.derived.passthrough import PASSING, claims, devices_at, passes_through, pci_devices
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Finding, Guest, NamedTuple, Node, PciDevice, PciMapping, Severity, Unread

RULES = RuleSet(applies_to=passes_through, order=55, options=PASSING)


@RULES.rule("mapping-missing", Severity.BLOCK, "Map it: Datacenter, Resource Mappings", needs=("mappings",))
def mapping_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM names a PCI mapping that is not there, is malformed, or has no entry for this node: PVE refuses the start.

    Source: qemu-server, PCI.pm (parse_hostpci); the administrator's manual, "Resource Mapping".
    """
    for entry in guest.hostpci:
        if not entry.mapping:
            continue
        if isinstance(node.mappings, Unread):
            yield not_examined(entry.option, f"whether there is a mapping '{entry.mapping}' is unknown: {node.mappings.why}")
        elif entry.mapping not in node.mappings:
            there = ", ".join(sorted(node.mappings)) or "none"
            alike = next((name for name in node.mappings if name.lower() == entry.mapping.lower()), "")
            remedy = f"Write it as it is there: {derived.remedies.command(guest, entry, mapping=alike)}" if alike else ""
            message = f"{entry.option} names the PCI mapping '{entry.mapping}', which does not exist (existing mappings: {there})"
            yield Finding(entry.option, message, remedy)
        elif not node.mappings[entry.mapping].entries and node.mappings[entry.mapping].trouble:
            trouble = node.mappings[entry.mapping].trouble
            message = f"{entry.option}: the PCI mapping '{entry.mapping}' is malformed in /etc/pve/mapping/pci.cfg, {trouble}"
            yield Finding(entry.option, message, f"Map it anew: Datacenter, Resource Mappings, {entry.mapping}, Edit")
        elif not node.mappings[entry.mapping].entries:
            nodes = ", ".join(sorted(node.mappings[entry.mapping].nodes)) or "no node"
            yield Finding(entry.option, f"{entry.option}: the PCI mapping '{entry.mapping}' is for {nodes}, not for {node.name}")


@RULES.rule(
    "mapping-mismatch",
    Severity.BLOCK,
    "Map it anew: Datacenter, Resource Mappings, MAPPING, Edit",
    needs=("mappings", "pci", "remembered"),
    kernel_may_explain=True,
)
def mapping_mismatch(guest: Guest, node: Node) -> Iterator[Finding]:
    """A PCI mapping describes a device otherwise than the hardware does: PVE refuses the start.

    Compared are id, subsystem-id and IOMMU group of each entry for this node, as PVE compares them; each must also be there.
    One entry that does not fit stops the VM, also if another would have been chosen. Groups and addresses move when
    hardware is added, or with a firmware or kernel update.
    Source: pve-guest-common, Mapping/PCI.pm (assert_valid).
    """
    for entry in guest.hostpci:
        # Read only for a guest that names one: /etc/pve may be slow.
        known = node.mappings if entry.mapping else {}
        mapping = None if isinstance(known, Unread) else known.get(entry.mapping)
        if mapping is None:
            continue
        for wrong in mismatches(mapping, node):
            message = f"{entry.option}: the PCI mapping '{entry.mapping}' {wrong.words}"
            yield Finding(entry.option, *_with_remedy(message, wrong, mapping, node))


def _with_remedy(message: str, wrong: Mismatch, mapping: PciMapping, node: Node) -> tuple[str, str]:
    """The message, which says where the device is that is meant, if it is elsewhere now; and the remedy."""
    as_is = derived.remedies.mapping_as_is(mapping, node, mdev=wrong.value if wrong.name == "mdev" else "")
    plan = derived.following.mapping_plan(mapping, node) if wrong.name != "mdev" else None
    if plan is None:
        return message, f"If it is the device that is meant: {as_is}"
    remedy = derived.following.mapping_remedy(plan, mapping)
    now = derived.following.moved_to(plan, wrong.address)
    if not now:
        return f"{message}; it is the device that was meant", f"Have the mapping say what it is now: {remedy}"
    return f"{message}; the device that was meant is at {now} now", f"Have the mapping name its devices where they are now: {remedy}"


class Mismatch(NamedTuple):
    """What a mapping says otherwise than the hardware: the name of the property and its value in the hardware, and both in words."""

    name: str
    value: str
    words: str
    # Of the device that is there.
    address: str


def mismatches(mapping: PciMapping, node: Node) -> Iterator[Mismatch]:
    """The first one of each device that is there."""
    for mapped in mapping.entries:
        for index, path in enumerate(mapped.paths):
            device = pci_devices(node).get(_first_function(path))
            if device is None:
                continue
            group = (mapped.iommugroup, device.group) if index == 0 else ("", "")
            written = {"id": mapped.id, "subsystem-id": mapped.subsystem_id, "iommugroup": group[0], "mdev": str(int(mapping.mdev))}
            for name, value in _as_mapped(device, group[1]).items():
                if written[name].replace("0x", "") != value:
                    has = f"has {name} {written[name]}" if written[name] else f"has no {name}"
                    yield Mismatch(name, value, f"{has} for {device.label}, which has {value or 'none'}", device.address)
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
    "mapping-exhausted",
    Severity.BLOCK,
    "Add a device to the mapping (Datacenter, Resource Mappings), or take the option from the VM: qm set {vmid} --delete OPTION",
    needs=("holders", "pci"),
)
def mapping_exhausted(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM takes more devices from a PCI mapping than the mapping has for this node: PVE refuses the start.

    PVE gives each option the first entry that is free. Once the VM's own options have all of them, it ends with "could not find a
    free device". Mediated devices are not applies_to, many of them can be made of one entry.
    Source: qemu-server, PCI.pm (choose_hostpci_devices).
    """
    every = claims(guest, node)
    for at, claim in enumerate(every):
        if claim.exhausted:
            entry = claim.entry
            there = 0 if isinstance(entry.choices, Unread) else len(entry.choices)
            ours = (
                set()
                if isinstance(entry.addresses, Unread)
                else {each.address for name in entry.addresses for each in devices_at(name, node)}
            )
            takers = [each.entry.option for each in every[:at] if not each.exhausted and ours & {one.address for one in each.devices}]
            message = (
                f"{entry.option}: no device is left for it: the mapping '{entry.mapping}' has {there} for {node.name},"
                f" which the VM's own {derived.remedies.listed(takers)} take: PVE would refuse the start"
            )
            remedy = (
                f"Add a device to the mapping (Datacenter, Resource Mappings, {entry.mapping}, Edit),"
                f" or take the option from the VM: qm set {guest.vmid} --delete {entry.option}"
            )
            yield Finding(entry.option, message, remedy)
