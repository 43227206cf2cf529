"""A report as one HTML file: nothing is loaded, nothing is run, and it reads well on a phone, on paper and in the dark."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.report import frame, picture, summary
from pvehooks.report.content import (
    UNEXAMINED,
    GuestSeen,
    Report,
    ReportedFinding,
    SharedFinding,
    all_findings,
    by_rule,
    counts,
    merged,
    severity,
)
from pvehooks.report.frame import badge, icon, more, when
from pvehooks.report.groups_html import groups
from pvehooks.report.markup import Markup, join, tag
from pvehooks.values import Judged, NamedTuple, Refuser, StartVerdict, Unread
from pvehooks.wording import counted

# Of findings of one rule, and of changes, so many are shown at once.
_SHOWN = 12


class _Severity(NamedTuple):
    """How a severity is shown: its colour and icon, its badge, and the words behind a number of findings, one or several."""

    tone: str
    badge: str
    one: str
    several: str


# The most severe first.
_SEVERITIES = {
    "block": _Severity("danger", "would not start", "forbids a start", "forbid a start"),
    "warning": _Severity("warning", "warning", "warning", "warnings"),
    "info": _Severity("info", "info", "for information", "for information"),
    "ignored": _Severity("none", "ignored", "ignored", "ignored"),
    UNEXAMINED: _Severity("unknown", UNEXAMINED, UNEXAMINED, UNEXAMINED),
}


def page(report: Report) -> str:
    """The file's text."""
    main = [_header(report), _changes(report), groups(report), _guests(report), _findings(report)]
    return frame.document(f"{report.node}: passthrough and VMs", main, _footer(report))


# -- the head of the page ---------------------------------------------------------------------------------------------


