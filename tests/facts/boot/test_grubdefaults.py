"""GRUB's defaults, as a real sh within its walls reads them, and as plain assignments are read by hand: both must agree."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvehooks.facts.boot import grubdefaults
from pvehooks.host import Host
from pvehooks.values import Unread
from tests.beds.forked import forked
from tests.beds.namespace import mount
from tests.beds.process import kill_on_failure
from tests.beds.tree import make_fake_tree
from tests.conftest import PROJECT

NODE = Host("/")
KEY = "GRUB_CMDLINE_LINUX_DEFAULT"
ValuesRead = dict[str, str] | Unread | str | None


def by_shell(*texts: str) -> ValuesRead:
    """The variables, why not, or what is broken."""
    try:
        return grubdefaults.by_shell(NODE, [(f"/etc/default/{number}", text) for number, text in enumerate(texts)])
    except grubdefaults.Broken as broken:
        return str(broken)


def by_hand(*texts: str) -> ValuesRead:
    try:
        return grubdefaults.by_hand([(f"/etc/default/{number}", text) for number, text in enumerate(texts)])
    except grubdefaults.Broken as broken:
        return str(broken)


def value(values_read: ValuesRead) -> str:
    assert isinstance(values_read, dict), values_read
    return values_read[KEY]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([f'{KEY}="quiet iommu=pt"\n'], "quiet iommu=pt"),
        ([f"{KEY}='quiet' # as it came\n"], "quiet"),
        ([f"  export {KEY}=quiet\n"], "quiet"),
        ([f"{KEY}=quiet\\ iommu=pt\n"], "quiet iommu=pt"),
        ([f'{KEY}="vfio-pci.ids=\\"1:2\\" \\$x \\n"\n'], 'vfio-pci.ids="1:2" $x \\n'),
        ([f'#{KEY}="no"\n{KEY}="qui"et\'\' # "\n'], "quiet"),
        ([f'{KEY}="a"\n', f'{KEY}="${KEY} b"\n', f'{KEY}="${{{KEY}}} c"\n'], "a b c"),
        ([f'GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`\n{KEY}="quiet"\n'], "quiet"),
        ([f'GRUB_DISTRIBUTOR=$( . /etc/os-release; echo ${{NAME}} )\n{KEY}="quiet"\n'], "quiet"),
        ([f'{KEY}="quiet \\\niommu=pt"\n'], "quiet iommu=pt"),
        (["\n", ""], ""),
    ],
)
def test_both_agree(texts: list[str], expected: str) -> None:
    assert value(by_shell(*texts)) == expected
    assert value(by_hand(*texts)) == expected


@pytest.mark.parametrize(
    "text",
    [
        f'if true; then {KEY}="quiet"; fi\n',
        f'{KEY}="$(echo quiet)"\n',
        f'extra=`echo quiet`\n{KEY}="$extra"\n',
        f'true && {KEY}="quiet"\n',
        f'. /dev/null\n{KEY}="quiet"\n',
        f"{KEY}=$'quiet'\n",
        f"{KEY}=~root/quiet\n",
        f"{KEY}=quiet iommu=pt\n",
        f'{KEY}="${{x:-quiet}}"\n',
        f'{KEY}="quiet"; PATH=/\n',
    ],
)
def test_a_tree_gets_no_guess(text: str, tmp_path: Path) -> None:
    """What only a shell knows is not examined, and the line is named."""
    values_read = by_hand(text)
    assert isinstance(values_read, Unread)
    assert "/etc/default/0, " in values_read.why
    tree = Host(str(make_fake_tree(tmp_path, {"etc/default/grub": text})))
    assert isinstance(grubdefaults.read(tree), Unread)


def test_the_shell_understands_more() -> None:
    assert value(by_shell(f'if [ 1 = 1 ]; then {KEY}="quiet"; fi\nfor a in x y; do {KEY}="${KEY} $a"; done\n')) == "quiet x y"


@pytest.mark.parametrize(("text", "words"), [(f'{KEY}="quiet\nA=b\n', "Unterminated quoted string"), ("if true\n", "Syntax error")])
def test_broken_files_are_named(text: str, words: str) -> None:
    values_read = by_shell(f"{KEY}=good\n", text)
    assert isinstance(values_read, str)
    assert values_read.startswith("/etc/default/1: line ")
    assert words in values_read


def test_an_open_quote_is_seen_by_hand() -> None:
    """One that is closed on another line is not: what it makes of the value only sh can tell."""
    assert (
        by_hand(f'GRUB_DISTRIBUTOR=`lsb_release -i -s`\n{KEY}="quiet\nGRUB_DEFAULT=0\n')
        == "/etc/default/0, line 2: a quote is not closed there, or further down"
    )
    assert isinstance(by_hand(f'{KEY}="quiet\niommu=pt"\n'), Unread)
    assert by_hand(f"# don't\n{KEY}=a\n") == {name: "a" if name == KEY else "" for name in grubdefaults.WANTED}


def test_appending_is_read(tmp_path: Path) -> None:
    """dash, which runs grub-mkconfig, takes it for a command."""
    tree = Host(str(make_fake_tree(tmp_path, {"etc/default/grub": f'{KEY}="a"\n', "etc/default/grub.d/b.cfg": f'\n{KEY}+=" b"\n'})))
    with pytest.raises(grubdefaults.Broken, match=r"grub.d/b.cfg, line 2: sh has no"):
        grubdefaults.read(tree)


def test_a_node_asks_the_shell() -> None:
    """The whole way, with the files where grub-mkconfig has them."""
    mount("tmpfs", "/etc/default", "tmpfs")
    try:
        make_fake_tree(
            "/etc/default",
            {"grub": f'{KEY}="quiet"\n', "grub.d/50-pt.cfg": f'[ -z "" ] && {KEY}="${KEY} iommu=pt"\n', "grub.d/x.dpkg-old": "'"},
        )
        values_read = grubdefaults.read(NODE)
        assert value(values_read) == "quiet iommu=pt"
    finally:
        subprocess.run(["umount", "/etc/default"], check=True)


def test_where_the_walls_cannot_be_had() -> None:
    """Nobody may not make namespaces: then it is read by hand, and a file that only sh can read is not examined."""
    script = (
        "import sys; sys.path.insert(0, '/run/grub-package')\n"
        "from pvehooks.facts.boot import grubdefaults\nfrom pvehooks.host import Host\n"
        f"print(grubdefaults.by_shell(Host('/'), [('/etc/default/grub', '{KEY}=a\\n')]))"
    )
    shutil.copytree(PROJECT / "pvehooks", "/run/grub-package/pvehooks", dirs_exist_ok=True)
    done = NODE.run(("/usr/bin/setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all", "/usr/bin/python3", "-IB", "-c", script), 20)
    assert done.stdout == "None\n", done.stderr


# -- the walls --------------------------------------------------------------------------------------------------------


def test_nothing_is_written_or_removed() -> None:
    """The same commands outside of the sandbox do the harm."""
    folder = Path("/run/grub-walls")
    folder.mkdir(mode=0o755)
    kept, removed, made = folder / "kept", folder / "removed", folder / "made"
    kept.write_text("as it was\n")
    removed.write_text("still here\n")
    commands = f"echo more > {kept}; /bin/rm -f {removed}; /bin/touch {made}\n"
    assert value(by_shell(f"{commands}{KEY}=done\n")) == "done"
    assert (kept.read_text(), removed.read_text(), made.exists()) == ("as it was\n", "still here\n", False)
    NODE.run(("/bin/sh", "-c", commands), 5)
    assert (kept.read_text(), removed.exists(), made.exists()) == ("more\n", False, True)


def test_a_file_may_make_no_content_where_all_may_write() -> None:
    folder = Path("/run/grub-open")
    folder.mkdir()
    folder.chmod(0o777)
    assert not isinstance(by_shell(f"echo x > {folder}/made\n"), str)
    by_shell(f"/bin/mkdir {folder}/dir; /bin/ln -s x {folder}/link; /bin/touch {folder}/file /tmp/grub-left /run/lock/grub-left\n")
    assert list(folder.iterdir()) == []
    assert not Path("/tmp/grub-left").exists() and not Path("/run/lock/grub-left").exists()


def test_it_sees_no_other_process_and_nothing_of_users() -> None:
    text = f'{KEY}="$(for each in /proc/[0-9]*; do echo ${{each#/proc/}}; done) $(echo /opt/* /var/* /run/* /root/* /etc/pve/*)"\n'
    seen = value(by_shell(text)).split()
    assert all(len(each) < 3 for each in seen if each.isdecimal())
    assert [each for each in seen if not each.isdecimal()] == ["/opt/*", "/var/*", "/run/*", "/root/*", "/etc/pve/*"]


def test_it_gets_no_user_namespace() -> None:
    """In one it would have all capabilities, and the kernel's larger surface."""
    text = f"if /usr/bin/unshare --user /usr/bin/true; then {KEY}=got; else {KEY}=refused; fi\n"
    assert value(by_shell(text)) == "refused"


