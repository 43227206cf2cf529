"""A guest's `args`: words for QEMU as PVE splits them (pve-common, PVE/Tools.pm, split_args: Perl's Text::ParseWords), and our part in them.

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
    """Words that cannot be put into a guest's `args`, or found there."""


def split(text: str) -> tuple[str, ...] | None:
    """The words that QEMU gets; None where quotes or backslashes do not add up, and PVE therefore gives it none."""
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
    """A word as it has to be written to come out of `split` as it is."""
    if _PLAIN.fullmatch(word):
        return word
    inside = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inside}"'


def for_shell(args: str) -> str:
    """The whole as one word of a shell command."""
    return "'" + args.replace("'", "'\\''") + "'"


def joined(theirs: str, ours: str) -> str:
    """The user's words, kept to the letter, and ours behind them; raises ArgsError where that would change what theirs mean."""
    own = split(theirs)
    if own is None:
        raise ArgsError("its args have a quote or a backslash that is not closed, so PVE gives QEMU none of them", hint="Mend them first.")
    whole = f"{theirs} {ours}" if theirs else ours
    part = split(ours)
    if part is None or split(whole) != (*own, *part):
        raise ArgsError("its args end in a way that would change the words behind them", hint="Mend them first.")
    return whole


def without(args: str, ours: str) -> str | None:
    """The user's words without our part, each as it was; None where our part is not there, or not there just once, as words of its own."""
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
