"""Mappings are written through pvesh with their digest, kept before and read back after."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pvehooks.actions.pci import mappings
from pvehooks.errors import ActionFailed
from pvehooks.facts.cluster import mappings as mapping_facts
from pvehooks.host import CommandTrouble, Completed, Host
from pvehooks.values import PciMapping, Unread
from tests.beds.tree import Link, make_fake_tree

FILE = "etc/pve/mapping/pci.cfg"
OURS, THEIRS, MOVED = (
    f"id=144d:a808,iommugroup=1,node={node},path=0000:0{bus}:00.0" for node, bus in (("pve1", 1), ("pve2", 1), ("pve1", 3))
)
TEXT = f"disk\n\tdescription the fast one\n\tmap {OURS}\n\tmap {THEIRS}\n\nnic\n\tmap id=8086:1533,node=pve1,path=0000:06:00.0\n"


class NodeWithPvesh(Host):
    """A tree that is taken for the node itself, and has a pvesh."""

    def __init__(self, root: Path, status: int = 0, words: str = "", writes: bool = True) -> None:
        super().__init__(str(root))
        self.is_node = True
        self.calls: list[list[str]] = []
        self._status = status
        self._words = words
        self._writes = writes

    def locate(self, path: str, follow: bool = True) -> str:
        return f"{self.root}{path}"

    def run(self, argv: Sequence[str], timeout: float, env: Mapping[str, str] | None = None) -> Completed:
        self.calls.append(list(argv))
        if self._status < 0:
            raise CommandTrouble("pvesh did not end within 60 s and was killed")
        if self._writes and not self._status:
            given = [f"\tmap {value}" for flag, value in itertools.pairwise(argv) if flag == "--map"]
            path = Path(self.root, FILE)
            sections = [each for each in path.read_text().rstrip("\n").split("\n\n") if not each.startswith("disk\n")]
            name = argv[argv.index("--id") + 1] if "--id" in argv else argv[2].rpartition("/")[2]
            path.write_text("\n\n".join((*sections, "\n".join((name, *given)))) + "\n")
        return Completed(self._status, "", self._words)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    more = {"etc/pve/nodes/pve1/qemu-server": None, "etc/pve/local": Link("nodes/pve1"), "var/lib/pvehooks": None}
    tree = make_fake_tree(tmp_path, {FILE: TEXT, **more})
    for directory in (tree, tree / "var", tree / "var/lib", tree / "var/lib/pvehooks"):
        directory.chmod(0o755)
    return tree


def disk(tree: Path) -> PciMapping:
    known = mapping_facts.read(Host(str(tree)), "pve1")
    assert not isinstance(known, Unread)
    return known["disk"]


def test_set(tree: Path) -> None:
    host = NodeWithPvesh(tree)
    written = mappings.write(host, "pve1", "disk", (MOVED, THEIRS), disk(tree))
    digest = hashlib.sha1(TEXT.encode()).hexdigest()
    assert host.calls == [["pvesh", "set", "/cluster/mapping/pci/disk", "--map", MOVED, "--map", THEIRS, "--digest", digest]]
    assert (tree / written.backup.lstrip("/")).read_text() == TEXT and written.backup.endswith(f"pci.cfg-{digest}")
    assert written.undo == f"pvesh set /cluster/mapping/pci/disk --map {OURS} --map {THEIRS}"


def test_create(tree: Path) -> None:
    host = NodeWithPvesh(tree)
    assert mappings.write(host, "pve1", "new", (MOVED,), None).undo == "pvesh delete /cluster/mapping/pci/new"
    assert host.calls == [["pvesh", "create", "/cluster/mapping/pci", "--id", "new", "--map", MOVED]]


def test_create_for_mediated_devices(tree: Path) -> None:
    host = NodeWithPvesh(tree)
    mappings.write(host, "pve1", "new", (MOVED,), None, mdev=True)
    assert host.calls == [["pvesh", "create", "/cluster/mapping/pci", "--id", "new", "--map", MOVED, "--mdev", "1"]]


def test_it_was_changed_meanwhile(tree: Path) -> None:
    host, known = NodeWithPvesh(tree), disk(tree)
    for changed, now in ((known._replace(written=(OURS,)), "disk"), (None, "disk"), (known, "new")):
        with pytest.raises(ActionFailed, match="was changed meanwhile"):
            mappings.write(host, "pve1", now, (MOVED,), changed)
    assert host.calls == []


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ({"status": 255, "words": "detected modified configuration - file changed by other user? Try again.\n"}, "detected modified"),
        ({"status": -1}, "did not end within 60 s"),
        ({"writes": False}, "does not hold what was written"),
    ],
)
def test_pvesh_fails(host: dict[str, object], words: str, tree: Path) -> None:
    with pytest.raises(ActionFailed, match=words):
        mappings.write(NodeWithPvesh(tree, **host), "pve1", "disk", (MOVED, THEIRS), disk(tree))  # type: ignore[arg-type]
    assert (tree / FILE).read_text() == TEXT


def test_tree_keeps_all_else(tree: Path) -> None:
    host = Host(str(tree))
    mappings.write(host, "pve1", "disk", (MOVED, THEIRS), disk(tree))
    assert (tree / FILE).read_text() == TEXT.replace(OURS, MOVED)
    mappings.write(host, "pve1", "new", (OURS,), None)
    assert (tree / FILE).read_text() == f"{TEXT.replace(OURS, MOVED)}\nnew\n\tmap {OURS}\n"


def test_first_mapping(tree: Path) -> None:
    (tree / FILE).unlink()
    mappings.write(Host(str(tree)), "pve1", "new", (OURS,), None)
    assert (tree / FILE).read_text() == f"new\n\tmap {OURS}\n"
