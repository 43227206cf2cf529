"""Passed-through devices: are they there, are they what they were, can they be bound and reset?"""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks import derived
from pvehooks.derived.passthrough import (
    PASSING,
    blocking_uses,
    claims,
    devices_at,
    hindrance,
    named,
    other_holders,
    passes_through,
    pci_devices,
    taken,
)
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Cure, Finding, Guest, HostPci, Node, Severity, Unread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.derived.absent_vfs import AbsentVf

RULES = RuleSet(applies_to=passes_through, order=50, options=PASSING)
_DISPLAY = 0x03


@RULES.rule(
    "hostpci-device-missing",
    Severity.BLOCK,
    "Put the device in again, or take it from the VM: qm set {vmid} --delete OPTION",
    needs=("dkms", "guests", "holders", "mappings", "modules", "pci", "remembered", "vf_support"),
    kernel_may_explain=True,
)
def hostpci_device_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM names a PCI device that is not on the node's bus: the start would fail.

    It was taken out, is switched off or dead, or has another address since other hardware came or went. A virtual function (VF) is
    not there while its physical function (PF) has too few: the PF is without a driver or on vfio-pci, what makes VFs at boot did
    not run, or the chip has no SR-IOV. Every entry of a mapping for this node must be there, also those that would not be chosen.
    Source: qemu-server, PCI.pm (parse_hostpci); the kernel's Documentation/PCI/pci-iov-howto.rst.
    """
    if isinstance(node.pci, Unread):
        yield not_examined("pci", f"the node's PCI devices cannot be read: {node.pci.why}")
        return
    seen: set[str] = set()
    absent: dict[str, list[tuple[HostPci, AbsentVf]]] = {}
    for entry in (*guest.hostpci, *guest.args_pci):
        for address in () if isinstance(entry.addresses, Unread) else entry.addresses:
            if devices_at(address, node) or address in seen:
                continue
            seen.add(address)
            found = derived.absent_vfs.absent_vf(address, guest, node)
            if found is None:
                yield _missing(entry, address, guest, node)
            else:
                absent.setdefault(found.pf.address, []).append((entry, found))
    for of_one in absent.values():
        yield _missing_vfs(of_one, guest)


def _missing_vfs(absent: list[tuple[HostPci, AbsentVf]], guest: Guest) -> Finding:
    """All VFs of one PF that are not there: one cause, one remedy."""
    entry, first = absent[0]
    options = ", ".join(dict.fromkeys(each.option for each, _ in absent))
    addresses = ", ".join(each.address for _, each in absent)
    mappings = " and ".join(dict.fromkeys(f"'{each.mapping}'" for each, _ in absent if each.mapping))
    by = f" (mapping {mappings})" if mappings else ""
    several = "functions {} are" if len(absent) > 1 else "function {} is"
    message = f"{options}: the virtual {several.format(addresses)}{by} not there: {first.why}"
    remedy = first.remedy
    if not (first.pf.total_vfs or entry.mapping or entry.by_args):
        remedy += f": {derived.remedies.command(guest, entry, {first.address: first.pf.address})}"
    return Finding(first.address, message, remedy)


def _missing(entry: HostPci, address: str, guest: Guest, node: Node) -> Finding:
    by = f", which the mapping '{entry.mapping}' names," if entry.mapping else ""
    now = derived.accepted.now_at(address, guest, node)
    mapping = None if not entry.mapping or isinstance(node.mappings, Unread) else node.mappings.get(entry.mapping)
    plan = derived.following.mapping_plan(mapping, node) if mapping else None
    if plan and mapping:
        now = derived.following.moved_to(plan, address) or now
        remedy = f"Have the mapping name its devices where they are now: {derived.following.mapping_remedy(plan, mapping)}"
    elif entry.mapping:
        remedy = derived.remedies.mapping_of_absent(entry, address, now, node)
    elif now and not entry.by_args:
        by_hand = derived.remedies.command(guest, entry, {address: now})
        remedy = f"Name the device where it is now: {derived.accepted.following(guest, node)}{by_hand}"
    else:
        remedy = f"Put the device in again, or {derived.remedies.giving_up(guest, entry)}"
    return Finding(
        address,
        f"{entry.option}: there is no PCI device {address}{by} on {node.name}{f'; the device that was there is at {now} now' if now else ''}",
        remedy,
    )


@RULES.rule("hostpci-invalid", Severity.BLOCK, "Write it anew: qm set {vmid} --OPTION ...", needs=("cpu_flags", "pci"))
def hostpci_invalid(guest: Guest, node: Node) -> Iterator[Finding]:
    """PVE refuses the start because of how the hostpci options are written.

    host and mapping in one option, pcie=1 without the machine type q35, a device named twice, a mediated device of several
    functions, or legacy-igd beside what it cannot be combined with.
    Source: qemu-server, PCI.pm (parse_hostpci, parse_hostpci_devices, choose_hostpci_devices).
    """
    for entry in guest.hostpci:
        trouble = entry.trouble
        if not trouble and entry.mdev and not isinstance(entry.choices, Unread):
            several = [choice for choice in entry.choices if sum(len(devices_at(address, node)) for address in choice) > 1]
            trouble = f"{several[0][0]} has several functions, a mediated device needs one" if several else ""
        if trouble:
            yield Finding(entry.option, f"{entry.option} cannot be used: {trouble}", _valid(entry, trouble, guest, node))


# What is to be left out of an option, by the end of PVE's reason against it.
_LEFT_OUT = {"excludes rombar=0": "rombar", "excludes x-vga": "x-vga", "excludes mdev": "mdev"}


def _valid(entry: HostPci, trouble: str, guest: Guest, node: Node) -> str:
    """How to write the option so that PVE takes it."""
    without = next((name for end, name in _LEFT_OUT.items() if trouble.endswith(end)), "")
    if without:
        return f"Leave it out: {derived.remedies.command(guest, entry, without=(without,))}"
    if trouble.startswith("pcie=1 needs"):
        leaving = derived.remedies.command(guest, entry, without=("pcie",))
        if any(each.properties.get("legacy-igd") for each in guest.hostpci):
            return f"Take pcie=1 out, legacy-igd allows no q35: {leaving}"
        if derived.disks.arch_of(guest, node) == "aarch64":
            return f"Take pcie=1 out, ARM has no q35: {leaving}"
        return f"Give the VM that machine: {derived.remedies.replacing(guest, 'machine', 'type', 'q35', 'type')}, or take pcie=1 out: {leaving}"
    if trouble.endswith("needs 'vga: none'"):
        return f"Take the VM's own display away: qm set {guest.vmid} --vga none"
    if trouble.startswith(("legacy-igd=1 excludes", "legacy-igd=1 works", "only one device")):
        return f"Take legacy-igd=1 out: {derived.remedies.command(guest, entry, without=('legacy-igd',))}"
    if trouble.endswith("already") and len(entry.addresses) == 1:
        return f"Take it from the VM once: qm set {guest.vmid} --delete {entry.option}"
    if "exclude each other" in trouble:
        return f"Keep the mapping: {derived.remedies.command(guest, entry, without=('host',))}"
    if "has several functions" in trouble:
        slot = trouble.partition(" ")[0]
        return f"Name one of them: {derived.remedies.command(guest, entry, {slot: f'{slot}.0'})}"
    return f"Write it as the manual says (man qm), or take it out: qm set {guest.vmid} --delete {entry.option}"


@RULES.rule(
    "hostpci-names-bridge",
    Severity.BLOCK,
    "Name the device behind it (pvehooks host groups), or take it from the VM: qm set {vmid} --delete OPTION",
    needs=("pci", "holders"),
)
def hostpci_names_bridge(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM names a PCI bridge, a switch or a root port: it is the wrong address, and the start would fail.

    Proxmox VE leaves bridges to the host, and vfio-pci takes none, so QEMU does not get the device.
    Source: pve-common, SysFSTools.pm (pci_dev_group_bind_to_vfio); the kernel's drivers/vfio/pci/vfio_pci_core.c.
    """
    for claim in claims(guest, node):
        bridge = next((device for device in claim.whole if device.bridge), None)
        if bridge is not None:
            option = claim.entry.option
            message = f"{option}: {bridge.label} is a bridge, and bridges stay with the node: the start would fail"
            remedy = f"Name the device behind it (pvehooks host groups), or {derived.remedies.giving_up(guest, claim.entry)}"
            yield Finding(bridge.address, message, remedy)


