"""The bash completion: its logic stands in completion.bash, what it proposes comes from the parsers and the catalogue."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

from pvehooks.actions.backups import DIRECTORY
from pvehooks.cli.main import VERBS
from pvehooks.rules.catalogue import RULES
from scripts.docs import commandline
from scripts.docs.commandline import Argument
from scripts.docs.roff import NOTE

LOGIC = Path(__file__).with_name("completion.bash")
# What completion.bash proposes for a metavar.
KINDS = {
    "DIGEST": "digest",
    "DIR": "directory",
    "NAME": "node",
    "RULE": "rule",
    "VMID": "guest",
    "VMID|FILE": "guest-or-file",
    "WHAT": "host",
    "ADDRESS": "address",
    "FILE": "file",
    "NODE": "node",
    "STORAGE": "storage",
    "ACTION": "firmware",
    "ARGUMENT": "guest-or-file",
    "N": "none",
    "WHY": "none",
}


def make() -> str:
    """The file for bash-completion, which loads it by its name: pvehooks."""
    head = f"# bash completion for pvehooks(8). {NOTE}\n# shellcheck shell=bash\n"
    words = f"_pvehooks_verbs='{_words(VERBS)}'\n_pvehooks_rules='{_words(RULES)}'\n"
    logic = LOGIC.read_text(encoding="utf-8").replace("@BACKUPS@", DIRECTORY)
    return "\n".join((head, words, _options(), _values(), _arguments(), logic))


def _options() -> str:
    cases = [(name, _flags(arguments)) for name, arguments in commandline.verbs().items()]
    return _function("_pvehooks_options", "The options of a verb, or without one", "$1", [*cases, ("''", _flags(commandline.frame()))])


def _flags(arguments: Iterable[Argument]) -> str:
    return " ".join(argument.flags[-1] for argument in arguments if argument.flags)


def _values() -> str:
    every = {argument for arguments in commandline.verbs().values() for argument in arguments if argument.flags and argument.metavar}
    cases = sorted((" | ".join(argument.flags), KINDS[argument.metavar]) for argument in every)
    return _function("_pvehooks_value", "What an option's value is", "$1", cases)


def _arguments() -> str:
    """Which kind of argument a verb takes after so many others."""
    cases = []
    for name, arguments in commandline.verbs().items():
        for number, argument in enumerate(argument for argument in arguments if not argument.flags):
            pattern = f"{name}:*" if argument.many else f"{name}:{number}"
            cases.append((pattern, KINDS[argument.metavar]))
    return _function("_pvehooks_argument", "What a verb's next argument is: VERB, how many there are already", "$1:$2", cases)


def _function(name: str, purpose: str, subject: str, cases: Iterable[tuple[str, str]]) -> str:
    lines = [f"\t{pattern}) echo '{words}' ;;" for pattern, words in cases]
    return "\n".join((f"# {purpose}.", f"{name}() {{", f"\tcase {subject} in", *lines, "\tesac", "}", ""))


def _words(names: Iterable[str]) -> str:
    return textwrap.fill(" ".join(names), 100, break_long_words=False, break_on_hyphens=False)
