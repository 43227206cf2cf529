"""Put the stand-in for `qm` on PATH, make it misbehave, and see what it was asked."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STAND_IN = Path(__file__).with_name("stand_in")
PERL = Path(__file__).with_name("perl5")


def install_modules(directory: Path, executable: str, root: str = "", loading: float = 0.0, release: str = "9.2") -> None:
    """Puts the stand-ins for PVE's Perl modules into a directory of Perl's; they call the stand-in for qm."""
    shutil.copytree(PERL, directory, dirs_exist_ok=True)
    values = f"our @COMMAND = ('{executable}', 'serve'); our $ROOT = '{root}'; our $LOADING_SECONDS = {loading}; our $RELEASE = {release};"
    (directory / "PVE/Bed.pm").write_text(f"package PVE::Bed;\n{values}\n1;\n")


@dataclass(frozen=True)
class Call:
    """One call of `qm`. Times are of time.monotonic(); one that runs or was killed has no `ended` and no `status`."""

    argv: list[str]
    pid: int
    ppid: int
    cwd: str
    stdin: str | None
    descriptors: dict[str, str]
    environment: dict[str, str]
    environment_names: list[str]
    started: float
    ended: float | None
    status: int | None

    @property
    def verb(self) -> str:
        """set, config, ..."""
        return self.argv[0] if self.argv else ""

    @property
    def vmid(self) -> int | None:
        """The guest it is about."""
        return int(self.argv[1]) if len(self.argv) > 1 and self.argv[1].isdecimal() else None

    def option(self, name: str) -> str | None:
        """The value after `--name`."""
        flag = f"--{name}"
        return self.argv[self.argv.index(flag) + 1] if flag in self.argv else None


class Qm:
    """The executable `qm` in a directory of its own, `bin`, to be put in front of PATH.

    qm = Qm(tmp_path / "qm"); environment["PATH"] = qm.path; environment["PERL5LIB"] = qm.perl5lib
    `newer_options` are names of options that a later Proxmox VE may have; PVE's Perl takes `loading` seconds of a CPU to be loaded, by each
    call of qm, and by each process that uses its modules. `release` is 9.2 or 8.2: how it speaks, and what it reads.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        root: str = "",
        lock_timeout: float = 20.0,
        newer_options: tuple[str, ...] = (),
        loading: float = 0.0,
        release: str = "9.2",
    ) -> None:
        self.directory = Path(directory)
        self.bin = self.directory / "bin"
        self.bin.mkdir(parents=True)
        self.log = self.directory / "log.jsonl"
        self.control = self.directory / "misbehaviour.json"
        (self.directory / "settings.json").write_text(
            json.dumps({"root": root, "lock_timeout": lock_timeout, "newer_options": newer_options, "loading": loading, "release": release})
        )
        self.executable = self.bin / "qm"
        # -I has Python ignore PYTHONPYCACHEPREFIX.
        cached = f"-X {shlex.quote(f'pycache_prefix={sys.pycache_prefix}')}" if sys.pycache_prefix else ""
        command = f"exec /usr/bin/python3 -IS {cached} {shlex.quote(str(STAND_IN))} {shlex.quote(str(self.directory))}"
        self.executable.write_text(f'#!/bin/sh\n{command} "$@"\n')
        self.executable.chmod(0o755)
        # The stand-ins for PVE's Perl modules, which call the same executable.
        self.perl5lib = f"{self.directory}/perl5"
        install_modules(Path(self.perl5lib), str(self.executable), root, loading, release)

    @property
    def path(self) -> str:
        """A PATH in which it is found first."""
        return f"{self.bin}:{os.environ.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')}"

    def run(self, *arguments: str, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Call it."""
        return subprocess.run(
            [str(self.executable), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=timeout,
            check=False,
        )

    # --- misbehaviour ---

    def misbehave(
        self,
        do: str,
        *,
        verb: str | None = None,
        vmid: int | None = None,
        times: int | None = 1,
        **details: Any,
    ) -> None:
        """Order a misbehaviour (stand_in/misbehaviour.py lists them) for the next `times` calls that fit, or always."""
        self._change_orders(
            lambda orders: [*orders, {"do": do, "verb": verb, "vmid": str(vmid) if vmid else None, "times": times, **details}]
        )

    def behave(self) -> None:
        """Withdraw all orders."""
        self._change_orders(lambda orders: [])

    def _change_orders(self, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        """In place and under the lock under which calls that run side by side count them down."""
        with open(self.control, "a+", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            stream.seek(0)
            orders = change(json.loads(stream.read() or "[]"))
            stream.seek(0)
            stream.truncate()
            stream.write(json.dumps(orders))

    # --- what it was asked ---

    def calls(self, verb: str | None = None, vmid: int | None = None) -> list[Call]:
        """All calls so far, in the order in which they began."""
        if not self.log.exists():
            return []
        # A last line without its end is still being written.
        records = [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        ends = {(record["pid"], record["call"]): record for record in records if record["event"] == "end"}
        found = [_call(record, ends.get((record["pid"], record["call"]))) for record in records if record["event"] == "start"]
        return [call for call in found if verb in (None, call.verb) and vmid in (None, call.vmid)]

    def wait_for_calls(self, count: int, *, verb: str | None = None, vmid: int | None = None, timeout: float = 60.0) -> list[Call]:
        """Wait until there are `count` finished calls; AssertionError with what there is instead."""
        deadline = time.monotonic() + timeout
        while True:
            finished = [call for call in self.calls(verb, vmid) if call.ended is not None]
            if len(finished) >= count:
                return finished
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(finished)} of {count} calls of qm: {[call.argv for call in finished]}")
            time.sleep(0.01)

    def most_at_once(self) -> int:
        """The greatest number of calls that ran side by side (killed ones are not counted)."""
        marks = [(call.started, 1) for call in self.calls() if call.ended is not None]
        marks += [(call.ended, -1) for call in self.calls() if call.ended is not None]
        running, most = 0, 0
        for _, step in sorted(marks):
            running += step
            most = max(most, running)
        return most


def _call(start: dict[str, Any], end: dict[str, Any] | None) -> Call:
    fields = ("argv", "pid", "ppid", "cwd", "stdin", "descriptors", "environment", "environment_names")
    return Call(
        **{name: start[name] for name in fields},
        started=start["time"],
        ended=end["time"] if end else None,
        status=end["status"] if end else None,
    )
