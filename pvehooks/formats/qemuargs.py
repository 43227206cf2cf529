"""A guest's `args`: arguments for QEMU as PVE splits them (pve-common, PVE/Tools.pm, split_args: Perl's Text::ParseWords), and our part.

The rules are not the shell's: within single quotes a backslash keeps the quote that follows it from ending the string (and stays), and
one quote that is not closed makes PVE give QEMU none of the words.
"""

from __future__ import annotations

import re

from pvehooks.errors import UsageError

# A word, or a piece of it: a quoted string, an escaped character, or others that mean nothing special.
_PIECE = re.compile(r"\"((?:[^\\\"]|\\.)*)\"|'((?:[^\\']|\\.)*)'|\\(.)|([^\\\"'\s]+)", re.DOTALL | re.ASCII)
_GAP = re.compile(r"[\s]+", re.ASCII)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+", re.ASCII)


class ArgsError(UsageError):
    """Our part cannot be added to a guest's `args`, or not found there."""


def split(text: str) -> tuple[str, ...] | None:
    """The arguments that QEMU gets; None if a quote or backslash is not closed, and PVE therefore passes none."""
    if text == "0":
        return ()
    words: list[str] = []
    at, end = 0, len(text)
    while True:
        gap = _GAP.match(text, at)
        at = gap.end() if gap else at
        if at == end:
            return tuple(words)
        pieces = []
        while at < end and not _GAP.match(text, at):
            piece = _PIECE.match(text, at)
            if piece is None:
                return None
            double, single, escaped, plain = piece.groups()
            pieces.append(
                _ESCAPED.sub(r"\1", double) if double is not None else next(each for each in (single, escaped, plain) if each is not None)
            )
            at = piece.end()
        words.append("".join(pieces))


def quoted(word: str) -> str:
    """An argument quoted so that `split` returns it unchanged."""
    if _PLAIN.fullmatch(word):
        return word
    inside = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inside}"'


def for_shell(args: str) -> str:
    """The text as one word of a shell command."""
    return "'" + args.replace("'", "'\\''") + "'"


def joined(theirs: str, ours: str) -> str:
    """The user's arguments, unchanged, and ours behind them; raises ArgsError if that would change the meaning of the user's."""
    own = split(theirs)
    if own is None:
        raise ArgsError(
            "its args have a quote or a backslash that is not closed, so PVE passes none of them to QEMU", hint="Fix them first."
        )
    whole = f"{theirs} {ours}" if theirs else ours
    part = split(ours)
    if part is None or split(whole) != (*own, *part):
        raise ArgsError("its args end in a way that would change the arguments added behind them", hint="Fix them first.")
    return whole


def without(args: str, ours: str) -> str | None:
    """The user's arguments without our part, unchanged; None unless our part is there exactly once, as arguments of its own."""
    own, part = split(args), split(ours)
    if own is None or not part or args.count(ours) != 1:
        return None
    before, _, after = args.partition(ours)
    if (before and not _GAP.search(before[-1])) or (after and not _GAP.match(after)):
        return None
    left = (before[:-1] + after) if before else after[1:]
    rest = split(left)
    if rest is None or (*(split(before) or ()), *part, *(split(after) or ())) != own:
        return None
    return left
