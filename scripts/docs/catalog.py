"""The journal's message catalogue, systemd.catalog(5): what `journalctl -x` says below an entry of the daemon."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from pvehooks.journal.entries import message_id
from pvehooks.journal.events import KINDS
from pvehooks.journal.kind import Kind
from pvehooks.rules.catalogue import RULES
from pvehooks.rules.engine import Rule
from pvehooks.settings.compiled import NODE_FILE
from scripts.docs.commands import NO_BREAK, marked, plain
from scripts.docs.roff import NOTE

VMID = "@PVEHOOKS_VMID@"
# Lines that begin so are comments, also in the middle of a text (systemd's catalog.c).
_COMMENTS = ("#", ";")


def make() -> str:
    """The catalogue: an entry for each kind of event, and one for each rule's findings."""
    parts = [f"# {NOTE}\n"]
    parts += [_entry(name, kind.title, "pvehooksd(8)", _about(kind)) for name, kind in KINDS.items()]
    parts += [_entry(f"finding/{rule.id}", f"Finding {rule.id}", "pvehooks-rules(7)", _finding(rule)) for rule in RULES.values()]
    return "\n".join(parts)


def _entry(name: str, subject: str, page: str, paragraphs: Iterator[str]) -> str:
    text = "\n\n".join(each if each.startswith(" ") else _wrapped(each) for each in paragraphs)
    comments = [line for line in text.splitlines() if line.startswith(_COMMENTS)]
    assert not comments, f"journalctl leaves out lines that look like comments: {comments}"
    return f"# {name}\n-- {message_id(name)}\nSubject: {subject}\nDefined-By: pvehooks\nDocumentation: man:{page}\n\n{text}\n"


def _about(kind: Kind) -> Iterator[str]:
    if not kind.about_guest:
        # journalctl prints a field's name where an entry lacks the field.
        yield kind.explanation
        return
    yield re.sub(r"\bVMID\b", VMID, kind.explanation)
    yield f"All entries about this VM, its starts included: journalctl PVEHOOKS_VMID={VMID}"


def _finding(rule: Rule) -> Iterator[str]:
    yield f"{'Node' if rule.of_node else f'VM {VMID} on node'} @PVEHOOKS_NODE@, about @PVEHOOKS_DEVICE@:"
    yield from re.split(r"\n\s*\n", rule.explanation.replace("\nSource:", "\n\nSource:"))
    yield f"What to do, unless the message says otherwise: {rule.remedy.replace('{vmid}', VMID)}"
    if rule.of_node:
        yield f"To lower its severity, write in {NODE_FILE}:"
        yield f"    [rules]\n    {rule.id} = info"
        return
    yield f"To ignore it for this VM, write in {NODE_FILE}:"
    yield f"    [guest {VMID}]\n    ignore = {rule.id}: REASON"


def _wrapped(paragraph: str) -> str:
    text = plain(marked(" ".join(paragraph.split())))
    return textwrap.fill(text, 76, break_long_words=False, break_on_hyphens=False).replace(NO_BREAK, " ")
