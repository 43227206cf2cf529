"""The command line as people and scripts see it: golden output, exit statuses, bad input."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pvehooks.cli import parsers
from pvehooks.host import Host
from pvehooks.settings import load
from tests.beds import commandline, printed
from tests.beds.process import kill_on_failure
from tests.beds.tree import Content, Link, make_fake_tree
from tests.daemon.bed import PROJECT, RNG0, uefi

Golden = Callable[[str, str], None]
CONFIGS = "etc/pve/nodes/pve1/qemu-server"
TREE: dict[str, Content] = {
    f"{CONFIGS}/100.conf": uefi("web", old=True),
    f"{CONFIGS}/101.conf": uefi("done", RNG0),
    f"{CONFIGS}/102.conf": uefi("hw", "rng0: source=/dev/hwrng\n"),
    f"{CONFIGS}/103.conf": "memory: 512\nname: bios\n",
    f"{CONFIGS}/104.conf": uefi(
        "messy", "onbot: 1\n\n[PENDING]\ncores: 2\ndelete: balloon,!onboot\n\n[before]\nmemory: 512\nsnaptime: 1700000000\n"
    ),
    f"{CONFIGS}/105.conf": uefi("pxe", old=True).replace("scsi0;net0", "net0;scsi0"),
    "etc/pve/nodes/pve2/qemu-server/200.conf": uefi("away"),
    "etc/pve/nodes/pve1/lxc/300.conf": "hostname: ct\n",
    "etc/pve/local": Link("nodes/pve1"),
    "etc/pve/pvehooks/first-look/pve1.json": '{"version":1,"time":1795170000,"node":"pve1","guests":{"105":"00000000"}}\n',
    "etc/pvehooks/pvehooks.conf": "[guest 102]\nignore = rng-unlimited: never mind\n",
    "proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu rdrand\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_fake_tree(tmp_path / "tree", TREE)


def pvehooks(tree: Path | str, *arguments: str, status: int = 0, **environment: str) -> str:
    """What the command prints on both streams, paths of the tree shown as ROOT, and the time in JSON as WHEN."""
    ended = commandline.pvehooks(*arguments, *(["--root", str(tree)] if tree else []), **environment)
    output = ended.output
    assert ended.status == status, output
    assert "Traceback" not in output
    output = printed.timeless(output)
    return output.replace(str(tree), "ROOT") if tree else output


@pytest.mark.parametrize(
    ("name", "arguments", "status"),
    [
        ("check", ["check"], 1),
        ("check-some", ["check", "103", "101"], 0),
        ("check-json", ["check", "--json", "100", "102", "105"], 1),
        ("check-other-node", ["check", "--node", "pve2"], 0),
        ("guest", ["guest", "104"], 0),
        ("guest-json", ["guest", "104", "--json"], 0),
        ("inject-dry-run", ["inject", "--all", "--dry-run"], 1),
        ("inject-json", ["inject", "100", "101", "103", "104", "105", "--json"], 1),
        ("undo-nothing", ["undo", "100"], 1),
        ("backups-none", ["backups", "100"], 0),
        ("status", ["status"], 0),
        ("status-json", ["status", "--json"], 0),
        ("notify", ["notify"], 0),
        ("config", ["config"], 0),
        ("config-json", ["config", "--json"], 0),
        ("rules", ["rules"], 0),
        ("explain", ["explain", "rng-missing-nvme"], 0),
        ("explain-refused", ["explain", "efidisk-format-unknown"], 0),
        ("explain-json", ["explain", "rng-unlimited", "--json"], 0),
    ],
)
def test_golden(name: str, arguments: list[str], status: int, tree: Path, golden: Golden) -> None:
    golden(f"cli/{name}.txt", pvehooks(tree, *arguments, status=status))


BRANCHES = [(), *((verb,) for verb in parsers.names() if parsers.has_actions(verb))]


@pytest.mark.parametrize("words", [*BRANCHES, *parsers.commands()], ids=lambda words: "-".join(words) or "all")
def test_help(words: tuple[str, ...], golden: Golden) -> None:
    text = pvehooks("", *words, "--help", COLUMNS="100")
    assert "Example: pvehooks" in text
    assert pvehooks("", "help", *words, COLUMNS="100") == text
    if words and parsers.has_actions(words[0]):
        assert pvehooks("", words[0], "help", *words[1:], COLUMNS="100") == text
    golden(f"cli/help-{'-'.join(words) or 'all'}.txt", text)


@pytest.mark.parametrize("words", BRANCHES, ids=lambda words: "-".join(words) or "all")
def test_a_list_where_a_word_is_missing(words: tuple[str, ...]) -> None:
    """The same lines as in the help, a line for each verb or action."""
    printed, help = pvehooks("", *words, status=2), pvehooks("", *words, "--help")
    lines = [line for line in printed.splitlines() if line.startswith("  ")]
    assert [line.split()[0] for line in lines] == list(parsers.names(*words))
    assert max(map(len, lines)) <= 80
    assert printed.startswith(f"usage: {' '.join(('pvehooks', *words))} [options] ") and set(lines) <= set(help.splitlines())


@pytest.mark.parametrize("words", BRANCHES, ids=lambda words: "-".join(words) or "all")
def test_every_module_of_the_commands_has_its_place(words: tuple[str, ...]) -> None:
    """One that GROUPS does not name is there all the same, in the last group, and is to be given its place."""
    listed = [name for group in parsers.module(*words).GROUPS.values() for name in group]
    assert list(parsers.names(*words)) == listed, f"GROUPS in {parsers.module(*words).__file__}"


def test_a_verb_needs_no_entry_in_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsers.module("host"), "GROUPS", {"Actions": ("fix",)})
    assert parsers.names("host") == ("fix", "check", "groups", "undo")


def test_a_usage_does_not_depend_on_the_terminal() -> None:
    for words in (*BRANCHES, *parsers.commands()):
        wide, narrow = (pvehooks("", *words, "--help", COLUMNS=columns).splitlines()[0] for columns in ("300", "20"))
        assert wide == narrow and wide.startswith(f"usage: {' '.join(('pvehooks', *words))} [options]")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--verison"], "pvehooks: there is no option '--verison'; did you mean '--version'?"),
        (["chek"], "pvehooks: there is no verb 'chek'; did you mean 'check'?\nAll verbs: pvehooks --help"),
        (["help", "chek"], "pvehooks: there is no verb 'chek'; did you mean 'check'?"),
        (["--json", "status"], "pvehooks: --json stands behind the verb: pvehooks VERB --json"),
        (["--root=/x", "status"], "pvehooks: --root stands behind the verb"),
        (["hots", "help"], "pvehooks: there is no verb 'hots'; did you mean 'host'?"),
        (["host", "hlep"], "pvehooks host: there is no action 'hlep'; did you mean 'help'?"),
        (["hlep"], "pvehooks: there is no verb 'hlep'; did you mean 'help'?"),
        (["x/../check"], "pvehooks: there is no verb 'x/../check'"),
        (["commands.check"], "pvehooks: there is no verb 'commands.check'"),
        (["__init__"], "pvehooks: there is no verb '__init__'"),
        (["import"], "pvehooks: there is no verb 'import'"),
        ([""], "pvehooks: there is no verb ''"),
        (["\x1b[1m"], "pvehooks: there is no verb '\\x1b[1m'"),
        (["host", "grups"], "pvehooks host: there is no action 'grups'; did you mean 'groups'?\nAll actions: pvehooks host --help"),
        (["host", "--json", "grups"], "pvehooks host: there is no action 'grups'; did you mean 'groups'?"),
        (["host", "--jsn", "groups"], "pvehooks host: there is no option '--jsn'; did you mean '--json'?"),
        (["rules", "--js"], ""),
        (["host", "groups", "--feer"], "pvehooks host groups: there is no option '--feer'; did you mean '--free'?"),
        (["host", "groups", "--force"], "pvehooks host groups: there is no option '--force'"),
        (["host", "check", "x"], "pvehooks host check: 'x' is one argument too many"),
        (["firmware", "impot"], "pvehooks firmware: there is no action 'impot'; did you mean 'import'?"),
        (["firmware", "import_"], "pvehooks firmware: there is no action 'import_'; did you mean 'import'?"),
        (["firmware", "import"], "pvehooks firmware import: the following arguments are required: FILE"),
        (["firmware", "unset", "web"], "pvehooks firmware unset: argument VMID: 'web' is not a VMID"),
        (["check", "--rot", "/"], "pvehooks check: there is no option '--rot'; did you mean '--root'?"),
        (["check", "-q"], "pvehooks check: there is no option '-q'"),
    ],
)
def test_what_was_meant(arguments: list[str], words: str, tree: Path) -> None:
    assert words in pvehooks(tree if not words else "", *arguments, status=2 if words else 0)


def test_common_options_may_stand_before_an_action(tree: Path) -> None:
    before, behind = (
        commandline.pvehooks("host", *words)
        for words in (["--root", str(tree), "--json", "groups"], ["groups", "--root", str(tree), "--json"])
    )
    assert before == behind and "the PCI devices of pve1 cannot be read" in before.output


@pytest.mark.parametrize(("uid", "hint"), [(0, False), (1000, True)])
def test_another_user_is_advised_to_be_root(uid: int, hint: bool, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root meets the same error where pmxcfs has no quorum."""
    read = Host.read

    def denied(self: Host, path: str, limit: int = -1) -> bytes:
        if "first-look" in path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return read(self, path) if limit == -1 else read(self, path, limit)

    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(Host, "read", denied)
    printed = pvehooks(tree, "check", status=3)
    assert "Permission denied" in printed and ("\n  Run it as root.\n" in printed) is hint


