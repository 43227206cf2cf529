"""Many nodes by the captures and reports in a directory: what is damaged, hostile or foreign is named and skipped."""

from __future__ import annotations

import io
import json
import lzma
import os
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pvehooks.cli import report_files
from pvehooks.report.fleet_files import node_of, nodes_of
from pvehooks.values import Unread
from tests.beds.tree import make_fake_tree
from tests.cluster.test_summary_text import paths
from tests.report import bed, cluster_bed
from tests.report.test_cluster_report import timeless
from tests.report.test_hostile import harmless, read

Golden = Callable[[str, str], None]
_PVECFG = "sub release {\n    return '8.4';\n}\n\nsub version {\n    return '8.4.1';\n}\n"


def plant(name: str, directory: Path, cluster: str) -> Path:
    """A node of a cluster of that name."""
    more = {"usr/share/perl5/PVE/pvecfg.pm": _PVECFG, "etc/pve/corosync.conf": f"totem {{\n  cluster_name: {cluster}\n}}\n"}
    return make_fake_tree(bed.plant(name, directory), {**more, "etc/pve/nodes/pve1/pvehooks.json": '{"version": "0.0.7"}'})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A capture and reports by the file's name; the capture with the names as they are, so that they are the same each time."""
    directory = tmp_path_factory.mktemp("made")
    trees = {"home": plant("danger", directory / "danger", "home"), "office": plant("well", directory / "well", "office")}
    found = {}
    for cluster, tree in trees.items():
        found[f"{cluster}.json"] = bed.report(tree, "--json").encode()
    bed.report(trees["home"], "--plain", str(directory / "x.tar.xz"), verb="capture")
    found["home.tar.xz"] = (directory / "x.tar.xz").read_bytes()
    return found


def report(made: dict[str, bytes], directory: Path, *names: str, form: str = "--json") -> str:
    directory.mkdir(exist_ok=True)
    for name in names:
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(made[path.name])
    shown = bed.report("", "--from", str(directory), form, *(["-"] if form == "--html" else []))
    return shown.replace(str(directory), "DIRECTORY")


def nodes(text: str) -> dict[str, dict[str, Any]]:
    return {node["file"]: node for node in json.loads(text)["nodes"]}


def test_golden(made: dict[str, bytes], tmp_path: Path, golden: Golden) -> None:
    (tmp_path / "notes.txt").write_text("buy milk")
    shown = report(made, tmp_path, "home.tar.xz", "office.json", form="--markdown")
    golden("report/files.markdown", timeless(re.sub(r"\d+ min ago", "WHEN", shown)))


def test_a_capture_and_a_report_of_a_node_show_the_same(made: dict[str, bytes], tmp_path: Path) -> None:
    found = nodes(report(made, tmp_path, "house/home.tar.xz", "home.json"))
    capture, document = found["house/home.tar.xz"]["figures"], found["home.json"]["figures"]
    same = (
        "guest_count",
        "would_not_start_labels",
        "must_not_start_labels",
        "unguarded_labels",
        "findings_by_severity",
        "node_findings_by_severity",
    )
    assert {name: capture[name] for name in same} == {name: document[name] for name in same}
    assert capture["must_not_start_count"] == 2 and capture["pve"] == document["pve"] == "8.4.1"
    assert found["house/home.tar.xz"]["pvehooks"] == "0.0.7", "of the node, not of who reads it"
    assert found["home.json"]["cluster"] == "home"
    assert found["house/home.tar.xz"]["cluster"] == "house", "a capture has no name of its cluster: that of its folder stands for it"


def test_nodes_of_one_name_are_kept_apart(made: dict[str, bytes], tmp_path: Path) -> None:
    shown = report(made, tmp_path, "home.json", "office.json", "copies/home.json", form="--html")
    for title in ("pve1 (cluster home, home.json)", "pve1 (cluster office, office.json)", "pve1 (cluster home, copies/home.json)"):
        assert f"<h3><bdi>{title}</bdi></h3>" in shown
    assert "it is used, but pve1 of cluster home is in copies/home.json too: each is counted" in shown
    anchors = [value for _, attribute, value in read(shown).attributes if attribute == "id"]
    assert len(set(anchors)) == len(anchors)


def test_reports_of_other_versions(made: dict[str, bytes], tmp_path: Path) -> None:
    """With and without an envelope; the first ones say of a guest only whether something forbids its start."""
    document = json.loads(made["home.json"])
    time = 1_800_000_000
    forms: dict[str, dict[str, Any]] = {
        "new.json": {**document, "version": 2, "time": "2027-01-15T08:00:00Z"},
        "old.json": {**document, "version": 1, "time": time},
    }
    for guest in forms["old.json"]["guests"]:
        for key in ("start", "guarded", "rng0", "nothing_stops_it"):
            guest.pop(key, None)
    forms["old.json"] = json.loads(json.dumps(forms["old.json"]))
    forms["old.json"].pop("cluster", None)
    forms["new.json"]["guests"] = json.loads(made["home.json"])["guests"]
    found = nodes(report({name: json.dumps(form).encode() for name, form in forms.items()}, tmp_path, *forms))
    new, old = found["new.json"]["figures"], found["old.json"]["figures"]
    assert new["as_of"] == old["as_of"] == time
    assert old["would_not_start_count"] == 2 and old["rng0_lacking_count"] is None and new["rng0_lacking_count"] == 2
    assert old["unknown"]["rng0_lacking_count"] == "not in the report of pvehooks 0.1.0" and found["old.json"]["cluster"] is None


