"""How a job changes a guest: the daemon's only calls of the actions on a guest's config."""

from __future__ import annotations

from pvehooks.actions import accept, guardhook, rng0, tags
from pvehooks.actions.pci import remember
from pvehooks.actions.result import Outcome, Result
from pvehooks.daemon.jobs import Job
from pvehooks.daemon.settings_in_force import SettingsInForce
from pvehooks.facts.pci.fingerprints import Fingerprints
from pvehooks.host import Host
from pvehooks.values import Guest, Node


class Worker:
    """Works on jobs. There is one for as long as the daemon runs: what its jobs share is made once, and kept here.

    work() is called by several threads at the same time, each with a job of another guest, and a thread comes with the next job as soon as
    one is done. So a writer process that serves one request after another is never without one, and needs no batches to be put together.
    """

    def __init__(self, host: Host, settings: SettingsInForce) -> None:
        self._host = host
        self._settings = settings

    def work(self, job: Job) -> Result:
        """Gives the guest what the job is for; raises ActionFailed when something was written that is not as it should be."""
        host, guest, settings = self._host, job.guest, self._settings.current.rng(job.guest.vmid)
        if job.tag is not None:
            return tags.write(host, guest, job.tag, settings)
        if job.detach:
            # Without a record of it: the guard comes back with the next device.
            return guardhook.detach(host, guest, settings, remember=False)
        if not job.attach:
            return rng0.inject(host, guest, settings)
        result = guardhook.attach(host, guest, settings, with_rng0=job.rng0_decision.due)
        if not job.rng0_decision.due or result.outcome not in (Outcome.DECLINED, Outcome.REFUSED, Outcome.BROKEN):
            return result
        # What stands against one of the two must not keep the other off; the next review reports it.
        result = guardhook.attach(host, guest, settings)
        if result.outcome in (Outcome.DECLINED, Outcome.BROKEN):
            given = rng0.inject(host, guest, settings)
            return given if given.done else result
        return result


def complete_records(host: Host, guest: Guest, recorded: bool) -> None:
    """Completes what an earlier job left half recorded, and records what the guest has of another's making. Raises PmxcfsAway."""
    if recorded:
        rng0.confirm(host, guest)
    rng0.remember(host, guest)
    guardhook.adopt(host, guest)


def complete_tag(host: Host, guest: Guest, tag: str, is_on: bool) -> None:
    """The same for its tag, where none is to be written."""
    tags.complete(host, guest, tag, is_on)


def accept_present(host: Host, guest: Guest, node: Node) -> None:
    """Accepts the devices of a running guest as they are now, for its next starts. Raises PmxcfsAway."""
    accept.record_accepted(host, guest, accept.would_start_with(guest, node))


def remember_devices(host: Host, guest: Guest, prints: Fingerprints) -> None:
    """Remembers which devices the guest means, for `pvehooks follow`. Raises PmxcfsAway."""
    remember.store(host, remember.of_guest(host, guest, prints))
