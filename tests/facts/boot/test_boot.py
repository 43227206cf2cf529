"""How a node boots, read from trees: the boot loader by each sign of it, menus, kernels, modules, and no traceback on mangled files."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvehooks.derived.candidates import candidates, described
from pvehooks.facts import hardware
from pvehooks.facts.boot import bootloader, cmdline, kernels, modules
from pvehooks.facts.node import layout
from pvehooks.host import Host
from pvehooks.rules import of_node
from pvehooks.values import Unread
from pvehooks.values.boot import CommandLines, Loader, Modules
from tests.beds import boot, pci
from tests.beds.tree import Content, make_fake_tree
from tests.facts import captures

EFI = "sys/firmware/efi"
LIST = {"etc/kernel/proxmox-boot-uuids": "5D3E-A1B2\n"}


def efi(name: str, value: bytes, guid: str = boot.GLOBAL) -> dict[str, Content]:
    return {f"{EFI}/efivars/{name}-{guid}": b"\7\0\0\0" + value}


def entry(path: str) -> dict[str, Content]:
    """The firmware's boot entry 000A, which was booted."""
    return efi("BootCurrent", b"\x0a\0") | efi(
        "Boot000A", b"\1\0\0\0\x5e\0" + "proxmox\0".encode("utf-16-le") + b"\4\4" + path.encode("utf-16-le")
    )


@pytest.mark.parametrize(
    ("files", "kind", "managed", "why"),
    [
        pytest.param({}, "grub", False, "legacy BIOS", id="bios"),
        pytest.param(LIST, "grub", True, "legacy BIOS", id="bios with ESPs"),
        pytest.param(
            {**LIST, **efi("LoaderInfo", "systemd-boot 252.39\0".encode("utf-16-le"), boot.LOADER), "proc/cmdline": "BOOT_IMAGE=/x\n"},
            *("systemd-boot", True, "calls itself systemd-boot 252.39"),
            id="the loader's own word first",
        ),
        pytest.param(
            {**efi("LoaderInfo", "GRUB 2.12\0".encode("utf-16-le"), boot.LOADER)}, "grub", False, "calls itself GRUB 2.12", id="GRUB's word"
        ),
        pytest.param(
            {f"{EFI}/x": "", **LIST, "proc/cmdline": "BOOT_IMAGE=/vmlinuz root=ZFS=a\n"}, "grub", True, "BOOT_IMAGE", id="BOOT_IMAGE"
        ),
        pytest.param(
            {f"{EFI}/x": "", **LIST, "proc/cmdline": "initrd=\\EFI\\a root=ZFS=a\n"}, "systemd-boot", True, "initrd=\\", id="initrd"
        ),
        pytest.param({**efi("SecureBoot", b"\1"), **LIST, "proc/cmdline": "root=ZFS=a\n"}, "grub", True, "Secure Boot", id="Secure Boot"),
        pytest.param(
            {**LIST, **entry("\\EFI\\systemd\\systemd-bootx64.efi")}, "systemd-boot", True, "names systemd-boot", id="entry of systemd-boot"
        ),
        pytest.param({**LIST, **entry("\\EFI\\proxmox\\grubx64.efi")}, "grub", True, "names GRUB", id="entry of GRUB"),
        pytest.param({**entry("\\EFI\\proxmox\\shimx64.efi")}, "grub", False, "names shim", id="entry of shim"),
        pytest.param({f"{EFI}/x": "", **LIST, "proc/cmdline": "root=ZFS=a\n"}, "systemd-boot", True, "ZFS", id="ZFS"),
        pytest.param({f"{EFI}/x": "", "boot/grub/grub.cfg": ""}, "grub", False, "grub.cfg", id="grub.cfg"),
        pytest.param({f"{EFI}/x": "", **LIST}, "", True, "nothing shows it", id="nothing"),
        pytest.param({f"{EFI}/x": "", "etc/kernel/proxmox-boot-uuids": "\n"}, "", False, "nothing shows it", id="an empty list"),
    ],
)
def test_boot_loader(files: dict[str, Content], kind: str, managed: bool, why: str, tmp_path: Path) -> None:
    loader = bootloader.read(Host(str(make_fake_tree(tmp_path, {"proc/cmdline": "quiet\n", "sys/firmware": None, **files}))))
    assert isinstance(loader, Loader)
    assert (loader.kind, loader.managed) == (kind, managed)
    assert why in loader.why


GRUB_CFG = """\
set default="0"
menuentry 'Memory test' {
\tlinux /boot/memtest86+x64.bin console=ttyS0
}
submenu 'Advanced' {
\tmenuentry 'old' {
\t\tlinux\t/boot/vmlinuz-6.8.4-2-pve root=/dev/mapper/pve-root ro  quiet
\t\tinitrd /boot/initrd.img-6.8.4-2-pve
\t}
\tmenuentry 'new' {
\t\tlinux\t/vmlinuz-6.8.12-10-pve root=/dev/mapper/pve-root ro  quiet iommu=pt dyndbg="file a +p" $vt_handoff
\t}
\tmenuentry 'recovery' {
\t\tlinux\t/vmlinuz-6.8.12-10-pve root=/dev/mapper/pve-root ro single
\t}
}
"""


