"""pvehooks: the command line's frame. Verbs are modules of this package, imported when they are asked for."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import NamedTuple, NoReturn

from pvehooks import __version__
from pvehooks.cli import root
from pvehooks.errors import EXIT_COULD_NOT_LOOK, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, PvehooksError
from pvehooks.report.words import printable

VERBS = {
    "check": "what is wrong with the guests of this node, and what to do about it",
    "explain": "why a rule is there, what is known, and what to do",
    "rules": "all rules, a line each",
    "report": "the whole picture of this node as a file: HTML, Markdown or JSON",
    "status": "whether the daemon runs, what it found and what it gave",
    "guest": "how Proxmox VE reads a guest's config",
    "config": "the settings in force, and where each comes from",
    "capture": "all that the rules read of this node in one file, for bug reports and tests",
    "inject": "give guests the rng0 they lack",
    "undo": "take back the rng0 that pvehooks gave a guest",
    "attach": "give guests with passed-through devices the guard",
    "detach": "take the guard out of guests, and put their own hookscripts back",
    "allow": "let a guest's next start go through, whatever the guard finds",
    "trust": "accept the devices that a guest would start with now",
    "firmware": "give guests a UEFI firmware image of their own",
    "backups": "the configs kept before they were changed",
    "host": "whether the node itself is ready for passthrough, and what to do about it",
    "bind": "give PCI devices to vfio-pci by address, now or at every boot",
    "unbind": "give PCI devices back to the host's drivers",
}
# What stands in the help before the verb.
_HEADINGS = {
    "check": "To look, and change nothing",
    "inject": "A guest's start, and what it is given",
    "host": "This node and its devices",
}


class Verb(NamedTuple):
    """A verb as the man page and the frame need it: its parser, complete with an example."""

    name: str
    parser: argparse.ArgumentParser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(EXIT_USAGE)


def verb_parser(name: str) -> argparse.ArgumentParser:
    """The parser of a verb, made by its module's `arguments`."""
    module = importlib.import_module(f"pvehooks.cli.commands.{name}")
    parser = _Parser(
        prog=f"pvehooks {name}",
        description=f"{VERBS[name][0].upper()}{VERBS[name][1:]}.",
        epilog=f"Example: {module.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--root", default="/", metavar="DIR", help="look at the tree below DIR, or at a capture, instead of this node")
    parser.add_argument("--node", default="", metavar="NAME", help="the node to look at (default: this one)")
    parser.set_defaults(run=module.run)
    return parser


def frame_parser() -> argparse.ArgumentParser:
    """The parser of the command without a verb."""
    verbs = "".join((f"\n{_HEADINGS[name]}:\n" if name in _HEADINGS else "") + f"  {name:<9} {text}\n" for name, text in VERBS.items())
    parser = _Parser(
        prog="pvehooks",
        description="Passed-through devices and entropy of Proxmox VE's guests: what is wrong, why it matters, and how to mend it.",
        epilog=f"{verbs[1:]}\nExample: pvehooks check\nHelp for a verb: pvehooks VERB --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pvehooks {__version__}")
    parser.add_argument("verb", metavar="VERB", help="what to do, see below")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The program; returns the exit status."""
    try:
        return _start(arguments)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _start(arguments: list[str] | None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    frame = frame_parser()
    if not words or words[0].startswith("-"):
        frame.parse_args(words)
    name = words[0]
    if name not in VERBS:
        from pvehooks.settings import nearest

        meant = nearest(name, list(VERBS))
        print(f"pvehooks: there is no verb '{printable(name)}'" + (f"; did you mean '{meant}'?" if meant else ""), file=sys.stderr)
        print("All verbs: pvehooks --help", file=sys.stderr)
        return EXIT_USAGE
    return _run(verb_parser(name).parse_intermixed_args(words[1:]))


def _run(options: argparse.Namespace) -> int:
    try:
        with root.unpacked(options):
            status = options.run(options)
            sys.stdout.flush()
        return int(status)
    except PvehooksError as error:
        for line in error.message.splitlines():
            print(f"pvehooks: {printable(line)}", file=sys.stderr)
        if error.hint:
            print(f"  {printable(error.hint)}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        # The reader of a pipe has gone (head, less).
        _drop_output()
        return EXIT_OK
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        root = "; run it as root" if isinstance(error, PermissionError) else ""
        print(f"pvehooks: {where}{error.strerror or error}{root}", file=sys.stderr)
        _drop_output()
        return EXIT_COULD_NOT_LOOK


def _drop_output() -> None:
    """What could not be written is let go: Python would complain once more when it closes standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
