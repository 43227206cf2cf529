"""What .vmlist lists: as pmxcfs writes it, and as any JSON."""

from __future__ import annotations

import json

import pytest

from pvehooks.errors import PmxcfsAway
from pvehooks.facts.cluster import pmxcfs
from tests.beds.pmxcfs.counters import Counters, Place

GUESTS = [(100, "pve1", 3), (101, "pve2", 9), (102, "pve10", 1)]


def written() -> bytes:
    """As pmxcfs writes it; 200 is a container."""
    counters = Counters(1)
    counters.guests = {vmid: (Place(node, "qemu"), version) for vmid, node, version in GUESTS} | {200: (Place("pve1", "lxc"), 4)}
    return counters.vmlist_text().encode()


@pytest.mark.parametrize("indent", [None, 1, 0], ids=["pmxcfs", "indented", "lines"])
def test_the_guests_of_the_cluster(indent: int | None) -> None:
    raw = written() if indent is None else json.dumps(json.loads(written()), indent=indent).encode()
    assert list(pmxcfs.listed_in(raw)) == GUESTS


def test_no_guests() -> None:
    assert list(pmxcfs.listed_in(Counters(1).vmlist_text().encode())) == []


@pytest.mark.parametrize("raw", [b"", written()[:90], written()[:-4], b"[1]"], ids=["empty", "cut off", "without its end", "no object"])
def test_half_a_list_is_none(raw: bytes) -> None:
    with pytest.raises(PmxcfsAway):
        list(pmxcfs.listed_in(raw))
    assert pmxcfs.lines_of(raw, "pve1") == ()


def test_the_lines_of_a_node() -> None:
    lines = pmxcfs.lines_of(written(), "pve1")
    assert [line.split(b'"')[1] for line in lines] == [b"100", b"200"]
    assert pmxcfs.lines_of(written().replace(b'"version": 9', b'"version": 10'), "pve1") == lines
    assert pmxcfs.lines_of(written().replace(b'"version": 3', b'"version": 4'), "pve1") != lines


@pytest.mark.parametrize("indent", [1, 0])
def test_other_lines_show_nothing(indent: int) -> None:
    """Then the whole list is taken apart each time."""
    assert pmxcfs.lines_of(json.dumps(json.loads(written()), indent=indent).encode(), "pve1") == ()
