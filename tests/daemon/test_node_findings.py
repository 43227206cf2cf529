"""What is wrong with the node itself is in the journal: once when it appears, once when it is gone, not at every look."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.bed import NodeBed, wait_until

INTERFACES = Path("/etc/network/interfaces")
RULE = "PVEHOOKS_RULE=interface-missing"


@pytest.fixture
def interfaces() -> Iterator[Path]:
    """The network's configuration, of the tests' own namespace."""
    before = INTERFACES.read_bytes() if INTERFACES.exists() else None
    INTERFACES.parent.mkdir(exist_ok=True)
    INTERFACES.write_text("auto vmbr0\niface vmbr0 inet manual\n\tbridge-ports enp99s0\n")
    yield INTERFACES
    INTERFACES.unlink() if before is None else INTERFACES.write_bytes(before)


def test_reported_once(interfaces: Path, tmp_path: Path) -> None:
    with NodeBed(tmp_path) as bed:
        bed.start()
        (entry,) = bed.journal.wait_for(RULE)
        assert entry["MESSAGE"].startswith("node pve1: /etc/network/interfaces names enp99s0 as a port of vmbr0, but there is no enp99s0")
        assert (entry["PVEHOOKS_EVENT"], entry["PVEHOOKS_NODE"], entry["PVEHOOKS_DEVICE"]) == ("finding", "pve1", "enp99s0")
        assert entry["PRIORITY"] == "4" and "PVEHOOKS_VMID" not in entry
        bed.conf.write_text("[watch]\ninterval = 30\n")
        bed.signal(signal.SIGHUP)
        bed.logged("settings-read")
        bed.stop()
        bed.start()
        bed.logged("started", count=2)
        assert len(bed.messages(RULE)) == 1
        interfaces.write_text("auto lo\niface lo inet loopback\n")
        bed.conf.write_text("[watch]\ninterval = 40\n")
        bed.signal(signal.SIGHUP)
        gone = wait_until(lambda: [text for text in bed.messages("PVEHOOKS_EVENT=node-mended") if "interface-missing" in text], "mended")
        assert gone == ["node pve1: no longer: interface-missing (enp99s0)"]
        bed.stop()
