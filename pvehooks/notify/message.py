"""A message: what happened, many events in one, as a subject, as text, and in parts for a template."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from pvehooks import wording
from pvehooks.causes import registry
from pvehooks.journal.kind import ERR, NOTICE, WARNING
from pvehooks.journal.outbox import Letter
from pvehooks.settings.sections import NotifySettings

TEST = "test"
# At most so many ranges of VMIDs in a headline.
_RANGES = 12
# By event, else by option of [notify]: what happened, once and several times.
WORDS = {
    "refused_starts": ("start refused", "starts refused"),
    # Its text shows what became of the start.
    "start-unexamined": ("start not examined", "starts not examined"),
    "next-boot-trouble": ("trouble at the next boot", "troubles at the next boot"),
    "device-not-bound": ("device not bound", "devices not bound"),
    "failed_starts": ("start failed", "starts failed"),
    "dead_devices": ("device dead", "devices dead"),
    "boot": ("trouble at boot", "troubles at boot"),
    "errors": ("error of pvehooks", "errors of pvehooks"),
    "digest": ("state of the week", "states of the week"),
    TEST: ("test", "tests"),
}
# So many lines are in a message; the rest is counted.
_MOST_LINES = 60
_LABEL = re.compile(r"VM \d+ \([^():]+\)")
# Proxmox VE's severities (proxmox-notify), the worst first.
_SEVERITIES = {ERR: "error", WARNING: "warning", NOTICE: "notice"}


class Line(NamedTuple):
    """An event, or several that say the same."""

    text: str
    # Epoch seconds of the first and the last.
    first: float
    last: float
    times: int


class Message(NamedTuple):
    """What is handed over."""

    subject: str
    # info, notice, warning or error.
    severity: str
    text: str
    # What Proxmox VE's matchers can match.
    fields: dict[str, str]
    # What the templates are filled with.
    data: dict[str, Any]


def is_wanted(letter: Letter, settings: NotifySettings) -> bool:
    """Whether the settings ask for a message about it."""
    wanted = getattr(settings, letter.option, letter.option == TEST)
    if letter.option != "failed_starts":
        return bool(wanted)
    cause = registry.causes().get(letter.cause)
    # The guard has left what it refuses, with its reason.
    return wanted != "off" and letter.cause != "guard-refused" and (wanted == "all" or cause is None or not cause.of_vm)


def compose(letters: Sequence[Letter], left_out: int = 0) -> Message:
    """One message about these events; `left_out` more found the outbox full."""
    node = next((letter.node for letter in letters if letter.node), "") or "this node"
    by_word = {word: [letter for letter in letters if _word(letter) == word] for word in WORDS}
    by_word = {word: found for word, found in by_word.items() if found}
    subject = f"pvehooks on {node}: {'; '.join(_headline(word, found) for word, found in by_word.items())}"
    groups: list[dict[str, Any]] = []
    room = _MOST_LINES
    for word, found in by_word.items():
        lines = _lines(found)
        shown, room = lines[:room], max(0, room - len(lines))
        left_out += sum(line.times for line in lines[len(shown) :])
        if shown:
            title = _headline(word, found)
            groups.append({"title": title[0].upper() + title[1:], "events": [{"time": _when(line), "text": line.text} for line in shown]})
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(min(letter.time for letter in letters)))
    more = f'More: journalctl -t pvehooksd -t pvehooks-guard -t pvehooks --since "{since}"'
    if left_out:
        more = f"{left_out} more events are in the journal alone. {more}"
    switch = "What messages are sent about: [notify] in /etc/pvehooks/pvehooks.conf, see pvehooks.conf(5)"
    data = {"subject": subject, "node": node, "groups": groups, "more": more, "switch": switch}
    options = {letter.option for letter in letters}
    fields = {"type": "pvehooks", "hostname": node, "event": options.pop() if len(options) == 1 else "several"}
    severity = _SEVERITIES.get(min(letter.priority for letter in letters), "info")
    text = _text(data)
    return Message(subject, severity, text, fields, {**data, "text": text, "severity": severity})


def _word(letter: Letter) -> str:
    return letter.event if letter.event in WORDS else letter.option


def _headline(word: str, letters: Sequence[Letter]) -> str:
    """What happened to which VMs: "start refused: VM 100 (web)", "starts refused: VM 100-104"."""
    vmids = sorted({letter.vmid for letter in letters if letter.vmid})
    number = len(vmids) or len(_lines(letters))
    words = WORDS[word][number > 1]
    if len(vmids) == 1:
        label = _LABEL.match(letters[0].text)
        return f"{words}: {label[0] if label else f'VM {vmids[0]}'}"
    if vmids:
        return f"{words}: VM {wording.ranges(vmids, _RANGES)}"
    return words if number == 1 else f"{number} {words}"


def _lines(letters: Iterable[Letter]) -> list[Line]:
    """A line for each text, in the order of their first events."""
    found: dict[str, Line] = {}
    for letter in sorted(letters, key=lambda each: each.time):
        before = found.get(letter.text)
        found[letter.text] = Line(letter.text, before.first if before else letter.time, letter.time, before.times + 1 if before else 1)
    return list(found.values())


def _when(line: Line) -> str:
    first, last = (time.strftime("%H:%M:%S", time.localtime(when)) for when in (line.first, line.last))
    return first if line.times == 1 else f"{first} to {last}, {line.times} times"


def _text(data: dict[str, Any]) -> str:
    groups = (
        "\n".join((group["title"], *(f"  {event['time']}  {event['text']}" for event in group["events"]))) for group in data["groups"]
    )
    return "\n\n".join((data["subject"], *groups, f"{data['more']}\n{data['switch']}")) + "\n"
