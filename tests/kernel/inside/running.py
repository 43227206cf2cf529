"""A stand-in for the QEMU of a running guest: has its command line and pid file, and holds its disks and devices open."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tests.kernel.inside import vfio

RUN = "/run/qemu-server"


def start(vmid: int, disks: list[str], devices: list[str]) -> subprocess.Popen[str]:
    """Returns once it holds all of that; its arguments are as PVE writes them."""
    shown = ["-id", str(vmid), "-name", f"guest{vmid},debug-threads=on", "-daemonize", "-m", "256"]
    for number, disk in enumerate(disks):
        shown += ["-drive", f"file={disk},if=none,id=drive-scsi{number},format=raw"]
    for number, device in enumerate(devices):
        shown += ["-device", f"vfio-pci,host={device},id=hostpci{number}"]
    # The program's own name for itself; it runs this module.
    command = ["/usr/bin/kvm", "-c", "from tests.kernel.inside.running import hold; hold()", *shown]
    process = subprocess.Popen(
        command, executable=sys.executable, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()}
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if line != "holds\n":
        raise RuntimeError(f"guest {vmid} could not be started: {line}")
    os.makedirs(RUN, exist_ok=True)
    with open(f"{RUN}/{vmid}.pid", "w", encoding="ascii") as file:
        file.write(f"{process.pid}\n")
    with open(f"{RUN}/pci-id-reservations", "a", encoding="ascii") as file:
        file.writelines(f"{device} {vmid} pid:{process.pid}\n" for device in devices)
    return process


def hold() -> None:
    """In the process itself."""
    words = sys.argv[1:]
    values = [words[i + 1] for i, word in enumerate(words) if word in ("-drive", "-device")]
    disks = [value.split(",")[0].removeprefix("file=") for value in values if value.startswith("file=")]
    devices = [value.split(",")[1].removeprefix("host=") for value in values if value.startswith("vfio-pci,")]
    for disk in disks:
        os.open(disk, os.O_RDWR)
    vfio.open_devices(devices)
    print("holds", flush=True)
    signal.pause()
