"""journalctl -x explains the daemon's entries: a real journald, a real catalogue, real entries."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pvehooks.facts.guests import configs as guest_facts
from pvehooks.host import Host
from pvehooks.journal import entries, events, output
from pvehooks.journal.kind import INFO
from pvehooks.rules.catalogue import RULES
from pvehooks.values import Finding, Severity
from scripts.docs import catalog, page_pvehooksd
from tests.beds.journald import LOGS, Journald
from tests.beds.namespace import mount
from tests.beds.tree import make_fake_tree
from tests.daemon.bed import NodeBed, uefi
from tests.lint.source import PROJECT

TEXT = catalog.make()
# Where the package puts it: systemd 252 reads no directory that the tests have for themselves.
PLACE = Path("/usr/lib/systemd/catalog/pvehooks.catalog")
NAMES = (*events.KINDS, *(f"finding/{rule}" for rule in RULES))


def journalctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    return subprocess.run(["journalctl", "--no-pager", *arguments], env=env, capture_output=True, text=True, timeout=60, check=False)


def install(text: str) -> str:
    """What a package's trigger does; returns the complaints."""
    PLACE.write_text(text)
    return journalctl("--update-catalog").stderr


@pytest.fixture(scope="module", autouse=True)
def directory() -> Iterator[None]:
    """An empty directory in the place of systemd's own, seen by the tests only."""
    mount("tmpfs", str(PLACE.parent), "tmpfs")
    yield
    subprocess.run(["umount", PLACE.parent], check=True)
    journalctl("--update-catalog")


@pytest.fixture
def installed() -> None:
    assert install(TEXT) == ""


def explained(*matches: str) -> str:
    """journalctl -x of the tests' journald, without the marks in front of the lines."""
    (directory,) = LOGS.iterdir()
    done = journalctl("--catalog", "--output=short", f"--directory={directory}", *matches)
    assert done.returncode == 0, done.stderr
    return re.sub("^\N{LIGHT SHADE}\N{LIGHT SHADE} ?", "", done.stdout, flags=re.MULTILINE)


@pytest.mark.usefixtures("installed")
def test_every_event_and_rule_has_an_entry() -> None:
    for name in NAMES:
        text = journalctl("--dump-catalog", entries.message_id(name)).stdout
        assert text.startswith(f"-- {entries.message_id(name)}\nSubject: "), f"{name}: {text}"
        assert "Defined-By: pvehooks\n" in text
    for rule in RULES.values():
        text = journalctl("--dump-catalog", entries.message_id(f"finding/{rule.id}")).stdout
        assert f"Subject: Finding {rule.id}\n" in text
        assert "Documentation: man:pvehooks-rules(7)\n" in text
        assert _words(rule.explanation) in _words(text)
        assert _words(rule.remedy.replace("{vmid}", "@PVEHOOKS_VMID@")) in _words(text)
    for kind in events.KINDS.values():
        text = journalctl("--dump-catalog", entries.message_id(kind.name)).stdout
        assert f"Subject: {kind.title}\n" in text
        about = kind.explanation.replace("VMID", "@PVEHOOKS_VMID@") if kind.about_guest else kind.explanation
        assert _words(about) in _words(text)


def _words(text: str) -> str:
    """Without line breaks and quotes."""
    return " ".join(re.sub('[`"]', "", text).split())


@pytest.mark.usefixtures("installed")
def test_it_has_no_other_entries() -> None:
    listed = [line.split()[0] for line in journalctl("--list-catalog").stdout.splitlines() if " pvehooks: " in line]
    assert sorted(listed) == sorted(entries.message_id(name) for name in NAMES)


def test_broken_catalogues_are_noticed() -> None:
    """What the tests above build upon: a message for a mistake, and nothing for an entry that is not there."""
    wanted = entries.message_id("bug")
    assert install("words of no entry\n" + TEXT) != ""
    assert install(TEXT.replace(wanted, "0" * 31 + "1")) == ""
    assert "A bug in pvehooks" not in journalctl("--dump-catalog", wanted).stdout


@pytest.mark.usefixtures("installed")
def test_an_entry_of_the_real_daemon_is_explained(tmp_path: Path) -> None:
    with NodeBed(tmp_path, settings="[rng]\nmode = warn\n") as bed:
        bed.start()
        bed.write(100, uefi("web"))
        bed.journal.wait_for("PVEHOOKS_RULE=rng-missing-netboot")
        bed.conf.write_text("[rng]\nmode = inject\n")
        bed.write(101, uefi("mail"))
        bed.signal(1)
        bed.journal.wait_for("PVEHOOKS_EVENT=injected", count=2)
        bed.stop()
        journalctl("--sync")
        finding = explained("-tpvehooksd", "PVEHOOKS_RULE=rng-missing-netboot", "PVEHOOKS_EVENT=finding", "PVEHOOKS_VMID=100")
        injected = explained("-tpvehooksd", "PVEHOOKS_EVENT=injected", "PVEHOOKS_VMID=101")
    assert "VM 100 (web): no network boot (net0)" in finding
    assert "Subject: Finding rng-missing-netboot\n" in finding
    assert "\nVM 100 on node pve1, about rng0:\n" in finding
    assert "Give it an RNG device:\npvehooks inject 100\n" in finding
    assert "\n    [guest 100]\n    ignore = rng-missing-netboot: REASON\n" in finding
    assert "Documentation: man:pvehooks-rules(7)\n" in finding
    assert "Subject: A VM was given an rng0\n" in injected
    assert '"pvehooks undo 101" takes it back' in _joined(injected)
    assert "journalctl PVEHOOKS_VMID=101\n" in injected


