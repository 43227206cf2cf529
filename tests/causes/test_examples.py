"""Each cause against its examples: examples/ID.txt has two logs of starts that failed for it, between them a line `---`.

A line that begins with `kernel: ` is from the kernel's log, all others are from the task's.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pvehooks.causes.registry import Rank, causes, diagnose
from pvehooks.rules import catalogue
from pvehooks.values.tasks import FailedStart, LogLine, Task

EXAMPLES = Path(__file__).parent / "examples"
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
        assert not re.search(r"\{[a-z]+\}", each.remedy), f"{each.remedy}: a group that the pattern has not"


@pytest.mark.parametrize("cause", causes())
def test_each_has_two_examples(cause: str) -> None:
    path = EXAMPLES / f"{cause}.txt"
    assert path.exists(), f"make tests/causes/examples/{cause}.txt: two logs of starts that failed for it, between them a line `---`"
    assert len(path.read_text().split("\n---\n")) >= 2, f"tests/causes/examples/{cause}.txt has one log, and needs two that differ"


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


def test_a_word_of_a_log_is_one_word_of_a_command() -> None:
    text = "TASK ERROR: storage 'x; rm -rf /' is disabled"
    (found,) = diagnose(failure(text))
    assert "pvesm set 'x; rm -rf /' --disable 0" in found.remedy


def test_a_root_cause_comes_before_what_follows_from_it() -> None:
    text = (EXAMPLES / "rmrr.txt").read_text().split("\n---\n")[0]
    ranks = [each.cause.rank for each in diagnose(failure(text))]
    assert ranks == [Rank.ROOT, Rank.PLACE, Rank.GENERAL]
