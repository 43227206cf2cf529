"""After a stop: the guard's look at the devices, what it prints, and that it never fails a stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pvehooks.facts.pci.devices import STARTED
from tests.beds.pci import ROOT
from tests.guard import bed

CARD = "0000:01:00.0"
NOTE = f"{STARTED[1:]}/100"


def ended(root: Path, phase: str = "post-stop") -> bed.Ran:
    return bed.guard("100", phase, "--root", str(root))


def note(root: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads((root / NOTE).read_text())["devices"]
    return found


def test_a_start_is_noted_and_an_end_without_trouble_is_silent(tmp_path: Path) -> None:
    root = bed.node(tmp_path, {f"{ROOT}/{CARD}/current_link_width": "16\n", f"{ROOT}/{CARD}/current_link_speed": "8.0 GT/s PCIe\n"})
    assert bed.start(root) == (0, "")
    state = {"current_link_width": "16", "current_link_speed": "8.0"}
    assert note(root)[CARD] == {"ids": "10de:2204", "driver": "vfio-pci", "state": state}
    assert ended(root) == (0, "")
    assert not (root / NOTE).exists()


def test_a_refused_start_is_not_noted(tmp_path: Path) -> None:
    root = bed.node(tmp_path, hostpci=bed.SHARED_WITH_PORT)
    assert bed.start(root).status == 1
    assert not (root / NOTE).exists()


def test_a_start_that_was_not_noted_has_no_end(tmp_path: Path) -> None:
    assert ended(bed.node(tmp_path)) == (0, "")


@pytest.mark.parametrize("content", ["", "{", '{"devices": {}}'])
def test_a_note_that_cannot_be_read_goes(content: str, tmp_path: Path) -> None:
    root = bed.node(tmp_path, {NOTE: content})
    assert ended(root) == (0, "")
    assert not (root / NOTE).exists()


def test_a_guest_that_runs_has_not_ended(tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    bed.start(root)
    for path, text in (("run/qemu-server/100.pid", "4711\n"), ("proc/4711/cmdline", "/usr/bin/kvm\0-id\x00100\0")):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / ROOT / CARD / "config").write_bytes(b"\xff" * 64)
    assert ended(root) == (0, "")
    assert (root / NOTE).exists()


def test_a_dead_device_is_reported(tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    bed.start(root)
    (root / ROOT / CARD / "config").write_bytes(b"\xff" * 64)
    ran = ended(root)
    assert ran.status == 0 and ran.out.startswith(
        f"pvehooks: VM 100 (gpu): {CARD} (graphics card [10de:2204]) does not answer any more: its configuration space reads ff in every"
        " byte (lspci: unknown header type 7f). Take it off the bus and look for it again: "
    ), ran.out
    assert not (root / NOTE).exists()


def test_a_device_that_is_gone_is_reported(tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    bed.start(root)
    (root / "sys/bus/pci/devices" / CARD).unlink()
    ran = ended(root)
    assert ran.status == 0 and ran.out.startswith(f"pvehooks: VM 100 (gpu): {CARD} [10de:2204] is not on the bus any more. Look for it: ")


def test_what_is_to_be_given_back_stays_in_a_tree(tmp_path: Path) -> None:
    root = bed.node(tmp_path, hostpci=bed.IDLE_DISK)
    bed.settings(root, "[guard]\nafter-stop = return\n")
    bed.start(root)
    assert note(root)[bed.IDLE_DISK]["back_to"] == "nvme"
    assert ended(root).out == "pvehooks: VM 100 (gpu): the guard would give its devices back (nothing is done in a tree).\n"
    assert (root / NOTE).exists()


def test_a_setting_about_two_devices_is_reported_at_the_start(tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    bed.settings(root, "[device 8086:1533]\nafter-stop = return\n")
    line = "[device 8086:1533] is about 2 devices (0000:03:00.0, 0000:03:00.1) and is not used. Name one: [device 0000:03:00.0]"
    assert bed.start(root) == (0, f"pvehooks: VM 100 (gpu): {line}\n")


def test_a_note_that_cannot_be_written_refuses_nothing(tmp_path: Path) -> None:
    root = bed.node(tmp_path, {STARTED[1:]: ""})
    ran = bed.start(root)
    assert ran.status == 0 and ran.out.startswith("pvehooks: VM 100 (gpu): what it takes could not be noted, so nothing is given back")


def test_by_the_daemons_request(tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    bed.start(root)
    assert ended(root, "ended") == (0, "")
    assert not (root / NOTE).exists()


def test_not_while_pve_works_on_the_guest(tmp_path: Path) -> None:
    from pvehooks.host import Host

    root = bed.node(tmp_path, {"var/lock/qemu-server/lock-100.conf": ""})
    bed.start(root)
    with Host(str(root)).lock("/var/lock/qemu-server/lock-100.conf", 0.0):
        assert ended(root, "ended") == (0, "")
        assert (root / NOTE).exists()
    assert ended(root, "ended") == (0, "")
    assert not (root / NOTE).exists()


@pytest.mark.parametrize(("phase", "vmid", "status"), [("ended", "*", 1), ("post-stop", "abc", 0), ("post-start", "abc", 0)])
def test_what_is_no_guest(phase: str, vmid: str, status: int) -> None:
    assert bed.guard(vmid, phase).status == status
