"""An initramfs as it lies in /boot: an archive of cpio."""

from __future__ import annotations

from collections.abc import Mapping


def cpio(files: Mapping[str, bytes | None]) -> bytes:
    """The archive, as the kernel's usr/gen_init_cpio.c writes it; a directory has None for its contents."""
    parts: list[bytes] = []
    members: dict[str, bytes | None] = {**files, "TRAILER!!!": b""}
    for name, given in members.items():
        content = given or b""
        fields = (1, 0o40755 if given is None else 0o100755, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        parts += [head, bytes(-len(head) % 4), content, bytes(-len(content) % 4)]
    return b"".join(parts)
