"""Tags of guests as Proxmox VE stores them, and ours among them."""

from __future__ import annotations

import pytest

from pvehooks.values.guesttags import TagStyle, ours, split, stored, style, without_ours


@pytest.mark.parametrize(
    ("datacenter", "found"),
    [
        ("", TagStyle()),
        ("keyboard: de\n", TagStyle()),
        ("tag-style: ordering=config\n", TagStyle(is_sorted=False)),
        ("tag-style: case-sensitive=1,shape=full,ordering=alphabetical\r\n", TagStyle(keeps_case=True)),
        ("  tag-style:\tcase-sensitive=Yes , ordering=config", TagStyle()),
        ("tag-style: shape=full\ntag-style: ordering=config\n", TagStyle(is_sorted=False)),
        ("# tag-style: ordering=config\nmy-tag-style: ordering=config\n", TagStyle()),
    ],
)
def test_style(datacenter: str, found: TagStyle) -> None:
    """Proxmox VE takes no value with blanks in it; the last line counts."""
    assert style(datacenter) == found


@pytest.mark.parametrize(
    ("value", "default", "in_order", "with_case"),
    [
        ("", "", "", ""),
        (";", "", "", ""),
        ("b;a", "a;b", "b;a", "a;b"),
        ("B, a;;A\tb", "a;b", "b;a", "A;B;a;b"),
        ("web pvehooks-blocked", "pvehooks-blocked;web", "web;pvehooks-blocked", "pvehooks-blocked;web"),
    ],
)
def test_stored(value: str, default: str, in_order: str, with_case: str) -> None:
    styles = (TagStyle(), TagStyle(is_sorted=False), TagStyle(keeps_case=True))
    assert tuple(stored(split(value), each) for each in styles) == (default, in_order, with_case)


@pytest.mark.parametrize(
    ("value", "found", "rest"),
    [
        ("", [], ""),
        ("a, b", [], "a, b"),
        ("pvehooks-blocked", ["pvehooks-blocked"], ""),
        ("a;pvehooks-warning;b", ["pvehooks-warning"], "a;b"),
        ("pvehooks-warning,pvehooks-blocked", ["pvehooks-warning", "pvehooks-blocked"], ""),
        ("pvehooks-blocked-not;my-pvehooks-blocked;PVEHOOKS-BLOCKED", [], "pvehooks-blocked-not;my-pvehooks-blocked;PVEHOOKS-BLOCKED"),
    ],
)
def test_ours(value: str, found: list[str], rest: str) -> None:
    assert (ours(value), without_ours(value)) == (found, rest)
