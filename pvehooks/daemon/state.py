"""What the daemon remembers of each guest between two reviews."""

from __future__ import annotations

from collections.abc import Iterator


class GuestState:
    """One guest. Digests are the SHA-1 of its config, '' where there is none."""

    __slots__ = (
        "attach_refused",
        "awaited_at_boot",
        "devices",
        "is_being_made",
        "last_seen",
        "reported_unguarded_pid",
        "rng0_refused",
        "superfluous_since",
        "tag_due",
        "tag_refused",
        "tagged",
        "tries",
        "urgent",
        "waits",
    )

    def __init__(self) -> None:
        # The SHA-1 of the config at its last review, as bytes, or the error that kept it from being read.
        self.last_seen = b""
        # Its lines of passed-through devices then, and whether Proxmox VE was still making it.
        self.devices: frozenset[bytes] = frozenset()
        self.is_being_made = False
        # Whether its next start may depend on the job that is due: it comes before those of others.
        self.urgent = False
        # The process that was reported to have been started without the guard.
        self.reported_unguarded_pid = 0
        # Of the config for which an rng0, the guard, or a tag was refused: it is tried again when the config changes.
        self.rng0_refused = ""
        self.attach_refused = ""
        self.tag_refused = ""
        # Since when its guard is seen to have nothing to examine, on the clock; None where it has.
        self.superfluous_since: float | None = None
        # The tag that is wanted, and since when, on the clock; and when tags were written in the last hour.
        self.tag_due: tuple[str, float] | None = None
        self.tagged: tuple[float, ...] = ()
        # How often a job has had to wait, and the reason of the last time, '' when none waits.
        self.tries = 0
        self.waits = ""
        # The guest's label while READY waits for its guard.
        self.awaited_at_boot = ""

    def job_finished(self) -> None:
        """No job waits any more."""
        self.tries, self.waits, self.awaited_at_boot = 0, "", ""


class States:
    """The states by VMID."""

    def __init__(self) -> None:
        self._states: dict[int, GuestState] = {}

    def of(self, vmid: int) -> GuestState:
        """The guest's state, a new one if there is none."""
        state = self._states.get(vmid)
        if state is None:
            state = self._states[vmid] = GuestState()
        return state

    def known(self, vmid: int) -> GuestState | None:
        """The guest's state, None if it was not reviewed yet."""
        state = self._states.get(vmid)
        return state if state is not None and state.last_seen else None

    def __iter__(self) -> Iterator[tuple[int, GuestState]]:
        return iter(self._states.items())

    def forget(self, vmid: int) -> None:
        """The guest is not on this node any more."""
        self._states.pop(vmid, None)

    def waiting(self) -> list[int]:
        """The guests whose jobs wait."""
        return [vmid for vmid, state in self._states.items() if state.waits]

    def reconsider(self) -> None:
        """The settings are new: what was refused, or had to wait, is tried as if for the first time."""
        for state in self._states.values():
            state.rng0_refused = state.attach_refused = state.tag_refused = state.waits = ""
            state.tries = 0
