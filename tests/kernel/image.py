"""The machine's disks and kernel: a Debian 13 system with the package and the stand-ins, made anew for each run from what is kept."""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.beds.namespace import MNT_DETACH, _libc, mount
from tests.beds.qm.driver import install_modules
from tests.kernel import initrd
from tests.kernel.cases import REBOOTING
from tests.kernel.inside.losses import PROBE
from tests.kernel.zfslabel import write_label
from tests.node.trees import PROJECT, Cgroup, make_tree, nspawn

SUITE = "trixie"
SYSTEM = (
    "busybox-static dbus dmsetup e2fsprogs grub-pc-bin grub2-common initramfs-tools iproute2 kmod libfuse2 lvm2 pciutils procps python3 "
    "python3-fusepy systemd systemd-sysv udev zstd"
).split()
KERNEL = "linux-image-amd64"
INSIDE = Path(__file__).parent / "inside"
UNITS = "usr/local/lib/systemd/system"
# They do nothing for the test, and each takes seconds where every instruction is emulated.
MASKED = (
    "apt-daily-upgrade.timer apt-daily.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer getty.target "
    "serial-getty@.service systemd-networkd-wait-online.service systemd-pcrphase.service systemd-update-utmp.service"
).split()
# As with the guard's deadline (set_up.py): that every instruction is emulated, on a busy machine, is no reason to give up a start.
UNHURRIED = ("pvehooks.service", "pvehooks-await@.service", "pvehooks-bind.service", "pvehooks-bind@.service")
LEFT_OUT = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man")
FIRST_SECTOR = 2048
BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"
MEBIBYTES = 1400
ROOT = "root.img"
# What keeps processes from each other costs most where it is emulated, and on a busy machine the kernel misses its timer and panics.
COMMAND_LINE = "mitigations=off no_timer_check panic=-1 console=ttyS0 loglevel=4 systemd.show_status=0 init_on_alloc=0"
# How the machine boots that uses its own boot loader: as Debian has it, what a person may add, and the machine's own needs beside.
GRUB = f"""GRUB_CMDLINE_LINUX="{COMMAND_LINE} bed.machine={REBOOTING}"
GRUB_TERMINAL=serial
GRUB_TIMEOUT=0
"""
SWITCHED_OFF = 'GRUB_CMDLINE_LINUX_DEFAULT="quiet intel_iommu=off"'
# The card's driver has it before the root file system is there, as on a node whose initramfs has all drivers.
INITRAMFS = {"conf.d/bed": "MODULES=list\nCOMPRESSLEVEL=1\n", "modules": "nvme\next4\ne1000e\n"}


class Kernel(NamedTuple):
    """`files` are its modules and what lies in /boot, as below /; the others are what QEMU loads."""

    files: Path
    image: Path
    initrd: Path


class Images(NamedTuple):
    """What a machine boots from. `directory` has the disks' images by their names."""

    kernel: Kernel
    directory: Path


def make_system(package: Path) -> Path:
    """The system without the package and without its kernel, which lies where apt has its downloads."""
    depends = subprocess.run(["dpkg-deb", "--field", package, "Depends"], capture_output=True, text=True, check=True).stdout
    needed = [word.split("(")[0].split(":")[0].strip() for word in depends.split(",")]
    return make_tree(SUITE, "kernel", [*SYSTEM, *(name for name in needed if name not in SYSTEM)], [KERNEL])


def unpack_kernel(tree: Path) -> Kernel:
    """The kernel of the system's suite, kept beside the systems; named by its version and by what is made of it here."""
    (package,) = tree.glob("var/cache/apt/archives/linux-image-[0-9]*.deb")
    made_by = b"".join(path.read_bytes() for path in (initrd.INIT, Path(initrd.__file__))) + inspect.getsource(unpack_kernel).encode()
    place = tree.parent / f"kernel-{package.stem}-{hashlib.sha1(made_by).hexdigest()[:10]}"
    if not place.exists():
        new = Path(tempfile.mkdtemp(dir=tree.parent, prefix=f"{place.name}.new-"))
        unpacked = new / "unpacked"
        subprocess.run(["dpkg-deb", "--extract", package, unpacked], check=True)
        (image,) = unpacked.glob("boot/vmlinuz-*")
        version = image.name.removeprefix("vmlinuz-")
        files = new / "files"
        (files / "usr/lib").mkdir(parents=True)
        (unpacked / "boot").rename(files / "boot")
        (unpacked / "usr/lib/modules").rename(files / "usr/lib/modules")
        (files / "lib").symlink_to("usr/lib")
        shutil.rmtree(unpacked)
        subprocess.run(["depmod", "--basedir", files, version], check=True)
        (files / f"boot/initrd.img-{version}").write_bytes(initrd.make_initrd(files, version, tree / "usr/bin/busybox"))
        for name, path in (("vmlinuz", image), ("initrd", Path(f"initrd.img-{version}"))):
            (new / name).symlink_to(f"files/boot/{path.name}")
        try:
            new.rename(place)
        except OSError:
            # Somebody else made it meanwhile.
            shutil.rmtree(new)
    return Kernel(place / "files", place / "vmlinuz", place / "initrd")


