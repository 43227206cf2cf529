"""Who is in the cluster, who has the package, who starts by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.facts.cluster import ha, members
from pvehooks.host import Host
from tests.beds.tree import make_fake_tree

COROSYNC = """\
logging {
  to_syslog: yes
}
nodelist {
  node {
    name: pve1
    nodeid: 1
    quorum_votes: 1
    ring0_addr: 192.0.2.1
  }
  node {
    ring0_addr: 192.0.2.2
    name: pve-2.x
  }
}
totem {
  cluster_name: lab
  interface {
    linknumber: 0
  }
}
"""
MEMBERS = '{"nodename": "pve1", "version": 4, "cluster": {"quorate": 1}, "nodelist": {"pve1": {"id": 1}, "pve3": {"id": 3}}}\n'


@pytest.mark.parametrize(
    ("files", "nodes", "lacking"),
    [
        ({}, ("pve1",), ()),
        ({"etc/pve/.members": '{"nodename": "pve1", "version": 0}\n'}, ("pve1",), ()),
        ({"etc/pve/.members": MEMBERS}, ("pve1", "pve3"), ("pve3",)),
        ({"etc/pve/corosync.conf": COROSYNC, "etc/pve/.members": MEMBERS}, ("pve-2.x", "pve1"), ("pve-2.x",)),
        (
            {"etc/pve/corosync.conf": COROSYNC, "etc/pve/nodes/pve-2.x/pvehooks.json": '{"version": "1", "new": 2}\n'},
            ("pve-2.x", "pve1"),
            (),
        ),
        ({"etc/pve/corosync.conf": COROSYNC, "etc/pve/nodes/pve-2.x/pvehooks.json": "{"}, ("pve-2.x", "pve1"), ("pve-2.x",)),
        ({"etc/pve/corosync.conf": COROSYNC, "etc/pve/nodes/pve-2.x/pvehooks.json": "[]"}, ("pve-2.x", "pve1"), ("pve-2.x",)),
    ],
)
def test_members(files: dict[str, str], nodes: tuple[str, ...], lacking: tuple[str, ...], tmp_path: Path) -> None:
    """A node that left the cluster has no part in it, whatever is left of its directory."""
    host = Host(str(make_fake_tree(tmp_path, {"etc/pve/nodes/pve1/": None, "etc/pve/nodes/left/": None, **files})))
    assert members.members(host, "pve1") == members.Members(nodes, lacking)


def test_high_availability(tmp_path: Path) -> None:
    text = "vm: 100\n\tgroup a\n\tstate started\n\nct: 101\n\nvm:102\n\nvm: 103 x\n\nvm: 12\n"
    host = Host(str(make_fake_tree(tmp_path, {"etc/pve/ha/resources.cfg": text})))
    assert ha.vmids(host) == {100, 102}
    assert ha.vmids(Host(str(tmp_path / "none"))) == frozenset()
