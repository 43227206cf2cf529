"""The power is cut while the node's files are fixed; the same kernel mounts what a cut leaves.

dm-log-writes keeps all that reaches a disk, in its order (the kernel's admin-guide/device-mapper/log-writes). /etc and /var are ext4 file systems of their own on one logged disk.
"""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from pvehooks.actions.host import apply as fixing
from pvehooks.actions.host import history
from pvehooks.actions.host.plan import FileChange, Plan
from pvehooks.errors import ActionFailed
from pvehooks.host import Host
from tests.kernel.inside.port import Out

PLACE = Path("/run/powercut")
SECTOR = 512
HALF = (24 << 20) // SECTOR
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
GRUB, MODULES = "/etc/default/grub", "/etc/modules"
BEFORE = {GRUB: b'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n', MODULES: b"# none\n"}
AFTER = {GRUB: b'GRUB_CMDLINE_LINUX_DEFAULT="quiet intel_iommu=on"\n', MODULES: b"# none\nvfio-pci\n"}


def run(*command: object) -> str:
    """Runs a command; what it prints."""
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def image(name: str, sectors: int) -> Path:
    path = PLACE / name
    with path.open("wb") as file:
        file.truncate(sectors * SECTOR)
    return path


class Mounted:
    """A root directory with /etc and /var on the two halves of a block device, taken apart at its end."""

    def __init__(self, name: str, device: str) -> None:
        self.root = PLACE / name
        self._halves = []
        for number, below in enumerate(("etc", "var")):
            half = f"{name}-{below}"
            run("dmsetup", "create", half, "--table", f"0 {HALF} linear {device} {number * HALF}")
            self._halves.append((f"/dev/mapper/{half}", self.root / below))

    def make(self) -> None:
        """The file systems, empty."""
        for device, _ in self._halves:
            run("mke2fs", "-q", "-F", "-t", "ext4", device)

    def __enter__(self) -> Path:
        for device, place in self._halves:
            place.mkdir(parents=True, exist_ok=True)
            run("mount", "-t", "ext4", device, place)
        (self.root / "run").mkdir(exist_ok=True)
        return self.root

    def __exit__(self, *_: object) -> None:
        for half in self._halves:
            run("umount", half[1])

    def close(self) -> None:
        for device, _ in self._halves:
            run("dmsetup", "remove", "--retry", device)


class Write(NamedTuple):
    """An entry of the log: where it goes, its flags, and its bytes; of a mark, its name."""

    sector: int
    flags: int
    data: bytes


def logged(path: Path) -> Iterator[Write]:
    """The entries of a log (drivers/md/dm-log-writes.c, struct log_write_super and log_write_entry)."""
    with path.open("rb") as file:
        _, _, entries, size = struct.unpack("<QQQI", file.read(28))
        assert size == SECTOR, size
        file.seek(SECTOR)
        for _ in range(entries):
            head = file.read(SECTOR)
            sector, sectors, flags, length = struct.unpack("<QQQQ", head[:32])
            if flags & MARK:
                yield Write(0, flags, head[32 : 32 + length])
            else:
                yield Write(sector, flags, b"" if flags & DISCARD else file.read(sectors * SECTOR))


def record(fsync: Callable[[int], None]) -> tuple[Path, list[Write]]:
    """The disk before the fix, and all that was written to it until after its end. `fsync` takes the place of os.fsync in pvehooks."""
    disk, log = image("disk", 2 * HALF), image("log", 6 * HALF)
    loops = [run("losetup", "--find", "--show", path) for path in (disk, log)]
    plain = Mounted("plain", loops[0])
    plain.make()
    with plain as root:
        (root / "etc/default").mkdir()
        (root / "var/lib").mkdir()
        for path, content in BEFORE.items():
            (root / path[1:]).write_bytes(content)
    plain.close()
    os.sync()
    base = PLACE / "base"
    shutil.copyfile(disk, base)
    run("dmsetup", "create", "logged", "--table", f"0 {2 * HALF} log-writes {loops[0]} {loops[1]}")
    under_way = Mounted("under-way", "/dev/mapper/logged")
    with under_way as root:
        run("dmsetup", "message", "logged", "0", "mark", "begun")
        changes = tuple(FileChange(path, BEFORE[path], AFTER[path]) for path in BEFORE)
        with mock.patch.object(os, "fsync", fsync):
            fixing.apply(Host(str(root)), Plan(changes, (), False, (), (), ()), lambda _: None)
        run("dmsetup", "message", "logged", "0", "mark", "ended")
    under_way.close()
    run("dmsetup", "remove", "--retry", "logged")
    for loop in loops:
        run("losetup", "--detach", loop)
    os.sync()
    return base, list(logged(log))


def trouble(cut: Path, ended: bool) -> str:
    """What is wrong with what a cut has left, '' for nothing."""
    loop = run("losetup", "--find", "--show", cut)
    left = Mounted("left", loop)
    try:
        with left as root:
            host = Host(str(root))
            found = {path: host.read(path) for path in BEFORE}
            if any(found[path] not in (BEFORE[path], AFTER[path]) for path in BEFORE):
                return f"a file is neither as before nor as after: {found}"
            record = history.last_undoable(host)
            if ended and (found != AFTER or record is None or record.state is not history.FixState.DONE):
                return f"it had ended, and is not all there: {found}, {record and record.state}"
            if record is None:
                return "" if found == BEFORE else f"a file is changed, and there is no fix to undo: {found}"
            fixing.undo(host, False, lambda _: None)
            found = {path: host.read(path) for path in BEFORE}
            return "" if found == BEFORE else f"after the undo: {found}"
    except (ActionFailed, OSError) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        left.close()
        run("losetup", "--detach", loop)


def cuts(base: Path, writes: list[Write]) -> Iterator[tuple[int, str]]:
    """The number of each cut with its trouble: after each flush while the fix was under way, and after its end."""
    state, cut = PLACE / "state", PLACE / "cut"
    shutil.copyfile(base, state)
    begun = False
    with state.open("r+b") as file:
        for number, write in enumerate(writes):
            if not write.flags & MARK:
                file.seek(write.sector * SECTOR)
                file.write(write.data)
            ended = write.data == b"ended" and bool(write.flags & MARK)
            begun = begun or (write.data == b"begun" and bool(write.flags & MARK))
            if begun and (ended or write.flags & (FLUSH | FUA)):
                file.flush()
                shutil.copyfile(state, cut)
                yield number, trouble(cut, ended)
            if ended:
                return


def only_files(descriptor: int) -> None:
    """os.fsync as it would be if nobody thought of directories."""
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.fdatasync(descriptor)


def main() -> None:
    out = Out()
    try:
        PLACE.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=600m", "tmpfs", PLACE)
        for module in ("loop", "dm-log-writes"):
            run("modprobe", module)
        for name, fsync in (("as it is", os.fsync), ("without directories", only_files)):
            found = []
            for each in cuts(*record(fsync)):
                found.append(each)
                if each[1]:
                    # One is enough: every cut takes seconds where every instruction is emulated.
                    break
            out.report(what="power-cut", name=name, cuts=len(found), troubles=[each for each in found if each[1]])
    except Exception:  # noqa: BLE001 - whatever it is, it is reported
        out.break_off(traceback.format_exc())
    out.report(what="end")
    out.go_down()


if __name__ == "__main__":
    main()
