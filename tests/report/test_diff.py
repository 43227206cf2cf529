"""What changed since the last report, and which files are no report."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvehooks.errors import UsageError
from pvehooks.report import diff
from tests.beds.tree import make_fake_tree
from tests.report import bed

FINDING = {
    "rule": "rule-a",
    "severity": "warning",
    "subject": "hostpci0",
    "message": "it is so",
    "remedy": "",
    "examined": True,
    "ignored": None,
}
GUEST = {"vmid": 100, "name": "web", "running": True, "template": False, "verdict": "allow", "findings": [FINDING]}
DEVICE = {"address": "0000:01:00.0", "words": "card", "driver": "igb", "guests": [], "uses": []}
BEFORE: dict[str, Any] = {
    "version": 1,
    "pvehooks": "1.0",
    "node": "pve1",
    "time": 1_700_000_000,
    "facts": {"kernel": "6.8", "memory": None},
    "groups": [{"group": "1", "devices": [DEVICE]}],
    "guests": [GUEST],
    "node_findings": [],
}


def difference(**now: Any) -> list[tuple[str, str, str, bool]]:
    """What differs where these keys are as given, as (headline, what, text, urgent)."""
    found = diff.compare(diff.former(BEFORE), diff.former({**BEFORE, **now}))
    assert found.since == BEFORE["time"]
    return [(each.headline, each.what, each.text, each.urgent) for each in found.items]


def device(**now: Any) -> list[dict[str, Any]]:
    return [{"group": now.pop("group", "1"), "devices": [{**DEVICE, **now}]}]


def guest(**now: Any) -> list[dict[str, Any]]:
    return [{**GUEST, **now}]


HOLDER = {"vmid": 100, "label": "VM 100 (web)", "option": "hostpci0", "running": True, "holds": True}
HOST_USE = {"use": "holds /", "vmid": None, "remark": False}
LABEL, CARD = "VM 100 (web)", "0000:01:00.0 (card)"


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param(
            {"facts": {"kernel": "6.11", "memory": "1 GiB"}}, [("changed node", "kernel", "6.11; before: 6.8", False)], id="kernel"
        ),
        pytest.param({"groups": None}, [], id="devices unread"),
        pytest.param({"groups": []}, [("device gone", CARD, "it was in group 1", False)], id="device gone"),
        pytest.param({"groups": device(group="2")}, [("changed device", CARD, "now in group 2, before in group 1", False)], id="group"),
        pytest.param(
            {"groups": device(group=None)}, [("changed device", CARD, "now in no group, before in group 1", False)], id="no group"
        ),
        pytest.param(
            {"groups": device(driver=None)}, [("changed device", CARD, "now on no driver, before on driver igb", False)], id="driver"
        ),
        pytest.param(
            {"groups": device(words="disk")}, [("changed device", "0000:01:00.0 (disk)", "another device; before: card", False)], id="other"
        ),
        pytest.param(
            {"groups": device(guests=[HOLDER], uses=[HOST_USE])},
            [("changed device", CARD, "now used by VM 100 and the host, before by nothing", False)],
            id="used",
        ),
        pytest.param({"groups": device(guests=[{**HOLDER, "holds": False}], uses=[{**HOST_USE, "remark": True}])}, [], id="not used"),
        pytest.param({"guests": []}, [("VM gone", LABEL, "not on this node any more", False)], id="guest gone"),
        pytest.param({"guests": guest(name="")}, [("changed VM", "VM 100", "before: VM 100 (web)", False)], id="renamed"),
        pytest.param(
            {"guests": guest(verdict="block")}, [("changed VM", LABEL, "now would not start, before would start", True)], id="blocked"
        ),
        pytest.param({"guests": guest(findings=[])}, [("finding gone", LABEL, "warning: it is so [rule-a]", False)], id="finding gone"),
        pytest.param({"guests": guest(findings=[{**FINDING, "message": "it is so, 7 times"}])}, [], id="other words"),
        pytest.param(
            {"guests": guest(findings=[{**FINDING, "ignored": "never mind"}])},
            [("changed finding", LABEL, "now ignored, before warning: it is so [rule-a]", False)],
            id="ignored",
        ),
        pytest.param(
            {"node_findings": [{**FINDING, "severity": "block"}]},
            [("new finding", "pve1", "block: it is so [rule-a]", True)],
            id="of the node",
        ),
    ],
)
def test_what_differs(now: dict[str, Any], expected: list[tuple[str, str, str, bool]]) -> None:
    assert difference(**now) == expected


def test_urgent_things_come_first() -> None:
    new = {**GUEST, "vmid": 101, "name": "", "verdict": "block", "findings": [{**FINDING, "severity": "block"}]}
    found = difference(facts={"kernel": "7"}, guests=[new])
    assert [each[:2] for each in found] == [
        ("new VM", "VM 101"),
        ("new finding", "VM 101"),
        ("changed node", "kernel"),
        ("VM gone", LABEL),
    ]


BROKEN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.lists(st.integers(), max_size=2), st.just({})
)


def paths(value: Any) -> list[tuple[Any, ...]]:
    """The places in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(), *((key, *rest) for key, each in items for rest in paths(each))]


