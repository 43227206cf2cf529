"""The catalogue against texts that people published: public/NN.txt has the cause as the thread ended, how it ended, and the log.

`unknown` stands where the log does not say it. The texts with `use: exam` were judged before and after the catalogue was improved by the others alone:
24 of 42, then 34 of 42. Those with `use: later` came after that: 17 of 31 before the catalogue knew them. Some are QEMU's words from other surroundings.
Since then all of them are an example each.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.causes.registry import Rank, diagnose
from tests.causes.test_examples import failure

TEXTS = sorted((Path(__file__).parent / "public").glob("*.txt"))


def text(path: Path) -> tuple[dict[str, str], str]:
    """The head's fields, and the log."""
    head, log = path.read_text().split("\n\n", 1)
    return dict(line.split(": ", 1) for line in head.split("\n")), log


@pytest.mark.parametrize("path", TEXTS, ids=[path.stem for path in TEXTS])
def test_the_cause_is_the_one_that_the_thread_ended_with(path: Path) -> None:
    head, log = text(path)
    diagnoses = diagnose(failure(log))
    for each in diagnoses:
        assert "None" not in each.message
        assert each.message.isprintable()
    found = [each.cause.id for each in diagnoses if each.cause.rank is not Rank.GENERAL]
    assert (found or ["unknown"])[0] == head["cause"], head["ended"]


def test_there_are_enough_and_half_of_them_are_the_exam() -> None:
    uses = [text(path)[0]["use"] for path in TEXTS]
    assert len(uses) >= 80
    assert uses.count("exam") == uses.count("learning")
