"""Virtual functions: their number now and at boot."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pvehooks.cli.commands.bind import Wanted
from pvehooks.facts.pci import bindings
from tests.actions.pci.bed import (
    BUS,
    CARD,
    HELD,
    NOW,
    PF,
    TAKES,
    applied,
    bound,
    end_guest,
    planted,
)
from tests.beds import pci
from tests.beds.drivercore import KernelHost


def numvfs(host: KernelHost) -> str:
    return Path(host.root, pci.ROOT, PF, "sriov_numvfs").read_text().strip()


def test_virtual_functions(host: KernelHost) -> None:
    (report,) = bound(host, Wanted(True, False, 4), PF)
    assert report.result == "done" and numvfs(host) == "4"
    assert report.words == f"has 4 virtual functions now, until the next boot; permanently: pvehooks bind {PF} --vfs 4 --persist"
    (report,) = bound(host, Wanted(True, True, 4), PF)
    assert (report.result, report.persistent) == ("done", True)
    (report,) = bound(host, Wanted(True, True, 4), PF)
    assert report.result == "nothing to do"
    host.written.clear()
    bound(host, Wanted(True, False, 2), PF)
    assert [text for _, text in host.written] == ["0", "2"] and numvfs(host) == "2"
    (report,) = bound(host, Wanted(True, True, 0), PF)
    assert report.result == "done" and numvfs(host) == "0" and bindings.all_noted(host) == {}


def test_virtual_functions_at_boot(host: KernelHost) -> None:
    bound(host, Wanted(False, True, 3), PF)
    assert numvfs(host) == "0" and applied(host, PF)[0] == "done" and numvfs(host) == "3" and applied(host, PF)[0] == "as wanted"


def test_virtual_functions_wait_for_the_driver(host: KernelHost, monkeypatch: pytest.MonkeyPatch) -> None:
    bound(host, Wanted(False, True, 3), PF)
    link = Path(host.root, pci.ROOT, PF, "driver")
    target = link.readlink()
    link.unlink()
    assert applied(host, PF)[0] == "not yet"
    pauses = []

    def appear(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            link.symlink_to(target)

    monkeypatch.setattr(host, "sleep", appear)
    assert applied(host, PF, patient=True)[0] == "done" and len(pauses) == 3 and numvfs(host) == "3"


@pytest.mark.parametrize(
    ("address", "count", "why"),
    [(CARD, 2, "does not support SR-IOV"), (PF, 8, "can have at most 7 virtual functions")],
)
def test_virtual_functions_refused(address: str, count: int, why: str, host: KernelHost) -> None:
    (report,) = bound(host, Wanted(True, True, count), address)
    assert report.result == "refused" and why in report.words and host.written == [] and bindings.all_noted(host) == {}


def test_virtual_functions_in_use_stay(tmp_path: Path) -> None:
    virtual = f"0000:07:00.0 class=020000 id=8086:10ca driver=vfio-pci group=6 pf={PF}"
    table = "\n".join(virtual if line.startswith(HELD) else line for line in BUS.splitlines())
    host = KernelHost(planted(tmp_path / "tree", table), TAKES)
    Path(host.root, pci.ROOT, PF, "sriov_numvfs").write_text("1\n")
    (report,) = bound(host, Wanted(True, False, 0), PF)
    assert report.result == "refused" and "has a virtual function in use: 0000:07:00.0 is hostpci0 of VM 101" in report.words
    end_guest(host)
    (report,) = bound(host, NOW, PF)
    assert report.result == "refused" and "has 1 virtual function" in report.words and "--vfs 0" in report.words
    (report,) = bound(host, Wanted(True, False, 2), HELD)
    assert report.result == "refused" and f"is a virtual function itself, of {PF}" in report.words
    (report,) = bound(host, Wanted(True, False, 0), PF)
    assert report.result == "done" and numvfs(host) == "0"


def test_the_kernel_refuses_virtual_functions(host: KernelHost, monkeypatch: pytest.MonkeyPatch) -> None:
    bound(host, Wanted(True, False, 2), PF)
    real = host.write_attribute

    def full(path: str, text: str) -> None:
        if text == "7":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, text)

    monkeypatch.setattr(host, "write_attribute", full)
    (report,) = bound(host, Wanted(True, True, 7), PF)
    assert report.result == "refused" and "No space left on device; it has 2 again" in report.words and numvfs(host) == "2"
    assert bindings.all_noted(host) == {}
