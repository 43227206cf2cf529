"""In the place of pve-guests.service's program: starts the guests with `onboot`, in their order, and does each time what PVE does.

After each verdict the devices are taken all the same, and what the host has lost is looked at. At the end the machine goes down.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
import traceback
from pathlib import Path
from typing import Any

from tests.kernel import cases
from tests.kernel.inside import captures, handover, pci, rebooting, running, starting
from tests.kernel.inside.losses import Possessions
from tests.kernel.inside.port import Out
from tests.kernel.inside.rebooting import host_check
from tests.kernel.inside.vfio import Refused

MATCHES = ["--identifier=pvehooks", "--identifier=pvehooksd", "--identifier=pvehooks-guard"]
GUESTS = Path("/etc/pve/nodes/pve1/qemu-server")


def onboot() -> list[tuple[int, dict[str, str]]]:
    """The guests to be started and their options, in their order."""
    found = []
    for path in GUESTS.glob("*.conf"):
        options = starting.lines(path.read_text())
        if options.get("onboot") == "1":
            found.append((int(options["startup"].removeprefix("order=")), int(path.stem), options))
    return [(vmid, options) for _, vmid, options in sorted(found)]


def states(devices: list[str]) -> dict[str, dict[str, str]]:
    """Driver and override of each device."""
    return {device: {"driver": pci.driver(device), "override": pci.read(device, "driver_override")} for device in devices}


def twin_is_left_alone() -> dict[str, Any]:
    """Whether vfio-pci would take another device with the ids of the one that was just bound, and who has it after a new probe."""
    twin = pci.address("twin")
    pci.unbind(twin)
    try:
        pci.write(f"{pci.DRIVERS}/vfio-pci/bind", twin)
        refusal = ""
    except OSError as error:
        refusal = str(error.strerror)
    if pci.driver(twin):
        pci.unbind(twin)
    pci.probe(twin)
    return {"refusal": refusal, "driver": pci.driver(twin), "id_known": pci.forget_id(twin)}


def start(name: str, vmid: int, options: dict[str, str]) -> dict[str, Any]:
    """The start of a guest; what is to be known of it."""
    hostpci = [value for key, value in sorted(options.items()) if re.fullmatch(r"hostpci\d+", key)]
    try:
        devices = sorted({member for device in starting.chosen(hostpci) for member in pci.members(device)})
    except Refused:
        devices = []
    former = states(devices)
    drivers = {device: pci.driver(device) for device in os.listdir(pci.DEVICES)}
    before = Possessions()
    began = time.monotonic()
    status, output = starting.run_hookscript(options["hookscript"], vmid, "pre-start") if "hookscript" in options else (0, "")
    result: dict[str, Any] = {"status": status, "output": output, "seconds": round(time.monotonic() - began, 2), "had": before.all()}
    result |= {"hookscript": options.get("hookscript"), "hostpci": hostpci, "former": former, "after_hookscript": states(devices)}
    result["lost_by_hookscript"] = before.lost()
    result["ids_left"] = [device for device in devices if os.path.isdir(starting.VFIO) and pci.forget_id(device)]
    if name == cases.HAS_TWIN and os.path.isdir(starting.VFIO):
        result["twin"] = twin_is_left_alone()
    result["kernel"] = starting.start(hostpci)
    result["lost"] = before.lost()
    result["after_start"] = states(devices)
    result["ids_known"] = give_back(devices, drivers, bool(result["lost"]))
    return result


def give_back(devices: list[str], drivers: dict[str, str], lost: bool) -> list[str]:
    """Has all devices as they were, also those that vfio-pci took along, but for what the host has lost; those whose ids vfio-pci knew."""
    if not os.path.isdir(starting.VFIO):
        return []
    known = [device for device in devices if pci.forget_id(device)]
    left = set(devices) if lost else set()
    if os.path.exists(f"{running.RUN}/{cases.VF_HOLDER.vmid}.pid"):
        # To unbind a device that is open blocks for good.
        left.add(pci.address("vf0"))
    for device, driver in drivers.items():
        if device not in left and pci.driver(device) != driver:
            pci.unbind(device)
            if driver:
                pci.probe(device)
    return known


class Journal:
    """What the package has said in the journal since the last look."""

    def __init__(self) -> None:
        self._cursor: list[str] = []

    def new(self) -> list[str]:
        """Lines of it."""
        subprocess.run(["journalctl", "--sync"], check=False)
        command = ["journalctl", "--boot", "--output=short-monotonic", "--no-hostname", "--show-cursor", "--no-pager", *self._cursor]
        lines = subprocess.run(
            [*command, *MATCHES], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        ).stdout.splitlines()
        if lines and lines[-1].startswith("-- cursor: "):
            self._cursor = ["--after-cursor", lines.pop().removeprefix("-- cursor: ")]
        return lines


def prepare(vmid: int, name: str) -> None:
    """What has to run before a guest's start."""
    if name == "a virtual function in use by a guest":
        held = [pci.address("vf0")]
        starting.take(held)
        running.start(cases.VF_HOLDER.vmid, [], held)
        pci.forget_id(held[0])


def main() -> None:
    """All of them."""
    out = Out()
    try:
        machine = re.findall(r"\bbed[.]machine=(\S+)", Path("/proc/cmdline").read_text())[0]
        if machine == cases.REBOOTING:
            rebooting.do_next(out)
        if machine == cases.HANDOVER:
            handover.main(out)
        names = {case.vmid: case.name for case in cases.of(machine)}
        if machine == cases.NO_IOMMU:
            out.report(what="host-check", **host_check())
        if machine == cases.IOMMU:
            running.start(cases.DISK_HOLDER, ["/dev/vmdata/vm-120-disk-0"], [])
            out.report(what="capture", **captures.captures())
        journal = Journal()
        for vmid, options in onboot():
            prepare(vmid, names[vmid])
            out.report(what="journal", lines=journal.new())
            out.report(what="start", name=names[vmid], vmid=vmid, **start(names[vmid], vmid, options))
        out.report(what="end")
    except Exception:  # noqa: BLE001 - whatever it is, it is reported
        out.break_off(traceback.format_exc())
    out.go_down()


main()
