"""Calls qm, and classifies the result by its output.

Its exit statuses are leftovers of errno; only standard error distinguishes the outcomes (seen with qemu-server 8.0 to 9.2).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pvehooks.actions.result import Outcome, Result
from pvehooks.host import CommandTrouble, Completed, Host
from pvehooks.values.base import NamedTuple

# qm itself waits 10 s for the guest's lock, and starts in half a second on an idle node.
TIMEOUT = 60.0


# In the order in which they are tried; the first match gives the outcome.
_SITUATIONS = (
    # qemu-server before 8.2.5 misspells it.
    (Outcome.CHANGED, r"checksum miss?match|detected modified configuration"),
    (Outcome.LOCKED, r"VM is locked|can't lock file|got timeout"),
    (Outcome.GONE, r"Configuration file '.*' does not exist"),
    (Outcome.WAITING, r"ipcc_send_rec|Connection refused|cluster not ready|no quorum|Unable to load access control list"),
    (
        Outcome.WAITING,
        r"unable to open file '/etc/pve/.*' - (?:Permission denied|Transport endpoint is not connected|No such file or directory)",
    ),
    (Outcome.WAITING, r"Transport endpoint is not connected|Read-only file system"),
    (
        Outcome.REFUSED,
        r"400 Parameter verification failed|400 unable to parse option|Unknown option:|only root can set|Permission check failed",
    ),
)


def classify(completed: Completed) -> Result:
    """The result of a qm call."""
    words = first_words(completed.stderr) or first_words(completed.stdout)
    if completed.status == 0:
        return Result(Outcome.DONE, words)
    outcome = situation(completed.stderr)
    if outcome is not None:
        return Result(outcome, words)
    how = f"was killed by signal {-completed.status}" if completed.status < 0 else f"ended with status {completed.status}"
    return Result(Outcome.BROKEN, f"qm {how}" + (f": {words}" if words else " without a message"))


def situation(words: str) -> Outcome | None:
    """What PVE's words say, whichever of its programs prints them; None if they are not known."""
    return next((outcome for outcome, pattern in _SITUATIONS if re.search(pattern, words)), None)


def first_words(text: str) -> str:
    """The lines that matter, on one line, without the usage that qm adds."""
    lines = [line.strip() for line in text.split("\n") if line.strip() and not line.startswith(("qm ", "trying to acquire"))]
    return " / ".join(lines)[:400]


def change(host: Host, vmid: int, arguments: Sequence[str], digest: str) -> Result:
    """`qm set VMID ARGUMENTS --digest DIGEST`; an empty digest would disable qm's check and raises ValueError."""
    if not re.fullmatch(r"[0-9a-f]{40}", digest):
        raise ValueError(f"no digest to change VM {vmid} with: {digest!r}")
    try:
        return classify(host.run(["qm", "set", str(vmid), *arguments, "--digest", digest], timeout=TIMEOUT))
    except CommandTrouble as trouble:
        return Result(Outcome.BROKEN, str(trouble))


class Config(NamedTuple):
    """What `qm config --current` reads from the live part: the options, and its warnings about lines that it cannot read."""

    options: dict[str, str]
    complaints: tuple[str, ...]


def config(host: Host, vmid: int) -> Config | Result:
    """The live part as PVE reads it, or the result of a failed call."""
    try:
        completed = host.run(["qm", "config", str(vmid), "--current"], timeout=TIMEOUT)
    except CommandTrouble as trouble:
        return Result(Outcome.BROKEN, str(trouble))
    if completed.status != 0:
        return classify(completed)
    options = dict(line.split(": ", 1) for line in completed.stdout.split("\n") if ": " in line)
    # All warnings of parse_vm_config begin like this; others (of plugins, of user.cfg) do not concern this config.
    complaints = tuple(line.strip() for line in completed.stderr.split("\n") if line.startswith(f"vm {vmid} - "))
    return Config(options, complaints)
