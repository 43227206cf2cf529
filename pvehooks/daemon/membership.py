"""This node's part in the guard beyond its own guests: the stubs it keeps, saying that it has the package, and whether all nodes do."""

from __future__ import annotations

import json
from collections.abc import Callable

from pvehooks import __version__, records
from pvehooks.actions import stubs
from pvehooks.facts import members, storages
from pvehooks.host import Host
from pvehooks.report import entries, words
from pvehooks.report.sink import Journal, Lines
from pvehooks.values.stubs import is_stub


class Presence:
    """What was seen of the cluster at the last look.

    `said` is told the kind of each entry. `came`: this node did not have the package before the daemon started, so what runs now was accepted by nobody but the admin.
    """

    def __init__(self, host: Host, node: str, sink: Journal | Lines, said: Callable[[str], None] = lambda kind: None) -> None:
        self.host = host
        self.node = node
        self.sink = sink
        self.came = not host.exists(members.presence_path(node))
        self._keeper = stubs.Keeper(host, node)
        self._seen: members.Members | None = None
        self._announced = False
        self._said: dict[str, frozenset[str]] = {}
        self._count = said
        # The hookscripts that any guest of the cluster names.
        self.hookscripts: frozenset[str] = frozenset()

    @property
    def lacking(self) -> tuple[str, ...]:
        """The nodes that do not have the package."""
        return self._seen.lacking if self._seen else ()

    @property
    def may_attach(self) -> bool:
        """Whether guests may be given a hookscript by themselves: every node can run it then."""
        return self._seen is not None and not self._seen.lacking

    def look(self) -> bool:
        """Keeps the stubs and looks at the members; whether guests may be attached to that could not before.

        Raises pmxcfs.PmxcfsAway.
        """
        could, before = self.may_attach, self._seen
        self._seen = members.members(self.host, self.node)
        self._say_members(before, self._seen)
        kept = self._keeper.look()
        self.hookscripts = frozenset(kept.named)
        if kept.made:
            self._say("stubs-made", f"hookscripts of the guard were made or renewed: {words.and_more(list(kept.made))}")
        self._once("stub-trouble", kept.troubles, lambda trouble: f"a hookscript of the guard could not be made: {trouble}")
        self._say_absent(kept)
        if self._announced and not self.came:
            self.announce()
        return self.may_attach and before is not None and not could

    @property
    def announced(self) -> bool:
        """Whether it was said, or tried to say, that this node has the package."""
        return self._announced

    def arrived(self) -> None:
        """All guests were looked at: from now on this node is one that has the package, once that can be said."""
        if not self._announced or self.came:
            self.came = not self.announce()

    def announce(self) -> bool:
        """Says in pmxcfs that this node has the package; whether that stands there now."""
        content = json.dumps({"version": __version__}).encode() + b"\n"
        try:
            records.write_pmxcfs(self.host, members.presence_path(self.node), content, limit=1 << 12)
        except records.RecordsUnavailable:
            # Without quorum; the next look tries again.
            return False
        finally:
            self._announced = True
        return True

    def _say_members(self, before: members.Members | None, now: members.Members) -> None:
        if before is None:
            if now.lacking:
                message = "pvehooks is not on all nodes of the cluster, so the guard is attached to no guest by itself:"
                self._say(
                    "nodes-lacking",
                    f"{message} missing on {', '.join(now.lacking)}. Install it there, or name guests: pvehooks attach VMID",
                )
            return
        for node in sorted({*now.lacking} - {*before.lacking}):
            how = "has joined the cluster without pvehooks" if node not in before.nodes else "does not have pvehooks any more"
            self._say(
                "node-lacks",
                f"node {node} {how}: guests with the guard may not start there for want of their hookscript, and the guard is attached"
                f" to no further guest by itself. Install it on {node}: apt install pvehooks",
            )
        if before.lacking and not now.lacking:
            self._say("nodes-complete", "pvehooks is on all nodes of the cluster now")

    def _say_absent(self, kept: stubs.Kept) -> None:
        """Hookscripts of others that high availability would miss here."""
        by_ha = members.ha_guests(self.host)
        known = storages.Storages(self.host)
        absent = []
        for volid, users in sorted(kept.named.items()):
            movable = [f"VM {vmid} on {node}" for vmid, node in users if vmid in by_ha and node != self.node]
            if movable and not is_stub(volid) and known.hookscript(volid).trouble:
                absent.append(f"{volid} ({words.and_more(movable, 3)})")
        self._once(
            "hookscript-absent",
            tuple(absent),
            lambda each: f"a hookscript is not on {self.node}, high availability could not start its guest here: {each}. Copy it here",
        )

    def _once(self, kind: str, found: tuple[str, ...], message: Callable[[str], str]) -> None:
        """Says what was not there at the last look."""
        before = self._said.get(kind, frozenset())
        self._said[kind] = frozenset(found)
        for each in found:
            if each not in before:
                self._say(kind, message(each))

    def _say(self, kind: str, message: str) -> None:
        self._count(kind)
        self.sink.say(entries.event(kind, message, self.node))
