"""`check` over thousands of guests: what a terminal shows meanwhile, an end by Ctrl-C, and the quiet way for cron."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pvehooks.cli import findings, main, parsers, root
from pvehooks.cli.view import view
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.host import Host
from tests.beds import printed, usb
from tests.beds.process import kill_on_failure
from tests.beds.tree import make_fake_tree
from tests.cli.test_cli import CONFIGS, TREE, pvehooks
from tests.daemon.bed import PROJECT, uefi

MANY = 5000
PROGRESS = re.compile(r"looking at \d+ VMs?: (\d+) %")
ERASED = "\x1b[2K\r"
# Many disks take their time, both to read and to judge.
DISKS = [f"{bus}{number}" for bus, count in (("scsi", 31), ("virtio", 16), ("sata", 6)) for number in range(count)]
PLAIN = f"boot: order={';'.join(DISKS)}\nname: plain\n" + "".join(
    f"{disk}: local:100/vm-100-{disk}.qcow2,discard=on,size=8G\n" for disk in DISKS
)
FAULTY = "name: web\nbootdisk: scsi0\nscsi0: local:100/d.qcow2\n\n[snap]\nonbot: 1\nsnaptime: 1700000000\n"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node on which a look takes a second: one config under thousands of names, of which one has a finding."""
    tree = make_fake_tree(tmp_path_factory.mktemp("many"), {f"{CONFIGS}/100.conf": FAULTY, f"{CONFIGS}/101.conf": PLAIN})
    for vmid in range(102, 102 + MANY):
        (tree / CONFIGS / f"{vmid}.conf").symlink_to("101.conf")
    return tree


class Terminal:
    """A command whose standard streams are a terminal of its own, at which somebody can type; with `piped` its output is a file."""

    def __init__(self, tree: Path, *arguments: str, piped: Path | None = None, program: tuple[str, ...] = ("-m", "pvehooks")) -> None:
        self._leader, follower = pty.openpty()
        self.before = termios.tcgetattr(self._leader)
        command = [sys.executable, *program, *arguments, "--root", str(tree)]
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LC_ALL": "C.UTF-8"}
        with open(piped or os.devnull, "wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=PROJECT,
                env=environment,
                stdin=follower,
                stdout=output if piped else follower,
                stderr=follower,
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no threads here
            )
        os.close(follower)
        self.text = ""

    def read_until(self, condition: Callable[[str], object]) -> None:
        """Reads till the text so far meets the condition, or the command has ended."""
        while not condition(self.text):
            try:
                chunk = os.read(self._leader, 4096)
            except OSError:
                return
            self.text += chunk.decode()

    def wait_for_work(self) -> None:
        """See at_work()."""
        at_work(self._process)

    def type(self, keys: bytes) -> None:
        """As at the keyboard."""
        os.write(self._leader, keys)

    def end(self) -> int:
        """Reads the rest; the exit status."""
        self.read_until(lambda text: False)
        return self._process.wait(60)

    def close(self) -> None:
        """Whatever happened, nothing stays."""
        self._process.kill()
        self._process.wait()
        os.close(self._leader)


def at_work(process: subprocess.Popen[Any]) -> None:
    """Waits until the process has had the processor for longer than Python takes to start, or has ended."""
    while process.poll() is None:
        # proc_pid_stat(5): utime and stime are the 14th and 15th field.
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        if (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") > 0.8:
            return
        time.sleep(0.01)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*arguments: object, **options: Path) -> Terminal:
        opened.append(Terminal(*arguments, **options))  # type: ignore[arg-type]  # as they are given
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def test_a_terminal_shows_progress_and_keeps_nothing_of_it(many: Path, terminal: Callable[..., Terminal]) -> None:
    session = terminal(many, "check")
    assert session.end() == 0
    seen = [int(match) for match in PROGRESS.findall(session.text)]
    assert seen
    assert seen == sorted(seen)
    assert 0 <= seen[0] <= seen[-1] <= 100
    result = session.text[session.text.rindex(ERASED) + len(ERASED) :]
    assert f"{MANY + 2} VMs on pve1" in result
    assert "bootdisk" not in PROGRESS.sub("", session.text[: session.text.index(PROGRESS.search(session.text)[0])])  # type: ignore[index]  # seen above
    assert "\x1b[?25l" not in session.text, "the cursor stays visible, whatever ends the program"


def test_ctrl_c_ends_it_cleanly(many: Path, terminal: Callable[..., Terminal]) -> None:
    session = terminal(many, "check")
    session.read_until(PROGRESS.search)
    session.type(b"\x03")
    assert session.end() == 130
    assert "Traceback" not in session.text
    assert ERASED in session.text
    message = re.search(r"pvehooks: interrupted, (\d+) of (\d+) VMs looked at", session.text)
    assert message
    assert int(message[1]) < int(message[2]) == MANY + 2
    assert termios.tcgetattr(session._leader) == session.before


