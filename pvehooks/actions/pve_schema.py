"""Records what this node's Proxmox VE declares, read by libexec/pve-schema in a process of its own."""

from __future__ import annotations

import json
import os

import pvehooks
from pvehooks.actions import qm, stubs
from pvehooks.facts.node import pveschema
from pvehooks.host import CommandTrouble, Host

# It loads most of Proxmox VE's Perl code: a second or two.
_TIMEOUT = 60.0


def record(host: Host) -> str:
    """Records it, with the packages that it is of; why it could not, '' if it did."""
    of = pveschema.marks(host)
    try:
        done = host.run([_path(host)], timeout=_TIMEOUT)
    except CommandTrouble as trouble:
        return str(trouble)
    try:
        answer = json.loads(done.stdout)
        options, troubles = answer.get("options"), answer["troubles"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        words = qm.first_words(done.stderr)
        return f"pve-schema ended with status {done.status}{f': {words}' if words else ''}"
    if not options:
        return f"Proxmox VE's code cannot be loaded: {qm.first_words(str(troubles.get('options', '')))}"
    content = json.dumps(pveschema.document_of(answer, of), sort_keys=True).encode() + b"\n"
    try:
        host.make_dir(os.path.dirname(pveschema.PATH), 0o700)
        host.replace(pveschema.PATH, content, mode=0o600)
    except OSError as error:
        return f"{pveschema.PATH}: {error.strerror}"
    return ""


def _path(host: Host) -> str:
    """That of this checkout, else of the package."""
    here = f"{os.path.dirname(os.path.dirname(pvehooks.__file__))}/libexec/pve-schema"
    return here if host.exists(here) else f"{stubs.LIBEXEC}/pve-schema"
