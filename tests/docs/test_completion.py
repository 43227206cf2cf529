"""The completion in a real bash: its function called as bash does, and the Tab key pressed in an interactive one."""

from __future__ import annotations

import os
import pty
import select
import shlex
import subprocess
import time
from pathlib import Path

import pytest

from pvehooks.actions.backups import DIRECTORY
from pvehooks.actions.host.fixes import FIXES
from pvehooks.cli import parsers
from pvehooks.rules.catalogue import RULES
from scripts.docs import completion
from tests.beds.namespace import MOUNTPOINT
from tests.beds.tree import Content, Link, make_fake_tree
from tests.lint.source import PROJECT

TEXT = completion.make()
DIGESTS = ("1547e90" + "0" * 33, "2547e90" + "0" * 33)
TREE: dict[str, Content] = {
    "etc/pve/local": Link("nodes/pve1"),
    "etc/pve/nodes/pve1/qemu-server/100.conf": "",
    "etc/pve/nodes/pve1/qemu-server/101.conf": "",
    "etc/pve/nodes/pve1/qemu-server/9000.conf": "",
    "etc/pve/nodes/pve1/qemu-server/099.conf": "",
    "etc/pve/nodes/pve1/qemu-server/100.conf.tmp.12": "",
    "etc/pve/nodes/pve2/qemu-server/200.conf": "",
    f"{DIRECTORY[1:]}/100-{DIGESTS[0]}.conf": "",
    f"{DIRECTORY[1:]}/101-{DIGESTS[1]}.conf": "",
    "a dir/file.conf": "",
}
# Bash's own splitting at COMP_WORDBREAKS is left to it: the words come as it would give them.
CALL = """\
source "$1"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_pvehooks pvehooks "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
((${#COMPREPLY[@]} == 0)) || printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_fake_tree(tmp_path / "tree", TREE)


def proposed(*words: str, cwd: Path = PROJECT, options: str = "") -> list[str]:
    """What is proposed for the last word, in no order of its own: bash sorts what it shows."""
    command = ["bash", "--norc", "--noprofile", "-u", "-c", options + CALL, "bash", "/dev/stdin", "pvehooks", *words]
    done = subprocess.run(command, cwd=cwd, input=TEXT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == ""
    return sorted(done.stdout.splitlines())


def test_verbs() -> None:
    assert proposed("") == sorted([*parsers.names(), "help"])
    assert proposed("ex") == ["explain"]
    assert proposed("help", "ex") == ["explain"]
    assert proposed("nosuch") == []
    assert proposed("--") == ["--help", "--version"]


@pytest.mark.parametrize("words", parsers.commands(), ids="-".join)
def test_options_of_a_verb_or_an_action(words: tuple[str, ...]) -> None:
    wanted = {action.option_strings[-1] for action in parsers.parser(*words)._actions if action.option_strings}
    assert set(proposed(*words, "-")) == wanted
    assert set(proposed(*words, "--root", "/x", "--j")) == {"--json"}


def test_actions() -> None:
    assert proposed("host", "") == ["check", "fix", "groups", "undo"]
    assert proposed("help", "firmware", "im") == ["import"]
    assert proposed("host", "--root", "/x", "g") == ["groups"]
    assert proposed("host", "-") == ["--help", "--json", "--node", "--root"]
    assert proposed("host", "check", "") == []


def test_rule_ids() -> None:
    assert proposed("explain", "") == sorted(RULES)
    assert proposed("explain", "rng-miss") == ["rng-missing", "rng-missing-netboot", "rng-missing-nvme"]
    assert proposed("explain", "rng-missing", "") == []
    assert proposed("host", "fix", "") == sorted(FIXES)
    assert proposed("host", "fix", "kernel-pinned", "iommu-in") == ["iommu-inactive"]


def test_an_option_that_takes_one_of_some_words() -> None:
    assert proposed("check", "--severity", "") == ["block", "info", "warning"]
    assert proposed("check", "--format", "js") == ["json", "jsonl"]
    assert proposed("check", "--rule", "rng-missing-n") == ["rng-missing-netboot", "rng-missing-nvme"]


def test_guests_of_the_node(tree: Path) -> None:
    """Without --root from /etc/pve/local, here that of the tests' namespace."""
    pve = Path(MOUNTPOINT)
    (pve / "nodes/pve1/qemu-server").mkdir(parents=True)
    (pve / "nodes/pve1/qemu-server/4711.conf").touch()
    (pve / "local").symlink_to("nodes/pve1")
    try:
        assert proposed("check", "") == ["4711"]
        assert proposed("undo", "5") == []
        assert proposed("check", "--node", "") == ["pve1"]
    finally:
        subprocess.run(["find", MOUNTPOINT, "-mindepth", "1", "-delete"], check=True)
    assert proposed("check", "") == []


