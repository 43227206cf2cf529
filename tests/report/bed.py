"""Nodes to be reported on, as trees: one on which all is well, one in danger, one at home with 17 VMs and a switch, a hostile one, one without an IOMMU, an empty one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.beds import boot, commandline, pci, uses
from tests.beds.tree import Content, Link, make_fake_tree
from tests.daemon.bed import PROJECT as PROJECT
from tests.daemon.bed import RNG0, uefi

CONFIGS = "etc/pve/nodes/pve1/qemu-server"
IDS = """\
1002  Advanced Micro Devices, Inc. [AMD/ATI]
\t164e  Raphael
10de  NVIDIA Corporation
\t1aef  GA102 High Definition Audio Controller
\t2204  GA102 [GeForce RTX 3090]
144d  Samsung Electronics Co Ltd
\ta808  NVMe SSD Controller SM981/PM981/PM983
1912  Renesas Technology Corp.
\t0014  uPD720201 USB 3.0 Host Controller
12d8  Pericom Semiconductor
\tb404  PI7C9X3G606GP PCI Express Packet Switch
8086  Intel Corporation
\t10c9  82576 Gigabit Network Connection
\t10ca  82576 Virtual Function
\t1533  I210 Gigabit Network Connection
\t1901  6th-10th Gen Core Processor PCIe Controller (x16)
\t3e0f  8th Gen Core 4-core Desktop Processor Host Bridge/DRAM Registers [Coffee Lake S]
\ta305  Z390 Chipset LPC/eSPI Controller
\ta323  Cannon Lake PCH SMBus Controller
\ta352  Cannon Lake PCH SATA AHCI Controller
"""
WELL = """
0000:00:00.0 class=060000 id=8086:3e0f group=0
0000:00:01.0 class=060400 id=8086:1901 driver=pcieport group=1 bridge
0000:00:17.0 class=010601 id=8086:a352 driver=ahci group=9
0000:00:1f.0 class=060100 id=8086:a305 group=10
0000:00:1f.4 class=0c0500 id=8086:a323 driver=i801_smbus group=10
0000:01:00.0 class=030000 id=10de:2204 driver=vfio-pci group=2
0000:01:00.1 class=040300 id=10de:1aef driver=vfio-pci group=2
0000:02:00.0 class=010802 id=144d:a808 driver=nvme group=15 disk=nvme0n1/259:0/S1 part=nvme0n1p1/259:1
0000:03:00.0 class=020000 id=8086:1533 driver=igb group=16 net=eno1
0000:06:00.0 class=020000 id=8086:10c9 driver=igb group=18
0000:06:10.0 class=020000 id=8086:10ca driver=vfio-pci group=19 pf=0000:06:00.0
0000:07:00.0 class=030000 id=1002:164e driver=amdgpu group=20 boot_vga=1
"""
RUNNING = {
    "run/qemu-server/101.pid": "4711\n",
    "proc/4711/cmdline": "/usr/bin/kvm\0-id\x00101\0-device\0vfio-pci,host=0000:06:10.0,id=hostpci0\0",
}
# A card and the node's network in one group, a disk that a guest names, a USB controller beside a free card, a dead device.
DANGER = (
    WELL.replace("net=eno1", "").replace(
        "0000:03:00.0 class=020000 id=8086:1533 driver=igb group=16", "0000:03:00.0 class=020000 id=8086:1533 driver=igb group=2 net=eno1"
    )
    + """
