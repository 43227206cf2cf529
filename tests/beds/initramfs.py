"""An initramfs as it lies in /boot: an archive of cpio."""

from __future__ import annotations

from collections.abc import Mapping


def cpio(files: Mapping[str, bytes]) -> bytes:
    """The archive, as the kernel's usr/gen_init_cpio.c writes it."""
    parts: list[bytes] = []
    for name, content in {**files, "TRAILER!!!": b""}.items():
        fields = (1, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        parts += [head, bytes(-len(head) % 4), content, bytes(-len(content) % 4)]
    return b"".join(parts)
