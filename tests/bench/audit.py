"""What `pvehooks check` takes for thousands of guests with all rules, beside only reading and parsing their configs."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path

from pvehooks.cli import main
from pvehooks.facts.cluster import nodes as node
from pvehooks.facts.guests import configs as guests
from pvehooks.formats import guestconfig
from pvehooks.host import Host
from tests.beds import boot, pci
from tests.beds.process import kill_on_failure
from tests.beds.tree import Content, Link, make_fake_tree
from tests.bench.daemon import cpu_seconds
from tests.bench.figures import Figure

PROJECT = Path(__file__).parents[2]
GUESTS = 5000
TIMES = 5
REPORTED, DEVICES = 1000, 200
_STORAGES = """\
dir: local
	path /var/lib/vz
	content iso,vztmpl,backup,snippets,images

lvmthin: local-lvm
	thinpool data
	vgname pve
	content rootdir,images

rbd: ceph
	pool vms
	content images
	krbd 0
"""
_BUS = """\
0000:00:01.0 class=060400 id=8086:460d driver=pcieport group=1 bridge=1
0000:01:00.0 class=030000 id=10de:2204 driver=vfio-pci group=14
0000:01:00.1 class=040300 id=10de:1aef driver=vfio-pci group=14
0000:03:00.0 class=010802 id=144d:a80a driver=nvme group=16 disk=nvme0n1/259:0/S1 part=nvme0n1p1/259:1
0000:04:00.0 class=020000 id=8086:1533 driver=igb group=17 net=eno1
"""
_COMMAND = """
import re, sys
from pvehooks.cli import main
main.main()
print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1], file=sys.stderr)
"""


def config(number: int) -> str:
    """A config such as the dialogs of PVE make it: Linux and Windows, OVMF and SeaBIOS, templates, USB, snapshots, passthrough."""
    uefi, windows = number % 3 != 0, number % 5 == 0
    lines = [
        "agent: 1",
        "boot: order=scsi0;ide2;net0",
        f"cores: {1 + number % 8}",
        "cpu: x86-64-v2-AES",
        "ide2: none,media=cdrom" if number % 4 else f"ide2: local:iso/debian-{number % 3}.iso,media=cdrom,size=700M",
        f"memory: {1024 << number % 4}",
        f"meta: creation-qemu=10.0.2,ctime={1700000000 + number}",
        f"name: guest-{number}",
        f"net0: virtio=BC:24:11:{number >> 16 & 255:02X}:{number >> 8 & 255:02X}:{number & 255:02X},bridge=vmbr0,firewall=1",
        "numa: 0",
        f"ostype: {'win11' if windows else 'l26'}",
        f"scsi0: {'ceph' if number % 2 else 'local-lvm'}:vm-{number}-disk-0,discard=on,iothread=1,size=32G,ssd=1",
        "scsihw: virtio-scsi-single",
        f"smbios1: uuid=b3247ab1-1fe6-428e-965b-{number:012x}",
        "sockets: 1",
        f"vmgenid: 0f4d2d50-3bb6-4d2b-8a8b-{number:012x}",
    ]
    if uefi:
        lines += ["bios: ovmf", f"efidisk0: ceph:vm-{number}-disk-1,efitype=4m,ms-cert=2023,pre-enrolled-keys=1,size=1M", "machine: q35"]
        lines += ["rng0: source=/dev/urandom"] if number % 4 else []
    if windows:
        lines += [f"tpmstate0: ceph:vm-{number}-disk-2,size=4M,version=v2.0"]
    if number % 2:
        lines += ["onboot: 1"]
    if number % 20 == 7:
        lines += ["usb0: host=046d:c52b", "vga: qxl"]
    if number % 40 == 2:
        lines += ["hostpci0: 0000:01:00,pcie=1" if uefi else "hostpci0: 0000:01:00", "balloon: 0"]
    if number % 50 == 3:
        lines += ["template: 1"]
    text = "".join(f"{line}\n" for line in sorted(lines))
    if number % 10 == 1:
        text = f"{text}parent: before\n\n[before]\n{text}snaptime: 1700000000\n"
    return text


def tree(directory: str, count: int, bus: str = _BUS) -> Path:
    """A node with so many guests, that has what they need."""
    volumes = "".join(f"\t\tvm-{number}-disk-0 {{\n\t\t}}\n" for number in range(100, 100 + count))
    files: dict[str, Content] = {
        **boot.plant(""),
        **pci.plant(bus),
        "etc/pve/local": Link("nodes/pve1"),
        "etc/pve/storage.cfg": _STORAGES,
        "etc/lvm/backup/pve": f"pve {{\n\tlogical_volumes {{\n{volumes}\t}}\n}}\n",
        "sys/devices/system/cpu/online": "0-31\n",
        "dev/disk": None,
        "sys/class/net/vmbr0/bridge": None,
        "var/lib/vz/images": None,
        **{f"var/lib/vz/template/iso/debian-{number}.iso": "" for number in range(3)},
        "etc/pve/ha/resources.cfg": "".join(f"vm: {number}\n\tstate started\n\n" for number in range(100, 100 + count, 10)),
    }
    files |= {f"etc/pve/nodes/pve1/qemu-server/{number}.conf": config(number) for number in range(100, 100 + count)}
    return make_fake_tree(directory, files)


def audit() -> Iterator[Figure]:
    """The whole verb beside a loop, both in this process; and what the command holds at most, beside few guests."""
    with tempfile.TemporaryDirectory() as directory:
        many, few = tree(f"{directory}/many", GUESTS), tree(f"{directory}/few", 50)
        host = Host(str(many))

        def reference() -> None:
            known = guests.known_cpu_models(host)
            for vmid in node.guest_ids(host, "pve1"):
                raw = guests.read_raw_or_error(host, "pve1", vmid)
                assert isinstance(raw, bytes)
                guestconfig.parse(raw, known)

        def ours() -> None:
            with open(os.devnull, "w", encoding="utf-8") as output, redirect_stdout(output):
                assert main.main(["check", "--root", str(many)]) in (0, 1)

        ours()
        pairs = [(_cpu_of(ours), _cpu_of(reference)) for _ in range(TIMES)]
        mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(mine / theirs for mine, theirs in pairs)
        words = f"{mine:.2f} s CPU; only reading and parsing them {theirs:.2f} s"
        yield Figure(f"check of {GUESTS} guests with all rules", ratio, 3.5, "times", words)
        yield Figure(f"check of {GUESTS} guests: memory beside that of 50", _most_memory(many) - _most_memory(few), 25, "MB")
        first, empty = (statistics.median(_first_line(command) for _ in range(TIMES)) for command in (_check(many), _check(few)))
        yield Figure(f"check of {GUESTS} guests: until its first line", first, 0.5, "s CPU", f"of 50 guests {empty:.2f} s")


def report() -> Iterator[Figure]:
    """The report as HTML, with many devices."""
    with tempfile.TemporaryDirectory() as directory:
        buses = (f"0000:{bus:02x}:00.{function}" for bus in range(0x10, 0x10 + DEVICES // 2) for function in (0, 1))
        others = "".join(f"{address} class=020000 id=8086:1572 driver=i40e group={int(address[5:7], 16)}\n" for address in buses)
        root = tree(f"{directory}/node", REPORTED, _BUS + others)
        file = Path(directory, "report.html")
        command = [sys.executable, "-m", "pvehooks", "report", "--html", str(file), "--root", str(root)]
        taken = statistics.median(_cpu_of_command(command) for _ in range(TIMES))
        words = f"only starting: {_cpu_of_command([sys.executable, '-m', 'pvehooks', '--version']):.2f} s"
        yield Figure(f"report of {REPORTED} guests, {DEVICES} devices", taken, 2, "s CPU", words)
        yield Figure("its file", file.stat().st_size / 1e6, 1, "MB")


def _check(root: Path) -> list[str]:
    return [sys.executable, "-m", "pvehooks", "check", "--root", str(root)]


def _first_line(command: list[str]) -> float:
    with kill_on_failure(subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE)) as process:
        assert process.stdout is not None and process.stdout.readline()
        taken = cpu_seconds(process.pid)
        process.kill()
        process.communicate()
    return taken


def _cpu_of_command(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _cpu_of(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _most_memory(root: Path) -> float:
    """Megabytes that the command holds at most (VmHWM of proc(5): what wait4(2) tells begins with the memory of who forked it)."""
    command = [sys.executable, "-c", _COMMAND, "check", "--root", str(root)]
    done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    return int(done.stderr) / 1024
