"""pvehooks unbind: devices go back to the drivers of the host, unless somebody holds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.facts.pci import bindings
from tests.actions.pci.bed import (
    BUS,
    GPU,
    HELD,
    NOW,
    SOUND,
    TAKES,
    bound,
    driver,
    end_guest,
    planted,
    unbound,
)
from tests.beds import pci
from tests.beds.drivercore import KernelHost
from tests.beds.tree import Content, Link


def test_never_while_a_guest_holds_it(host: KernelHost) -> None:
    (report,) = unbound(host, HELD)
    assert report.result == "refused" and report.words == "is hostpci0 of VM 101 (router), which is running. Stop it first: qm shutdown 101"
    assert host.written == []
    end_guest(host)
    (report,) = unbound(host, HELD)
    assert (report.result, report.driver) == ("done", "i40e")


@pytest.mark.parametrize(
    ("files", "who"),
    [
        pytest.param({"proc/900/comm": "dpdk\n", "proc/900/fd/9": Link("/dev/vfio/6")}, "dpdk (pid 900)", id="group"),
        pytest.param({"proc/900/comm": "vpp\n", "proc/900/fd/9": Link("/dev/vfio/devices/vfio0")}, "vpp (pid 900)", id="device"),
        pytest.param({f"{pci.ROOT}/{HELD}/enable": "1\n"}, "a program", id="enabled"),
    ],
)
def test_never_while_a_program_holds_it(files: dict[str, Content], who: str, tmp_path: Path) -> None:
    host = KernelHost(planted(tmp_path / "tree", **files), TAKES)
    end_guest(host)
    (report,) = unbound(host, HELD)
    assert report.result == "refused" and report.words.startswith(f"is held open by {who}, unbinding would hang")
    assert host.written == []


def test_never_while_a_fellow_of_its_group_is_held(tmp_path: Path) -> None:
    fellow = "0000:07:00.1"
    host = KernelHost(planted(tmp_path / "tree", f"{BUS}{fellow} class=020000 id=8086:1572 driver=vfio-pci group=6\n"), TAKES)
    (report,) = unbound(host, fellow)
    assert report.result == "refused" and f"shares its IOMMU group with {HELD}" in report.words and host.written == []


@pytest.mark.parametrize("remembered", [True, False])
def test_given_back_although_vfio_takes_all_of_its_kind(remembered: bool, tmp_path: Path) -> None:
    module = {
        f"{pci.ROOT}/{SOUND}/modalias": f"{SOUND}\n",
        "sys/bus/pci/drivers/snd_hda_intel/module": Link("../../../../module/snd_hda_intel"),
    }
    host = KernelHost(planted(tmp_path / "tree", **module), TAKES, dynamic_ids=(SOUND,))
    bound(host, NOW, SOUND)
    if not remembered:
        Path(host.root, bindings.FORMER[1:], SOUND).unlink()
    (report,) = unbound(host, SOUND)
    assert report.driver == driver(host, SOUND) == "snd_hda_intel"


def test_given_back_to_the_driver_it_was_on(tmp_path: Path) -> None:
    """Two drivers would take it, and the kernel asks the other one first."""
    host = KernelHost(planted(tmp_path / "tree", **{"sys/bus/pci/drivers/nvidia": None}), {"nvidia": GPU, **TAKES})
    bound(host, NOW, GPU)
    (report,) = unbound(host, GPU)
    assert report.driver == driver(host, GPU) == "nouveau"


def test_no_driver_takes_it(host: KernelHost) -> None:
    host.takes = {}
    end_guest(host)
    (report,) = unbound(host, HELD)
    assert report.result == "done" and report.words.startswith("has no driver now") and driver(host, HELD) == ""
