"""What `pvehooks host check` takes on a node with 200 PCI devices, beside lspci -vv of the machine it runs on."""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.beds import boot, pci
from tests.beds.initramfs import cpio
from tests.beds.tree import make_fake_tree
from tests.bench.figures import Figure

PROJECT = Path(__file__).parents[2]
DEVICES = 200
TIMES = 7


def check() -> Iterator[Figure]:
    """The CPU time of the whole command, interpreter and all."""
    if not shutil.which("lspci"):
        sys.exit("lspci is missing: apt install pciutils")
    with tempfile.TemporaryDirectory() as directory:
        lines = (
            f"0000:{bus:02x}:00.{function} class=020000 driver=igb group={bus} net=en{bus}f{function}"
            for bus in range(1, 101)
            for function in (0, 1)
        )
        files = boot.with_translation({**boot.plant(""), **pci.plant("\n".join(lines))})
        # lspci wants the BARs.
        files |= {f"{path.rpartition('/')[0]}/resource": "0x0 0x0 0x0\n" * 7 for path in files if path.endswith("/vendor")}
        tree = make_fake_tree(directory, files)
        ours = [sys.executable, "-m", "pvehooks", "host", "check", "--root", str(tree)]
        real = ["lspci", "-A", "linux-sysfs", "-O", f"sysfs.path={tree}/sys/bus/pci", "-vv"]
        taken = statistics.median(_cpu(ours) for _ in range(TIMES))
        reference = statistics.median(_cpu(real) for _ in range(TIMES))
        yield Figure(f"host check, {DEVICES} devices", taken * 1000, 500, "ms CPU", f"lspci -vv of the same tree {reference * 1000:.0f} ms")


def _cpu(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=PROJECT, env={**os.environ}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# -- before the next boot -------------------------------------------------------------------------------------------------

GUESTS, FILES, FILE = 20, 1500, 60_000


def next_boot() -> Iterator[Figure]:
    """The CPU time that the hook of a kernel takes: the command, and unpacking the initramfs; beside what packing that takes."""
    if not shutil.which("zstd"):
        sys.exit("zstd is missing: apt install zstd")
    with tempfile.TemporaryDirectory() as directory:
        lines = (f"0000:{bus:02x}:00.0 class=020000 driver=igb group={bus}" for bus in range(1, DEVICES + 1))
        configs = {
            f"etc/pve/nodes/pve1/qemu-server/{100 + number}.conf": f"hostpci0: 0000:{number + 1:02x}:00.0\n" for number in range(GUESTS)
        }
        tree = make_fake_tree(f"{directory}/tree", {**boot.plant("next: 6.11.11-2-pve"), **pci.plant("\n".join(lines)), **configs})
        image = Path(directory, "initrd.img")
        image.with_suffix(".cpio").write_bytes(cpio({f"lib/modules/{number}.ko": os.urandom(FILE) for number in range(FILES)}))
        pack = ["zstd", "-q", "-f", "-1", str(image.with_suffix(".cpio")), "-o", str(image)]
        reference = statistics.median(_cpu(pack) for _ in range(3))
        unpack = "from pvehooks.host import Host, unpacking; import sys; assert len(unpacking.contents(Host(), sys.argv[1], str.isspace).names) > 1000"
        taken = statistics.median(_cpu([sys.executable, "-c", unpack, str(image)]) for _ in range(3))
        ours = [sys.executable, "-m", "pvehooks", "host", "check", "--next-boot", "--brief", "--root", str(tree)]
        taken += statistics.median(_cpu(ours) for _ in range(TIMES))
        name = f"next boot, {DEVICES} devices, {GUESTS} VMs, an initramfs of {FILES * FILE >> 20} MiB"
        yield Figure(name, taken * 1000, 2000, "ms CPU", f"packing the initramfs {reference * 1000:.0f} ms")
