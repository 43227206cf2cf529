"""Our tag of a guest: all others stay as they are, and it is right wherever the writer was ended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from pvehooks.actions import backups, tags
from pvehooks.actions.result import Outcome, Result
from pvehooks.derived import wanted_tag
from pvehooks.errors import ActionFailed
from pvehooks.facts.guests import running
from pvehooks.host import Host
from pvehooks.records import baseline
from pvehooks.settings import load as settings
from pvehooks.values.guesttags import BLOCKED, WARNING
from tests.actions.kinds import CONFIG, RECORD, guest_of, start, text, write
from tests.beds.powercut import Disk
from tests.beds.process import running_guest
from tests.beds.qm import Qm
from tests.beds.tree import make_fake_tree
from tests.daemon.bed import uefi, wait_until
from tests.hookscript import bed

DATACENTER = "etc/pve/datacenter.cfg"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(str(make_fake_tree(tmp_path / "node", {CONFIG: uefi(), "etc/pve/pvehooks/guests": None, "run/pvehooks": None})))


def give(host: Host, tag: str) -> Result:
    return tags.write(host, guest_of(host), tag, settings.load(host).rng(100))


def settle(host: Host, tag: str, is_on: bool = True) -> str | None:
    """What the daemon does with the guest; the tag that was due."""
    guest = guest_of(host)
    due = wanted_tag.due(guest, tag, is_on)
    if due is None:
        tags.complete(host, guest, tag, is_on)
    else:
        assert give(host, due).done
    return due


def tags_of(host: Host) -> str:
    """The line as it stands, '' without one."""
    found = re.findall(r"^tags: (.*)$", text(host), re.MULTILINE)
    assert len(found) < 2
    return str(found[0]) if found else ""


def record(host: Host) -> tuple[str, str] | None:
    given = guest_of(host).given_tag
    return (given.value, given.state) if given else None


# -- what is written --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_running", [False, True], ids=["stopped", "running"])
@pytest.mark.parametrize(
    ("present", "tag", "after", "datacenter"),
    [
        ("", BLOCKED, BLOCKED, ""),
        ("prod;web", WARNING, f"prod;{WARNING};web", ""),
        ("web;prod", WARNING, f"web;prod;{WARNING}", "tag-style: ordering=config\n"),
        ("Web;prod", BLOCKED, f"Web;prod;{BLOCKED}", "tag-style: case-sensitive=1\n"),
        (f"prod;{WARNING};web", BLOCKED, f"prod;{BLOCKED};web", ""),
        (f"{BLOCKED};{WARNING}", WARNING, WARNING, ""),
        (f"prod;{BLOCKED};web", "", "prod;web", ""),
        # The cluster sorts since.
        (f"prod;web;{BLOCKED}", "", "prod;web", ""),
        (BLOCKED, "", "", ""),
        (f"{WARNING}, {BLOCKED}", BLOCKED, BLOCKED, ""),
        (f"{BLOCKED}-not;x.{BLOCKED}", BLOCKED, f"{BLOCKED};{BLOCKED}-not;x.{BLOCKED}", ""),
    ],
)
def test_written(host: Host, present: str, tag: str, after: str, datacenter: str, is_running: bool) -> None:
    """At once, also of a running guest, and beside what is pending of it."""
    more = "\n[PENDING]\nmemory: 4096\n\n[before]\ntags: pvehooks-blocked;x\nmemory: 512\nsnaptime: 1\n" if is_running else ""
    write(host, uefi(more=f"tags: {present}\n" * bool(present) + more))
    make_fake_tree(host.root, {DATACENTER: datacenter})
    if is_running:
        start(host)
    result = give(host, tag)
    assert (result.outcome, result.later, result.backup) == (Outcome.DONE, False, "")
    expected = uefi() + f"tags: {after}\n" * bool(after) + more
    assert sorted(text(host).splitlines()) == sorted(expected.splitlines())
    assert record(host) == ((tag, "done") if tag else None)
    assert backups.of_guest(host, 100) == [], "they would push out those that matter"


@pytest.mark.parametrize(
    ("present", "kept"),
    [
        ("web,prod", "prod;web"),
        ("web;prod", "prod;web"),
        ("Prod", "prod"),
        ("a;a", "a"),
        ("a b", "a;b"),
        (f"{BLOCKED}, web", f"{BLOCKED};web"),
        ("a;", "a"),
    ],
)
@pytest.mark.parametrize("tag", [WARNING, ""])
def test_other_tags_that_would_be_written_anew_hold_it(host: Host, present: str, kept: str, tag: str) -> None:
    before = uefi(more=f"tags: {present}\n")
    write(host, before)
    result = give(host, tag)
    assert result.outcome is Outcome.DECLINED
    assert result.words.startswith(f"Proxmox VE would write its tags anew, '{kept}' in place of '{present}'")
    assert result.words.endswith(f": qm set 100 --tags '{kept}'")
    assert (text(host), record(host), backups.of_guest(host, 100)) == (before, None, [])


@pytest.mark.parametrize(
    ("more", "outcome", "words"),
    [
        ("lock: backup\n", Outcome.LOCKED, "VM is locked (backup)"),
        ("tags: a b!\n", Outcome.LOSSY, "PVE would drop line 11 of its config, 'tags: a b!'"),
        (
            "\n[PENDING]\nmemory: 4096\n",
            Outcome.DECLINED,
            "it is stopped and other changes are pending (memory), which would be applied as well",
        ),
        ("\n[PENDING]\ntags: a\n", Outcome.DECLINED, "a change of its tags is pending; take that back first: qm set 100 --revert tags"),
        (
            "tags: a\n\n[PENDING]\ndelete: tags\n",
            Outcome.DECLINED,
            "a change of its tags is pending; take that back first: qm set 100 --revert tags",
        ),
    ],
    ids=["lock", "not PVE's", "pending", "pending tags", "pending delete"],
)
def test_held(host: Host, more: str, outcome: Outcome, words: str) -> None:
    write(host, uefi(more=more))
    result = give(host, BLOCKED)
    assert (result.outcome, result.words[: len(words)]) == (outcome, words)
    assert (text(host), record(host)) == (uefi(more=more), None)


def test_a_tag_that_a_person_sets_meanwhile_stays(host: Host) -> None:
    guest = guest_of(host)
    write(host, uefi(more="tags: mine\n"))
    result = tags.write(host, guest, BLOCKED, settings.load(host).rng(100))
    assert result.outcome is Outcome.CHANGED and tags_of(host) == "mine"
    assert settle(host, BLOCKED) == BLOCKED and tags_of(host) == f"mine;{BLOCKED}"


def test_the_copy_stays_where_something_else_came_out(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Host.replace

    def damaging(self: Host, path: str, content: bytes, *rest: object, **more: object) -> None:
        replace(self, path, content.replace(b"memory: 2048", b"memory: 4096") if path.endswith(".conf") and "/pve/" in path else content)

    monkeypatch.setattr(Host, "replace", damaging)
    with pytest.raises(ActionFailed, match="tags was changed, but something else changed at the same moment"):
        give(host, BLOCKED)
    (copy,) = backups.of_guest(host, 100)
    assert host.read(copy.path).decode() == uefi()


@pytest.fixture
def qm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Qm]:
    """This machine is the node pve1, with qm on its PATH."""
    with bed.mounts():
        qm = Qm(tmp_path / "qm")
        monkeypatch.setenv("PATH", qm.path)
        monkeypatch.setenv("PERL5LIB", qm.perl5lib)
        yield qm


@pytest.mark.parametrize("writer", ["qm", "auto"])
@pytest.mark.parametrize("is_running", [False, True], ids=["stopped", "running"])
def test_by_proxmox_ve(qm: Qm, writer: str, is_running: bool) -> None:
    """It stores what we expect of it."""
    before = "".join(sorted(uefi(more="tags: prod;web\n").splitlines(keepends=True)))
    bed.config(before)
    host = Host()
    rng = settings.load(host).rng(100)._replace(writer=writer)
    with running_guest(100) if is_running else nullcontext():
        wait_until(lambda: not is_running or running.is_running(host, 100), "its command line is there")
        for tag, line in ((WARNING, f"prod;{WARNING};web"), (BLOCKED, f"prod;{BLOCKED};web"), ("", "prod;web")):
            assert tags.write(host, guest_of(host), tag, rng).outcome is Outcome.DONE
            assert host.read(f"/{CONFIG}").decode() == before.replace("prod;web", line)


# -- whose it is ------------------------------------------------------------------------------------------------------


def test_what_an_administrator_takes_away_comes_back_with_another_finding(host: Host) -> None:
    assert settle(host, BLOCKED) == BLOCKED
    write(host, uefi())
    assert settle(host, BLOCKED) is None and tags_of(host) == ""
    assert settle(host, WARNING) == WARNING and tags_of(host) == WARNING
    write(host, uefi())
    assert settle(host, "") is None and record(host) is None
    assert settle(host, WARNING) == WARNING and tags_of(host) == WARNING


def test_a_clone_brings_its_tag(host: Host) -> None:
    """It has no record: it is taken over, or taken away."""
    write(host, uefi(more=f"tags: {BLOCKED}\n"))
    assert settle(host, BLOCKED) is None and record(host) == (BLOCKED, "done")
    Path(host.root, RECORD).unlink()
    assert settle(host, "") == "" and tags_of(host) == "" and record(host) is None


def test_switched_off_ours_go_and_an_administrators_stay(host: Host) -> None:
    write(host, uefi(more=f"tags: {BLOCKED};web\n"))
    assert settle(host, "", is_on=False) is None and tags_of(host) == f"{BLOCKED};web" and record(host) is None
    settle(host, BLOCKED)
    assert settle(host, "", is_on=False) == "" and tags_of(host) == "web" and record(host) is None


def test_switched_off_it_forgets_what_an_administrator_took_away(host: Host) -> None:
    settle(host, BLOCKED)
    write(host, uefi())
    assert settle(host, "", is_on=False) is None and record(host) is None
    assert settle(host, BLOCKED) == BLOCKED


@pytest.mark.parametrize("others", ["", "prod;web"])
def test_it_is_no_edit(host: Host, others: str) -> None:
    """A guest that existed before the package stays one, with and without other tags."""
    more = f"tags: {others}\n" * bool(others)
    write(host, uefi(more=more))
    mark = baseline.fingerprint(guest_of(host).config)  # type: ignore[arg-type]
    for tag in (BLOCKED, WARNING, ""):
        give(host, tag)
        assert baseline.fingerprint(guest_of(host).config) == mark  # type: ignore[arg-type]
    write(host, uefi(more=f"tags: {BLOCKED};new\n"))
    assert baseline.fingerprint(guest_of(host).config) != mark  # type: ignore[arg-type]


# -- the writer is ended at each step ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "tag", "is_on"),
    [("", BLOCKED, True), (WARNING, BLOCKED, True), (BLOCKED, "", True), (BLOCKED, "", False)],
    ids=["given", "changed", "taken away", "switched off"],
)
def test_ended_at_each_step(tmp_path: Path, host: Host, first: str, tag: str, is_on: bool) -> None:
    """The next daemon makes it whole, whatever it finds, and takes nothing of it for an administrator's doing."""
    if first:
        give(host, first)
    before = text(host)
    disk = Disk(Path(host.root))
    with disk.recorded():
        assert settle(host, tag, is_on) == tag
    after = text(host)
    seen = set()
    for count in disk.cuts():
        for then, is_on_then in ((tag, is_on), (first, True), ("", True), ("", False)):
            left = Host(str(disk.cut(count, tmp_path / "cut")))
            seen.add(text(left))
            settle(left, then, is_on_then)
            settle(left, then, is_on_then)
            assert (tags_of(left), record(left)) == (then, (then, "done") if then else None), (count, then)
    assert seen == {before, after}


def test_what_was_not_written_is_not_recorded(host: Host) -> None:
    give(host, WARNING)
    write(host, uefi(more=f"lock: backup\ntags: {WARNING}\n"))
    assert give(host, BLOCKED).outcome is Outcome.LOCKED
    assert record(host) == (WARNING, "done")
