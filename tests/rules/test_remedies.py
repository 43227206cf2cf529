"""Every remedy that is a command is typed at the example that its rule finds something in: the finding is gone, and none more severe is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pvehooks import judge, wording
from pvehooks.facts.guests import configs as guests
from pvehooks.host import Host
from pvehooks.records import baseline
from pvehooks.rules import catalogue
from pvehooks.settings.load import built_in
from pvehooks.values import Finding, Severity
from tests.beds import remedying
from tests.conftest import GOLDEN
from tests.rules import test_examples as bed
from tests.rules.example_tree import tree_of

# What no rule can choose: the words before the command say how to find it.
CHOSEN = {
    "ADDRESS": "which device is meant is known to the administrator alone",
    "CPUS": "a remedy of the node is for whichever guest",
    "FILE": "the image is the administrator's",
    "MAPPING": "the administrator names mappings",
    "NAME": "the administrator names mappings",
    "PARTITION": "which disk is to boot is known to the administrator alone",
    "PORT": "which device is meant is known to the administrator alone",
    "VMID": "a remedy of the node is for whichever guest",
    "VOLID": "the image is the administrator's",
}
# Storages that can snapshot volumes, and that a volume may be moved to.
_STORAGE = re.compile(r"^(?:lvmthin|zfspool|rbd): (\S+)$", re.MULTILINE)
_SHARED = re.compile(r"^(?:rbd|nfs|cifs|cephfs): (\S+)$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"(?<!--cpu )(?<![\w./:-])[A-Z]{4,}(?![\w:])|\.\.\.")
# Words before a command after which a person has done something first.
_BY_HAND_FIRST = re.compile(r"\S then(?: \([^)]*\))?:\Z")
_SECOND = re.compile(r"(?:\A|\), )then:?\Z")
# All commands of these together end the finding, as each ends one use of the device.
TOGETHER = {"group-in-use-by-host"}
LIVED_WITH = {"ha-shutdown-hangs": "the command is typed before each shutdown of the node"}


def commands(finding: Finding) -> list[str]:
    """What can be typed at a tree; of commands that belong together, all or none."""
    found: list[tuple[str, str]] = []
    for words, command in wording.steps(finding.remedy):
        if command and found and _SECOND.search(words):
            # Two commands in a row that one remedy needs both of.
            found[-1] = (found[-1][0], f"{found[-1][1]} && {command}")
        elif command:
            found.append((words, command))
    if finding.rule in LIVED_WITH:
        return []
    if finding.rule in TOGETHER:
        fit = not any(remedying.unfit(command) for _, command in found)
        return [" && ".join(command for _, command in found)] if found and fit else []
    return [command for words, command in found if not (remedying.unfit(command) or _BY_HAND_FIRST.search(words))]


def found_in(host: Host) -> dict[tuple[str, str], Finding]:
    """The findings with the remedies that people are shown."""
    guest_context = guests.gather_context(host, "pve1", baseline.read(host, "pve1"))
    guest = guests.read(host, "pve1", 100, guest_context)
    found = bed.findings_in(host)
    of_node = [each for each in found if catalogue.RULES[each.rule].of_node]
    judged = judge.judge(guest, [each for each in found if each not in of_node], built_in())
    shown = {item.finding for item in judged.findings} | set(of_node) | {each for each in found if each.rule.startswith("rng-held")}
    # What is found of another node is another finding.
    return {
        (each.rule, f"{each.subject}{each.message[: each.message.find(':')] if each.message.startswith('on ') else ''}"): each
        for each in sorted(shown, key=lambda each: -wording.ORDER[each.severity])
    }


@pytest.mark.parametrize("example", bed.examples("failing"), ids=lambda path: path.name[:-6])
def test_what_a_remedy_has_typed_ends_the_finding(example: Path, tmp_path: Path) -> None:
    host = tree_of(example, tmp_path / "tree")
    before = found_in(host)
    typed = [(each, command) for key, each in before.items() if key[0] == bed.rule_of(example) for command in commands(each)]
    for number, (finding, command) in enumerate(typed):
        filled = _filled(command, finding.rule, host)
        if filled:
            _ends(example, tmp_path / str(number), finding, before, filled)


def _filled(command: str, rule: str, host: Host) -> str:
    """The command with what a person would choose, '' where no rule can choose it."""
    for name in _PLACEHOLDER.findall(command):
        if name in CHOSEN:
            return ""
        assert name == "STORAGE", f"{command}: {name} is chosen by no rule: fill it in, or say in words what to do"
        config = "/etc/pve/storage.cfg"
        wanted = _SHARED if rule == "target-disk-local" else _STORAGE
        there = wanted.findall(host.read_text(config)) if host.exists(config) else ["local-lvm"]
        if not there:
            return ""
        command = command.replace(name, there[0])
    return command


def _ends(example: Path, directory: Path, finding: Finding, before: dict[tuple[str, str], Finding], command: str) -> None:
    host = tree_of(example, directory / "tree")
    remedying.Typist(directory / "tree", directory).type(command)
    after = found_in(host)
    key = next(key for key, each in before.items() if each == finding)
    still = after.get(key)
    order = wording.ORDER
    assert still is None or order[still.severity] > order[finding.severity], f"{command}: the finding is still there: {still.message}"
    worse = [each.message for key, each in after.items() if key not in before and order[each.severity] < order[finding.severity]]
    if finding.severity is Severity.INFO:
        worse = [each.message for key, each in after.items() if key not in before and each.severity is Severity.BLOCK]
    assert not worse, f"{command}: {worse}"


def test_what_is_not_typed_has_a_reason() -> None:
    reasons: tuple[dict[str, str], ...] = (remedying.UNFIT, remedying.UNFIT_VERBS, CHOSEN, LIVED_WITH)
    assert all(why for each in reasons for why in each.values())


def test_unfit_are_programs_that_remedies_name() -> None:
    """What is not run any more is taken off the list."""
    texts = [rule.remedy for rule in catalogue.RULES.values()]
    texts += [line for example in (GOLDEN / "rules").glob("*.txt") for line in example.read_text().splitlines()]
    named = {each.split()[0] for text in texts for command in wording.commands(text) for each in command.split(" && ")}
    unknown = remedying.UNFIT.keys() - named
    assert not unknown, "no remedy has these typed"
