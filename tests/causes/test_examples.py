"""Each cause against its examples: examples/ID.txt has logs of starts that failed for it, between them a line `---`; those in public/ count as well.

A line that begins with `kernel: ` is from the kernel's log, all others are from the task's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pvehooks import wording
from pvehooks.causes.registry import Rank, causes, diagnose
from pvehooks.rules import catalogue
from pvehooks.values.tasks import FailedStart, LogLine, Task

EXAMPLES = Path(__file__).parent / "examples"
PUBLIC = Path(__file__).parent / "public"
TASK = Task("UPID:pve1:0000A1B2:00123456:6744AB1C:qmstart:100:root@pam:", "pve1", "qmstart", "100", "root@pam", 0, 9, "x")


def failure(text: str) -> FailedStart:
    """The start that such a log is of."""
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        source = "kernel" if line.startswith("kernel: ") else "task"
        lines.append(LogLine(source, number, line.removeprefix("kernel: ")))
    return FailedStart(TASK, 100, tuple(lines))


def examples() -> list[tuple[str, int, str]]:
    return [
        (path.stem, number, text)
        for path in sorted(EXAMPLES.glob("*.txt"))
        for number, text in enumerate(path.read_text().split("\n---\n"), 1)
    ]


@pytest.mark.parametrize(("cause", "number", "text"), examples(), ids=[f"{cause}-{number}" for cause, number, _ in examples()])
def test_the_cause_is_found(cause: str, number: int, text: str) -> None:
    found = diagnose(failure(text))
    assert found, "nothing is found"
    assert found[0].cause.id == cause, [each.cause.id for each in found]
    for each in found:
        assert each.message.isprintable()
        assert "None" not in each.message
        assert "''" not in each.remedy, f"{each.remedy}: a group that has matched nothing"
        assert not re.search(r"\{[a-z]+\}", each.remedy), f"{each.remedy}: a group that the pattern has not"


@pytest.mark.parametrize("cause", causes())
def test_each_has_two_examples(cause: str) -> None:
    own = sum(each == cause for each, _, _ in examples())
    public = sum(path.read_text().startswith(f"cause: {cause}\n") for path in PUBLIC.glob("*.txt"))
    assert own + public >= 2, f"make tests/causes/examples/{cause}.txt: two logs of starts that failed for it, between them a line `---`"


def test_each_example_has_its_cause() -> None:
    assert sorted({cause for cause, _, _ in examples()} - set(causes())) == []


def test_ids_are_used_once_and_rules_exist() -> None:
    assert sorted(set(causes()) & set(catalogue.RULES)) == []
    assert sorted({rule for cause in causes().values() for rule in cause.rules} - set(catalogue.RULES)) == []


@pytest.mark.parametrize("cause", causes())
def test_words(cause: str) -> None:
    known = causes()[cause]
    assert known.explanation.endswith("."), known.explanation
    assert len(known.explanation) > 60
    assert known.source
    assert known.remedy[0].isupper()
    assert not known.remedy.endswith(".")


@pytest.mark.parametrize("cause", causes())
def test_each_command_of_a_remedy_is_one(cause: str) -> None:
    """A command follows a colon: what does not is shown as words, and nobody can paste it."""
    for words, _ in wording.steps(causes()[cause].remedy):
        assert not re.match(r"(?:qm|pvesm|pvesh|pvehooks|lvs|zfs|df|fuser|journalctl|systemctl|ip|grep|namei|pgrep|ceph|apt) ", words), (
            words
        )


@pytest.mark.parametrize("cause", causes())
def test_each_command_of_a_remedy_has_all_that_it_requires(cause: str) -> None:
    for _, command in wording.steps(causes()[cause].remedy):
        assert not command or " allow " not in command or command.endswith(" --once --reason WHY"), command


def test_a_word_of_a_log_is_one_word_of_a_command() -> None:
    text = "TASK ERROR: storage 'x; rm -rf /' is disabled"
    (found,) = diagnose(failure(text))
    assert "pvesm set 'x; rm -rf /' --disable 0" in found.remedy


def test_a_root_cause_comes_before_what_follows_from_it() -> None:
    text = (EXAMPLES / "rmrr.txt").read_text().split("\n---\n")[0]
    ranks = [each.cause.rank for each in diagnose(failure(text))]
    assert ranks == [Rank.ROOT, Rank.PLACE, Rank.GENERAL]


# The module of the standard library that patterns are parsed with.
_parser: Any = import_module("re._parser")


def repeats(pattern: object, inside: bool = False) -> Iterator[str]:
    """What makes a search take longer than the square of the line's length: a repeat without an end inside another, or at the very beginning."""
    for kind, what in pattern:  # type: ignore[attr-defined]
        if kind in (_parser.MAX_REPEAT, _parser.MIN_REPEAT):
            _, most, body = what
            unbounded = most is _parser.MAXREPEAT
            if unbounded and inside:
                yield "a repeat inside a repeat"
            yield from repeats(body, inside or unbounded)
        elif kind is _parser.SUBPATTERN:
            yield from repeats(what[3], inside)
        elif kind is _parser.BRANCH:
            for branch in what[1]:
                yield from repeats(branch, inside)


