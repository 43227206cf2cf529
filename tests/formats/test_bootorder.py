"""The effective boot order: order=, the letters of old, no line at all, an empty one."""

import pytest

from pvehooks.formats.bootorder import devices
from pvehooks.formats.guestconfig import parse
from pvehooks.values.guests import BootOrder

GUEST = """\
ide0: local:iso/a.iso,media=cdrom
ide2: none,media=cdrom
scsi0: local:100/a.raw
scsi1: local:100/b.raw
virtio0: local:100/c.raw
sata0: local:100/vm-100-cloudinit.qcow2,media=cdrom
net1: virtio
net0: virtio
net10: virtio
hostpci0: 01:00
usb0: spice
usb1: 1234:abcd
efidisk0: local:100/efi.raw
"""


def order(*lines: str) -> BootOrder:
    return devices(parse((GUEST + "\n".join(lines)).encode()).main)


@pytest.mark.parametrize(
    "line, expected, missing",
    [
        ("order=scsi0;net0;ide2", "scsi0 net0 ide2", ""),
        ("order=hostpci0;usb1;sata0", "hostpci0 usb1 sata0", ""),
        ("order=net0", "net0", ""),
        ("order=scsi5;net0;hostpci1;net2", "net0", "scsi5 hostpci1 net2"),
        ("order=usb0;net0", "net0", "usb0"),
        ("order=net0;scsi0;net0", "scsi0 net0", ""),
        ("order=scsi0 net0", "scsi0 net0", ""),
        ("order=;", "", ""),
        ("order=;;net0;", "net0", ""),
    ],
)
def test_order(line: str, expected: str, missing: str) -> None:
    assert order(f"boot: {line}") == BootOrder(tuple(expected.split()), tuple(missing.split()), "order")


@pytest.mark.parametrize(
    "letters, bootdisk, expected",
    [
        ("cdn", "scsi1", "scsi1 ide0 ide2 net0 net1 net10"),
        ("ncd", "virtio0", "net0 net1 net10 virtio0 ide0 ide2"),
        ("n", "scsi0", "net0 net1 net10"),
        ("c", "scsi0", "scsi0"),
        ("d", "scsi0", "ide0 ide2"),
        ("acd", "scsi0", "scsi0 ide0 ide2"),
        ("ncn", "scsi0", "scsi0 net0 net1 net10"),
        ("c", "", ""),
        ("cd", "ide0", "ide0 ide2"),
        ("c", "ide0", ""),
        ("c", "sata0", "sata0"),
        ("c", "efidisk0", ""),
    ],
)
@pytest.mark.parametrize("prefix", ["", "legacy="])
def test_letters(letters: str, bootdisk: str, expected: str, prefix: str) -> None:
    lines = [f"boot: {prefix}{letters}", *([f"bootdisk: {bootdisk}"] if bootdisk else [])]
    assert order(*lines) == BootOrder(tuple(expected.split()), (), "legacy")


def test_letters_win_over_order() -> None:
    assert order("boot: n,order=scsi0").devices == ("net0", "net1", "net10")


def test_a_boot_disk_that_is_not_there() -> None:
    assert order("boot: c", "bootdisk: scsi9") == BootOrder((), ("scsi9",), "legacy")
    assert order("boot: n", "bootdisk: scsi9").missing == ()


def test_no_line_is_disk_cdrom_network() -> None:
    assert order("bootdisk: scsi0") == BootOrder(("scsi0", "ide0", "ide2", "net0", "net1", "net10"), (), "default")
    assert order() == BootOrder(("ide0", "ide2", "net0", "net1", "net10"), (), "default")
    assert devices({}) == BootOrder((), (), "default")


def test_an_empty_line_is_nothing() -> None:
    assert order("boot: ") == BootOrder((), (), "none")
    assert order("boot: ,") == BootOrder((), (), "none")


def test_a_line_that_pve_refuses_is_no_line() -> None:
    assert order("boot: order=", "bootdisk: scsi0").source == "default"
    assert devices({"boot": "order=efidisk0"}).source == "default"


@pytest.mark.parametrize(
    "disk",
    [
        "local:100/d.raw,mbps=1,mbps_rd=2",
        "local:100/d.raw,iops=1,iops_wr=2",
        "local:100/d.raw,bps=5,mbps=3",
        "local:100/d.raw,iops_max_length=3",
        "local:100/d.raw,bps_max_length=3",
        "local:100/d.raw,media=cdrom,snapshot=1",
        "local:100/d.raw,media=cdrom,format=raw",
    ],
)
def test_disks_that_pve_reads_but_leaves_out(disk: str) -> None:
    assert order(f"scsi3: {disk}", "boot: order=scsi3;net0") == BootOrder(("net0",), ("scsi3",), "order")


@pytest.mark.parametrize(
    "disk",
    [
        "local:100/d.raw,mbps=0,mbps_rd=2",
        "local:100/d.raw,bps=5,mbps_max=7",
        "local:100/d.raw,iops_max=3",
        "local:100/d.raw,iops_max=0",
        "local:100/d.raw,media=disk,format=raw",
    ],
)
def test_disks_with_limits(disk: str) -> None:
    assert order(f"scsi3: {disk}", "boot: order=scsi3").devices == ("scsi3",)


def test_a_cdrom_on_virtio_does_not_exist() -> None:
    assert devices(parse(b"virtio1: none,media=cdrom\nboot: d").main) == BootOrder((), (), "legacy")
