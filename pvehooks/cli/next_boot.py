"""pvehooks host check --next-boot [KERNEL]: would the VMs with passed-through devices start after the next boot, and what would be lost?"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator

from pvehooks import wording
from pvehooks.cli import audit, envelope, terminal
from pvehooks.cli.view import View, view
from pvehooks.errors import EXIT_BLOCKED, EXIT_COULD_NOT_LOOK, EXIT_OK, NodeError
from pvehooks.facts import nextboot
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import configs as guest_facts
from pvehooks.facts.reading import text_of
from pvehooks.facts.uses.diskuses import UNLESS_NEEDED
from pvehooks.judge import judge, with_configured_severity
from pvehooks.records import boot_forecast
from pvehooks.rules import catalogue, of_node
from pvehooks.values import Finding, Guest, Judged, NamedTuple, Node, Severity, StartVerdict, Unread, Verdict
from pvehooks.values.boot import NextBoot
from pvehooks.values.summaries import NextBootSummary

_MOST_LINES = 10
# What libexec/next-boot showed last: after a kernel's own hook dpkg asks once more.
_SHOWN = "/run/pvehooks/next-boot"
_KEPT = 20
_HEAVY = (Severity.BLOCK, Severity.WARNING)


class NextStart(NamedTuple):
    """What becomes of a guest: "will start", "will not start", "must not start" or "cannot tell", and the finding that is the reason."""

    guest: Guest
    verdict: str
    because: Finding | None
    findings: tuple[Judged, ...]
    # Why nothing prevents what must not happen, as a phrase; '' otherwise.
    unguarded: str
    # What is found of it now, too: rule and subject.
    known: frozenset[tuple[str, str]]

    @property
    def why(self) -> str:
        """The reason in words, '' where it will start."""
        return self.because.message.removeprefix("not examined: ") if self.because else ""

    @property
    def line(self) -> str:
        """All of it in one line."""
        if self.because is None:
            return f"{self.guest.label}: {self.verdict}"
        stops = f" (nothing stops it: {self.unguarded})" if self.unguarded else ""
        return f"{self.guest.label}: {self.verdict}, because {self.why}{stops}"

    @property
    def lost(self) -> list[Finding]:
        """What is lost although it starts: warnings that are not the reason of the verdict, and not found now as well."""
        counted = [item.finding for item in self.findings if not item.ignored]
        new = [each for each in counted if (each.rule, each.subject) not in self.known]
        return [each for each in new if each.severity is Severity.WARNING and each.examined and each is not self.because]


def run(options: argparse.Namespace) -> int:
    """Prints a verdict for each guest; the status is 0: all will start, 1: some will not or must not, or the node may not boot, 3: something is not known."""
    seen = view(options).once()
    node = nextboot.gather(seen.host, seen.node, options.next_boot, options.without)
    if isinstance(node, Unread):
        raise NodeError(f"the next boot of {seen.node} cannot be looked at: {node.why}", hint="See: proxmox-boot-tool kernel list")
    boot = node.next_boot
    assert isinstance(boot, NextBoot)
    losses = _losses(seen, node)
    if options.without:
        losses += _until_restart(seen, options.without)
    answers = _all_answers(seen, node, losses)
    lines = list(map(wording.printable, _lines(seen.node, boot, answers, losses, options.brief)))
    if options.json:
        envelope.show(seen.host, seen.node, _document(boot, answers, losses))
    elif options.brief:
        print("\n".join(lines))
    else:
        terminal.write_all(lines)
    if not options.next_boot:
        _keep(seen, boot, answers, losses)
    if options.brief and lines != text_of(seen.host, _SHOWN).split("\n"):
        _log(seen, boot, answers, losses)
    verdicts = {answer.verdict for answer in answers}
    if any(each.severity is Severity.BLOCK for each in losses) or verdicts & {"will not start", "must not start"}:
        return EXIT_BLOCKED
    known = "cannot tell" not in verdicts and all(each.examined for each in losses)
    return EXIT_OK if known else EXIT_COULD_NOT_LOOK


def _losses(seen: View, node: Node) -> list[Finding]:
    found = (with_configured_severity(each, seen.settings.severities, "bind") for each in of_node.losses_at_next_boot(node))
    return [each.finding for each in wording.sort(Judged(each, "") for each in found)]


def _all_answers(seen: View, node: Node, losses: list[Finding]) -> list[NextStart]:
    stops = next((each for each in losses if each.severity is Severity.BLOCK), None)
    return [_unless_it_boots(answer, stops) for answer in _answers(seen, node)]


def _until_restart(seen: View, without: str) -> list[Finding]:
    """What the node loses before it is restarted, when a kernel is removed that runs."""
    node = nextboot.as_it_is(seen.host, seen.node, without)
    if isinstance(node.modules, Unread) or node.modules.release != without or "missing" not in node.modules.vfio.values():
        return []
    message = f"the kernel {without} is running and is removed: until the restart no VM with a passed-through device starts"
    return [catalogue.RULES["vfio-modules-missing"].complete(Finding("vfio", message, "Restart the node soon: reboot"))]


def _answers(seen: View, node: Node) -> Iterator[NextStart]:
    """Of the node's guests with passed-through devices, none of them running then."""
    now, context_now = seen.facts(), seen.guest_context
    for vmid in seen.guest_ids([]):
        guest = guest_facts.read(seen.host, seen.node, vmid, context_now._replace(running=frozenset()))
        if guest.passes_through and not guest.template:
            guest_now = guest_facts.read(seen.host, seen.node, vmid, context_now)
            known = frozenset((each.rule, each.subject) for each in catalogue.findings(guest_now, now))
            yield _answer(judge(guest, catalogue.findings_at_next_boot(guest, node), seen.settings), known)


