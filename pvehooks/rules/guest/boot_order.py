"""The boot order: what the firmware tries, and what it never gets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pvehooks.derived.disks import disks, is_disk
from pvehooks.derived.once import once
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.rules.guest.entropy import NVME_CLASS, passed_through
from pvehooks.values import Finding, Guest, Node, Severity, Unread

# A template never starts: its clones are examined instead.
RULES = RuleSet(applies_to=lambda guest: bool(guest.options) and not guest.template, order=130)
# With these in `args` a guest may boot from what no other option of its config names.
_BOOTS_BY_ARGS = re.compile(r"-kernel|bootindex|-boot|-drive|-blockdev|-device|-cdrom|-hd[a-d]")
_CLOUD_INIT = re.compile(r"[:/](?:vm-\d+-)?cloudinit(?:\.\w+)?\Z", re.ASCII)
# So long as a guest is being made (create, restore, clone) or destroyed, its config has no more than this lock (API2/Qemu.pm).
_INCOMPLETE = frozenset(("create", "clone", "destroyed"))


@once
def _lasting(guest: Guest) -> list[str]:
    """What is in the boot order and holds a system: disks, passed-through devices, USB."""
    return [name for name in guest.boot.devices if is_disk(guest, name) or name.startswith(("hostpci", "usb"))]


@once
def _passing(guest: Guest) -> list[str]:
    """What else is in the boot order and can be booted from: network cards, and CD-ROM drives with something in them."""
    return [name for name in guest.boot.devices if name.startswith("net") or (name not in _lasting(guest) and _has_medium(guest, name))]


def _has_medium(guest: Guest, name: str) -> bool:
    medium = str(guest.properties(name).get("file", "none"))
    return medium != "none" and not _CLOUD_INIT.search(medium)


def _explained_by_args(guest: Guest) -> bool:
    return bool(_BOOTS_BY_ARGS.search(str(guest.options.get("args", ""))))


def _order(guest: Guest, *first: str) -> str:
    """What to type for an order that begins with these and goes on with what is in it now, empty CD-ROM drives among that."""
    names = dict.fromkeys((*first, *guest.boot.devices))
    return f"qm set {guest.vmid} --boot 'order={';'.join(names)}'"


def _has_nvme(guest: Guest, node: Node) -> tuple[str, str] | tuple[str, Unread]:
    """The option and address of a passed-through NVMe, ('', '') without one, or the option that may be one."""
    unknown: tuple[str, Unread] | None = None
    for entry in guest.hostpci:
        if entry.mdev:
            continue
        address = passed_through(entry, node, lambda device: device.class_code >> 8 == NVME_CLASS)
        if isinstance(address, Unread):
            unknown = unknown or (entry.option, address)
        elif address:
            return entry.option, address
    return unknown or ("", "")


def _nvme_is_all(guest: Guest) -> bool:
    """Whether a passed-through NVMe would be the only disk to boot from."""
    return bool(guest.hostpci) and not _lasting(guest) and not disks(guest) and not _explained_by_args(guest)


def _begins_wrong(guest: Guest) -> bool:
    """Whether the boot order begins with what cannot be booted from, or `bootdisk` names it."""
    order = (name for name in re.split(r"[;,\s\0]+", str(guest.properties("boot").get("order", ""))) if name)
    missing = guest.boot.missing
    return bool(missing) and next(order, missing[0]) in missing


@RULES.rule("nothing-bootable", Severity.WARNING, "Set the boot order: qm set {vmid} --boot 'order=scsi0'", needs=("pci",))
def nothing_bootable(guest: Guest, node: Node) -> Iterator[Finding]:
    """Nothing in the boot order can be booted from: it is empty, or names what is not there, or an empty CD-ROM drive.

    SeaBIOS stops at "No bootable device", because PVE has it try nothing else (strict=on). Without any boot device UEFI goes by
    the entries in its own settings, so there it is mere advice, as for a VM that has no disk yet. Without a `boot` line PVE takes
    CD-ROM drives, network cards and the disk that the old option `bootdisk` names: no other disk. VMs whose `args` name
    disks or a kernel are not examined.
    Source: qemu-server, QemuServer.pm (device_bootorder, config_to_command); the administrator's manual, "Device Boot Order".
    """
    if guest.options.get("lock") in _INCOMPLETE or _lasting(guest) or _passing(guest) or _explained_by_args(guest):
        return
    if _nvme_is_all(guest) and _has_nvme(guest, node)[0]:
        return
    there = disks(guest)
    rest = f", so {_are(there, 'not tried')}" if there else ", and it has no disk"
    own = " (UEFI may find a system by its own settings)" if guest.uefi else ""
    yield Finding(
        "boot",
        f"nothing to boot from: {_emptiness(guest)}{rest}{own}",
        remedy=f"Set the boot order: {_order(guest, there[0])}" if there else "Give it a disk, an ISO or a network card to boot from",
        severity=Severity.INFO if guest.uefi or not (there or guest.hostpci) else Severity.UNSET,
    )


def _are(names: Sequence[str], what: str) -> str:
    """The end of a sentence: "scsi0 is not tried", "scsi0, scsi1 are not tried"."""
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} {what}"


def _emptiness(guest: Guest) -> str:
    boot = guest.boot
    if boot.missing:
        return _misnamed(guest)
    if boot.source == "default":
        return "there is no boot order"
    if boot.devices:
        return f"the boot order has only an empty CD-ROM drive ({', '.join(boot.devices)})"
    return "the boot order is empty"


def _misnamed(guest: Guest) -> str:
    missing = guest.boot.missing
    where = "the boot order" if guest.boot.source == "order" else "bootdisk"
    exist = "does not exist" if len(missing) == 1 else "do not exist"
    return (
        f"{where} names {', '.join(missing)}, which {'cannot be booted from' if any(each in guest.options for each in missing) else exist}"
    )


@RULES.rule("boot-disk-not-in-order", Severity.INFO, "If it is to boot from its disk: qm set {vmid} --boot 'order=scsi0'")
def boot_disk_not_in_order(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM boots from the network or a CD-ROM alone, though it has a disk: the system on that is never started.

    That is right for VMs that always boot from the network, and common by mistake where a disk was imported or attached later.
    A VM without a `boot` line gets a warning: no one chose that, and PVE's default takes no disk that the old option
    `bootdisk` does not name.
    Source: qemu-server, QemuServer.pm (bootorder_from_legacy); the administrator's manual, "Device Boot Order".
    """
    if _lasting(guest) or guest.boot.missing or not _passing(guest) or _explained_by_args(guest):
        return
    there = disks(guest)
    if not there:
        return
    chosen = guest.boot.source != "default"
    yield Finding(
        "boot",
        f"boots from {', '.join(_passing(guest))} alone: {_are(there, 'not in the boot order')}",
        remedy=f"{'If it is to boot from its disk' if chosen else 'Put it there'}: {_order(guest, there[0])}",
        severity=Severity.UNSET if chosen else Severity.WARNING,
    )