def test_guests_of_a_tree(tree: Path) -> None:
    root = str(tree)
    assert proposed("check", "--root", root, "") == ["100", "101", "9000"]
    assert proposed("check", "--root", f"{root}/", "10") == ["100", "101"]
    assert proposed("check", "--root", "=", root, "100", "") == ["100", "101", "9000"]
    assert proposed("inject", "--dry-run", "--root", root, "9") == ["9000"]
    assert proposed("undo", "--root", root, "--node", "pve2", "") == ["200"]
    assert proposed("check", "--root", root, "--node", "") == ["pve1", "pve2"]
    assert proposed("rules", "--root", root, "") == []


def test_digests_of_backups(tree: Path) -> None:
    root = str(tree)
    assert proposed("backups", "--root", root, "100", "--diff", "") == [DIGESTS[0]]
    assert proposed("backups", "--root", root, "--diff", "") == list(DIGESTS)
    assert proposed("backups", "--root", root, "100", "--diff", DIGESTS[0], "") == []


def test_guests_that_a_verb_is_for(tmp_path: Path) -> None:
    """The guard is for those with passed-through devices or a firmware image of their own."""
    configs = {
        "100": "hostpci0: 0000:01:00.0\n",
        "101": "args: -drive if=none,id=pvehooks-firmware,file=/x\n",
        "102": "hookscript: local:snippets/pvehooks-guard\n",
        "103": "description: hostpci0\n",
    }
    files: dict[str, Content] = {f"etc/pve/nodes/pve1/qemu-server/{vmid}.conf": text for vmid, text in configs.items()}
    root = str(make_fake_tree(tmp_path, {**files, "etc/pve/local": Link("nodes/pve1")}))
    assert proposed("attach", "--root", root, "") == ["100", "101"]
    assert proposed("detach", "--root", root, "") == ["102"]
    assert proposed("firmware", "unset", "--root", root, "10") == ["100", "101", "102", "103"]


def test_firmware_images(tmp_path: Path) -> None:
    files: dict[str, Content] = {
        "etc/pve/local": Link("nodes/pve1"),
        "etc/pve/nodes/pve1/qemu-server/100.conf": "",
        "etc/pve/storage.cfg": "lvmthin: thin\n\tvgname pve\n\ndir: fw\n\tpath /srv/fw\n\tcontent iso\n",
        "srv/fw/efi-firmware/a.fd": "",
        "var/lib/vz/efi-firmware/b.fd": "",
    }
    root = str(make_fake_tree(tmp_path, files))
    assert proposed("firmware", "set", "--root", root, "") == ["100"]
    assert proposed("firmware", "set", "--root", root, "100", "") == ["fw:efi-firmware/a.fd", "local:efi-firmware/b.fd"]
    assert proposed("firmware", "remove", "--root", root, "fw", ":", "e") == ["efi-firmware/a.fd"]


def test_addresses_of_devices(tmp_path: Path) -> None:
    """Bash takes an address for several words; what is proposed stands in the place of the last one."""
    devices = {"0000:00:1c.0": "0x060400", "0000:01:00.0": "0x030000", "0000:01:00.1": "0x040300", "10000:e1:00.0": "0x010802"}
    root = str(make_fake_tree(tmp_path, {f"sys/bus/pci/devices/{address}/class": f"{kind}\n" for address, kind in devices.items()}))
    assert proposed("bind", "--root", root, "") == ["0000:01:00.0", "0000:01:00.1", "10000:e1:00.0"]
    assert proposed("bind", "--root", root, "00") == ["0000:01:00.0", "0000:01:00.1"]
    assert proposed("unbind", "--root", root, "0000", ":") == ["01:00.0", "01:00.1"]
    assert proposed("bind", "--root", root, "0000", ":", "01", ":", "00") == ["00.0", "00.1"]
    assert proposed("bind", "--root", root, "--now", "0000", ":", "01", ":", "00.0", "10000", ":", "e") == ["e1:00.0"]
    assert proposed("bind", "--root", root, "0000", ":", "02") == []
    assert proposed("bind", "--root", "/nosuch", "") == []


HOSTILE = ("$(touch pwned)x", "`touch pwned`x", "a;touch pwned", "a b", "a'b", "x${PWD}", "*", "\x1b[31m")


