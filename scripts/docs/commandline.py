"""What the programs' own parsers take, as values for the man page and the completion."""

from __future__ import annotations

import argparse
import re
from functools import lru_cache
from typing import NamedTuple

from pvehooks.cli.main import VERBS, frame_parser, verb_parser
from scripts.docs.roff import bold, escaped

# In a help that tells of several words: "check: look whether ...; import FILE: put ...".
_WORD = re.compile(r"([a-z]+(?: \[?[A-Z]+(?:\.\.\.)?\]?)*): ")


class Argument(NamedTuple):
    """An argument or option: `flags` are empty for an argument, `metavar` for an option without a value.

    `optional` tells whether the argument, or the option's value, may be missing; `many`, whether it may be repeated.
    """

    flags: tuple[str, ...]
    metavar: str
    help: str
    optional: bool
    many: bool


def of(parser: argparse.ArgumentParser) -> tuple[Argument, ...]:
    """All that a parser takes, in its order."""
    # argparse has no public way to list them; its _actions are the same in all versions.
    return tuple(_argument(action) for action in parser._actions)


def _argument(action: argparse.Action) -> Argument:
    metavar = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
    assert action.help, f"{action.dest} has no help"
    help = "show a short help and end" if action.dest == "help" else str(action.help)
    help = "show the version and end" if action.dest == "version" else help
    return Argument(tuple(action.option_strings), metavar, help, action.nargs in ("*", "?"), action.nargs in ("*", "+"))


def verbs() -> dict[str, tuple[Argument, ...]]:
    """What each verb takes."""
    return {name: _verb(name, summary) for name, summary in VERBS.items()}


@lru_cache
def _verb(name: str, summary: str) -> tuple[Argument, ...]:
    return of(verb_parser(name))


def frame() -> tuple[Argument, ...]:
    """What the command takes before a verb."""
    return tuple(argument for argument in of(frame_parser()) if argument.flags)


def common() -> tuple[Argument, ...]:
    """What all verbs take."""
    first, *others = verbs().values()
    return tuple(argument for argument in first if all(argument in other for other in others))


def tag(argument: Argument) -> str:
    """The argument as the term of a list, in roff."""
    value = _value(argument)
    if not argument.flags:
        return value
    flags = ", ".join(bold(flag) for flag in argument.flags)
    return f"{flags} {value}" if value else flags


def usage(argument: Argument) -> str:
    """The argument as it stands in a synopsis, in roff."""
    if argument.flags:
        value = _value(argument)
        return f"[{bold(argument.flags[-1])}{f' {value}' if value else ''}]"
    shown = _value(argument) + ("..." if argument.many else "")
    return f"[{shown}]" if argument.optional else shown


def _value(argument: Argument) -> str:
    if not argument.metavar:
        return ""
    shown = "|".join(f"\\fI{escaped(word)}\\fR" for word in argument.metavar.split("|"))
    return f"[{shown}]" if argument.flags and argument.optional else shown


def sentence(text: str) -> str:
    """A parser's help as a sentence."""
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def sentences(text: str) -> list[str]:
    """A parser's help; where it tells of several words, a sentence for each, with what is to be typed in backticks before it."""
    if not _WORD.match(text):
        return [sentence(text)]
    clauses = re.split(f"; (?={_WORD.pattern.replace('(', '(?:', 1)})", text)
    return [sentence(_WORD.sub(r"`\1`: ", clause, count=1)) for clause in clauses]
