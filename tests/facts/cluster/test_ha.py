"""High availability's files as PVE 8 and 9 write them, and as people damage them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvehooks.facts.cluster import ha
from pvehooks.formats import sectionconfig
from pvehooks.host import Host
from pvehooks.values import Unread
from pvehooks.values.ha import Ha, HaGuest
from tests.beds.tree import Content, Link, make_fake_tree

ALL = frozenset({"pve1", "pve2", "pve3"})
COROSYNC = "nodelist {\n" + "".join(f"  node {{\n    name: {name}\n  }}\n" for name in sorted(ALL)) + "}\n"
CONFLICT = (("a", "vm:100,vm:101"), ("b", "vm:101"))
RESOURCES = "etc/pve/ha/resources.cfg"
RULES = "etc/pve/ha/rules.cfg"
GROUPS = "etc/pve/ha/groups.cfg"


def read(directory: Path, **files: Content) -> Ha:
    paths = {"resources": RESOURCES, "rules": RULES, "groups": GROUPS, "datacenter": "etc/pve/datacenter.cfg"}
    tree = {paths[name]: content for name, content in files.items()}
    found = ha.read(Host(str(make_fake_tree(directory, {"etc/pve/corosync.conf": COROSYNC, **tree}))), "pve1")
    assert isinstance(found, Ha)
    return found


def test_a_node_without_it(tmp_path: Path) -> None:
    assert ha.read(Host(str(tmp_path)), "pve1") == Ha({}, True, "conditional", frozenset({"pve1"}))


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        pytest.param("vm: 100\n", HaGuest("started", ALL), id="nothing said"),
        pytest.param("VM: 100\n\tstate enabled\n", HaGuest("started", ALL), id="an old word"),
        pytest.param("vm: 100\n\tstate stopped\n\tmax_restart 2\n", HaGuest("stopped", ALL), id="stopped"),
        pytest.param("# mine\n\nct: 101\n\nvm: 100\n\tstate ignored\n\tcomment was: vm: 102\n", HaGuest("ignored", ALL), id="among others"),
        pytest.param("vm: 100\n\tgroup gone\n", HaGuest("started", ALL), id="a group that is not there"),
    ],
)
def test_resources(resource: str, expected: HaGuest, tmp_path: Path) -> None:
    assert read(tmp_path, resources=resource).guests == {100: expected}


@pytest.mark.parametrize(("state", "moved"), [("started", True), ("stopped", True), ("disabled", False), ("ignored", False)])
def test_moved(state: str, moved: bool) -> None:
    assert HaGuest(state, ALL).moved is moved


@pytest.mark.parametrize(
    ("rules", "nodes", "first", "rule"),
    [
        ("node-affinity: a\n\tresources vm:100\n\tnodes pve1,pve2\n\tstrict 1\n", {"pve1", "pve2"}, {"pve1", "pve2"}, "rule a"),
        ("node-affinity: a\n\tnodes pve1:2;pve2:1 pve3\n\tresources ct:9,vm:100\n", ALL, {"pve1"}, "rule a"),
        ("node-affinity: a\n\tresources vm:100\n\tnodes pve1\n\tstrict yes\n\tdisable\n", ALL, set(), ""),
        ("node-affinity: a\n\tresources vm:101\n\tnodes pve1\n\tstrict 1\n", ALL, set(), ""),
        ("resource-affinity: a\n\tresources vm:100,vm:101\n\taffinity negative\n", ALL, set(), ""),
        # PVE drops all rules that name a resource of another one, and with them what else they name.
        (
            "\n".join(f"node-affinity: {name}\n\tresources {which}\n\tnodes pve1\n\tstrict 1\n" for name, which in CONFLICT),
            ALL,
            set(),
            "",
        ),
    ],
    ids=["strict", "priorities", "disabled", "another guest", "another kind", "conflict"],
)
def test_rules(rules: str, nodes: set[str], first: set[str], rule: str, tmp_path: Path) -> None:
    found = read(tmp_path, resources="vm: 100\n\nvm: 101\n", rules=rules)
    guest = found.guests[100]
    assert (guest.state, guest.nodes, guest.first, guest.rule, guest.negative) == ("started", nodes, first, rule, False)
    assert found.has_rules


@pytest.mark.parametrize(("restricted", "nodes"), [("", ALL), ("\trestricted 1\n", {"pve2", "pve3"}), ("\trestricted 0\n", ALL)])
def test_groups(restricted: str, nodes: set[str], tmp_path: Path) -> None:
    groups = f"group: gpus\n\tcomment with cards\n\tnodes pve3,pve2:5\n\tnofailback 1\n{restricted}"
    found = read(tmp_path, resources="vm: 100\n\tgroup gpus\n", groups=groups)
    prioritized = (("pve3", 0), ("pve2", 5))
    assert found.guests == {100: HaGuest("started", frozenset(nodes), frozenset({"pve2"}), "group gpus", priorities=prioritized)}
    assert not found.has_rules


@pytest.mark.parametrize(
    ("line", "policy"),
    [("", "conditional"), ("ha: shutdown_policy=migrate\n", "migrate"), ("crs: ha=static\nha: x=1,shutdown_policy=freeze\n", "freeze")],
)
def test_shutdown_policy(line: str, policy: str, tmp_path: Path) -> None:
    assert read(tmp_path, resources="vm: 100\n", datacenter=f"keyboard: de\n{line}").shutdown_policy == policy


@pytest.mark.parametrize("name", ["resources", "rules", "groups"])
def test_what_cannot_be_read_is_no_guess(name: str, tmp_path: Path) -> None:
    path = {"resources": RESOURCES, "rules": RULES, "groups": GROUPS}[name]
    found = ha.read(
        Host(str(make_fake_tree(tmp_path, {RESOURCES: None} if name == "resources" else {path: Link(path.rpartition("/")[2])}))), "pve1"
    )
    assert isinstance(found, Unread)
    assert path.rpartition("/")[2] in found.why


def test_without_corosync_the_directories_are_the_nodes(tmp_path: Path) -> None:
    tree = make_fake_tree(tmp_path, {"etc/pve/nodes/pve1": None, "etc/pve/nodes/pve4": None, RESOURCES: "vm: 100\n"})
    found = ha.read(Host(str(tree)), "pve1")
    assert isinstance(found, Ha)
    assert found.guests[100].nodes == {"pve1", "pve4"}


@given(st.binary(max_size=300) | st.text("vm:100\n\t ,;#nodesgrup", max_size=300).map(str.encode))
def test_any_bytes(raw: bytes) -> None:
    for section in sectionconfig.parse_ha(raw).sections:
        assert section.type == section.type.lower()


@pytest.mark.parametrize(("strict", "nodes"), [("1", {"pve1", "pve2"}), ("0", ALL)])
def test_a_negative_rule_lists_the_nodes_to_keep_away_from(strict: str, nodes: set[str], tmp_path: Path) -> None:
    rules = f"node-affinity: a\n\tresources vm:100,vm:101\n\tnodes pve3\n\taffinity negative\n\tstrict {strict}\n"
    guest = read(tmp_path, resources="vm: 100\n\nvm: 101\n", rules=rules).guests[100]
    assert (guest.nodes, guest.first, guest.rule) == (nodes, {"pve1", "pve2"}, "rule a")
    assert (guest.negative, guest.shared) == (True, ("vm:101",))


@pytest.mark.parametrize(
    ("datacenter", "rebalances"),
    [
        ("crs: ha=dynamic,ha-auto-rebalance=1\n", True),
        ("crs: ha-auto-rebalance=yes\nkeyboard: de\n", True),
        ("crs: ha=static,ha-auto-rebalance=0\n", False),
        ("crs: ha=static\n", False),
        ("# crs: ha-auto-rebalance=1\n", False),
    ],
)
def test_automatic_rebalancing(datacenter: str, rebalances: bool, tmp_path: Path) -> None:
    resources = "vm: 100\n\nvm: 101\n\tauto-rebalance 0\n"
    found = read(tmp_path, resources=resources, datacenter=datacenter)
    assert found.rebalances is rebalances
    assert [found.guests[vmid].rebalanced for vmid in (100, 101)] == [True, False]
