"""Who may not start a guest cannot switch the guard off: what takes long comes last, and what was found until then counts."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.beds.process import kill_on_failure
from tests.beds.tree import Content, Link, make_fake_tree
from tests.guard import bed
from tests.guard.bed import KNOWN, REFUSED, broken

HANGING = f"""
import sys, time
sys.path.insert(0, {str(bed.PROJECT)!r})
from pvehooks.facts.uses import processes
from pvehooks.guard import main, start
main._DEADLINE = 1.0
start.send_settings = lambda settings, send: send("settings", 1, "known")
processes.OpenFiles._look = lambda self: time.sleep(60)
main.run()
"""


def hanging(root: Path) -> bed.Ran:
    """A start while the open files of all processes take longer than the deadline."""
    line = [*bed.ISOLATED, "-c", HANGING, "100", "pre-start", "--root", str(root)]
    done = subprocess.run(line, env=bed.environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return bed.Ran(done.returncode, done.stdout)


def with_open_disk(root: Path, hostpci1: str) -> None:
    """A guest that gets the idle disk, which nothing but a process could use, and another device."""
    config = root / bed.NODE / "100.conf"
    config.write_text(config.read_text() + f"hostpci1: {hostpci1}\n")


def test_what_was_found_by_the_deadline_refuses(tmp_path: Path) -> None:
    """The first device needs the look that hangs, the second is part of a bridge: that is known before."""
    root = bed.node(tmp_path, hostpci=bed.IDLE_DISK)
    with_open_disk(root, bed.SHARED_WITH_PORT)
    ran = hanging(root)
    assert ran.status == 1
    assert "the examination took longer than 1 s" in ran.out
    assert "VM 100 (gpu) is not started: " in ran.out and "is the uplink of vmbr0" in ran.out
    assert "pvehooks allow 100 --once --reason WHY" in ran.out
    assert "no start of it was accepted before" not in ran.out


def test_without_a_finding_it_is_as_before(tmp_path: Path) -> None:
    root = bed.node(tmp_path, hostpci=bed.IDLE_DISK)
    ran = hanging(root)
    assert (ran.status, REFUSED + "no start of it was accepted before" in ran.out) == (1, True)


def test_an_override_counts_also_then(tmp_path: Path) -> None:
    root = bed.node(tmp_path, hostpci=bed.IDLE_DISK)
    with_open_disk(root, bed.SHARED_WITH_PORT)
    bed.pvehooks(root, "allow", "100", "--once", "--reason", "the card must come up")
    ran = hanging(root)
    assert ran.status == 0 and "allowed it: the card must come up" in ran.out
    assert "allowance" not in bed.record(root)


@pytest.mark.parametrize("look", ["time.sleep(30)", "raise KeyError", "os.kill(os.getpid(), 9)", "return 7"])
def test_what_was_found_counts_however_the_look_ends(look: str, tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    assert bed.start(root).status == 0
    line = "VM 100 (gpu) is not started: a use. [host-device-in-use]"
    status, out = broken(root, f"send('settings', 1, 'known'); send('found', {line!r}); {look}")
    assert status == 1 and f"pvehooks: {line}\n" in out


# -- the last accepted start, and what its devices are used for now ---------------------------------------------------


@pytest.mark.parametrize(
    ("hostpci", "files", "words"),
    [
        (bed.IDLE_DISK, {"proc/1/mountinfo": "36 1 259:1 / /srv rw - ext4 /dev/x rw\n"}, "holds a mounted file system (nvme0n1p1)"),
        (bed.IDLE_DISK, {"proc/swaps": "Filename\n/dev/nvme0n1p1 partition 1 0 -2\n"}, "holds swap (nvme0n1p1)"),
        (
            bed.IDLE_DISK,
            {
                "sys/class/block/nvme0n1p1/holders/dm-0": Link("../../dm-0"),
                "sys/class/block/dm-0/dev": "253:0\n",
                "proc/1/mountinfo": "36 1 253:0 / / rw - ext4 /dev/mapper/pve-root rw\n",
            },
            "holds a mounted file system (dm-0)",
        ),
        (bed.IDLE_DISK, {"sys/fs/btrfs/1-2/devices/nvme0n1p1": ""}, "holds a mounted file system (nvme0n1p1)"),
        ("0000:03:00.1", {"sys/class/net/eno1/master": Link("../vmbr0")}, "is the network card eno1, which is part of vmbr0"),
        ("0000:03:00.1", {"sys/class/net/eno1/upper_eno1.5": Link("../eno1.5")}, "is the network card eno1, which is part of eno1.5"),
    ],
)
def test_a_known_start_whose_devices_are_in_use_now(hostpci: str, files: dict[str, Content], words: str, tmp_path: Path) -> None:
    """Its identity has not changed, but the node has taken a member since."""
    root = bed.node(tmp_path, hostpci=hostpci)
    for link in (root / "sys/class/net/eno1").glob("master"):
        link.unlink()
    for each in root.glob("sys/devices/**/net/eno1/*"):
        if each.is_symlink():
            each.unlink()
    bed.pvehooks(root, "trust", "100")
    assert broken(root, "raise KeyError")[1].endswith(KNOWN)
    make_fake_tree(root, files)
    status, out = broken(root, "raise KeyError")
    assert status == 1 and words in out


# -- who holds the lock, and who does not read ------------------------------------------------------------------------


@pytest.mark.parametrize("examined", [True, False])
def test_an_override_that_cannot_be_used_up_lets_nothing_through(examined: bool, tmp_path: Path) -> None:
    root = bed.node(tmp_path, hostpci=bed.SHARED_WITH_PORT)
    bed.pvehooks(root, "allow", "100", "--once", "--reason", "it must come up")
    with (root / "run/pvehooks/locks/100.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for _ in range(2):
            status, out = bed.start(root) if examined else broken(root, "raise KeyError")
            assert status == 1 and "the override for this one start cannot be used up" in out, out
    assert bed.start(root).status == 0
    assert bed.start(root).status == 1


def test_an_override_that_is_not_needed_refuses_nothing(tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    bed.pvehooks(root, "allow", "100", "--once", "--reason", "it must come up")
    with (root / "run/pvehooks/locks/100.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert bed.start(root).status == 0


def test_many_findings_are_a_few_lines(tmp_path: Path) -> None:
    """A group of thousands, or a tenant's thousands of entries, must not fill the task log."""
    files: dict[str, Content] = {}
    for number in range(3000):
        address = f"0000:{0x10 + number // 256:02x}:{number % 256 // 8:02x}.{number % 8}"
        place = f"sys/devices/pci0000:00/{address}"
        files |= {
            f"sys/bus/pci/devices/{address}": Link(f"../../../devices/pci0000:00/{address}"),
            f"{place}/class": "0x010802\n",
            f"{place}/vendor": "0x144d\n",
            f"{place}/device": "0xa808\n",
            f"{place}/driver": Link("../../../bus/pci/drivers/nvme"),
            f"sys/kernel/iommu_groups/2/devices/{address}": Link(f"../../../../devices/pci0000:00/{address}"),
        }
    root = bed.node(tmp_path, files, hostpci=bed.IDLE_DISK)
    # It takes a second; on a busy machine as many as the deadline has.
    bed.settings(root, "[guard]\ndeadline = 60\n")
    ran = bed.start(root)
    assert ran.status == 1
    assert 5 < ran.out.count("\n") <= 20
    assert "more lines are not shown. See: pvehooks check 100" in ran.out
    assert ran.out.endswith("pvehooks allow 100 --once --reason WHY\n")


