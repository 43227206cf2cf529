"""Options of passed-through devices that QEMU refuses, or that have no effect: ROM, slot, OpRegion, reset."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.derived import remedies
from pvehooks.derived.disks import arch_of
from pvehooks.derived.passthrough import claims, pci_devices, taken
from pvehooks.rules.engine import RuleSet, no_template
from pvehooks.rules.guest.display import display
from pvehooks.values import Finding, Guest, Node, PciDevice, Severity, Unread

RULES = RuleSet(applies_to=no_template, order=96)
_DISPLAY, _INTEL, _AMD = 0x03, 0x8086, 0x1002
_VGA = 0x0300
# Where PVE puts the guest's own display (qemu-server, PCI.pm): the buses by which args can name the place, and the slot.
_PLACES = {"q35": (("", "pcie.0"), 1), "pc": (("", "pci.0"), 2)}
_ON = frozenset(("on", "true", "yes", "1"))
_OPREGION = "x-igd-opregion"
# Of several functions each has its number behind the option's name (qemu-server, PCI.pm, print_hostpci_devices).
_OF_HOSTPCI = re.compile(r"(hostpci\d{1,2})(?:\.(\d))?", re.ASCII)
_SPECIFIC = "device_specific"
# RAID, SAS, Ethernet: the classes (pci.ids) of cards that come with a ROM to boot from.
_WITH_BOOT_ROM = frozenset({0x0104, 0x0107, 0x0200})
# By vendor and device: LSI's SAS3008 (9300), Marvell's 88SE9230.
_ROM_TROUBLE = {
    (0x1000, 0x0097): "fails or hangs there by users' reports (Firmware Fault Code 2667h)",
    (0x1B4B, 0x9230): "holds the start up for a minute by users' reports",
}


@RULES.rule(
    "romfile-without-rombar", Severity.WARNING, "Take rombar=0 out: qm set {vmid} --hostpciN ADDRESS,romfile=FILE", options=("hostpci",)
)
def romfile_without_rombar(guest: Guest, node: Node) -> Iterator[Finding]:
    """A UEFI VM's device has a ROM file and rombar=0: the VM does not get the ROM.

    Without a ROM BAR QEMU gives the file to the firmware by fw_cfg, from where SeaBIOS takes it and OVMF does not.
    Source: QEMU, hw/pci/pci.c (pci_add_option_rom); the administrator's manual, "GPU Passthrough".
    """
    if not guest.uefi:
        return
    for entry in guest.hostpci:
        if entry.properties.get("romfile") and str(entry.properties.get("rombar", 1)) == "0":
            message = f"{entry.option}: rombar=0 hides its ROM file {entry.properties['romfile']} from the VM's firmware: the screen may stay dark"
            yield Finding(entry.option, message, f"Take rombar=0 out: {remedies.command(guest, entry, without=('rombar',))}")


@RULES.rule(
    "args-slot-taken", Severity.BLOCK, "Take the VM's own display away: qm set {vmid} --vga none", needs=("cpu_flags",), options=("args",)
)
def args_slot_taken(guest: Guest, node: Node) -> Iterator[Finding]:
    """A device in `args` is to have the slot in which the VM's own display is: QEMU does not start.

    It says "PCI: slot 2 function 0 not available for vfio-pci, in use by VGA". The display is in slot 2 of a VM with the machine
    type pc, and in slot 1 with q35. Intel's graphics need slot 2 on pc, so the VM can have no display of its own there.
    Source: qemu-server, PCI.pm (get_pci_addr_map, get_pcie_addr_map), print_vga_device; QEMU, hw/pci/pci.c (do_pci_register_device).
    Tried with QEMU 7.2 and 10.0: `-machine pc -device VGA,id=vga,bus=pci.0,addr=0x2 -device e1000,id=net,addr=0x02`, and on q35
    `-device VGA,id=vga,bus=pcie.0,addr=0x1 -device virtio-rng-pci,bus=pcie.0,addr=1.0`, both end with status 1: "PCI: slot 2 function 0
    not available for e1000, in use by VGA,id=vga" and "PCI: slot 1 function 0 not available for virtio-rng-pci, in use by VGA,id=vga".
    """
    kind = display(guest)
    by_device = not kind and any(entry.properties.get("x-vga") for entry in guest.hostpci)
    if kind == "none" or kind.startswith("serial") or by_device or arch_of(guest, node) != "x86_64":
        return
    buses, slot = _PLACES["q35" if "q35" in str(guest.properties("machine").get("type", "")) else "pc"]
    for device in guest.args_devices:
        at = re.fullmatch(r"(?:0x)?0*([0-9a-f]+)(?:\.0(?:x0)?)?", device.get("addr", ""), re.IGNORECASE)
        if at and int(at[1], 16) == slot and device.get("bus", "") in buses:
            named = f"{device['driver']} {device['host']}" if "host" in device else device["driver"]
            message = (
                f"args puts {named} into PCI slot {slot}, where the VM's own display ({kind or 'the default'}) is: QEMU would not start"
            )
            without = f"qm set {guest.vmid} --vga none"
            if kind:
                without = remedies.replacing(guest, "vga", "type", "none", "type")
            if "host" in device:
                yield Finding("args", message, f"Take the VM's own display away: {without}")
            else:
                free = f"Take its addr= out of the args, which this shows, and QEMU finds it a free one: qm config {guest.vmid}"
                yield Finding("args", message, f"{free}. Or take the VM's own display away, its console with it: {without}")


@RULES.rule(
    "opregion-missing",
    Severity.BLOCK,
    "Take x-igd-opregion=on out of the args, which this shows: qm config {vmid}",
    needs=("holders", "pci", "qemu"),
    options=("args",),
)
def opregion_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """`args` asks for the OpRegion of a device that has none: QEMU before 10.1 does not start, later ones ignore it.

    Only Intel's graphics as a whole have an OpRegion, the table of the monitors on the board. Their virtual functions (VFs) have
    none, and no outputs for monitors. Up to 9.2 QEMU ends with "does not support requested IGD OpRegion feature: No such device" for any
    device; 10.0 ends with "Device does not supports IGD OpRegion feature: No such device" for Intel's graphics, and does not look at
    others; since 10.1 graphics without an OpRegion are like any card. Where it is ignored, the finding is for information.
    Source: the kernel's drivers/vfio/pci/vfio_pci_igd.c; QEMU, hw/vfio/pci.c (vfio_realize) up to 9.2, hw/vfio/igd.c
    (vfio_pci_igd_config_quirk, vfio_pci_igd_opregion_detect) since 10.0; reports of users (intel/gvt-linux report 19 and report 214).
    Tried with devices bound to vfio-pci on an emulated machine with an IOMMU: QEMU 7.2 refuses a network card and a display of Intel's
    without an OpRegion, QEMU 10.0 refuses the display, and starts with the network card, with another maker's display, and without the
    option.
    """
    for device in _asked_for_opregion(guest, node):
        if device.vendor == _INTEL and device.class_code >> 16 == _DISPLAY and not device.physfn:
            continue
        why = "is a virtual function" if device.physfn else "is not Intel's graphics"
        end, severity = _without_opregion(device, node)
        message = f"args has x-igd-opregion=on for {device.label}, which {why} and has no OpRegion: {end}"
        remedy = f"Take x-igd-opregion=on out of the args, which this shows: qm config {guest.vmid}"
        if device.physfn:
            remedy += f". A monitor shows nothing of a virtual function: for that, give the VM {device.physfn} itself"
        yield Finding(device.address, message, remedy, severity)


def _asked_for_opregion(guest: Guest, node: Node) -> Iterator[PciDevice]:
    """The devices for which `args` asks for it: with a `-device` of their own, or with `-set device.hostpciN...` for a passed-through one."""
    devices = pci_devices(node)
    for given in guest.args_devices:
        written = given.get("host", "")
        address = written if written.count(":") > 1 else f"0000:{written}"
        if given.get(_OPREGION, "").lower() in _ON and address in devices:
            yield devices[address]
    claimed = {claim.entry.option: claim.devices for claim in claims(guest, node)}
    for name, key, value in guest.args_sets:
        match = _OF_HOSTPCI.fullmatch(name) if key == _OPREGION and value.lower() in _ON else None
        if match:
            at = int(match[2] or 0)
            yield from claimed.get(match[1], ())[at : at + 1]


def _without_opregion(device: PciDevice, node: Node) -> tuple[str, Severity]:
    """What the node's QEMU makes of it, as the end of a sentence."""
    if isinstance(node.qemu, Unread):
        return "QEMU before 10.1 would not start", Severity.WARNING
    looked_at = device.vendor == _INTEL and device.class_code >> 8 == _VGA
    if node.qemu < (10, 0) or (node.qemu < (10, 1) and looked_at):
        return "QEMU would not start", Severity.BLOCK
    return f"QEMU {node.qemu[0]}.{node.qemu[1]} ignores it", Severity.INFO


