"""No secret is in any capture, and no name in a disguised one: looked for in every byte of it."""

from __future__ import annotations

import io
import re
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvehooks.capture import make
from pvehooks.capture.redact import secrets
from pvehooks.formats import reader
from tests.beds.tree import make_fake_tree
from tests.capture import planted
from tests.capture.bed import KEY


@pytest.fixture(scope="module")
def look(tmp_path_factory: pytest.TempPathFactory) -> make.Look:
    return make.look(str(make_fake_tree(tmp_path_factory.mktemp("planted"), planted.tree())), planted.NODE)


def inside(made: make.Made) -> bytes:
    """All bytes that somebody gets: the names of files, links and contents."""
    with tarfile.open(fileobj=io.BytesIO(make.packed(made)), mode="r:xz") as tar:
        found = [f"{entry.name}\n{entry.linkname}\n".encode() + (held.read() if (held := tar.extractfile(entry)) else b"") for entry in tar]
    return b"\n".join(found)


def forms(text: str) -> set[bytes]:
    """A word as it may be written."""
    words = {text, text.lower(), text.upper(), text.replace("-", "--"), text.replace("-", "")}
    return {form for word in words for form in (word.encode(), word.encode("utf-16-le"), word.encode()[::-1])}


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "disguised"])
def test_no_secrets(plain: bool, look: make.Look) -> None:
    raw = inside(make.made(look, plain, KEY))
    assert [secret for secret in planted.SECRETS if any(form in raw for form in forms(secret))] == []


def test_no_names(look: make.Look) -> None:
    raw = inside(make.made(look, False, KEY))
    somebodys = (*planted.UUIDS, *planted.NAMES, *planted.NUMBERS)
    assert [each for each in somebodys if any(form in raw for form in forms(each))] == []
    assert planted.DSN not in raw
    assert b"\x0a\x4d\x0c" not in raw and b"000C4D0A" not in raw and b"4D7100CB" not in raw


def test_names_are_looked_at(look: make.Look) -> None:
    """Otherwise they could not leak: a plain capture has them all."""
    raw = inside(make.made(look, True, KEY))
    assert [each for each in (*planted.UUIDS, *planted.NAMES, *planted.NUMBERS) if each.encode() not in raw] == []
    assert planted.DSN in raw


def test_every_capture_is_disguised_otherwise(look: make.Look) -> None:
    one, other = (make.made(look, False, key) for key in (b"one", b"other"))
    assert one.node != other.node
    assert make.made(look, False, b"one").things == one.things


def test_lengths_stay(look: make.Look) -> None:
    """So that what is too long is, and tables are as wide."""
    made = make.made(look, False, KEY)
    assert made.disguise is not None
    for name in planted.NAMES:
        assert len(made.disguise.text(name)) == len(name)
        assert re.sub("[a-z]", "x", re.sub("[0-9]", "0", made.disguise.text(name).lower())) == re.sub(
            "[a-z]", "x", re.sub("[0-9]", "0", name.lower())
        )


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/pve/priv/authkey.key", "/etc/pve/nodes/a/priv", "/etc/pve/nodes/a/priv/lock", "/etc/pve/pve-www.key", "/root/.ssh/id_rsa"),
        *("/etc/shadow", "/proc/12/environ", "/etc/pve/nodes/a/pve-ssl.pem", "/srv/x/ceph.client.admin.keyring", "/" + "home/u/file"),
        *("/etc/ssh/ssh_host_rsa_key", "/var/lib/pve-cluster/config.db", "/etc/wireguard/wg0.conf"),
    ],
)
def test_private_paths(path: str) -> None:
    assert secrets.is_hidden(path)


