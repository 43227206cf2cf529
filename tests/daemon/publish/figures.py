"""Statistics as the daemon fills them, and the file as Prometheus' own client reads it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pvehooks.daemon.stats import CountedFinding, GuestStats, Stats
from pvehooks.guard.counters import OUTCOMES
from pvehooks.values import Severity

Labels = dict[str, str]


def counted(rule: str, severity: Severity = Severity.WARNING, ignored: bool = False, examined: bool = True) -> CountedFinding:
    return CountedFinding(rule, severity, ignored, examined)


def guest(label: str, *findings: CountedFinding, passes_through: bool = False, guarded: bool = False) -> GuestStats:
    blocked = any(each.severity is Severity.BLOCK and not each.ignored for each in findings)
    return GuestStats(label, False, blocked, passes_through, guarded, findings)


def stats(**guests: GuestStats) -> Stats:
    """A stats of guests by v100=..., of a daemon that has looked."""
    made = Stats()
    made.guests = {int(name[1:]): one for name, one in guests.items()}
    made.began, made.watched = 1_700_000_000, 1_700_000_060
    return made


def no_starts(**more: int) -> dict[str, int]:
    return {**dict.fromkeys(OUTCOMES, 0), **more}


def samples(content: bytes) -> dict[str, list[tuple[Labels, float]]]:
    """Name -> labels and number of each sample; HELP and TYPE of each metric must be there."""
    found: dict[str, list[tuple[Labels, float]]] = {}
    for family in text_string_to_metric_families(content.decode()):
        assert family.documentation and family.type in ("gauge", "counter"), family
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def number(content: bytes, name: str, **labels: str) -> float:
    """The one sample with just these labels."""
    (found,) = [value for its, value in samples(content)[name] if its == labels]
    return found


def promtool(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Runs the promtool that scripts/install-promtool found."""
    program = os.environ.get("PVEHOOKS_PROMTOOL")
    if program is None:
        pytest.fail("promtool could not be had from Debian's mirror, and with CI=true it must", pytrace=False)
    done = subprocess.run([program, *arguments], input=stdin, capture_output=True, timeout=60, check=False, cwd=Path(__file__).parent)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
