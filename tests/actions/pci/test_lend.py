"""pvehooks lend: devices go to a guest or back to the node; who has one is named, and nothing is stopped for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.actions import accept
from pvehooks.actions.pci import bind, started, unfinished
from pvehooks.cli.commands import lend
from pvehooks.cli.devices import DeviceReport
from pvehooks.derived.passthrough import pci_devices
from pvehooks.facts import hardware
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.pci import bindings
from pvehooks.settings.compiled import GuardSettings, StartSettings
from tests.actions.pci.bed import CARD, DISK, GPU, HELD, NOW, SOUND, TAKES, TWIN, bound, driver, end_guest, planted, unbound
from tests.actions.pci.test_giveback import killed
from tests.beds import pci
from tests.beds.drivercore import KernelHost
from tests.cli.test_cli import pvehooks

CONFIG = "etc/pve/nodes/pve1/qemu-server/100.conf"


def node(directory: Path, hostpci: str = "01:00", **more: str) -> KernelHost:
    return KernelHost(planted(directory / "tree", **{CONFIG: f"hostpci0: {hostpci}\nname: web\n", **more}), TAKES)


def lent(host: KernelHost, address: str, vmid: int, settings: StartSettings | None = None) -> DeviceReport:
    device = pci_devices(hardware.gather(host, "pve1"))[address]
    guest = guests.read(host, "pve1", vmid, guests.start_context(host, "pve1", vmid)) if vmid else None
    (report,) = lend.lend_all(host, "pve1", [device], guest, settings or StartSettings())
    return report


def test_to_a_guest_and_back(tmp_path: Path) -> None:
    host = node(tmp_path)
    report = lent(host, SOUND, 100)
    assert (report.result, report.words) == ("done", "is on vfio-pci now, for VM 100 (web); it was on snd_hda_intel")
    assert driver(host, SOUND) == "vfio-pci" and bindings.lent_to(host, SOUND) == 100
    assert lent(host, SOUND, 100).result == "nothing to do"
    report = lent(host, SOUND, 0)
    assert (report.result, report.words, report.driver) == ("done", "is on snd_hda_intel now", "snd_hda_intel")
    assert driver(host, SOUND) == "snd_hda_intel" and bindings.lent_to(host, SOUND) == 0
    assert lent(host, SOUND, 0).words == "is on snd_hda_intel already"


def test_what_was_lent_is_given_back_after_the_stop(tmp_path: Path) -> None:
    """Unlike a device that `pvehooks bind` bound for good."""
    host = node(tmp_path)
    lent(host, SOUND, 100)
    bind.take(host, pci_devices(hardware.gather(host, "pve1"))[GPU])
    guest = guests.read(host, "pve1", 100, guests.start_context(host, "pve1", 100))
    accept.note_start(host, guest, hardware.gather(host, "pve1"), StartSettings(GuardSettings(after_stop="return")))
    noted = started.read(host, 100)
    assert noted is not None
    assert {address: device.back_to for address, device in noted.devices.items()} == {GPU: "", SOUND: "snd_hda_intel"}


def test_back_to_the_driver_that_the_start_took_it_from(tmp_path: Path) -> None:
    host = node(tmp_path, f"0000:07:00.0\nhostpci1: {SOUND}")
    end_guest(host)
    guest = guests.read(host, "pve1", 100, guests.start_context(host, "pve1", 100))
    accept.note_start(host, guest, hardware.gather(host, "pve1"), StartSettings(GuardSettings(after_stop="return")))
    bind.take(host, pci_devices(hardware.gather(host, "pve1"))[SOUND])
    host.takes = {"other": SOUND, **TAKES}
    Path(host.root, "sys/bus/pci/drivers/other").mkdir()
    assert lent(host, SOUND, 0).driver == "snd_hda_intel"


@pytest.mark.parametrize(
    ("hostpci", "address", "vmid", "words"),
    [
        ("01:00", CARD, 100, f"is not among the devices of VM 100 (web). Give it one: qm set 100 --hostpciN {CARD}"),
        (DISK, DISK, 100, "holds /srv"),
        ("07:00.0", HELD, 100, "is hostpci0 of VM 101 (router), which is running. Stop it first: qm shutdown 101"),
        ("01:00", HELD, 0, "is hostpci0 of VM 101 (router), which is running. Stop it first: qm shutdown 101"),
    ],
)
def test_refused(hostpci: str, address: str, vmid: int, words: str, tmp_path: Path) -> None:
    host = node(tmp_path, hostpci)
    report = lent(host, address, vmid)
    assert report.result == "refused" and words in report.words, report
    assert host.written == []


def test_a_program_has_it(tmp_path: Path) -> None:
    host = node(tmp_path, **{f"{pci.ROOT}/{HELD}/enable": "1\n"})
    end_guest(host)
    assert lent(host, HELD, 0).words == "is held open by a program, and would be waited for until that process ends"
    assert host.written == []


def test_a_dead_one_is_given_to_no_driver(tmp_path: Path) -> None:
    host = node(tmp_path)
    end_guest(host)
    Path(host.root, pci.ROOT, HELD, "config").write_bytes(b"\xff" * 64)
    assert lent(host, HELD, 0).result == "refused" and host.written == []


def test_what_else_refuses_the_start_is_shown(tmp_path: Path) -> None:
    """The guest's disk is mounted; the card is lent all the same, and named what the guest waits for."""
    host = node(tmp_path, f"01:00.1\nhostpci1: {DISK}")
    report = lent(host, SOUND, 100)
    assert report.result == "done" and any("VM 100 (web) would not start all the same: " in note for note in report.notes), report


