"""READY lets the guests start at boot: it waits for the guard of those that PVE starts then, as far as that can be."""

from __future__ import annotations

from pvehooks.daemon.membership import Membership
from pvehooks.daemon.state import States
from pvehooks.journal.log import Log
from pvehooks.values import Guest


class BootGate:
    """Closed while a guest that starts at boot may still get the guard; once open, it stays so."""

    def __init__(self, states: States, membership: Membership, log: Log) -> None:
        self.is_open = False
        self._states = states
        self._membership = membership
        self._log = log

    def wait_for(self, guest: Guest) -> None:
        """The guest starts at boot and is to have the guard by then."""
        self._states.of(guest.vmid).awaited_at_boot = guest.label

    def give_up(self, vmid: int) -> None:
        """The gate waits for this guest no longer."""
        self._states.of(vmid).awaited_at_boot = ""

    def waits(self) -> bool:
        """Whether it waits for a guest, and the guard may come."""
        return not self.is_open and self._membership.may_attach and any(state.awaited_at_boot for _, state in self._states)

    def open(self, why: str) -> None:
        """The guests may start now; logs which of them do so without the guard, and why."""
        self.is_open = True
        for vmid, state in sorted(self._states, key=lambda each: each[0]):
            if not state.awaited_at_boot:
                continue
            label, reason = state.awaited_at_boot, state.waits.partition(" ")[2] or why
            if not self._membership.may_attach:
                reason = f"pvehooks is not on {', '.join(self._membership.nodes_without_package)}"
            self._log.event(
                "boot-unguarded",
                f"{label}: starts at boot without the guard, so nothing looks what it takes from the host: {reason}",
                vmid=vmid,
                rule="guard-not-attached",
            )
            state.awaited_at_boot = ""
