"""The guard's state for `check` and `status`: whether it refuses starts, which guests have it, and whose next start is allowed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

from pvehooks import judge, wording
from pvehooks.derived import attachment
from pvehooks.settings.effective import Settings
from pvehooks.values import Guest, Verdict

_MODES = {"audit": "findings that block are logged at a start, and do not refuse it", "off": "nothing is checked when a VM starts"}


def allowed(guest: Guest) -> dict[str, object] | None:
    """The override for the guest's next start: who gave it, why and when (epoch seconds); None without one."""
    return dict(guest.allowance._asdict()) if guest.config is not None and guest.allowance is not None else None


def guarded(guest: Guest, mode: str) -> bool | None:
    """Whether the guard refuses a harmful start of the guest; None for one that needs no guard."""
    return judge.guarded(guest, mode) if guest.config is not None and guest.needs_guard else None


def remarks(verdicts: Sequence[Verdict], settings: Settings) -> Iterator[str]:
    """Lines below the findings: for which guests a blocking finding would not refuse the start."""
    for verdict in verdicts:
        override = allowed(verdict.guest)
        if override is not None:
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(float(str(override["when"]))))
            by, reason = override["by"], override["reason"]
            yield f"{verdict.guest.label}: its next start is allowed whatever is found: {by} allowed it on {when} ({reason})"
    concerned = [verdict.guest for verdict in verdicts if verdict.guest.passes_through]
    for mode, meaning in _MODES.items():
        those = [guest.label for guest in concerned if settings.guard(guest.vmid).mode == mode]
        if those:
            whose = "" if len(those) == len(concerned) else f" for {wording.and_more(those)}"
            yield f"[guard] mode = {mode}{whose}: {meaning}"


def coverage(guests: Iterable[Guest]) -> tuple[list[Guest], list[Guest]]:
    """The guests with passed-through devices, and those of them that lack the guard."""
    passing = [guest for guest in guests if guest.passes_through]
    return passing, [guest for guest in passing if not attachment.attached(guest)]
