"""The parsers of the program, of its verbs and of their actions, each made when it is needed.

A verb is a module in commands/, with SUMMARY, EXAMPLE, `arguments` and `run`. A verb with actions is a package there, with a module of
that kind for each action; GROUPS of a package only sets the order in which the help lists its modules.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from types import ModuleType

from pvehooks import __version__
from pvehooks.errors import EXIT_USAGE
from pvehooks.wording import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, TypeVar

    Made = TypeVar("Made", bound="Parser")

_COMMANDS = "pvehooks.cli.commands"
_OF_VERBS = ("--json", "--root", "--node")


def module(*words: str) -> ModuleType:
    """The module of a verb (`check`), of an action (`host`, `fix`), or of the program itself (no word)."""
    return importlib.import_module(".".join((_COMMANDS, *map(_module_name, words))))


def has_actions(*words: str) -> bool:
    """Whether another word has to follow: the program takes a verb, and some verbs take an action."""
    return hasattr(module(*words), "__path__")


def names(*words: str) -> tuple[str, ...]:
    """The verbs, or the actions of a verb, in the order of the help."""
    return tuple(name for _, group in groups(*words) for name in group)


def groups(*words: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The same in groups: (headline, names). A module that GROUPS does not name is in the last one."""
    # Imports typing and more, which only the help needs.
    import pkgutil

    package = module(*words)
    rest = {each.name.rstrip("_") for each in pkgutil.iter_modules(package.__path__)}
    for number, (headline, listed) in enumerate(package.GROUPS.items(), 1):
        rest -= set(listed)
        yield headline, (*listed, *(sorted(rest) if number == len(package.GROUPS) else ()))


def commands() -> tuple[tuple[str, ...], ...]:
    """All commands: ("check",), ("host", "fix"), ..."""
    found: list[tuple[str, ...]] = []
    for verb in names():
        found += [(verb, name) for name in names(verb)] if has_actions(verb) else [(verb,)]
    return tuple(found)


def summary(*words: str) -> str:
    """Its summary, as a sentence."""
    text = str(module(*words).SUMMARY)
    return f"{text[0].upper()}{text[1:]}."


class Parser(argparse.ArgumentParser):
    """A parser whose messages do not depend on Python's version or on the terminal."""

    def error(self, message: str) -> NoReturn:
        """Ends the program after printing the usage and the message."""
        self.print_usage(sys.stderr)
        print(f"{self.prog}: {printable(message)}", file=sys.stderr)
        raise SystemExit(EXIT_USAGE)

    def read(self, words: Sequence[str], options: argparse.Namespace) -> None:
        """Parses the words into the options; options and arguments may be mixed."""
        self.require_known(words)
        _, left = self.parse_known_intermixed_args(list(words), options)
        for word in left:
            self.error(f"there is no option '{word}'" if word.startswith("-") else f"'{word}' is one argument too many")

    def require_known(self, words: Iterable[str]) -> None:
        """Ends the program at an unknown long option, before its value is taken for an argument."""
        known = [flag for action in self._actions for flag in action.option_strings]
        for word in words:
            flag = word.partition("=")[0]
            if flag == "--":
                return
            # A word with a blank is a value, for argparse as well.
            if flag.startswith("--") and " " not in word and not any(each.startswith(flag) for each in known):
                self.error(f"there is no option '{flag}'{did_you_mean(flag, known)}")


class _Branch(Parser):
    """The parser of the program, or of a verb with actions: the verbs or actions are in the help, which imports them all."""

    words: tuple[str, ...]

    def read(self, words: Sequence[str], options: argparse.Namespace) -> None:
        """Takes its own options, and leaves the verb or action with all that follows in `options.words`."""
        ahead = list(itertools.takewhile(lambda word: word.startswith("-"), words))
        flags = [word.partition("=")[0] for word in ahead]
        early = next((flag for flag in flags if not self.words and flag in _OF_VERBS), "")
        if early:
            self.error(f"{early} stands behind the verb: pvehooks VERB {early}")
        self.require_known(ahead)
        self.parse_args(list(words), options)

    def format_help(self) -> str:
        """The help with the list."""
        self.description = f"{summary(*self.words)}\n\n{listed(*self.words)}"
        return super().format_help()


