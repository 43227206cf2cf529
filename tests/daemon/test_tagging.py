"""When guests' tags are changed: what is found has held for a while, few times an hour, and none of it is an edit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pvehooks.actions.result import Outcome, Result
from pvehooks.daemon.jobs import TAG_HOLD, TAGS_PER_HOUR, JobResult
from pvehooks.daemon.review import Why
from pvehooks.host import Host
from pvehooks.rules import catalogue
from pvehooks.settings.load import checked
from tests.daemon.bed import OLD_META, uefi
from tests.daemon.parts import GUESTS, Parts

ON, WARN = "[gui]\ntags = on\n", "[rng]\nmode = warn\n"
BLOCKED, WARNING = "pvehooks-blocked", "pvehooks-warning"
# It has no finding; one with a device that the node does not have; one without an rng0.
FINE = "boot: order=scsi0\nmemory: 512\nname: a\nscsi0: local:100/vm-100-disk-0.qcow2,size=8G\n"
STOPPED = f"{FINE}hostpci0: 0000:01:00.0\nhookscript: local:snippets/pvehooks-guard\n"
WARNED = uefi("a")


class Clock:
    """The daemon's clock, which a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(Host, "monotonic", lambda self: clock.now)
    return clock


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Callable[..., Parts]:
    """Makes a node whose guest 100 was reviewed once."""

    def made(config: str, settings: str = ON + WARN) -> Parts:
        parts = Parts(tmp_path, {100: config}, settings)
        parts.review.review([100])
        parts.events()
        return parts

    return made


def tag_of(parts: Parts) -> str:
    lines = Path(parts.host.root, GUESTS, "100.conf").read_text().splitlines()
    (found,) = [line.removeprefix("tags: ") for line in lines if line.startswith("tags: ")] or [""]
    return found


def later(parts: Parts, clock: Clock, seconds: float) -> str:
    """The guest's tag, once so many seconds have passed, it was looked at again, and what was due is done."""
    clock.now += seconds
    parts.review.review([100], Why.FORCED)
    parts.work()
    return tag_of(parts)


@pytest.mark.parametrize(("config", "tag"), [(STOPPED, BLOCKED), (WARNED, WARNING), (FINE, "")], ids=["blocked", "warning", "nothing"])
def test_tagged_once_it_has_held(make: Callable[..., Parts], clock: Clock, config: str, tag: str) -> None:
    parts = make(config)
    assert parts.jobs.kept == []
    assert (parts.schedule.next() == TAG_HOLD) == bool(tag), "a review is due by then"
    assert later(parts, clock, TAG_HOLD - 1) == ""
    assert later(parts, clock, 1) == tag
    assert parts.events() == ["tagged 100"] * bool(tag)
    assert later(parts, clock, 1000) == tag and parts.events() == []


@pytest.mark.parametrize("settings", ["", "[gui]\ntags = off\n"])
def test_off_by_default(make: Callable[..., Parts], clock: Clock, settings: str) -> None:
    parts = make(STOPPED, settings + WARN)
    assert later(parts, clock, 10 * TAG_HOLD) == "" and parts.schedule.next() == float("inf")


@pytest.mark.parametrize("mode", ["enforce", "audit", "off"])
def test_with_any_mode_of_the_guard(make: Callable[..., Parts], clock: Clock, mode: str) -> None:
    """Whether the guard or Proxmox VE refuses it, or nothing does."""
    parts = make(STOPPED, f"{ON}[guard]\nmode = {mode}\n")
    assert later(parts, clock, TAG_HOLD) == BLOCKED


def test_a_template_has_none(make: Callable[..., Parts], clock: Clock) -> None:
    parts = make(STOPPED)
    assert later(parts, clock, TAG_HOLD) == BLOCKED
    parts.write(100, STOPPED + f"tags: {BLOCKED}\ntemplate: 1\n")
    later(parts, clock, 1)
    assert later(parts, clock, TAG_HOLD) == ""


def test_what_is_ignored_does_not_count(make: Callable[..., Parts], clock: Clock) -> None:
    parts = make(WARNED, f"{ON}{WARN}[guest 100]\nignore = rng-missing-netboot: no\n")
    assert later(parts, clock, TAG_HOLD) == ""


def test_gone_with_the_finding(make: Callable[..., Parts], clock: Clock) -> None:
    parts = make(STOPPED)
    later(parts, clock, TAG_HOLD)
    assert "tagged pvehooks-blocked for Proxmox VE's web interface. What was found: pvehooks check 100" in parts.messages()[0]
    parts.write(100, f"{FINE}tags: {BLOCKED}\n")
    assert later(parts, clock, 1) == BLOCKED
    assert later(parts, clock, TAG_HOLD) == ""
    assert parts.messages()[-1] == "VM 100 (a): its tag of pvehooks was taken away: nothing that it stands for is found any more"


