"""Every rule against its examples: examples/RULE.failing*.txtar must show the rule's finding, examples/RULE.passing*.txtar must not.

The findings of each failing example are golden: tests/golden/rules/.
"""

from __future__ import annotations

import ast
import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pvehooks import firstlook, judge
from pvehooks.facts import hardware
from pvehooks.facts.cluster import summaries
from pvehooks.facts.guests import configs as guests
from pvehooks.host import Host
from pvehooks.report import words
from pvehooks.rules import catalogue
from pvehooks.rules.rule import Rule
from pvehooks.text import guestconfig
from pvehooks.values import Finding, Node
from pvehooks.values.base import fact_names
from pvehooks.values.summaries import Target
from tests.beds import boot, pci, usb
from tests.beds.tree import make_fake_tree, parse_txtar
from tests.rules import said

EXAMPLES = Path(__file__).parent / "examples"
CONFIG = "etc/pve/nodes/pve1/qemu-server/100.conf"
NOW = 1_800_000_000


def examples(kind: str) -> list[Path]:
    return sorted(EXAMPLES.glob(f"*.{kind}*.txtar"))


def rule_of(example: Path) -> str:
    return example.name.split(".")[0]


def tree_of(example: Path, directory: Path) -> Host:
    """The example as a tree; what a text file cannot hold is put in here."""
    files = parse_txtar(example.read_bytes().decode().replace("@NUL@", "\0"))
    files = {**pci.plant(str(files.pop("pci", ""))), **files} if "pci" in files else files
    files = {**boot.plant(str(files.pop("boot", ""))), **files} if "boot" in files else files
    files = {**usb.plant(str(files.pop("usb", ""))), **files} if "usb" in files else files
    sizes = dict(line.split() for line in str(files.pop("sizes", "")).splitlines())
    files = {**files, **dict.fromkeys(sizes, "")}
    older = str(files.pop("older", "")).split()
    config = files.get(CONFIG)
    if example.name == "config-too-large.failing.txtar":
        files[CONFIG] = "description: " + "x" * (1 << 20)
    elif example.name == "config-cut-short.failing.txtar" and isinstance(config, str):
        files[CONFIG] = config.rstrip("\n")
    elif isinstance(config, str) and "@LATIN1@" in config:
        files[CONFIG] = config.encode().replace(b"@LATIN1@", b"\xe9")
    first_look = files.get("etc/pve/pvehooks/first-look.json")
    if isinstance(first_look, str) and isinstance(config, str):
        parsed = guestconfig.parse(config.encode())
        files["etc/pve/pvehooks/first-look.json"] = first_look.replace("FINGERPRINT", firstlook.fingerprint(parsed))
    host = Host(str(make_fake_tree(directory, files)))
    for name in (name for name, content in files.items() if isinstance(content, str) and content.startswith("#!")):
        Path(host.root, name).chmod(0o755)
    for name, size in sizes.items():
        os.truncate(Path(host.root, name), int(size))
    for name in older:
        os.utime(Path(host.root, name), (1_700_000_000, 1_700_000_000))
    return host


def findings_in(host: Host) -> tuple[Finding, ...]:
    around = guests.surroundings(host, "pve1", firstlook.read(host, "pve1"))
    node = hardware.gather(host, "pve1")
    return (*catalogue.look(guests.read(host, "pve1", 100, around), node), *catalogue.look_at_node(node), *at_target(host))


def at_target(host: Host) -> tuple[Finding, ...]:
    """What is found of the guest's start on another node, where the example names one ("-- target --")."""
    if not host.exists("/target"):
        return ()
    (standing,) = (each for each in summaries.standings(host, "pve1") if each.node == host.read_text("/target"))
    around = guests.surroundings(host, standing.node, None)
    guest = guests.understand(host, standing.node, 100, guests.fetch(host, "pve1", 100), around)
    return catalogue.look_at_target(guest, Target(summaries.node(host, standing), standing, "pve1", NOW, "0.1.0"))


