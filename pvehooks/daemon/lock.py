"""The one daemon that may run, and the error with which its last start ended."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from pvehooks.errors import NodeError
from pvehooks.host import Host, Lock

INSTANCE_LOCK = "/run/pvehooks/pvehooksd.lock"
_ERROR_AT_START = "/run/pvehooks/not-started"


@contextlib.contextmanager
def only_one(host: Host) -> Iterator[None]:
    """Keeps all other daemons from running meanwhile; raises NodeError."""
    # `pvehooks status` holds it for an instant.
    lock: Lock = host.lock(INSTANCE_LOCK, timeout=0.5)
    try:
        lock.__enter__()
    except BlockingIOError:
        raise NodeError("another pvehooksd runs here already", hint="See: systemctl status pvehooks") from None
    except OSError as error:
        raise NodeError(f"{INSTANCE_LOCK}: {error.strerror}", hint="Run it as root.") from error
    try:
        yield
    finally:
        lock.__exit__()


def runs(host: Host) -> bool:
    """Whether a daemon holds the lock."""
    if not host.exists(INSTANCE_LOCK):
        return False
    try:
        with host.lock(INSTANCE_LOCK, timeout=0.0):
            return False
    except OSError:
        return True


def started(host: Host) -> None:
    """Forgets the error of the last start."""
    host.remove(_ERROR_AT_START)


def remember_failure(root: str, message: str) -> bool:
    """Whether the last start ended with the same error: systemd tries again every few seconds, until the file is fixed."""
    host = Host(root)
    try:
        if host.exists(_ERROR_AT_START) and host.read(_ERROR_AT_START) == message.encode():
            return True
        host.make_dir(os.path.dirname(_ERROR_AT_START))
        host.replace(_ERROR_AT_START, message.encode())
    except OSError:
        pass
    return False
