"""The file: when it is written, how, where, and what becomes of it."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest

from pvehooks.daemon.publish import textfile
from pvehooks.daemon.stats import Stats
from pvehooks.facts.guests import configs as guests
from pvehooks.guard import counters
from pvehooks.host import Host
from pvehooks.settings import load as settings
from pvehooks.settings.effective import Settings
from pvehooks.values import Finding, Judged, Rng0Decision, Severity, Verdict
from tests.beds.namespace import mount
from tests.beds.tree import make_fake_tree
from tests.daemon.bed import uefi
from tests.daemon.publish.figures import counted, guest, number, samples, stats
from tests.lint.source import PROJECT

DEBIAN = "var/lib/prometheus/node-exporter"
POSTRM = PROJECT / "debian/pvehooks.postrm"
MS_RDONLY, MS_BIND, MS_REMOUNT = 1, 0x1000, 32  # linux/mount.h


class Clock(Host):
    """A host whose clock the test moves."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self.time = 1000.0

    def monotonic(self) -> float:
        return self.time


class Bed:
    """A tree with a publisher; `file` is where Debian's node_exporter would look."""

    def __init__(self, root: Path, text: str = "", debian: bool = True) -> None:
        self.root = root
        self.host = Clock(root)
        self.stats = stats(v100=guest("VM 100 (web)"))
        self.file = root / DEBIAN / "pvehooks.prom"
        if debian:
            self.file.parent.mkdir(parents=True, exist_ok=True)
        self.textfile = textfile.Textfile(self.host, "pve1")
        self.settings = self.set(text)

    def set(self, text: str) -> Settings:
        conf = self.root / "etc/pvehooks/pvehooks.conf"
        conf.parent.mkdir(parents=True, exist_ok=True)
        conf.write_text(text)
        self.settings = settings.load(self.host)
        return self.settings

    def after(self, seconds: float, watched: bool = True) -> str:
        """What a turn says after so long, in which the daemon has looked or not."""
        self.host.time += seconds
        if watched:
            self.stats.watched += int(seconds)
        return self.textfile.publish(self.stats, self.settings)

    def written(self, path: Path | None = None) -> bool:
        """Whether the file is another one than when asked before."""
        inode = (path or self.file).stat().st_ino
        before, self._inode = getattr(self, "_inode", 0), inode
        return inode != before


# -- when -------------------------------------------------------------------------------------------------------------


def test_written_when_something_changed_or_a_look_is_newer(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    assert bed.after(0) == "" and bed.written()
    assert bed.after(20) == "" and not bed.written(), "nothing is new"
    bed.stats.guests[101] = guest("VM 101 (new)")
    bed.stats.changes += 1
    assert bed.after(2) == "" and bed.written()
    bed.stats.events["bug"] += 1
    assert bed.after(2) == "" and bed.written()
    bed.stats.away = True
    assert bed.after(2) == "" and bed.written()
    counters.count(bed.host, counters.REFUSED)
    assert bed.after(2) == "" and bed.written()
    assert number(bed.file.read_bytes(), "pvehooks_guard_starts_total", outcome="refused") == 1
    assert bed.after(60) == "" and bed.written(), "the time of the last look is told anew"
    assert number(bed.file.read_bytes(), "pvehooks_last_look_timestamp_seconds") == bed.stats.watched
    assert bed.after(60, watched=False) == "" and not bed.written(), "a daemon that does not look lets the file grow old"


def test_a_burst_is_written_once_a_second(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    writes = 0
    for _ in range(100):
        bed.stats.changes += 1
        bed.after(0.05, watched=False)
        writes += bed.written()
    assert writes <= 6
    assert bed.after(1, watched=False) == "" and bed.written(), "what came last is not lost"


def test_the_stats_show_when_they_have_changed(tmp_path: Path) -> None:
    host = Host(str(make_fake_tree(tmp_path, {"etc/pve/nodes/pve1/qemu-server/100.conf": uefi()})))
    verdict = Verdict(guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None)), False, (), Rng0Decision(False, None, ""))
    finding = Finding("scsi0", "it is odd", "", Severity.WARNING, "odd-thing")
    made, changes = Stats(), []
    for change in (
        lambda: made.note(verdict, guarded=False),
        lambda: made.note(verdict, guarded=False),
        lambda: made.note(verdict, guarded=True),
        lambda: made.note(verdict._replace(findings=(Judged(finding, ""),)), guarded=True),
        lambda: made.note(verdict._replace(findings=(Judged(finding, "why not"),)), guarded=True),
        lambda: made.note_node([]),
        lambda: made.note_node([finding]),
        lambda: made.forget(101),
        lambda: made.forget(100),
    ):
        change()
        changes.append(made.changes)
    assert changes == [1, 1, 2, 3, 4, 4, 5, 5, 6]


# -- how --------------------------------------------------------------------------------------------------------------


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """As node_exporter reads: every file whose name ends in .prom."""
    bed = Bed(tmp_path)
    last = b'pvehooks_guard_starts_total{outcome="unexamined-refused"} 0\n'
    bed.after(0)
    ended = threading.Event()
    seen: list[bytes] = []

    def read() -> None:
        while not ended.is_set():
            seen.extend(path.read_bytes() for path in (tmp_path / DEBIAN).glob("*.prom"))
            assert len(seen) > 0

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for vmid in range(200, 500):
            bed.stats.guests[vmid] = guest(f"VM {vmid} (n)", counted("guard-not-attached"))
            bed.stats.changes += 1
            bed.after(2)
    finally:
        ended.set()
        reader.join()
    assert len({len(content) for content in seen}) > 20, "it saw many states"
    assert all(content.endswith(last) for content in seen)
    assert os.listdir(tmp_path / DEBIAN) == ["pvehooks.prom"]