def test_an_end_that_is_no_mistake_is_not_examined() -> None:
    """A file that cannot do within the walls what root may do: sh ends, and the syntax is right."""
    values_read = by_shell(": > /etc/made-by-grub\n")
    assert isinstance(values_read, Unread)
    assert "does not come to its end" in values_read.why
    assert not Path("/etc/made-by-grub").exists()


@pytest.mark.parametrize("text", ["while :; do :; done\n", "/bin/sleep 60\n"])
def test_a_file_that_hangs_is_ended(text: str) -> None:
    before = time.monotonic()
    values_read = by_shell(text)
    assert not isinstance(values_read, dict)
    assert time.monotonic() - before < 30


def test_it_has_no_capability_no_environment_and_no_network() -> None:
    text = f'{KEY}="$(while read -r k v; do [ "$k" != CapBnd: ] || echo $v; done < /proc/self/status) $HOME"\n'
    assert value(by_shell(text)).strip() == "0000000000000000"
    text = f'{KEY}="$(while read -r a b; do case $a in [a-z]*:) echo $a;; esac; done < /proc/thread-self/net/dev)"\n'
    assert value(by_shell(text)) in ("lo:", "")


def test_other_processes_are_not_counted() -> None:
    """A limit of processes counts those of a user in all of the system: that of sh has no others."""
    many = ["setpriv", "--reuid=65534", "--clear-groups", "sh", "-c", "for i in $(seq 70); do sleep 60 & done; echo; wait"]
    with kill_on_failure(subprocess.Popen(many, stdout=subprocess.PIPE, start_new_session=True)) as others:
        assert others.stdout is not None and others.stdout.readline() == b"\n"
        assert value(by_shell(f'{KEY}="$(echo quiet)"\n')) == "quiet"
        os.killpg(others.pid, signal.SIGKILL)


