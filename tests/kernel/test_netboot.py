"""What pvehooks holds of a firmware's network boot, beside what real firmware does: on its serial console, and on the wire."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.derived.network_boot import Image, NetworkBoot, firmware_of, network_boot
from pvehooks.facts import hardware
from pvehooks.facts.guests import configs as guests
from pvehooks.formats import firmwaredrivers
from pvehooks.host import Host
from tests.beds.tree import make_fake_tree
from tests.kernel import netboot
from tests.kernel.netboot import RNG, Images

X86 = "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu vmx\n"
EFI_4M, EFI_2M = "efidisk0: local-lvm:vm-100-disk-0,efitype=4m\n", "efidisk0: local-lvm:vm-100-disk-0,efitype=2m\n"
SECURE = "efidisk0: local-lvm:vm-100-disk-0,efitype=4m,pre-enrolled-keys=1\n"
RNG0 = "rng0: source=/dev/urandom\n"
NO_VIRTIO = "-fw_cfg name=opt/org.tianocore/VirtioNetSupport,string=no"
NO_IP = "-fw_cfg name=opt/org.tianocore/IPv4Support,string=no -fw_cfg name=opt/org.tianocore/IPv6Support,string=no"
MODELS = "cpu-model: random\n\tflags +rdrand\n\treported-model qemu64\n"
WORKS, NEEDS, NEVER = NetworkBoot.WORKS, NetworkBoot.NEEDS_ENTROPY, NetworkBoot.NEVER

# (firmware, QEMU's CPU, QEMU's words beside, the guest's config, what becomes of network boot)
CASES = [
    pytest.param("2m of 2022", "qemu64", (), "cpu: qemu64\n", WORKS, id="2m, no EFI disk"),
    pytest.param("2m of 2022", "qemu64", (), f"cpu: qemu64\n{EFI_2M}", WORKS, id="2m"),
    pytest.param("2m of 2022", "qemu64", RNG, f"cpu: qemu64\n{EFI_2M}{RNG0}", WORKS, id="2m, rng0"),
    pytest.param("4m of 2025", "qemu64", (), f"cpu: qemu64\n{EFI_4M}", NEEDS, id="4m"),
    pytest.param("4m of 2025", "qemu64", RNG, f"cpu: qemu64\n{EFI_4M}{RNG0}", WORKS, id="4m, rng0"),
    pytest.param("4m of 2025", "qemu64", RNG, f"cpu: qemu64\nargs: {' '.join(RNG)}\n{EFI_4M}", WORKS, id="4m, rng in args"),
    pytest.param("4m of 2025", "kvm64", (), EFI_4M, NEEDS, id="4m, default CPU"),
    pytest.param("4m of 2025", "SandyBridge", (), f"cpu: SandyBridge\n{EFI_4M}", NEEDS, id="4m, SandyBridge"),
    pytest.param("4m of 2025", "IvyBridge", (), f"cpu: IvyBridge\n{EFI_4M}", WORKS, id="4m, IvyBridge"),
    pytest.param("4m of 2025", "EPYC", (), f"cpu: EPYC\n{EFI_4M}", WORKS, id="4m, EPYC"),
    pytest.param("4m of 2025", "qemu64,+rdrand", (), f"cpu: custom-random\n{EFI_4M}", WORKS, id="4m, custom model"),
    pytest.param("4m with Secure Boot of 2025", "qemu64", (), f"cpu: qemu64\n{SECURE}", NEEDS, id="Secure Boot"),
    pytest.param("4m with Secure Boot of 2025", "qemu64", RNG, f"cpu: qemu64\n{SECURE}{RNG0}", WORKS, id="Secure Boot, rng0"),
    pytest.param("ARM of 2025", "cortex-a57", (), f"arch: aarch64\ncpu: cortex-a57\n{EFI_4M}", NEEDS, id="ARM"),
    pytest.param("ARM of 2025", "cortex-a57", RNG, f"arch: aarch64\ncpu: cortex-a57\n{EFI_4M}{RNG0}", WORKS, id="ARM, rng0"),
    pytest.param("ARM of 2025", "max", (), f"arch: aarch64\ncpu: max\n{EFI_4M}", WORKS, id="ARM, RNDR"),
    pytest.param("4m of 2025", "IvyBridge", NO_VIRTIO.split(), f"args: {NO_VIRTIO}\ncpu: IvyBridge\n{EFI_4M}", NEVER, id="no virtio-net"),
    pytest.param("4m of 2025", "IvyBridge", NO_IP.split(), f"args: {NO_IP}\ncpu: IvyBridge\n{EFI_4M}", NEVER, id="no IP"),
]


@pytest.fixture(scope="session")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Images]:
    return netboot.images(tmp_path_factory.mktemp("firmware"))


@pytest.mark.parametrize(("name", "cpu", "words", "config", "expected"), CASES)
def test_network_boot(
    firmware: dict[str, Images], name: str, cpu: str, words: tuple[str, ...], config: str, expected: NetworkBoot, tmp_path: Path
) -> None:
    host = Host(str(make_fake_tree(tmp_path / "tree", _tree(config))))
    guest = guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))
    found = firmware_of(guest, hardware.gather(host, "pve1"))
    assert found.network_boot is expected
    own = firmwaredrivers.read(firmware[name].code.read_bytes())
    # The same image as one of the guest's own.
    assert found.switches or (own is not None and network_boot(Image.OWN, found.sources, own) is expected)
    seen = netboot.start(firmware[name], cpu, tuple(words), tmp_path)
    assert (seen.pxe, seen.packets) == ((True, True) if expected is WORKS else (False, False)), seen.console


def test_old_firmware_of_the_4m_type_needed_none(firmware: dict[str, Images], tmp_path: Path) -> None:
    """It is the release that decides, and not the type: why an image of a guest's own is read."""
    own = firmwaredrivers.read(firmware["4m of 2022"].code.read_bytes())
    assert own is not None
    assert network_boot(Image.OWN, frozenset(), own) is WORKS
    assert netboot.start(firmware["4m of 2022"], "qemu64", (), tmp_path).pxe


def _tree(config: str) -> dict[str, str]:
    return {
        "etc/pve/nodes/pve1/qemu-server/100.conf": f"bios: ovmf\nname: web\nnet0: virtio=BC:24:11:2C:69:EC,bridge=vmbr0\n{config}",
        "etc/pve/virtual-guest/cpu-models.conf": MODELS,
        "proc/cpuinfo": X86,
    }
