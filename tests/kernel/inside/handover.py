"""Devices go from the node to a guest and back: many times, with processes killed at any moment, without post-stop, and with one that dies."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.kernel.hardware import HANDOVER, places
from tests.kernel.inside import pci, running
from tests.kernel.inside.port import Out
from tests.kernel.inside.rebooting import journal, run

TIMES, KILLED = 10, 8
VMID, DYING = 100, 101
SETTINGS = "[guard]\nafter_stop = return\ndeadline = 60\n[watch]\ninterval = 5\n"
WHERE = places(HANDOVER)
PLACE = Path("/mnt/lent")
CONFIG = "hostpci0: {}\nhostpci1: {}\nmachine: q35\nname: lent\nsmbios1: uuid=00000000-0000-4000-8000-000000000100\n"
EVENTS = ("device-returned", "device-not-returned", "device-dead", "device-degraded")
GUEST = ["vfio-pci", "vfio-pci"]
PATIENCE = 150.0


def hook(vmid: int, phase: str) -> tuple[int, str, float]:
    """The package's part of the hookscript, as the stub runs it: status, output, seconds."""
    began = time.monotonic()
    status, output = run("/usr/libexec/pvehooks/hookscript", str(vmid), phase)
    return status, output, round(time.monotonic() - began, 2)


@contextlib.contextmanager
def locked(vmid: int) -> Iterator[None]:
    """The guest's lock, which PVE holds until QEMU runs, and from before its end until after post-stop (pve-guest-common, AbstractConfig.pm)."""
    place = Path("/var/lock/qemu-server")
    place.mkdir(exist_ok=True)
    with (place / f"lock-{vmid}.conf").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def wait_for(found: Callable[[], str], what: str) -> str:
    """What is found, once there is something."""
    deadline = time.monotonic() + PATIENCE
    while not (it := found()):
        if time.monotonic() > deadline:
            raise RuntimeError(what)
        time.sleep(0.1)
    return it


def drivers() -> list[str]:
    """Who has the disk and the NIC."""
    return [pci.driver(pci.address(name, WHERE)) for name in ("lent-disk", "lent-nic")]


def overrides() -> list[str]:
    return [pci.read(pci.address(name, WHERE), "driver_override") for name in ("lent-disk", "lent-nic")]


def disk() -> str:
    """The disk's node, once the driver has found it."""
    top = Path(pci.DEVICES, pci.address("lent-disk", WHERE), "nvme")

    def node() -> str:
        names = (entry.name for entry in top.glob("nvme*/nvme*") if os.path.exists(f"/dev/{entry.name}"))
        return next((f"/dev/{name}" for name in names), "")

    return wait_for(node, "the disk did not come back")


def nic() -> str:
    """The interface, once the driver has made it."""
    top = Path(pci.DEVICES, pci.address("lent-nic", WHERE))

    def interface() -> str:
        # udev may still rename it.
        run("udevadm", "settle", "--timeout=60")
        return next((entry.name for entry in top.glob("net/*")), "")

    return wait_for(interface, "the interface did not come back")


def must(*command: str) -> None:
    status, output = run(*command)
    if status:
        raise RuntimeError(f"{' '.join(command)}: {status}: {output}")


def use(number: int) -> str:
    """The node uses both: what the last round wrote is read, and more is written; the address is on the NIC."""
    PLACE.mkdir(exist_ok=True)
    if not number:
        must("mke2fs", "-q", "-F", disk())
    must("mount", disk(), str(PLACE))
    file = PLACE / "times"
    before = file.read_text() if file.exists() else ""
    file.write_text(f"{before}{number}\n")
    must("ip", "link", "set", nic(), "up")
    must("ip", "addr", "add", "192.0.2.77/24", "dev", nic())
    return before


def stop_using() -> None:
    must("umount", str(PLACE))
    must("ip", "addr", "flush", "dev", nic())
    must("ip", "link", "set", nic(), "down")


