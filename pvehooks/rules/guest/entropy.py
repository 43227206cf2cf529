"""Entropy of UEFI guests: is there an rng0 where the firmware needs one, and is it a good one?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pvehooks.derived.disks import is_disk
from pvehooks.derived.rdrand import has_rdrand
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Cure, Finding, Guest, HostPci, Node, PciDevice, Severity, Unread

RULES = RuleSet(concerned=lambda guest: guest.uefi or guest.rng is not None, order=20)
GIVE = "Give it an RNG device: pvehooks inject {vmid}"
NVME_CLASS = 0x0108
STORAGE_CLASS = 0x01


def lacks_rng(guest: Guest) -> bool:
    """A UEFI guest without an RNG device, live or pending (one that `args` brings along counts as one)."""
    config = guest.config
    return (
        config is not None
        and guest.uefi
        and "rng0" not in config.main
        and "rng0" not in config.pending
        and "virtio-rng" not in str(guest.options.get("args", ""))
    )


def boot_networks(guest: Guest) -> tuple[str, ...]:
    """The network cards in the effective boot order."""
    return tuple(name for name in guest.boot.devices if name.startswith("net"))


@RULES.rule("rng-missing-netboot", Severity.WARNING, GIVE, needs=("cpu_flags", "cpu_models"))
def rng_missing_netboot(guest: Guest, node: Node) -> Iterator[Finding]:
    """A UEFI guest that boots from the network has no source of entropy, so its firmware offers no network boot.

    Since edk2-stable202405 the firmware's network stack requires a random number generator (the mend of CVE-2023-45237):
    an RNG device, or the RDRAND instruction. Without either there is no network boot entry at all and nothing goes out
    on the wire; that is measured with Debian's OVMF 2025.02. PVE's default CPU models (kvm64, x86-64-v2, -v3, -v4) give
    the guest no RDRAND. No `boot` line in the config means that network boot is on.
    Firmware between May and November 2024 may lack network boot even with the device.
    Source: the administrator's manual, "BIOS and UEFI" and "VirtIO RNG" (chapter QEMU/KVM Virtual Machines).
    """
    if not lacks_rng(guest) or not (networks := boot_networks(guest)):
        return
    names = ", ".join(networks)
    rdrand = has_rdrand(guest, node)
    if isinstance(rdrand, Unread):
        yield not_examined(
            "rng0", f"network boot ({names}) without rng0, but whether the CPU gives RDRAND is unknown: {rdrand.why}", Cure.RNG0_IF_ASKED
        )
    elif rdrand:
        yield Finding(
            "rng0",
            f"network boot ({names}) without rng0: works because the CPU model '{guest.cpu[0]}' gives the firmware RDRAND",
            remedy="None needed; on a node whose CPU lacks RDRAND: pvehooks inject {vmid}",
            severity=Severity.INFO,
            cure=Cure.RNG0_DESPITE_RDRAND,
        )
    else:
        yield Finding(
            "rng0",
            f"{_no_network_boot(guest, names)}, and there is neither rng0 nor RDRAND",
            cure=Cure.RNG0,
        )


def _no_network_boot(guest: Guest, names: str) -> str:
    """What is known of PVE's firmware is not known of an image of the guest's own."""
    if guest.firmware is not None:
        return f"maybe no network boot ({names}): its firmware image {guest.firmware.volid} may need a source of entropy for it, as OVMF does since 2024"
    return f"no network boot ({names}): the UEFI firmware needs a source of entropy for it"


@RULES.rule("rng-missing-nvme", Severity.WARNING, GIVE, needs=("pci",))
def rng_missing_nvme(guest: Guest, node: Node) -> Iterator[Finding]:
    """A UEFI guest that boots from a passed-through NVMe has no RNG device, and may not boot from it.

    Users report that nothing boots from a passed-through NVMe until a VirtIO RNG is added. That is reported, not measured:
    booting from an emulated NVMe worked with and without one. The device does no harm and the manual recommends it.
    Looked at are passed-through NVMe controllers (PCI class 0108) that are in the boot order, or that are there while
    the guest has no other disk or device to boot from.
    Source: the administrator's manual, "VirtIO RNG"; reports in Proxmox's forum.
    """
    if not lacks_rng(guest):
        return
    other_disks = [name for name in guest.boot.devices if is_disk(guest, name)]
    for entry in guest.hostpci:
        if entry.mdev:
            continue
        if entry.option not in guest.boot.devices and (other_disks or _boots_from_another(guest)):
            continue
        nvme = passed_through(entry, node, lambda device: device.class_code >> 8 == NVME_CLASS)
        if isinstance(nvme, Unread):
            yield not_examined(entry.option, f"whether {entry.option} is an NVMe to boot from is unknown: {nvme.why}", Cure.RNG0_IF_ASKED)
        elif nvme:
            yield Finding(
                entry.option,
                f"boots from the passed-through NVMe {nvme} ({entry.option}) without rng0: users report that UEFI does not find it then",
                cure=Cure.RNG0,
            )


def _boots_from_another(guest: Guest) -> bool:
    """Whether a passed-through device is in the boot order."""
    return any(name.startswith("hostpci") for name in guest.boot.devices)


def passed_through(entry: HostPci, node: Node, wanted: Callable[[PciDevice], bool]) -> str | Unread:
    """The address of the wanted device that the entry stands for, '' if there is none among them."""
    if isinstance(entry.addresses, Unread):
        return entry.addresses
    if isinstance(node.pci, Unread):
        return node.pci
    missing = ""
    for address in entry.addresses:
        functions = [device for name, device in node.pci.items() if name == address or name.startswith(f"{address}.")]
        if not functions:
            missing = missing or address
        for device in functions:
            if wanted(device):
                return device.address
    return Unread(f"{missing} is not on the PCI bus of {node.name}") if missing else ""


@RULES.rule(
    "rng-missing",
    Severity.INFO,
    "None needed; if it is to have one all the same: pvehooks inject {vmid}",
    needs=("cpu_flags", "cpu_models", "pci"),
)
def rng_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """A UEFI guest without an RNG device, which neither boots from the network nor from a passed-through NVMe.

    It boots as it is. It could not boot from the network if that were switched on later, unless its CPU model gives it RDRAND, and
    its system may be short of entropy at boot. With `[rng] scope = all` such guests get an rng0 as well.
    Source: the administrator's manual, "VirtIO RNG".
    """
    if not lacks_rng(guest) or boot_networks(guest):
        return
    if any(finding.cure is Cure.RNG0 for finding in rng_missing_nvme(guest, node)):
        return
    yield Finding("rng0", f"a UEFI guest without rng0: it boots as it is{_if_networked(guest, node)}", cure=Cure.RNG0_FOR_ALL)


def _if_networked(guest: Guest, node: Node) -> str:
    """What would become of network boot without rng0, as the end of a sentence; '' where that is not known."""
    rdrand = has_rdrand(guest, node)
    if isinstance(rdrand, Unread):
        return ""
    if rdrand:
        return f", and could boot from the network too: its CPU model '{guest.cpu[0]}' gives the firmware RDRAND"
    return f", but {'may not be able to' if guest.firmware else 'could not'} boot from the network if that were switched on"


@RULES.rule("rng-source-random", Severity.WARNING, "Change it: qm set {vmid} --rng0 source=/dev/urandom,max_bytes=1024,period=1000")
def rng_source_random(guest: Guest, node: Node) -> Iterator[Finding]:
    """The RNG device feeds from /dev/random of the node, which may block and starve the node.

    /dev/urandom is just as good and never blocks.
    Source: the administrator's manual, "VirtIO RNG": /dev/random is not recommended.
    """
    if guest.rng and guest.rng.get("source") == "/dev/random":
        yield Finding("rng0", "rng0 reads /dev/random, which can leave the node short of entropy; /dev/urandom is as good")


@RULES.rule(
    "rng-source-hwrng-absent",
    Severity.BLOCK,
    "Change it: qm set {vmid} --rng0 source=/dev/urandom,max_bytes=1024,period=1000",
    needs=("hwrng",),
)
def rng_source_hwrng_absent(guest: Guest, node: Node) -> Iterator[Finding]:
    """The RNG device feeds from /dev/hwrng, but the node has no hardware random number generator: PVE refuses the start.

    Either the device node is missing, or the kernel's rng_current says "none".
    Source: qemu-server, RNG.pm; the administrator's manual, "VirtIO RNG".
    """
    if not guest.rng or guest.rng.get("source") != "/dev/hwrng":
        return
    if isinstance(node.hwrng, Unread):
        yield not_examined("rng0", f"rng0 reads /dev/hwrng, but whether there is one is unknown: {node.hwrng.why}")
    elif not node.hwrng.present:
        yield Finding("rng0", f"rng0 reads /dev/hwrng, which {node.name} does not have: the guest will not start")
    elif node.hwrng.current == "none":
        yield Finding(
            "rng0", f"rng0 reads /dev/hwrng, but {node.name} has no hardware behind it (rng_current is 'none'): the guest will not start"
        )


@RULES.rule("rng-unlimited", Severity.WARNING, "Set a limit: qm set {vmid} --rng0 source=/dev/urandom,max_bytes=1024,period=1000")
def rng_unlimited(guest: Guest, node: Node) -> Iterator[Finding]:
    """The RNG device has no limit (max_bytes=0), so the guest can keep the node busy making random numbers.

    Source: the administrator's manual, "VirtIO RNG": a limiter is always recommended.
    """
    if guest.rng and str(guest.rng.get("max_bytes")) == "0":
        source = guest.rng.get("source", "/dev/urandom")
        remedy = f"Set a limit: qm set {guest.vmid} --rng0 source={source},max_bytes=1024,period=1000"
        yield Finding("rng0", "rng0 has no limit (max_bytes=0): the guest can draw as much from the node as it likes", remedy=remedy)


@RULES.rule(
    "rng-pending-removal", Severity.WARNING, "Keep it: qm set {vmid} --revert rng0; or let it go and know that network boot may go with it."
)
def rng_pending_removal(guest: Guest, node: Node) -> Iterator[Finding]:
    """The removal of rng0 waits in [PENDING]: the guest loses its source of entropy at its next start.

    Only said of UEFI guests, whose firmware needs it for network boot.
    Source: the administrator's manual, "VirtIO RNG".
    """
    config = guest.config
    if config and guest.uefi and "rng0" in config.main and "rng0" in config.pending_delete:
        yield Finding(
            "rng0", "rng0 will be removed at the next start (its deletion is pending): the UEFI firmware then has no source of entropy"
        )
