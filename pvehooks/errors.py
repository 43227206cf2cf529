"""Errors: trouble of the node or of the configuration, as opposed to findings (about a guest) and bugs (tracebacks).

Each error says what is wrong (message), what to do about it (hint) and with which status a command line ends.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_BLOCKED = 1
EXIT_USAGE = 2
EXIT_COULD_NOT_LOOK = 3
# Somebody typed Ctrl-C: 128 and the number of SIGINT, as a shell says it.
EXIT_INTERRUPTED = 130


class PvehooksError(Exception):
    """Base of all errors: caught once, in the program that runs."""

    exit_status = EXIT_COULD_NOT_LOOK

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(PvehooksError):
    """The command line or a settings file asks for something that does not exist."""

    exit_status = EXIT_USAGE


class SettingsError(UsageError):
    """A settings file that cannot be used; `problems` are whole lines, each naming file and line."""

    def __init__(self, problems: tuple[str, ...], hint: str = "") -> None:
        super().__init__("\n".join(problems), hint)
        self.problems = problems


class NodeError(PvehooksError):
    """The node (or the tree given by --root) cannot be looked at."""


class PmxcfsAway(NodeError):
    """pmxcfs does not answer, or takes nothing from us now: it does not run, is without quorum, or a record's lock is held."""


class GuestNotHere(PvehooksError):
    """The VMID is not one of this node's guests."""


class Refused(PvehooksError):
    """An action was not done, on purpose."""

    exit_status = EXIT_BLOCKED


class ActionFailed(PvehooksError):
    """An action was tried and did not do what it should have done."""

    exit_status = EXIT_BLOCKED
