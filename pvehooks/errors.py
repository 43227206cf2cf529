"""Errors: trouble of the node or of the configuration, as opposed to findings (about a guest) and bugs (tracebacks).

Each error has a message (what is wrong), a hint (what to do about it) and the exit status of the command line.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_BLOCKED = 1
EXIT_USAGE = 2
EXIT_COULD_NOT_LOOK = 3
# Ctrl-C: 128 plus the number of SIGINT, as a shell reports it.
EXIT_INTERRUPTED = 130


class PvehooksError(Exception):
    """Base of all errors: caught once, by the program's main function."""

    exit_status = EXIT_COULD_NOT_LOOK

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(PvehooksError):
    """The command line or a settings file asks for something that does not exist."""

    exit_status = EXIT_USAGE


class SettingsError(UsageError):
    """A settings file that cannot be used; `problems` are whole lines of text, each with the file and its line number."""

    def __init__(self, problems: tuple[str, ...], hint: str = "") -> None:
        super().__init__("\n".join(problems), hint)
        self.problems = problems


class NodeError(PvehooksError):
    """The node (or the tree given by --root) cannot be read."""


class PmxcfsAway(NodeError):
    """pmxcfs does not answer, or a write to it is not possible now: it does not run, has no quorum, or a record's lock is held."""


class GuestNotHere(PvehooksError):
    """There is no guest with this VMID on this node."""


class Refused(PvehooksError):
    """An action was refused."""

    exit_status = EXIT_BLOCKED


class ActionFailed(PvehooksError):
    """An action was tried and failed."""

    exit_status = EXIT_BLOCKED
