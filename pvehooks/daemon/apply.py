"""How a job changes a guest: the daemon's only calls of the actions on a guest's config."""

from __future__ import annotations

from pvehooks.actions import accept, attach, rng
from pvehooks.actions.qm import Outcome
from pvehooks.actions.rng import Result
from pvehooks.daemon.jobs import Job
from pvehooks.host import Host
from pvehooks.settings import RngSettings
from pvehooks.values import Guest, Node


def apply(host: Host, job: Job, settings: RngSettings) -> Result:
    """Gives the guest what the job says; raises ActionFailed when something was written that is not as it should be."""
    if not job.attach:
        return rng.inject(host, job.guest, settings)
    result = attach.attach(host, job.guest, settings, with_rng0=job.injection.due)
    if job.injection.due and result.outcome is Outcome.REFUSED:
        # What stands against the rng0 must not keep the guard off; the next review reports it.
        return attach.attach(host, job.guest, settings)
    return result


def complete_records(host: Host, guest: Guest, recorded: bool) -> None:
    """Completes what an earlier job left half recorded. Raises RecordsUnavailable."""
    if recorded:
        rng.confirm(host, guest)
    attach.adopt(host, guest)


def accept_present(host: Host, guest: Guest, node: Node) -> None:
    """Accepts the devices of a running guest as they are now, for its next starts. Raises RecordsUnavailable."""
    accept.note(host, guest, accept.present(guest, node))
