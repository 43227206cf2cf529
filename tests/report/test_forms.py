"""What a report says in each of its forms: golden output over trees, and that all of them say the same."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pvehooks import wording
from pvehooks.cli.commands.rules import remedy
from pvehooks.report.style import STYLE
from pvehooks.rules import catalogue
from tests.beds.tree import Link, make_fake_tree
from tests.conftest import PROJECT
from tests.facts import captures
from tests.report import bed

Golden = Callable[[str, str], None]
WHEN = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC|\d+ [A-Z][a-z]+ \d{4}, \d\d:\d\d UTC|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def timeless(text: str) -> str:
    """The output with WHEN for each time, without the style sheet, an element a line."""
    text = re.sub(r'("(?:time|since)": )\d+', r"\1WHEN", WHEN.sub("WHEN", text))
    text = re.sub(r"sha256-[\w+/=]+", "sha256-DIGEST", text.replace(STYLE, ""))
    return re.sub(r"(?<=>)(?=<(?!/))", "\n", text) if text.startswith("<!DOCTYPE") else text


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: bed.plant(name, tmp_path_factory.mktemp(name) / "tree") for name in bed.NODES}


def found(tree: Path, *arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(bed.report(tree, "--json", *arguments))
    return document


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("danger", ["--html", "-"]),
        ("danger", ["--markdown"]),
        ("no-iommu", ["--html", "-"]),
        ("well", ["--json"]),
        ("empty", []),
        ("home", ["--summary"]),
        ("danger", ["--summary"]),
        ("well", ["--summary"]),
        ("no-iommu", ["--summary"]),
    ],
    ids=[
        "danger-html",
        "danger-markdown",
        "no-iommu-html",
        "well-json",
        "empty",
        "home-summary",
        "danger-summary",
        "well-summary",
        "no-iommu-summary",
    ],
)
def test_golden(name: str, arguments: list[str], trees: dict[str, Path], golden: Golden) -> None:
    # Named .txt: Debian's lintian asks for the source of an HTML file.
    form = {"--html": "html.txt"}.get(arguments[0], arguments[0].strip("-")) if arguments else "markdown"
    golden(f"report/{name}.{form}", timeless(bed.report(trees[name], *arguments)))


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["intel.shared-group-one-on-host", "amd.clean"])
def test_captures(name: str, tmp_path_factory: pytest.TempPathFactory, golden: Golden) -> None:
    files = {f"{bed.CONFIGS}/100.conf": "name: taker\nhostpci0: 0000:02:00.0\n", "etc/pve/local": Link("nodes/pve1")}
    tree = captures.materialise(name, tmp_path_factory)
    if not (tree / "etc/pve/local").is_symlink():
        make_fake_tree(tree, files)
    golden(f"report/capture-{name}.markdown", timeless(bed.report(tree)))


def test_json_holds_what_check_and_groups_show(trees: dict[str, Path]) -> None:
    report = found(trees["danger"])
    assert report["version"] == 2 and report["node"] == "pve1" and report["changes"] is None
    check = json.loads(bed.report(trees["danger"], "--json", status=1, verb="check"))
    verdicts = {guest["vmid"]: guest["verdict"] for guest in check["guests"]}
    assert verdicts == {guest["vmid"]: guest["verdict"] for guest in report["guests"]} and "block" in verdicts.values()
    ours = {(guest["vmid"], finding["rule"], finding["message"]) for guest in report["guests"] for finding in guest["findings"]}
    assert ours == {(guest["vmid"], finding["rule"], finding["message"]) for guest in check["guests"] for finding in guest["findings"]}
    assert {finding["rule"] for guest in report["guests"] for finding in guest["findings"]} <= set(report["rules"])
    groups = json.loads(bed.report(trees["danger"], "groups", "--json", verb="host"))["groups"]
    assert report["groups"] == groups


def test_every_finding_is_in_every_form(trees: dict[str, Path]) -> None:
    report = found(trees["danger"])
    page, text = (bed.report(trees["danger"], *form) for form in (["--html", "-"], ["--markdown"]))
    listed = [finding for each in (report, *report["guests"]) for finding in each.get("findings", each.get("node_findings"))]
    rules = {finding["rule"] for finding in listed if finding["examined"]}
    assert len(rules) > 5 and set(report["rules"]) >= rules
    for rule in rules:
        assert f'id="{rule}"' in page and f"### {rule} (" in text, rule
    for guest in report["guests"]:
        assert f"VM {guest['vmid']} ({guest['name']})</bdi>" in page and f"VM {guest['vmid']} (`{guest['name']}`)" in text


def test_the_words_around_code_stay_apart(tmp_path: Path) -> None:
    guest = "bios: ovmf\nefidisk0: local:100/vm-100-disk-0.raw,efitype=2m\nmemory: 512\n"
    text = bed.report(make_fake_tree(tmp_path, {"etc/hostname": "pve1\n", "etc/pve/nodes/pve1/qemu-server/100.conf": guest}), "--markdown")
    assert "`pre-enrolled-keys` has no effect on the old type" in text
    assert not re.search(r"`[\w-]+`\w", text)


def test_danger_is_shown_of_the_right_groups(trees: dict[str, Path]) -> None:
    page = bed.report(trees["danger"], "--html", "-")
    urgent = dict(re.findall(r'aria-label="Group (\d+), ([^:]*):', page))
    assert {group for group, level in urgent.items() if level == "in danger"} == {"2", "15"}
    assert urgent["17"] == "a VM cannot start" and urgent["21"] == "shared" and urgent["19"] == "used by a VM or container"
    calm = dict(re.findall(r'aria-label="Group (\d+), ([^:]*):', bed.report(trees["well"], "--html", "-")))
    assert "in danger" not in calm.values() and calm["2"] == "meant for a VM" and calm["15"] == "used by the host" and calm["9"] == "free"


def test_guests_with_the_same_findings_are_one_row(trees: dict[str, Path]) -> None:
    text, page = (bed.report(trees["home"], *form) for form in (["--markdown"], ["--html", "-"]))
    six = ", ".join(f"VM {vmid} (`pxe-{vmid}`)" for vmid in range(104, 110))
    assert f"| {six} | stopped | would start |" in text and f"\n- {six}: no network boot" in text
    assert "pvehooks inject VMID" in text and "pvehooks inject 104" not in text
    assert [page.count(f'id="vm{vmid}"') for vmid in range(100, 117)] == [1] * 17
    row = re.findall(
        r'<li class="warning v\d"><div><p class="name">((?:(?!</p>).)*)</p><p class="soft small">6 VMs, <span class="state stopped">', page
    )
    assert len(row) == 1 and all(f"VM {vmid} (pxe-{vmid})" in row[0] for vmid in range(104, 110))
    # A template with the same finding beside another, and one that runs, are others.
    assert "6 VMs" in page and "7 VMs, " not in re.findall(r'<ul class="guests">.*?</section>', page)[0]


def test_nothing_in_danger_is_called_clean(trees: dict[str, Path]) -> None:
    for name in ("danger", "home", "hostile"):
        page = bed.report(trees[name], "--html", "-")
        boxes = re.findall(r'<article class="box (?:danger|warning).*?</article>', page)
        assert boxes and not [box for box in boxes if re.search(r"\bclean\b", box)], name
        assert re.search(r">clean, ", page), "others are"


def test_the_summary_fits_a_mail(trees: dict[str, Path]) -> None:
    for name, tree in trees.items():
        text = bed.report(tree, "--summary")
        lines = text.splitlines()
        assert len(lines) < 80 and lines[0].startswith("pvehooks on pve1: "), name
        commands = [line for line in lines if len(line) > 72]
        assert all(line.startswith((" " * 8, "All of it: ")) or " " not in line.strip() for line in commands), (
            name,
            commands,
        )
    assert "\n        qm set 102 --delete hostpci0\n" in bed.report(trees["home"], "--summary")
    assert "2 VMs must not start" in bed.report(trees["home"], "--summary").splitlines()[0]


def test_a_summary_of_very_much_is_short(tmp_path: Path) -> None:
    tree = bed.plant("danger", tmp_path / "tree")
    more = {vmid: bed.plain(vmid, f"g{vmid}", f"hostpci0: {vmid:02x}:1f.0\n") for vmid in range(150, 250)}
    make_fake_tree(tree, {f"{bed.CONFIGS}/{vmid}.conf": config for vmid, config in more.items()})
    text = bed.report(tree, "--summary")
    assert len(text.splitlines()) < 150 and re.search(r"^  and \d+ more findings$", text, re.MULTILINE)


def test_what_is_typed_is_code(trees: dict[str, Path]) -> None:
    page = bed.report(trees["home"], "--html", "-")
    assert '<code class="cmd">qm set 103 --delete hostpci0</code>' in page and '<code class="cmd">umount /srv</code>' in page
    assert "(<code>[guard] unbound = bind</code>)" in page
    assert not re.search(r"What to do: </b>(?:(?!</div>).)*?</?p>[^<]*(?:qm set|pvehooks (?:inject|attach))", page)


def test_no_remedy_of_a_rule_has_a_command_as_plain_words() -> None:
    command = re.compile(
        r"\b(?:qm|pvesh|pvesm|pvehooks|systemctl|update-grub|update-initramfs|proxmox-boot-tool|modprobe|lspci|umount|qemu-img) [a-z]"
    )
    prose = ("pvehooks do it",)
    for rule in catalogue.RULES.values():
        plain = "|".join(piece for piece, typed in wording.inline(remedy(rule)) if not typed)
        left = [found[0] for found in command.finditer(plain) if not plain[found.start() :].startswith(prose)]
        assert not left, (rule.id, plain)


def test_what_would_be_taken_along_is_in_danger(tmp_path: Path) -> None:
    """A device that nobody uses now and nobody named, and one that is not bound: only the first is a danger."""
    tree = make_fake_tree(bed.plant("danger", tmp_path / "tree"), {f"{bed.CONFIGS}/107.conf": "hostpci0: 04:01.0\n"})
    levels = dict(re.findall(r'aria-label="Group (\d+), ([^:]*):', bed.report(tree, "--html", "-")))
    assert levels["21"] == "in danger"
    (tree / bed.CONFIGS / "107.conf").write_text("hostpci0: 07:00.0\n")
    (tree / "etc/pvehooks/pvehooks.conf").write_text("[guard]\nunbound = block\n")
    levels = dict(re.findall(r'aria-label="Group (\d+), ([^:]*):', bed.report(tree, "--html", "-")))
    assert levels["20"] == "a VM cannot start"


def test_what_could_not_be_read_is_shown(tmp_path: Path) -> None:
    tree = bed.plant("well", tmp_path / "tree")
    (tree / "proc/net/route").unlink()
    (tree / "proc/net/fib_trie").unlink()
    for form in (["--html", "-"], ["--markdown"]):
        assert re.search(r"Not examined.*use of 0000:03:00\.0", bed.report(tree, *form), re.DOTALL)
    empty = bed.report(bed.plant("empty", tmp_path / "empty"))
    assert "They cannot be read: " in empty and "There are no VMs." in empty


def test_what_a_rule_could_not_examine_is_no_finding(trees: dict[str, Path]) -> None:
    """The explanation of a rule says that something is so."""
    page = bed.report(trees["empty"], "--html", "-")
    assert 'id="vfio-modules-missing"' not in page and "<li>the kernel modules are unknown: " in page
    text = bed.report(trees["empty"])
    assert "### vfio-modules-missing" not in text and "\n- the kernel modules are unknown: " in text


def test_another_node_of_the_cluster(tmp_path: Path) -> None:
    tree = bed.plant("well", tmp_path / "tree")
    make_fake_tree(tree, {"etc/pve/nodes/pve2/qemu-server/300.conf": "name: away\n"})
    assert [guest["vmid"] for guest in found(tree, "--node", "pve2")["guests"]] == [300]


def test_thousand_guests_in_the_same_words_are_one_line(tmp_path: Path) -> None:
    tree = bed.plant("empty", tmp_path / "tree")
    make_fake_tree(
        tree,
        {
            f"{bed.CONFIGS}/{vmid}.conf": f"name: g{vmid}\nbios: ovmf\nefidisk0: local-lvm:vm-1-disk-0,efitype=4m\nhostpci0: 01:00\n"
            for vmid in range(1000, 2000)
        },
    )
    page = bed.report(tree, "--html", "-")
    assert page.count("988 more VMs") >= 1 and len(page) < 2_000_000
    program = f"from pvehooks.cli.main import main; main({['report', '--html', '-', '--root', str(tree)]!r})"
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_AS, (400 << 20,) * 2); {program}"
    done = subprocess.run(["/usr/bin/python3", "-c", limited], cwd=PROJECT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
