"""Options that are no property strings: which are known, and what their values may be."""

import pytest

from pvehooks.formats.guestconfig import parse
from pvehooks.formats.schema import OPTIONS


def test_what_pve_knows() -> None:
    assert len(OPTIONS) == 507
    families = {"hostpci15", "ide3", "ipconfig31", "net31", "numa7", "parallel2", "sata5", "scsi30", "serial3", "unused255", "usb13"}
    assert families | {"virtio15", "virtiofs9", "numa", "audio0", "rng0", "smbios1", "running-nets-host-mtu"} <= set(OPTIONS)
    assert not {"net32", "scsi31", "hostpci16", "usb14", "delete", "digest", "snapstate", "ide4", "net", "foo"} & set(OPTIONS)


@pytest.mark.parametrize(
    "option, value",
    [
        ("affinity", "0,5,8-11"),
        ("affinity", " 1 , 2"),
        ("affinity", ","),
        ("affinity", "3-3"),
        ("bootdisk", "scsi0"),
        ("bootdisk", "efidisk0"),
        ("hookscript", "local:snippets/hook.pl"),
        ("hotplug", "disk,network;usb cpu"),
        ("hotplug", "0"),
        ("hotplug", "1"),
        ("hotplug", ","),
        ("name", "a"),
        ("name", "web-1.example.com"),
        ("name", "0"),
        ("nameserver", "1.1.1.1 fd00::1,dns.example.com"),
        ("nameserver", "::ffff:1.2.3.4 1:2:3:4:5:6:7:8 :: 1:2:3:4:5:6:1.2.3.4 ::1 1::"),
        ("parent", "snap-1"),
        ("sshkeys", "ssh-ed25519%20AAAA"),
        ("tags", "prod;web-1,_x a+b.c"),
        ("tags", ";"),
        ("vmstate", "local:100/state.raw"),
        ("vmstatestorage", "local-zfs"),
    ],
)
def test_accepted(option: str, value: str) -> None:
    assert parse(f"{option}: {value}".encode()).main == {option: value.strip()}


@pytest.mark.parametrize(
    "option, value",
    [
        ("affinity", "a"),
        ("affinity", "3-1"),
        ("affinity", "0,,1"),
        ("bootdisk", "net0"),
        ("bootdisk", "unused0"),
        ("hookscript", "/root/hook.pl"),
        ("hookscript", "l:snippets/hook.pl"),
        ("hotplug", "disk,gpu"),
        ("name", "-a"),
        ("name", "a-"),
        ("name", "a..b"),
        ("nameserver", "1.1.1.1 x_y"),
        ("nameserver", "1:2:3:4:5:6:7"),
        ("nameserver", "1::2:3:4:5:6:7:8"),
        ("nameserver", "1::2::3"),
        ("nameserver", ":"),
        ("nameserver", "12345::"),
        ("nameserver", "1.2.3.4::"),
        ("parent", "a"),
        ("parent", "9a"),
        ("sshkeys", "ssh-ed25519 AAAA"),
        ("tags", "a b@c"),
        ("tags", "-a"),
        ("vmstatestorage", "a"),
        ("vmstatestorage", "a-"),
    ],
)
def test_refused(option: str, value: str) -> None:
    assert parse(f"{option}: {value}".encode()).main == {}


def test_two_bytes_that_are_white_space_in_lists_only() -> None:
    """PVE::ParseUtils, which splits lists, has Perl's unicode_strings on; the reader of lines has not."""
    assert parse(b"tags: a\x85b\xa0").main == {"tags": "a\udc85b\udca0"}
    assert parse(b"tags: a\xc2\x85").main == {}
    assert parse(b"name: a\x85").main == {}


@pytest.mark.parametrize("separator", [b"\0", b",", b"; ", b"\t"])
def test_lists(separator: bytes) -> None:
    raw = b"tags: a" + separator + b"b"
    assert parse(raw).main == {"tags": raw[6:].decode()}


def test_nul_parts_a_list_alone() -> None:
    assert parse(b"tags: a\0b c").main == {}
