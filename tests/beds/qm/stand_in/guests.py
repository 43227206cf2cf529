"""The guests of this node: their files, locks and processes."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from config import Config, parse, write


class Failed(Exception):
    """The end of a call: PVE's words for standard error, and the exit status."""

    def __init__(self, words: str, status: int) -> None:
        super().__init__(words)
        self.words = words
        self.status = status


PMXCFS_DOWN = Failed(
    "".join(f"ipcc_send_rec[{number}] failed: Connection refused\n" for number in (1, 2, 3))
    + "Unable to load access control list: Connection refused",
    errno.ECONNREFUSED,
)


class Guests:
    """The guests below one root directory."""

    def __init__(self, root: str, lock_timeout: float) -> None:
        self.pve = f"{root}/etc/pve"
        self._locks = f"{root}/var/lock/qemu-server"
        self._pids = f"{root}/run/qemu-server"
        self._lock_timeout = lock_timeout
        self._warned_about: set[str] = set()
        try:
            self.node = os.path.basename(os.readlink(f"{self.pve}/local"))
            os.stat(f"{self.pve}/local/qemu-server")
        except OSError as error:
            raise PMXCFS_DOWN from error

    def _relative(self, vmid: str) -> str:
        return f"nodes/{self.node}/qemu-server/{vmid}.conf"

    def load(self, vmid: str) -> tuple[Config, str]:
        """A guest's config and its digest. What PVE cannot read it says once for each content (it caches the rest)."""
        try:
            with open(f"{self.pve}/{self._relative(vmid)}", "rb") as file:
                raw = file.read()
        except FileNotFoundError as error:
            raise Failed(f"Configuration file '{self._relative(vmid)}' does not exist", errno.ENOENT) from error
        except OSError as error:
            raise PMXCFS_DOWN from error
        digest = hashlib.sha1(raw).hexdigest()
        config = parse(raw, vmid)
        if digest not in self._warned_about:
            self._warned_about.add(digest)
            for warning in config.warnings:
                sys.stderr.write(warning + "\n")
        return config, digest

    def save(self, vmid: str, config: Config) -> None:
        """PVE::File::file_set_contents: a new NAME.tmp.PID, written, renamed."""
        path = f"/etc/pve/{self._relative(vmid)}"
        target = f"{self.pve}/{self._relative(vmid)}"
        temporary = f"{target}.tmp.{os.getpid()}"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except OSError as error:
            raise Failed(f"unable to open file '{path}.tmp.{os.getpid()}' - {error.strerror}", errno.ENOENT) from error
        try:
            data = write(config)
            if data:
                os.write(descriptor, data)
            os.close(descriptor)
            os.rename(temporary, target)
        except OSError as error:
            os.unlink(temporary)
            raise Failed(f"unable to write '{path}.tmp.{os.getpid()}' - {error.strerror}", error.errno or 0) from error

    def vmids(self) -> list[str]:
        """The guests of this node, in order."""
        names = os.listdir(f"{self.pve}/local/qemu-server")
        return sorted((name[:-5] for name in names if name.endswith(".conf") and name[:-5].isdecimal()), key=int)

    def pid(self, vmid: str) -> int:
        """The process id of a running guest, or 0."""
        try:
            with open(f"{self._pids}/{vmid}.pid", encoding="ascii") as file:
                pid = int(file.read())
            os.kill(pid, 0)
        except (OSError, ValueError):
            return 0
        return pid

    @contextmanager
    def locked(self, vmid: str) -> Iterator[None]:
        """The guest's flock, waited for as PVE::Tools::lock_file does: an alarm interrupts it after 10 s."""
        os.makedirs(self._locks, exist_ok=True)
        name = f"/var/lock/qemu-server/lock-{vmid}.conf"
        with open(f"{self._locks}/lock-{vmid}.conf", "a", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                sys.stderr.write("trying to acquire lock...\n")
                sys.stderr.flush()
                if not _flock_within(file.fileno(), self._lock_timeout):
                    raise Failed(f"can't lock file '{name}' - got timeout", errno.EINTR) from None
                sys.stderr.write(" OK\n")
            yield


def _flock_within(descriptor: int, seconds: float) -> bool:
    def expire(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError

    if seconds <= 0:
        time.sleep(0)
        return False
    signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except TimeoutError:
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return True
