"""The baseline of this node: which guests are older than the package here, also when it comes back after it was gone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from pvehooks import records
from pvehooks.errors import PmxcfsAway
from pvehooks.facts.cluster import members
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import configs as guest_facts
from pvehooks.formats import guestconfig
from pvehooks.host import Host
from pvehooks.records import baseline
from pvehooks.records.baseline import Baseline, KnownGuest

# This installation's own note, so that another one is known as such: /var/lib/pvehooks goes with the node's disk, and with a purge.
# That it is gone when the package is removed, postrm sees to.
INSTALLATION_NOTE = "/var/lib/pvehooks/first-look.json"
# How often it is noted that the daemon runs, and how long it may not have run: an upgrade or a repair takes less.
_HEARTBEAT = 3600
_LONG_ABSENCE = 86400


class NodeBaseline:
    """The node's first look, and what is known of guests from elsewhere."""

    def __init__(self, host: Host, node: str) -> None:
        self.host = host
        self.node = node
        # What guests are compared with.
        self.recorded: Baseline | None = None
        # Whether it was made when the daemon started, and whether there was one before that.
        self.is_first = self.after_absence = False
        # The guests that have come from nodes without the package while no daemon ran here.
        self.moved_vmids: frozenset[int] = frozenset()
        self._own: Baseline | None = None
        self._others: dict[str, tuple[tuple[float, int], Baseline | None]] = {}
        self._unreported = False
        self._noted_at = 0.0
        # What is noted at least: a clock that is behind the last note at the start may be wrong, and counts after an hour, or once it is set.
        self._seen_at_least = 0
        self._elsewhere: Mapping[int, str] = {}
        self._without: list[int] = []

    def update(self, elsewhere: Mapping[int, str]) -> int | None:
        """Brings it up to date; after a first look that is stored now, once, how many guests were there. Raises PmxcfsAway.

        `elsewhere` are the nodes of other nodes' guests, another mapping after each change.
        """
        if self._own is None:
            found = baseline.read_file(self.host, baseline.path(self.node))
            here = self._read_installation_note()
            seen = here.get("seen")
            self._seen_at_least = seen if isinstance(seen, int) else 0
            if found is not None and self._still_valid(found, here):
                self._own = found
                without = here.get("without_package")
                self.moved_vmids = self._own_vmids() & {
                    vmid for vmid in (without if isinstance(without, list) else ()) if isinstance(vmid, int)
                }
            else:
                self.is_first = self._unreported = True
                self.after_absence = found is not None
                self._own = self._make_baseline(found)
        elif not self._own.stored:
            # Configs that could not be read a moment ago may be missing in it.
            self._own = self._make_baseline(self._own) if self._unreported else baseline.write(self.host, self._own)
        self._note_installation(self._own, elsewhere)
        self.recorded = baseline.joined(self._own, self._of_others())
        if not (self._unreported and self._own.stored):
            return None
        self._unreported = False
        return sum(noted.time == self._own.time for noted in self._own.guests.values())

    def add(self, vmids: Iterable[int]) -> None:
        """Guests have moved here from nodes without the package: they are as those that were there before it. Raises PmxcfsAway.

        Of those that came so earlier, those that no node has any more go.
        """
        marks = self._fingerprints(vmids)
        if not marks or self._own is None:
            return
        now = int(self.host.now())
        noted = {vmid: KnownGuest(mark, now) for vmid, mark in marks.items()}
        here = self._own_vmids()
        before = {
            vmid: known
            for vmid, known in self._own.guests.items()
            if known.time == self._own.time or vmid in here or vmid in self._elsewhere or not here
        }
        self._own = baseline.write(self.host, self._own._replace(guests={**before, **noted}))
        self.recorded = baseline.joined(self._own, self._of_others())

    def _read_installation_note(self) -> Mapping[str, object]:
        try:
            return records.load_object(self.host.read(INSTALLATION_NOTE, limit=1 << 20)) or {}
        except OSError:
            return {}

    def _own_vmids(self) -> frozenset[int]:
        return frozenset(node_facts.guest_ids_or_none(self.host, self.node))

    def _still_valid(self, found: Baseline, here: Mapping[str, object]) -> bool:
        """Whether it is of this installation, and the daemon was not away for long while guests were made or edited."""
        seen = here.get("seen")
        if (here.get("node"), here.get("time")) != (self.node, found.time) or not isinstance(seen, int):
            return False
        return self.host.now() - seen < _LONG_ABSENCE or not self._changed_since(seen + _HEARTBEAT)

    def _changed_since(self, time: float) -> bool:
        """Whether a guest's config was written since then: not so on a node that was just off."""
        for vmid in self._own_vmids():
            try:
                if self.host.modified(node_facts.config_path(self.node, vmid)) > time:
                    return True
            except OSError:
                continue
        return False

    def _make_baseline(self, before: Baseline | None) -> Baseline:
        """All guests of this node as they are now; what was noted of guests that are elsewhere by now stays."""
        marks = self._fingerprints(self._own_vmids())
        guests: dict[int, KnownGuest] = {}
        # The clock may have gone back meanwhile.
        now = max(int(self.host.now()), before.time if before else 0)
        if before is not None:
            nodes = (name for name in node_facts.node_names(self.host) if name != self.node)
            elsewhere = {vmid for name in nodes for vmid in node_facts.guest_ids_or_none(self.host, name)}
            guests.update((vmid, noted) for vmid, noted in before.guests.items() if vmid in elsewhere)
        guests.update((vmid, KnownGuest(mark, now)) for vmid, mark in marks.items())
        return baseline.write(self.host, Baseline(now, self.node, guests))

    def _fingerprints(self, vmids: Iterable[int]) -> dict[int, str]:
        """The fingerprints of those that can be read."""
        marks: dict[int, str] = {}
        models: frozenset[str] | None = None
        for vmid in vmids:
            models = guest_facts.known_cpu_models(self.host) if models is None else models
            raw = guest_facts.read_raw_or_error(self.host, self.node, vmid)
            if not isinstance(raw, OSError):
                marks[vmid] = baseline.fingerprint(guestconfig.parse(raw, models))
        return marks

    def _note_installation(self, own: Baseline, elsewhere: Mapping[int, str]) -> None:
        """Notes that this baseline is of this installation, that the daemon runs, and who could come from a node without the package meanwhile.

        A write to the node's own disk, once an hour and when others' guests change.
        """
        now = self.host.now()
        if elsewhere is not self._elsewhere:
            self._elsewhere = elsewhere
            nodes = {name for name in set(elsewhere.values()) if not members.has_package(self.host, name)}
            without = sorted(vmid for vmid, name in elsewhere.items() if name in nodes)
            self._noted_at = 0.0 if without != self._without else self._noted_at
            self._without = without
        if not own.stored or abs(now - self._noted_at) < _HEARTBEAT:
            return
        if self._noted_at:
            # An hour has passed, or the clock was set.
            self._seen_at_least = 0
        self._noted_at = now
        seen = max(int(now), self._seen_at_least)
        content = json.dumps({"node": self.node, "time": own.time, "seen": seen, "without_package": self._without}).encode() + b"\n"
        try:
            self.host.make_dir(INSTALLATION_NOTE.rpartition("/")[0], mode=0o700)
            self.host.replace(INSTALLATION_NOTE, content, mode=0o600)
        except OSError:
            # Without it the next start takes all guests for old ones, which changes nothing of them.
            return

    def _of_others(self) -> list[Baseline]:
        """The baselines of the other nodes, read anew where a file has changed."""
        mine = baseline.path(self.node)
        found = {}
        for path in baseline.paths(self.host):
            if path == mine:
                continue
            try:
                mark = (self.host.modified(path), self.host.size(path))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise PmxcfsAway(f"{path}: cannot be read ({error.strerror})") from error
            known = self._others.get(path)
            found[path] = known if known and known[0] == mark else (mark, baseline.read_file(self.host, path))
        self._others = found
        return [each for _, each in found.values() if each is not None]