@RULES.rule(
    "hostpci-device-dead",
    Severity.BLOCK,
    "Switch the node off and on again: a restart alone may not wake the device",
    needs=("pci", "holders"),
    kernel_may_explain=True,
)
def hostpci_device_dead(guest: Guest, node: Node) -> Iterator[Finding]:
    """The device does not answer: its config space reads all ones.

    It fell off the bus, often after a failed reset, or it does not come back from a sleep state (D3cold). lspci shows
    "Unknown header type 7f". One that merely sleeps is no finding: the kernel wakes it when its config space is read, as when
    a VM opens it. Virtual functions are left out, they read so in part by design.
    Source: the PCI specification: a read without an answer gives all ones; the kernel's drivers/pci/pci.c (pci_config_pm_runtime_get).
    """
    for device in named(guest, node).values():
        if device.dead:
            awake = derived.health.keeping_awake(device) if derived.health.is_stuck_asleep(device) else ""
            rest = "Then switch the node on again: a restart alone may not wake the device"
            remedy = f"Have vfio-pci keep it awake, and switch the node off: {awake} && poweroff. {rest}" if awake else ""
            yield Finding(device.address, f"{device.label} {derived.health.silence(device)}: the VM would not start with it", remedy)


@RULES.rule(
    "device-changed",
    Severity.BLOCK,
    "If it is the right one: pvehooks trust {vmid}. If not, name the right one (pvehooks host groups): qm set {vmid} --OPTION ADDRESS",
    needs=("pci", "holders"),
    only_guard_refuses=True,
    kernel_may_explain=True,
)
def device_changed(guest: Guest, node: Node) -> Iterator[Finding]:
    """Another device is at the VM's PCI address than at its last accepted start.

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
            change = was.change(device)
            if change:
                right = derived.accepted.now_at(device.address, guest, node)
                known_as = f"If it is the right one: pvehooks trust {guest.vmid}. If not, "
                if claim.entry.by_args:
                    remedy = f"{known_as}write the right address into the args: qm config {guest.vmid}"
                else:
                    named_now = derived.remedies.command(guest, claim.entry, {device.address: right or "ADDRESS"})
                    following = (
                        derived.accepted.following(guest, node)
                        if right and (device.vendor, device.device) != (was.vendor, was.device)
                        else ""
                    )
                    remedy = f"{known_as}name the right one{'' if right else ' (pvehooks host groups)'}: {following}{named_now}"
                message = f"{claim.entry.option}: {device.label} is not the device of the last accepted start ({change})"
                yield Finding(device.address, f"{message}{derived.accepted.moved(device.address, guest, node)}", remedy)


@RULES.rule(
    "vfio-not-bound",
    Severity.BLOCK,
    "Bind it: pvehooks bind ADDRESS --persist; or let pvehooks do it: [guard] unbound = bind",
    needs=("iommu", "pci", "holders", "uses"),
    only_guard_refuses=True,
    kernel_may_explain=True,
)
def vfio_not_bound(guest: Guest, node: Node) -> Iterator[Finding]:
    """A device of the VM is idle and not bound to a vfio driver.

    With `[guard] unbound = bind` the guard binds it at the start, it alone and through driver_override, when nothing else
    forbids the start; with `block` the start is refused; with `leave` PVE binds it, and registers its ids with vfio-pci for
    good, so that a twin that appears later is taken as well. Some drivers of graphics cards are known to hang or crash when a card is
    taken from them: such a card is to be bound before its driver sees it, at boot. driver=keep, mediated devices and vGPUs stay as they
    are. For a device in `args` PVE does nothing.
    Source: the kernel's Documentation/ABI/testing/sysfs-bus-pci (driver_override); pve-common, SysFSTools.pm.
    """
    if isinstance(node.iommu, Unread) or not node.iommu.active:
        return
    for claim, device in taken(guest, node):
        if device.vfio or device.bridge or device.dead or blocking_uses(device, guest, node) or other_holders(device.address, guest, node):
            continue
        now = f"is on driver {device.driver}, not on vfio-pci" if device.driver else "has no driver; it needs vfio-pci"
        message = f"{claim.entry.option}: {device.label} {now}"
        risk = derived.unbinding.risk(device)
        if risk:
            remedy = f"Bind it before that driver sees it: pvehooks bind {device.address} --persist, and restart the node"
            yield Finding(
                device.address, f"{message}. The start takes it from {device.driver}: {risk}", remedy, Severity.WARNING, cure=Cure.BIND
            )
        else:
            remedy = f"Bind it: pvehooks bind {device.address} --persist; or let pvehooks do it: [guard] unbound = bind"
            yield Finding(device.address, message, remedy, cure=Cure.BIND)


@RULES.rule(
    "ids-bind-host-device",
    Severity.WARNING,
    "Bind by address instead: pvehooks bind ADDRESS --persist",
    needs=("bound_ids", "pci", "holders", "uses"),
)
def ids_bind_host_device(guest: Guest, node: Node) -> Iterator[Finding]:
    """vfio-pci takes all devices of a kind at boot, and the host uses one of them, or has a twin of the VM's.

    `vfio-pci.ids=` and `options vfio-pci ids=` do not distinguish two cards of the same kind: at the next restart the host may
    lose its own, at the latest when the order changes in which drivers are loaded.
    Source: the kernel's Documentation/driver-api/vfio.rst; the administrator's manual, "PCI(e) Passthrough".
    """
    if isinstance(node.bound_ids, Unread):
        yield not_examined("vfio-pci", f"which ids vfio-pci takes at boot is unknown: {node.bound_ids.why}")
        return
    own = named(guest, node)
    for bound in node.bound_ids:
        for vendor, product in bound.ids:
            same = [device for device in pci_devices(node).values() if (device.vendor, device.device) == (vendor, product)]
            twin_of_ours = any(device.address in own for device in same)
            for device in same:
                if device.address in own:
                    continue
                held = blocking_uses(device, guest, node)
                if not held and (not twin_of_ours or device.vfio):
                    continue
                why = f"which {held[0].sentence}" if held else "which no option of the VM names"
                message = f"{bound.place} has vfio-pci take every {vendor:04x}:{product:04x} at boot, also {device.label}, {why}"
                mine = " ".join(each.address for each in same if each.address in own)
                bind = f", and bind by address: pvehooks bind {mine} --persist" if mine else ""
                yield Finding(device.address, message, f"Take the id {vendor:04x}:{product:04x} out of {bound.place}{bind}")


@RULES.rule(
    "device-reserved-by-firmware",
    Severity.BLOCK,
    "Put the card into another slot or take another port, or switch the firmware's shared memory off for it, or update the firmware",
    needs=("holders", "pci"),
    kernel_may_explain=True,
)
def device_reserved_by_firmware(guest: Guest, node: Node) -> Iterator[Finding]:
    """The firmware reserves memory for the device (RMRR), so the kernel refuses to hand it to vfio, and the start would fail.

    The server's management controller reads the device's health through that memory, as on many HPE servers. The kernel logs
    "Device is ineligible for IOMMU domain attach due to platform RMRR requirement" or "Firmware has requested this device have a 1:1
    IOMMU mapping". On HPE the memory is switched off per slot with HPE's conrep, or in the firmware setup (shared memory features).
    Proxmox VE's kernels know intel_iommu=relax_rmrr, which ignores the reservation: the device may then write where the firmware reads.
    Source: the kernel's drivers/iommu/iommu.c, drivers/iommu/intel/iommu.c; ABI/testing/sysfs-kernel-iommu_groups (reserved_regions).
    """
    for claim, device in taken(guest, node):
        if device.reserved and not guest.running:
            first, last = device.reserved[0]
            more = f" and {len(device.reserved) - 1} more" if len(device.reserved) > 1 else ""
            message = (
                f"{claim.entry.option}: the firmware reserves memory for {device.label} (RMRR, {first:#x} to {last:#x}{more}):"
                " the kernel refuses it to vfio, and the start would fail"
            )
            yield Finding(device.address, message)


@RULES.rule(
    "mdev-type-unavailable",
    Severity.BLOCK,
    "List the types: pvesh get /nodes/localhost/hardware/pci/ADDRESS/mdev",
    needs=("holders", "modules", "pci", "vf_support"),
    kernel_may_explain=True,
)
def mdev_type_unavailable(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM asks for a mediated device of a type that the card does not have, or has no instance left of: PVE refuses the start.

    A card shows no types where its driver makes none: it is on vfio-pci or without a driver, the module in DKMS is not built for this kernel,
    the kernel's own driver runs in place of the vendor's, GVT-g is switched off, or the types lie on virtual functions that NVIDIA's
    sriov-manage has not made. These tools are not run by pvehooks.
    Source: qemu-server, PCI/Mdev.pm (pci_create_mdev_device, create_nvidia_device); NVIDIA's vGPU User Guide.
    """
    for claim in claims(guest, node):
        wanted = claim.entry.mdev
        if wanted and claim.devices and not claim.devices[0].mdev_types.get(wanted):
            device = claim.devices[0]
            absent = derived.absent_mdevs.absent_mdev(device, claim.entry, guest, node)
            if absent:
                yield Finding(device.address, f"{claim.entry.option}: {device.label} {absent.why}", absent.remedy)


