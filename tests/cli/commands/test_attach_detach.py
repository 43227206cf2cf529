"""pvehooks attach and detach: golden output, and what they leave behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.beds.tree import Link, make_fake_tree
from tests.cli.test_cli import pvehooks

Golden = Callable[[str, str], None]
CONFIGS = "etc/pve/nodes/pve1/qemu-server"
PASSED = "hostpci0: 0000:01:00.0,pcie=1\n"
TREE = {
    f"{CONFIGS}/100.conf": f"{PASSED}name: gpu\n",
    f"{CONFIGS}/101.conf": f"hookscript: local:snippets/hook.pl\n{PASSED}name: own\n",
    f"{CONFIGS}/102.conf": f"hookscript: local:snippets/my hook.pl\n{PASSED}name: odd\n",
    f"{CONFIGS}/103.conf": "memory: 512\nname: plain\n",
    f"{CONFIGS}/104.conf": f"{PASSED}lock: backup\nname: saved\n",
    f"{CONFIGS}/105.conf": f"hookscript: local:snippets/pvehooks-guard-local+hook.pl\n{PASSED}name: has\n",
    "etc/pve/nodes/pve2/qemu-server/200.conf": PASSED,
    "etc/pve/local": Link("nodes/pve1"),
    "etc/pve/corosync.conf": "nodelist {\n  node {\n    name: pve1\n  }\n  node {\n    name: pve2\n  }\n}\n",
    "var/lib/vz/": None,
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_fake_tree(tmp_path / "tree", TREE)


def configs(tree: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((tree / CONFIGS).iterdir())}


def test_attach_and_detach(tree: Path, golden: Golden) -> None:
    before = configs(tree)
    golden("cli/attach-all.txt", pvehooks(tree, "attach", "--all", status=1))
    golden("cli/attach-all-again.txt", pvehooks(tree, "attach", "--all", status=1))
    golden("cli/attach-json.txt", pvehooks(tree, "attach", "100", "103", "104", "--json", status=1))
    golden("cli/check-attached.txt", pvehooks(tree, "explain", "guard-not-attached"))
    golden("cli/detach-all.txt", pvehooks(tree, "detach", "--all"))
    assert configs(tree) == before | {"105.conf": before["101.conf"].replace("own", "has")}
    golden("cli/detach-json.txt", pvehooks(tree, "detach", "100", "101", "--json"))
    golden("cli/attach-all-detached.txt", pvehooks(tree, "attach", "--all", status=1))
    assert json.loads(pvehooks(tree, "attach", "100", "--json"))["guests"][0]["result"] == "done"


@pytest.mark.parametrize("verb", ["attach", "detach"])
@pytest.mark.parametrize(
    ("arguments", "status", "words"), [([], 2, "name the VMs"), (["200"], 3, "is on node pve2"), (["999"], 3, "no VM 999")]
)
def test_wrong_use(tree: Path, verb: str, arguments: list[str], status: int, words: str) -> None:
    assert words in pvehooks(tree, verb, *arguments, status=status)