@RULES.rule(
    "boot-nvme-not-in-order",
    Severity.WARNING,
    "Put it in the boot order: qm set {vmid} --boot 'order=hostpci0'",
    needs=("pci",),
    options=("hostpci",),
)
def boot_nvme_not_in_order(guest: Guest, node: Node) -> Iterator[Finding]:
    """A passed-through NVMe is the VM's only disk, and is not in the boot order: the VM does not boot from it.

    Where a network card or a medium in a CD-ROM drive is in the order, behind nothing that does not exist, the VM may be meant to
    boot from that: then it is information. The rule looks at PCI devices of class 0108.
    Source: the administrator's manual, "Device Boot Order" and "PCI(e) Passthrough"; qemu-server, PCI.pm (bootindex).
    """
    if not _nvme_is_all(guest):
        return
    option, address = _has_nvme(guest, node)
    others = _passing(guest)
    if isinstance(address, Unread):
        if others:
            return
        yield not_examined(option, f"whether {option} is an NVMe to boot from is unknown: {address.why}")
    elif option:
        yield Finding(
            "boot",
            f"the passed-through NVMe {address} ({option}) is its only disk, but not in the boot order",
            remedy=f"Put it there: {_order(guest, option)}",
            severity=Severity.INFO if others and not _begins_wrong(guest) else Severity.UNSET,
        )


