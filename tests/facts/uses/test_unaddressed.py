"""NICs in use without an address: SDN fabrics, packet capture, netconsole; and beside them what looks alike and must not count."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.beds.tree import Content
from tests.facts.uses.test_network import net, nic, sentences

FABRICS = """\
openfabric_fabric: mesh
\tip_prefix 192.0.2.0/24

openfabric_node: mesh_pve1
\tinterfaces name=eno1
\tinterfaces hello_multiplier=3,name=eno2
\tip 192.0.2.1

openfabric_node: mesh_pve2
\tinterfaces name=eno3
"""
PACKET = "sk       RefCnt Type Proto  Iface R Rmem   User   Inode\n0000000012345678 3      3    {}   {}     1 0      0      23456\n"
PROMISCUOUS = "0x1103\n"
CAPTURED = ["is captured from by a process, in promiscuous mode (eno1)"]
CONSOLE = "/sys/kernel/config/netconsole/log"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(
            {"/etc/pve/sdn/fabrics.cfg": FABRICS},
            ["is named as an interface of the SDN fabric mesh in /etc/pve/sdn/fabrics.cfg (eno1)"],
            id="SDN fabric",
        ),
        pytest.param({"/etc/pve/sdn/fabrics.cfg": FABRICS.replace("eno1", "eno4")}, [], id="another card of the fabric"),
        pytest.param({"/etc/pve/sdn/fabrics.cfg": FABRICS.replace("mesh_pve1", "mesh_pve3")}, [], id="another node of the fabric"),
        pytest.param({**nic(flags=PROMISCUOUS, ifindex="7\n"), "/proc/net/packet": PACKET.format("0003", 7)}, CAPTURED, id="captured from"),
        pytest.param({**nic(ifindex="7\n"), "/proc/net/packet": PACKET.format("0003", 7)}, [], id="lldpd: not promiscuous"),
        pytest.param({**nic(flags="0x1102\n", ifindex="7\n"), "/proc/net/packet": PACKET.format("0003", 7)}, [], id="down"),
        pytest.param(
            {**nic(flags=PROMISCUOUS, ifindex="7\n"), "/proc/net/packet": PACKET.format("0003", 8)}, [], id="another card captured"
        ),
        pytest.param({**nic(flags=PROMISCUOUS, ifindex="7\n"), "/proc/net/packet": PACKET.format("0806", 7)}, [], id="ARP alone"),
        pytest.param(
            {f"{CONSOLE}/enabled": "1\n", f"{CONSOLE}/dev_name": "eno1\n"},
            ["sends the kernel's log to another machine, by netconsole (eno1)"],
            id="netconsole",
        ),
        pytest.param({f"{CONSOLE}/enabled": "0\n", f"{CONSOLE}/dev_name": "eno1\n"}, [], id="netconsole switched off"),
    ],
)
def test_uses_without_an_address(tmp_path: Path, files: dict[str, Content], expected: list[str]) -> None:
    assert sentences(tmp_path, {**nic(), **net(), **files}) == expected
