"""Plants disks, what stands on them and what is done with them, in a tree: the kernel's and the tools' files as they lie on a node.

It knows nothing of the readers in pvehooks.
"""

from __future__ import annotations

import os
from pathlib import Path

PVE_NODE = "etc/pve/nodes/pve1"


class Disks:
    """A tree with PCI devices and block devices. Block devices are called by their kernel names, once planted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths: dict[str, str] = {}
        self.numbers: dict[str, str] = {}
        self.write("proc/1/mountinfo", "22 1 0:21 / /proc rw,nosuid shared:12 - proc proc rw\n")
        self.write("proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")
        (root / "sys/class/block").mkdir(parents=True)
        (root / PVE_NODE / "qemu-server").mkdir(parents=True)

    # -- files --------------------------------------------------------------------------------------------------------

    def write(self, path: str, text: str | bytes = "") -> None:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)

    def add(self, path: str, text: str) -> None:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("a") as file:
            file.write(text)

    def link(self, path: str, target: str) -> None:
        """A link as sysfs and udev make them: relative; `target` is a path in the tree."""
        link = self.root / path.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(self.root / target.lstrip("/"), link.parent))

    # -- hardware -----------------------------------------------------------------------------------------------------

    def pci(self, address: str, driver: str = "nvme", behind: str = "0000:00:1d.0") -> str:
        """A PCI device behind a root port; gives its path in sysfs."""
        path = f"sys/devices/pci0000:00/{behind}/{address}"
        self.write(f"{path}/class", "0x010802\n")
        self.link(f"sys/bus/pci/devices/{address}", path)
        driver_path = f"sys/bus/pci/drivers/{driver}"
        (self.root / driver_path).mkdir(parents=True, exist_ok=True)
        self.link(f"{path}/driver", driver_path)
        if driver == "vfio-pci":
            (self.root / path / "vfio-dev/vfio0").mkdir(parents=True)
        return path

    def block(self, path: str, number: str, known_to_udev: bool = True) -> str:
        """A block device at a path of sysfs; gives its name."""
        name = path.rpartition("/")[2]
        self.paths[name], self.numbers[name] = path, number
        self.write(f"{path}/dev", f"{number}\n")
        (self.root / path / "holders").mkdir()
        self.link(f"sys/class/block/{name}", path)
        self.link(f"sys/dev/block/{number}", path)
        if known_to_udev:
            self.write(f"run/udev/data/b{number}", f"I:1\nE:ID_PATH=x-{name}\n")
        return name

    def partition(self, disk: str, name: str, number: str) -> str:
        self.block(f"{self.paths[disk]}/{name}", number)
        self.write(f"{self.paths[name]}/partition", "1\n")
        return name

    def label(self, name: str, *links: str, **properties: str) -> None:
        """What udev knows of a device: its links in /dev, which are made too, and its properties."""
        entry = f"run/udev/data/b{self.numbers[name]}"
        for link in links:
            self.add(entry, f"S:{link}\n")
            self.link(f"dev/{link}", f"dev/{name}")
        for key, value in properties.items():
            self.add(entry, f"E:{key}={value}\n")

    # -- stacks -------------------------------------------------------------------------------------------------------

    def stack(self, name: str, number: str, *below: str) -> str:
        self.block(f"sys/devices/virtual/block/{name}", number)
        for each in below:
            self.link(f"{self.paths[each]}/holders/{name}", self.paths[name])
        return name

    def mapped(self, name: str, number: str, title: str, uuid: str, *below: str) -> str:
        """A device-mapper device, with its link in /dev/mapper."""
        self.stack(name, number, *below)
        self.write(f"{self.paths[name]}/dm/name", f"{title}\n")
        self.write(f"{self.paths[name]}/dm/uuid", f"{uuid}\n")
        self.label(name, f"mapper/{title}")
        return name

    def array(self, name: str, number: str, state: str, *below: str) -> str:
        self.stack(name, number, *below)
        self.write(f"{self.paths[name]}/md/array_state", f"{state}\n")
        return name

    # -- what is done with them ---------------------------------------------------------------------------------------

    def mount(self, name: str, point: str, kind: str = "ext4", table: str = "proc/1/mountinfo") -> None:
        self.add(table, f"36 1 {self.numbers[name]} / {point} rw,relatime shared:1 - {kind} /dev/{name} rw\n")

    def swap(self, path: str) -> None:
        self.add("proc/swaps", f"{path}                               partition\t8388604\t\t0\t\t-2\n")

    def pool(self, name: str, guid: str = "") -> None:
        self.write(f"proc/spl/kstat/zfs/{name}/state", "ONLINE\n")
        if guid:
            self.write(f"proc/spl/kstat/zfs/{name}/guid", f"{guid}\n")

    def storage(self, text: str) -> None:
        self.add("etc/pve/storage.cfg", f"{text}\n")

    def backup(self, group: str, uuid: str, *volumes: str) -> None:
        """LVM's copy of a group's metadata."""
        listed = "".join(
            f'\n\t\tpv{at} {{\n\t\t\tid = "{volume}"\n\t\t\tdevice = "/dev/sda3"\t# Hint only\n\t\t}}\n'
            for at, volume in enumerate(volumes)
        )
        volumes_section = '\n\tlogical_volumes {\n\n\t\troot {\n\t\t\tid = "AAAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAAAA"\n\t\t}\n\t}\n'
        text = f'contents = "Text Format Volume Group"\nversion = 1\n\n{group} {{\n\tid = "{uuid}"\n\tseqno = 7\n'
        self.write(f"etc/lvm/backup/{group}", f"{text}\n\tphysical_volumes {{\n{listed}\t}}\n{volumes_section}}}\n")

    def online(self, name: str, volume: str, group: str) -> None:
        """What LVM's activation at boot leaves."""
        self.write(f"run/lvm/pvs_online/{volume.replace('-', '')}", f"{self.numbers[name]}\nvg:{group}\ndev:/dev/{name}\n")

    def vm(self, vmid: int, config: str, *cmdline: str) -> None:
        """A VM of the node; it runs where there is a command line."""
        self.write(f"{PVE_NODE}/qemu-server/{vmid}.conf", config)
        if cmdline:
            self.write(f"run/qemu-server/{vmid}.pid", f"{vmid}\n")
            self.write(f"proc/{vmid}/cmdline", "\0".join(("/usr/bin/kvm", "-id", str(vmid), *cmdline)) + "\0")
            self.process(vmid, "kvm", "\0".join(("/usr/bin/kvm", "-id", str(vmid), *cmdline)) + "\0")

    def container(self, vmid: int, config: str, runs: bool = True) -> None:
        self.write(f"{PVE_NODE}/lxc/{vmid}.conf", config)
        if runs:
            self.write(f"sys/fs/cgroup/lxc/{vmid}/cgroup.events", "populated 1\nfrozen 0\n")

    def process(self, pid: int, name: str, cmdline: str = "", *files: str) -> None:
        self.write(f"proc/{pid}/comm", f"{name}\n")
        self.write(f"proc/{pid}/cmdline", cmdline)
        self.write(f"proc/{pid}/stat", f"{pid} ({name}) S 1 {pid} {pid} 0\n")
        (self.root / f"proc/{pid}/fd").mkdir(exist_ok=True)
        for at, path in enumerate(files):
            (self.root / f"proc/{pid}/fd/{at}").symlink_to(path)