0000:04:00.0 class=0c0330 id=1912:0014 driver=xhci_hcd group=21 reset=-
0000:04:01.0 class=020000 id=8086:1533 driver=igb group=21
0000:05:00.0 class=020000 id=8086:10c9 group=17 dead
"""
)
HOSTILE_NAMES = {
    200: "<script>alert(1)</script>",
    201: "a\u202egnp.exe\u2066\u200b",
    202: "\u05d0\u05d1\u05d2 \u0645\u0631\u062d\u0628\u0627",
    203: "x" * 300,
    204: "[a](javascript:alert(1)) `b` |c| **d** &lt; <img src=x onerror=alert(1)>",
    205: "\x1b[2J\x1b]0;t\x07 \x00 ''\"\"><svg/onload=alert(1)>",
    206: "https://example.org/?a=b&c www.example.org",
    207: "Z\u0301\u0302\u0303\u0304\u0305\u0306\u0307\u0308algo \U0001f4a3",
}
# Behind one root port a switch with two network cards, which have one group; the graphics card's link is half as wide as it could be.
HOME = """
0000:00:00.0 class=060000 id=8086:3e0f group=0 numa=0
0000:00:01.0 class=060400 id=8086:1901 driver=pcieport group=1 bridge port=4 numa=0
0000:00:1b.0 class=060400 id=8086:a340 driver=pcieport group=2 bridge port=4 numa=0
0000:00:1c.0 class=060400 id=8086:a338 driver=pcieport group=3 bridge port=4 numa=0
0000:00:17.0 class=010601 id=8086:a352 driver=ahci group=9 numa=0
0000:00:1f.0 class=060100 id=8086:a305 group=10 numa=0
0000:00:1f.4 class=0c0500 id=8086:a323 driver=i801_smbus group=10 numa=0
0000:01:00.0 class=030000 id=10de:2204 driver=vfio-pci group=14 behind=0000:00:01.0 link=8.0x8/16.0x16 numa=0
0000:01:00.1 class=040300 id=10de:1aef driver=vfio-pci group=14 behind=0000:00:01.0 link=8.0x8/16.0x16 numa=0
0000:02:00.0 class=010802 id=144d:a808 driver=nvme group=15 behind=0000:00:1b.0 link=8.0x4/8.0x4 numa=0 disk=nvme0n1/259:0/S1 part=nvme0n1p1/259:1
0000:03:00.0 class=060400 id=12d8:b404 driver=pcieport group=16 behind=0000:00:1c.0 bridge port=5 link=8.0x4/8.0x4 numa=0
0000:04:01.0 class=060400 id=12d8:b404 driver=pcieport group=17 behind=0000:00:1c.0,0000:03:00.0 bridge port=6 numa=0
0000:04:02.0 class=060400 id=12d8:b404 driver=pcieport group=17 behind=0000:00:1c.0,0000:03:00.0 bridge port=6 numa=0
0000:05:00.0 class=020000 id=8086:1533 driver=igb group=17 behind=0000:00:1c.0,0000:03:00.0,0000:04:01.0 net=eno1 link=2.5x1/2.5x1 numa=0
0000:06:00.0 class=0c0330 id=1912:0014 driver=xhci_hcd group=17 behind=0000:00:1c.0,0000:03:00.0,0000:04:02.0 link=5.0x1/5.0x1 numa=0 reset=-
"""


def _slot(name: str, address: tuple[int, int] | None, width: int, usage: int) -> bytes:
    """A slot in the firmware's table; `address` is bus, and device and function in one number."""
    bus, place = address or (0xFF, 0xFF)
    body = bytes((9, 0x11, 0, 0x09, 1, 0xB6, width, usage, 3, 0, 0, 0x0C, 0x01, 0, 0, bus, place))
    return body + name.encode() + b"\0\0"


SLOTS = {
    "9-0": _slot("PCIEX16_1", (1, 0), 0x0D, 4),
    "9-1": _slot("M.2_1", (2, 0), 0x0A, 4),
    "9-2": _slot("PCIEX4_1", (0, 0x1C << 3), 0x0A, 4),
    "9-3": _slot("PCIEX1_1", None, 0x08, 3),
}
# A guest of which nothing is to be said, but for what is added.
_PLAIN = "boot: order=scsi0\ncores: 2\nmemory: 2048\nname: {}\nostype: l26\nscsi0: local:{}/disk.qcow2,size=32G\n"
_SETTINGS = "[guest 104]\nignore = rng-missing-netboot: it never boots from the network <b>\n"


def plain(vmid: int, name: str, more: str = "") -> str:
    """The config of a guest with SeaBIOS and a disk."""
    return more + _PLAIN.format(name, vmid)


def _well() -> dict[str, Content]:
    files: dict[str, Content] = boot.plant("loader: systemd-boot") | uses.idle() | pci.plant(WELL) | RUNNING
    files |= {
        f"{CONFIGS}/100.conf": plain(100, "games", "hostpci0: 01:00,pcie=1\nmachine: q35\n"),
        f"{CONFIGS}/101.conf": plain(101, "router", "hostpci0: 06:10.0\n"),
        f"{CONFIGS}/102.conf": uefi("files", RNG0),
        f"{CONFIGS}/103.conf": plain(103, "mail"),
    }
    uses.mounted_partition(files, "0000:02:00.0")
    uses.bridge_port(files, "0000:03:00.0")
    return files


def _danger() -> dict[str, Content]:
    files: dict[str, Content] = boot.plant("loader: grub\nplan: quiet\nrunning: quiet pcie_acs_override=downstream") | uses.idle()
    files |= pci.plant(DANGER) | RUNNING
    files |= {
        f"{CONFIGS}/100.conf": plain(100, "games", "hostpci0: 01:00,pcie=1\nmachine: q35\n"),
        f"{CONFIGS}/101.conf": plain(101, "router", "hostpci0: 06:10.0\n"),
        f"{CONFIGS}/102.conf": plain(102, "database", "hostpci0: 02:00.0\nhostpci1: 05:00.0\nonboot: 1\n"),
        f"{CONFIGS}/103.conf": uefi("pxe-boot"),
        f"{CONFIGS}/104.conf": uefi("appliance"),
        f"{CONFIGS}/105.conf": plain(105, "mail"),
        f"{CONFIGS}/106.conf": uefi("golden-image", "template: 1\n"),
        "etc/pvehooks/pvehooks.conf": _SETTINGS,
    }
    uses.mounted_partition(files, "0000:02:00.0")
    uses.bridge_port(files, "0000:03:00.0")
    return files


