"""The guests in HTML, those of which the same is to be said together; and what filters them and the findings, without a script."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks import wording
from pvehooks.report.content import SEVERITIES, UNEXAMINED, AlikeGuests, GuestSeen, Report, counts
from pvehooks.report.frame import badge, icon, more
from pvehooks.report.markup import Markup, join, tag
from pvehooks.values import StartVerdict, Unread
from pvehooks.wording import counted

# By severity: colour and icon.
TONES = {"block": "danger", "warning": "warning", "info": "info", "ignored": "none", UNEXAMINED: "unknown"}
# Of guests in one row, so many are shown at once.
_SHOWN = 12
# So many rows can be chosen in the filter, the most severe ones, each with at most so many ranges of VMIDs.
_CHOICES, _RANGES = 60, 4
# What the filter shows by severity, by its id: the words for it.
_LEAST = {"all": "all", "warning": "warnings and worse", "block": "what forbids a start"}


def guests(report: Report, together: list[AlikeGuests]) -> Markup:
    """The section of the guests."""
    listed = [(number, group) for number, group in enumerate(together) if group.rules]
    passed = passed_through(report)
    quiet = [guest for group in together if not group.rules for guest in group.guests]
    names = tag("ul", (tag("li", tag("bdi", guest.label), id=f"vm{guest.vmid}") for guest in quiet), class_="quiet")
    rest: Markup | None = None
    if quiet and len(quiet) <= _SHOWN and listed:
        rest = tag("div", tag("p", badge("good", "nothing found")), names, class_="inside fine")
    elif quiet:
        text = f"{counted(len(quiet), 'VM')} with nothing found"
        rest = tag("details", tag("summary", badge("good", text)), tag("div", names, class_="inside"), class_="more fine", open=not listed)
    return tag(
        "section",
        tag("h2", "VMs", id="guests"),
        tag("p", "There are no VMs.", class_="soft") if not report.guests else None,
        tag("ul", (_row(number, group, passed) for number, group in listed), class_="guests") if listed else None,
        rest,
        aria_labelledby="guests",
    )


def _row(number: int, group: AlikeGuests, passed: Mapping[int, tuple[str, ...]]) -> Markup:
    guest = group.guests[0]
    state = "template" if guest.template else "running" if guest.running else "stopped"
    lines = [
        tag(
            "li",
            icon(TONES[name]),
            tag("a", rule, href="#unread" if name == UNEXAMINED else f"#{rule}"),
            f" ({name}{f', {count} times' if count > 1 else ''})",
            class_=TONES[name],
        )
        for rule, name, count in group.rules
    ]
    several = f"{len(group.guests)} VMs, " if len(group.guests) > 1 else ""
    return tag(
        "li",
        tag(
            "div",
            _names(group.guests),
            _passed(group, passed),
            tag("p", several, tag("span", state, class_=f"state {state}"), class_="soft small"),
        ),
        tag("div", _verdict(guest), " " if guest.guarded is not None else None, _guarded(guest)),
        tag("ul", lines, class_="notes"),
        class_=f"{TONES[SEVERITIES[group.urgency]]}{choice(number)}",
    )


def passed_through(report: Report) -> dict[int, tuple[str, ...]]:
    """What each guest names, by its VMID: "hostpci0: NVIDIA GeForce RTX 3090 and 1 more"."""
    found: dict[int, dict[str, list[str]]] = {}
    for group in () if isinstance(report.groups, Unread) else report.groups:
        for member in group.devices:
            for naming in member.named:
                found.setdefault(naming.vmid, {}).setdefault(naming.option, []).append(member.device.words)
    return {vmid: tuple(f"{option}: {wording.and_more(words, 1)}" for option, words in options.items()) for vmid, options in found.items()}


def _passed(group: AlikeGuests, passed: Mapping[int, tuple[str, ...]]) -> Markup | None:
    """The devices of the guests, where they name the same ones."""
    lists = {passed.get(guest.vmid, ()) for guest in group.guests}
    lines = lists.pop() if len(lists) == 1 else ()
    return tag("ul", (tag("li", line) for line in lines), class_="small") if lines else None


def _names(those: tuple[GuestSeen, ...]) -> Markup:
    names = [tag("span", tag("bdi", guest.label), "," if guest is not those[-1] else None, id=f"vm{guest.vmid}") for guest in those]
    spaced = [join(name, " ") for name in names]
    return join(tag("p", spaced[:_SHOWN], class_="name"), more(tag("p", spaced[_SHOWN:]), len(names) - _SHOWN, "VM"))


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


# -- the filter: radio buttons and a list, which the style sheet looks at ---------------------------------------------------


def choice(number: int) -> str:
    """The class of what is about the guests of that row, with a blank before it; '' where it cannot be chosen."""
    return f" v{number}" if number < _CHOICES else ""


def filters(together: list[AlikeGuests]) -> Markup | None:
    """The form; None where there is nothing to choose from."""
    listed = [(number, group) for number, group in enumerate(together) if group.rules]
    if not listed:
        return None
    levels = (
        tag("label", tag("input", type="radio", name="least", id=f"least-{name}", checked=name == "all"), words)
        for name, words in _LEAST.items()
    )
    options = [
        tag("option", "all VMs and the node", value="all"),
        *(tag("option", _option(group), value=f"v{number}") for number, group in listed[:_CHOICES]),
    ]
    return tag(
        "form",
        tag("fieldset", tag("legend", "Show"), levels),
        tag("label", "of ", tag("select", options, id="by-vm")),
        tag("button", "Show all", type="reset"),
        class_="filter",
        autocomplete="off",
        aria_label="Filter of VMs and findings",
    )


def _option(group: AlikeGuests) -> str:
    if len(group.guests) == 1:
        return group.guests[0].label
    return f"VM {wording.ranges((guest.vmid for guest in group.guests), _RANGES)}"


def filter_style(together: list[AlikeGuests]) -> str:
    """The rules that hide what is not about the chosen row."""
    return "".join(_hiding(number) for number, group in enumerate(together[:_CHOICES]) if group.rules)


def _hiding(number: int) -> str:
    of = f"v{number}"
    hidden = f".guests>li:not(.{of}),.rule:not(:has(.{of})),.found>li:not(.{of})"
    return f".sheet:has(option[value={of}]:checked) :is({hidden}){{display:none}}\n"
