"""The daemon notices every change, made here or elsewhere, through restarts and faults of pmxcfs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from pvehooks.daemon.queue import MAX_RUNNING
from tests.beds.process import kill_on_failure
from tests.beds.tree import make_fake_tree
from tests.daemon.bed import PROJECT, RNG0, NodeBed, uefi, wait_until

Make = Callable[..., NodeBed]


def test_a_new_guest_gets_its_rng0(node: Make) -> None:
    bed = node()
    bed.start()
    bed.write(100, uefi())
    assert RNG0 in bed.wait_for_rng0(100)
    (call,) = bed.qm.calls("set", 100)
    assert call.option("rng0") == "source=/dev/urandom,max_bytes=1024,period=1000"
    assert len(call.option("digest") or "") == 40
    (entry,) = bed.logged("injected", 100)
    assert entry["SYSLOG_IDENTIFIER"] == "pvehooksd"
    assert entry["PRIORITY"] == "5"
    assert entry["PVEHOOKS_NODE"] == "pve1"
    assert entry["PVEHOOKS_RULE"] == "rng-missing-netboot"
    assert entry["PVEHOOKS_DEVICE"] == "rng0"
    assert len(entry["MESSAGE_ID"]) == 32
    assert entry["MESSAGE"].startswith("VM 100 (web): given rng0")


def test_own_writes_are_not_judged_again(node: Make) -> None:
    bed = node()
    bed.start()
    bed.write(100, uefi())
    bed.wait_for_rng0(100)
    bed.settle()
    assert bed.sets() == 1
    assert len(bed.qm.calls("config", 100)) == 1
    assert len(bed.messages("PVEHOOKS_VMID=100")) == 1


def test_changes_by_another_node(node: Make) -> None:
    """Of these /etc/pve gives no event; the database's directory rings."""
    # Not one without its rng0: an rng0 that a person gave and took away again is not given again.
    bed = node({"100.conf": uefi("edited").replace("bios: ovmf\n", "")})
    bed.start()
    bed.pve.remote_write("nodes/pve1/qemu-server/101.conf", uefi("created"))
    bed.wait_for_rng0(101)
    bed.pve.remote_write("nodes/pve1/qemu-server/100.conf", uefi("edited"))
    bed.wait_for_rng0(100)
    bed.pve.remote_write("nodes/pve2/qemu-server/102.conf", uefi("other"))
    bed.settle()
    assert bed.sets(102) == 0
    bed.pve.remote_rename("nodes/pve2/qemu-server/102.conf", "nodes/pve1/qemu-server/102.conf")
    bed.wait_for_rng0(102)


def test_migration_and_deletion(node: Make) -> None:
    bed = node()
    bed.start()
    bed.write(100, uefi())
    bed.wait_for_rng0(100)
    record = Path("/etc/pve/pvehooks/guests/100.json")
    assert record.exists()
    os.rename(bed.pve.config(100), bed.pve.config(100, "pve2"))
    bed.settle()
    assert record.exists(), "the record follows the guest"
    os.rename(bed.pve.config(100, "pve2"), bed.pve.config(100))
    bed.settle()
    bed.pve.config(100).unlink()
    bed.settle()
    wait_until(lambda: not record.exists(), "the record of a deleted guest is removed")
    assert bed.sets() == 1


@pytest.mark.parametrize("fault", ["stop", "kill", "restart"])
def test_pmxcfs_goes_and_comes_back(node: Make, fault: str) -> None:
    bed = node({"100.conf": uefi("untouched", RNG0)})
    bed.start()
    if fault == "stop":
        bed.pve.stop()
    else:
        bed.pve.kill()
    if fault != "restart":
        bed.logged("pmxcfs-away")
    bed.pve.restart()
    bed.write(101, uefi("after"))
    bed.wait_for_rng0(101)
    bed.pve.remote_write("nodes/pve1/qemu-server/102.conf", uefi("remote"))
    bed.wait_for_rng0(102)
    if fault != "restart":
        bed.logged("pmxcfs-back")


def test_nothing_of_pmxcfs_is_held_open(node: Make) -> None:
    bed = node({"100.conf": uefi("web", RNG0)})
    bed.start()
    bed.write(101, uefi())
    bed.wait_for_rng0(101)
    assert bed.daemon is not None
    wait_until(lambda: not held_below_pve(bed.daemon.pid), "nothing below /etc/pve is open between two reads")


def held_below_pve(pid: int) -> list[str]:
    """What the process has open below /etc/pve; a descriptor may go while it is looked at."""
    links = [*Path(f"/proc/{pid}/fd").iterdir(), Path(f"/proc/{pid}/cwd")]
    targets = []
    for link in links:
        with suppress(FileNotFoundError):
            targets.append(os.readlink(link))
    return [target for target in targets if target.startswith("/etc/pve")]


def test_quorum(node: Make) -> None:
    """Without quorum nothing can be written, and no qm is started for it; what is due is done when it returns. No warning at each boot."""
    bed = node({f"{vmid}.conf": uefi(f"vm{vmid}") for vmid in range(100, 110)})
    bed.pve.set_quorum(False)
    bed.start()
    bed.logged("quorum-awaited")
    assert bed.qm.calls() == [] and "rng0" not in bed.read(100)
    assert [bed.messages(f"PVEHOOKS_EVENT={kind}") for kind in ("quorum-lost", "waiting", "changes-wait", "not-published")] == [
        [],
        [],
        [],
        [],
    ]
    bed.pve.set_quorum(True)
    for vmid in range(100, 110):
        bed.wait_for_rng0(vmid)
    bed.logged("quorum-back")
    bed.settle()
    for vmid in range(110, 122):
        bed.qm.misbehave("sleep", verb="set", vmid=vmid, seconds=1)
        bed.write(vmid, uefi(f"vm{vmid}"))
    wait_until(lambda: len(bed.qm.calls("set")) > 10, "those of 110 and more have begun")
    bed.pve.set_quorum(False)
    bed.logged("quorum-lost")
    assert [bed.messages(f"PVEHOOKS_EVENT={kind}") for kind in ("waiting", "changes-wait", "not-published")] == [[], [], []]
    bed.pve.set_quorum(True)
    for vmid in range(110, 122):
        bed.wait_for_rng0(vmid)
    assert len(bed.qm.calls("set")) <= 22 + 2 * MAX_RUNNING, "no qm was started for what waited"
    assert len(bed.logged("quorum-back", count=2)) == 2


