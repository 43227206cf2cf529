"""What the node's notes say of its guests and free devices, how often, and that no guest's name does anything in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from pvehooks.actions import node_notes
from pvehooks.actions.result import Outcome, Result
from pvehooks.daemon.publish.notes import LIMIT, PAUSE, NodeNotes, fitting
from pvehooks.daemon.stats import CountedFinding, GuestStats, Stats
from pvehooks.errors import PmxcfsAway
from pvehooks.facts import hardware
from pvehooks.formats.nodenotes import BEGIN, END, encoded, notes
from pvehooks.host import Host
from pvehooks.rules import catalogue
from pvehooks.settings.effective import Settings
from pvehooks.settings.load import checked
from pvehooks.values import Severity, StartVerdict
from tests.beds import pci
from tests.beds.tree import make_fake_tree
from tests.derived.test_free import FILES, TABLE

CONFIG = "etc/pve/nodes/pve1/config"
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "[a](javascript:alert(1))",
    "![a](http://b/c.png)",
    "http://evil.example",
    "www.evil.example",
    "**b**_c_`d`~e~",
    "</li></ul><script>alert(1)</script>",
    f"{END}",
    "a\n\n# head\n\n    code",
    "a|b&lt;&#60;script&#62;",
    "\\<b>x</b>",
    "\u202egnp",
)


def guest(
    label: str, start: StartVerdict = StartVerdict.WOULD_NOT, *rules: str, severity: Severity = Severity.BLOCK, why: str = ""
) -> GuestStats:
    findings = tuple(CountedFinding(rule, severity, False, True) for rule in rules)
    return GuestStats(label, False, severity is Severity.BLOCK, True, True, findings, start, why)


def test_the_block(tmp_path: Path) -> None:
    root = make_fake_tree(
        tmp_path, {**pci.plant(TABLE), **FILES, "etc/pve/nodes/pve1/qemu-server/105.conf": "name: old\nhostpci0: 0000:07:00.0\n"}
    )
    guests = {
        100: guest("VM 100 (web)", StartVerdict.WOULD, "rng-missing", severity=Severity.WARNING),
        101: guest("VM 101 (gpu)", StartVerdict.WOULD_NOT, "hostpci-device-missing", "hostpci-device-missing", "group-not-clean"),
        102: guest("VM 102 (nas)", StartVerdict.MUST_NOT, "device-in-use", why="[guard] mode = audit"),
        103: guest("VM 103 (fine)", StartVerdict.WOULD, severity=Severity.INFO),
    }
    lines = list(fitting(guests, hardware.gather(Host(str(root)), "pve1")))
    assert lines[:9] == [
        "",
        "### pvehooks: VMs and passthrough",
        "",
        "4 VMs, 3 with something that needs a look:",
        "",
        "- VM 102 (nas) **must not start (nothing stops it: \\[guard\\] mode = audit)**: `device-in-use`",
        "- VM 101 (gpu) **would not start**: `hostpci-device-missing`, `group-not-clean`",
        "- VM 100 (web) **would start, with a warning**: `rng-missing`",
        "",
    ]
    assert lines[9:11] == ["Free to be passed through:", ""]
    assert [line[2:16] for line in lines[11:-3]] == [
        "`0000:01:00.0`",
        "`0000:01:00.1`",
        "`0000:03:02.0`",
        "`0000:07:00.0`",
        "`0000:08:00.0`",
    ]
    assert lines[14].endswith(" (named by VM 105 (old))")
    assert lines[-3:] == ["", "What to do about it: `pvehooks check VMID`. What a finding means: `pvehooks explain RULE`.", ""]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_does_nothing(tmp_path: Path, name: str) -> None:
    """Tenants may write it. With HTML allowed, as by Proxmox VE before it cleans that up, and with GitHub's links and tables."""
    guests = {101: guest(f"VM 101 ({name})", StartVerdict.MUST_NOT, "device-in-use", why=name)}
    lines = list(fitting(guests, hardware.gather(Host(str(make_fake_tree(tmp_path, FILES))), "pve1")))
    assert BEGIN not in lines and END not in lines and all("\n" not in line for line in lines)
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse("\n".join(lines))
    blocks = {token.type for token in tokens}
    assert (
        blocks.isdisjoint({"html_block", "table_open", "fence", "code_block", "blockquote_open"})
        and sum(t.type == "heading_open" for t in tokens) == 1
    )
    inline = {child.type for token in tokens for child in token.children or ()}
    assert inline <= {"text", "text_special", "strong_open", "strong_close", "code_inline", "softbreak"}
    assert "http://" not in "".join(lines) and "www." not in "".join(lines), "it would be a link"


def test_it_is_bounded(tmp_path: Path) -> None:
    label = "\u00fc" * 500
    guests = {
        vmid: guest(f"VM {vmid} ({label})", StartVerdict.MUST_NOT, *[f"rule-{n}" for n in range(50)], why=label)
        for vmid in range(100, 1100)
    }
    table = "".join(f"0000:{bus:02x}:00.0 class=0c0330 id=1912:0014 driver=vfio-pci group={bus}\n" for bus in range(1, 200))
    root = make_fake_tree(tmp_path, {**pci.plant(table), **FILES})
    lines = list(fitting(guests, hardware.gather(Host(str(root)), "pve1")))
    assert sum(len(encoded(line)) for line in (BEGIN, *lines, END)) <= LIMIT
    assert "- and 995 more: `pvehooks check`" in lines or any(line.startswith("- and 9") for line in lines)