@pytest.mark.parametrize(
    "words",
    [("firmware", "set", "100"), ("bind",), ("check", "--node"), ("firmware", "import", "--storage"), ("backups", "100", "--diff")],
    ids=" ".join,
)
def test_names_that_others_chose_are_text(words: tuple[str, ...], tmp_path: Path) -> None:
    """Who controls a share names the files on it, the maker of a tree all: bash neither runs nor proposes what would be more than a word."""
    storages = "".join(f"\ndir: {name}\n\tpath /mnt/share\n" for name in ("fw", *HOSTILE))
    files: dict[str, Content] = {"etc/pve/local": Link("nodes/pve1"), "etc/pve/storage.cfg": storages}
    for name in ("good", *HOSTILE):
        files[f"mnt/share/efi-firmware/{name}"] = ""
        files[f"etc/pve/nodes/{name}"] = files[f"sys/bus/pci/devices/{name}"] = None
        files[f"var/lib/pvehooks/backups/100-{name}.conf"] = ""
    root = make_fake_tree(tmp_path / "tree", files)
    found = proposed(words[0], "--root", str(root), *words[1:], "", cwd=tmp_path)
    assert not (tmp_path / "pwned").exists()
    assert found and {word.rpartition("/")[2] for word in found} <= {"good", "fw", "local", "pve1"}


def test_files_and_directories(tree: Path) -> None:
    assert proposed("guest", "--root", str(tree), "", cwd=tree / "a dir") == ["100", "101", "9000", "file.conf"]
    assert proposed("check", "--root", "a", cwd=tree) == ["a dir"]
    assert proposed("check", "--root", "=", cwd=tree / "etc") == ["pve"]
    assert proposed("check", "--root", "=", "p", cwd=tree / "etc") == ["pve"]


@pytest.mark.parametrize("option", ["failglob", "nullglob", "extglob"])
def test_shell_options_do_not_matter(option: str, tree: Path) -> None:
    assert proposed("check", "--root", "/nosuch", "", options=f"shopt -s {option}\n") == []
    assert proposed("check", "--root", str(tree), "10", options=f"shopt -s {option}\n") == ["100", "101"]


def typed(line: str, until: str, directory: Path, first: str) -> str:
    """What an interactive bash shows after `line`, in which \\t is the Tab key."""
    terminal, inner = pty.openpty()
    env = {**os.environ, "TERM": "dumb", "PS1": "prompt> ", "LC_ALL": "C.UTF-8", "INPUTRC": "/dev/null", "HISTFILE": "/dev/null"}
    command = ["setsid", "--ctty", "bash", "--norc", "--noprofile", "-i"]
    shell = subprocess.Popen(command, cwd=directory, env=env, stdin=inner, stdout=inner, stderr=inner)
    os.close(inner)
    shown = b""
    try:
        os.write(terminal, f"bind 'set bell-style none'; {first}\n{line}".encode())
        deadline = time.monotonic() + 120
        while until.encode() not in shown and time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.1)[0]:
                shown += os.read(terminal, 4096)
    finally:
        shell.kill()
        shell.wait()
        os.close(terminal)
    return shown.decode()


def test_the_tab_key(tmp_path: Path, tree: Path) -> None:
    """`--root=DIR` is split by bash itself here, and a blank in a name is quoted by it."""
    file = tmp_path / "completion"
    file.write_text(TEXT)
    load = f"source {shlex.quote(str(file))}"
    assert "pvehooks explain rng-unlimited" in typed("pvehooks exp\trng-unl\t", "explain rng-unlimited", tmp_path, load)
    assert "--node=pve2 200" in typed("pvehooks check --root=tree --node=pve2 2\t", "pve2 200", tmp_path, load)
    assert "--root a\\ dir/" in typed("pvehooks check --root a\t", "dir/", tree, load)
    make_fake_tree(tmp_path / "node", {"sys/bus/pci/devices/0000:01:00.0/class": "0x030000\n"})
    assert "node 0000:01:00.0 --persist" in typed("pvehooks bind --root node 0000:\t--pe\t", "--persist", tmp_path, load)
    assert "explain" not in typed("pvehooks exp\t#end", "#end", tmp_path, "true")


def test_bash_completion_loads_it_by_its_name(tmp_path: Path) -> None:
    """Where the package puts it, Debian's bash-completion finds it at the first Tab."""
    place = tmp_path / "share/bash-completion/completions"
    place.mkdir(parents=True)
    (place / "pvehooks").write_text(TEXT)
    load = f"export XDG_DATA_DIRS={tmp_path / 'share'} BASH_COMPLETION_USER_DIR={tmp_path}/none; source /usr/share/bash-completion/bash_completion"
    assert "pvehooks backups" in typed("pvehooks bac\t", "pvehooks backups", tmp_path, load)


def test_shellcheck() -> None:
    done = subprocess.run(["shellcheck", "-"], input=TEXT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_shellcheck_looks_at_it() -> None:
    """Without the line that names bash it would complain of that only."""
    more = TEXT + "\n_pvehooks_more() {\n\tfor word in $*; do ls $word; done\n}\n"
    done = subprocess.run(["shellcheck", "-"], input=more, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "SC2086" in done.stdout
