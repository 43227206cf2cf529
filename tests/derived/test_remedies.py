"""Commands that change a hostpciN keep all that it says beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pvehooks.derived import remedies
from pvehooks.facts.guests import configs
from pvehooks.host import Host
from tests.beds.tree import make_fake_tree


@pytest.mark.parametrize(
    ("text", "changes", "written"),
    [
        ("0000:01:00.0,pcie=1,x-vga=1", {"addresses": {"0000:01:00.0": "0000:02:00.0"}}, "0000:02:00.0,pcie=1,x-vga=1"),
        ("host=01:00.0,pcie=1", {"addresses": {"0000:01:00.0": "0000:02:00.0"}}, "host=02:00.0,pcie=1"),
        ("01:00,romfile=a.bin", {"addresses": {"0000:01:00.0": "0000:02:00.0"}}, "02:00,romfile=a.bin"),
        ("0000:01:00.0;0000:01:00.1", {"addresses": {"0000:01:00.1": "0000:03:00.0"}}, "'0000:01:00.0;0000:03:00.0'"),
        ("01:00.0", {"addresses": {"0000:01:00.0": "10000:e1:00.0"}}, "10000:e1:00.0"),
        ("01:00,pcie=1", {"addresses": {"0000:01:00.0": "ADDRESS"}}, "ADDRESS,pcie=1"),
        ("mapping=gpu,mdev=nvidia-63,pcie=1", {"without": ("mdev",)}, "mapping=gpu,pcie=1"),
        ("01:00.0,rombar=0", {"without": ("rombar",)}, "01:00.0"),
    ],
)
def test_command(text: str, changes: dict[str, Any], written: str, tmp_path: Path) -> None:
    host = Host(str(make_fake_tree(tmp_path, {"etc/pve/nodes/pve1/qemu-server/100.conf": f"hostpci0: {text}\n"})))
    guest = configs.read(host, "pve1", 100, configs.surroundings(host, "pve1", None))
    assert remedies.command(guest, guest.hostpci[0], **changes) == f"qm set 100 --hostpci0 {written}"
