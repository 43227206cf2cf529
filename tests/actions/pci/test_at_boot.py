"""What is written for boot, and what is done with it there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pvehooks.actions.pci import at_boot, persist
from pvehooks.cli import boot_bindings
from pvehooks.cli.commands.bind import Wanted
from pvehooks.derived.passthrough import pci_devices
from pvehooks.facts import hardware
from pvehooks.facts.pci import bindings
from tests.actions.pci.bed import (
    CARD,
    DISK,
    GPU,
    PERSIST,
    PF,
    TAKES,
    TWIN,
    another,
    applied,
    bound,
    driver,
    planted,
    unbound,
)
from tests.beds import pci
from tests.beds.drivercore import KernelHost


def test_noted_and_forgotten(host: KernelHost) -> None:
    (report,) = bound(host, PERSIST, CARD)
    assert (report.result, report.driver, report.persistent) == ("done", "igb", True) and host.written == []
    note = bindings.noted(host, CARD)
    assert isinstance(note, bindings.BootBinding) and note.identity.subsystem == (0x1043, 0x85F0) and note.vfs is None
    before = Path(host.root, bindings.path(CARD)[1:]).read_bytes()
    (report,) = bound(host, PERSIST, CARD)
    assert report.result == "nothing to do" and Path(host.root, bindings.path(CARD)[1:]).read_bytes() == before
    (report,) = unbound(host, CARD, now=False, forget=True)
    assert (report.result, report.persistent) == ("done", False) and bindings.all_noted(host) == {}
    (report,) = unbound(host, CARD, now=False, forget=True)
    assert report.result == "nothing to do"


def test_bound_at_boot(host: KernelHost) -> None:
    bound(host, PERSIST, CARD)
    assert applied(host, CARD) == ("done", f"{CARD} (Ethernet controller [8086:1533]) is on vfio-pci now; it was on igb")
    assert driver(host, CARD) == "vfio-pci" and driver(host, TWIN) == "igb" and applied(host, CARD)[0] == "as wanted"
    assert at_boot.apply(host, "pve1", TWIN, patient=False) is None
    (report,) = unbound(host, CARD)
    assert report.driver == "igb" and "it is recorded for boot" in report.words


def test_a_driver_that_comes_meanwhile(host: KernelHost) -> None:
    """At boot udev loads it at this moment: the device is looked at again."""
    bound(host, PERSIST, CARD)
    host.write_attribute("/sys/bus/pci/drivers/igb/unbind", CARD)
    host.overtaking = ["igb"]
    assert applied(host, CARD) == ("done", f"{CARD} (Ethernet controller [8086:1533]) is on vfio-pci now; it was on igb")
    assert host.overtaking == [] and driver(host, CARD) == "vfio-pci"


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        pytest.param({"device": "0x10d3"}, "it is 8086:10d3, and 8086:1533 was meant", id="device"),
        pytest.param({"vendor": "0x14e4"}, "it is 14e4:1533, and 8086:1533 was meant", id="vendor"),
        pytest.param({"subsystem_device": "0x1234"}, "its subsystem is 1043:1234, and 1043:85f0 was meant", id="subsystem"),
    ],
)
def test_another_device_at_the_address_is_left_alone(attributes: dict[str, str], why: str, host: KernelHost) -> None:
    bound(host, PERSIST, CARD)
    another(host, **attributes)
    result, words = applied(host, CARD)
    assert result == "not done" and "not the device that was meant" in words and why in words
    assert driver(host, CARD) == "igb" and host.written == []


def serial_number(last: int) -> bytes:
    """Configuration space with a Device Serial Number behind another capability."""
    first = (0x0001 | 1 << 16 | 0x140 << 20).to_bytes(4, "little")
    second = (0x0003 | 1 << 16).to_bytes(4, "little") + bytes([last, 0xCC, 0xBB, 0xFF, 0xFF, 0x21, 0x1B, 0x00])
    return (bytes(0x100) + first).ljust(0x140, b"\0") + second.ljust(0x1000 - 0x140, b"\0")


def test_twins_are_distinguished_by_their_serial_number(host: KernelHost) -> None:
    config = Path(host.root, pci.ROOT, CARD, "config")
    config.write_bytes(serial_number(1))
    bound(host, PERSIST, CARD)
    assert "serial = 00-1b-21-ff-ff-bb-cc-01" in Path(host.root, bindings.path(CARD)[1:]).read_text()
    config.write_bytes(serial_number(2))
    result, words = applied(host, CARD)
    assert result == "not done" and "its serial number is 00-1b-21-ff-ff-bb-cc-02, and 00-1b-21-ff-ff-bb-cc-01 was meant" in words
    config.write_bytes(serial_number(1)[:64])
    assert applied(host, CARD)[0] == "done", "unknown is not different"


def test_twins_are_distinguished_by_their_place(host: KernelHost) -> None:
    """The address is the same, but behind another root port: a card was added, and the buses were numbered anew."""
    bound(host, PERSIST, CARD)
    link = Path(host.root, pci.BUS, CARD)
    link.unlink()
    Path(host.root, "sys/devices/pci0000:00/0000:00:1d.0").mkdir()
    Path(host.root, pci.ROOT, CARD).rename(Path(host.root, pci.ROOT, "0000:00:1d.0", CARD))
    link.symlink_to(f"../../../devices/pci0000:00/0000:00:1d.0/{CARD}")
    result, words = applied(host, CARD)
    assert result == "not done" and f"it sits at pci0000:00/0000:00:1d.0/{CARD}" in words


def test_what_the_host_uses_is_not_taken_at_boot(tmp_path: Path) -> None:
    host = KernelHost(planted(tmp_path / "tree"), TAKES)
    node = hardware.gather(host, "pve1")
    persist.note(host, pci_devices(node)[DISK])
    result, words = applied(host, DISK)
    assert result == "not done" and "holds /srv" in words and driver(host, DISK) == "nvme" and host.written == []


def test_nothing_at_the_address(host: KernelHost) -> None:
    bound(host, PERSIST, CARD)
    Path(host.root, pci.BUS, CARD).unlink()
    result, words = applied(host, CARD)
    assert result == "not done" and "is not on the bus" in words


@pytest.mark.parametrize(
    "text", [b"", b"id = 8086\ndriver = vfio-pci\n", b"id = 8086:1533\n", b"id = 8086:1533\nvfs = -1\n", b"\xff\0=\n", b"=" * 5000]
)
def test_a_broken_note_binds_nothing(text: bytes, host: KernelHost) -> None:
    bound(host, PERSIST, CARD)
    Path(host.root, bindings.path(CARD)[1:]).write_bytes(text)
    result, words = applied(host, CARD)
    assert result == "not done" and "is not as pvehooks wrote it" in words and host.written == []


def test_early_at_boot(tmp_path: Path) -> None:
    """Before udev and pmxcfs there is little more than /proc and /sys."""
    host = KernelHost(planted(tmp_path / "tree"), TAKES)
    bound(host, PERSIST, GPU, CARD)
    for folder in ("etc/pve", "run"):
        shutil.rmtree(Path(host.root, folder))
    assert [applied(host, each)[0] for each in at_boot.addresses(host)] == ["done", "done"]


def test_one_purpose_for_boot_only(host: KernelHost) -> None:
    bound(host, PERSIST, PF)
    (report,) = bound(host, Wanted(False, True, 2), PF)
    assert report.result == "refused" and "it is recorded for boot already, to get vfio-pci" in report.words
    unbound(host, PF, now=False, forget=True)
    bound(host, Wanted(False, True, 2), PF)
    (report,) = bound(host, PERSIST, PF)
    assert report.result == "refused" and "to get 2 virtual functions" in report.words


# -- the journal ---------------------------------------------------------------------------------------------------------


def bind_at_boot(host: KernelHost, capsys: pytest.CaptureFixture[str], *addresses: str) -> tuple[int, list[str]]:
    capsys.readouterr()
    status = boot_bindings.apply_all(host, "pve1", list(addresses))
    return status, [line.partition(" ")[2].strip() for line in capsys.readouterr().err.splitlines()]


def test_what_is_logged_at_boot(host: KernelHost, capsys: pytest.CaptureFixture[str]) -> None:
    """Early, what was done and what is not there; what udev looks at once more is told by that look, so that nothing is told twice."""
    bound(host, PERSIST, GPU, CARD, TWIN)
    bound(host, Wanted(False, True, 2), PF)
    Path(host.root, pci.ROOT, PF, "driver").unlink()
    another(host, device="0x10d3")
    Path(host.root, pci.BUS, TWIN).unlink()
    status, lines = bind_at_boot(host, capsys)
    assert status == 0 and lines == [
        f"notice:  {GPU} (graphics card [10de:2204]) is on vfio-pci now; it was on nouveau",
        f"error:   {TWIN} (Ethernet controller [8086:1533]) is not on the bus, so it is not given to vfio-pci",
    ]
    status, (line,) = bind_at_boot(host, capsys, CARD)
    assert status == 1 and line.startswith(f"error:   {CARD} (Ethernet controller [8086:10d3]) is left as it is, it is not the device")
    assert bind_at_boot(host, capsys, GPU) == (0, [])
    assert bind_at_boot(host, capsys, DISK) == (0, [])