def run_on_tree(tree: Path, *before: str, **options: str) -> subprocess.Popen[str]:
    command = [*before, sys.executable, "-m", "pvehooks.daemon", "--foreground", "--root", str(tree), "--node", "pve1"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), **options}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)


def end(daemon: subprocess.Popen[str]) -> str:
    daemon.terminate()
    _, lines = daemon.communicate(timeout=60)
    return lines


def test_lost_inotify_events(tmp_path: Path) -> None:
    """The daemon stands still while more happens than the kernel's queue holds; nothing is lost."""
    tree = make_fake_tree(tmp_path, {"etc/pve/nodes/pve1/qemu-server/": None, "etc/pvehooks/pvehooks.conf": "[watch]\ninterval = 3600\n"})
    configs = tree / "etc/pve/nodes/pve1/qemu-server"
    daemon = run_on_tree(tree)
    try:
        wait_until((tree / "etc/pve/pvehooks/first-look/pve1.json").exists, "the first look")
        time.sleep(0.3)
        daemon.send_signal(signal.SIGSTOP)
        (configs / "a").touch()
        for _ in range(int(Path("/proc/sys/fs/inotify/max_queued_events").read_text()) // 4 + 1):
            os.rename(configs / "a", configs / "b")
            os.rename(configs / "b", configs / "a")
        for vmid in range(100, 120):
            (configs / f"{vmid}.conf").write_text(uefi(f"n{vmid}"))
        daemon.send_signal(signal.SIGCONT)
        for vmid in range(100, 120):
            config = configs / f"{vmid}.conf"
            wait_until(lambda config=config: RNG0 in config.read_text(), f"rng0 in {vmid}")
    finally:
        lines = end(daemon)
    assert "inotify events were lost" in lines


def test_node_directory_appears_late(tmp_path: Path) -> None:
    tree = make_fake_tree(tmp_path, {"etc/pve/nodes/pve1/": None, "etc/pvehooks/pvehooks.conf": "[watch]\ninterval = 3600\n"})
    daemon = run_on_tree(tree)
    try:
        wait_until((tree / "etc/pve/pvehooks/first-look/pve1.json").exists, "the first look")
        time.sleep(0.3)
        configs = tree / "etc/pve/nodes/pve1/qemu-server"
        configs.mkdir()
        (configs / "100.conf").write_text(uefi())
        wait_until(lambda: RNG0 in (configs / "100.conf").read_text(), "rng0")
        (configs / "101.conf").write_text(uefi())
        wait_until(lambda: RNG0 in (configs / "101.conf").read_text(), "rng0")
    finally:
        end(daemon)


def test_without_watches_the_timer_serves(tmp_path: Path) -> None:
    """In a user namespace that allows no inotify watch at all (user_namespaces(7): /proc/sys/user)."""
    tree = make_fake_tree(tmp_path, {"etc/pve/nodes/pve1/qemu-server/": None, "etc/pvehooks/pvehooks.conf": "[watch]\ninterval = 5\n"})
    script = 'echo 0 > /proc/sys/user/max_inotify_watches && exec "$@"'
    daemon = run_on_tree(tree, "unshare", "--user", "--map-root-user", "sh", "-c", script, "sh")
    try:
        wait_until((tree / "etc/pve/pvehooks/first-look/pve1.json").exists, "the first look")
        config = tree / "etc/pve/nodes/pve1/qemu-server/100.conf"
        config.write_text(uefi())
        wait_until(lambda: RNG0 in config.read_text(), "rng0")
    finally:
        lines = end(daemon)
    assert "a watch could not be had" in lines
    assert "changes are noticed every 5 s" in lines


def test_without_pmxcfs(node: Make) -> None:
    bed = node()
    bed.pve.stop()
    bed.start()
    (entry,) = bed.logged("pmxcfs-away")
    assert "does not answer" in entry["MESSAGE"]
    bed.pve.restart()
    bed.logged("pmxcfs-back")
    bed.write(100, uefi())
    bed.wait_for_rng0(100)


def test_stuck_on_a_dead_mount(node: Make) -> None:
    """The database changes, so pmxcfs lives, but /etc/pve stays dead for this process: it ends, for systemd to start it afresh."""
    bed = node()
    program = "import sys; from pvehooks.daemon import availability, main; availability._STUCK_AFTER = 1.0; sys.exit(main.main())"
    environment = {**os.environ, **bed.notify.environment, "PATH": bed.qm.path, "PYTHONPATH": str(PROJECT)}
    with kill_on_failure(subprocess.Popen([sys.executable, "-c", program, "--node", "pve1"], env=environment, cwd="/")) as daemon:
        bed.notify.wait_for("READY", "1")
        bed.pve.kill()
        deadline = time.monotonic() + 60
        while daemon.poll() is None:
            assert time.monotonic() < deadline
            with open("/var/lib/pve-cluster/config.db-wal", "ab") as database:
                database.write(b"\0")
            time.sleep(0.2)
        assert daemon.returncode == 3
    (entry,) = bed.logged("pmxcfs-stuck")
    assert entry["PRIORITY"] == "3"
