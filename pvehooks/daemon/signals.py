"""Signals, and waking the loop: also when the loop hangs in a read of pmxcfs' FUSE file system, which no handler of Python's interrupts."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable

from pvehooks.host import Host

# How long a qm that runs when the daemon is stopped may take.
QM_GRACE = 20.0
# How long the loop may take to end when no qm runs.
_STOP_GRACE = 1.8


class Signals:
    """SIGTERM and SIGINT set `stop`, SIGHUP sets `reload`; each wakes a poll of fileno()."""

    def __init__(self, host: Host) -> None:
        self.stop = self.reload = False
        self._host = host
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """The descriptor to be polled for reading."""
        return self._read

    def wake(self) -> None:
        """Wakes the loop; may be called in any thread."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"w")

    def drain(self) -> None:
        """Takes all wake-ups so far as seen."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._read, 4096):
                pass

    def catch(self, busy: Callable[[], int], stopping: Callable[[], None]) -> None:
        """From now on signals come here.

        `busy` gives how many jobs run; `stopping` is called when the daemon is asked to stop. Both are called in another thread than the loop's.
        """
        received, sent = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(sent, False)
        signal.set_wakeup_fd(sent, warn_on_full_buffer=False)
        threading.Thread(target=self._pass_on, args=(received, busy, stopping), name="signals", daemon=True).start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked_to_stop)
        signal.signal(signal.SIGHUP, self._asked_to_reload)
        # The kernel gives a signal to the main thread if it takes any, also while that hangs in FUSE and never sees it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})

    def _pass_on(self, received: int, busy: Callable[[], int], stopping: Callable[[], None]) -> None:
        """Wakes the loop for a signal; a loop that hangs in pmxcfs cannot end, so the process is ended for it.

        systemd would wait for us with the restart of pmxcfs that ends the hanging. A request that pmxcfs has taken, and does not answer, keeps any
        process in the kernel until pmxcfs ends (fs/fuse/dev.c, request_wait_answer): TimeoutStopSec= is short for that.
        """
        while numbers := os.read(received, 64):
            self.wake()
            if {signal.SIGTERM, signal.SIGINT} & set(numbers):
                stopping()
                began = self._host.monotonic()
                self._host.sleep(_STOP_GRACE)
                worked = busy()
                while busy() and self._host.monotonic() - began < QM_GRACE + 1:
                    self._host.sleep(0.1)
                if worked:
                    # The loop has collected what ended, and logs it.
                    self._host.sleep(_STOP_GRACE)
                os._exit(0)

    def _asked_to_stop(self, *_: object) -> None:
        self.stop = True

    def _asked_to_reload(self, *_: object) -> None:
        self.reload = True
