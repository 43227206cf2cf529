"""The daemon remembers which devices guests mean, and forgets those of guests that are gone."""

from __future__ import annotations

import json
from pathlib import Path

from pvehooks.daemon.parts import make_parts
from pvehooks.daemon.review import Review, Why
from pvehooks.host import Host
from pvehooks.settings.load import built_in
from tests.beds import pci, uses
from tests.beds.tree import Link, make_fake_tree
from tests.daemon.parts import NODE, Kept

CONFIGS = f"etc/pve/nodes/{NODE}/qemu-server"
BUS = """
0000:00:1c.0 class=060400 id=8086:1901 driver=pcieport bridge
0000:01:00.0 class=010802 id=144d:a808 driver=nvme group=1 behind=0000:00:1c.0 disk=nvme0n1/259:0/S1
0000:02:00.0 class=020000 id=8086:1533 driver=igb group=2 net=enp2s0/52:54:00:00:00:02
"""


def test_remembers_and_forgets(tmp_path: Path) -> None:
    files = (
        uses.idle() | pci.plant(BUS) | {f"{CONFIGS}/100.conf": "hostpci0: 01:00.0\nhostpci1: 02:00\n", f"{CONFIGS}/101.conf": "name: web\n"}
    )
    tree = make_fake_tree(tmp_path, files | {"etc/pve/local": Link(f"nodes/{NODE}")})
    parts = make_parts(Host(str(tree)), NODE, built_in(), Kept(), lambda: None)
    parts.queue.pause_all("nothing is to be changed", trials=False)
    Review(parts).review((100, 101))
    (file,) = (tree / "var/lib/pvehooks/devices").iterdir()
    devices = json.loads(file.read_text())["devices"]
    disk, card = devices["hostpci0"]["0000:01:00.0"], devices["hostpci1"]["0000:02:00.0"]
    assert file.name == "vm-100.json" and (disk["disks"], disk["place"]) == ("S1", "pci0000:00/1c.0/00.0")
    assert card["mac"] == "52:54:00:00:00:02"
    (tree / "sys/bus/pci/devices/0000:01:00.0").unlink()
    Review(parts).review((100,), Why.FORCED)
    assert json.loads(file.read_text())["devices"]["hostpci0"] == {"0000:01:00.0": disk}, "it is meant, also while it is not there"
    parts.departures.gone(100)
    assert not file.exists()


def test_address_that_was_taken_out_means_nothing(tmp_path: Path) -> None:
    """When it is written again later, it means what is there then."""
    files = uses.idle() | pci.plant(BUS) | {f"{CONFIGS}/100.conf": "hostpci0: 01:00.0\n", "etc/pve/local": Link(f"nodes/{NODE}")}
    tree = make_fake_tree(tmp_path, files)
    parts = make_parts(Host(str(tree)), NODE, built_in(), Kept(), lambda: None)
    parts.queue.pause_all("nothing is to be changed", trials=False)
    review = Review(parts)
    review.review((100,))
    assert (tree / "var/lib/pvehooks/devices/vm-100.json").exists()
    (tree / CONFIGS / "100.conf").write_text("name: web\n")
    review.review((100,))
    assert not (tree / "var/lib/pvehooks/devices/vm-100.json").exists()
