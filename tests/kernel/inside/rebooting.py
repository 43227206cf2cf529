"""What is done and looked at in each boot of the machine that keeps its disk: noting devices, editing boot files, refreshing them.

It runs where Proxmox VE would start the guests: devices have to be where they belong by then.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.kernel.hardware import BOUGHT, REBUILT, Port, places
from tests.kernel.inside import pci
from tests.kernel.inside.port import Out

BOOTS = Path("/var/lib/bed-boots")
GRUB = Path("/etc/default/grub")
KERNEL = Path("/etc/kernel/cmdline")
MODPROBE = Path("/etc/modprobe.d/bed.conf")
PATIENCE = 60.0


def do_next(out: Out) -> None:
    """What comes in this boot; the machine is down after it."""
    number = int(BOOTS.read_text()) if BOOTS.exists() else 0
    BOOTS.write_text(f"{number + 1}\n")
    began = time.monotonic()
    (_edit, _look_and_rescan, _look)[number](out)
    out.say(what="end", seconds=round(time.monotonic() - began, 1))
    # As a shutdown leaves it, without its seconds.
    os.sync()
    Path("/proc/sysrq-trigger").write_text("u")
    time.sleep(1.0)
    out.go_down()


def run(*command: str) -> tuple[int, str]:
    """A command's status and all that it says."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout


def must(out: Out, *command: str) -> None:
    """Runs a command that has to do what it is there for, and tells how long that took."""
    began = time.monotonic()
    status, said = run(*command)
    out.say(what="run", command=" ".join(command), seconds=round(time.monotonic() - began, 1), said=said[-2000:])
    if status != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {status}: {said}")


def host_check() -> dict[str, Any]:
    """What `pvehooks host check` finds."""
    done = subprocess.run(
        ["pvehooks", "host", "check", "--json"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    if not done.stdout.startswith("{"):
        raise RuntimeError(f"pvehooks host check ended with {done.returncode}: {done.stdout}{done.stderr}")
    checks = json.loads(done.stdout)["checks"]
    return {"status": done.returncode, "stderr": done.stderr, "checks": checks}


def states(ports: tuple[Port, ...]) -> dict[str, dict[str, str]]:
    """Address, driver and override of each device by its name; those that are not there are left out."""
    found, where = {}, places(ports)
    for name in where:
        try:
            address = pci.address(name, where)
        except (LookupError, FileNotFoundError):
            continue
        found[name] = {"address": address, "driver": pci.driver(address), "override": pci.read(address, "driver_override")}
    return found


def journal() -> list[dict[str, str]]:
    """What was said of devices at boot, as the journal has it."""
    _, text = run("journalctl", "--boot", "--output=json", "--identifier=pvehooksd", "--no-pager")
    entries = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [
        {"event": entry["PVEHOOKS_EVENT"], "device": entry.get("PVEHOOKS_DEVICE", ""), "message": entry["MESSAGE"]}
        for entry in entries
        if entry.get("PVEHOOKS_EVENT") in ("bound-at-boot", "not-bound-at-boot")
    ]


def _edit(out: Out) -> None:
    """The first boot: the IOMMU is off. Devices are noted, and a person edits boot files, not all of them with success."""
    uuid = run("findmnt", "--noheadings", "--output=UUID", "/")[1].strip()
    Path("/etc/fstab").write_text(f"UUID={uuid} / ext4 defaults 0 1\n")
    (disk,) = (f"/dev/{name}" for name in os.listdir("/sys/block") if name in os.path.basename(run("findmnt", "-no", "SOURCE", "/")[1]))
    MODPROBE.write_text("blacklist pcspkr\n")
    out.say(what="host-check", when="before", **host_check())
    # It takes most of the time, and half of the machine.
    with ThreadPoolExecutor() as beside:
        refreshing = beside.submit(run, "update-initramfs", "-u", "-k", "all")
        must(out, "grub-install", disk)
        must(out, "update-grub")
        _note(out)
        KERNEL.write_text(f"root=UUID={uuid} intel_iommu=on iommu=pt\n")
        GRUB.write_text(re.sub(r"intel_iommu=off", "iommu=pt", GRUB.read_text()))
        out.say(what="host-check", when="edited", **host_check())
        KERNEL.unlink()
        must(out, "update-grub")
        if refreshing.result()[0] != 0:
            raise RuntimeError(refreshing.result()[1])
    out.say(what="host-check", when="refreshed", **host_check())


def _note(out: Out) -> None:
    """Devices of each kind, and virtual functions, are to be bound at boot."""
    where = places(BOUGHT)
    for name in ("named", "usb", "moved"):
        must(out, "pvehooks", "bind", pci.address(name, where), "--persist")
    must(out, "pvehooks", "bind", pci.address("pf", where), "--vfs", "2", "--now", "--persist")
    must(out, "pvehooks", "bind", pci.address("vf0", where), "--persist")
    out.say(what="states", states=states(BOUGHT))


def _tell(out: Out, ports: tuple[Port, ...]) -> None:
    """Right away, as a guest's start would find it; then once more when nothing is under way any longer, if anything was."""
    out.say(what="states", states=states(ports), jobs=_jobs())
    deadline = time.monotonic() + PATIENCE
    while _jobs() and time.monotonic() < deadline:
        time.sleep(0.5)
    out.say(what="journal", lines=[entry["message"] for entry in journal()], entries=journal())


def _jobs() -> list[str]:
    """The services that still have something to bind."""
    run("udevadm", "settle", "--timeout=60")
    return [line.split()[1] for line in run("systemctl", "list-jobs", "--no-legend", "pvehooks-bind*")[1].splitlines()]


def _look_and_rescan(out: Out) -> None:
    """The second boot: by GRUB, with the initramfs that was made; a device goes and comes back."""
    _tell(out, BOUGHT)
    out.say(what="host-check", when="rebooted", **host_check())
    where = places(BOUGHT)
    named = pci.address("named", where)
    out.say(what="ids", known=[name for name in ("named", "usb", "pf") if pci.forget_id(pci.address(name, where))])
    pci.write(f"{pci.DEVICES}/{named}/remove", "1")
    gone = not os.path.exists(f"{pci.DEVICES}/{named}")
    pci.write("/sys/bus/pci/rescan", "1")
    deadline = time.monotonic() + PATIENCE
    while (_jobs() or pci.driver(named) != "vfio-pci") and time.monotonic() < deadline:
        time.sleep(0.2)
    out.say(what="rescan", gone=gone, states=states(BOUGHT), entries=journal())


def _look(out: Out) -> None:
    """The third boot: other devices are at the addresses."""
    _tell(out, REBUILT)
