"""A node in a tree, with one guest that gets a graphics card and its sound, and the guard as PVE calls it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.beds import commandline, uses
from tests.beds.pci import plant
from tests.beds.tree import Content, Link, make_fake_tree

PROJECT = Path(__file__).parents[2]
NODE = "etc/pve/nodes/pve1/qemu-server"
RECORD = "etc/pve/pvehooks/guests/100.json"
SETTINGS = "etc/pvehooks/pvehooks.conf"
CONFIG = """\
hostpci0: 0000:01:00,pcie=1
machine: q35
memory: 2048
meta: creation-qemu=10.0.2,ctime=1700000000
name: gpu
smbios1: uuid=b3247ab1-1fe6-428e-965b-08a1b64a8746
"""
# Group 1: the card, ready. Group 2: a disk, idle and on its driver. Group 3: two network cards, of which one is a bridge port.
BUS = """\
0000:01:00.0 class=030000 id=10de:2204 driver=vfio-pci group=1
0000:01:00.1 class=040300 id=10de:1aef driver=vfio-pci group=1
0000:02:00.0 class=010802 id=144d:a808 driver=nvme group=2 disk=nvme0n1/259:0/S1 part=nvme0n1p1/259:1
0000:03:00.0 class=020000 id=8086:1533 driver=igb group=3 net=eno1
0000:03:00.1 class=020000 id=8086:1533 driver=vfio-pci group=3
0000:04:00.0 class=0c0330 id=1912:0014 driver=xhci_hcd group=4
0000:05:00.0 class=020000 id=8086:10d3 driver=vfio-pci group=4
"""
REFUSED = "pvehooks: VM 100 is not started: it could not be examined, and "
KNOWN = "pvehooks: VM 100 starts unexamined: its devices and their IOMMU groups are those of its last accepted start.\n"
# As libexec/guard is run. -I has Python ignore PYTHONPYCACHEPREFIX.
ISOLATED = ("/usr/bin/python3", "-I", *(("-X", f"pycache_prefix={sys.pycache_prefix}") if sys.pycache_prefix else ()))
IDLE_DISK, SHARED_WITH_PORT, NOT_CLEAN = "0000:02:00.0", "0000:03:00.1", "0000:05:00.0"


class Ran(NamedTuple):
    """How the guard ended, and what it printed on standard output; it prints nothing else."""

    status: int
    out: str


def node(directory: Path, files: dict[str, Content] | None = None, hostpci: str = "0000:01:00,pcie=1", bus: str = BUS) -> Path:
    """The tree of a node where nothing speaks against a start; `files` are added, or take the place of others."""
    tree: dict[str, Content] = {
        **plant(bus),
        **uses.idle(),
        "etc/pve/local": Link("nodes/pve1"),
        f"{NODE}/100.conf": CONFIG.replace("0000:01:00,pcie=1", hostpci),
        "proc/cmdline": "quiet\n",
        "proc/interrupts": "  24: 0 IR-PCI-MSI-0000:00:01.0\n",
    }
    uses.bridge_port(tree, "0000:03:00.0")
    tree.update(files or {})
    return make_fake_tree(directory, tree)


def environment(**more: str) -> dict[str, str]:
    """What PVE gives a hookscript."""
    ours = {"PYTHONPATH": str(PROJECT), "PYTHONPYCACHEPREFIX": sys.pycache_prefix or ""}
    return {"PATH": "/sbin:/bin:/usr/sbin:/usr/bin", "LC_ALL": "C", "PVE_MIGRATED_FROM": "", **ours, **more}


def command(*arguments: str) -> list[str]:
    """The guard of the checkout."""
    return ["/usr/bin/python3", "-m", "pvehooks.guard", *arguments]


def guard(*arguments: str, **more: str) -> Ran:
    """Runs it; whatever happens, it ends with 0 or 1, without a traceback, and each of its lines says whose it is."""
    done = subprocess.run(command(*arguments), env=environment(**more), cwd="/", capture_output=True, timeout=60, check=False)
    out = done.stdout.decode()
    assert done.stderr == b""
    assert done.returncode in (0, 1), out
    assert "Traceback" not in out
    assert all(line.startswith("pvehooks: ") and line.isprintable() for line in out.splitlines()), out
    return Ran(done.returncode, out)


def start(root: Path, **more: str) -> Ran:
    """The start of guest 100 in a tree."""
    return guard("100", "pre-start", "--root", str(root), **more)


def settings(root: Path, text: str) -> None:
    """Writes the node's settings."""
    path = root / SETTINGS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def record(root: Path) -> dict[str, Any]:
    """The guest's record, {} without one."""
    path = root / RECORD
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def pvehooks(root: Path, *arguments: str) -> str:
    """The command line on the tree."""
    ended = commandline.pvehooks(*arguments, "--root", str(root), SUDO_USER="jo")
    assert ended.status == 0, ended.output
    return ended.output


def iommu_unreadable(root: Path) -> None:
    """Whether there is an IOMMU cannot be read: iommu-off, which refuses starts, is not examined."""
    units = root / "sys/class/iommu"
    shutil.rmtree(units)
    units.write_text("")


def broken(root: Path, look: str) -> tuple[int, str]:
    """The guard with other code in place of the examination; its status and output."""
    program = f"""
import os, signal, sys, time
sys.path.insert(0, {str(PROJECT)!r})
from pvehooks.guard import main, start
def examine(host, place, vmid, compiled_settings, send):
    {look}
start.examine = examine
main.run()
"""
    line = [*ISOLATED, "-c", program, "100", "pre-start", "--root", str(root)]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout
