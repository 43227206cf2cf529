"""After a guest's end: what is given back to the node's drivers, what stays and why, and what is finished that was killed half way."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pvehooks.actions import accept
from pvehooks.actions.pci import bind, giveback, started, unfinished
from pvehooks.actions.pci.giveback import GivenBack
from pvehooks.derived import passthrough
from pvehooks.facts import hardware
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.pci.devices import STARTED
from pvehooks.settings.compiled import DeviceSettings, GuardSettings, StartSettings
from tests.actions.pci.bed import BUS, HELD, PF, TAKES
from tests.beds import pci, uses
from tests.beds.drivercore import KernelHost
from tests.beds.forked import forked
from tests.beds.tree import Content, Link, make_fake_tree

CARD, DISK, TWIN, RISKY, VF = "0000:11:00.0", "0000:12:00.0", "0000:13:00.0", "0000:14:00.0", "0000:15:00.1"
MORE = f"""\
{CARD} class=020000 id=8086:1533 driver=igb group=11
{DISK} class=010802 id=144d:a808 driver=nvme group=12
{TWIN} class=010802 id=144d:a808 driver=nvme group=13
{RISKY} class=030000 id=1002:73bf driver=amdgpu group=14
0000:15:00.0 class=020000 id=8086:1572 driver=vfio-pci group=15
{VF} class=020000 id=8086:154c driver=iavf group=16
"""
DRIVERS = TAKES | {"igb": f"{TAKES['igb']} {CARD}", "nvme": f"{DISK} {TWIN}", "amdgpu": RISKY, "iavf": VF}
RETURN, KEEP = StartSettings(GuardSettings(after_stop="return")), StartSettings()


def node(directory: Path, devices: str = f"{CARD}\nhostpci1: {DISK}", **more: Content) -> KernelHost:
    """A node with a stopped guest that gets these devices."""
    files = uses.idle() | pci.plant(BUS + MORE) | {"etc/pve/local": Link("nodes/pve1")}
    files |= {
        "etc/pve/nodes/pve1/qemu-server/100.conf": f"hostpci0: {devices}\nname: web\n",
        "etc/pve/nodes/pve1/qemu-server/101.conf": "hostpci0: 07:00.0\nname: router\n",
        f"{pci.ROOT}/{VF}/physfn": Link("../0000:15:00.0"),
        STARTED[1:]: None,
    }
    files |= {f"{pci.ROOT}/{address}/enable": "0\n" for address in (CARD, DISK, TWIN, RISKY, VF, HELD)}
    return KernelHost(make_fake_tree(directory / "tree", files | more), DRIVERS)


def start(host: KernelHost, settings: StartSettings = RETURN, vmid: int = 100) -> tuple[str, ...]:
    """The start as the guard and PVE do it: noted, then bound. Returns what the guard logs about the settings."""
    here = hardware.gather(host, "pve1")
    guest = guests.read(host, "pve1", vmid, guests.start_context(host, "pve1", vmid))
    troubles = accept.note_start(host, guest, here, settings)
    for _, device in passthrough.taken(guest, here):
        if not device.vfio:
            bind.take(host, device)
    host.written.clear()
    return troubles


def end(host: KernelHost, vmid: int = 100) -> list[GivenBack]:
    """What the guard does after the stop; drains nothing that is noted anew meanwhile."""
    noted = started.read(host, vmid)
    assert noted is not None
    return list(giveback.give_back(host, "pve1", noted))


def driver(host: KernelHost, address: str) -> str:
    return bind.driver(host, address)


def outcomes(host: KernelHost) -> list[tuple[str, str, str]]:
    return [(each.address, each.outcome, each.words) for each in end(host)]


def test_it_goes_back_to_the_driver_it_had(tmp_path: Path) -> None:
    host = node(tmp_path)
    assert start(host) == ()
    assert (driver(host, CARD), driver(host, DISK)) == ("vfio-pci", "vfio-pci")
    assert outcomes(host) == [(CARD, "returned", "is on igb again"), (DISK, "returned", "is on nvme again")]
    assert (driver(host, CARD), driver(host, DISK)) == ("igb", "nvme")
    assert not host.exists(started.path(100))
    assert {path.split("/")[5] if "/devices/" in path else text for path, text in host.written} == {CARD, DISK}, "the named devices alone"


def test_nothing_is_asked_for(tmp_path: Path) -> None:
    host = node(tmp_path)
    start(host, KEEP)
    assert outcomes(host) == [] and host.written == []
    assert (driver(host, CARD), host.exists(started.path(100))) == ("vfio-pci", False)


def test_what_was_with_vfio_before_stays_there(tmp_path: Path) -> None:
    """It was not taken from the node for this guest."""
    host = node(tmp_path, "0000:15:00.0")
    start(host)
    assert outcomes(host) == [] and host.written == []


@pytest.mark.parametrize(
    ("section", "back"),
    [
        (DeviceSettings(CARD, after_stop="return"), {CARD: "igb", DISK: "vfio-pci"}),
        (DeviceSettings("0000:11:00", after_stop="return"), {CARD: "igb", DISK: "vfio-pci"}),
        (DeviceSettings("8086:1533", after_stop="keep"), {CARD: "vfio-pci", DISK: "vfio-pci"}),
        (DeviceSettings("144d:a808 serial s4ew", after_stop="return"), {CARD: "vfio-pci", DISK: "nvme"}),
        (DeviceSettings("144d:a808 serial other", after_stop="return"), {CARD: "vfio-pci", DISK: "vfio-pci"}),
        (DeviceSettings("0000:99:00.0", after_stop="return"), {CARD: "vfio-pci", DISK: "vfio-pci"}),
    ],
)
def test_by_device(section: DeviceSettings, back: dict[str, str], tmp_path: Path) -> None:
    host = node(tmp_path, **{f"{pci.ROOT}/{DISK}/nvme/nvme3/serial": "S4EW\n"})
    start(host, StartSettings(devices=(section,)))
    end(host)
    assert {address: driver(host, address) for address in back} == back


def test_ids_that_two_devices_have_name_none(tmp_path: Path) -> None:
    host = node(tmp_path)
    (trouble,) = start(host, StartSettings(devices=(DeviceSettings("144d:a808", after_stop="return"),)))
    assert trouble == (
        f"[device 144d:a808] is about 3 devices (0000:02:00.0, {DISK}, {TWIN}) and is not used. Name one: [device 0000:02:00.0]"
    )
    assert outcomes(host) == []


def test_the_more_precise_section_counts(tmp_path: Path) -> None:
    host = node(tmp_path)
    sections = (DeviceSettings("0000:12:00", after_stop="return", return_to="nvme"), DeviceSettings(DISK, after_stop="keep"))
    start(host, StartSettings(GuardSettings(after_stop="return"), devices=sections))
    assert [each.address for each in end(host)] == [CARD]


def test_a_driver_that_hangs_gets_it_only_where_it_is_named(tmp_path: Path) -> None:
    host = node(tmp_path, RISKY)
    start(host)
    ((_, outcome, words),) = outcomes(host)
    assert outcome == "stays" and words.startswith(
        "stays on vfio-pci: the next start would have to take it from amdgpu, and the kernel often"
    )
    start(host, StartSettings(devices=(DeviceSettings(RISKY, return_to="amdgpu"),)))
    assert outcomes(host) == [(RISKY, "returned", "is on amdgpu again")]


def test_a_named_driver_gets_it_although_it_was_with_vfio(tmp_path: Path) -> None:
    host = node(tmp_path, RISKY)
    host.write_attribute(f"/sys/bus/pci/devices/{RISKY}/driver_override", "vfio-pci")
    host.write_attribute("/sys/bus/pci/drivers/amdgpu/unbind", RISKY)
    host.write_attribute("/sys/bus/pci/drivers_probe", RISKY)
    host.write_attribute(f"/sys/bus/pci/devices/{RISKY}/driver_override", "\n")
    start(host, StartSettings(devices=(DeviceSettings(RISKY, return_to="amdgpu"),)))
    assert outcomes(host) == [(RISKY, "returned", "is on amdgpu again")]


def test_not_if_another_guest_has_it_now(tmp_path: Path) -> None:
    host = node(tmp_path, CARD)
    start(host)
    make_fake_tree(
        Path(host.root),
        {
            "run/qemu-server/101.pid": "4711\n",
            "proc/4711/cmdline": f"/usr/bin/kvm\0-id\x00101\0-device\0vfio-pci,host={CARD},id=hostpci0\0",
        },
    )
    assert outcomes(host) == [(CARD, "stays", "stays on vfio-pci: it is hostpci0 of VM 101 (router), which is running")]
    assert host.written == []


def test_later_while_the_same_guest_starts_again(tmp_path: Path) -> None:
    host = node(tmp_path, CARD)
    start(host)
    make_fake_tree(Path(host.root), {"run/qemu-server/pci-id-reservations": f"{CARD} 100 time:{int(host.now()) + 60}\n"})
    ((_, outcome, words),) = outcomes(host)
    assert (outcome, words) == ("later", "stays on vfio-pci: it is reserved for VM 100 (web), which is starting")
    assert host.written == [] and host.exists(started.path(100))


def _opened(host: KernelHost) -> None:
    Path(host.root, pci.ROOT, CARD, "enable").write_text("1\n")


def _dead(host: KernelHost) -> None:
    Path(host.root, pci.ROOT, CARD, "config").write_bytes(b"\xff" * 64)


def _another(host: KernelHost) -> None:
    Path(host.root, pci.ROOT, CARD, "device").write_text("0x9999\n")


def _overridden(host: KernelHost) -> None:
    Path(host.root, pci.ROOT, CARD, "driver_override").write_text("vfio-pci\n")


def _unloaded(host: KernelHost) -> None:
    Path(host.root, "sys/bus/pci/drivers/igb").rename(Path(host.root, "igb"))


@pytest.mark.parametrize(
    ("change", "outcome", "words"),
    [
        (_opened, "later", "stays on vfio-pci while a program has it open"),
        (_dead, "stays", "stays on vfio-pci: it does not answer, and a driver could hang with it"),
        (_another, "stays", "stays on vfio-pci: another device is at its address now, and 8086:1533 was there at the start"),
        (_overridden, "stays", "stays on vfio-pci: its driver_override, which an administrator or driverctl set, names vfio-pci"),
        (_unloaded, "stays", "stays on vfio-pci: the driver igb is not loaded any more"),
    ],
)
def test_what_speaks_against_it(change: Any, outcome: str, words: str, tmp_path: Path) -> None:
    host = node(tmp_path, CARD)
    start(host)
    change(host)
    assert outcomes(host) == [(CARD, outcome, words)]
    assert host.written == [] and host.exists(started.path(100)) is (outcome == "later")


def test_what_is_gone_is_given_to_no_driver(tmp_path: Path) -> None:
    host = node(tmp_path, CARD)
    start(host)
    Path(host.root, "sys/bus/pci/devices", CARD).unlink()
    assert outcomes(host) == [] and host.written == [] and not host.exists(started.path(100))


def test_a_virtual_function_of_a_guests_card_stays(tmp_path: Path) -> None:
    host = node(tmp_path, VF)
    start(host)
    noted = started.read(host, 100)
    assert noted is not None and noted.devices[VF].state["physfn"] == "0000:15:00.0"
    ((_, outcome, words),) = outcomes(host)
    assert outcome == "stays" and words.startswith("stays on vfio-pci: its physical function 0000:15:00.0 is on vfio-pci")


def test_a_driver_that_does_not_take_it_is_reported(tmp_path: Path) -> None:
    host = node(tmp_path, CARD)
    start(host)
    host.takes = {}
    assert outcomes(host) == [(CARD, "failed", "was not taken by igb, it has no driver now. See why: journalctl -k --since -1min")]
    assert not host.exists(started.path(100))


def test_while_another_process_binds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "PATIENCE", 0.0)
    host = node(tmp_path, CARD)
    start(host)
    with unfinished.lock(host, CARD):
        assert [each[1] for each in outcomes(host)] == ["later"]
    assert [each[1] for each in outcomes(host)] == ["returned"]


def test_the_note_of_a_later_start_stays(tmp_path: Path) -> None:
    host = node(tmp_path, CARD)
    start(host)
    old = started.read(host, 100)
    assert old is not None
    start(host, KEEP)
    started.keep(host, old, ())
    assert host.exists(started.path(100))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"label": 1}', '{"label": "", "when": 1, "devices": {"x": {"more": 1}}}', "\xff"])
def test_a_note_that_cannot_be_read_is_none(content: str, tmp_path: Path) -> None:
    host = node(tmp_path)
    make_fake_tree(Path(host.root), {started.path(100)[1:]: content, "run/pvehooks/started/README": ""})
    assert started.read(host, 100) is None and started.vmids(host) == [100]


# -- killed -----------------------------------------------------------------------------------------------------------


class Dying(KernelHost):
    """Ends the process as SIGKILL does, before or after its Nth write, to sysfs or to a note; never while `left` is 0."""

    left, before = 0, True

    def _count(self, before: bool) -> None:
        self.left -= before
        if self.left == 0 and self.before is before:
            os._exit(9)

    def write_attribute(self, path: str, text: str) -> None:
        self._count(True)
        super().write_attribute(path, text)
        self._count(False)

    def replace(self, *arguments: Any, **named: Any) -> None:
        self._count(True)
        super().replace(*arguments, **named)
        self._count(False)

    def remove(self, path: str, durable: bool = False) -> None:
        self._count(True)
        super().remove(path, durable)
        self._count(False)


class Killed(Dying):
    """Another look at the tree, that ends so."""

    def __init__(self, host: KernelHost, number: int, before: bool) -> None:
        super().__init__(Path(host.root), host.takes)
        self.left, self.before = number, before


# Of a start: the note; then of each of the two devices that it is being bound, four writes to sysfs, and that note away.
# Of an end: of each unbind, bind, what `pvehooks bind` and `lend` remembered away, and the device out of the note.
STEPS_OF_START, STEPS_OF_END = 1 + 2 * 6, 2 * 5


def killed(host: KernelHost, work: Any, number: int, before: bool) -> int:
    return forked(lambda: work(Killed(host, number, before)))


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("number", range(1, STEPS_OF_END + 1))
def test_killed_at_any_step_of_the_end(number: int, before: bool, tmp_path: Path) -> None:
    """The next look finishes it."""
    host = node(tmp_path)
    start(host)
    assert killed(host, end, number, before) == 9
    noted = started.read(host, 100)
    if noted is not None:
        list(giveback.give_back(host, "pve1", noted))
    assert (driver(host, CARD), driver(host, DISK)) == ("igb", "nvme")
    assert not host.exists(started.path(100))


def test_the_steps_of_the_end_are_all(tmp_path: Path) -> None:
    host = node(tmp_path)
    start(host)
    assert killed(host, end, STEPS_OF_END + 1, True) == 0


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("number", range(1, STEPS_OF_START + 1))
def test_killed_at_any_step_of_the_start(number: int, before: bool, tmp_path: Path) -> None:
    """The guest has never run: the next look takes back what was bound, and nothing else was changed."""
    host = node(tmp_path)
    assert killed(host, start, number, before) == 9
    noted = started.read(host, 100)
    if noted is not None:
        list(giveback.give_back(host, "pve1", noted))
    assert (driver(host, CARD), driver(host, DISK)) == ("igb", "nvme")
    assert host.read_text(f"/sys/bus/pci/devices/{CARD}/driver_override") == "(null)"
    assert host.names(STARTED) == []


def test_the_steps_of_the_start_are_all(tmp_path: Path) -> None:
    assert killed(node(tmp_path), start, STEPS_OF_START + 1, True) == 0


def test_a_guest_that_starts_again_before_its_end_was_dealt_with(tmp_path: Path) -> None:
    """The driver that it goes back to is the one it had before the first start."""
    host = node(tmp_path)
    start(host)
    start(host)
    assert [each[1] for each in outcomes(host)] == ["returned", "returned"]
    assert (driver(host, CARD), driver(host, DISK)) == ("igb", "nvme")


def test_another_guest_takes_it_over(tmp_path: Path) -> None:
    host = node(tmp_path, CARD)
    start(host)
    make_fake_tree(Path(host.root), {"etc/pve/nodes/pve1/qemu-server/102.conf": f"hostpci0: {CARD}\n"})
    start(host, vmid=102)
    assert [each.outcome for each in end(host, 102)] == ["returned"]
    assert outcomes(host) == [] and driver(host, CARD) == "igb"


def test_bed(tmp_path: Path) -> None:
    """The other devices of the bed are as they were."""
    host = node(tmp_path)
    assert (driver(host, PF), driver(host, HELD)) == ("igb", "vfio-pci")
