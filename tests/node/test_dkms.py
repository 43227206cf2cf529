"""A real kernel package with its headers, and two sources of DKMS: one that can be built for it and one that cannot."""

from __future__ import annotations

import lzma
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from pvehooks.host import Host, unpacking
from tests.beds import boot, pci
from tests.beds.commandline import pvehooks
from tests.beds.initramfs import cpio
from tests.beds.tree import make_fake_tree
from tests.node.trees import make_tree, run_in

SYSTEM = "dkms gcc make kmod zstd initramfs-tools linux-image-amd64 linux-headers-amd64".split()
# What dpkg does when the kernel's package is configured: with the source that is broken, the hook of DKMS fails, and no further one is called.
BUILD = r"""
add() {
	mkdir -p /usr/src/$1-1.0
	printf 'PACKAGE_NAME="%s"\nPACKAGE_VERSION="1.0"\nBUILT_MODULE_NAME[0]="%s"\nDEST_MODULE_LOCATION[0]="/updates/dkms"\nAUTOINSTALL="yes"\n' \
		"$1" "$2" >/usr/src/$1-1.0/dkms.conf
	printf 'obj-m := %s.o\n' "$2" >/usr/src/$1-1.0/Makefile
	printf '#include <linux/module.h>\nMODULE_LICENSE("GPL");\n%s\n' "$3" >/usr/src/$1-1.0/$2.c
	dkms add "$1/1.0" >/dev/null
}
release=$(ls /lib/modules)
add good-sriov good-mod ""
add bad-sriov bad-mod "#error this kernel is too new"
run-parts --exit-on-error --arg="$release" --arg="/boot/vmlinuz-$release" /etc/kernel/postinst.d >/dev/null 2>&1 || echo "failed" >/out/hooks
for module in good-mod bad-mod; do
	modprobe --set-version "$release" --show-depends "$module" >/dev/null 2>&1 && echo "$module" >>/out/loadable
done
echo "$release" >/out/release
tar -C / -cf /out/files.tar var/lib/dkms usr/src/good-sriov-1.0 usr/src/bad-sriov-1.0 "lib/modules/$release/updates" \
	"usr/lib/modules/$release/modules.dep" "usr/lib/modules/$release/modules.builtin" boot 2>/dev/null || true
"""
# A card of each driver with a virtual function for a VM.
BUS = """\
0000:05:00.0 class=020000 id=8086:1572 driver=good-mod group=40
0000:05:02.0 class=020000 id=8086:154c driver=vfio-pci group=41 pf=0000:05:00.0
0000:06:00.0 class=020000 id=8086:1572 driver=bad-mod group=42
0000:06:02.0 class=020000 id=8086:154c driver=vfio-pci group=43 pf=0000:06:00.0
"""
MADE = "".join(f"devices/pci0000:00/0000:0{bus}:00.0/sriov_numvfs = 1\n" for bus in (5, 6))


# The first program of the machine. It goes down where its first program ends: the kernel panics, and reboots at once.
FIRST = """#!/bin/sh
mount -t proc proc /proc
for module in good-mod bad-mod; do
	if insmod /bed/$module.ko; then echo "BED loaded $module"; else echo "BED lacks $module"; fi
done
echo "BED end $(uname -r)"
"""
MACHINE = "qemu-system-x86_64 -machine q35 -accel tcg,tb-size=512 -cpu max -smp 1 -m 1024 -nodefaults -display none -no-reboot".split()
COMMAND_LINE = "mitigations=off no_timer_check panic=-1 console=ttyS0 loglevel=4 init_on_alloc=0 rdinit=/bed/first"


class Built(NamedTuple):
    """What came of it: where the system's files are, and the kernel's release."""

    out: Path
    release: str


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    tree = make_tree("trixie", "dkms", SYSTEM)
    out = tmp_path_factory.mktemp("out")
    done = run_in(tree, BUILD, [f"--bind={out}:/out"], timeout=500)
    assert (out / "release").exists(), done.stdout + done.stderr
    return Built(out, (out / "release").read_text().strip())


