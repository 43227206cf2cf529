"""Fixes of the node where there is no room, or nothing may be written: real file systems; and how many copies are kept."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pvehooks.actions.host import apply as fixing
from pvehooks.actions.host import history
from pvehooks.errors import ActionFailed
from pvehooks.host import Host
from tests.actions.host.bed import snapshot
from tests.actions.host.test_fix import both, fix, planned, root, tree
from tests.beds.namespace import mount


class Mounted:
    """A small file system on a directory of a tree, with what was there."""

    def __init__(self, place: Path, size: str) -> None:
        self.place = place
        place.mkdir(parents=True, exist_ok=True)
        files = {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}
        mount("tmpfs", str(place), "tmpfs", options=f"size={size}")
        for name, content in files.items():
            (place / name).write_bytes(content)

    def fill(self) -> None:
        """Has no room left."""
        with (self.place / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                return

    def make_read_only(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", self.place], check=True)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[list[Mounted]]:
    made: list[Mounted] = []
    yield made
    for each in made:
        subprocess.run(["umount", each.place], check=True)


def without_filler(host: Host) -> dict[str, tuple[object, ...]]:
    return {name: seen for name, seen in snapshot(root(host)).items() if not name.endswith("filler")}


@pytest.mark.parametrize("full", [True, False], ids=["full", "read-only"])
@pytest.mark.parametrize("where", ["var/lib/pvehooks", "etc/default", "etc"])
def test_no_room(where: str, full: bool, tmp_path: Path, small: list[Mounted]) -> None:
    """Nothing is changed, and it is said why; of two files also the first one is as it was."""
    host = tree(tmp_path)
    made = both(host) if where != "etc" else planned(host, "iommu-inactive")
    before = snapshot(root(host))
    if where == "etc":
        where = "etc/default"
    small.append(Mounted(root(host) / where, "64k"))
    small[0].fill() if full else small[0].make_read_only()
    words = "No space left on device" if full else "Read-only file system"
    with pytest.raises(ActionFailed, match=words) as caught:
        fixing.apply(host, made, lambda _: None)
    assert "as root" not in caught.value.hint
    assert {name: seen[3] for name, seen in without_filler(host).items()} == {name: seen[3] for name, seen in before.items()}


def test_full_after_the_change(tmp_path: Path, small: list[Mounted]) -> None:
    """What was done is done, and can be undone, although it could not be noted that it came to its end."""
    host = tree(tmp_path)
    made = both(host)
    before = snapshot(root(host))
    small.append(Mounted(root(host) / "var/lib/pvehooks", "64k"))

    class Filled(Host):
        def replace(self, path: str, *arguments: object, **named: object) -> None:
            super().replace(path, *arguments, **named)  # type: ignore[arg-type]
            if path == "/etc/modules":
                small[0].fill()

    done = fixing.apply(Filled(host.root), made, lambda _: None)
    assert len(done.files) == 2
    (small[0].place / "filler").unlink()
    assert fixing.undo(host, False, lambda _: None) is not None
    assert snapshot(root(host)) == before


# -- how many copies --------------------------------------------------------------------------------------------------


def places(host: Host) -> list[str]:
    return sorted(path.name for path in (root(host) / history.DIRECTORY[1:]).iterdir())


def fix_and_undo(host: Host, times: int) -> None:
    for _ in range(times):
        fix(host, "iommu-inactive")
        fixing.undo(host, False, lambda _: None)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "LIMIT", 3)


@pytest.mark.usefixtures("few")
def test_old_copies_go(tmp_path: Path) -> None:
    """But for the last ones, what an undo needs, and what cannot be read: that is for a person."""
    host = tree(tmp_path)
    (root(host) / "etc/modules").write_text("vfio_virqfd\n")
    before = snapshot(root(host))
    needed = fix(host, "advice-void").copies_dir
    torn = root(host) / history.DIRECTORY[1:] / "20000102T000000Z"
    torn.mkdir()
    (torn / "manifest.json").write_text("{")
    fix_and_undo(host, 5)
    names = places(host)
    # The last fix was not yet undone when it cleared up.
    assert len(names) == 2 + 4
    assert names[:2] == [torn.name, needed.rpartition("/")[2]]
    undone = fixing.undo(host, False, lambda _: None)
    assert undone is not None and undone.copies_dir == needed
    assert snapshot(root(host)) == before
    fix_and_undo(host, 3)
    assert needed.rpartition("/")[2] not in places(host)


@pytest.mark.usefixtures("few")
def test_fixes_in_a_row_are_undone_in_a_row(tmp_path: Path) -> None:
    """As many as are kept."""
    host = tree(tmp_path)
    path = root(host) / "etc/default/grub"
    states = []
    for number in range(6):
        path.write_text(path.read_text().replace(" intel_iommu=on", f" x={number}"))
        states.append(snapshot(root(host)))
        fix(host, "iommu-inactive")
    for state in reversed(states[3:]):
        assert fixing.undo(host, True, lambda _: None)
        assert snapshot(root(host)) == state
    assert fixing.undo(host, True, lambda _: None) is None


@pytest.mark.usefixtures("few")
def test_killed_while_copies_go(tmp_path: Path) -> None:
    """What is left of a fix without its manifest goes the next time."""
    host = tree(tmp_path)
    fix_and_undo(host, 2)
    first = root(host) / history.DIRECTORY[1:] / places(host)[0]
    (first / "manifest.json").unlink()
    fix_and_undo(host, 1)
    assert not first.exists() and len(places(host)) == 2
