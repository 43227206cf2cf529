"""pvehooks host check: whether the node is ready for passthrough, and which devices can be passed through."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

from pvehooks import wording
from pvehooks.actions.pci import vfs
from pvehooks.cli import envelope, terminal
from pvehooks.cli.view import view
from pvehooks.derived.candidates import candidates, described
from pvehooks.errors import EXIT_BLOCKED, EXIT_OK, UsageError
from pvehooks.facts.pci import bindings
from pvehooks.facts.pci.bindings import BootBinding
from pvehooks.host import Host
from pvehooks.rules.of_node import CHECK_LINES
from pvehooks.values import Finding, Iommu, NamedTuple, Node, PciDevice, Severity, Unread

SUMMARY = "check whether this node is ready for passthrough"
EXAMPLE = "pvehooks host check"
VERDICTS = {Severity.BLOCK: "FAIL", Severity.WARNING: "WARN", Severity.INFO: "INFO", Severity.UNSET: "INFO"}
_ORDER = ("FAIL", "WARN", "INFO", "PASS")


class CheckRow(NamedTuple):
    """A line of the report: a finding, or a passed check (`finding` is None)."""

    verdict: str
    subject: str
    message: str
    finding: Finding | None


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the action takes."""
    parser.add_argument(
        "--next-boot",
        nargs="?",
        const="",
        metavar="KERNEL",
        help="look at this node as it will be after its next boot, with the kernel that it will take or KERNEL: will the VMs start?",
    )
    parser.add_argument("--without", default="", metavar="KERNEL", help="with --next-boot: as if this kernel were removed")
    parser.add_argument(
        "--brief",
        action="store_true",
        help="with --next-boot: ten lines at most, and an entry in the journal, for the hooks of packages",
    )


def run(options: argparse.Namespace) -> int:
    """Prints the checks, most severe first; the status shows whether one of them fails."""
    if options.next_boot is not None:
        # Most of what it loads nothing else here needs.
        from pvehooks.cli import next_boot

        return next_boot.run(options)
    if options.brief or options.without:
        raise UsageError(f"--{'brief' if options.brief else 'without'} is for --next-boot only")
    seen = view(options, looking=True).once()
    node = seen.facts()
    lines = sorted(_lines(node, seen.node_findings(node)), key=lambda line: _ORDER.index(line.verdict))
    also = _also(seen.host)
    devices = [
        (candidate.device.address, candidate.device.words, *described(candidate, node, also(candidate.device)))
        for candidate in candidates(node)
    ]
    if options.json:
        envelope.show(seen.host, seen.node, _document(lines, devices))
    else:
        _show(node, lines, devices)
    return EXIT_BLOCKED if any(line.verdict == "FAIL" for line in lines) else EXIT_OK


def _also(host: Host) -> Callable[[PciDevice], list[str]]:
    """Additional phrases about a device: what binds it at boot, and its virtual functions."""
    noted, by_driverctl = bindings.all_noted(host), bindings.driverctl(host)

    def also(device: PciDevice) -> list[str]:
        note, driver = noted.get(device.address), by_driverctl.get(device.address, "")
        found = [f"pvehooks gives it to {note.purpose} at boot"] if isinstance(note, BootBinding) and note.vfs is None else []
        found += [f"pvehooks gives it {note.purpose} at boot"] if isinstance(note, BootBinding) and note.vfs is not None else []
        found += [f"driverctl gives what is at its address to {driver} at boot"] if driver else []
        most = vfs.possible(host, device)
        return found + ([f"{len(device.virtfns)} of {most} virtual functions"] if most else [])

    return also


def _lines(node: Node, findings: list[Finding]) -> Iterator[CheckRow]:
    for check in CHECK_LINES:
        found = [finding for finding in findings if finding.rule in check.rules]
        for finding in found:
            yield CheckRow(VERDICTS[finding.severity], check.subject, finding.message, finding)
        passed = "" if found else check.passed(node)
        if passed:
            yield CheckRow("PASS", check.subject, passed, None)


def _document(lines: list[CheckRow], devices: list[tuple[str, str, str, str]]) -> dict[str, object]:
    return {
        "checks": [_line(line) for line in lines],
        "devices": [
            {"address": address, "words": wording.printable(name), "verdict": verdict, "message": wording.printable(text)}
            for address, name, verdict, text in devices
        ],
    }


def _line(line: CheckRow) -> dict[str, object]:
    finding = line.finding
    return {
        "verdict": line.verdict.lower(),
        "check": line.subject,
        "rule": finding.rule if finding else None,
        "subject": wording.printable(finding.subject) if finding else None,
        "message": wording.printable(line.message),
        "remedy": wording.printable(finding.remedy) if finding else None,
        "examined": finding.examined if finding else True,
    }


def _show(node: Node, lines: list[CheckRow], devices: list[tuple[str, str, str, str]]) -> None:
    rows = [(line.verdict, line.subject, _text(line)) for line in lines]
    if rows:
        terminal.table(("verdict", "check", "finding, and what to do"), rows)
    if devices:
        print()
        terminal.table(("device", "", "verdict", "why"), devices)
    elif isinstance(node.pci, Unread):
        print(wording.printable(f"The devices were not examined: {node.pci.why}"))
    counts = [(sum(line.verdict == verdict for line in lines), verdict) for verdict in _ORDER]
    ready = isinstance(node.iommu, Iommu) and node.iommu.active
    print()
    print(
        wording.printable(
            f"{node.name}: {', '.join(f'{count} {verdict}' for count, verdict in counts if count)}{'' if ready else '; no passthrough now'}"
        )
    )
    if _has_fix({line.finding.rule for line in lines if line.finding and line.finding.examined}):
        print("what can be fixed automatically, and how: pvehooks host fix --plan")


def _has_fix(rules: set[str]) -> bool:
    """Whether the findings of one of these rules can be fixed; without any, the edits are not loaded."""
    if not rules:
        return False
    from pvehooks.actions.host.fixes import FIXES

    return not rules.isdisjoint(FIXES)


def _text(line: CheckRow) -> str:
    return line.message if line.finding is None else f"{wording.sentence(line.finding)} [{line.finding.rule}]"
