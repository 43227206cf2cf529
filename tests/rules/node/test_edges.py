"""Rules on the node at the limits of their values, where what is none of their matter comes first, and what each line says where all is well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pvehooks.rules import of_node
from pvehooks.values import Iommu, Unread, Use, Uses
from pvehooks.values.boot import (
    Absent,
    Assignment,
    CommandLines,
    Dkms,
    Firmware,
    Interfaces,
    Kernels,
    Ksm,
    Layout,
    Loader,
    Modules,
    NewName,
    PcieLink,
    Planned,
    Written,
)
from pvehooks.values.pci import BoundIds, PciDevice
from tests.beds.tree import Content
from tests.derived.bed import guest_on_node
from tests.rules.edges import GPU, NIC, NVME, assert_findings, found, other_guest

UNKNOWN: Any = Unread("no reason at all")
MIB, GIB = 1 << 20, 1 << 30
MODULES = Modules("6.8.12-4-pve", {"vfio_pci": "there"}, (), (), {}, "/boot/initrd.img-6.8.12-4-pve", ())
LAYOUT = Layout({0: frozenset({0, 1}), 1: frozenset({2, 3})}, frozenset(), 64 * GIB, 0, {})
GRUB = Loader("grub", False, True, "by its variable")
SYSTEMD = Loader("systemd-boot", True, True, "by its variable")
LINES = CommandLines(("quiet",), Planned("/etc/default/grub", ("quiet",)), None, ())
KERNELS = Kernels("6.8.12-4-pve", ("6.8.12-4-pve",), "", "", frozenset())
GPUS = "".join(f"0000:0{number}:00.0 class=030000 id=10de:2684 driver=vfio-pci group={number}\n" for number in range(1, 6))
NICS = "".join(f"0000:0{number}:00.0 class=020000 id=8086:1572 driver=i40e group=7\n" for number in range(1, 6))
PFS = """\
0000:03:00.0 class=020000 id=8086:1572 driver=i40e group=16
0000:03:02.0 class=020000 id=8086:154c driver=iavf group=17 pf=0000:03:00.0
0000:05:00.0 class=020000 id=8086:1572 driver=i40e group=18
0000:05:02.0 class=020000 id=8086:154c driver=iavf group=19 pf=0000:05:00.0
"""
PORT = NewName("eno1", "bc:24:11:00:00:01", "", "the kernel is another", "is a port of vmbr0", certain=False)
RENAMED = NewName("eth0", "bc:24:11:00:00:09", "enp3s0", "net.ifnames=0 is gone", "is a port of vmbr1")


class UsesOf:
    """The uses of some devices."""

    def __init__(self, **known: str) -> None:
        self._known = {f"0000:0{slot[-1]}:00.0": Uses((Use(sentence),)) for slot, sentence in known.items()}

    def of(self, device: PciDevice) -> Uses:
        return self._known.get(device.address, Uses())


FAR_TABLE = f"{NIC} class=020000 id=8086:1572 driver=i40e group=16\n{GPU} class=030000 id=10de:2684 driver=nouveau group=14\n"
FAR: dict[str, Content] = {
    f"sys/devices/pci0000:00/{NIC}/numa_node": "0\n",
    f"sys/devices/pci0000:00/{GPU}/numa_node": "0\n",
    "etc/pve/mapping/pci.cfg": f"two\n\tmap node=pve1,path={GPU},id=10de:2684\n\tmap node=pve1,path={NIC},id=8086:1572\n",
}
INTEL = Firmware("GenuineIntel", True, True, frozenset({"DMAR"}), frozenset({"identity"}), ("dmar0",), 30, "intel-microcode", True)
ON = Iommu(True, "", "", True, False)
OVERWRITTEN = Planned(
    "/etc/default/grub",
    ("c=3",),
    assignments=(
        Assignment("/a", 1, "A", "c=3 quiet"),
        Assignment("/a", 2, "A", "b=2"),
        Assignment("/a", 3, "A", "b=2 d=4"),
        Assignment("/z", 9, "A", "c=3"),
    ),
)


def known(**facts: Any) -> dict[str, Any]:
    return facts


def gpus(count: int) -> str:
    return "".join(GPUS.splitlines(keepends=True)[:count])


def nics(count: int) -> str:
    return "".join(NICS.splitlines(keepends=True)[:count])


def loaded(*names: str, denied: tuple[tuple[str, str], ...] = ()) -> Modules:
    return MODULES._replace(listed=tuple((name, "/etc/modules") for name in names), denied=denied)


def nodes(*cpus: frozenset[int]) -> Layout:
    return LAYOUT._replace(nodes=dict(enumerate(cpus)))


def bound(*ids: tuple[int, int]) -> BoundIds:
    return BoundIds(ids, "/x")


def links(**known: PcieLink) -> dict[str, Any]:
    return {"links": {f"0000:0{slot[-1]}:00.0": link for slot, link in known.items()}}


CARD = "0000:01:00.0 class=030000 id=10de:2684 group=1\n0000:01:00.1 class=040300 id=10de:22ba group=1\n"
NARROW = PcieLink(8, 8, 4, 8)
FOUR = "cores: 4\nnet0: virtio=BC:24:11:2C:69:EC,bridge=vmbr0\n"


def many(count: int, config: str) -> dict[str, Content]:
    return {name: text for number in range(count) for name, text in other_guest(101 + number, f"name: g{number}\n{config}").items()}


@pytest.mark.parametrize(
    ("rule", "config", "table", "files", "facts", "expected"),
    [
        # -- modules
        pytest.param("boot-module-unwanted", "", gpus(3), {}, {"modules": loaded("loop", "nvidia")}, ["nvidia in /etc/modules"], id="behind a module that may be loaded"),
        pytest.param("boot-module-unwanted", "", gpus(3), {}, {"modules": loaded("nvidia")}, [" and 0000:02:00.0 ... and 0000:03:00.0"], id="three cards"),
        pytest.param("boot-module-unwanted", "", gpus(4), {}, {"modules": loaded("nvidia")}, ["0000:03:00.0 ... and 1 more, which VMs get"], id="four cards"),
        pytest.param("boot-module-unwanted", f"hostpci0: {NIC}\n", "0000:03:00.0 class=020000 id=10de:0001 driver=x group=1\n", {}, {"modules": loaded("nvidia")}, [], id="a card of the maker that shows nothing"),
        pytest.param("boot-module-unwanted", "", f"{gpus(1)}0000:09:00.0 class=030000 id=1002:73bf driver=amdgpu group=9\n", {}, {"modules": loaded("nvidia")}, ["nvidia in /etc/modules"], id="a card of another maker stays"),
        pytest.param("boot-module-unwanted", "", f"{gpus(1)}0000:01:00.4 class=030000 id=10de:2684 driver=nvidia group=9 pf=0000:01:00.0\n", {}, {"modules": loaded("nvidia")}, ["nvidia in /etc/modules"], id="a virtual function stays"),
        pytest.param("vf-driver-blacklisted", "hostpci0: 0000:05:02.0\n", PFS, {}, {"modules": loaded(denied=(("i40e", "/etc/modprobe.d/x.conf"),))}, ["i40e 0000:05:00.0"], id="the second physical function"),
        pytest.param("vfio-modules-missing", "", "", {}, {"modules": UNKNOWN}, ["?modules: ... no reason at all"], id="modules are unknown"),
        pytest.param("vfio-not-loaded-at-boot", "", gpus(1), {}, {"modules": MODULES, "bound_ids": (bound((0x10DE, 0x2684)),), "uses": UsesOf()}, ["vfio_pci: /x has ids"], id="ids without the module"),
        pytest.param("vfio-not-loaded-at-boot", "", gpus(1), {}, {"modules": MODULES, "bound_ids": (bound((0x10DE, 0x2684)),), "uses": UsesOf(slot1="holds /")}, [], id="ids that take a device of the host"),
        pytest.param("vfio-ids-take-host-device", "", gpus(1), {}, {"bound_ids": UNKNOWN}, ["?vfio-pci: ... no reason at all"], id="ids are unknown"),
        pytest.param("vfio-ids-take-twin", f"hostpci0: {NVME}\n", f"{gpus(3).replace('10de:2684', '10de:0001', 1)}0000:08:00.0 class=010802 id=144d:a80a group=8\n", {}, {"uses": UsesOf(), "bound_ids": (bound((0x144D, 0xA80A), (0x10DE, 0x0001), (0x10DE, 0x2684)),)}, ["10de:2684 in /x is the id of 2 devices"], id="the third id"),
        pytest.param("vfio-ids-take-twin", "hostpci0: 0000:01:00.0\n", f"0000:01:00.0 class=020000 id=144d:a80a group=8\n{gpus(3)[len(gpus(1)):]}", {}, {"uses": UsesOf(), "bound_ids": (bound((0x144D, 0xA80A), (0x10DE, 0x2684)),)}, ["10de:2684 in /x is the id of 2 devices"], id="behind an id whose devices VMs have"),
        pytest.param("vfio-ids-take-twin", "", GPUS, {}, {"uses": UsesOf(), "bound_ids": (bound((0x10DE, 0x2684)),)}, ["vfio-pci binds them all: 0000:01:00.0, 0000:02:00.0, 0000:03:00.0, 0000:04:00.0. Bind"], id="five devices"),
        pytest.param("host-driver-blacklisted", "", nics(1), {}, {"uses": UsesOf(slot1="has vmbr0"), "modules": loaded(denied=(("i40e", "/x"),))}, ["i40e 0000:01:00.0"], id="the driver of a device of the host"),
        pytest.param("host-driver-blacklisted", "", gpus(1), {}, {"uses": UsesOf(slot1="has vmbr0"), "modules": loaded(denied=(("vfio_pci", "/x"),))}, [], id="on vfio"),
        pytest.param("dkms-key-untrusted", "", "", {}, {"dkms": Dkms(("zfs",), None), "firmware": INTEL}, ["?DKMS: ... the firmware's list of keys cannot be read"], id="keys are unknown"),
        pytest.param("dkms-key-untrusted", "", "", {}, {"dkms": Dkms(("zfs",), None), "firmware": INTEL._replace(secure_boot=False)}, [], id="no Secure Boot"),
        # -- devices
        pytest.param("group-shared", "", f"0000:01:00.0 class=0c0500 id=8086:7aa3 group=1\n0000:01:00.1 class=040300 group=2\n{nics(5)[len(nics(1)):]}", {}, {}, ["IOMMU group 7 is shared: 0000:02:00.0 ... 0000:04:00.0 ... and 1 more can only"], id="four devices"),
        pytest.param("group-shared", "", nics(3), {}, {}, ["0000:03:00.0 (Ethernet controller [8086:1572]) can only be passed"], id="three devices"),
        pytest.param("group-shared", "", nics(3), {}, {"iommu": ON._replace(active=False)}, [], id="the IOMMU is off"),
        pytest.param("group-shared", "", nics(3), {}, {"iommu": UNKNOWN}, [], id="the IOMMU cannot be read"),
        pytest.param("pcie-link-narrow", "", nics(3), {}, links(slot2=PcieLink(8, 8, 8, 8), slot3=PcieLink(8, 8, 4, 8)), ["0000:03:00.0: "], id="fewer lanes, behind one without a link"),
        pytest.param("pcie-link-narrow", "", nics(1), {}, links(slot1=PcieLink(2.5, 8, 8, 8)), ["runs with 2.5 GT/s x8 (PCIe 1) and could run with 8 GT/s x8 (PCIe 3)"], id="a lower speed"),
        pytest.param("pcie-link-narrow", "", CARD, {}, {"links": {"0000:01:00.0": NARROW, "0000:01:00.1": NARROW}}, ["0000:01:00.0: "], id="a card with sound"),
        pytest.param("pcie-link-narrow", "", CARD, {}, {"links": {"0000:01:00.1": NARROW}}, ["0000:01:00.1: "], id="a function alone"),
        pytest.param("pcie-link-narrow", "", gpus(1), {}, links(slot1=PcieLink(2.5, 8, 8, 8)), [], id="an idle graphics card"),
        pytest.param("interface-missing", "", "", {}, {"interfaces": UNKNOWN}, ["?network: ... no reason at all"], id="interfaces are unknown"),
        pytest.param("interface-missing", "", "", {}, {"interfaces": Interfaces((Absent("eno1", "vmbr0", "bridge port", "/x"),), (("a", "m", ""), ("b", "m", ""), ("c", "m", ""), ("d", "m", ""), ("e", "m", "")))}, ["there is no eno1; a, b, c, d are not in that configuration. See which card it is"], id="several cards without a name"),
        pytest.param("interface-missing", "", "", {}, {"interfaces": Interfaces((Absent("eno1", "vmbr0", "bridge port", "/x"),), (("a", "m", ""),))}, ["; a (m) is not in that configuration and may be the same card. If it is, give it this name"], id="one card without a name"),
        # -- resources
        pytest.param("network-queues-single", "template: 1\n", "", many(5, FOUR), {}, ["VM 101 (g0), VM 102 (g1), VM 103 (g2), VM 104 (g3), VM 105 (g4) have one queue ... ,queues=4, and the same for 4 more"], id="five VMs"),
        pytest.param("network-queues-single", "template: 1\n", "", many(6, FOUR), {}, ["VM 105 (g4) and 1 more have one queue"], id="six VMs"),
        pytest.param("network-queues-single", FOUR, "", {}, {}, ["--net0 virtio=BC:24:11:2C:69:EC,bridge=vmbr0,queues=4"], id="four cores"),
        pytest.param("network-queues-single", f"sockets: 2\n{FOUR}", "", {}, {}, [",queues=8"], id="eight cores"),
        pytest.param("network-queues-single", f"sockets: 3\n{FOUR}", "", {}, {}, [",queues=8"], id="twelve cores"),
        pytest.param("network-queues-single", f"vcpus: 3\n{FOUR}", "", {}, {}, [], id="three are plugged in"),
        pytest.param("network-queues-single", FOUR.replace("4", "3", 1), "", {}, {}, [], id="three cores"),
        pytest.param("network-queues-single", f"{FOUR}net1: virtio=BC:24:11:2C:69:ED,bridge=vmbr0\n", "", {}, {}, [", and the same for 1 more"], id="two cards"),
        pytest.param("network-queues-single", "sockets: 4\nnet0: virtio=BC:24:11:2C:69:EC,bridge=vmbr0\n", "", {}, {}, [",queues=4"], id="one core a socket"),
        pytest.param("device-on-other-numa-node", f"affinity: 0-1\nhostpci0: {NIC}\n", "", {}, {"layout": nodes(frozenset({0, 1, 2, 3}))}, [], id="one NUMA node"),
        pytest.param("device-on-other-numa-node", f"affinity: 2-3\nhostpci0: mapping=gone\nhostpci1: mapping=two\nhostpci2: {NIC}\n", FAR_TABLE, FAR, {"layout": LAYOUT}, ["VM 100 hostpci2: ... of NUMA node 0 ... --affinity 0-1"], id="behind mappings"),
        pytest.param("device-on-other-numa-node", f"affinity: 1-2\nhostpci2: {NIC}\n", FAR_TABLE, FAR, {"layout": LAYOUT}, [], id="one CPU of its node"),
        pytest.param("device-on-other-numa-node", "affinity: 2\n", FAR_TABLE, {**FAR, **other_guest(101, f"hostpci0: {NIC}\n"), **other_guest(102, f"affinity: 2\nhostpci0: {NIC}\n")}, {"layout": LAYOUT}, ["VM 102 hostpci0: "], id="behind VMs without a device, or without an affinity"),
        pytest.param("hugepages-idle", "cores: 1\n", "", {}, {"layout": LAYOUT._replace(reserved={1024: 1})}, ["1 MiB are reserved ... --hugepages 1"], id="a MiB"),
        pytest.param("hugepages-idle", "cores: 1\n", "", {}, {"layout": LAYOUT._replace(reserved={1: 1023})}, [], id="less than a MiB"),
        pytest.param("hugepages-idle", "cores: 1\n", "", {}, {"layout": LAYOUT._replace(reserved={2048: 512, 1 << 20: 0})}, ["1.0 GiB are reserved ... --hugepages 2"], id="a GiB"),
        pytest.param("hugepages-idle", "hugepages: 2\n", "", {}, {"layout": LAYOUT._replace(reserved={2048: 512})}, [], id="in use"),
        pytest.param("isolated-cpus-idle", "affinity: 1,2-2,9-10\n", "", {}, {"layout": LAYOUT._replace(isolated=frozenset({1, 2, 3, 5, 6, 9, 10}))}, ["the CPUs 3,5-6 are isolated"], id="some are idle"),
        pytest.param("isolated-cpus-idle", "affinity: 9999\n", "", {}, {"layout": LAYOUT._replace(isolated=frozenset({9999}))}, [], id="the last CPU that counts"),
        pytest.param("isolated-cpus-idle", "affinity: 0-9999\n", "", {}, {"layout": LAYOUT._replace(isolated=frozenset({9999}))}, [], id="up to the last CPU"),
        pytest.param("isolated-cpus-idle", "affinity: 10000\n", "", {}, {"layout": LAYOUT._replace(isolated=frozenset({10000}))}, ["the CPUs 10000 are isolated"], id="a CPU too many"),
        pytest.param("isolated-cpus-idle", "affinity: 0-10000\n", "", {}, {"layout": LAYOUT._replace(isolated=frozenset({1}))}, ["the CPUs 1 are isolated"], id="up to a CPU too many"),
        pytest.param("memory-overcommitted", f"onboot: 1\nmemory: 2048\nhostpci0: {NIC}\n", "", {}, {"layout": LAYOUT._replace(memory=4 * GIB, arc_limit=2 * GIB)}, [], id="just enough memory"),
        pytest.param("memory-overcommitted", f"onboot: 1\nmemory: 2049\nhostpci0: {NIC}\n", "", {}, {"layout": LAYOUT._replace(memory=4 * GIB, arc_limit=2 * GIB)}, ["2.0 GiB are pinned"], id="just too little memory"),
        pytest.param("memory-overcommitted", f"onboot: 1\nmemory: 999999999\nhostpci0: {NIC}\n", "", {}, {"layout": LAYOUT._replace(memory=4 * GIB, arc_limit=2 * GIB)}, ["are pinned"], id="very much memory"),
        pytest.param("memory-overcommitted", f"onboot: 1\nmemory: 9999999999\nhostpci0: {NIC}\n", "", {}, {"layout": LAYOUT._replace(memory=4 * GIB, arc_limit=2 * GIB)}, [], id="more memory than can be"),
        pytest.param("ksm-between-owners", "name: a\n", "", other_guest(101, "name: b\n"), {"ksm": Ksm(True, 1, {100: "x", 101: "y"})}, [], id="VMs of two pools that do not run"),
        # -- the kernel command line
        pytest.param("boot-file-broken", "", "", {}, {"loader": SYSTEMD, "command_lines": LINES._replace(grub=None, kernel=Planned("/etc/kernel/cmdline", ("root=/x",), "/x: a quote is open"))}, ["Close or remove the quote: nano /x, then"], id="another file than GRUB's"),
        pytest.param("boot-file-broken", "", "", {}, {"loader": GRUB, "command_lines": LINES._replace(grub=Planned("/etc/default/grub.d/x.cfg", UNKNOWN, "/etc/default/grub.d/x.cfg: line 3: unexpected"))}, ["nano /etc/default/grub.d/x.cfg, then: update-grub"], id="a file that GRUB's file reads"),
        pytest.param("boot-file-broken", "", "", {}, {"loader": GRUB, "command_lines": LINES._replace(grub=Planned("/etc/default/grub", UNKNOWN, "/etc/default/grub: line 3: unexpected"))}, ["nano /etc/default/grub && sh -n /etc/default/grub"], id="GRUB's file"),
        pytest.param("boot-file-broken", "", "", {}, {"loader": GRUB, "command_lines": LINES._replace(grub=Planned("/etc/default/grub", ("quiet",), "a quote is open"))}, ["/etc/default/grub: a quote is open: the node may not boot. Close or remove the quote: nano /etc/default/grub, then"], id="a quote"),
        pytest.param("cmdline-wrong-file", "", "", {}, {"loader": GRUB, "command_lines": LINES._replace(running=UNKNOWN, grub=None, kernel=Planned("/etc/kernel/cmdline", ("a=1", "b=2")))}, ["/etc/kernel/cmdline: a=1 b=2 in /etc/kernel/cmdline has no effect"], id="nothing is known of what runs"),
        pytest.param("cmdline-wrong-file", "", "", {}, {"loader": GRUB, "command_lines": LINES._replace(running=("a=1",), grub=None, kernel=Planned("/etc/kernel/cmdline", ("a=1", "b=2")))}, ["/etc/kernel/cmdline: b=2 in /etc/kernel/cmdline has no effect"], id="no file of its own"),
        pytest.param("cmdline-wrong-file", "", "", {}, {"loader": GRUB, "command_lines": LINES._replace(running=("a=1",), grub=Planned("/etc/default/grub", UNKNOWN), kernel=Planned("/etc/kernel/cmdline", ("a=1", "b=2")))}, ["/etc/kernel/cmdline: b=2 in /etc/kernel/cmdline has no effect"], id="its own file is unknown"),
        pytest.param("cmdline-wrong-file", "", "", {}, {"loader": GRUB, "command_lines": LINES._replace(running=("b=2",), grub=Planned("/etc/default/grub", ("a=1",)), kernel=Planned("/etc/kernel/cmdline", ("a=1", "b=2")))}, ["/etc/kernel/cmdline: b=2 in /etc/kernel/cmdline has no effect"], id="its own file counts, not what runs"),
        pytest.param("cmdline-not-refreshed", "", "", {}, {"loader": SYSTEMD, "command_lines": LINES._replace(kernel=Planned("/etc/kernel/cmdline", ("a=1",)), written=(Written("/x", "6", ("b=2",)),))}, [], id="a plan that does not boot"),
        pytest.param("cmdline-not-refreshed", "", "", {}, {"loader": SYSTEMD, "command_lines": LINES._replace(kernel=Planned("/etc/kernel/cmdline", ("root=/x", "a=1")), written=(Written("/x", "6", ("b=2",)),))}, ["/etc/kernel/cmdline was edited"], id="a plan that boots"),
        pytest.param("cmdline-not-refreshed", "", "", {}, {"loader": GRUB, "command_lines": LINES._replace(grub=Planned("/etc/default/grub", ("a=1",), ignored=("x",)), written=(Written("/x", "6", ("b=2",)),))}, [], id="a plan with lines that are ignored"),
        pytest.param("cmdline-not-refreshed", "", "", {}, {"loader": GRUB, "command_lines": LINES._replace(grub=Planned("/etc/default/grub", ("a=1",), "a quote is open"), written=(Written("/x", "6", ("b=2",)),))}, [], id="a broken plan"),
        pytest.param("cmdline-not-in-force", "", "", {}, {"loader": GRUB, "command_lines": LINES._replace(grub=None, written=UNKNOWN)}, [], id="no file, and the menu is unknown"),
        pytest.param("cmdline-not-in-force", "", "", {}, {"loader": GRUB, "command_lines": LINES._replace(grub=Planned("/etc/default/grub", UNKNOWN), written=())}, [], id="the file is unknown, and there is no menu"),
        pytest.param("cmdline-not-in-force", "", "", {}, {"loader": GRUB, "command_lines": LINES._replace(grub=Planned("/etc/default/grub", ("a=1",)), written=())}, ["the arguments of /etc/default/grub: it is without a=1 ... Type: update-grub && reboot"], id="the file, without a menu"),
        pytest.param("acs-override-void", "", "", {}, {"loader": GRUB, "kernels": KERNELS._replace(running="6.1.0-18-amd64"), "command_lines": LINES}, [], id="no override"),
        pytest.param("acs-override-void", "", "", {}, {"loader": GRUB, "kernels": KERNELS._replace(running="6.1.0-18-amd64"), "command_lines": LINES._replace(running=("quiet", "pcie_acs_override=downstream"))}, ["pcie_acs_override has no effect with the kernel 6.1.0-18-amd64"], id="an override, and a kernel of Debian"),
        pytest.param("argument-ignored", "", gpus(1), {}, {"loader": GRUB, "uses": UsesOf(slot1="shows the console"), "command_lines": LINES._replace(grub=Planned("/etc/default/grub", ("vfio-pci-ids=10de:2684",)))}, ["Remove 'vfio-pci-ids=10de:2684' from GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub: corrected, it would take 0000:01:00.0 (graphics card [10de:2684]), which shows the console, from the host, then"], id="corrected, it would do harm"),
        pytest.param("argument-ignored", "", "", {}, {"loader": GRUB, "command_lines": LINES._replace(grub=Planned("/etc/default/grub", ("#quiet",)))}, ["Remove '#quiet' from GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then: update-grub && reboot"], id="nothing stands in its place"),
        pytest.param("argument-ignored", "", "", {}, known(loader=UNKNOWN, command_lines=LINES._replace(running=("intel_iommu=On",))), ["Replace 'intel_iommu=On' in the kernel command line with 'intel_iommu=on'"], id="the boot loader is unknown"),
        pytest.param("argument-ignored", "", "", {}, {"loader": GRUB, "command_lines": LINES._replace(running=("intel_iommu=On",), grub=None)}, ["in the kernel command line with 'intel_iommu=on', then: update-grub && reboot"], id="no file of its own"),
        pytest.param("argument-ignored", "", "", {}, {"loader": GRUB, "command_lines": LINES._replace(running=UNKNOWN, grub=None)}, [], id="nothing is known"),
        pytest.param("argument-ignored", "", "", {}, {"loader": GRUB, "command_lines": LINES._replace(running=Unread("NOMODESET"), grub=None)}, [], id="the reason is no argument"),
        pytest.param("boot-loader-unknown", "", "", {}, {"loader": UNKNOWN}, ["?boot loader: ... no reason at all"], id="the boot loader cannot be read"),
        pytest.param("iommu-inactive", "", "", {}, {"iommu": UNKNOWN}, ["?IOMMU: ... no reason at all"], id="the IOMMU is unknown"),
        pytest.param("advice-void", "", "", {}, known(command_lines=UNKNOWN, iommu=UNKNOWN, modules=loaded("loop", "vfio_virqfd"), kernels=KERNELS._replace(running="6.2.0-1-pve")), ["/etc/modules loads vfio_virqfd"], id="the first kernel without vfio_virqfd"),
        pytest.param("advice-void", "", "", {}, known(command_lines=UNKNOWN, iommu=UNKNOWN, modules=loaded("vfio_virqfd"), kernels=KERNELS._replace(running="6.1.10-1-pve")), [], id="the last kernel with it"),
        pytest.param("grub-variable-overwritten", "", "", {}, {"loader": GRUB, "command_lines": LINES._replace(grub=OVERWRITTEN._replace(words=UNKNOWN))}, [], id="what GRUB makes of it is unknown"),
        pytest.param("grub-variable-overwritten", "", "", {}, {"loader": GRUB, "command_lines": LINES._replace(grub=OVERWRITTEN)}, ["/a: b=2 in line 2 of /a has no effect: line 9 of /z assigns A again ... A=\"c=3 b=2\"", "/a: d=4 in line 3 of /a"], id="behind one that has an effect, and twice"),
        pytest.param("interface-not-pinned", "", "", {}, {"new_names": (PORT,)}, ["eno1: eno1 is a port of vmbr0, and the name may change at the next boot: the kernel is another. Keep the name by its MAC in /etc/systemd/network/10-eno1.link ([Match] MACAddress=bc:24:11:00:00:01, Type=ether, [Link] Name=eno1)"], id="one card"),
        pytest.param("interface-not-pinned", "", "", {}, {"new_names": (RENAMED, PORT, PORT._replace(name="eno2"), PORT._replace(name="eno3"))}, ["eno1: eno1 is a port of vmbr0, and so do eno2, eno3, and the name may change"], id="three cards, behind one that is certain"),
        pytest.param("interface-not-pinned", "", "", {}, {"new_names": (PORT._replace(name="eno0", alike="igb"), PORT)}, ["eno1: eno1 is a port of vmbr0, and so do eno0, and the name may change at the next boot: the kernel is another. Keep"], id="the one first whose driver may name it otherwise"),
        pytest.param("interface-not-pinned", "", "", {}, {"new_names": (PORT._replace(alike="tg3"), PORT._replace(name="eno2", alike="ice"))}, ["the kernel is another (by ice and tg3 a card is named alike in both, so only another number of its bus or slot would change it)"], id="drivers that name them alike"),
        pytest.param("interface-not-pinned", "", "", {}, {"new_names": (RENAMED,)}, [], id="what is certain has its own rule"),
        pytest.param("interface-not-pinned", "", "", {}, {"new_names": UNKNOWN}, [], id="the names are unknown"),
    ],
)  # fmt: skip
def test_edge(
    rule: str, config: str, table: str, files: dict[str, Content], facts: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    assert_findings(found(tmp_path, rule, config, files, table, **facts), expected)


ALL: dict[str, dict[str, Any]] = {
    "Proxmox VE": {"newer_pve": ()},
    "CPU": {"firmware": INTEL, "cpu_flags": frozenset({"vmx"})},
    "IOMMU": {"iommu": ON, "firmware": INTEL},
    "IOMMU groups": {"iommu": ON},
    "ACS": {"iommu": ON},
    "interrupt remapping": {"iommu": ON},
    "IOMMU mode": {"firmware": INTEL},
    "microcode": {"firmware": INTEL},
    "boot loader": {"loader": GRUB},
    "ESPs": {"loader": SYSTEMD._replace(esps=("A", "B"))},
    "kernel": {"kernels": KERNELS},
    "kernel command line": {"loader": GRUB, "command_lines": LINES},
    "outdated advice": {"command_lines": LINES},
    "vfio modules": {"modules": MODULES},
    "modprobe": {"modules": MODULES},
    "DKMS": {"dkms": Dkms(("zfs",), True)},
    "network": {"interfaces": Interfaces((), ())},
    "PCIe links": {"links": {NIC: PcieLink(8, 8, 8, 8)}},
    "networks of VMs": {"guests": (object(),)},
    "resources": {"layout": LAYOUT, "guests": ()},
    "KSM": {"ksm": Ksm(False, 0, {})},
    "shared memory": {"memory_files": {"100": 1}},
}
WORDS = {
    "Proxmox VE": "declares nothing that pvehooks does not know",
    "CPU": "Intel, VT-x",
    "IOMMU": "on (Intel, 30 groups)",
    "IOMMU groups": "every useful device has an IOMMU group of its own",
    "ACS": "not overridden",
    "interrupt remapping": "interrupts are remapped",
    "IOMMU mode": "no translation for the host's own devices (iommu=pt)",
    "microcode": "intel-microcode is installed",
    "boot loader": "GRUB, UEFI (by its variable): it reads /etc/default/grub, and update-grub applies a change",
    "ESPs": "2 in /etc/kernel/proxmox-boot-uuids, all present",
    "kernel": "6.8.12-4-pve is running and is the next one to boot",
    "kernel command line": "in effect, from /etc/default/grub: quiet",
    "outdated advice": "no outdated setting",
    "vfio modules": "the vfio modules of 6.8.12-4-pve are there",
    "modprobe": "the initramfs has the settings of /etc/modprobe.d, and no driver that the host needs is blacklisted",
    "DKMS": "the firmware trusts the key that signed zfs",
    "network": "every interface of the network configuration exists",
    "PCIe links": "1 links run at full speed and width",
    "networks of VMs": "virtio NICs have enough queues",
    "resources": "memory, huge pages and isolated CPUs fit the VMs",
    "KSM": "KSM is off",
    "shared memory": "each file belongs to a VM",
}


def line_of(subject: str, tmp_path: Path, **facts: Any) -> str:
    (line,) = (each for each in of_node.CHECK_LINES if each.subject == subject)
    _, node = guest_on_node(tmp_path, "")
    node.__dict__.update(facts)
    return line.passed(node)


@pytest.mark.parametrize("subject", ALL)
def test_all_is_well(subject: str, tmp_path: Path) -> None:
    assert line_of(subject, tmp_path / "known", **ALL[subject]) == WORDS[subject]
    for fact in ALL[subject]:
        assert line_of(subject, tmp_path / fact, **{**ALL[subject], fact: UNKNOWN}) == ""


@pytest.mark.parametrize(
    ("subject", "facts", "words"),
    [
        ("CPU", {"firmware": INTEL._replace(cpu="AuthenticAMD"), "cpu_flags": frozenset({"svm"})}, "AMD, SVM"),
        ("CPU", {"firmware": INTEL._replace(cpu="HygonGenuine"), "cpu_flags": frozenset({"svm"})}, "Hygon, SVM"),
        ("CPU", {"firmware": INTEL._replace(cpu="CentaurHauls")}, "CentaurHauls, VT-x"),
        ("CPU", {"firmware": INTEL._replace(cpu="")}, ""),
        ("CPU", {"cpu_flags": frozenset({"aes"})}, ""),
        ("IOMMU", {"firmware": INTEL._replace(units=("ivhd0",))}, "on (AMD, 30 groups)"),
        ("IOMMU", {"firmware": INTEL._replace(units=())}, "on (30 groups)"),
        ("IOMMU", {"iommu": ON._replace(active=False)}, ""),
        ("IOMMU groups", {"iommu": ON._replace(active=False)}, ""),
        ("ACS", {"iommu": ON._replace(active=False)}, ""),
        ("interrupt remapping", {"iommu": ON._replace(active=False)}, ""),
        ("interrupt remapping", {"iommu": ON._replace(remaps_interrupts=None)}, ""),
        ("IOMMU mode", {"firmware": INTEL._replace(translation=frozenset({"identity", "DMA"}))}, ""),
        ("microcode", {"firmware": INTEL._replace(microcode="")}, ""),
        ("boot loader", {"firmware": INTEL}, "GRUB, UEFI with Secure Boot (by its variable): it reads /etc/default/grub, and update-grub applies a change"),
        ("boot loader", {"loader": GRUB._replace(uefi=False)}, "GRUB, legacy BIOS (by its variable): it reads /etc/default/grub, and update-grub applies a change"),
        ("boot loader", {"loader": GRUB._replace(kind="")}, ""),
        ("ESPs", {"loader": GRUB}, ""),
        ("kernel", {"kernels": KERNELS._replace(installed=())}, ""),
        ("kernel command line", {"command_lines": LINES._replace(grub=None)}, ""),
        ("kernel command line", {"command_lines": LINES._replace(grub=Planned("/etc/default/grub", UNKNOWN))}, ""),
        ("kernel command line", {"command_lines": LINES._replace(running=UNKNOWN)}, ""),
        ("kernel command line", {"command_lines": LINES._replace(grub=Planned("/etc/default/grub", ()))}, "in effect, from /etc/default/grub: no arguments"),
        (
            "kernel command line",
            {"command_lines": LINES._replace(grub=Planned("/etc/default/grub", ("quiet",), assignments=(Assignment("/etc/default/grub", 1, "A", ""), Assignment("/x.cfg", 1, "A", "quiet"))))},
            "in effect, from /etc/default/grub and /x.cfg: quiet",
        ),
        ("outdated advice", {"command_lines": LINES._replace(running=UNKNOWN)}, ""),
        ("vfio modules", {"modules": MODULES._replace(vfio={"vfio_pci": "unknown"})}, ""),
        ("vfio modules", {"modules": MODULES._replace(vfio={"vfio": "built in", "vfio_pci": "there"})}, "the vfio modules of 6.8.12-4-pve are built in, there"),
        ("DKMS", {"dkms": Dkms(("zfs", "nvidia"), True)}, "the firmware trusts the key that signed zfs, nvidia"),
        ("DKMS", {"dkms": Dkms(("zfs",), None)}, ""),
        ("PCIe links", {"links": {}}, ""),
        ("networks of VMs", {"guests": ()}, ""),
        ("KSM", {"ksm": Ksm(True, 0, {})}, "KSM does not merge memory of different pools"),
        ("shared memory", {"memory_files": {}}, ""),
    ],
)  # fmt: skip
def test_the_words_of_a_line(subject: str, facts: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert line_of(subject, tmp_path, **{**ALL[subject], **facts}) == words


def test_every_line_is_among_them() -> None:
    assert {line.subject for line in of_node.CHECK_LINES} == {*ALL}
