"""What is done and checked in each boot of the machine that keeps its disk: noting devices, mistakes in boot files, fixing them, and undoing that.

It runs where Proxmox VE would start the guests: devices have to be where they belong by then.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.kernel.cases import STUB
from tests.kernel.hardware import BOUGHT, REBUILT, Port, places
from tests.kernel.inside import pci
from tests.kernel.inside.port import Out

BOOTS = Path("/var/lib/bed-boots")
GRUB = Path("/etc/default/grub")
KERNEL = Path("/etc/kernel/cmdline")
GRUB_CFG = Path("/boot/grub/grub.cfg")
MODPROBE = Path("/etc/modprobe.d/bed.conf")
MODULES = Path("/etc/modules")
# Of a card that is not there.
IDS = "options vfio-pci ids=10de:2204\n"
GUESTS = Path("/etc/pve/nodes/pve1/qemu-server")
IOMMUS = Path("/sys/class/iommu")
PATIENCE = 60.0
# What the card's virtual functions are given, and the guest that has the first of them.
VFS = ("0:mac=52:54:00:00:13:00,vlan=7:3,trust=on,driver=vfio-pci", "1:mac=52:54:00:00:13:01,spoofchk=off,driver=host")
VF_GUEST = 302
# What the next boot finds below /etc/pve (set_up.py).
KEPT = Path("/var/lib/bed-kept")


def do_next(out: Out) -> None:
    """What comes in this boot; the machine is down after it."""
    number = int(BOOTS.read_text()) if BOOTS.exists() else 0
    BOOTS.write_text(f"{number + 1}\n")
    began = time.monotonic()
    (_mistake_and_fix, _look_and_rescan, _look)[number](out)
    out.report(what="end", seconds=round(time.monotonic() - began, 1))
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
    status, output = run(*command)
    out.report(what="run", command=" ".join(command), seconds=round(time.monotonic() - began, 1), output=output[-2000:])
    if status != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {status}: {output}")


def host_check() -> dict[str, Any]:
    """What `pvehooks host check` finds."""
    done = subprocess.run(
        ["pvehooks", "host", "check", "--json"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    if not done.stdout.startswith("{"):
        raise RuntimeError(f"pvehooks host check ended with {done.returncode}: {done.stdout}{done.stderr}")
    checks = json.loads(done.stdout)["checks"]
    return {"status": done.returncode, "stderr": done.stderr, "checks": checks}


def next_boot(ports: tuple[Port, ...], name: str) -> dict[str, Any]:
    """What is said of the boot to come, while a guest has that device."""
    config = GUESTS / "800.conf"
    config.write_text(f"name: next\nmemory: 512\nhostpci0: {pci.address(name, places(ports))}\n")
    try:
        done = subprocess.run(
            ["pvehooks", "host", "check", "--next-boot", "--json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        config.unlink()
    return {"status": done.returncode, "stderr": done.stderr, "document": json.loads(done.stdout or "{}")}


def present() -> dict[str, Any]:
    """What the boot came to."""
    return {"kernel": os.uname().release, "command_line": Path("/proc/cmdline").read_text().split(), "iommu": bool(os.listdir(IOMMUS))}


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


def journal(identifier: str, *events: str) -> list[dict[str, str]]:
    """What was said in this boot, as the journal has it."""
    run("journalctl", "--sync")
    _, text = run("journalctl", "--boot", "--output=json", f"--identifier={identifier}", "--no-pager")
    entries = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [
        {"event": entry["PVEHOOKS_EVENT"], "device": entry.get("PVEHOOKS_DEVICE", ""), "message": entry["MESSAGE"]}
        for entry in entries
        if entry.get("PVEHOOKS_EVENT") in events
    ]


def at_boot() -> list[dict[str, str]]:
    """What was said of devices at boot."""
    return journal("pvehooksd", "bound-at-boot", "not-bound-at-boot")


def by_hand() -> list[dict[str, str]]:
    """What was said of what a person asked for."""
    return journal("pvehooks", "binding-changed", "host-fixed", "host-not-fixed", "host-fix-undone")


def files() -> dict[str, str]:
    """What is in the files that a fix may touch, and who may read them: a digest of each."""
    paths = [KERNEL, *(path for place in ("default", "modprobe.d", "modules-load.d") for path in Path("/etc", place).rglob("*")), MODULES]
    found = {}
    for path in paths:
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            mode = f"{status.st_mode:o} {status.st_uid} {status.st_gid} "
            found[str(path)] = hashlib.sha256(mode.encode() + path.read_bytes()).hexdigest()
    return found


def _mistake_and_fix(out: Out) -> None:
    """The first boot: the IOMMU is off. Devices are noted, the mistakes that guides lead to are made, and fixed."""
    uuid = run("findmnt", "--noheadings", "--output=UUID", "/")[1].strip()
    Path("/etc/fstab").write_text(f"UUID={uuid} / ext4 defaults 0 1\n")
    (disk,) = (f"/dev/{name}" for name in os.listdir("/sys/block") if name in os.path.basename(run("findmnt", "-no", "SOURCE", "/")[1]))
    MODPROBE.write_text(IDS)
    with MODULES.open("a") as modules:
        modules.write("vfio_virqfd\n")
    out.report(what="host-check", when="before", **host_check())
    must(out, "grub-install", disk)
    must(out, "update-grub")
    _note(out)
    KERNEL.write_text(f"root=UUID={uuid} intel_iommu=on iommu=pt\n")
    GRUB.write_text(GRUB.read_text().replace("intel_iommu=off", "consoleblank=0 intel_iommu=off"))
    out.report(what="host-check", when="edited", **host_check())
    out.report(what="files", when="edited", files=files())
    _host(out, "fix", "iommu-inactive", "--apply")
    out.report(what="files", when="first fix", files=files())
    _host(out, "fix", "--plan")
    out.report(what="files", when="plan", files=files())
    _host(out, "fix", "--apply")
    out.report(what="files", when="second fix", files=files(), menu=menu())
    out.report(what="host-check", when="fixed", **host_check())
    out.report(what="next-boot", **next_boot(BOUGHT, "named"))
    out.report(what="by-hand", entries=by_hand())


def _host(out: Out, *words: str) -> None:
    """What `pvehooks host` says and how it ends."""
    began = time.monotonic()
    status, output = run("pvehooks", "host", *words)
    out.report(what="host", words=list(words), status=status, output=output, seconds=round(time.monotonic() - began, 1))


def menu() -> list[str]:
    """The kernel's arguments in GRUB's menu."""
    lines = (line.split() for line in GRUB_CFG.read_text().splitlines())
    return [" ".join(words[1:]) for words in lines if words[:1] == ["linux"]]


def _note(out: Out) -> None:
    """Devices of each kind, and virtual functions, are to be bound at boot."""
    where = places(BOUGHT)
    for name in ("named", "usb", "moved"):
        must(out, "pvehooks", "bind", pci.address(name, where), "--persist")
    must(out, "pvehooks", "bind", pci.address("pf", where), "--vfs", "2", "--now", "--persist")
    must(out, "pvehooks", "bind", pci.address("vf0", where), "--persist")
    settings = [word for each in VFS for word in ("--vf", each)]
    must(out, "pvehooks", "bind", pci.address("card", where), "--vfs", "2", *settings, "--persist")
    out.report(what="states", states=states(BOUGHT))


def _report_states(out: Out, ports: tuple[Port, ...]) -> None:
    """Right away, as a guest's start would find it; then once more when nothing is under way any longer: udev may still load drivers."""
    out.report(what="states", states=states(ports), jobs=_jobs())
    deadline = time.monotonic() + PATIENCE
    while _jobs() and time.monotonic() < deadline:
        time.sleep(0.5)
    out.report(what="settled", states=states(ports))
    out.report(what="journal", lines=[entry["message"] for entry in at_boot()], entries=at_boot())