@settings(max_examples=300)
@given(st.data())
def test_a_broken_report_is_refused_or_read(data: st.DataObject) -> None:
    """One place of a report holds something else: never anything but UsageError."""
    document = copy.deepcopy(BEFORE)
    *way, last = data.draw(st.sampled_from(paths(document)[1:]))
    inner: Any = document
    for key in way:
        inner = inner[key]
    inner[last] = data.draw(BROKEN)
    try:
        read = diff.read(json.dumps(document).encode(), "FILE")
    except UsageError as error:
        assert error.message.startswith("FILE is ")
    else:
        diff.compare(read, diff.former(BEFORE))


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[" * 100_000, b"[]", b"7", b"{}", b'{"version": 2}', b'{"version": true}', b"\x00"])
def test_no_report(raw: bytes) -> None:
    with pytest.raises(UsageError, match="FILE is"):
        diff.read(raw, "FILE")


def test_since_a_report(tmp_path: Path) -> None:
    tree = bed.plant("well", tmp_path / "tree")
    former = tmp_path / "former.json"
    former.write_text(bed.report(tree, "--json"))
    assert json.loads(bed.report(tree, "--json", "--since", str(former)))["changes"]["items"] == []
    assert "Nothing changed since the last report" in bed.report(tree, "--html", "-", "--since", str(former))
    make_fake_tree(tree, {f"{bed.CONFIGS}/110.conf": "name: fresh\nhostpci0: 02:00\n"})
    text = bed.report(tree, "--since", str(former))
    assert "- **new VM**: VM 110 (fresh): must not start" in text
    assert '<span class="soft small"><svg class="i"' in bed.report(tree, "--html", "-", "--since", str(former))


def test_since_what_is_no_report(tmp_path: Path) -> None:
    tree = bed.plant("empty", tmp_path / "tree")
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**BEFORE, "node": "pve7"}))
    assert "is a report of pve7, not of pve1" in bed.report(tree, "--since", str(other), status=2)
    assert "No such file or directory" in bed.report(tree, "--since", str(tmp_path / "absent"), status=3)
    other.write_text("hello")
    assert "is not JSON" in bed.report(tree, "--since", str(other), status=2)


def test_the_last_report_of_a_tree(tmp_path: Path) -> None:
    """It is read there, as a copy of a node has it, and never written."""
    tree = bed.plant("empty", tmp_path / "tree")
    state = tree / "var/lib/pvehooks/report.json"
    bed.report(tree, "--html", str(tmp_path / "a.html"))
    assert not state.exists()
    make_fake_tree(tree, {"var/lib/pvehooks/report.json": json.dumps({**BEFORE, "guests": []})})
    assert "## What changed since 2023-11-14 22:13 UTC" in bed.report(tree)
    for content, why in (("{", "is not JSON"), (json.dumps({**BEFORE, "node": "pve7"}), "was of pve7, which is another node")):
        state.write_text(content)
        assert why in bed.report(tree, "--html", "-")
        assert json.loads(bed.report(tree, "--json"))["changes"] is None
