"""The power is cut at each step of what an undo or a record rests on: all is as before or as after, and the undo works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pvehooks.actions import backups, guardhook, rng0, stubs
from pvehooks.actions.host import apply as fixing
from pvehooks.actions.host import history
from pvehooks.actions.pci import persist
from pvehooks.actions.result import Result
from pvehooks.derived.passthrough import pci_devices
from pvehooks.facts import hardware
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.pci import bindings
from pvehooks.host import Host
from pvehooks.records import baseline
from pvehooks.settings import load as settings
from pvehooks.values import Guest
from pvehooks.values.base import sha1
from tests.actions.host.bed import snapshot
from tests.actions.host.test_fix import both, root, tree
from tests.actions.pci.bed import CARD, planted
from tests.beds.powercut import Disk
from tests.beds.tree import make_fake_tree
from tests.daemon.bed import uefi

# Which file systems have written names that nobody has synced: a node may have /var on one of its own.
EARLY = [(), ("etc",), ("var",), ("etc", "var", "run")]
CONFIG = b"name: a\nmemory: 512\n"


def edited(place: Path) -> dict[str, object]:
    """The contents below /etc, without what a writer that ended half way leaves beside its file."""
    return {name: seen[3] for name, seen in snapshot(place).items() if name.startswith("etc/") and ".tmp." not in name}


@pytest.mark.parametrize("early", EARLY, ids="+".join)
def test_a_fix_of_the_node(early: tuple[str, ...], tmp_path: Path) -> None:
    host = tree(tmp_path / "node")
    made = both(host)
    before = edited(root(host))
    disk = Disk(root(host))
    with disk.recorded():
        fixing.apply(host, made, lambda _: None)
    after = edited(root(host))
    assert len(disk) > 20 and after != before
    for count in disk.cuts(early):
        place = disk.cut(count, tmp_path / "cut", early)
        left = Host(str(place))
        now = edited(place)
        assert all(content in (before.get(name), after.get(name)) for name, content in now.items()), count
        if history.last_undoable(left) is None:
            assert now == before, count
        else:
            fixing.undo(left, False, lambda _: None)
            assert edited(place) == before, count
    assert edited(disk.cut(len(disk), tmp_path / "end", early)) in (before, after)


@pytest.mark.parametrize("early", EARLY, ids="+".join)
def test_the_end_of_a_fix_stays(early: tuple[str, ...], tmp_path: Path) -> None:
    """Once the command has ended, all of it is on the disk."""
    host = tree(tmp_path / "node")
    made = both(host)
    disk = Disk(root(host))
    with disk.recorded():
        fixing.apply(host, made, lambda _: None)
    place = disk.cut(len(disk), tmp_path / "cut", early)
    assert edited(place) == edited(root(host))
    record = history.last_undoable(Host(str(place)))
    assert record is not None and record.state is history.FixState.DONE


@pytest.mark.parametrize("early", EARLY, ids="+".join)
def test_an_undo_of_a_fix(early: tuple[str, ...], tmp_path: Path) -> None:
    """It can be done again, and an undone fix does not come back."""
    host = tree(tmp_path / "node")
    before = edited(root(host))
    made = both(host)
    before["etc/modules"] = b"vfio_virqfd\n"
    fixing.apply(host, made, lambda _: None)
    disk = Disk(root(host))
    with disk.recorded():
        fixing.undo(host, False, lambda _: None)
    for count in disk.cuts(early):
        place = disk.cut(count, tmp_path / "cut", early)
        left = Host(str(place))
        if history.last_undoable(left) is not None:
            fixing.undo(left, False, lambda _: None)
        assert edited(place) == before, count
    assert history.last_undoable(Host(str(disk.cut(len(disk), tmp_path / "end", early)))) is None


@pytest.mark.parametrize("early", EARLY, ids="+".join)
def test_the_backup_of_a_config(early: tuple[str, ...], tmp_path: Path) -> None:
    """What is written to a guest's config is written when its backup is on the disk."""
    (tmp_path / "node/var/lib").mkdir(parents=True)
    disk = Disk(tmp_path / "node")
    with disk.recorded():
        kept = backups.save(Host(str(tmp_path / "node")), 100, CONFIG)
    left = Host(str(disk.cut(len(disk), tmp_path / "cut", early)))
    assert left.read(kept.path) == CONFIG
    found = backups.find(left, 100, sha1(CONFIG).hex())
    assert found is not None and found.path == kept.path


