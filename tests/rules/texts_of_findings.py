"""What a finding says has to be whole, and what it has a person type has to exist and to be read by PVE."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from pvehooks import wording as words
from pvehooks.formats import propertystring
from pvehooks.formats.checks import FORMATS
from pvehooks.formats.schema import OPTIONS, PROPERTY_STRINGS
from pvehooks.values import Finding, Guest

# Subcommands that remedies name (qemu-server, PVE/CLI/qm.pm).
QM = {"config", "set", "disk move", "snapshot", "unlock", "pending", "enroll-efi-keys", "shutdown"}
# What a person has to choose, and numbers that stand for one of many.
_CHOSEN = re.compile(r"\.\.|\b(?:STORAGE|NAME|PORT|TYPE|VOLID|PATH|MAPPING|MIB|DEVICE|ADDRESS)\b")
_OPENING = r"\bqm (?:[a-z][a-z-]* ){1,2}(?:\d+|\{vmid\})"
_WORD = r"(?:--?[A-Za-z0-9-]+|'[^']*'|(?!(?:then|and|or|while|shows)\b)[^\s()]+)"
_COMMAND = re.compile(rf"{_OPENING}(?: {_WORD})*")
# A sentence goes on behind a command.
_END = re.compile(r"[.,;:](?= )|[.,;:]\Z")


def assert_whole(finding: Finding) -> None:
    """Neither message nor remedy is empty, or holds what was to be filled in, or how Python shows a value."""
    shown = f"{finding.rule}: {words.sentence(finding)}"
    assert finding.subject, shown
    assert finding.message.strip(), shown
    assert finding.remedy.strip(), shown
    assert not re.search(r"\{\w*\}|\bNone\b(?! needed)|\bUnread\b|frozenset|\(\)|  ", f"{finding.message}|{finding.remedy}"), shown


def assert_typable(remedy: str) -> None:
    """Each qm command of the sentence exists, names options that exist, and gives them values that PVE reads."""
    for command in commands(remedy):
        assert verb(command) in QM, remedy
        for option, value in settings_of(command):
            if option in ("delete", "revert"):
                assert OPTIONS.keys() >= set(value.split(",")), remedy
            elif option != "OPTION" and not _CHOSEN.search(value):
                _assert_value(option, value, remedy)


def assert_about(remedy: str, guest: Guest) -> None:
    """The qm commands are for this guest, and take from it only what it has."""
    for command in commands(remedy):
        assert str(guest.vmid) in command[1:3], remedy
        for option, value in settings_of(command):
            assert option != "delete" or guest.options.keys() >= set(value.split(",")), remedy


def _assert_value(option: str, value: str, remedy: str) -> None:
    assert option in OPTIONS, remedy
    form = OPTIONS[option].format
    if form in PROPERTY_STRINGS:
        propertystring.parse(option, value)
    elif form:
        assert FORMATS[form].accepts(value), remedy


def commands(remedy: str) -> Iterator[list[str]]:
    """The words behind "qm" of each command in a sentence, as the shell takes them apart."""
    for text in _COMMAND.findall(remedy):
        yield shlex.split(_END.split(text)[0])[1:]


def verb(command: list[str]) -> str:
    """The subcommand: "set", "disk move"."""
    return " ".join(command[:2]) if command[0] == "disk" else command[0]


def settings_of(command: list[str]) -> Iterator[tuple[str, str]]:
    """The options of a command with their values; what is no pair fails."""
    words = command[2:] if command[0] == "set" else []
    for name, value in zip(words[::2], words[1::2], strict=True):
        assert name.startswith("--"), command
        yield name.removeprefix("--"), value