def _home() -> dict[str, Content]:
    files: dict[str, Content] = boot.plant("loader: systemd-boot") | uses.idle() | pci.plant(HOME)
    files |= {f"sys/firmware/dmi/entries/{name}/raw": raw for name, raw in SLOTS.items()}
    configs = {
        100: plain(100, "games", "hostpci0: 01:00,pcie=1\nmachine: q35\n"),
        101: plain(101, "games-old", "hostpci0: 01:00,pcie=1\nmachine: q35\n"),
        102: plain(102, "usb-stick", "hostpci0: 06:00.0\nonboot: 1\n"),
        103: plain(103, "database", "hostpci0: 02:00.0\n"),
    }
    configs |= {vmid: uefi(f"pxe-{vmid}") for vmid in range(104, 110)}
    configs |= {110: uefi("golden-image", "template: 1\n"), 111: uefi("files", RNG0), 112: uefi("photos", RNG0)}
    configs |= {vmid: plain(vmid, name) for vmid, name in ((113, "mail"), (114, "dns"), (115, "wiki"), (116, "backup"))}
    files |= {f"{CONFIGS}/{vmid}.conf": text for vmid, text in configs.items()}
    files |= {f"sys/devices/system/node/node0/{name}": text for name, text in (("cpulist", "0-7,16-23\n"), ("distance", "10\n"))}
    hub = "0000:00:1c.0/0000:03:00.0/0000:04:02.0/0000:06:00.0/usb5/5-1"
    stick = {"idVendor": "046d", "idProduct": "c52b", "manufacturer": "Logitech", "product": "USB Receiver", "bDeviceClass": "00"}
    files |= {f"sys/devices/pci0000:00/{hub}/{name}": f"{text}\n" for name, text in stick.items()}
    files["sys/bus/usb/devices/5-1"] = Link(f"../../../devices/pci0000:00/{hub}")
    uses.mounted_partition(files, "0000:00:1b.0/0000:02:00.0")
    uses.bridge_port(files, "0000:00:1c.0/0000:03:00.0/0000:04:01.0/0000:05:00.0")
    return files


def _hostile() -> dict[str, Content]:
    files = _danger()
    for vmid, name in HOSTILE_NAMES.items():
        text = f"hostpci0: 01:00\nname: {name}\nhookscript: {name}\nonboot: {name}\n"
        files[f"{CONFIGS}/{vmid}.conf"] = text.encode()
    files[f"{CONFIGS}/208.conf"] = b"hostpci0: 02:00.0\nname: \xff\xfe<b>\n"
    long = "Extraordinarily-Long-Device-Name-Without-A-Single-Blank-In-It " * 4
    files["usr/share/misc/pci.ids"] = IDS.replace("I210 Gigabit Network Connection", f"<script>alert(2)</script> {long}")
    return files


def _no_iommu() -> dict[str, Content]:
    files: dict[str, Content] = boot.plant("running: quiet intel_iommu=off") | uses.idle()
    bus = "\n".join(" ".join(word for word in line.split() if not word.startswith("group=")) for line in WELL.splitlines())
    files |= pci.plant(bus) | {f"{CONFIGS}/100.conf": "hostpci0: 01:00\nname: games\n"}
    return files


def _empty() -> dict[str, Content]:
    return {CONFIGS: None}


NODES: dict[str, Callable[[], dict[str, Content]]] = {
    "well": _well,
    "danger": _danger,
    "home": _home,
    "hostile": _hostile,
    "no-iommu": _no_iommu,
    "empty": _empty,
}


def report(tree: Path | str, *arguments: str, status: int = 0, verb: str = "report") -> str:
    """What the command prints on both streams; in this process, which is faster."""
    words = [verb, *arguments, *(["--root", str(tree)] if tree else [])]
    ended = commandline.pvehooks(*words)
    assert ended.status == status, ended.output
    return ended.output


def plant(name: str, directory: Path) -> Path:
    """The tree of that node."""
    files: dict[str, Content] = {"usr/share/misc/pci.ids": IDS, **NODES[name](), "etc/pve/local": Link("nodes/pve1")}
    return make_fake_tree(directory, files)
