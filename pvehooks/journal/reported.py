"""What was reported already: a finding is reported when it appears, when it changes and when it is gone, not at every look."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence

from pvehooks.host import Host
from pvehooks.values import Finding
from pvehooks.values.base import NamedTuple

PATH = "/run/pvehooks/said.json"
_LIMIT = 16 << 20
# The key of findings about the node itself, which is no VMID.
OF_NODE = 0


class News(NamedTuple):
    """What is new about a guest; `gone` are (rule, subject)."""

    appeared: tuple[Finding, ...]
    gone: tuple[tuple[str, str], ...]


NOTHING = News((), ())


class Reported:
    """The checksums of what was reported, by VMID, then by rule and subject; kept over a restart of the daemon."""

    def __init__(self, stored: bytes = b"") -> None:
        self._sums: dict[int, dict[tuple[str, str], int]] = {}
        self._changed = False
        try:
            content = json.loads(stored or b"{}")
            for vmid, rows in content.items():
                self._sums[int(vmid)] = {(str(rule), str(subject)): int(checksum) for rule, subject, checksum in rows}
        except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
            self._sums.clear()

    @classmethod
    def load(cls, host: Host) -> Reported:
        """What the last daemon stored, nothing where that cannot be read."""
        try:
            return cls(host.read(PATH, limit=_LIMIT))
        except OSError:
            return cls()

    def store(self, host: Host) -> None:
        """Stores it for the next daemon, if it has changed since it was stored last."""
        if not self._changed:
            return
        self._changed = False
        rows = {str(vmid): [[*key, checksum] for key, checksum in sums.items()] for vmid, sums in self._sums.items()}
        try:
            host.make_dir(PATH.rpartition("/")[0])
            host.replace(PATH, json.dumps(rows, separators=(",", ":")).encode(), mode=0o600)
        except OSError:
            # Without it the next daemon only repeats what this one reported.
            return

    def news(self, vmid: int, findings: Sequence[Finding], held_back: Sequence[Finding] = (), identity: str = "") -> News:
        """Notes the guest's findings and returns what is new; another guest under the same VMID has another `identity`.

        `held_back` are findings that are not to be reported now: one that was reported before is not gone.
        """
        news, sums = self._compare(vmid, findings, held_back, identity)
        if news != NOTHING:
            self._changed = True
            if sums:
                self._sums[vmid] = sums
            else:
                self._sums.pop(vmid, None)
        return news

    def compare(self, vmid: int, findings: Sequence[Finding], held_back: Sequence[Finding] = (), identity: str = "") -> News:
        """As news(), but nothing is noted."""
        return self._compare(vmid, findings, held_back, identity)[0]

    def keys(self, vmid: int) -> list[tuple[str, str]]:
        """The rules and subjects of what was reported of the guest and is not gone."""
        return list(self._sums.get(vmid, ()))

    def _compare(
        self, vmid: int, findings: Sequence[Finding], held_back: Sequence[Finding], identity: str
    ) -> tuple[News, dict[tuple[str, str], int]]:
        before = self._sums.get(vmid)
        if not before and not findings:
            return NOTHING, {}
        before = before or {}
        now = {(finding.rule, finding.subject): finding for finding in findings}
        sums = {
            key: zlib.crc32(f"{identity} {finding.severity.value} {finding.message}".encode("utf-8", "replace"))
            for key, finding in now.items()
        }
        appeared = tuple(finding for key, finding in now.items() if before.get(key) != sums[key])
        sums |= {key: before[key] for finding in held_back if (key := (finding.rule, finding.subject)) in before}
        gone = tuple(key for key in before if key not in sums)
        return News(appeared, gone), sums

    def forget(self, vmid: int) -> None:
        """The guest is not on this node any more."""
        if self._sums.pop(vmid, None) is not None:
            self._changed = True

    def forget_others(self, here: frozenset[int]) -> None:
        """The guests that are not `here` are not on this node any more."""
        for vmid in self._sums.keys() - here - {OF_NODE}:
            self.forget(vmid)

    def count(self) -> int:
        """How many findings of guests stand."""
        return sum(len(sums) for vmid, sums in self._sums.items() if vmid != OF_NODE)
