"""Jobs: what a guest is to be given, which job a verdict asks for, and what becomes of one that was refused, failed or has to wait.

How jobs are run is the queue's part. All that is remembered here lies in the guests' states.
"""

from __future__ import annotations

from collections.abc import Callable

from pvehooks.actions.result import Result
from pvehooks.daemon.state import States
from pvehooks.values import Guest, Rng0Decision, Verdict
from pvehooks.values.base import NamedTuple

# Seconds until what had to wait is tried again.
RETRY_PAUSES = (2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
NOT_DUE = Rng0Decision(False, None, "")
# Seconds for which the same tag must be wanted before it is written, and how many are written in an hour at most: each is a write for every
# node of the cluster, and a finding may come and go.
TAG_HOLD = 120.0
TAGS_PER_HOUR = 4
_HOUR = 3600.0


class Job(NamedTuple):
    """A change to a guest."""

    guest: Guest
    # If it is due, the guest is given an rng0.
    rng0_decision: Rng0Decision
    # Whether it is given the guard.
    attach: bool = False
    # Whether the guard leaves it.
    detach: bool = False
    # The tag that becomes its only one of ours ('': none); None: its tags stay.
    tag: str | None = None


class JobResult(NamedTuple):
    """A finished job: it has a result, or failed with an error, or with a bug."""

    job: Job
    result: Result | None
    error: Exception | None

    @property
    def done(self) -> bool:
        """Whether the guest has what the job was for."""
        return self.result is not None and self.result.done


class JobPolicy:
    """Decides which job is wanted for a guest, and when again."""

    def __init__(self, states: States, clock: Callable[[], float]) -> None:
        self._states = states
        self._clock = clock

    def seconds_until_detach(self, verdict: Verdict, patience: float) -> float | None:
        """In how many seconds the guard is to leave the guest, 0 for now; None where it stays.

        It stays for the `patience` after it was first seen to have nothing to examine: a device that is taken out and added again is guarded all
        the while. After a restart of the daemon that begins anew.
        """
        state = self._states.of(verdict.guest.vmid)
        if not verdict.detach:
            state.superfluous_since = None
            return None
        if state.superfluous_since is None:
            state.superfluous_since = self._clock()
        return max(0.0, state.superfluous_since + patience - self._clock())

    def seconds_until_tag(self, guest: Guest, tag: str | None, is_on: bool) -> float | None:
        """In how many seconds that tag is to be written (of wanted_tag.due), 0 for now; None where nothing is, or it was refused.

        While tags are off, those that are there go at once. After a restart of the daemon the hold begins anew.
        """
        state, now = self._states.of(guest.vmid), self._clock()
        if tag is None or state.tag_refused == guest.digest:
            state.tag_due = None
            return None
        if state.tag_due is None or state.tag_due[0] != tag:
            state.tag_due = (tag, now)
        if not is_on:
            return 0.0
        state.tagged = tuple(when for when in state.tagged if when > now - _HOUR)
        free = state.tagged[-TAGS_PER_HOUR] + _HOUR if len(state.tagged) >= TAGS_PER_HOUR else now
        return max(0.0, free - now, state.tag_due[1] + TAG_HOLD - now)

    def tagged(self, job: Job, digest: str) -> None:
        """The guest's tags were changed, and nothing else: what was refused for its config is refused for it with this digest."""
        state = self._states.of(job.guest.vmid)
        state.tag_due = None
        state.tagged += (self._clock(),)
        if state.rng0_refused == job.guest.digest:
            state.rng0_refused = digest
        if state.attach_refused == job.guest.digest:
            state.attach_refused = digest

    def wanted(self, verdict: Verdict, may_attach: bool, may_detach: bool = True) -> Job | None:
        """The job that the verdict asks for, without what was refused for the same config."""
        guest, state = verdict.guest, self._states.of(verdict.guest.vmid)
        inject = verdict.rng0_decision.due and state.rng0_refused != guest.digest
        attach = verdict.attach and may_attach and state.attach_refused != guest.digest
        # The two are never due together; an rng0 comes first, and the review of that asks for the guard's leave again.
        detach = verdict.detach and may_detach and not inject and state.attach_refused != guest.digest
        return Job(guest, verdict.rng0_decision if inject else NOT_DUE, attach, detach) if inject or attach or detach else None

    def refused(self, job: Job) -> None:
        """The same job is not wanted again until the guest or the settings change."""
        state = self._states.of(job.guest.vmid)
        if job.attach or job.detach:
            state.attach_refused = job.guest.digest
        if job.rng0_decision.due:
            state.rng0_refused = job.guest.digest
        if job.tag is not None:
            state.tag_refused = job.guest.digest

    def failed(self, vmid: int, digest: str) -> None:
        """No job is wanted for the guest while its config has this digest: what was written may still ask for one."""
        state = self._states.of(vmid)
        state.rng0_refused = state.attach_refused = state.tag_refused = digest

    def retry(self, vmid: int, reason: str) -> tuple[float, bool]:
        """Notes that the job has to wait; in how many seconds it is to be tried again, and whether the reason is another than before."""
        state = self._states.of(vmid)
        pause = RETRY_PAUSES[min(state.tries, len(RETRY_PAUSES) - 1)]
        state.tries += 1
        before, state.waits = state.waits, reason
        return pause, reason != before