def lines_of(files: dict[str, Content], directory: Path) -> CommandLines:
    host = Host(str(make_fake_tree(directory, {"sys/firmware": None, **files})))
    lines = cmdline.read(host, bootloader.read(host))
    assert isinstance(lines, CommandLines)
    return lines


def test_menu(tmp_path: Path) -> None:
    """The newest kernel first, nothing for rescue, quotes held together."""
    lines = lines_of({"proc/cmdline": "quiet\n", "boot/grub/grub.cfg": GRUB_CFG}, tmp_path)
    assert not isinstance(lines.written, Unread)
    assert [written.kernel for written in lines.written] == ["6.8.12-10-pve", "6.8.4-2-pve"]
    assert lines.written[0].words == ("root=/dev/mapper/pve-root", "ro", "quiet", "iommu=pt", "dyndbg=file a +p", "$vt_handoff")


@pytest.mark.parametrize("mounted", ["/boot/efi", "/mnt/esp"])
def test_entries_on_a_mounted_esp(mounted: str, tmp_path: Path) -> None:
    files = boot.plant("loader: systemd-boot")
    files["proc/mounts"] = f"/dev/sda2 {mounted} vfat rw 0 0\n"
    for release in ("6.8.4-2-pve", "6.8.12-10-pve"):
        files[f"{mounted[1:]}/loader/entries/proxmox-{release}.conf"] = (
            f"options root=ZFS=a\noptions {release}\nlinux /EFI/proxmox/vmlinuz-{release}\n"
        )
    lines = lines_of(files, tmp_path)
    assert not isinstance(lines.written, Unread)
    assert [written.words for written in lines.written] == [("root=ZFS=a", "6.8.12-10-pve"), ("root=ZFS=a", "6.8.4-2-pve")]


def test_a_menu_of_another_boot_loader_is_not_read(tmp_path: Path) -> None:
    """Where proxmox-boot-tool keeps GRUB's ESPs, /boot/grub/grub.cfg may be of long ago."""
    lines = lines_of({**boot.plant("loader: grub-esp"), "boot/grub/grub.cfg": GRUB_CFG}, tmp_path)
    assert lines.written == Unread("its ESP is not mounted")


def test_releases_are_ordered_as_numbers() -> None:
    names = ["6.8.12-10-pve", "6.8.12-4-pve", "6.14.0-2-pve", "6.8.4-2-pve", "6.17", ""]
    assert sorted(names, key=kernels.order) == ["", "6.8.4-2-pve", "6.8.12-4-pve", "6.8.12-10-pve", "6.14.0-2-pve", "6.17"]


def test_modules(tmp_path: Path) -> None:
    files: dict[str, Content] = {
        **boot.plant("running: module_blacklist=xe,snd-hda-intel modprobe.blacklist=nouveau"),
        "etc/modprobe.d/a.conf": "blacklist snd-hda-intel\ninstall radeon /bin/false\ninstall keep /sbin/modprobe keep\n# blacklist no\n",
        "usr/lib/modprobe.d/a.conf": "blacklist shadowed\n",
        "etc/modules-load.d/vfio.conf": "vfio-pci\n; no\n",
        "usr/lib/modules-load.d/vfio.conf": "shadowed\n",
        "sys/module/vfio/refcnt": "1\n",
    }
    host = Host(str(make_fake_tree(tmp_path, files)))
    found = modules.read(host, kernels.read(host))
    assert isinstance(found, Modules)
    assert found.vfio == {"vfio": "loaded", "vfio_iommu_type1": "there", "vfio_pci": "there"}
    assert found.listed == (("vfio_pci", "/etc/modules-load.d/vfio.conf"),)
    assert dict(found.denied).keys() == {"nvidiafb", "snd_hda_intel", "radeon", "xe", "nouveau"}
    assert found.edited == ()
    os.utime(tmp_path / f"boot/initrd.img-{boot.RELEASE}", (1, 1))
    again = modules.read(host, kernels.read(host))
    assert isinstance(again, Modules)
    assert again.edited == ("/etc/modprobe.d/a.conf", "/etc/modprobe.d/pve-blacklist.conf")