@RULES.rule("boot-device-missing", Severity.WARNING, "Take it out of the boot order: qm set {vmid} --boot 'order=scsi0'", needs=("pci",))
def boot_device_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """The boot order names a device that the VM does not have, or that PVE cannot boot from; it is passed over.

    Where it comes first, or is the disk that the old option `bootdisk` names, the VM boots from something else than was meant:
    that is a warning. Further back it changes nothing.
    Source: qemu-server, QemuServer.pm (device_bootorder); the administrator's manual, "Device Boot Order".
    """
    if not guest.boot.missing or not (_lasting(guest) or _passing(guest)):
        return
    if any(finding.examined for finding in boot_nvme_not_in_order(guest, node)):
        return
    first = _begins_wrong(guest)
    instead = f": it boots from {(*_lasting(guest), *_passing(guest))[0]} instead" if first else ""
    left = () if _lasting(guest) else disks(guest)
    aside = f"; {_are(left, 'not tried')}" if left else ""
    yield Finding(
        "boot",
        f"{_misnamed(guest)}{instead}{aside}",
        remedy=f"Set the boot order: {_order(guest, *left[:1])}",
        severity=Severity.UNSET if first else Severity.INFO,
    )


@RULES.rule("boot-network-first", Severity.INFO, "Put the disk first, if that is not wanted: qm set {vmid} --boot 'order=scsi0;net0'")
def boot_network_first(guest: Guest, node: Node) -> Iterator[Finding]:
    """The network comes before the disk in the boot order.

    Every start waits for an answer from the network, and who answers there decides what is booted. That is meant so where
    machines are provisioned by network boot.
    Source: the administrator's manual, "Device Boot Order".
    """
    devices = guest.boot.devices
    disk = next((name for name in devices if is_disk(guest, name)), "")
    before = [name for name in devices[: devices.index(disk)] if name.startswith("net")] if disk else []
    if before:
        yield Finding(
            "boot",
            f"{', '.join(before)} {'comes' if len(before) == 1 else 'come'} before {disk} in the boot order: a server that answers on the network decides what is booted",
            remedy=f"If that is not wanted: {_order(guest, disk)}",
        )


@RULES.rule("boot-order-legacy", Severity.INFO, "Write it out: qm set {vmid} --boot 'order=scsi0;net0'")
def boot_order_legacy(guest: Guest, node: Node) -> Iterator[Finding]:
    """The boot order is in the old form, letters for kinds of devices and the option `bootdisk`; it works, and PVE calls it deprecated.

    The remedy is the same order in the new form. The rule finds nothing where another rule offers a new order.
    Source: qemu-server, QemuServer.pm (`boot`, `bootdisk`, bootorder_from_legacy); the administrator's manual, "Device Boot Order".
    """
    boot = guest.boot
    old = boot.source == "legacy" or (boot.source == "default" and "bootdisk" in guest.options)
    if not old or boot.missing or not _lasting(guest) or any(boot_network_first(guest, node)):
        return
    letters = f"letters '{guest.properties('boot').get('legacy', '')}'" if boot.source == "legacy" else f"bootdisk {boot.devices[0]}"
    yield Finding("boot", f"the boot order has the old form ({letters})", remedy=f"Write it out: {_order(guest)}")