def wide(pattern: object, ends: bool = True) -> int:
    """The most repeats of `.` or of a large class, without an end, that one way through the pattern has before its end, which takes all that is left."""
    total = 0
    items = list(pattern)  # type: ignore[call-overload]
    for place, (kind, what) in enumerate(items):
        last = ends and place == len(items) - 1
        if kind in (_parser.MAX_REPEAT, _parser.MIN_REPEAT):
            body = list(what[2])
            is_wide = not last and what[1] is _parser.MAXREPEAT and body[0][0] in (_parser.ANY, _parser.IN)
            total += is_wide and (body[0][0] is _parser.ANY or (_parser.CATEGORY, _parser.CATEGORY_NOT_SPACE) in body[0][1])
            total += wide(what[2], last) if not is_wide else 0
        elif kind is _parser.SUBPATTERN:
            total += wide(what[3], last)
        elif kind is _parser.BRANCH:
            total += max(wide(branch, last) for branch in what[1])
    return total


@pytest.mark.parametrize("cause", causes())
def test_a_hostile_line_takes_no_more_than_its_length_squared(cause: str) -> None:
    """What stands in a log a tenant may have written; a line is bounded (facts/node/tasks.py)."""
    parsed = _parser.parse(causes()[cause].pattern.pattern)
    assert list(repeats(parsed)) == []
    first = parsed[0]
    assert not (first[0] in (_parser.MAX_REPEAT, _parser.MIN_REPEAT) and first[1][1] is _parser.MAXREPEAT), (
        "begins with a repeat without an end"
    )
    assert wide(parsed) <= 1, "two repeats that take anything, one after the other"


def test_a_hostile_pattern_is_seen() -> None:
    assert list(repeats(_parser.parse("(a+)+"))) == ["a repeat inside a repeat"]
    assert wide(_parser.parse(r"x.*y\S*z")) == 2


@pytest.mark.parametrize("cause", causes())
def test_hostile_lines(cause: str) -> None:
    """Each ends: a pattern that grows faster with its line would run for minutes here, and be stopped by the run's deadline."""
    for piece in ("a", "0", ": ", "'", "kvm: -", "0000:01:00.0: ", "vfio", "x' y: ", "storage '", "failed "):
        causes()[cause].pattern.search((piece * 2000)[:2000])


def test_the_vm_of_a_remedy_is_the_one_whose_start_failed() -> None:
    """A log names other VMs, too, and a hook may print any number."""
    (found, *_) = diagnose(failure("TASK ERROR: VM 999 already running"))
    assert found.cause.id == "already-running"
    assert "999" not in found.remedy and "qm status 100" in found.remedy