def held(vmid: int, names: tuple[str, ...]) -> subprocess.Popen[str]:
    """A QEMU that has the devices."""
    return running.start(vmid, [], [pci.address(name, WHERE) for name in names])


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def hand_over(number: int) -> dict[str, Any]:
    """To the guest and back, with what the node has on it in between."""
    before = use(number)
    refused = hook(VMID, "pre-start")
    while_used = drivers()
    stop_using()
    with locked(VMID):
        status, output, seconds = hook(VMID, "pre-start")
        taken = drivers()
        guest = held(VMID, ("lent-disk", "lent-nic"))
    early = hook(VMID, "post-stop")
    while_running = drivers()
    with locked(VMID):
        kill(guest)
        end = hook(VMID, "post-stop")
    return {
        "read": before,
        "refused": refused,
        "while_used": while_used,
        "start": (status, output, seconds),
        "taken": taken,
        "early": early,
        "while_running": while_running,
        "end": end,
        "given_back": drivers(),
    }


def kill_daemon() -> None:
    """As a power failure of the process; systemd starts it again."""
    run("systemctl", "kill", "--signal=KILL", "pvehooks")


def _killed(vmid: int, phase: str, chance: random.Random, seconds: float, others: Mapping[str, Callable[[], None]]) -> str:
    """The hookscript, killed at some moment: it alone, or all that it has started; and others beside it, each at a moment of its own."""
    command = ["/usr/libexec/pvehooks/hookscript", str(vmid), phase]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    whole = chance.random() < 0.5

    def kill_hook() -> None:
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if whole else os.kill)(process.pid, signal.SIGKILL)

    hook_name = "the hookscript and all it started" if whole else "the hookscript"
    victims = {hook_name: kill_hook, **others}
    began, done = time.monotonic(), []
    for after, name in sorted((chance.uniform(0, seconds), name) for name in victims):
        time.sleep(max(0.0, began + after - time.monotonic()))
        done.append(f"{name} after {after:.1f} s" + " (it had ended)" * (name == hook_name and process.poll() is not None))
        victims[name]()
    process.wait()
    wait_for(lambda: "none" if run("pgrep", "-f", "libexec/pvehooks/guard")[0] else "", "a guard does not come to its end")
    return f"{phase}: {', '.join(done)}"


def kill_at_random(out: Out, start_seconds: float, end_seconds: float) -> None:
    """Starts and stops that are killed, with QEMU and the daemon beside them; what the unit for that finds afterwards."""
    chance = random.Random(7)
    daemon = {"the daemon": kill_daemon}
    for _ in range(KILLED):
        moments = [_killed(VMID, "pre-start", chance, 1.3 * start_seconds, daemon)]
        between = drivers()
        qemu = held(VMID, ("lent-disk", "lent-nic")) if between == GUEST else None
        victims = daemon if qemu is None else daemon | {"QEMU": functools.partial(kill, qemu)}
        moments.append(_killed(VMID, "post-stop", chance, 1.3 * end_seconds, victims))
        after = drivers()
        status, output = run("/usr/libexec/pvehooks/guard", str(VMID), "ended")
        deadline = time.monotonic() + PATIENCE
        # The daemon's unit may be at it at this moment.
        while (noted := _noted()) and time.monotonic() < deadline:
            time.sleep(1)
            run("/usr/libexec/pvehooks/guard", str(VMID), "ended")
        found = {"moments": moments, "between": between, "after": after, "status": status, "output": output, "noted": noted}
        out.report(what="killed", drivers=drivers(), overrides=overrides(), **found)


def _noted() -> list[str]:
    """The guests whose start is noted, and not dealt with."""
    place = "/run/pvehooks/started"
    return os.listdir(place) if os.path.isdir(place) else []


