"""Which UEFI firmware is installed."""

from __future__ import annotations

from pathlib import Path

from pvehooks.facts.node import qemu
from pvehooks.host import Host
from pvehooks.values import Unread
from tests.beds.tree import Link, make_fake_tree

HERE = "usr/share/pve-edk2-firmware"


def test_files_by_name(tmp_path: Path) -> None:
    host = Host(str(make_fake_tree(tmp_path, {f"{HERE}/OVMF_CODE.fd": "", f"{HERE}/OVMF_VARS.fd": Link("OVMF_CODE.fd")})))
    assert qemu.firmware(host) == frozenset(("OVMF_CODE.fd", "OVMF_VARS.fd"))


def test_a_link_that_leads_nowhere_is_no_file(tmp_path: Path) -> None:
    host = Host(str(make_fake_tree(tmp_path, {f"{HERE}/OVMF_CODE.fd": Link("../gone/OVMF_CODE.fd")})))
    assert qemu.firmware(host) == frozenset()


def test_no_directory_is_unread(tmp_path: Path) -> None:
    found = qemu.firmware(Host(str(make_fake_tree(tmp_path, {"usr/share": None}))))
    assert isinstance(found, Unread)
    assert "No such file" in found.why
