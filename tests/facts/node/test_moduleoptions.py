"""Ids that vfio-pci takes at boot, from the kernel command line and modprobe.d."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.facts.node import moduleoptions
from pvehooks.host import Host
from pvehooks.values import BoundIds, Unread
from tests.beds.tree import Content, Link, make_fake_tree

CONF = "/etc/modprobe.d/vfio.conf"
GPU, SOUND = (0x10DE, 0x1B80), (0x10DE, 0x10F0)


def read(directory: Path, files: dict[str, Content]) -> tuple[BoundIds, ...] | Unread:
    return moduleoptions.bound_ids(Host(str(make_fake_tree(directory, files))))


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        ("quiet vfio-pci.ids=10de:1b80,10de:10f0 splash", (GPU, SOUND)),
        ('vfio_pci.ids="10DE:1B80"', (GPU,)),
        ('x="a vfio-pci.ids=10de:1b80 b"', ()),
        ("vfio-pci.ids=10de:1b80:1043:85e5:030000:ff0000", (GPU,)),
        ("vfio-pci.ids=10de,:,zz:1,10de:10f0,", (SOUND,)),
        ("vfio-pci.ids vfio-pci.ids= vfio-pci.disable_vga=1 pci-stub.ids=10de:1b80", ()),
    ],
)
def test_kernel_command_line(tmp_path: Path, arguments: str, ids: tuple[tuple[int, int], ...]) -> None:
    expected = (BoundIds(ids, "the kernel command line"),) if ids else ()
    assert read(tmp_path, {"/proc/cmdline": f"root=/dev/sda1 {arguments}\n"}) == expected


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        pytest.param("options vfio-pci ids=10de:1b80,10de:10f0 disable_vga=1\n", (GPU, SOUND), id="plain"),
        pytest.param("\toptions  vfio_pci\tdisable_vga=1 ids=10de:1b80", (GPU,), id="underscore and white space"),
        pytest.param("options vfio-pci \\\n  ids=10de:1b80\n", (GPU,), id="continued"),
        pytest.param("#options vfio-pci ids=10de:1b80\n # options vfio-pci ids=10de:10f0\n", (), id="comments"),
        pytest.param("# vfio \\\noptions vfio-pci ids=10de:1b80\n", (), id="a comment goes on"),
        pytest.param("softdep nvidia pre: vfio-pci\noptions vfio_iommu_type1 ids=10de:1b80\noptions\n", (), id="others"),
        pytest.param(b"\xff\xfe\0options vfio-pci\noptions vfio-pci ids=\xff:\xff,10de:10f0\n", (SOUND,), id="no text"),
    ],
)
def test_modprobe(tmp_path: Path, text: Content, ids: tuple[tuple[int, int], ...]) -> None:
    assert read(tmp_path, {CONF: text}) == ((BoundIds(ids, CONF),) if ids else ())


def test_a_file_shadows_those_of_its_name_in_later_directories(tmp_path: Path) -> None:
    files: dict[str, Content] = {
        f"{directory}/{name}": f"options vfio-pci ids={vendor}:0001\n"
        for directory, name, vendor in (
            ("/etc/modprobe.d", "a.conf", "1"),
            ("/run/modprobe.d", "a.conf", "2"),
            ("/run/modprobe.d", "b.conf", "3"),
            ("/usr/lib/modprobe.d", "b.conf", "4"),
            ("/usr/lib/modprobe.d", "c.conf", "5"),
            ("/lib/modprobe.d", "c.conf", "6"),
            ("/lib/modprobe.d", "d.conf", "7"),
            ("/lib/modprobe.d", "e.conf.dpkg-old", "8"),
        )
    }
    found = read(tmp_path, files)
    assert not isinstance(found, Unread)
    assert {bound.place: bound.ids[0][0] for bound in found} == {
        "/etc/modprobe.d/a.conf": 1,
        "/run/modprobe.d/b.conf": 3,
        "/usr/lib/modprobe.d/c.conf": 5,
        "/lib/modprobe.d/d.conf": 7,
    }


def test_a_file_may_be_switched_off_by_an_empty_one(tmp_path: Path) -> None:
    files: dict[str, Content] = {CONF: "", "/usr/lib/modprobe.d/vfio.conf": "options vfio-pci ids=10de:1b80\n"}
    assert read(tmp_path, files) == ()


@pytest.mark.parametrize("files", [{}, {"/etc/modprobe.d": "a file"}, {CONF: Link("nowhere")}], ids=["nothing", "no directory", "dangling"])
def test_what_is_not_there_binds_nothing(tmp_path: Path, files: dict[str, Content]) -> None:
    assert read(tmp_path, files) == ()


@pytest.mark.parametrize("files", [{CONF: Link("vfio.conf")}, {"/proc/cmdline": None}], ids=["circle", "a directory"])
def test_unread(tmp_path: Path, files: dict[str, Content]) -> None:
    assert isinstance(read(tmp_path, files), Unread)