@contextmanager
def _overlay(lower: list[Path], scratch: Path) -> Iterator[Path]:
    """A directory that shows all of these; what is written there goes to memory and is forgotten."""
    scratch.mkdir()
    mount("tmpfs", str(scratch), "tmpfs", options="mode=0755")
    for name in ("upper", "work", "root"):
        (scratch / name).mkdir()
    root = scratch / "root"
    layers = f"lowerdir={':'.join(map(str, lower))},upperdir={scratch}/upper,workdir={scratch}/work"
    mount("overlay", str(root), "overlay", options=layers)
    try:
        yield root
    finally:
        for place in (root, scratch):
            _libc.umount2(os.fsencode(place), MNT_DETACH)
        scratch.rmdir()


def _install(root: Path, package: Path) -> None:
    group = Cgroup()
    # The bytecode has to be that of the system's own Python.
    script = f"""
        mkdir -p /var/lib/vz/snippets
        apt-get install --yes --no-install-recommends /packages/{package.name} 2>&1
        python3 -m compileall -q /srv/bed
    """
    command = nspawn(root, "--pipe", "sh", "-ec", script, binds=[f"--bind-ro={package.parent}:/packages"])
    command.remove("--console=pipe")
    try:
        done = subprocess.run(group.holding(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)
    finally:
        group.remove()
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def _furnish(root: Path) -> None:
    """The stand-ins, the job, and what a system needs to boot without asking or preparing anything."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("beds", "kernel"):
        shutil.copytree(PROJECT / "tests" / name, root / "srv/bed/tests" / name, ignore=ignore)
    shutil.copy(INSIDE / "qm", root / "usr/sbin/qm")
    shutil.copy(INSIDE / "pvesh", root / "usr/bin/pvesh")
    install_modules(root / "usr/share/perl5", "/usr/sbin/qm")
    shutil.copytree(INSIDE / "units", root / UNITS, dirs_exist_ok=True)
    wanted = root / UNITS / "multi-user.target.wants"
    wanted.mkdir()
    for unit in ("pve-cluster.service", "pve-guests.service"):
        (wanted / unit).symlink_to(f"../{unit}")
    for unit in MASKED:
        (root / "etc/systemd/system" / unit).unlink(missing_ok=True)
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    for unit in UNHURRIED:
        place = root / f"etc/systemd/system/{unit}.d"
        place.mkdir()
        (place / "bed.conf").write_text("[Service]\nTimeoutStartSec=600\n")
    _furnish_boot(root)
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (root / "etc/hostname").write_text("pve1\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n192.0.2.10 pve1\n")
    (root / PROBE).write_bytes(os.urandom(1 << 16))


def _furnish_boot(root: Path) -> None:
    """What the packages of GRUB and of initramfs-tools ask when they are installed on a machine."""
    defaults = (root / "usr/share/grub/default/grub").read_text()
    (root / "etc/default/grub").write_text(re.sub(r"^GRUB_CMDLINE_LINUX_DEFAULT=.*$", SWITCHED_OFF, defaults, flags=re.MULTILINE))
    (root / "etc/default/grub.d/bed.cfg").write_text(GRUB)
    for name, text in INITRAMFS.items():
        (root / "etc/initramfs-tools" / name).write_text(text)


def _file_system(image: Path, contents: Path, mebibytes: int, partition: bool) -> None:
    with image.open("wb") as file:
        file.truncate(mebibytes << 20)
    options = []
    if partition:
        # GRUB's own part lies before the file system, which is the first partition all the same.
        table = f"label: gpt\nfirst-lba: 34\nstart={FIRST_SECTOR}, type=linux\nstart=34, size={FIRST_SECTOR - 34}, type={BIOS_BOOT}\n"
        subprocess.run(["sfdisk", "--quiet", image], input=table, text=True, check=True)
        options = ["-E", f"offset={FIRST_SECTOR * 512}"]
        mebibytes -= 2
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", *options, "-d", contents, image, f"{mebibytes}M"], check=True)


def make_images(package: Path, directory: Path) -> Images:
    """The system with the package installed on a disk, and the other disks that are not empty; some seconds."""
    tree = make_system(package)
    kernel = unpack_kernel(tree)
    with _overlay([kernel.files, tree], directory / "overlay") as root:
        _furnish(root)
        _install(root, package)
        for name in LEFT_OUT:
            shutil.rmtree(root / name, ignore_errors=True)
        for name in ("etc/.updated", "var/.updated"):
            (root / name).write_text("")
        _file_system(directory / ROOT, root, MEBIBYTES, partition=True)
    nothing = directory / "nothing"
    nothing.mkdir()
    _file_system(directory / "data.img", nothing, 64, partition=False)
    zfs = directory / "zfs.img"
    with zfs.open("wb") as file:
        file.truncate(64 << 20)
    write_label(zfs, "guestpool", 0x1234567890ABCDEF, 0xFEDCBA0987654321)
    return Images(kernel, directory)
