"""The findings in HTML, by rule: of whom, what to do about them, and why they matter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pvehooks.report.content import (
    UNEXAMINED,
    AlikeGuests,
    Report,
    ReportedFinding,
    SharedFinding,
    all_findings,
    by_rule,
    counts,
    is_unstopped,
    merged,
    severity,
)
from pvehooks.report.frame import badge, more
from pvehooks.report.guests_html import TONES, choice
from pvehooks.report.markup import Markup, join, tag
from pvehooks.values import Judged, NamedTuple, StartVerdict
from pvehooks.wording import counted, inline, steps

# Of findings of one rule, and of VMs of one finding, so many are shown at once.
_SHOWN = 12


class _Severity(NamedTuple):
    """How a severity is called: its badge, and the words behind a number of findings, one or several."""

    badge: str
    one: str
    several: str


_SEVERITIES = {
    "block": _Severity("would not start", "forbids a start", "forbid a start"),
    "warning": _Severity("warning", "warning", "warnings"),
    "info": _Severity("info", "for information", "for information"),
    "ignored": _Severity("ignored", "ignored", "ignored"),
    UNEXAMINED: _Severity(UNEXAMINED, UNEXAMINED, UNEXAMINED),
}


def findings(report: Report, together: list[AlikeGuests]) -> Markup:
    """The section of the findings."""
    found = by_rule(report)
    total = counts(each.item for each in all_findings(report))
    words = ", ".join(f"{count} {_SEVERITIES[name].several if count != 1 else _SEVERITIES[name].one}" for name, count in total.items())
    choices = {guest.vmid: choice(number) for number, group in enumerate(together) for guest in group.guests}
    shown = tag("p", f" of {counted(len(found), 'kind')} of findings shown. The filter above hides the others.", class_="shown soft small")
    return tag(
        "section",
        tag("h2", "Findings", id="findings"),
        tag("p", f"{words}. The most severe come first." if words else "Nothing was found.", class_="soft small"),
        tag("div", (_rule(report, rule, listed, choices) for rule, listed in found), class_="rules"),
        shown if found else None,
        aria_labelledby="findings",
    )


def _rule(report: Report, rule: str, listed: list[ReportedFinding], choices: Mapping[int, str]) -> Markup:
    name = severity(listed[0].item)
    shown = _SEVERITIES[name]
    text = report.rules.get(rule)
    explanation = text.explanation.split("\n\n", 1) if text else [rule]
    about_guests = len({each.guest.vmid for each in listed if each.guest})
    who = counted(about_guests, "VM") if about_guests else report.node
    lines = [_shared(each, choices) for each in merged(listed)]
    label = shown.badge if about_guests or name != "block" else "the next boot breaks"
    if any(is_unstopped(each) for each in listed):
        label = StartVerdict.MUST_NOT.value
    return tag(
        "details",
        tag(
            "summary",
            badge(TONES[name], label),
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
        class_=f"rule {TONES[name]}",
        open=name in ("block", "warning"),
    )


def _shared(each: SharedFinding, choices: Mapping[int, str]) -> Markup:
    finding = each.item.finding
    links = [tag("a", tag("bdi", guest.label), href=f"#vm{guest.vmid}") for guest in each.guests]
    who = [join(", " if number else None, link) for number, link in enumerate(links)]
    rest = more(tag("p", who[_SHOWN:]), len(who) - _SHOWN, "VM")
    first = join(tag("b", who[:_SHOWN], " and more" if rest else None, ": ") if who else None, finding.message)
    classes = "".join(dict.fromkeys(choices.get(guest.vmid, "") for guest in each.guests)).strip()
    return tag("li", tag("p", first), _remedy(finding.remedy), _ignored(each.item), rest, class_=classes or None)


def _remedy(remedy: str) -> Markup | None:
    """What to do; each command stands on a line of its own, where a click selects all of it."""
    if not remedy:
        return None
    lines = [
        (tag("p", *_inline(words)) if words else None, tag("code", command, class_="cmd") if command else None)
        for words, command in steps(remedy)
    ]
    return tag("div", tag("b", "What to do: "), lines, class_="todo")


def _inline(words: str) -> Iterator[Markup]:
    for piece, typed in inline(words):
        yield tag("code", piece) if typed else join(piece)


def _ignored(item: Judged) -> Markup | None:
    return tag("p", f"Ignored: {item.ignored}", class_="soft small") if item.ignored else None


def _why(explanation: list[str]) -> Iterator[Markup]:
    """The explanation after its first sentence; where it is from stands on a line of its own."""
    for paragraph in "\n\n".join(explanation).split("\n\n"):
        text, source, origin = paragraph.partition("Source: ")
        first, *points = text.split("\n- ")
        if first.strip():
            yield tag("p", _prose(" ".join(first.split())))
        if points:
            yield tag("ul", (tag("li", _prose(" ".join(point.split()))) for point in points), class_="points")
        if source:
            yield tag("p", "Source: ", _prose(" ".join(origin.split())), class_="small")


def _prose(text: str) -> Iterator[Markup]:
    """Text of ours, in which backticks stand around what is typed."""
    for number, part in enumerate(text.split("`")):
        yield tag("code", part) if number % 2 else join(part)


def _ignoring(rule: str, of_node: bool) -> Markup:
    wanted = f"[rules] with {rule} = info" if of_node else f"[guest VMID] with ignore = {rule}: REASON"
    purpose = "To lower its severity: " if of_node else "To ignore it for one VM: "
    return tag("p", purpose, tag("code", wanted), " in /etc/pvehooks/pvehooks.conf", class_="small")
