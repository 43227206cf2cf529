"""Many nodes as a short plain text, for a mail: what needs attention and what to type where, the rest in numbers."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.report import fleet as content
from pvehooks.report.fleet import Fleet, FleetNode
from pvehooks.report.plain import INDENT, first_ones, when, wrapped
from pvehooks.wording import and_more, counted, printable

_URGENCY = {"danger": "To be done first:", "warning": "Then:", "unknown": "Not known:"}
# Of nodes in a line.
_NAMED = 8


def page(fleet: Fleet) -> str:
    """The text; its first line says most of it."""
    parts = [_head(fleet), _remarks(fleet), _failures(fleet), _free(fleet), _skipped(fleet), _end(fleet)]
    texts = ("\n".join(part) for part in parts)
    return "\n\n".join(filter(None, texts)) + "\n"


def headline(fleet: Fleet) -> str:
    """The state in a line, as the subject of a mail."""
    known = [figures for _, figures in fleet.known]
    must_not, would_not = sum(each.must_not.total for each in known), sum(each.would_not.total for each in known)
    words = [f"{counted(count, 'VM')} {start}" for count, start in ((must_not, content.MUST_NOT), (would_not, content.WOULD_NOT)) if count]
    troubled = {each.node.title for each in content.remarks(fleet)}
    words += (
        [f"{len(troubled)} of {counted(len(fleet.nodes), 'node')} {'needs' if len(troubled) == 1 else 'need'} attention"]
        if troubled
        else []
    )
    return f"pvehooks in {fleet.title}: {', '.join(words) or 'nothing to do'}"


def _head(fleet: Fleet) -> Iterator[str]:
    yield from wrapped(headline(fleet))
    yield when(fleet.time)
    yield ""
    known = [figures for _, figures in fleet.known]
    guarded = sum(each.passing - each.unguarded.total for each in known)
    parts = [f"{counted(sum(each.guests for each in known), 'VM')} on {len(known)} of {counted(len(fleet.nodes), 'node')} that say so"]
    parts += [f"{guarded} of {counted(sum(each.passing for each in known), 'VM')} with passed-through devices have the guard"]
    oldest = min((each.as_of for each in known), default=None)
    parts += [f"the oldest figures are from {fleet.ago(oldest)}"] if oldest is not None else []
    yield from wrapped(f"{'; '.join(parts)}.")


def _remarks(fleet: Fleet) -> Iterator[str]:
    """By urgency; what is the same of several nodes once."""
    remarks = content.remarks(fleet)
    for number, tone in enumerate(dict.fromkeys(each.tone for each in remarks)):
        if number:
            yield ""
        yield _URGENCY[tone]
        same: dict[tuple[str, str], list[FleetNode]] = {}
        for each in remarks:
            if each.tone == tone:
                same.setdefault((each.text, each.command), []).append(each.node)
        yield from first_ones((_remark(nodes, *what) for what, nodes in same.items()), "remark")


def _remark(nodes: list[FleetNode], text: str, command: str) -> list[str]:
    lines = wrapped(f"{and_more([node.title for node in nodes], _NAMED)}: {text}", INDENT, INDENT * 2)
    # A command stays on one line: it is to be copied.
    return [*lines, f"{INDENT * 4}{printable(command)}"] if command else lines


def _failures(fleet: Fleet) -> Iterator[str]:
    failures = [(node, each) for node, known in fleet.known for each in known.failures]
    if failures:
        yield "Last starts that failed:"
        lines = (f"{each.label} on {node.title}, {fleet.ago(each.ended)}: {each.why}" for node, each in failures)
        yield from first_ones((wrapped(line, INDENT, INDENT * 2) for line in lines), "start")


def _free(fleet: Fleet) -> Iterator[str]:
    where: dict[str, list[str]] = {}
    for kind, listed in content.free_by_kind(fleet).items():
        for each in listed:
            state = f" ({each.node.state})" if each.node.state in content.OUT_OF_DATE else ""
            number = f" {len(each.addresses)} x" if len(each.addresses) > 1 else ""
            where.setdefault(f"{kind}: {each.first.words}", []).append(f"{each.node.title}{state}{number}")
    lines = [wrapped(f"{what}: {and_more(nodes, _NAMED)}", INDENT, INDENT * 2) for what, nodes in where.items()]
    if lines:
        yield "Free to be passed through:"
        yield from first_ones(lines, "device")


def _skipped(fleet: Fleet) -> Iterator[str]:
    if fleet.skipped:
        yield "Files that could not be used, or not wholly:"
        yield from first_ones((wrapped(f"{each.file}: {each.why}", INDENT, INDENT * 2) for each in fleet.skipped), "file")


def _end(fleet: Fleet) -> Iterator[str]:
    yield f"All of it: pvehooks report {'--cluster' if fleet.node else '--from DIR'} --html"
