"""Edits the texts of the boot loader's files, of modprobe.d(5) and of modules-load.d(5). Pure; refuses what it does not understand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from pvehooks.derived.kernel_args import name_of
from pvehooks.facts.boot import grubdefaults
from pvehooks.values import Unread

# Prefix of a line that was turned into a comment.
MARK = "# taken out by pvehooks host fix: "
GRUB_VARIABLES = ("GRUB_CMDLINE_LINUX_DEFAULT", "GRUB_CMDLINE_LINUX")
# An argument as the kernel splits them (lib/cmdline.c, next_arg), of a line in which every double quote is closed.
_ARGUMENT = re.compile(r'(?:[^\s"]|"[^"]*")+')
# Arguments that mean the same to sh in any quotes, to GRUB's scripts and to the kernel.
_SAFE = re.compile(r"[A-Za-z0-9_.,:/=+@%-]+")
_VALUE = r"""(?P<value>"[^"\\`$\n]*"|'[^'\n]*'|[A-Za-z0-9_.,:/=+@%-]*)"""

Edit = Callable[[str], str]


class ByHand(Exception):
    """Something is not fixed automatically, because it is not understood or must not be edited; the text is the reason."""


# -- arguments of the kernel ------------------------------------------------------------------------------------------


def appended(text: str, word: str) -> str:
    """The line of arguments with one more at its end; raises ByHand."""
    if not _SAFE.fullmatch(word):
        raise ByHand(f"'{word}' needs quotes that no shell and no boot loader misreads")
    kept = text.rstrip(" \t")
    return f"{kept} {word}" if kept else word


def without(text: str, name: str, unwanted: Callable[[str], bool]) -> str:
    """The line of arguments without unwanted values of one argument; without any value left, without the argument.

    `name` is spelt with underscores; values are separated by commas.
    """
    parts, place = [], 0
    for match in _ARGUMENT.finditer(text):
        parts.append(text[place : match.start()])
        kept = _without(match[0], name, unwanted)
        place = match.end()
        if kept:
            parts.append(kept)
        elif parts[-1] and len(parts) > 1:
            parts.pop()
        else:
            place += len(text[place:]) - len(text[place:].lstrip(" \t"))
    return "".join(parts) + text[place:]


def _without(word: str, name: str, unwanted: Callable[[str], bool]) -> str:
    if name_of(word.replace('"', "")) != name:
        return word
    values = word.partition("=")[2].split(",")
    kept = [value for value in values if not unwanted(value.replace('"', ""))]
    if len(kept) == len(values):
        return word
    if '"' in word:
        raise ByHand(f"{word} is in quotes")
    return f"{word.partition('=')[0]}={','.join(kept)}" if kept else ""


def words_without(words: Iterable[str], name: str, unwanted: Callable[[str], bool]) -> list[str]:
    """Does the same for a list of arguments."""
    return [kept for word in words if (kept := _without(word, name, unwanted))]


# -- /etc/default/grub ------------------------------------------------------------------------------------------------


def grub_changed(text: str, variable: str, change: Edit) -> str:
    """The text with the value of its one plain assignment of the variable changed; raises ByHand."""
    match = _assignment(text, variable)
    quote, value = _unquoted(match["value"])
    if value.count('"') % 2:
        raise ByHand(f"a double quote is not closed in {variable}")
    new = change(value)
    if new == value:
        return text
    if not new.isascii() or not new.isprintable():
        raise ByHand(f"{variable} has characters that are no printable ASCII")
    if not quote and not re.fullmatch(_VALUE, new):
        quote = '"'
    replaced = f"{text[: match.start('value')]}{quote}{new}{quote}{text[match.end('value') :]}"
    if _value_of(replaced, variable) != new:
        raise ByHand(f"it is unknown how sh reads a changed {variable}")
    return replaced


def grub_sets(text: str, variable: str) -> bool:
    """Whether a line that is no comment names the variable."""
    return bool(_mentions(text, variable))


def _mentions(text: str, variable: str) -> list[int]:
    """The numbers of the lines that name it."""
    lines = enumerate(text.split("\n"), 1)
    return [number for number, line in lines if not line.lstrip().startswith("#") and re.search(rf"\b{variable}\b", line)]


def _assignment(text: str, variable: str) -> re.Match[str]:
    """The one plain assignment, if sh understands it in the same way; raises ByHand."""
    mentions = _mentions(text, variable)
    if not mentions:
        raise ByHand(f"it does not set {variable}")
    if len(mentions) > 1:
        raise ByHand(f"lines {', '.join(map(str, mentions))} all name {variable}, and only one plain assignment can be changed")
    pattern = rf"^[ \t]*(?:export[ \t]+)?{variable}={_VALUE}[ \t]*(?:[ \t]#.*)?$"
    matches = list(re.finditer(pattern, text, re.MULTILINE))
    if len(matches) != 1 or text.count("\n", 0, matches[0].start("value")) + 1 != mentions[0]:
        raise ByHand(f"line {mentions[0]} is no plain assignment of {variable} in quotes: shell code makes its value")
    if _value_of(text, variable) != _unquoted(matches[0]["value"])[1]:
        raise ByHand(f"it is unknown how sh reads {variable}")
    return matches[0]


def _unquoted(written: str) -> tuple[str, str]:
    """The quote ('' for none), and what is quoted."""
    return (written[0], written[1:-1]) if written[:1] in ("'", '"') else ("", written)


def _value_of(text: str, variable: str) -> str:
    """The variable's value from plain assignments; raises ByHand if the text has more than those."""
    try:
        values = grubdefaults.by_hand([("it", text)])
    except grubdefaults.Broken as broken:
        raise ByHand(str(broken).removeprefix("it: ")) from broken
    if isinstance(values, Unread):
        raise ByHand(values.why.removeprefix("it, "))
    return values[variable]


# -- /etc/kernel/cmdline ----------------------------------------------------------------------------------------------


def cmdline_changed(text: str, change: Edit) -> str:
    """The text with its one line changed; raises ByHand."""
    first, newline, rest = text.partition("\n")
    if rest.strip():
        raise ByHand("it has more than one line")
    if first.count('"') % 2:
        raise ByHand("a double quote is not closed")
    return f"{change(first)}{newline}{rest}"


def joined(text: str) -> str:
    """Several lines as one; raises ByHand if that would change their meaning."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if any(line.count('"') % 2 for line in lines):
        raise ByHand("a double quote is not closed")
    words = [word for line in lines for word in _ARGUMENT.findall(line)]
    if any(word.startswith(("#", ";")) for word in words):
        raise ByHand("one of its lines looks like a comment, and the file has no comments")
    if len({word for word in words if name_of(word) == "root"}) > 1:
        raise ByHand("its lines have different root=")
    return f"{' '.join(lines)}\n"


# -- modprobe.d and modules-load.d ------------------------------------------------------------------------------------


def lines_without(text: str, taken_out: Callable[[list[str]], str | None]) -> str:
    """The text with lines turned into comments. `taken_out` gets a line's words and returns what remains: '' nothing, None the whole line.

    Raises ByHand for a line that continues on the next one.
    """
    lines = text.split("\n")
    new = []
    for number, line in enumerate(lines):
        words = line.split()
        left = None if not words or words[0][0] in "#;" else taken_out(words)
        if left is None:
            new.append(line)
            continue
        if line.endswith("\\") or (number and lines[number - 1].endswith("\\")):
            raise ByHand(f"line {number + 1} is part of a longer one")
        new += [f"{MARK}{line}", *([left] if left else [])]
    return "\n".join(new)


def denies(module: str) -> Callable[[list[str]], str | None]:
    """Takes out the lines that keep a module from being loaded: blacklist, install (modprobe.d(5))."""
    return lambda words: "" if words[0] in ("blacklist", "install") and len(words) > 1 and words[1].replace("-", "_") == module else None


def sets(module: str, parameter: str, unwanted: Callable[[str], bool]) -> Callable[[list[str]], str | None]:
    """Takes out unwanted values of a module's parameter; other values, and other parameters, remain."""

    def taken_out(words: list[str]) -> str | None:
        if words[0] != "options" or len(words) < 2 or words[1].replace("-", "_") != module:
            return None
        left = words_without(words[2:], parameter, unwanted)
        if left == words[2:]:
            return None
        return " ".join((*words[:2], *left)) if left else ""

    return taken_out


def loads(module: str) -> Callable[[list[str]], str | None]:
    """Takes out the lines of modules-load.d(5) that load a module at boot."""
    return lambda words: "" if words[0].replace("-", "_") == module else None
