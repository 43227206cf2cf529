"""Which UEFI firmware and which machine versions are installed."""

from __future__ import annotations

from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, frozenset()),
        ({"x86_64": '[{"id": "pc-q35-9.2"}]', "aarch64": '[{"id": "virt-9.2"}]'}, frozenset({"pc-q35-9.2", "virt-9.2"})),
        ({"x86_64": "[[" * 9000}, Unread("/usr/share/kvm/machine-versions-x86_64.json is damaged")),
        ({"x86_64": "[1]"}, Unread("/usr/share/kvm/machine-versions-x86_64.json is damaged")),
    ],
    ids=["none", "two", "nested", "odd"],
)
def test_machine_versions(files: dict[str, str], expected: object, tmp_path: Path) -> None:
    tree = make_fake_tree(tmp_path, {f"usr/share/kvm/machine-versions-{arch}.json": text for arch, text in files.items()})
    assert qemu.machines(Host(str(tree))) == expected