@pytest.mark.parametrize("example", examples("failing"), ids=lambda path: path.name[:-6])
def test_failing_example(example: Path, tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    found = [finding for finding in findings_in(tree_of(example, tmp_path)) if finding.rule == rule_of(example)]
    lines = [f"{finding.severity.value}: {finding.subject}: {words.printable(words.sentence(finding))}\n" for finding in found]
    assert lines
    assert all(finding.examined for finding in found)
    for finding in found:
        said.assert_whole(finding)
        said.assert_typable(finding.remedy)
    golden(f"rules/{example.stem}.txt", "".join(lines))


@pytest.mark.parametrize("example", examples("passing"), ids=lambda path: path.name[:-6])
def test_passing_example(example: Path, tmp_path: Path) -> None:
    assert not [finding for finding in findings_in(tree_of(example, tmp_path)) if finding.rule == rule_of(example)]


@pytest.mark.parametrize("rule", catalogue.RULES.values(), ids=lambda rule: rule.id)
def test_rule_is_complete(rule: Rule) -> None:
    """A rule has an explanation, a remedy, and at least one example of each kind."""
    assert rule.explanation.splitlines()[0].endswith(".")
    assert rule.remedy
    for kind in ("failing", "passing"):
        assert any(rule_of(path) == rule.id for path in examples(kind)), f"no {kind} example"


def test_no_example_without_rule() -> None:
    assert {rule_of(path) for path in EXAMPLES.iterdir()} == set(catalogue.RULES)


@pytest.mark.parametrize("rule", catalogue.RULES.values(), ids=lambda rule: rule.id)
def test_rule_declares_what_it_needs(rule: Rule) -> None:
    """`needs` names just the node's facts that the rule and the functions it calls read."""
    assert frozenset(_node_facts(rule.look)) == rule.needs


def _node_facts(look: Callable[..., object]) -> Iterator[str]:
    names = set(fact_names(Node))
    module = inspect.getmodule(look)
    for part in ast.walk(ast.parse(inspect.getsource(look).lstrip())):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == "node" and part.attr in names:
            yield part.attr
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Name):
            called = inspect.unwrap(getattr(module, part.func.id, len))
            if inspect.isfunction(called) and "node" in inspect.signature(called).parameters:
                yield from _node_facts(called)


@pytest.mark.parametrize(
    "tree",
    [
        pytest.param("hostpci0: 0000:01:00.0\nboot: order=hostpci0\n", id="device absent"),
        pytest.param("hostpci0: mapping=disk\nboot: order=hostpci0\n", id="no mapping on this node"),
    ],
)
def test_nvme_not_examined(tree: str, tmp_path: Path) -> None:
    """A class that cannot be read is no reason to say anything about the device."""
    host = Host(str(make_fake_tree(tmp_path, {CONFIG: f"bios: ovmf\n{tree}", "sys/bus/pci/devices/": None})))
    found = [finding for finding in findings_in(host) if finding.rule == "rng-missing-nvme"]
    assert [finding.examined for finding in found] == [False]
    assert "not examined" in found[0].message


@pytest.mark.parametrize(
    ("cpu", "flags", "rdrand"),
    [
        ("", "", False),
        ("cpu: kvm64\n", "rdrand", False),
        ("cpu: x86-64-v4\n", "rdrand", False),
        ("cpu: host\n", "rdrand", True),
        ("cpu: host\n", "aes", False),
        ("cpu: max\n", "rdrand", True),
        ("cpu: SandyBridge\n", "rdrand", False),
        ("cpu: IvyBridge\n", "", True),
        ("cpu: EPYC-Milan-v2\n", "", True),
        ("cpu: Opteron_G5\n", "", False),
        ("cpu: custom-mine\n", "", True),
        ("cpu: custom-mine,flags=+aes\n", "", True),
        ("cpu: custom-plain\n", "rdrand", False),
    ],
)
def test_rdrand(cpu: str, flags: str, rdrand: bool, tmp_path: Path) -> None:
    """With RDRAND a network-booting guest is information only, and not given an rng0 by itself."""
    models = "cpu-model: mine\n\tflags +rdrand\n\treported-model kvm64\n\ncpu-model: plain\n\treported-model qemu64\n"
    files = {
        CONFIG: f"bios: ovmf\nnet0: virtio=BC:24:11:2C:69:EC,bridge=vmbr0\n{cpu}",
        "proc/cpuinfo": f"processor\t: 0\nflags\t\t: fpu {flags}\n",
        "etc/pve/virtual-guest/cpu-models.conf": models,
    }
    host = Host(str(make_fake_tree(tmp_path, files)))
    around = guests.surroundings(host, "pve1", None)
    guest = guests.read(host, "pve1", 100, around)
    found = [finding for finding in findings_in(host) if finding.rule == "rng-missing-netboot"]
    assert [finding.severity.value for finding in found] == ["info" if rdrand else "warning"]
    assert judge.judge(guest, found, judge.load_settings(host)).injection.due is not rdrand
