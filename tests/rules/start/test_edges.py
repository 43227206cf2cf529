"""Rules of a start at the limits of their values, and where an option that is none of their matter comes first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pvehooks.rules import catalogue
from pvehooks.values import Holder, HugePages, Iommu, Memory, Refuser, Severity, Unread, Use, Uses
from pvehooks.values.images import ImageFile, PinnedFirmware
from pvehooks.values.pci import PciDevice
from tests.beds import pci
from tests.beds.tree import Content
from tests.derived.bed import guest_on_node
from tests.rules.edges import GPU, NIC, assert_findings, found

UNKNOWN = Unread("no reason at all")
ON = Iommu(True, "", "", True, False)
VGPUS = "0000:01:00.0 class=030000 id=10de:2684 driver=nvidia group=14 mdev=nvidia-1:1,nvidia-2:0\n0000:02:00.0 class=030000 id=10de:2684 driver=nvidia group=15\n"
CARD = (
    "0000:01:00.0 class=030000 id=10de:2684 driver=nouveau group=14\n0000:01:00.1 class=040300 id=10de:22ba driver=snd_hda_intel group=14\n"
)


class Roms:
    """Files that `romfile` names."""

    def __init__(self, **known: bytes | Unread) -> None:
        self._known = known

    def content(self, name: str) -> bytes | Unread:
        return self._known[name.removesuffix(".rom")]


def roms(**known: bytes | Unread) -> dict[str, Any]:
    return {"roms": frozenset(f"{name}.rom" for name in known), "rom_files": Roms(**known)}


def accepted(**devices: tuple[str, str, str]) -> dict[str, Content]:
    """A record of what was at these addresses ("a01_00_0") at the last accepted start: (id, class, serial)."""
    known = {
        f"0000:{name[1:].replace('_', ':', 1).replace('_', '.')}": dict(zip(("id", "class", "serial"), was, strict=True))
        for name, was in devices.items()
    }
    start = {"hostpci": {}, "devices": known, "members": sorted(known)}
    return {"etc/pve/pvehooks/guests/100.json": json.dumps({"version": 1, "uuid": None, "ctime": None, "accepted": {"pve1": start}})}


class UsesOf:
    """The uses of one device."""

    def __init__(self, address: str, *uses: Use) -> None:
        self._address = address
        self._uses = uses

    def of(self, device: PciDevice) -> Uses:
        return Uses(self._uses if device.address == self._address else ())


def bits(first: int, second: int) -> dict[str, Content]:
    """How many address bits the IOMMUs of the card's two functions translate, as Intel's mgaw says it."""
    files: dict[str, Content] = {}
    for function, count in ((0, first), (1, second)):
        unit = f"sys/class/iommu/dmar{function + 1}"
        files |= {f"{unit}/intel-iommu/cap": f"{(count - 1) << 16:x}\n", f"{unit}/devices/0000:01:00.{function}/": None}
    return files


HOST_CPU = "bios: ovmf\ncpu: host\n"
RUNNING: dict[str, Content] = {"run/qemu-server/100.pid": "4711\n", "proc/4711/cmdline": "/usr/bin/kvm\0-id\x00100\0"}
PFS = "".join(
    f"0000:0{slot}:00.0 class=020000 driver=i40e group={slot}\n0000:0{slot}:00.2 class=020000 driver=iavf group={slot}2 pf=0000:0{slot}:00.0\n"
    for slot in (3, 5)
)
WIDE = f"{CARD}" + "".join(f"0000:01:00.{each} class=040300 id=10de:22ba driver=snd_hda_intel group=14\n" for each in (2, 3, 4))


def mapping(*entries: str, mdev: str = "0") -> dict[str, Content]:
    lines = "".join(f"\tmap node=pve1,{entry}\n" for entry in entries)
    return {"etc/pve/mapping/pci.cfg": f"gpu\n\tmdev {mdev}\n{lines}"}


MANY = "0000:03:00.0 class=020000 driver=i40e group=3\n" + "".join(
    f"0000:03:00.{each} class=020000 driver=iavf group=3{each} pf=0000:03:00.0\n" for each in (2, 3, 4)
)
MAIL = Holder(101, "VM 101 (mail)", "hostpci0")
WAS = ("10de:2684", "030000", "")
GONE = ("10de:1111", "030000", "")


@pytest.mark.parametrize(
    ("rule", "config", "table", "files", "facts", "expected"),
    [
        # -- devices that are not there
        pytest.param("hostpci-device-missing", f"hostpci0: {GPU}\n", "", {}, {"pci": UNKNOWN}, ["?pci: ... no reason at all"], id="the bus is unknown"),
        pytest.param("hostpci-device-missing", "hostpci0: mapping=gone\nhostpci1: 0000:09:00.0\n", "", {}, {}, ["0000:09:00.0: hostpci1"], id="behind a mapping that is not there"),
        pytest.param("hostpci-device-missing", "hostpci0: host=0000:09:00.0,mapping=gone\n", "", {}, {}, [], id="an option that is refused anyway"),
        pytest.param("hostpci-device-missing", "hostpci0: 0000:09:00.0\nhostpci1: 0000:09:00.0\n", "", {}, {}, ["0000:09:00.0: hostpci0"], id="one twice"),
        pytest.param("hostpci-device-missing", "hostpci0: 0000:09:00.0\n", CARD, accepted(a08_00_0=GONE, a09_00_0=WAS), {}, ["; the device that was there is at 0000:01:00.0 now. Name the device where it is now: qm set 100 --hostpci0 0000:01:00.0"], id="moved, behind another that was"),
        pytest.param("hostpci-device-missing", "hostpci0: 0000:09:00\n", CARD, accepted(a09_00_0=WAS), {}, ["is at 0000:01:00 now. Name the device where it is now: qm set 100 --hostpci0 0000:01:00"], id="a slot that moved"),
        pytest.param("hostpci-device-missing", "hostpci0: 0000:09:00.0\n", CARD, accepted(a09_00_0=WAS, a01_00_0=WAS), {}, ["on pve1. Put the device in again"], id="one that was there already"),
        pytest.param("hostpci-device-missing", "hostpci0: 0000:09:00.0\n", f"{CARD}0000:02:00.0 class=030000 id=10de:2684 group=9\n", accepted(a09_00_0=WAS), {}, ["on pve1. Put the device in again"], id="two that it may be"),
        # -- options
        pytest.param("hostpci-invalid", f"hostpci0: {GPU},mdev=a\n", CARD, {}, {}, [], id="a mediated device of one function"),
        pytest.param("hostpci-invalid", "hostpci0: 0000:01:00,mdev=a\n", CARD, {}, {}, ["0000:01:00 has several functions, a mediated device needs one. Name one of them: qm set 100 --hostpci0 0000:01:00.0,mdev=a"], id="of two functions"),
        pytest.param("hostpci-invalid", "hostpci0: 0000:00:02.0,legacy-igd=1,rombar=0\nvga: none\n", CARD, {}, {}, ["Leave it out: qm set 100 --hostpci0 0000:00:02.0,legacy-igd=1"], id="legacy-igd without a ROM"),
        pytest.param("hostpci-invalid", "hostpci0: 0000:00:02.0,legacy-igd=1,x-vga=1\nvga: none\n", CARD, {}, {}, ["Leave it out: qm set 100 --hostpci0 0000:00:02.0,legacy-igd=1"], id="legacy-igd and x-vga"),
        pytest.param("hostpci-invalid", "hostpci0: 0000:00:02.0,legacy-igd=1\n", CARD, {}, {}, ["Take the VM's own display away: qm set 100 --vga none"], id="legacy-igd and a display"),
        pytest.param("hostpci-invalid", "hostpci0: 0000:00:02.0,legacy-igd=1\nvga: none\nmachine: q35\n", CARD, {}, {}, ["Take legacy-igd=1 out: qm set 100 --hostpci0 0000:00:02.0"], id="legacy-igd and q35"),
        pytest.param("hostpci-invalid", f"hostpci0: {GPU},legacy-igd=1\nvga: none\n", CARD, {}, {}, ["Take legacy-igd=1 out: qm set 100 --hostpci0 0000:01:00.0"], id="legacy-igd for another device"),
        pytest.param("hostpci-invalid", f"hostpci0: 0000:00:02.0,legacy-igd=1\nhostpci1: {GPU},pcie=1\nvga: none\n", CARD, {}, {}, ["Take pcie=1 out, legacy-igd allows no q35: qm set 100 --hostpci1 0000:01:00.0"], id="legacy-igd beside pcie"),
        pytest.param("hostpci-invalid", f"hostpci0: {GPU},pcie=1\n", CARD, {}, {}, ["qm set 100 --machine q35, or take pcie=1 out: qm set 100 --hostpci0 0000:01:00.0"], id="pcie, and no machine"),
        pytest.param("hostpci-invalid", f"hostpci0: {GPU},pcie=1\nmachine: type=pc,viommu=intel\n", CARD, {}, {}, ["qm set 100 --machine type=q35,viommu=intel, or"], id="pcie, and another machine"),
        pytest.param("hostpci-invalid", f"hostpci0: host={GPU},mapping=gone\n", CARD, {}, {}, ["Keep the mapping: qm set 100 --hostpci0 mapping=gone"], id="an address and a mapping"),
        pytest.param("hostpci-invalid", f"hostpci0: {GPU}\nhostpci1: {GPU}\n", CARD, {}, {}, ["hostpci1: ... Take it from the VM once: qm set 100 --delete hostpci1"], id="a device twice"),
        pytest.param("hostpci-invalid", f"hostpci0: {GPU}\nhostpci1: {NIC};{GPU}\n", CARD, {}, {}, ["Write it as the manual says (man qm), or take it out: qm set 100 --delete hostpci1"], id="a device twice, once in a list"),
        # -- changed devices
        pytest.param("device-changed", f"hostpci0: 0000:02:00.0\nhostpci1: {GPU}\n", VGPUS, accepted(a01_00_0=GONE), {}, [f"{GPU}: hostpci1: ... (that was a device [10de:1111])"], id="behind one that was not there"),
        pytest.param("device-changed", f"hostpci0: {GPU}\n", CARD, accepted(a01_00_0=("10de:2684", "030200", "")), {}, ["(its class was 030200 and is 030000)"], id="another class"),
        pytest.param("device-changed", "hostpci0: 0000:01:00\n", CARD, accepted(a01_00_1=GONE), {}, ["0000:01:00.1: ... (that was a device [10de:1111])"], id="the second function, behind one that was not there"),
        pytest.param("device-changed", f"hostpci0: {GPU}\n", CARD, {**accepted(a01_00_0=WAS), f"sys/devices/pci0000:00/{GPU}/class": "?\n"}, {}, [], id="its class cannot be read"),
        pytest.param("device-changed", f"hostpci0: {GPU}\n", CARD, {**accepted(a01_00_0=GONE), f"sys/devices/pci0000:00/{GPU}/vendor": "?\n"}, {}, [], id="its maker cannot be read"),
        pytest.param("device-changed", f"hostpci0: {GPU}\n", CARD, accepted(a01_00_0=WAS), {}, [], id="the same"),
        pytest.param("device-changed", "args: -device vfio-pci,host=01:00.0\n", CARD, accepted(a01_00_0=GONE), {}, ["args: ... If not, write the right address into the args: qm config 100"], id="in args"),
        pytest.param("group-in-use-by-host", "args: -device vfio-pci,host=01:00.0\n", CARD, {}, {"uses": UsesOf(GPU, Use("shows the console"))}, [f"{GPU}: args: ... shows the console, and PVE unbinds nothing for args"], id="in args, and the host's"),
        pytest.param("args-group-not-viable", "".join(f"hostpci{number}: 0000:09:00.{number % 8}\n" for number in range(15)) + "args: -device vfio-pci,host=01:00.0\n", CARD, {}, {"uses": UsesOf("")}, ["by hostpci15 in place of args"], id="the last free number"),
        pytest.param("args-group-not-viable", "hostpci0: 0000:09:00.0\nhostpci2: 0000:09:00.1\nargs: -device vfio-pci,host=01:00.0\n", CARD, {}, {"uses": UsesOf("")}, ["by hostpci1 in place of args"], id="the first free number"),
        pytest.param("args-group-not-viable", "".join(f"hostpci{number}: 0000:09:00.{number % 8}\n" for number in range(16)) + "args: -device vfio-pci,host=01:00.0\n", CARD, {}, {"uses": UsesOf("")}, ["by hostpci15 in place of args"], id="no free number"),
        pytest.param("interrupts-unsafe", f"hostpci0: {GPU}\n", CARD, RUNNING, {"iommu": ON._replace(remaps_interrupts=False)}, [], id="it runs without remapping"),
        pytest.param("interrupts-unsafe", f"hostpci0: {GPU}\n", CARD, {}, {"iommu": ON._replace(remaps_interrupts=False)}, ["the VM would not start"], id="no remapping"),
        pytest.param("group-in-use-by-host", f"hostpci0: {GPU}\n", CARD, {}, {"uses": Unread("nobody looked")}, ["?0000:01:00.0: ... nobody looked", "?0000:01:00.1: ... nobody looked"], id="uses are unknown"),
        pytest.param("group-in-use-by-host", f"hostpci0: {GPU}\n", CARD, {}, {"uses": UsesOf(GPU, *(Use(f"holds /{each}") for each in range(3)))}, ["which holds /0; it also holds /1 and holds /2. "], id="as many uses as are shown"),
        pytest.param("group-in-use-by-host", f"hostpci0: {GPU}\n", CARD, {}, {"uses": UsesOf(GPU, *(Use(f"holds /{each}") for each in range(4)))}, ["and has 1 more use"], id="one use more"),
        pytest.param("group-takes-plumbing", "hostpci0: mapping=gpu\n", CARD, {"etc/pve/mapping/pci.cfg": f"gpu\n\tmap node=pve1,path={GPU},id=10de:2684\n"}, {"uses": UsesOf("")}, ["If the node can do without it: pvehooks trust 100. If not, "], id="of a mapping"),
        pytest.param("group-takes-plumbing", f"hostpci0: {GPU}\n", CARD, {}, {"uses": UsesOf("")}, ["Give the VM all functions of the card, if the node can do without them: qm set 100 --hostpci0 0000:01:00. If not, "], id="of an address"),
        pytest.param("device-in-use-by-guest", f"hostpci0: {GPU}\nhostpci1: 0000:01:00\n", CARD, {}, {"uses": UsesOf(""), "holders": {GPU: (MAIL,), "0000:01:00.1": (MAIL,)}}, [f"{GPU}: hostpci0", "0000:01:00.1: hostpci1"], id="each device once"),
        pytest.param("device-in-use-by-guest", f"hostpci0: {GPU}\n", CARD, {}, {"uses": UsesOf(""), "holders": {GPU: (MAIL._replace(mdev=True),)}}, [f"{GPU}: hostpci0"], id="whole, and another VM has a part of it"),
        pytest.param("device-in-use-by-guest", f"hostpci0: {GPU},mdev=a\n", CARD, {}, {"uses": UsesOf(""), "holders": {GPU: (MAIL,)}}, [f"{GPU}: hostpci0"], id="a part, and another VM has it whole"),
        pytest.param("device-in-use-by-guest", f"hostpci0: {GPU},mdev=a\n", CARD, {}, {"uses": UsesOf(""), "holders": {GPU: (MAIL._replace(mdev=True),)}}, [], id="both have a part"),
        pytest.param("pf-vfs-in-use", "hostpci0: 0000:03:00\nhostpci1: 0000:05:00\n", PFS, {}, {"uses": UsesOf("")}, ["0000:03:00.0: ... Name the function: qm set 100 --hostpci0 0000:03:00.2", "0000:05:00.0: ... --hostpci1 0000:05:00.2"], id="two slots with their own VFs"),
        pytest.param("pf-vfs-in-use", "hostpci0: mapping=pf\n", PFS, {"etc/pve/mapping/pci.cfg": "pf\n\tmap node=pve1,path=0000:03:00,id=8086:1533\n"}, {"uses": UsesOf("")}, ["covers 0000:03:00.0 ... and its own VF 0000:03:00.2 ... Give the VM a virtual function instead, or free those in use"], id="a slot of a mapping with its own VF"),
        pytest.param("pf-vfs-in-use", "hostpci0: 0000:03:00.0\n", MANY, {}, {"uses": UsesOf(""), "holders": {"0000:03:00.2": (MAIL,)}}, ["which is hostpci0 of VM 101 (mail). Give the VM an idle virtual function: qm set 100 --hostpci0 0000:03:00.3"], id="one VF in use"),
        pytest.param("pf-vfs-in-use", "hostpci0: 0000:03:00.0\n", MANY, {}, {"uses": UsesOf(""), "holders": {"0000:03:00.2": (MAIL,), "0000:03:00.3": (MAIL,)}}, ["(1 more of its VFs is in use)"], id="two VFs in use"),
        pytest.param("pf-vfs-in-use", "hostpci0: 0000:03:00.0\n", MANY, {}, {"uses": UsesOf(""), "holders": {f"0000:03:00.{each}": (MAIL,) for each in (2, 3, 4)}}, ["(2 more of its VFs are in use)"], id="three VFs in use"),
        pytest.param("device-would-be-missed", f"hostpci0: {GPU}\n", CARD, {}, {"uses": UsesOf(GPU, Use("shows the console", remark=True))}, ["hostpci0 would take"], id="the console's card"),
        pytest.param("device-would-be-missed", f"hostpci0: {GPU}\n", CARD, {}, {"uses": UsesOf(GPU, Use("shows the console", remark=True)), "iommu": ON._replace(active=False)}, [], id="the console's card, without an IOMMU"),
        pytest.param("device-would-be-missed", f"hostpci0: {GPU}\n", CARD, {}, {"uses": UsesOf("0000:01:00.1", Use("is the last one", remark=True))}, ["0000:01:00.1: hostpci0 would take"], id="a member"),
        pytest.param("device-would-be-missed", "args: -device vfio-pci,host=01:00.0\n", CARD, {}, {"uses": UsesOf("0000:01:00.1", Use("is the last one", remark=True))}, [], id="a member of args, which nothing unbinds"),
        pytest.param("device-would-be-missed", "args: -device vfio-pci,host=01:00.0\n", CARD, {}, {"uses": UsesOf(GPU, Use("shows the console", remark=True))}, [f"{GPU}: args would take"], id="the console's card in args"),
        pytest.param("pf-vfs-in-use", "hostpci0: 0000:03:00.0\n", MANY, {}, {"uses": UsesOf("0000:03:00.2", Use("has eth0"))}, ["remove its VF 0000:03:00.2, which has eth0"], id="the host uses a VF"),
        pytest.param("device-would-be-missed", f"hostpci0: {GPU}\n", CARD, {}, {"uses": UsesOf(GPU, Use("holds /"))}, [], id="a use has its own rule"),
        pytest.param("group-takes-plumbing", f"hostpci0: {GPU}\n", CARD, accepted(a01_00_0=WAS, a01_00_1=("10de:22ba", "040300", "")), {"uses": UsesOf("")}, [], id="accepted before"),
        pytest.param("group-takes-plumbing", f"hostpci0: {GPU}\n", CARD, accepted(a01_00_0=WAS, a01_00_1=GONE), {"uses": UsesOf("")}, ["0000:01:00.1: "], id="another one was accepted"),
        pytest.param("group-takes-plumbing", f"hostpci0: {GPU}\n", WIDE, {}, {"uses": UsesOf("")}, ["0000:01:00.3 ... and 1 more"], id="four more functions"),
        pytest.param("group-takes-plumbing", f"hostpci0: {GPU}\n", WIDE[: WIDE.rindex("0000:01:00.4")], {}, {"uses": UsesOf("")}, ["and 0000:01:00.3"], id="three more functions"),
        pytest.param("iommu-off", f"hostpci0: {GPU}\n", CARD, {}, {"iommu": UNKNOWN}, ["?iommu: ... no reason at all"], id="the IOMMU is unknown"),
        pytest.param("mapping-missing", f"hostpci0: {GPU}\nhostpci1: mapping=gone\n", CARD, {}, {}, ["hostpci1: "], id="behind an address"),
        pytest.param("mapping-missing", "hostpci0: mapping=gone\n", CARD, {}, {"mappings": UNKNOWN}, ["?hostpci0: ... no reason at all"], id="mappings are unknown"),
        pytest.param("mapping-mismatch", "hostpci0: mapping=gpu\n", CARD, mapping("path=0000:01:00.0,id=10de:2684,iommugroup=14", mdev="1"), {}, ["pvesh set /cluster/mapping/pci/gpu --mdev 0"], id="marked for mediated devices"),
        pytest.param("mapping-mismatch", "hostpci0: mapping=gone\nhostpci1: mapping=gpu\n", CARD, mapping("path=0000:01:00.0,id=10de:1111,iommugroup=9"), {}, ["hostpci1: ... has id 10de:1111 for 0000:01:00.0"], id="behind one that is not there, and its first mistake alone"),
        # -- memory
        pytest.param("memory-short", f"memory: 2048\nhostpci0: {GPU}\n", CARD, {}, {"memory": Memory(2048 << 20, ())}, [], id="just enough memory"),
        pytest.param("memory-short", f"memory: 2048\nhostpci0: {GPU}\n", CARD, {}, {"memory": Memory(2047 << 20, ())}, ["or give it less: qm set 100 --memory 2047"], id="just too little memory"),
        pytest.param("memory-short", f"memory: 2048\nhostpci0: {GPU}\n", CARD, {}, {"memory": Memory(16 << 20, ())}, ["--memory 16"], id="the least that a VM may have"),
        pytest.param("memory-short", f"memory: 2048\nhostpci0: {GPU}\n", CARD, {}, {"memory": Memory(15 << 20, ())}, ["15 MiB free. Stop other VMs"], id="less than a VM may have"),
        pytest.param("memory-short", f"memory: 2048\nhostpci0: {GPU}\n", CARD, {}, {"memory": UNKNOWN}, ["?memory: ... no reason at all"], id="memory is unknown"),
        pytest.param("memory-short", f"memory: 2048\nhostpci0: {GPU}\n", CARD, RUNNING, {"memory": Memory(1 << 20, ())}, [], id="it runs, and has its memory"),
        pytest.param("memory-short", f"memory: 2048\nhugepages: 2\nnuma: 1\nhostpci0: {GPU}\n", CARD, {}, {"memory": Memory(1 << 20, ())}, [], id="it has huge pages"),
        pytest.param("memory-short", f"memory: 2048\nhostpci0: {GPU},mdev=a\n", CARD, {}, {"memory": Memory(1 << 20, ())}, [], id="nothing is pinned"),
        pytest.param("hugepages-short", "memory: 2048\nhugepages: any\nnuma: 1\n", CARD, {}, {"memory": Memory(1 << 40, (HugePages(0, 1 << 20, 1, 0),))}, ["2 huge pages of 1 GiB, and pve1 can give 1"], id="any, and there are large ones"),
        pytest.param("hugepages-short", "memory: 2048\nhugepages: any\nnuma: 1\n", CARD, {}, {"memory": Memory(1 << 40, (HugePages(0, 1 << 20, 1, 0), HugePages(1, 1 << 20, 0, 1)))}, [], id="one is there, one can be made"),
        pytest.param("hugepages-short", "memory: 2050\nhugepages: any\nnuma: 1\n", CARD, {}, {"memory": Memory(1 << 40, (HugePages(0, 1 << 20, 9, 0), HugePages(0, 2048, 1024, 0)))}, ["1025 huge pages of 2 MiB, and pve1 can give 1024"], id="any, and large ones do not fit"),
        pytest.param("hugepages-short", "memory: 2048\nhugepages: any\nnuma: 1\n", CARD, {}, {"memory": Memory(1 << 40, (HugePages(0, 2048, 1023, 0),))}, ["1024 huge pages of 2 MiB, and pve1 can give 1023"], id="any, and there are only small ones"),
        pytest.param("hugepages-short", "memory: 2048\nhugepages: 2\nnuma: 1\n", CARD, {}, {"memory": UNKNOWN}, ["?hugepages: ... no reason at all"], id="huge pages are unknown"),
        pytest.param("hugepages-short", "memory: 2048\nhugepages: 2\nnuma: 1\n", CARD, RUNNING, {"memory": Memory(1 << 20, ())}, [], id="it runs, and has its huge pages"),
        pytest.param("hugepages-short", "memory: 2048\n", CARD, {}, {"memory": Memory(1 << 20, ())}, [], id="it wants none"),
        pytest.param("ids-bind-host-device", f"hostpci0: {GPU}\n", CARD, {}, {"bound_ids": UNKNOWN}, ["?vfio-pci: ... no reason at all"], id="ids are unknown"),
        # -- binding
        pytest.param("vfio-not-bound", f"hostpci0: 0000:01:00.1\nhostpci1: {GPU}\n", CARD, {}, {"uses": UsesOf("0000:01:00.1", Use("plays music"))}, [f"{GPU}: "], id="behind one that is used"),
        pytest.param("vfio-not-bound", f"hostpci0: {GPU}\n", CARD, {}, {"iommu": ON._replace(active=False), "uses": UsesOf("")}, [], id="no IOMMU"),
        pytest.param("vfio-not-bound", f"hostpci0: {GPU}\n", CARD, {}, {"iommu": ON, "uses": UsesOf("")}, [f"{GPU}: "], id="an IOMMU"),
        # -- mediated devices
        pytest.param("mdev-type-unavailable", f"hostpci0: 0000:02:00.0\nhostpci1: {GPU},mdev=nvidia-3\n", VGPUS, {}, {}, ["has no mediated devices of type nvidia-3 (it has: nvidia-1, nvidia-2)"], id="an unknown type, behind a whole device"),
        pytest.param("mdev-type-unavailable", f"hostpci0: {GPU},mdev=nvidia-1\n", VGPUS, {}, {}, [], id="the last instance"),
        pytest.param("mdev-type-unavailable", f"hostpci0: {GPU},mdev=nvidia-2\n", VGPUS, {}, {}, ["has no instance of nvidia-2 left"], id="no instance"),
        pytest.param("mdev-type-unavailable", f"hostpci0: {GPU},mdev=nvidia-2\n", VGPUS, {f"sys/devices/pci0000:00/{GPU}/00000000-0000-0000-0000-000000000100/": None}, {}, [], id="its own instance"),
        pytest.param("mdev-type-unavailable", "hostpci0: 0000:02:00.0,mdev=nvidia-2\n", VGPUS, {}, {}, ["makes no mediated devices: its driver nvidia makes none"], id="a driver without"),
        # -- ROM files
        pytest.param("romfile-missing", f"hostpci0: {GPU},romfile=a.rom\n", CARD, {}, {"roms": UNKNOWN}, ["?hostpci0: ... no reason at all"], id="files are unknown"),
        pytest.param("romfile-not-a-rom", f"hostpci0: {GPU},romfile=a.rom\n", CARD, {}, {"roms": UNKNOWN}, [], id="files are unknown, and what is in them"),
        pytest.param("romfile-not-a-rom", f"hostpci0: {NIC},romfile=gone.rom\nhostpci1: {GPU},romfile=a.rom\n", CARD, {}, roms(a=b"NVGI" + b"\x55\xaa"), ["come after a header of 4 bytes ... tail -c +5"], id="behind one that is not there"),
        pytest.param("romfile-not-a-rom", f"hostpci0: {NIC},romfile=b.rom\nhostpci1: {GPU},romfile=a.rom\n", CARD, {}, roms(a=b"text", b=UNKNOWN), ["?hostpci0: ... no reason at all", "hostpci1: ... is not a ROM image"], id="behind one that cannot be read"),
        pytest.param("romfile-not-a-rom", f"hostpci0: {GPU},romfile=a.rom\n", CARD, {}, roms(a=b"\x55\xaa"), [], id="a ROM"),
        pytest.param("romfile-not-a-rom", f"hostpci0: {GPU},romfile=a.rom\n", CARD, {}, roms(a=b"x\x55\xaa"), ["after a header of 1 bytes"], id="a byte before a ROM"),
        pytest.param("romfile-not-a-rom", f"hostpci0: {GPU},romfile=a.rom\n", CARD, {}, roms(a=b""), ["is empty: the start would fail"], id="an empty file"),
        # -- address bits
        pytest.param("iommu-address-width", f"{HOST_CPU}hostpci0: {GPU}\nhostpci1: 0000:01:00.1\n", CARD, bits(47, 39), {"cpu_address_bits": 46}, ["0000:01:00.1: hostpci1: ... translates 39 address bits, and the VM sees 46: devices of the VM"], id="the second has fewer"),
        pytest.param("iommu-address-width", f"{HOST_CPU}hostpci0: {GPU}\nhostpci1: 0000:01:00.1\n", CARD, bits(39, 39), {"cpu_address_bits": 46}, [f"{GPU}: hostpci0: "], id="both have few"),
        pytest.param("iommu-address-width", f"{HOST_CPU}hostpci0: {GPU}\n", CARD, bits(39, 39), {"cpu_address_bits": 39}, [], id="just enough"),
        pytest.param("iommu-address-width", f"{HOST_CPU}hostpci0: {GPU}\n", CARD, {}, {"cpu_address_bits": 46}, [], id="none are shown"),
        pytest.param("iommu-address-width", f"{HOST_CPU}hostpci0: {GPU}\n", CARD, bits(39, 39), {"cpu_address_bits": UNKNOWN}, [], id="those of the CPU are unknown"),
        pytest.param("iommu-address-width", f"cpu: host\nhostpci0: {GPU}\n", CARD, bits(39, 39), {"cpu_address_bits": 46}, [], id="SeaBIOS"),
        pytest.param("iommu-address-width", f"bios: ovmf\ncpu: kvm64\nhostpci0: {GPU}\n", CARD, bits(39, 39), {"cpu_address_bits": 46}, [], id="another CPU"),
        pytest.param("iommu-address-width", f"bios: ovmf\ncpu: max\nhostpci0: {GPU}\nivshmem: size=32\n", CARD, bits(39, 39), {"cpu_address_bits": 46}, ["and the VM sees 46: QEMU would end"], id="shared memory"),
        pytest.param("iommu-address-width", f"bios: ovmf\ncpu: host,phys-bits=40\nhostpci0: {GPU}\n", CARD, bits(39, 39), {"cpu_address_bits": 46}, ["the VM sees 40"], id="a width of its own"),
    ],
)  # fmt: skip
def test_edge(
    rule: str, config: str, table: str, files: dict[str, Content], facts: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    assert_findings(found(tmp_path, rule, config, files, table, **facts), expected)


PINNED = PinnedFirmware("local:efi-firmware/app.fd", "ab" * 32, "pflash", "-blockdev x", 1, "pve1")
IMAGE = ImageFile(PINNED.volid, "/x/app.fd", sha256=PINNED.sha256, size=0x37C000)
ARM, X86 = {"cpu_flags": frozenset({"asimd"})}, {"cpu_flags": frozenset({"vmx"})}
UNFIT_X86, UNFIT_ARM = "its machine is x86 now, and the image is for ARM", "its machine is ARM now, and the image is for x86"
DISK = "bios: ovmf\nefidisk0: local:vm-100-disk-0,efitype=4m\n"


@pytest.mark.parametrize(
    ("rule", "config", "pinned", "image", "facts", "expected"),
    [
        pytest.param("firmware-changed", DISK, PINNED, IMAGE, X86, [], id="the same image"),
        pytest.param("firmware-changed", DISK, PINNED, IMAGE._replace(sha256="cd" * 32), X86, ["its sha256 is cdcdcdcdcdcdcdcd... and was abababababababab..."], id="another image"),
        pytest.param("firmware-changed", DISK, PINNED, IMAGE._replace(trouble="it is a link"), X86, ["must not be used: it is a link. See: dmesg. The node's own"], id="one with trouble"),
        pytest.param("firmware-changed", DISK, PINNED, IMAGE._replace(trouble="x", remedy="Type y"), X86, ["Type y. The node's own"], id="one with trouble and a cure"),
        pytest.param("firmware-changed", DISK, PINNED, IMAGE._replace(trouble="x", missing=True), X86, [], id="one that is missing"),
        pytest.param("firmware-changed", DISK, PINNED, IMAGE._replace(sha256="cd" * 32, in_args=False), X86, [], id="one that is not in its args"),
        pytest.param("firmware-changed", DISK, PINNED, None, X86, [], id="one that was not looked at"),
        pytest.param("firmware-missing", DISK, PINNED, IMAGE._replace(missing=True, trouble="there is none"), X86, ["--storage local --name app.fd"], id="missing"),
        pytest.param("firmware-missing", DISK, PINNED, IMAGE._replace(missing=True, in_args=False), X86, [], id="missing, and not in its args"),
        pytest.param("firmware-args-edited", DISK, PINNED, IMAGE._replace(in_args=False), X86, ["do not hold its firmware image"], id="edited"),
        pytest.param("firmware-args-edited", DISK, PINNED._replace(state="writing"), IMAGE._replace(in_args=False), X86, [], id="being written"),
        pytest.param("firmware-unfit", DISK, PINNED, IMAGE, X86, [], id="it fits"),
        pytest.param("firmware-unfit", "cores: 1\n", PINNED, IMAGE, X86, ["does not fit it any more: it is not set to bios: ovmf now. Take"], id="SeaBIOS"),
        pytest.param("firmware-unfit", "cores: 1\n", PINNED, IMAGE._replace(in_args=False), X86, [], id="SeaBIOS, and not in its args"),
        pytest.param("firmware-unfit", "cores: 1\n", PINNED, None, X86, [], id="SeaBIOS, and not looked at"),
        pytest.param("firmware-unfit", "cores: 1\ntemplate: 1\n", PINNED, IMAGE, X86, [], id="a template"),
        pytest.param("firmware-unfit", DISK, PINNED, IMAGE._replace(size=64 << 20), X86, [f"{UNFIT_X86}, and QEMU would not start it. "], id="an ARM image on x86"),
        pytest.param("firmware-unfit", f"{DISK}arch: aarch64\n", PINNED, IMAGE, X86, [f"{UNFIT_ARM}, and QEMU would not start it. "], id="an x86 image on ARM"),
        pytest.param("firmware-unfit", DISK, PINNED, IMAGE, ARM, [UNFIT_ARM], id="an x86 image on a node of ARM"),
        pytest.param("firmware-unfit", f"{DISK}arch: aarch64\n", PINNED, IMAGE._replace(sha256="cd" * 32), X86, [], id="another image on ARM has its own rule"),
        pytest.param("firmware-unfit", f"{DISK}arch: x86_64\n", PINNED, IMAGE, ARM, [], id="x86 on a node of ARM"),
        pytest.param("firmware-unfit", DISK, PINNED, IMAGE._replace(size=64 << 20, sha256="cd" * 32), X86, [], id="another image has its own rule"),
    ],
)  # fmt: skip
def test_firmware(
    rule: str, config: str, pinned: PinnedFirmware, image: ImageFile | None, facts: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    guest, node = guest_on_node(tmp_path, f"hookscript: local:snippets/pvehooks-guard\n{config}")
    guest.__dict__.update({"firmware": pinned, "image": image})
    node.__dict__.update({"qemu": (10, 0), **facts})
    findings = [each for each in catalogue.findings(guest, node) if each.rule == rule]
    assert_findings([f"{each.subject}: {each.message}. {each.remedy}" for each in findings], expected)


@pytest.mark.parametrize(
    ("pinned", "image", "arch", "refuser"),
    [
        pytest.param(PINNED, {"sha256": "cd" * 32}, "", Refuser.GUARD_OF_RUN, id="another image"),
        pytest.param(PINNED, {"trouble": "it is a link"}, "", Refuser.GUARD_OF_RUN, id="a link"),
        pytest.param(PINNED, {"trouble": "it is no regular file", "is_refused": True}, "", Refuser.PVE, id="a directory"),
        pytest.param(PINNED, {"sha256": "cd" * 32, "size": (8 << 20) + 1}, "", Refuser.PVE, id="more than a PC's flash"),
        pytest.param(PINNED, {"sha256": "cd" * 32, "size": 64 << 20}, "arch: aarch64\n", Refuser.GUARD_OF_RUN, id="ARM's flash"),
        pytest.param(PINNED, {"sha256": "cd" * 32, "size": 8 << 20}, "arch: aarch64\n", Refuser.PVE, id="not ARM's flash"),
        pytest.param(PINNED._replace(style="bios"), {"sha256": "cd" * 32, "size": 65 << 20}, "", Refuser.GUARD_OF_RUN, id="a large ROM"),
        pytest.param(PINNED._replace(style="bios"), {"sha256": "cd" * 32, "size": 1000}, "", Refuser.PVE, id="no ROM"),
        pytest.param(PINNED, {"sha256": "cd" * 32, "size": 0}, "arch: aarch64\n", Refuser.GUARD_OF_RUN, id="of unknown size"),
    ],
)
def test_who_refuses_a_changed_image(pinned: PinnedFirmware, image: dict[str, Any], arch: str, refuser: Refuser, tmp_path: Path) -> None:
    guest, node = guest_on_node(tmp_path, DISK + arch)
    guest.__dict__.update({"firmware": pinned, "image": IMAGE._replace(**image)})
    (found,) = (each for each in catalogue.findings(guest, node) if each.rule == "firmware-changed")
    assert found.refuser is refuser
    assert found.message.endswith(", and QEMU would not start with it") == (refuser is Refuser.PVE)


@pytest.mark.parametrize("config", ["hookscript: local:snippets/pvehooks-guard\n", ""], ids=["guarded", "not guarded"])
def test_firmware_that_was_edited_out_refuses_with_and_without_the_guard(config: str, tmp_path: Path) -> None:
    guest, node = guest_on_node(tmp_path, config + DISK)
    guest.__dict__.update({"firmware": PINNED, "image": IMAGE._replace(in_args=False)})
    (found,) = (each for each in catalogue.findings(guest, node) if each.rule == "firmware-args-edited")
    assert found.severity is Severity.BLOCK


BY_ADDRESS, BY_ARGS = f"hostpci0: {GPU}\n", "args: -device vfio-pci,host=01:00.0\n"


@pytest.mark.parametrize(
    ("config", "used", "driver", "refuser"),
    [
        pytest.param(BY_ADDRESS, GPU, "nouveau", Refuser.GUARD, id="it is taken from the host"),
        pytest.param(BY_ADDRESS, GPU, "vfio-pci", Refuser.GUARD, id="a process has it by vfio"),
        pytest.param(BY_ARGS, GPU, "nouveau", Refuser.PVE, id="in args, and nothing unbinds it"),
        pytest.param(BY_ARGS, GPU, "vfio-pci", Refuser.GUARD, id="in args, and a process has it by vfio"),
        pytest.param(BY_ADDRESS, "0000:01:00.1", "snd_hda_intel", Refuser.GUARD, id="a member is taken from the host"),
        pytest.param(BY_ADDRESS, "0000:01:00.1", "vfio-pci", Refuser.PVE, id="a process has a member by vfio"),
        pytest.param(BY_ARGS, "0000:01:00.1", "snd_hda_intel", Refuser.PVE, id="of args, and nothing unbinds a member"),
    ],
)
def test_who_refuses_what_the_host_uses(config: str, used: str, driver: str, refuser: Refuser, tmp_path: Path) -> None:
    table = "".join(line.replace(line.split()[3], f"driver={driver}") if used in line else line for line in CARD.splitlines(keepends=True))
    guest, node = guest_on_node(tmp_path, config, pci.plant(table))
    node.__dict__["uses"] = UsesOf(used, Use("is in use"))
    (found,) = (each for each in catalogue.findings(guest, node) if each.rule == "group-in-use-by-host")
    assert (found.subject, found.refuser) == (used, refuser)
