"""Network boot by the image that a guest gets and the sources of entropy that its firmware finds: the whole matrix, and how both are read."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from types import MappingProxyType

import pytest

from pvehooks.derived.network_boot import GuestFirmware, Image, NetworkBoot, Source, firmware_of, network_boot, ways_left, without_switches
from pvehooks.facts import hardware
from pvehooks.facts.guests import configs as guests
from pvehooks.host import Host
from pvehooks.values import Guest
from pvehooks.values.images import FirmwareNetwork
from tests.beds import firmware as bed
from tests.beds.tree import Content, make_fake_tree

WORKS, NEEDS, NEVER, UNKNOWN = NetworkBoot.WORKS, NetworkBoot.NEEDS_ENTROPY, NetworkBoot.NEVER, NetworkBoot.UNKNOWN
NOTHING: frozenset[Source] = frozenset()
# By image: what becomes of network boot with no source, with rng0, an RNG device in args, RDRAND, RNDR, the TRNG, a CPU that is not known, and
# such a CPU beside rng0.
SOURCES = (
    NOTHING,
    frozenset({Source.RNG0}),
    frozenset({Source.RNG_IN_ARGS}),
    frozenset({Source.RDRAND}),
    frozenset({Source.RNDR}),
    frozenset({Source.TRNG}),
    frozenset({Source.UNKNOWN_CPU}),
    frozenset({Source.UNKNOWN_CPU, Source.RNG0}),
)
EXPECTED = {
    Image.OVMF_4M: (NEEDS, WORKS, WORKS, WORKS, NEEDS, NEEDS, UNKNOWN, WORKS),
    Image.OVMF_2M: (WORKS,) * 8,
    Image.TDX: (NEVER,) * 8,
    Image.AAVMF: (NEEDS, WORKS, WORKS, NEEDS, WORKS, WORKS, UNKNOWN, WORKS),
    Image.OWN: (UNKNOWN,) * 8,
}
MATRIX = [(image, sources, EXPECTED[image][at]) for image, (at, sources) in product(Image, enumerate(SOURCES))]


def _id(value: object) -> str:
    """The same in every process: a set has no order."""
    return "+".join(sorted(map(str, value))) or "nothing" if isinstance(value, frozenset) else str(value)


@pytest.mark.parametrize(("image", "sources", "expected"), MATRIX, ids=_id)
def test_the_matrix(image: Image, sources: frozenset[Source], expected: NetworkBoot) -> None:
    assert network_boot(image, sources) is expected


OWN_NEW = FirmwareNetwork(there=True, needs_entropy=True, cpu=True, device=True, release="2025.02")
# By what an image of the guest's own has, in the order of SOURCES.
EXPECTED_OWN = {
    OWN_NEW: (NEEDS, WORKS, WORKS, WORKS, WORKS, WORKS, UNKNOWN, WORKS),
    OWN_NEW._replace(release=""): (NEEDS, UNKNOWN, UNKNOWN, WORKS, WORKS, WORKS, UNKNOWN, UNKNOWN),
    OWN_NEW._replace(release="2024.08"): (NEEDS, NEEDS, NEEDS, WORKS, WORKS, WORKS, UNKNOWN, UNKNOWN),
    OWN_NEW._replace(release="2024.05", cpu=False): (NEEDS,) * 8,
    OWN_NEW._replace(device=False): (NEEDS, NEEDS, NEEDS, WORKS, WORKS, WORKS, UNKNOWN, UNKNOWN),
    OWN_NEW._replace(cpu=False): (NEEDS, WORKS, WORKS, NEEDS, NEEDS, NEEDS, NEEDS, WORKS),
    OWN_NEW._replace(needs_entropy=False): (WORKS,) * 8,
    OWN_NEW._replace(there=False, needs_entropy=False): (NEVER,) * 8,
}


@pytest.mark.parametrize(
    ("own", "sources", "expected"),
    [(own, sources, EXPECTED_OWN[own][at]) for own, (at, sources) in product(EXPECTED_OWN, enumerate(SOURCES))],
    ids=_id,
)
def test_the_matrix_of_own_images(own: FirmwareNetwork, sources: frozenset[Source], expected: NetworkBoot) -> None:
    assert network_boot(Image.OWN, sources, own) is expected


@pytest.mark.parametrize("image", Image)
def test_one_more_source_never_takes_network_boot_away(image: Image) -> None:
    for sources, more in product(SOURCES, Source):
        if network_boot(image, sources) is WORKS:
            assert network_boot(image, sources | {more}) is WORKS


# -- how they are read ------------------------------------------------------------------------------------------------

INTEL = "processor\t: 0\nflags\t\t: fpu vmx rdrand\n"
OLD = "processor\t: 0\nflags\t\t: fpu vmx\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd aes\n"
EFI = "efidisk0: local-lvm:vm-100-disk-0,efitype=4m\n"
MODELS = "cpu-model: random\n\tflags +rdrand\n\treported-model kvm64\n"


def read(directory: Path, config: str, cpu: str = OLD, files: Mapping[str, Content] = MappingProxyType({})) -> tuple[Guest, GuestFirmware]:
    files = {
        **files,
        "etc/pve/nodes/pve1/qemu-server/100.conf": f"bios: ovmf\nnet0: virtio=BC:24:11:2C:69:EC,bridge=vmbr0\n{config}",
        "etc/pve/virtual-guest/cpu-models.conf": MODELS,
    }
    host = Host(str(make_fake_tree(directory, {**files, "proc/cpuinfo": cpu} if cpu else files)))
    guest = guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))
    return guest, firmware_of(guest, hardware.gather(host, "pve1"))


@pytest.mark.parametrize(
    ("config", "image"),
    [
        ("", Image.OVMF_2M),
        ("efidisk0: local-lvm:vm-100-disk-0\n", Image.OVMF_2M),
        ("efidisk0: local-lvm:vm-100-disk-0,efitype=2m\n", Image.OVMF_2M),
        (EFI, Image.OVMF_4M),
        (f"{EFI}\n[PENDING]\ndelete: efidisk0\n", Image.OVMF_2M),
        ("amd-sev: type=std\n", Image.OVMF_4M),
        ("amd-sev: type=es\nefidisk0: local-lvm:vm-100-disk-0,efitype=2m\n", Image.OVMF_4M),
        ("amd-sev: type=snp\n", Image.OVMF_4M),
        ("intel-tdx: type=tdx,attestation=0\n", Image.TDX),
        (f"intel-tdx: type=tdx,attestation=1\n{EFI}", Image.TDX),
        ("arch: aarch64\n", Image.AAVMF),
        (f"arch: aarch64\n{EFI}", Image.AAVMF),
        (f"args: -bios /root/OVMF.fd\n{EFI}", Image.OWN),
        (f"args: -drive if=pflash,format=raw,file=/root/OVMF.fd\n{EFI}", Image.OWN),
        ("args: -bios /root/OVMF.fd\nintel-tdx: type=tdx,attestation=0\n", Image.OWN),
    ],
)
def test_the_image(config: str, image: Image, tmp_path: Path) -> None:
    assert read(tmp_path, config)[1].image is image


@pytest.mark.parametrize(
    ("words", "known"),
    [
        ("-bios /root/own.fd", True),
        ("-pflash /root/own.fd", True),
        ("-drive if=pflash,unit=0,format=raw,readonly=on,file=/root/own.fd", True),
        ("-blockdev driver=raw,node-name=pvehooks-firmware,file.driver=file,file.filename=/root/own.fd", True),
        ("-bios own.fd", False),
        ("-bios /root/gone.fd", False),
        ("-bios /root/other.fd", False),
        ("-machine pflash0=mine", False),
        ("-L /root", False),
        ("-bios", False),
    ],
)
def test_an_image_in_args_is_read(words: str, known: bool, tmp_path: Path) -> None:
    images: dict[str, Content] = {"root/own.fd": bed.image(), "root/other.fd": "no firmware"}
    firmware = read(tmp_path, f"args: {words}\n", files=images)[1]
    assert (firmware.image, firmware.own) == (Image.OWN, OWN_NEW if known else None)
    assert firmware.network_boot is (NEEDS if known else UNKNOWN)


def test_an_arm_node_has_no_arch_line(tmp_path: Path) -> None:
    firmware = read(tmp_path, EFI, ARM)[1]
    assert (firmware.image, firmware.sources, firmware.network_boot) == (Image.AAVMF, frozenset({Source.TRNG}), WORKS)


@pytest.mark.parametrize(
    ("config", "cpu", "sources"),
    [
        ("", OLD, NOTHING),
        ("cpu: x86-64-v4\n", INTEL, NOTHING),
        ("rng0: source=/dev/urandom\n", OLD, {Source.RNG0}),
        ("rng0: source=/dev/urandom\n\n[PENDING]\ndelete: rng0\n", OLD, NOTHING),
        ("args: -device virtio-rng-pci\n", OLD, {Source.RNG_IN_ARGS}),
        ("cpu: host\n", INTEL, {Source.RDRAND}),
        ("cpu: host\n", OLD, NOTHING),
        ("cpu: max\n", INTEL, {Source.RDRAND}),
        ("cpu: IvyBridge\n", OLD, {Source.RDRAND}),
        ("cpu: custom-random\n", OLD, {Source.RDRAND}),
        ("cpu: host\n", "", {Source.UNKNOWN_CPU}),
        ("arch: aarch64\ncpu: cortex-a57\n", INTEL, NOTHING),
        ("arch: aarch64\ncpu: max\n", INTEL, {Source.RNDR}),
        ("arch: aarch64\ncpu: neoverse-n2\n", OLD, {Source.RNDR}),
        ("", ARM, {Source.TRNG}),
        ("kvm: 0\n", ARM, NOTHING),
        ("kvm: 0\ncpu: max\n", ARM, {Source.RNDR}),
    ],
)
def test_the_sources(config: str, cpu: str, sources: set[Source], tmp_path: Path) -> None:
    firmware = read(tmp_path, f"{EFI}{config}", cpu)[1]
    assert firmware.sources == sources
    assert bool(firmware.unread) is (Source.UNKNOWN_CPU in sources)


SWITCH = "-fw_cfg name=opt/org.tianocore/"


@pytest.mark.parametrize(
    ("args", "off", "ways", "left"),
    [
        (f"{SWITCH}IPv4PXESupport,string=no", ("IPv4PXESupport",), True, ""),
        (f"-S {SWITCH}IPv4Support,string=N -name x", ("IPv4Support",), True, "-S -name x"),
        (f"{SWITCH}IPv4Support,string=0 {SWITCH}IPv6Support,string=0", ("IPv4Support",), False, ""),
        (f"{SWITCH}IPv6PXESupport,string=no", (), True, ""),
        (f"{SWITCH}VirtioNetSupport,string=false", ("VirtioNetSupport",), False, ""),
        (f"{SWITCH}IPv4PXESupport,string=yes", (), True, ""),
        (
            "-fw_cfg 'name=opt/org.tianocore/IPv4Support,string=no'",
            ("IPv4Support",),
            True,
            "-fw_cfg 'name=opt/org.tianocore/IPv4Support,string=no'",
        ),
        (f"{SWITCH}IPv4Support,string=no 'open", (), True, "'open"),
    ],
)
def test_switches(args: str, off: tuple[str, ...], ways: bool, left: str, tmp_path: Path) -> None:
    guest, firmware = read(tmp_path, f"args: {args}\nrng0: source=/dev/urandom\n{EFI}")
    assert firmware.switches == off
    assert firmware.network_boot is (NEVER if off else WORKS)
    assert without_switches(guest) == left
    if off:
        assert ways_left(tuple(args.replace("'", "").split())) is ways
