"""A man page in the making, with the man(7) macros. Text is plain; `backticks` make it bold, placeholders become italic."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

from scripts.docs.commands import NO_BREAK, marked

NOTE = "Made by `make docs` from the code's own tables: an edit here is lost."
PLACEHOLDERS = ("DIGEST", "DIR", "FILE", "NAME", "NODE", "PRIORITY", "REASON", "RULE-ID", "RULE", "VERB", "VMID")

_PLACEHOLDER = re.compile(rf"(?<![A-Z_-])({'|'.join(PLACEHOLDERS)})(?![A-Z_-])")
_SPECIAL = {NO_BREAK: "\\ ", "\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti", '"': "\\(dq"}


def escaped(text: str) -> str:
    """Text as roff shows it literally, wherever it stands; hyphens stay what a terminal copies as "-"."""
    safe = "".join(_SPECIAL.get(char, char) for char in text)
    return f"\\&{safe}" if safe.startswith(".") else safe


def bold(text: str) -> str:
    """Text to be typed as it is, with its placeholders in italics."""
    return "".join(
        f"\\fI{escaped(part)}\\fR" if number % 2 else f"\\fB{escaped(part)}\\fR"
        for number, part in enumerate(_PLACEHOLDER.split(text))
        if part
    )


def inline(text: str) -> str:
    """Prose: what stands in backticks is bold, placeholders are italic."""
    parts = text.split("`")
    assert len(parts) % 2, f"a backtick is never closed: {text}"
    return "".join(bold(part) if number % 2 else _plain(part) for number, part in enumerate(parts))


def _plain(text: str) -> str:
    parts = _PLACEHOLDER.split(text)
    return "".join(f"\\fI{escaped(part)}\\fR" if number % 2 else escaped(part) for number, part in enumerate(parts))


def prose(text: str) -> list[str]:
    """A paragraph as lines of roff, a new line for each sentence."""
    lines: list[str] = []
    glued = re.sub(r"`[^`]*`", lambda match: match[0].replace(" ", NO_BREAK), marked(" ".join(text.split())))
    for sentence in re.split(r"(?<=[.?!]) (?=[A-Z`/\[])", glued):
        lines += textwrap.wrap(sentence, 72, break_long_words=False, break_on_hyphens=False)
    return [f"\\&{line}" if line.startswith(".") else line for line in inline("\n".join(lines)).split("\n")]


class Page:
    """The lines of a page. Its title stands in the NAME section, where man -k finds it."""

    def __init__(self, name: str, section: int, title: str, date: str) -> None:
        self.name = name
        self.section_number = section
        head = f'.TH {escaped(name.upper())} {section} {date} pvehooks "Proxmox VE"'
        # Commands and ids are to be copied as they stand: not hyphenated, not stretched.
        self._lines = [f'.\\" {NOTE}', head, ".nh", ".ad l"]
        self._fresh = True
        self.section("NAME")
        self._lines.append(f"{escaped(name)} \\- {inline(title)}")

    def section(self, title: str) -> None:
        """A heading."""
        self._lines.append(f".SH {escaped(title.upper())}")
        self._fresh = True

    def subsection(self, title: str) -> None:
        """A smaller heading."""
        self._lines.append(f".SS {escaped(title)}")
        self._fresh = True

    def paragraph(self, text: str) -> None:
        """A paragraph."""
        if not self._fresh:
            self._lines.append(".PP")
        self._lines += prose(text)
        self._fresh = False

    def paragraphs(self, text: str) -> None:
        """Paragraphs with empty lines between them."""
        for each in re.split(r"\n\s*\n", text.strip()):
            self.paragraph(each)

    def tagged(self, tag: str, text: str, *more: str) -> None:
        """A term, as it comes out of inline() or bold(), with its description below; `more` are further paragraphs of it."""
        self._lines += [".TP", tag, *prose(text)]
        for each in more:
            self._lines += [".IP", *prose(each)]
        self._fresh = False

    def definitions(self, rows: Iterable[tuple[str, str]]) -> None:
        """Terms in bold, each with its description."""
        for term, text in rows:
            self.tagged(bold(term), text)

    def example(self, lines: Sequence[str]) -> None:
        """Lines that keep their breaks."""
        shown = [escaped(line) for line in lines]
        self._lines += [*([] if self._fresh else [".PP"]), ".RS 4", ".nf", *shown, ".fi", ".RE"]
        self._fresh = False

    def synopsis(self, commands: Iterable[str]) -> None:
        """Commands, one a line, as they come out of bold() and inline()."""
        for command in commands:
            self._lines += [*([] if self._fresh else [".br"]), command]
            self._fresh = False

    def see_also(self, *pages: str) -> None:
        """The last section: names like "qm(1)"."""
        self.section("SEE ALSO")
        shown = [f"\\fB{escaped(page.partition('(')[0])}\\fR({page.partition('(')[2]}" for page in pages]
        self._lines += [f"{page}," for page in shown[:-1]] + [shown[-1]]

    def text(self) -> str:
        """The page."""
        return "\n".join(self._lines) + "\n"
