"""How the daemon writes: with PVE's own code in one process, loaded in time, and through qm where that cannot be had."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pvehooks.daemon import urgency
from pvehooks.daemon.state import GuestState
from pvehooks.daemon.urgency import Urgency
from tests.beds.process import running_guest
from tests.daemon.bed import RNG0, NodeBed, uefi, wait_until
from tests.daemon.test_attaching import PASSED, STUB, have_package, passing, wait_for_guard

Make = Callable[..., NodeBed]
SNIPPETS = Path("/var/lib/vz/snippets")


@pytest.fixture(autouse=True)
def snippets() -> Iterator[None]:
    """Empty afterwards."""
    yield
    for path in SNIPPETS.iterdir():
        path.unlink()


def writers(bed: NodeBed) -> list[int]:
    """The daemon's processes that have, or are to have, PVE's code."""
    assert bed.daemon is not None
    children = Path(f"/proc/{bed.daemon.pid}/task").glob("*/children")
    pids = [int(pid) for file in children for pid in file.read_text().split()]
    return [pid for pid in pids if Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").endswith(b"libexec/pve-writer")]


def test_many_guests_by_one_process(node: Make) -> None:
    bed = node({f"{vmid}.conf": uefi(f"n{vmid}") for vmid in range(100, 130)})
    bed.start()
    for vmid in range(100, 130):
        assert RNG0 in bed.wait_for_rng0(vmid)
    assert len({call.ppid for call in bed.qm.calls()}) == 1
    assert bed.qm.most_at_once() == 1
    (pid,) = writers(bed)
    bed.stop()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "it ends with the daemon")


def test_it_ends_when_there_is_nothing_to_do_and_comes_back(node: Make) -> None:
    bed = node()
    bed.start()
    bed.write(100, uefi())
    bed.wait_for_rng0(100)
    wait_until(lambda: not writers(bed), "it ends")
    bed.write(101, uefi())
    bed.wait_for_rng0(101)
    assert len({call.ppid for call in bed.qm.calls()}) == 2
    assert bed.daemon is not None


def test_loaded_at_the_first_sign_of_a_guest(node: Make) -> None:
    """Before there is anything to be written; then both are written at once, in one change."""
    bed = node()
    have_package(bed)
    bed.start()
    assert not writers(bed)
    bed.write(100, "lock: create\n")
    (loaded,) = wait_until(lambda: writers(bed), "it is loaded")
    assert not bed.qm.calls()
    bed.write(100, uefi("gpu", PASSED))
    assert RNG0 in wait_for_guard(bed, 100)
    (call,) = bed.qm.calls("set")
    assert (call.ppid, call.option("hookscript"), bool(call.option("rng0"))) == (loaded, STUB, True)
    assert not bed.journal.entries("PVEHOOKS_EVENT=started-unguarded")


def test_not_loaded_for_what_lacks_nothing(node: Make) -> None:
    bed = node({"100.conf": uefi("old", old=True)})
    bed.start()
    bed.write(100, uefi("old", "lock: backup\n", old=True))
    bed.write(101, "memory: 512\n")
    bed.settle()
    assert not writers(bed)


def test_a_start_that_came_first_is_reported(node: Make) -> None:
    """Once for each start, with what it took."""
    bed = node()
    have_package(bed)
    with running_guest(100):
        bed.start()
        bed.write(100, passing())
        wait_for_guard(bed, 100)
    (entry,) = bed.logged("started-unguarded", 100)
    assert entry["PRIORITY"] == "4"
    assert entry["MESSAGE"].startswith(
        "VM 100 (gpu): it was started before it had the guard: that start was not checked. It took from this node: "
    )
    assert "0000:01:00.0" in entry["MESSAGE"]
    assert entry["MESSAGE"].endswith("The next one is checked. See: pvehooks check 100")


def test_a_device_that_a_running_guest_waits_for_is_none(node: Make) -> None:
    """It stands as pending: no start has taken it."""
    bed = node({"100.conf": "memory: 512\nname: gpu\n"})
    have_package(bed)
    with running_guest(100):
        bed.start()
        bed.write(100, f"memory: 512\nname: gpu\n\n[PENDING]\n{PASSED}")
        bed.settle()
        wait_for_guard(bed, 100)
    assert not bed.journal.entries("PVEHOOKS_EVENT=started-unguarded")


def test_qm_where_pves_code_cannot_be_loaded(node: Make) -> None:
    """With one line that says so, whatever the number of guests."""
    bed = node({f"{vmid}.conf": uefi(f"n{vmid}") for vmid in range(100, 104)})
    shutil.rmtree(bed.qm.perl5lib)
    bed.start()
    for vmid in range(100, 104):
        bed.wait_for_rng0(vmid)
    (entry,) = bed.logged("writer-slow")
    assert "Can't locate PVE/Cluster.pm" in entry["MESSAGE"]
    assert "qm is used for each VM" in entry["MESSAGE"]
    assert len({call.ppid for call in bed.qm.calls("set")}) == 1
    assert len({call.pid for call in bed.qm.calls("set")}) == 4


@pytest.mark.parametrize("trouble", ["killed", "garbage", "answer"])
def test_one_guest_takes_no_other_along(node: Make, trouble: str) -> None:
    """It is tried again; the others have theirs."""
    bed = node()
    details = {"stderr": "something unheard of\n"} if trouble == "answer" else {}
    bed.qm.misbehave(trouble, verb="set", vmid=102, **details)
    bed.start()
    for vmid in range(100, 106):
        bed.write(vmid, uefi(f"n{vmid}"))
    for vmid in range(100, 106):
        bed.wait_for_rng0(vmid)
    (entry,) = bed.logged("not-injected", 102)
    assert "It is tried again later" in entry["MESSAGE"]
    assert not bed.journal.entries("PVEHOOKS_EVENT=not-injected", *(f"PVEHOOKS_VMID={vmid}" for vmid in (100, 101, 103, 104, 105)))


def test_written_without_an_answer(node: Make) -> None:
    """The config is read back, and says that it was done."""
    bed = node()
    bed.qm.misbehave("killed-after", verb="set", vmid=100)
    bed.start()
    bed.write(100, uefi())
    bed.wait_for_rng0(100)
    assert not bed.journal.entries("PVEHOOKS_EVENT=not-injected")
    assert bed.sets(100) == 1


def test_pmxcfs_goes_while_it_is_loaded(node: Make) -> None:
    """It holds nothing of the mount, and ends; what is due is done when pmxcfs is back."""
    bed = node()
    bed.start()
    bed.write(100, uefi())
    bed.wait_for_rng0(100)
    assert writers(bed)
    bed.pve.stop()
    bed.logged("pmxcfs-away")
    wait_until(lambda: not writers(bed), "it ends")
    bed.pve.restart()
    bed.logged("pmxcfs-back")
    bed.write(101, uefi())
    bed.wait_for_rng0(101)


# -- the first urgency -------------------------------------------------------------------------------------------------


def known(*devices: str, being_made: bool = False) -> GuestState:
    state = GuestState()
    state.devices = frozenset(device.encode() for device in devices)
    state.is_being_made = being_made
    return state


@pytest.mark.parametrize(
    ("config", "state", "expected"),
    [
        pytest.param("lock: create\n", None, Urgency.BEING_CREATED, id="a new one"),
        pytest.param("bios: ovmf\nlock: clone\n", None, Urgency.BEING_CREATED, id="a clone"),
        pytest.param("lock: create\n", known(being_made=True), Urgency.BEING_CREATED, id="still being made"),
        pytest.param("bios: ovmf\n", known(being_made=True), Urgency.URGENT, id="made"),
        pytest.param("bios: ovmf\n", None, Urgency.URGENT, id="a new UEFI guest"),
        pytest.param("memory: 1\n", None, Urgency.NORMAL, id="a new one without anything"),
        pytest.param("hostpci0: 01:00\n", None, Urgency.URGENT, id="a new one with a device"),
        pytest.param("hostpci0: 01:00\n", known(), Urgency.URGENT, id="a new device"),
        pytest.param("hostpci0: 01:00\n", known("hostpci0: 01:00"), Urgency.NORMAL, id="a device as before"),
        pytest.param("hostpci0: 02:00\n", known("hostpci0: 01:00"), Urgency.URGENT, id="another device"),
        pytest.param("memory: 1\n", known("hostpci0: 01:00"), Urgency.NORMAL, id="a device that is gone"),
        pytest.param("lock: backup\nbios: ovmf\n", known(), Urgency.NORMAL, id="a backup"),
        pytest.param("a: b\n\n[PENDING]\nhostpci0: 01:00\n", known(), Urgency.NORMAL, id="pending"),
        pytest.param("hostpci0: 01:00\n\n[PENDING]\nhostpci0: 02:00\n", known(), Urgency.NORMAL, id="between two writes"),
        pytest.param("a: b\n\n[snap]\nhostpci0: 01:00\nbios: ovmf\nlock: create\n", None, Urgency.NORMAL, id="of a snapshot"),
        pytest.param("bios: ovmf\n", known(), Urgency.NORMAL, id="an edit of a UEFI guest"),
        pytest.param("", None, Urgency.NORMAL, id="empty, or gone"),
    ],
)
def test_urgency(config: str, state: GuestState | None, expected: Urgency) -> None:
    assert urgency.guest_urgency(config.encode(), state) is expected


def test_any_bytes_at_first_glance() -> None:
    for raw in (b"\xff\0\n[", b"[", b"\n\n", b"hostpci0:", b"x" * (1 << 20), b"[PENDING]"):
        assert urgency.guest_urgency(raw, None) in Urgency
