"""A node whose sysfs answers as the kernel does, and the verbs bind and unbind on it."""

from __future__ import annotations

from pathlib import Path

from pvehooks.actions.pci import at_boot
from pvehooks.cli.commands import bind, unbind
from pvehooks.cli.commands.bind import Wanted
from pvehooks.cli.devices import DeviceReport
from pvehooks.derived.passthrough import pci_devices
from pvehooks.facts import hardware
from tests.beds import pci, uses
from tests.beds.drivercore import KernelHost
from tests.beds.tree import Content, Link, make_fake_tree

GPU, SOUND, DISK, CARD, TWIN, PF, HELD = (
    f"0000:{at}" for at in ("01:00.0", "01:00.1", "02:00.0", "03:00.0", "04:00.0", "06:00.0", "07:00.0")
)
BUS = f"""
0000:00:01.0 class=060400 id=8086:1901 driver=pcieport group=1 bridge
{GPU} class=030000 id=10de:2204 driver=nouveau group=2
{SOUND} class=040300 id=10de:1aef driver=snd_hda_intel group=2
{DISK} class=010802 id=144d:a808 driver=nvme group=3 disk=nvme0n1/259:0/S1 part=nvme0n1p1/259:1
{CARD} class=020000 id=8086:1533 driver=igb group=4 subsystem=1043:85f0 net=eno1
{TWIN} class=020000 id=8086:1533 driver=igb group=4
{PF} class=020000 id=8086:10c9 driver=igb group=5
{HELD} class=020000 id=8086:1572 driver=vfio-pci group=6
"""
TAKES = {"nouveau": GPU, "snd_hda_intel": SOUND, "nvme": DISK, "igb": f"{CARD} {TWIN} {PF}", "i40e": HELD}
NOW, PERSIST, BOTH = Wanted(True, False), Wanted(False, True), Wanted(True, True)


def planted(directory: Path, table: str = BUS, **more: Content) -> Path:
    files = uses.idle() | pci.plant(table) | {"etc/pve/local": Link("nodes/pve1"), "etc/pve/nodes/pve1/qemu-server": None}
    files["sys/bus/pci/drivers/i40e"] = None
    files |= {f"{pci.ROOT}/{PF}/sriov_totalvfs": "7\n", f"{pci.ROOT}/{PF}/sriov_numvfs": "0\n"}
    files |= {
        "etc/pve/nodes/pve1/qemu-server/101.conf": "hostpci0: 07:00.0\nname: router\n",
        "run/qemu-server/101.pid": "4711\n",
        "proc/4711/cmdline": "/usr/bin/kvm\0-id\x00101\0-device\0vfio-pci,host=0000:07:00.0,id=hostpci0\0",
    }
    uses.mounted_partition(files, DISK)
    return make_fake_tree(directory, files | more)


def end_guest(host: KernelHost) -> None:
    Path(host.root, "run/qemu-server/101.pid").unlink()


def bound(host: KernelHost, wanted: Wanted, *addresses: str) -> list[DeviceReport]:
    devices = pci_devices(hardware.gather(host, "pve1"))
    return bind.bind_all(host, "pve1", [devices[address] for address in addresses], wanted)


def unbound(host: KernelHost, *addresses: str, now: bool = True, forget: bool = False) -> list[DeviceReport]:
    devices = pci_devices(hardware.gather(host, "pve1"))
    return unbind.unbind_all(host, "pve1", [devices[address] for address in addresses], now, forget)


def driver(host: KernelHost, address: str) -> str:
    return pci_devices(hardware.gather(host, "pve1"))[address].driver


def override(host: KernelHost, address: str) -> str:
    return pci_devices(hardware.gather(host, "pve1"))[address].override


def applied(host: KernelHost, address: str, patient: bool = False) -> tuple[str, str]:
    outcome = at_boot.apply(host, "pve1", address, patient)
    assert outcome is not None
    return outcome.state.value, f"{outcome.label} {outcome.words}"


def another(host: KernelHost, **attributes: str) -> None:
    for name, text in attributes.items():
        Path(host.root, pci.ROOT, CARD, name).write_text(f"{text}\n")