def _answer(verdict: Verdict, known: frozenset[tuple[str, str]]) -> NextStart:
    guest = verdict.guest
    refusing = _first(verdict, lambda finding: finding.severity is Severity.BLOCK)
    if refusing is not None:
        words = "must not start" if verdict.start is StartVerdict.MUST_NOT else "will not start"
        return NextStart(guest, words, refusing, verdict.findings, verdict.why_unguarded, known)
    unknown = _first(verdict, lambda finding: not finding.examined or catalogue.RULES[finding.rule].undecided)
    return NextStart(guest, "cannot tell" if unknown else "will start", unknown, verdict.findings, "", known)


def _unless_it_boots(answer: NextStart, stops: Finding | None) -> NextStart:
    """The answer, where something may keep the node itself from booting."""
    if stops is None or answer.because is not None:
        return answer
    return answer._replace(verdict="cannot tell", because=stops._replace(message=f"{answer.guest.node} itself may not boot", remedy=""))


def _first(verdict: Verdict, wanted: Callable[[Finding], bool]) -> Finding | None:
    return next((item.finding for item in verdict.findings if not item.ignored and wanted(item.finding)), None)


# -- for people -------------------------------------------------------------------------------------------------------


def _lines(node: str, boot: NextBoot, answers: list[NextStart], losses: list[Finding], brief: bool) -> Iterator[str]:
    """What is printed: one line where all is well, else one for each guest with what to do, then what is lost beside."""
    head = f"next boot of {node}: kernel {boot.release} ({boot.why})"
    if _well(answers, losses):
        if not answers:
            yield f"{head}; no VM has a passed-through device, and the node loses nothing"
        else:
            yield f"{head}; {wording.counted(len(answers), 'VM')} with passed-through devices will start, and nothing is lost"
        return
    lines = [head if boot.source else f"{head}; its command line is taken to be the one of now, because it cannot be read"]
    starting = [answer for answer in answers if answer.because is None and not answer.lost]
    troubled = [answer for answer in answers if answer not in starting]
    for finding in losses:
        lines.append(f"{node}: {_in_words(finding)} [{finding.rule}]")
        lines += [] if brief else _steps(finding)
    for answer in sorted(troubled, key=lambda each: each.because is None):
        lines += _of_guest(answer, brief)
    if brief:
        labels = [answer.guest.label for answer in starting]
        lines += [f"will start: {wording.and_more(labels)}"] if labels else []
        if len(lines) > _MOST_LINES - 1:
            lines = [*lines[: _MOST_LINES - 2], f"and {len(lines) - _MOST_LINES + 2} lines more"]
        lines.append(f"what to do: pvehooks host check --next-boot {boot.release}")
    else:
        lines += [answer.line for answer in starting]
    yield from lines


