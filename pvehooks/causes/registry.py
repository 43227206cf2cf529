"""How causes are found and asked. A cause is a pattern for one line of a log, with what it means and what to do.

Each file in this folder but this one has its causes in CAUSES; nothing else names a cause.
"""

from __future__ import annotations

import enum
import os
import re
import shlex
from collections.abc import Callable
from functools import cache
from importlib import import_module

from pvehooks.values.base import NamedTuple
from pvehooks.values.tasks import FailedStart, LogLine, Task

TASK, KERNEL = "task", "kernel"


class Rank(enum.IntEnum):
    """How much a line says."""

    # Any failure may end so.
    GENERAL = 0
    # It says what failed; another line may say why.
    PLACE = 1
    # It says why.
    ROOT = 2


class Cause(NamedTuple):
    """A cause of failed starts."""

    id: str
    # Found somewhere in a line; its groups are for the message and the remedy.
    pattern: re.Pattern[str]
    # As of a rule (values.findings): imperative sentences; `{vmid}` and `{group}` stand for the VMID and a group of the pattern.
    remedy: str
    # What writes the line: program, file, or document.
    source: str
    rank: Rank
    # The logs that the line is in.
    logs: tuple[str, ...]
    # Rules that find the same before the next start: their remedies know the node.
    rules: tuple[str, ...]
    # Whether it is in the VM's own config, or its lock, and nothing is wrong with the node.
    of_vm: bool
    # What happened, and why it does.
    explanation: str
    # The message from what the pattern found.
    message: Callable[[re.Match[str]], str]


class Diagnosis(NamedTuple):
    """A cause that a log shows, with its line."""

    cause: Cause
    message: str
    remedy: str
    evidence: LogLine


class CauseSet:
    """The causes of one file. `of_vm` is that of those which say nothing else."""

    def __init__(self, of_vm: bool = False) -> None:
        self._of_vm = of_vm
        self.causes: list[Cause] = []

    def cause(
        self,
        id: str,
        pattern: str,
        remedy: str,
        source: str,
        *,
        rank: Rank = Rank.ROOT,
        logs: tuple[str, ...] = (TASK,),
        rules: tuple[str, ...] = (),
        of_vm: bool | None = None,
    ) -> Callable[[Callable[[re.Match[str]], str]], Callable[[re.Match[str]], str]]:
        """Makes the decorated function the message of a cause, and its docstring the explanation; see Cause."""

        def enter(function: Callable[[re.Match[str]], str]) -> Callable[[re.Match[str]], str]:
            explanation = " ".join((function.__doc__ or "").split())
            concerns_vm = self._of_vm if of_vm is None else of_vm
            self.causes.append(Cause(id, re.compile(pattern), remedy, source, rank, logs, rules, concerns_vm, explanation, function))
            return function

        return enter


@cache
def causes() -> dict[str, Cause]:
    """All causes by id, in the order of their files."""
    files = [name.partition(".") for name in os.listdir(os.path.dirname(__file__))]
    names = sorted({name for name, _, ending in files if ending in ("py", "pyc") and name not in ("__init__", "registry")})
    found = [each for name in names for each in import_module(f"pvehooks.causes.{name}").CAUSES.causes]
    return {each.id: each for each in found}


def diagnose(failure: FailedStart) -> tuple[Diagnosis, ...]:
    """What the logs show, the best explanation first: each cause once, with the last line that shows it."""
    found: dict[str, tuple[int, Diagnosis]] = {}
    for place, line in enumerate(failure.lines):
        for cause in causes().values():
            match = cause.pattern.search(line.text) if (TASK if line.source == "index" else line.source) in cause.logs else None
            if match is not None:
                found[cause.id] = (place, Diagnosis(cause, cause.message(match), _remedy(cause, match, failure.vmid), line))
    ranked = sorted(found.values(), key=lambda each: (-each[1].cause.rank, -_weight(each[1]), each[0]))
    return tuple(diagnosis for _, diagnosis in ranked)


def sentence(found: tuple[Diagnosis, ...], task: Task) -> str:
    """The best explanation in words, with its id; the task's own words where there is none."""
    return f"{found[0].message} [{found[0].cause.id}]" if found else f"the cause is not known, it ended with: {task.status}"


def _weight(diagnosis: Diagnosis) -> int:
    """Of two that say why, the one in the task's own log was met by this start; the kernel may have logged about another device."""
    return 0 if diagnosis.evidence.source == KERNEL else 1


def _remedy(cause: Cause, match: re.Match[str], vmid: int) -> str:
    """The remedy for what was found; a word from a log stands in a command as one word, whatever it holds.

    The VMID is that of the start that failed, whatever VM the line names. What the line does not name is left to fill in: POOL.
    """
    words = {name: shlex.quote(text) if text else name.upper() for name, text in match.groupdict().items()} | {"vmid": str(vmid)}
    return re.sub(r"\{([a-z]+)\}", lambda place: words.get(place[1], place[0]), cause.remedy)