@RULES.rule(
    "option-rom-in-seabios",
    Severity.INFO,
    "Hide its ROM: qm set {vmid} --hostpciN ADDRESS,rombar=0",
    needs=("holders", "pci"),
    options=("args", "hostpci"),
)
def option_rom_in_seabios(guest: Guest, node: Node) -> Iterator[Finding]:
    """SeaBIOS runs the option ROM of a passed-through controller or network card at each start, and the VM does not boot from it.

    The ROM looks for disks or a network to boot from, which takes seconds to a minute. Those of some controllers fail or hang: there the
    finding is a warning, until the VM has started. With rombar=0 SeaBIOS finds no ROM; the system in the VM works without. VFs have none.
    Source: SeaBIOS, src/optionroms.c; reports of users (firmware fault 2667h of SAS3008: Proxmox's forum; vagrant-libvirt report 881; Marvell
    88SE9230: SeaBIOS' mailing list); the administrator's manual, "PCI(e) Passthrough" (rombar).
    """
    if guest.uefi:
        return
    for claim, device in taken(guest, node):
        entry = claim.entry
        given = entry.properties
        if entry.by_args or given.get("romfile") or str(given.get("rombar", 1)) == "0" or entry.option in guest.boot.devices:
            continue
        trouble = _ROM_TROUBLE.get((device.vendor, device.device), "")
        if device.physfn or not (trouble or device.class_code >> 8 in _WITH_BOOT_ROM):
            continue
        remedy = f"Hide its ROM: {remedies.replacing(guest, entry.option, 'rombar', '0')}"
        what = f"{entry.option}: at each start SeaBIOS runs the boot ROM of {device.label}"
        if trouble and not guest.running:
            yield Finding(device.address, f"{what}, which {trouble}; the VM does not boot from it", remedy, Severity.WARNING)
        else:
            yield Finding(device.address, f"{what}, if it has one, and the VM does not boot from it: that takes time", remedy)


