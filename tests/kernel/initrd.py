"""A small initial RAM disk: busybox, the modules that the root disk needs, and the first program."""

from __future__ import annotations

import lzma
import stat
import subprocess
from pathlib import Path

INIT = Path(__file__).parent / "inside/init"
MODULES = ("nvme", "ext4")


def _entry(name: str, mode: int, data: bytes = b"") -> bytes:
    """A file of an archive in the format "newc" (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst)."""
    path = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
    head = b"070701" + "".join(f"{field:08x}" for field in fields).encode() + path
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def needed_modules(files: Path, version: str) -> list[Path]:
    """The modules' files below `files`, in the order in which they are to be loaded."""
    found: list[Path] = []
    for name in MODULES:
        command = ["modprobe", "--show-depends", "--ignore-install", "--dirname", str(files), "--set-version", version, name]
        listing = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        paths = [Path(line.split()[1]) for line in listing.splitlines() if line.startswith("insmod ")]
        found += [path for path in paths if path not in found]
    assert found, "the root disk needs no module?"
    return found


def make_initrd(files: Path, version: str, busybox: Path) -> bytes:
    """The archive."""
    executable, directory = stat.S_IFREG | 0o755, stat.S_IFDIR | 0o755
    parts = [_entry(name, directory) for name in ("bin", "dev", "proc", "root", "sys")]
    parts.append(_entry("bin/busybox", executable, busybox.read_bytes()))
    parts.append(_entry("init", executable, INIT.read_bytes()))
    modules = needed_modules(files, version)
    parts += [_entry(path.stem, stat.S_IFREG | 0o644, lzma.decompress(path.read_bytes())) for path in modules]
    order = "".join(f"{path.stem}\n" for path in modules)
    parts.append(_entry("modules", stat.S_IFREG | 0o644, order.encode()))
    return b"".join([*parts, _entry("TRAILER!!!", 0)])
