"""Guests that are there while they are looked at: the same as if all had been read, and read once."""

from __future__ import annotations

import weakref
from pathlib import Path

from pvehooks.facts.guests import configs
from pvehooks.host import Host
from pvehooks.values import Guest
from tests.beds.tree import make_fake_tree

TEXTS = {100: "name: web\nmemory: 2048\n", 101: "name: db\nbad: 1\n[PENDING]\nmemory: 512\n", 102: "", 105: "template: 1\n"}


def there(directory: Path) -> tuple[Host, configs.GuestsInTurn]:
    files = {f"etc/pve/nodes/pve1/qemu-server/{vmid}.conf": text for vmid, text in TEXTS.items()}
    host = Host(str(make_fake_tree(directory, files)))
    # 103 went when it was listed, and before it was read.
    return host, configs.GuestsInTurn(host, "pve1", [*TEXTS, 103], configs.gather_context(host, "pve1", None))


def test_they_are_those_that_would_have_been_read(tmp_path: Path) -> None:
    host, guests = there(tmp_path)
    around = configs.gather_context(host, "pve1", None)
    read = [configs.read(host, "pve1", vmid, around) for vmid in (*TEXTS, 103)]
    for _ in range(2):
        assert [_all_of(guest) for guest in guests] == [_all_of(guest) for guest in read]
    assert len(guests) == 5
    assert read[0] in guests
    assert configs.read(host, "pve2", 100, around) not in guests
    assert 100 not in guests


def _all_of(guest: Guest) -> tuple[object, ...]:
    return guest.vmid, guest.node, guest.config, guest.problems, guest.running, guest.label, guest.options


class Counting(frozenset[int]):
    """Counts how often it is asked."""

    asked = 0

    def __contains__(self, vmid: object) -> bool:
        self.asked += 1
        return super().__contains__(vmid)


def test_who_runs_is_looked_up_once(tmp_path: Path) -> None:
    host, _ = there(tmp_path)
    running = Counting({101})
    around = configs.gather_context(host, "pve1", None)._replace(running=running)
    guests = configs.GuestsInTurn(host, "pve1", TEXTS, around)
    for _ in range(3):
        assert [guest.vmid for guest in guests if guest.running] == [101]
    assert running.asked == len(TEXTS)


def test_each_is_gone_after_its_turn_and_its_file_is_read_once(tmp_path: Path) -> None:
    host, guests = there(tmp_path)
    alive = []
    for guest in guests:
        alive.append(weakref.ref(guest))
        assert sum(each() is not None for each in alive) <= 2
    for vmid in TEXTS:
        host.remove(f"/etc/pve/nodes/pve1/qemu-server/{vmid}.conf")
    assert [guest.name for guest in guests][:2] == ["web", "db"]
