"""The loop that stands still: pmxcfs that hangs is logged once with its cause and waited for; all else is left to systemd's watchdog.

A read below /etc/pve returns when pmxcfs answers, and no signal breaks it off (fs/fuse/dev.c, request_wait_answer). So a thread of its own
notices that the loop stands, asks pmxcfs itself, and does meanwhile what the loop cannot do.
"""

from __future__ import annotations

import sys
import threading
import traceback

from pvehooks.daemon import service
from pvehooks.facts.cluster import pmxcfs
from pvehooks.host import Host
from pvehooks.journal.entries import Entry, event
from pvehooks.journal.output import Journal, Lines

# Seconds without progress of the loop after which pmxcfs is asked, and how long it may take to answer.
_PATIENCE = 4.0
_ANSWER = 3.0
_TICK = 0.5
# Seconds after which a loop that stands still while pmxcfs answers is logged, well before WatchdogSec= ends it.
_BUG_AFTER = 40.0


class StallWatch:
    """Watches the thread that makes it. Times are in seconds."""

    def __init__(self, host: Host, output: Journal | Lines, node: str = "", patience: float = _PATIENCE, answer: float = _ANSWER) -> None:
        self.node = node
        self.status = service.Status()
        self._host = host
        self._output = output
        self._patience = patience
        self._answer = answer
        self._loop = threading.get_ident()
        # Both are set by the loop: whether it works, and since when it has made no progress.
        self._works = threading.Event()
        self._rests = threading.Event()
        self._since = 0.0
        self._ready = False
        self._reported_bug = False

    # -- called by the loop -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to watch; the loop works."""
        self.loop_busy()
        threading.Thread(target=self._watch, name="stall", daemon=True).start()

    def loop_busy(self) -> None:
        """The loop works, or has made progress."""
        self._since = self._host.monotonic()
        self._rests.clear()
        self._works.set()

    def loop_idle(self) -> None:
        """The loop waits for something to do."""
        self._works.clear()
        self._rests.set()

    def ready(self) -> None:
        """The loop has started, and has reported that to systemd."""
        self._ready = True

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while True:
            self._works.wait()
            while not self._rests.wait(_TICK):
                if self._seconds_without_progress() >= self._patience:
                    self._on_standstill()

    def _seconds_without_progress(self) -> float:
        return self._host.monotonic() - self._since

    def _on_standstill(self) -> None:
        """The loop stands still: because pmxcfs hangs, or for a reason of its own."""
        answered = threading.Event()
        threading.Thread(target=self._ask, args=(answered,), name="probe", daemon=True).start()
        if answered.wait(self._answer):
            self._report_bug()
            return
        since = self._since
        what, remedy = pmxcfs.hanging(self._host)
        self._log(
            "pmxcfs-away", f"pmxcfs hangs: {what}. Until it answers, VMs can be neither started nor changed, and pvehooks waits. {remedy}"
        )
        self._wait_for_pmxcfs(answered)
        seconds = self._host.monotonic() - since
        self._log("pmxcfs-back", f"pmxcfs answers again; it hung for {seconds:.0f} s. What has changed meanwhile is looked at now")
        self._since = self._host.monotonic()

    def _ask(self, answered: threading.Event) -> None:
        try:
            pmxcfs.version(self._host)
        except Exception:  # noqa: BLE001 - an error is an answer, too; the loop gets the same one, and logs it
            pass
        answered.set()

    def _wait_for_pmxcfs(self, answered: threading.Event) -> None:
        """Keeps systemd content until pmxcfs answers: a restart would hang as well, and a boot must not wait for it."""
        self.status.show("pmxcfs hangs, and is waited for")
        if not self._ready:
            service.notify("READY=1")
        while True:
            service.notify("WATCHDOG=1")
            if answered.wait(_TICK):
                return

    def _report_bug(self) -> None:
        """A loop that stands although pmxcfs answers is ended by the watchdog: where it stands is logged before that."""
        if self._reported_bug or self._seconds_without_progress() < _BUG_AFTER:
            return
        self._reported_bug = True
        frame = sys._current_frames().get(self._loop)
        where = "".join(traceback.format_stack(frame)) if frame else ""
        message = (
            f"the daemon has stood still for {self._seconds_without_progress():.0f} s, and systemd restarts it if it goes on."
            " Please report it: journalctl -t pvehooksd -o verbose PVEHOOKS_EVENT=bug"
        )
        self._log("bug", message, traceback=where)

    def _log(self, kind: str, message: str, **fields: str) -> None:
        entry: Entry = event(kind, message, self.node, None, 0, **fields)
        self._output.write(entry)
