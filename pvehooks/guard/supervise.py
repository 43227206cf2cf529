"""Work in a process of its own, killed at its deadline: a signal handler does not interrupt a read that hangs.

A process that hangs in the kernel (state D, also in a read that FUSE has taken on) dies only when the read ends. It is left behind, and
so holds none of the streams that PVE reads to their end: what it prints goes through a pipe to the one who waits for it.
"""

from __future__ import annotations

import _signal as signal  # module signal takes 3 ms to import
import os
import select
import time

from pvehooks.guarding import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Tell = Callable[[str], None]

# What the work ends with when it raises; every other status is its own.
CRASHED = 3
_KILLED_SECONDS = 0.2
# For work that ends when it has undone what it began (see Finishing).
# PVE kills a task's processes 5 s after it asked them to end (pve-common, RESTEnvironment.pm).
_FINISHING_SECONDS = 4.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Begins a line for the one who waits; all others are for PVE's task log.
_TOLD = b"\0"


def run(work: Callable[[Tell], int], seconds: float, heed: Callable[[list[str]], float | None]) -> int | None:
    """Runs the work, which may print lines, and `tell` others to the listener: each may give it that many seconds more, from then on.

    Its status, minus the number of the signal that ended it, or None when it was killed at its deadline. When this process is asked
    to end (SIGTERM, SIGINT, SIGHUP), the work is ended too, with the time to undo what it has begun, and the process ends with status 1.
    """
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        os._exit(_work(work, theirs))
    os.close(theirs)
    for number in _SIGNALS:
        signal.signal(number, lambda *_: _end(pid))
    try:
        in_time = _listen(ours, seconds, heed)
    finally:
        os.close(ours)
    if in_time:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    _kill(pid)
    return None


def _work(work: Callable[[Tell], int], pipe: int) -> int:
    try:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        # A parent that is gone ends the work at the next line.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.dup2(pipe, 1)
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        os.dup2(nowhere, 2)
        return work(lambda line: words.write(_TOLD + line.encode() + b"\n"))
    except BaseException:  # noqa: BLE001 - whatever it is, the process ends here
        return CRASHED


def _listen(pipe: int, seconds: float, heed: Callable[[list[str]], float | None]) -> bool:
    """Hears the work until it ends; whether it did so in time."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    limit = time.monotonic() + seconds
    heard = b""
    while True:
        left = limit - time.monotonic()
        chunk = os.read(pipe, 1 << 16) if left > 0 and poll.poll(left * 1000) else None
        if not chunk:
            if heard and not heard.startswith(_TOLD):
                words.write(heard + b"\n")
            return chunk is not None
        *lines, heard = (heard + chunk).split(b"\n")
        for line in lines:
            if not line.startswith(_TOLD):
                words.write(line + b"\n")
            elif (more := heed(line[1:].decode().split())) is not None:
                limit = time.monotonic() + more


class Finishing:
    """In its context the work is not ended by who asks the process to end, but can ask (by a call) whether somebody did."""

    def __init__(self) -> None:
        self._asked = False

    def __call__(self) -> bool:
        return self._asked

    def __enter__(self) -> Finishing:
        for number in _SIGNALS:
            signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)

    def _note(self, *_: object) -> None:
        self._asked = True


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    _wait(pid, _KILLED_SECONDS)


def _wait(pid: int, seconds: float) -> None:
    limit = time.monotonic() + seconds
    while not os.waitpid(pid, os.WNOHANG)[0] and time.monotonic() < limit:
        time.sleep(0.005)


def _end(pid: int) -> None:
    """Ends the work, which may not listen, and this process."""
    try:
        os.kill(pid, signal.SIGTERM)
        _wait(pid, _FINISHING_SECONDS)
        os.kill(pid, signal.SIGKILL)
    except OSError:
        # It has ended.
        pass
    os._exit(1)
