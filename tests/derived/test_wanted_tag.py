"""Which tag a verdict asks for, and which change of the tags that is."""

from __future__ import annotations

import pytest

from pvehooks.derived import wanted_tag
from pvehooks.formats import guestconfig
from pvehooks.values import Finding, GivenTag, Guest, Judged, Rng0Decision, Severity, StartVerdict, Verdict
from pvehooks.values.guesttags import BLOCKED, WARNING


class Tagged(Guest):
    """A guest with these tags and this record."""

    def __init__(self, tags: str = "", given: GivenTag | None = None, is_readable: bool = True) -> None:
        config = guestconfig.parse(f"tags: {tags}\n".encode() if tags else b"memory: 512\n") if is_readable else None
        super().__init__(100, "pve1", config, (("config-unreadable", "no"),), running=False)
        self._given = given

    @property
    def given_tag(self) -> GivenTag | None:
        return self._given


def verdict(start: StartVerdict, *findings: Judged) -> Verdict:
    return Verdict(Tagged(), start is not StartVerdict.WOULD, findings, Rng0Decision(False, None, ""), start=start)


WARNED = Judged(Finding("a", "b", severity=Severity.WARNING), "")


@pytest.mark.parametrize(
    ("judged", "tag"),
    [
        (verdict(StartVerdict.WOULD_NOT), BLOCKED),
        (verdict(StartVerdict.MUST_NOT, WARNED), BLOCKED),
        (verdict(StartVerdict.WOULD, WARNED), WARNING),
        (verdict(StartVerdict.WOULD, WARNED._replace(ignored="why not")), ""),
        (verdict(StartVerdict.WOULD, Judged(WARNED.finding._replace(examined=False), "")), ""),
        (verdict(StartVerdict.WOULD, Judged(WARNED.finding._replace(severity=Severity.INFO), "")), ""),
        (verdict(StartVerdict.WOULD), ""),
    ],
)
def test_wanted(judged: Verdict, tag: str) -> None:
    assert wanted_tag.wanted(judged, is_on=True) == tag
    assert wanted_tag.wanted(judged, is_on=False) == ""


DONE, WRITING = GivenTag(BLOCKED, "done", 1), GivenTag(BLOCKED, "writing", 1)


@pytest.mark.parametrize(
    ("tags", "given", "tag", "is_on", "due"),
    [
        ("", None, BLOCKED, True, BLOCKED),
        ("", DONE, BLOCKED, True, None),
        ("", WRITING, BLOCKED, True, BLOCKED),
        ("", DONE, WARNING, True, WARNING),
        ("", DONE, "", True, None),
        (BLOCKED, DONE, BLOCKED, True, None),
        (f"{BLOCKED};{WARNING}", DONE, BLOCKED, True, BLOCKED),
        (BLOCKED, None, "", True, ""),
        (BLOCKED, None, "", False, None),
        (BLOCKED, WRITING, "", False, ""),
    ],
)
def test_due(tags: str, given: GivenTag | None, tag: str, is_on: bool, due: str | None) -> None:
    assert wanted_tag.due(Tagged(tags, given), tag, is_on) == due


def test_a_config_that_cannot_be_read() -> None:
    assert wanted_tag.due(Tagged(is_readable=False), BLOCKED, is_on=True) is None