def test_what_the_guard_would_refuse_is_not_done(tmp_path: Path) -> None:
    """Nobody has accepted that the guest takes the other card of the group."""
    host = node(tmp_path, CARD)
    report = lent(host, TWIN, 100)
    assert report.result == "refused" and report.words.startswith("stays where it is, VM 100 (web) would be refused: "), report
    assert host.written == []


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["lend", GPU], 2, "say to whom: --to VMID or --to host"),
        (["lend", GPU, "--to", "web"], 2, "'web' is neither a VMID nor `host`"),
        (["lend", "gpu", "--to", "host"], 2, "'gpu' is not a PCI address"),
        (["lend", GPU, "--to", "host"], 1, "is a tree, without a kernel"),
    ],
)
def test_bad_input(arguments: list[str], status: int, words: str, tmp_path: Path) -> None:
    assert words in pvehooks(planted(tmp_path / "tree"), *arguments, status=status)


# -- killed -----------------------------------------------------------------------------------------------------------

# To a guest: what it was on and for whom, that it is being bound, four writes to sysfs, that note away. To the node: three writes to sysfs
# (the override, unbind, bind), and both notes away.
STEPS_TO_GUEST, STEPS_TO_NODE = 2 + 1 + 4 + 1, 3 + 2


def left(host: KernelHost) -> tuple[str, str, list[str]]:
    """Its driver, its override, and what is noted of a bind that was begun."""
    begun = host.names(unfinished.DIRECTORY) if host.exists(unfinished.DIRECTORY) else []
    return driver(host, SOUND), host.read_text(f"/sys/bus/pci/devices/{SOUND}/driver_override"), begun


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("number", range(1, STEPS_TO_GUEST + 1))
def test_killed_while_it_goes_to_a_guest(number: int, before: bool, tmp_path: Path) -> None:
    """The next try lends it, and it is given back after the stop; or it is taken back, and nobody remembers."""
    for again in (100, 0):
        host = node(tmp_path / str(again))
        assert killed(host, lambda dying: lent(dying, SOUND, 100), number, before) == 9
        report = lent(host, SOUND, again)
        assert report.result in ("done", "nothing to do"), report
        if again:
            assert left(host) == ("vfio-pci", "(null)", [])
            assert (bindings.former(host, SOUND), bindings.lent_to(host, SOUND)) == ("snd_hda_intel", 100)
        else:
            assert left(host) == ("snd_hda_intel", "(null)", [])
            assert (bindings.former(host, SOUND), bindings.lent_to(host, SOUND)) == (None, 0)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("number", range(1, STEPS_TO_NODE + 1))
def test_killed_while_it_goes_to_the_node(number: int, before: bool, tmp_path: Path) -> None:
    host = node(tmp_path)
    lent(host, SOUND, 100)
    assert killed(host, lambda dying: lent(dying, SOUND, 0), number, before) == 9
    assert lent(host, SOUND, 0).result in ("done", "nothing to do")
    assert left(host) == ("snd_hda_intel", "(null)", [])
    assert (bindings.former(host, SOUND), bindings.lent_to(host, SOUND)) == (None, 0)


def test_the_steps_are_all(tmp_path: Path) -> None:
    host = node(tmp_path)
    assert killed(host, lambda dying: lent(dying, SOUND, 100), STEPS_TO_GUEST + 1, True) == 0
    assert killed(host, lambda dying: lent(dying, SOUND, 0), STEPS_TO_NODE + 1, True) == 0


@pytest.mark.parametrize("number", range(2, 7))
def test_killed_and_bound_by_hand(number: int, tmp_path: Path) -> None:
    """`pvehooks bind` and `unbind` see what was begun, too: no override stays that would pass for an administrator's."""
    for verb in (lambda host: bound(host, NOW, SOUND), lambda host: unbound(host, SOUND)):
        host = node(tmp_path / str(verb))
        assert killed(host, lambda dying: bound(dying, NOW, SOUND), number, True) == 9
        verb(host)
        assert left(host)[1:] == ("(null)", [])


def test_a_device_that_vfio_refuses_is_not_lent(tmp_path: Path) -> None:
    host = node(tmp_path)
    host.refuses = (SOUND,)
    assert lent(host, SOUND, 100).result == "refused"
    assert left(host) == ("snd_hda_intel", "(null)", []) and bindings.lent_to(host, SOUND) == 0
