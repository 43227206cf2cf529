"""A node that boots: systemd as PID 1 in a container, with stand-ins for pmxcfs and qm in the places of the real ones."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.beds.namespace import MNT_DETACH, _libc, mount
from tests.beds.pmxcfs.wire import ask
from tests.beds.qm.driver import install_modules
from tests.node.trees import Cgroup, nspawn

INSIDE = Path(__file__).with_name("inside")
UNITS = "/usr/local/lib/systemd/system"
# How long something may take on a machine that has other things to do: it is an end for what never comes, and no measure.
PATIENCE = 300.0
GUESTS = "/etc/pve/nodes/pve1/qemu-server"


class Done(NamedTuple):
    """What a command in the node came to."""

    status: int
    out: str
    err: str


class Machine:
    """A node with its own copy of a tree; what changes in it is gone at the end, and stays over reboot().

    `proxmox` says whether there is a pmxcfs and a qm, `members` who is in its cluster.
    """

    def __init__(self, tree: Path, proxmox: bool = True, members: tuple[str, ...] = ()) -> None:
        self._scratch = Path(tempfile.mkdtemp(prefix="node-"))
        mount("tmpfs", str(self._scratch), "tmpfs", options="mode=0755")
        for name in ("upper", "work", "root", "job", "units"):
            (self._scratch / name).mkdir()
        layers = f"lowerdir={tree},upperdir={self._scratch}/upper,workdir={self._scratch}/work"
        self.root = self._scratch / "root"
        mount("overlay", str(self.root), "overlay", options=layers)
        self.job = self._scratch / "job"
        self._process: subprocess.Popen[bytes] | None = None
        self._group: Cgroup | None = None
        self._furnish(proxmox, members)

    def _furnish(self, proxmox: bool, members: tuple[str, ...]) -> None:
        units = self._scratch / "units"
        shutil.copytree(INSIDE, units, dirs_exist_ok=True)
        wanted = units / "multi-user.target.wants"
        wanted.mkdir()
        for unit in ("bed-agent", "pve-cluster", "pve-guests") if proxmox else ("bed-agent",):
            (wanted / f"{unit}.service").symlink_to(f"../{unit}.service")
        if proxmox:
            shutil.copy(INSIDE / "qm", self.root / "usr/sbin/qm")
            install_modules(self.root / "usr/share/perl5", "/usr/sbin/qm")
        else:
            (units / "pve-cluster.service").unlink()
            (units / "pve-guests.service").unlink()
        (self.job / "pmxcfs.env").write_text("MEMBERS=" + " ".join(f"--member={name}" for name in members) + "\n")
        (self.root / "etc/hostname").write_text("pve1\n")
        (self.root / "etc/machine-id").write_text("")

    # -- life ---------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Machine:
        try:
            self.boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def boot(self) -> None:
        """Starts it; returns when all its jobs are done."""
        self._group = Cgroup()
        binds = ["--bind=/dev/fuse", f"--bind={self.job}:/job", f"--bind-ro={self._scratch}/units:{UNITS}"]
        environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        (self.job / "agent").unlink(missing_ok=True)
        with (self._scratch / "console").open("ab") as console:
            self._process = subprocess.Popen(
                self._group.holding(nspawn(self.root, "--hostname=pve1", "--boot", binds=binds)),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=environment,
            )
        deadline = time.monotonic() + PATIENCE
        while not (self.job / "agent").exists():
            console_text = (self._scratch / "console").read_text(errors="replace")[-3000:]
            assert self._process.poll() is None, f"the node did not boot: {console_text}"
            assert time.monotonic() < deadline, f"the node did not boot within {PATIENCE} s: {console_text}"
            time.sleep(0.05)
        self.run("systemctl", "is-system-running", "--wait", check=False)

    def halt(self, orderly: bool = False) -> None:
        """Ends it, at once or (orderly) by a shutdown that stops every service."""
        if self._process is None:
            return
        if orderly:
            with suppress(ValueError):  # it may go before it has answered
                self.run("systemctl", "--no-block", "poweroff")
        else:
            with suppress(OSError, AssertionError, ValueError):
                self.run("systemctl", "halt", "-ff", check=False, timeout=5)
        try:
            self._process.wait(PATIENCE if orderly else 10)
        except subprocess.TimeoutExpired:
            # nspawn takes the payload with it.
            self._process.kill()
            self._process.wait()
            assert not orderly, f"the node did not shut down within {PATIENCE} s"
        self._process = None
        assert self._group is not None
        wait_until(self._group_is_gone, "the container's processes are gone")

    def _group_is_gone(self) -> bool:
        assert self._group is not None
        try:
            self._group.remove()
        except OSError:
            return False
        return True

    def reboot(self) -> None:
        """An orderly shutdown, and a boot with the same files."""
        self.halt(orderly=True)
        self.boot()

    def close(self) -> None:
        """Ends it and forgets what it wrote."""
        self.halt()
        for place in (self.root, self._scratch):
            _libc.umount2(os.fsencode(place), MNT_DETACH)
        self._scratch.rmdir()

    # -- commands -----------------------------------------------------------------------------------------------------

    def run(self, *argv: str, check: bool = True, timeout: float = PATIENCE, stdin: str = "", **environment: str) -> Done:
        """Runs a command in it, as root."""
        order = {"argv": argv, "input": stdin, "timeout": timeout, "environment": environment}
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(timeout + 15)
            client.connect(str(self.job / "agent"))
            client.sendall(json.dumps(order).encode() + b"\n")
            with client.makefile("rb") as stream:
                done = Done(**json.loads(stream.readline()))
        assert done.status == 0 or not check, f"{' '.join(argv)} ended with {done.status}:\n{done.out[-6000:]}\n{done.err[-6000:]}"
        return done

    def sh(self, script: str, check: bool = True, timeout: float = PATIENCE) -> str:
        """What a shell script prints, standard error included."""
        done = self.run("sh", "-c", f"exec 2>&1\n{script}", check=check, timeout=timeout)
        return done.out

    def show(self, what: str, unit: str = "pvehooks.service") -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", "--property", what, unit).out.strip()

    def active(self, unit: str = "pvehooks.service") -> bool:
        """Whether the service runs and has said that it is ready."""
        return self.run("systemctl", "is-active", unit, check=False).out.strip() == "active"

    def wait_active(self) -> int:
        """Waits for the service; its main process."""
        wait_until(self.active, "pvehooks.service is active", self.state)
        return int(self.show("MainPID"))

    def state(self) -> str:
        """What is to be known when something failed."""
        return self.sh("systemctl status --no-pager --lines=0 pvehooks pve-cluster; journalctl --no-pager --no-hostname -n 25", check=False)

    # -- pmxcfs and the journal ---------------------------------------------------------------------------------------

    def pmxcfs(self, command: str, *arguments: Any) -> Any:
        """Orders for the stand-in (tests/beds/pmxcfs/node.py lists them)."""
        return ask(str(self.job / "pmxcfs"), command, *arguments)

    def remote_write(self, path: str, text: str) -> None:
        """Another node writes a file below /etc/pve, as PVE does."""
        self.pmxcfs("apply", "put", f"{path}.tmp.1", {"bytes": text})
        self.pmxcfs("apply", "rename", f"{path}.tmp.1", path)

    def write(self, vmid: int, text: str) -> None:
        """As PVE writes a config on this node."""
        target = f"{GUESTS}/{vmid}.conf"
        self.run("sh", "-c", f"cat >{target}.tmp.1 && mv {target}.tmp.1 {target}", stdin=text)

    def read(self, vmid: int) -> str:
        """The guest's config."""
        return self.run("cat", f"{GUESTS}/{vmid}.conf", check=False).out

    def wait_for_rng0(self, vmid: int) -> None:
        """Until the guest has its rng0 and the journal says so."""
        wait_until(lambda: "rng0:" in self.read(vmid), f"VM {vmid} has an rng0", self.state)
        wait_until(
            lambda: self.entries("PVEHOOKS_EVENT=injected", f"PVEHOOKS_VMID={vmid}"), f"the rng0 of {vmid} is in the journal", self.state
        )

    def entries(self, *matches: str) -> list[dict[str, Any]]:
        """The journal's entries of this boot."""
        lines = self.run("journalctl", "--sync", check=False) and self.run("journalctl", "--boot", "--output=json", "--all", *matches).out
        return [json.loads(line) for line in str(lines).splitlines() if line.startswith("{")]

    # -- the package --------------------------------------------------------------------------------------------------

    def offer(self, repository: Path) -> None:
        """The repository that apt knows as file:/srv/repo has these contents now."""
        shutil.rmtree(self.root / "srv/repo", ignore_errors=True)
        shutil.copytree(repository, self.root / "srv/repo")

    def add_repository(self) -> None:
        """The README's first two commands, with a repository that is a directory."""
        self.sh("cp /srv/repo/pvehooks.gpg /usr/share/keyrings/ && cp /srv/repo/pvehooks.sources /etc/apt/sources.list.d/")
        # Without a network Debian's own lists stay as they are, with a warning.
        self.sh("apt-get update")

    def install(self, what: str = "pvehooks", options: str = "", check: bool = True) -> str:
        """apt-get install; what it says."""
        return self.sh(f"apt-get install --yes {options} {what}", check=check)

    def apt(self, *words: str, check: bool = True) -> str:
        """apt-get in one of its other ways."""
        return self.sh(f"apt-get --yes {' '.join(words)}", check=check)

    def signal(self, name: str) -> None:
        """Sends a signal to the daemon's main process."""
        self.run("systemctl", "kill", "--kill-who=main", f"--signal={name}", "pvehooks.service")


def wait_until(condition: Callable[[], Any], what: str, why: Callable[[], str] = str) -> Any:
    """What the condition gives once it is true; AssertionError otherwise."""
    deadline = time.monotonic() + PATIENCE
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}\n{why()}"
        time.sleep(0.1)
