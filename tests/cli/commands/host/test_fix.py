"""`pvehooks host fix` and `host undo` on whole trees: golden output, and each mistake that can be fixed is fixed, and the fix is undone."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pvehooks.actions.host import fixes
from pvehooks.actions.host.fixes import FIXES, ONLY_IF_NAMED
from pvehooks.cli import main
from pvehooks.rules import catalogue
from tests.actions.host.bed import restart, snapshot
from tests.beds import printed
from tests.rules import example_tree
from tests.rules import test_examples as examples
from tests.rules.node.test_host_check import ALL_WELL, TREES, tree_of

Golden = Callable[[str, str], None]
MISTAKES = [path for path in TREES if path.stem not in ALL_WELL]
FAILING = [path for rule in FIXES for path in sorted(examples.EXAMPLES.glob(f"{rule}.failing*.txtar"))]
# What only the kernel can tell: then its arguments must be as they should.
KERNEL_SHOWS: dict[str, Callable[[str], bool]] = {
    "advice-void.failing-unsafe-argument": lambda line: "unsafe_interrupts" not in line,
    "iommu-inactive.failing-argument": lambda line: "iommu=off" not in line,
    "iommu-inactive.failing-old-kernel": lambda line: line.split().count("intel_iommu=on") == 1,
    "iommu-translates-host.failing": lambda line: line.split().count("iommu=pt") == 1,
}

_COMMAND = "it takes effect only with a command that is not part of a fix"
# Why these are not fixed automatically.
BY_HAND = {
    **dict.fromkeys((f"settings-file-unread.failing-{kind}" for kind in ("sysctl", "sysfs", "sysfs-package", "grub")), _COMMAND),
    "settings-file-unread.failing-taken": "/etc/modprobe.d/vfio.conf is there already",
    "settings-line-ignored.failing-address": "only its author knows what the line is meant to do",
    "settings-line-ignored.failing-host-device": "corrected, it would take 0000:02:00.0",
    "argument-ignored.failing-grub-syntax": "an argument is in quotes",
    "argument-ignored.failing-host-device": "would take 0000:02:00.0",
}


def by_hand(example: Path) -> str:
    """Why no change of a file fixes it, '' for a finding that must be fixed."""
    if example.stem == "acs-override-void.failing":
        return "this kernel has no pcie_acs_override"
    if example.stem == "interface-missing.failing-bond":
        return "it is unknown which card has to get the name"
    if example.stem in BY_HAND:
        return BY_HAND[example.stem]
    hardware = example.stem.startswith("iommu-inactive.") and example.stem not in KERNEL_SHOWS
    return "the kernel command line is not the cause" if hardware else ""


@pytest.fixture
def pvehooks(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def run(root: Path, *arguments: str) -> tuple[int, str]:
        status = main.main(["host", *arguments, "--root", str(root)])
        reported = capsys.readouterr()
        if printed.is_json(arguments):
            printed.validate(["host", *arguments], reported.out)
        return status, re.sub(r"\d{8}T\d{6}Z[-1]*", "TIME", printed.timeless(reported.out + reported.err))

    return run


Run = Callable[..., tuple[int, str]]


@pytest.mark.parametrize("archive", MISTAKES, ids=lambda path: path.stem)
def test_golden(archive: Path, tmp_path: Path, golden: Golden, pvehooks: Run) -> None:
    """The plan, the fix, the fix again, and the undo: every byte and mode is as before."""
    root = tree_of(archive, tmp_path / "tree")
    for name in ("etc/default/grub", "etc/kernel/cmdline", "etc/modprobe.d/vfio.conf"):
        if (root / name).exists():
            (root / name).chmod(0o664)
            os.chown(root / name, 4711, 4712)
    before = snapshot(root)
    reported = ""
    for words in (["fix", "--plan"], ["fix", "--apply"], ["fix", "--apply"], ["undo"], ["undo"]):
        between = snapshot(root)
        status, text = pvehooks(root, *words)
        reported += f"$ pvehooks host {' '.join(words)}\n{text}[{status}]\n\n"
        assert "Traceback" not in text
        if words == ["fix", "--plan"] or (words == ["undo"] and "no fix to undo" in text):
            assert snapshot(root) == between
    golden(f"host/fix-{archive.stem}.txt", reported)
    assert snapshot(root) == before


@pytest.mark.parametrize("archive", MISTAKES, ids=lambda path: path.stem)
def test_twice_changes_nothing_more(archive: Path, tmp_path: Path, pvehooks: Run) -> None:
    root = tree_of(archive, tmp_path / "tree")
    pvehooks(root, "fix", "--apply")
    once = snapshot(root)
    kept = sorted(path.name for path in (root / "var/lib/pvehooks/host").glob("*"))
    pvehooks(root, "fix", "--apply")
    assert snapshot(root) == once
    assert sorted(path.name for path in (root / "var/lib/pvehooks/host").glob("*")) == kept


def found(root: Path, run: Run) -> set[str]:
    return {check["rule"] for check in json.loads(run(root, "check", "--json")[1])["checks"] if check["rule"] and check["examined"]}


@pytest.mark.parametrize(
    "archive", [path for path in MISTAKES if path.stem not in ("grub-broken", "grub-computed")], ids=lambda path: path.stem
)
def test_check_is_clean_after_the_restart(archive: Path, tmp_path: Path, pvehooks: Run) -> None:
    """Of all that can be fixed; the restart is one that was made without our readers."""
    root = tree_of(archive, tmp_path / "tree")
    pvehooks(root, "fix", "--apply")
    line = restart(root)
    left = found(root, pvehooks) & (set(FIXES) - ONLY_IF_NAMED)
    if archive.stem == "grub-wrong-file":
        assert left == {"iommu-inactive"} and "intel_iommu=on iommu=pt" in line
    else:
        assert left == set()


@pytest.mark.parametrize("example", FAILING, ids=lambda path: path.stem)
def test_every_fix(example: Path, tmp_path: Path, pvehooks: Run) -> None:
    """The rule's failing example: fixed by name, gone after a restart, and back byte for byte."""
    root = Path(example_tree.tree_of(example, tmp_path / "tree").root)
    rule = examples.rule_of(example)
    if rule == "cmdline-wrong-file" and example.stem.endswith("harmless"):
        assert "optional: pvehooks host fix cmdline-wrong-file" in pvehooks(root, "fix", "--plan")[1]
    before = snapshot(root)
    assert rule in found(root, pvehooks)
    status, text = pvehooks(root, "fix", rule, "--apply")
    again = snapshot(root)
    assert pvehooks(root, "fix", rule, "--apply")[0] == status
    assert snapshot(root) == again
    if by_hand(example):
        assert status == 1 and by_hand(example) in text and snapshot(root) == before
        return
    assert status == 0, text
    now = {name: (root / name).read_bytes() for name in ("proc/cmdline",)}
    saved = tmp_path / "saved"
    shutil.copytree(root, saved, symlinks=True)
    line = restart(saved)
    if example.stem in KERNEL_SHOWS:
        assert KERNEL_SHOWS[example.stem](line)
    elif rule == "interface-missing":
        link = (root / "etc/systemd/network/10-enp4s0.link").read_text()
        assert link.splitlines()[1:] == ["[Match]", "MACAddress=52:54:00:00:00:01", "Type=ether", "", "[Link]", "Name=enp4s0"]
    else:
        assert rule not in found(saved, pvehooks)
    assert (root / "proc/cmdline").read_bytes() == now["proc/cmdline"]
    pvehooks(root, "undo")
    assert snapshot(root) == before


