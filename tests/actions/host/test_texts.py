"""The texts that a fix changes: nothing but what was meant, and a real sh reads what was meant."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvehooks.actions.host import texts
from pvehooks.actions.host.texts import ByHand

KEY = "GRUB_CMDLINE_LINUX_DEFAULT"


def grub(text: str, word: str = "iommu=pt", variable: str = KEY) -> str:
    return texts.grub_changed(text, variable, lambda line: texts.appended(line, word))


def by_sh(text: str) -> str:
    """What a real sh makes of the variable; the text comes as a file, as grub-mkconfig has it."""
    script = f'. /dev/stdin; printf "%s" "${{{KEY}-}}"'
    done = subprocess.run(["/bin/sh", "-c", script], input=text.encode(), capture_output=True, timeout=60, cwd="/", env={}, check=False)
    assert done.returncode == 0, (text, done.stderr)
    return done.stdout.decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'{KEY}="quiet"\n', f'{KEY}="quiet iommu=pt"\n'),
        (f"{KEY}='quiet  splash ' # mine\n", f"{KEY}='quiet  splash iommu=pt' # mine\n"),
        (f"export {KEY}=quiet", f'export {KEY}="quiet iommu=pt"'),
        (f'{KEY}=""\nA=b\n', f'{KEY}="iommu=pt"\nA=b\n'),
        (f"A=1\n  {KEY}=\n", f"A=1\n  {KEY}=iommu=pt\n"),
        (f'#{KEY}="old"\nX=`cat /x || echo`\n{KEY}="a=\'b c\'"\n', f'#{KEY}="old"\nX=`cat /x || echo`\n{KEY}="a=\'b c\' iommu=pt"\n'),
    ],
)
def test_one_assignment_is_changed(text: str, expected: str) -> None:
    assert grub(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("A=b\n", "does not set"),
        (f'{KEY}="a"\n{KEY}="b"\n', "lines 1, 2 all name"),
        (f'{KEY}="a"\n{KEY}="${KEY} b"\n', "lines 1, 2"),
        (f'X="a"\n{KEY}="$X b"\n', "shell code makes its value"),
        (f"{KEY}=`cat /proc/cmdline`\n", "shell code makes its value"),
        (f'{KEY}="a \\"b\\""\n', "shell code makes its value"),
        (f'{KEY}="a" ; B=c\n', "shell code makes its value"),
        (f'{KEY}="quiet \\\nsplash"\n', "shell code makes its value"),
        (f'if true; then\n{KEY}="a"\nfi\n', "more than an assignment"),
        (f'cat <<E\n{KEY}="a"\nE\n', "more than an assignment"),
        (f'A="\n{KEY}="a"\n"\n', "more than an assignment"),
        (f'A=b\\\n{KEY}="a"\n', "is unknown how sh reads"),
        (f'{KEY}="a\n', "shell code makes its value"),
        (f"{KEY}='a \"b'\n", "a double quote is not closed"),
        (f'{KEY}="a"\r\n', "shell code makes its value"),
        (f'{KEY}="ä"\n', "no printable ASCII"),
        (f'{KEY}="a"\nA+=b\n', "more than an assignment"),
    ],
)
def test_what_is_not_understood_is_left(text: str, why: str) -> None:
    with pytest.raises(ByHand, match=why):
        grub(text)


PIECES = st.sampled_from(
    [
        *("\"'\\$`#= \t\n;&|<>(){}~*"),
        *(
            "quiet",
            "iommu=pt",
            "A=",
            KEY,
            f"{KEY}=",
            f"{KEY}_X=",
            "${x}",
            "$x",
            "\\\n",
            "export ",
            "$(echo a)",
            "if true; then\n",
            "fi\n",
            "<<E\n",
        ),
        *(f'{KEY}="a b"', f"{KEY}='a'", f"{KEY}=a", f'\n{KEY}="quiet"\n', "\nGRUB_DEFAULT=0\n", "# x\n", "\nE\n", "`echo a`", 'B="c d"\n'),
    ]
)


@settings(max_examples=400)
@given(st.lists(PIECES, max_size=10).map("".join))
def test_any_text(text: str) -> None:
    """Untouched with a reason; or sh reads the old value and the word, all other bytes are as before, and only one line differs."""
    try:
        new = grub(text, "added=1")
    except ByHand as why:
        assert str(why)
        return
    old = by_sh(text)
    assert by_sh(new) == (f"{old.rstrip()} added=1" if old.strip() else "added=1")
    before, after = text.split("\n"), new.split("\n")
    changed = [number for number, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
    assert len(changed) == 1
    line = before[changed[0]]
    assert f"{KEY}=" in line
    # What stands before the assignment and behind the value is the same.
    assert after[changed[0]].startswith(line[: line.index(f"{KEY}=") + len(KEY) + 1])
    assert texts.grub_changed(new, KEY, lambda value: texts.without(value, "added", lambda _: True)).count("added") == text.count("added")


WORDS = st.lists(st.sampled_from(["quiet", "iommu=pt", "a=1,2", "a=2", "a-b=2", "x.ids=1:2,3:4", 'q="a b"', "a", "--"]), max_size=6)


@settings(max_examples=200)
@given(WORDS, st.sampled_from([" ", "  ", "\t"]), st.sampled_from(["", " "]))
def test_values_are_taken_out(words: list[str], between: str, guest_context: str) -> None:
    """What is left is in its order; nothing else changes."""
    text = guest_context + between.join(words) + guest_context
    left = texts.without(text, "a", lambda value: value == "2")
    kept = []
    for word in words:
        name, _, value = word.partition("=")
        if name == "a" and "=" in word:
            rest = [each for each in value.split(",") if each != "2"]
            kept += [f"a={','.join(rest)}"] if rest else []
        else:
            kept.append(word)
    assert left.split() == " ".join(kept).split()
    if kept == words:
        assert left == text


def test_an_argument_in_quotes_is_left() -> None:
    with pytest.raises(ByHand, match="in quotes"):
        texts.without('quiet a="1,2"', "a", lambda value: value == "2")
    assert texts.without("", "a", lambda _: True) == ""
    with pytest.raises(ByHand, match="needs quotes"):
        texts.appended("quiet", 'a="b"')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\n", "a b\n"),
        ("root=x quiet  splash \n\n  iommu=pt", "root=x quiet  splash iommu=pt\n"),
        ("root=x\nroot=x\n", "root=x root=x\n"),
    ],
)
def test_lines_are_joined(text: str, expected: str) -> None:
    assert texts.joined(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [("root=x\n# root=y\n", "comment"), ("root=x\nroot=y\n", "different root="), ('a="b\nc"\n', "not closed"), ("a ;b\nc", "comment")],
)
def test_lines_that_cannot_be_joined(text: str, why: str) -> None:
    with pytest.raises(ByHand, match=why):
        texts.joined(text)


def test_the_one_line() -> None:
    assert texts.cmdline_changed("root=x \n\n", lambda line: texts.appended(line, "a")) == "root=x a\n\n"
    assert texts.cmdline_changed("root=x", lambda line: texts.appended(line, "a")) == "root=x a"
    for text in ("root=x\nquiet\n", 'root="x\n'):
        with pytest.raises(ByHand):
            texts.cmdline_changed(text, lambda line: line)


MODPROBE = """\
# blacklist nvme
blacklist nvme
\tblacklist  nvme-core # boot
install nvme /bin/false
blacklist nvme_tcp
options vfio-pci ids=1:2,3:4 disable_vga=1
options vfio_pci ids=3:4
alias nvme off
"""


def test_what_sh_takes_for_the_end_of_another_line_is_left() -> None:
    with pytest.raises(ByHand, match="is unknown how sh reads"):
        texts.grub_changed(f'A=b\\\n{KEY}="a"\n', KEY, lambda _: "")


def test_lines_become_comments() -> None:
    new = texts.lines_without(MODPROBE, texts.denies("nvme"))
    assert new.split("\n")[:5] == [
        "# blacklist nvme",
        f"{texts.MARK}blacklist nvme",
        "\tblacklist  nvme-core # boot",
        f"{texts.MARK}install nvme /bin/false",
        "blacklist nvme_tcp",
    ]
    new = texts.lines_without(MODPROBE, texts.sets("vfio_pci", "ids", lambda value: value == "3:4"))
    assert new.split("\n")[5:] == [
        f"{texts.MARK}options vfio-pci ids=1:2,3:4 disable_vga=1",
        "options vfio-pci ids=1:2 disable_vga=1",
        f"{texts.MARK}options vfio_pci ids=3:4",
        "alias nvme off",
        "",
    ]
    assert texts.lines_without(MODPROBE, texts.denies("igb")) == MODPROBE
    assert texts.lines_without("vfio\nvfio-virqfd\n", texts.loads("vfio_virqfd")) == f"vfio\n{texts.MARK}vfio-virqfd\n"
    for text in ("blacklist nvme \\\nx\n", "a \\\nblacklist nvme\n"):
        with pytest.raises(ByHand, match="part of a longer one"):
            texts.lines_without(text, texts.denies("nvme"))
