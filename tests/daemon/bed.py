"""A node for the daemon: pmxcfs stand-in at /etc/pve, qm stand-in on PATH, real journald, real NOTIFY_SOCKET."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.beds.journald import Journald
from tests.beds.namespace import detach, empty, mount
from tests.beds.notify import NotifySocket
from tests.beds.pmxcfs import Pmxcfs
from tests.beds.qm import Qm

PROJECT = Path(__file__).parents[2]
# Each guest is changed by a qm of its own.
QM = "[rng]\nwriter = qm\n"
NETWORK = "/sys/class/net"
UEFI = """\
bios: ovmf
efidisk0: local:100/vm-100-disk-1.qcow2,efitype=4m
boot: order=scsi0;net0
cpu: x86-64-v2-AES
memory: 2048
meta: creation-qemu=10.0.2,ctime=4000000000
name: {name}
net0: virtio=BC:24:11:2C:69:EC,bridge=vmbr0
scsi0: local:100/vm-100-disk-0.qcow2,size=32G
smbios1: uuid=b3247ab1-1fe6-428e-965b-08a1b64a8746
"""
RNG0 = "rng0: source=/dev/urandom,max_bytes=1024,period=1000\n"
OLD_META = "meta: creation-qemu=9.0.2,ctime=1700000000"


def uefi(name: str = "web", more: str = "", old: bool = False) -> str:
    """A UEFI guest that boots from the network and lacks an rng0; `old`: made before any first look."""
    text = UEFI.format(name=name) + more
    return text.replace("meta: creation-qemu=10.0.2,ctime=4000000000", OLD_META) if old else text


def made(name: str, ago: float, more: str = "") -> str:
    """The same, made so many seconds ago."""
    return uefi(name, more).replace("ctime=4000000000", f"ctime={int(time.time() - ago)}")


def wait_until(condition: Callable[[], Any], what: str, timeout: float = 60.0) -> Any:
    """What the condition gives once it is true; AssertionError otherwise."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.02)


@contextmanager
def network() -> Iterator[None]:
    """A node has the bridge that its guests name, whatever the machine has."""
    mount("tmpfs", NETWORK, "tmpfs")
    for name in ("lo", "vmbr0/bridge"):
        Path(NETWORK, name).mkdir(parents=True)
    yield
    detach(NETWORK)


class NodeBed:
    """A node with its daemon. `files` are configs of its guests; `settings` is /etc/pvehooks/pvehooks.conf.

    `others` are other files below /etc/pve, as those of the other `nodes`. PVE's Perl takes `loading` seconds to be loaded.
    """

    def __init__(
        self,
        directory: Path,
        files: Mapping[str, str | bytes] | None = None,
        settings: str = "",
        others: Mapping[str, str | bytes] | None = None,
        nodes: Sequence[str] = ("pve2",),
        loading: float = 0.0,
    ) -> None:
        self.directory = directory
        configs = {f"nodes/pve1/qemu-server/{name}": text for name, text in (files or {}).items()}
        self.pve = Pmxcfs(files={**configs, **(others or {})}, members=["pve1", *nodes])
        self.qm = Qm(directory / "qm", lock_timeout=0.5, loading=loading)
        self.journal = Journald()
        self.notify = NotifySocket()
        self.daemon: subprocess.Popen[bytes] | None = None
        self.conf = Path("/etc/pvehooks/pvehooks.conf")
        self.conf.write_text(settings)
        self.log = directory / "stderr"
        self._markers = iter(range(999000, 1000000))

    def __enter__(self) -> NodeBed:
        for leftover in ("/run/pvehooks", "/var/lib/pvehooks", "/run/lock/pvehooks", "/run/qemu-server"):
            empty(leftover)
        self._network = network()
        self._network.__enter__()
        self.pve.start()
        self.journal.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()
        self.notify.close()
        self.journal.stop()
        self.pve.close()
        self._network.__exit__(None, None, None)

    def start(
        self,
        ready: bool = True,
        watchdog: float = 0.0,
        path: str = "",
        arguments: tuple[str, ...] = (),
        program: tuple[str, ...] = ("pvehooks.daemon",),
    ) -> None:
        """Starts the daemon; returns when it is READY. `program` is a module that runs it, with its first arguments."""
        began = time.monotonic()
        environment = {**os.environ, **self.notify.environment, "PATH": path or self.qm.path, "PYTHONPATH": str(PROJECT)}
        environment["PERL5LIB"] = self.qm.perl5lib
        if watchdog:
            environment["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
        with self.log.open("ab") as stderr:
            command = [sys.executable, "-m", *program, "--node", "pve1", *arguments]
            self.daemon = subprocess.Popen(command, env=environment, cwd="/", stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr)
        if ready:
            self.notify.wait_for("READY", "1", after=began)

    def signal(self, number: int) -> None:
        """Sends a signal to the daemon."""
        assert self.daemon is not None
        self.daemon.send_signal(number)

    def stop(self, timeout: float = 60.0) -> float:
        """SIGTERM; returns how many seconds the end took. The exit status must be 0."""
        assert self.daemon is not None
        began = time.monotonic()
        self.daemon.send_signal(signal.SIGTERM)
        assert self.daemon.wait(timeout) == 0, self.log.read_text()
        return time.monotonic() - began

    def write(self, vmid: int, text: str | bytes) -> None:
        """As PVE writes, on this node."""
        self.pve.local_write(f"nodes/pve1/qemu-server/{vmid}.conf", text)

    def read(self, vmid: int) -> str:
        """The config as it is; a rename under way makes libfuse say that there is none."""
        return str(wait_until(lambda: self._text(vmid), f"config {vmid} is there"))

    def _text(self, vmid: int) -> str | None:
        try:
            return self.pve.config(vmid).read_text()
        except FileNotFoundError:
            return None

    def sets(self, vmid: int | None = None) -> int:
        """How often `qm set` was called."""
        return len(self.qm.calls("set", vmid))

    def wait_for_rng0(self, vmid: int, timeout: float = 60.0) -> str:
        """The config once the rng0 is in it and the daemon has said so."""
        wait_until(lambda: "rng0:" in self.read(vmid), f"rng0 in {vmid}; {self.log.read_text()}", timeout)
        self.logged("injected", vmid)
        return self.read(vmid)

    def logged(self, event: str, vmid: int = 0, count: int = 1, timeout: float = 60.0) -> list[dict[str, Any]]:
        """The journal entries of a kind, once there are so many."""
        matches = [f"PVEHOOKS_EVENT={event}", *([f"PVEHOOKS_VMID={vmid}"] if vmid else [])]
        return self.journal.wait_for(*matches, count=count, timeout=timeout)

    def messages(self, *matches: str) -> list[str]:
        """The messages so far."""
        return [str(entry["MESSAGE"]) for entry in self.journal.entries("SYSLOG_IDENTIFIER=pvehooksd", *matches)]

    def settle(self) -> None:
        """Waits till the daemon has looked at a change that comes after all made so far."""
        # What was logged of an earlier one says nothing of this time.
        marker = next(self._markers)
        self.write(marker, f"name: marker\nonbot: {marker}\n")
        self.logged("finding", marker)
        self.pve.config(marker).unlink()