def test_ctrl_c_shows_what_was_found_so_far(tmp_path: Path, many: Path, terminal: Callable[..., Terminal]) -> None:
    """Also where the output goes to a file and the progress does not."""
    found = tmp_path / "found"
    session = terminal(many, "check", piped=found)
    session.read_until(lambda text: any(int(match) > 50 for match in PROGRESS.findall(text)))
    session.type(b"\x03")
    assert session.end() == 130
    assert "VM 100 (web): " in found.read_text()
    assert "the findings above are of those" in session.text


@pytest.mark.parametrize("option", ["--json", "--quiet"])
def test_no_progress_for_programs(option: str, tmp_path: Path, many: Path, terminal: Callable[..., Terminal]) -> None:
    output = tmp_path / "output"
    session = terminal(many, "check", option, piped=output)
    session.wait_for_work()
    session.type(b"\x03")
    status = session.end()
    assert not PROGRESS.search(session.text)
    if status == 130:
        # Half a document is none.
        assert "{" not in output.read_text()
        assert "interrupted" in session.text


def test_no_progress_without_a_terminal(many: Path) -> None:
    command = [sys.executable, "-m", "pvehooks", "check", "--root", str(many)]
    with kill_on_failure(subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)) as process:
        at_work(process)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert re.fullmatch(r"(?:pvehooks: interrupted.*\n)?", errors)
    assert "\x1b" not in output


# A short look is one that takes less than a minute, however busy the machine is.
PATIENT = "import sys; from pvehooks.cli import main, terminal; terminal._DELAY = 60.0; sys.exit(main.main())"


