"""How often starts of guests with passed-through devices came to what, since this node booted.

A file an outcome, as long as its number: the hookscript adds a byte, and needs neither a lock nor to read.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.host import Host

DIRECTORY = "/run/pvehooks/starts"
# Nothing spoke against it; refused; refused but for a person's word; but for [guard] mode = audit; not examined: goes on, refused.
PASSED, REFUSED, ALLOWED, AUDITED, UNEXAMINED, UNEXAMINED_REFUSED = OUTCOMES = (
    "passed",
    "refused",
    "allowed",
    "audited",
    "unexamined",
    "unexamined-refused",
)


def count(host: Host, outcome: str) -> None:
    """One more. Raises nothing: a start matters more than its count."""
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
    """The numbers by outcome; what cannot be told counts as none."""
    numbers = dict.fromkeys(OUTCOMES, 0)
    for outcome in OUTCOMES:
        try:
            numbers[outcome] = host.size(f"{DIRECTORY}/{outcome}")
        except OSError:
            continue
    return numbers
