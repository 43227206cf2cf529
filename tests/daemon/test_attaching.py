"""How the guard gets onto the guests that need it: by itself, before they start, and where nobody took it out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.beds.namespace import empty
from tests.beds.process import running_guest
from tests.daemon.bed import PROJECT, RNG0, NodeBed, uefi, wait_until

Make = Callable[..., NodeBed]
SNIPPETS = Path("/var/lib/vz/snippets")
STUB = "local:snippets/pvehooks-guard"
PASSED = "hostpci0: 0000:01:00.0,pcie=1\n"


@pytest.fixture(autouse=True)
def snippets() -> Iterator[None]:
    """Empty before and after."""
    empty(SNIPPETS)
    yield
    empty(SNIPPETS)


def passing(name: str = "gpu", more: str = "") -> str:
    """A guest with a passed-through device that lacks nothing else."""
    return f"{PASSED}memory: 512\nname: {name}\n{more}"


def have_package(bed: NodeBed) -> None:
    """The other node says that it has the package."""
    bed.pve.remote_write("nodes/pve2/pvehooks.json", '{"version": "1.0"}\n')


@pytest.fixture
def cluster(node: Make) -> Make:
    """A node of a cluster in which all have the package."""

    def make(*arguments: object, **options: object) -> NodeBed:
        bed = node(*arguments, **options)
        have_package(bed)
        return bed

    return make


def wait_for_guard(bed: NodeBed, vmid: int) -> str:
    """The config once the guard is in it and the daemon has said so."""
    wait_until(lambda: "hookscript: local:snippets/pvehooks-guard" in bed.read(vmid), f"guard in {vmid}; {bed.log.read_text()}")
    bed.logged("attached", vmid)
    return bed.read(vmid)


def test_by_itself_in_one_change_with_the_rng0(cluster: Make) -> None:
    bed = cluster()
    bed.start()
    bed.write(100, uefi("gpu", PASSED))
    text = wait_for_guard(bed, 100)
    assert RNG0 in text
    assert bed.sets() == 1
    (call,) = bed.qm.calls("set", 100)
    assert (call.option("hookscript"), bool(call.option("rng0")), len(call.option("digest") or "")) == (STUB, True, 40)
    assert bed.logged("injected", 100)
    record = json.loads(Path("/etc/pve/pvehooks/guests/100.json").read_text())
    assert (record["attachment"]["volid"], record["attachment"]["former"], record["rng0"]["state"]) == (STUB, "", "done")
    assert not bed.journal.entries("PVEHOOKS_RULE=guard-not-attached", "PVEHOOKS_EVENT=finding")


def test_a_guard_that_cannot_come_keeps_no_rng0_off(cluster: Make) -> None:
    """No storage is safe for its hookscript."""
    SNIPPETS.parent.chmod(0o777)
    try:
        bed = cluster()
        bed.start()
        bed.write(100, uefi("gpu", PASSED))
        bed.logged("not-attached", 100)
        assert bed.logged("injected", 100)
        assert RNG0 in bed.read(100) and "pvehooks-guard" not in bed.read(100)
    finally:
        SNIPPETS.parent.chmod(0o755)


def test_a_former_hookscript_is_chained(cluster: Make) -> None:
    (SNIPPETS / "hook.pl").write_text("#!/bin/sh\n")
    (SNIPPETS / "hook.pl").chmod(0o755)
    bed = cluster()
    bed.start()
    bed.write(100, passing(more="hookscript: local:snippets/hook.pl\n"))
    assert "hookscript: local:snippets/pvehooks-guard-local+hook.pl\n" in wait_for_guard(bed, 100)
    (entry,) = bed.logged("attached", 100)
    assert "Its own hookscript local:snippets/hook.pl is run by it first" in entry["MESSAGE"]
    assert (SNIPPETS / "pvehooks-guard-local+hook.pl").stat().st_mode & 0o777 == 0o755


def test_guests_from_before_the_package_get_it_and_nothing_else(cluster: Make) -> None:
    """It changes no hardware; that it was attached is no edit, so they stay old guests."""
    bed = cluster({"100.conf": uefi("old", PASSED, old=True)})
    bed.start()
    assert "rng0" not in wait_for_guard(bed, 100)
    bed.settle()
    assert bed.sets() == 1
    assert not bed.journal.entries("PVEHOOKS_RULE=rng-missing-netboot"), "that is said of all old guests in one line"
    assert "rng0" not in bed.read(100)
    bed.stop()
    bed.start()
    bed.settle()
    assert "rng0" not in bed.read(100)


def test_a_running_guest_has_it_at_once(cluster: Make) -> None:
    bed = cluster()
    with running_guest(100):
        bed.start()
        bed.write(100, passing())
        assert "[PENDING]" not in wait_for_guard(bed, 100)


def test_it_leaves_with_the_last_device_and_comes_back(cluster: Make) -> None:
    """A hookscript that nothing needs would only keep the guest from starting elsewhere."""
    bed = cluster(settings="[watch]\ndetach_after = 1\n")
    bed.start()
    bed.write(100, passing())
    wait_for_guard(bed, 100)
    bed.write(100, bed.read(100).replace(PASSED, ""))
    (entry,) = bed.logged("detached", 100)
    assert "It comes back with the next device" in entry["MESSAGE"]
    assert "hookscript" not in bed.read(100)
    assert not Path("/etc/pve/pvehooks/guests/100.json").exists()
    bed.write(100, PASSED + bed.read(100))
    wait_until(lambda: "hookscript: local:snippets/pvehooks-guard" in bed.read(100), "the guard is back")


def test_a_device_that_is_removed_and_added_again_is_never_without_the_guard(cluster: Make) -> None:
    bed = cluster()
    bed.start()
    bed.write(100, passing())
    wait_for_guard(bed, 100)
    bed.write(100, bed.read(100).replace(PASSED, ""))
    bed.settle()
    assert bed.sets() == 1 and STUB in bed.read(100)
    assert not bed.journal.entries("PVEHOOKS_RULE=guard-not-needed"), "it leaves later, nothing is to be done"
    bed.write(100, PASSED + bed.read(100))
    bed.settle()
    assert bed.sets() == 1 and STUB in bed.read(100)


def test_it_stays_while_the_removal_is_pending(cluster: Make) -> None:
    bed = cluster()
    with running_guest(100):
        bed.start()
        bed.write(100, passing())
        wait_for_guard(bed, 100)
        bed.write(100, bed.read(100) + "\n[PENDING]\ndelete: hostpci0\n")
        bed.settle()
        assert "hookscript" in bed.read(100)


def test_what_an_admin_takes_out_is_not_put_back(cluster: Make) -> None:
    bed = cluster()
    bed.start()
    bed.write(100, passing())
    wait_for_guard(bed, 100)
    bed.write(100, passing())
    bed.journal.wait_for("PVEHOOKS_RULE=guard-removed-by-admin")
    bed.write(100, passing(more="cores: 2\n"))
    bed.settle()
    bed.stop()
    bed.start()
    bed.settle()
    assert bed.sets(100) == 1


def test_a_clone_is_a_guest_of_its_own(cluster: Make) -> None:
    bed = cluster()
    bed.start()
    bed.write(100, passing())
    bed.write(101, wait_for_guard(bed, 100))
    wait_until(Path("/etc/pve/pvehooks/guests/101.json").exists, "adopted")
    bed.write(101, passing())
    bed.journal.wait_for("PVEHOOKS_RULE=guard-removed-by-admin", "PVEHOOKS_VMID=101")
    assert bed.sets(101) == 0


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("[guard]\nattach = warn\n", True),
        ("[guard]\nattach = off\n", False),
        ("[guard]\nmode = off\n", False),
        ("[guest 100]\nignore = guard-not-attached: I know\n", False),
        ("[guest 100]\n[[guard]]\nattach = off\n", False),
    ],
)
def test_settings(cluster: Make, settings: str, expected: bool) -> None:
    bed = cluster(settings=settings)
    bed.start()
    bed.write(100, passing())
    bed.settle()
    assert bool(bed.journal.entries("PVEHOOKS_RULE=guard-not-attached", "PVEHOOKS_VMID=100")) is expected
    assert bed.sets() == 0


def test_what_stands_against_the_rng0_does_not_keep_the_guard_off(cluster: Make) -> None:
    bed = cluster()
    words = "400 Parameter verification failed.\nrng0: no\n"
    bed.qm.misbehave("answer", verb="set", vmid=100, times=1, status=2, stdout="", stderr=words)
    bed.start()
    bed.write(100, uefi("gpu", PASSED))
    wait_for_guard(bed, 100)
    refused, done = bed.qm.calls("set", 100)[:2]
    assert refused.option("hookscript") == done.option("hookscript") == STUB
    assert (bool(refused.option("rng0")), done.option("rng0")) == (True, None)


def test_a_locked_guest_waits(cluster: Make) -> None:
    bed = cluster()
    bed.start()
    bed.write(100, passing(more="lock: clone\n"))
    (entry,) = bed.logged("waiting", 100)
    assert "the guard has to wait: VM is locked (clone)" in entry["MESSAGE"]
    bed.write(100, passing())
    wait_for_guard(bed, 100)


def test_stubs_of_all_nodes_are_kept(cluster: Make) -> None:
    """A guest of another node may come here."""
    bed = cluster()
    bed.start()
    assert (SNIPPETS / "pvehooks-guard").exists()
    bed.pve.remote_write("nodes/pve2/qemu-server/200.conf", "hookscript: local:snippets/pvehooks-guard-local+their.pl\n")
    wait_until((SNIPPETS / "pvehooks-guard-local+their.pl").exists, "their stub")
    (SNIPPETS / "pvehooks-guard").write_text("#!/bin/sh\n# older\n")
    bed.stop()
    bed.start()
    assert "# older" not in (SNIPPETS / "pvehooks-guard").read_text()


def test_hookscripts_that_high_availability_would_miss(cluster: Make) -> None:
    bed = cluster()
    bed.pve.remote_mkdir("ha")
    bed.pve.remote_write("ha/resources.cfg", "vm: 200\n\tstate started\n\n")
    bed.pve.remote_write("nodes/pve2/qemu-server/200.conf", "hookscript: local:snippets/their.pl\n")
    bed.pve.remote_write("nodes/pve2/qemu-server/201.conf", "hookscript: local:snippets/not-ha.pl\n")
    bed.start()
    (entry,) = bed.logged("hookscript-absent")
    assert "local:snippets/their.pl (VM 200 on pve2). Copy it here" in entry["MESSAGE"]


# -- the cluster ------------------------------------------------------------------------------------------------------


def test_not_before_every_node_has_the_package(node: Make) -> None:
    bed = node({"100.conf": passing()})
    bed.start()
    (entry,) = bed.logged("nodes-lacking")
    assert "missing on pve2" in entry["MESSAGE"]
    assert json.loads(Path("/etc/pve/nodes/pve1/pvehooks.json").read_text())["version"]
    bed.journal.wait_for("PVEHOOKS_RULE=guard-not-attached", "PVEHOOKS_VMID=100")
    assert bed.sets() == 0
    have_package(bed)
    wait_for_guard(bed, 100)
    bed.logged("nodes-complete")


def test_a_node_that_loses_the_package(cluster: Make) -> None:
    bed = cluster(settings="[watch]\ninterval = 5\n")
    bed.start()
    bed.pve.local_write("nodes/pve2/pvehooks.json", "")
    (entry,) = bed.logged("node-lacks")
    assert entry["PRIORITY"] == "3"
    assert "node pve2 does not have pvehooks any more" in entry["MESSAGE"]
    bed.write(100, passing())
    bed.journal.wait_for("PVEHOOKS_RULE=guard-not-attached", "PVEHOOKS_VMID=100")
    assert bed.sets() == 0


def test_a_node_that_joins_without_it(cluster: Make) -> None:
    bed = cluster()
    bed.start()
    conf = "".join(
        f"  node {{\n    name: {name}\n    nodeid: {n}\n    ring0_addr: 192.0.2.{n}\n  }}\n"
        for n, name in enumerate(["pve1", "pve2", "pve3"], 1)
    )
    bed.pve.local_write("corosync.conf", f"nodelist {{\n{conf}}}\n")
    (entry,) = bed.logged("node-lacks")
    assert "node pve3 has joined the cluster without pvehooks" in entry["MESSAGE"]


# -- the boot ---------------------------------------------------------------------------------------------------------


def test_guests_that_start_at_boot_have_it_before_ready(cluster: Make) -> None:
    """Those with onboot and those of high availability, before all that has time."""
    guests = {f"{vmid}.conf": passing(f"n{vmid}") for vmid in range(100, 112)}
    guests |= {"112.conf": passing("boot", "onboot: 1\n"), "113.conf": passing("ha"), "114.conf": "onboot: 1\nmemory: 1\n"}
    bed = cluster(guests)
    bed.pve.remote_mkdir("ha")
    bed.pve.remote_write("ha/resources.cfg", "vm: 113\n\tstate started\n\n")
    later = bed.directory / "later"
    # What is looked at first may be begun before it is known who starts at boot.
    for vmid in range(108, 112):
        bed.qm.misbehave("pause", verb="set", vmid=vmid, until=str(later))
    bed.start()
    assert STUB in bed.read(112)
    assert STUB in bed.read(113)
    # The one that is begun has it in its first of two writes.
    assert any(STUB not in bed.read(vmid) for vmid in range(108, 112))
    later.touch()
    for vmid in range(100, 112):
        wait_for_guard(bed, vmid)
    assert not bed.journal.entries("PVEHOOKS_EVENT=boot-unguarded")


def start_with_patience(bed: NodeBed, seconds: float) -> None:
    """The daemon waits so long for guests that start at boot, in place of 20 s; returns when it is READY."""
    began = time.monotonic()
    program = f"import sys; from pvehooks.daemon import loop, main; loop._BOOT_PATIENCE = {seconds}; sys.exit(main.main())"
    environment = {**os.environ, **bed.notify.environment, "PATH": bed.qm.path, "PYTHONPATH": str(PROJECT)}
    with bed.log.open("ab") as stderr:
        command = [sys.executable, "-c", program, "--node", "pve1"]
        bed.daemon = subprocess.Popen(command, env=environment, cwd="/", stdout=stderr, stderr=stderr)
    bed.notify.wait_for("READY", "1", after=began)


def test_what_could_not_be_done_before_the_boot_is_logged(cluster: Make) -> None:
    """Waited for no longer than 20 s, here 2 s."""
    bed = cluster({"100.conf": passing("boot", "onboot: 1\n")})
    bed.qm.misbehave("garbage", verb="set", vmid=100, times=None, status=1)
    began = time.monotonic()
    start_with_patience(bed, 2.0)
    assert time.monotonic() - began > 2
    (entry,) = bed.logged("boot-unguarded", 100)
    assert entry["PRIORITY"] == "3"
    assert "VM 100 (boot): starts at boot without the guard, so nothing looks what it takes from the host: " in entry["MESSAGE"]


def test_a_locked_guest_does_not_hold_up_the_boot(cluster: Make) -> None:
    bed = cluster({"100.conf": passing("boot", "onboot: 1\nlock: backup\n")})
    start_with_patience(bed, 3600.0)


def test_without_quorum_nothing_is_held_up(cluster: Make) -> None:
    bed = cluster({"100.conf": passing("boot", "onboot: 1\n")})
    bed.pve.set_quorum(False)
    start_with_patience(bed, 3600.0)
    (entry,) = bed.logged("boot-unguarded", 100)
    assert "no quorum" in entry["MESSAGE"]
    bed.pve.set_quorum(True)
    wait_for_guard(bed, 100)
    wait_until(Path("/etc/pve/nodes/pve1/pvehooks.json").exists, "said that it is here")


def test_what_runs_when_the_package_comes_is_accepted(cluster: Make) -> None:
    """Once: what is started later is judged."""
    bed = cluster({"100.conf": passing(), "101.conf": passing("other")})
    with running_guest(100):
        bed.start()
        bed.logged("present-accepted", 100)
        assert not bed.journal.entries("PVEHOOKS_EVENT=present-accepted", "PVEHOOKS_VMID=101")
        wait_for_guard(bed, 100)
        assert json.loads(Path("/etc/pve/pvehooks/guests/100.json").read_text())["accepted"]["pve1"]["hostpci"] == {
            "hostpci0": "0000:01:00.0,pcie=1"
        }
        bed.stop()
    with running_guest(101):
        bed.start()
        bed.signal(signal.SIGHUP)
        bed.settle()
        assert not bed.journal.entries("PVEHOOKS_EVENT=present-accepted", "PVEHOOKS_VMID=101")