def _jobs() -> list[str]:
    """The services that still have something to bind."""
    run("udevadm", "settle", "--timeout=60")
    return [line.split()[1] for line in run("systemctl", "list-jobs", "--no-legend", "pvehooks-bind*")[1].splitlines()]


def _report_card(out: Out, when: str, ports: tuple[Port, ...], **more: Any) -> None:
    """What the card's driver has of its virtual functions, and the MAC that the second one got of it."""
    where = places(ports)
    run("udevadm", "settle", "--timeout=60")
    card = pci.address("card", where)
    functions = [os.path.basename(os.readlink(link)) for link in sorted(map(str, Path(pci.DEVICES, card).glob("virtfn*")))]
    shown = [each for name in _interfaces(card) for each in json.loads(run("ip", "-json", "link", "show", "dev", name)[1])]
    # A virtual function's driver asks for its MAC while the card's interface is up.
    names = [name for each in (card, *functions[1:]) for name in _interfaces(each)]
    for name in names:
        run("ip", "link", "set", "dev", name, "up")
    macs = [Path("/sys/class/net", name, "address").read_text().strip() for name in names[1:]]
    for name in reversed(names):
        run("ip", "link", "set", "dev", name, "down")
    out.report(what="card", when=when, shown=shown, drivers=[pci.driver(each) for each in functions], macs=macs, **more)


def _interfaces(address: str) -> list[str]:
    top = f"{pci.DEVICES}/{address}/net"
    return sorted(os.listdir(top)) if os.path.isdir(top) else []


