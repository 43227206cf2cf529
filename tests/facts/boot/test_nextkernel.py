"""Which kernel the next boot takes, and with which command line: pins, GRUB's settings and its environment, menus."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.facts import nextboot
from pvehooks.host import Host
from pvehooks.values import Iommu, Unread
from pvehooks.values.boot import NextBoot
from tests.beds import boot, pci
from tests.beds.tree import Content, make_fake_tree

NEW, OLD = "6.11.11-2-pve", boot.RELEASE
ENTRY = f"gnulinux-advanced-8a1f>gnulinux-{OLD}-advanced-8a1f"
DEFAULTS = 'GRUB_DEFAULT="{}"\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\n'


def node(directory: Path, files: dict[str, Content], words: str = "", asked: str = "") -> nextboot.NextBootNode | Unread:
    tree = make_fake_tree(directory, {**pci.plant("0000:01:00.0 group=1\n"), **boot.plant(f"next: {NEW}\n{words}"), **files})
    found = nextboot.gather(Host(str(tree)), "pve1", asked)
    assert isinstance(found, nextboot.NextBootNode | Unread)
    return found


@pytest.mark.parametrize(
    ("files", "words", "release", "why"),
    [
        pytest.param({}, "", NEW, "the newest one", id="newest"),
        pytest.param({"etc/kernel/proxmox-boot-pin": f"{OLD}\n"}, "", OLD, "pinned in /etc/kernel/proxmox-boot-pin", id="pin"),
        pytest.param(
            {"etc/kernel/proxmox-boot-pin": f"{NEW}\n", "etc/kernel/next-boot-pin": f"{OLD}\n"},
            *("", OLD, "pinned in /etc/kernel/next-boot-pin"),
            id="pin for once",
        ),
        pytest.param({"etc/kernel/proxmox-boot-pin": "6.5.1-1-pve\n"}, "", NEW, "the newest one", id="pin of none"),
        pytest.param({"etc/default/grub": DEFAULTS.format(ENTRY)}, "", OLD, "chosen by GRUB_DEFAULT", id="GRUB_DEFAULT"),
        pytest.param({"etc/default/grub": DEFAULTS.format("0")}, "", NEW, "the newest one", id="first entry"),
        pytest.param(
            {"etc/default/grub": DEFAULTS.format(f"Advanced options for Proxmox VE>Proxmox VE, with Linux {OLD}")},
            *("", OLD, "chosen by GRUB_DEFAULT"),
            id="title",
        ),
        pytest.param(
            {"etc/default/grub": DEFAULTS.format("saved"), "boot/grub/grubenv": f"# GRUB\nsaved_entry={ENTRY}\n####"},
            *("", OLD, "chosen by /boot/grub/grubenv"),
            id="saved",
        ),
        pytest.param({"boot/grub/grubenv": f"next_entry={ENTRY}\n"}, "", OLD, "chosen by /boot/grub/grubenv", id="grub-reboot"),
        pytest.param(
            {"etc/default/grub": DEFAULTS.format(ENTRY.replace(OLD, "6.5.1-1-pve"))},
            *("", NEW, "the newest one, since GRUB_DEFAULT chooses 6.5.1-1-pve, which is not installed"),
            id="entry of none",
        ),
        pytest.param({"boot/grub/grubenv": f"next_entry={ENTRY}\n"}, "loader: systemd-boot", NEW, "the newest one", id="not GRUB"),
    ],
)
def test_the_kernel(files: dict[str, Content], words: str, release: str, why: str, tmp_path: Path) -> None:
    found = node(tmp_path, files, words)
    assert not isinstance(found, Unread)
    assert isinstance(found.next_boot, NextBoot)
    assert (found.next_boot.release, found.next_boot.why) == (release, why)
    assert found.kernel_release == release


@pytest.mark.parametrize(
    ("files", "why"),
    [
        pytest.param({"etc/default/grub": DEFAULTS.format("1>4")}, "GRUB_DEFAULT chooses the entry '1>4'", id="by number"),
        pytest.param({"etc/default/grub": 'GRUB_DEFAULT="$(cat /x)"\nfoo\n'}, "/etc/default/grub", id="by a shell"),
    ],
)
def test_a_choice_that_is_not_understood(files: dict[str, Content], why: str, tmp_path: Path) -> None:
    found = node(tmp_path, files)
    assert isinstance(found, Unread) and why in found.why


def test_a_kernel_that_is_asked_for(tmp_path: Path) -> None:
    found = node(tmp_path / "1", {}, asked=OLD)
    assert not isinstance(found, Unread) and found.kernel_release == OLD
    for name in ("6.5.1-1-pve", "../../etc/passwd", "\0", "x" * 5000):
        unknown = (
            node(tmp_path / "2", {}, asked=name) if name == "6.5.1-1-pve" else nextboot.gather(Host(str(tmp_path / "2")), "pve1", name)
        )
        assert isinstance(unknown, Unread) and "is not installed" in unknown.why


@pytest.mark.parametrize(
    ("words", "files", "source", "line"),
    [
        pytest.param("menu: quiet a=1\nplan: quiet a=2\nrunning: quiet", {}, "/boot/grub/grub.cfg", "quiet a=1", id="menu"),
        pytest.param(
            "loader: systemd-boot\nplan: quiet a=2\nmenu: quiet a=1\nrunning: quiet", {}, "/etc/kernel/cmdline", "quiet a=2", id="file"
        ),
        pytest.param("loader: systemd-boot\nrunning: quiet a=3", {"etc/kernel/cmdline": 'root=x "quiet\n'}, "", "quiet a=3", id="neither"),
    ],
)
def test_the_command_line(words: str, files: dict[str, Content], source: str, line: str, tmp_path: Path) -> None:
    found = node(tmp_path, files, words)
    assert not isinstance(found, Unread) and isinstance(found.next_boot, NextBoot)
    assert found.next_boot.source == source
    assert " ".join(found.next_boot.words).endswith(line)
    assert not isinstance(found.command_lines, Unread) and found.command_lines.running == found.next_boot.words


@pytest.mark.parametrize(
    ("words", "files", "wanted"),
    [
        pytest.param("plan: quiet", {}, True, id="on by default"),
        pytest.param("plan: quiet intel_iommu=off\nrunning: quiet", {}, "its command line has intel_iommu=off", id="switched off"),
        pytest.param(
            *("plan: quiet", {f"boot/config-{NEW}": "CONFIG_INTEL_IOMMU=y\n"}, "its command line has no intel_iommu=on"),
            id="kernel without",
        ),
        pytest.param("cpu: AMD\nplan: quiet amd_iommu=off\nrunning: quiet", {}, "its command line has amd_iommu=off", id="AMD"),
    ],
)
def test_an_iommu_that_is_on_now(words: str, files: dict[str, Content], wanted: bool | str, tmp_path: Path) -> None:
    found = node(tmp_path, files, words)
    assert not isinstance(found, Unread) and isinstance(found.iommu, Iommu)
    assert found.iommu.active is (wanted is True)
    assert wanted is True or str(wanted) in found.iommu.why


def test_an_iommu_that_is_switched_on(tmp_path: Path) -> None:
    """Its groups are not known before."""
    tree = make_fake_tree(tmp_path, {**boot.plant("plan: quiet intel_iommu=on\nrunning: quiet intel_iommu=off")})
    found = nextboot.gather(Host(str(tree)), "pve1")
    assert not isinstance(found, Unread) and isinstance(found.iommu, Unread)
    assert "switches the IOMMU on" in found.iommu.why