def tree(stem: str, directory: Path) -> Path:
    return tree_of(next(path for path in TREES if path.stem == stem), directory)


def test_json(tmp_path: Path, golden: Golden, pvehooks: Run) -> None:
    root = tree("grub-wrong-file", tmp_path / "tree")
    reported = [
        pvehooks(root, *words, "--json")[1] for words in (["fix", "--plan"], ["fix", "iommu-inactive", "--apply"], ["undo"], ["undo"])
    ]
    plan, apply, undo, nothing = (json.loads(text) for text in reported)
    assert plan["applied"] is False and apply["applied"] is True
    assert apply["commands"] == [["update-grub"]] and apply["ran"] == [] and apply["restart"] is True
    assert undo["undone"]["files"] == ["/etc/default/grub"] and nothing["undone"] is None
    golden("host/fix-json.txt", "".join(reported))


@pytest.mark.parametrize(
    ("words", "status", "reported"),
    [
        (["fix"], 2, "name the rules to fix"),
        (["fix", "--plan", "--apply"], 2, "--plan only shows"),
        (["fix", "cmdline-wrong-fil"], 2, "did you mean 'cmdline-wrong-file'?"),
        (["fix", "group-in-use-by-host"], 2, "there is no rule 'group-in-use-by-host' about the node"),
        (["check", "--apply"], 2, "there is no option '--apply'"),
        (["check", "iommu-inactive"], 2, "'iommu-inactive' is one argument too many"),
        (["fix", "--plan", "--force"], 2, "there is no option '--force'"),
        (["undo", "--plan"], 2, "there is no option '--plan'"),
        (["fix", "--plan", "--free"], 2, "there is no option '--free'"),
        (["fix", "microcode-missing"], 0, "pve1: nothing of this to fix"),
        (["fix", "--apply", "iommu-inactive"], 0, "a reboot is due"),
        (["fix", "initramfs-outdated"], 0, "nothing of this"),
    ],
)
def test_words(words: list[str], status: int, reported: str, tmp_path: Path, pvehooks: Run) -> None:
    ended, text = pvehooks(tree("grub-wrong-file", tmp_path / "tree"), *words)
    assert ended == status
    assert reported in text