@pytest.mark.parametrize(
    "path", ["/etc/pve/storage.cfg", "/proc/12/cmdline", "/etc/pve/nodes/a/qemu-server/100.conf", "/etc/modprobe.d/a.conf"]
)
def test_others_are_not(path: str) -> None:
    assert not secrets.is_hidden(path)


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("/etc/pve/qemu-server/100.conf", b"cipassword: abc\nname: x\n", b"cipassword: xxx\nname: x\n"),
        ("/etc/pve/qemu-server/100.conf", b"#tell a%0Ab\n", b"#xxxx x%0Ax\n"),
        ("/etc/pve/qemu-server/100.conf", b"args: -object secret,id=a,data=b0 -m 4\n", b"args: -object secret,id=a,data=x0 -m 4\n"),
        ("/etc/pve/nodes/a/lxc/200.conf", b"hostname: a\nlxc.environment: P=1\ndev0: /dev/x\n", b"hostname: a\ndev0: /dev/x\n"),
        ("/etc/pve/user.cfg", b"user:a@pam:1::\npool:p:hi:100::\ntoken:x\n", b"pool:p:xx:100::\n"),
        ("/etc/pve/storage.cfg", b"cifs: a\n\tpassword p4\n\tshare s\n", b"cifs: a\n\tpassword x0\n\tshare s\n"),
        (
            "/boot/grub/grub.cfg",
            b"password root x\nmenuentry 'a' {\n\tlinux /boot/vmlinuz-1 ro\n}\n",
            b"menuentry 'a' {\n\tlinux /boot/vmlinuz-1 ro\n}\n",
        ),
        ("/proc/12/cmdline", b"/usr/bin/kvm\0-id\x00100\0-vnc\0pw\0", b"/usr/bin/kvm\0-id\x00100\0"),
        ("/proc/12/cmdline", b"kvm\0-device\0vfio-pci,host=01:00.0,x=y\0", b"kvm\0-device\0vfio-pci,host=01:00.0\0"),
        ("/proc/12/cmdline", b'kvm\0-device\0{"driver":"vfio-pci","k":"s"}\0', b'kvm\0-device\0{"driver": "vfio-pci"}\0'),
        ("/proc/mounts", b"//h/s /m cifs rw,password=x 0 0\n", b"//h/s /m cifs rw 0 0\n"),
        ("/proc/mounts", b"/dev/a /m xfs rw,logdev=/dev/b,user=c 0 0\n", b"/dev/a /m xfs rw,logdev=/dev/b 0 0\n"),
        ("/proc/self/mountinfo", b"1 2 8:1 / / rw,a shared:1 - ext4 /dev/a rw,b=c\n", b"1 2 8:1 / / rw shared:1 - ext4 /dev/a rw\n"),
        ("/proc/cmdline", b"ro rd.password=abc\n", b"ro rd.password=xxx\n"),
        (
            "/etc/systemd/system/vfs.service",
            b"[Unit]\nBefore=a.service\n[Service]\nEnvironment=K=v\nExecStart=/usr/local/x --key v\nExecStart=/usr/local/x\n",
            b"[Unit]\nBefore=a.service\n[Service]\nExecStart=/usr/local/x\n",
        ),
        ("/usr/local/sbin/vfs", b"curl -u a:b h\n  echo 1 > /sys/x/sriov_numvfs\n", b"  echo 1 > /sys/x/sriov_numvfs\n"),
        ("/var/spool/cron/crontabs/root", b"K=v\n@reboot echo 1 > /sys/x/sriov_numvfs\n", b"@reboot echo 1 > /sys/x/sriov_numvfs\n"),
        ("/etc/pve/datacenter.cfg", b"http_proxy: http://a:b@c\nha: shutdown_policy=migrate\n", b"ha: shutdown_policy=migrate\n"),
    ],
)
def test_what_is_left(path: str, before: bytes, after: bytes) -> None:
    assert secrets.reduced(path, before) == after


@given(st.binary(max_size=60))
def test_masked_descriptions_are_as_intact_as_they_were(raw: bytes) -> None:
    masked = secrets.masked_text(raw)
    assert len(masked) == len(raw)
    before, after = (reader.decode(each.decode("utf-8", "surrogateescape")) for each in (raw, masked))
    assert before.intact == after.intact


@given(st.text(max_size=60))
def test_masked_descriptions_are_not_read(text: str) -> None:
    """Text as PVE writes it, encoded or not."""
    for raw in (text.encode("utf-8", "replace"), b"".join(b"%%%02X" % byte for byte in text.encode("utf-8", "replace"))):
        shown = reader.decode(secrets.masked_text(raw).decode("utf-8", "surrogateescape")).text
        assert set(shown) - {char for char in text if char.isascii() and not char.isalnum()} <= set("x0é€😀%F")
