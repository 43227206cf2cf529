"""A report as Markdown (CommonMark with GitHub's tables): what hardware there is and who has it, for tickets and wikis."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pvehooks.report import picture, places, summary
from pvehooks.report.content import AlikeGuests, GuestSeen, Report, SharedFinding, alike, by_rule, counts, counts_phrase, merged, severity
from pvehooks.report.picture import LEVELS, Box, Cell
from pvehooks.values import StartVerdict, Unread
from pvehooks.values.groups import Naming
from pvehooks.values.guests import guest_label
from pvehooks.wording import counted, inline, printable

# What would be markup; & and < as entities, which also processors understand that know no \<. An underscore inside of a word is none.
_MARKUP = re.compile(r"[\\`*\[\]~$]|(?<![^\W_])_|_(?![^\W_])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# GitHub's tables end a cell at each bar that has no backslash before it.
_BAR = re.compile(r"\|")
_LINK = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)
# What makes a heading, a list or a rule of a line that begins with it.
_BLOCK = re.compile(r"\A[#+=-]|(?<=\A\d)[.)]|(?<=\A\d\d)[.)]|(?<=\A\d\d\d)[.)]")
_TICKS = re.compile(r"`+")


def page(report: Report) -> str:
    """The file's text."""
    parts = [_head(report), _changes(report), _groups(report), _passed(report), _guests(report), _findings(report), _unread(report)]
    return "\n".join(line for part in parts for line in part)


def text(words: str) -> str:
    """Text from any source, escaped so that nothing in it is markup or becomes a link."""
    shown = "".join(_ENTITIES.get(char, char) for char in printable(words).lstrip(" "))
    for markup in (_MARKUP, _LINK, _BLOCK):
        shown = markup.sub(lambda found: f"\\{found[0]}", shown)
    return shown


def code(words: str) -> str:
    """Words as code, with as many backticks as it needs."""
    shown = printable(words)
    fence = "`" * (max(map(len, _TICKS.findall(shown)), default=0) + 1)
    pad = " " if shown[:1] in ("`", " ") or shown[-1:] in ("`", " ") else ""
    return f"{fence}{pad}{shown}{pad}{fence}" if shown else ""


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (headers, ["---"] * len(headers), *rows):
        yield f"| {' | '.join(_BAR.sub(lambda _: chr(92) + '|', cell) for cell in row)} |"
    yield ""


def _when(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(seconds))


def _head(report: Report) -> Iterator[str]:
    yield f"# {text(report.node)}: passthrough and VMs"
    yield ""
    yield f"Made by pvehooks {report.pvehooks}, {_when(report.time)}."
    yield ""
    yield text(summary.paragraph(report))
    yield ""


def _changes(report: Report) -> Iterator[str]:
    changes = report.changes
    if changes is None:
        if report.no_changes:
            yield text(report.no_changes)
            yield ""
        return
    yield f"## What changed since {_when(changes.since)}"
    yield ""
    for change in changes.items:
        rest = f": {text(change.text)}" if change.text else ""
        yield f"- {'**' * change.urgent}{change.headline}{'**' * change.urgent}: {text(change.what)}{rest}"
    if not changes.items:
        yield "Nothing."
    yield ""


# -- hardware ---------------------------------------------------------------------------------------------------------


def _groups(report: Report) -> Iterator[str]:
    yield "## PCI devices and IOMMU groups"
    yield ""
    if isinstance(report.groups, Unread):
        yield f"They cannot be read: {text(report.groups.why)}"
        yield ""
        return
    boxes = picture.boxes(report)
    slots = places.slot_names(report)
    if isinstance(report.iommu, Unread) or not report.iommu.active:
        yield text(f"Nothing can be passed through: {report.iommu.why or 'the IOMMU is off'}")
        yield ""
    yield from _table(
        ("Group", "Address", "Device", "Used by", "Driver, reset", "Slot, link"),
        [(*_device(box, cell), _place(cell, slots, report)) for box in boxes for cell in box.cells if cell.whose != "bridge"],
    )
    empty = places.empty_slots(report)
    if empty:
        yield text(f"Empty slots: {', '.join(slot.name for slot in empty)}.")
        yield ""
    bridges = sum(cell.whose == "bridge" for box in boxes for cell in box.cells)
    if bridges:
        yield f"Left out: {counted(bridges, 'bridge')}, which a VM never gets."
        yield ""


