"""The log of calls: who called, and how, and how it ended."""

from __future__ import annotations

import json
import os
import time
from typing import Any

REMEMBERED_VARIABLES = ("PATH", "LANG", "LANGUAGE", "HOME", "USER", "LOGNAME", "NOTIFY_SOCKET", "WATCHDOG_USEC")


class Log:
    """JSON lines: `start` with all that can be seen of the caller, `end` with the exit status."""

    def __init__(self, file: str) -> None:
        self._file = file
        # Which of this process's calls it is.
        self.call = 0

    def write(self, **record: Any) -> None:
        """Append one record in one write: calls run side by side."""
        line = json.dumps({"pid": os.getpid(), "call": self.call, "time": time.monotonic(), **record}) + "\n"
        descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(descriptor, line.encode())
        os.close(descriptor)

    def start(self, arguments: list[str]) -> None:
        """Who called, and how."""
        descriptors = {}
        for number in os.listdir("/proc/self/fd"):
            try:
                descriptors[number] = os.readlink(f"/proc/self/fd/{number}")
            except OSError:
                continue  # the one listdir itself used
        names = sorted(os.environ)
        kept = {name: os.environ[name] for name in names if name in REMEMBERED_VARIABLES or name.startswith("LC_")}
        self.write(
            event="start",
            argv=arguments,
            ppid=os.getppid(),
            cwd=os.getcwd(),
            stdin=descriptors.pop("0", None),
            descriptors={number: target for number, target in descriptors.items() if int(number) > 2},
            environment=kept,
            environment_names=names,
        )