@pytest.mark.parametrize("early", EARLY, ids="+".join)
def test_what_is_bound_at_boot(early: tuple[str, ...], tmp_path: Path) -> None:
    """The note is there whole or not at all, and one that was taken back does not bind a device at the next boot."""
    host = Host(str(planted(tmp_path / "node")))
    device = pci_devices(hardware.gather(host, "pve1"))[CARD]
    disk = Disk(Path(host.root))
    with disk.recorded():
        persist.note(host, device)
        noted = len(disk)
        persist.forget(host, device.address)
    for count in disk.cuts(early):
        found = bindings.noted(Host(str(disk.cut(count, tmp_path / "cut", early))), device.address)
        assert found is None or isinstance(found, bindings.BootBinding), count
    assert bindings.noted(Host(str(disk.cut(noted, tmp_path / "cut", early))), device.address) is not None
    assert bindings.noted(Host(str(disk.cut(len(disk), tmp_path / "cut", early))), device.address) is None


# -- a guest's config: pmxcfs keeps what is written there, so what it rests on has to be on the disk before --------------

GUEST = "etc/pve/nodes/pve1/qemu-server/100.conf"
STUBS = "var/lib/vz/snippets"
PASSED = "hostpci0: 0000:01:00.0,pcie=1\n"
Act = Callable[[Host], Result]


def guest_of(host: Host) -> Guest:
    return guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", baseline.read(host, "pve1")))


def inject(host: Host) -> Result:
    return rng0.inject(host, guest_of(host), settings.load(host).rng(100))


def attach(host: Host) -> Result:
    return guardhook.attach(host, guest_of(host), settings.load(host).rng(100))


def attach_with_rng0(host: Host) -> Result:
    return guardhook.attach(host, guest_of(host), settings.load(host).rng(100), with_rng0=True)


def undo(host: Host) -> None:
    """All that was given, as the verbs do it."""
    if guest_of(host).options.get("hookscript"):
        assert guardhook.detach(host, guest_of(host), settings.load(host).rng(100)).done
    if guest_of(host).options.get("rng0"):
        assert rng0.undo(host, guest_of(host), settings.load(host).rng(100)).done


@pytest.mark.parametrize("act", [inject, attach, attach_with_rng0])
@pytest.mark.parametrize("early", [(), ("var",)], ids="+".join)
def test_a_change_of_a_guest(act: Act, early: tuple[str, ...], tmp_path: Path) -> None:
    """Changed or not: its backup is there, its hookscript can run, it can be undone, and done where it was not."""
    files = {GUEST: uefi(more=PASSED), "var/lib/vz/snippets": None, "etc/pve/pvehooks/guests": None, "run/pvehooks": None}
    place = make_fake_tree(tmp_path / "node", files)
    before = (place / GUEST).read_bytes()
    disk = Disk(place)
    with disk.recorded():
        result = act(Host(str(place)))
    assert result.done
    after = (place / GUEST).read_bytes()
    seen = set()
    for count in disk.cuts(early):
        cut = disk.cut(count, tmp_path / "cut", early)
        left, now = Host(str(cut)), (cut / GUEST).read_bytes()
        assert now in (before, after), count
        seen.add(now)
        if now == before:
            assert act(left).done, count
            assert (cut / GUEST).read_bytes() == after, count
            continue
        found = backups.find(left, 100, sha1(before).hex())
        assert found is not None and left.read(found.path) == before, count
        if result.volid:
            stub = cut / STUBS / "pvehooks-guard"
            assert stub.read_bytes() == stubs.text() and stub.stat().st_mode & 0o777 == 0o755, count
        undo(left)
        assert (cut / GUEST).read_bytes() == before, count
    assert seen == {before, after}
