"""A finding is news when it appears, changes or is gone; over a restart as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.host import Host
from pvehooks.journal.reported import OF_NODE, PATH, News, Reported
from pvehooks.values import Finding, Severity


def finding(message: str = "it is bad", rule: str = "a-rule", subject: str = "net0") -> Finding:
    return Finding(subject, message, "", Severity.WARNING, rule)


KEY = ("a-rule", "net0")


def test_news_once() -> None:
    reported = Reported()
    assert reported.news(100, [finding()]) == News((finding(),), ())
    assert reported.news(100, [finding()]) == News((), ())
    assert reported.news(100, [finding("it is worse")]) == News((finding("it is worse"),), ())
    assert reported.count() == 1
    assert reported.news(100, []) == News((), (KEY,))
    assert reported.news(100, []) == News((), ()) and reported.count() == 0


def test_a_finding_that_is_held_back_is_neither_new_nor_gone() -> None:
    reported = Reported()
    assert reported.news(100, [], [finding()]) == News((), ())
    assert reported.news(100, [finding()]) == News((finding(),), ())
    assert reported.news(100, [], [finding()]) == News((), ())
    assert reported.news(100, [finding()]) == News((), ())


def test_another_guest_under_the_same_number() -> None:
    reported = Reported()
    reported.news(100, [finding()], identity="one")
    assert reported.news(100, [finding()], identity="two").appeared == (finding(),)


def test_who_is_not_here_is_forgotten_but_for_the_node() -> None:
    reported = Reported()
    for vmid in (OF_NODE, 100, 101):
        reported.news(vmid, [finding()])
    assert reported.count() == 2
    reported.forget_others(frozenset((101,)))
    assert reported.count() == 1
    assert reported.news(OF_NODE, [finding()]) == News((), ())
    assert reported.news(100, [finding()]).appeared


def test_the_next_daemon_knows_it(tmp_path: Path) -> None:
    host = Host(str(tmp_path))
    first = Reported.load(host)
    first.store(host)
    assert not Path(host.root + PATH).exists(), "there is nothing to be known"
    first.news(100, [finding()])
    first.store(host)
    assert Reported.load(host).news(100, [finding()]) == News((), ())
    Path(host.root + PATH).unlink()
    first.store(host)
    assert not Path(host.root + PATH).exists(), "nothing has changed"


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"x": []}', b'{"100": [[1]]}', b'{"100": 5}', b"\xff"])
def test_a_broken_file_is_as_none(content: bytes) -> None:
    assert Reported(content).news(100, [finding()]).appeared == (finding(),)


def test_a_node_that_cannot_store_it_goes_on(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("no directory")
    reported = Reported()
    reported.news(100, [finding()])
    reported.store(Host(str(tmp_path)))
    assert reported.news(100, [finding()]) == News((), ())