def test_everyone_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    before = os.umask(0o077)
    try:
        bed.after(0)
    finally:
        os.umask(before)
    assert bed.file.stat().st_mode & 0o777 == 0o644


# -- where ------------------------------------------------------------------------------------------------------------


def test_without_node_exporter_nothing_is_written(tmp_path: Path) -> None:
    bed = Bed(tmp_path, debian=False)
    assert bed.after(0) == ""
    assert not (tmp_path / "var").exists()
    bed.file.parent.mkdir(parents=True)
    assert bed.after(1) == "" and bed.file.exists(), "node_exporter came"


def test_it_moves_and_goes_with_the_setting(tmp_path: Path) -> None:
    other = tmp_path / "srv/metrics/pvehooks.prom"
    other.parent.mkdir(parents=True)
    bed = Bed(tmp_path)
    bed.after(0)
    bed.set("[metrics]\ntextfile = /srv/metrics/\n")
    assert bed.after(1) == "" and other.exists() and not bed.file.exists()
    bed.set("[metrics]\ntextfile = off\n")
    assert bed.after(1) == "" and not other.exists() and not bed.file.exists()


def test_a_later_daemon_knows_where_it_was(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    bed.after(0)
    assert Bed(tmp_path, "[metrics]\ntextfile = off\n").after(0) == ""
    assert not bed.file.exists()


def test_what_is_not_ours_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "var/lib/pvehooks").mkdir(parents=True)
    (tmp_path / "precious").touch()
    (tmp_path / "var/lib/pvehooks/metrics-file").write_text("/precious\n")
    assert Bed(tmp_path).after(0) == ""
    assert (tmp_path / "precious").exists()


# -- what stands against it -------------------------------------------------------------------------------------------


def test_trouble_is_logged_once_and_again_after_a_good_time(tmp_path: Path) -> None:
    bed = Bed(tmp_path, "[metrics]\ntextfile = /srv/metrics\n")
    (trouble, *more) = [bed.after(seconds) for seconds in (0, 60, 60, 2)]
    assert trouble.startswith("the metrics for Prometheus cannot be written: /srv/metrics/pvehooks.prom: No such file or directory. ")
    assert more == ["", "", ""]
    (tmp_path / "srv/metrics").mkdir(parents=True)
    assert bed.after(60) == "" and (tmp_path / "srv/metrics/pvehooks.prom").exists()
    (tmp_path / "srv/metrics/pvehooks.prom").unlink()
    (tmp_path / "srv/metrics").rmdir()
    assert bed.after(60) == trouble
    assert bed.after(60) == ""


@pytest.mark.parametrize(
    ("directory", "cure"),
    [(f"/{DEBIAN}", "systemctl restart pvehooks"), ("/srv/metrics", "[Service] ReadWritePaths=-/srv/metrics")],
)
def test_the_sandbox_stands_against_it(directory: str, cure: str, tmp_path: Path) -> None:
    place = tmp_path / directory[1:]
    place.mkdir(parents=True)
    mount(str(place), str(place), "none", MS_BIND)
    mount("none", str(place), "none", MS_BIND | MS_REMOUNT | MS_RDONLY)
    try:
        words = Bed(tmp_path, f"[metrics]\ntextfile = {directory}\n").after(0)
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert f"pvehooks.prom: {os.strerror(errno.EROFS)}. " in words and cure in words


def test_what_cannot_be_removed_is_reported(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    bed.file.mkdir()
    (tmp_path / "var/lib/pvehooks").mkdir()
    (tmp_path / textfile.WHERE[1:]).write_text(f"/{DEBIAN}/pvehooks.prom\n")
    bed.set("[metrics]\ntextfile = off\n")
    words = [bed.after(1), bed.after(1)]
    assert words == [
        f"the metrics for Prometheus are not written there any more, and cannot be removed: /{DEBIAN}/pvehooks.prom: Is a directory",
        "",
    ]


# -- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["remove", "purge"])
def test_it_goes_with_the_package(action: str, tmp_path: Path) -> None:
    """node_exporter would go on showing what was. The note says where it lies, and is not believed any name."""
    debian, elsewhere, other = (Path("/") / DEBIAN / "pvehooks.prom", tmp_path / "pvehooks.prom", tmp_path / "pvehooks.prom2")
    debian.parent.mkdir(parents=True, exist_ok=True)
    Path("/var/lib/pvehooks").mkdir(exist_ok=True)
    for noted in (elsewhere, other):
        for path in (debian, elsewhere, other, debian.with_name("pvehooks.prom.tmp.7")):
            path.touch()
        Path(textfile.WHERE).write_text(f"{noted}\n")
        done = subprocess.run(["sh", str(POSTRM), action], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert list(debian.parent.iterdir()) == []
        assert (elsewhere.exists(), other.exists()) == (noted is other, True)
        Path("/var/lib/pvehooks").mkdir(exist_ok=True)
    assert samples(b"") == {}
