"""Runs a command to its end, or to its limit whatever it has started and whatever it waits for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from pvehooks.host import CommandTrouble, Completed

# For a process to go that was killed. One that waits for a FUSE or a dead NFS in the kernel does not, and is left behind.
_KILLED_SECONDS = 1.0


def run(argv: Sequence[str], timeout: float, environment: Mapping[str, str], given: bytes | None = None) -> Completed:
    """Runs the command with what is `given` on standard input; raises CommandTrouble when it is missing or over its time, in seconds."""
    try:
        process = subprocess.Popen(  # noqa: SIM115, RUF100 - a with statement would wait for it without a limit
            argv,
            stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise CommandTrouble(f"{argv[0]} cannot be run: {error.strerror}") from error
    except ValueError as error:
        raise CommandTrouble(f"{argv[0]} cannot be run: {error}") from error
    try:
        out, err = process.communicate(given, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise CommandTrouble(f"{argv[0]} did not end within {timeout:.0f} s and was killed") from None
    finally:
        _end(process)
    return Completed(process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills what is left of it, and closes its pipes without reading them to their end: a grandchild may hold them for ever."""
    if process.poll() is None:
        os.killpg(process.pid, 9)
        try:
            process.wait(_KILLED_SECONDS)
        except subprocess.TimeoutExpired:
            pass
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
