"""Which of our tags a guest is to have in Proxmox VE's web interface, and which change of its tags that asks for."""

from __future__ import annotations

from pvehooks.values import Guest, Severity, StartVerdict, Verdict, guesttags
from pvehooks.values.guesttags import BLOCKED, WARNING


def wanted(verdict: Verdict, is_on: bool) -> str:
    """The tag that says what a start of the guest comes to, '' for none: while tags are off, of a template, of one without such a finding."""
    if not is_on or verdict.guest.template:
        return ""
    if verdict.start is not StartVerdict.WOULD:
        return BLOCKED
    counted = (item.finding for item in verdict.findings if not item.ignored and item.finding.examined)
    return WARNING if any(finding.severity is Severity.WARNING for finding in counted) else ""


def due(guest: Guest, tag: str, is_on: bool) -> str | None:
    """The tag that is to be the guest's only one of ours, '' for none; None where nothing is to be written. Raises RecordsUnavailable.

    What an administrator took away is not put back while the same tag is wanted. Without a record of it, a tag is no one's but the
    administrator's while tags are off.
    """
    config, given = guest.config, guest.given_tag
    if config is None:
        return None
    present = guesttags.ours(str(config.main.get(guesttags.OPTION, "")))
    if present == ([tag] if tag else []):
        return None
    if not present and given is not None and (given.value, given.state) == (tag, "done"):
        return None
    return None if present and not is_on and given is None else tag
