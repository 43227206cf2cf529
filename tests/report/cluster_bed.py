"""A cluster to be reported on, as the tree of one of its nodes: nodes that are well, in trouble, old, silent, without the package, hostile."""

from __future__ import annotations

import json
from pathlib import Path

from pvehooks.formats import summary as text
from pvehooks.values import Holder, HwRng, Iommu, Unread, Use
from pvehooks.values.summaries import (
    DescribedDevice,
    DeviceKind,
    FailedStartSummary,
    Hardware,
    NextBootSummary,
    NodeDetails,
    Summary,
)
from tests.beds import pci
from tests.beds.tree import Content, Link, make_fake_tree
from tests.report.bed import HOSTILE_NAMES, IDS

# Some time ago; what is not is written so far ahead that its age is 0.
OLD, NEW = 1_700_000_000, 4_000_000_000
NAMES = ("pve1", "pve2", "pve3", "pve4", "pve5", "pve6", "pve7", "pve8")
OFFLINE, SILENT, OLDER, WITHOUT, BROKEN, HOSTILE = "pve4", "pve5", "pve6", "pve3", "pve7", "pve8"
_KIND = DeviceKind(0x10DE, 0x2204, None, 0x030000, "vfio-pci", True, "", ("flr", "bus"), (), False, "", False)
_AUDIO = _KIND._replace(device=0x1AEF, class_code=0x040300)
_NIC = _KIND._replace(vendor=0x8086, device=0x1533, class_code=0x020000, driver="igb", vfio=False)
_NVME = _KIND._replace(vendor=0x144D, device=0xA808, class_code=0x010802, driver="nvme", vfio=False)
_USB = _KIND._replace(vendor=0x1912, device=0x0014, class_code=0x0C0330, driver="xhci_hcd", vfio=False)
_VF = _NIC._replace(device=0x10CA, driver="", physfn="0000:06:00.0")
_DEVICES = {
    "0000:01:00.0": DescribedDevice(_KIND, "14"),
    "0000:01:00.1": DescribedDevice(_AUDIO, "14"),
    "0000:02:00.0": DescribedDevice(_NVME, "15"),
    "0000:03:00.0": DescribedDevice(_NIC, "16"),
    "0000:04:00.0": DescribedDevice(_USB, "17"),
    "0000:05:00.0": DescribedDevice(_NVME, "18"),
    "0000:06:00.0": DescribedDevice(_NIC, "19"),
    **{f"0000:06:10.{number}": DescribedDevice(_VF, str(20 + number)) for number in range(5)},
}
_USES = {"0000:02:00.0": (Use("holds / (ext4 on nvme0n1p1)"),), "0000:03:00.0": (Use("is a port of the bridge vmbr0"),)}
HARDWARE = Hardware(NEW, Iommu(True, "", "", True, False), HwRng(False, ""), _DEVICES, (), _USES, {}, {})
SUMMARY = Summary("0.1.0", NEW, "enforce", "inject", 12, 0, 0, (), (), 0, {"info": 3}, {}, {}, {}, HARDWARE, ("vmbr0",), 64, (9, 2))
DETAILS = NodeDetails("9.1.2", "6.14.8-2-pve", "6.14.8-2-pve", 3, failed_starts=0)
_BOOT = NextBootSummary(OLD, "6.17.2-1-pve", 1, 0, 0, 0, (), 0, stops=False)
GUEST = "memory: 512\nname: {}\nmachine: q35\nnet0: virtio=BC:24:11:2C:69:EC,bridge=vmbr0\nboot: order=net0\n"
_MEMBERS = {
    "nodename": "pve1",
    "version": 9,
    "cluster": {"name": "house", "version": 5, "nodes": len(NAMES), "quorate": 1},
    "nodelist": {name: {"id": number, "online": int(name != OFFLINE), "ip": f"192.0.2.{number}"} for number, name in enumerate(NAMES, 1)},
}


