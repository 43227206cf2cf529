"""Two processes change a device at the same time: services of udev at boot, starts, stops and commands."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pvehooks.actions.pci import rescan, unfinished
from pvehooks.facts.pci import vflinks
from pvehooks.host import Host, Lock
from tests.actions.pci import test_giveback, test_lend, test_rescan
from tests.actions.pci.bed import CARD, NOW, PF, SOUND, applied, bound, driver, unbound
from tests.actions.pci.test_vf_settings import GUESTS, MAC, NODES, IgbvfHost, of_both, wanted
from tests.beds import pci
from tests.beds.drivercore import KernelHost


def once_looked_at(do: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process does with a device between the look at it and the lock for its change."""
    lock, left = unfinished.lock, [do]

    def late(host: Host, address: str, seconds: float = 0.0) -> Lock:
        if seconds and left:
            left.pop()()
        return lock(host, address, seconds)

    monkeypatch.setattr(unfinished, "lock", late)


def until_waited_for(lock: Lock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds the lock, and is done when it is waited for."""
    lock.__enter__()

    def end(_: float) -> None:
        lock.__exit__()
        monkeypatch.undo()

    monkeypatch.setattr(time, "sleep", end)


def moved(host: KernelHost, address: str, former: str, to: str) -> None:
    Path(host.root, pci.ROOT, address, "driver").unlink()
    Path(host.root, pci.ROOT, address, "driver").symlink_to(f"../../../bus/pci/drivers/{to}")
    assert former != to


def test_bound_meanwhile(host: KernelHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """A VM that starts with it does not lose it for a moment."""
    once_looked_at(lambda: moved(host, CARD, "igb", "vfio-pci"), monkeypatch)
    (report,) = bound(host, NOW, CARD)
    assert (report.result, driver(host, CARD)) == ("nothing to do", "vfio-pci") and host.written == []


def test_taken_by_its_driver_meanwhile(host: KernelHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the driver's user is, is looked at again."""
    once_looked_at(lambda: moved(host, CARD, "igb", "i40e"), monkeypatch)
    (report,) = bound(host, NOW, CARD)
    assert report.words.startswith("is on vfio-pci now; it was on i40e")


def test_it_changes_again_and_again(host: KernelHost, monkeypatch: pytest.MonkeyPatch) -> None:
    drivers = iter(("i40e", "igb", "i40e"))
    lock = unfinished.lock

    def late(host: KernelHost, address: str, seconds: float = 0.0) -> Lock:
        moved(host, address, "", next(drivers))
        return lock(host, address, seconds)

    monkeypatch.setattr(unfinished, "lock", late)
    (report,) = bound(host, NOW, CARD)
    assert report.result == "refused" and "is on igb now, and was on i40e a moment ago. Try it again" in report.words
    assert host.written == []


def test_given_back_meanwhile(host: KernelHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver may have users by now."""
    bound(host, NOW, CARD)
    host.written.clear()
    once_looked_at(lambda: moved(host, CARD, "vfio-pci", "igb"), monkeypatch)
    (report,) = unbound(host, CARD, forget=True)
    assert (report.result, report.driver) == ("nothing to do", "igb") and report.words.startswith("is not on vfio-pci but on igb")
    assert host.written == []


def test_opened_meanwhile(host: KernelHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel would keep the writer until it is closed."""
    bound(host, NOW, CARD)
    host.written.clear()
    once_looked_at(lambda: Path(host.root, pci.ROOT, CARD, "enable").write_text("1\n"), monkeypatch)
    (report,) = unbound(host, CARD)
    assert report.result == "refused" and report.words.startswith("is held open by a program, unbinding would hang") and host.written == []


def test_lent_back_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = test_lend.node(tmp_path)
    test_lend.lent(host, SOUND, 100)
    host.written.clear()
    once_looked_at(lambda: moved(host, SOUND, "vfio-pci", "snd_hda_intel"), monkeypatch)
    report = test_lend.lent(host, SOUND, 0)
    assert (report.result, report.words) == ("nothing to do", "is on snd_hda_intel already") and host.written == []


def test_post_stop_and_the_service_give_it_back_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = test_giveback.node(tmp_path, test_giveback.CARD)
    test_giveback.start(host)
    once_looked_at(lambda: moved(host, test_giveback.CARD, "vfio-pci", "igb"), monkeypatch)
    assert test_giveback.outcomes(host) == [] and host.written == []


def test_another_process_only_looks(host: KernelHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether something is to be finished, for which it locks the device."""
    for change, now in ((lambda: bound(host, NOW, CARD), "vfio-pci"), (lambda: unbound(host, CARD), "igb")):
        until_waited_for(unfinished.lock(host, CARD), monkeypatch)
        change()
        assert driver(host, CARD) == now


# -- virtual functions ------------------------------------------------------------------------------------------------


def test_they_are_made_without_drivers_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or else the node's driver would take one before it has its MAC."""
    host = IgbvfHost(tmp_path / "tree")
    until_waited_for(unfinished.lock(host, PF), monkeypatch)
    assert of_both(host).result == "done"
    assert host.drivers() == ["igbvf", "vfio-pci"] and host.found == {NODES: MAC}


def test_another_process_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = IgbvfHost(tmp_path / "tree")
    bound(host, wanted(f"0:mac={MAC}", "1:driver=vfio-pci", now=False), PF)
    once_looked_at(lambda: of_both(host) and host.written.clear(), monkeypatch)
    assert applied(host, PF)[0] == "as wanted"
    assert host.written == [] and (host.drivers(), driver(host, GUESTS)) == (["igbvf", "vfio-pci"], "vfio-pci")


def test_another_process_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = IgbvfHost(tmp_path / "tree")
    monkeypatch.setattr("pvehooks.actions.pci.vfs._SECONDS", 0.0)
    with unfinished.lock(host, PF):
        report = of_both(host)
    assert (report.result, report.words) == (
        "refused",
        f"another process changes {PF} or its virtual functions at this moment. Try it again.",
    )
    assert host.written == []


def test_the_interface_is_renamed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its MAC is what those of its functions are derived from."""
    host = IgbvfHost(tmp_path / "tree")
    interfaces, interface = Path(host.root, pci.ROOT, PF, "net"), vflinks.interface
    names = ["enp6s0", "eth0"]

    def then_renamed(asked: Host, address: str) -> str:
        found = interface(asked, address)
        if names:
            (interfaces / found).rename(interfaces / names.pop())
        return found

    monkeypatch.setattr(vflinks, "interface", then_renamed)
    assert vflinks.attribute(host, PF, "address") == "52:54:00:00:00:06"
    assert names == [] and interface(host, PF) == "enp6s0"


# -- looking for devices ----------------------------------------------------------------------------------------------


def test_two_starts_look_for_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    host = test_rescan.bus(tmp_path)
    until_waited_for(rescan._lock(host), monkeypatch)
    assert test_rescan.looked(host)[0] and "was taken off the bus and found again" in capfd.readouterr().out
