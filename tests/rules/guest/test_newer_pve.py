"""VMs that use what only a newer Proxmox VE has: it is not examined, and nothing untrue is said of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.facts import hardware
from pvehooks.facts.guests import configs as guests
from pvehooks.formats import schema
from pvehooks.rules import of_node
from pvehooks.values import Unread
from tests.actions.test_pve_schema import GUESTS, NEWER, WORDS, findings, read, tree
from tests.beds.tree import Content


@pytest.mark.parametrize(
    ("config", "option", "words"),
    [
        pytest.param("gadget0: x\n", "gadget0", "the option 'gadget0'", id="option"),
        pytest.param("hostpci0: 0000:01:00.0,lanes=4,pcie=1\n", "hostpci0", "lanes=4 of hostpci0", id="property"),
        pytest.param("hostpci0: 0000:01:00.0,driver=newdriver\n", "hostpci0", "driver=newdriver of hostpci0", id="value"),
        pytest.param("vga: holo,memory=64\n", "vga", "type=holo of vga", id="value of the first property"),
        pytest.param("net3: warp=BC:24:11:2C:69:EC,bridge=vmbr0\n", "net3", "warp=BC:24:11:2C:69:EC of net3", id="model of a card"),
    ],
)
def test_a_config_with_what_is_newer(config: str, option: str, words: str, tmp_path: Path) -> None:
    """It is kept and not examined, where an older PVE loses the line; the rest of the line is read."""
    answer = read(tmp_path, **NEWER)
    if option == "gadget0":
        files: dict[str, Content] = {"usr/share/perl5/PVE/QemuServer.pm": "my $confdesc = {\n    gadget0 => {},\n};\n"}
    else:
        files = {}
    host = tree(tmp_path, answer, {f"{GUESTS}/100.conf": config, **files})
    (found,) = (each for each in findings(host) if each.rule == "config-lines-dropped")
    assert (found.subject, found.examined, words in found.message) == (option, False, True)
    old = tree(tmp_path / "old", None, {f"{GUESTS}/100.conf": config})
    assert [(each.subject, each.examined) for each in findings(old) if each.rule == "config-lines-dropped"] == [(option, True)]


def test_devices_beside_a_newer_property_are_seen_also_at_a_start(tmp_path: Path) -> None:
    """A device that the guard did not see could be taken from the host."""
    config = f"{GUESTS}/100.conf"
    host = tree(tmp_path, read(tmp_path, **NEWER), {config: "hostpci0: 0000:01:00.0,lanes=4,pcie=1\n"})
    for context in (guests.start_context(host, "pve1", 100), guests.gather_context(host, "pve1", None)):
        (entry,) = guests.read(host, "pve1", 100, context).hostpci
        assert (entry.addresses, entry.properties["pcie"], entry.properties["lanes"]) == (("0000:01:00.0",), 1, "4")


@pytest.mark.parametrize(
    "config", ["hostpci0: 0000:01:00.0,pcie=maybe\n", "hostpci0: 0000:01:00.0,tracks=4\n", "vga: matrix\n", "cores: x\n"]
)
def test_what_no_pve_knows_is_lost(config: str, tmp_path: Path) -> None:
    host = tree(tmp_path, read(tmp_path, **NEWER), {f"{GUESTS}/100.conf": config})
    assert [each.examined for each in findings(host) if each.rule == "config-lines-dropped"] == [True]


HA = {
    "etc/pve/ha/resources.cfg": "vm: 100\n\tstate started\n\n",
    "etc/pve/.members": '{"nodelist": {"pve1": {"id": 1}, "pve2": {"id": 2}}}',
    "etc/pve/nodes/pve2/": None,
}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        pytest.param({"etc/pve/ha/rules.cfg": "node-affinity: r\n\tresources vm:100\n\tnodes pve1\n\taffinity avoid\n\n"}, "the rule r has 'affinity avoid'", id="affinity"),
        pytest.param({"etc/pve/ha/rules.cfg": "node-affinity: r\n\tresources vm:100\n\tnodes pve1\n\tweight 3\n\n"}, "the rule r has 'weight 3'", id="key"),
        pytest.param({"etc/pve/ha/rules.cfg": "time-affinity: r\n\tresources vm:100\n\n"}, "the rule r is of the type time-affinity", id="type"),
        pytest.param({"etc/pve/ha/resources.cfg": "vm: 100\n\tpause 1\n\n"}, "the resource vm:100 has 'pause 1'", id="key of a resource"),
        pytest.param({"etc/pve/ha/resources.cfg": "vm: 100\n\tstate frozen\n\n"}, "the resource vm:100 has 'state frozen'", id="state"),
    ],
)  # fmt: skip
def test_high_availability_that_is_newer_is_not_examined(files: dict[str, Content], words: str, tmp_path: Path) -> None:
    """Nothing is said about where it may start the VM: what the rule says may be the opposite."""
    config: dict[str, Content] = {f"{GUESTS}/100.conf": "hostpci0: 0000:01:00.0\nusb0: host=1-1\n"}
    (found,) = (each for each in findings(tree(tmp_path, None, {**config, **HA, **files})) if each.rule.startswith("ha-"))
    assert (found.rule, found.examined, words in found.message) == ("ha-device-elsewhere", False, True)
    without: dict[str, Content] = {f"{GUESTS}/100.conf": "usb0: mapping=key\n"}
    (found,) = (each for each in findings(tree(tmp_path / "mapped", None, {**without, **HA, **files})) if each.rule.startswith("ha-"))
    assert (found.rule, found.examined, words in found.message) == ("ha-local-resource", False, True)
    known = {each.rule for each in findings(tree(tmp_path / "known", None, {**config, **HA})) if each.rule.startswith("ha-")}
    assert known == {"ha-device-elsewhere", "ha-local-resource"}


def test_a_disabled_rule_does_not_matter(tmp_path: Path) -> None:
    rule = "time-affinity: r\n\tresources vm:100\n\tdisable\n\n"
    host = tree(tmp_path, None, {f"{GUESTS}/100.conf": "usb0: host=1-1\n", **HA, "etc/pve/ha/rules.cfg": rule})
    assert [each.examined for each in findings(host) if each.rule == "ha-local-resource"] == [True]


def test_a_cpu_model_that_is_newer(tmp_path: Path) -> None:
    """Whether it has RDRAND, and the VM needs an rng0, is not known."""
    models = {"usr/share/kvm/cpu-models-x86_64.json": '{"FutureLake": "intel"}'}
    network = (
        "bios: ovmf\nefidisk0: local:100/vm-100-disk-0.raw,efitype=4m\nnet0: virtio=BC:24:11:2C:69:EC,bridge=vmbr0\nboot: order=net0\n"
    )
    host = tree(tmp_path, None, {f"{GUESTS}/100.conf": f"cpu: FutureLake\n{network}", **models})
    (found,) = (each for each in findings(host) if each.rule == "rng-missing-netboot")
    assert not found.examined and "the CPU model 'FutureLake' is newer than this version of pvehooks" in found.message


def test_every_model_of_our_tables_has_rdrand_or_not(tmp_path: Path) -> None:
    from pvehooks.derived.rdrand import _gives

    node = hardware.gather(tree(tmp_path, None), "pve1")
    unknown = {model for model in schema.CPU_MODELS - {"host", "max"} if isinstance(_gives(model, (), node), Unread)}
    assert unknown == set()


def test_the_node_names_what_is_newer(tmp_path: Path) -> None:
    node = hardware.gather(tree(tmp_path, None), "pve1")
    for words, end in ((WORDS, "; and 6 more"), (WORDS[:8], WORDS[7]), (WORDS[:1], WORDS[0])):
        node.__dict__["newer_pve"] = words
        (found,) = (each for each in of_node.findings_of_node(node) if each.rule == "pve-newer")
        assert found.message.endswith(end)
    node.__dict__["newer_pve"] = Unread("it is away")
    (found,) = (each for each in of_node.findings_of_node(node) if each.rule == "pve-newer")
    assert not found.examined and found.message.endswith("is unknown: it is away")
    node.__dict__["newer_pve"] = ()
    assert "pve-newer" not in {each.rule for each in of_node.findings_of_node(node)}
