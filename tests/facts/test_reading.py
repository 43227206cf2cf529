"""What readers make of files that cannot be read."""

from __future__ import annotations

from pathlib import Path

from pvehooks.facts import reading
from pvehooks.host import Host
from pvehooks.values import Unread
from tests.beds.tree import make_fake_tree


def test_what_is_there(tmp_path: Path) -> None:
    host = Host(str(make_fake_tree(tmp_path, {"d/b/x": "", "d/a": "text\n"})))
    assert reading.content_of(host, "/d/a") == b"text\n"
    assert reading.content_of(host, "/d/a", 1) == b"te"
    assert reading.optional_of(host, "/d/a") == b"text\n"
    assert reading.optional_of(host, "/d") == Unread("/d: Is a directory")
    assert reading.text_of(host, "/d/a") == "text"
    assert reading.listing_of(host, "/d") == reading.names_in(host, "/d") == ["a", "b"]
    assert reading.folders_in(host, "/d") == ["b"]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    host = Host(str(tmp_path))
    assert reading.content_of(host, "/d/a") == Unread("/d/a: No such file or directory")
    assert reading.listing_of(host, "/d") == Unread("/d: No such file or directory")
    assert reading.optional_of(host, "/d/a") == b""
    assert reading.text_of(host, "/d/a") == ""
    assert reading.names_in(host, "/d") == reading.folders_in(host, "/d") == []
