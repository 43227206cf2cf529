"""A program that answers a line to each line that it is sent, for as long as it is needed."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Mapping, Sequence

from pvehooks.host import CommandTrouble

# The longest line that is taken for an answer, and what is kept of standard error.
_LONGEST = 1 << 25
_KEPT = 4000
# For a process to go that was killed. One that waits for a FUSE in the kernel does not, and is left behind.
_KILLED_SECONDS = 1.0


class Program:
    """A running program; one thread at a time uses it. It ends when its standard input does.

    It belongs to a session of its own, so that Ctrl-C does not reach it, and so that all of it can be killed.
    """

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        """Starts it, and waits for nothing; raises CommandTrouble where it cannot be started."""
        self._name = os.path.basename(argv[0])
        self._received = b""
        self._errors = b""
        self._err_is_open = True
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
        (theirs_in, self._in), (self._out, theirs_out), (self._err, theirs_err) = pipes
        actions = [(os.POSIX_SPAWN_DUP2, ours, number) for number, ours in enumerate((theirs_in, theirs_out, theirs_err))]
        # It is to obey all signals, whatever the thread that starts it blocks, and Python ignores.
        ignored = (signal.SIGPIPE, signal.SIGXFSZ)
        try:
            self._pid = os.posix_spawn(
                argv[0], list(argv), dict(environment), file_actions=actions, setsid=True, setsigmask=(), setsigdef=ignored
            )
        except OSError as error:
            self._close()
            raise CommandTrouble(f"{argv[0]} cannot be run: {error.strerror}") from error
        finally:
            for descriptor in (theirs_in, theirs_out, theirs_err):
                os.close(descriptor)
        for descriptor in (self._in, self._out, self._err):
            os.set_blocking(descriptor, False)

    @property
    def pid(self) -> int:
        """Its process id, 0 once it has ended and was collected."""
        return self._pid

    def has_ended(self) -> bool:
        """Whether it runs no more; collects it then."""
        if self._pid and os.waitpid(self._pid, os.WNOHANG)[0]:
            self._pid = 0
            self._close()
        return not self._pid

    def read_line(self, timeout: float) -> bytes:
        """Its next line, without the end; raises CommandTrouble where it sends none in `timeout` seconds, or ends. It is killed then."""
        return self.ask(b"", timeout)

    def ask(self, line: bytes, timeout: float) -> bytes:
        """The same, after it was sent a line."""
        deadline = time.monotonic() + timeout
        try:
            while True:
                answer, newline, rest = self._received.partition(b"\n")
                if newline and not line:
                    self._received = rest
                    return answer
                line = self._exchange(line, deadline - time.monotonic())
        except CommandTrouble:
            self.kill()
            raise

    def _exchange(self, line: bytes, seconds: float) -> bytes:
        """Waits for something to be sent or received; what is left of the line to be sent."""
        if seconds <= 0 or not self._pid:
            raise CommandTrouble(f"{self._name} did not answer in time and was killed" if self._pid else f"{self._name} has ended")
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        if self._err_is_open:
            poll.register(self._err, select.POLLIN)
        if line:
            poll.register(self._in, select.POLLOUT)
        for descriptor, _ in poll.poll(seconds * 1000):
            if descriptor == self._in:
                try:
                    line = line[os.write(self._in, line) :]
                except BrokenPipeError:
                    line = b""
            elif descriptor == self._out:
                self._receive()
            else:
                self._receive_errors()
        return line

    def _receive_errors(self) -> None:
        """Reads what there is on standard error, and keeps the end of it."""
        # No more than a pipe holds: it may write without an end.
        for _ in range(16):
            try:
                chunk = os.read(self._err, 65536) if self._err_is_open else b""
            except BlockingIOError:
                return
            self._err_is_open = chunk != b""
            self._errors = (self._errors + chunk)[-_KEPT:]

    def _receive(self) -> None:
        chunk = os.read(self._out, 65536)
        self._received += chunk
        if not chunk:
            self._receive_errors()
            words = " / ".join(self._errors.decode("utf-8", "replace").split("\n")).strip(" /")
            raise CommandTrouble(f"{self._name} ended without an answer" + (f": {words}" if words else ""))
        if len(self._received) > _LONGEST:
            raise CommandTrouble(f"{self._name} sends without an end and was killed")

    def end(self) -> None:
        """Has it end once it has done what it was asked; has_ended() collects it."""
        if self._in >= 0:
            os.close(self._in)
            self._in = -1

    def kill(self) -> None:
        """Ends it, and what it has started, at once."""
        if not self._pid:
            return
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        deadline = time.monotonic() + _KILLED_SECONDS
        while not self.has_ended() and time.monotonic() < deadline:
            time.sleep(0.002)
        self._close()

    def _close(self) -> None:
        for descriptor in (self._in, self._out, self._err):
            if descriptor >= 0:
                os.close(descriptor)
        self._in = self._out = self._err = -1
