"""The verbs that have VMs and mappings name devices, killed or cut off from power at each step: the next try finishes what was begun."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.beds.powercut import Disk
from tests.cli.commands import test_follow
from tests.cli.test_cli import pvehooks

CONFIG, RECORD, MAPPINGS = f"{test_follow.CONFIGS}/100.conf", "etc/pve/pvehooks/guests/100.json", "etc/pve/mapping/pci.cfg"
DISKS = ("0000:01:00.0", "0000:02:00.0")
# A card that came has moved both by one bus: the address of one is the other's now.
BEFORE, AFTER = (
    f"{test_follow.PORTS}\n"
    + "".join(
        f"0000:0{bus + number}:00.0 class=010802 id=144d:a808 driver=nvme group={number} behind=0000:00:1{port}.0 disk=nvme{number}n1/259:{number}/S{number}\n"
        for number, port in enumerate("cd")
    )
    for bus in (1, 2)
)
ACCEPTED = {
    "hostpci": {"hostpci0": ";".join(DISKS)},
    "devices": {address: {"id": "144d:a808", "class": "010802", "serial": f"S{number}"} for number, address in enumerate(DISKS)},
    "members": list(DISKS),
}
MAPPING = "".join(
    ("both\n", *(f"\tmap id=144d:a808,iommugroup={number},node=pve1,path={address}\n" for number, address in enumerate(DISKS)))
)


@pytest.fixture
def node(tmp_path: Path) -> Path:
    record = {"version": 1, "uuid": None, "ctime": None, "accepted": {"pve1": ACCEPTED}}
    files = {CONFIG: f"hostpci0: {';'.join(DISKS)}\nname: disks\n", RECORD: json.dumps(record), MAPPINGS: MAPPING}
    tree = test_follow.planted(tmp_path / "node", BEFORE, **files)
    (tree / test_follow.CONFIGS / "101.conf").unlink()
    pvehooks(tree, "follow", "--all", "--note")
    return tree


def state(tree: Path) -> dict[str, bytes]:
    """The files that VMs, mappings, records and what is remembered are in, without what a writer left that ended half way."""
    places = (tree / "etc/pve", tree / "var/lib/pvehooks/devices")
    files = (path for place in places for path in place.rglob("*") if path.is_file() and ".tmp." not in path.name)
    return {str(path.relative_to(tree)): path.read_bytes() for path in files}


def is_kept(tree: Path, content: bytes) -> bool:
    """Whether a backup has it."""
    return any(path.read_bytes() == content for path in (tree / "var/lib/pvehooks").rglob("*") if path.is_file())


def moved(tree: Path) -> None:
    test_follow.rebooted(tree, AFTER)


@pytest.mark.parametrize("loses_power", [False, True])
@pytest.mark.parametrize(
    ("before", "verb"),
    [
        pytest.param(moved, ("follow", "--all"), id="follow"),
        pytest.param(lambda _: None, ("mapping", "add", "one", DISKS[1]), id="mapping add"),
        pytest.param(lambda _: None, ("mapping", "adopt", "100"), id="mapping adopt"),
    ],
)
def test_next_try_finishes_it(before: Callable[[Path], None], verb: tuple[str, ...], loses_power: bool, node: Path, tmp_path: Path) -> None:
    """At no step is a file half written, or changed without a backup; then all is as if nothing had been cut off."""
    before(node)
    old = state(node)
    disk = Disk(node, loses_power)
    with disk.recorded():
        pvehooks(node, *verb)
    new = state(node)
    changed = {name for name in new if new[name] != old.get(name)}
    assert changed & {CONFIG, MAPPINGS}
    cuts = disk.cuts()
    assert len(cuts) > 4
    for count in cuts:
        cut = disk.cut(count, tmp_path / "cut")
        now = state(cut)
        assert all(content in (old.get(name), new.get(name)) for name, content in now.items()), count
        assert all(now[name] == old[name] or is_kept(cut, old[name]) for name in (CONFIG, MAPPINGS)), count
        pvehooks(cut, *verb)
        assert state(cut) == new, count


def test_follow_is_at_rest_afterwards(node: Path) -> None:
    """The address of one is that of the other before: it is not followed once more."""
    moved(node)
    pvehooks(node, "follow", "--all")
    new = state(node)
    assert b"hostpci0: 0000:02:00.0;0000:03:00.0\n" in new[CONFIG] and b"path=0000:03:00.0" in new[MAPPINGS]
    assert json.loads(new[RECORD])["accepted"]["pve1"]["hostpci"] == {"hostpci0": "0000:02:00.0;0000:03:00.0"}
    assert pvehooks(node, "follow", "--all") == "every VM and mapping names its devices where they are\n"
    test_follow.rebooted(node, BEFORE)
    pvehooks(node, "follow", "--all")
    assert f"hostpci0: {';'.join(DISKS)}\n".encode() in state(node)[CONFIG]


def test_twins_that_changed_places(node: Path) -> None:
    """A mapping of both is as it was; one option with both has them in the other order, once."""
    swapped = BEFORE.replace("S0", "S").replace("S1", "S0").replace("/S\n", "/S1\n")
    test_follow.rebooted(node, swapped)
    pvehooks(node, "follow", "--all")
    assert state(node)[CONFIG].startswith(b"hostpci0: 0000:02:00.0;0000:01:00.0\n")
    assert pvehooks(node, "follow", "--all") == "every VM and mapping names its devices where they are\n"