PIECES = st.sampled_from(
    [*"\"'\\$`#= \n;", "quiet", KEY, "x", "${x}", "$x", "GRUB_DEFAULT=0", f'{KEY}="a b"', "\\\n", "export ", "$(echo a)"]
)


@settings(max_examples=100)
@given(st.lists(PIECES, max_size=8).map("".join))
def test_any_text(text: str) -> None:
    """By hand nothing is claimed that sh does not say as well."""
    hand = by_hand(text)
    if isinstance(hand, dict):
        assert by_shell(text) == hand, text
    elif isinstance(hand, str):
        assert isinstance(by_shell(text), str), text


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("A=1\n\n[ -e /nosuch ] && A=2\n\n", "/etc/default/0, line 3: its condition is not met"),
        ("test -e /nosuch && A=2", "/etc/default/0, line 1: its condition is not met"),
        ("[ -e / ] && A=2\n", ""),
        ("[ -e /nosuch ] && A=2\nA=3\n", ""),
        ("[ -e /nosuch ] && A=2 || A=3\n", ""),
        ("[ -e /nosuch ] && A=2; A=3\n", ""),
        ("if [ -e /nosuch ]; then A=2; fi\n", ""),
        # Another user may be reported otherwise.
        ("[ -r /root/x ] && A=2\n", ""),
    ],
)
def test_a_condition_at_the_end(text: str, broken: str) -> None:
    """grub-mkconfig sources the files with set -e: sh ends there, as this one does."""
    values_read = by_shell(text)
    assert (values_read if isinstance(values_read, str) else "")[: len(broken) or None] == broken
    script = 'set -e; if test -f "$1"; then . "$1"; fi; echo went on'
    command = ["sh", "-c", f"f=$(mktemp); printf '%s' \"$2\" > $f; set -- $f; {script}", "sh", "", text]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if " -r " not in text:
        assert (done.stdout == "went on\n") is (not broken)


