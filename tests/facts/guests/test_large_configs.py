"""Running guests whose configs a tenant has filled: as cheap as others, and nothing of them is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.facts.guests import running
from pvehooks.facts.guests.running import RunningGuests
from pvehooks.formats import guestconfig
from pvehooks.host import Host
from tests.beds.tree import make_fake_tree

LINES = "hostpci0: 0000:01:00.0\nmachine: q35\nname: web\nusb0: host=1050:0407\n"
FILLED = {
    "a description": "#" + "hostpci1: x %0A" * 60_000 + "\n",
    "descriptions": "#hostpci1: x\n" * 60_000,
    "options that no one knows": "x: hostpci\n" * 60_000,
    "one option again and again": "hostpci0: 0000:02:00.0\n" * 30_000,
}


def guest(directory: Path, config: str) -> running.RunningGuest:
    host = Host(
        str(
            make_fake_tree(
                directory,
                {
                    "etc/pve/nodes/pve1/qemu-server/100.conf": config,
                    "run/qemu-server/100.pid": "4711\n",
                    "proc/4711/cmdline": "/usr/bin/kvm\0-id\x00100\0",
                },
            )
        )
    )
    guests = RunningGuests(host, "pve1").all()
    assert isinstance(guests, tuple)
    return guests[0]


@pytest.mark.parametrize("filled", FILLED.values(), ids=FILLED)
def test_what_is_read_of_a_filled_config_is_little(filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    parse = guestconfig.parse
    monkeypatch.setattr(guestconfig, "parse", lambda raw: (parsed.append(len(raw)), parse(raw))[1])
    one = guest(tmp_path, f"{filled}{LINES}[snap]\nhostpci3: 0000:09:00.0\n{filled}")
    assert one.mentions(b"hostpci") and not one.mentions(b"hostpci3")
    assert {name: str(value) for name, value in one.options().items()} == dict(line.split(": ") for line in LINES.splitlines())
    assert one.label == "VM 100 (web)"
    assert sum(parsed) < 1000


@pytest.mark.parametrize("line", ["[x y]", "[", "[]", "[1]", "[snap] x"])
def test_what_is_no_section_hides_nothing(line: str, tmp_path: Path) -> None:
    assert guest(tmp_path, f"{line}\n{LINES}").options()["hostpci0"] == "0000:01:00.0"