def _device(box: Box, cell: Cell) -> Sequence[str]:
    device = cell.member.device
    urgent = f" **({LEVELS[box.level]})**" if box.level in ("danger", "trouble", "care") else ""
    use, rest = cell.details[0], "; ".join(cell.details[1:])
    return (f"{box.group.name or 'none'}{urgent}", code(device.address), text(device.words), text(use), text(rest))


def _place(cell: Cell, slots: Mapping[str, str], report: Report) -> str:
    device = cell.member.device
    link = None if isinstance(report.hardware.links, Unread) else report.hardware.links.get(device.address)
    numa = f"NUMA node {device.numa}" if device.numa >= 0 else ""
    return text(", ".join(filter(None, (places.slot_of(device, slots), places.link_words(link) if link else "", numa))))


def _passed(report: Report) -> Iterator[str]:
    named = sorted(_named(report), key=lambda entry: (entry[0].vmid, entry[0].option, entry[1].member.device.address))
    if not named:
        return
    names = {guest.vmid: guest.name for guest in report.guests}
    yield "## Passed-through devices"
    yield ""
    rows = []
    for naming, cell, box in named:
        device = cell.member.device
        state = "running" if naming.running else "stopped"
        guest = guest_label(naming.vmid, code(names.get(naming.vmid, "")))
        rows.append((guest, state, code(naming.option), code(device.address), text(device.words), box.group.name or "none"))
    yield from _table(("VM", "State", "Option", "Address", "Device", "Group"), rows)


def _named(report: Report) -> Iterator[tuple[Naming, Cell, Box]]:
    for box in picture.boxes(report):
        for cell in box.cells:
            for naming in cell.member.named:
                yield naming, cell, box


# -- guests and findings ----------------------------------------------------------------------------------------------


def _guests(report: Report) -> Iterator[str]:
    yield "## VMs"
    yield ""
    if not report.guests:
        yield "There are no VMs."
        yield ""
        return
    yield from _table(("VM", "State", "Verdict", "Guard", "Findings"), map(_alike, alike(report)))


def _alike(group: AlikeGuests) -> Sequence[str]:
    guest = group.guests[0]
    state = "template" if guest.template else "running" if guest.running else "stopped"
    verdict = guest.start.value if guest.start is StartVerdict.WOULD else f"**{guest.start.value}**"
    if guest.unguarded:
        verdict += text(f": nothing stops it, {guest.unguarded}")
    guard = "" if guest.guarded is None else "guarded" if guest.guarded else "not guarded"
    verdict = "" if guest.template else verdict
    return (_labels(group.guests), state, verdict, guard, counts_phrase(counts(guest.findings)) or "none")


def _labels(guests: Iterable[GuestSeen]) -> str:
    return ", ".join(guest_label(guest.vmid, code(guest.name)) for guest in guests)


def _findings(report: Report) -> Iterator[str]:
    found = by_rule(report)
    yield "## Findings"
    yield ""
    if not found:
        yield "None."
        yield ""
    for rule, listed in found:
        yield f"### {rule} ({severity(listed[0].item)})"
        yield ""
        if rule in report.rules:
            yield from _explanation(report.rules[rule].explanation)
        yield from map(_shared, merged(listed))
        yield ""


def _explanation(explanation: str) -> Iterator[str]:
    for paragraph in explanation.split("\n\n"):
        for line in paragraph.replace("\nSource: ", "\n\nSource: ").split("\n\n"):
            parts = " ".join(line.split()).split("`")
            # text takes away the space that stands before a word, which code needs behind it.
            yield "".join(code(part) if number % 2 else " " * part.startswith(" ") + text(part) for number, part in enumerate(parts))
            yield ""


def _shared(each: SharedFinding) -> str:
    finding = each.item.finding
    who = f"{_labels(each.guests)}: " if each.guests else ""
    remedy = f". What to do: {_remedy(finding.remedy)}" if finding.remedy else ""
    ignored = f" (ignored: {text(each.item.ignored)})" if each.item.ignored else ""
    return f"- {who}{text(finding.message)}{remedy}{ignored}"


def _remedy(remedy: str) -> str:
    """A remedy with what is typed as code."""
    # text takes away the space that stands before a word, which code needs behind it.
    return "".join(code(piece) if typed else " " * piece.startswith(" ") + text(piece) for piece, typed in inline(remedy))


def _unread(report: Report) -> Iterator[str]:
    lines = summary.unread(report)
    if lines:
        yield "## Not examined"
        yield ""
        yield from (f"- {text(line)}" for line in lines)
        yield ""