# -- hostile files ----------------------------------------------------------------------------------------------------


class Counted(str):
    """A text that counts how many of its characters are looked at, and all that is made of it."""

    looked = 0

    def split(self, *arguments: object) -> list[str]:  # type: ignore[override]
        """As always."""
        return [Counted(part) for part in str(self).split(*arguments)]  # type: ignore[arg-type]

    def __contains__(self, part: object) -> bool:
        Counted.looked += len(self)
        return str(self).__contains__(part)  # type: ignore[operator]

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        Counted.looked += len(self)
        return iter(str(self))

    def __getitem__(self, key: object) -> str:
        Counted.looked += len(self)
        return Counted(str(self)[key])  # type: ignore[index]

    def __add__(self, other: str) -> str:
        Counted.looked += len(self) + len(other)
        return Counted(str(self) + str(other))

    def __radd__(self, other: str) -> str:
        Counted.looked += len(self) + len(other)
        return Counted(str(other) + str(self))

    def rstrip(self, *arguments: object) -> str:  # type: ignore[override]
        """As always."""
        Counted.looked += 1
        return Counted(str(self).rstrip(*arguments))  # type: ignore[arg-type]


@pytest.mark.parametrize("line", ["a\\\n", "\\\n", "\\\\\\\n", "'\\\n", "#\\\n", "a\n"])
def test_lines_are_joined_in_one_pass(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each character is looked at a few times, however many lines are joined."""
    text = Counted(line * 2000)
    monkeypatch.setattr(Counted, "looked", 0)
    assert sum(1 for _ in grubdefaults._logical(text)) in (1, 2000, 2001)
    assert 0 < Counted.looked <= 6 * len(text)


PIECES = (
    *("$aa", "${aa}", "'a'", '"a"', "\\a", "`a`", "$(a)", " ", "\t", "#", "&&", " -r ", "|", ";", "[ x && ", "test x && "),
    *("\n", "a\\\n", "\\\n", "A=a\n", 'A="$A$A"\n', "GRUB_A", "export "),
)


@pytest.mark.parametrize("piece", PIECES)
def test_no_file_takes_long(piece: str) -> None:
    """Of the largest size that is read: what grows with the square of the length is ended, and so is what fills the memory."""

    def read_all() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        text = piece * ((1 << 16) // len(piece))
        for start, end in product(("", f'{KEY}="', "A=xx\n"), ("`", "|")):
            by_hand(start + text + end)
            grubdefaults._APPENDING.search(start + text + end)
            grubdefaults._CONDITION.fullmatch((start + text + end).replace("\n", " "))

    assert forked(read_all) == 0


def test_a_value_that_doubles_is_not_understood() -> None:
    reported = by_hand("A=xx\n" + 'A="$A$A"\n' * 16)
    assert isinstance(reported, Unread)
    assert reported.why == "/etc/default/0, line 13: its value is longer than any kernel's command line"
