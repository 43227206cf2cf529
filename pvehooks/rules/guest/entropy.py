"""Entropy of UEFI VMs: is there an rng0 where the firmware needs one, and is it a good one?"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator

from pvehooks.derived.disks import arch_of, is_disk
from pvehooks.derived.network_boot import GuestFirmware, Image, NetworkBoot, Source, args_of, firmware_of, ways_left, without_switches
from pvehooks.derived.once import once_on
from pvehooks.derived.rdrand import model_with_rdrand, with_model
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Cure, Finding, Guest, HostPci, Node, PciDevice, Severity, Unread

RULES = RuleSet(applies_to=lambda guest: guest.uefi or guest.rng is not None, order=20)
GIVE = "Give it an RNG device: pvehooks inject {vmid}"
NVME_CLASS = 0x0108
STORAGE_CLASS = 0x01


def lacks_rng(guest: Guest) -> bool:
    """A UEFI guest without an RNG device, live or pending (one in `args` counts as one)."""
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


def may_lack_network_boot(guest: Guest, node: Node) -> bool:
    """Whether network boot does not work without more entropy, as far as that is known."""
    return firmware_of(guest, node).network_boot in (NetworkBoot.NEEDS_ENTROPY, NetworkBoot.UNKNOWN)


@RULES.rule("rng-missing-netboot", Severity.WARNING, GIVE, needs=("cpu_flags", "cpu_models", "firmware_networks"))
def rng_missing_netboot(guest: Guest, node: Node) -> Iterator[Finding]:
    """A UEFI VM that boots from the network has no source of entropy, so its firmware offers no network boot.

    Since edk2-stable202405 the firmware's network drivers require a random number generator (the fix of CVE-2023-45237): an RNG
    device, or an instruction of the CPU. Without either there is no network boot entry at all and nothing goes out on the wire.
    No `boot` line in the config means that network boot is on. What applies depends on the image that Proxmox VE starts the VM
    with:
    - An EFI disk with efitype=4m, or SEV: the current OVMF. It needs rng0, or RDRAND. The default CPU models (kvm64, x86-64-v2, -v3,
    -v4) give the VM no RDRAND; `host`, `max`, named models from IvyBridge and EPYC on, and custom models with +rdrand do.
    - An EFI disk of the type 2m, or no EFI disk at all: an image built in 2023. It needs no entropy, and the rule finds nothing.
    - TDX: the image has no network stack, see netboot-unavailable.
    - ARM: rng0, or RNDR of the CPU (`max`, neoverse-v1, neoverse-n2). On an ARM node KVM gives each VM a random number generator.
    - An image of the VM's own: what its drivers wait for is read from it. Where that cannot be read, it is unknown. Virtio RNG devices
    did not help images of edk2-stable202405, 202408 and 202411. Proxmox released none of these three.
    Source: qemu-server, OVMF.pm (get_ovmf_files); the administrator's manual, "BIOS and UEFI" and "VirtIO RNG" (chapter QEMU/KVM
    Virtual Machines). OVMF of both types, RDRAND, and AAVMF with RNDR of `max` were measured with Debian's images.
    """
    if not _waits_for_network(guest, node):
        return
    names = ", ".join(boot_networks(guest))
    firmware = firmware_of(guest, node)
    boot = firmware.network_boot
    if boot is NetworkBoot.UNKNOWN and not firmware.guessed:
        yield not_examined(
            "rng0",
            f"network boot ({names}) without rng0, but whether the CPU gives RDRAND is unknown: {firmware.unread}",
            Cure.RNG0_IF_ASKED,
        )
    elif firmware.entropy and boot is not NetworkBoot.NEEDS_ENTROPY:
        yield Finding(
            "rng0",
            _with_entropy(guest, names, firmware),
            remedy=f"{_keep(firmware)}: pvehooks inject {guest.vmid}",
            severity=Severity.INFO,
            cure=Cure.RNG0_DESPITE_RDRAND,
        )
    else:
        cure = Cure.RNG0 if firmware.device_helps else Cure.NONE
        yield Finding("rng0", _no_network_boot(guest, node, names, firmware), remedy=_give(guest, node, firmware), cure=cure)


@once_on
def _waits_for_network(guest: Guest, node: Node) -> bool:
    """Whether it boots from the network without an RNG device, and its firmware may need entropy for that."""
    if not lacks_rng(guest) or not boot_networks(guest):
        return False
    firmware = firmware_of(guest, node)
    return firmware.network_boot is not NetworkBoot.NEVER and not firmware.plain


def _with_entropy(guest: Guest, names: str, firmware: GuestFirmware) -> str:
    """Network boot without rng0 where the CPU makes up for it."""
    given = _given(guest, firmware)
    if firmware.guessed:
        return f"network boot ({names}) without rng0: {given}, and {_own(guest)} may find that or not"
    return f"network boot ({names}) without rng0: works because {given}"


def _keep(firmware: GuestFirmware) -> str:
    """When it needs an rng0 all the same, as the beginning of a remedy."""
    if Source.TRNG in firmware.sources:
        return "Before KVM is switched off for it (kvm: 0)"
    return "Before its CPU model is changed, or it moves to a node whose CPU lacks that"


def _given(guest: Guest, firmware: GuestFirmware) -> str:
    if Source.TRNG in firmware.sources:
        return "KVM gives ARM VMs a random number generator"
    instruction = "RNDR" if Source.RNDR in firmware.sources else "RDRAND"
    return f"the CPU model '{guest.cpu[0]}' gives the firmware {instruction}"


def _own(guest: Guest) -> str:
    return f"its firmware image {guest.firmware.volid}" if guest.firmware else "the firmware image in its args"


def _no_network_boot(guest: Guest, node: Node, names: str, firmware: GuestFirmware) -> str:
    if firmware.guessed:
        why = f"{_own(guest)} may need a source of entropy for it, as OVMF does since 2024, and there is neither rng0 nor"
        return f"maybe no network boot ({names}): {why} RDRAND"
    instruction = "RNDR" if arch_of(guest, node) == "aarch64" else "RDRAND"
    release = f" (edk2 {firmware.own.release})" if firmware.own and firmware.own.release else ""
    whose = "the UEFI firmware" if firmware.own is None else f"{_own(guest)}{release}"
    lacks = {
        (True, True): f"needs a source of entropy for it, and there is neither rng0 nor {instruction}",
        (True, False): "needs an rng0 for it, and there is none",
        (False, True): f"needs {instruction} for it, which the CPU does not have, and an rng0 does not help",
        (False, False): "needs a source of entropy for it, and has no driver for one",
    }
    return f"no network boot ({names}): {whose} {lacks[firmware.device_helps, firmware.cpu_helps]}"


def _give(guest: Guest, node: Node, firmware: GuestFirmware) -> str:
    """An RNG device, or a CPU model that makes it superfluous."""
    ways = [f"an RNG device: pvehooks inject {guest.vmid}"] if firmware.device_helps else []
    if firmware.cpu_helps and not firmware.guessed:
        if arch_of(guest, node) == "aarch64":
            ways.append(f"a CPU model with RNDR: qm set {guest.vmid} --cpu {with_model(guest, 'max')}")
        elif model := model_with_rdrand(guest, node):
            where = ", if the VM never migrates to another CPU" if model.partition(",")[0] == "host" else ""
            ways.append(f"a CPU model with RDRAND{where}: qm set {guest.vmid} --cpu {shlex.quote(model)}")
    return f"Give it {'. Or '.join(ways)}" if ways else "Give it a newer firmware image (pvehooks firmware import, pvehooks firmware set)"


@RULES.rule(
    "netboot-unavailable",
    Severity.INFO,
    "Take the network cards out of the boot order",
    needs=("cpu_flags", "cpu_models", "firmware_networks"),
)
def netboot_unavailable(guest: Guest, node: Node) -> Iterator[Finding]:
    """A network card is in the boot order, and the firmware cannot boot from it whatever source of entropy there is.

    The image that Proxmox VE starts a TDX VM with has no network stack. Or switches in `args` take PXE over IPv4 away
    (`-fw_cfg name=opt/org.tianocore/IPv4PXESupport,string=no`; also IPv4Support and VirtioNetSupport). An rng0 changes nothing of
    that, so none is given automatically. It is a warning where the VM has nothing else to boot from.
    Source: edk2, OvmfPkg/IntelTdx/IntelTdxX64.dsc and OvmfPkg/RUNTIME_CONFIG.md; qemu-server, OVMF.pm (get_ovmf_files).
    """
    networks = boot_networks(guest)
    if not guest.uefi or not networks:
        return
    firmware = firmware_of(guest, node)
    if firmware.network_boot is not NetworkBoot.NEVER:
        return
    names = ", ".join(networks)
    others = ";".join(name for name in guest.boot.devices if name not in networks)
    order = f"qm set {guest.vmid} --boot {shlex.quote(f'order={others}')}"
    severity = Severity.INFO if others else Severity.WARNING
    without = f"Take network cards out of its boot order: {order}" if others else "Give it a disk or an ISO image to boot from"
    if firmware.image is Image.TDX or (firmware.own is not None and not firmware.own.there):
        whose = "the firmware of TDX VMs" if firmware.own is None else _own(guest)
        message = f"no network boot ({names}): {whose} has no network stack, and an rng0 cannot help"
        yield Finding("boot", message, without, severity)
        return
    words = args_of(guest)
    left = without_switches(guest)
    change = f"Or switch it on again: qm set {guest.vmid} {f'--args {shlex.quote(left)}' if left else '--delete args'}"
    if left == guest.options["args"]:
        change = "Or take the switches out of its args"
    tail = "; what they leave of network boot (IPv6, HTTP) needs a source of entropy" if ways_left(words) and not firmware.entropy else ""
    message = f"no network boot by PXE over IPv4 ({names}): its args switch it off ({', '.join(firmware.switches)}), and an rng0 cannot help{tail}"
    yield Finding("args", message, f"{without}. {change}", severity)


@RULES.rule("rng-missing-nvme", Severity.WARNING, GIVE, needs=("pci",), options=("hostpci",))
def rng_missing_nvme(guest: Guest, node: Node) -> Iterator[Finding]:
    """A UEFI VM that boots from a passed-through NVMe has no RNG device, and may not boot from it.

    Users report that nothing boots from a passed-through NVMe until a VirtIO RNG is added. It has not been reproduced: booting from an
    emulated NVMe worked with and without one, and no mechanism is known, since no driver for NVMe, disks or the boot order names the
    random number generator. What the device may cost: with images up to edk2-stable202511 the firmware can hang in its RNG driver, in
    about one start of a thousand by another project's tests (edk2, pull request 11987); a CPU model with RDRAND avoids that.
    The rule looks at passed-through NVMe controllers (PCI class 0108) that are in the boot order, or that are there while
    the VM has no other disk or device to boot from.
    Source: the administrator's manual, "VirtIO RNG"; reports of users.
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
    "If it is to have one all the same: pvehooks inject {vmid}",
    needs=("cpu_flags", "cpu_models", "firmware_networks", "pci"),
)
def rng_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """A UEFI VM without an RNG device, which boots as it is.

    It boots neither from a passed-through NVMe, nor from the network where its firmware needs entropy for that. The finding says
    what would become of network boot. The VM's system may be short of entropy at boot. With `[rng] scope = all` such VMs get an
    rng0 as well.
    Source: the administrator's manual, "VirtIO RNG".
    """
    if not lacks_rng(guest) or _waits_for_network(guest, node):
        return
    if any(finding.cure is Cure.RNG0 for finding in rng_missing_nvme(guest, node)):
        return
    yield Finding("rng0", f"a UEFI VM without rng0: it boots as it is{_if_networked(guest, node)}", cure=Cure.RNG0_FOR_ALL)


