"""The picture of the IOMMU groups in HTML: a map of all of them, then a box for each in which there is something to pass through."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.report import picture, tree
from pvehooks.report.content import Report, ReportedFinding
from pvehooks.report.frame import icon
from pvehooks.report.markup import Markup, join, tag
from pvehooks.report.picture import ICONS, LEVELS, Box, Cell
from pvehooks.values import Unread
from pvehooks.wording import counted

_TONES = {
    "danger": "danger",
    "trouble": "warning",
    "care": "warning",
    "shared": "warning",
    "guest": "guest",
    "named": "guest",
    "free": "good",
    "host": "host",
}
_URGENT = ("danger", "trouble", "care")
_ORDER = tuple(LEVELS)
_LEGEND = {
    "host": "the host uses it",
    "guest": "a VM or container has it",
    "named": "a VM names it",
    "free": "not in use",
    "unknown": "not known, or dead",
    "bridge": "a bridge, which stays",
}
# Of the findings on one group, so many are shown in its box.
_EXPLAINED = 4


def groups(report: Report) -> Markup:
    """The section with the picture."""
    return tag("section", tag("h2", "IOMMU groups", id="groups"), _content(report), aria_labelledby="groups")


def _content(report: Report) -> Markup:
    if isinstance(report.groups, Unread):
        return tag("p", f"They cannot be read: {report.groups.why}", class_="soft")
    boxes = picture.boxes(report)
    off = isinstance(report.iommu, Unread) or not report.iommu.active
    shown = [box for box in boxes if box.level != "idle" and box.group.name]
    idle = [box for box in boxes if box.level == "idle" and box.group.name]
    without = [box for box in boxes if not box.group.name]
    return join(
        tag("p", _introduction(report, off), class_="soft small"),
        _legend(boxes) if shown else None,
        tag("ul", (tag("li", _tile(box)) for box in boxes if box.group.name), class_="map") if shown else None,
        tag("div", map(_box, sorted(shown, key=lambda box: _ORDER.index(box.level))), class_="boxes") if shown else None,
        _idle(idle),
        (_without(box, off) for box in without),
    )


def _introduction(report: Report, off: bool) -> str:
    if off:
        why = f": {report.iommu.why}" if report.iommu.why else ""
        unknown = "Whether there is an IOMMU is not known" if isinstance(report.iommu, Unread) else "The IOMMU is off"
        return f"{unknown}{why}. Nothing can be passed through without one."
    return (
        "Devices of one group can only be passed through together: a VM that gets one of them takes all of them from the host, except bridges. "
        + ("" if isinstance(report.groups, Unread) else f"{tree.summary(report.groups, report.node)}.")
    )


def _square(whose: str) -> Markup:
    return tag("span", class_=f"sq {whose}")


def _legend(boxes: tuple[Box, ...]) -> Markup:
    there = {cell.whose for box in boxes for cell in box.cells}
    return tag(
        "ul",
        (tag("li", _square(whose), text) for whose, text in _LEGEND.items() if whose in there),
        class_="legend",
        aria_label="What the squares mean",
    )


def _tile(box: Box) -> Markup:
    """A group on the map: its number and a square for each device."""
    held = ", ".join(f"{count} {'in use' if whose == 'guest' else whose}" for whose, count in _counts(box).items())
    tone = _TONES.get(box.level, "none") if box.level in (*_URGENT, "idle") else None
    return tag(
        "a",
        icon(_TONES[box.level]) if box.level in _URGENT else None,
        box.group.name,
        tag("span", (_square(cell.whose) for cell in box.cells[:24]), "…" if len(box.cells) > 24 else None, class_="sqs"),
        href="#idle" if box.level == "idle" else f"#group{box.group.name}",
        class_=tone,
        aria_label=f"Group {box.group.name}, {LEVELS[box.level]}: {held}",
    )


def _counts(box: Box) -> dict[str, int]:
    found: dict[str, int] = {}
    for cell in box.cells:
        found[cell.whose] = found.get(cell.whose, 0) + 1
    return found


def _box(box: Box) -> Markup:
    tone = _TONES.get(box.level, "none")
    return tag(
        "article",
        tag(
            "header",
            tag("h3", f"Group {box.group.name}"),
            tag("span", icon(tone), LEVELS[box.level], class_=f"badge {tone}"),
        ),
        tag("p", box.state, class_="state"),
        _harm(box.dangers),
        tag("ul", (_cell(cell) for cell in box.cells if cell.whose != "bridge"), class_="cells"),
        _bridges(box),
        _giving(box) if box.level == "free" else None,
        class_=" ".join(("box", *([tone] if box.level in _URGENT else []), *(["wide"] if box.level == "danger" else []))),
        id=f"group{box.group.name}",
    )


def _harm(dangers: tuple[ReportedFinding, ...]) -> Markup | None:
    if not dangers:
        return None
    rest = len(dangers) - _EXPLAINED
    more = tag("li", f"and {counted(rest, 'more finding')}") if rest > 0 else None
    return tag("ul", (tag("li", _explained(each)) for each in dangers[:_EXPLAINED]), more, class_="harm")


def _explained(each: ReportedFinding) -> Iterator[Markup]:
    finding = each.item.finding
    yield tag("b", tag("bdi", each.guest.label if each.guest else ""))
    yield join(f": {finding.message}. ", f"(ignored: {each.item.ignored}) " if each.item.ignored else None)
    yield tag("a", "What to do", href=f"#{finding.rule}", aria_label=f"What to do about {finding.rule}")


def _giving(box: Box) -> Markup:
    """What is typed to give a free group to a guest: all of its devices, which are functions of one card."""
    addresses = [cell.member.device.address for cell in box.cells if cell.whose != "bridge"]
    what = addresses[0] if len(addresses) == 1 else f"'{';'.join(addresses)}'"
    command = tag("code", f"qm set VMID --hostpciN {what}", class_="cmd")
    return join(tag("p", "To give it to a VM, with a number that the VM does not have yet:", class_="rest"), command)


def _bridges(box: Box) -> Markup | None:
    bridges = [
        join(tag("code", cell.member.device.address), f" {cell.member.device.words}") for cell in box.cells if cell.whose == "bridge"
    ]
    if not bridges:
        return None
    lines = [join("; " if number else None, bridge) for number, bridge in enumerate(bridges)]
    return tag("p", _square("bridge"), " Stays with the host: ", lines, class_="rest bridge")


def _cell(cell: Cell) -> Markup:
    device = cell.member.device
    use, rest = cell.details[0], "; ".join(cell.details[1:])
    return tag(
        "li",
        tag(
            "div",
            tag("span", icon(ICONS.get(cell.whose, cell.whose)), cell.who, class_="who"),
            tag("code", device.address),
            class_="top",
        ),
        tag("p", device.words, class_="name"),
        tag("p", use, class_="small"),
        tag("p", rest, class_="rest") if rest else None,
        class_=f"cell {cell.whose}",
    )


def _idle(boxes: list[Box]) -> Markup | None:
    if not boxes:
        return None
    lines = (
        tag(
            "li",
            tag("b", f"Group {box.group.name}: "),
            "; ".join(f"{cell.member.device.words} at {cell.member.device.address}" for cell in box.cells),
        )
        for box in boxes
    )
    summary = f"{counted(len(boxes), 'group')} with nothing to pass through: bridges and devices of the board"
    return tag("details", tag("summary", summary), tag("div", tag("ul", lines, class_="board"), class_="inside"), class_="more", id="idle")


def _without(box: Box, off: bool) -> Markup:
    """The devices that are in no group: all of them, where the IOMMU is off."""
    cells = tag("ul", map(_cell, (cell for cell in box.cells if cell.whose != "bridge")), class_="cells")
    title = "Devices" if off else "In no group"
    return tag(
        "article", tag("header", tag("h3", title)), tag("p", box.state, class_="state"), _harm(box.dangers), cells, class_="box wide"
    )
