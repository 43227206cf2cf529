"""What has the form of a secret is masked in any text, also in a plain capture; and no text takes long."""

from __future__ import annotations

import resource

import pytest

from pvehooks.capture.redact import secrets
from pvehooks.formats import firmwaredrivers
from tests.beds import firmware
from tests.beds.forked import forked

WORD = b"pLaNtEd9word"


@pytest.mark.parametrize(
    "line",
    [
        b"\tpost-up curl -u admin:%s https://ddns.example/update",
        b"\tpost-up curl -su admin:%s https://ddns.example/update",
        b"\tpost-up curl -uadmin:%s https://ddns.example/update",
        b"\tpost-up curl --user 'admin:%s' https://ddns.example/update",
        b"\tpost-up curl --proxy-user=admin:%s https://ddns.example/update",
        b"\tpost-up wget -q https://admin:%s@ddns.example/update",
        b"http_proxy=http://proxy:%s@10.0.0.1:3128/",
        b"args: -drive file=https://u:%s@server/disk.iso,if=none",
        b"args: -device x -chardev socket,path='ftp://%s@server'",
        b"root=iscsi netroot=iscsi:user:%s@192.0.2.1::3260:1:iqn.2000-01.example:disk quiet",
        b"BOOT_IMAGE=/vmlinuz cryptdevice=UUID=1:root cryptkey=%s quiet",
        b"rd.luks.uuid=1 luks.key=%s quiet",
        b"rd.luks.key=%s:UUID=2 quiet",
        b"options driver key=%s other=1",
        b'options driver key="%s"',
        b"password_pbkdf2 root grub.pbkdf2.sha512.10000.%s.77",
        b"password root %s",
        b"  password    root %s",
        b"set x=grub.pbkdf2.sha512.10000.%s",
        b"wireless-key %s",
        b"my-very-own-password: %s",
        b'"db_password" : "%s"',
        b"PASSWORDS_OF_USERS = %s",
        b"apikey=%s",
    ],
)
@pytest.mark.parametrize(
    "path", ["/etc/network/interfaces", "/etc/modprobe.d/a.conf", "/etc/pve/nodes/a/qemu-server/100.conf", "/proc/cmdline"]
)
def test_masked(line: bytes, path: str) -> None:
    text = line % WORD
    # GRUB's form is at the beginning of a line.
    if path.endswith("100.conf") and not line.lstrip().startswith(b"password "):
        text = b"args: " + text.strip()
    found = secrets.reduced(path, text + b"\n")
    assert WORD not in found and len(found) == len(text) + 1, found


@pytest.mark.parametrize(
    "line",
    [
        b"iface vmbr0 inet static",
        b"\tpost-up ip -u link set eno1 up",
        b"args: -usb -device usb-host,hostbus=1,hostport=2:3",
        b"options vfio-pci ids=10de:2204,10de:1aef disable_vga=1",
        b'GRUB_CMDLINE_LINUX_DEFAULT="quiet intel_iommu=on iommu=pt vfio-pci.ids=10de:2204"',
        b"root=ZFS=rpool/ROOT/pve-1 boot=zfs",
    ],
)
def test_what_rules_read_stays(line: bytes) -> None:
    assert secrets.without_comments(line) == line


# Each is one that a tenant, or a node, may have: a long word, or many beginnings of what is looked for.
HOSTILE = (
    b"a", b"a-", b"secret", b"secret-", b"-----BEGIN A", b"-----BEGIN A-----", b"://", b"a://b", b"@", b"iscsi:", b"-u ", b" -u", b"key=", b"a.key",
    b"keys", b"password ", b"password_pbkdf2 ", b"grub.pbkdf2.", b" ", b"\t#", b"token:", b"'\"", b"%4", b"=", b"a:", b"\n#", b"description ",
)  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_no_text_takes_long(piece: bytes) -> None:
    """A large file, in a hundredth of a second: what grows with the square of the length would take minutes, and is ended."""

    def read_all() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
        for end in (b"", b"=x", b"!"):
            for path in ("/etc/anything", "/etc/pve/nodes/a/qemu-server/100.conf"):
                secrets.reduced(path, b"searchdomain: " + piece * ((1 << 18) // len(piece)) + end)

    assert forked(read_all) == 0


def test_switches_of_the_firmware_stay() -> None:
    path = "/etc/pve/nodes/pve1/qemu-server/100.conf"
    switch = b"args: -fw_cfg name=opt/org.tianocore/IPv4Support,string="
    assert secrets.reduced(path, switch + b"no") == switch + b"no"
    assert secrets.reduced(path, switch + b"n0secret") == switch + b"x0xxxxxx"


def test_the_tags_of_volumes_keep_whose_they_are() -> None:
    """Ceph keeps the secret of an encrypted OSD's keys among the tags."""
    tags = b'\t\t\ttags = ["ceph.cephx_lockbox_secret=AQBqbGxkAAAA", "ceph.osd_id=7", "ceph.type=db"]\n'
    text = (
        b'ceph-db {\n\tlogical_volumes {\n\t\tdb-7 {\n\t\t\tid = "z"\n' + tags + b'\t\t}\n\t\tx {\n\t\t\ttags = ["mine"]\n\t\t}\n\t}\n}\n'
    )
    kept = secrets.reduced("/etc/lvm/backup/ceph-db", text)
    assert b'\t\t\ttags = ["ceph.osd_id=7"]\n' in kept
    assert b"lockbox" not in kept and b"mine" not in kept


def test_of_a_firmware_image_its_drivers_stay() -> None:
    image = firmware.image()
    assert firmwaredrivers.read(secrets.reduced("/root/own.fd", image)) == firmwaredrivers.read(image)
    assert secrets.reduced("/root/keys.fd", b"a secret") == b""
    assert secrets.reduced("/usr/share/pve-edk2-firmware/OVMF_CODE_4M.fd", image) == image
    assert secrets.reduced("/var/lib/vz/efi-firmware/app.fd", image) == image


def test_a_carriage_return_makes_no_line() -> None:
    """What is behind one is part of a container's notes, which are left out."""
    assert secrets.reduced("/etc/pve/nodes/a/lxc/200.conf", b"#notes\rtags: " + WORD + b"\narch: amd64\n") == b"arch: amd64\n"