def _if_networked(guest: Guest, node: Node) -> str:
    """What would become of network boot without rng0, as the end of a sentence; '' where that is not known."""
    firmware = firmware_of(guest, node)
    if firmware.plain and not firmware.switches:
        whose = "the old 2M image of its firmware" if firmware.own is None else _own(guest)
        return f", from the network too: {whose} needs no entropy for that"
    if firmware.network_boot is NetworkBoot.NEVER:
        return ""
    if firmware.guessed:
        return f", but {_own(guest)} may not be able to boot from the network if that were switched on"
    if firmware.network_boot is NetworkBoot.WORKS:
        return f", and could boot from the network too: {_given(guest, firmware)}"
    if firmware.network_boot is NetworkBoot.UNKNOWN:
        return ""
    return ", but could not boot from the network if that were switched on"


@RULES.rule(
    "rng-source-random",
    Severity.WARNING,
    "Change it: qm set {vmid} --rng0 source=/dev/urandom,max_bytes=1024,period=1000",
    options=("rng",),
)
def rng_source_random(guest: Guest, node: Node) -> Iterator[Finding]:
    """The RNG device feeds from /dev/random of the node, which may block.

    /dev/urandom is just as good and never blocks.
    Source: the administrator's manual, "VirtIO RNG": /dev/random is not recommended.
    """
    if guest.rng and guest.rng.get("source") == "/dev/random":
        yield Finding(
            "rng0", "rng0 reads /dev/random, which may block; /dev/urandom gives random numbers of the same quality and never blocks"
        )