def test_what_could_not_be_read_for_want_of_permission_is_for_root_as_well(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is in the message, not in an exception: facts that cannot be read are values."""

    def denied(self: Host, path: str, limit: int) -> tuple[int, bytes]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(Host, "read_end", denied)
    assert "Permission denied\n  Run it as root.\n" in pvehooks(tree, "why", status=3)


@pytest.mark.parametrize(
    ("name", "arguments", "status"),
    [
        ("no-verb", [], 2),
        ("unknown-verb", ["chek"], 2),
        ("unknown-rule", ["explain", "rng-mising"], 2),
        ("bad-vmid", ["check", "web"], 2),
        ("nobody", ["inject"], 2),
        ("absent-guest", ["check", "999"], 3),
        ("guest-elsewhere", ["check", "200"], 3),
        ("container", ["check", "300"], 3),
        ("absent-node", ["check", "--node", "pve9"], 3),
        ("absent-file", ["guest", "/no/such/file.conf"], 3),
        ("absent-backup", ["backups", "100", "--diff", "abc"], 2),
    ],
)
def test_wrong_use(name: str, arguments: list[str], status: int, tree: Path, golden: Golden) -> None:
    golden(f"cli/wrong-{name}.txt", pvehooks(tree if arguments[:1] != [] and arguments != ["chek"] else "", *arguments, status=status))


def test_root_that_is_no_tree(tmp_path: Path) -> None:
    assert "is not a tree of a Proxmox VE node" in pvehooks(tmp_path, "check", status=3)
    assert "there is no such directory" in pvehooks(tmp_path / "absent", "check", status=3)


def test_several_nodes_and_no_word_which(tree: Path) -> None:
    (tree / "etc/pve/local").unlink()
    assert "several nodes (pve1, pve2)" in pvehooks(tree, "check", status=2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("[rng]\nmax_byte = 1\n", "/etc/pvehooks/pvehooks.conf, line 2: unknown option 'max_byte' in [rng]; did you mean 'max_bytes'?"),
        ("[rng]\nmax_bytes = lots\n", "/etc/pvehooks/pvehooks.conf, line 2: "),
        ("[rules]\nrng-missing-net = info\n", "/etc/pvehooks/pvehooks.conf, line 2: unknown rule 'rng-missing-net' in [rules]"),
        ("[guest 100]\nignore = rng-missing-netboot\n", "/etc/pvehooks/pvehooks.conf, line 2: "),
    ],
)
def test_broken_settings(tree: Path, settings: str, words: str) -> None:
    (tree / "etc/pvehooks/pvehooks.conf").write_text(settings)
    assert words in pvehooks(tree, "check", status=2)


def test_findings_are_shown_despite_broken_settings(tree: Path) -> None:
    """With the last valid ones, and with the error; the status says that it is to be fixed."""
    settings = tree / "etc/pvehooks/pvehooks.conf"
    settings.write_text("[rules]\nrng-missing-netboot = block\n[guest 102]\nignore = rng-source-hwrng-absent: known\n")
    load.compile_to(Host(str(tree)), load.load(Host(str(tree))))
    valid = pvehooks(tree, "check", status=1)
    settings.write_text("[rng]\nmdoe = off\n[rules\n")
    broken = pvehooks(tree, "check", status=2)
    assert broken.startswith(valid) and "VM 100 (web), VM 105 (pxe): block: " in valid
    assert broken.removeprefix(valid) == (
        "pvehooks: the last valid settings ([rng]: the built-in ones) are used, because of an error: /etc/pvehooks/pvehooks.conf, line 2:"
        " unknown option 'mdoe' in [rng]; did you mean 'mode'? See: pvehooks config\n"
        "pvehooks: /etc/pvehooks/pvehooks.conf, line 3: '[rules' is not a section header like [rng]\n"
    )
    compiled = tree / "var/lib/pvehooks/settings.json"
    compiled.unlink()
    assert "VM 100 (web), VM 105 (pxe): warning: " in pvehooks(tree, "check", status=2)
    for verb in (["why"], ["status"], ["report", "--json"], ["host", "check"]):
        assert "the built-in settings are used" in pvehooks(tree, *verb, status=2), verb


BAD = {
    "not UTF-8": (b"name: caf\xe9\nbios: ovmf\n", "config-not-utf8"),
    "NUL": (b"name: a\0b\n", "config-binary"),
    "CRLF": (uefi().replace("\n", "\r\n").encode(), "config-crlf"),
    "empty": (b"", "config-empty"),
    "half": (uefi().encode()[:100], "config-cut-short"),
    "junk": (bytes(range(256)) * 4096, "config-lines-dropped"),
    "too large": (b"a: %b\n" % (b"b" * 96) * 12000, "config-too-large"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_configs(kind: str, tree: Path) -> None:
    """A clear finding, never a traceback; in `check` and in `guest`, for people and as JSON."""
    content, rule = BAD[kind]
    (tree / CONFIGS / "100.conf").write_bytes(content)
    found = json.loads(pvehooks(tree, "check", "100", "--json"))["guests"][0]["findings"]
    assert rule in [finding["rule"] for finding in found]
    pvehooks(tree, "check", "100")
    pvehooks(tree, "guest", "100")
    json.loads(pvehooks(tree, "guest", "100", "--json"))


def test_links_never_lead_outside(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.conf").write_text(uefi("outside"))
    config = tree / CONFIGS / "100.conf"
    for target in (f"{tmp_path}/outside.conf", "../" * 20 + f"{tmp_path}/outside.conf"):
        config.unlink()
        config.symlink_to(target)
        output = pvehooks(tree, "check", status=1)
        assert "VM 100: warning: the config vanished" in output
        assert "(outside)" not in output
    config.unlink()
    config.symlink_to("100.conf")
    assert "VM 100: warning: the config cannot be read: Too many levels of symbolic links" in pvehooks(tree, "check", status=1)


def test_a_guest_given_and_taken_back(tree: Path) -> None:
    config = tree / CONFIGS / "100.conf"
    before = config.read_text()
    assert "rng0 source=/dev/urandom" in pvehooks(tree, "inject", "100")
    assert sorted(config.read_text().splitlines()) == sorted([*before.splitlines(), RNG0.rstrip()])
    assert "has an RNG device already" in pvehooks(tree, "inject", "100")
    listed = json.loads(pvehooks(tree, "backups", "100", "--json"))["backups"]
    assert len(listed) == 1
    assert "+rng0: source=/dev/urandom" in pvehooks(tree, "backups", "100", "--diff", listed[0]["digest"][:8])
    assert "was removed" in pvehooks(tree, "undo", "100")
    assert config.read_text() == before
    assert "rng-removed-by-admin" in pvehooks(tree, "check", "100", "--all")
    assert "nothing was removed" in pvehooks(tree, "undo", "100", status=1)
    assert "VM 100" not in pvehooks(tree, "inject", "--all", "--dry-run", status=1).replace("VM 100 (web): not given an rng0 again", "")
    assert "was added" in pvehooks(tree, "inject", "100")


def test_undo_asks_of_all_before_it_begins(tree: Path) -> None:
    pvehooks(tree, "inject", "100")
    assert "there is no VM 999" in pvehooks(tree, "undo", "100", "999", status=3)
    assert "given rng0" in pvehooks(tree, "status") and '"given_rng0": [\n    100' in pvehooks(tree, "status", "--json")
    assert "was removed" in pvehooks(tree, "undo", "100")
    assert '"given_rng0": []' in pvehooks(tree, "status", "--json")


def test_undo_of_all(tree: Path) -> None:
    assert pvehooks(tree, "undo", "--all") == "no VM of pve1 has an rng0 that pvehooks gave it\n"
    pvehooks(tree, "inject", "100")
    assert pvehooks(tree, "undo", "--all").count("was removed") == 1
    assert pvehooks(tree, "undo", "--all") == "no VM of pve1 has an rng0 that pvehooks gave it\n"
    assert "name the VMs by their VMIDs, or give --all" in pvehooks(tree, "undo", status=2)


def test_what_frees_a_guest_needs_no_settings(tree: Path) -> None:
    """A refused start may wait for it."""
    pvehooks(tree, "inject", "100")
    (tree / "etc/pvehooks/pvehooks.conf").write_text("[guard]\nmode = audti\n")
    words = "pvehooks: the built-in settings are used, because of an error: /etc/pvehooks/pvehooks.conf, line 2: 'audti' is not a value for 'mode'"
    for line in (["undo", "100"], ["detach", "--all"], ["allow", "100", "--cancel"], ["trust", "100", "--forget"]):
        assert words in pvehooks(tree, *line), line
    assert "built-in" not in pvehooks(tree, "inject", "100", status=2)


def test_backups_of_a_guest_that_has_none(tree: Path) -> None:
    assert "VM 100 has no backup\n" in pvehooks(tree, "backups", "100", "--diff", status=2)


def test_undo_of_a_changed_rng0(tree: Path) -> None:
    pvehooks(tree, "inject", "100")
    config = tree / CONFIGS / "100.conf"
    config.write_text(config.read_text().replace("max_bytes=1024", "max_bytes=4096"))
    assert "its rng0 was changed since" in pvehooks(tree, "undo", "100", status=1)


def on_a_terminal(tree: Path, *arguments: str, **environment: str) -> str:
    """What the command prints on a terminal of 100 columns."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "pvehooks", *arguments, "--root", str(tree)]
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with kill_on_failure(
        subprocess.Popen(command, cwd=PROJECT, env={**plain, "TERM": "xterm", "COLUMNS": "100", **environment}, stdout=follower)
    ) as process:
        os.close(follower)
        output = b""
        while True:
            try:
                chunk = os.read(leader, 4096)
            except OSError:
                break
            if not chunk:
                break
            output += chunk
        process.wait(60)
    os.close(leader)
    return output.decode().replace("\r\n", "\n")


def test_a_table_on_a_terminal(tree: Path, golden: Golden) -> None:
    coloured = on_a_terminal(tree, "check")
    assert "\x1b[33mwarning" in coloured
    plain = on_a_terminal(tree, "check", NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", plain)
    golden("cli/check-terminal.txt", re.sub(r"\x1b\[[0-9;]*m", "", coloured))


def test_a_closed_pipe_is_no_trouble(tree: Path) -> None:
    command = f"{sys.executable} -m pvehooks rules --root {tree} | head -1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""


def test_only_what_is_asked_for_is_imported(tree: Path) -> None:
    """Neither the other verbs, nor for a tree the package that reads captures."""
    program = "import sys; from pvehooks.cli.main import main; main(sys.argv[1:]); print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", program, "config", "--root", str(tree)], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True
    )
    loaded = [name for name in done.stdout.splitlines() if name.startswith(("pvehooks.cli.commands.", "pvehooks.capture"))]
    assert loaded == ["pvehooks.cli.commands.config"]
