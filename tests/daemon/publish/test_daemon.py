"""The running daemon's figures: they follow the guests, pmxcfs, and the guard's starts; the file stays when it ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pvehooks.daemon.publish import textfile
from pvehooks.guard import counters
from pvehooks.host import Host
from tests.daemon.bed import NodeBed, uefi, wait_until
from tests.daemon.publish.figures import number, samples

Make = Callable[..., NodeBed]
FILE = Path(textfile.DIRECTORY) / textfile.NAME
MISSING = uefi("nas", "hookscript: local:snippets/absent.sh\n")


def figure(name: str, **labels: str) -> float:
    return number(FILE.read_bytes(), f"pvehooks_{name}", **labels)


def has_sample(value: float, name: str, labels: dict[str, str]) -> bool:
    return FILE.exists() and (labels, value) in samples(FILE.read_bytes()).get(f"pvehooks_{name}", [])


def becomes(value: float, name: str, **labels: str) -> None:
    """Waits until the file says so; a turn of the daemon follows each change, a write the second after the last one."""
    wait_until(lambda: has_sample(value, name, labels), f"{name} {labels} is {value}")


def test_the_file_follows_the_guests(node: Make) -> None:
    bed = node({"100.conf": uefi("old", old=True)}, settings="[watch]\ninterval = 5\n")
    began = int(time.time())
    bed.start(watchdog=0.2)
    becomes(1, "guests", verdict="warning")
    assert began <= figure("start_timestamp_seconds") <= figure("last_look_timestamp_seconds") <= time.time()
    assert [figure(name) for name in ("pmxcfs_up", "quorate", "watch_interval_seconds", "injections_total")] == [1, 1, 5, 0]
    bed.write(101, MISSING)
    becomes(1, "guest_blocked", vmid="101", guest="VM 101 (nas)", rule="hookscript-missing")
    becomes(1, "injections_total")
    assert figure("guests", verdict="block") == 1
    assert figure("findings", about="guest", rule="hookscript-missing", severity="block") == 1
    bed.pve.config(101).unlink()
    becomes(0, "guests", verdict="block")
    assert "pvehooks_guest_blocked" not in samples(FILE.read_bytes())


def test_pmxcfs_goes_and_comes(node: Make) -> None:
    bed = node({"100.conf": uefi("old", old=True)})
    bed.start(watchdog=0.2)
    becomes(1, "pmxcfs_up")
    bed.pve.stop()
    becomes(0, "pmxcfs_up")
    assert figure("guests", verdict="warning") == 1, "what was known is told on"
    bed.pve.start()
    becomes(1, "pmxcfs_up")


def test_quorum_and_errors(node: Make) -> None:
    bed = node()
    bed.start(watchdog=0.2)
    for quorate in (True, False, True):
        bed.pve.set_quorum(quorate)
        with open("/var/lib/pve-cluster/config.db-wal", "ab") as wal:
            wal.write(b"\0")
        becomes(quorate, "quorate")
    bed.conf.write_text("[rng]\nmod = warn\n")
    bed.signal(signal.SIGHUP)
    bed.logged("settings-broken")
    becomes(1, "errors_total", event="settings-broken")


def test_starts_are_counted_over_the_daemons_restart(node: Make) -> None:
    bed = node()
    counters.count(Host(), counters.REFUSED)
    bed.start(watchdog=0.2)
    becomes(1, "guard_starts_total", outcome="refused")
    counters.count(Host(), counters.REFUSED)
    becomes(2, "guard_starts_total", outcome="refused")
    bed.stop()
    assert figure("guard_starts_total", outcome="refused") == 2, "the file stays: its old time is what tells that nobody looks"
    FILE.unlink()
    bed.start()
    becomes(2, "guard_starts_total", outcome="refused")


@pytest.mark.parametrize("settings", ["", "[metrics]\ntextfile = /run/pvehooks\n"])
def test_it_can_be_switched_off_and_moved(node: Make, settings: str) -> None:
    bed = node(settings=settings)
    file = Path("/run/pvehooks/pvehooks.prom") if settings else FILE
    bed.start(watchdog=0.2)
    wait_until(file.exists, "the file")
    bed.conf.write_text("[metrics]\ntextfile = off\n")
    bed.signal(signal.SIGHUP)
    wait_until(lambda: not file.exists(), "no file any more")


def test_what_stands_against_it_is_logged_once(node: Make) -> None:
    bed = node(settings="[metrics]\ntextfile = /srv/absent\n[watch]\ninterval = 5\n")
    bed.start(watchdog=0.2)
    (entry,) = bed.logged("not-published")
    assert "/srv/absent/pvehooks.prom: No such file or directory" in entry["MESSAGE"]
    bed.write(100, uefi())
    bed.wait_for_rng0(100)
    bed.stop()
    assert len(bed.logged("not-published")) == 1, "and the care for guests goes on"


def test_what_the_web_interface_shows(node: Make) -> None:
    """Proxmox VE's own code writes it: a tag that was given goes while tags are off, the notes get their block, and lose it when that is switched off."""
    tagged = "memory: 512\nname: gpu\ntags: pvehooks-blocked;web\nhostpci0: 0000:01:00.0\nhookscript: local:snippets/absent.sh\n"
    record = '{"tag": {"state": "done", "value": "pvehooks-blocked", "when": 1}, "uuid": null, "ctime": null, "version": 1}\n'
    others = {"pvehooks/guests/100.json": record, "nodes/pve1/config": "#%C3%BCber%3A me\nacme: account=default\n"}
    bed = node({"100.conf": tagged}, settings="[gui]\nnode-notes = on\n[guard]\nattach = off\n", others=others)
    bed.start(watchdog=0.2)
    config = Path("/etc/pve/nodes/pve1/config")
    wait_until(lambda: b"#- VM 100 (gpu) **" in read(config), f"the block is there; {bed.log.read_text()}", timeout=60)
    wait_until(lambda: "tags: web\n" in bed.read(100), "the tag is gone", timeout=60)
    assert bed.logged("tagged", 100, timeout=60)
    bed.conf.write_text("[guard]\nattach = off\n")
    bed.signal(signal.SIGHUP)
    wait_until(lambda: read(config) == others["nodes/pve1/config"].encode(), "the block is gone", timeout=60)


def read(path: Path) -> bytes:
    """The file; a rename under way makes libfuse say that there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
