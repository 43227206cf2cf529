"""Which guests were there before the package: on a node that gets it later than others, again, or after a long time."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pvehooks.daemon.baseline import INSTALLATION_NOTE, NodeBaseline
from pvehooks.formats import guestconfig
from pvehooks.host import Host
from pvehooks.records import baseline
from pvehooks.records.baseline import KnownGuest
from tests.beds.tree import make_fake_tree
from tests.daemon.bed import RNG0, NodeBed, made, wait_until

Make = Callable[..., NodeBed]
GUESTS = "etc/pve/nodes/pve1/qemu-server"
DAY = 86400


def network_first(text: str) -> str:
    return text.replace("order=scsi0;net0", "order=net0;scsi0")


# -- the daemon -------------------------------------------------------------------------------------------------------


def test_a_node_that_gets_the_package_later_than_others(node: Make) -> None:
    """Its guests were made after the first look at the cluster, and before the one at this node."""
    bed = node({"100.conf": made("web", 1000), "101.conf": network_first(made("pxe", 1000))})
    before = {"version": 1, "time": int(time.time()) - 30 * DAY, "node": "pve2", "guests": {}}
    bed.pve.remote_write("pvehooks/first-look/pve2.json", json.dumps(before))
    bed.start()
    (entry,) = bed.logged("existing")
    assert "2 UEFI VMs from before pvehooks" in entry["MESSAGE"]
    assert "first look at node pve1, which has 2 VMs already." in bed.messages("PVEHOOKS_EVENT=first-look")[0]
    bed.settle()
    assert bed.sets() == 0
    bed.write(100, made("web", 1000, "cores: 4\n"))
    bed.write(102, made("new", -1))
    bed.wait_for_rng0(100)
    bed.wait_for_rng0(102)


def test_guests_made_while_the_daemon_is_down(node: Make) -> None:
    """An upgrade takes a minute; where the package was removed, it was not there to see them."""
    bed = node()
    bed.start()
    bed.stop()
    bed.write(100, made("during-upgrade", 0))
    bed.start()
    given = bed.wait_for_rng0(100)
    bed.stop()
    # As postrm does; a purge takes the record, too.
    Path(INSTALLATION_NOTE).unlink()
    Path("/etc/pve/pvehooks/guests/100.json").unlink()
    bed.write(100, given.replace(RNG0, ""))
    bed.write(101, made("meanwhile", 0))
    bed.start()
    (entry,) = bed.logged("existing")
    assert "VM 100 (during-upgrade), VM 101 (meanwhile)" in entry["MESSAGE"]
    assert (
        "first look at node pve1 after a time without pvehooks, which has 2 VMs already." in bed.messages("PVEHOOKS_EVENT=first-look")[-1]
    )
    bed.settle()
    assert bed.sets() == 1


@pytest.mark.parametrize("has_package", [False, True], ids=["without", "with"])
def test_a_guest_that_comes_from_another_node(node: Make, has_package: bool) -> None:
    bed = node()
    if has_package:
        bed.pve.remote_write("nodes/pve2/pvehooks.json", '{"version": "1.0"}\n')
    bed.start()
    bed.pve.remote_write("nodes/pve2/qemu-server/100.conf", text := made("elsewhere", -1))
    bed.pve.remote_write("nodes/pve2/qemu-server/101.conf", network_first(text))
    if not has_package:
        wait_until(lambda: json.loads(Path(INSTALLATION_NOTE).read_text())["without_package"] == [100, 101], "it knows who could come")
    time.sleep(2)
    for vmid in (100, 101):
        bed.pve.remote_rename(f"nodes/pve2/qemu-server/{vmid}.conf", f"nodes/pve1/qemu-server/{vmid}.conf")
    if has_package:
        for vmid in (100, 101):
            bed.wait_for_rng0(vmid)
        return
    bed.logged("existing", 100)
    entry = bed.logged("existing", 101)[-1]
    assert "VM 100 (elsewhere)" in entry["MESSAGE"] and "VM 101 (elsewhere) gets one only by VMID" in entry["MESSAGE"]
    bed.stop()
    bed.start()
    bed.settle()
    assert bed.sets() == 0
    bed.write(100, text + "cores: 2\n")
    bed.wait_for_rng0(100)


def test_a_guest_that_comes_while_no_daemon_runs(node: Make) -> None:
    """From a node without the package; one that the daemon would have seen being made is new all the same."""
    bed = node()
    bed.start()
    bed.pve.remote_write("nodes/pve2/qemu-server/100.conf", made("elsewhere", -1))
    wait_until(lambda: json.loads(Path(INSTALLATION_NOTE).read_text())["without_package"] == [100], "it knows who could come")
    time.sleep(2)
    bed.stop()
    bed.pve.remote_rename("nodes/pve2/qemu-server/100.conf", "nodes/pve1/qemu-server/100.conf")
    bed.write(101, made("new", 1))
    bed.start()
    bed.logged("existing", 100)
    bed.wait_for_rng0(101)
    assert "rng0" not in bed.read(100)


# -- one baseline -----------------------------------------------------------------------------------------------------


class Clock(Host):
    """A tree where it is as late as is said."""

    time = 1_750_000_000.0
    read_only = False

    def replace(self, path: str, *arguments: Any, **options: Any) -> None:
        """Without quorum pmxcfs takes no writes."""
        if self.read_only and path.startswith("/etc/pve/"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        super().replace(path, *arguments, **options)

    def now(self) -> float:
        return self.time


OLD, NEW = ("meta: ctime=1740000000\nname: old\n", "meta: ctime=1750005000\nname: new\n")


@pytest.fixture
def host(tmp_path: Path) -> Clock:
    return Clock(str(make_fake_tree(tmp_path, {f"{GUESTS}/100.conf": OLD, "etc/pve/nodes/pve2/qemu-server/200.conf": OLD})))


def write(host: Clock, vmid: int, text: str, node: str = "pve1") -> None:
    path = Path(host.root, f"etc/pve/nodes/{node}/qemu-server/{vmid}.conf")
    path.write_text(text)
    os.utime(path, (host.time, host.time))


def met(host: Clock) -> NodeBaseline:
    """The daemon has begun."""
    found = NodeBaseline(host, "pve1")
    found.update({})
    return found


def is_old(found: NodeBaseline, vmid: int, text: str) -> tuple[bool, bool]:
    """Whether the guest is untouched and old."""
    assert found.recorded is not None
    config = guestconfig.parse(text.encode())
    ctime = int(text.partition("ctime=")[2].partition("\n")[0])
    return found.recorded.status(vmid, ctime, baseline.fingerprint(config))


def test_only_this_nodes_guests_are_noted(host: Clock) -> None:
    found = NodeBaseline(host, "pve1")
    assert (found.update({}), found.update({}), found.is_first) == (1, None, True)
    assert found.recorded is not None and list(found.recorded.guests) == [100]
    assert json.loads(Path(host.root + INSTALLATION_NOTE).read_text()) == {
        "node": "pve1",
        "time": 1750000000,
        "seen": 1750000000,
        "without_package": [],
    }


def test_a_restart_and_a_reboot_change_nothing(host: Clock) -> None:
    path = Path(host.root + baseline.path("pve1"))
    met(host)
    before = path.read_bytes()
    host.time += 6000
    write(host, 101, NEW)
    found = met(host)
    assert (found.is_first, path.read_bytes()) == (False, before)
    assert (is_old(found, 100, OLD), is_old(found, 101, NEW)) == ((True, True), (False, False))


def test_it_is_noted_once_an_hour_that_the_daemon_runs(host: Clock) -> None:
    found = met(host)
    here = Path(host.root + INSTALLATION_NOTE)
    host.time += 3000
    found.update({})
    assert json.loads(here.read_text())["seen"] == 1750000000
    host.time += 1000
    found.update({})
    assert json.loads(here.read_text())["seen"] == 1750004000


@pytest.mark.parametrize("written", [True, False])
def test_a_daemon_that_has_not_run_for_a_day(host: Clock, written: bool) -> None:
    """What was made meanwhile was there before it came back; a node that was off is as it was."""
    met(host)
    os.utime(host.root + f"/{GUESTS}/100.conf", (host.time, host.time))
    host.time += 5000
    if written:
        write(host, 101, NEW)
    host.time += 2 * DAY
    found = met(host)
    assert found.is_first == found.after_absence == written
    if written:
        assert (is_old(found, 100, OLD), is_old(found, 101, NEW)) == ((True, True), (True, True))


def test_a_clock_that_goes_back_makes_no_guest_new(host: Clock) -> None:
    met(host)
    host.time = 1000.0
    assert not met(host).is_first
    Path(host.root + INSTALLATION_NOTE).unlink()
    found = met(host)
    assert found.is_first and is_old(found, 100, OLD) == (True, True)


@pytest.mark.parametrize(
    "here",
    [
        pytest.param(None, id="purged or another disk"),
        pytest.param('{"node": "pve1", "time": 1740000000, "seen": 1750000000}', id="from a backup of the disk"),
        pytest.param('{"node": "pve7", "time": 1750000000, "seen": 1750000000}', id="from another node's image"),
        pytest.param('{"node": "pve1", "time": 1750000000}', id="half"),
        pytest.param("", id="empty"),
    ],
)
def test_another_installation_under_the_same_name(host: Clock, here: str | None) -> None:
    """All guests that are here are old; those that have moved away since are still known there as they were."""
    met(host)
    os.rename(host.root + f"/{GUESTS}/100.conf", host.root + "/etc/pve/nodes/pve2/qemu-server/100.conf")
    write(host, 101, NEW)
    path = Path(host.root + INSTALLATION_NOTE)
    if here is None:
        path.unlink()
    else:
        path.write_text(here)
    host.time += 6000
    found = met(host)
    assert found.is_first and found.after_absence and is_old(found, 101, NEW) == (True, True)
    elsewhere = baseline.read(host, "pve1")
    assert elsewhere is not None and elsewhere.guests[100].time == 1750000000


def test_what_another_node_notes_later_is_known_here(host: Clock) -> None:
    """Its guests may move here."""
    found = met(host)
    host.time += 6000
    write(host, 200, NEW, "pve2")
    other = NodeBaseline(host, "pve2")
    other.update({})
    assert is_old(found, 200, NEW) == (False, False)
    found.update({})
    assert is_old(found, 200, NEW) == (True, True)
    write(host, 201, NEW, "pve2")
    other.add([201])
    found.update({})
    assert is_old(found, 201, NEW) == (True, True)


def test_arrivals_stay_noted(host: Clock) -> None:
    found = met(host)
    host.time += 6000
    write(host, 101, NEW)
    found.add([101, 999])
    assert is_old(found, 101, NEW) == (True, True) == is_old(met(host), 101, NEW)
    assert found.recorded is not None and found.recorded.guests[101] == KnownGuest(found.recorded.guests[101].fingerprint, 1750006000)


def test_while_pmxcfs_takes_no_writes(host: Clock) -> None:
    """The guests are old until it is stored, and the look is made anew: what could not be read may be there by then."""
    found = NodeBaseline(host, "pve1")
    host.read_only = True
    assert found.update({}) is None and is_old(found, 100, OLD) == (True, True)
    host.time += 6000
    write(host, 101, NEW)
    host.read_only = False
    assert (found.update({}), found.update({})) == (2, None)
    assert is_old(found, 101, NEW) == (True, True) == is_old(met(host), 101, NEW)
    assert not met(host).is_first


def test_a_full_disk_is_no_trouble(host: Clock) -> None:
    (Path(host.root) / "var/lib").mkdir(parents=True, exist_ok=True)
    (Path(host.root) / "var/lib/pvehooks").write_text("in the way")
    assert NodeBaseline(host, "pve1").update({}) == 1
    assert met(host).is_first
