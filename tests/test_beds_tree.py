"""The trees of the test beds: every kind of entry comes out as it was given."""

from __future__ import annotations

from pathlib import Path

from tests.beds.tree import Link, make_fake_tree, make_tree_from_txtar, parse_txtar


def test_text_bytes_links_and_empty_directories(tmp_path: Path) -> None:
    root = make_fake_tree(
        tmp_path / "root",
        {
            "/etc/hostname": "pve1\r\n",
            "etc/raw": b"\xff\x00",
            "etc/pve/local": Link("nodes/pve1"),
            "loop": Link("loop"),
            "sys/kernel/iommu_groups": None,
        },
    )
    assert (root / "etc/hostname").read_bytes() == b"pve1\r\n"
    assert (root / "etc/raw").read_bytes() == b"\xff\x00"
    assert (root / "etc/pve/local").readlink() == Path("nodes/pve1")
    assert (root / "loop").is_symlink()
    assert not any((root / "sys/kernel/iommu_groups").iterdir())


def test_txtar_keeps_every_byte_between_the_markers(tmp_path: Path) -> None:
    archive = "a comment\n-- a/one --\nline\n\n-- not a marker\n-- a/empty --\n-- l -> a/one --\n-- d/ --\n-- last --\nno newline"
    assert parse_txtar(archive) == {
        "a/one": "line\n\n-- not a marker\n",
        "a/empty": "",
        "l": Link("a/one"),
        "d": None,
        "last": "no newline",
    }
    root = make_tree_from_txtar(tmp_path, archive)
    assert (root / "l").read_text() == "line\n\n-- not a marker\n"


def test_txtar_from_a_file(tmp_path: Path) -> None:
    archive = tmp_path / "node.txtar"
    archive.write_text("-- etc/hostname --\npve1\n")
    assert (make_tree_from_txtar(tmp_path / "root", archive) / "etc/hostname").read_text() == "pve1\n"
