"""What is worked out once stays with its guest or node: nothing of one look is seen in another."""

from __future__ import annotations

from pathlib import Path

from pvehooks.derived.disks import disks
from pvehooks.derived.once import once
from pvehooks.derived.passthrough import claims
from pvehooks.facts import hardware
from pvehooks.facts.guests import configs as guests
from pvehooks.host import Host
from pvehooks.values import Guest, Node
from tests.beds import pci
from tests.beds.tree import make_fake_tree

CONFIGS = "etc/pve/nodes/pve1/qemu-server"


def look_at(directory: Path, *configs: str) -> tuple[list[Guest], Node]:
    files = {f"{CONFIGS}/{100 + number}.conf": text for number, text in enumerate(configs)}
    devices = pci.plant("0000:01:00.0 class=030000 id=10de:2204 group=1\n0000:02:00.0 class=010802 id=144d:a808 group=2\n")
    host = Host(str(make_fake_tree(directory, {**devices, **files})))
    guest_context = guests.gather_context(host, "pve1", None)
    return [guests.read(host, "pve1", 100 + number, guest_context) for number in range(len(configs))], hardware.gather(host, "pve1")


def test_a_view_is_worked_out_once_and_forgotten_with_its_guest(tmp_path: Path) -> None:
    asked: list[int] = []

    @once
    def vmid(guest: Guest) -> int:
        asked.append(guest.vmid)
        return guest.vmid

    (first, second), _ = look_at(tmp_path, "scsi0: local:1\n", "scsi1: local:1\n")
    assert [vmid(first), vmid(second), vmid(first)] == [100, 101, 100]
    assert asked == [100, 101]
    assert (disks(first), disks(second), disks(first)) == (("scsi0",), ("scsi1",), ("scsi0",))
    first.forget()
    assert vmid(first) == 100
    assert asked == [100, 101, 100]


def test_claims_are_those_of_the_guest_on_the_node(tmp_path: Path) -> None:
    (first, second), node = look_at(tmp_path / "here", "hostpci0: 0000:01:00.0\n", "hostpci0: 0000:02:00.0\n")
    _, other = look_at(tmp_path / "there", "")
    for guest, address in ((first, "0000:01:00.0"), (second, "0000:02:00.0"), (first, "0000:01:00.0")):
        assert [device.address for claim in claims(guest, node) for device in claim.devices] == [address]
    assert claims(first, node) is claims(first, node)
    here, there = claims(first, node)[0].devices[0], claims(first, other)[0].devices[0]
    assert here is not there
