"""Many nodes as Markdown, for tickets, wikis and mail: the same as fleet_html.py has."""

from __future__ import annotations

import time
from collections.abc import Iterator

from pvehooks.report import fleet as content
from pvehooks.report.fleet import Fleet, FleetNode, NodeFigures
from pvehooks.report.markdown import code, text
from pvehooks.values import Unread
from pvehooks.wording import and_more, counted


def page(fleet: Fleet) -> str:
    """The file's text."""
    parts = (_head, _remarks, _nodes, _free, _places, _differences, _boots, _failures, _skipped)
    return "\n".join(line for part in parts for line in part(fleet))


def _section(title: str, lines: list[str], nothing: str = "") -> Iterator[str]:
    """A heading with its lines; with `nothing` also where there are none."""
    if lines or nothing:
        yield f"## {title}"
        yield ""
        yield from lines or [nothing]
        yield ""


def _head(fleet: Fleet) -> Iterator[str]:
    yield f"# {text(fleet.title)}: passthrough and VMs"
    yield ""
    yield f"Made by pvehooks {fleet.pvehooks}, {time.strftime('%Y-%m-%d %H:%M %Z', time.localtime(fleet.time))}."
    yield ""


def _remarks(fleet: Fleet) -> Iterator[str]:
    lines = [
        f"- {'**' * (each.tone == 'danger')}{text(each.node.title)}{'**' * (each.tone == 'danger')}: {text(each.text)}"
        + (f". On {text(each.node.name)}: {code(each.command)}" if each.command else "")
        for each in content.remarks(fleet)
    ]
    return _section("What needs attention", lines, "Nothing.")


def _nodes(fleet: Fleet) -> Iterator[str]:
    return _section("Nodes", [f"- {text(node.title)}: {text('; '.join(_node(fleet, node)))}" for node in fleet.nodes])


def _node(fleet: Fleet, node: FleetNode) -> Iterator[str]:
    yield node.state
    known = node.known
    if isinstance(known, Unread):
        yield known.why
        return
    yield f"as of {fleet.ago(known.as_of)}"
    yield counted(known.guests, "VM")
    for some, words in ((known.must_not, content.MUST_NOT), (known.would_not, content.WOULD_NOT)):
        if some.total:
            yield f"{some.total} {words}"
    if known.passing:
        yield f"guard: {known.passing - known.unguarded.total} of {known.passing}"
    if not isinstance(known.rng_lacking, Unread):
        yield f"rng0: {known.rng_given} given, {known.rng_lacking.total} without"
    yield f"devices: {known.free.why}" if isinstance(known.free, Unread) else f"{len(known.free)} free to be passed through"
    yield from _versions(node, known)


def _versions(node: FleetNode, known: NodeFigures) -> Iterator[str]:
    yield f"pvehooks {node.version or 'of an unknown version'}"
    for name, value in (("PVE", known.pve), ("kernel", known.kernel)):
        if isinstance(value, str) and value:
            yield f"{name} {value}"


def _free(fleet: Fleet) -> Iterator[str]:
    lines = []
    for kind, listed in content.free_by_kind(fleet).items():
        for each in listed:
            beside = f", with {and_more(list(dict.fromkeys(each.first.beside)), 3)}" if each.first.beside else ""
            named = f"; named by {and_more(list(each.first.named), 4)}" if each.first.named else ""
            where = f"{each.node.title} ({each.node.state})" if each.node.state in content.OUT_OF_DATE else each.node.title
            words = text(f"{kind}, {where}: {each.first.words}{beside}{named}")
            lines.append(f"- {words} ({code(and_more(list(each.addresses), 3))}, as of {fleet.ago(each.as_of)})")
    return _section("Free devices", lines, "None is known.")


def _places(fleet: Fleet) -> Iterator[str]:
    lines = []
    for same in content.same_places(fleet):
        would = f"would start on {and_more(list(same.would), 20)}" if same.would else "would start on no other node"
        others = [f"{start} on {and_more(list(there), 20)}{f' ({rule}: {why})' if rule else ''}" for start, rule, there, why in same.others]
        lines.append(f"- {text(f'{same.who}, now on {same.home}: ' + '; '.join((would, *others)))}")
    if fleet.places_left_out:
        lines.append(f"- {counted(fleet.places_left_out, 'VM')} more: {code('pvehooks check --target NODE')}")
    return _section("Where VMs would start", lines)


def _differences(fleet: Fleet) -> Iterator[str]:
    lines = []
    for each in content.differences(fleet):
        values = "; ".join(f"{value}: {and_more(list(there), 12)}" for value, there in each.values)
        lines.append(f"- {text(f'{each.name}: {values}')}")
    return _section("What differs between nodes", lines)


def _boots(fleet: Fleet) -> Iterator[str]:
    lines = [
        f"- {text(f'{node.title}: kernel {known.next_boot.kernel}: {content.next_boot_phrase(known)}')}, as of {fleet.ago(known.next_boot.looked)}"
        for node, known in fleet.known
        if not isinstance(known.next_boot, Unread)
    ]
    return _section("Next boots", lines)


def _failures(fleet: Fleet) -> Iterator[str]:
    lines = [
        f"- {text(f'{each.label} on {node.title}, {fleet.ago(each.ended)}: {each.why}')}"
        for node, known in fleet.known
        for each in known.failures
    ]
    return _section("Failed starts", lines)


def _skipped(fleet: Fleet) -> Iterator[str]:
    return _section("About the files", [f"- {text(each.file)}: {text(each.why)}" for each in fleet.skipped])
