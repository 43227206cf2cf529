"""The only door to the operating system: reading, listing, resolving links, locking, writing, running commands, reading the clocks.

With another root than `/` every link is resolved inside the root and no command is ever run.
"""

from __future__ import annotations

import os
import stat
import time

from pvehooks.values.base import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pvehooks.host.program import Program as Program
    from pvehooks.host.undisturbed import Undisturbed

# Where our locks lie: root's alone, unlike /run/lock. A process that can open a file can hold a lock on it.
LOCKS = "/run/pvehooks/locks"
_OURS = "/run/pvehooks/"
# In seconds.
_RENAME_PAUSES = (0.0, 0.002, 0.01, 0.05)
# What FUSE asks its server for at once (fs/fuse: max_pages).
_CHUNK = 1 << 17


class Completed(NamedTuple):
    """What a command answered. `status` is its exit status, or minus the number of the signal that ended it."""

    status: int
    stdout: str
    stderr: str


class CommandTrouble(Exception):
    """A command could not be run to its end: missing, or over its time limit."""


def _part(descriptor: int, begin: int, most: int) -> bytes:
    content = b""
    while len(content) < most and (chunk := os.pread(descriptor, min(most - len(content), _CHUNK), begin + len(content))):
        content += chunk
    return content


class Host:
    """This node (`Host()`), or a tree of files that stands for one (`Host("/some/dir")`).

    All paths are absolute paths *as the node sees them*; all readers raise OSError as the system calls do.
    """

    def __init__(self, root: str = "/") -> None:
        self.root = os.path.realpath(root)
        self.is_node = self.root == "/"
        # Whether commands have answers: those of a capture were written down.
        self.can_run = self.is_node

    # -- where things are ---------------------------------------------------------------------------------------------

    def locate(self, path: str, follow: bool = True) -> str:
        """The real path of `path` below the root; every link on the way is resolved inside the root.

        With follow=False the last component is not resolved. Raises ELOOP as the kernel would, and EINVAL for what is no path: Python
        has a ValueError for that, and paths come from configs.
        """
        if self.is_node and path.isascii() and "\0" not in path:
            return path
        from pvehooks.host import safepaths

        return safepaths.inside(self.root, path, follow)

    # -- reading ------------------------------------------------------------------------------------------------------

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        """The file's bytes, at most `limit` + 1 of them (which shows that a file is longer); nothing is kept open.

        PVE replaces what it writes below /etc/pve by renaming another file onto it, and an open that meets the rename finds no file there
        (libfuse looks paths up anew): what is there all the same is tried again.
        """
        for pause in _RENAME_PAUSES if path.startswith("/etc/pve/") else ():
            try:
                return self._read(path, limit)
            except FileNotFoundError:
                if not self._is_replaced(path):
                    raise
                self.sleep(pause)
        return self._read(path, limit)

    def _is_replaced(self, path: str) -> bool:
        """Whether a file that could not be opened is there; stat(2) may meet the rename, too, but the names in the directory do not."""
        directory, _, name = path.rpartition("/")
        return self.exists(path) or (directory.endswith("/qemu-server") and self.is_dir(directory) and name in self.names(directory))

    def _read(self, path: str, limit: int) -> bytes:
        """As read, in one attempt.

        Opened without blocking: a FIFO that a tree holds must not hang us. A read that gives less than asked for was the
        last one, in FUSE as in all file systems; each further one would cost another round trip to pmxcfs. Not so in procfs,
        which gives about a page at a time (the kernel's fs/seq_file.c).
        """
        descriptor = os.open(self.locate(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            asked = min(limit + 1, _CHUNK)
            content = os.read(descriptor, asked)
            if len(content) < asked and not path.startswith("/proc/"):
                return content
            # Put together once: adding to what is there would copy a large file many times.
            chunks, size = [content], len(content)
            while size <= limit and (chunk := os.read(descriptor, min(limit + 1 - size, _CHUNK))):
                chunks.append(chunk)
                size += len(chunk)
            return b"".join(chunks)
        finally:
            os.close(descriptor)

    def read_end(self, path: str, limit: int) -> tuple[int, bytes]:
        """The file's last `limit` bytes at most, and at which byte of it they begin; EACCES for another user's link."""
        from pvehooks.host import safepaths

        descriptor = safepaths.open_read(self.locate(path))
        try:
            begin = max(0, os.fstat(descriptor).st_size - limit)
            return begin, _part(descriptor, begin, limit)
        finally:
            os.close(descriptor)

    def read_made(self, path: str, limit: int = 1 << 20) -> bytes:
        """A file that its file system makes up when its attributes are asked for, as pmxcfs does with .version.

        The kernel remembers attributes for a second, and with them old contents would be read. A first read makes it forget
        them, fstat(2) has the text made, and then it is read from its beginning.
        """
        descriptor = os.open(self.locate(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            os.read(descriptor, 1)
            os.fstat(descriptor)
            return _part(descriptor, 0, limit + 1)
        finally:
            os.close(descriptor)

    def read_text(self, path: str) -> str:
        """The file's text without trailing white space; bytes that are no UTF-8 stay as surrogates."""
        return self.read(path).decode("utf-8", "surrogateescape").rstrip()

    def names(self, path: str) -> list[str]:
        """The sorted names in a directory."""
        return sorted(os.listdir(self.locate(path)))

    def exists(self, path: str) -> bool:
        """Whether something is there (False also where that cannot be found out)."""
        try:
            return os.stat(self.locate(path)) is not None
        except OSError:
            return False

    def is_dir(self, path: str) -> bool:
        """Whether a directory is there."""
        try:
            return stat.S_ISDIR(os.stat(self.locate(path)).st_mode)
        except OSError:
            return False

    def owner_and_mode(self, path: str) -> tuple[int, int]:
        """The owner's uid and st_mode of what is there, links followed."""
        found = os.stat(self.locate(path))
        return found.st_uid, found.st_mode

    def attributes(self, path: str) -> tuple[int, int, int, int]:
        """st_mode, uid, gid and number of hard links of what is there, a link being itself."""
        found = os.lstat(self.locate(path, follow=False))
        return found.st_mode, found.st_uid, found.st_gid, found.st_nlink

    def has_acl(self, path: str) -> bool:
        """Whether an access control list gives more users a right than the mode shows (acl(5)); trees have none."""
        try:
            return self.is_node and bool(os.getxattr(path, "system.posix_acl_access"))
        except OSError:
            return False

    def modified(self, path: str) -> float:
        """When the contents last changed, in seconds since the epoch; links followed."""
        return os.stat(self.locate(path)).st_mtime

    def size(self, path: str) -> int:
        """How many bytes a file holds; links followed."""
        return os.stat(self.locate(path)).st_size

    def real(self, path: str) -> str:
        """The path with every link resolved; what is not there stays as it is written. For a tree, a loop is ELOOP."""
        located = self.locate(path)
        return os.path.realpath(located) if self.is_node else located[len(self.root) :] or "/"

    def real_output(self, path: str) -> str:
        """As real(), for a file that is to be written: on a node OSError, EACCES, where a link of another user leads somewhere else."""
        from pvehooks.host import safepaths

        return safepaths.real_file(self.locate(path)) if self.is_node else self.real(path)

    def link_name(self, path: str) -> str:
        """The last component of what a symbolic link names (the way sysfs names drivers, groups and masters)."""
        return os.path.basename(os.readlink(self.locate(path, follow=False)))

    def link_text(self, path: str) -> str:
        """What a symbolic link says, as it is stored."""
        return os.readlink(self.locate(path, follow=False))

    def link_texts(self, path: str, most: int = 0) -> dict[str, str]:
        """What the symbolic links in a directory say, by name; those that vanish meanwhile are left out.

        With `most` at most one more than that is listed, so that a user who fills a directory does not keep us.
        """
        directory = self.locate(path)
        texts: dict[str, str] = {}
        with os.scandir(directory) as entries:
            for entry in entries:
                try:
                    texts[entry.name] = os.readlink(f"{directory}/{entry.name}")
                except OSError:
                    continue
                if most and len(texts) > most:
                    break
        return texts

    def folders(self, path: str) -> list[str]:
        """The sorted names of the directories in a directory; links to directories are none."""
        with os.scandir(self.locate(path)) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))

    def device_number(self, path: str, only_block: bool = False) -> tuple[int, int] | None:
        """Major and minor of a device node, None where there is none (as in most trees); the two kinds have the same numbers."""
        try:
            found = os.stat(self.locate(path))
        except OSError:
            return None
        if not stat.S_ISBLK(found.st_mode) and (only_block or not stat.S_ISCHR(found.st_mode)):
            return None
        return os.major(found.st_rdev), os.minor(found.st_rdev)

    # -- writing ------------------------------------------------------------------------------------------------------

    def make_dir(self, path: str, mode: int = 0o755, durable: bool = False) -> None:
        """The directory and its parents, if they are not there yet; on a node no link of another user is followed.

        `durable`: new ones survive a power cut.
        """
        from pvehooks.host import safepaths

        place = self.locate(path)
        above = [place]
        while durable and not os.path.isdir(above[-1]):
            above.append(os.path.dirname(above[-1]))
        if self.is_node:
            os.close(safepaths.open_directory(place, make=mode))
        else:
            os.makedirs(place, mode=mode, exist_ok=True)
        for directory in above[1:]:
            safepaths.sync(directory)

    def _place(self, path: str) -> tuple[int, str]:
        """A descriptor of the directory in which a file is to be written, and the name of the file."""
        from pvehooks.host import safepaths

        place, _, name = self.locate(path).rpartition("/")
        return safepaths.open_directory(place) if self.is_node else os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), name

    def replace(
        self,
        path: str,
        content: bytes,
        mode: int = 0o640,
        durable: bool = False,
        keep_mode: bool = True,
        owner: tuple[int, int] | None = None,
    ) -> None:
        """Writes the file whole or not at all: beside it as NAME.tmp.PID, then renamed onto it, as PVE does.

        `durable`: once it returns, a power cut leaves the new content, and its name, which is synced with its directory (fsync(2)).
        A file that is there keeps its mode, and `mode` is that of a new one (less the umask); with keep_mode=False it has just `mode`.
        It belongs to `owner` (uid, gid), else to who writes it.
        """
        from pvehooks.host import safepaths

        directory, name = self._place(path)
        beside = f"{name}.tmp.{os.getpid()}"
        try:
            present = safepaths.mode_of(directory, name) if keep_mode else None
            descriptor = safepaths.create(directory, beside, mode if present is None else present)
            try:
                self._write_all(descriptor, content)
                if owner is not None:
                    os.fchown(descriptor, *owner)
                if not keep_mode:
                    os.fchmod(descriptor, mode)
                if durable:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(beside, name, src_dir_fd=directory, dst_dir_fd=directory)
            if durable:
                os.fsync(directory)
        except OSError as error:
            self._forget(beside, directory)
            raise OSError(error.errno, error.strerror, path) from error
        finally:
            os.close(directory)

    @staticmethod
    def _write_all(descriptor: int, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]

    def append(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Adds to the end of a file, made if absent, in one piece: what several processes add does not mix."""
        from pvehooks.host import safepaths

        directory, name = self._place(path)
        try:
            descriptor = safepaths.open_own(directory, name, os.O_WRONLY | os.O_APPEND, mode)
        finally:
            os.close(directory)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)

    @staticmethod
    def _forget(name: str, directory: int) -> None:
        try:
            os.unlink(name, dir_fd=directory)
        except OSError:
            return

    def send(self, path: str, message: bytes, patience: float) -> None:
        """Sends a datagram to a socket; raises OSError, BlockingIOError or TimeoutError if it is not taken within `patience` seconds."""
        from pvehooks.host import datagram

        datagram.send(self.locate(path), message, patience)

    def write_attribute(self, path: str, text: str) -> None:
        """Writes to a file of sysfs, in one piece as the kernel wants it; it must be there. In a tree nothing acts on it."""
        descriptor = os.open(self.locate(path), os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def remove(self, path: str, durable: bool = False) -> None:
        """Removes a file, or a link itself; nothing happens if it is not there. `durable`: a power cut does not bring it back."""
        place = self.locate(path, follow=False)
        try:
            os.unlink(place)
        except FileNotFoundError:
            return
        if durable:
            from pvehooks.host import safepaths

            safepaths.sync(os.path.dirname(place))

    def make_link(self, path: str, text: str) -> None:
        """A symbolic link that says `text`; raises OSError where something is."""
        os.symlink(text, self.locate(path, follow=False))

    def make_private_dir(self) -> str:
        """A new directory of this process's own, for what is to go again."""
        import tempfile

        return tempfile.mkdtemp(prefix="pvehooks-")

    def remove_tree(self, path: str) -> None:
        """Removes a directory with all that is in it, as far as that can be done; no link is followed."""
        import shutil

        shutil.rmtree(self.locate(path, follow=False), ignore_errors=True)

    def remove_dir(self, path: str) -> None:
        """Removes a directory, which must be empty; raises OSError."""
        os.rmdir(self.locate(path, follow=False))

    def lock(self, path: str, timeout: float) -> Lock:
        """An exclusive flock(2) on the file (made if absent), waited for at most `timeout` seconds; see Lock."""
        return Lock(self.locate(path), timeout, path.startswith(_OURS), self.is_node)

    # -- running and time ---------------------------------------------------------------------------------------------

    def run(self, argv: Sequence[str], timeout: float, env: Mapping[str, str] | None = None, given: bytes | None = None) -> Completed:
        """Runs a command of this node to its end; raises CommandTrouble when it is missing or over its time.

        Never runs anything for a tree. The command gets what is `given` on standard input, and the C locale so that its words are known.
        """
        from pvehooks.host import running

        if not self.is_node:
            raise CommandTrouble(f"{argv[0]} is not run for a tree")
        return running.run(argv, timeout, {**os.environ, "LC_ALL": "C", **(env or {})}, given)

    def spawn(self, argv: Sequence[str], timeout: float) -> int:
        """Runs a command without a word from it, as run() does, but without the 10 ms that importing subprocess takes.

        Its exit status, or minus the number of the signal that ended it; raises CommandTrouble.
        """
        if not self.is_node:
            raise CommandTrouble(f"{argv[0]} is not run for a tree")
        silence = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
        try:
            pid = os.posix_spawnp(argv[0], list(argv), {**os.environ, "LC_ALL": "C"}, file_actions=silence)
        except OSError as error:
            raise CommandTrouble(f"{argv[0]} cannot be run: {error.strerror}") from error
        deadline = time.monotonic() + timeout
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() >= deadline:
                os.kill(pid, 9)
                raise CommandTrouble(f"{argv[0]} did not end within {timeout:.0f} s and was killed")
            time.sleep(0.002)

    def start(self, argv: Sequence[str]) -> Program:
        """Starts a program that answers lines, with the environment that run() gives; raises CommandTrouble."""
        from pvehooks.host import program

        if not self.is_node:
            raise CommandTrouble(f"{argv[0]} is not run for a tree")
        return program.Program(argv, {**os.environ, "LC_ALL": "C"})

    def undisturbed(self) -> Undisturbed:
        """For a with statement around what must not be broken off half way; see Undisturbed."""
        from pvehooks.host import undisturbed

        return undisturbed.Undisturbed()

    @property
    def pid(self) -> int:
        """The number of this process, which is in the names of files that are being written."""
        return os.getpid()

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Waits."""
        time.sleep(seconds)

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back."""
        return time.monotonic()


class Lock:
    """An flock(2) on a file, for a with statement; raises BlockingIOError when it was not to be had in time, else OSError.

    `private`: only root may open it. A lock of the node must lie in a directory that no one but root can write (safepaths.open_lock).
    """

    def __init__(self, path: str, timeout: float, private: bool, of_node: bool) -> None:
        self._path = path
        self._timeout = timeout
        self._private = private
        self._of_node = of_node
        self._descriptor = -1

    def __enter__(self) -> Lock:
        import fcntl

        descriptor = self._open()
        deadline = time.monotonic() + self._timeout
        pause = 0.005
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    raise
            else:
                if os.fstat(descriptor).st_nlink:
                    self._descriptor = descriptor
                    return self
                # Its holder removed the file: the lock is now the file that has the name.
                os.close(descriptor)
                descriptor = self._open()
                continue
            time.sleep(pause)
            pause = min(pause * 2, 0.1)

    def _open(self) -> int:
        from pvehooks.host import safepaths

        if self._of_node:
            return safepaths.open_lock(self._path, self._private)
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
