"""Commands within a sentence: they are marked, and never broken over two lines, so that they can be copied."""

from __future__ import annotations

import re

NO_BREAK = "\N{NO-BREAK SPACE}"

# What remedies name after a colon; a comma or dot belongs to the command only within a word.
_PROGRAMS = "iconv|journalctl|less|ls|pvecm|pvehooks|qm|systemctl"
_WORD = r"[^\s;,.`]+(?:[,.][^\s;,.`]+)*"
_COMMAND = rf"(?:{_PROGRAMS})(?: (?!(?:and|or)\b){_WORD})+"
_COMMANDS = re.compile(rf"(?<=: )(?:see )?{_COMMAND}(?:(?:,| and| or) {_COMMAND})*")
_MARKED = re.compile(r"`([^`]*)`")


def marked(text: str) -> str:
    """The text with commands that stand behind a colon in backticks: one, or several with commas, "and" or "or" between them."""
    return _COMMANDS.sub(lambda match: re.sub(_COMMAND, r"`\g<0>`", match[0]), text)


def plain(text: str) -> str:
    """A marked text without backticks: quoted, except for a command behind a colon. Their blanks are NO_BREAK."""
    text = re.sub(r"(?:(?<=: )|(?<=: see ))`([^`]*)`", lambda match: match[1].replace(" ", NO_BREAK), text)
    return _MARKED.sub(lambda match: '"' + match[1].replace(" ", NO_BREAK) + '"', text)
