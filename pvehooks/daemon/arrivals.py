"""Guests that come to this node: which of them are old, because they were here before the package or come from a node without it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from pvehooks import wording
from pvehooks.daemon.baseline import NodeBaseline
from pvehooks.daemon.membership import Membership
from pvehooks.daemon.settings_in_force import SettingsInForce
from pvehooks.journal.log import Log

_NONE: Mapping[int, str] = MappingProxyType({})


class Arrivals:
    """Keeps the baseline up to date, and logs the first look at the node."""

    def __init__(self, node: str, baseline: NodeBaseline, membership: Membership, settings: SettingsInForce, log: Log) -> None:
        self._node = node
        self._baseline = baseline
        self._membership = membership
        self._settings = settings
        self._log = log
        # The nodes that they come from, by VMID.
        self._came: dict[int, str] = {}
        # Those that came from a node without the package, until they are reviewed.
        self._old: set[int] = set()

    def note(self, came: Mapping[int, str] = _NONE, elsewhere: Mapping[int, str] = _NONE) -> None:
        """Brings the baseline up to date, and notes which guests have come from other nodes. Raises PmxcfsAway.

        `came` are these, `elsewhere` all that are on other nodes: the node by VMID.
        """
        self._came.update(came)
        there = self._baseline.update(elsewhere)
        self._membership.had_no_package = self._membership.had_no_package or (
            self._baseline.is_first and not self._membership.announcement_tried
        )
        if there is not None:
            absence = " after a time without pvehooks" if self._baseline.after_absence else ""
            known = wording.counted(there, "VM")
            self._log.event("first-look", f"first look at node {self._node}{absence}, which has {known} already. {self._of_old()}")

    def add_to_baseline(self) -> None:
        """Adds those to the baseline that come from a node without the package. Raises PmxcfsAway."""
        from_lacking = {
            vmid for vmid, node in self._came.items() if node in self._membership.nodes_without_package
        } | self._baseline.moved_vmids
        self._baseline.add(from_lacking)
        self._baseline.moved_vmids = frozenset()
        self._old.update(from_lacking)
        self._came.clear()

    def reviewed(self, vmids: Iterable[int]) -> bool:
        """These guests were reviewed: whether one of them came from a node without the package."""
        old = self._old.intersection(vmids)
        self._old -= old
        return bool(old)

    def _of_old(self) -> str:
        if self._settings.current.rng().existing == "inject":
            return "Those that need an rng0 are given one ([rng] existing = inject)"
        return "They are given no rng0 automatically until they are edited. To give it to all that need one: pvehooks inject --all"
