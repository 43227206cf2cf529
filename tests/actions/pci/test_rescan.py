"""Devices that the settings have taken off the bus and looked for again, and attributes that are set for as long as a guest has a device."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from pvehooks.actions import accept
from pvehooks.actions.pci import bind, persist, release, rescan, started, states, unfinished
from pvehooks.derived.passthrough import pci_devices
from pvehooks.facts import hardware
from pvehooks.facts.guests import configs as guests
from pvehooks.guard import prepare
from pvehooks.settings.compiled import DeviceSettings, StartSettings
from pvehooks.values import Guest
from tests.actions.pci.bed import HELD, TAKES
from tests.actions.pci.test_giveback import CARD, DISK, driver, end, node, start
from tests.beds import pci
from tests.beds.drivercore import KernelHost
from tests.beds.forked import forked
from tests.beds.tree import make_fake_tree

RESCAN = StartSettings(devices=(DeviceSettings(CARD, before_start="rescan"),))


class Bus(KernelHost):
    """A bus from which devices go and on which they come back, as they are in `back` (which may be none, or another)."""

    def __init__(self, host: KernelHost) -> None:
        super().__init__(Path(host.root), host.takes)
        self.back = self._link_of(CARD)
        self.fails = ""
        self.changes: dict[str, Any] = {}
        Path(self.root, "sys/bus/pci/drivers_autoprobe").write_text("1\n")

    def _link_of(self, address: str) -> str:
        return os.readlink(Path(self.root, "sys/bus/pci/devices", address))

    def write_attribute(self, path: str, text: str) -> None:
        name = path.rpartition("/")[2]
        if name == self.fails:
            self.written.append((path, text))
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        if name == "remove":
            self.written.append((path, text))
            address = path.split("/")[-2]
            Path(self.root, pci.ROOT, address, "driver").unlink(missing_ok=True)
            Path(self.root, "sys/bus/pci/devices", address).unlink()
        elif name == "rescan":
            self.written.append((path, text))
            assert self.read_text(unfinished.AUTOPROBE) == "0", "no driver takes what is found"
            if self.back and not self.exists(f"/sys/bus/pci/devices/{CARD}"):
                Path(self.root, "sys/bus/pci/devices", CARD).symlink_to(self.back)
                for attribute, content in self.changes.items():
                    Path(self.root, pci.ROOT, CARD, attribute).write_bytes(content)
        elif name == "drivers_autoprobe":
            self.written.append((path, text))
            Path(self.locate(path)).write_text(f"{text}\n")
        else:
            super().write_attribute(path, text)

    def sleep(self, seconds: float) -> None:
        """Nothing comes later here."""

    def monotonic(self) -> float:
        return len(self.written) + super().monotonic() * 1000


def bus(directory: Path, devices: str = CARD, vfio: bool = True) -> Bus:
    host = Bus(node(directory, devices))
    if vfio:
        bind.take(host, hardware.gather(host, "pve1").pci[CARD])  # type: ignore[index]
        host.written.clear()
    return host


def guest(host: KernelHost) -> Guest:
    return guests.read(host, "pve1", 100, guests.start_context(host, "pve1", 100))


def looked(host: Bus, settings: StartSettings = RESCAN) -> tuple[bool, list[tuple[str, ...]]]:
    """What the guard makes of it, and what it sends."""
    sent: list[tuple[str, ...]] = []
    done = prepare.look_again(host, "pve1", guest(host), settings, lambda kind, *fields: sent.append((kind, *map(str, fields))))
    return done, sent


def names(host: Bus) -> list[str]:
    """The attributes that were written."""
    return [path.rpartition("/")[2] for path, _ in host.written]


def test_it_goes_and_comes_back_to_vfio(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    host = bus(tmp_path)
    done, sent = looked(host)
    assert done and driver(host, CARD) == "vfio-pci"
    assert names(host)[:4] == ["drivers_autoprobe", "remove", "rescan", "drivers_autoprobe"]
    assert host.read_text(unfinished.AUTOPROBE) == "1" and not host.exists(unfinished.AUTOPROBE_NOTE)
    assert [kind for kind, *_ in sent] == ["changing", "changing"] and sent[-1] == ("changing", "")
    assert capfd.readouterr().out.endswith("was taken off the bus and found again.\n")


@pytest.mark.parametrize("section", [DeviceSettings(CARD, reset="remove-rescan"), DeviceSettings("8086:9999", before_start="rescan")])
def test_by_which_settings(section: DeviceSettings, tmp_path: Path) -> None:
    host = bus(tmp_path)
    assert looked(host, StartSettings(devices=(section,)))[0]
    assert ("remove" in names(host)) is (section.selector == CARD)


def _other(host: Bus) -> None:
    host.changes = {"device": b"0x9999\n"}


def _absent(host: Bus) -> None:
    host.back = ""


def _dead(host: Bus) -> None:
    host.changes = {"config": b"\xff" * 64}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_other, "is another device since it was looked for again: it is 8086:9999, and 8086:1533 was meant"),
        (_absent, "was taken off the bus and did not come back. Switch the node off and on; a restart may not be enough."),
        (_dead, "was looked for again and does not answer. Switch the node off and on; a restart may not be enough."),
    ],
)
def test_what_does_not_come_back_refuses_the_start(change: Any, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    host = bus(tmp_path)
    change(host)
    done, sent = looked(host)
    out = capfd.readouterr().out
    assert not done and sent[-1] == ("changing", "")
    assert out.startswith("pvehooks: VM 100 (web) is not started: ") and words in out
    assert "To start it once nevertheless: pvehooks allow 100 --once --reason WHY." in out and f"[device ...] of {CARD} " in out
    assert host.read_text(unfinished.AUTOPROBE) == "1"


def test_a_dead_device_that_comes_back(tmp_path: Path) -> None:
    host = bus(tmp_path)
    Path(host.root, pci.ROOT, CARD, "config").write_bytes(b"\xff" * 64)
    host.changes = {"config": b"\x86\x80" + bytes(62)}
    assert looked(host)[0] and driver(host, CARD) == "vfio-pci"


def test_one_that_the_node_uses_stays(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    host = bus(tmp_path, vfio=False)
    assert looked(host)[0]
    assert "was not looked for again: igb has it, and it answers." in capfd.readouterr().out
    assert host.written == []


def test_one_that_a_program_has_stays(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    host = bus(tmp_path)
    Path(host.root, pci.ROOT, CARD, "enable").write_text("1\n")
    assert looked(host)[0]
    assert "was not looked for again: a program has it open." in capfd.readouterr().out and host.written == []


def test_one_of_another_guest_stays(tmp_path: Path) -> None:
    host = Bus(node(tmp_path, HELD))
    for path, text in (("run/qemu-server/101.pid", "4711\n"), ("proc/4711/cmdline", "/usr/bin/kvm\0-id\x00101\0")):
        Path(host.root, path).parent.mkdir(parents=True, exist_ok=True)
        Path(host.root, path).write_text(text)
    assert looked(host, StartSettings(devices=(DeviceSettings(HELD, before_start="rescan"),)))[0]
    assert host.written == []


def test_an_absent_one_is_looked_for_on_all_buses(tmp_path: Path) -> None:
    host = bus(tmp_path)
    Path(host.root, pci.ROOT, CARD, "driver").unlink()
    Path(host.root, "sys/bus/pci/devices", CARD).unlink()
    done, sent = looked(host)
    assert done and host.exists(f"/sys/bus/pci/devices/{CARD}") and sent[0] == ("changing", f"the look for {CARD} on the bus")
    assert "/sys/bus/pci/rescan" in [path for path, _ in host.written] and "remove" not in names(host)


def test_a_kernel_that_does_not_take_it_off(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    host = bus(tmp_path)
    host.fails = "remove"
    assert looked(host)[0]
    assert "was not looked for again: " in capfd.readouterr().out
    assert host.read_text(unfinished.AUTOPROBE) == "1" and driver(host, CARD) == "vfio-pci"


def test_nothing_is_read_without_such_a_setting(tmp_path: Path) -> None:
    host = bus(tmp_path)
    assert looked(host, StartSettings(devices=(DeviceSettings(CARD, reset="bus"),))) == (True, [])


# -- killed -----------------------------------------------------------------------------------------------------------


class KilledBus(Bus):
    """Ends the process before or after its Nth write."""

    left, before = 0, False

    def write_attribute(self, path: str, text: str) -> None:
        self.left -= 1
        if not self.left and self.before:
            os._exit(9)
        super().write_attribute(path, text)
        if not self.left:
            os._exit(9)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_killed_at_any_step(number: int, before: bool, tmp_path: Path) -> None:
    """The next look finds the device, and lets drivers take devices again."""
    host = bus(tmp_path)
    back = host.back
    killed = KilledBus(host)
    killed.back, killed.left, killed.before = back, number, before
    assert forked(lambda: rescan.again(killed, "pve1", guest(killed), CARD)) == 9
    bind.finish_begun(host)
    assert host.exists(f"/sys/bus/pci/devices/{CARD}")
    assert host.read_text(unfinished.AUTOPROBE) == "1" and not host.exists(unfinished.AUTOPROBE_NOTE)
    assert looked(host)[0]


def test_what_another_process_does_is_left_to_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescan, "_SECONDS", 0.0)
    host = bus(tmp_path)
    host.make_dir(unfinished.DIRECTORY)
    host.replace(unfinished.AUTOPROBE_NOTE, b"1\n")
    with rescan._lock(host):
        bind.finish_begun(host)
        assert host.exists(unfinished.AUTOPROBE_NOTE) and looked(host)[0]
        assert "another process looks for devices" in capfd.readouterr().out
    bind.finish_begun(host)
    assert not host.exists(unfinished.AUTOPROBE_NOTE)


# -- attributes -------------------------------------------------------------------------------------------------------


def with_attributes(directory: Path) -> KernelHost:
    attributes = {f"{pci.ROOT}/{CARD}/reset_method": "flr bus\n", f"{pci.ROOT}/{CARD}/d3cold_allowed": "1\n"}
    return node(directory, f"{CARD}\nhostpci1: {DISK}", **attributes)


def attributes(host: KernelHost) -> tuple[str, str]:
    there = f"/sys/bus/pci/devices/{CARD}"
    return host.read_text(f"{there}/reset_method"), host.read_text(f"{there}/d3cold_allowed")


@pytest.mark.parametrize(
    ("section", "as_set"),
    [
        (DeviceSettings(CARD, reset="bus", d3cold="no"), ("bus", "0")),
        (DeviceSettings(CARD, reset="bus,flr"), ("bus flr", "1")),
        (DeviceSettings(CARD, d3cold="yes"), ("flr bus", "1")),
    ],
)
def test_set_at_the_start_and_undone_after_the_stop(section: DeviceSettings, as_set: tuple[str, str], tmp_path: Path) -> None:
    host = with_attributes(tmp_path)
    assert start(host, StartSettings(devices=(section,))) == ()
    assert started.apply_states(host, 100) == ()
    assert attributes(host) == as_set
    # A start whose end was not dealt with: what was before it comes back all the same.
    start(host, StartSettings(devices=(section,)))
    started.apply_states(host, 100)
    assert end(host) == []
    # Whether its power may go counts while nothing has it: until it is with another driver.
    assert attributes(host) == ("flr bus", as_set[1]) and not host.exists(started.path(100))
    release.release(host, pci_devices(hardware.gather(host, "pve1"))[CARD], "")
    assert attributes(host) == ("flr bus", "1") and driver(host, CARD) == "igb" and states.kept(host, CARD) == {}


NO_POWER_OFF = StartSettings(devices=(DeviceSettings(CARD, d3cold="no"),))


@pytest.mark.parametrize(
    ("settings", "then"),
    [
        pytest.param(NO_POWER_OFF, "0", id="still so"),
        pytest.param(StartSettings(devices=(DeviceSettings(CARD, reset="bus"),)), "1", id="another setting"),
        pytest.param(StartSettings(devices=(DeviceSettings(DISK, reset="bus"),)), "1", id="no section"),
        pytest.param(StartSettings(devices=(DeviceSettings(CARD, d3cold="no", after_stop="return"),)), "1", id="given back"),
    ],
)
def test_power_between_two_starts(settings: StartSettings, then: str, tmp_path: Path) -> None:
    """What was before the first start comes back once nobody wants it otherwise."""
    host = with_attributes(tmp_path)
    for each in (NO_POWER_OFF, settings, settings):
        if driver(host, CARD) == "vfio-pci":
            host.write_attribute("/sys/bus/pci/devices/0000:11:00.0/driver_override", "\n")
        persist.remember_former(host, CARD, "igb")
        persist.remember_lent(host, CARD, 100)
        start(host, each)
        started.apply_states(host, 100)
        end(host)
    assert attributes(host) == ("flr bus", then)


@pytest.mark.parametrize("content", ["", "1", "1 0 0", "\xff"])
def test_what_was_kept_that_cannot_be_read_is_none(content: str, tmp_path: Path) -> None:
    host = with_attributes(tmp_path)
    make_fake_tree(Path(host.root), {f"{states.KEPT[1:]}/{CARD}": content})
    states.put_back(host, CARD)
    assert attributes(host) == ("flr bus", "1")


def test_what_an_administrator_set_meanwhile_stays(tmp_path: Path) -> None:
    host = with_attributes(tmp_path)
    start(host, StartSettings(devices=(DeviceSettings(CARD, reset="bus"),)))
    started.apply_states(host, 100)
    host.write_attribute(f"/sys/bus/pci/devices/{CARD}/reset_method", "pm")
    end(host)
    assert attributes(host)[0] == "pm"


def test_an_attribute_that_is_not_there(tmp_path: Path) -> None:
    host = node(tmp_path)
    (trouble,) = start(host, StartSettings(devices=(DeviceSettings(DISK, d3cold="no"),)))
    assert trouble == f"{DISK} has no d3cold_allowed: the setting of [device {DISK}] is not used"


def test_a_method_that_the_kernel_does_not_take(tmp_path: Path) -> None:
    host = with_attributes(tmp_path)

    class Refusing(KernelHost):
        def write_attribute(self, path: str, text: str) -> None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)

    start(host, StartSettings(devices=(DeviceSettings(CARD, reset="pm,bus"),)))
    refusing = Refusing(Path(host.root), TAKES)
    assert started.apply_states(refusing, 100) == (f"{CARD} cannot be reset by pm, bus: it stays at flr bus",)
    states.undo(refusing, CARD, {"reset_method": ("x", "flr bus"), "none": ("", "")})
    assert attributes(host)[0] == "flr bus"


def test_no_reset_at_all() -> None:
    assert states.wanted(DeviceSettings(CARD, reset="none")) == {"reset_method": ""}
    assert states.wanted(DeviceSettings(CARD, reset="remove-rescan")) == {"reset_method": ""}


def test_the_note_is_written_before_anything_is_set(tmp_path: Path) -> None:
    host = with_attributes(tmp_path)
    accept.note_start(host, guest(host), hardware.gather(host, "pve1"), StartSettings(devices=(DeviceSettings(CARD, reset="bus"),)))
    assert attributes(host)[0] == "flr bus" and host.written == []
    noted = started.read(host, 100)
    assert noted is not None and noted.devices[CARD].undo == {"reset_method": ["flr bus", "bus"]}
