"""Whether a guest's firmware offers network boot: the image that the guest really gets, and the sources of entropy that it finds.

Since edk2-stable202405 every network driver of the firmware depends on EFI_RNG_PROTOCOL (CVE-2023-45237; NetworkPkg, DxeNetLib). RngDxe gives
it from RDRAND on x86 and from RNDR or KVM's TRNG on ARM, VirtioRngDxe from an RNG device. PVE's 2M images were built in 2023, before that. What
an image of the guest's own has is read from its drivers.
Source: qemu-server, OVMF.pm (get_ovmf_files); tests/kernel/test_netboot.py boots the images.
"""

from __future__ import annotations

import enum
import re
import shlex

from pvehooks.derived.disks import arch_of
from pvehooks.derived.firmware_fit import confidential, image_in, own_firmware
from pvehooks.derived.once import once_on
from pvehooks.derived.rdrand import has_rdrand
from pvehooks.values import Guest, NamedTuple, Node, Unread
from pvehooks.values.images import FirmwareNetwork

_SWITCHES = "name=opt/org.tianocore/"
_WRITTEN = re.compile(r"(?:^|\s+)--?fw_cfg\s+name=opt/org\.tianocore/(?:IPv[46](?:PXE)?|VirtioNet)Support,string=\w+(?=\s|$)")
# edk2, QemuFwCfgParseBool.
_FALSE = ("0", "false", "no", "n", "disable", "disabled")
_IPV4 = ("IPv4Support", "IPv4PXESupport")
_IPV6 = ("IPv6Support", "IPv6PXESupport")
_VIRTIO = "VirtioNetSupport"
# Releases whose firmware looks for a virtio RNG device too late for its network (edk2, the fix of 2024-11-27 for OvmfPkg).
_DEVICE_TOO_LATE = ("2024.05", "2024.08", "2024.11")
# QEMU's ARM models with FEAT_RNG where it emulates them (target/arm/tcg/cpu64.c).
_ARM_MODELS_WITH_RNDR = ("max", "neoverse-v1", "neoverse-n2")


class Image(enum.Enum):
    """The kind of firmware image that a guest starts with."""

    OVMF_4M = "OVMF of the 4M type, also for SEV"
    OVMF_2M = "OVMF of the old 2M type"
    TDX = "OVMF for TDX, which has no network stack"
    AAVMF = "AAVMF, for ARM"
    OWN = "an image of the VM's own"


class Source(enum.Enum):
    """A source of entropy that firmware may find."""

    RNG0 = "rng0"
    RNG_IN_ARGS = "an RNG device in args"
    RDRAND = "RDRAND"
    RNDR = "RNDR"
    TRNG = "KVM's TRNG"
    UNKNOWN_CPU = "a CPU of which it is not known whether it has RDRAND"

    # There is one of each, and Enum's own hash is worked out in Python, for each guest and set.
    __hash__ = object.__hash__


class NetworkBoot(enum.Enum):
    """What becomes of network boot."""

    WORKS = "works"
    NEEDS_ENTROPY = "needs entropy"
    NEVER = "never"
    UNKNOWN = "unknown"


_DEVICES = frozenset((Source.RNG0, Source.RNG_IN_ARGS))
_CPUS = frozenset((Source.RDRAND, Source.RNDR, Source.TRNG))
_OF_X86 = _DEVICES | {Source.RDRAND}
_OF_ARM = _DEVICES | {Source.RNDR, Source.TRNG}


def network_boot(image: Image, sources: frozenset[Source], own: FirmwareNetwork | None = None) -> NetworkBoot:
    """What becomes of network boot with an image and the sources of entropy that it finds; `own` is what an image of its own has."""
    if image is Image.TDX:
        return NetworkBoot.NEVER
    if image is Image.OVMF_2M:
        return NetworkBoot.WORKS
    if image is Image.OWN:
        return NetworkBoot.UNKNOWN if own is None else _of_own(own, sources)
    if sources & (_OF_ARM if image is Image.AAVMF else _OF_X86):
        return NetworkBoot.WORKS
    return NetworkBoot.UNKNOWN if Source.UNKNOWN_CPU in sources else NetworkBoot.NEEDS_ENTROPY


def _of_own(own: FirmwareNetwork, sources: frozenset[Source]) -> NetworkBoot:
    if not own.there:
        return NetworkBoot.NEVER
    if not own.needs_entropy or (own.cpu and sources & _CPUS):
        return NetworkBoot.WORKS
    if sources & _DEVICES and own.device and own.release not in _DEVICE_TOO_LATE:
        return NetworkBoot.WORKS if own.release else NetworkBoot.UNKNOWN
    return NetworkBoot.UNKNOWN if own.cpu and Source.UNKNOWN_CPU in sources else NetworkBoot.NEEDS_ENTROPY