def _summaries() -> dict[str, Summary]:
    held = HARDWARE._replace(holders={"0000:01:00.0": (Holder(100, "VM 100 (games)", "hostpci0"),)})
    busy = SUMMARY._replace(
        guests=14,
        passing=4,
        guarded=3,
        unguarded=(104,),
        blocked=(102, 103),
        would_block=2,
        must_not=(103,),
        must_not_count=1,
        of_node={"warning": 2},
        hardware=held,
        details=DETAILS._replace(
            next_kernel="6.17.2-1-pve",
            rng_lacking=1,
            rng_guests=(105,),
            next_boot=_BOOT._replace(will=2, will_not=1, guests=(100,), losses=1),
            failed_starts=7,
            failures=(FailedStartSummary(102, OLD, "the device 0000:09:00.0 is not there"),),
        ),
    )
    audit = DETAILS._replace(pve="8.4.1", kernel="6.8.12-4-pve", next_kernel="", own_settings={"guard.mode": "audit"}, next_boot=_BOOT)
    name = HOSTILE_NAMES[200]
    hostile = DETAILS._replace(
        pve=name,
        kernel=HOSTILE_NAMES[201],
        own_settings={f"rules.{name}": HOSTILE_NAMES[204], "guard.mode": HOSTILE_NAMES[205]},
        rng_guests=(200,),
        rng_lacking=1,
        next_boot=_BOOT._replace(kernel=name, will_not=3, guests=(200, 201)),
        failed_starts=2,
        failures=(FailedStartSummary(200, OLD, HOSTILE_NAMES[205]), FailedStartSummary(201, (1 << 53) - 1, HOSTILE_NAMES[206])),
    )
    odd = HARDWARE._replace(looked=(1 << 53) - 1, iommu=Iommu(False, name, name, None, False))
    return {
        "pve1": busy,
        "pve2": SUMMARY._replace(version="0.1.0", guard_mode="audit", details=audit, hookscripts={"local:snippets/pvehooks-guard": ""}),
        OFFLINE: SUMMARY._replace(written=OLD, details=DETAILS, hardware=HARDWARE._replace(looked=OLD, left_out=3)),
        SILENT: SUMMARY._replace(written=OLD, hardware=Unread("/sys: Permission denied"), details=DETAILS._replace(failed_starts=None)),
        OLDER: SUMMARY._replace(version="0.0.9", rng_mode="warn"),
        HOSTILE: SUMMARY._replace(
            version=name, guard_mode=name, hardware=odd, details=hostile, blocked=(200,), would_block=1 << 40, passing=9, unguarded=(201,)
        ),
    }


def plant(directory: Path, hostile: bool = True) -> Path:
    """The tree of pve1."""
    configs = "etc/pve/nodes/{}/qemu-server/{}.conf"
    files: dict[str, Content] = {
        **pci.plant("0000:01:00.0 class=030000 id=10de:2204 driver=vfio-pci group=14\n"),
        "usr/share/misc/pci.ids": IDS,
        "etc/pve/local": Link("nodes/pve1"),
        "etc/pve/.members": json.dumps(_MEMBERS),
        "etc/pve/corosync.conf": "totem {\n  cluster_name: house\n  version: 2\n}\n",
        "etc/pve/storage.cfg": "dir: local\n\tpath /var/lib/vz\n\tcontent iso,snippets\n",
        **{f"etc/pve/nodes/{name}/qemu-server": None for name in NAMES},
        **{f"etc/pve/nodes/{name}/pvehooks.json": '{"version": "0.1.0"}' for name in NAMES if name != WITHOUT},
        configs.format("pve1", 100): GUEST.format("games") + "hostpci0: 01:00,pcie=1\nhookscript: local:snippets/pvehooks-guard\n",
        configs.format("pve1", 102): GUEST.format("database") + "hostpci0: 09:00.0\n",
        configs.format("pve1", 103): GUEST.format("backup") + "hostpci0: 02:00.0\n",
        configs.format("pve1", 104): GUEST.format("router") + "hostpci0: 03:00.0\n",
        configs.format("pve1", 105): GUEST.format("thin-client"),
        **{configs.format("pve2", 300 + number): GUEST.format(f"web-{number}") for number in range(12)},
        configs.format("pve2", 320): GUEST.format("spare") + "hostpci0: 01:00\n",
        configs.format("pve2", 321): GUEST.format("master") + "hostpci0: 01:00\ntemplate: 1\n",
    }
    if hostile:
        for vmid, name in HOSTILE_NAMES.items():
            files[configs.format(HOSTILE, vmid)] = f"name: {name}\nhostpci0: 01:00\nhookscript: {name}\n".encode()
    for name, summary in _summaries().items():
        if hostile or name != HOSTILE:
            files[f"etc/pve/nodes/{name}/pvehooks-summary.json"] = text.dump(summary)
    files[f"etc/pve/nodes/{BROKEN}/pvehooks-summary.json"] = b'{"format": 1, "version": "<b>"}'
    return make_fake_tree(directory, files)
