"""The node that a verb looks at, and the verdicts on its guests."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pvehooks.cli import root
from pvehooks.errors import NodeError, SettingsError
from pvehooks.facts import hardware
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import configs as guest_facts
from pvehooks.host import Host
from pvehooks.judge import judge, weighed
from pvehooks.records import baseline
from pvehooks.rules import catalogue
from pvehooks.settings.effective import Settings
from pvehooks.settings.load import built_in, checked, compile_to
from pvehooks.values import Asked, Finding, Guest, Node, Verdict
from pvehooks.wording import printable


class View(NamedTuple):
    """A node with its settings and all that guests are seen against."""

    host: Host
    node: str
    settings: Settings

    @property
    def around(self) -> guest_facts.Surroundings:
        """What guests are seen against, as it is now; what is about the node alone does without pmxcfs. Raises PmxcfsAway."""
        return guest_facts.surroundings(self.host, self.node, baseline.read(self.host, self.node))

    def guest(self, vmid: int) -> Guest:
        """The guest; raises GuestNotHere."""
        node_facts.require_guest(self.host, self.node, vmid)
        return guest_facts.read(self.host, self.node, vmid, self.around)

    def guest_ids(self, named: list[int]) -> list[int]:
        """The VMs that were named, or without any, all of the node; raises GuestNotHere, NodeError."""
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

    def facts(self) -> Node:
        """The node as rules see it."""
        return hardware.gather(self.host, self.node)

    def node_findings(self, node: Node) -> list[Finding]:
        """The findings of the node itself, with the severities that the settings give it."""
        return [weighed(finding, self.settings.severities, "bind") for finding in catalogue.look_at_node(node)]

    def guests(self, vmids: list[int]) -> Iterator[Guest]:
        """These guests, each read when its turn comes; raises GuestNotHere."""
        return map(self.guest, vmids)

    def verdicts(self, vmids: list[int], asked: Asked = Asked.NO) -> Iterator[Verdict]:
        """The verdicts on these guests, in this order; one that has vanished meanwhile has a finding that says so."""
        node, around = self.facts(), self.around
        for vmid in vmids:
            guest = guest_facts.read(self.host, self.node, vmid, around)
            yield judge(guest, catalogue.look(guest, node), self.settings, asked)

    def all_verdicts(self, node: Node, step: Callable[[], None] = lambda: None) -> Iterator[Verdict]:
        """The verdicts on all guests of the node. Each config is read once, also for the rules that ask for the other guests.

        `step` is called twice for each guest: when it was read, and when it was judged. Raises NodeError.
        """
        around = self.around
        guests = []
        for vmid in self.guest_ids([]):
            guests.append(guest_facts.read(self.host, self.node, vmid, around))
            step()
        node.guests = tuple(guests)
        for guest in guests:
            verdict = judge(guest, catalogue.look(guest, node), self.settings)
            step()
            yield verdict
            guest.forget()


def view(options: argparse.Namespace, *, own: bool = False, freeing: bool = False) -> View:
    """What the options --root and --node ask for. Raises NodeError, SettingsError.

    A verb that changes something takes no other node of the cluster than its `own`.

    A verb that frees a guest (`freeing`) does its work with broken settings files too, and says so: it may be what a refused start waits for.
    """
    host = root.host(options)
    if not host.is_dir("/"):
        raise NodeError(f"--root {options.root}: there is no such directory")
    node = node_facts.node_name(host, options.node)
    if own:
        node_facts.require_own(host, node)
    try:
        settings = checked(host, catalogue.RULES)
    except SettingsError as error:
        if not freeing:
            raise
        print(f"pvehooks: settings not used, the built-in ones hold: {printable(error.problems[0])}. See: pvehooks config", file=sys.stderr)
        return View(host, node, built_in())
    if host.is_node:
        # The daemon does the same; where none runs, the hookscript has them from here. Only root can.
        with contextlib.suppress(OSError):
            compile_to(host, settings)
    return View(host, node, settings)
