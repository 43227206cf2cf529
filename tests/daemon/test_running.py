"""The daemon as a service: signals, settings, sd_notify, one instance, standard error without journald."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from pvehooks.daemon import signals
from tests.beds.process import kill_on_failure
from tests.beds.tree import make_fake_tree
from tests.daemon import hurried
from tests.daemon.bed import PROJECT, QM, RNG0, NodeBed, uefi, wait_until

Make = Callable[..., NodeBed]


def test_notify(node: Make) -> None:
    bed = node()
    bed.start(watchdog=0.4)
    bed.notify.wait_for("READY", "1")
    bed.notify.wait_for("WATCHDOG", "1")
    bed.write(100, uefi())
    bed.wait_for_rng0(100)
    bed.notify.wait_for("STATUS", "1 VM watched, 0 findings; last change: VM 100 given rng0")
    bed.write(101, uefi("x", "onbot: 1\n"))
    bed.notify.wait_for("STATUS", "2 VMs watched, 3 findings (3 warnings); last change: VM 100 given rng0")
    time.sleep(1)
    bed.stop()
    bed.notify.wait_for("STOPPING", "1")
    assert len(bed.notify.values("WATCHDOG")) >= 3


def test_sighup_with_good_and_broken_settings(node: Make) -> None:
    bed = node(settings="[rng]\nmode = warn\n")
    bed.start()
    bed.write(100, uefi())
    bed.journal.wait_for("PVEHOOKS_RULE=rng-missing-netboot")
    bed.conf.write_text("[rng]\nmod = inject\n")
    bed.signal(signal.SIGHUP)
    (entry,) = bed.logged("settings-broken")
    assert "/etc/pvehooks/pvehooks.conf, line 2" in entry["MESSAGE"]
    assert "did you mean 'mode'?" in entry["MESSAGE"]
    bed.settle()
    assert bed.sets() == 0, "the old settings stay in force"
    bed.conf.write_text("[rng]\nmode = inject\nmax_bytes = 512\n")
    bed.signal(signal.SIGHUP)
    bed.logged("settings-read")
    bed.notify.wait_for("RELOADING", "1")
    assert "max_bytes=512" in wait_until(lambda: "rng0" in bed.read(100) and bed.read(100), "rng0")


def test_an_edited_settings_file_is_noticed(node: Make) -> None:
    """In a cluster nobody goes round all nodes with SIGHUP: the next look at the counters sees it."""
    bed = node(settings="[rng]\nmode = warn\n")
    bed.start()
    bed.pve.remote_write("pvehooks/pvehooks.conf", "[rng]\nscope = all\n")
    bed.logged("settings-read")


def test_sigterm_ends_at_once(node: Make) -> None:
    bed = node({"100.conf": uefi("old", old=True)})
    bed.start()
    assert bed.stop() < signals.QM_GRACE, "not what it waits for where qm runs"
    assert bed.logged("stopped")


def test_sigterm_waits_for_qm(node: Make, tmp_path: Path) -> None:
    """The qm that runs is seen to its end, what waits is not begun."""
    bed = node(settings=QM)
    bed.qm.misbehave("pause", verb="set", times=None, until=str(tmp_path / "go"))
    bed.start()
    for vmid in range(100, 106):
        bed.write(vmid, uefi(f"n{vmid}"))
    wait_until(lambda: bed.sets() == 4, "four qm set")
    bed.signal(signal.SIGTERM)
    bed.notify.wait_for("STOPPING", "1")
    assert bed.daemon is not None and bed.daemon.poll() is None
    (tmp_path / "go").touch()
    assert bed.daemon.wait(60) == 0, bed.log.read_text()
    assert bed.sets() == 4
    assert len(bed.logged("injected", count=4)) == 4


def test_sigterm_waits_twenty_seconds_at_most(node: Make) -> None:
    assert signals.QM_GRACE == 20.0
    bed = node()
    bed.qm.misbehave("hang", verb="set", times=None)
    bed.start(program=("tests.daemon.hurried",))
    bed.write(100, uefi())
    wait_until(lambda: bed.sets() == 1, "qm set")
    try:
        assert hurried.GRACE - 1 < bed.stop(60) < 40
    finally:
        for call in bed.qm.calls("set"):
            os.kill(call.pid, signal.SIGKILL)


def test_one_instance(node: Make) -> None:
    bed = node()
    bed.start()
    command = [sys.executable, "-m", "pvehooks.daemon", "--node", "pve1"]
    second = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(PROJECT)}, capture_output=True, timeout=60, check=False)
    assert second.returncode == 3
    assert "another pvehooksd runs here already" in " ".join(bed.messages())


def test_reported_once(node: Make) -> None:
    """A finding is said when it appears, when it changes, when it is gone; neither at each look nor at each start."""
    bed = node(settings="[rng]\nmode = warn\n")
    bed.start()
    bed.write(100, uefi())
    bed.journal.wait_for("PVEHOOKS_RULE=rng-missing-netboot")
    bed.write(100, uefi(more="cores: 2\n"))
    bed.settle()
    bed.stop()
    bed.start()
    bed.settle()
    assert len(bed.journal.entries("PVEHOOKS_RULE=rng-missing-netboot")) == 1
    bed.write(100, uefi(more="net1: virtio=BC:24:11:2C:69:ED,bridge=vmbr0\n").replace("scsi0;net0", "scsi0;net0;net1"))
    bed.journal.wait_for("PVEHOOKS_RULE=rng-missing-netboot", count=2)
    bed.write(100, uefi().replace("ovmf", "seabios"))
    (entry,) = bed.logged("mended", 100)
    assert entry["MESSAGE"] == "VM 100 (web): no longer: rng-missing-netboot (rng0)"


def test_who_changes_a_guest_again_and_again_does_not_fill_the_journal(node: Make) -> None:
    """Nor does one who makes and destroys it. The guest is cared for as before."""
    bed = node(settings="[rng]\nmode = warn\n[watch]\nsettle = 0.05\n")
    bed.start()
    for number in range(300):
        bed.write(100, uefi(more="vga: foo\ncpu: x y\n") if number % 2 else "name: web\n")
        time.sleep(0.1)
        if bed.messages("PVEHOOKS_EVENT=suppressed", "PVEHOOKS_VMID=100"):
            break
    for _ in range(5):
        bed.pve.config(100).unlink()
        time.sleep(0.1)
        bed.write(100, uefi(more="vga: foo\n"))
        time.sleep(0.1)
    (entry,) = bed.logged("suppressed", 100)
    assert "there were 10 times " in entry["MESSAGE"] and "pvehooks check 100" in entry["MESSAGE"]
    bed.settle()
    lines = Counter(
        (each["PVEHOOKS_RULE"], each["PVEHOOKS_DEVICE"]) for each in bed.journal.entries("PVEHOOKS_VMID=100", "PVEHOOKS_EVENT=finding")
    )
    assert lines and max(lines.values()) <= 10, lines
    bed.conf.write_text("[rng]\nmode = inject\n")
    bed.signal(signal.SIGHUP)
    bed.write(100, uefi())
    wait_until(lambda: "rng0:" in bed.read(100), "rng0")


def test_hostile_text_is_escaped(node: Make) -> None:
    bed = node(settings="[rng]\nmode = warn\n")
    bed.start()
    bed.write(100, uefi("w", "foo: \x1b[31mred\x07\n"))
    (entry,) = bed.journal.wait_for("PVEHOOKS_RULE=config-lines-dropped")
    assert "\\x1b[31mred\\x07" in entry["MESSAGE"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [("[rng]\nmode = injekt\n", "line 2"), ("[rules]\nrng-mising = info\n", "rng-missing")],
)
def test_broken_settings_at_start(tmp_path: Path, settings: str, words: str) -> None:
    tree = make_fake_tree(tmp_path, {"etc/pve/nodes/pve1/qemu-server/": None, "etc/pvehooks/pvehooks.conf": settings})
    command = [sys.executable, "-m", "pvehooks.daemon", "--root", str(tree)]
    ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(PROJECT)}, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert words in ended.stderr


def test_a_tree_without_journald(tmp_path: Path) -> None:
    """Readable lines on standard error; nothing outside of the tree is touched, no command is run."""
    tree = make_fake_tree(tmp_path / "tree", {"etc/pve/nodes/pve1/qemu-server/": None})
    qm = tmp_path / "bin" / "qm"
    qm.parent.mkdir()
    qm.write_text(f"#!/bin/sh\ntouch {tmp_path}/called\n")
    qm.chmod(0o755)
    command = [sys.executable, "-m", "pvehooks.daemon", "--foreground", "--root", str(tree)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "PATH": f"{qm.parent}:{os.environ['PATH']}"}
    with kill_on_failure(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)) as daemon:
        wait_until((tree / "etc/pve/pvehooks/first-look/pve1.json").exists, "the first look")
        config = tree / "etc/pve/nodes/pve1/qemu-server/100.conf"
        config.write_text(uefi())
        wait_until(lambda: RNG0 in config.read_text(), "rng0")
        time.sleep(0.3)
        daemon.terminate()
        _, lines = daemon.communicate(timeout=60)
    assert config.read_text().replace(RNG0, "") == uefi()
    assert "notice:  VM 100 (web): given rng0" in lines
    assert not (tmp_path / "called").exists()
    assert (tree / "run/pvehooks/pvehooksd.lock").exists()


def test_a_service_manager_that_does_not_listen(tmp_path: Path) -> None:
    tree = make_fake_tree(tmp_path, {"etc/pve/nodes/pve1/qemu-server/": None})
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "NOTIFY_SOCKET": str(tmp_path / "absent")}
    with kill_on_failure(subprocess.Popen([sys.executable, "-m", "pvehooks.daemon", "--root", str(tree)], env=environment)) as daemon:
        wait_until((tree / "etc/pve/pvehooks/first-look/pve1.json").exists, "the first look")
        time.sleep(0.3)
        daemon.terminate()
    assert daemon.returncode == 0


def test_sigterm_while_pmxcfs_hangs(node: Make) -> None:
    """A read that hangs in FUSE is not interrupted by a signal; systemd must not wait for us with what would end the hang."""
    bed = node()
    bed.start()
    assert bed.daemon is not None
    # What it has to say to the others is said.
    wait_until(bed.pve.path("nodes/pve1/pvehooks-summary.json").exists, "the summary")
    bed.settle()
    with bed.pve.frozen():
        with open("/var/lib/pve-cluster/config.db-wal", "ab") as database:
            database.write(b"\0")
        wait_until(bed.pve.requests, "a read that hangs")
        began = time.monotonic()
        bed.signal(signal.SIGTERM)
        bed.daemon.wait(60)
        assert time.monotonic() - began > 1