@RULES.rule(
    "rng-source-hwrng-absent",
    Severity.BLOCK,
    "Change it: qm set {vmid} --rng0 source=/dev/urandom,max_bytes=1024,period=1000",
    needs=("hwrng",),
    options=("rng",),
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
        yield Finding("rng0", f"rng0 reads /dev/hwrng, which {node.name} does not have: the VM would not start")
    elif node.hwrng.current == "none":
        yield Finding(
            "rng0", f"rng0 reads /dev/hwrng, but {node.name} has no hardware behind it (rng_current is 'none'): the VM would not start"
        )


@RULES.rule(
    "rng-unlimited", Severity.WARNING, "Set a limit: qm set {vmid} --rng0 source=/dev/urandom,max_bytes=1024,period=1000", options=("rng",)
)
def rng_unlimited(guest: Guest, node: Node) -> Iterator[Finding]:
    """The RNG device has no limit (max_bytes=0), so the VM can keep the node busy making random numbers.

    Source: the administrator's manual, "VirtIO RNG": a limiter is always recommended.
    """
    if guest.rng and str(guest.rng.get("max_bytes")) == "0":
        source = guest.rng.get("source", "/dev/urandom")
        remedy = f"Set a limit: qm set {guest.vmid} --rng0 source={source},max_bytes=1024,period=1000"
        yield Finding("rng0", "rng0 has no limit (max_bytes=0): the VM can draw as much from the node as it likes", remedy=remedy)


@RULES.rule(
    "rng-pending-removal",
    Severity.WARNING,
    "Keep it: qm set {vmid} --revert rng0",
    needs=("cpu_flags", "cpu_models", "firmware_networks"),
    options=("rng",),
)
def rng_pending_removal(guest: Guest, node: Node) -> Iterator[Finding]:
    """The removal of rng0 waits in [PENDING], and with its next start the VM loses network boot.

    The rule looks only at UEFI VMs with a network card in the boot order, whose firmware then finds no other source of entropy.
    Source: the administrator's manual, "VirtIO RNG".
    """
    config = guest.config
    if config is None or not guest.uefi or "rng0" not in config.main or "rng0" not in config.pending_delete:
        return
    if (networks := boot_networks(guest)) and may_lack_network_boot(guest, node) and not firmware_of(guest, node).entropy:
        may = "may be" if firmware_of(guest, node).guessed else "is"
        message = f"rng0 will be removed at the next start (its deletion is pending): network boot ({', '.join(networks)}) {may} gone then"
        yield Finding("rng0", message)
