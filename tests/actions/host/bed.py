"""What the tests of host fixes share: a tree before and after, and what the commands and a restart make of it, done without our readers."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

# What a fix leaves beside the files it changes.
OURS = ("var", "run")
_VARIABLES = 'printf "%s %s" "${GRUB_CMDLINE_LINUX-}" "${GRUB_CMDLINE_LINUX_DEFAULT-}"'
_OWN = re.compile(r"(?:BOOT_IMAGE=|initrd=|root=|ro$|rw$|boot=|rootflags=)")


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Every path below the root with its mode, owner, and content, but for what is ours."""
    seen: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.split("/")[0] in OURS and not name.startswith("run/udev"):
            continue
        found = path.lstat()
        content: object = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        seen[name] = (found.st_mode, found.st_uid, found.st_gid, content)
    return seen


def grub_arguments(root: Path) -> str:
    """What grub-mkconfig would pass on: a real sh reads the files as it does."""
    files = [root / "etc/default/grub", *sorted((root / "etc/default/grub.d").glob("*.cfg"))]
    script = "".join(f". '{path}'\n" for path in files if path.exists()) + _VARIABLES
    return subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True, timeout=60).stdout


def restart(root: Path) -> str:
    """Has the menu, the initramfs and the running kernel's arguments as the commands and a restart make them; the arguments."""
    running = (root / "proc/cmdline").read_text()
    if "BOOT_IMAGE" in running:
        planned = grub_arguments(root)
        own = [word for word in running.split() if _OWN.match(word)]
    else:
        planned = (root / "etc/kernel/cmdline").read_text().split("\n")[0]
        own = [word for word in running.split() if word.startswith("initrd=")]
    line = " ".join([*own, *planned.split()])
    (root / "proc/cmdline").write_text(f"{line}\n")
    for menu in (root / "boot/grub/grub.cfg", root / "boot/efi/grub/grub.cfg"):
        if menu.exists():
            menu.write_text(re.sub(r"(linux\t\S+) .*", lambda match: f"{match[1]} {line}", menu.read_text()))
    for entry in (root / "boot").glob("efi/loader/entries/*.conf"):
        entry.write_text(re.sub(r"options .*", lambda _: f"options {planned}", entry.read_text()))
    for initramfs in (root / "boot").glob("initrd.img-*"):
        os.utime(initramfs, (4_000_000_000, 4_000_000_000))
    return line
