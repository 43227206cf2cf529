"""The slots that the firmware names, and kinds of PCIe ports, from bytes as firmware and kernel have them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvehooks.facts.pci import slots
from pvehooks.host import Host
from pvehooks.values import Unread
from pvehooks.values.boot import PciSlot
from tests.beds.tree import Content, make_fake_tree

ENTRIES = "sys/firmware/dmi/entries"
# As dmidecode --dump shows a slot of a workstation: SMBIOS 2.6, with 0000:17:00.0 in it, x16, in use.
SLOT = bytes.fromhex("0911 3900 01 b6 0d 04 03 0100 0c 01 0000 17 00") + b"SLOT1 PCI-E 3.0 X16\0\0"


def found(directory: Path, entries: dict[str, Content]) -> tuple[PciSlot, ...]:
    files: dict[str, Content] = {ENTRIES: None, **{f"{ENTRIES}/{name}/raw": raw for name, raw in entries.items()}}
    read = slots.slots(Host(str(make_fake_tree(directory, files))))
    assert not isinstance(read, Unread)
    return read


def test_a_slot(tmp_path: Path) -> None:
    assert found(tmp_path, {"9-0": SLOT, "17-0": SLOT, "4-0": b""}) == (PciSlot("SLOT1 PCI-E 3.0 X16", "0000:17:00.0", 16, True),)


def test_in_the_order_of_the_table(tmp_path: Path) -> None:
    entries: dict[str, Content] = {f"9-{number}": SLOT.replace(b"SLOT1", b"S%d" % number) for number in (10, 2, 0)}
    assert [slot.name.split()[0] for slot in found(tmp_path, entries)] == ["S0", "S2", "S10"]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(SLOT[:7] + b"\x03" + SLOT[8:], PciSlot("SLOT1 PCI-E 3.0 X16", "0000:17:00.0", 16, False), id="empty"),
        pytest.param(SLOT[:7] + b"\x02" + SLOT[8:], PciSlot("SLOT1 PCI-E 3.0 X16", "0000:17:00.0", 16, None), id="usage unknown"),
        pytest.param(SLOT[:15] + b"\xff\xff" + SLOT[17:], PciSlot("SLOT1 PCI-E 3.0 X16", "", 16, True), id="no address"),
        pytest.param(SLOT[:13] + b"\x01\x00\xe0\x0b" + SLOT[17:], PciSlot("SLOT1 PCI-E 3.0 X16", "0001:e0:01.3", 16, True), id="segment"),
        pytest.param(b"\x09\x0c" + SLOT[2:12] + b"J1\0\0", PciSlot("J1", "", 16, True), id="before SMBIOS 2.6"),
        pytest.param(SLOT[:4] + b"\0" + SLOT[5:], None, id="no name"),
        pytest.param(SLOT[:4] + b"\x09" + SLOT[5:], None, id="a string that is not there"),
        pytest.param(SLOT[:17] + b"   \0\0", None, id="blanks"),
        pytest.param(SLOT[:10], None, id="cut off"),
        pytest.param(b"", None, id="nothing"),
        pytest.param(b"\x09\x05\0\0\x01J1\0\0", None, id="too short"),
    ],
)
def test_what_an_entry_holds(raw: bytes, expected: PciSlot | None, tmp_path: Path) -> None:
    assert found(tmp_path, {"9-0": raw}) == (() if expected is None else (expected,))


def test_a_name_is_one_line_and_not_long(tmp_path: Path) -> None:
    (slot,) = found(tmp_path, {"9-0": SLOT[:17] + b"a\x1b[2J\n b\xff" + b"x" * 99 + b"\0\0"})
    assert slot.name.startswith("a\x1b[2J b\ufffdxxx") and len(slot.name) <= 64


@given(st.binary(max_size=80))
def test_no_bytes_are_an_error(raw: bytes) -> None:
    list(slots._slot(raw))
    list(slots._slot(b"\x09" + raw))
    slots.port(raw * 4)


def test_as_many_as_a_board_has(tmp_path: Path) -> None:
    assert len(found(tmp_path, {f"9-{number}": SLOT for number in range(300)})) == 256


def test_a_machine_without_the_table(tmp_path: Path) -> None:
    assert slots.slots(Host(str(tmp_path))) == ()


def test_what_cannot_be_read(tmp_path: Path) -> None:
    make_fake_tree(tmp_path, {f"{ENTRIES}/9-0/raw": None})
    read = slots.slots(Host(str(tmp_path)))
    assert isinstance(read, Unread) and read.why == "/sys/firmware/dmi/entries/9-0/raw: Is a directory"


def config(*capabilities: bytes, status: int = 0x10, first: int = 0x40) -> bytes:
    header = bytearray(64)
    header[0x06], header[0x34] = status, first
    return bytes(header) + b"".join(each.ljust(16, b"\0") for each in capabilities)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (config(b"\x10\0\x42\0"), "root port"),
        (config(b"\x01\x50\0\0", b"\x10\0\x52\0"), "upper port of a switch"),
        (config(b"\x10\0\x62\0"), "lower port of a switch"),
        (config(b"\x10\0\x72\0"), "bridge to PCI"),
        (config(b"\x10\0\x02\0"), ""),
        (config(b"\x10\0\x42\0", status=0), ""),
        (config(b"\x01\x40\0\0"), ""),
        (config(b"\x01\xf0\0\0"), ""),
        (config(), ""),
        (bytes(64), ""),
        (b"\xff" * 64, ""),
        (b"", ""),
    ],
)
def test_the_kind_of_a_port(raw: bytes, kind: str) -> None:
    assert slots.port(raw) == kind