def parser(*words: str) -> Parser:
    """The parser of a verb or an action; without a word that of the program."""
    made = _with_actions(words) if has_actions(*words) else _of_command(words)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made._positionals.title = "arguments"
    made.usage = " ".join((made.prog.replace("%", "%%"), "[options]", *_shown(made)))
    return made


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The options of the command, among them `run`, its function. Ends the program with EXIT_USAGE if the words name no command."""
    options = argparse.Namespace()
    path: tuple[str, ...] = ()
    while has_actions(*path):
        made = parser(*path)
        options.words = None
        made.read(words, options)
        if not options.words:
            _end_with_list(made, path)
        name, *words = options.words
        if name == "help":
            words = [*words, "--help"]
            continue
        if not is_there(*path, name):
            _end_unknown(name, path)
        path = (*path, name)
    parser(*path).read(words, options)
    return options


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown word: a proposal, '' without one."""
    from pvehooks.settings.table import nearest

    meant = nearest(word, known)
    return f"; did you mean '{meant}'?" if meant else ""


def listed(*words: str) -> str:
    """The verbs, or the actions of a verb, a line each below their headlines."""
    found = []
    for headline, group in groups(*words):
        lines = [f"  {name:<9} {module(*words, name).SUMMARY}" for name in group]
        found.append("\n".join((f"{headline}:", *lines)))
    return "\n\n".join(found)


def _module_name(word: str) -> str:
    """`import` is a keyword: no module can have that name."""
    return f"{word}_" if word == "import" else word


def is_there(*words: str) -> bool:
    """Whether there is such a verb or action; it is not loaded."""
    name = words[-1]
    if not name.isidentifier() or name != name.strip("_"):
        return False
    return find_spec(".".join((_COMMANDS, *words[:-1], _module_name(name)))) is not None


def _made(kind: type[Made], words: tuple[str, ...], epilog: str) -> Made:
    return kind(
        prog=" ".join(("pvehooks", *words)),
        description=summary(*words),
        epilog=epilog,
        # Each new argument has one made, which loads shutil for the width of the terminal, unless it knows one.
        formatter_class=partial(argparse.HelpFormatter, width=80),
        add_help=False,
    )


def _of_command(words: tuple[str, ...]) -> Parser:
    command = module(*words)
    made = _made(Parser, words, f"Example: {command.EXAMPLE}")
    command.arguments(made)
    _take_common(made)
    made.set_defaults(run=command.run, capture="", broken_settings="")
    return made


def _with_actions(words: tuple[str, ...]) -> Parser:
    command = module(*words)
    kind = "ACTION" if words else "VERB"
    epilog = f"Example: {command.EXAMPLE}\nHelp for {'an action' if words else 'a verb'}: pvehooks {' '.join((*words, kind))} --help"
    made = _made(_Branch, words, epilog)
    made.words = words
    # Required; if it is missing, the list is printed.
    made.add_argument("words", metavar=f"{kind} ...", nargs=argparse.PARSER, help=argparse.SUPPRESS).required = False
    if words:
        _take_common(made)
    else:
        _take_help(made)
        made.add_argument("--version", action="version", version=f"pvehooks {__version__}", help="show the version and end")
    return made


def _take_help(made: Parser) -> None:
    made.add_argument("-h", "--help", action="help", help="show this help and end")


def _take_common(made: Parser) -> None:
    _take_help(made)
    made.add_argument("--json", action="store_true", help="print JSON")
    made.add_argument("--root", default="/", metavar="DIR", help="read the tree below DIR, or a capture, instead of this node")
    made.add_argument("--node", default="", metavar="NAME", help="the node to read (default: this one)")


def _shown(made: Parser) -> Iterator[str]:
    """The arguments as the usage shows them."""
    for action in made._actions:
        if not action.option_strings:
            many = " ..." if action.nargs in ("*", "+") else ""
            yield f"[{action.metavar}{many}]" if action.nargs in ("*", "?") else f"{action.metavar}{many}"


def _end_with_list(made: Parser, path: tuple[str, ...]) -> NoReturn:
    made.print_usage(sys.stderr)
    print(f"\n{listed(*path)}\n\n{made.epilog}", file=sys.stderr)
    raise SystemExit(EXIT_USAGE)


def _end_unknown(name: str, path: tuple[str, ...]) -> NoReturn:
    program, kind = " ".join(("pvehooks", *path)), "action" if path else "verb"
    print(f"{program}: there is no {kind} '{printable(name)}'{did_you_mean(name, (*names(*path), 'help'))}", file=sys.stderr)
    print(f"All {kind}s: {program} --help", file=sys.stderr)
    raise SystemExit(EXIT_USAGE)
