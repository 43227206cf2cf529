"""A report as one HTML file: nothing is loaded, nothing is run, and it reads well on a phone, on paper and in the dark."""

from __future__ import annotations

from collections.abc import Iterable

from pvehooks.report import devices_html, findings_html, frame, guests_html, picture, summary
from pvehooks.report.content import Report, ReportDiff, alike, counts
from pvehooks.report.frame import icon, more, when
from pvehooks.report.groups_html import groups
from pvehooks.report.markup import Markup, join, tag
from pvehooks.values import StartVerdict, Unread

# The parts of the page by their ids, as the links to them are called.
_PARTS = {
    "changes": "What changed",
    "devices": "Devices",
    "groups": "IOMMU groups",
    "topology": "Slots and ports",
    "guests": "VMs",
    "findings": "Findings",
}
# Of changes, so many are shown at once.
_SHOWN = 12


def page(report: Report) -> str:
    """The file's text."""
    together = alike(report)
    parts = {
        "changes": _changes(report.changes) if report.changes is not None and report.changes.items else None,
        "devices": devices_html.devices(report),
        "groups": groups(report),
        "topology": devices_html.topology(report),
        "guests": join(guests_html.filters(together), guests_html.guests(report, together)),
        "findings": findings_html.findings(report, together),
    }
    shown = {name: part for name, part in parts.items() if part is not None}
    main = [_header(report, shown), _unchanged(report), *shown.values()]
    return frame.document(f"{report.node}: passthrough and VMs", main, _footer(report), guests_html.filter_style(together))


# -- the head of the page ---------------------------------------------------------------------------------------------


def _header(report: Report, parts: Iterable[str]) -> Markup:
    return tag(
        "header",
        tag("p", "pvehooks, ", when(report.time), class_="over"),
        tag("h1", tag("bdi", report.node)),
        tag("p", summary.paragraph(report), class_="lead"),
        _figures(report),
        tag("nav", tag("ul", (tag("li", tag("a", _PARTS[part], href=f"#{part}")) for part in parts)), aria_label="Parts of this report"),
    )


def _figures(report: Report) -> Markup:
    would_not = sum(guest.start is StartVerdict.WOULD_NOT for guest in report.guests)
    must_not = sum(guest.start is StartVerdict.MUST_NOT for guest in report.guests)
    found = counts((*report.of_node, *(item for guest in report.guests for item in guest.findings)))
    boxes = picture.boxes(report)
    figures = [
        (must_not, "VMs must not start, nothing stops them" if must_not != 1 else "VM must not start, nothing stops it", "danger"),
        (would_not, "VMs would not start" if would_not != 1 else "VM would not start", "danger" if would_not else "good"),
        (found.get("warning", 0), "warnings" if found.get("warning", 0) != 1 else "warning", "warning" if found.get("warning") else "good"),
    ]
    figures = figures if must_not else figures[1:]
    if not isinstance(report.groups, Unread) and not isinstance(report.iommu, Unread) and report.iommu.active:
        danger = sum(box.level == "danger" for box in boxes)
        free = sum(box.group.free for box in boxes)
        figures.append((danger, "groups in danger" if danger != 1 else "group in danger", "danger" if danger else "good"))
        figures.append((free, "groups free to be passed through" if free != 1 else "group free to be passed through", "none"))
    return tag(
        "dl",
        (
            tag("div", tag("dt", words), tag("dd", str(number), icon(tone) if tone != "none" else None, class_=tone))
            for number, words, tone in figures
        ),
        class_="figures",
    )


def _unchanged(report: Report) -> Markup | None:
    """That nothing changed, or why that is not known."""
    if report.changes is None:
        return tag("p", report.no_changes, class_="soft small") if report.no_changes else None
    if report.changes.items:
        return None
    return tag("p", "Nothing changed since the last report, of ", when(report.changes.since), ".", class_="soft small")


def _changes(changes: ReportDiff) -> Markup:
    lines = [
        tag(
            "li",
            tag("span", icon("danger") if change.urgent else None, change.headline, class_="soft small"),
            tag("span", tag("b", tag("bdi", change.what)), f": {change.text}" if change.text else None),
            class_="danger" if change.urgent else None,
        )
        for change in changes.items
    ]
    return tag(
        "section",
        tag("h2", "What changed", id="changes"),
        tag("p", "Since the last report, of ", when(changes.since), class_="soft small"),
        tag("ul", lines[:_SHOWN], class_="changes"),
        more(tag("ul", lines[_SHOWN:], class_="changes"), len(lines) - _SHOWN, "change"),
        aria_labelledby="changes",
    )


def _footer(report: Report) -> Markup:
    unread = summary.unread(report)
    return join(
        join(tag("h2", "Not examined", id="unread"), tag("ul", (tag("li", line) for line in unread))) if unread else None,
        tag(
            "p",
            f"Made by pvehooks {report.pvehooks} on {report.node}. This file loads nothing and runs no scripts."
            " It names VMs, devices and addresses: give it only to people who may know them.",
        ),
    )
