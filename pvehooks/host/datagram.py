"""Sends a datagram to a socket of the system without waiting for ever (unix(7))."""

from __future__ import annotations

import errno
import fcntl
import os
import socket

# systemd's own clients ask for as much.
_BUFFER = 8 << 20
# What journald asks of an entry that is too large for a datagram, and comes as a file (systemd's JOURNAL_NATIVE_PROTOCOL).
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def send(path: str, message: bytes, patience: float) -> None:
    """Sends it, as a sealed file if it is too large. Raises OSError, BlockingIOError or TimeoutError if it is not taken within `patience` (s)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        sender.settimeout(patience)
        # Of a socket that is not connected, poll(2) does not know whether the other one is full.
        sender.connect(path)
        try:
            sender.send(message)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            _send_file(sender, message)


def _send_file(sender: socket.socket, content: bytes) -> None:
    descriptor = os.memfd_create("message", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        socket.send_fds(sender, [b""], [descriptor])
    finally:
        os.close(descriptor)
