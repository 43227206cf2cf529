"""What the stand-in does wrong when it is told to.

The control file holds a JSON list of orders: {"do": ..., "verb": "set" or null, "vmid": "100" or null,
"times": N or null (always), ...}. The first that fits a call is used, and used up after N calls.

| do | effect |
| --- | --- |
| hang | sleep for ever, deaf to SIGTERM when `deaf` is true |
| sleep | sleep `seconds`, then work as usual |
| wait | wait until the file `until` exists, then work as usual |
| killed | die of SIGKILL before doing anything |
| killed-after | do the work, then die of SIGKILL |
| mute | do the work, swallow the output and the exit status (`status`, default 255): the answer is lost |
| lie | say that it is done, and do nothing |
| garbage | bytes that are no text on both streams, exit with `status` |
| answer | `stdout`, `stderr` and `status` word for word |
| pause | between the two rename cycles of `set`, wait until the file `until` exists |
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from typing import Any

GARBAGE = bytes(range(256)) * 64


class Misbehaviour:
    """The order for this call; without one, everything is as it should be."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._do = order.get("do", "")
        self._order = order
        self._stdout = -1

    @property
    def is_garbage(self) -> bool:
        """Whether bytes that are no text are to be spoken."""
        return bool(self._do == "garbage")

    @classmethod
    def take(cls, file: str, verb: str, vmid: str) -> Misbehaviour:
        """The first order that fits, counted down; calls that run side by side share the file."""
        if not os.path.exists(file):
            return cls({})
        with open(file, "r+", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            orders = json.loads(stream.read() or "[]")
            for order in orders:
                if order.get("verb") in (None, verb) and str(order.get("vmid") or vmid) == vmid:
                    break
            else:
                return cls({})
            if order.get("times") is not None:
                order["times"] -= 1
                orders = [other for other in orders if other is not order or order["times"] > 0]
                stream.seek(0)
                stream.truncate()
                stream.write(json.dumps(orders))
        return cls(order)

    def between(self) -> None:
        """Misbehave between the rename cycles."""
        if self._do == "pause":
            self._wait()

    def _wait(self) -> None:
        """Waits for what the test makes; of a test that has failed nothing is to stay."""
        deadline = time.monotonic() + 120
        while not os.path.exists(self._order["until"]):
            if time.monotonic() > deadline:
                sys.exit("nobody made the file that it waits for")
            time.sleep(0.005)

    def before(self) -> int | None:
        """Misbehave before the work; an exit status where there is none to be done."""
        order = self._order
        if self._do == "hang":
            if order.get("deaf"):
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                time.sleep(3600)
        if self._do == "sleep":
            time.sleep(order["seconds"])
        elif self._do == "wait":
            self._wait()
        elif self._do == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self._do == "lie":
            print(f"update VM {sys.argv[3]}: -{' '.join(sys.argv[4:]).lstrip('-')}")
            return 0
        elif self._do == "garbage":
            for stream in (1, 2):
                os.write(stream, GARBAGE)
            return int(order.get("status", 255))
        elif self._do == "answer":
            sys.stdout.write(order.get("stdout", ""))
            sys.stderr.write(order.get("stderr", ""))
            return int(order.get("status", 255))
        elif self._do == "mute":
            null = os.open(os.devnull, os.O_WRONLY)
            for stream in (1, 2):
                os.dup2(null, stream)
        return None

    def after(self, status: int) -> int:
        """Misbehave after the work; the exit status to use."""
        if self._do == "killed-after":
            os.kill(os.getpid(), signal.SIGKILL)
        return int(self._order.get("status", 255)) if self._do == "mute" else status
