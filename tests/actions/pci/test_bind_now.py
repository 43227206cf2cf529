"""pvehooks bind --now: the devices it binds, and those it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.cli.commands.bind import Wanted
from pvehooks.facts.pci import bindings
from tests.actions.pci.bed import (
    BOTH,
    BUS,
    CARD,
    DISK,
    GPU,
    NOW,
    PERSIST,
    SOUND,
    TAKES,
    TWIN,
    bound,
    driver,
    override,
    planted,
    unbound,
)
from tests.beds.drivercore import KernelHost


def test_bound_and_given_back(host: KernelHost) -> None:
    first, second = bound(host, NOW, GPU, SOUND)
    assert (first.result, first.driver, first.persistent) == ("done", "vfio-pci", False)
    assert first.words == f"is on vfio-pci now; it was on nouveau, until the next boot; permanently: pvehooks bind {GPU} --persist"
    assert second.result == "done" and not second.notes
    assert [driver(host, each) for each in (GPU, SOUND)] == ["vfio-pci", "vfio-pci"]
    assert override(host, GPU) == "" and not any("new_id" in path for path, _ in host.written)
    (again,) = bound(host, NOW, GPU)
    assert again.result == "nothing to do" and "is on vfio-pci already" in again.words
    back, sound = unbound(host, GPU, SOUND)
    assert (back.result, back.words, back.driver) == ("done", "is on nouveau now", "nouveau") and sound.driver == "snd_hda_intel"
    assert driver(host, GPU) == "nouveau" and bindings.former(host, GPU) is None
    (again,) = unbound(host, GPU)
    assert (again.result, again.words) == ("nothing to do", "is not on vfio-pci but on nouveau")


def test_a_twin_stays_where_it_is(host: KernelHost) -> None:
    (report,) = bound(host, NOW, CARD)
    assert driver(host, CARD) == "vfio-pci" and driver(host, TWIN) == "igb"
    assert report.notes == (
        f"its IOMMU group 4 also has {TWIN} (Ethernet controller [8086:1533]), on igb: a VM that gets the one also takes the other",
    )


def test_a_probe_that_fails_leaves_the_device_as_it_was(tree: Path) -> None:
    host = KernelHost(tree, TAKES, refuses=(GPU,))
    (report,) = bound(host, BOTH, GPU)
    assert report.result == "refused" and "cannot be bound to vfio-pci" in report.words
    assert bindings.noted(host, GPU) is None and override(host, GPU) == "" and driver(host, GPU) == "nouveau"


@pytest.mark.parametrize("wanted", [NOW, PERSIST])
@pytest.mark.parametrize(
    ("address", "why"),
    [
        pytest.param(DISK, "holds /srv (ext4 on nvme0n1p1)", id="host"),
        pytest.param("0000:00:01.0", "is a bridge", id="bridge"),
    ],
)
def test_refused(address: str, why: str, wanted: Wanted, host: KernelHost) -> None:
    (report,) = bound(host, wanted, address)
    assert report.result == "refused" and why in report.words, report
    assert host.written == [] and bindings.all_noted(host) == {}


def test_refused_while_unknown(tree: Path, host: KernelHost) -> None:
    for name in ("route", "fib_trie", "if_inet6"):
        (tree / "proc/net" / name).unlink()
    (report,) = bound(host, NOW, CARD)
    assert report.result == "refused" and "may be in use, that is unknown" in report.words and host.written == []


def test_without_an_iommu_only_for_boot(tmp_path: Path) -> None:
    table = "\n".join(line.partition(" group=")[0] for line in BUS.splitlines())
    host = KernelHost(planted(tmp_path / "tree", table), TAKES)
    (report,) = bound(host, NOW, GPU)
    assert report.result == "refused" and "has no IOMMU groups" in report.words
    (report,) = bound(host, BOTH, GPU)
    assert report.result == "done" and "at every boot from the next one on; it cannot be bound now" in report.words
    assert host.written == [] and driver(host, GPU) == "nouveau"
