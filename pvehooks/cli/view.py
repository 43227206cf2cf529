"""The node that a verb reads, and the verdicts on its guests."""

from __future__ import annotations

import argparse
import contextlib
import gc
import sys
from collections.abc import Callable, Collection, Iterator
from itertools import islice

from pvehooks.cli import root
from pvehooks.errors import NodeError, SettingsError
from pvehooks.facts import hardware
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import configs as guest_facts
from pvehooks.facts.guests.index import GuestIndex
from pvehooks.host import Host
from pvehooks.host.readonce import read_once
from pvehooks.judge import judge, with_configured_severity
from pvehooks.records import baseline
from pvehooks.settings.effective import Settings
from pvehooks.settings.load import SettingsUnreadable, built_in, checked, compile_to, last_good
from pvehooks.values import Asked, Finding, Guest, NamedTuple, Node, Verdict
from pvehooks.wording import printable

_BATCH = 100


class _RuleIds(Collection[str]):
    """The ids of all rules. The rules are loaded once a setting names one: most verbs ask none of them."""

    def __contains__(self, id: object) -> bool:
        return id in self._all()

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    @staticmethod
    def _all() -> Collection[str]:
        from pvehooks.rules import catalogue

        return catalogue.RULES


class View(NamedTuple):
    """A node with its settings, and what guests are judged with."""

    host: Host
    node: str
    settings: Settings

    @property
    def guest_context(self) -> guest_facts.GuestContext:
        """The cluster's state that guests are judged with, read anew. Not needed for the node's own facts. Raises PmxcfsAway."""
        return guest_facts.gather_context(self.host, self.node, baseline.read(self.host, self.node))

    def guest(self, vmid: int) -> Guest:
        """The guest; raises GuestNotHere."""
        node_facts.require_guest(self.host, self.node, vmid)
        return guest_facts.read(self.host, self.node, vmid, self.guest_context)

    def guest_ids(self, named: list[int]) -> list[int]:
        """These VMs, or all of the node if none is named; raises GuestNotHere, NodeError."""
        for vmid in named:
            node_facts.require_guest(self.host, self.node, vmid)
        if named:
            return list(dict.fromkeys(named))
        try:
            return node_facts.guest_ids(self.host, self.node)
        except OSError as error:
            raise NodeError(
                f"{node_facts.guest_dir(self.node)}: {error.strerror}",
                hint="Is this a Proxmox VE node, and does pmxcfs run? See: systemctl status pve-cluster",
            ) from error

    def once(self) -> View:
        """The same for one look at all guests: each file is read once, whatever asks. Not for a verb that changes something."""
        return self._replace(host=read_once(self.host, configs=True))

    def facts(self) -> Node:
        """The node as rules see it."""
        return hardware.gather(self.host, self.node, GuestIndex(self.node))

    def node_findings(self, node: Node) -> list[Finding]:
        """The findings of the node itself, with the severities from the settings."""
        from pvehooks.rules import of_node

        return [with_configured_severity(finding, self.settings.severities, "bind") for finding in of_node.findings_of_node(node)]

    def guests(self, vmids: list[int]) -> Iterator[Guest]:
        """These guests, each read when it is needed; raises GuestNotHere."""
        return map(self.guest, vmids)

    def verdicts(self, vmids: list[int], asked: Asked = Asked.NO) -> Iterator[Verdict]:
        """The verdicts on these guests, in this order; one that was removed meanwhile has a finding about that."""
        from pvehooks.rules import catalogue

        node, guest_context = self.facts(), self.guest_context
        for vmid in vmids:
            guest = guest_facts.read(self.host, self.node, vmid, guest_context)
            yield judge(guest, catalogue.findings(guest, node), self.settings, asked)

    def all_verdicts(self, node: Node, step: Callable[[], None] = lambda: None) -> Iterator[Verdict]:
        """The verdicts on all guests of the node, each as soon as it is judged; at last the node has all guests. Raises NodeError.

        `step` is called after each guest.
        """
        from pvehooks.rules import catalogue

        guest_context = self.guest_context
        guests: list[Guest] = []
        waiting = iter(self.guest_ids([]))
        # All guests are kept until the end: the collector need not go through what is loaded by now each time that they have grown by a quarter.
        gc.freeze()
        try:
            # Going to and fro between the system and the rules costs both their caches. The parser remembers the last texts that it took apart.
            while batch := [(vmid, guest_facts.read_raw_or_error(self.host, self.node, vmid)) for vmid in islice(waiting, _BATCH)]:
                for vmid, raw in batch:
                    guest = guest_facts.parse_guest(self.host, self.node, vmid, raw, guest_context)
                    guests.append(guest)
                    yield judge(guest, catalogue.findings(guest, node), self.settings)
                    guest.forget()
                    step()
        finally:
            gc.unfreeze()
        node.guests = tuple(guests)


def _report_slow_writer(host: Host) -> None:
    from pvehooks.actions import writer_process

    writer_process.of(host).report = lambda words: print(f"pvehooks: {printable(words)}", file=sys.stderr)


def view(options: argparse.Namespace, *, own: bool = False, freeing: bool = False, looking: bool = False) -> View:
    """The node that --root and --node select. Raises NodeError, SettingsError.

    A verb that changes something takes its `own` node only, no other one of the cluster.

    A verb that lets a guest start again (`freeing`) also works with broken settings files, after a message: a refused start may depend on it.
    So does one that only shows something (`looking`), but it ends with EXIT_USAGE.
    """
    host = root.host(options)
    if not host.is_dir("/"):
        raise NodeError(f"--root {options.root}: there is no such directory")
    node = node_facts.node_name(host, options.node)
    if own:
        node_facts.require_own(host, node)
        _report_slow_writer(host)
    try:
        settings = checked(host, _RuleIds())
    except SettingsError as error:
        if not freeing and (not looking or isinstance(error, SettingsUnreadable)):
            raise
        options.broken_settings = error.problems[0] if looking else ""
        return View(host, node, _despite(error, host, whole=looking))
    if host.is_node:
        # The daemon does the same; this is for nodes where it does not run. Only root can.
        with contextlib.suppress(OSError):
            compile_to(host, settings)
    return View(host, node, settings)


def _despite(error: SettingsError, host: Host, whole: bool) -> Settings:
    """The settings to go on with, after a message on the error, or on the `whole` of it."""
    good = last_good(host)
    which = "built-in settings" if good is None else "last valid settings ([rng]: the built-in ones)"
    problems = error.problems if whole else error.problems[:1]
    words = f"the {which} are used, because of an error: {printable(problems[0])}"
    print(f"pvehooks: {words}{'' if words.endswith('?') else '.'} See: pvehooks config", file=sys.stderr)
    for problem in problems[1:]:
        print(f"pvehooks: {printable(problem)}", file=sys.stderr)
    return good or built_in()