@RULES.rule("romfile-missing", Severity.BLOCK, "Put the file there, or take romfile= out of the option", needs=("roms",))
def romfile_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM's device is to get a ROM file that is not in /usr/share/kvm of this node: the start would fail.

    Source: the administrator's manual, "GPU Passthrough"; qemu-server, PCI.pm (print_hostpci_devices).
    """
    for entry, name in _rom_files(guest):
        if isinstance(node.roms, Unread):
            yield not_examined(entry.option, f"whether the ROM file {name} is there is unknown: {node.roms.why}")
        elif name not in node.roms:
            remedy = f"Put the file there, or go without it: {derived.remedies.command(guest, entry, without=('romfile',))}"
            yield Finding(entry.option, f"{entry.option}: the ROM file /usr/share/kvm/{name} is not there: the start would fail", remedy)


def _rom_files(guest: Guest) -> Iterator[tuple[HostPci, str]]:
    for entry in guest.hostpci:
        name = str(entry.properties.get("romfile", ""))
        if name and ".." not in name:
            yield entry, name


_ROM = b"\x55\xaa"


@RULES.rule(
    "romfile-not-a-rom", Severity.WARNING, "Cut off what stands before the bytes 55 AA, or take romfile= out", needs=("rom_files", "roms")
)
def romfile_not_a_rom(guest: Guest, node: Node) -> Iterator[Finding]:
    """A ROM file does not begin with the bytes 55 AA, as an option ROM does: the VM's firmware finds no ROM in it.

    QEMU gives it to the VM as it is. Files that a flash tool wrote (nvflash) have a header of the maker before the image: what
    stands before the 55 AA has to be cut off. With an empty file QEMU does not start.
    Source: the PCI Firmware Specification (expansion ROM header); QEMU, hw/pci/pci.c (pci_add_option_rom).
    """
    for entry, name in _rom_files(guest):
        if isinstance(node.roms, Unread) or name not in node.roms:
            continue
        content = node.rom_files if isinstance(node.rom_files, Unread) else node.rom_files.content(name)
        if isinstance(content, Unread):
            yield not_examined(entry.option, f"what is in the ROM file {name} is unknown: {content.why}")
            continue
        path, at = f"/usr/share/kvm/{name}", content.find(_ROM)
        leaving_out = f"go without it: {derived.remedies.command(guest, entry, without=('romfile',))}"
        if not content:
            message = f"{entry.option}: the ROM file {path} is empty: the start would fail"
            yield Finding(entry.option, message, f"Put the card's ROM there, or {leaving_out}", Severity.BLOCK)
        elif at > 0:
            message = (
                f"{entry.option}: the ROM file {path} does not begin with the bytes 55 AA of a ROM image, they come after a header of"
                f" {at} bytes: the VM's firmware would find no ROM, and the screen may stay dark"
            )
            remedy = f"Cut the header off: tail -c +{at + 1} {path} > {path}.cut && mv {path}.cut {path}"
            yield Finding(entry.option, message, remedy)
        elif at < 0:
            message = (
                f"{entry.option}: {path} is not a ROM image, the bytes 55 AA of one are not in it: the VM's firmware would find no ROM"
            )
            yield Finding(entry.option, message, f"Put the card's ROM there, or {leaving_out}")


@RULES.rule(
    "reset-unavailable",
    Severity.WARNING,
    "Give the VM all functions of the card; if it does not work any more after a stop of the VM, restart the node",
    needs=("holders", "pci"),
    kernel_may_explain=True,
)
def reset_unavailable(guest: Guest, node: Node) -> Iterator[Finding]:
    """A device of the VM cannot be reset, so it keeps its state from one start to the next, and may not work after the first.

    A device that has no reset of its own is reset together with its bus. QEMU does so when all devices of that bus are the VM's, as
    with the functions of a graphics card. It cannot where the bus has a device of the host or of another VM, nor for a device on a
    root bus, as most of those on the board are.
    Source: the kernel's Documentation/ABI/testing/sysfs-bus-pci (reset_method), drivers/pci/pci.c (pci_parent_bus_reset).
    """
    own = named(guest, node)
    for claim, device in taken(guest, node):
        why, neighbour = hindrance(device, own, node)
        if why:
            message = f"{claim.entry.option}: {device.label} cannot be reset: {why}; it may not work after the VM's first start"
            if neighbour is not None and neighbour.slot == device.slot and not neighbour.bridge:
                remedy = "Give the VM all functions of the card, or put the card into another slot"
                if not (claim.entry.mapping or claim.entry.by_args):
                    whole = derived.remedies.command(guest, claim.entry, {device.address: device.slot})
                    remedy = f"Give the VM all functions of the card, if the node can do without them: {whole}"
            elif neighbour is not None:
                remedy = "Put the card into another slot, or restart the node if it does not work any more after a stop of the VM"
            else:
                remedy = "Restart the node if the device does not work any more after a stop of the VM"
            yield Finding(device.address, message, remedy)


@RULES.rule(
    "bar-held-by-framebuffer",
    Severity.WARNING,
    "Make another card the console's in the firmware setup, or add initcall_blacklist=sysfb_init to the kernel command line",
    needs=("pci", "holders"),
    kernel_may_explain=True,
)
def bar_held_by_framebuffer(guest: Guest, node: Node) -> Iterator[Finding]:
    """The node's console draws into the memory of a graphics card that the VM gets.

    QEMU then logs "BAR 0: can't reserve" and the VM's screen stays dark.
    Source: the kernel's /proc/iomem (BOOTFB, simplefb, efifb); the administrator's manual, "GPU Passthrough".
    """
    for claim, device in taken(guest, node):
        if device.class_code >> 16 == _DISPLAY and device.framebuffer:
            message = f"{claim.entry.option}: the node's console ({device.framebuffer}) holds memory of {device.label}: the VM's screen may stay dark"
            yield Finding(device.address, message)