def _header(report: Report) -> Markup:
    places = [("#groups", "IOMMU groups"), ("#guests", "VMs"), ("#findings", "Findings")]
    if report.changes is not None and report.changes.items:
        places.insert(0, ("#changes", "What changed"))
    return tag(
        "header",
        tag("p", "pvehooks, ", when(report.time), class_="over"),
        tag("h1", tag("bdi", report.node)),
        tag("p", summary.paragraph(report), class_="lead"),
        _figures(report),
        tag("nav", tag("ul", (tag("li", tag("a", text, href=href)) for href, text in places)), aria_label="Parts of this report"),
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


def _changes(report: Report) -> Markup | None:
    changes = report.changes
    if changes is None:
        return tag("p", report.no_changes, class_="soft small") if report.no_changes else None
    if not changes.items:
        return tag("p", "Nothing changed since the last report, of ", when(changes.since), ".", class_="soft small")
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


# -- guests -----------------------------------------------------------------------------------------------------------


def _guests(report: Report) -> Markup:
    listed = sorted((guest for guest in report.guests if guest.findings), key=_urgency)
    quiet = [guest for guest in report.guests if not guest.findings]
    names = tag("ul", (tag("li", tag("bdi", guest.label)) for guest in quiet), class_="quiet")
    rest: Markup | None = None
    if quiet and len(quiet) <= _SHOWN and listed:
        rest = tag("div", tag("p", badge("good", "nothing found")), names, class_="inside")
    elif quiet:
        text = f"{counted(len(quiet), 'guest')} with nothing found"
        rest = tag("details", tag("summary", badge("good", text)), tag("div", names, class_="inside"), class_="more", open=not listed)
    return tag(
        "section",
        tag("h2", "VMs", id="guests"),
        tag("p", "There are no VMs.", class_="soft") if not report.guests else None,
        tag("ul", map(_guest, listed), class_="guests") if listed else None,
        rest,
        aria_labelledby="guests",
    )


def _urgency(guest: GuestSeen) -> tuple[int, int]:
    levels = [list(_SEVERITIES).index(severity(item)) for item in guest.findings]
    return min(levels, default=len(_SEVERITIES)), guest.vmid


def _verdict(guest: GuestSeen) -> Markup:
    if guest.start is not StartVerdict.WOULD:
        return badge("danger", guest.start.value)
    found = counts(guest.findings)
    if "warning" in found:
        return badge("warning", counted(found["warning"], "warning"))
    if UNEXAMINED in found:
        return badge("unknown", "not all examined")
    return badge("good", "would start" if not guest.template else "a template")


def _guarded(guest: GuestSeen) -> Markup | None:
    """The badge of the guard, for a guest that needs it."""
    if guest.guarded is None:
        return None
    if guest.guarded:
        return badge("good", "guarded")
    why = tag("p", f"Nothing stops it: {guest.unguarded}", class_="soft small") if guest.unguarded else None
    return join(badge("warning", "not guarded"), why)


def _guest(guest: GuestSeen) -> Markup:
    state = "template" if guest.template else "running" if guest.running else "stopped"
    rules: dict[tuple[str, str], int] = {}
    for item in guest.findings:
        key = (item.finding.rule, severity(item))
        rules[key] = rules.get(key, 0) + 1
    lines = [
        tag(
            "li",
            icon(_SEVERITIES[name].tone),
            tag("a", rule, href="#unread" if name == UNEXAMINED else f"#{rule}"),
            f" ({name}{f', {count} times' if count > 1 else ''})",
            class_=_SEVERITIES[name].tone,
        )
        for (rule, name), count in rules.items()
    ]
    return tag(
        "li",
        tag("div", tag("p", tag("bdi", guest.label), class_="name"), tag("p", state, class_="soft small")),
        tag("div", _verdict(guest), " " if guest.guarded is not None else None, _guarded(guest)),
        tag("ul", lines, class_="notes"),
        id=f"vm{guest.vmid}",
    )


# -- findings ---------------------------------------------------------------------------------------------------------


def _findings(report: Report) -> Markup:
    found = by_rule(report)
    total = counts(each.item for each in all_findings(report))
    words = ", ".join(f"{count} {_SEVERITIES[name].several if count != 1 else _SEVERITIES[name].one}" for name, count in total.items())
    return tag(
        "section",
        tag("h2", "Findings", id="findings"),
        tag("p", f"{words}. The most severe come first." if words else "Nothing was found.", class_="soft small"),
        (_rule(report, rule, listed) for rule, listed in found),
        aria_labelledby="findings",
    )


def _rule(report: Report, rule: str, listed: list[ReportedFinding]) -> Markup:
    name = severity(listed[0].item)
    shown = _SEVERITIES[name]
    text = report.rules.get(rule)
    explanation = text.explanation.split("\n\n", 1) if text else [rule]
    about_guests = len({each.guest.vmid for each in listed if each.guest})
    who = counted(about_guests, "VM") if about_guests else report.node
    lines = [_shared(each) for each in merged(listed)]
    label = shown.badge if about_guests or name != "block" else "the next boot breaks"
    if any(_unstopped(each) for each in listed):
        label = StartVerdict.MUST_NOT.value
    return tag(
        "details",
        tag(
            "summary",
            badge(shown.tone, label),
            " ",
            tag("h3", _prose(" ".join(explanation[0].split()))),
            tag("span", tag("code", rule), f", {who}", class_="tail"),
        ),
        tag(
            "div",
            tag("ul", lines[:_SHOWN], class_="found"),
            more(tag("ul", lines[_SHOWN:], class_="found"), len(lines) - _SHOWN, "finding"),
            tag("div", _why(explanation[1:]), _ignoring(rule, bool(text and text.of_node)), class_="why"),
            class_="inside",
        ),
        id=rule,
        class_=f"rule {shown.tone}",
        open=name in ("block", "warning"),
    )


def _unstopped(each: ReportedFinding) -> bool:
    """Whether the finding forbids a start that nothing stops."""
    must_not = each.guest is not None and each.guest.start is StartVerdict.MUST_NOT
    return must_not and severity(each.item) == "block" and each.item.finding.refuser is not Refuser.PVE


def _shared(each: SharedFinding) -> Markup:
    finding = each.item.finding
    remedy = tag("p", tag("b", "What to do: "), finding.remedy, class_="todo") if finding.remedy else None
    links = [tag("a", tag("bdi", guest.label), href=f"#vm{guest.vmid}") for guest in each.guests]
    who = [join(", " if number else None, link) for number, link in enumerate(links)]
    rest = more(tag("p", who[_SHOWN:]), len(who) - _SHOWN, "VM")
    first = join(tag("b", who[:_SHOWN], " and more" if rest else None, ": ") if who else None, finding.message)
    return tag("li", tag("p", first), remedy, _ignored(each.item), rest)


def _ignored(item: Judged) -> Markup | None:
    return tag("p", f"Ignored: {item.ignored}", class_="soft small") if item.ignored else None


def _why(explanation: list[str]) -> Iterator[Markup]:
    """The explanation after its first sentence; where it is from stands on a line of its own."""
    for paragraph in "\n\n".join(explanation).split("\n\n"):
        text, source, origin = paragraph.partition("Source: ")
        if text.strip():
            yield tag("p", _prose(" ".join(text.split())))
        if source:
            yield tag("p", f"Source: {' '.join(origin.split())}", class_="small")


def _prose(text: str) -> Iterator[Markup]:
    """Text of ours, in which backticks stand around what is typed."""
    for number, part in enumerate(text.split("`")):
        yield tag("code", part) if number % 2 else join(part)


def _ignoring(rule: str, of_node: bool) -> Markup:
    wanted = f"[rules] with {rule} = info" if of_node else f"[guest VMID] with ignore = {rule}: REASON"
    purpose = "To lower its severity: " if of_node else "To ignore it for one VM: "
    return tag("p", purpose, tag("code", wanted), " in /etc/pvehooks/pvehooks.conf", class_="small")


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
