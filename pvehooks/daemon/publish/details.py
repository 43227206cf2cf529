"""What else a node publishes of itself: versions, its own settings, the last look at the next boot, starts that failed."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.causes import registry
from pvehooks.daemon.stats import GuestStats
from pvehooks.facts.boot import kernels
from pvehooks.facts.node import release, tasks
from pvehooks.host import Host
from pvehooks.records import boot_forecast
from pvehooks.settings.compiled import NODE_FILE
from pvehooks.settings.effective import Settings
from pvehooks.settings.table import written
from pvehooks.values import Unread
from pvehooks.values.summaries import FailedStartSummary, NodeDetails
from pvehooks.values.tasks import Task
from pvehooks.wording import printable

# So many logs are read at most.
_FAILURES = 5


def marks(host: Host) -> object:
    """Something else once what is read here has changed."""
    return tuple(_changed(host, path) for path in (boot_forecast.PATH, tasks.INDEX))


def _changed(host: Host, path: str) -> float:
    try:
        return host.modified(path)
    except OSError:
        return 0.0


def read_details(host: Host, guests: Mapping[int, GuestStats], settings: Settings) -> NodeDetails:
    """The details, as they are now; `guests` are those of this node."""
    known = kernels.read(host)
    running, following = ("", "") if isinstance(known, Unread) else (known.running, known.next)
    lacking = tuple(vmid for vmid, guest in sorted(guests.items()) if guest.rng0 == "lacking")
    failed = _failed(host, guests)
    # A kernel may have been removed since.
    boot = boot_forecast.read(host)
    return NodeDetails(
        pve=release.pve(host),
        kernel=running,
        next_kernel=following,
        rng_given=sum(guest.rng0 == "given" for guest in guests.values()),
        rng_lacking=len(lacking),
        rng_guests=lacking,
        own_settings=own_settings(settings),
        next_boot=None if boot is None or isinstance(known, Unread) or boot.kernel not in known.installed else boot,
        failed_starts=None if failed is None else len(failed),
        failures=() if failed is None else tuple(_failure(host, task) for task in failed[:_FAILURES]),
    )


def own_settings(settings: Settings) -> dict[str, str]:
    """What the node's own file sets for all of its VMs and devices: "section.option" -> value."""
    found = {f"{section}.{option}": setting for (section, option), setting in settings.common.items()}
    found |= {f"rules.{rule}": setting for rule, setting in settings.rules.items()}
    return {name: printable(written(setting.value)) for name, setting in found.items() if setting.place.file == NODE_FILE}


def _failed(host: Host, guests: Mapping[int, GuestStats]) -> list[Task] | None:
    ended = tasks.ended(host)
    return None if isinstance(ended, Unread) else [task for task in tasks.starts_that_failed(ended) if int(task.id) in guests]


def _failure(host: Host, task: Task) -> FailedStartSummary:
    causes = registry.diagnose(tasks.failed_start(host, task, with_kernel=False))
    return FailedStartSummary(int(task.id), task.ended, printable(registry.sentence(causes, task)))
