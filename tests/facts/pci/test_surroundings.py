"""PCI devices: their virtual functions, their place on the bus, what the firmware reserves, the width of their IOMMU."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.facts.pci import devices as pci
from pvehooks.host import Host
from pvehooks.values import Unread
from tests.beds.tree import Content, Link, make_fake_tree
from tests.facts.pci.test_devices import ADDRESS, BUS, device


@pytest.mark.parametrize(
    ("files", "total", "routing"),
    [
        pytest.param({"sriov_totalvfs": "64\n", "sriov_offset": "16\n", "sriov_stride": "1\n"}, 64, (16, 1), id="able"),
        pytest.param({"sriov_totalvfs": "0\n", "sriov_offset": "0\n", "sriov_stride": "0\n"}, 0, None, id="none at all"),
        pytest.param({"sriov_totalvfs": "many\n", "sriov_offset": "x\n"}, None, None, id="nonsense"),
        pytest.param({}, None, None, id="without SR-IOV"),
    ],
)
def test_virtual_functions_that_could_be(
    files: dict[str, Content], total: int | None, routing: tuple[int, int] | None, tmp_path: Path
) -> None:
    found = device(tmp_path, files)
    assert (found.total_vfs, found.vf_routing) == (total, routing)


@pytest.mark.parametrize(
    ("place", "address", "on_root_bus", "upstream"),
    [
        ("pci0000:00/0000:00:17.0", "0000:00:17.0", True, ()),
        ("pci0000:00/0000:00:01.0/0000:01:00.0", "0000:01:00.0", False, ("0000:00:01.0",)),
        ("pci0000:64/0000:64:00.0", "0000:64:00.0", True, ()),
        ("pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0", "10000:e1:00.0", False, ("0000:00:0e.0", "10000:e0:06.0")),
        ("pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0", "10000:e0:06.0", True, ("0000:00:0e.0",)),
    ],
)
def test_place(place: str, address: str, on_root_bus: bool, upstream: tuple[str, ...], tmp_path: Path) -> None:
    """A root bus is whatever the kernel calls pci and a number: that of a processor, or of a VMD controller."""
    make_fake_tree(tmp_path, {f"/sys/devices/{place}/class": "0x010802\n", f"{BUS}/{address}": Link(f"../../../devices/{place}")})
    found = pci.devices(Host(str(tmp_path)))
    assert not isinstance(found, Unread)
    assert (found[address].on_root_bus, found[address].upstream) == (on_root_bus, upstream)


@pytest.mark.parametrize(
    ("regions", "reserved"),
    [
        ("0x00000000bdf83000 0x00000000bdf84fff direct\n0x00000000fee00000 0x00000000feefffff msi\n", ((0xBDF83000, 0xBDF84FFF),)),
        ("0x00000000bdf83000 0x00000000bdf84fff direct-relaxable\n0x000000fd00000000 0x000000ffffffffff reserved\n", ()),
        ("direct\n\n", ()),
    ],
)
def test_what_the_firmware_reserves(regions: str, reserved: tuple[tuple[int, int], ...], tmp_path: Path) -> None:
    group = {"/sys/kernel/iommu_groups/7/devices": None, "/sys/kernel/iommu_groups/7/reserved_regions": regions}
    assert device(tmp_path, {"iommu_group": Link("/sys/kernel/iommu_groups/7")}, beside={**group}).reserved == reserved


def test_width_of_the_iommu(tmp_path: Path) -> None:
    """The unit that has the device counts; where none lists it, the narrowest does. AMD's show no width."""
    units = "/sys/class/iommu"
    beside: dict[str, Content] = {
        f"{units}/dmar0/intel-iommu/cap": "1c0000c40660462\n",
        f"{units}/dmar1/intel-iommu/cap": "d2008c406d0462\n",
        f"{units}/dmar2/intel-iommu/cap": "no number\n",
        f"{units}/ivhd0/amd-iommu/cap": "40f\n",
        f"{units}/dmar1/devices/{ADDRESS}": None,
    }
    found = device(tmp_path, {}, beside=beside)
    assert found.iommu_bits == 46
    assert found.sibling("0000:02:00.0").iommu_bits == 39