def _joined(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.usefixtures("installed")
def test_a_finding_of_each_rule_is_explained_whole() -> None:
    """All fields that a text names are filled in, and no line of it is lost (journalctl drops what looks like a comment)."""
    fields = {"PVEHOOKS_NODE": "pve1", "PVEHOOKS_VMID": "4711", "PVEHOOKS_DEVICE": "line 5", "PVEHOOKS_VERDICT": "allow"}
    with Journald():
        for rule in RULES:
            output.Journal().write(
                entries.Entry("something", entries.message_id(f"finding/{rule}"), INFO, {**fields, "PVEHOOKS_RULE": rule})
            )
        journalctl("--sync")
        texts = {rule: explained(f"PVEHOOKS_RULE={rule}") for rule in RULES}
    wrong = []
    for rule, text in texts.items():
        if "about line 5:" not in text or "PVEHOOKS_" in text or "@" in text:
            wrong.append(f"{rule}: a field is not filled in: {text}")
        if ("4711" in text) is RULES[rule].of_node:
            wrong.append(f"{rule}: names the VM, or not, as its folder has it: {text}")
        if _words(RULES[rule].remedy.replace("{vmid}", "4711")) not in _words(text):
            wrong.append(f"{rule}: the remedy is not whole: {text}")
    assert not wrong, "\n".join(wrong)


def test_the_fields_named_are_those_a_finding_has(tmp_path: Path) -> None:
    """entries.finding() and entries.event() are what fills them in."""
    host = Host(str(make_fake_tree(tmp_path, {"etc/pve/nodes/pve1/qemu-server/100.conf": "memory: 512\n"})))
    guest = guest_facts.read(host, "pve1", 100, guest_facts.gather_context(host, "pve1", None))
    has = entries.finding(guest, Finding("rng0", "words", rule="rng-missing", severity=Severity.INFO), "allow").fields
    named = set(re.findall(r"@([A-Z_]+)@", TEXT))
    assert named == {"PVEHOOKS_VMID", "PVEHOOKS_NODE", "PVEHOOKS_DEVICE"}
    assert named <= set(has)
    assert "PVEHOOKS_VMID" in entries.event("injected", "words", "pve1", guest).fields


def messages() -> Iterator[ast.Call]:
    """Where the code says something: calls of event()."""
    for path in (PROJECT / "pvehooks").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "event" and node.args:
                yield node


def test_kinds_about_a_guest() -> None:
    """A text may name the VMID only where every entry of its kind has one: seen from how the code says them."""
    about: dict[str, set[bool]] = {}
    for call in messages():
        for kind in (each.value for each in ast.walk(call.args[0]) if isinstance(each, ast.Constant)):
            about.setdefault(str(kind), set()).add(_names_a_guest(call))
    assert about.keys() <= events.KINDS.keys()
    about_guest = {each.name for each in events.KINDS.values() if each.about_guest}
    assert {kind for kind in about_guest if about.get(kind) != {True}} == set()
    assert [kind for kind in about if "VMID" in events.KINDS[kind].explanation and kind not in about_guest] == []


def test_the_fields_of_events_are_in_the_manual() -> None:
    named = {keyword.arg for call in messages() for keyword in call.keywords if keyword.arg} - {"guest"}
    assert {"rule", "backup", "vmid"} <= named
    assert {f"PVEHOOKS_{name.upper()}" for name in named} - set(page_pvehooksd.FIELDS) == set()


def _names_a_guest(call: ast.Call) -> bool:
    """Whether an entry gets a VMID: by keyword, or by an argument behind the message (of a Log) or the node (of entries)."""
    place = 2 if ast.unparse(call.func).endswith("log.event") else 3
    by_place = any(ast.unparse(argument) not in ("None", "0") for argument in call.args[place:])
    return by_place or any(keyword.arg in ("guest", "vmid") for keyword in call.keywords)


def test_a_line_that_journalctl_would_drop_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(events.KINDS, "bug", events.KINDS["bug"]._replace(explanation="#one is gone"))
    with pytest.raises(AssertionError, match="comments"):
        catalog.make()
