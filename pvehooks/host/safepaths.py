"""Opens files in directories that others may write (/tmp, /run/lock, a storage): no link of theirs is followed, nothing of theirs opened.

Source of the dangers: path_resolution(7), and the kernel's Documentation/admin-guide/sysctl/fs.rst (protected_*), which a node may switch off.
"""

from __future__ import annotations

import errno
import os
import stat

# MAXSYMLINKS of the kernel's include/linux/namei.h.
MAX_LINKS = 40
_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO must not block, a terminal not become ours, a link not be followed.
_FILE = os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
# A file of that name may be there from a process that was killed.
_ATTEMPTS = 5


def is_trusted(uid: int) -> bool:
    """Whether what belongs to this user is as good as ours: root's, and our own."""
    return uid in (0, os.geteuid())


def open_directory(path: str, make: int | None = None) -> int:
    """A descriptor of the directory; the caller closes it. Raises OSError, EACCES for a link on the way that belongs to another user.

    With `make` what is not there is made, the last directory with that mode, those above it with 0755.
    """
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    here = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    links = 0
    try:
        while todo:
            part = todo.pop()
            there = _step(here, part, None if make is None else 0o755 if todo else make)
            found = os.fstat(there)
            if not stat.S_ISLNK(found.st_mode):
                os.close(here)
                here = there
                continue
            try:
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                if not is_trusted(found.st_uid):
                    raise OSError(errno.EACCES, f"the link {part} on the way belongs to uid {found.st_uid}")
                target = os.readlink("", dir_fd=there)
            finally:
                os.close(there)
            if target.startswith("/"):
                os.close(here)
                here = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            todo.extend(each for each in reversed(target.split("/")) if each not in ("", "."))
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(here)


def _step(directory: int, name: str, make: int | None) -> int:
    try:
        return os.open(name, _STEP, dir_fd=directory)
    except FileNotFoundError:
        if make is None:
            raise
    try:
        os.mkdir(name, make, dir_fd=directory)
    except FileExistsError:
        # Another process was faster.
        pass
    return os.open(name, _STEP, dir_fd=directory)


def real_file(path: str) -> str:
    """The path of a file that is to be written, with every link on the way and its own resolved. Raises OSError, EACCES for another user's.

    In /tmp the kernel itself refuses such a link (protected_symlinks), but only to who leaves it to the kernel to follow it.
    """
    for _ in range(MAX_LINKS):
        place, _, name = os.path.join(os.getcwd(), path).rpartition("/")
        try:
            directory = open_directory(place)
        except FileNotFoundError:
            return os.path.normpath(f"{place}/{name}")
        try:
            here = os.readlink(f"/proc/self/fd/{directory}")
            found = os.stat(name or ".", dir_fd=directory, follow_symlinks=False)
            if not stat.S_ISLNK(found.st_mode):
                break
            if not is_trusted(found.st_uid):
                raise OSError(errno.EACCES, f"it is a link that belongs to uid {found.st_uid}", path)
            path = os.path.join(here, os.readlink(name, dir_fd=directory))
        except FileNotFoundError:
            break
        finally:
            os.close(directory)
    else:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    return os.path.normpath(f"{here}/{name}")


def open_read(path: str) -> int:
    """Opens a file for reading, in a directory of another user's, too: Proxmox VE's logs of tasks lie in those of www-data.

    No queue or terminal keeps it waiting. Raises OSError, EACCES for a link of another user's.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW
    try:
        return os.open(path, flags)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    return os.open(real_file(path), flags)


def mode_of(directory: int, name: str) -> int | None:
    """The mode of a file of ours in the directory, None where there is none or it is another's; links are not followed."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return stat.S_IMODE(found.st_mode) if stat.S_ISREG(found.st_mode) and is_trusted(found.st_uid) else None


def create(directory: int, name: str, mode: int) -> int:
    """A descriptor of a new file, for writing; what has that name is removed. Raises OSError."""
    for _ in range(_ATTEMPTS):
        try:
            return os.open(name, os.O_WRONLY | os.O_EXCL | _FILE, mode, dir_fd=directory)
        except FileExistsError:
            os.unlink(name, dir_fd=directory)
    raise OSError(errno.EEXIST, f"another process makes {name} again and again")


def open_own(directory: int, name: str, flags: int, mode: int) -> int:
    """A descriptor of a regular file of ours, made if absent; raises OSError, EACCES for one that is not ours or no file."""
    descriptor = os.open(name, flags | _FILE, mode, dir_fd=directory)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and is_trusted(found.st_uid):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EACCES, f"{name} is no regular file that belongs to root")


def open_lock(path: str, private: bool) -> int:
    """A descriptor of a lock file, made if absent with its directory; raises OSError.

    The directory must belong to root or this user, and no one else may write it. With `private` no one else may open the file: who can
    open a file can hold a lock on it. PVE's own locks keep their mode.
    """
    place, _, name = path.rpartition("/")
    directory = open_directory(place, make=0o700 if private else 0o755)
    try:
        found = os.fstat(directory)
        if not is_trusted(found.st_uid) or found.st_mode & 0o022:
            raise OSError(errno.EACCES, "others than root can write to this directory", place)
        descriptor = open_own(directory, name, os.O_RDWR, 0o600 if private else 0o644)
    finally:
        os.close(directory)
    if private:
        # An earlier version made it with 0644.
        os.fchmod(descriptor, 0o600)
    return descriptor


def sync(directory: str) -> None:
    """Puts the names in a directory on the disk, fsync(2); a file system that cannot do that for directories has no better."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def inside(root: str, path: str, follow: bool) -> str:
    """The real path of `path` below the root, every link on the way resolved inside the root. Raises ELOOP as the kernel would, and EINVAL."""
    try:
        os.fsencode(path)
    except ValueError:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path) from None
    if "\0" in path:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    if root == "/":
        return path
    done: list[str] = []
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            if done:
                done.pop()
            continue
        candidate = "/".join((root, *done, part))
        if todo or follow:
            try:
                target = os.readlink(candidate)
            except OSError:
                done.append(part)
                continue
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith("/"):
                done.clear()
            todo.extend(p for p in reversed(target.split("/")) if p not in ("", "."))
        else:
            done.append(part)
    return "/".join((root, *done))