def test_many_findings_before_the_deadline_are_as_few_lines(tmp_path: Path) -> None:
    looks = "main._examine = lambda vmid, root, send: [send('found', f'finding {n}') for n in range(40)] and time.sleep(60)"
    line = [*bed.ISOLATED, "-c", HANGING.replace("main.run()", f"{looks}\nmain.run()"), "100", "pre-start", "--root"]
    done = subprocess.run([*line, str(bed.node(tmp_path))], env=bed.environment(), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "finding 0\n" in done.stdout
    assert done.stdout.count("\n") <= 20
    assert done.stdout.endswith("pvehooks allow 100 --once --reason WHY\n")


@pytest.mark.parametrize(("hostpci", "status"), [("0000:01:00,pcie=1", 0), (bed.SHARED_WITH_PORT, 1)])
def test_a_reader_that_does_not_read(hostpci: str, status: int, tmp_path: Path) -> None:
    """The pipe is full and stays so: the verdict comes all the same, and soon."""
    root = bed.node(tmp_path, hostpci=hostpci)
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    try:
        while True:
            os.write(theirs, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(theirs, True)
    with kill_on_failure(
        subprocess.Popen(bed.command("100", "pre-start", "--root", str(root)), env=bed.environment(), stdout=theirs, cwd="/")
    ) as process:
        assert process.wait(40) == status
    os.close(theirs)
    os.close(ours)


def test_a_reader_that_does_not_read_and_a_look_that_prints_for_ever(tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    assert bed.start(root).status == 0
    program = f"""
import sys
sys.path.insert(0, {str(bed.PROJECT)!r})
from pvehooks.guard import main, start
from pvehooks.guard.log import log_line
def examine(host, place, vmid, compiled_settings, send):
    send('settings', 1, 'known')
    while True:
        log_line('x' * 4000)
start.examine = examine
main.run()
"""
    ours, theirs = os.pipe()
    line = [*bed.ISOLATED, "-c", program, "100", "pre-start", "--root", str(root)]
    with kill_on_failure(subprocess.Popen(line, env=bed.environment(), stdout=theirs)) as process:
        began = time.monotonic()
        assert process.wait(60) == 0, "known"
        assert time.monotonic() - began < 60
    os.close(theirs)
    os.close(ours)
