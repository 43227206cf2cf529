"""Asks libexec/pve-writer: Proxmox VE's own code, loaded once for the changes of many guests, one after the other.

It is started when there is work, and ends when none came for some seconds. After a request that hangs, dies or answers nonsense, and only that,
it is started anew.
"""

from __future__ import annotations

import functools
import json
import os
import threading
from collections.abc import Callable, Sequence

import pvehooks
from pvehooks.actions import qm, stubs
from pvehooks.actions.result import Outcome
from pvehooks.host import CommandTrouble, Host
from pvehooks.values.base import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pvehooks.host import Program

# Until it has loaded PVE's code, and until it has answered a request: PVE waits 10 s for a guest's lock, and some seconds for pmxcfs.
LOADING_SECONDS = 60.0
REQUEST_SECONDS = 30.0
# It ends after 10 s without a request; one that is about to is not asked any more.
FRESH_SECONDS = 8.0
# How long qm is used after PVE's code could not be loaded.
RETRY_SECONDS = 60.0


class Unavailable(Exception):
    """PVE's code cannot be loaded into one process; qm may work all the same."""


class Away(Exception):
    """pmxcfs is not there for PVE's code, as it would not be for qm: nothing was done."""


class Lost(Exception):
    """There is no answer: it is unknown whether something was done."""


class Answer(NamedTuple):
    """What pve-writer answered; `outcome` is one of its words."""

    outcome: str
    # What PVE printed, or why it is not done.
    words: str
    # What PVE warned of.
    warnings: tuple[str, ...] = ()
    # The options of the live part as PVE reads them, and a digest of their values.
    names: tuple[str, ...] = ()
    live: str = ""


def _unheard(_: str) -> None:
    """Default of WriterProcess.report."""


class WriterProcess:
    """PVE's code in one process, shared by threads. `trouble` says why it cannot be used now, '' where it can.

    `report` is called, in any thread, with a reason that is new.
    """

    def __init__(self, host: Host) -> None:
        self.trouble = ""
        self.report: Callable[[str], object] = _unheard
        self._host = host
        self._lock = threading.Lock()
        self._program: Program | None = None
        # Those that were asked to end.
        self._leaving: list[Program] = []
        self._is_loaded = False
        self._last_use = 0.0
        self._retry = float("-inf")
        self._number = 0

    def warm(self) -> None:
        """Starts it, if it does not run, and waits for nothing: there will be work soon. Nothing is started for a tree."""
        if self._host.is_node and self._lock.acquire(blocking=False):
            try:
                self._start()
            except Unavailable:
                # The first request reports it.
                pass
            finally:
                self._lock.release()

    def ask(self, do: str, vmid: int, **more: object) -> Answer:
        """The answer to a request; raises Unavailable and Away before anything was done, and Lost."""
        with self._lock:
            answer = self._ask(do, vmid, more)
            if answer.outcome == "outdated":
                self._end()
                answer = self._ask(do, vmid, more)
            return answer

    def end(self) -> None:
        """Has it end after the request that it works at, if any."""
        if self._lock.acquire(blocking=False):
            self._end()
            self._lock.release()

    def close(self) -> None:
        """Ends it, and what it has started, unless it works at a request: nothing of it is left for systemd to kill."""
        if self._lock.acquire(blocking=False):
            self._drop()
            self._lock.release()

    def collect(self) -> None:
        """Collects it once it has ended."""
        if self._lock.acquire(blocking=False):
            if self._program is not None and self._program.has_ended():
                self._program = None
            self._leaving = [program for program in self._leaving if not program.has_ended()]
            self._lock.release()

    def _ask(self, do: str, vmid: int, more: dict[str, object]) -> Answer:
        program = self._loaded()
        self._number += 1
        request = {"id": self._number, "do": do, "vmid": vmid, **more}
        try:
            answer = _parse(program.ask(json.dumps(request).encode() + b"\n", REQUEST_SECONDS))
            if answer.get("id") != self._number:
                raise CommandTrouble("pve-writer answered something else")
        except CommandTrouble as trouble:
            self._drop()
            raise Lost(str(trouble)) from trouble
        self._last_use = self._host.monotonic()
        return Answer(
            str(answer.get("outcome", "")),
            _text(answer.get("words")),
            tuple(_text(each) for each in _list(answer.get("warnings"))),
            tuple(_text(each) for each in _list(answer.get("names"))),
            str(answer.get("live", "")),
        )

    def _start(self) -> Program:
        program = self._program
        if program is not None and not program.has_ended() and self._host.monotonic() - self._last_use < FRESH_SECONDS:
            return program
        self._end()
        if self._host.monotonic() < self._retry:
            raise Unavailable(self.trouble)
        try:
            self._program = program = self._host.start([_path(self._host)])
        except CommandTrouble as trouble:
            raise self._unavailable(str(trouble)) from trouble
        self._is_loaded, self._last_use = False, self._host.monotonic()
        return program

    def _loaded(self) -> Program:
        """The program once it has loaded PVE's code."""
        program = self._start()
        if self._is_loaded:
            return program
        try:
            answer = _parse(program.read_line(LOADING_SECONDS))
        except CommandTrouble as trouble:
            self._drop()
            raise self._unavailable(str(trouble)) from trouble
        if answer.get("ready") != 1:
            self._drop()
            words = _text(answer.get("words"))
            if qm.situation(words) is Outcome.WAITING:
                raise Away(qm.first_words(words))
            raise self._unavailable(words)
        self._is_loaded, self.trouble = True, ""
        return program

    def _unavailable(self, why: str) -> Unavailable:
        before, self.trouble = self.trouble, qm.first_words(why) or "no reason was given"
        if self.trouble != before:
            self.report(
                f"Proxmox VE's code cannot be loaded into one process for all VMs ({self.trouble}): qm is used for each VM, which takes longer"
            )
        self._retry = self._host.monotonic() + RETRY_SECONDS
        return Unavailable(self.trouble)

    def _drop(self) -> None:
        if self._program is not None:
            self._program.kill()
        self._program = None

    def _end(self) -> None:
        if self._program is not None:
            self._program.end()
            self._leaving.append(self._program)
        self._program = None


@functools.cache
def of(host: Host) -> WriterProcess:
    """The one process of this host."""
    return WriterProcess(host)


def _path(host: Host) -> str:
    """That of this checkout, else of the package."""
    here = f"{os.path.dirname(os.path.dirname(pvehooks.__file__))}/libexec/pve-writer"
    return here if host.exists(here) else f"{stubs.LIBEXEC}/pve-writer"


def _parse(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CommandTrouble("pve-writer answered what is no JSON") from error
    if not isinstance(answer, dict):
        raise CommandTrouble("pve-writer answered what is no object")
    return answer


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _text(value: object) -> str:
    """Words as they were meant: Perl has the bytes of a config as characters of Latin-1."""
    text = str(value or "")
    try:
        return text.encode("latin-1").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return text
