"""A real receiver of sd_notify(3) messages, standing in for systemd."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Message:
    """One datagram: the assignments in it, who sent it, and when (time.monotonic)."""

    time: float
    pid: int
    text: str

    @property
    def fields(self) -> dict[str, str]:
        """`READY=1` as {"READY": "1"}."""
        return dict(line.split("=", 1) for line in self.text.splitlines() if "=" in line)


class NotifySocket:
    """A datagram socket for NOTIFY_SOCKET that keeps every message.

    with NotifySocket() as notify:
        Popen(..., env={**os.environ, **notify.environment})
        notify.wait_for("READY", "1")
    """

    def __init__(self) -> None:
        self._directory = tempfile.mkdtemp(prefix="notify-bed-")
        self.path = Path(self._directory) / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(str(self.path))
        self._messages: list[Message] = []
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def __enter__(self) -> NotifySocket:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def environment(self) -> dict[str, str]:
        """What the service needs in its environment."""
        return {"NOTIFY_SOCKET": str(self.path)}

    @property
    def messages(self) -> list[Message]:
        """All messages so far."""
        with self._arrived:
            return list(self._messages)

    def values(self, field: str) -> list[str]:
        """The values a field has had, in order: values("STATUS")."""
        return [message.fields[field] for message in self.messages if field in message.fields]

    def wait_for(self, field: str, value: str | None = None, *, after: float = 0.0, timeout: float = 60.0) -> Message:
        """The first message, after the given time, with a field (of this value).

        AssertionError with what came instead.
        """

        def fits(message: Message) -> bool:
            return message.time > after and field in message.fields and value in (None, message.fields[field])

        return self.wait_until(fits, f"{field}={'...' if value is None else value}", timeout)

    def wait_until(self, fits: Callable[[Message], bool], wanted: str, timeout: float = 60.0) -> Message:
        """The first message that fits."""
        deadline = time.monotonic() + timeout
        with self._arrived:
            while True:
                for message in self._messages:
                    if fits(message):
                        return message
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"no {wanted} came, only {[message.text for message in self._messages]}")
                self._arrived.wait(left)

    def close(self) -> None:
        """Stop listening and remove the socket."""
        if self.path.exists():
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
                own.sendto(b"", str(self.path))  # wakes the receiver
            self._thread.join()
            self._socket.close()
            self.path.unlink()
            os.rmdir(self._directory)

    def _receive(self) -> None:
        while True:
            data, ancillary, _, _ = self._socket.recvmsg(65536, socket.CMSG_SPACE(12))
            if not data:
                return
            pid = int.from_bytes(ancillary[0][2][:4], "little") if ancillary else 0
            with self._arrived:
                self._messages.append(Message(time.monotonic(), pid, data.decode("utf-8", "replace")))
                self._arrived.notify_all()