def test_a_short_look_shows_none(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    session = terminal(make_fake_tree(tmp_path / "tree", TREE), "check", program=("-c", PATIENT))
    assert session.end() == 1
    assert not PROGRESS.search(session.text)
    assert ERASED not in session.text


# -- for cron ---------------------------------------------------------------------------------------------------------


def test_quiet_has_a_line_for_what_counts(tmp_path: Path) -> None:
    ignored = {"etc/pvehooks/pvehooks.conf": "[guest 100]\nignore = rng-missing-netboot: never mind\n"}
    tree = make_fake_tree(tmp_path / "tree", {**TREE, **ignored})
    loud, quiet = pvehooks(tree, "check", "--all", status=1), pvehooks(tree, "check", "--quiet", status=1)
    heads = [line for line in loud.splitlines() if re.match(r"(?:VM \d+[^:]*|pve1): (?:block|warning): ", line)]
    assert len(quiet.splitlines()) == len(heads)
    for line, head in zip(quiet.splitlines(), heads, strict=True):
        rules = re.search(r"(?: \[[a-z0-9-]+\])+$", head)
        assert rules and line.startswith(head[: rules.start()]) and line.endswith(rules[0])
    assert ": info: " in loud
    assert ": ignored: " in loud
    assert 0 < len(quiet.splitlines()) < len(loud.splitlines())


def test_quiet_shows_nothing_where_all_is_well(tmp_path: Path) -> None:
    """Advice and what is ignored are no reason for a mail."""
    tree = make_fake_tree(tmp_path / "tree", {f"{CONFIGS}/100.conf": "memory: 512\nname: fine\n", f"{CONFIGS}/101.conf": FAULTY})
    ignored = f"[guest 101]\nignore = {', '.join(f'{rule}: known' for rule in sorted(_rules_that_count(tree)))}\n"
    assert pvehooks(tree, "check", "--quiet")
    make_fake_tree(tree, {"etc/pvehooks/pvehooks.conf": ignored})
    assert pvehooks(tree, "check", "--quiet") == ""
    assert pvehooks(tree, "check", "--quiet", "100") == ""


def _rules_that_count(tree: Path) -> set[str]:
    findings = json.loads(pvehooks(tree, "check", "101", "--json"))["guests"][0]["findings"]
    return {finding["rule"] for finding in findings if finding["severity"] != "info"}


@pytest.mark.parametrize("other", [["--json"], ["--target", "pve2"]])
def test_quiet_goes_with_text_only(other: list[str], tmp_path: Path) -> None:
    tree = make_fake_tree(tmp_path / "tree", TREE)
    assert f"--quiet and {other[0]} exclude each other" in pvehooks(tree, "check", "--quiet", *other, status=2)


# -- one look ---------------------------------------------------------------------------------------------------------


class Counting(Host):
    """A tree that counts how often a file was read."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.reads: list[str] = []

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        """As always."""
        self.reads.append(path)
        return super().read(path, limit)


def test_all_guests_are_read_once(tmp_path: Path) -> None:
    """Also for rules that ask for the others (of USB devices, and those on the node), and with the same verdicts."""
    usb = {f"{CONFIGS}/110.conf": uefi("usb", "usb0: host=046d:c52b\nonboot: 1\nhostpci0: 0000:01:00.0\n")}
    tree = make_fake_tree(tmp_path / "tree", {**TREE, **usb})
    seen = view(parsers.parser("check").parse_args(["--root", str(tree)]))
    host = Counting(str(tree))
    seen = seen._replace(host=host).once()
    node = seen.facts()
    steps: list[int] = []
    alone = [_words(verdict) for verdict in seen.verdicts(seen.guest_ids([]))]
    seen = seen._replace(host=host).once()
    host.reads.clear()
    together = [_words(verdict) for verdict in seen.all_verdicts(node, lambda: steps.append(1))]
    seen.node_findings(node)
    assert together == alone
    configs = [path for path in host.reads if path.startswith(node_facts.guest_dir("pve1"))]
    assert sorted(configs) == sorted(set(configs))
    assert len(steps) == len(together)


def test_what_blocks_is_shown_before_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first of a kind; equal ones that come later are one row at the end, before all warnings."""
    blocked = uefi("hw", "rng0: source=/dev/hwrng\n")
    configs = {f"{CONFIGS}/{vmid}.conf": FAULTY if vmid % 2 else blocked for vmid in range(100, 400)}
    host = Counting(str(make_fake_tree(tmp_path / "tree", configs)))
    monkeypatch.setattr(root, "host", lambda options: host)
    seen: list[int] = []
    show = findings.show

    def noting(*given: Any) -> None:
        show(*given)
        seen.append(sum(path.startswith(node_facts.guest_dir("pve1")) for path in host.reads))

    monkeypatch.setattr(findings, "show", noting)
    main.main(["check", "--root", host.root])
    assert len(seen) == 2 and seen[0] < 250 and seen[1] == 300
    first, *heads = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert first == "pve1: looking at 300 VMs. What blocks comes first"
    shown = [re.match(r"(\d+) VMs \(.*\): (\w+): ", head) for head in heads]
    assert [match.groups() for match in shown if match] == [("50", "block"), ("100", "block"), ("150", "warning")]


def test_every_line_of_json_is_a_finding_and_is_shown_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host = Counting(str(make_fake_tree(tmp_path / "tree", TREE)))
    monkeypatch.setattr(root, "host", lambda options: host)
    assert main.main(["check", "--root", host.root, "--format", "jsonl"]) == 1
    written = capsys.readouterr().out
    printed.validate(["check", "--format", "jsonl"], written)
    lines = [json.loads(line) for line in written.splitlines()]
    assert main.main(["check", "--root", host.root, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    common = {"version", "node", "time", "vmid", "name", "start"}
    of_guests = [(each["vmid"], found) for each in document["guests"] for found in each["findings"]]
    of_node = [(None, found) for found in document["node_findings"]]
    assert [(line["vmid"], {key: line[key] for key in line if key not in common}) for line in lines] == of_guests + of_node
    assert {(line["version"], line["node"]) for line in lines} == {(2, "pve1")}


# -- what is shown ----------------------------------------------------------------------------------------------------


def shown(tree: Path, *arguments: str) -> set[tuple[str, str]]:
    """The findings that JSON shows: (severity, rule)."""
    document = json.loads(pvehooks(tree, "check", "--json", *arguments, status=1))
    found = [finding for guest in document["guests"] for finding in guest["findings"]] + document["node_findings"]
    return {(finding["severity"], finding["rule"]) for finding in found if not finding["ignored"]}


def test_severity_and_rule_choose_what_is_shown(tmp_path: Path) -> None:
    """The status is that of all."""
    tree = make_fake_tree(tmp_path / "tree", TREE)
    everything = shown(tree)
    for level, severities in (("block", {"block"}), ("warning", {"block", "warning"}), ("info", {"block", "warning", "info"})):
        assert shown(tree, "--severity", level) == {each for each in everything if each[0] in severities}
    assert shown(tree, "--rule", "rng-missing-netboot", "--rule", "config-lines-dropped") == {
        each for each in everything if each[1] in ("rng-missing-netboot", "config-lines-dropped")
    }
    text = pvehooks(tree, "check", "--severity", "block", status=1)
    assert [line.split(": ")[1] for line in text.splitlines() if line.startswith("VM ")] == ["block"]
    assert "see: pvehooks check --all" in text
    quiet = pvehooks(tree, "check", "--quiet", "--severity", "block", status=1)
    assert len(quiet.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rule", "rng-mising-netboot"], "there is no rule 'rng-mising-netboot'; did you mean 'rng-missing-netboot'?"),
        (["--severity", "bad"], "argument --severity"),
        (["--json", "--format", "nagios"], "--json and --format nagios exclude each other"),
        (["--quiet", "--format", "markdown"], "--quiet and --format markdown exclude each other"),
        (["--severity", "info", "--all"], "--severity and --all exclude each other"),
        (["--target", "pve2", "--format", "jsonl"], "--target and --format jsonl exclude each other"),
        (["--target", "pve2", "--severity", "block", "--all"], "--severity and --all exclude each other"),
    ],
)
def test_options_that_do_not_go_together(arguments: list[str], words: str, tmp_path: Path) -> None:
    assert words in pvehooks(make_fake_tree(tmp_path / "tree", TREE), "check", *arguments, status=2)


@pytest.mark.parametrize(
    ("files", "status", "line"),
    [
        (
            {},
            2,
            "PVEHOOKS CRITICAL - 6 VMs on pve1: 1 block, 6 warnings, 3 info; would not start: VM 102 (hw) | vms=6 block=1 warning=6 info=3 ignored=0",
        ),
        (
            {"etc/pvehooks/pvehooks.conf": "[rules]\nrng-source-hwrng-absent = info\n"},
            1,
            "PVEHOOKS WARNING - 6 VMs on pve1: 6 warnings, 4 info | vms=6 block=0 warning=6 info=4 ignored=0",
        ),
    ],
)
def test_a_line_for_nagios(files: dict[str, str], status: int, line: str, tmp_path: Path) -> None:
    tree = make_fake_tree(tmp_path / "tree", {**TREE, **files})
    assert pvehooks(tree, "check", "--format", "nagios", status=status) == f"{line}\n"


def test_nagios_where_all_is_well_and_where_nothing_can_be_read(tmp_path: Path) -> None:
    well = make_fake_tree(tmp_path / "well", {f"{CONFIGS}/100.conf": "memory: 512\nname: fine\n"})
    printed = pvehooks(well, "check", "--format", "nagios")
    assert re.fullmatch(r"PVEHOOKS OK - 1 VM on pve1: [^|]* \| vms=1 block=0 warning=0 info=\d ignored=0\n", printed)
    make_fake_tree(well, {"etc/pvehooks/pvehooks.conf": "[rng]\nmdoe = off\n"})
    assert "PVEHOOKS WARNING - 1 VM on pve1" in pvehooks(well, "check", "--format", "nagios", status=1)
    assert pvehooks(well, "check", "--format", "nagios", "999", status=3).startswith("PVEHOOKS UNKNOWN - there is no VM 999")


def test_markdown_of_findings(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    golden("cli/check-markdown.txt", pvehooks(make_fake_tree(tmp_path / "tree", TREE), "check", "--format", "markdown", status=1))


def test_status_reads_each_config_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever its rows ask for, and though no guest is kept."""
    device = usb.plant("1-2 id=046d:c52b at=-")
    files = {f"{CONFIGS}/11{n}.conf": uefi("usb", "usb0: host=046d:c52b\nonboot: 1\nhostpci0: 0000:01:00.0\n") for n in range(3)}
    host = Counting(str(make_fake_tree(tmp_path / "tree", {**TREE, **files, **device})))
    monkeypatch.setattr(root, "host", lambda options: host)
    assert main.main(["status", "--json", "--root", host.root]) == 0
    reported = json.loads(capsys.readouterr().out)
    configs = [path for path in host.reads if path.startswith(node_facts.guest_dir("pve1"))]
    assert (reported["guests"], sorted(configs)) == (len(set(configs)), sorted(set(configs)))


def _words(verdict: object) -> tuple[object, ...]:
    guest = verdict.guest  # type: ignore[attr-defined]  # a Verdict
    return guest.vmid, guest.label, guest.hostpci, verdict.findings, verdict.blocked  # type: ignore[attr-defined]  # the same


def test_a_guest_that_was_forgotten_is_worked_out_anew(tmp_path: Path) -> None:
    tree = make_fake_tree(tmp_path / "tree", {f"{CONFIGS}/100.conf": uefi("web", "hostpci0: 0000:01:00.0\n")})
    guest = view(parsers.parser("check").parse_args(["--root", str(tree)])).guest(100)
    before = (guest.options, guest.boot, guest.hostpci, dict(guest.properties("net0")), guest.uuid)
    guest.forget()
    assert not {"options", "boot", "hostpci", "_parsed"} & set(vars(guest))
    assert (guest.options, guest.boot, guest.hostpci, dict(guest.properties("net0")), guest.uuid) == before
