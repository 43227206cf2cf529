"""Start, change, stop, kill and restart a stand-in for pmxcfs from a test."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..namespace import detach_fuse, fuse_connection
from .store import Store
from .wire import ask, encode

PACKAGE = __package__ or "tests.beds.pmxcfs"
SEARCH_PATH = Path(__file__).parents[PACKAGE.count(".") + 1]
START_TIMEOUT = 60.0

Text = str | bytes


def _bytes(text: Text) -> bytes:
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


class Pmxcfs:
    """A pmxcfs of one node.

    with Pmxcfs("/etc/pve", files={"nodes/pve1/qemu-server/100.conf": "bios: ovmf\\n"}) as pve: ...

    Paths given to its methods are relative to the mount. `remote_...` are changes made by another node of the
    cluster: no inotify event on this mount, only the doorbell. With `join=[other]` two of them replicate: what is
    written through one mount is a remote change for the other. The database of an earlier one in the same place is
    removed before the first start, unless `keep_database` is given.
    """

    def __init__(
        self,
        mountpoint: str | Path = "/etc/pve",
        *,
        node: str = "pve1",
        db_dir: str | Path = "/var/lib/pve-cluster",
        files: Mapping[str, Text] | None = None,
        members: list[str] | None = None,
        join: list[Pmxcfs] | None = None,
        stop_delay: float = 0.0,
        keep_database: bool = False,
    ) -> None:
        self.mountpoint = Path(mountpoint)
        self.node = node
        self.db_dir = Path(db_dir)
        self.members = members or []
        self.stop_delay = stop_delay
        self._peers = join or []
        self._keep_database = keep_database
        self._files = dict(files or {})
        self._scratch = Path(tempfile.mkdtemp(prefix="pmxcfs-bed-"))
        self.control = str(self._scratch / "control")
        self._process: subprocess.Popen[bytes] | None = None

    # --- life ---

    def __enter__(self) -> Pmxcfs:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process id of the serving process."""
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        """Mount; returns when the mount answers. RuntimeError with pmxcfs' words where that is refused."""
        if not self._keep_database:
            for leftover in [*self.db_dir.glob("config.db*"), *self.db_dir.glob(".pmxcfs.lockfile")]:
                leftover.unlink()
            self._keep_database = True
        self._seed()
        with suppress(FileExistsError):  # a dead mount is there, but cannot be looked at
            self.mountpoint.mkdir(parents=True)
        Path(self.control).unlink(missing_ok=True)
        command = [sys.executable, "-m", PACKAGE, str(self.mountpoint), "--node", self.node, "--leash"]
        command += ["--db-dir", str(self.db_dir), "--control", self.control, "--stop-delay", str(self.stop_delay)]
        command += [f"--member={name}" for name in self.members]
        command += [f"--join={peer.node}={peer.control}" for peer in self._peers]
        log = self._scratch / "stderr"
        with log.open("wb") as stderr:
            environment = {**os.environ, "PYTHONPATH": str(SEARCH_PATH)}
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=stderr, env=environment, cwd="/")
        atexit.register(self.close)
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
                raise RuntimeError(f"pmxcfs did not start: {log.read_text(errors='replace').strip()}")
            time.sleep(0.005)

    def _seed(self) -> None:
        """Put the given files into the database before the first start: thousands at once."""
        if not self._files:
            return
        store = Store(self.db_dir)
        for path, text in self._files.items():
            store.put(path, _bytes(text))
        store.close()
        self._files = {}

    def _answers(self) -> bool:
        try:
            return bool(ask(self.control, "ping", timeout=1.0) == self.node)
        except OSError:
            return False

    def stop(self, timeout: float = 30.0) -> None:
        """Stop cleanly, as systemd does: watchers see IN_UNMOUNT unless somebody holds a file open."""
        assert self._process is not None, "not started"
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout)
        self._let_go()

    def kill(self) -> None:
        """Kill it: no event; every access gives ENOTCONN until it is restarted."""
        assert self._process is not None, "not started"
        self._process.kill()
        self._process.wait()
        self._let_go()

    def restart(self) -> None:
        """Stop (if it still runs) and start again: same files, new starttime, new numbers."""
        if self._process is not None and self._process.poll() is None:
            self.stop()
        self.start()

    def _let_go(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def close(self) -> None:
        """End it whatever its state, and leave no mount and no socket behind. The database stays."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._let_go()
        detach_fuse(self.mountpoint)
        shutil.rmtree(self._scratch, ignore_errors=True)
        atexit.unregister(self.close)

    # --- changes by another node ---

    def remote(self, operation: str, *arguments: Any) -> None:
        """Any operation of the store, done by another node: create, write, truncate, mkdir, delete, rename, put..."""
        ask(self.control, "apply", operation, *map(encode, arguments))

    def remote_write(self, path: str, text: Text) -> None:
        """Another node writes a file as PVE does: a temporary file, renamed into place."""
        temporary = f"{path}.tmp.1"
        self.remote("put", temporary, _bytes(text))
        self.remote("rename", temporary, path)

    def remote_delete(self, path: str) -> None:
        """Another node deletes a file or an empty directory."""
        self.remote("delete", path)

    def remote_rename(self, source: str, target: str) -> None:
        """Another node renames a file; from one node's directory to another's this is a migration."""
        self.remote("rename", source, target)

    def remote_mkdir(self, path: str) -> None:
        """Another node makes a directory, with its parents."""
        self.remote("make_parents", path)

    # --- states and faults ---

    def set_quorum(self, quorate: bool) -> None:
        """Lose quorum (writes EACCES, modes 0440 and 0555, clinfo moves), or regain it (all is renumbered)."""
        ask(self.control, "quorum", quorate)

    def renumber(self) -> None:
        """All per-guest versions move at once, as after a rejoin."""
        ask(self.control, "renumber")

    def hang(self, seconds: float | None = None) -> None:
        """Block every access from now on, for a time or until resume()."""
        ask(self.control, "hang", seconds)

    def resume(self) -> None:
        """End a hang."""
        ask(self.control, "resume")

    def freeze(self) -> None:
        """Stop the serving process (SIGSTOP) at a moment at which no request is under way.

        One that it has taken and not answered is waited for in the kernel whatever happens to the asking process: not even
        SIGKILL ends that (fs/fuse/dev.c, request_wait_answer). One that waits to be taken does not keep a process from ending.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            os.kill(self.pid, signal.SIGSTOP)
            # Returns once all threads have stopped; until then one of them may take a request.
            os.waitid(os.P_PID, self.pid, os.WSTOPPED)
            if not self.requests():
                return
            self.thaw()
            assert time.monotonic() < deadline, "there is always a request under way"
            time.sleep(0.01)

    def thaw(self) -> None:
        """Let the serving process go on."""
        os.kill(self.pid, signal.SIGCONT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """As long as this lasts, nothing is answered."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def requests(self) -> int:
        """How many requests of this mount the kernel has that are not answered yet."""
        return int((fuse_connection(self.mountpoint) / "waiting").read_text())

    def counters(self) -> dict[str, Any]:
        """starttime, clinfo, vmlist, files {name: n}, guests {vmid: n}; asked past the mount."""
        result: dict[str, Any] = ask(self.control, "counters")
        return result

    # --- changes through the mount ---

    def path(self, relative: str = "") -> Path:
        """A path below the mount."""
        return self.mountpoint / relative

    def config(self, vmid: int, node: str | None = None) -> Path:
        """The path of a guest's config."""
        return self.path(f"nodes/{node or self.node}/qemu-server/{vmid}.conf")

    def local_write(self, path: str, text: Text) -> None:
        """Write through the mount as PVE does (PVE::Tools::file_set_contents): NAME.tmp.PID, then rename."""
        target = self.path(path)
        temporary = target.with_name(f"{target.name}.tmp.{os.getpid()}")
        temporary.write_bytes(_bytes(text))
        temporary.rename(target)