def _in_words(finding: Finding) -> str:
    return finding.message if finding.examined else f"cannot tell: {finding.message.removeprefix('not examined: ')}"


def _well(answers: list[NextStart], losses: list[Finding]) -> bool:
    return not losses and all(answer.because is None and not answer.lost for answer in answers)


def _of_guest(answer: NextStart, brief: bool) -> list[str]:
    lines = [answer.line + (f" [{answer.because.rule}]" if answer.because else "")]
    if answer.because is not None and not brief:
        lines += _steps(answer.because)
    for finding in answer.lost:
        lines.append(f"{answer.guest.label}: {finding.message} [{finding.rule}]")
        lines += [] if brief else _steps(finding)
    return lines


def _steps(finding: Finding) -> list[str]:
    """What to do, so that it outlasts a restart: what is mounted is mounted again then."""
    remedy = finding.remedy.replace(UNLESS_NEEDED, f"{UNLESS_NEEDED}, take it out of /etc/fstab, or of what else uses it at boot, and")
    return [f"    {words} {command}".rstrip() for words, command in wording.steps(remedy)] if finding.examined else []


# -- for programs -----------------------------------------------------------------------------------------------------


def _document(boot: NextBoot, answers: list[NextStart], losses: list[Finding]) -> dict[str, object]:
    return {
        "next_boot": {
            "kernel": boot.release,
            "why": wording.printable(boot.why),
            "running_kernel": boot.running,
            "command_line": [wording.printable(word) for word in boot.words],
            "command_line_of": boot.source or None,
            # Deprecated.
            "running": boot.running,
        },
        "guests": [
            {
                "vmid": answer.guest.vmid,
                "name": wording.printable(answer.guest.name),
                "verdict": answer.verdict,
                "because": wording.printable(answer.why) or None,
                "nothing_stops_it": answer.unguarded or None,
                "findings": [wording.as_json(item) for item in wording.sort(answer.findings)],
            }
            for answer in answers
        ],
        "losses": [wording.as_json(Judged(finding, "")) for finding in losses],
    }


def _keep(seen: View, boot: NextBoot, answers: list[NextStart], losses: list[Finding]) -> None:
    """For the summary that the other nodes read. A look at a kernel that was asked for says nothing of the next boot."""
    if not seen.host.is_node or node_facts.is_another(seen.host, seen.node):
        return
    # Only root can; what cannot be kept is no reason not to show it.
    with contextlib.suppress(OSError):
        boot_forecast.write(seen.host, _in_short(seen, boot, answers, losses))


def in_short(seen: View) -> NextBootSummary | Unread:
    """What the next boot brings, in numbers."""
    node = nextboot.gather(seen.host, seen.node)
    if isinstance(node, Unread):
        return node
    assert isinstance(node.next_boot, NextBoot)
    losses = _losses(seen, node)
    return _in_short(seen, node.next_boot, _all_answers(seen, node, losses), losses)


def _in_short(seen: View, boot: NextBoot, answers: list[NextStart], losses: list[Finding]) -> NextBootSummary:
    verdicts = [answer.verdict for answer in answers]
    return NextBootSummary(
        int(seen.host.now()),
        boot.release,
        verdicts.count("will start"),
        verdicts.count("will not start"),
        verdicts.count("must not start"),
        verdicts.count("cannot tell"),
        tuple(answer.guest.vmid for answer in answers if answer.verdict in ("will not start", "must not start"))[:_KEPT],
        len(losses),
        any(each.severity is Severity.BLOCK for each in losses),
    )


def _log(seen: View, boot: NextBoot, answers: list[NextStart], losses: list[Finding]) -> None:
    """One entry: what a person who was not there when the packages were installed has to know."""
    bad = [answer.line for answer in answers if answer.because] + [_in_words(each) for each in losses if each.severity in _HEAVY]
    bad += [f"{answer.guest.label}: {each.message}" for answer in answers for each in answer.lost]
    if bad:
        audit.log(seen.host, seen.node, "next-boot-trouble", f"with the kernel {boot.release}: {'; '.join(bad)}", kernel=boot.release)
    else:
        audit.log(seen.host, seen.node, "next-boot", f"with the kernel {boot.release} all VMs will start", kernel=boot.release)
