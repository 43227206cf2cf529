"""Files of settings that no program reads, and those that are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.facts.node import settingfiles
from pvehooks.host import Host
from pvehooks.values import Unread
from pvehooks.values.settingfiles import SettingFiles, SettingLine
from tests.beds.tree import Content, Link, make_fake_tree

SET = "options kvm ignore_msrs=1\n"


def read(directory: Path, files: dict[str, Content]) -> SettingFiles:
    found = settingfiles.read(Host(str(make_fake_tree(directory, {"etc/hostname": "pve1\n", **files}))))
    assert not isinstance(found, Unread)
    return found


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/etc/modprobe.d/kvm", "/etc/modprobe.d/kvm.conf"),
        ("/etc/modprobe.d/kvm.CONF", "/etc/modprobe.d/kvm.conf"),
        ("/etc/modprobe.d/kvm.cfg", "/etc/modprobe.d/kvm.conf"),
        ("/etc/modprobe.d/kvm.v2", "/etc/modprobe.d/kvm.v2.conf"),
        ("/etc/modprob.d/kvm.conf", "/etc/modprobe.d/kvm.conf"),
        ("/etc/modprobe/kvm", "/etc/modprobe.d/kvm.conf"),
        ("/etc/modprobe.d/kvm.conf", ""),
        ("/etc/modprobe.d/kvm.conf.dpkg-dist", ""),
        ("/etc/modprobe.d/kvm.off", ""),
        ("/etc/modprobe.d/kvm~", ""),
        ("/etc/modprobe.d/.kvm.swp", ""),
        ("/etc/modules/kvm", ""),
        ("/etc/mail.d/kvm", ""),
    ],
)
def test_where_a_file_is_read(path: str, target: str, tmp_path: Path) -> None:
    assert [file.target for file in read(tmp_path, {path: SET}).unread] == ([target] if target else [])


def test_two_files_are_not_moved_to_one_place(tmp_path: Path) -> None:
    """The second command would overwrite what the first has moved."""
    files: dict[str, Content] = dict.fromkeys(("/etc/modprobe.d/kvm", "/etc/modprobe.d/vfio.txt", "/etc/modeprobe.d/kvm.conf"), SET)
    assert [file.cure.partition(",")[0].partition(" &&")[0] for file in read(tmp_path, files).unread] == [
        "Type: mv /etc/modprobe.d/kvm /etc/modprobe.d/kvm.conf",
        "Type: mv /etc/modprobe.d/vfio.txt /etc/modprobe.d/vfio.conf",
        "Move its lines into /etc/modprobe.d/kvm.conf",
    ]


@pytest.mark.parametrize(
    "content", ["", "# options kvm ignore_msrs=1\n", "just a note\n", b"\0options kvm x=1\n", "options kvm x=1\n" * 9000]
)
def test_a_file_without_settings_is_none(content: Content, tmp_path: Path) -> None:
    assert read(tmp_path, {"/etc/modprobe.d/kvm": content}).unread == ()


def test_a_name_that_a_shell_would_take_apart_is_not_for_mv(tmp_path: Path) -> None:
    (file,) = read(tmp_path, {"/etc/modprobe.d/my kvm": SET}).unread
    assert file.cure == "Move its lines into a file of /etc/modprobe.d that ends in .conf, then: update-initramfs -u -k all"


@pytest.mark.parametrize(
    ("files", "unread"),
    [
        pytest.param({"/etc/sysfs.d/a.conf": "a/b = 1\n"}, 1, id="no package"),
        pytest.param({"/etc/sysfs.d/a.conf": "a/b = 1\n", "/etc/init.d/sysfsutils": ""}, 0, id="its script of Debian 12"),
        pytest.param({"/etc/sysfs.d/a.conf": "a/b = 1\n", "/usr/lib/systemd/system/sysfsutils.service": ""}, 1, id="its unit"),
        pytest.param({"/etc/sysfs.conf": "a/b = 1\n", "/usr/lib/systemd/system/sysfsutils.service": ""}, 0, id="its unit and its file"),
        pytest.param({"/etc/sysfs.conf": "# a/b = 1\n"}, 0, id="nothing set"),
    ],
)
def test_sysfsutils(files: dict[str, Content], unread: int, tmp_path: Path) -> None:
    assert len(read(tmp_path, files).unread) == unread


def test_lines_have_the_numbers_that_an_editor_shows(tmp_path: Path) -> None:
    text = "# comment\n\noptions vfio-pci \\\n\tids=10de:2684\nblacklist nouveau\n"
    found = read(tmp_path, {"/etc/modprobe.d/a.conf": text, "/etc/modules": "vfio\n", "/etc/modules-load.d/m.conf": Link("../modules")})
    assert found.modprobe == (
        SettingLine("/etc/modprobe.d/a.conf", 3, "options vfio-pci  \tids=10de:2684"),
        SettingLine("/etc/modprobe.d/a.conf", 5, "blacklist nouveau"),
    )
    assert found.modules == (SettingLine("/etc/modules", 1, "vfio"),)


def test_without_etc_nothing_is_known(tmp_path: Path) -> None:
    host = Host(str(make_fake_tree(tmp_path, {"proc/cmdline": ""})))
    assert isinstance(settingfiles.read(host), Unread)
