"""Rules of audits at the limits of their values, and where an entry that is none of their matter comes first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pvehooks.values import Holder, Unread
from pvehooks.values.boot import Ksm
from pvehooks.values.ha import Ha, HaGuest
from pvehooks.values.pci import VfSource
from pvehooks.values.pveschema import Machines
from pvehooks.values.sharing import DirectoryMapping, MemoryShare
from pvehooks.values.starting import NoBridge
from pvehooks.values.usb import UsbClaim, UsbDevice, UsbMapEntry, UsbMapping
from tests.beds import pci
from tests.beds.tree import Content
from tests.derived.bed import Support
from tests.rules.edges import AMD, GPU, NIC, NVME, NVME2, assert_findings, found

UNKNOWN = Unread("no reason at all")
MAIL = Holder(101, "VM 101 (mail)", "hostpci0")
TWO = {"etc/pve/mapping/pci.cfg": f"two\n\tmap node=pve1,path={GPU},id=10de:2684\n\tmap node=pve1,path={NIC},id=8086:1572\n"}
ABLE = {
    "etc/pve/mapping/pci.cfg": f"able\n\tlive-migration-capable 1\n\tmap node=pve1,path={GPU},id=10de:2684\n\tmap node=pve2,path={GPU},id=10de:2684\n"
}
STORAGES = {"etc/pve/storage.cfg": "dir: iso\n\tpath /iso\n\tcontent iso\n\nlvmthin: any\n\tvgname pve\n\tthinpool data\n"}
NETBOOT = "bios: ovmf\nefidisk0: local:vm-100-disk-0,efitype=4m\nnet0: virtio=BC:24:11:2C:69:EC,bridge=vmbr0\nboot: order=net0\n"
FIRST = NETBOOT.replace("order=net0\n", "")
OLD = {"etc/pve/pvehooks/first-look/pve1.json": '{"version": 1, "time": 1795170000, "node": "pve1", "guests": {"100": "00000000"}}'}
NVME_BOOT = "bios: ovmf\nefidisk0: local:vm-100-disk-0,efitype=4m\n"
NO_FLAGS = {"cpu_flags": frozenset({"aes"}), "cpu_models": {}}
KEY, STICK = UsbDevice("1-1", "1050:0407", "YubiKey", "", False), UsbDevice("1-2", "0781:5583", "Stick", "", False)
USB = {"usb": {"1-1": KEY, "1-2": STICK}}
KEYS = {
    "good": UsbMapping("good", (UsbMapEntry("1050:0407", "1-1"),), frozenset({"pve1"})),
    "bad": UsbMapping("bad", (UsbMapEntry("1050:0407", "1-2"),), frozenset({"pve1"})),
    "several": UsbMapping("several", (UsbMapEntry("1050:0407", "1-1"), UsbMapEntry("1050:0407", "1-2")), frozenset({"pve1"})),
}
LISTED = Machines(frozenset({"pc-q35-8.1", "pc-q35-12.0", "pc-i440fx-8.1"}), {"12.0": 2})


class BridgesOf:
    """The bridges of a node, and what one that is none is instead."""

    def __init__(self, *names: str, instead: str = "") -> None:
        self._names = names
        self._instead = instead

    def lacks(self, name: str) -> NoBridge | None:
        return None if name in self._names else NoBridge(self._instead)

    def names(self) -> tuple[str, ...]:
        return self._names

    def hooks(self) -> bool:
        return False


def shares(count: int, size: int = 32) -> dict[str, Any]:
    return {
        "memory_shares": {"100": tuple(MemoryShare(101 + each, f"VM {101 + each}", size, False) for each in range(count))},
        "memory_files": {},
    }


def twelve(more: int = 0) -> BridgesOf:
    return BridgesOf(*(f"vmbr{number:02}" for number in range(12 + more)))


NET = "net0: virtio=BC:24:11:2C:69:EC,bridge=gone\n"
REBALANCED = Ha({100: HaGuest("started", frozenset({"pve1", "pve2"}))}, True, "migrate", frozenset({"pve1", "pve2"}), True)
STATE = "vmstate: local-lvm:vm-100-state\n"
PFS = pci.plant(
    "0000:03:00.0 class=020000 driver=i40e group=16\n0000:03:02.0 class=020000 driver=iavf group=17 pf=0000:03:00.0\n"
    "0000:05:00.0 class=020000 driver=i40e group=18\n0000:05:02.0 class=020000 driver=iavf group=19 pf=0000:05:00.0\n"
)
CARE = HaGuest("started", frozenset({"pve1", "pve2"}))


@pytest.mark.parametrize(
    ("rule", "config", "files", "facts", "expected"),
    [
        pytest.param(
            "device-claimed-twice",
            f"onboot: 1\nhostpci0: mapping=gone\nhostpci1: {GPU},mdev=a\nhostpci2: mapping=two\nhostpci3: {NVME};{NIC}\n",
            TWO,
            {"onboot": {GPU: (MAIL,), NIC: (MAIL,)}},
            [f"{NIC}: hostpci3: "],
            id="devices that count at boot",
        ),
        pytest.param("nothing-bootable", f"hostpci0: {GPU},mdev=a\nhostpci1: {NVME}\n", {}, {}, [], id="an NVMe behind a vGPU"),
        pytest.param("bridge-missing", NET, {}, {"bridges": twelve()}, ["pve1 has vmbr00, ... , vmbr10, vmbr11. "], id="twelve bridges"),
        pytest.param("bridge-missing", NET, {}, {"bridges": twelve(1)}, ["vmbr11 and 1 more. "], id="thirteen bridges"),
        pytest.param("bridge-missing", NET, {}, {"bridges": BridgesOf("aux", "vmbr1", "vmbr0")}, ["Take another: qm set 100 --net0 virtio=BC:24:11:2C:69:EC,bridge=vmbr0. Or make it"], id="PVE's bridges are offered first"),
        pytest.param("bridge-missing", NET, {}, {"bridges": BridgesOf("xen", "aux")}, ["bridge=aux. Or make it"], id="others are offered"),
        pytest.param("bridge-missing", NET, {}, {"bridges": BridgesOf("vmbr0", instead="a bond")}, ["is no bridge on pve1 but a bond ... Take another: qm set 100 --net0 virtio=BC:24:11:2C:69:EC,bridge=vmbr0. Or make a bridge over it"], id="a bond, and bridges"),
        pytest.param("config-lines-dropped", "a\nb\nc\n", {}, {}, ["a: ", "b: ", "c: "], id="three lines"),
        pytest.param("config-lines-dropped", "a\nb\nc\nd\n", {}, {}, ["a: ", "b: ", "c: ", "config: PVE will lose 1 more lines"], id="four lines"),
        pytest.param("config-lines-dropped", f"y{'x' * 40}: 1\n", {}, {}, [f"y{'x' * 39}: PVE"], id="a long name"),
        pytest.param("balloon-without-effect", f"hostpci0: {GPU}\nmemory: 999999999\nballoon: 1\n", {}, {}, ["down to 1 MiB"], id="a little memory of much"),
        pytest.param("balloon-without-effect", f"hostpci0: {GPU}\nmemory: 9999999999\nballoon: 512\n", {}, {}, [], id="more memory than can be"),
        pytest.param("balloon-without-effect", f"hostpci0: {GPU}\nmemory: 2048\n", {}, {}, [], id="no balloon given"),
        pytest.param("balloon-without-effect", f"hostpci0: {GPU}\nballoon: 0\n", {}, {}, [], id="no balloon"),
        pytest.param("live-migration-impossible", "hostpci0: mapping=able\nusb0: spice\nserial0: socket\nusb1: host=1-1\nserial1: /dev/ttyS0\nparallel0: /dev/parport0\nvirtiofs0: share\nivshmem: size=32\n", ABLE, {}, ["because of usb1, serial1, parallel0, virtiofs0 and ivshmem"], id="what ties it to its node"),
        pytest.param("live-migration-impossible", "hostpci0: mapping=able\nusb0: spice\nserial0: socket\n", ABLE, {}, [], id="what does not"),
        pytest.param("mapping-migration-unsupported", f"hostpci0: {NIC}\nhostpci1: mapping=able\n", ABLE, {}, ["hostpci1: "], id="a mapping behind an address"),
        pytest.param("usb-spice-without-display", "usb0: spice\nargs: -spice port=5900\n", {}, {}, [], id="SPICE by args"),
        pytest.param("usb-spice-without-display", "usb0: spice\nargs: --spice port=5900\n", {}, {}, [], id="SPICE by args with two hyphens"),
        pytest.param("usb-spice-without-display", "usb0: spice\nargs: -S\n", {}, {}, ["usb0: "], id="other args"),
        pytest.param("display-gl-unavailable", "vga: virtio-gl\n", {}, {"gl_lacks": ("libgl1",)}, ["lacks the package libgl1"], id="one package"),
        pytest.param("display-gl-unavailable", "vga: virtio-gl\n", {}, {"gl_lacks": ("libgl1", "libegl1")}, ["lacks the packages libgl1 and libegl1"], id="two packages"),
        # -- entropy
        pytest.param("rng-missing-netboot", f"{NETBOOT}cpu: host\n", {}, {"cpu_flags": UNKNOWN}, ["?rng0: ... no reason at all"], id="flags unknown"),
        pytest.param("rng-missing-netboot", NETBOOT, {}, NO_FLAGS, ["Give it an RNG device: pvehooks inject 100"], id="no model has RDRAND"),
        pytest.param("rng-missing-netboot", f"{NETBOOT}cpu: IvyBridge\nargs: -bios /x.fd\n", {}, NO_FLAGS, ["the CPU model 'IvyBridge' gives the firmware RDRAND, and the firmware image in its args may find that or not"], id="an image of its own, and RDRAND"),
        pytest.param("rng-missing-nvme", f"{NVME_BOOT}hostpci0: {GPU},mdev=a\nhostpci1: {GPU}\nhostpci2: {NVME}\nboot: order=hostpci2\n", {}, {}, ["hostpci2: "], id="an NVMe behind others"),
        pytest.param("rng-missing-nvme", f"{NVME_BOOT}hostpci0: {NVME}\nhostpci1: {NVME2}\nboot: order=hostpci1\n", {}, {}, ["hostpci1: "], id="an NVMe that is booted, behind one that is not"),
        pytest.param("rng-missing-nvme", f"{NVME_BOOT}hostpci0: {NVME}\nboot: order=hostpci0\n", {}, {"pci": UNKNOWN}, ["?hostpci0: ... no reason at all"], id="the bus is unknown"),
        pytest.param("rng-missing", f"{NVME_BOOT}hostpci0: {NVME}\nboot: order=hostpci0\n", {}, {"pci": UNKNOWN}, ["rng0: "], id="perhaps an NVMe"),
        pytest.param("rng-missing", f"{NVME_BOOT}hostpci0: {NVME}\nboot: order=hostpci0\n", {}, {}, [], id="an NVMe"),
        pytest.param("rng-source-hwrng-absent", "rng0: source=/dev/hwrng\n", {}, {"hwrng": UNKNOWN}, ["?rng0: ... no reason at all"], id="the generator is unknown"),
        pytest.param("rng-unlimited", "rng0: source=/dev/random,max_bytes=0\n", {}, {}, ["Set a limit: qm set 100 --rng0 source=/dev/random,max_bytes=1024"], id="the source stays"),
        pytest.param("rng-pending-removal", NETBOOT, {}, NO_FLAGS, [], id="no rng0 at all"),
        pytest.param("rng-pending-removal", f"{NETBOOT}rng0: source=/dev/urandom\n", {}, NO_FLAGS, [], id="an rng0 that stays"),
        pytest.param("rng-pending-removal", f"{NETBOOT}rng0: source=/dev/urandom\n[PENDING]\ndelete: rng0\n", {}, NO_FLAGS, ["rng0: "], id="an rng0 that goes"),
        pytest.param("rng-pending-removal", f"{NETBOOT[11:]}rng0: source=/dev/urandom\n[PENDING]\ndelete: rng0\n", {}, NO_FLAGS, [], id="with SeaBIOS"),
        pytest.param("firmware-host-provided", "bios: ovmf\namd-sev: std\nargs: -S -bios /x.fd\n", {}, {}, [], id="an image by -bios"),
        pytest.param("firmware-host-provided", "bios: ovmf\namd-sev: std\nargs: -drive if=pflash,file=x\n", {}, {}, [], id="an image by pflash"),
        pytest.param("firmware-host-provided", "bios: ovmf\namd-sev: std\nargs: -S\n", {}, {}, ["a VM with SEV"], id="other words"),
        pytest.param("rng-held-netboot-first", f"{FIRST}order=net0;hostpci0\nhostpci0: {NVME}\n", OLD, NO_FLAGS, ["net0 comes before"], id="before an NVMe"),
        pytest.param("rng-held-netboot-first", f"{FIRST}order=hostpci0;net0\nhostpci0: {NVME}\n", OLD, NO_FLAGS, [], id="behind an NVMe"),
        pytest.param("rng-held-netboot-first", f"{FIRST}order=hostpci0;net0\nhostpci0: {GPU}\n", OLD, NO_FLAGS, ["net0 comes before"], id="behind a graphics card"),
        pytest.param("rng-held-netboot-first", f"{FIRST}order=hostpci0;net0\nhostpci0: {NVME},mdev=a\n", OLD, NO_FLAGS, ["net0 comes before"], id="behind a vGPU"),
        pytest.param("rng-held-netboot-first", f"{FIRST}order=hostpci0;net0\nhostpci0: 0000:09:00.0\nhostpci1: {NVME}\n", OLD, NO_FLAGS, ["net0 comes before"], id="behind one that is not there, and an NVMe that is not booted"),
        pytest.param("netboot-unavailable", f"{NETBOOT}args: -fw_cfg 'name=opt/org.tianocore/IPv4Support,string=no'\n", {}, NO_FLAGS, ["Or take the switches out of its args"], id="a switch in quotes"),
        pytest.param("netboot-unavailable", f"{NETBOOT}args: -fw_cfg name=opt/org.tianocore/IPv4Support,string=no\n", {}, NO_FLAGS, ["Or switch it on again: qm set 100 --delete args"], id="a switch"),
        # -- high availability
        pytest.param(
            "ha-device-elsewhere",
            f"hostpci0: mapping=everywhere\nhostpci1: {NIC}\n",
            {"etc/pve/mapping/pci.cfg": "everywhere\n\tmap node=pve1,path=0000:01:00.0\n\tmap node=pve2,path=0000:01:00.0\n"},
            {"ha": Ha({100: CARE}, False, "migrate", frozenset({"pve1", "pve2"}))},
            ["hostpci1: ... ha-manager groupadd vm100 --nodes pve1 --restricted 1, then: ha-manager set vm:100 --group vm100"],
            id="an address behind a mapping of all nodes",
        ),
        pytest.param("ha-rebalance-fails", "hostpci0: mapping=able\n", ABLE, {"ha": REBALANCED}, [], id="a device that can be moved"),
        pytest.param("ha-rebalance-fails", f"hostpci0: mapping=able\nhostpci1: {NIC}\n", ABLE, {"ha": REBALANCED}, ["while it runs with hostpci1"], id="and one that cannot"),
        pytest.param("ksm-without-effect", f"hostpci0: {GPU},mdev=a\n", {}, {"ksm": Ksm(True, 1, {})}, [], id="a mediated device is not pinned"),
        pytest.param("ksm-without-effect", f"hostpci0: {GPU},mdev=a\nhostpci1: {NIC}\n", {}, {"ksm": Ksm(True, 1, {})}, ["memory: "], id="another one is"),
        pytest.param("virtiofsd-missing", "virtiofs0: share\n", {}, {"virtiofsd": False}, ["virtiofs0: "], id="a directory without its program"),
        pytest.param("virtiofs-path-missing", "virtiofs0: gone\nvirtiofs1: share\n", {}, {"directories": {"share": DirectoryMapping("share", ("/srv",), frozenset({"pve1"}), "does not exist")}}, ["virtiofs1: "], id="behind a mapping that is not there"),
        pytest.param("virtiofs-path-missing", "virtiofs0: share\n", {}, {"directories": {"share": DirectoryMapping("share", ("/srv",), frozenset({"pve1"}), UNKNOWN)}}, ["?virtiofs0: ... no reason at all"], id="a directory of which nothing is known"),
        pytest.param("virtiofs-path-missing", "virtiofs0: several\nvirtiofs1: share\n", {}, {"directories": {"several": DirectoryMapping("several", ("/a", "/b"), frozenset({"pve1"}), ""), "share": DirectoryMapping("share", ("/srv",), frozenset({"pve1"}), "is a file")}}, ["virtiofs1: ... Map another"], id="behind a mapping of several"),
        pytest.param("virtiofsd-missing", "virtiofs0: \nvirtiofs1: share\n", {}, {"virtiofsd": False}, ["virtiofs1: "], id="behind an empty option"),
        pytest.param("vfs-made-late", f"onboot: 1\nhostpci0: {GPU};0000:03:02.0;0000:05:02.0\n", PFS, {"vf_support": Support(VfSource("a.service", "0000:03:00.0", 2), VfSource("/etc/rc.local", "0000:05:00.0", 2, late=True))}, ["0000:05:02.0: ... pvehooks bind 0000:05:00.0 --vfs 2 --persist"], id="behind another card, and VFs that are made in time"),
        pytest.param("virtiofs-memory-state", f"virtiofs0: share\n\n[zebra]\nsnaptime: 1\n{STATE}\n[apple]\nsnaptime: 2\n{STATE}", {}, {}, ["(as apple)"], id="the newest snapshot"),
        pytest.param("virtiofs-memory-state", f"virtiofs0: share\n\n[old]\n{STATE}\n[new]\nsnaptime: 1\n{STATE}", {}, {}, ["(as new)"], id="a snapshot without a time"),
        # -- shared memory
        pytest.param("ivshmem-size-odd", "ivshmem: size=1\n", {}, {}, [], id="one"),
        pytest.param("ivshmem-size-odd", "ivshmem: size=3\n", {}, {}, ["size=4"], id="three"),
        pytest.param("ivshmem-file-too-small", "ivshmem: size=32\n", {}, {"memory_files": {}}, [], id="no file"),
        pytest.param("ivshmem-file-too-small", "ivshmem: size=32\n", {}, {"memory_files": {"100": 0}}, [], id="an empty file"),
        pytest.param("ivshmem-file-too-small", "ivshmem: size=32\n", {}, {"memory_files": {"100": 1}}, ["is there with 1 bytes"], id="a file of a byte"),
        pytest.param("ivshmem-file-too-small", "ivshmem: size=32\n", {}, {"memory_files": {"100": 32 << 20}}, [], id="a file that will do"),
        pytest.param("ivshmem-shared", "ivshmem: size=32\n", {}, shares(5), ["VM 101, VM 102, VM 103, VM 104, VM 105: when"], id="five others"),
        pytest.param("ivshmem-shared", "ivshmem: size=32\n", {}, shares(6), ["VM 105 and 1 more: when"], id="six others"),
        # -- machine versions
        pytest.param("machine-too-old", "machine: pc-i440fx-0.15\n", {}, {"qemu": (10, 0)}, [], id="before QEMU drops any"),
        pytest.param("machine-too-old", "machine: pc-i440fx-4.1\n", {}, {"qemu": (10, 1)}, ["its machine is pc-i440fx-4.1, which a later QEMU of Proxmox VE 9 does not have"], id="just not dropped"),
        pytest.param("machine-too-old", "machine: pc-i440fx-4.0\n", {}, {"qemu": (10, 1)}, ["has none older than 4.1"], id="just dropped"),
        pytest.param("machine-too-old", "machine: pc-i440fx-5.2\n", {}, {"qemu": (10, 0)}, [], id="before it is known what is dropped"),
        pytest.param("machine-too-old", "machine: pc-i440fx-6.0\n", {}, {"qemu": (11, 2)}, [], id="the oldest one that Proxmox VE 9 keeps"),
        pytest.param("machine-too-old", "machine: pc-q35-5.2\nrunningmachine: pc-q35-9.0\n", {}, {"qemu": (11, 0)}, ["its machine is pc-q35-5.2"], id="no saved state"),
        pytest.param("machine-too-old", "cores: 1\n\n[old]\nmachine: pc-q35-4.0\n\n[new]\nmachine: pc-q35-4.1\n", {}, {"qemu": (10, 1)}, ["snapshots have machine versions ... no longer has: old (pc-q35-4.0). After"], id="a snapshot"),
        pytest.param("machine-too-old", "cores: 1\n" + "".join(f"\n[s{each}]\nmachine: pc-q35-4.0\n" for each in range(3)), {}, {"qemu": (10, 1)}, ["s2 (pc-q35-4.0). After"], id="three snapshots"),
        pytest.param("machine-too-old", "cores: 1\n" + "".join(f"\n[s{each}]\nmachine: pc-q35-4.0\n" for each in range(4)), {}, {"qemu": (10, 1)}, ["s2 (pc-q35-4.0) and 1 more. After"], id="four snapshots"),
        pytest.param("machine-too-old", "machine: viommu=intel\n", {}, {"qemu": (10, 1)}, [], id="no machine, and parts of one"),
        pytest.param("machine-too-old", "machine: pc-q35-7.2\n", {}, {"qemu": (12, 0)}, ["?machine: not examined: whether the QEMU 12.0 of pve1 still has pc-q35-7.2 is unknown"], id="a QEMU that is newer than our knowledge"),
        pytest.param("machine-too-old", "machine: pc-q35-7.2\n", {}, {"qemu": (12, 0), "machines": LISTED}, ["none older than 8.1: the VM would not start"], id="its list shows what it has"),
        pytest.param("machine-too-old", "machine: pc-q35-8.1\n", {}, {"qemu": (12, 0), "machines": LISTED}, [], id="what it lists"),
        pytest.param("machine-too-old", "machine: pc-q35-4.0\n", {}, {"qemu": (12, 0), "machines": LISTED._replace(names=frozenset({"pc-q35-4.0", "x", "none-1.0"}))}, [], id="also where we would have it dropped"),
        pytest.param("machine-too-old", "machine: pc-q35-13.0\n", {}, {"qemu": (12, 0), "machines": LISTED}, [], id="newer than its list"),
        pytest.param("machine-too-old", "machine: pc-4.0\n", {}, {"qemu": (12, 0), "machines": LISTED}, ["its machine is pc-4.0"], id="a short name"),
        pytest.param("machine-too-old", "machine: virt-7.0\n", {}, {"qemu": (11, 0), "machines": LISTED}, [], id="a kind without a list"),
        pytest.param("machine-too-new", "machine: pc-q35-12.0+pve2\n", {}, {"qemu": (12, 0), "machines": LISTED}, [], id="the newest revision"),
        pytest.param("machine-too-new", "machine: pc-q35-12.0+pve3\n", {}, {"qemu": (12, 0), "machines": LISTED}, ["PVE refuses to start it: its machine is pc-q35-12.0+pve3, and the newest revision that pve1 has of it is 12.0+pve2. Upgrade pve1"], id="a newer revision"),
        pytest.param("machine-too-new", "machine: pc-q35-8.1+pve1\n", {}, {"qemu": (12, 0), "machines": LISTED}, ["of it is 8.1. Upgrade pve1: ... --machine pc-q35-8.1"], id="a revision of what has none"),
        pytest.param("machine-too-new", "machine: pc-q35-12.0+pve3\n", {}, {"qemu": (12, 0), "machines": LISTED._replace(revisions=None)}, [], id="the revisions are unknown"),
        # -- options of passthrough
        pytest.param("args-slot-taken", f"hostpci0: {GPU},x-vga=1\nargs: -device vfio-pci,host=03:00.0,addr=2\n", {}, {}, [], id="a card in place of the display"),
        pytest.param("args-slot-taken", f"hostpci0: {GPU},x-vga=1\nvga: std\nargs: -device vfio-pci,host=03:00.0,addr=0x02.0\n", {}, {}, ["--vga none"], id="a card beside the display"),
        pytest.param("args-slot-taken", "args: -device vfio-pci,host=03:00.0,addr=0x10\n", {}, {}, [], id="slot 16"),
        pytest.param("opregion-missing", f"args: -device vfio-pci,host=09:00.0,x-igd-opregion=on -device vfio-pci,host={NIC} -device vfio-pci,host=01:00.0,x-igd-opregion=on\n", {}, {}, [f"{GPU}: "], id="one of three"),
        pytest.param("opregion-missing", f"hostpci0: {NIC}\nhostpci1: {GPU};{AMD}\nargs: -set device.hostpci1.1.x-igd-opregion=on -set device.hostpci1.0.x-vga=on -set device.hostpci1.7.x-igd-opregion=on -set device.hostpci2.x-igd-opregion=on\n", {}, {}, [f"{AMD}: "], id="set for one function"),
        pytest.param("opregion-missing", f"hostpci0: {GPU}\nargs: -set device.hostpci0.x-igd-opregion=off -device device.hostpci0.x-igd-opregion=on\n", {}, {}, [], id="set to off"),
        pytest.param("vendor-reset-unused", f"hostpci0: {AMD}\n", {}, {}, [], id="no vendor-reset"),
        pytest.param("vendor-reset-unused", f"hostpci0: {GPU}\nhostpci1: {AMD}\n", {"etc/modules": "vendor-reset\n", "proc/sys/kernel/osrelease": "6.8.12-4-pve\n", "lib/modules/6.8.12-4-pve/": None}, {}, [f"{AMD}: "], id="behind another card"),
        # -- sizes
        pytest.param("cpus-too-many", "smp: 4\n", {}, {"cpus": 2}, ["4 sockets with 1 core are 4 CPUs"], id="sockets in the old form"),
        pytest.param("cpus-too-many", "sockets: 2\n", {}, {"cpus": 2}, [], id="one core each"),
        pytest.param("cpus-too-many", "cores: 2\n", {}, {"cpus": 2}, [], id="one socket"),
        pytest.param("cpus-too-many", "cores: 1\nvcpus: 1\n", {}, {"cpus": 2}, [], id="all are plugged"),
        pytest.param("cpus-too-many", "sockets: 2\ncores: 2\n", {}, {"cpus": 2}, ["cores: PVE refuses to start it: 2 sockets with 2 cores are 4 CPUs"], id="two of each"),
        pytest.param("cpus-too-many", "cores: 4\n", {}, {"cpus": 2}, ["--sockets 1 --cores 2"], id="too many cores"),
        pytest.param("cpus-too-many", "cores: 4\nvcpus: 2\n", {}, {"cpus": 2}, ["Give it no more than that: qm set 100 --sockets 1 --cores 2"], id="few are plugged"),
        pytest.param("storage-content-refused", "scsi0: any:vm-100-disk-0\nscsi1: iso:100/a.raw\nscsi2: iso:100/b.raw\n", STORAGES, {}, ["scsi1: "], id="two disks on a storage for images of discs"),
        pytest.param("storage-content-refused", "scsi1: iso:iso/a.iso,media=cdrom\n", STORAGES, {}, [], id="an image of a disc"),
        # -- the TPM, UEFI
        pytest.param("confidential-without-ovmf", "amd-sev: std\nintel-tdx: tdx,attestation=0\n", {}, {}, ["(amd-sev) needs UEFI"], id="of both makers"),
        pytest.param("ovmf-on-32-bit-cpu", "bios: ovmf\ncpu: custom-mine\n", {"etc/pve/virtual-guest/cpu-models.conf": "cpu-model: mine\n\treported-model kvm64\n"}, {"cpu_models": UNKNOWN}, ["?cpu: ... no reason at all"], id="models unknown"),
        pytest.param("efidisk-missing", "bios: ovmf\nscsi0: local:100/a.raw\nscsi1: local:100/b.qcow2\n", {}, {}, ["--efidisk0 local:1,efitype=4m"], id="the first disk counts"),
        # -- USB
        pytest.param("usb-beyond-limit", "ostype: win7\nmachine: pc-i440fx-7.1\nusb5: host=1-1\n", {}, {}, ["usb5: "], id="the last Windows with the old controller"),
        pytest.param("usb-beyond-limit", "ostype: win8\nmachine: pc-i440fx-7.1\nusb5: host=1-1\n", {}, {}, [], id="the first with the new one"),
        pytest.param("usb-beyond-limit", "ostype: win8\nmachine: pc-i440fx-7.1\nusb4: host=1-1\n", {}, {}, [], id="the last of the old ones"),
        pytest.param("usb-device-absent", "usb0: host=1050:0407\nusb1: host=1-3\n", {}, {"usb": UNKNOWN}, ["?usb0: not examined: whether 1050:0407, 1-3 are plugged in"], id="two devices, and nothing is known"),
        pytest.param("usb-claimed-twice", "usb0: host=1-9\nusb1: host=1-1\n", {}, {**USB, "usb_claims": {"1-1": (UsbClaim(101, "VM 101 (mail)", "usb0", True, False),)}}, ["usb1: usb1 names YubiKey"], id="behind one that is not there"),
        pytest.param("usb-id-ambiguous", "usb0: host=1050:0407\nusb1: host=1050:0407\n", {}, USB, [], id="one device twice"),
        pytest.param("usb-id-ambiguous", "usb0: host=1050:0407\n", {}, {"usb": {"1-1": KEY, "1-3": KEY._replace(place="1-3")}}, ["2 devices have the id 1050:0407 ... ports 1-1, 1-3"], id="two devices of an id"),
        pytest.param("usb-names-no-device", "usb0: \nusb1: usb3=1\n", {}, {}, ["usb1: "], id="behind an empty option of USB"),
        pytest.param("usb-names-no-device", "usb0: host=1-1\nusb1: usb3=1\n", {}, {}, ["usb1: "], id="behind one that is right"),
        pytest.param("usb-mapping-missing", "usb0: host=1-1\n", {}, {"usb_mappings": UNKNOWN}, [], id="no mapping, and they are unknown"),
        pytest.param("usb-mapping-missing", "usb0: mapping=gone\n", {}, {"usb_mappings": UNKNOWN}, ["?usb: ... no reason at all"], id="mappings are unknown"),
        pytest.param("usb-mapping-mismatch", "usb0: mapping=several\nusb1: mapping=bad\n", {}, {**USB, "usb_mappings": KEYS}, ["usb1: "], id="behind one with several entries"),
        pytest.param("usb-mapping-mismatch", "usb0: mapping=good\nusb1: mapping=bad\n", {}, {"usb": UNKNOWN, "usb_mappings": KEYS}, ["?usb0: ", "?usb1: "], id="devices are unknown"),
    ],
)  # fmt: skip
def test_edge(rule: str, config: str, files: dict[str, Content], facts: dict[str, Any], expected: list[str], tmp_path: Path) -> None:
    assert_findings(found(tmp_path, rule, config, files, **facts), expected)