class GuestFirmware(NamedTuple):
    """A guest's firmware and what it finds."""

    image: Image
    sources: frozenset[Source]
    # The fw_cfg switches in its args that take PXE over IPv4 away.
    switches: tuple[str, ...] = ()
    # Why its CPU is not known, '' if it is.
    unread: str = ""
    # What its own image has, None where that cannot be read, or it has none of its own.
    own: FirmwareNetwork | None = None

    @property
    def network_boot(self) -> NetworkBoot:
        """What becomes of network boot at the guest's next start."""
        return NetworkBoot.NEVER if self.switches else network_boot(self.image, self.sources, self.own)

    @property
    def plain(self) -> bool:
        """Whether its network needs no entropy."""
        return self.image is Image.OVMF_2M or (self.own is not None and self.own.there and not self.own.needs_entropy)

    @property
    def guessed(self) -> bool:
        """Whether it is an image of its own of which nothing is known."""
        return self.image is Image.OWN and self.own is None

    @property
    def device_helps(self) -> bool:
        """Whether an RNG device gives its network entropy, as far as known."""
        return self.own is None or (self.own.device and self.own.release not in _DEVICE_TOO_LATE)

    @property
    def cpu_helps(self) -> bool:
        """The same of the CPU's random numbers."""
        return self.own is None or self.own.cpu

    @property
    def entropy(self) -> bool:
        """Whether it certainly finds a source of entropy."""
        return bool(self.sources - {Source.UNKNOWN_CPU})


@once_on
def firmware_of(guest: Guest, node: Node) -> GuestFirmware:
    """The firmware of a UEFI guest's next start on the node."""
    words = args_of(guest)
    cpu = _of_cpu(guest, node)
    sources = {cpu} if isinstance(cpu, Source) else set()
    if "rng0" in guest.options:
        sources.add(Source.RNG0)
    if words and any("virtio-rng" in word for word in words):
        sources.add(Source.RNG_IN_ARGS)
    unread = cpu.why if isinstance(cpu, Unread) else ""
    if unread:
        sources.add(Source.UNKNOWN_CPU)
    return GuestFirmware(_image(guest, node, words), frozenset(sources), switches(guest, words), unread, _own(guest, node, words))


def _own(guest: Guest, node: Node, words: tuple[str, ...]) -> FirmwareNetwork | None:
    image = guest.firmware.volid if guest.firmware else image_in(words) if words else ""
    if not image or isinstance(node.firmware_networks, Unread):
        return None
    found = node.firmware_networks.of(image)
    return None if isinstance(found, Unread) else found


def args_of(guest: Guest) -> tuple[str, ...]:
    """The words of its args as QEMU gets them; none where the quotes do not add up, since PVE then gives it none."""
    args = str(guest.options.get("args", ""))
    try:
        return tuple(shlex.split(args)) if args else ()
    except ValueError:
        return ()


def _image(guest: Guest, node: Node, words: tuple[str, ...]) -> Image:
    if guest.firmware is not None or own_firmware(words)[0]:
        return Image.OWN
    kind = confidential(guest)
    if kind == "tdx":
        return Image.TDX
    if arch_of(guest, node) == "aarch64":
        return Image.AAVMF
    # A SEV guest gets the 4M image whatever its EFI disk says, and any guest without an EFI disk the 2M one.
    if kind or "amd-sev" in guest.options or guest.properties("efidisk0").get("efitype") == "4m":
        return Image.OVMF_4M
    return Image.OVMF_2M


def _of_cpu(guest: Guest, node: Node) -> Source | Unread | None:
    """What its CPU gives the firmware."""
    if arch_of(guest, node) == "aarch64":
        if isinstance(node.cpu_flags, frozenset) and "asimd" in node.cpu_flags and guest.options.get("kvm", 1):
            return Source.TRNG
        return Source.RNDR if guest.cpu[0] in _ARM_MODELS_WITH_RNDR else None
    rdrand = has_rdrand(guest, node)
    return rdrand if isinstance(rdrand, Unread) else Source.RDRAND if rdrand else None


def switches(guest: Guest, words: tuple[str, ...]) -> tuple[str, ...]:
    """The fw_cfg switches among the words that take PXE over IPv4 away (OvmfPkg/RUNTIME_CONFIG.md)."""
    off = [name for name in map(_switched_off, words) if name]
    if not off:
        return ()
    cards = [str(guest.options[name]).partition(",")[0] for name in guest.options if name.startswith("net")]
    all_virtio = bool(cards) and all(card.removeprefix("model=").startswith("virtio") for card in cards)
    return tuple(name for name in off if name in _IPV4 or (name == _VIRTIO and all_virtio))


def ways_left(words: tuple[str, ...]) -> bool:
    """Whether the switches among the words leave other ways of network boot: IPv6, HTTP."""
    off = {name for name in map(_switched_off, words) if name}
    return _VIRTIO not in off and not off.issuperset(("IPv4Support", "IPv6Support"))


def without_switches(guest: Guest) -> str:
    """The guest's args, to the letter, without the switches for the network."""
    return _WRITTEN.sub("", str(guest.options.get("args", ""))).strip()


def _switched_off(word: str) -> str:
    """The name of the switch that the value of a -fw_cfg turns off, '' for any other word."""
    name, _, value = word.partition(",string=")
    return name.removeprefix(_SWITCHES) if name.startswith(_SWITCHES) and value.lower() in _FALSE else ""
