"""A node for the hookscript: its real paths, with mounts of the tests' own on them, and a caller that does as PVE does."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.beds.namespace import SCRATCH, mount

PROJECT = Path(__file__).parents[2]
SNIPPETS = Path("/var/lib/vz/snippets")
LIBEXEC = Path("/usr/libexec/pvehooks")
HOOKS = Path("/etc/pvehooks/hooks.d")
CONFIGS = Path("/etc/pve/local/qemu-server")
# pvedaemon's own, as its workers hand it on, and what run_command adds (PVE/Cmd.pm).
ENVIRONMENT = {"PATH": "/sbin:/bin:/usr/sbin:/usr/bin", "LC_ALL": "C", "LVM_SUPPRESS_FD_WARNINGS": "1", "PVE_MIGRATED_FROM": ""}
PHASES = ("pre-start", "post-start", "pre-stop", "post-stop")
# Says all that a script can know of how it was called.
WITNESS = """\
#!/bin/sh
echo "NAME: $# [$1] [$2] as ${0##*/}"
echo "to stderr" >&2
tr '\\0' '\\n' </proc/$$/environ | grep -v -e '^PWD=' -e '^OLDPWD=' -e '^_=' | sort
echo "in $(readlink /proc/$$/cwd), umask $(umask), read $(wc -c) bytes"
set -- /proc/$$/fd/*
echo "descriptors $*" | sed "s|/proc/$$/fd/||g"
exit STATUS
"""


class Ran(NamedTuple):
    """What became of a call; `status` is minus the signal's number where one ended it."""

    status: int
    out: str
    err: str


def witness(name: str = "former", status: int = 0) -> str:
    """A script that tells how it was called."""
    return WITNESS.replace("NAME", name).replace("STATUS", str(status))


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    """Writes a script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def attach(name: str = "pvehooks-guard") -> Path:
    """The stub under one of its names, copied as the package copies it."""
    return script(SNIPPETS / name, (PROJECT / "libexec/stub").read_text())


def install(guard: str | None = "#!/bin/sh\necho guard $*\n") -> None:
    """The package's sh part, and a guard that is easier to look at than the real one."""
    script(LIBEXEC / "hookscript", (PROJECT / "libexec/hookscript").read_text())
    if guard is not None:
        script(LIBEXEC / "guard", guard)


def config(text: str, vmid: int = 100, node: str = "pve1") -> None:
    """A guest's config."""
    path = Path(f"/etc/pve/nodes/{node}/qemu-server/{vmid}.conf")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def call(program: Path, *arguments: str, shell: Iterable[str] = (), **environment: str) -> Ran:
    """Runs a hookscript as PVE does: an environment of its own, standard input at its end, in the root directory."""
    done = subprocess.run(
        [*shell, str(program), *arguments],
        env={**ENVIRONMENT, **environment},
        cwd="/",
        input="",
        capture_output=True,
        text=True,
        errors="backslashreplace",
        timeout=60,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@contextmanager
def mounts() -> Iterator[None]:
    """Storages, snippets, /etc/pve, /etc/pvehooks and /run/pvehooks are empty, /usr/libexec and /usr/sbin can be written; all is taken away at the end."""
    empty = [Path("/etc/pve"), Path("/etc/pvehooks"), Path("/mnt"), Path("/run/pvehooks"), Path("/srv"), SNIPPETS.parent]
    overlaid = [Path("/usr/libexec"), Path("/usr/sbin")]
    for path in empty:
        path.mkdir(parents=True, exist_ok=True)
        mount("tmpfs", str(path), "tmpfs", options="mode=0755")
    for path in overlaid:
        layer = SCRATCH / f"{path.name}-{os.getpid()}"
        subprocess.run(["rm", "-rf", str(layer)], check=True)
        for part in ("upper", "work"):
            (layer / part).mkdir(parents=True)
        mount("overlay", str(path), "overlay", options=f"lowerdir={path},upperdir={layer}/upper,workdir={layer}/work")
    try:
        SNIPPETS.mkdir()
        Path("/etc/pve/nodes/pve1/qemu-server").mkdir(parents=True)
        Path("/etc/pve/local").symlink_to("nodes/pve1")
        Path("/etc/pve/storage.cfg").write_text("dir: local\n\tpath /var/lib/vz\n\tcontent iso,vztmpl,backup\n\n")
        yield
    finally:
        subprocess.run(["umount", "--lazy", *map(str, (*empty, *overlaid))], check=True)
