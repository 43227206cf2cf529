"""The committed documents are what the code's tables say; a change of a table or of a file is noticed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pvehooks.cli import parsers
from pvehooks.journal import events
from pvehooks.rules import catalogue
from pvehooks.settings import table
from scripts.docs import commandline, documents, page_conf, page_pvehooks, words
from tests.lint.source import PROJECT

DIRECTORIES = ("man", "catalog", "completion")


def test_documents_are_as_the_code_says() -> None:
    assert documents.drift() == [], "the tables changed, or a file was edited by hand: make docs"


def test_nothing_else_lies_beside_them() -> None:
    found = {str(path.relative_to(PROJECT)) for directory in DIRECTORIES for path in (PROJECT / directory).rglob("*")}
    assert found == {name for name in documents.NAMES if not name.startswith("pvehooks/")}


# -- what is noticed, seen from documents that are as they should be whatever the committed ones are ------------------


@pytest.mark.parametrize("name", documents.NAMES)
def test_an_edited_file_is_noticed(name: str, made: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(made, tmp_path / "copy")
    file = copy / name
    before = file.read_text()
    file.write_text(before.replace("Made by", "Written by", 1))
    assert documents.drift(copy) == [name]
    file.unlink()
    assert documents.drift(copy) == [name]
    assert documents.write(copy) == [name]
    assert documents.drift(copy) == []


def test_a_changed_kind_is_noticed(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(events.KINDS, "bug", events.KINDS["bug"]._replace(explanation="Other words."))
    assert set(documents.drift(made)) == {"man/pvehooksd.8", "catalog/pvehooks.catalog"}


def test_a_changed_rule_is_noticed(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = catalogue.RULES["rng-unlimited"]
    monkeypatch.setitem(catalogue.RULES, "rng-unlimited", rule._replace(remedy="Do something else."))
    assert set(documents.drift(made)) == {"man/pvehooks-rules.7", "catalog/pvehooks.catalog"}


def test_a_new_rule_is_noticed(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = catalogue.RULES["rng-unlimited"]
    monkeypatch.setitem(catalogue.RULES, "rng-new", rule._replace(id="rng-new"))
    assert set(documents.drift(made)) == {"man/pvehooks-rules.7", "catalog/pvehooks.catalog", "completion/pvehooks"}


def test_a_changed_option_is_noticed(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = table.OPTIONS
    monkeypatch.setattr(page_conf, "OPTIONS", (first._replace(doc="Other words."), *others))
    assert documents.drift(made) == ["man/pvehooks.conf.5"]


def test_a_changed_verb_is_noticed(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsers.module("check"), "SUMMARY", "other words")
    assert documents.drift(made) == ["man/pvehooks.8"]


def test_the_date_of_a_page_changes_with_its_content_only(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "4102444800")
    there = documents.there("man/pvehooks.8", made)
    assert documents.made("man/pvehooks.8", there) == there
    assert documents.made("man/pvehooks.8", there + "more\n").splitlines()[1].split()[3] == "2100-01-01"


def test_the_program_rewrites_what_is_not_as_it_should_be(made: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(made, tmp_path / "copy")
    for directory in ("pvehooks", "scripts"):
        shutil.copytree(PROJECT / directory, copy / directory, dirs_exist_ok=True)
    (copy / "man/pvehooks.8").write_text("")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    said = [
        subprocess.run(
            [sys.executable, "-m", "scripts.docs"], cwd=copy, env=environment, capture_output=True, text=True, timeout=60, check=True
        ).stdout
        for _ in range(2)
    ]
    assert said == ["rewritten: man/pvehooks.8\n", "all documents are as they should be\n"]
    assert documents.drift(copy) == []


def test_whatever_is_there_is_described() -> None:
    """What a table cannot tell, somebody has to write: a new verb, section or exit status needs its words."""
    from pvehooks import errors

    assert set(page_pvehooks.VERB_NOTES) == set(parsers.names())
    assert set(page_conf.SECTIONS) == {option.section for option in table.OPTIONS}
    assert set(words.EXIT_STATUSES) == {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert {argument.flags[-1] for argument in commandline.common()} == {"--help", "--json", "--root", "--node"}
