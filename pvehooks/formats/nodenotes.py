"""The notes of a node: comment lines at the top of /etc/pve/nodes/NODE/config, and a marked block of ours among them.

Source: pve-manager 8.0 to 9.2, PVE/NodeConfig.pm (write_node_config); pve-common 8.0 to 9.2, JSONSchema.pm (parse_config), encode_text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pvehooks.values.base import NamedTuple

# Proxmox VE's interface shows no HTML comments.
BEGIN = "<!-- pvehooks begin (kept by pvehooks: what is written in here is overwritten) -->"
END = "<!-- pvehooks end -->"
# Of all notes, in characters: what Proxmox VE reads beyond that it drops as a whole.
LIMIT = 64 * 1024

_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in "%:")


class NotesBlock(NamedTuple):
    """Where our block lies: the indices of its first line and of the line after it; both are where one would go if `is_there` is not set."""

    first: int
    end: int
    is_there: bool


class Damaged(Exception):
    """One of the marks is missing or there twice, or they are in the wrong order."""


def encoded(line: str) -> bytes:
    """A line of the notes as Proxmox VE writes it; pve-common before 8.2.2 leaves % as it is."""
    from urllib.parse import quote

    return b"#" + quote(line, safe=_PLAIN, encoding="utf-8", errors="replace").encode("ascii") + b"\n"


def decoded(line: bytes) -> str:
    """A comment line of the file as a line of the notes."""
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(line.strip()[1:]).decode("utf-8", "replace")


def place(raw: bytes) -> NotesBlock:
    """Where our block lies in the file; a new one comes after the notes. Raises Damaged."""
    lines = _lines(raw)
    notes = [number for number, line in enumerate(lines) if line.lstrip().startswith(b"#")]
    texts = {number: decoded(lines[number]).strip() for number in notes}
    begins, ends = ([number for number in notes if texts[number] == mark] for mark in (BEGIN, END))
    if not begins and not ends:
        end = notes[-1] + 1 if notes else 0
        return NotesBlock(end, end, is_there=False)
    if len(begins) != 1 or len(ends) != 1 or begins > ends:
        raise Damaged
    return NotesBlock(begins[0], ends[0] + 1, is_there=True)


def with_block(raw: bytes, block: Iterable[str]) -> bytes:
    """The file with these lines as our block, between its marks; without any, without it. Every other byte stays. Raises Damaged.

    A block that reads as these lines stays as it is encoded.
    """
    where = place(raw)
    text = list(block)
    if text and [decoded(line) for line in _lines(raw)[where.first : where.end]] == [BEGIN, *text, END]:
        return raw
    if text and not where.is_there and raw and not raw.endswith(b"\n"):
        # A last line that was cut off.
        raw += b"\n"
    lines = _lines(raw)
    new = [encoded(line) for line in (BEGIN, *text, END)] if text else []
    return b"".join((*lines[: where.first], *new, *lines[where.end :]))


def is_with_block(raw: bytes, before: bytes, block: Sequence[str]) -> bool:
    """Whether a file is `before` with these lines as our block, as any Proxmox VE encodes them; without any, without it."""
    try:
        return with_block(raw, block) == raw and with_block(raw, ()) == with_block(before, ())
    except Damaged:
        return False


def notes(raw: bytes) -> str:
    """The notes of the file, as Proxmox VE's description of a node; a lone `0` it would take for none."""
    return "".join(f"{decoded(line)}\n" for line in _lines(raw) if line.lstrip().startswith(b"#"))


def _lines(raw: bytes) -> list[bytes]:
    return re.findall(rb"[^\n]*\n|[^\n]+", raw)
