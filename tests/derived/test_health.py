"""How a device does after a guest had it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pvehooks.derived import health
from pvehooks.derived.health import Ailment
from pvehooks.facts.pci import devices
from pvehooks.host import Host
from pvehooks.values import PciDevice, Unread
from tests.beds import pci
from tests.beds.tree import Content, make_fake_tree

CARD, IDS = "0000:01:00.0", "1002:67df"
BUS = f"{CARD} class=030000 id={IDS} driver=vfio-pci group=1\n"
AER = "RxErr 0\nBadTLP 2\nTOTAL_ERR_COR 2\n"


LANES = {"current_link_width": "16"}
DEAD: dict[str, Content] = {"config": b"\xff" * 64, "current_link_width": "4\n"}


def found(directory: Path, before: Mapping[str, str], files: Mapping[str, Content], bus: str = BUS) -> list[Ailment]:
    host = Host(str(make_fake_tree(directory, pci.plant(bus) | {f"{pci.ROOT}/{CARD}/{name}": text for name, text in files.items()})))
    there = devices.devices(host)
    assert not isinstance(there, Unread)
    return list(health.ailments(CARD, IDS, before, there.get(CARD), devices.state(host, CARD)))


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ({}, {}, []),
        ({"current_link_width": "16"}, {"current_link_width": "16\n"}, []),
        ({"current_link_width": "16"}, {"current_link_width": "0\n"}, []),
        ({"current_link_speed": "8.0"}, {"current_link_speed": "2.5 GT/s PCIe\n"}, []),
        (
            {"current_link_width": "16"},
            {"current_link_width": "4\n", "current_link_speed": "2.5 GT/s PCIe\n"},
            ["has a link of 4 lanes, at 2.5 GT/s, and had 16 lanes at the start"],
        ),
        ({"current_link_width": "16"}, {"current_link_width": "1\n"}, ["has a link of 1 lane, and had 16 lanes at the start"]),
        ({"aer_dev_fatal": "2"}, {"aer_dev_fatal": AER}, []),
        ({"aer_dev_fatal": "0"}, {"aer_dev_fatal": AER}, ["had 2 fatal PCIe errors while the VM ran"]),
        ({"aer_dev_nonfatal": "1"}, {"aer_dev_nonfatal": AER}, ["had 1 non-fatal PCIe error while the VM ran"]),
        ({}, {"aer_dev_fatal": AER}, []),
        ({"sriov_numvfs": "9" * 17}, {"sriov_numvfs": "8\n"}, [f"has 8 virtual functions, and had {'9' * 17} at the start"]),
        ({"sriov_numvfs": "9" * 18}, {"sriov_numvfs": "8\n"}, []),
        ({"aer_dev_fatal": "x"}, {"aer_dev_fatal": "TOTAL_ERR_FATAL 1\n"}, ["had 1 fatal PCIe error while the VM ran"]),
        ({"aer_dev_fatal": "9" * 30}, {"aer_dev_fatal": "x\n"}, []),
        ({"sriov_numvfs": "4"}, {"sriov_numvfs": "0\n"}, ["has 0 virtual functions, and had 4 at the start"]),
    ],
)
def test_what_changed(before: Mapping[str, str], now: Mapping[str, Content], words: list[str], tmp_path: Path) -> None:
    ailments = found(tmp_path, before, now)
    assert [each.words for each in ailments] == words
    assert not any(each.dead for each in ailments) and all(each.remedy for each in ailments)


def test_dead_in_d3cold(tmp_path: Path) -> None:
    """The kernel wakes a device for each read of its config space: one that does not answer then could not be woken."""
    ((dead, words, remedy),) = found(tmp_path / "vfio", {}, {"config": b"\xff" * 64, "power_state": "D3cold\n"})
    assert dead and words == "does not answer any more: it is in D3cold, without power, and the kernel cannot wake it"
    assert "echo 'options vfio-pci disable_idle_d3=1' > /etc/modprobe.d/vfio-pci-awake.conf && update-initramfs -u -k all" in remedy
    ((_, _, remedy),) = found(
        tmp_path / "nouveau", {}, {"config": b"\xff" * 64, "power_state": "D3cold\n"}, BUS.replace("vfio-pci", "nouveau")
    )
    assert "vfio-pci" not in remedy, "it is not with vfio-pci"


def test_asleep_is_well(tmp_path: Path) -> None:
    assert found(tmp_path, {}, {"power_state": "D3cold\n"}) == []


def test_dead(tmp_path: Path) -> None:
    ((dead, words, remedy),) = found(tmp_path, {}, {"config": b"\xff" * 64, "reset_method": "flr bus\n"})
    assert dead and words.startswith("does not answer any more")
    assert f"echo 1 > /sys/bus/pci/devices/{CARD}/remove" in remedy and "vendor-reset" in remedy
    assert f"[device {CARD}] reset = bus" in remedy and f"[device {CARD}] before_start = rescan" in remedy


@pytest.mark.parametrize(
    ("bus", "methods", "vendor_reset", "reset"),
    [
        pytest.param(BUS, "flr\n", True, "", id="no other way to reset it"),
        pytest.param(BUS, "bus flr\n", True, "", id="reset in another way than FLR already"),
        pytest.param(BUS, "flr pm bus\n", True, "pm", id="the next of the ways"),
        pytest.param(BUS.replace("030000", "020000"), "bus\n", False, "", id="another device of AMD"),
        pytest.param(BUS.replace("1002", "10de"), "bus\n", False, "", id="graphics of another maker"),
    ],
)
def test_what_helps_a_dead_one(bus: str, methods: str, vendor_reset: bool, reset: str, tmp_path: Path) -> None:
    ((dead, _, remedy),) = found(tmp_path, LANES, {**DEAD, "reset_method": methods}, bus)
    assert dead and remedy.startswith("Take it off the bus and look for it again: echo 1 > ")
    assert remedy.endswith(". If that does not help, switch the node off and on; a restart may not be enough")
    assert ("vendor-reset" in remedy) is vendor_reset
    assert remedy.partition(f"[device {CARD}] reset = ")[2].partition(".")[0] == reset


def test_a_virtual_function_is_never_dead(tmp_path: Path) -> None:
    """Its ids read ff as they should, and no scan of the bus makes it."""
    bus = f"0000:02:00.0 class=020000 id=8086:10c9 driver=igb\n{CARD} class=020000 id={IDS} driver=vfio-pci pf=0000:02:00.0\n"
    assert found(tmp_path, {}, {"config": b"\xff" * 64}, bus) == []


def test_gone(tmp_path: Path) -> None:
    ((dead, words, remedy),) = found(tmp_path, {}, {}, "0000:02:00.0 class=030000 id=10de:2204\n")
    assert dead and words == "is not on the bus any more" and remedy.startswith("Look for it: echo 1 > /sys/bus/pci/rescan.")


def test_a_virtual_function_that_is_gone(tmp_path: Path) -> None:
    """No power cycle brings it back, its physical function does."""
    before = {"physfn": "0000:02:00.0"}
    ((dead, words, remedy),) = found(tmp_path, before, {}, "0000:02:00.0 class=020000 id=8086:10c9\n")
    assert not dead and words.startswith("is not there any more: its physical function 0000:02:00.0 has lost")
    assert remedy.startswith("Make them again: pvehooks bind 0000:02:00.0 --vfs N --now")


def test_another_device_has_its_address(tmp_path: Path) -> None:
    bus = f"{CARD} class=030000 id=10de:2204\n"
    assert found(tmp_path, {"current_link_width": "16"}, {"current_link_width": "1\n"}, bus) == []


def test_a_device_without_its_attributes(tmp_path: Path) -> None:
    assert list(health.ailments(CARD, "-001:-001", {}, PciDevice(CARD), {})) == []
