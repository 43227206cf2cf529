"""The bash completion: its logic is in completion.bash, its proposals come from the parsers and the catalogue of rules."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

from pvehooks.actions.backups import DIRECTORY
from pvehooks.actions.host.fixes import FIXES
from pvehooks.cli import parsers
from pvehooks.rules.catalogue import RULES
from scripts.docs import commandline
from scripts.docs.commandline import Argument
from scripts.docs.roff import NOTE

LOGIC = Path(__file__).with_name("completion.bash")
# What completion.bash proposes for a metavar, and what instead for that of one command.
KINDS = {
    "DIGEST": "digest",
    "DIR": "directory",
    "KERNEL": "kernel",
    "NAME": "node",
    "RULE": "rule",
    "VMID": "guest",
    "VMID|FILE": "guest-or-file",
    "VMID|UPID": "guest",
    "VOLID": "image",
    "ADDRESS": "address",
    "FILE": "file",
    "NODE": "node",
    "STORAGE": "storage",
    "N": "none",
    "NUMBER:SETTINGS": "none",
    "MAPPING": "none",
    "VMID|MAPPING": "guest",
    "WHY": "none",
}
NARROWER = {
    (("host", "fix"), "RULE"): "fixable",
    (("attach",), "VMID"): "passing",
    (("detach",), "VMID"): "guarded",
}


def make() -> str:
    """The file for bash-completion, which loads it by its name: pvehooks."""
    head = f"# bash completion for pvehooks(8). {NOTE}\n# shellcheck shell=bash\n"
    words = "".join(
        f"_pvehooks_{name}='{_words(those)}'\n"
        for name, those in (("verbs", [*parsers.names(), "help"]), ("rules", RULES), ("fixable", [rule for rule in RULES if rule in FIXES]))
    )
    logic = LOGIC.read_text(encoding="utf-8").replace("@BACKUPS@", DIRECTORY)
    return "\n".join((head, words, _actions(), _options(), _values(), _arguments(), logic))


def _actions() -> str:
    cases = [(verb, " ".join(parsers.names(verb))) for verb in parsers.names() if parsers.has_actions(verb)]
    return _function("_pvehooks_actions", "The actions of a verb that has some", "$1", cases)


def _commands() -> list[tuple[str, ...]]:
    """Every command that has a parser."""
    return [*((verb,) for verb in parsers.names() if parsers.has_actions(verb)), *parsers.commands()]


def _options() -> str:
    cases = [(_pattern(words), _flags(commandline.command(*words))) for words in _commands()]
    cases.append(("''", _flags(commandline.command())))
    return _function("_pvehooks_options", "The options of a verb, of a verb with its action, or without a verb", "$1", cases)


def _flags(arguments: Iterable[Argument]) -> str:
    return " ".join(argument.flags[-1] for argument in arguments if argument.flags)


def _values() -> str:
    every = {argument for words in _commands() for argument in commandline.command(*words) if argument.flags and argument.metavar}
    cases = sorted({(" | ".join(argument.flags), _choices(argument) or KINDS[argument.metavar]) for argument in every})
    return _function("_pvehooks_value", "What an option's value is", "$1", cases)


def _choices(argument: Argument) -> str:
    """A kind that is a list of words; '' for an argument that is not one of some words."""
    return "".join(f"={word}" for word in argument.choices)


def _arguments() -> str:
    """Which kind of argument a verb or action takes after so many others."""
    cases = []
    for words in parsers.commands():
        for number, argument in enumerate(argument for argument in commandline.command(*words) if not argument.flags):
            kind = NARROWER.get((words, argument.metavar), KINDS[argument.metavar])
            cases.append((_pattern(words, ":*" if argument.many else f":{number}"), kind))
    return _function("_pvehooks_argument", "What the next argument is: VERB or VERB ACTION, how many there are already", "$1:$2", cases)


def _pattern(words: tuple[str, ...], end: str = "") -> str:
    """A pattern of `case`; a blank would end it."""
    return "\\ ".join(words) + end


def _function(name: str, purpose: str, subject: str, cases: Iterable[tuple[str, str]]) -> str:
    lines = [f"\t{pattern}) echo '{words}' ;;" for pattern, words in cases]
    return "\n".join((f"# {purpose}.", f"{name}() {{", f"\tcase {subject} in", *lines, "\tesac", "}", ""))


def _words(names: Iterable[str]) -> str:
    return textwrap.fill(" ".join(names), 100, break_long_words=False, break_on_hyphens=False)
