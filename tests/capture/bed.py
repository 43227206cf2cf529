"""A capture made of a tree, unpacked, and looked at again."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from pvehooks.capture import archive, collect, make
from pvehooks.capture.replay import host_at
from pvehooks.host.readonce import read_once
from pvehooks.values import Finding

KEY = b"of the tests"


class Captured(NamedTuple):
    """What was made, and what the capture tells."""

    made: make.Made
    again: collect.LookResult


def captured(look: make.Look, plain: bool, directory: Path) -> Captured:
    """Makes a capture, puts it into a directory, and looks at it."""
    made = make.made(look, plain, KEY)
    tree = directory / ("plain" if plain else "disguised")
    tree.mkdir()
    things = sorted(made.things.items(), key=lambda each: each[0].split("/"))
    assert archive.extract_to((archive.Member(path, thing, 0) for path, thing in things), str(tree))
    return Captured(made, collect.at_everything(read_once(host_at(str(tree)), configs=True), made.node))


def findings_of(seen: collect.LookResult) -> list[tuple[str, ...]]:
    """The findings as texts."""
    return sorted([*((str(vmid), *_texts(finding)) for vmid, finding in seen.findings), *(("host check", text) for text in seen.passed)])


def _texts(finding: Finding) -> tuple[str, ...]:
    return finding.rule, finding.severity.value, finding.subject, finding.message, finding.remedy, str(finding.examined)


def renamed(made: make.Made, text: str) -> str:
    """A text about the node, as it is about the node in the disguised capture."""
    disguise = made.disguise
    assert disguise is not None
    text = re.sub(r"\b((?:VM|CT) \d+) \(([^()]*)\)", lambda match: f"{match[1]} ({disguise.labels.get(match[2], match[2])})", text)
    return str(disguise.text(text))


def in_words(findings: list[tuple[str, ...]]) -> Counter[tuple[str, ...]]:
    """The findings by their words: lists in them are sorted by name, and names are others."""
    # A firmware image is another file in a capture: its digest is, too.
    return Counter(tuple(sorted(re.findall(r"\w+", re.sub(r"[0-9a-f]{16}\.\.\.", "", "\n".join(finding))))) for finding in findings)


def assert_same(root: Path | str, node: str, directory: Path, plain: bool = True) -> make.Made:
    """A plain capture tells the same as the node, word for word, a disguised one the same but for names; the disguised one."""
    look = make.look(str(root), node)
    if plain:
        assert in_words(findings_of(captured(look, True, directory).again)) == in_words(findings_of(look.seen))
    made, again = captured(look, False, directory)
    expected = [tuple(renamed(made, text) for text in finding) for finding in findings_of(look.seen)]
    assert in_words(findings_of(again)) == in_words(expected)
    assert len(again.troubles) == len(look.seen.troubles), again.troubles
    return made