def boot_it(built: Built, directory: Path) -> str:
    """Boots the kernel on an emulated machine; its console."""
    subprocess.run(["tar", "-C", str(directory), "-xf", str(built.out / "files.tar")], check=True)
    modules = sorted((directory / "lib/modules" / built.release / "updates/dkms").iterdir())
    packed = (directory / f"boot/initrd.img-{built.release}").read_bytes()
    files = {f"bed/{path.name.partition('.')[0]}.ko": lzma.decompress(path.read_bytes()) for path in modules}
    (directory / "initrd").write_bytes(packed + bytes(-len(packed) % 4) + cpio({"bed": None, **files, "bed/first": FIRST.encode()}))
    console = directory / "console"
    machine = [*MACHINE, "-kernel", f"{directory}/boot/vmlinuz-{built.release}", "-initrd", f"{directory}/initrd"]
    subprocess.run([*machine, "-append", COMMAND_LINE, "-serial", f"file:{console}"], check=True, timeout=600)
    return console.read_text(errors="replace").replace("\r", "")


def next_boot(built: Built, directory: Path) -> str:
    """What pvehooks says of the next boot: the running kernel has both modules, and a VM rests on each."""
    now = {f"lib/modules/{boot.RELEASE}/updates/dkms/{name}.ko": "" for name in ("good-mod", "bad-mod")}
    guests = {f"etc/pve/nodes/pve1/qemu-server/10{bus}.conf": f"hostpci0: 0000:0{bus}:02.0\n" for bus in (5, 6)}
    sysfsutils = {"etc/sysfs.conf": MADE, "usr/lib/systemd/system/sysfsutils.service": ""}
    tree = make_fake_tree(directory, {**boot.plant("plan: quiet\nmenu: quiet"), **pci.plant(BUS), **now, **guests, **sysfsutils})
    # In the tree /lib is a directory.
    transform = ["--transform=s,^usr/lib/,lib/,"]
    subprocess.run(["tar", "-C", str(tree), "-xf", str(built.out / "files.tar"), *transform], check=True)
    return pvehooks("host", "check", "--next-boot", built.release, "--root", str(tree)).output


def test_the_verdict_is_what_modprobe_finds(built: Built, tmp_path: Path) -> None:
    """The new kernel has the module whose source can be built."""
    output = next_boot(built, tmp_path)
    loadable = (built.out / "loadable").read_text().split()
    assert loadable == ["good-mod"], "the test is about one of each"
    assert "VM 105: will start\n" in output, output
    assert f"VM 106: will not start, because hostpci0: bad-sriov of DKMS is not built for the kernel {built.release}" in output
    assert f"dkms install bad-sriov/1.0 -k {built.release}" in output


def test_the_verdict_is_what_the_boot_shows(built: Built, tmp_path: Path) -> None:
    """The new kernel boots with the initramfs of its package, and is given what DKMS built for it."""
    output = next_boot(built, tmp_path / "node")
    console = boot_it(built, tmp_path)
    assert f"BED end {built.release}" in console, console
    loaded = {name: f"BED loaded {name}\n" in console for name in ("good-mod", "bad-mod")}
    assert loaded == {"good-mod": "VM 105: will start\n" in output, "bad-mod": "VM 106: will start\n" in output}, console
    assert loaded == {"good-mod": True, "bad-mod": False}, "the test is about one of each"


def test_a_hook_of_dkms_keeps_ours_from_being_called(built: Built) -> None:
    """Why dpkg's trigger asks as well."""
    assert (built.out / "hooks").read_text() == "failed\n"


def test_the_initramfs_of_the_package(built: Built, tmp_path: Path) -> None:
    """As Debian's initramfs-tools packs it."""
    subprocess.run(["tar", "-C", str(tmp_path), "-xf", str(built.out / "files.tar"), "boot"], check=True)
    found = unpacking.contents(Host(), f"{tmp_path}/boot/initrd.img-{built.release}", lambda name: name.endswith("/init"))
    assert any("/ext4.ko" in name for name in found.names) and any(name.startswith("etc/") or "/etc/" in name for name in found.names)