def _start() -> tuple[int, str]:
    """The package's part of the guest's start; again where it was not done in its time, as on a busy machine."""
    deadline = time.monotonic() + PATIENCE
    while True:
        status, output = run("/usr/libexec/pvehooks/hookscript", str(VF_GUEST), "pre-start")
        if status == 0 or "could not be examined" not in output or time.monotonic() > deadline:
            return status, output


def _reset_card(out: Out) -> None:
    """The card is reset, then loses its virtual functions with its driver; each time a guest starts that has one of them."""
    where = places(BOUGHT)
    card, function = pci.address("card", where), pci.address("card-vf0", where)
    (GUESTS / f"{VF_GUEST}.conf").write_text(f"hostpci0: {function}\nname: vf\n")
    pci.write(f"{pci.DEVICES}/{card}/reset", "1")
    _report_card(out, "reset", BOUGHT, start=_start())
    # What a reset takes of the settings differs between cards: all of it, here.
    for words in (("mac", "00:00:00:00:00:00"), ("vlan", "0"), ("trust", "off")):
        must(out, "ip", "link", "set", "dev", _interfaces(card)[0], "vf", "0", *words)
    _report_card(out, "without settings", BOUGHT)
    _report_card(out, "settings again", BOUGHT, start=_start())
    pci.unbind(function)
    pci.unbind(card)
    pci.probe(card)
    gone = not os.path.exists(f"{pci.DEVICES}/{function}")
    _report_card(out, "functions again", BOUGHT, start=_start(), gone=gone)
    (GUESTS / f"{VF_GUEST}.conf").unlink()


def _name_devices(out: Out) -> None:
    """Guests and a mapping name devices by where they are now; they are there at the next boot, too, when the devices are elsewhere."""
    where = places(BOUGHT)
    at = {name: pci.address(name, where) for name in ("moved", "one", "other", "usb")}
    texts = {
        "nodes/pve1/qemu-server/300.conf": f"hookscript: {STUB}\nhostpci0: {at['moved']},rombar=0\nhostpci1: host={at['one'][5:]}\nname: follows\n",
        "nodes/pve1/qemu-server/301.conf": f"hookscript: {STUB}\nhostpci0: {at['usb']}\nname: lost\n",
        "mapping/pci.cfg": f"disk\n\tmap id=1b36:0010,node=pve1,path={at['other']}\n",
    }
    for directory in (KEPT, Path("/etc/pve")):
        for name, text in texts.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text)
    must(out, "pvehooks", "follow", "--all", "--note")


def _follow(out: Out) -> None:
    status, output = run("pvehooks", "follow", "--all")
    now = {
        name: (Path("/etc/pve") / name).read_text()
        for name in ("nodes/pve1/qemu-server/300.conf", "nodes/pve1/qemu-server/301.conf", "mapping/pci.cfg")
    }
    out.report(what="follow", status=status, output=output, configs=now)


def _look_and_rescan(out: Out) -> None:
    """The second boot: by GRUB, with the initramfs that was made; a device goes and comes back, and so do the mistakes."""
    _report_states(out, BOUGHT)
    out.report(what="present", **present())
    _report_card(out, "rebooted", BOUGHT)
    _name_devices(out)
    out.report(what="host-check", when="rebooted", **host_check())
    where = places(BOUGHT)
    named = pci.address("named", where)
    out.report(what="ids", known=[name for name in ("named", "usb", "pf") if pci.forget_id(pci.address(name, where))])
    pci.write(f"{pci.DEVICES}/{named}/remove", "1")
    gone = not os.path.exists(f"{pci.DEVICES}/{named}")
    pci.write("/sys/bus/pci/rescan", "1")
    deadline = time.monotonic() + PATIENCE
    while (_jobs() or pci.driver(named) != "vfio-pci") and time.monotonic() < deadline:
        time.sleep(0.2)
    out.report(what="rescan", gone=gone, states=states(BOUGHT), entries=at_boot())
    copied = run("lsinitramfs", *map(str, Path("/boot").glob("initrd.img-*")))[1].split()
    out.report(what="initramfs", has=[name for name in copied if name.endswith(("modprobe.d/bed.conf", "vfio-pci.ko.xz"))])
    _host(out, "undo")
    out.report(what="files", when="undone", files=files(), menu=menu())
    out.report(what="next-boot", **next_boot(BOUGHT, "named"))
    out.report(what="by-hand", entries=by_hand())
    _reset_card(out)


def _look(out: Out) -> None:
    """The third boot: other devices are at the addresses, and the mistakes are back; the first fix is undone, too."""
    _report_states(out, REBUILT)
    out.report(what="present", **present())
    _report_card(out, "rebooted", REBUILT)
    _follow(out)
    out.report(what="host-check", when="undone", **host_check())
    _host(out, "undo")
    out.report(what="files", when="all undone", files=files(), menu=menu())
    _host(out, "undo")
