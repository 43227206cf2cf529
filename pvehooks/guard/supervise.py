"""Work in a child process that is killed at its deadline: a signal handler does not interrupt a read that hangs.

A process that hangs in the kernel (state D, also in a read that FUSE has accepted) dies only when the read ends. It is left behind, so it
must hold none of the streams that PVE reads to their end: what it prints goes through a pipe to its parent.
"""

from __future__ import annotations

import _signal as signal  # module signal takes 3 ms to import
import os
import select
import time

from pvehooks.guard import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Send(Protocol):
        """Sends a message of MESSAGES."""

        def __call__(self, kind: str, /, *fields: object) -> None: ...

    OnMessage = Callable[[str, list[str]], float | None]

# The protocol between the child that examines a start and its parent: the kinds of messages with the names of their fields.
#
# The child sends with send(KIND, *fields). The parent handles each with the method on_KIND(*fields) of main.Supervisor, which gets every
# field as text and returns how many seconds the child has from now on, or None to leave the deadline as it is. What the end of the child
# means after which message: main.WHEN_LOST.
# On the pipe a message is a line: a NUL byte, the kind, the fields, separated by blanks; only the last field may contain blanks.
# All other lines of the child go to PVE's task log as they are.
MESSAGES: dict[str, tuple[str, ...]] = {
    # The seconds that the examination may take, and what becomes of a start that cannot be examined: known, allow or block.
    # Sent before /etc/pve is read, which may hang, and again once the settings are known to be current.
    "settings": ("deadline", "on_error"),
    # The guard's exit status from now on, whatever happens to the child: 0 lets the guest start, 1 refuses.
    "verdict": ("status",),
    # Idle devices are being bound to vfio-pci, and are between two drivers until the next verdict.
    "binding": (),
    # A change of a device is under way that may hang, as the beginning of a sentence; '' once it is over.
    "changing": ("what",),
    # A line about something that refuses the start, found before all was looked at: it refuses the start if no verdict comes.
    "found": ("line",),
    # Why the start could not be examined, for the journal.
    "unexamined": ("cause",),
    # The child has nothing left to do, and this is its status. Sent and handled in this file: the parent goes on before the kernel has taken
    # the child's memory apart.
    "ended": ("status",),
}
# The child's status when the work raises; every other status is the work's own.
CRASHED = 3
_KILLED_SECONDS = 0.2
# For work that has to undo what it began before it ends (see DeferTermination).
# PVE kills a task's processes 5 s after it asked them to end (pve-common, RESTEnvironment.pm).
_TERMINATING_SECONDS = 4.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_MESSAGE = b"\0"


def run(work: Callable[[Send], int], seconds: float, on_message: OnMessage) -> int | None:
    """Runs the work in a child. It may print lines, and send messages to `on_message`, which may give it more time.

    Returns its status, minus the number of the signal that ended it, or None when it was killed at its deadline. When this process is
    asked to end (SIGTERM, SIGINT, SIGHUP), the child is ended too, with time to undo what it has begun, and this process exits with 1.
    """
    ours, theirs = os.pipe()
    # Asked to end between the fork and its own handlers, this process would leave the child behind.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    pid = os.fork()
    if not pid:
        os._exit(_work(work, theirs, before))
    os.close(theirs)
    handlers = [signal.signal(number, lambda *_: _terminate(pid)) for number in _SIGNALS]
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        status = _receive(ours, seconds, on_message)
    except TimeoutError:
        _kill(pid)
        return None
    else:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if status is None else status
    finally:
        # The child's number may be another process's from now on.
        for number, handler in zip(_SIGNALS, handlers, strict=True):
            signal.signal(number, handler)
        os.close(ours)


def _work(work: Callable[[Send], int], pipe: int, mask: set[int]) -> int:
    """What the child does, with that signal mask; returns its exit status."""
    try:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # When the parent is gone, the next line that the work prints ends it.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.dup2(pipe, 1)
        log.wait_for_reader()
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        os.dup2(nowhere, 2)
        status = work(_send)
        _send("ended", status)
        return status
    except BaseException:  # noqa: BLE001 - whatever it is, the process ends here
        return CRASHED


def _send(kind: str, /, *fields: object) -> None:
    """Sends a message from the child to its parent."""
    if len(fields) != len(MESSAGES[kind]):
        raise ValueError(f"a message {kind} has the fields {MESSAGES[kind]}")
    log.write(_MESSAGE + " ".join((kind, *map(str, fields))).encode() + b"\n")


def _receive(pipe: int, seconds: float, on_message: OnMessage) -> int | None:
    """Receives what the child prints and sends; returns the status that it sends last, None if it ends without that.

    Raises TimeoutError at its deadline.
    """
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    deadline = time.monotonic() + seconds
    received = b""
    while True:
        left = deadline - time.monotonic()
        chunk = os.read(pipe, 1 << 16) if left > 0 and poll.poll(left * 1000) else None
        if not chunk:
            if received and not received.startswith(_MESSAGE):
                log.write(received + b"\n")
            if chunk is None:
                raise TimeoutError
            return None
        *lines, received = (received + chunk).split(b"\n")
        for line in lines:
            if not line.startswith(_MESSAGE):
                log.write(line + b"\n")
                continue
            kind, fields = _parse(line[1:].decode())
            if kind == "ended":
                return int(fields[0])
            more = on_message(kind, fields)
            if more is not None:
                deadline = time.monotonic() + more


def _parse(line: str) -> tuple[str, list[str]]:
    """The kind of a message and its fields."""
    kind, _, rest = line.partition(" ")
    number = len(MESSAGES[kind])
    return kind, rest.split(" ", number - 1) if number else []


class DeferTermination:
    """A context in which signals that ask the process to end do not end it; calling it says whether one has come."""

    def __init__(self) -> None:
        self._asked = False

    def __call__(self) -> bool:
        return self._asked

    def __enter__(self) -> DeferTermination:
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)

    def _on_signal(self, *_: object) -> None:
        self._asked = True


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    _wait(pid, _KILLED_SECONDS)


def _wait(pid: int, seconds: float) -> bool:
    """Whether the child ends in time; its number may be another process's then."""
    deadline = time.monotonic() + seconds
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.005)
    return True


def _terminate(pid: int) -> None:
    """Ends the child, which may ignore the signal, and this process."""
    try:
        os.kill(pid, signal.SIGTERM)
        if not _wait(pid, _TERMINATING_SECONDS):
            os.kill(pid, signal.SIGKILL)
    except OSError:
        # The child has ended.
        pass
    os._exit(1)
