"""The stand-in for `qm`: run by the small script that Qm.install puts on PATH, as `__main__.py BED ARGUMENT...`.

BED is the directory that holds its settings, its log and what it is to do wrong.
"""

from __future__ import annotations

import json
import os
import sys
import time
from io import TextIOWrapper
from typing import Any, NoReturn

import config
import formats
import serve
from calls import Log
from guests import Failed, Guests
from misbehaviour import Misbehaviour
from verbs import SetCall, invalid, parse_arguments, show_config, show_help, show_list, show_pending, show_status


def _read_settings(bed: str) -> dict[str, Any]:
    try:
        with open(f"{bed}/settings.json", encoding="utf-8") as file:
            settings: dict[str, Any] = json.load(file)
    except FileNotFoundError:
        settings = {}
    environment = os.environ.get
    return {
        "root": environment("PVEHOOKS_BED_ROOT", settings.get("root", "")),
        "log": environment("PVEHOOKS_BED_QM_LOG", f"{bed}/log.jsonl"),
        "control": environment("PVEHOOKS_BED_QM_CONTROL", f"{bed}/misbehaviour.json"),
        "newer_options": settings.get("newer_options", []),
        "loading": float(settings.get("loading", 0.0)),
        "release": settings.get("release", "9.2"),
        "lock_timeout": float(environment("PVEHOOKS_BED_QM_LOCK_TIMEOUT", settings.get("lock_timeout", 10.0))),
    }


def _run(verb: str, words: list[str], settings: dict[str, Any], misbehaviour: Misbehaviour) -> None:
    formats.STRINGS.update(settings["newer_options"])
    config.Age.is_old = settings["release"] == "8.2"
    if verb == "help":
        show_help(words)
        return
    if verb not in ("set", "config", "pending", "status", "list"):
        raise Failed(f"ERROR: unknown command 'qm {verb}'", 255)
    guests = Guests(settings["root"], settings["lock_timeout"])
    if verb == "list":
        show_list(guests)
        return
    vmid, options = parse_arguments(verb, words)
    if verb == "set":
        if "current" in options:
            raise invalid(verb, {"current": "property is not defined in schema"})
        SetCall(guests, vmid, options, misbehaviour.between).run()
    elif verb == "config":
        show_config(guests, vmid, options)
    elif verb == "pending":
        show_pending(guests, vmid)
    else:
        show_status(guests, vmid)


def main() -> NoReturn:
    """One call, or `serve`: calls of the stand-ins for PVE's modules, one a line."""
    bed, arguments = sys.argv[1], sys.argv[2:]
    if arguments == ["serve"]:
        serve.serve(bed, _read_settings(bed), _run)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="latin-1")  # configs are bytes: they go out as they came
    settings = _read_settings(bed)
    log = Log(settings["log"])
    log.start(arguments)
    while time.process_time() < settings["loading"]:
        pass
    verb, words = (arguments[0] if arguments else "help"), arguments[1:]
    misbehaviour = Misbehaviour.take(settings["control"], verb, words[0] if words else "")
    status = misbehaviour.before()
    if status is None:
        status = 0
        try:
            _run(verb, words, settings, misbehaviour)
        except Failed as failed:
            sys.stdout.flush()
            sys.stderr.write(failed.words + "\n")
            status = failed.status
        status = misbehaviour.after(status)
    sys.stdout.flush()
    sys.stderr.flush()
    log.write(event="end", status=status)
    os._exit(status)


main()
