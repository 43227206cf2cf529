"""Before Proxmox VE's services: puts the devices to the uses that the cases need, and writes the cluster's files for the stand-in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import traceback
from pathlib import Path

from tests.kernel import cases
from tests.kernel.hardware import PLACES, VFS
from tests.kernel.inside import pci
from tests.kernel.inside.losses import PROBE
from tests.kernel.inside.port import Out

SEED = Path("/run/bed/seed")
"""What pve-cluster.service copies to /etc/pve."""
KEPT = Path("/var/lib/bed-kept")
"""What an earlier boot of the same machine wants there: the stand-in for pmxcfs forgets all."""


def run(command: str) -> str:
    """Runs a command; what it prints."""
    done = subprocess.run(
        command.split(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command}: {done.stdout}")
    return done.stdout


def mount(device: str, place: str) -> None:
    """Mounts a file system, with something in it to be read."""
    Path(place).mkdir()
    run(f"mount {device} {place}")
    Path(place, PROBE).write_bytes(os.urandom(1 << 16))
    run("sync")


def use_devices() -> None:
    """A bridge with an uplink, a mounted disk, three volume groups, virtual functions, a device without a driver."""
    uplink = pci.interface("uplink")
    run("ip link add vmbr0 type bridge")
    run(f"ip link set {uplink} master vmbr0 up")
    run("ip link set vmbr0 up")
    run("ip addr add 192.0.2.10/24 dev vmbr0")
    mount(pci.block_device("mounted"), "/mnt/data")
    for name, group, volume in (("vm-lvm", "vmdata", "vm-120-disk-0"), ("host-lvm", "backup", "files"), ("guest-lvm", "guestvg", "root")):
        run(f"vgcreate --quiet {group} {pci.block_device(name)}")
        run(f"lvcreate --quiet --name {volume} --size 16M --wipesignatures n {group}")
    run("mke2fs -q /dev/backup/files")
    mount("/dev/backup/files", "/mnt/backup")
    pci.unbind(pci.address("bare"))
    physical = f"{pci.DEVICES}/{pci.address('pf')}"
    # The stock driver can do nothing with them, and takes its time; for others to bind them it must be on again.
    pci.write(f"{physical}/sriov_drivers_autoprobe", "0")
    pci.write(f"{physical}/sriov_numvfs", str(VFS))
    pci.write(f"{physical}/sriov_drivers_autoprobe", "1")
    run("udevadm settle")


def config(vmid: int, name: str, lines: list[str]) -> str:
    """A guest's config as PVE writes it."""
    own = [f"meta: creation-qemu=9.2.0,ctime={1700000000 + vmid}", f"name: {re.sub('[^a-z0-9]+', '-', name.lower())}"]
    own += ["boot: order=scsi0", "cores: 1", "memory: 64", "ostype: l26", "scsihw: virtio-scsi-single"]
    own += ["machine: q35"] * any("pcie=1" in line for line in lines)
    own += [f"smbios1: uuid=00000000-0000-4000-8000-{vmid:012d}", *lines]
    return "".join(f"{line}\n" for line in sorted(own))


def seed(machine: str) -> None:
    """The files below /etc/pve."""
    guests = SEED / "nodes/pve1/qemu-server"
    guests.mkdir(parents=True)
    (SEED / "storage.cfg").write_text("dir: local\n\tpath /var/lib/vz\n\tcontent iso,vztmpl,backup\n")
    # Every instruction is emulated, maybe on a busy machine: that is no reason to give up a look.
    (SEED / "pvehooks").mkdir()
    (SEED / "pvehooks/pvehooks.conf").write_text("[guard]\ndeadline = 60\n")
    for order, case in enumerate(cases.of(machine), 1):
        lines = [f"hostpci{number}: {pci.fill_in(entry)}" for number, entry in enumerate(case.hostpci)]
        lines += [f"hookscript: {cases.STUB}"] * case.hooked
        lines += ["onboot: 1", f"startup: order={order}", f"scsi0: local:{case.vmid}/vm-{case.vmid}-disk-0.raw,size=32M"]
        (guests / f"{case.vmid}.conf").write_text(config(case.vmid, case.name, lines))
    holder = cases.VF_HOLDER
    lines = [f"hostpci0: {pci.fill_in(holder.hostpci[0])}"] if machine == cases.IOMMU else []
    (guests / f"{holder.vmid}.conf").write_text(config(holder.vmid, "vf", [*lines, "scsi0: local:121/vm-121-disk-0.raw,size=32M"]))
    if KEPT.exists():
        shutil.copytree(KEPT, SEED, dirs_exist_ok=True)
    disk = config(cases.DISK_HOLDER, "disk", ["scsi0: /dev/vmdata/vm-120-disk-0,size=16M"])
    (guests / f"{cases.DISK_HOLDER}.conf").write_text(disk)


def signature(name: str) -> str:
    """What udev's database says a disk holds."""
    found = re.search(r"^ID_FS_TYPE=(.*)$", run(f"udevadm info --query=property {pci.block_device(name)}"), re.MULTILINE)
    return found[1] if found else ""


def main() -> None:
    """As the file says; then tells what it found."""
    machine = re.findall(r"\bbed[.]machine=(\S+)", Path("/proc/cmdline").read_text())[0]
    run("udevadm settle")
    out = Out()
    try:
        if machine == cases.IOMMU:
            use_devices()
        seed(machine)
        disks = ("vm-lvm", "host-lvm", "guest-lvm", "guest-zfs", "mounted", "root")
        signatures = {name: signature(name) for name in disks} if machine == cases.IOMMU else {}
        groups = {name: pci.group(pci.address(name)) for name in PLACES if machine == cases.IOMMU}
        out.report(what="set-up", signatures=signatures, groups=groups, root=PROBE in os.listdir("/"))
    except Exception:  # noqa: BLE001 - whatever it is, it is reported
        out.break_off(traceback.format_exc())
    out.close()


main()
