"""The options and arguments of the programs' parsers, as values for the man page and the completion."""

from __future__ import annotations

import argparse
from functools import lru_cache
from typing import NamedTuple

from pvehooks.cli import parsers
from scripts.docs.roff import bold, escaped


class Argument(NamedTuple):
    """An argument or option: `flags` are empty for an argument, `metavar` for an option without a value.

    `optional`: the argument, or the option's value, may be missing; `many`: it may be repeated.
    """

    flags: tuple[str, ...]
    metavar: str
    help: str
    optional: bool
    many: bool
    choices: tuple[str, ...] = ()


def of(parser: argparse.ArgumentParser) -> tuple[Argument, ...]:
    """All that a parser takes, in its order."""
    # argparse has no public way to list them; its _actions are the same in all versions.
    return tuple(_argument(action) for action in parser._actions if action.help != argparse.SUPPRESS)


def _argument(action: argparse.Action) -> Argument:
    metavar = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
    assert action.help, f"{action.dest} has no help"
    help = "show a short help and end" if action.dest == "help" else str(action.help)
    help = "show the version and end" if action.dest == "version" else help
    return Argument(
        tuple(action.option_strings), metavar, help, action.nargs in ("*", "?"), action.nargs in ("*", "+"), (*(action.choices or ()),)
    )


@lru_cache
def command(*words: str) -> tuple[Argument, ...]:
    """What a verb or an action takes; without a word, what the program takes before a verb."""
    return of(parsers.parser(*words))


def own(*words: str) -> tuple[Argument, ...]:
    """The same without what all of them take."""
    return tuple(argument for argument in command(*words) if argument not in common())


@lru_cache
def common() -> tuple[Argument, ...]:
    """What all verbs take."""
    first, *others = (command(*words) for words in parsers.commands())
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
