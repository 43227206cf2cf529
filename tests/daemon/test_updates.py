"""The daemon notices that Proxmox VE's packages were updated, and reads again what they declare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pvehooks.daemon.updates import UpdateWatch
from pvehooks.facts.node import pveschema
from pvehooks.host import Host
from pvehooks.values import Unread
from tests.beds import pveschema as bed
from tests.beds.namespace import detach, mount
from tests.daemon.bed import NodeBed, wait_until

PERL = Path("/usr/share/perl5")


@pytest.fixture
def perl() -> Iterator[Path]:
    mount("tmpfs", str(PERL), "tmpfs")
    yield PERL
    detach(PERL)


def looks(watch: UpdateWatch) -> bool:
    """It looks, also if it did so just before."""
    watch._due = float("-inf")
    return watch.look()


def test_an_update_is_read_once(perl: Path) -> None:
    woken: list[bool] = []
    watch = UpdateWatch(Host(), lambda: woken.append(True))
    assert not looks(watch) and watch._work is None
    bed.install(perl, bed.modules())
    assert not looks(watch)
    wait_until(lambda: woken, "it is read")
    assert looks(watch) and watch.trouble == ""
    assert pveschema.newer(Host()) == ()
    assert not looks(watch) and watch._work is None
    bed.install(perl, bed.modules(options=["gadget0"]))
    assert isinstance(pveschema.newer(Host()), Unread)
    assert not looks(watch)
    wait_until(lambda: len(woken) == 2, "it is read again")
    assert looks(watch)
    assert pveschema.newer(Host()) == ("the option gadget0",)


def test_packages_that_cannot_be_read_are_left_until_they_change(perl: Path) -> None:
    woken: list[bool] = []
    watch = UpdateWatch(Host(), lambda: woken.append(True))
    bed.install(perl, {**bed.modules(), "PVE/QemuServer.pm": "half"})
    assert not looks(watch)
    wait_until(lambda: woken, "it was tried")
    assert not looks(watch) and watch.trouble.startswith("Proxmox VE's code cannot be loaded: ")
    assert not looks(watch) and watch._work is None
    bed.install(perl, bed.modules())
    assert not looks(watch) and watch._work is not None
    wait_until(lambda: len(woken) == 2, "it is read")
    assert looks(watch)


def test_the_daemon_reads_it_when_it_starts(node: Callable[..., NodeBed], perl: Path) -> None:
    """The VMs are looked at anew then: before that the option was unknown."""
    bed.install(perl, bed.modules(properties={"vga": {"type": ["holo"]}}))
    beds = node({"100.conf": "name: web\nvga: holo\n"}, "[watch]\ninterval = 3600\n")
    beds.start()
    wait_until(lambda: pveschema.newer(Host()) == ("the value holo for type of vga",), "what is newer is known")
    wait_until(lambda: any("knows type=holo of vga" in each for each in beds.messages()), "it is no loss any more")
