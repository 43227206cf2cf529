"""How many starts of guests with passed-through devices had which outcome since this node booted.

One file per outcome; its size is the count. The hookscript appends a byte, which needs neither a lock nor a read.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from pvehooks.host import Host

    Outcome = Literal["passed", "refused", "allowed", "audited", "unexamined", "unexamined-refused"]

DIRECTORY = "/run/pvehooks/starts"
# Nothing objected.
PASSED: Outcome = "passed"
REFUSED: Outcome = "refused"
# Would have been refused without an override.
ALLOWED: Outcome = "allowed"
# Would have been refused without [guard] mode = audit.
AUDITED: Outcome = "audited"
# Could not be examined, and was started or refused.
UNEXAMINED: Outcome = "unexamined"
UNEXAMINED_REFUSED: Outcome = "unexamined-refused"
OUTCOMES = (PASSED, REFUSED, ALLOWED, AUDITED, UNEXAMINED, UNEXAMINED_REFUSED)


def count(host: Host, outcome: Outcome) -> None:
    """Counts one start. Raises nothing: a start matters more than its count."""
    path = f"{DIRECTORY}/{outcome}"
    try:
        try:
            host.append(path, b".")
        except FileNotFoundError:
            host.make_dir(DIRECTORY)
            host.append(path, b".")
    except OSError:
        return


def counts(host: Host) -> dict[str, int]:
    """The number of starts by outcome, 0 for one whose file cannot be read."""
    numbers: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
    for outcome in OUTCOMES:
        try:
            numbers[outcome] = host.size(f"{DIRECTORY}/{outcome}")
        except OSError:
            continue
    return numbers
