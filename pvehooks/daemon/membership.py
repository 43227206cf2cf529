"""This node as a member of the cluster: the stubs it keeps, the note that it has the package, and whether all nodes have it."""

from __future__ import annotations

import json
from collections.abc import Callable

from pvehooks import __version__, records, wording
from pvehooks.actions import stubs
from pvehooks.errors import PmxcfsAway
from pvehooks.facts.cluster import ha, members
from pvehooks.facts.storage import storages
from pvehooks.host import Host
from pvehooks.journal.log import Log
from pvehooks.values.stubs import is_stub


class Membership:
    """What the last poll found of the cluster."""

    def __init__(self, host: Host, node: str, log: Log, read_config: Callable[[str, int], bytes | OSError] | None = None) -> None:
        self.host = host
        self.node = node
        self._log = log
        # Whether this node did not have the package before the daemon started: what runs now, the administrator alone has accepted.
        self.had_no_package = not host.exists(members.presence_path(node))
        self._keeper = stubs.Keeper(host, node, read_config)
        self._seen: members.Members | None = None
        self._announcement_tried = False
        self._reported: dict[str, frozenset[str]] = {}
        # The hookscripts that any guest of the cluster names.
        self.hookscripts: frozenset[str] = frozenset()

    @property
    def nodes_without_package(self) -> tuple[str, ...]:
        """The nodes that do not have the package."""
        return self._seen.without_package if self._seen else ()

    @property
    def may_attach(self) -> bool:
        """Whether guests may be given a hookscript automatically: every node can run it then."""
        return self._seen is not None and not self._seen.without_package

    def poll(self) -> bool:
        """Keeps the stubs and reads the members; whether guests may be attached to that could not before.

        Raises PmxcfsAway.
        """
        could, before = self.may_attach, self._seen
        self._seen = members.members(self.host, self.node)
        self._log_members(before, self._seen)
        kept = self._keeper.update()
        self.hookscripts = frozenset(kept.named)
        if kept.made:
            self._log.event("stubs-made", f"hookscripts of the guard were made or renewed: {wording.and_more(list(kept.made))}")
        self._once("stub-trouble", kept.troubles, lambda trouble: f"a hookscript of the guard could not be made: {trouble}")
        self._log_absent(kept)
        if self._announcement_tried and not self.had_no_package:
            self.announce()
        return self.may_attach and before is not None and not could

    @property
    def announcement_tried(self) -> bool:
        """Whether it was noted, or tried to note, that this node has the package."""
        return self._announcement_tried

    def all_reviewed(self) -> None:
        """All guests were reviewed: from now on this node is one that has the package, once that can be noted."""
        if not self._announcement_tried or self.had_no_package:
            self.had_no_package = not self.announce()

    def announce(self) -> bool:
        """Notes in pmxcfs that this node has the package; whether that stands there now."""
        content = json.dumps({"version": __version__}).encode() + b"\n"
        try:
            records.write(self.host, members.presence_path(self.node), content, limit=1 << 12)
        except PmxcfsAway:
            # Without quorum; the next poll tries again.
            return False
        finally:
            self._announcement_tried = True
        return True

    def _log_members(self, before: members.Members | None, now: members.Members) -> None:
        if before is None:
            if now.without_package:
                message = "pvehooks is not on all nodes of the cluster, so the guard is attached to no VM automatically:"
                self._log.event(
                    "nodes-lacking",
                    f"{message} missing on {', '.join(now.without_package)}. Install it there, or name VMs: pvehooks attach VMID",
                )
            return
        for node in sorted({*now.without_package} - {*before.without_package}):
            how = "has joined the cluster without pvehooks" if node not in before.nodes else "does not have pvehooks any more"
            self._log.event(
                "node-lacks",
                f"node {node} {how}: PVE refuses to start VMs with the guard there unless it has their hookscript, and the guard is attached"
                f" to no further VM automatically. Install it on {node}, from where this node has it: apt install pvehooks",
            )
        if before.without_package and not now.without_package:
            self._log.event("nodes-complete", "pvehooks is on all nodes of the cluster now")

    def _log_absent(self, kept: stubs.Kept) -> None:
        """Hookscripts of others that high availability would miss here."""
        by_ha = ha.vmids(self.host)
        known = storages.StorageSections(self.host)
        absent = []
        for volid, users in sorted(kept.named.items()):
            movable = [f"VM {vmid} on {node}" for vmid, node in users if vmid in by_ha and node != self.node]
            if movable and not is_stub(volid) and known.hookscript(volid).trouble:
                absent.append(f"{volid} ({wording.and_more(movable, 3)})")
        self._once(
            "hookscript-absent",
            tuple(absent),
            lambda each: f"a hookscript is not on {self.node}, high availability could not start its VM here: {each}. Copy it here",
        )

    def _once(self, kind: str, found: tuple[str, ...], message: Callable[[str], str]) -> None:
        """Logs what the last poll did not find."""
        before = self._reported.get(kind, frozenset())
        self._reported[kind] = frozenset(found)
        for each in found:
            if each not in before:
                self._log.event(kind, message(each))
