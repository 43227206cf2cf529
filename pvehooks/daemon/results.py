"""What follows from a finished job: it is logged, tried again, refused until something changes, or the guest is reviewed anew."""

from __future__ import annotations

from pvehooks.actions.result import Outcome, Result
from pvehooks.daemon.jobs import RETRY_PAUSES, Job, JobResult
from pvehooks.daemon.parts import Parts
from pvehooks.errors import PvehooksError
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import configs as guest_facts
from pvehooks.values.base import sha1
from pvehooks.values.stubs import former_of

# What stands against a change to any guest.
_CONCERNS_ALL = frozenset((Outcome.WAITING, Outcome.UNSAVED))


class ResultCollector:
    """Collects finished jobs. `last_change` describes the last change to a guest, '' when there was none."""

    def __init__(self, parts: Parts) -> None:
        self.last_change = ""
        self._parts = parts
        self._doubtful = False
        # Whether the cause that stops all jobs was logged.
        self._logged = False

    def collect(self) -> tuple[list[int], bool]:
        """The guests that were changed, to be reviewed anew; whether something new stops all jobs.

        Then pmxcfs is to be polled: where it is away or without quorum, that is the cause, else report_cause() logs it.
        """
        changed = []
        self._doubtful = False
        self._logged = self._logged and self._parts.queue.stopped != ""
        for end in self._parts.queue.collect_finished():
            if end.result is None:
                self._failed(end)
            elif end.result.done:
                self._done(end.job, end.result)
                changed.append(end.job.guest.vmid)
            else:
                self._not_done(end.job, end.result)
        if not self._parts.queue.busy:
            self._parts.queue.schedule_trial()
        return changed, self._doubtful

    def report_cause(self) -> None:
        """Logs the cause that stops all jobs, once, where the observer has logged none."""
        if self._parts.queue.stopped:
            self._logged = True
            self._parts.log.event(
                "changes-wait",
                f"VMs can be given nothing now, so all that is due waits: {self._parts.queue.stopped}. It is tried again automatically",
            )

    def try_again(self) -> None:
        """Has one job try whether the cause is over, if that is due."""
        if not self._parts.queue.run_due_trial():
            self._resume_jobs()

    def _resume_jobs(self) -> None:
        if self._parts.queue.resume_all() and self._logged:
            self._parts.log.event("changes-resumed", "VMs can be given what they lack again: what had to wait is done now")
        self._logged = False

    def _done(self, job: Job, result: Result) -> None:
        guest = job.guest
        if result.value:
            later = " It takes effect at its next start, the VM is running." if result.later else ""
            message = f"given rng0 {result.value}, because: {job.rng0_decision.why}.{later} Take it back: pvehooks undo {guest.vmid}"
            self._parts.log.event(
                "injected", message, guest, rule=job.rng0_decision.rule, device="rng0", digest=result.digest, backup=result.backup
            )
            self.last_change = f"VM {guest.vmid} given rng0"
        if job.tag is not None:
            self._tagged(job, job.tag, result)
        elif job.detach:
            self._log_detached(job, result)
        elif result.volid:
            self._log_attached(job, result)
        if self._logged and self._parts.queue.is_trial(guest.vmid):
            self._resume_jobs()
        state = self._parts.states.of(guest.vmid)
        state.job_finished()
        state.last_seen = bytes.fromhex(result.digest)

    def _log_attached(self, job: Job, result: Result) -> None:
        vmid = job.guest.vmid
        former = former_of(result.volid)
        before = f" Its own hookscript {former} is run by it first, in every phase." if former else ""
        message = f"the guard was attached, it has passed-through devices.{before} Take it out: pvehooks detach {vmid}"
        self._parts.log.event(
            "attached", message, job.guest, rule="guard-not-attached", device=result.volid, digest=result.digest, backup=result.backup
        )
        self.last_change = f"guard attached to VM {vmid}"

    def _log_detached(self, job: Job, result: Result) -> None:
        back = f" Its own hookscript {result.volid} is restored." if result.volid else ""
        message = f"the guard was taken out: it has neither passed-through devices nor a firmware image any more.{back} It comes back with the next device"
        self._parts.log.event("detached", message, job.guest, rule="guard-not-needed", digest=result.digest, backup=result.backup)
        self.last_change = f"guard taken out of VM {job.guest.vmid}"

    def _tagged(self, job: Job, tag: str, result: Result) -> None:
        self._parts.jobs.tagged(job, result.digest)
        if result.outcome is not Outcome.DONE:
            return
        guest = job.guest
        if tag:
            message = f"tagged {tag} for Proxmox VE's web interface. What was found: pvehooks check {guest.vmid}. No tags: [gui] tags = off"
        else:
            is_on = self._parts.settings.current.gui.tags
            why = "nothing that it stands for is found any more" if is_on else "[gui] tags is off"
            message = f"its tag of pvehooks was taken away: {why}"
        self._parts.log.event("tagged", message, guest, digest=result.digest)
        self.last_change = f"VM {guest.vmid} {f'tagged {tag}' if tag else 'not tagged any more'}"

    def _not_done(self, job: Job, result: Result) -> None:
        vmid = job.guest.vmid
        if result.outcome is Outcome.CHANGED:
            self._parts.schedule.again(vmid, 0.0)
        elif result.outcome is Outcome.GONE:
            if self._parts.host.exists(node_facts.config_path(self._parts.node, vmid)):
                self._parts.schedule.again(vmid, RETRY_PAUSES[0])
            else:
                self._parts.departures.gone(vmid)
        elif result.outcome in (Outcome.DECLINED, Outcome.REFUSED, Outcome.LOSSY):
            self._refused(job, result)
        else:
            self._wait(job, result)

    def _refused(self, job: Job, result: Result) -> None:
        self._parts.gate.give_up(job.guest.vmid)
        self._parts.jobs.refused(job)
        if job.attach:
            self._parts.log.event("not-attached", f"the guard was not attached: {result.words}", job.guest, rule="guard-not-attached")
        if job.detach:
            self._parts.log.event("not-detached", f"the guard was not taken out: {result.words}", job.guest, rule="guard-not-needed")
        if job.tag is not None:
            self._parts.log.event("not-tagged", f"{_tag_words(job.tag)}: {result.words}", job.guest)
        if job.rng0_decision.due:
            rule = "rng-held-lines-dropped" if result.outcome is Outcome.LOSSY else job.rng0_decision.rule
            self._parts.log.event("not-injected", f"not given an rng0: {result.words}", job.guest, rule=rule)

    def _wait(self, job: Job, result: Result) -> None:
        """Tries again later, with growing pauses; logged once per reason."""
        vmid = job.guest.vmid
        if result.outcome is Outcome.LOCKED:
            # PVE does not start it now either.
            self._parts.gate.give_up(vmid)
        pause, new_reason = self._parts.jobs.retry(vmid, f"{result.outcome.name} {result.words}")
        if result.outcome in _CONCERNS_ALL:
            self._doubtful = self._parts.queue.pause_all(result.words, trials=True) or self._doubtful
            self._parts.queue.submit(job)
            return
        if new_reason:
            self._log_waiting(job, result)
        self._parts.schedule.again(vmid, pause)

    def _log_waiting(self, job: Job, result: Result) -> None:
        rule = job.rng0_decision.rule or ("guard-not-needed" if job.detach else "guard-not-attached")
        if job.tag is not None:
            kind = "not-tagged" if result.outcome is Outcome.BROKEN else "waiting"
            self._parts.log.event(kind, f"{_tag_words(job.tag)} yet: {result.words}. It is tried again automatically", job.guest)
            return
        if result.outcome is not Outcome.BROKEN:
            what = " and ".join(["rng0"] * job.rng0_decision.due + ["the guard"] * job.attach + ["taking out the guard"] * job.detach)
            have = "have" if " and " in what else "has"
            message = f"{what} {have} to wait: {result.words}. It is tried again automatically"
            self._parts.log.event("waiting", message, job.guest, rule=rule)
        elif job.attach:
            self._parts.log.event(
                "not-attached", f"the guard was not attached yet: {result.words}. It is tried again later", job.guest, rule=rule
            )
        elif job.detach:
            self._parts.log.event(
                "not-detached", f"the guard was not taken out yet: {result.words}. It is tried again later", job.guest, rule=rule
            )
        else:
            self._parts.log.event("not-injected", f"not given an rng0 yet: {result.words}. It is tried again later", job.guest, rule=rule)

    def _failed(self, end: JobResult) -> None:
        guest = end.job.guest
        self._parts.gate.give_up(guest.vmid)
        raw = guest_facts.read_raw_or_error(self._parts.host, self._parts.node, guest.vmid)
        self._parts.jobs.failed(guest.vmid, guest.digest if isinstance(raw, OSError) else sha1(raw).hex())
        if isinstance(end.error, PvehooksError):
            message = f"{end.error.message}. {end.error.hint}"
            self._parts.log.event("not-verified", message, vmid=guest.vmid, rule=end.job.rng0_decision.rule)
        elif end.error is not None:
            self._parts.log.bug(end.error, f"{guest.label}: bug while giving it what it lacks", guest.vmid)


def _tag_words(tag: str) -> str:
    return f"the tag {tag} was not given" if tag else "its tag of pvehooks was not taken away"