def test_gone_at_once_when_it_is_switched_off(make: Callable[..., Parts], clock: Clock) -> None:
    parts = make(STOPPED)
    later(parts, clock, TAG_HOLD)
    switch(parts, "off")
    assert later(parts, clock, 0) == ""
    assert parts.messages()[-1] == "VM 100 (a): its tag of pvehooks was taken away: [gui] tags is off"
    assert later(parts, clock, 9 * TAG_HOLD) == ""


def switch(parts: Parts, how: str) -> None:
    Path(parts.host.root, "etc/pvehooks/pvehooks.conf").write_text(f"[gui]\ntags = {how}\n{WARN}")
    parts.settings.current = checked(parts.host, catalogue.RULES)


def test_what_flaps_writes_little(make: Callable[..., Parts], clock: Clock) -> None:
    """A finding that comes and goes each minute, and one that does every three minutes, for three hours."""
    parts = make(STOPPED)
    for period, most in ((60, 0), (180, 3 * TAGS_PER_HOUR)):
        written = 0
        for step in range(3 * 3600 // period):
            rest = f"tags: {tag_of(parts)}\n" * bool(tag_of(parts))
            parts.write(100, (FINE if step % 2 else STOPPED) + rest)
            before = tag_of(parts)
            later(parts, clock, 1)
            later(parts, clock, period - 1)
            written += tag_of(parts) != before
        assert written <= most and (written > 0) == (most > 0), period


def test_a_locked_guest_waits(make: Callable[..., Parts], clock: Clock) -> None:
    parts = make(STOPPED)
    parts.write(100, f"lock: backup\n{STOPPED}")
    later(parts, clock, 1)
    parts.messages()
    assert later(parts, clock, TAG_HOLD) == ""
    (vmid, _) = parts.scheduled[-1]
    assert vmid == 100
    assert parts.messages() == [
        "VM 100 (a): the tag pvehooks-blocked was not given yet: VM is locked (backup). It is tried again automatically"
    ]
    later(parts, clock, 2)
    assert parts.messages() == [], "it is said once"
    parts.write(100, STOPPED)
    assert later(parts, clock, 5) == BLOCKED


def test_what_is_refused_is_reported_once(make: Callable[..., Parts], clock: Clock) -> None:
    parts = make(f"{STOPPED}tags: web,prod\n")
    assert later(parts, clock, TAG_HOLD) == "web,prod"
    (message,) = parts.messages()
    assert message == (
        "VM 100 (a): the tag pvehooks-blocked was not given: Proxmox VE would write its tags anew, 'prod;web' in place of 'web,prod';"
        " have that done first: qm set 100 --tags 'prod;web'"
    )
    assert later(parts, clock, 10 * TAG_HOLD) == "web,prod" and parts.messages() == []
    parts.write(100, f"{STOPPED}tags: prod;web\n")
    later(parts, clock, 1)
    assert later(parts, clock, TAG_HOLD) == f"prod;{BLOCKED};web"


def test_what_was_refused_of_its_config_stays_refused(make: Callable[..., Parts], clock: Clock) -> None:
    """A tag is no change that would have an rng0 or the guard tried again."""
    parts = make(WARNED, ON)
    (job,) = parts.jobs.kept
    assert job.rng0_decision.due
    parts.jobs.kept = []
    parts.jobs.ended = [JobResult(job, Result(Outcome.DECLINED, "no"), None)]
    parts.results.collect()
    assert parts.events() == ["not-injected 100"]
    assert later(parts, clock, 0) == "" and parts.events() == ["finding 100"], "no rng0 follows now"
    assert later(parts, clock, TAG_HOLD) == WARNING and parts.events() == ["tagged 100"]
    assert later(parts, clock, 1) == WARNING and parts.events() == [], "nothing is tried"


def test_an_old_guest_stays_old(tmp_path: Path, clock: Clock) -> None:
    """No rng0 follows from a tag that comes and goes."""
    old = uefi("a").replace("meta: creation-qemu=10.0.2,ctime=4000000000", OLD_META)
    parts = Parts(tmp_path, {100: old}, ON)
    parts.baseline.update({})
    parts.review.review([100])
    assert parts.jobs.kept == [], "it is only warned about"
    assert later(parts, clock, TAG_HOLD) == WARNING
    assert later(parts, clock, 1) == WARNING
    assert "rng0" not in Path(parts.host.root, GUESTS, "100.conf").read_text()
    parts.write(100, f"{old}tags: {WARNING}\ncores: 3\n")
    parts.review.review([100])
    (job,) = parts.jobs.kept
    assert job.rng0_decision.due, "an edit is one"


def test_what_it_writes_to_pmxcfs(make: Callable[..., Parts], clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = make(STOPPED)
    counts: Counter[str] = Counter()
    replace = Host.replace

    def counted(self: Host, path: str, *rest: Any, **more: Any) -> None:
        replace(self, path, *rest, **more)
        counts[path] += path.startswith("/etc/pve/")

    monkeypatch.setattr(Host, "replace", counted)
    for _ in range(5):
        later(parts, clock, TAG_HOLD)
    config, record = f"/{GUESTS}/100.conf", "/etc/pve/pvehooks/guests/100.json"
    assert {path: count for path, count in counts.items() if count} == {config: 1, record: 2}
