"""How many starts of guests with passed-through devices had which outcome since this node booted.

One file per outcome; its size is the count. The hookscript appends a byte, which needs neither a lock nor a read.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.host import Host

DIRECTORY = "/run/pvehooks/starts"
OUTCOMES = (
    # Nothing objected.
    PASSED := "passed",
    REFUSED := "refused",
    # Would have been refused without an override.
    ALLOWED := "allowed",
    # Would have been refused without [guard] mode = audit.
    AUDITED := "audited",
    # Could not be examined, and was started or refused.
    UNEXAMINED := "unexamined",
    UNEXAMINED_REFUSED := "unexamined-refused",
)


def count(host: Host, outcome: str) -> None:
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
    numbers = dict.fromkeys(OUTCOMES, 0)
    for outcome in OUTCOMES:
        try:
            numbers[outcome] = host.size(f"{DIRECTORY}/{outcome}")
        except OSError:
            continue
    return numbers
