"""What was said already: a finding is said when it appears, when it changes and when it is gone, not at every look."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pvehooks.values import Finding

# (rule, subject) -> checksum of the message and severity
Said = Mapping[tuple[str, str], int]


class News(NamedTuple):
    """What is to be said of a guest now; `gone` are (rule, subject)."""

    appeared: tuple[Finding, ...]
    gone: tuple[tuple[str, str], ...]


_NOTHING = News((), ())


class Ledger:
    """What was said, by VMID. `changed` tells whether it differs from what was last stored."""

    def __init__(self, stored: bytes = b"") -> None:
        self._said: dict[int, dict[tuple[str, str], int]] = {}
        self.changed = False
        try:
            content = json.loads(stored or b"{}")
            for vmid, rows in content.items():
                self._said[int(vmid)] = {(str(rule), str(subject)): int(checksum) for rule, subject, checksum in rows}
        except (ValueError, TypeError, AttributeError):
            self._said.clear()

    def stored(self) -> bytes:
        """What the next process needs to know, as JSON; marks the ledger as unchanged."""
        self.changed = False
        rows = {str(vmid): [[*key, checksum] for key, checksum in said.items()] for vmid, said in self._said.items()}
        return json.dumps(rows, separators=(",", ":")).encode()

    def news(self, vmid: int, findings: Sequence[Finding], unsaid: Sequence[Finding] = (), identity: str = "") -> News:
        """Notes the guest's findings and returns what is new; another guest under the same VMID has another `identity`.

        `unsaid` are those that stand but are not to be said now: one that was said before is not gone.
        """
        before = self._said.get(vmid)
        if not before and not findings:
            return _NOTHING
        before = before or {}
        now = {(finding.rule, finding.subject): finding for finding in findings}
        sums = {
            key: zlib.crc32(f"{identity} {finding.severity.value} {finding.message}".encode("utf-8", "replace"))
            for key, finding in now.items()
        }
        appeared = tuple(finding for key, finding in now.items() if before.get(key) != sums[key])
        sums |= {key: before[key] for finding in unsaid if (key := (finding.rule, finding.subject)) in before}
        gone = tuple(key for key in before if key not in sums)
        if appeared or gone:
            self.changed = True
            if sums:
                self._said[vmid] = sums
            else:
                self._said.pop(vmid, None)
        return News(appeared, gone)

    def forget(self, vmid: int) -> None:
        """The guest is gone; nothing more is to be said of it."""
        if self._said.pop(vmid, None) is not None:
            self.changed = True

    def guests(self) -> set[int]:
        """The VMIDs of which something was said."""
        return set(self._said)

    def count(self) -> int:
        """How many findings of guests stand; what is said of the node stands under 0."""
        return sum(len(said) for vmid, said in self._said.items() if vmid)