def test_nothing_that_the_next_restart_would_suffer_from(tmp_path: Path, pvehooks: Run) -> None:
    """A new initramfs would bring a blacklisted disk driver into force; together with its fix, it may be made."""
    root = tree("grub-esp-modprobe", tmp_path / "tree")
    before = snapshot(root)
    status, text = pvehooks(root, "fix", "initramfs-outdated")
    assert status == 1 and "fix this first" in text
    for words in (["initramfs-outdated"], ["vfio-ids-take-host-device"], ["vfio-ids-take-host-device", "initramfs-outdated"]):
        status, text = pvehooks(root, "fix", *words, "--apply")
        assert status == 1
        assert "pvehooks host fix host-driver-blacklisted" in text
        assert snapshot(root) == before and not (root / "var/lib/pvehooks/host").exists()
    assert pvehooks(root, "fix", "vfio-ids-take-host-device", "host-driver-blacklisted", "--apply")[0] == 0


def test_a_refresh_that_would_take_the_network(tmp_path: Path, pvehooks: Run) -> None:
    """What is written in GRUB's file and not yet in force is looked at before it is brought into force."""
    root = tree("grub-forgotten", tmp_path / "tree")
    path = root / "etc/default/grub"
    path.write_text(path.read_text().replace("iommu=pt", "iommu=pt module_blacklist=igb"))
    status, text = pvehooks(root, "fix", "cmdline-not-refreshed", "--apply")
    assert status == 1
    assert "the next restart would take something from the node: 0000:03:00.0" in text


def test_undo_after_an_edit(tmp_path: Path, golden: Golden, pvehooks: Run) -> None:
    root = tree("systemd-boot-wrong-file", tmp_path / "tree")
    before = snapshot(root)
    pvehooks(root, "fix", "--apply")
    path = root / "etc/kernel/cmdline"
    path.write_text(path.read_text().replace("quiet", "quiet mine"))
    edited = snapshot(root)
    status, text = pvehooks(root, "undo")
    assert status == 1 and snapshot(root) == edited
    golden("host/undo-edited.txt", text)
    assert pvehooks(root, "undo", "--force")[0] == 0
    assert snapshot(root) == before
    kept: list[Any] = list((root / "var/lib/pvehooks/host").glob("*/0.edited"))
    assert "quiet mine" in kept[0].read_text()


def test_several_fixes_are_undone_one_by_one(tmp_path: Path, pvehooks: Run) -> None:
    root = tree("grub-wrong-file", tmp_path / "tree")
    states = [snapshot(root)]
    for rule in ("iommu-inactive", "cmdline-wrong-file"):
        pvehooks(root, "fix", rule, "--apply")
        states.append(snapshot(root))
    assert len({str(state) for state in states}) == 3
    for state in reversed(states[:-1]):
        pvehooks(root, "undo")
        assert snapshot(root) == state


def test_what_the_fixes_name_are_rules_of_the_node() -> None:
    named = {*FIXES, *fixes.ONLY_IF_NAMED, *fixes.AFTER_CHANGES, *fixes.KNOWN_AFTER_BOOT, *fixes.BREAKS_RESTART}
    assert named <= {rule.id for rule in catalogue.RULES.values() if rule.of_node}