@RULES.rule(
    "vendor-reset-unused",
    Severity.WARNING,
    "Choose it: echo device_specific > /sys/bus/pci/devices/ADDRESS/reset_method",
    needs=("holders", "modules", "pci"),
    options=("args", "hostpci"),
)
def vendor_reset_unused(guest: Guest, node: Node) -> Iterator[Finding]:
    """The module vendor-reset is loaded at boot, and the VM's card of AMD is not reset by it.

    Since kernel 5.15 the resets of a device are chosen before modules are loaded: device_specific, which the module provides, has to be
    written to `reset_method`. The module's own udev rule does that at every boot.
    Source: the kernel's Documentation/ABI/testing/sysfs-bus-pci (reset_method); vendor-reset, udev/99-vendor-reset.rules.
    """
    if isinstance(node.modules, Unread) or all(name != "vendor_reset" for name, _ in node.modules.listed):
        return
    for claim, device in taken(guest, node):
        methods = device.reset_methods
        if (
            device.vendor != _AMD
            or device.class_code >> 16 != _DISPLAY
            or isinstance(methods, Unread)
            or {_SPECIFIC, "unknown"} & set(methods)
        ):
            continue
        message = (
            f"{claim.entry.option}: {device.label} is not reset by the module vendor-reset, but by {', '.join(methods) or 'nothing'}:"
            " it may not work after the VM's first start"
        )
        remedy = (
            f"Choose it: echo {_SPECIFIC} > /sys/bus/pci/devices/{device.address}/reset_method"
            " ('Invalid argument': the module does not know the card). For every boot, put the module's udev/99-vendor-reset.rules into"
            " /etc/udev/rules.d"
        )
        yield Finding(device.address, message, remedy)
