"""Guests that ended without their post-stop: the hookscript was killed, QEMU was, or an old qemu-server left the phase out.

The daemon's sandbox can neither reach sysfs nor have a unit started: it leaves a file, at which pvehooks-return.path looks.
"""

from __future__ import annotations

from pvehooks.actions.pci import started
from pvehooks.facts.guests import running
from pvehooks.host import Host

REQUESTS = "/run/pvehooks/ended"
# A start that is under way has no QEMU yet, and post-stop takes its time.
_PATIENCE = 30.0
_LONGEST_PAUSE = 3600.0


class EndedGuests:
    """Since when each guest is not running whose start is noted, and when what is due for it is requested next."""

    def __init__(self, host: Host) -> None:
        self._host = host
        # By VMID: when it is due, and the seconds until it is due once more.
        self._due: dict[int, tuple[float, float]] = {}

    def look(self) -> None:
        """Requests what is due for guests that ended."""
        now = self._host.monotonic()
        ended = [vmid for vmid in started.vmids(self._host) if not running.is_running(self._host, vmid)]
        self._due = {vmid: self._due.get(vmid, (now + _PATIENCE, 2 * _PATIENCE)) for vmid in ended}
        for vmid, (due, pause) in self._due.items():
            if due <= now:
                self._due[vmid] = (now + pause, min(2 * pause, _LONGEST_PAUSE))
                self._request(vmid)

    def next(self) -> float:
        """When something is due (monotonic), infinity for never."""
        return min((due for due, _ in self._due.values()), default=float("inf"))

    def _request(self, vmid: int) -> None:
        try:
            self._host.make_dir(REQUESTS, mode=0o700)
            self._host.append(f"{REQUESTS}/{vmid}", b"")
        except OSError:
            # /run is full: the next pause ends as well.
            return
