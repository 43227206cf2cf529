"""What the guard takes of a start, beside an empty Python and beside a hookscript in bash that looks at binding and group only."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pvehooks.host import Host
from pvehooks.settings import load as settings
from tests.beds.namespace import mount
from tests.beds.pci import plant
from tests.beds.tree import Link, make_fake_tree
from tests.bench.figures import Figure

PROJECT = Path(__file__).parents[2]
DEVICES = 100
MS_BIND = 0x1000  # linux/mount.h
TIMES = 41
CONFIG = """\
bios: ovmf
efidisk0: local-lvm:vm-100-disk-9,efitype=4m,pre-enrolled-keys=1,size=4M
boot: order=scsi0
cores: 8
cpu: host
hookscript: local:snippets/pvehooks-guard
hostpci0: 0000:01:00,pcie=1,x-vga=1
hostpci1: 0000:02:00.0,pcie=1
machine: q35
memory: 16384
meta: creation-qemu=10.0.2,ctime=1700000000
name: gpu
net0: virtio=BC:24:11:2C:69:EC,bridge=vmbr0
onboot: 1
scsi0: local-lvm:vm-100-disk-0,size=64G
scsihw: virtio-scsi-single
smbios1: uuid=b3247ab1-1fe6-428e-965b-08a1b64a8746
"""
# The bound devices of the guest: a graphics card with its sound, an NVMe; then what else a node has.
BUS = """\
0000:00:01.0 class=060400 id=8086:460d driver=pcieport group=1 bridge=1
0000:01:00.0 class=030000 id=10de:2204 driver=vfio-pci group=14
0000:01:00.1 class=040300 id=10de:1aef driver=vfio-pci group=14
0000:02:00.0 class=010802 id=144d:a808 driver=vfio-pci group=15
0000:03:00.0 class=010802 id=144d:a80a driver=nvme group=16 disk=nvme0n1/259:0/S1 part=nvme0n1p1/259:1
0000:04:00.0 class=020000 id=8086:1533 driver=igb group=17 net=eno1
"""
BASH = """\
#!/bin/bash
for address in 0000:01:00.0 0000:01:00.1 0000:02:00.0; do
	driver=$(readlink "/sys/bus/pci/devices/$address/driver")
	group=$(readlink "/sys/bus/pci/devices/$address/iommu_group")
	for member in "/sys/kernel/iommu_groups/${group##*/}/devices/"*; do
		lspci -D -k -s "${member##*/}" || exit 1
	done
	[ "${driver##*/}" = vfio-pci ] || exit 1
done
"""


def node(directory: Path) -> None:
    """Makes this namespace a node with 100 PCI devices, of which the guest has three at two addresses."""
    others = "".join(f"0000:{bus:02x}:00.0 class=088000 id=8086:1234 group={bus + 20}\n" for bus in range(0x10, 0x10 + DEVICES - 6))
    tree = make_fake_tree(directory, plant(BUS + others))
    make_fake_tree("/etc/pve", {"nodes/pve1/qemu-server/100.conf": CONFIG, "local": Link("nodes/pve1")})
    interrupts = tree / "interrupts"
    interrupts.write_text("            CPU0\n  24:          0  IR-PCI-MSI-0000:00:01.0   0-edge      PCIe PME\n")
    mount(str(interrupts), "/proc/interrupts", "none", MS_BIND)
    mount(str(tree / "sys"), "/sys", "none", MS_BIND)


def start() -> Iterator[Figure]:
    """The guard for a start with nothing to say, interleaved with its references."""
    if not shutil.which("lspci"):
        sys.exit("lspci is missing: apt install pciutils")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        node(Path(directory) / "node")
        settings.compile_to(Host(), settings.load(Host()))
        script = Path(directory) / "hook.sh"
        script.write_text(BASH)
        commands = {
            "python": ["/usr/bin/python3", "-I", "-c", "pass"],
            "guard": [*guard_in(Path(directory)), "100", "pre-start"],
            "bash": ["/bin/bash", str(script)],
        }
        ending = [*commands["guard"][:-1], "post-stop"]
        taken: dict[str, list[float]] = {name: [] for name in (*commands, "stop")}
        for _ in range(TIMES):
            for name, command in commands.items():
                taken[name].append(once(command))
            # Each start is noted, and each end takes the note away.
            taken["stop"].append(once(ending))
    stop_ratio = statistics.median(mine / theirs for mine, theirs in zip(taken["stop"], taken["python"], strict=True))
    ratio = statistics.median(mine / theirs for mine, theirs in zip(taken["guard"], taken["python"], strict=True))
    median = {name: 1000 * statistics.median(times) for name, times in taken.items()}
    words = f"{median['guard']:.1f} ms; python3 -I -c pass {median['python']:.1f} ms; bash with readlink and lspci {median['bash']:.1f} ms"
    stop_words = f"{median['stop']:.1f} ms; python3 -I -c pass {median['python']:.1f} ms"
    yield Figure("the look at 2 devices after a stop", stop_ratio, 3, "times", stop_words)
    yield Figure(f"guard of 2 devices on a node of {DEVICES}", ratio, 2.5, "times", words)


def guard_in(directory: Path) -> list[str]:
    """The command that runs the guard of the checkout as the package's."""
    guard = directory / "guard"
    guard.write_text((PROJECT / "libexec/guard").read_text().replace("/usr/lib/python3/dist-packages", str(PROJECT)))
    return ["/usr/bin/python3", "-IS", str(guard)]


def once(command: list[str]) -> float:
    """The seconds that a command takes; one that fails, or a guard that has something to say, ends the measuring."""
    began = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode or (command[-1] in ("pre-start", "post-stop") and done.stdout):
        sys.exit(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return took
