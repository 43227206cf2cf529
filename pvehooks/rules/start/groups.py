"""IOMMU groups: what else a start would take from the host, from containers and from other guests."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived import remedies
from pvehooks.derived.passthrough import (
    Claim,
    ClaimedMember,
    blocking_uses,
    claims,
    functions,
    group_members,
    holder_phrase,
    named,
    on_host_driver,
    others,
    passes_through,
    uses,
)
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Finding, Guest, Holder, Iommu, Node, PciDevice, Refuser, Severity, Unread, Use

RULES = RuleSet(concerned=passes_through, order=40)
# Base classes, and classes, of devices that work for somebody (pci.ids): storage, network, display, sound, wireless,
# processing accelerators; USB controllers, SD host controllers.
_WORKING_BASES = frozenset({0x01, 0x02, 0x03, 0x04, 0x0D, 0x12})
_WORKING = frozenset({0x0C03, 0x0805})
# Storage and network: no card has them beside other things.
_NEVER_BESIDE = frozenset({0x01, 0x02})
# How many uses of a device are told one by one.
_SHOWN = 3
_WAIT = "Wait until that guest has started, or failed to, and start this one then"
APART = (
    "Give the device an IOMMU group of its own (another slot, ACS in the firmware setup), or take it from the guest:"
    " qm set {vmid} --delete OPTION"
)


def _apart(claim: Claim) -> str:
    return APART.replace("OPTION", claim.entry.option)


@RULES.rule(
    "iommu-off",
    Severity.BLOCK,
    "Switch it on, in the firmware setup (VT-d, AMD-Vi) or on the kernel command line, and restart the node",
    needs=("iommu", "pci", "holders"),
)
def iommu_off(guest: Guest, node: Node) -> Iterator[Finding]:
    """The guest has passed-through PCI devices, but the node has no IOMMU groups, or none with its device: the start would fail.

    Either the firmware has VT-d or AMD-Vi switched off, or the kernel was told to leave it off, or the hardware has none. The
    ACPI tables and lines about them in the kernel's log are there with the IOMMU off, too: they prove nothing. With igfx_off
    in intel_iommu= only Intel's graphics have none.
    Source: the kernel's Documentation/ABI/testing/sysfs-kernel-iommu_groups; qemu-server, PCI.pm (prepare_pci_device).
    """
    if isinstance(node.iommu, Unread):
        yield not_examined("iommu", f"whether the node has an IOMMU is unknown: {node.iommu.why}")
    elif not node.iommu.active:
        options = ", ".join(entry.option for entry in guest.hostpci)
        yield Finding("iommu", f"{options} cannot be passed through, {node.name} has no IOMMU groups: {node.iommu.why}")
    for claim in claims(guest, node) if _working(node) is not None else ():
        for device in claim.whole:
            if not (device.group or device.group_unread or device.bridge):
                message = f"{claim.entry.option}: {device.label} is in no IOMMU group, the IOMMU leaves it out: the start would fail"
                remedy = f"Take igfx_off off the kernel command line if it is there, or the device from the guest: qm set {guest.vmid} --delete {claim.entry.option}"
                yield Finding(device.address, message, remedy)


@RULES.rule(
    "group-in-use-by-host",
    Severity.BLOCK,
    "Free it, or take it from the guest: qm set {vmid} --delete OPTION",
    needs=("iommu", "pci", "holders", "uses"),
    guard_alone=True,
)
def group_in_use_by_host(guest: Guest, node: Node) -> Iterator[Finding]:
    """A start would take a device from the host that the host is using: a disk, a network card, a controller.

    Proxmox VE unbinds every device of the IOMMU group from its host driver when the guest starts, except bridges, without a
    look at what it is. The kernel lets it: a disk with a mounted file system goes as silently as any other. What counts is
    use, not labels: mounted file systems, swap, imported pools, active volumes and arrays, bridge ports, addresses, open
    device nodes.
    Source: pve-common, SysFSTools.pm (pci_dev_group_bind_to_vfio).
    """
    if _working(node) is None:
        return
    for claim in claims(guest, node):
        for device in claim.whole:
            held = [use for use in blocking_uses(device, guest, node) if not use.vmid]
            if held:
                message = f"{claim.entry.option} would take {device.label} from the host, which {_all(held)}"
                if device.vfio:
                    message = f"{claim.entry.option}: {device.label} {_all(held)}: the start would reset it under that process, and fail"
                remedy = _freeing(held, f"Free it, or take it from the guest: qm set {guest.vmid} --delete {claim.entry.option}")
                yield Finding(device.address, message, remedy)
            if device.group_unread:
                yield not_examined(
                    device.address, f"which devices share the IOMMU group of {device.label} is unknown: {device.group_unread}"
                )
            yield from _unknown(device, guest, node)
    for member in group_members(guest, node):
        held = [use for use in blocking_uses(member.device, guest, node) if not use.vmid]
        if held:
            end = "the start would fail" if member.device.vfio else "the start would take it from the host"
            message = f"{_shares(member)}, which {_all(held)}: {end}"
            yield Finding(member.device.address, message, _freeing(held, _apart(member.claim)))
        yield from _unknown(member.device, guest, node)


def _shares(member: ClaimedMember) -> str:
    """Which device shares the group of which, as the beginning of a message."""
    claimed = member.claimed
    return f"{member.claim.entry.option} ({claimed.address}) shares IOMMU group {claimed.group} with {member.device.label}"


def _all(held: list[Use]) -> str:
    """What is done with a device: the most important uses, and how many more there are. All of them have to end."""
    first, *others_shown = (use.sentence for use in held[:_SHOWN])
    more = len(held) - _SHOWN
    if more > 0:
        others_shown.append(f"has {more} more use{'' if more == 1 else 's'}")
    listed = " and ".join(filter(None, (", ".join(others_shown[:-1]), *others_shown[-1:])))
    return f"{first}; it also {listed}" if listed else first


def _freeing(held: list[Use], otherwise: str) -> str:
    """What ends the uses that are shown; `otherwise` for those that have no cure of their own."""
    return ". ".join(dict.fromkeys(use.remedy or otherwise for use in held[:_SHOWN]))


def _unknown(device: PciDevice, guest: Guest, node: Node) -> Iterator[Finding]:
    """Where nothing speaks against taking a device that the host works, but not all could be looked at."""
    if on_host_driver(device) and not blocking_uses(device, guest, node) and (unread := uses(device, node).unread):
        yield not_examined(device.address, f"whether {device.label} is in use is unknown: {'; '.join(unread)}")


@RULES.rule(
    "group-in-use-by-guest",
    Severity.BLOCK,
    "Stop the other guest, or give the devices IOMMU groups of their own",
    needs=("iommu", "pci", "holders", "uses"),
    guard_alone=True,
)
def group_in_use_by_guest(guest: Guest, node: Node) -> Iterator[Finding]:
    """A running guest or container uses another device of the same IOMMU group, which a start would take as well.

    A group can be given to one guest at a time. Virtual functions usually have groups of their own, and mediated devices do
    not take the group.
    Source: the kernel's Documentation/driver-api/vfio.rst.
    """
    for member in group_members(guest, node):
        holders = others(member.device.address, guest, node)
        using = _users(holders, blocking_uses(member.device, guest, node))
        if using:
            refuser = _refuser(using, holders)
            message = f"{_shares(member)}, which {_all(using)}: the start would {'fail' if refuser is Refuser.PVE else 'take it away'}"
            remedy = f"{_stopping(using)}. Or give the devices IOMMU groups of their own (another slot, ACS in the firmware setup)"
            yield Finding(member.device.address, message, remedy, refuser=refuser)


def _users(holders: list[Holder], found: list[Use]) -> list[Use]:
    """The guests that have a device, each once: those whose option it is, then those that use it otherwise."""
    using = {holder.vmid: Use(holder_phrase(holder), holder.vmid, remedy=_WAIT if holder.state == "starting" else "") for holder in holders}
    for use in found:
        if use.vmid:
            using.setdefault(use.vmid, use)
    return list(using.values())


def _refuser(using: list[Use], holders: list[Holder]) -> Refuser:
    """PVE and the kernel refuse a device that another VM has passed through; what uses it otherwise would lose it."""
    return Refuser.PVE if len(using) == len({holder.vmid for holder in holders}) else Refuser.UNSET


def _stopping(using: list[Use]) -> str:
    """What to do so that the guests that are shown give the device back."""
    shown = using[:_SHOWN]
    if all(use.remedy == _WAIT for use in shown):
        return _WAIT
    words = (f"{'pct' if 'container' in use.sentence or f'CT {use.vmid}' in use.sentence else 'qm'} shutdown {use.vmid}" for use in shown)
    return f"Stop {'it' if len(shown) == 1 else 'them'} first: {' && '.join(words)}"


@RULES.rule(
    "device-in-use-by-guest",
    Severity.BLOCK,
    "Stop the other guest first: qm shutdown VMID",
    needs=("holders", "pci", "uses"),
    guard_alone=True,
)
def device_in_use_by_guest(guest: Guest, node: Node) -> Iterator[Finding]:
    """A running guest or container already uses the device.

    Of the alternatives of a mapping the first free one is taken; this is said only when none is free. Mediated devices of one
    card do not exclude each other.
    Source: qemu-server, PCI.pm (choose_hostpci_devices, reserve_pci_usage).
    """
    for claim in claims(guest, node):
        for device in claim.devices:
            holders = [each for each in others(device.address, guest, node) if not (each.mdev and claim.entry.mdev)]
            using = _users(holders, blocking_uses(device, guest, node) if claim.entry.taken_whole else [])
            if using:
                message = f"{claim.entry.option} would take {device.label}, which {_all(using)}"
                yield Finding(device.address, message, _stopping(using), refuser=_refuser(using, holders))


@RULES.rule(
    "pf-vfs-in-use",
    Severity.BLOCK,
    "Give the guest a virtual function instead, or free those in use",
    needs=("holders", "pci", "uses"),
    guard_alone=True,
)
def pf_vfs_in_use(guest: Guest, node: Node) -> Iterator[Finding]:
    """Taking a physical function (PF) would remove its virtual functions (VFs), some of which are in use.

    VFs vanish when the driver of their PF goes, from the host and from other guests. An address without a function number
    covers the PF and those VFs that share its slot: PVE takes the PF, its VFs vanish, and the start dies half way.
    Source: the kernel's Documentation/PCI/pci-iov-howto.rst.
    """
    own = named(guest, node)
    for claim in claims(guest, node):
        for device in claim.whole:
            lost = [address for address in device.virtfns if address in own]
            if lost:
                message = (
                    f"{claim.entry.option} covers {device.label} and its own VF {lost[0]}, which vanishes when its PF is taken:"
                    " the start would die half way"
                )
                remedy = _named_function(claim, device, lost[0], guest)
                yield Finding(device.address, message, remedy)
                continue
            users = [(address, by) for address in device.virtfns if (by := _user_of(address, guest, node))]
            if users:
                address, by = users[0]
                more = f" ({len(users) - 1} more of its VFs {'is' if len(users) == 2 else 'are'} in use)" if len(users) > 1 else ""
                message = f"{claim.entry.option} would take {device.label} and with it remove its VF {address}, which {by}{more}"
                idle = next((each for each in device.virtfns if each not in dict(users) and functions(each, node)), "")
                instead = _named_function(claim, device, idle, guest) if idle else ""
                yield Finding(device.address, message, instead and f"Give the guest a VF that is idle. {instead}")


def _named_function(claim: Claim, device: PciDevice, address: str, guest: Guest) -> str:
    """What to do so that the guest is given that function in place of the device."""
    if claim.entry.mapping:
        return f"Name {address} in the mapping: Datacenter, Resource Mappings, {claim.entry.mapping}, Edit"
    written = claim.entry.addresses
    names = () if isinstance(written, Unread) else written
    old = device.address if device.address in names else device.address.partition(".")[0]
    return f"Name the function: {remedies.at_address(guest, claim.entry.option, old, address, exact=True)}"


@RULES.rule(
    "device-would-be-missed",
    Severity.WARNING,
    "If the node needs it: qm set {vmid} --delete OPTION. If not: ignore = device-would-be-missed: REASON under [guest {vmid}] in pvehooks.conf",
    needs=("holders", "iommu", "pci", "uses"),
)
def device_would_be_missed(guest: Guest, node: Node) -> Iterator[Finding]:
    """A start would take something from the host that nobody uses at this moment, but that somebody will look for.

    The card that shows the node's console, its last keyboard, a TPM. The node runs on without it, but cannot be
    served at its own screen.
    """
    if _working(node) is None:
        return
    taken = [(claim, device) for claim in claims(guest, node) for device in claim.whole]
    taken += [(member.claim, member.device) for member in group_members(guest, node)]
    for claim, device in taken:
        for use in uses(device, node).found if on_host_driver(device) else ():
            if use.remark and use.vmid != guest.vmid:
                option = claim.entry.option
                remedy = (
                    f"If the node needs it: qm set {guest.vmid} --delete {option}. If not, write into /etc/pvehooks/pvehooks.conf,"
                    f" under [guest {guest.vmid}]: ignore = device-would-be-missed: REASON"
                )
                yield Finding(device.address, f"{option} would take {device.label} from the host, which {use.sentence}", remedy)


def _user_of(address: str, guest: Guest, node: Node) -> str:
    """Who uses the VF, as the end of a sentence; '' for nobody."""
    holders = others(address, guest, node)
    if holders:
        return holder_phrase(holders[0])
    return next((use.sentence for device in functions(address, node) for use in blocking_uses(device, guest, node)), "")


def _idle_members(guest: Guest, node: Node) -> Iterator[ClaimedMember]:
    """Members on a host driver that nobody uses, nobody named, and that were not taken along at the last accepted start."""
    accepted = guest.accepted
    for member in group_members(guest, node):
        device = member.device
        if not on_host_driver(device) or others(device.address, guest, node) or blocking_uses(device, guest, node):
            continue
        if accepted is not None and device.address in accepted.members and not _other_than_accepted(device, guest):
            continue
        yield member


def _other_than_accepted(member: PciDevice, guest: Guest) -> bool:
    known = guest.accepted.devices.get(member.address) if guest.accepted else None
    return known is not None and (known.vendor, known.device) != (member.vendor, member.device)


def _works_for_somebody(member: PciDevice, guest: Guest, node: Node) -> bool:
    """Whether it is a working device of a kind that people miss, and no other function of a card that the guest gets.

    Functions of the board share a slot without being one card: disks or a network card beside something else.
    """
    base = member.class_code >> 16
    card = {device.class_code >> 16 for device in named(guest, node).values() if device.slot == member.slot}
    if card and (base not in _NEVER_BESIDE or base in card):
        return False
    return member.class_code >> 16 in _WORKING_BASES or member.class_code >> 8 in _WORKING


@RULES.rule(
    "group-not-clean",
    Severity.BLOCK,
    "If that is all right: pvehooks trust {vmid}. If not, give the device an IOMMU group of its own",
    needs=("iommu", "pci", "holders", "uses"),
    guard_alone=True,
)
def group_not_clean(guest: Guest, node: Node) -> Iterator[Finding]:
    """A start would take another device along that works for the host, is idle now, and that nobody named.

    It shares the IOMMU group of a device that the guest names, is another physical device, and is on a host driver: storage,
    network, display, sound, USB, an accelerator. Nothing is lost at this moment, but the host will miss it later. Members
    that were there at the guest's last accepted start, or while it ran when pvehooks came, are accepted.
    Source: pve-common, SysFSTools.pm (pci_dev_group_bind_to_vfio).
    """
    for member in _idle_members(guest, node):
        if _works_for_somebody(member.device, guest, node):
            message = (
                f"{_shares(member)} on driver {member.device.driver}, which nobody named: the start would take it from the host as well"
            )
            yield Finding(member.device.address, message)


@RULES.rule(
    "group-takes-plumbing",
    Severity.WARNING,
    "If the node does not need it while the guest runs: pvehooks trust {vmid}",
    needs=("iommu", "pci", "holders", "uses"),
)
def group_takes_plumbing(guest: Guest, node: Node) -> Iterator[Finding]:
    """A start takes along a device of the board, or another function of the same card, that nobody named.

    SMBus, SPI and memory controllers, signal processors and the like leave their host driver with the group: sensors and
    firmware updates may stop working until the node restarts.
    Source: pve-common, SysFSTools.pm (pci_dev_group_bind_to_vfio).
    """
    for member in _idle_members(guest, node):
        claimed, device = member.claimed, member.device
        if not _works_for_somebody(device, guest, node):
            message = (
                f"{member.claim.entry.option} ({claimed.address}) takes {device.label} along from driver {device.driver}:"
                f" it is in the same IOMMU group {claimed.group}"
            )
            yield Finding(device.address, message)


@RULES.rule(
    "acs-override-active",
    Severity.WARNING,
    "Do not run guests that you do not trust; without it: take pcie_acs_override off the kernel command line",
    needs=("iommu",),
)
def acs_override_active(guest: Guest, node: Node) -> Iterator[Finding]:
    """The isolation of the guest's devices rests on pcie_acs_override, which splits IOMMU groups that the hardware does not.

    Devices may still reach each other, and so may a guest reach the memory of the host or of another guest through them.
    Source: the administrator's manual, "PCI(e) Passthrough".
    """
    iommu = _working(node)
    if iommu is not None and iommu.acs_override:
        yield Finding("iommu", f"its IOMMU groups rest on pcie_acs_override={iommu.acs_override}: the hardware does not isolate them")


def _refused_by_vfio(guest: Guest, finding: Finding) -> Finding:
    """An audit shows that the start fails; before a start, the guard leaves the refusal to vfio, which does no harm."""
    return finding._replace(severity=Severity.BLOCK) if finding.refuser is Refuser.PVE else finding


@RULES.rule(
    "interrupts-unsafe",
    Severity.WARNING,
    "Switch interrupt remapping on (firmware setup: VT-d, x2APIC; take intremap=off off the kernel command line)",
    needs=("iommu",),
    in_audit=_refused_by_vfio,
)
def interrupts_unsafe(guest: Guest, node: Node) -> Iterator[Finding]:
    """The node does not remap interrupts: vfio refuses the guest's devices, or was told to do without, which is not safe.

    With allow_unsafe_interrupts=1 it gives them all the same, and the guest can then make a device send the host any interrupt.
    Mediated devices are not concerned.
    Source: the kernel's drivers/vfio/vfio_iommu_type1.c (vfio_iommu_type1_attach_group); the administrator's manual, "PCI(e) Passthrough".
    """
    iommu = _working(node)
    if iommu is None or iommu.remaps_interrupts or all(entry.mdev for entry in guest.hostpci):
        return
    told = "vfio was told to do without (allow_unsafe_interrupts=1)"
    if iommu.remaps_interrupts is False and not iommu.unsafe_allowed:
        # A running guest proves that vfio gave it the devices, whatever the module says now.
        if not guest.running:
            yield Finding(
                "iommu",
                f"{node.name} has no interrupt remapping, and vfio refuses devices without it: QEMU would not start",
                refuser=Refuser.PVE,
            )
    elif iommu.remaps_interrupts is False:
        yield Finding("iommu", f"{node.name} has no interrupt remapping, and {told}: the guest can inject interrupts into the host")
    elif iommu.unsafe_allowed:
        message = (
            f"whether {node.name} has interrupt remapping cannot be told, and {told}: if not, the guest can inject interrupts into the host"
        )
        yield Finding("iommu", message)


def _working(node: Node) -> Iommu | None:
    return None if isinstance(node.iommu, Unread) or not node.iommu.active else node.iommu
