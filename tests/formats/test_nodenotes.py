"""The block in a node's notes: everything around it stays byte by byte, and marks that were edited are known as such."""

from __future__ import annotations

import pytest

from pvehooks.formats.nodenotes import BEGIN, END, Damaged, decoded, encoded, is_with_block, notes, place, with_block

B, E = encoded(BEGIN), encoded(END)
BLOCK = ["", "- a: 5 % <ü>", "\U0001f525"]
OURS = B + b"#\n#- a%3A 5 %25 <%C3%BC>\n#%F0%9F%94%A5\n" + E


@pytest.mark.parametrize(
    ("line", "raw"),
    [
        ("", b"#\n"),
        ("# head", b"## head\n"),
        ("a: 50 %\t\x1b", b"#a%3A 50 %25%09%1B\n"),
        ("ü \U0001f525", b"#%C3%BC %F0%9F%94%A5\n"),
        ("%41", b"#%2541\n"),
    ],
)
def test_a_line(line: str, raw: bytes) -> None:
    assert (encoded(line), decoded(raw)) == (raw, line)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", OURS),
        (b"#mine\n", b"#mine\n" + OURS),
        (
            b"#a%0D\n#%C3%BC 50 %25  \n#\n##x\nacme: account=default\n",
            b"#a%0D\n#%C3%BC 50 %25  \n#\n##x\n" + OURS + b"acme: account=default\n",
        ),
        (b"acme: account=default\n", OURS + b"acme: account=default\n"),
        (b"acme: x\n\n  #late\nunknown line\xff\n", b"acme: x\n\n  #late\n" + OURS + b"unknown line\xff\n"),
        (b"#a\r#b\x0b\n", b"#a\r#b\x0b\n" + OURS),
        (b"description: old\n", OURS + b"description: old\n"),
    ],
)
def test_put_in_and_taken_out(before: bytes, after: bytes) -> None:
    assert with_block(before, BLOCK) == after
    assert with_block(after, BLOCK) == after
    assert with_block(after, ["other"]) == after.replace(OURS, B + b"#other\n" + E)
    assert with_block(after, []) == before
    assert with_block(before, []) == before


def test_a_block_in_another_encoding() -> None:
    """As pve-common before 8.2.2 writes it: it stays, and is known."""
    before, raw = b"#50 %\nacme: x\n", b"#50 %\n" + OURS.replace(b"%25", b"%") + b"acme: x\n"
    assert with_block(raw, BLOCK) == raw
    assert is_with_block(raw, before, BLOCK) and is_with_block(before, raw, [])
    assert not is_with_block(raw, before, ["other"]) and not is_with_block(raw, before, [])
    assert not is_with_block(raw, b"#50 %25\nacme: x\n", BLOCK) and not is_with_block(raw + B, before, BLOCK)


def test_a_last_line_without_its_end() -> None:
    assert with_block(b"#mine", BLOCK) == b"#mine\n" + OURS


@pytest.mark.parametrize("end", [b"%0D\n", b"\r\n", b"  \n", b"\n"])
def test_marks_with_other_line_ends(end: bytes) -> None:
    """A browser or an API client may have put them there."""
    raw = b"#above\n" + B[:-1] + end + b"#x" + end + E[:-1] + end + b"#below\n"
    assert place(raw) == (1, 4, True)
    assert with_block(raw, []) == b"#above\n#below\n"


@pytest.mark.parametrize(
    "raw",
    [B, E, E + B, B + B + E, B + E + E, B + E + B + E, B.replace(b"begin", b"began") + E, B + b"#x\n" + E.replace(b"end", b"ende")],
)
def test_edited_marks(raw: bytes) -> None:
    blocks: list[list[str]] = [BLOCK, []]
    for block in blocks:
        with pytest.raises(Damaged):
            with_block(b"#a\n" + raw + b"#b\n", block)


@pytest.mark.parametrize("raw", [b"#x " + B[1:], b"#pvehooks begin\n", b"key: " + B, b"#`" + B[1:-1] + b"`\n"])
def test_what_only_speaks_of_them(raw: bytes) -> None:
    assert not place(raw).is_there


def test_the_notes() -> None:
    assert notes(b"#a%3A\nacme: x\n#\n#%C3%BC\n") == "a:\n\nü\n"