def without_post_stop(out: Out) -> None:
    """QEMU is killed, the daemon too, and no hookscript runs: the daemon is started again, sees it, and has the unit do it."""
    with locked(VMID):
        status, output, _ = hook(VMID, "pre-start")
        qemu = held(VMID, ("lent-disk", "lent-nic"))
    victims: list[Callable[[], None]] = [functools.partial(kill, qemu), kill_daemon]
    chance = random.Random(11)
    chance.shuffle(victims)
    for victim in victims:
        time.sleep(chance.uniform(0, 4))
        victim()
    began = time.monotonic()
    while drivers() == GUEST and time.monotonic() - began < PATIENCE:
        time.sleep(0.5)
    while "vfio-pci" in drivers() and time.monotonic() - began < PATIENCE:
        time.sleep(0.2)
    waited = round(time.monotonic() - began, 1)
    units = run("systemctl", "status", "--no-pager", "pvehooks-return.path", "pvehooks-return.service")[1]
    requests = os.listdir("/run/pvehooks/ended") if os.path.isdir("/run/pvehooks/ended") else []
    active = run("systemctl", "is-active", "pvehooks")[1].strip()
    found = {"units": units, "requests": requests, "daemon": active}
    out.report(what="without", status=status, output=output, drivers=drivers(), seconds=waited, **found)


def looked_for(out: Out) -> None:
    """The settings have the NIC taken off the bus before a start, and its attributes set until the stop."""
    address = pci.address("lent-nic", WHERE)
    methods = pci.read(address, "reset_method")
    own = f"[device {address}]\nbefore_start = rescan\nreset = {methods.split()[-1]}\nd3cold = no\n"
    Path("/etc/pvehooks/pvehooks.conf").write_text(SETTINGS + own)
    # On vfio-pci: one that a driver of the node has is left to it.
    must("pvehooks", "lend", address, "--to", str(VMID))
    inode = os.stat(f"{pci.DEVICES}/{address}/").st_ino

    def attributes() -> list[str]:
        return [
            pci.read(address, "reset_method"),
            pci.read(address, "d3cold_allowed"),
            Path("/sys/bus/pci/drivers_autoprobe").read_text().strip(),
        ]

    before = attributes()
    with locked(VMID):
        status, output, _ = hook(VMID, "pre-start")
        found = {
            "before": before,
            "start": (status, output),
            "as_set": attributes(),
            "is_new": os.stat(f"{pci.DEVICES}/{address}/").st_ino != inode,
        }
        taken = drivers()
        kill(held(VMID, ("lent-disk", "lent-nic")))
        end = hook(VMID, "post-stop")
    out.report(what="looked-for", **found, taken=taken, end=end, after=attributes(), drivers=drivers())
    Path("/etc/pvehooks/pvehooks.conf").write_text(SETTINGS)


def dies(out: Out) -> None:
    """The machine loses a card while a guest has it."""
    Path(f"/etc/pve/nodes/pve1/qemu-server/{DYING}.conf").write_text(f"hostpci0: {pci.address('dying', WHERE)}\nname: dying\n")
    address = pci.address("dying", WHERE)
    with locked(DYING):
        status, output, _ = hook(DYING, "pre-start")
        guest = held(DYING, ("dying",))
        out.report(what="unplug", name="dying")
        # The kernel asks vfio-pci for it while the guest still has it.
        time.sleep(8)
        kill(guest)
        wait_for(lambda: "" if os.path.exists(f"{pci.DEVICES}/{address}") else "gone", "the card is still there")
        end = hook(DYING, "post-stop")
    out.report(what="died", address=address, start=(status, output), end=end, entries=journal("pvehooks-guard", *EVENTS))


def main(out: Out) -> None:
    """All of it."""
    Path("/etc/pvehooks/pvehooks.conf").write_text(SETTINGS)
    must("systemctl", "reload", "pvehooks")
    wait_for(lambda: "read" if journal("pvehooksd", "settings-read") else "", "the settings are not read")
    config = CONFIG.format(*(pci.address(name, WHERE) for name in ("lent-disk", "lent-nic")))
    Path(f"/etc/pve/nodes/pve1/qemu-server/{VMID}.conf").write_text(config)
    out.report(what="before", drivers=drivers())
    handovers = []
    for number in range(TIMES):
        handovers.append(hand_over(number))
        out.report(what="round", number=number, **handovers[-1])
    kill_at_random(out, handovers[-1]["start"][2], handovers[-1]["end"][2])
    without_post_stop(out)
    looked_for(out)
    dies(out)
    out.report(what="end")
