"""Common wording: guests, findings and changes as one line, for the journal, a terminal or JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from pvehooks.values import Finding, Guest, Judged, Severity, StartVerdict, Verdict

# The programs that remedies name.
_PROGRAMS = (
    "apt ceph cryptsetup df dmesg echo efibootmgr findmnt free fuser ha-manager ifreload ifup iconv ip journalctl kill less ls lsblk lspci lsusb"
    " lvconvert lvs mdadm modprobe mokutil pct pgrep proxmox-boot-tool pvecm pvehooks pvesh pvesm qemu-img qemu-system-x86_64 qm rm smartctl"
    " sriov-manage ss swapoff sysctl systemctl systemd-cgtop targetcli umount update-grub update-initramfs vgchange zfs zpool"
)
_COMMAND = (
    rf"(?:(?<=: )|(?<= then ))(?:{'|'.join(_PROGRAMS.split())}) "
    # A value in quotes may hold anything; a clause ends with a comma, a semicolon or a full stop before a blank.
    r"(?:'[^']*'|\.\.\.|(?![.,;:]? \(|[.,;:](?: |\Z)| and | or | while )[^'])+"
)
# What is typed or written into a file, inside of a sentence: commands as above and in brackets, some programs anywhere, a setting with its section.
_INLINE = (
    rf"{_COMMAND}|(?<=\()(?:{'|'.join(_PROGRAMS.split())}) [^()]+?(?= (?:shows?|lists?)\b|[,;)])"
    r"|\bupdate-(?:grub|initramfs)\b(?: -[a-z]+)*|\bproxmox-boot-tool (?:status|refresh|init)\b"
    r"|\[(?:guest VMID|[a-z]+)\] [a-z_]+ = [\w./-]*\w"
)
ORDER = {Severity.BLOCK: 0, Severity.WARNING: 1, Severity.INFO: 2, Severity.UNSET: 3}


def printable(text: str) -> str:
    """The text on one line, every character that a terminal might interpret escaped; undecodable bytes show as \\xNN."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def bounded(text: str, longest: int) -> str:
    """A text without the middle of what is longer: what is named stands first, what to do last."""
    return text if len(text) <= longest else f"{text[: longest // 2]} [...] {text[-(longest // 2) :]}"


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


@cache
def _pattern(text: str) -> re.Pattern[str]:
    """One of those above, compiled when it is first needed: that takes a millisecond."""
    return re.compile(text)


def sentence(finding: Finding) -> str:
    """The finding's message and its remedy, without the guest."""
    return f"{finding.message}. {finding.remedy}" if finding.remedy else finding.message


def commands(remedy: str) -> list[str]:
    """The commands in a remedy: each follows a colon or "then", and ends with its clause."""
    return [each.rstrip() for each in _pattern(_COMMAND).findall(remedy)]


def steps(remedy: str) -> Iterator[tuple[str, str]]:
    """A remedy in steps, each (words, command): a step ends with a command, or with the remedy ('' for the command)."""
    end = 0
    for found in _pattern(_COMMAND).finditer(remedy):
        words = remedy[end : found.start()].lstrip(".,; ")
        yield words.rstrip(), found[0].rstrip()
        end = found.end()
    rest = remedy[end:].lstrip(".,;: ")
    if rest:
        yield rest, ""


def inline(words: str) -> Iterator[tuple[str, bool]]:
    """A sentence in pieces, each (text, whether it is typed or written into a file); together they are the sentence."""
    end = 0
    for found in _pattern(_INLINE).finditer(words):
        yield words[end : found.start()], False
        typed = found[0].rstrip()
        yield typed, True
        end = found.start() + len(typed)
    yield words[end:], False


def of_guest(guest: Guest, words: str) -> str:
    """The message with the guest's label in front."""
    return f"{guest.label}: {words}"


def sort(findings: Iterable[Judged]) -> list[Judged]:
    """The most severe first; ignored findings last."""
    return sorted(findings, key=lambda item: (bool(item.ignored), ORDER[item.finding.severity]))


def as_json(item: Judged) -> dict[str, object]:
    """A finding for JSON; `ignored` is the reason why it is ignored, or null."""
    found = item.finding
    return {
        "rule": found.rule,
        "severity": found.severity.value,
        "subject": printable(found.subject),
        "message": printable(found.message),
        "remedy": printable(found.remedy),
        "examined": found.examined,
        "ignored": printable(item.ignored) or None,
    }


def outcome(verdict: Verdict) -> str:
    """'block' or 'allow'."""
    return "block" if verdict.blocked else "allow"


def start(verdict: StartVerdict, unguarded: str = "") -> str:
    """What a start comes to, with why nothing stops it: "must not start (nothing stops it: [guard] mode = audit)"."""
    words: str = verdict.value
    return f"{words} (nothing stops it: {unguarded})" if unguarded else words


def counted_findings(found: Mapping[str, int]) -> str:
    """Numbers of findings by severity: "3 findings (1 block, 2 warnings)"."""
    parts = ", ".join(counted(count, name) if name == "warning" else f"{count} {name}" for name, count in found.items() if count)
    return f"{counted(sum(found.values()), 'finding')}{f' ({parts})' if parts else ''}"


def and_more(names: list[str], most: int = 10) -> str:
    """A list for a sentence: "a, b, c and 5 more"."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def runs(vmids: Iterable[int]) -> list[list[int]]:
    """The VMIDs in order, those that follow on each other together."""
    found: list[list[int]] = []
    for vmid in sorted(vmids):
        if found and found[-1][-1] + 1 == vmid:
            found[-1].append(vmid)
        else:
            found.append([vmid])
    return found


def ranges(vmids: Iterable[int], most: int) -> str:
    """VMIDs, shortened to so many ranges: "100-104, 107, 108 and 5 more"."""
    together = runs(vmids)
    shown = [f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in together[:most]]
    more = sum(map(len, together[most:]))
    return ", ".join(shown) + (f" and {more} more" if more else "")


def counted(number: int, noun: str) -> str:
    """A number of things: "1 VM", "2 VMs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