# -- when it is written -----------------------------------------------------------------------------------------------


class Bed:
    """The part of the daemon on a fake node, with a clock that the test moves."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(Host, "monotonic", lambda host: self.now)
        self.host = Host(str(make_fake_tree(directory, {**FILES, CONFIG: b"#mine\n", "etc/pvehooks": None, "var/lib/pvehooks": None})))
        self.stats = Stats()
        self.notes = NodeNotes(self.host, "pve1", lambda: None)
        self.writes = 0
        keep = node_notes.keep

        def counted(*arguments: object) -> Result:
            result = keep(*arguments)  # type: ignore[arg-type]
            self.writes += result.outcome is Outcome.DONE
            return result

        monkeypatch.setattr(node_notes, "keep", counted)

    def settings(self, how: str) -> Settings:
        (Path(self.host.root) / "etc/pvehooks/pvehooks.conf").write_text(f"[gui]\nnode-notes = {how}\n")
        return checked(self.host, catalogue.RULES)

    def turn(self, settings: Settings, seconds: float = 0.0) -> str:
        """So much later, and once what was begun has ended: what was reported."""
        self.now += seconds
        reported = self.notes.publish(self.stats, settings)
        if self.notes._work is not None:
            self.notes._work.join(20)
            reported += self.notes.publish(self.stats, settings)
        return reported

    def find(self, *rules: str) -> None:
        self.stats.guests[101] = guest("VM 101 (gpu)", StartVerdict.WOULD_NOT, *rules)
        self.stats.changes += 1

    def text(self) -> str:
        return notes((Path(self.host.root) / CONFIG).read_bytes())


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    return Bed(tmp_path, monkeypatch)


def test_off_by_default(bed: Bed) -> None:
    assert checked(bed.host, catalogue.RULES).gui.node_notes is False
    off = bed.settings("off")
    for _ in range(3):
        bed.find("group-not-clean")
        assert bed.turn(off, PAUSE) == ""
    assert bed.text() == "mine\n" and bed.writes == 0


def test_written_when_it_changes(bed: Bed) -> None:
    on = bed.settings("on")
    bed.find("group-not-clean")
    assert bed.turn(on) == "" and bed.text().startswith(f"mine\n{BEGIN}\n") and "group-not-clean" in bed.text()
    for _ in range(100):
        bed.find("group-not-clean")
        bed.turn(on, PAUSE)
    assert bed.writes == 1
    for _ in range(20):
        bed.find("group-not-clean")
        bed.turn(on, 1)
        bed.find("device-in-use")
        bed.turn(on, PAUSE / 20 - 1)
    assert bed.writes <= 3, "every ten minutes at most"
    bed.turn(on, PAUSE)
    assert "device-in-use" in bed.text()


def test_gone_at_once_when_it_is_switched_off(bed: Bed) -> None:
    bed.find("group-not-clean")
    bed.turn(bed.settings("on"))
    assert bed.turn(bed.settings("off")) == "" and bed.text() == "mine\n"
    assert bed.turn(bed.settings("on")) == "" and BEGIN in bed.text()


def test_a_restart_writes_nothing(bed: Bed) -> None:
    bed.find("group-not-clean")
    on = bed.settings("on")
    bed.turn(on)
    bed.notes = NodeNotes(bed.host, "pve1", lambda: None)
    bed.turn(on)
    assert bed.writes == 1


def test_edited_marks_are_reported_once(bed: Bed) -> None:
    on = bed.settings("on")
    bed.turn(on)
    path = Path(bed.host.root, CONFIG)
    path.write_bytes(path.read_bytes().replace(encoded(END), b"#"))
    edited = path.read_bytes()
    bed.find("group-not-clean")
    assert bed.turn(on, PAUSE).startswith("what the node's notes say of VMs and devices: its marks in the node's notes were edited")
    for _ in range(10):
        bed.find("group-not-clean")
        assert bed.turn(on, PAUSE) == ""
    assert path.read_bytes() == edited


def test_without_quorum_it_waits(bed: Bed) -> None:
    on = bed.settings("on")
    bed.stats.quorate = False
    bed.turn(on)
    assert bed.text() == "mine\n"
    bed.stats.quorate = True
    bed.turn(on)
    assert BEGIN in bed.text()


def test_what_has_to_wait_is_tried_again(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    on = bed.settings("on")
    with monkeypatch.context() as patched:
        patched.setattr(node_notes, "keep", lambda *_: Result(Outcome.WAITING, "no"))
        assert bed.turn(on) == "what the node's notes say of VMs and devices: no"
        assert bed.turn(on, 1) == bed.turn(on, PAUSE) == ""
    bed.turn(on, PAUSE)
    assert BEGIN in bed.text()


def test_without_pmxcfs_it_waits(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> Result:
        raise PmxcfsAway("it does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(hardware, "gather", away)
        assert bed.turn(bed.settings("on")) == "what the node's notes say of VMs and devices: it does not answer"
    bed.turn(bed.settings("on"), PAUSE)
    assert BEGIN in bed.text()


def test_a_bug_is_reported(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Result:
        raise RuntimeError("x")

    monkeypatch.setattr(node_notes, "keep", broken)
    assert bed.turn(bed.settings("on")) == "what the node's notes say of VMs and devices: a bug: RuntimeError('x')"
