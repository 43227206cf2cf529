"""The outbox: who leaves what there, and what it bounds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pvehooks.guard import journal as guard_journal
from pvehooks.host import Host
from pvehooks.journal import entries, outbox
from pvehooks.journal.events import KINDS
from pvehooks.journal.kind import ERR
from pvehooks.journal.output import Journal
from pvehooks.values import Finding, Guest, Severity
from tests.beds.journald import Journald

HOST = Host()
DIRECTORY = Path(outbox.DIRECTORY)


@pytest.fixture
def directory() -> Iterator[Path]:
    """As pvehooks-notify.path makes it."""
    DIRECTORY.mkdir(parents=True)
    yield DIRECTORY
    for path in sorted(Path(outbox.HOME).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    Path(outbox.HOME).rmdir()


@pytest.fixture
def journald() -> Iterator[Journald]:
    with Journald() as one:
        yield one


def letters() -> list[outbox.Letter]:
    found = [outbox.read(HOST, name) for name in outbox.waiting(HOST)]
    return [each for each in found if each is not None]


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.notify], ids=lambda kind: kind.name)
def test_a_kind_that_is_sent_is_left_and_logged(kind: object, directory: Path, journald: Journald) -> None:
    name = kind.name  # type: ignore[attr-defined]
    Journal().write(entries.event(name, "it happened", "pve1", None, 100, cause="x"))
    (letter,) = letters()
    assert letter[:7] == (name, KINDS[name].notify, KINDS[name].priority, "it happened", 100, "x", "pve1")
    assert len(journald.entries(f"PVEHOOKS_EVENT={name}")) == 1


def test_other_kinds_are_not_left(directory: Path, journald: Journald) -> None:
    Journal().write(entries.event("injected", "given", "pve1", None, 100))
    assert not outbox.waiting(HOST)


@pytest.mark.parametrize(("verdict", "left"), [("block", 1), ("allow", 0)])
def test_what_the_guard_refuses_a_start_for_is_left(verdict: str, left: int, directory: Path, journald: Journald) -> None:
    guest = Guest(100, "pve1", None, (), False)
    found = Finding("net0", "the bridge vmbr9 does not exist", remedy="Make it: ifup vmbr9", rule="bridge-missing", severity=Severity.BLOCK)
    guard_journal.finding(HOST, guest, found, verdict)
    assert len(letters()) == left
    for letter in letters():
        assert letter.option == "refused_starts"
        assert letter.text == "VM 100: the bridge vmbr9 does not exist. Make it: ifup vmbr9"
    assert len(journald.entries("PVEHOOKS_EVENT=finding")) == 1


def test_the_same_finding_in_an_audit_is_not(directory: Path) -> None:
    guest = Guest(100, "pve1", None, (), False)
    assert entries.finding(guest, Finding("net0", "gone", rule="bridge-missing", severity=Severity.BLOCK), "block").notify == ""


def test_where_nothing_would_take_it_nothing_is_left(journald: Journald) -> None:
    Journal().write(entries.event("bug", "a bug", "pve1"))
    assert not DIRECTORY.exists()
    assert len(journald.entries("PVEHOOKS_EVENT=bug")) == 1


def test_it_is_bounded_and_escaped(directory: Path) -> None:
    entry = entries.Entry("VM 100: \x1b[31m" + "x" * 100_000, "", ERR, {"PVEHOOKS_EVENT": "bug"}, "errors")
    for _ in range(outbox.MOST + 7):
        outbox.leave(HOST, entry)
    assert len(outbox.waiting(HOST)) == outbox.MOST
    assert outbox.take_left_out(HOST) == 7
    assert outbox.take_left_out(HOST) == 0
    (letter, *_) = letters()
    assert letter.text.startswith("VM 100: \\x1b[31mxxx")
    assert len(letter.text) < 4100


def test_only_root_reads_it(directory: Path) -> None:
    outbox.leave(HOST, entries.event("bug", "x", "pve1"))
    (name,) = outbox.waiting(HOST)
    assert (directory / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"event": 1}',
        '{"event":"","option":"","text":"","cause":"","node":"","priority":"x","vmid":0,"time":0}',
        "[" * 9000,
    ],
)
def test_what_is_damaged_is_none(text: str, directory: Path) -> None:
    (directory / "1.json").write_text(text)
    assert outbox.read(HOST, "1.json") is None


def test_what_is_read_is_printable_again(directory: Path) -> None:
    letter = outbox.Letter("e", "errors", ERR, "a\x1bb", 0, "", "p\n1", 1.0)
    (directory / "1.json").write_text(json.dumps(letter._asdict()))
    assert outbox.read(HOST, "1.json") == letter._replace(text="a\\x1bb", node="p\\n1")
