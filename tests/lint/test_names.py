"""Names: one word has one meaning, in the code and in what people read."""

from __future__ import annotations

import ast
import re
from collections import defaultdict

import pytest

from tests.lint.source import PACKAGE, PROJECT, files, label, python_files, tree

LOOSE_MODULES = 5
# A folder tells these apart: each program and each package has its own.
IN_EACH_FOLDER = {"__init__", "__main__", "main"}

# Old word (a regular expression) -> the word of the field.
VOCABULARY = {
    r"mend(?:s|ed|ing)?": "fix",
    r"deeds?": "job, change",
    r"tell(?:s|ing)?|told": "report, show, log, describe, distinguish",
    r"by (?:itself|themselves)": "automatically, on its own",
    r"what hurts(?: first)?": "most severe first",
    r"None needed": "what to do; or no finding",
    r"harvest(?:s|ed|ing)?": "collect_finished",
    r"heed(?:s|ed|ing)?": "on_message",
    r"weighty": "blocking_uses",
    r"acquaintances?": "BaselineStatus",
    r"(?:data)?base's bell|doorbell|bell|rings?": "database_changed",
    r"ledger": "journal/reported",
    r"roundup": "journal/grouping",
    r"tally|tallies": "stats",
    r"for want of": "without, because it lacks",
    r"a person's word": "override",
    r"loudly": "and logs it",
}
# Tests may still be told what to expect: only the names of things count there.
ONLY_IN_PRODUCT = {
    r"tell(?:s|ing)?|told",
    r"by (?:itself|themselves)",
    r"None needed",
    r"for want of",
    r"loudly",
    r"(?:data)?base's bell|doorbell|bell|rings?",
}
NOT_PROSE = ("LICENSE", "tests/lint/test_names.py", "tests/rules/examples/", "tests/golden/", ".git")


def _words(pattern: str) -> re.Pattern[str]:
    """The words as prose has them and as parts of names with underscores."""
    return re.compile(rf"(?<![A-Za-z])(?:{pattern})(?![A-Za-z])", re.IGNORECASE)


def _prose() -> list[tuple[str, list[str]]]:
    found = []
    for path in files():
        name = label(path)
        if name.startswith(NOT_PROSE):
            continue
        try:
            found.append((name, path.read_text(encoding="utf-8").split("\n")))
        except UnicodeDecodeError:
            continue
    return found


@pytest.mark.parametrize("pattern", VOCABULARY)
def test_old_words_are_gone(pattern: str) -> None:
    words = _words(pattern)
    found = [
        f"{name}:{number}: {match[0]}"
        for name, lines in _prose()
        if not (pattern in ONLY_IN_PRODUCT and name.startswith("tests/"))
        for number, line in enumerate(lines, 1)
        if (match := words.search(line))
    ]
    assert not found, f"better: {VOCABULARY[pattern]}\n" + "\n".join(found)


def test_a_class_name_means_one_thing() -> None:
    places = defaultdict(list)
    for path in python_files(PACKAGE):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{label(path)}:{node.lineno}")
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_a_module_is_known_by_its_folder_and_name() -> None:
    places = defaultdict(list)
    for path in python_files(PACKAGE):
        if path.stem not in IN_EACH_FOLDER:
            places[path.parent.name, path.stem].append(label(path))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_few_modules_lie_loose() -> None:
    loose = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")
    assert len(loose) <= LOOSE_MODULES, loose


def test_the_folders_are_there() -> None:
    """What the checks above look at exists: an empty tree would pass them."""
    assert len(python_files(PACKAGE)) > 100 and (PROJECT / "README.md").exists()
