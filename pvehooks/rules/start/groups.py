"""IOMMU groups: what else a start would take from the host, from containers and from other VMs."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks import derived
from pvehooks.derived.passthrough import (
    PASSING,
    Claim,
    ClaimedMember,
    behind_named,
    blocking_uses,
    claims,
    devices_at,
    group_members,
    holder_phrase,
    named,
    on_host_driver,
    other_holders,
    passes_through,
    pci_devices,
    taken,
    uses,
    working_iommu,
)
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Finding, Guest, Holder, Node, PciDevice, Refuser, Severity, Use
from pvehooks.values.pci import does_work

RULES = RuleSet(applies_to=passes_through, order=40, options=PASSING)
# Storage and network: no card has them beside other things.
_NEVER_BESIDE = frozenset({0x01, 0x02})
# How many uses, or devices, a message names.
_SHOWN = 3
_WAIT = "Wait until that VM has started, or failed to, and start this one then"
_PLACES = "Put the card into another slot, or switch ACS on in the firmware setup"


def _remedy_own_group(member: ClaimedMember, guest: Guest) -> str:
    """How the guest does without the other device; functions of one device stay together in every slot."""
    leaving = derived.remedies.giving_up(guest, member.claim.entry)
    if member.device.slot == member.claimed.slot:
        way, _, command = leaving.rpartition(": ")
        return f"{way[0].upper()}{way[1:]} (no other slot separates functions of one device): {command}"
    return f"{_PLACES}, or {leaving}"


@RULES.rule(
    "group-in-use-by-host",
    Severity.BLOCK,
    "Free it, or take it from the VM: qm set {vmid} --delete OPTION",
    needs=("iommu", "pci", "holders", "uses"),
    only_guard_refuses=True,
    kernel_may_explain=True,
)
def group_in_use_by_host(guest: Guest, node: Node) -> Iterator[Finding]:
    """A start would take a device from the host that the host is using: a disk, a network card, a controller.

    Proxmox VE unbinds every device of the IOMMU group from its host driver when the VM starts, except bridges, whatever it is.
    The kernel lets it: a disk with a mounted file system goes as silently as any other. What counts is
    use, not labels: mounted file systems, swap, imported pools, active volumes and arrays, bridge ports, addresses, open
    device nodes. For a device in `args` it unbinds nothing: QEMU finds the group in use, and does not start.
    Source: pve-common, SysFSTools.pm (pci_dev_group_bind_to_vfio).
    """
    if working_iommu(node) is None:
        return
    for claim, device, member in _taken(guest, node):
        blocking = [use for use in blocking_uses(device, guest, node) if not use.vmid]
        if blocking and member is None:
            refuser = Refuser.PVE if claim.entry.by_args and not device.vfio else Refuser.UNSET
            remedy = _remedy_free(blocking, derived.remedies.giving_up(guest, claim.entry))
            yield Finding(device.address, _named_in_use(claim, device, blocking), remedy, refuser=refuser)
        elif blocking and member is not None:
            refuser = Refuser.PVE if claim.entry.by_args or device.vfio else Refuser.UNSET
            remedy = _remedy_free(blocking, _lowered(_remedy_own_group(member, guest)))
            yield Finding(device.address, _member_in_use(member, blocking), remedy, refuser=refuser)
        if member is None and device.group_unread:
            yield not_examined(device.address, f"which devices share the IOMMU group of {device.label} is unknown: {device.group_unread}")
        yield from _unread_use(device, guest, node)


def _taken(guest: Guest, node: Node) -> Iterator[tuple[Claim, PciDevice, ClaimedMember | None]]:
    """The devices that a start takes, with the claim that takes them: those that it names, then, as members, those of their groups."""
    for claim, device in taken(guest, node):
        yield claim, device, None
    for member in group_members(guest, node):
        yield member.claim, member.device, member


def _named_in_use(claim: Claim, device: PciDevice, blocking: list[Use]) -> str:
    if device.vfio:
        return f"{claim.entry.option}: {device.label} {_list_uses(blocking)}: the start would reset it under that process, and fail"
    if claim.entry.by_args:
        return f"{claim.entry.option}: {device.label} {_list_uses(blocking)}, and {_ARGS}"
    return f"{claim.entry.option} would take {device.label} from the host, which {_list_uses(blocking)}"


def _member_in_use(member: ClaimedMember, blocking: list[Use]) -> str:
    end = "the start would take it from the host"
    if member.device.vfio:
        end = "the start would fail"
    elif member.claim.entry.by_args:
        end = _ARGS
    return f"{_shares(member)}, which {_list_uses(blocking)}: {end}"


_ARGS = "PVE unbinds nothing for args, so QEMU finds the group in use: the start would fail"


def _accepting(member: ClaimedMember, guest: Guest, node: Node) -> str:
    otherwise = f"If not, {_lowered(_remedy_own_group(member, guest))}"
    entry, slot = member.claim.entry, member.claimed.slot
    card = [device for device in pci_devices(node).values() if device.slot == slot]
    # Bus 00 is the board's: what shares a slot there is no card.
    whole = member.device.slot == slot and not slot.startswith("0000:00:") and {device.group for device in card} == {member.claimed.group}
    if whole and not (entry.mapping or entry.by_args or any(device.physfn for device in card)):
        command = derived.remedies.command(guest, entry, {device.address: slot for device in card})
        return f"Give the VM all functions of the card, if the node can do without them: {command}. {otherwise}"
    return f"If the node can do without it: pvehooks trust {guest.vmid}. {otherwise}"


def _lowered(sentence: str) -> str:
    return f"{sentence[0].lower()}{sentence[1:]}"


def _shares(member: ClaimedMember) -> str:
    """Which device shares the group of which, as the beginning of a message."""
    claimed = member.claimed
    return f"{member.claim.entry.option} ({claimed.address}) shares IOMMU group {claimed.group} with {member.device.label}"


def _list_uses(blocking: list[Use]) -> str:
    """What uses a device: the most important uses, and how many more there are. All of them have to end."""
    shown = [use.sentence for use in blocking[:_SHOWN]]
    more = len(blocking) - _SHOWN
    if more > 0:
        shown.append(f"has {more} more use{'' if more == 1 else 's'}")
    return "; it also ".join(filter(None, (*shown[:1], derived.remedies.listed(shown[1:]))))


def _remedy_free(blocking: list[Use], otherwise: str) -> str:
    """What ends all uses, or else `otherwise`; only that where one of them has no cure of its own."""
    own = list(dict.fromkeys(use.remedy for use in blocking))
    return f"{'. '.join(own)}. Or {otherwise}" if all(own) else f"{otherwise[0].upper()}{otherwise[1:]}"


def _unread_use(device: PciDevice, guest: Guest, node: Node) -> Iterator[Finding]:
    """For a device on a host driver without a known use, of which not all could be read."""
    if on_host_driver(device) and not blocking_uses(device, guest, node) and (unread := uses(device, node).unread):
        yield not_examined(device.address, f"whether {device.label} is in use is unknown: {'; '.join(unread)}")


@RULES.rule(
    "group-in-use-by-guest",
    Severity.BLOCK,
    "Stop the other VM, or give the devices IOMMU groups of their own: another slot, ACS in the firmware setup",
    needs=("iommu", "pci", "holders", "uses"),
    only_guard_refuses=True,
    kernel_may_explain=True,
)
def group_in_use_by_guest(guest: Guest, node: Node) -> Iterator[Finding]:
    """A running VM or container uses another device of the same IOMMU group, which a start would take as well.

    A group can be given to one VM at a time. Virtual functions usually have groups of their own, and mediated devices do
    not take the group.
    Source: the kernel's Documentation/driver-api/vfio.rst.
    """
    for member in group_members(guest, node):
        holders = other_holders(member.device.address, guest, node)
        using = _guests_using(holders, blocking_uses(member.device, guest, node))
        if using:
            refuser = _refuser(using, holders)
            message = (
                f"{_shares(member)}, which {_list_uses(using)}: the start would {'fail' if refuser is Refuser.PVE else 'take it away'}"
            )
            apart = "" if member.device.slot == member.claimed.slot else f". To run both: {_lowered(_PLACES)}"
            remedy = f"{_remedy_stop(using)}{apart}"
            yield Finding(member.device.address, message, remedy, refuser=refuser)


def _guests_using(holders: list[Holder], found: list[Use]) -> list[Use]:
    """The guests that have a device, each once: those whose option it is, then those that use it otherwise."""
    using = {holder.vmid: Use(holder_phrase(holder), holder.vmid, remedy=_WAIT if holder.state == "starting" else "") for holder in holders}
    for use in found:
        if use.vmid:
            using.setdefault(use.vmid, use)
    return list(using.values())


def _refuser(using: list[Use], holders: list[Holder]) -> Refuser:
    """PVE and the kernel refuse a device that another VM has passed through; what uses it otherwise would lose it."""
    return Refuser.PVE if len(using) == len({holder.vmid for holder in holders}) else Refuser.UNSET


def _remedy_stop(using: list[Use]) -> str:
    """What to do so that the guests that are shown give the device back."""
    shown = using[:_SHOWN]
    if all(use.remedy == _WAIT for use in shown):
        return _WAIT
    words = (f"{'pct' if 'container' in use.sentence or f'CT {use.vmid}' in use.sentence else 'qm'} shutdown {use.vmid}" for use in shown)
    return f"Stop {'it' if len(shown) == 1 else 'them'} first: {' && '.join(words)}"


@RULES.rule(
    "device-in-use-by-guest",
    Severity.BLOCK,
    "Stop the other VM first: qm shutdown VMID",
    needs=("holders", "pci", "uses"),
    only_guard_refuses=True,
)
def device_in_use_by_guest(guest: Guest, node: Node) -> Iterator[Finding]:
    """A running VM or container already uses the device.

    Of the alternatives of a mapping PVE takes the first free one; only when none is free, the start fails. Mediated devices of one
    card do not exclude each other.
    Source: qemu-server, PCI.pm (choose_hostpci_devices, reserve_pci_usage).
    """
    seen: set[str] = set()
    for claim in claims(guest, node):
        for device in claim.devices:
            if device.address in seen:
                continue
            seen.add(device.address)
            holders = [each for each in other_holders(device.address, guest, node) if not (each.mdev and claim.entry.mdev)]
            using = _guests_using(holders, blocking_uses(device, guest, node) if claim.entry.taken_whole else [])
            if using:
                message = f"{claim.entry.option} would take {device.label}, which {_list_uses(using)}"
                yield Finding(device.address, message, _remedy_stop(using), refuser=_refuser(using, holders))


@RULES.rule(
    "pf-vfs-in-use",
    Severity.BLOCK,
    "Give the VM a virtual function instead, or free those in use",
    needs=("holders", "pci", "uses"),
    only_guard_refuses=True,
)
def pf_vfs_in_use(guest: Guest, node: Node) -> Iterator[Finding]:
    """Taking a physical function (PF) would remove its virtual functions (VFs), some of which are in use.

    VFs vanish when the driver of their PF goes, from the host and from other VMs. An address without a function number
    covers the PF and those VFs that share its slot: PVE takes the PF, its VFs vanish, and the start dies half way.
    Source: the kernel's Documentation/PCI/pci-iov-howto.rst.
    """
    own = named(guest, node)
    for claim, device in taken(guest, node):
        lost = [address for address in device.virtfns if address in own]
        if lost:
            message = (
                f"{claim.entry.option} covers {device.label} and its own VF {lost[0]}, which vanishes when its PF is taken:"
                " the start would fail half way"
            )
            remedy = ""
            if not (claim.entry.mapping or claim.entry.by_args):
                remedy = (
                    f"Name the function: {derived.remedies.command(guest, claim.entry, {device.slot: lost[0], device.address: lost[0]})}"
                )
            yield Finding(device.address, message, remedy)
            continue
        users = [(address, by) for address in device.virtfns if (by := _vf_user_phrase(address, guest, node))]
        if users:
            address, by = users[0]
            more = f" ({len(users) - 1} more of its VFs {'is' if len(users) == 2 else 'are'} in use)" if len(users) > 1 else ""
            message = f"{claim.entry.option} would take {device.label} and with it remove its VF {address}, which {by}{more}"
            yield Finding(device.address, message, _idle_vf(claim, device, {used for used, _ in users}, guest, node))


def _idle_vf(claim: Claim, device: PciDevice, used: set[str], guest: Guest, node: Node) -> str:
    """How to give the guest a VF that is idle; '' where there is none, or where no command does it."""
    idle = next((address for address in device.virtfns if address not in used and devices_at(address, node)), "")
    if not idle or claim.entry.mapping or claim.entry.by_args:
        return ""
    return (
        f"Give the VM an idle virtual function: {derived.remedies.command(guest, claim.entry, {device.slot: idle, device.address: idle})}"
    )


@RULES.rule(
    "device-would-be-missed",
    Severity.WARNING,
    "Give the VM another device, or make sure that the node is reached over the network while the VM runs",
    needs=("holders", "iommu", "pci", "uses"),
)
def device_would_be_missed(guest: Guest, node: Node) -> Iterator[Finding]:
    """A start would take a device from the host that is idle now, and that an administrator at the node's own screen needs.

    The card that shows the node's console, its last keyboard, a TPM. The node runs on without it, but cannot be operated at its own
    screen.
    """
    if working_iommu(node) is None:
        return
    for claim, device, member in _taken(guest, node):
        if member is not None and claim.entry.by_args:
            continue
        for use in uses(device, node).found if on_host_driver(device) else ():
            if use.remark and use.vmid != guest.vmid:
                yield Finding(device.address, f"{claim.entry.option} would take {device.label} from the host, which {use.sentence}")


def _vf_user_phrase(address: str, guest: Guest, node: Node) -> str:
    """Which guest or process uses the VF, as the end of a sentence; '' for none."""
    holders = other_holders(address, guest, node)
    if holders:
        return holder_phrase(holders[0])
    return next((use.sentence for device in devices_at(address, node) for use in blocking_uses(device, guest, node)), "")


def _idle_members(guest: Guest, node: Node) -> Iterator[ClaimedMember]:
    """Members on a host driver that are idle, that no option names, and that the last accepted start did not take.

    What hangs off a named device goes with it. For a device in `args` PVE takes none.
    """
    accepted = guest.accepted
    for member in group_members(guest, node):
        device = member.device
        if not _is_idle(device, guest, node) or member.claim.entry.by_args or behind_named(device, guest, node):
            continue
        if accepted is not None and device.address in accepted.members and not _other_than_accepted(device, guest):
            continue
        yield member


def _is_idle(device: PciDevice, guest: Guest, node: Node) -> bool:
    """Whether it is on a host driver, and neither the host nor another guest uses it."""
    return on_host_driver(device) and not other_holders(device.address, guest, node) and not blocking_uses(device, guest, node)


def _other_than_accepted(member: PciDevice, guest: Guest) -> bool:
    known = guest.accepted.devices.get(member.address) if guest.accepted else None
    return known is not None and (known.vendor, known.device) != (member.vendor, member.device)


def _is_missed(member: PciDevice, guest: Guest, node: Node) -> bool:
    """Whether it is a device of a kind that a host misses, and no other function of a card that the guest gets.

    Functions of the board share a slot without being one card: disks or a network card beside something else.
    """
    base = member.class_code >> 16
    card = {device.class_code >> 16 for device in named(guest, node).values() if device.slot == member.slot}
    if card and (base not in _NEVER_BESIDE or base in card):
        return False
    return does_work(member.class_code)


@RULES.rule(
    "group-not-clean",
    Severity.BLOCK,
    "If the node can do without it: pvehooks trust {vmid}. If not, put the card into another slot, or switch ACS on in the firmware setup",
    needs=("iommu", "pci", "holders", "uses"),
    only_guard_refuses=True,
    kernel_may_explain=True,
)
def group_not_clean(guest: Guest, node: Node) -> Iterator[Finding]:
    """A start would take another device along that is on a host driver, idle now, and that no option of the VM names.

    It shares the IOMMU group of a device that the VM names and is another physical device: storage, network, display, sound, USB,
    an accelerator. Nothing is lost at this moment, but the host will miss it later. Members that were there at the VM's last
    accepted start, or while it ran when pvehooks came, are accepted. So is what hangs off a device that the VM names, as the disks
    behind a VMD controller do.
    Source: pve-common, SysFSTools.pm (pci_dev_group_bind_to_vfio).
    """
    for member in _idle_members(guest, node):
        if _is_missed(member.device, guest, node):
            message = f"{_shares(member)} on driver {member.device.driver}, which the VM does not name: the start would take it from the host as well"
            yield Finding(member.device.address, message, _accepting(member, guest, node))


@RULES.rule(
    "group-takes-plumbing",
    Severity.WARNING,
    "If the node can do without: pvehooks trust {vmid}. If not, put the card into another slot",
    needs=("iommu", "pci", "holders", "uses"),
)
def group_takes_plumbing(guest: Guest, node: Node) -> Iterator[Finding]:
    """A start also takes devices of the board, or other functions of the same card, that no option of the VM names.

    SMBus, SPI and memory controllers, signal processors and the like leave their host driver with the group: sensors and
    firmware updates may stop working until the node restarts.
    Source: pve-common, SysFSTools.pm (pci_dev_group_bind_to_vfio).
    """
    along: dict[str, list[ClaimedMember]] = {}
    for member in _idle_members(guest, node):
        if not _is_missed(member.device, guest, node):
            along.setdefault(member.claimed.group, []).append(member)
    for group, members in along.items():
        first, claimed = members[0], members[0].claimed
        labels = [f"{member.device.label} from driver {member.device.driver}" for member in members[:_SHOWN]]
        labels += [f"{len(members) - _SHOWN} more"] if len(members) > _SHOWN else []
        message = f"{first.claim.entry.option} ({claimed.address}) also takes what shares its IOMMU group {group}: {derived.remedies.listed(labels)}"
        yield Finding(first.device.address, message, _accepting(first, guest, node))


@RULES.rule(
    "args-group-not-viable",
    Severity.BLOCK,
    "Use hostpciN instead, for which PVE binds the group: qm set {vmid} --hostpciN ADDRESS",
    needs=("iommu", "pci", "holders", "uses"),
    kernel_may_explain=True,
)
def args_group_not_viable(guest: Guest, node: Node) -> Iterator[Finding]:
    """A device in `args` shares its IOMMU group with one that is on a host driver: QEMU does not start ("group N is not viable").

    For `-device vfio-pci` in args PVE binds, reserves and unbinds nothing: all devices of the group have to be bound to vfio-pci, or be
    without a driver, before the start. The guard binds only the devices that the VM names.
    Source: the kernel's Documentation/driver-api/vfio.rst; qemu-server, QemuServer.pm (config_to_command).
    """
    for member in group_members(guest, node):
        if member.claim.entry.by_args and _is_idle(member.device, guest, node):
            message = f"{_shares(member)} on driver {member.device.driver}: {_ARGS}"
            bind = f"Bind that one, too, if the node can do without it: pvehooks bind {member.device.address} --persist"
            free = next((number for number in range(15) if f"hostpci{number}" not in guest.options), 15)
            remedy = f"{bind}; or name {member.claimed.address} by hostpci{free} in place of args: PVE then takes the whole group"
            yield Finding(member.device.address, message, remedy)
