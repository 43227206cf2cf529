"""pvehooks report: the whole picture of the node as a file, for people, tickets, wikis and programs."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import stat
import sys
from collections.abc import Mapping
from functools import cache

from pvehooks import __version__
from pvehooks.cli import envelope, guard_state, last_starts
from pvehooks.cli.commands.rules import remedy
from pvehooks.cli.view import View, view
from pvehooks.derived import groups
from pvehooks.errors import EXIT_OK, NodeError, UsageError
from pvehooks.facts.cluster import corosync
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.node import release
from pvehooks.host import Host
from pvehooks.report import diff as changes
from pvehooks.report import document, html, markdown, plain, summary
from pvehooks.report.content import Fact, Report, ReportedHardware, RuleText, guest_seen
from pvehooks.rules import catalogue
from pvehooks.values import Judged, NamedTuple, Node, Unread
from pvehooks.values.groups import Group
from pvehooks.wording import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.report.fleet import Fleet

SUMMARY = "write a report on the whole node as HTML, Markdown or JSON"
EXAMPLE = "pvehooks report --html /root/pve1.html"
# What the next report is compared with; written by reports for people, as root and on the node itself.
STATE = "/var/lib/pvehooks/report.json"
STDOUT = "-"
# Without a name: HTML is of no use on a terminal, and is wanted where it is sent to a file or a mail.
PAGE = "pvehooks-report.html"
_LARGEST = 1 << 27
# It names guests, serial numbers and addresses.
_MODE = 0o600


class ReportFile(NamedTuple):
    """Where an output goes: a path, and what is there already (mode, owner; None if nothing); '-' is standard output."""

    path: str
    mode: int = _MODE
    owner: tuple[int, int] | None = None


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument(
        "--html",
        metavar="FILE",
        nargs="?",
        const=True,
        help=f"write the report as one HTML file, which loads nothing and runs no scripts ('-': print it); without FILE as {PAGE} in the"
        " current directory, or, where standard output is no terminal, print it",
    )
    parser.add_argument(
        "--markdown",
        metavar="FILE",
        nargs="?",
        const=STDOUT,
        help="write it as Markdown, for tickets and wikis; without FILE, or where no form is asked for, print it",
    )
    parser.add_argument(
        "--summary",
        metavar="FILE",
        nargs="?",
        const=STDOUT,
        help="write it as a short plain text, for a mail, also of a cluster: what forbids a start and what to type, the rest in numbers; without FILE print it",
    )
    parser.add_argument("--cluster", action="store_true", help="report on all nodes of the cluster, by what each publishes")
    parser.add_argument(
        "--from",
        dest="directory",
        metavar="DIR",
        help="report on many nodes or clusters, by their captures and reports (--json) in DIR and in the directories below it",
    )
    parser.add_argument("--since", metavar="FILE", help="show what changed since that report, made by --json (default: since the last one)")


def run(options: argparse.Namespace) -> int:
    """Writes the report in the forms that were asked for."""
    forms = _forms(options)
    places = {form: _place(path) for form, path in forms.items()}
    if options.cluster or options.directory is not None:
        return _run_many(options, places)
    since = None if options.since is None else changes.read(_read(options.since), options.since)
    seen = view(options, looking=True)
    if since and since.node != seen.node:
        raise UsageError(f"{options.since} is a report of {since.node}, not of {seen.node}")
    report = gathered = _gathered(seen)
    fresh = cache(lambda: document.as_json(gathered))
    ours = not node_facts.is_another(seen.host, seen.node)
    former, why = (since, "") if since or not ours else _last(seen)
    if former:
        report = report._replace(changes=changes.compare(former, changes.former(fresh())))
    report = report._replace(no_changes=why)
    written = {"html": html.page, "markdown": markdown.page, "summary": plain.page}
    for form, place in places.items():
        if form == "json":
            envelope.show(seen.host, seen.node, document.as_json(report))
        else:
            _write(place, written[form](report))
    if since is None and ours and seen.host.is_node and any(place.path != STDOUT for place in places.values()):
        _keep(seen.host, fresh())
    _show_where(places, seen.host, seen.node)
    return EXIT_OK


def _run_many(options: argparse.Namespace, places: Mapping[str, ReportFile]) -> int:
    """The same of many nodes. What only that needs is loaded here, programs for captures among it."""
    from pvehooks.report import fleet_document, fleet_html, fleet_markdown, fleet_plain

    host, many = _of_many(options)
    pages = {"html": fleet_html.page, "markdown": fleet_markdown.page, "summary": fleet_plain.page}
    for form, place in places.items():
        if form == "json":
            envelope.show(host, many.node or None, fleet_document.as_json(many))
        else:
            _write(place, pages[form](many))
    _show_where(places, host, many.node)
    return EXIT_OK


def _of_many(options: argparse.Namespace) -> tuple[Host, Fleet]:
    if options.cluster and options.directory is not None:
        raise UsageError("--cluster is about this cluster, --from about files", hint="Leave out one of them.")
    if options.since is not None:
        raise UsageError(
            "--since is for the report on one node", hint=f"Leave out --{'cluster' if options.cluster else 'from'}, or --since."
        )
    if options.cluster:
        from pvehooks.cli import cluster_report

        seen = view(options, looking=True)
        return seen.host, cluster_report.gathered(seen)
    from pvehooks.cli import report_files

    return Host(), report_files.gathered(options, lambda seen: document.as_json(_gathered(seen)))


def _forms(options: argparse.Namespace) -> dict[str, str]:
    """What is to be written where; raises UsageError where two would go to one place."""
    page = options.html
    if page is True:
        page = PAGE if sys.stdout.isatty() else STDOUT
    forms = {"html": page, "markdown": options.markdown, "summary": options.summary, "json": STDOUT if options.json else None}
    forms = {form: path for form, path in forms.items() if path is not None} or {"markdown": STDOUT}
    paths = [path if path == STDOUT else Host().real(path) for path in forms.values()]
    if len(set(paths)) != len(paths):
        raise UsageError(f"{' and '.join(forms)} cannot go to one place", hint=f"Give each a file of its own. Example: {EXAMPLE}")
    return forms


def _place(path: str) -> ReportFile:
    """Where a file is written; only a regular file is replaced. A file of this user keeps its mode and group, a new one has mode 0600."""
    if path == STDOUT:
        return ReportFile(path)
    here = Host()
    real = path
    try:
        real = here.real_output(path)
        mode, uid, gid, _ = here.attributes(real)
    except FileNotFoundError:
        return ReportFile(real)
    except OSError as error:
        raise NodeError(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise UsageError(f"{path} is no regular file", hint="To print the report: give - as the file")
    return ReportFile(real, stat.S_IMODE(mode), (uid, gid)) if uid == os.geteuid() else ReportFile(real)


def _read(path: str) -> bytes:
    try:
        return Host().read(path, limit=_LARGEST)
    except OSError as error:
        raise NodeError(f"{path}: {error.strerror}") from error


def _write(place: ReportFile, text: str) -> None:
    if place.path == STDOUT:
        sys.stdout.write(text)
        return
    try:
        Host().replace(place.path, text.encode(), mode=place.mode, keep_mode=False, owner=place.owner)
    except OSError as error:
        raise NodeError(f"{place.path}: {error.strerror}") from error


def _show_where(places: Mapping[str, ReportFile], host: Host, node: str) -> None:
    """On a terminal; `node` is the one that they are on."""
    if sys.stderr.isatty():
        for place in places.values():
            if place.path != STDOUT:
                print(_where(place, node if host.is_node else ""), file=sys.stderr)


def _where(place: ReportFile, node: str) -> str:
    """Where the file is, and who can read it; how to fetch it from that node ('' for a file of a tree, which is on no node)."""
    owner = "you" if os.geteuid() else "root"
    readers = "every user" if place.mode & 0o004 else f"{owner} and the file's group" if place.mode & 0o040 else f"only {owner}"
    fetch = f" To fetch it, on your computer: scp root@{node}:{shlex.quote(printable(place.path))} ." if node else ""
    return f"Written: {printable(place.path)} ({readers} can read it; it names VMs and devices).{fetch}"


# -- looking ----------------------------------------------------------------------------------------------------------


def _gathered(seen: View) -> Report:
    seen = seen.once()
    node = seen.facts()
    guests = tuple(
        guest_seen(verdict, guard_state.guarded(verdict.guest, seen.settings.guard(verdict.guest.vmid).mode))
        for verdict in seen.all_verdicts(node)
    )
    return Report(
        __version__,
        seen.node,
        int(seen.host.now()),
        (*summary.facts(node), *_release(seen), *_failed_starts(seen)),
        node.iommu,
        _groups(node),
        guests,
        tuple(Judged(finding, "") for finding in seen.node_findings(node)),
        {rule.id: RuleText(rule.id, rule.explanation, remedy(rule), rule.of_node) for rule in catalogue.RULES.values()},
        cluster=corosync.cluster_name(seen.host),
        hardware=ReportedHardware(node.links, node.slots, node.usb, node.layout),
    )


def _release(seen: View) -> tuple[Fact, ...]:
    version = "" if node_facts.is_another(seen.host, seen.node) else release.pve(seen.host)
    return (Fact("Proxmox VE", version),) if version else ()


def _failed_starts(seen: View) -> tuple[Fact, ...]:
    lines = last_starts.lines(seen)
    return (Fact("failed starts", ". ".join(lines)),) if lines else ()


def _groups(node: Node) -> tuple[Group, ...] | Unread:
    return node.pci if isinstance(node.pci, Unread) else groups.groups(node)


# -- the last report --------------------------------------------------------------------------------------------------


def _last(seen: View) -> tuple[changes.Former | None, str]:
    """The last report of this node, or why there is none to compare with."""
    try:
        last = changes.read(seen.host.read(STATE, limit=_LARGEST), STATE)
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"The last report cannot be read: {STATE}: {error.strerror}."
    except UsageError as error:
        return None, f"The last report cannot be used: {error.message}."
    return (last, "") if last.node == seen.node else (None, f"The last report was of {last.node}, which is another node.")


def _keep(host: Host, fresh: dict[str, object]) -> None:
    """Keeps the report for the comparison with the next one; where it cannot be kept, a warning says so."""
    try:
        host.make_dir(os.path.dirname(STATE))
        host.replace(STATE, json.dumps(fresh, separators=(",", ":")).encode(), mode=_MODE, keep_mode=False)
    except OSError as error:
        print(f"pvehooks: this report is not kept for the next one's comparison: {STATE}: {error.strerror}", file=sys.stderr)
