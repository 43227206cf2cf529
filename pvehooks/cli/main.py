"""pvehooks: the command line's main function. The verbs are in commands/ and are imported when they are run."""

from __future__ import annotations

import argparse
import errno
import os
import sys

from pvehooks.cli import parsers, root
from pvehooks.errors import EXIT_COULD_NOT_LOOK, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, PvehooksError
from pvehooks.wording import printable

_AS_ROOT = "Run it as root."


def main(arguments: list[str] | None = None) -> int:
    """The program; returns the exit status."""
    _open_what_is_closed()
    _show_what_cannot_be_shown()
    try:
        return _run(parsers.parse(sys.argv[1:] if arguments is None else arguments))
    except SystemExit as end:
        # argparse raises this after --help, and for a wrong command line.
        return int(end.code or EXIT_OK)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    try:
        with root.unpacked(options):
            status = options.run(options)
            sys.stdout.flush()
        return EXIT_USAGE if options.broken_settings else int(status)
    except PvehooksError as error:
        for line in error.message.split("\n"):
            print(f"pvehooks: {printable(line)}", file=sys.stderr)
        hint = _AS_ROOT if _is_for_root(error) else error.hint
        if hint:
            print(f"  {printable(hint)}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        # The reader of a pipe has gone (head, less).
        _drop_output()
        return EXIT_OK
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"pvehooks: {where}{error.strerror or error}", file=sys.stderr)
        if _is_for_root(error):
            print(f"  {_AS_ROOT}", file=sys.stderr)
        _drop_output()
        return EXIT_COULD_NOT_LOOK


def _is_for_root(error: BaseException | None) -> bool:
    """Whether a user other than root lacks a permission. Root gets the same errors from pmxcfs without quorum."""
    if os.geteuid() == 0:
        return False
    denied = isinstance(error, PvehooksError) and os.strerror(errno.EACCES) in error.message
    while error is not None and not isinstance(error, PermissionError):
        error = error.__cause__ or error.__context__
    return denied or error is not None


def _open_what_is_closed() -> None:
    """Makes standard streams that the caller closed /dev/null: the files that are opened next would have their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _show_what_cannot_be_shown() -> None:
    """Shows characters that the locale's encoding does not have as \\uNNNN: a VM may have them in its name."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Discards what could not be written: Python would report the error again when it closes standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