def test_the_page_of_a_cluster_is_read_too(made: dict[str, bytes], tmp_path: Path) -> None:
    """Who looks after several clusters has `report --cluster --json` of each: what each node published, and as of when."""
    tree = cluster_bed.plant(tmp_path / "tree")
    page = bed.report(tree, "--cluster", "--json")
    directory = tmp_path / "pages"
    shown = json.loads(report({"house.json": page.encode(), **made}, directory, "house.json", "office.json"))
    again = {node["node"]: node for node in shown["nodes"] if node["file"] == "house.json"}
    for node in json.loads(page)["nodes"]:
        expected = {**node, "file": "house.json"}
        # What is longer than any name, or later than any calendar, is cut.
        assert again[node["node"]] == expected or node["node"] == cluster_bed.HOSTILE
    assert len(shown["nodes"]) == len(again) + 1 and shown["starts"] is None
    html = report(made, directory, form="--html")
    harmless(html)
    assert "alert(1)" in html and not re.search(r"<(script|img|svg/)", html)


def tar(name: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A packed tree with one thing of that name."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as made:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, "../../../etc/shadow"
        made.addfile(entry)
    return lzma.compress(packed.getvalue())


BAD = {
    "bomb.tar.xz": (lzma.compress(bytes(20 << 20)), "it becomes too large when it is unpacked"),
    "climbs.tar.xz": (tar("pvehooks-capture/../../etc/passwd"), "leads out of it"),
    "link.tar.xz": (tar("pvehooks-capture/a", tarfile.SYMTYPE), "in no directory"),
    "cut.tar.xz": (lzma.compress(b"x" * 5000)[:-20], "no capture that this pvehooks can read"),
    "empty": (b"", "neither a capture nor a report"),
    "deep.json": (b"[" * 100_000, "neither a capture nor a report"),
    "number.json": (b'{"version":' + b"9" * 5000 + b"}", "neither a capture nor a report"),
    "foreign.json": (b'{"version": 1, "node": "x"}', "neither a capture nor a report"),
    "later.json": (b'{"version": 99}', "neither a capture nor a report"),
    "<b>.json": (b"\xff\xfe", "neither a capture nor a report"),
}


def test_what_cannot_be_used_is_named_and_skipped(made: dict[str, bytes], tmp_path: Path) -> None:
    for name, (content, _) in BAD.items():
        (tmp_path / name).write_bytes(content)
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(report_files._LARGEST + 2)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "passwd").symlink_to("/etc/passwd")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "a" / "b").mkdir(parents=True)
    found = json.loads(report(made, tmp_path, "office.json"))
    assert [node["file"] for node in found["nodes"]] == ["office.json"]
    skipped = {each["file"]: each["why"] for each in found["skipped"]}
    expected = {name: why for name, (_, why) in BAD.items()} | {
        "huge.json": "larger than 32 MiB",
        "pipe": "no regular file",
        "passwd": "a symbolic link, which is not followed",
        "loop": "a symbolic link, which is not followed",
        "a/b": "no regular file",
    }
    assert skipped.keys() == expected.keys()
    for name, why in expected.items():
        assert why in skipped[name], name
    page = report(made, tmp_path, form="--html")
    harmless(page)
    assert "&lt;b&gt;.json</bdi></b>: neither a capture" in page


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--from", "{}"], 3, "holds no capture and no report that can be used: notes.txt: neither a capture"),
        (["--from", "{}/absent"], 3, "absent: No such file or directory"),
        (["--from", "{}/notes.txt"], 3, "notes.txt: Not a directory"),
        (["--from", "{}", "--cluster"], 2, "--cluster is about this cluster, --from about files"),
        (["--from", "{}", "--since", "x"], 2, "Leave out --from, or --since"),
    ],
)
def test_wrong_use(arguments: list[str], status: int, words: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("buy milk")
    assert words in bed.report("", *(each.format(tmp_path) for each in arguments), status=status)


def test_no_more_files_than_can_be_read(made: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_files, "_MOST_FILES", 1)
    found = json.loads(report(made, tmp_path, "home.json", "office.json"))
    assert len(found["nodes"]) == 1 and found["skipped"] == [{"file": "office.json", "why": "only the first 1 files are read"}]


def test_any_value_of_another_kind_in_a_page_is_refused(tmp_path: Path) -> None:
    whole = json.loads(bed.report(cluster_bed.plant(tmp_path / "tree", hostile=False), "--cluster", "--json"))
    whole["nodes"] = whole["nodes"][:1]
    for key in ("starts", "skipped"):
        del whole[key]
    known, refused = any_value(whole, lambda document: nodes_of(document, "x.json", ""))
    assert known > 100 and refused > 100


def test_any_value_of_another_kind_is_refused(made: dict[str, bytes]) -> None:
    whole = json.loads(made["office.json"])
    for key in ("rules", "changes", "iommu"):
        del whole[key]
    whole["guests"], whole["groups"] = whole["guests"][:1], [group for group in whole["groups"] if group["free"]][:1]
    known, refused = any_value(whole, lambda document: node_of(document, "x.json", "", "report", Unread("not in a report")))
    assert known > 100 and refused > 100


def any_value(whole: Any, look: Callable[[Any], object]) -> tuple[int, int]:
    """Whatever stands where something else belongs: how often a node is made of it, and how often one of the errors that mean that it is no report."""
    known = refused = 0
    for path in paths(whole)[1:]:
        for odd in (None, -1, True, "x:y z", [], {}, ["a"], {"a": None}):
            document = json.loads(json.dumps(whole))
            inner = document
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = odd
            try:
                look(document)
                known += 1
            except (TypeError, KeyError, ValueError, IndexError, AttributeError):
                refused += 1
    return known, refused
