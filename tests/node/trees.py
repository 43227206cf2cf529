"""Debian systems in directories, and commands in them without booting."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

PROJECT = Path(__file__).parents[2]
SUITES = ("bookworm", "trixie")
# What the package is built, checked and offered with; booted for autopkgtest.
BUILD = (
    "autopkgtest build-essential dbus debhelper dh-python fakeroot gnupg libfuse2 lintian man-db python3-all python3-fusepy "
    "python3-setuptools python3-stdeb reprepro systemd systemd-sysv udev"
).split()
# A node: what every Debian has that boots, wget and perl (which pve-manager depends on), and what the stand-ins run with. Nothing else that
# the package itself needs.
NODE = "bash-completion dbus libfuse2 man-db perl procps python3 python3-fusepy systemd systemd-sysv udev wget".split()
# What starts guests with firmware images; Debian 12's QEMU is older than any that can. python3-apt is on every node of Proxmox VE, and Ansible
# installs packages with it.
NODE_OF = {"bookworm": ["ovmf", "python3-apt"], "trixie": ["ovmf", "qemu-system-x86"]}


def make_tree(suite: str, purpose: str, packages: Iterable[str], later: Iterable[str] = ()) -> Path:
    """The system's directory, made or found by scripts/system-tree; nobody writes to it."""
    names = {"libfuse2": "libfuse2t64"} if suite == "trixie" else {}
    command = ["sh", str(PROJECT / "scripts/system-tree"), suite, purpose, *(names.get(name, name) for name in packages), "--later", *later]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, f"no {purpose} system of {suite}: {done.stderr}"
    tree = Path(done.stdout.strip())
    subprocess.run(["sh", str(PROJECT / "scripts/remove-old-trees"), str(tree)], check=True)
    return tree


def make_node_tree(suite: str, package: Path) -> Path:
    """A node without the package; what that depends on lies where apt has its downloads."""
    depends = subprocess.run(["dpkg-deb", "--field", package, "Depends"], capture_output=True, text=True, check=True).stdout
    needed = [word.split("(")[0].split(":")[0].strip() for word in depends.split(",")]
    return make_tree(suite, "node", [*NODE, *NODE_OF[suite]], needed)


class Cgroup:
    """Control groups of its own for a container: without systemd outside, nspawn takes those it is started in."""

    def __init__(self) -> None:
        name = f"pvehooks-bed-{uuid.uuid4().hex[:8]}"
        top = Path("/sys/fs/cgroup")
        tops = [top] if (top / "cgroup.procs").exists() else [top / "systemd", top / "unified"]
        self._places = [place / name for place in tops if (place / "cgroup.procs").exists()]
        for place in self._places:
            place.mkdir()

    def holding(self, command: Sequence[str]) -> list[str]:
        """The command line that runs a command in it."""
        enter = "".join(f"echo $$ >{place}/cgroup.procs; " for place in self._places)
        return ["sh", "-c", f'{enter}exec "$@"', "sh", *command]

    def remove(self) -> None:
        """Takes it away; all processes in it must have ended."""
        for place in self._places:
            for directory, _, _ in os.walk(place, topdown=False):
                Path(directory).rmdir()


def nspawn(root: Path, *arguments: str | Path, binds: Sequence[str] = ()) -> list[str]:
    """The command line that all containers share."""
    command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--link-journal=no", "--console=pipe"]
    return [*command, f"--bind-ro={PROJECT}:/srv/pvehooks", *binds, "-D", str(root), *map(str, arguments)]


def run_in(tree: Path, script: str, binds: Sequence[str] = (), timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Runs a shell script in a throw-away copy of a tree that is not booted, without a network."""
    group = Cgroup()
    command = nspawn(tree, "--volatile=overlay", "--pipe", "sh", "-ec", script, binds=binds)
    command.remove("--console=pipe")
    try:
        held = group.holding(command)
        return subprocess.run(held, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False)
    finally:
        group.remove()
