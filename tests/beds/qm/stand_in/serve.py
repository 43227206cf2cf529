"""Calls of the stand-ins for PVE's Perl modules (tests/beds/qm/perl5), which start this once and send each as a line.

To {"argv": [...], "quiet": 0} it answers {"stdout", "stderr", "died", "pending", "raw"}: `died` are the words of an exception, `raw` is what is to be
spoken in place of an answer. A quiet call is none of its own: it is neither logged nor misbehaves.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from calls import Log
from guests import Failed, Guests
from misbehaviour import GARBAGE, Misbehaviour


def serve(bed: str, settings: dict[str, Any], run: Callable[[str, list[str], dict[str, Any], Misbehaviour], None]) -> NoReturn:
    """Answers until standard input ends; some orders of misbehaviour end it earlier."""
    log = Log(settings["log"])
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(_call(bed, request["argv"], bool(request.get("quiet")), log, settings, run)) + "\n")
        answers.flush()
    os._exit(0)


def _call(bed: str, argv: list[str], quiet: bool, log: Log, settings: dict[str, Any], run: Callable[..., None]) -> dict[str, Any]:
    sys.argv = ["qm", "", bed, *argv[1:]]
    log.call += 1
    misbehaviour = Misbehaviour({}) if quiet else Misbehaviour.take(settings["control"], argv[0], argv[1])
    if not quiet:
        log.start(argv)
    out, err = io.StringIO(), io.StringIO()
    died = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        if misbehaviour.is_garbage:
            return {"raw": GARBAGE.decode("latin-1")}
        status = misbehaviour.before()
        if status is None:
            status = 0
            try:
                run(argv[0], argv[1:], settings, misbehaviour)
            except Failed as failed:
                died, status = failed.words, failed.status
            if misbehaviour.after(status) != status:
                died = "the answer was lost"
        elif status:
            died, err = err.getvalue(), io.StringIO()
    if not quiet:
        log.write(event="end", status=status)
    return {"stdout": out.getvalue(), "stderr": err.getvalue(), "died": died, "pending": _pending(argv[1], settings) if quiet else {}}


def _pending(vmid: str, settings: dict[str, Any]) -> dict[str, str]:
    try:
        config, _ = Guests(settings["root"], settings["lock_timeout"]).load(vmid)
    except Failed:
        return {}
    return config.pending
