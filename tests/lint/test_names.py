"""Names: one word has one meaning, in the code and in what people read."""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from pvehooks.rules.catalogue import RULES
from tests.lint.source import PACKAGE, PROJECT, files, label, nodes, python_files, tree

LOOSE_MODULES = 5
# A folder tells these apart: each program and each package has its own.
IN_EACH_FOLDER = {"__init__", "__main__", "main"}

# Old word (a regular expression) -> the word of the field.
VOCABULARY = {
    r"mend(?:s|ed|ing)?": "fix",
    r"deeds?": "job, change",
    r"tell(?:s|ing)?|told": "report, show, log, describe, distinguish",
    r"by (?:itself|themselves)": "automatically",
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
    r"whoever|somebody|nobody": "another process, a user, an admin, no one, unused",
    r"(?:applied|taken?|took|takes|brought) along": "as well",
    r"by custom": "usually",
}
# Tests may still be told what to expect: only the names of things count there.
ONLY_IN_PRODUCT = {
    r"tell(?:s|ing)?|told",
    r"by (?:itself|themselves)",
    r"None needed",
    r"for want of",
    r"loudly",
    r"(?:data)?base's bell|doorbell|bell|rings?",
    r"whoever|somebody|nobody",
    r"(?:applied|taken?|took|takes|brought) along",
}
# Literals that contain an old word because they are a contract, or because they are not about this program.
CONTRACTS = re.compile(
    r"""
      "(?:node-)?mended" | (?<==)(?:node-)?mended | \bnode-mended\b  # ids of journal events: scripts of users filter by PVEHOOKS_EVENT
    | ^\#\ (?:node-)?mended$ | (?:\\fB|<code>)(?:node\\?-)?mended(?:\\fR|</code>)  # the same in the journal's catalogue and in pvehooksd(8)
    | cannot\ tell                                                  # a verdict of `host check --next-boot`
    | "would\ be\ mended"                                         # the JSON value of `host fix --json` for a planned fix
    | nobody\ nogroup | /nobody\b | "nobody"                       # the user of this name
    | [Rr]ing(?=[0-9_]|\(?\\d)                                    # ring0_addr of corosync.conf, and its pattern
    """,
    re.VERBOSE,
)
# Parts of names in the code (CamelCase and snake_case taken apart) -> the name instead. These words are English, but say nothing as names.
NAMES = {
    "rounds": "daemon/review, daemon/jobs, daemon/state",
    "meeting": "baseline",
    "firstlook": "baseline (the path first-look on disk stays)",
    "saying": "journal/grouping",
    "sayings": "messages",
    "sink": "journal/output",
    "book": "the rule's decorator",
    "hostfix": "actions/host",
    "guarding": "guard",
    "capturing": "capture",
    "atstart": "guest/storages",
    "ears": "Watches",
    "hear": "read",
    "heard": "Changes",
    "bell": "database_changed",
    "told": "Described, messages",
    "tell": "report, show, log",
    "tells": "reports, shows, logs",
    "said": "logged, shown, reported, expected",
    "say": "report, show, log",
    "says": "reports, shows, logs",
    "deed": "job, change",
    "mend": "fix",
    "company": "group_members",
    "having": "holder_phrase",
    "pulse": "keep_alive",
    "taking": "Claim",
    "tally": "stats",
    "somebody": "user, process",
    "nobody": "none",
    "whoever": "user, process",
}
# A pattern of words in the vendors' names of pci.ids, and the user of this name.
NAMES_THAT_STAY = {"_COMPANY", "NOBODY"}
NOT_PROSE = ("LICENSE", "debian/copyright", "tests/lint/test_names.py", "tests/rules/examples/", "tests/golden/", ".git")


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


def test_old_words_are_gone() -> None:
    any_of_them = _words("|".join(VOCABULARY))
    found = []
    for name, lines in _prose():
        patterns = [pattern for pattern in VOCABULARY if not (pattern in ONLY_IN_PRODUCT and name.startswith("tests/"))]
        for number, line in enumerate(lines, 1):
            if not any_of_them.search(line):
                continue
            text = CONTRACTS.sub("", line)
            found += [
                f"{name}:{number}: {match[0]} (better: {VOCABULARY[pattern]})"
                for pattern in patterns
                if (match := _words(pattern).search(text))
            ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("word", ["it is mended", "MENDED", "some_bell_rang", "None needed: it is bound", "it is taken along"])
def test_an_old_word_is_noticed(word: str) -> None:
    assert any(_words(pattern).search(word) for pattern in VOCABULARY)


def _names(path: Path) -> Iterator[tuple[int, str]]:
    """The names that a module gives: its own, and those of its classes, functions, arguments, variables and attributes, with their lines."""
    yield 0, path.stem
    for node in nodes(path):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def test_names_are_those_of_the_field() -> None:
    found = [
        f"{label(path)}:{line}: {name} (better: {NAMES[part]})"
        for path in (*python_files(PACKAGE), *python_files(PROJECT / "tests"), *python_files(PROJECT / "scripts"))
        for line, name in _names(path)
        if name not in NAMES_THAT_STAY
        for part in re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_")
        if part in NAMES
    ]
    assert not found, "\n".join(found)


# What the settings file, the command line and the packages of Proxmox VE call so is no word of ours.
GUEST = re.compile(r"(?<![\[`/.#_-])(?<!pvehooks )\bguests?\b(?![-._]| VMID)", re.IGNORECASE)
NO_MESSAGES = {"report/style.py"}


def texts_for_people(module: ast.Module) -> Iterator[tuple[int, str]]:
    """The texts of a module that have several words, without its comments and docstrings, with their lines."""
    notes = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip() and id(node) not in notes:
            yield node.lineno, node.value


def test_people_read_vm() -> None:
    """Proxmox VE calls it so; "guest" is the word of the code, of JSON keys, and of what may be a container as well."""
    found = [
        f"{label(path)}:{line}: {text!r}"
        for path in (*python_files(PACKAGE), *python_files(PROJECT / "scripts"))
        if str(path.relative_to(path.parents[1])) not in NO_MESSAGES
        for line, text in texts_for_people(tree(path))
        if GUEST.search(text)
    ]
    found += [f"{rule.id}: {rule.explanation}" for rule in RULES.values() if GUEST.search(rule.explanation)]
    headlines = {str(sys.modules[rule.function.__module__].__doc__).partition("\n")[0] for rule in RULES.values()}
    found += sorted(filter(GUEST.search, headlines))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("text", ["2 guests would not start", "Guests", "the guest's memory"])
def test_a_guest_in_a_message_is_noticed(text: str) -> None:
    assert GUEST.search(text)


def test_a_class_name_means_one_thing() -> None:
    places = defaultdict(list)
    for path in python_files(PACKAGE):
        for node in nodes(path):
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
