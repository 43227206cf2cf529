"""The man pages are clean, can be found, hold what the programs know, and their examples work."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pvehooks.causes.registry import causes
from pvehooks.cli import parsers
from pvehooks.daemon import main
from pvehooks.errors import SettingsError
from pvehooks.host import Host
from pvehooks.journal import events
from pvehooks.rules import catalogue
from pvehooks.rules.catalogue import RULES
from pvehooks.settings import table
from pvehooks.settings.load import checked
from scripts.docs import commands, documents, html, page_conf, page_pvehooks, page_pvehooksd, page_troubleshooting, roff
from tests.lint.source import PROJECT

NAMES = [Path(name).name for name in documents.PAGES]


@pytest.fixture(scope="module")
def pages(made: Path) -> dict[str, Path]:
    """The pages by their names."""
    return {Path(name).name: made / name for name in documents.PAGES}


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80", **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def complaints(page: Path) -> str:
    """What man and mandoc have to say against a page."""
    rendered = run("man", "--warnings=all", "-E", "UTF-8", "-l", str(page))
    lint = run("mandoc", "-T", "lint", "-W", "warning", str(page))
    return rendered.stderr + lint.stdout + lint.stderr


def shown(page: Path) -> str:
    """A page as a person reads it, its lines joined."""
    done = run("man", "-E", "UTF-8", "-l", str(page), MANWIDTH="1000", MAN_KEEP_FORMATTING="")
    assert done.returncode == 0, done.stderr
    return re.sub(r".\x08|\x1b\[[0-9;]*m", "", done.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_clean(name: str, pages: dict[str, Path]) -> None:
    assert complaints(pages[name]) == ""


@pytest.mark.parametrize("name", NAMES)
def test_whatis_finds_it(name: str, pages: dict[str, Path]) -> None:
    """lexgrog reads the NAME section as mandb does."""
    done = run("lexgrog", str(pages[name]))
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith(f'{pages[name]}: "{name.rpartition(".")[0]} - '), done.stdout


@pytest.mark.parametrize(
    ("broken", "tool"),
    [
        pytest.param(".NOSUCH macro\n", "macro", id="unknown macro"),
        pytest.param("\\fQtext\\fR and \\N'x'\n", "escape", id="bad escape"),
        pytest.param(".RS\ntext\n", "RS", id="never closed"),
    ],
)
def test_a_broken_page_is_noticed(broken: str, tool: str, tmp_path: Path, pages: dict[str, Path]) -> None:
    page = tmp_path / "pvehooks.8"
    page.write_text(pages["pvehooks.8"].read_text() + broken)
    assert tool in complaints(page)


def test_a_page_without_a_name_is_noticed(tmp_path: Path, pages: dict[str, Path]) -> None:
    page = tmp_path / "pvehooks.8"
    page.write_text(pages["pvehooks.8"].read_text().replace(".SH NAME", ".SH TITLE"))
    assert run("lexgrog", str(page)).returncode != 0


@pytest.mark.parametrize("words", parsers.commands(), ids="-".join)
def test_a_verb_or_action_has_all_its_options_and_an_example(words: tuple[str, ...], pages: dict[str, Path]) -> None:
    name = " ".join(words)
    text = shown(pages["pvehooks.8"])
    section = re.split(r"^   (?=\S)|^(?=\S)", text.partition("\nVERBS\n")[2], flags=re.MULTILINE)
    (own,) = [part for part in section if part.startswith(f"{name}\n")]
    for action in parsers.parser(*words)._actions:
        where = text if action.dest in ("help", "json", "root", "node") else own
        for word in action.option_strings or [str(action.metavar)]:
            assert re.search(rf"^ +(-h, )?{re.escape(word)}\b", where, re.MULTILINE), f"{name}: {word} is not described"
    assert "Example:" in own
    assert f" pvehooks {name}" in own.partition("Example:")[2]


def test_options_of_the_daemon_are_described(pages: dict[str, Path]) -> None:
    text = shown(pages["pvehooksd.8"])
    flags = [flag for action in main.parser()._actions for flag in action.option_strings]
    assert [flag for flag in flags if not re.search(rf"^ +(-h, )?{flag}\b", text, re.MULTILINE)] == []


def test_fields_and_events_are_described(pages: dict[str, Path]) -> None:
    text = shown(pages["pvehooksd.8"])
    used = {word for path in (PROJECT / "pvehooks").rglob("*.py") for word in re.findall(r"\bPVEHOOKS_[A-Z]+\b", path.read_text())}
    assert used - set(page_pvehooksd.FIELDS) == set()
    assert [word for word in (*page_pvehooksd.FIELDS, *events.KINDS) if not re.search(rf"^       {word}\b", text, re.MULTILINE)] == []


def test_rules_are_described(pages: dict[str, Path]) -> None:
    text = shown(pages["pvehooks-rules.7"])
    for rule in RULES.values():
        assert f"\n   {rule.id}\n       Severity: {rule.severity.value}.\n" in text
        for sentence in (rule.explanation.partition("\n")[0], rule.remedy.replace("{vmid}", "VMID")):
            assert sentence.replace("`", "").replace("'", "\N{APOSTROPHE}") in re.sub(r"\s+", " ", text), rule.id


def test_causes_are_described(pages: dict[str, Path]) -> None:
    text = shown(pages["pvehooks-troubleshooting.7"])
    for cause in causes().values():
        assert f"\n   {cause.id}\n" in text and page_troubleshooting.line_of(cause).replace("'", "\N{APOSTROPHE}") in text, cause.id


def test_what_the_troubleshooting_names_is_there() -> None:
    """Verbs with their options, and rules."""
    texts = " ".join((page_troubleshooting.DESCRIPTION, *page_troubleshooting.SYMPTOMS.values(), *page_troubleshooting.QUESTIONS.values()))
    typed = re.findall(r"`pvehooks ([^`]+)`", texts)
    assert len(typed) > 15
    for line in typed:
        parsers.parse(line.replace("VMID", "100").replace("RULE", "iommu-off").replace("ADDRESS", "0000:01:00.0").split())
        if line.startswith("explain ") and line != "explain RULE":
            assert line.removeprefix("explain ") in RULES


def test_a_page_as_html(pages: dict[str, Path]) -> None:
    """Every word of it, its links lead somewhere, and its elements are closed."""
    for name, path in pages.items():
        text = html.page(path.read_text())
        tree = ElementTree.fromstring(re.sub(r"<(meta [^>]*|br)>", r"<\1/>", text.partition("\n")[2]))
        targets = {each.get("id") for each in tree.iter()}
        for link in tree.iter("a"):
            to = str(link.get("href"))
            assert to.removeprefix("#") in targets if to.startswith("#") else to.removesuffix(".html") in pages, f"{name}: {to}"
        words = re.findall(r"[\w-]{4,}", " ".join(tree.find("body").itertext()).lower())  # type: ignore[union-attr]  # there is one
        missing = Counter(re.findall(r"[\w-]{4,}", shown(path).partition("DESCRIPTION")[2].rpartition("pvehooks")[0].lower())) - Counter(
            words
        )
        assert not missing, f"{name}: {missing}"


def test_settings_are_described(pages: dict[str, Path]) -> None:
    text = shown(pages["pvehooks.conf.5"])
    for option in table.OPTIONS:
        (section,) = re.findall(rf"^   \[{re.escape(option.section)}\]\n((?:(?!   \[|[A-Z]).*\n)*)", text, flags=re.MULTILINE)
        after = re.split(rf"^       {option.name} =", section, flags=re.MULTILINE)
        assert len(after) == 2, option.name
        own = re.split(r"\n {1,7}(?=\S)", after[1])[0]
        assert f"Allowed: {option.allowed}." in own
        assert option.default is None or f"Default: {table.written(option.default)}." in own
        assert ("Also per VM." in own) is option.per_guest


def test_hyphens_can_be_copied(pages: dict[str, Path]) -> None:
    """A dash that a terminal shows as another character would break a copied command."""
    for page in pages.values():
        assert re.findall("[\N{HYPHEN}\N{MINUS SIGN}\N{RIGHT SINGLE QUOTATION MARK}]", shown(page)) == []


@pytest.mark.parametrize("text", page_conf.EXAMPLES)
def test_the_examples_of_settings_can_be_used(text: str, tmp_path: Path) -> None:
    file = tmp_path / table.NODE_FILE[1:]
    file.parent.mkdir(parents=True)
    file.write_text(page_conf.EXAMPLES[text])
    assert checked(Host(str(tmp_path)), catalogue.RULES).files == (table.NODE_FILE,)
    file.write_text(page_conf.EXAMPLES[text].replace("\n", "\nmoed = warn\n", 1))
    with pytest.raises(SettingsError):
        checked(Host(str(tmp_path)), catalogue.RULES)


@pytest.mark.parametrize(
    "line", [line for text in page_pvehooks.EXAMPLES.values() for line in text.splitlines() if line.startswith("pvehooks ")]
)
def test_the_examples_of_commands_can_be_typed(line: str) -> None:
    parsers.parse(shlex.split(line.partition("|")[0])[1:])


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("Do it: pvehooks inject 100", "Do it: `pvehooks inject 100`"),
        ("Set it: qm set 1 --rng0 source=/dev/x,max_bytes=1; or not", "Set it: `qm set 1 --rng0 source=/dev/x,max_bytes=1`; or not"),
        ("Restore it: pvehooks backups 100, or from a backup", "Restore it: `pvehooks backups 100`, or from a backup"),
        ("See: systemctl status pve-cluster.", "See: `systemctl status pve-cluster`."),
        ("None needed: pvehooks does it", "None needed: `pvehooks does it`"),
        ("Read it: qm config 1 and qm status 1.", "Read it: `qm config 1` and `qm status 1`."),
        (
            "Read it: see qm config 1, pvehooks check or ls /a, then go on",
            "Read it: see `qm config 1`, `pvehooks check` or `ls /a`, then go on",
        ),
        ("pvehooks goes on", "pvehooks goes on"),
        ("Mark it: `qm list` does", "Mark it: `qm list` does"),
    ],
)
def test_commands_are_marked(text: str, marked: str) -> None:
    assert commands.marked(text) == marked


@pytest.mark.parametrize("text", ["\\e[1m", ".TH", "'quoted'", '--rng0 "x"', "~/^", "a\\fBb"])
def test_text_is_shown_as_it_is(text: str, tmp_path: Path) -> None:
    page = roff.Page("pvehooks", 8, "title", "2026-01-01")
    page.section("Text")
    page.paragraph(text)
    page.example([text])
    file = tmp_path / "pvehooks.8"
    file.write_text(page.text())
    assert shown(file).count(text) == 2, shown(file)
    assert complaints(file) == ""
