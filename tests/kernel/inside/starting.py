"""What Proxmox VE does with a guest's devices once its hookscript has let the start go on (qemu-server's PCI.pm, pve-common's SysFSTools.pm)."""

from __future__ import annotations

import errno
import os
import re
import subprocess

from tests.kernel.inside import pci, vfio
from tests.kernel.inside.vfio import Refused

VFIO = f"{pci.DRIVERS}/vfio-pci"


def chosen(hostpci: list[str]) -> list[str]:
    """The devices of these entries; a slot stands for all of its functions."""
    found = []
    for entry in hostpci:
        wanted = entry.split(",")[0]
        if not wanted.startswith("0000:"):
            wanted = f"0000:{wanted}"
        there = [name for name in sorted(os.listdir(pci.DEVICES)) if name == wanted or name.startswith(f"{wanted}.")]
        if not there:
            raise Refused(f"there is no device {wanted}")
        found += there
    return found


def take(devices: list[str]) -> None:
    """Binds each device's whole group to vfio-pci, whatever uses it."""
    for device in devices:
        if not os.listdir("/sys/class/iommu"):
            raise Refused("there is no IOMMU")
        if not os.path.isdir(VFIO):
            subprocess.run(["modprobe", "vfio-pci"], check=True)
        for member in pci.members(device):
            _take_one(member)


def _take_one(device: str) -> None:
    if os.path.exists(f"{VFIO}/{device}"):
        return
    try:
        pci.write(f"{VFIO}/new_id", f"{pci.read(device, 'vendor')[2:]} {pci.read(device, 'device')[2:]}")
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise Refused(f"{device}: new_id: {error.strerror}") from error
    if not os.path.exists(f"{VFIO}/{device}"):
        try:
            pci.unbind(device)
            pci.write(f"{VFIO}/bind", device)
        except OSError as error:
            raise Refused(f"{device} cannot be bound to vfio-pci: {error.strerror}") from error
    if not os.path.exists(f"{VFIO}/{device}"):
        raise Refused(f"{device} is not bound to vfio-pci")


def start(hostpci: list[str]) -> str:
    """Takes the devices and opens them as QEMU would; why the kernel refuses that, or ''."""
    try:
        devices = chosen(hostpci)
        take(devices)
        vfio.close(vfio.open_devices(devices))
    except Refused as refused:
        return str(refused)
    return ""


def lines(text: str) -> dict[str, str]:
    """The options of a guest's live configuration."""
    live = re.split(r"^\[", text, maxsplit=1, flags=re.MULTILINE)[0]
    return dict(line.split(": ", 1) for line in live.splitlines() if ": " in line and not line.startswith("#"))


def run_hookscript(volume: str, vmid: int, phase: str) -> tuple[int, str]:
    """Its exit status and what it says, standard error among it; a missing one ends the start."""
    script = f"/var/lib/vz/{volume.partition(':')[2]}"
    if not os.access(script, os.X_OK):
        return 255, f"script '{volume}' does not exist"
    done = subprocess.run(
        [script, str(vmid), phase],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": "/sbin:/bin:/usr/sbin:/usr/bin", "LC_ALL": "C"},
        timeout=120,
        check=False,
        errors="backslashreplace",
        text=True,
    )
    return done.returncode, done.stdout
