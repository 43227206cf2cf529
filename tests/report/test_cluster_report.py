"""All nodes of a cluster on one page: by what they publish, how old that is, and what is not known of whom."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pvehooks.cli import cluster_report
from pvehooks.facts.cluster import summaries
from pvehooks.formats import summary as text
from pvehooks.report.fleet import KINDS, kind_of
from tests.beds.tree import make_fake_tree
from tests.report import bed, cluster_bed
from tests.report.test_hostile import harmless, read

Golden = Callable[[str, str], None]
_TIMES = re.compile(r"\d+ days ago|20\d\d-\d\d-\d\d[T ]\d\d:\d\d(?::\d\dZ| UTC)|\d+ \w+ 20\d\d, \d\d:\d\d UTC")
_TIME_ATTRIBUTE = re.compile(r'(?<=datetime=")[^"]*')


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cluster_bed.plant(tmp_path_factory.mktemp("cluster") / "tree", hostile=False)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cluster_bed.plant(tmp_path_factory.mktemp("hostile") / "tree")


def timeless(page: str) -> str:
    page = _TIMES.sub("WHEN", _TIME_ATTRIBUTE.sub("WHEN", page))
    # The frame around it is that of all pages.
    return re.sub(r"(?<=>)(?=<(?!/))", "\n", page[page.index("<main>") :]) if page.startswith("<!DOCTYPE") else page


def document(tree: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bed.report(tree, "--cluster", "--json"))
    return found


def figures(tree: Path, node: str) -> dict[str, Any]:
    (found,) = (each["figures"] for each in document(tree)["nodes"] if each["node"] == node)
    assert found is not None
    return dict(found)


@pytest.mark.parametrize(
    ("form", "name"), [("--html", "html.txt"), ("--markdown", "markdown"), ("--summary", "summary"), ("--json", "json")]
)
def test_golden(form: str, name: str, tree: Path, golden: Golden) -> None:
    page = bed.report(tree, "--cluster", form, *(["-"] if form != "--json" else []))
    golden(f"report/cluster.{name}", timeless(page))


def test_each_figure_has_an_age_or_a_reason(tree: Path) -> None:
    for node in document(tree)["nodes"]:
        if node["figures"] is None:
            assert node["why"], node
            continue
        unknown = node["figures"]["unknown"]
        assert node["figures"]["as_of"] in (cluster_bed.OLD, cluster_bed.NEW)
        assert {name for name, value in node["figures"].items() if value is None and name != "next_kernel"} == unknown.keys() - {
            "next_kernel"
        }
        assert all(unknown.values())


def test_an_older_node_publishes_less_and_that_is_shown(tree: Path) -> None:
    found = figures(tree, cluster_bed.OLDER)
    assert found["kernel"] is None and found["unknown"]["kernel"] == "not published by pvehooks 0.0.9 on that node"
    assert found["guest_count"] == 12 and len(found["free_devices"]) == 8
    assert "not published by pvehooks 0.0.9 on that node" in bed.report(tree, "--cluster", "--html", "-")


def test_where_is_a_free_graphics_card(tree: Path) -> None:
    cards = {
        node["node"]: [device for device in node["figures"]["free_devices"] if device["kind"] == "graphics card"]
        for node in document(tree)["nodes"]
        if node["figures"] and node["figures"]["free_devices"] is not None
    }
    assert {name: len(found) for name, found in cards.items()} == {"pve1": 0, "pve2": 1, "pve4": 1, "pve6": 1}
    assert cards["pve6"][0]["beside"] == ["NVIDIA GA102 High Definition Audio Controller [10de:1aef]"], "its sound goes with it"
    assert cards["pve2"][0]["named"] == ["VM 320 (spare)"], "a template does not count"
    assert bed.report(tree, "--cluster", "--html", "-").count("graphics card free") == 1


@pytest.mark.parametrize(
    ("code", "kind"), [(0x030000, 0), (0x030200, 0), (0x020000, 1), (0x010802, 2), (0x010601, 3), (0x0C0330, 4), (0x0C0500, 5), (-1, 5)]
)
def test_kinds(code: int, kind: int) -> None:
    assert kind_of(code) == KINDS[kind]


def test_vms_that_start_on_the_same_nodes_are_one_line(tree: Path) -> None:
    starts = {guest["vmid"]: {each["node"]: each["start"] for each in guest["targets"]} for guest in document(tree)["starts"]}
    assert 321 not in starts, "a template"
    assert starts[100]["pve2"] == "would start" and starts[103]["pve2"] == "must not start" and starts[102]["pve2"] == "would not start"
    assert starts[300] == starts[311] and starts[300][cluster_bed.BROKEN] == "not known"
    assert "12 VMs: 300-311, now on pve2" in bed.report(tree, "--cluster", "--markdown")


def test_of_too_many_vms_those_with_devices_are_asked_about(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_report, "_MOST_ANSWERS", 7 * 6)
    found = document(tree)
    # Six of seven: the template is asked about, and not shown.
    assert sorted(guest["vmid"] for guest in found["starts"]) == [100, 102, 103, 104, 320]
    assert found["starts_left_out_count"] == 13
    assert "13 VMs more: pvehooks check --target NODE" in bed.report(tree, "--cluster", "--html", "-")


def test_the_newest_summaries_hold_more_and_broken_ones_nothing(tmp_path: Path) -> None:
    tree = cluster_bed.plant(tmp_path / "tree", hostile=False)
    file = tree / summaries.path("pve2")[1:]
    newer = json.loads(file.read_bytes())
    newer["details"]["weather"] = newer["climate"] = {"rain": [None]}
    file.write_text(json.dumps(newer))
    assert figures(tree, "pve2")["pve"] == "8.4.1"
    file.write_bytes(b"[" * (1 << 13))
    assert f"{summaries.path('pve2')} is no JSON" in bed.report(tree, "--cluster", "--markdown").replace("\\", "")
    file.write_bytes(b"x" * (text.LIMIT + 1))
    assert "is larger than any summary" in bed.report(tree, "--cluster", "--html", "-")


def test_a_node_alone_has_a_page_too(tmp_path: Path) -> None:
    tree = make_fake_tree(bed.plant("empty", tmp_path / "tree"), {"etc/pve/.members": '{"nodename": "pve1", "version": 1}'})
    page = bed.report(tree, "--cluster", "--html", "-")
    assert "There is no other node, or no VM." in page and "it does not have pvehooks" in page


def test_wrong_use(tree: Path, tmp_path: Path) -> None:
    assert "--since is for the report on one node" in bed.report(tree, "--cluster", "--since", "x.json", status=2)


@pytest.mark.parametrize("form", [["--html", "-"], ["--markdown"], ["--summary"], ["--json"]], ids=" ".join)
def test_nothing_that_a_node_publishes_is_markup(form: list[str], hostile: Path) -> None:
    page = bed.report(hostile, "--cluster", *form)
    harmless(page)
    assert "alert(1)" in page, "what it publishes is shown"
    assert not re.search(r"<(script|img|svg/)", page) or form in (["--json"], ["--summary"])


def test_the_summary_fits_a_mail(tree: Path, hostile: Path) -> None:
    for each in (tree, hostile):
        lines = bed.report(each, "--cluster", "--summary").splitlines()
        assert len(lines) < 120 and lines[0].startswith("pvehooks in cluster house: "), lines[0]
        assert [line for line in lines if len(line) > 72 and not line.startswith(" " * 8) and " " in line.strip()] == []


def test_what_is_the_same_of_many_nodes_is_one_line(tmp_path: Path) -> None:
    members = {"nodename": "pve1", "version": 1, "nodelist": {f"pve{number}": {"id": number, "online": 1} for number in range(1, 31)}}
    tree = make_fake_tree(bed.plant("empty", tmp_path / "tree"), {"etc/pve/.members": json.dumps(members)})
    summary = bed.report(tree, "--cluster", "--summary")
    assert "30 of 30 nodes need attention" in " ".join(summary.split()) and summary.count("apt install pvehooks") == 1
    assert "and 22 more: it does not have pvehooks" in " ".join(summary.split())


def test_what_html_holds(hostile: Path) -> None:
    found = read(bed.report(hostile, "--cluster", "--html", "-"))
    for tag_name, attribute, value in found.attributes:
        assert not attribute.startswith("on") and attribute not in ("style", "src", "srcset", "action"), (tag_name, attribute)
        if attribute == "href":
            assert value == "data:," or re.fullmatch(r"#[\w-]+", value), value
    anchors = [value for _, attribute, value in found.attributes if attribute == "id"]
    assert len(set(anchors)) == len(anchors), "ids are unique"
    assert {value[1:] for _, attribute, value in found.attributes if attribute == "href" and value[0] == "#"} <= set(anchors)


def test_a_hostile_node_is_bounded(tmp_path: Path) -> None:
    """What a node may make the page say: its own part of it, no more than its summary has room for."""
    hostile = cluster_bed.plant(tmp_path / "tree")
    with_it = len(bed.report(hostile, "--cluster", "--html", "-"))
    (hostile / summaries.path(cluster_bed.HOSTILE)[1:]).unlink()
    without = len(bed.report(hostile, "--cluster", "--html", "-"))
    assert with_it - without < 4 * text.LIMIT