class Sandboxed(Host):
    """As the daemon, under ProtectKernelModules=."""

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        if path.startswith("/lib/modules/"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return super().read(path, limit)


def test_modules_that_the_sandbox_hides_are_not_missing(tmp_path: Path) -> None:
    host = Sandboxed(str(make_fake_tree(tmp_path, {**boot.plant(""), "sys/module/vfio/": None})))
    found = modules.read(host, kernels.read(host))
    assert not isinstance(found, Unread)
    assert found.vfio == {"vfio": "loaded", "vfio_iommu_type1": "unknown", "vfio_pci": "unknown"}


@pytest.mark.parametrize(
    ("text", "cpus"), [("0-3,8\n", {0, 1, 2, 3, 8}), ("", set()), ("a-b,-,3", {3}), ("5-2", set()), ("0-99999999999", set(range(8193)))]
)
def test_lists_of_cpus(text: str, cpus: set[int]) -> None:
    assert layout.cpus(text) == cpus


@pytest.mark.shared_data
@pytest.mark.parametrize("name", captures.NAMES)
def test_rules_on_a_capture(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Real kernels' state, in QEMU: the IOMMU off where it is off, for the reason why; shared groups where there are some."""
    node = hardware.gather(Host(str(captures.materialise(name, tmp_path_factory))), "pve1")
    found = {finding.rule: finding for finding in of_node.findings_of_node(node) if finding.examined}
    off = not captures.load(name)["iommu_groups"]
    assert ("iommu-inactive" in found) is off
    assert ("group-shared" in found) is not off
    if name.startswith("intel-off"):
        assert "intel_iommu=off" in found["iommu-inactive"].message
    assert all(described(candidate, node)[0] == "no IOMMU" for candidate in candidates(node) if off and candidate.member.free)


# -- mangled files ----------------------------------------------------------------------------------------------------

DEVICES = (
    "0000:01:00.0 class=030000 id=10de:2204 driver=nouveau group=14\n0000:03:00.0 class=020000 id=8086:1533 driver=igb group=14 net=eno1\n"
)
GUEST: dict[str, Content] = {
    "etc/pve/nodes/pve1/qemu-server/100.conf": "hostpci0: 0000:01:00.0\naffinity: 0-3\nnet0: virtio=52:54:00:00:00:01\n"
}
FILES = [
    *("etc/default/grub", "etc/default/grub.d/x.cfg", "etc/kernel/cmdline", "etc/kernel/proxmox-boot-uuids", "etc/kernel/proxmox-boot-pin"),
    *("proc/cmdline", "proc/cpuinfo", "proc/meminfo", "proc/mounts", "proc/sys/kernel/osrelease", "boot/grub/grub.cfg", "etc/modules"),
    *("etc/modprobe.d/x.conf", f"lib/modules/{boot.RELEASE}/modules.dep", f"boot/config-{boot.RELEASE}", "etc/network/interfaces"),
    *(f"boot/efi/loader/entries/proxmox-{boot.RELEASE}.conf", f"{EFI}/efivars/SecureBoot-{boot.GLOBAL}", "etc/pve/user.cfg"),
    *("sys/kernel/mm/ksm/run", "sys/kernel/mm/ksm/pages_sharing", "sys/devices/system/cpu/isolated", "proc/spl/kstat/zfs/arcstats"),
    *("sys/kernel/iommu_groups/14/type", "sys/devices/pci0000:00/0000:03:00.0/current_link_speed", "run/udev/data/n2"),
    *("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "sys/devices/system/node/node0/cpulist", "var/lib/dkms/mok.pub"),
    *(
        "etc/pve/nodes/pve1/qemu-server/100.conf",
        f"lib/modules/{boot.RELEASE}/updates/dkms/a.ko",
        f"{EFI}/efivars/MokListRT-605dab50-e046-4300-abb6-3dd810dd8b23",
    ),
    *(f"{EFI}/efivars/BootCurrent-{boot.GLOBAL}", f"{EFI}/efivars/LoaderInfo-{boot.LOADER}"),
]
WORDS = st.sampled_from(
    [
        b"options vfio-pci ids=",
        b"10de:2204,",
        b"blacklist igb\n",
        b"linux /vmlinuz-",
        b"root=",
        b'"',
        b"'",
        b"\n",
        b"\0",
        b"\xff",
        b"pool:a::100,x::\n",
        b"1",
    ]
)
CONTENT = st.one_of(st.binary(max_size=40), st.lists(WORDS, max_size=6).map(b"".join), st.none())


@settings(max_examples=60)
@given(
    st.sampled_from(["grub", "bios", "grub-esp", "secure-boot", "systemd-boot"]),
    st.dictionaries(st.sampled_from(FILES), CONTENT, max_size=8),
)
def test_mangled_files(loader: str, mangled: dict[str, bytes | None]) -> None:
    """Whatever is in them, or if a directory is in their place: findings in words, never a traceback."""
    files = {**pci.plant(DEVICES), **boot.plant(f"loader: {loader}\nesp: mounted"), **GUEST}
    with tempfile.TemporaryDirectory() as directory:
        for name in mangled:
            files.pop(name, None)
        host = Host(str(make_fake_tree(directory, {**files, **mangled})))
        node = hardware.gather(host, "pve1")
        found = of_node.findings_of_node(node)
        assert all(described(candidate, node)[0] for candidate in candidates(node))
    assert all(finding.message and finding.remedy for finding in found)
